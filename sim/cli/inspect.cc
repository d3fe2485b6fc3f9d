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
  std::fputs(DescribeTable(*table).c_str(), stdout);
  return kHeld;
}

}  // namespace

const Subcommand kInspect = {
    "inspect",
    "FILE",
    "decode a saved handover table",
    "Says what HugeTLB handed over, as the next kernel found it in memory: "
    "the\n"
    "root, each file, its runs of pages, and whether the checksums are right.\n"
    "What is wrong stands in CAPITALS. FILE comes from\n"
    "`handover replay HISTORY --save-table=FILE`.",
    {},
    &Inspect};

}  // namespace sim::cli
