// SPDX-License-Identifier: BSD-3-Clause
#include "sim/cli/table.h"

#include <sim/kernel_api.h>

#include <cstddef>
#include <cstring>
#include <utility>

extern "C" {
#include <linux/kho/abi/hugetlb.h>
}

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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
    for (uint64_t block : {record.runs, record.late, record.resv}) {
      while (add(block))
        block = Load<hugetlb_luo_block_ser>(table.pages[block], 0).next;
    }
    uint64_t owner = record.owners;
    while (add(owner))
      owner = Load<hugetlb_luo_owner_ser>(table.pages[owner], 0).next;
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

}  // namespace sim::cli
