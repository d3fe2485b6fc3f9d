// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/table_view.h"

#include <libfdt.h>
#include <sim/kernel_api.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "sim/exec/corrupt.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/machine/machine.h"

extern "C" {
#include <linux/kho/abi/hugetlb.h>
}

namespace sim {
namespace {

using ::handover::model::CgroupPath;
using ::handover::model::TableView;

constexpr uint32_t kOrders = 64 - PAGE_SHIFT;
// Instead of the order of a list of runs that have no pages.
constexpr uint32_t kNoFrames = ~uint32_t{0};

// Records lie in packed structures: all access is by copy.
template <typename T>
T Load(uint64_t phys) {
  T value;
  std::memcpy(&value, M().memory().base() + phys, sizeof(value));
  return value;
}

bool ChecksumRight(uint64_t phys, size_t offset, size_t bytes, uint32_t is) {
  return is == RecordChecksum(phys, offset, bytes);
}

class Reader {
 public:
  // The keys ascend.
  explicit Reader(std::vector<KhoKey> keys) : keys_(std::move(keys)) {
    view_.end_frame = M().memory().end_pfn();
    for (const NodeSpan& span : M().geometry().spans)
      view_.frames += span.nr_pages;
  }

  TableView Read(uint64_t phys, uint64_t bytes) {
    view_.found = true;
    if (phys == 0 || phys % PAGE_SIZE != 0 ||
        bytes < sizeof(hugetlb_luo_root_ser) ||
        bytes > PAGE_SIZE << MAX_PAGE_ORDER || !Exists(phys, bytes))
      return view_;
    view_.placed = true;
    view_.held = Held(phys, static_cast<unsigned>(get_order(bytes)));
    const auto root = Load<hugetlb_luo_root_ser>(phys);
    view_.magic = root.magic == HUGETLB_LUO_ROOT_MAGIC;
    view_.version = root.version == HUGETLB_LUO_VERSION;
    view_.nr_files = root.nr_files;
    view_.nodes = root.nodes;
    view_.by_nodes = root.nodes == NodesChecksum(true);
    view_.by_one = root.nodes == NodesChecksum(false);
    view_.first = root.files;
    const uint64_t all =
        sizeof(root) + uint64_t{root.nr_counts} * sizeof(hugetlb_luo_count_ser);
    constexpr uint64_t kErrorBytes =
        HUGETLB_LUO_ERRORS * sizeof(hugetlb_luo_error_ser);
    view_.counts_fit = all + kErrorBytes <= bytes;
    if (!view_.counts_fit) return view_;
    view_.checksum = ChecksumRight(phys, offsetof(hugetlb_luo_root_ser, csum),
                                   all, root.csum);
    view_.counts = Counts(phys + sizeof(root), root.nr_counts);
    ReadErrors(phys + all);
    std::set<uint64_t> seen;
    for (uint64_t at = root.files; at != 0 && seen.insert(at).second;) {
      view_.files.push_back(File(at));
      if (!view_.files.back().held) break;
      at = view_.files.back().next;
    }
    return view_;
  }

 private:
  bool Exists(uint64_t phys, uint64_t bytes) const {
    for (uint64_t pfn = phys >> PAGE_SHIFT;
         pfn <= (phys + bytes - 1) >> PAGE_SHIFT; ++pfn)
      if (!M().memory().Exists(pfn)) return false;
    return true;
  }

  bool Held(uint64_t phys, unsigned order) const {
    return std::binary_search(keys_.begin(), keys_.end(), KhoKey{phys, order});
  }

  bool HeldPage(uint64_t phys) const {
    return phys % PAGE_SIZE == 0 && Held(phys, 0);
  }

  static std::vector<TableView::Count> Counts(uint64_t phys, uint32_t nr) {
    std::vector<TableView::Count> counts;
    for (uint32_t i = 0; i < nr; ++i) {
      const auto c = Load<hugetlb_luo_count_ser>(
          phys + uint64_t{i} * sizeof(hugetlb_luo_count_ser));
      counts.push_back({c.order, c.nid, c.nr});
    }
    return counts;
  }

