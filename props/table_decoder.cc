// SPDX-License-Identifier: BSD-3-Clause
#include "props/table_decoder.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
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
#include <linux/hugetlb_luo.h>
#include <linux/kho/abi/hugetlb.h>

#include "kernel/new/mm/hugetlb_luo_internal.h"

bool __real_memblock_is_region_memory(phys_addr_t base, phys_addr_t size);
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

// Three sizes, two nodes, three files with late pages, what is reserved, free
// pages, several owners, a memory error. Pages of the largest size are looked
// for early in boot; a record without pages of that size is in front of them.
constexpr char kHistory[] =
    "history 1\n"
    "geometry small nodes=2\n"
    "boot hugepagesz=16K hugepages=24 hugepagesz=64K hugepages=6 "
    "hugepagesz=256K hugepages=0:2,1:3\n"
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
    "p1 memfd f2 256K\n"
    "p1 truncate f2 8\n"
    "p1 fallocate f2 0 1\n"
    "p1 bind 1\n"
    "p1 fallocate f2 2 1\n"
    "p1 fallocate f2 5 1\n"
    "p1 memfd f3 256K\n"
    "admin poison f0 6\n"
    "admin preserve-free 16K on\n"
    "agent open\n"
    "agent session s0\n"
    "agent preserve s0 1 f0\n"
    "agent preserve s0 2 f1\n"
    "agent preserve s0 3 f2\n"
    "agent preserve s0 4 f3\n"
    "p0 write m0 3 e\n"
    "p0 write m0 7 f\n"
    "p1 fallocate f2 6 1\n"
    "loader load hugepagesz=16K hugepages=24 hugepagesz=64K hugepages=6\n"
    "agent reboot\n";

// Each decoding leaves some objects behind, since nobody claims the files.
constexpr int kMostRuns = 500;
constexpr size_t kEdit = 12;
constexpr uint32_t kGiganticOrder = 6;  // 256K

// Bits of the first byte. The other three say what the command line asks for.
constexpr unsigned kResum = 1;
constexpr unsigned kOtherAddress = 2;
constexpr unsigned kOtherSize = 4;
constexpr unsigned kOneNode = 8;
constexpr unsigned kByNode = 16;
constexpr unsigned kAsked = 5;  // shift

using NodeCounts = std::array<uint64_t, MAX_NUMNODES>;

// What the kernel makes of a gigantic page size, before it looks at all.
struct Plan {
  const hstate* h = nullptr;
  bool is_located = false;
  NodeCounts expected{};
  uint64_t max = 0;
  NodeCounts max_node{};
  uint64_t calls = 0;         // that may fail
  bool takes_memory = false;  // of memblock
  uint64_t looked = 0;        // records and blocks that were looked at
};

// hugepages= of each gigantic size.
struct Asked {
  uint64_t pages = 0;
  bool by_node = false;
  NodeCounts node{};
};

