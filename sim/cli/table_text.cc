// SPDX-License-Identifier: BSD-3-Clause
//
// A saved table in words. Everything that can be told from the table alone is
// checked; the model's judge (model/handover_table.h) also knows which pages
// KHO holds and which node they lie on, and gives a verdict without a reason,
// so that little more than the records is common to both.
#include <sim/kernel_api.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/history.h"
#include "sim/cli/table.h"

extern "C" {
#include <linux/kho/abi/hugetlb.h>
}

namespace sim::cli {
namespace {

constexpr size_t kPage = PAGE_SIZE;
constexpr size_t kMaxRecords = 65536;
constexpr uint32_t kOrders = 64 - PAGE_SHIFT;
// Instead of the order of a list of runs that have no pages.
constexpr uint32_t kNoFrames = ~uint32_t{0};

template <typename T>
T Load(std::string_view bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

uint32_t Checksum(std::string_view page, size_t csum_offset, size_t bytes) {
  std::vector<u32> words(bytes / sizeof(u32));
  std::memcpy(words.data(), page.data(), words.size() * sizeof(u32));
  const size_t before = csum_offset / sizeof(u32);
  const u32 csum =
      jhash2(words.data(), static_cast<u32>(before), HUGETLB_LUO_VERSION);
  return jhash2(words.data() + before + 1,
                static_cast<u32>(words.size() - before - 1), csum);
}

std::string Pages(uint64_t number) {
  return absl::StrCat(number, number == 1 ? " page" : " pages");
}

// "page 3", "pages 3 to 7".
std::string Range(uint64_t first, uint64_t number) {
  return number == 1
             ? absl::StrCat("page ", first)
             : absl::StrCat("pages ", first, " to ", first + number - 1);
}

class Describer {
 public:
  explicit Describer(const SavedTable& table) : table_(table) {}

  TableText Run() {
    if (table_.root == 0) {
      Line("no table: nothing of HugeTLB is handed over");
    } else {
      Root();
    }
    return {std::move(out_), wrong_};
  }

 private:
  using Counts = std::map<std::pair<uint32_t, uint32_t>, uint64_t>;

  struct PageRun {
    uint64_t index;
    uint64_t pages;
    uint64_t frame;  // of 4 KiB
  };
  struct Memory {
    uint64_t from;
    uint64_t to;
    size_t file;
  };

  void Line(const std::string& line) { absl::StrAppend(&out_, line, "\n"); }

  // All that is wrong is counted here.
  std::string Bad(std::string what) {
    ++wrong_;
    return what;
  }
  void BadLine(const std::string& line) { Line(Bad(line)); }

  std::optional<std::string_view> Page(uint64_t phys, const char* what) {
    auto it = table_.pages.find(phys);
    if (it != table_.pages.end()) return std::string_view(it->second);
    BadLine(
        absl::StrFormat("%s at %#x: NO SUCH PAGE of the table", what, phys));
    return std::nullopt;
  }

  std::string Stamp(uint32_t magic, uint32_t right_magic, uint32_t version) {
    std::string out;
    if (magic != right_magic)
      absl::StrAppend(&out, Bad(absl::StrFormat(" MAGIC WRONG: %08x,", magic)));
    if (version != HUGETLB_LUO_VERSION)
      absl::StrAppend(&out, Bad(absl::StrCat(" VERSION UNKNOWN:")));
    return out;
  }

  std::string Sum(std::string_view page, size_t csum_offset, size_t bytes,
                  uint32_t is) {
    if (bytes > page.size())
      return Bad("CHECKSUM CANNOT BE RIGHT: too many entries for a page");
    const uint32_t should = Checksum(page, csum_offset, bytes);
    if (is == should) return "checksum right";
    return Bad(
        absl::StrFormat("CHECKSUM WRONG: is %08x, should be %08x", is, should));
  }

  std::string OrderSize(uint32_t order) {
    if (order > 0 && order < kOrders)
      return ::handover::model::PrintSize(uint64_t{kPage} << order);
    return Bad(absl::StrCat("IMPOSSIBLE ORDER ", order));
  }

  void Root() {
    const std::optional<std::string_view> page = Page(table_.root, "root");
    if (!page) return;
    const auto root = Load<hugetlb_luo_root_ser>(*page, 0);
    Line(absl::StrFormat(
        "root at %#x:%s version %u, %s", table_.root,
        Stamp(root.magic, HUGETLB_LUO_ROOT_MAGIC, root.version), root.version,
        Sum(*page, offsetof(hugetlb_luo_root_ser, csum),
            sizeof(root) +
                uint64_t{root.nr_counts} * sizeof(hugetlb_luo_count_ser),
            root.csum)));
    const Counts announced = ReadCounts(*page, sizeof(root), root.nr_counts);
    Line(absl::StrFormat("  files: %u", root.nr_files));
    const uint64_t files = Files(root.files);
    if (files != root.nr_files)
      BadLine(absl::StrCat("THE LIST HAS ", files, " FILES, the root says ",
                           root.nr_files));
    CompareCounts(announced);
    FindSharedMemory();
  }

  uint64_t Files(uint64_t at) {
    uint64_t files = 0;
    for (; at != 0 && files < kMaxRecords; ++files) {
      if (!seen_.insert(at).second) {
        BadLine(absl::StrFormat("THE LIST OF FILES LOOPS at %#x", at));
        break;
      }
      const std::optional<std::string_view> page = Page(at, "file");
      if (!page) break;
      File(files, at, *page);
      at = Load<hugetlb_luo_file_ser>(*page, 0).next;
    }
    return files;
  }

  // Entries ascend by size and then by node, and none is there twice.
  Counts ReadCounts(std::string_view page, size_t offset, uint64_t nr) {
    Counts counts;
    for (uint64_t i = 0; i < nr; ++i) {
      const size_t at = offset + i * sizeof(hugetlb_luo_count_ser);
      if (at + sizeof(hugetlb_luo_count_ser) > page.size()) {
        BadLine(absl::StrCat("  COUNTS RUN OVER THE END OF THEIR PAGE: ", nr));
        break;
      }
      const auto count = Load<hugetlb_luo_count_ser>(page, at);
      const std::pair<uint32_t, uint32_t> key(count.order, count.nid);
      const bool twice = counts.count(key) > 0;
      const bool ascends = counts.empty() || counts.rbegin()->first < key;
      Line(absl::StrCat("  ", Pages(count.nr), " of ", OrderSize(count.order),
                        " on node ", count.nid,
                        twice      ? Bad(", THERE TWICE")
                        : !ascends ? Bad(", OUT OF ORDER")
                                   : ""));
      counts[key] += count.nr;
    }
    return counts;
  }

  void File(size_t number, uint64_t at, std::string_view page) {
    const auto file = Load<hugetlb_luo_file_ser>(page, 0);
    Line(absl::StrFormat(
        "file %u at %#x:%s version %u, %s", number, at,
        Stamp(file.magic, HUGETLB_LUO_FILE_MAGIC, file.version), file.version,
        Sum(page, offsetof(hugetlb_luo_file_ser, csum),
            sizeof(file) +
                uint64_t{file.nr_counts} * sizeof(hugetlb_luo_count_ser),
            file.csum)));
    Line(absl::StrFormat(
        "  %s of %s, %u more reserved, size %u bytes, position %u, seals %s, "
        "mode %04o",
        Pages(file.nr_pages), OrderSize(file.order), file.nr_resv, file.size,
        file.pos, ::handover::model::PrintSeals(file.seals), file.mode));
    Fields(file);
    FileCounts(file, ReadCounts(page, sizeof(file), file.nr_counts));
    Owners(file);
    nr_owners_ = file.nr_owners;
    std::vector<PageRun> runs;
    Blocks(file.runs, file.order, &runs);
    if (file.late != 0) {
      Line("  pages added after the file was preserved:");
      Blocks(file.late, file.order, &runs);
    }
    std::vector<PageRun> reserved;
    if (file.resv != 0) {
      Line("  reserved when the file was preserved:");
      Blocks(file.resv, kNoFrames, &reserved);
    }
    Reserved(file, runs, std::move(reserved));
    FileRuns(number, file, std::move(runs));
  }

  void Fields(const hugetlb_luo_file_ser& file) {
    if (file.flags == HUGETLB_LUO_FILE_FREE) Line("  free pages of the pool");
    if ((file.flags & ~HUGETLB_LUO_FILE_FREE) != 0)
      BadLine(absl::StrFormat("  UNKNOWN FLAGS %#x",
                              file.flags & ~HUGETLB_LUO_FILE_FREE));
    if (file.size > INT64_MAX) BadLine("  SIZE OUT OF RANGE");
    if (file.pos > INT64_MAX) BadLine("  POSITION OUT OF RANGE");
    if ((file.seals & ~0x3fu) != 0)
      BadLine(absl::StrFormat("  UNKNOWN SEALS %#x", file.seals & ~0x3fu));
    if ((file.mode & ~07777u) != 0)
      BadLine(absl::StrFormat("  MODE IS NO PERMISSIONS: %o", file.mode));
  }

  void FileCounts(const hugetlb_luo_file_ser& file, const Counts& counts) {
    uint64_t sum = 0;
    for (const auto& [key, pages] : counts) {
      sum += pages;
      found_[key] += pages;
      if (key.first != file.order)
        BadLine("  COUNTS ARE OF ANOTHER SIZE than the file's pages");
    }
    if (sum != file.nr_pages)
      BadLine(absl::StrCat("  TOTAL WRONG: the counts add up to ", sum,
                           ", the file says ", file.nr_pages));
  }

  void Owners(const hugetlb_luo_file_ser& file) {
    uint64_t at = file.owners;
    for (u32 nr = 1; nr <= file.nr_owners; ++nr) {
      if (!seen_.insert(at).second) {
        BadLine(absl::StrFormat("  THE LIST OF OWNERS LOOPS at %#x", at));
        return;
      }
      const std::optional<std::string_view> page = Page(at, "  owner");
      if (!page) return;
      const auto owner = Load<hugetlb_luo_owner_ser>(*page, 0);
      Line(absl::StrFormat(
          "  owner %u at %#x:%s %s", nr, at,
          Stamp(owner.magic, HUGETLB_LUO_OWNER_MAGIC, HUGETLB_LUO_VERSION),
          Sum(*page, offsetof(hugetlb_luo_owner_ser, csum), sizeof(owner),
              owner.csum)));
      if (owner.nr != nr) BadLine(absl::StrCat("    HAS NUMBER ", owner.nr));
      constexpr const char* kKinds[] = {"hugetlb", "hugetlb rsvd", "memory"};
      for (size_t kind = 0; kind < HUGETLB_LUO_NR_CHARGES; ++kind) {
        const std::string_view path(owner.path[kind], HUGETLB_LUO_PATH_SIZE);
        const size_t end = path.find('\0');
        if (end == std::string_view::npos)
          BadLine("    PATH DOES NOT END");
        else if (end != 0)
          Line(absl::StrCat("    ", kKinds[kind], ": ",
                            std::string(path.substr(0, end))));
      }
      at = owner.next;
    }
    if (at != 0) BadLine("  MORE OWNERS than the file says");
  }

  void Blocks(uint64_t at, uint32_t order, std::vector<PageRun>* runs) {
    uint64_t end = 0;  // of the run before
    while (at != 0) {
      if (!seen_.insert(at).second) {
        BadLine(absl::StrFormat("  THE LIST OF BLOCKS LOOPS at %#x", at));
        return;
      }
      const std::optional<std::string_view> page = Page(at, "  block");
      if (!page) return;
      Block(at, *page, order, &end, runs);
      at = Load<hugetlb_luo_block_ser>(*page, 0).next;
    }
  }

  void Block(uint64_t at, std::string_view page, uint32_t order, uint64_t* end,
             std::vector<PageRun>* runs) {
    const auto block = Load<hugetlb_luo_block_ser>(page, 0);
    Line(absl::StrFormat(
        "  block at %#x:%s %u run%s, %s", at,
        Stamp(block.magic, HUGETLB_LUO_BLOCK_MAGIC, HUGETLB_LUO_VERSION),
        block.nr_runs, block.nr_runs == 1 ? "" : "s",
        Sum(page, offsetof(hugetlb_luo_block_ser, csum),
            sizeof(block) +
                uint64_t{block.nr_runs} * sizeof(hugetlb_luo_run_ser),
            block.csum)));
    if (block.nr_runs == 0) BadLine("    EMPTY BLOCK");
    for (u32 i = 0; i < block.nr_runs && i < HUGETLB_LUO_BLOCK_RUNS; ++i)
      Run(Load<hugetlb_luo_run_ser>(
              page, sizeof(block) + i * sizeof(hugetlb_luo_run_ser)),
          order, end, runs);
  }

  void Run(const hugetlb_luo_run_ser& run, uint32_t order, uint64_t* end,
           std::vector<PageRun>* runs) {
    const uint64_t frame = order < kOrders ? uint64_t{run.frame} << order : 0;
    std::string line = absl::StrCat("    ", Range(run.index, run.nr));
    if (order != kNoFrames) {
      line += absl::StrFormat(" at %#x (frame %u)", frame * kPage, frame);
    } else if (run.frame != 0) {
      line += Bad(", HAS A FRAME");
    }
    if (run.nr == 0)
      line = Bad(absl::StrFormat("    RUN OF NO PAGES at index %u", run.index));
    if (run.index < *end) line += Bad(", OUT OF ORDER");
    if (run.owner > nr_owners_)
      line += Bad(absl::StrCat(", OWNER ", run.owner, " IS NOT THERE"));
    else if (run.owner != 0)
      line += absl::StrCat(", owner ", run.owner);
    Line(line);
    *end = std::max<uint64_t>(*end, uint64_t{run.index} + run.nr);
    runs->push_back({run.index, run.nr, frame});
  }

  static uint64_t EndIndex(const hugetlb_luo_file_ser& file) {
    const uint64_t size = file.order < kOrders ? kPage << file.order : 0;
    return size == 0 ? ~uint64_t{0}
                     : file.size / size + (file.size % size != 0 ? 1 : 0);
  }

  // What is reserved, beside the pages. Both ascend, or that has been said.
  void Reserved(const hugetlb_luo_file_ser& file,
                const std::vector<PageRun>& runs,
                std::vector<PageRun> reserved) {
    uint64_t left = 0, end = 0;
    for (const PageRun& range : reserved) {
      left += range.pages;
      end = std::max(end, range.index + range.pages);
      for (const PageRun& run : runs) {
        const uint64_t from = std::max(range.index, run.index);
        const uint64_t to =
            std::min(range.index + range.pages, run.index + run.pages);
        if (from < to) left -= to - from;
      }
    }
    if (left != file.nr_resv)
      BadLine(absl::StrCat("  TOTAL WRONG: ", left, " reserved without a page,",
                           " the file says ", file.nr_resv));
    if (end > EndIndex(file)) BadLine("  RESERVED BEYOND THE END of the file");
  }

  // Runs and late runs of a file together.
  void FileRuns(size_t number, const hugetlb_luo_file_ser& file,
                std::vector<PageRun> runs) {
    std::sort(runs.begin(), runs.end(), [](const PageRun& a, const PageRun& b) {
      return a.index < b.index;
    });
    uint64_t pages = 0, end = 0;
    for (const PageRun& run : runs) {
      if (run.pages != 0 && run.index < end)
        BadLine(absl::StrCat("  PAGE ", run.index, " IS THERE TWICE"));
      end = std::max(end, run.index + run.pages);
      pages += run.pages;
      if (file.order < kOrders && run.pages != 0)
        memory_.push_back(
            {run.frame, run.frame + (run.pages << file.order), number});
    }
    if (pages != file.nr_pages)
      BadLine(absl::StrCat("  TOTAL WRONG: the runs have ", Pages(pages),
                           ", the file says ", file.nr_pages));
    if (end > EndIndex(file)) BadLine("  PAGES BEYOND THE END of the file");
  }

  void CompareCounts(const Counts& announced) {
    Counts all = announced;
    for (const auto& [key, pages] : found_) all.try_emplace(key, 0);
    for (const auto& [key, pages] : all) {
      auto found = found_.find(key);
      const uint64_t has = found == found_.end() ? 0 : found->second;
      if (has != pages)
        BadLine(absl::StrCat("ANNOUNCED IS NOT WHAT COMES: on node ",
                             key.second, " ", Pages(pages), " of order ",
                             key.first, ", the files have ", has));
    }
  }

  void FindSharedMemory() {
    std::sort(memory_.begin(), memory_.end(),
              [](const Memory& a, const Memory& b) { return a.from < b.from; });
    for (size_t i = 1; i < memory_.size(); ++i) {
      Memory& last = memory_[i - 1];
      if (memory_[i].from < last.to)
        BadLine(absl::StrCat("FRAME ", memory_[i].from, " IS THERE TWICE: in ",
                             "file ", last.file, " and in file ",
                             memory_[i].file));
      memory_[i].to = std::max(memory_[i].to, last.to);
    }
  }

  const SavedTable& table_;
  std::set<uint64_t> seen_;  // records
  Counts found_;             // of all files
  std::vector<Memory> memory_;
  std::string out_;
  uint64_t nr_owners_ = 0;  // of the file that is looked at
  int wrong_ = 0;
};

}  // namespace

TableText DescribeTable(const SavedTable& table) {
  return Describer(table).Run();
}

}  // namespace sim::cli