  // What stands behind the counts: nothing comes after an entry that is not
  // there, and each is a page or a huge page.
  void ReadErrors(uint64_t at) {
    using Entry = hugetlb_luo_error_ser;
    bool over = false;
    for (int n = 0; n < HUGETLB_LUO_ERRORS; ++n, at += sizeof(Entry)) {
      const auto entry = Load<Entry>(at);
      if (entry.addr == 0) {
        over = true;
        continue;
      }
      TableView::Error error;
      error.address = entry.addr;
      error.pages = entry.nr;
      error.checksum = entry.csum;
      error.right =
          std::has_single_bit(uint32_t{entry.nr}) &&
          entry.addr % (uint64_t{entry.nr} * PAGE_SIZE) == 0 &&
          ChecksumRight(at, offsetof(Entry, csum), sizeof(Entry), entry.csum);
      view_.errors_right &= !over && error.right;
      view_.errors.push_back(error);
    }
  }

  TableView::File File(uint64_t at) const {
    TableView::File out;
    out.at = at;
    out.held = HeldPage(at);
    if (!out.held) return out;
    const auto file = Load<hugetlb_luo_file_ser>(at);
    out.magic = file.magic == HUGETLB_LUO_FILE_MAGIC;
    out.version = file.version == HUGETLB_LUO_VERSION;
    out.order = file.order;
    out.next = file.next;
    out.size = file.size;
    out.position = file.pos;
    out.nr_pages = file.nr_pages;
    out.seals = file.seals;
    out.mode = file.mode;
    out.nr_resv = file.nr_resv;
    out.flags = file.flags;
    out.counts_fit = file.nr_counts <= HUGETLB_LUO_FILE_COUNTS;
    if (!out.counts_fit) return out;
    out.checksum = ChecksumRight(
        at, offsetof(hugetlb_luo_file_ser, csum),
        sizeof(file) + file.nr_counts * sizeof(hugetlb_luo_count_ser),
        file.csum);
    out.counts = Counts(at + sizeof(file), file.nr_counts);
    out.runs = Chain(file.runs, file.order);
    out.late = Chain(file.late, file.order);
    out.resv = Chain(file.resv, kNoFrames);
    out.nr_owners = file.nr_owners;
    out.owners_end = file.owners;
    std::set<uint64_t> seen;
    while (out.owners.size() < out.nr_owners &&
           seen.insert(out.owners_end).second) {
      out.owners.push_back(Owner(&out.owners_end));
      if (!out.owners.back().held) break;
    }
    return out;
  }

  // The one at `*at`, which becomes the next one's place.
  TableView::Owner Owner(uint64_t* at) const {
    TableView::Owner out;
    out.at = *at;
    out.held = HeldPage(*at);
    if (!out.held) return out;
    const auto owner = Load<hugetlb_luo_owner_ser>(*at);
    out.magic = owner.magic == HUGETLB_LUO_OWNER_MAGIC;
    out.nr = owner.nr;
    out.checksum = ChecksumRight(*at, offsetof(hugetlb_luo_owner_ser, csum),
                                 sizeof(owner), owner.csum);
    out.ended = true;
    for (size_t kind = 0; kind < HUGETLB_LUO_NR_CHARGES; ++kind) {
      const char* path = owner.path[kind];
      out.ended &= path[HUGETLB_LUO_PATH_SIZE - 1] == '\0';
      out.path[kind] = PathNumber(
          std::string_view(path, strnlen(path, HUGETLB_LUO_PATH_SIZE)));
    }
    *at = out.next = owner.next;
    return out;
  }

  // "/c0/c1". Others are not made here; they are the root's.
  static CgroupPath PathNumber(std::string_view path) {
    if (path.empty()) return ::handover::model::kNobody;
    CgroupPath number = ::handover::model::kRootPath;
    while (path.size() >= 3 && path[0] == '/' && path[1] == 'c') {
      number = ::handover::model::ChildPath(number, path[2] - '0');
      path.remove_prefix(3);
    }
    return number;
  }

