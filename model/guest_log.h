// SPDX-License-Identifier: BSD-3-Clause
//
// The serial log of a chain of real kernels that went through a history. The
// guest's agent (scripts/guest) writes what it sees into the kernel's log, one
// line a thing, so that no message of the kernel comes in the middle of a line;
// this has the lines' form, both ways. `PLACE` is a command's place in the
// history, from 0.
//
//   handover: guest 1 kernel=G next=PLACE    an agent runs, in the G-th kernel
//   handover: outcome PLACE KIND RESULT VALUE FRAME NODE
//   handover: pool SIZE RESV OVERCOMMIT NR,FREE,SURPLUS,ALLOCATABLE...
//   handover: words AT...         the bytes that were looked at in each page
//   handover: file NAME INODE PAGESIZE SIZE POSITION SEALS MODE
//   handover: page INDEX FRAME NODE [AT=VALUE]... [; INDEX ...]...
//   handover: session NAME in|out
//   handover: seen PLACE          the end of an observation; -1 after a boot
//   handover: same PLACE          likewise: the machine is as it was last seen
//   handover: reboot PLACE        what comes next is either another kernel's or
//                                 the outcome of a call that failed
//   handover: trouble TEXT        the agent could not do its work
//   handover: end
//
// The pages of a file follow it; a word that is zero is not written. What a
// real machine does not show (regions, quarantine) is no part of it.
#ifndef HANDOVER_MODEL_GUEST_LOG_H_
#define HANDOVER_MODEL_GUEST_LOG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/observation.h"

namespace handover::model {

inline constexpr int kGuestLogVersion = 1;

// --- Writing. Lines come without their ends.
std::string GuestLine(int generation, int64_t next);
std::string OutcomeLine(int64_t place, const Outcome& outcome);
// `words`: those that the cells of each page are of, ascending; of `cells`,
// only those are written that are not zero. `nodes`: of the machine.
std::vector<std::string> SnapshotLines(const Snapshot& snapshot, int nodes,
                                       const std::vector<uint64_t>& words,
                                       const std::vector<Cell>& cells);
std::string SeenLine(int64_t place);
std::string SameLine(int64_t place);
std::string RebootLine(int64_t place);
std::string TroubleLine(std::string_view text);
std::string EndLine();

// --- Reading.
struct GuestStep {
  int64_t place = -1;  // -1: the first kernel has booted
  Observation observation;
};

struct GuestLog {
  std::vector<GuestStep> steps;
  // Why the history did not get to its end: empty if it did.
  std::string broken_off;
};

// Error: the text is not what an agent of this version writes.
absl::StatusOr<GuestLog> ReadGuestLog(std::string_view text);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_GUEST_LOG_H_
