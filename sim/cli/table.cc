// SPDX-License-Identifier: BSD-3-Clause
#include "sim/cli/table.h"

#include <sim/kernel_api.h>

#include <cstddef>
#include <cstring>
#include <optional>
#include <set>
#include <utility>
#include <vector>

extern "C" {
#include <linux/kho/abi/hugetlb.h>
}

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/history.h"
#include "sim/exec/corrupt.h"
#include "sim/machine/machine.h"

namespace sim::cli {
namespace {

constexpr std::string_view kMagic = "handover table 1\n";
constexpr size_t kPage = PAGE_SIZE;
constexpr size_t kMaxRecords = 65536;

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

std::string Verdict(std::string_view page, size_t csum_offset, size_t bytes,
                    uint32_t is) {
  if (bytes > page.size()) return "checksum cannot be right: too many entries";
  const uint32_t should = Checksum(page, csum_offset, bytes);
  if (is == should) return "checksum right";
  return absl::StrFormat("CHECKSUM WRONG: is %08x, should be %08x", is, should);
}

std::string Stamp(uint32_t magic, uint32_t right_magic, uint32_t version) {
  std::string out;
  if (magic != right_magic) {
    absl::StrAppend(&out, absl::StrFormat(" MAGIC WRONG: %08x", magic));
  }
  if (version != HUGETLB_LUO_VERSION) {
    absl::StrAppend(&out, " VERSION UNKNOWN: ", version);
  }
  return out;
}

std::string OrderSize(uint32_t order) {
  if (order > 30) return absl::StrCat("order ", order, " (IMPOSSIBLE)");
  return ::handover::model::PrintSize(kPage << order);
}

std::string Seals(uint32_t seals) {
  if (seals == 0) return "none";
  std::string out;
  const char* const names[] = {"seal",  "shrink",       "grow",
                               "write", "future-write", "exec"};
  for (unsigned bit = 0; bit < 32; ++bit) {
    if ((seals >> bit & 1) == 0) continue;
    absl::StrAppend(&out, out.empty() ? "" : ",",
                    bit < 6 ? names[bit] : absl::StrCat("bit-", bit));
  }
  return out;
}

class Describer {
 public:
  explicit Describer(const SavedTable& table) : table_(table) {}

  std::string Run() {
    if (table_.root == 0)
      return "no table: nothing of HugeTLB is handed over\n";
    std::optional<std::string_view> page = Page(table_.root, "root");
    if (!page) return out_;
    const auto root = Load<hugetlb_luo_root_ser>(*page, 0);
    const size_t bytes =
        sizeof(root) + root.nr_counts * sizeof(hugetlb_luo_count_ser);
    Line(absl::StrFormat(
        "root at %#x:%s version %u, %s", table_.root,
        Stamp(root.magic, HUGETLB_LUO_ROOT_MAGIC, root.version), root.version,
        Verdict(*page, offsetof(hugetlb_luo_root_ser, csum), bytes,
                root.csum)));
    Counts(*page, sizeof(root), root.nr_counts);
    Line(absl::StrFormat("  files: %u", root.nr_files));
    uint64_t at = root.files;
    for (size_t i = 0; at != 0; ++i) {
      if (!seen_.insert(at).second || i == kMaxRecords) {
        Line(absl::StrFormat("the list of files LOOPS at %#x", at));
        break;
      }
      at = File(i, at);
    }
    return out_;
  }

 private:
  void Line(const std::string& line) { absl::StrAppend(&out_, line, "\n"); }

  std::optional<std::string_view> Page(uint64_t phys, const char* what) {
    auto it = table_.pages.find(phys & ~(kPage - 1));
    if (it == table_.pages.end() || phys % kPage != 0) {
      Line(absl::StrFormat("%s at %#x: NO SUCH PAGE of the table", what, phys));
      return std::nullopt;
    }
    return std::string_view(it->second);
  }

  void Counts(std::string_view page, size_t offset, uint64_t nr) {
    for (uint64_t i = 0; i < nr; ++i) {
      if (offset + (i + 1) * sizeof(hugetlb_luo_count_ser) > page.size()) {
        Line(absl::StrCat("  COUNTS run over the end of their page: ", nr));
        return;
      }
      const auto count = Load<hugetlb_luo_count_ser>(
          page, offset + i * sizeof(hugetlb_luo_count_ser));
      Line(absl::StrFormat("  %u pages of %s on node %u", count.nr,
                           OrderSize(count.order), count.nid));
    }
  }

  // Returns the next file's address.
  uint64_t File(size_t number, uint64_t at) {
    std::optional<std::string_view> page = Page(at, "file");
    if (!page) return 0;
    const auto file = Load<hugetlb_luo_file_ser>(*page, 0);
    const size_t bytes =
        sizeof(file) + uint64_t{file.nr_counts} * sizeof(hugetlb_luo_count_ser);
    Line(absl::StrFormat(
        "file %u at %#x:%s version %u, %s", number, at,
        Stamp(file.magic, HUGETLB_LUO_FILE_MAGIC, file.version), file.version,
        Verdict(*page, offsetof(hugetlb_luo_file_ser, csum), bytes,
                file.csum)));
    Line(absl::StrFormat(
        "  %u pages of %s, size %u bytes, position %u, seals %s, mode %04o",
        file.nr_pages, OrderSize(file.order), file.size, file.pos,
        Seals(file.seals), file.mode));
    if (file.reserved != 0)
      Line(absl::StrFormat("  RESERVED FIELD is %#x, should be 0",
                           file.reserved));
    Counts(*page, sizeof(file), file.nr_counts);
    Blocks(file.runs, file.order);
    if (file.late != 0) {
      Line("  pages added after the file was preserved:");
      Blocks(file.late, file.order);
    }
    return file.next;
  }

