// SPDX-License-Identifier: BSD-3-Clause
#include "props/table_decoder.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/handover_table.h"
#include "model/history.h"
#include "sim/exec/corrupt.h"
#include "sim/exec/executor.h"
#include "sim/exec/table_view.h"
#include "sim/liveupdate/kexec.h"
#include "sim/liveupdate/kho.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/memblock.h"

extern "C" {
#include <linux/kho/abi/hugetlb.h>

void __real_hugetlb_luo_boot_init();
void __real_hugetlb_luo_import();
void __real_kho_restore_free(void* mem);
int __real_kho_retrieve_subtree(const char* name, phys_addr_t* phys,
                                size_t* size);
}

namespace handover::props {
namespace {

using model::TableVerdict;
using model::TableView;

// Two sizes, two nodes, two files with late pages, what is reserved, free
// pages, several owners, a memory error.
constexpr char kHistory[] =
    "history 1\n"
    "geometry small nodes=2\n"
    "boot hugepagesz=16K hugepages=24 hugepagesz=64K hugepages=6\n"
    "admin cgroup c0\n"
    "admin cgroup c1 in=c0\n"
    "admin move p0 c1\n"
    "p0 memfd f0 16K sealable\n"
    "p0 map f0 m0 0 9\n"
    "p0 write m0 1 a\n"
    "p0 write m0 2 b\n"
    "p0 write m0 5 c\n"
    "p0 write m0 8 d\n"
    "p0 memfd f1 64K\n"
    "p0 fallocate f1 0 2\n"
    "p1 map f0 m0 0 9 noreserve\n"
    "p1 write m0 6 6\n"
    "admin poison f0 6\n"
    "admin preserve-free 16K on\n"
    "agent open\n"
    "agent session s0\n"
    "agent preserve s0 1 f0\n"
    "agent preserve s0 2 f1\n"
    "p0 write m0 3 e\n"
    "p0 write m0 7 f\n"
    "loader load hugepagesz=16K hugepages=24 hugepagesz=64K hugepages=6\n"
    "agent reboot\n";

// Each decoding leaves some objects behind, since nobody claims the files.
constexpr int kMostRuns = 500;
constexpr size_t kEdit = 12;

// --- What the wrapped functions go by.
bool g_waiting = false;   // the next kernel is not to look at its table yet
bool g_decoding = false;  // nothing is given back
uint64_t g_root = 0;
uint64_t g_bytes = 0;

template <typename T>
T Load(uint64_t phys) {
  T value;
  std::memcpy(&value, sim::M().memory().base() + phys, sizeof(value));
  return value;
}

template <typename T>
void Store(uint64_t phys, T value) {
  std::memcpy(sim::M().memory().base() + phys, &value, sizeof(value));
}

// A booted kernel that has not looked at its table.
class World {
 public:
  World() {
    absl::StatusOr<model::History> history = model::ParseHistory(kHistory);
    if (!history.ok()) std::abort();
    executor_ = std::make_unique<sim::Executor>(*history);
    executor_->set_at_handover([this] {
      sim::OutgoingTable(&root_, &bytes_);
      g_waiting = true;
    });
    executor_->Boot();
    for (const model::Command& command : history->commands)
      executor_->Run(command);
    g_waiting = false;
    if (executor_->dead() || root_ == 0) std::abort();
    reserved_ = sim::TheMemblock().reserved;
    const TableView view = sim::ReadIncomingTableView(root_, bytes_);
    AddPage(root_);
    for (const TableView::File& file : view.files) {
      AddPage(file.at);
      for (const TableView::Chain* chain : {&file.runs, &file.late, &file.resv})
        for (const TableView::Block& block : chain->blocks)
          AddPage(block.frame << PAGE_SHIFT);
      for (const TableView::Owner& owner : file.owners) AddPage(owner.at);
      for (const TableView::Chain* chain : {&file.runs, &file.late})
        for (const TableView::Block& block : chain->blocks)
          for (const TableView::Run& run : block.runs)
            places_.push_back(run.frame << PAGE_SHIFT);
    }
    if (view.files.size() != 3 || view.files[1].owners.empty() ||
        view.errors.empty())
      std::abort();
    places_.push_back(kho_scratch[0].addr);
    places_.push_back(sim::M().memory().end_pfn() << PAGE_SHIFT);
    places_.push_back(0);
    const struct hstate* h;
    for_each_hstate(h) page_sizes_.push_back(PAGE_SIZE << h->order);
  }

  ~World() { executor_.reset(); }