// --- What the wrapped functions go by.
bool g_waiting = false;   // the next kernel is not to look at its table yet
bool g_decoding = false;  // nothing is given back
uint64_t g_root = 0;
uint64_t g_bytes = 0;
uint64_t g_looked = 0;  // places that were looked up in memblock's memory

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
    }
    // The names of some saved inputs rely on the first places being the pages.
    for (const TableView::File& file : view.files) {
      for (const TableView::Chain* chain : {&file.runs, &file.late})
        for (const TableView::Block& block : chain->blocks)
          for (const TableView::Run& run : block.runs)
            places_.push_back(run.frame << PAGE_SHIFT);
    }
    if (view.files.size() != 5 || view.files[3].owners.empty() ||
        view.errors.empty())
      std::abort();
    places_.push_back(kho_scratch[0].addr);
    // Where there is no memory.
    for (const sim::NodeSpan& span : sim::M().geometry().spans)
      places_.push_back((span.start_pfn + span.nr_pages) << PAGE_SHIFT);
    places_.push_back(0);
    const struct hstate* h;
    for_each_hstate(h) page_sizes_.push_back(PAGE_SIZE << h->order);
    MakeOneNode();
    for (const bool one_node : {false, true}) {
      PutBack(one_node);
      const TableView intact = View();
      const TableVerdict verdict =
          JudgeTable(intact, page_sizes_, /*live_update=*/true);
      const std::map located = model::LocatePages(intact);
      if (verdict.quarantine || verdict.accepted.size() != view.files.size() ||
          intact.by_nodes == one_node || located.at(kGiganticOrder).size() != 4)
        std::abort();
    }
  }

  ~World() { executor_.reset(); }

  // As the kernel before has left it, or would have with numa=off.
  void PutBack(bool one_node) {
    for (const Page& page : pages_)
      std::memcpy(sim::M().memory().base() + page.phys,
                  (one_node ? page.one_node : page.bytes).data(), PAGE_SIZE);
    // What the list of memory errors has reserved.
    sim::TheMemblock().reserved = reserved_;
    g_root = root_;
    g_bytes = bytes_;
  }

  void Edit(const uint8_t* data, size_t size) {
    const uint8_t flags = size > 0 ? data[0] : 0;
    for (size_t at = 1; at + kEdit <= size; at += kEdit) EditOne(data + at);
    if (flags & kResum) Resum();
    if (flags & kOtherAddress) g_root = Place(size > 1 ? data[1] : 0);
    if (flags & kOtherSize) g_bytes = size > 2 ? data[2] * uint64_t{64} : 0;
  }

  TableView View() const {
    TableView view = sim::ReadIncomingTableView(g_root, g_bytes);
    for (TableView::Error& error : view.errors) {
      const uint64_t bytes = uint64_t{error.pages} << PAGE_SHIFT;
      error.memory = __real_memblock_is_region_memory(error.address, bytes);
      error.scratch = kho_scratch_overlap(error.address, bytes);
      error.owned = memblock_is_region_reserved(error.address, bytes);
    }
    return view;
  }
  // Whether just that is reserved now beside what was before.
  bool KeepsAway(const std::vector<model::BadMemory>& bad) const {
    const sim::MemblockType is = sim::TheMemblock().reserved;
    sim::TheMemblock().reserved = reserved_;
    for (const model::BadMemory& each : bad)
      memblock_reserve(PFN_PHYS(each.from), PFN_PHYS(each.to - each.from));
    const sim::MemblockType should = sim::TheMemblock().reserved;
    return std::equal(is.regions.begin(), is.regions.end(),
                      should.regions.begin(), should.regions.end(),
                      [](const auto& a, const auto& b) {
                        return a.base == b.base && a.size == b.size;
                      });
  }
  const std::vector<uint64_t>& page_sizes() const { return page_sizes_; }
  // Of the records: more than these are no records.
  uint64_t pages() const { return pages_.size(); }
  int runs = 0;

 private:
  struct Page {
    uint64_t phys;
    std::vector<char> bytes;
    std::vector<char> one_node;
  };

  // All is announced on one node, wherever it lies.
  void MakeOneNode() {
    using Count = hugetlb_luo_count_ser;
    for (const Page& page : pages_) {
      uint32_t magic;
      std::memcpy(&magic, page.bytes.data(), sizeof(magic));
      if (magic == HUGETLB_LUO_ROOT_MAGIC) {
        const auto nr = Load<hugetlb_luo_root_ser>(page.phys).nr_counts;
        std::map<uint32_t, uint64_t> sums;
        uint64_t at = page.phys + sizeof(hugetlb_luo_root_ser);
        for (uint32_t i = 0; i < nr; ++i) {
          const auto count = Load<Count>(at + i * sizeof(Count));
          sums[count.order] += count.nr;
        }
        for (uint32_t i = 0; i < nr; ++i, at += sizeof(Count)) {
          auto count = Load<Count>(at);
          count.nr = count.nid == 0 ? sums[count.order] : 0;
          Store(at, count);
        }
        Store(page.phys + offsetof(hugetlb_luo_root_ser, nodes),
              sim::NodesChecksum(/*numa=*/false));
      } else if (magic == HUGETLB_LUO_FILE_MAGIC) {
        auto file = Load<hugetlb_luo_file_ser>(page.phys);
        file.nr_counts = file.nr_pages == 0 ? 0 : 1;
        Store(page.phys, file);
        Store(page.phys + sizeof(file),
              Count{.order = file.order, .nid = 0, .nr = file.nr_pages});
      }
    }
    Resum();
    for (Page& page : pages_)
      page.one_node.assign(sim::M().memory().base() + page.phys,
                           sim::M().memory().base() + page.phys + PAGE_SIZE);
  }

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

  // Each entry of the list of memory errors behind the counts.
  static void ResumErrors(uint64_t root) {
    using Entry = hugetlb_luo_error_ser;
    const uint64_t end = root + PAGE_SIZE;
    uint64_t at = root + sizeof(hugetlb_luo_root_ser) +
                  uint64_t{Load<hugetlb_luo_root_ser>(root).nr_counts} *
                      sizeof(hugetlb_luo_count_ser);
    for (int n = 0; n < HUGETLB_LUO_ERRORS && at + sizeof(Entry) <= end;
         ++n, at += sizeof(Entry))
      if (Load<Entry>(at).addr != 0)
        ResumOne(at, offsetof(Entry, csum), sizeof(Entry));
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
        ResumErrors(page.phys);
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

// What `first` asks for, of each gigantic size.
Asked AskedBy(uint8_t first) {
  Asked asked;
  asked.pages = static_cast<uint64_t>(first >> kAsked) * 5;
  asked.by_node = (first & kByNode) != 0;
  if (!asked.by_node) return asked;
  asked.node[0] = asked.pages;
  asked.node[1] = 35 - asked.pages;
  asked.pages = 35;
  return asked;
}

uint64_t ReservedBytes() {
  uint64_t bytes = 0;
  for (const sim::MemblockRegion& region : sim::TheMemblock().reserved.regions)
    bytes += region.size;
  return bytes;
}

// As hugetlb_bootmem_alloc() does for each gigantic size, but for allocating.
// What is allocated already stays what it is.
std::vector<Plan> PlanGigantic(const Asked& asked) {
  std::vector<Plan> plans;
  struct hstate* h;
  for_each_hstate(h) {
    if (!hstate_is_gigantic(h)) continue;
    const unsigned long max = h->max_huge_pages;
    std::array<unsigned, MAX_NUMNODES> max_node;
    std::copy(std::begin(h->max_huge_pages_node),
              std::end(h->max_huge_pages_node), max_node.begin());
    h->max_huge_pages = asked.pages;
    std::copy(asked.node.begin(), asked.node.end(), h->max_huge_pages_node);

    Plan plan;
    plan.h = h;
    const uint64_t calls = sim::M().fallible_calls();
    const uint64_t looked = g_looked;
    const uint64_t reserved = ReservedBytes();
    hugetlb_luo_boot_begin(h);
    plan.takes_memory = ReservedBytes() != reserved;
    plan.calls = sim::M().fallible_calls() - calls;
    plan.looked = g_looked - looked;
    plan.is_located = hugetlb_luo_in.is_located[hstate_index(h)];
    for (unsigned n = 0; n < MAX_NUMNODES; ++n)
      plan.expected[n] = hugetlb_luo_expected(h, n);
    plan.max = h->max_huge_pages;
    std::copy(std::begin(h->max_huge_pages_node),
              std::end(h->max_huge_pages_node), plan.max_node.begin());

    h->max_huge_pages = max;
    std::copy(max_node.begin(), max_node.end(), h->max_huge_pages_node);
    plans.push_back(plan);
  }
  return plans;
}

std::string Print(const NodeCounts& counts) {
  std::string text;
  for (int n = 0; n < sim::M().geometry().nodes; ++n)
    absl::StrAppend(&text, n == 0 ? "" : "+", counts[static_cast<size_t>(n)]);
  return text;
}

// Holds it against where the table's rules say that pages lie, and the
// counts by which the root announces them where they do not say.
std::string ComparePlan(const Plan& plan, const Asked& asked,
                        const TableView& view, const TableVerdict& verdict) {
  const auto nodes = static_cast<size_t>(sim::M().geometry().nodes);
  const uint32_t order = plan.h->order;
  const std::string name = absl::StrCat("pages of order ", order, ": ");
  if (plan.calls != 0 || plan.takes_memory)
    return name + "memory is taken to plan with them";
  // Going round in circles is noticed in the second or third round; each block
  // has a page.
  if (plan.looked > 3 * g_world->pages() + (view.end_frame >> order))
    return absl::StrCat(name, plan.looked, " records were looked at");

  bool is_located = false, is_announced = false;
  NodeCounts coming{};
  for (const TableView::Count& count : verdict.announced) {
    is_announced |= count.order == order;
    if (count.order == order)
      coming[count.node < nodes ? count.node : 0] += count.pages;
  }
  if (is_announced && !view.by_nodes) {
    const auto located = model::LocatePages(view);
    const auto at = located.find(order);
    is_located = at != located.end();
    if (is_located) coming = NodeCounts{};
    for (size_t i = 0; is_located && i < at->second.size(); ++i)
      ++coming[static_cast<size_t>(at->second[i])];
  }
  if (is_announced && plan.is_located != is_located)
    return absl::StrCat(name, is_located ? "not " : "",
                        "found out where they lie");
  if (plan.expected != coming)
    return absl::StrCat(name, Print(plan.expected), " are expected, not ",
                        Print(coming));

  uint64_t sum = 0;
  for (size_t n = 0; n < nodes; ++n) sum += coming[n];
  uint64_t max = asked.pages;
  NodeCounts node = asked.node;
  if (asked.by_node && sum != 0) {
    max = 0;
    for (size_t n = 0; n < nodes; ++n) {
      node[n] -= std::min(node[n], coming[n]);
      max += node[n];
    }
  } else if (sum != 0) {
    max -= std::min(max, sum);
    // Each goes to the node that has the fewest then.
    for (uint64_t i = 0; i < max; ++i) {
      size_t least = 0;
      for (size_t n = 1; n < nodes; ++n)
        if (coming[n] + node[n] < coming[least] + node[least]) least = n;
      ++node[least];
    }
  }
  if (plan.max != max || plan.max_node != node)
    return absl::StrCat(name, plan.max, " are to be allocated, ",
                        Print(plan.max_node), " by node, not ", max, ", ",
                        Print(node));
  return "";
}

int64_t Lines(std::string_view text) {
  int64_t lines = 0;
  for (const std::string& line : sim::M().log())
    lines += absl::StrContains(line, std::string(text));
  return lines;
}

// Which records the kernel has refused, and why, is what the model says. (With
// the root all of it is, and those that are not found are not there.)
std::string CompareRecords(const TableVerdict& verdict) {
  size_t found = 0;
  struct hugetlb_luo_in_file* in;
  unsigned long index;
  xa_for_each(&hugetlb_luo_in.files, index, in) {
    const uint64_t at = PFN_PHYS(index);
    const std::string name = absl::StrCat("the record at ", absl::Hex(at));
    ++found;
    for (const model::HandedFile& file : verdict.accepted)
      if (file.at == at && in->err != 0)
        return absl::StrCat(name, " is right, and refused with ", in->err);
    for (const model::RefusedFile& file : verdict.refused) {
      if (file.at != at) continue;
      if (in->err == 0) return name + " is wrong, and accepted";
      // Of free pages nobody ever knows why.
      const bool free = file.errors == std::vector<int>{ENOENT};
      if (!free &&
          std::count(file.errors.begin(), file.errors.end(), -in->err) == 0)
        return absl::StrCat(name, " is refused with ", in->err);
    }
  }
  if (found != verdict.accepted.size() + verdict.refused.size())
    return absl::StrCat(found, " records are found, ", verdict.accepted.size(),
                        " are right and ", verdict.refused.size(), " wrong");
  return "";
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
  const std::string records = CompareRecords(verdict);
  if (!records.empty()) return absl::StrCat(records, ":", log);
  int64_t lost = Lines("cannot be claimed and stay reserved");
  // With the root nothing is known that could be counted.
  if (!verdict.distrusted && lost != static_cast<int64_t>(verdict.lost.size()))
    return absl::StrCat(verdict.lost.size(),
                        " counts are lost, the kernel says otherwise:", log);
  if (Lines("are not kept away from") != verdict.not_kept_away)
    return absl::StrCat("memory errors in ", verdict.not_kept_away,
                        " places should not be kept away from:", log);
  if (!g_world->KeepsAway(verdict.kept_away))
    return absl::StrCat("other memory is kept away from than what has errors:",
                        log);
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
  const uint8_t flags = size > 0 ? data[0] : 0;
  world.PutBack((flags & kOneNode) != 0);
  world.Edit(data, size);
  const TableView view = world.View();
  const TableVerdict verdict =
      JudgeTable(view, world.page_sizes(), /*live_update=*/true);
  const Asked asked = AskedBy(flags);
  std::vector<Plan> plans;
  sim::ResetKernelNewData();
  sim::M().ClearLog();
  const uint64_t calls = sim::M().fallible_calls();
  g_decoding = true;
  const sim::RunResult result = sim::RunBoot([&] {
    __real_hugetlb_luo_boot_init();
    plans = PlanGigantic(asked);
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
  if (wrong.empty() && plans.empty()) wrong = "there is no gigantic page size";
  for (const Plan& plan : plans)
    if (wrong.empty()) wrong = ComparePlan(plan, asked, view, verdict);
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

bool __wrap_memblock_is_region_memory(phys_addr_t base, phys_addr_t size) {
  ++handover::props::g_looked;
  return __real_memblock_is_region_memory(base, size);
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
