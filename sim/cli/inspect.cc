// SPDX-License-Identifier: BSD-3-Clause
//
// handover inspect: a saved handover table, decoded.
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "sim/cli/commands.h"
#include "sim/cli/files.h"
#include "sim/cli/table.h"

namespace sim::cli {
namespace {

absl::StatusOr<int> Inspect(const Arguments& arguments) {
  const std::string& path = arguments.operands()[0];
  absl::StatusOr<std::string> content = ReadFile(path);
  if (!content.ok()) return content.status();
  absl::StatusOr<SavedTable> table = DecodeTable(*content);
  if (!table.ok())
    return absl::InvalidArgumentError(
        absl::StrCat(path, " ", table.status().message()));
  const TableText text = DescribeTable(*table);
  std::fputs(text.text.c_str(), stdout);
  return text.wrong == 0 ? kHeld : kBroken;
}

}  // namespace

const Subcommand kInspect = {
    "inspect",
    "FILE",
    "decode a saved handover table",
    "Says what HugeTLB handed over, as the next kernel found it in memory:\n"
    "the root, each file, its runs of pages. What is wrong stands in "
    "CAPITALS:\n"
    "checksums, orders, runs that do not ascend, pages that are there twice,\n"
    "counts that are not what the runs add up to. Whether KHO holds a page,\n"
    "and which node it lies on, is not in a table.\n"
    "Frames count 4 KiB, as in `replay`. FILE comes from\n"
    "`handover replay HISTORY --save-table=FILE`.\n"
    "Exit status: 0 nothing is wrong, 1 something is, 2 bad usage or no table.",
    {},
    &Inspect};

}  // namespace sim::cli
