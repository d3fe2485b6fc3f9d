// SPDX-License-Identifier: BSD-3-Clause
//
// handover generate: histories for real kernels.
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/history.h"
#include "props/real.h"
#include "sim/cli/commands.h"
#include "sim/cli/files.h"

namespace sim::cli {
namespace {

namespace model = ::handover::model;
namespace props = ::handover::props;

absl::StatusOr<int> Generate(const Arguments& arguments) {
  const absl::StatusOr<uint64_t> seed =
      arguments.Number("seed", 1, 0, UINT64_MAX / 2);
  if (!seed.ok()) return seed.status();
  const std::string from = arguments.Text("from", "");
  const bool gigantic = arguments.Has("gigantic");
  model::History history;
  if (from.empty()) {
    history = props::GenerateReal(*seed, gigantic);
  } else {
    if (arguments.Has("seed"))
      return absl::InvalidArgumentError("--seed and --from exclude each other");
    absl::StatusOr<model::History> read = ReadHistory(from);
    if (!read.ok()) return read.status();
    history = props::ForRealMachine(*read, gigantic);
  }
  std::fputs(model::Print(history).c_str(), stdout);
  return kHeld;
}

}  // namespace

const Subcommand kGenerate = {
    "generate",
    "",
    "print a history that real kernels can run",
    "Prints a random history, or FILE, as scripts/kernel-history runs it: for "
    "a\n"
    "machine of two nodes of the x86 geometry, without commands that only the\n"
    "simulator has, and without devices.\n"
    "Exit status: 0, or 2 for bad usage.",
    {{"seed", "S", "of the random history (default 1)"},
     {"from", "FILE", "a history to be changed; - is the input"},
     {"gigantic", "",
      "the largest page size of FILE's geometry becomes 1G;\n"
      "without this it becomes 2M, as all others do"}},
    &Generate};

}  // namespace sim::cli