  TableView::Chain Chain(uint64_t at, uint32_t order) const {
    TableView::Chain chain;
    std::set<uint64_t> seen;
    while (at != 0) {
      if (!seen.insert(at).second) {
        chain.circular = true;
        break;
      }
      TableView::Block out;
      out.frame = at >> PAGE_SHIFT;
      out.held = HeldPage(at);
      if (out.held) {
        const auto block = Load<hugetlb_luo_block_ser>(at);
        out.magic = block.magic == HUGETLB_LUO_BLOCK_MAGIC;
        out.nr_runs = block.nr_runs;
        if (block.nr_runs <= HUGETLB_LUO_BLOCK_RUNS) {
          out.checksum = ChecksumRight(
              at, offsetof(hugetlb_luo_block_ser, csum),
              sizeof(block) + block.nr_runs * sizeof(hugetlb_luo_run_ser),
              block.csum);
          for (u32 i = 0; i < block.nr_runs; ++i)
            out.runs.push_back(
                Run(Load<hugetlb_luo_run_ser>(at + sizeof(block) +
                                              i * sizeof(hugetlb_luo_run_ser)),
                    order));
        }
        at = block.next;
      }
      chain.blocks.push_back(std::move(out));
      if (!chain.blocks.back().held) break;
    }
    return chain;
  }

  TableView::Run Run(const hugetlb_luo_run_ser& run, uint32_t order) const {
    TableView::Run out;
    out.index = run.index;
    out.pages = run.nr;
    out.owner = run.owner;
    if (order == kNoFrames) out.frame = run.frame;
    if (order >= kOrders) return out;
    const uint64_t last = view_.end_frame >> order;
    if (run.frame >= last || run.nr > last - run.frame) return out;
    out.frame = uint64_t{run.frame} << order;
    out.held = true;
    for (uint64_t n = 0; n < run.nr; ++n) {
      const uint64_t pfn = out.frame + (n << order);
      out.held &= Held(pfn << PAGE_SHIFT, order);
      if (!M().memory().Exists(pfn)) break;
      out.node.push_back(M().memory().RealNodeOf(pfn));
    }
    return out;
  }

  const std::vector<KhoKey> keys_;
  TableView view_;
};

}  // namespace

uint32_t NodesChecksum(bool numa) {
  uint32_t checksum = HUGETLB_LUO_VERSION;
  int last = -1;
  for (const NodeSpan& span : M().geometry().spans) {
    const uint64_t pfn = span.start_pfn;
    const int node = numa ? M().memory().RealNodeOf(pfn) : 0;
    const uint32_t words[] = {static_cast<uint32_t>(node),
                              static_cast<uint32_t>(pfn),
                              static_cast<uint32_t>(pfn >> 32)};
    if (node != last) checksum = jhash2(words, std::size(words), checksum);
    last = node;
  }
  return checksum;
}

TableView ReadTableView() {
  if (!g_kho.enable || g_kho.out_fdt == nullptr) return TableView();
  uint64_t phys, bytes;
  if (!OutgoingTable(&phys, &bytes)) {
    TableView none;
    none.end_frame = M().memory().end_pfn();
    return none;
  }
  return Reader(KhoOutgoingKeys()).Read(phys, bytes);
}

TableView ReadIncomingTableView(uint64_t phys, uint64_t bytes) {
  return Reader(KhoUnclaimed()).Read(phys, bytes);
}

std::vector<uint64_t> ReadFileRecords() {
  std::vector<uint64_t> records;
  for (const TableView::File& file : ReadTableView().files)
    records.push_back(file.at);
  return records;
}

void NoteRecords(const TableView& table, TableView* out) {
  for (const TableView::File& file : table.files) {
    out->original.push_back(file.at);
    if ((file.flags & HUGETLB_LUO_FILE_FREE) == 0) continue;
    TableView::Free free;
    free.at = file.at;
    free.order = file.order;
    for (const TableView::Block& block : file.runs.blocks)
      for (const TableView::Run& run : block.runs)
        for (size_t n = 0; n < run.node.size(); ++n)
          free.pages.push_back({run.frame + (n << file.order), run.node[n]});
    out->free.push_back(std::move(free));
  }
}

}  // namespace sim
