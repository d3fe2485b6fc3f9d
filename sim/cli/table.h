// SPDX-License-Identifier: BSD-3-Clause
//
// HugeTLB's handover table, saved to a file and read from one.
//
// The file's form: the line "handover table 1\n"; then little-endian 64-bit
// words: the physical address of the root record (0: there is no table) and
// the number of pages; then, for each page, its physical address in such a
// word and its 4096 bytes.
#ifndef SIM_CLI_TABLE_H_
#define SIM_CLI_TABLE_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace sim::cli {

struct SavedTable {
  uint64_t root = 0;
  std::map<uint64_t, std::string> pages;  // 4096 bytes each, by address
};

// The table that the kernel that has just stopped leaves to the next one.
SavedTable CollectTable();

std::string Encode(const SavedTable& table);
absl::StatusOr<SavedTable> DecodeTable(std::string_view content);

// What the table says, for people; what is wrong stands in CAPITALS.
struct TableText {
  std::string text;
  int wrong = 0;  // things in capitals
};
TableText DescribeTable(const SavedTable& table);

}  // namespace sim::cli

#endif  // SIM_CLI_TABLE_H_