  void PutBack() {
    for (const Page& page : pages_)
      std::memcpy(sim::M().memory().base() + page.phys, page.bytes.data(),
                  PAGE_SIZE);
    // What the list of memory errors has reserved.
    sim::TheMemblock().reserved = reserved_;
    g_root = root_;
    g_bytes = bytes_;
  }

  void Edit(const uint8_t* data, size_t size) {
    const uint8_t flags = size > 0 ? data[0] : 0;
    for (size_t at = 1; at + kEdit <= size; at += kEdit) EditOne(data + at);
    if (flags & 1) Resum();
    if (flags & 2) g_root = Place(size > 1 ? data[1] : 0);
    if (flags & 4) g_bytes = size > 2 ? data[2] * uint64_t{64} : 0;
  }

  TableView View() const { return sim::ReadIncomingTableView(g_root, g_bytes); }
  const std::vector<uint64_t>& page_sizes() const { return page_sizes_; }
  int runs = 0;

 private:
  struct Page {
    uint64_t phys;
    std::vector<char> bytes;
  };

  void AddPage(uint64_t phys) {
    Page page;
    page.phys = phys;
    page.bytes.assign(sim::M().memory().base() + phys,
                      sim::M().memory().base() + phys + PAGE_SIZE);
    pages_.push_back(std::move(page));
    places_.push_back(phys);
  }

  uint64_t Place(uint64_t n) const { return places_[n % places_.size()]; }

  void EditOne(const uint8_t* edit) {
    const uint8_t kind = edit[0];
    const uint64_t page = pages_[edit[1] % pages_.size()].phys;
    uint16_t offset;
    uint64_t value;
    std::memcpy(&offset, edit + 2, sizeof(offset));
    std::memcpy(&value, edit + 4, sizeof(value));
    // Records are short: most of what matters is near the beginning.
    const uint64_t at =
        page + (kind & 0x40 ? offset % (PAGE_SIZE / 4) : offset % 64) * 4;
    if (at + sizeof(value) > page + PAGE_SIZE) return;
    const bool wide = (kind & 4) != 0;
    const uint64_t was = wide ? Load<uint64_t>(at) : Load<uint32_t>(at);
    switch (kind & 3) {
      case 0:
        value ^= was;
        break;
      case 1:
        break;
      case 2:
        value += was;
        break;
      default:
        value = wide ? Place(value) : Place(value) >> (12 + (kind >> 3 & 7));
        break;
    }
    if (wide) {
      Store<uint64_t>(at, value);
    } else {
      Store<uint32_t>(at, static_cast<uint32_t>(value));
    }
  }

  static void ResumOne(uint64_t phys, size_t field, uint64_t bytes) {
    if (bytes > PAGE_SIZE) return;
    Store<uint32_t>(phys + field, sim::RecordChecksum(phys, field, bytes));
  }

  // Of each page as the record that it was.
  void Resum() {
    for (const Page& page : pages_) {
      uint32_t magic, third;
      std::memcpy(&magic, page.bytes.data(), sizeof(magic));
      std::memcpy(&third, page.bytes.data() + 2 * sizeof(third), sizeof(third));
      if (magic == HUGETLB_LUO_ROOT_MAGIC) {
        ResumOne(page.phys, offsetof(hugetlb_luo_root_ser, csum),
                 sizeof(hugetlb_luo_root_ser) +
                     uint64_t{Load<hugetlb_luo_root_ser>(page.phys).nr_counts} *
                         sizeof(hugetlb_luo_count_ser));
      } else if (magic == HUGETLB_LUO_FILE_MAGIC) {
        ResumOne(page.phys, offsetof(hugetlb_luo_file_ser, csum),
                 sizeof(hugetlb_luo_file_ser) +
                     uint64_t{Load<hugetlb_luo_file_ser>(page.phys).nr_counts} *
                         sizeof(hugetlb_luo_count_ser));
      } else if (third == HUGETLB_LUO_OWNER_MAGIC) {
        ResumOne(page.phys, offsetof(hugetlb_luo_owner_ser, csum),
                 sizeof(hugetlb_luo_owner_ser));
      } else {
        ResumOne(page.phys, offsetof(hugetlb_luo_block_ser, csum),
                 sizeof(hugetlb_luo_block_ser) +
                     uint64_t{Load<hugetlb_luo_block_ser>(page.phys).nr_runs} *
                         sizeof(hugetlb_luo_run_ser));
      }
    }
  }