  void Blocks(uint64_t block, uint32_t order) {
    for (size_t i = 0; block != 0; ++i) {
      if (!seen_.insert(block).second || i == kMaxRecords) {
        Line(absl::StrFormat("  the list of blocks LOOPS at %#x", block));
        return;
      }
      block = Block(block, order);
    }
  }

  uint64_t Block(uint64_t at, uint32_t order) {
    std::optional<std::string_view> page = Page(at, "  block");
    if (!page) return 0;
    const auto block = Load<hugetlb_luo_block_ser>(*page, 0);
    const size_t bytes =
        sizeof(block) + uint64_t{block.nr_runs} * sizeof(hugetlb_luo_run_ser);
    Line(absl::StrFormat(
        "  block at %#x:%s %u runs, %s", at,
        Stamp(block.magic, HUGETLB_LUO_BLOCK_MAGIC, HUGETLB_LUO_VERSION),
        block.nr_runs,
        Verdict(*page, offsetof(hugetlb_luo_block_ser, csum), bytes,
                block.csum)));
    for (u32 i = 0; i < block.nr_runs && i < HUGETLB_LUO_BLOCK_RUNS; ++i) {
      const auto run = Load<hugetlb_luo_run_ser>(
          *page, sizeof(block) + i * sizeof(hugetlb_luo_run_ser));
      const uint64_t phys =
          order > 30 ? 0 : uint64_t{run.frame} * (kPage << order);
      Line(absl::StrFormat("    pages %u to %u at %#x", run.index,
                           uint64_t{run.index} + run.nr - (run.nr > 0), phys));
    }
    return block.next;
  }

  const SavedTable& table_;
  std::set<uint64_t> seen_;
  std::string out_;
};

void AddWord(std::string* out, uint64_t word) {
  for (int i = 0; i < 8; ++i)
    out->push_back(static_cast<char>(word >> (8 * i)));
}

uint64_t Word(std::string_view content, size_t offset) {
  uint64_t word = 0;
  for (size_t i = 0; i < 8; ++i)
    word |= uint64_t{static_cast<unsigned char>(content[offset + i])}
            << (8 * i);
  return word;
}

}  // namespace

SavedTable CollectTable() {
  SavedTable table;
  table.root = OutgoingTableRoot();
  auto add = [&table](uint64_t phys) {
    if (phys == 0 || phys % kPage != 0 || table.pages.size() >= kMaxRecords ||
        !M().memory().Exists(phys / kPage))
      return false;
    return table.pages
        .emplace(phys, std::string(M().memory().base() + phys, kPage))
        .second;
  };
  if (!add(table.root)) return table;
  uint64_t file = Load<hugetlb_luo_root_ser>(table.pages[table.root], 0).files;
  while (add(file)) {
    const auto record = Load<hugetlb_luo_file_ser>(table.pages[file], 0);
    for (uint64_t block : {record.runs, record.late}) {
      while (add(block))
        block = Load<hugetlb_luo_block_ser>(table.pages[block], 0).next;
    }
    file = record.next;
  }
  return table;
}

std::string Encode(const SavedTable& table) {
  std::string out(kMagic);
  AddWord(&out, table.root);
  AddWord(&out, table.pages.size());
  for (const auto& [phys, bytes] : table.pages) {
    AddWord(&out, phys);
    out += bytes;
  }
  return out;
}

absl::StatusOr<SavedTable> DecodeTable(std::string_view content) {
  if (content.substr(0, kMagic.size()) != kMagic)
    return absl::InvalidArgumentError(
        "is no saved table; `handover replay FILE --save-table=TABLE` makes "
        "one");
  content.remove_prefix(kMagic.size());
  if (content.size() < 16)
    return absl::InvalidArgumentError("ends in the middle of its header");
  SavedTable table;
  table.root = Word(content, 0);
  const uint64_t pages = Word(content, 8);
  content.remove_prefix(16);
  if (content.size() % (8 + kPage) != 0 ||
      content.size() / (8 + kPage) != pages)
    return absl::InvalidArgumentError(absl::StrCat(
        "should have ", pages, " pages and has ", content.size() / (8 + kPage),
        " and ", content.size() % (8 + kPage), " bytes"));
  for (uint64_t i = 0; i < pages; ++i) {
    const uint64_t phys = Word(content, 0);
    if (phys % kPage != 0 ||
        !table.pages.emplace(phys, std::string(content.substr(8, kPage)))
             .second)
      return absl::InvalidArgumentError(absl::StrFormat(
          "page %u has the address %#x, which is no page's or another's", i,
          phys));
    content.remove_prefix(8 + kPage);
  }
  return table;
}

std::string DescribeTable(const SavedTable& table) {
  return Describer(table).Run();
}

}  // namespace sim::cli
