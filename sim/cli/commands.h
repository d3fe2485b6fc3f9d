// SPDX-License-Identifier: BSD-3-Clause
//
// The subcommands of `handover`.
#ifndef SIM_CLI_COMMANDS_H_
#define SIM_CLI_COMMANDS_H_

#include "sim/cli/arguments.h"

namespace sim::cli {

inline constexpr int kHeld = 0;
inline constexpr int kBroken = 1;
inline constexpr int kBadUsage = 2;

extern const Subcommand kRun;
extern const Subcommand kReplay;
extern const Subcommand kDraw;
extern const Subcommand kInspect;
extern const Subcommand kJudge;
extern const Subcommand kGenerate;
extern const Subcommand kExplore;
extern const Subcommand kSweep;

}  // namespace sim::cli

#endif  // SIM_CLI_COMMANDS_H_