  std::unique_ptr<sim::Executor> executor_;
  uint64_t root_ = 0;
  uint64_t bytes_ = 0;
  sim::MemblockType reserved_;
  std::vector<Page> pages_;
  std::vector<uint64_t> places_;
  std::vector<uint64_t> page_sizes_;
};

std::unique_ptr<World> g_world;

int64_t Lines(std::string_view text) {
  int64_t lines = 0;
  for (const std::string& line : sim::M().log())
    lines += absl::StrContains(line, std::string(text));
  return lines;
}

// A line about a file ends in the field that it was refused for.
bool EachNamesAField() {
  for (const std::string& line : sim::M().log()) {
    const size_t at = line.find(" refused: ");
    if (at == std::string::npos) continue;
    const std::string rest = line.substr(at + 10);
    if (rest.empty() || rest.find("(null)") != std::string::npos) return false;
    if (rest[0] == '-' && rest.find(", ") + 2 >= rest.size()) return false;
  }
  return true;
}

std::string Compare(const TableVerdict& verdict) {
  const std::string log = [] {
    std::string all;
    for (const std::string& line : sim::M().log())
      absl::StrAppend(&all, "\n  ", line);
    return all;
  }();
  const bool table = Lines("hugetlb_luo: table of preserved pages") > 0 ||
                     Lines("fewer pages announced") > 0;
  if (table != verdict.distrusted)
    return absl::StrCat("the root is ", verdict.distrusted ? "wrong" : "right",
                        ", the kernel says otherwise:", log);
  const int64_t refused = Lines("hugetlb_luo: preserved file refused") +
                          Lines("hugetlb_luo: preserved free pages refused");
  if (refused != static_cast<int64_t>(verdict.refused.size()))
    return absl::StrCat(verdict.refused.size(),
                        " records are wrong, the kernel says otherwise:", log);
  int64_t lost = Lines("cannot be claimed and stay reserved");
  // With the root nothing is known that could be counted.
  if (!verdict.distrusted && lost != static_cast<int64_t>(verdict.lost.size()))
    return absl::StrCat(verdict.lost.size(),
                        " counts are lost, the kernel says otherwise:", log);
  if (verdict.quarantine && sim::M().log().empty())
    return "memory is quarantined without a word";
  if (!EachNamesAField()) return absl::StrCat("a message names no field:", log);
  return "";
}

}  // namespace

std::string DecodeTable(const uint8_t* data, size_t size) {
  if (g_world == nullptr || g_world->runs >= kMostRuns) {
    g_world.reset();
    g_world = std::make_unique<World>();
  }
  World& world = *g_world;
  ++world.runs;
  world.PutBack();
  world.Edit(data, size);
  const TableVerdict verdict =
      JudgeTable(world.View(), world.page_sizes(), /*live_update=*/true);
  sim::ResetKernelNewData();
  sim::M().ClearLog();
  const uint64_t calls = sim::M().fallible_calls();
  g_decoding = true;
  const sim::RunResult result = sim::RunBoot([] {
    __real_hugetlb_luo_boot_init();
    __real_hugetlb_luo_import();
  });
  g_decoding = false;
  std::string wrong;
  if (!sim::M().violations().empty()) {
    wrong = sim::M().violations()[0].property + ": " +
            sim::M().violations()[0].what;
  } else if (result != sim::RunResult::kDone) {
    wrong = "the kernel stopped";
  } else if (sim::M().fallible_calls() - calls > 64) {
    wrong = "it took more memory than there are files";
  } else if (sim::StepsOfLastRun() > 64 * sim::M().memory().end_pfn()) {
    wrong = "it took more steps than there are pages";
  } else {
    wrong = Compare(verdict);
  }
  if (!wrong.empty()) g_world.reset();
  return wrong;
}

}  // namespace handover::props

extern "C" {

void __wrap_hugetlb_luo_boot_init() {
  if (!handover::props::g_waiting) __real_hugetlb_luo_boot_init();
}

void __wrap_hugetlb_luo_import() {
  if (!handover::props::g_waiting) __real_hugetlb_luo_import();
}

void __wrap_kho_restore_free(void* mem) {
  if (!handover::props::g_decoding) __real_kho_restore_free(mem);
}

int __wrap_kho_retrieve_subtree(const char* name, phys_addr_t* phys,
                                size_t* size) {
  if (!handover::props::g_decoding)
    return __real_kho_retrieve_subtree(name, phys, size);
  *phys = handover::props::g_root;
  *size = handover::props::g_bytes;
  return 0;
}
}
