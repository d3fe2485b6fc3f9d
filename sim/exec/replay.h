// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_REPLAY_H_
#define SIM_EXEC_REPLAY_H_

// Runs a whole history and holds every step of it against the model and
// against what only a simulator can see.

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/history.h"
#include "model/observation.h"
#include "sim/exec/executor.h"
#include "sim/exec/reach.h"

namespace sim {

// A property that broke.
struct Finding {
  // The command, counted from 0; kBootStep or kTeardownStep.
  int64_t step = 0;
  std::string property;  // a name of properties.md
  std::string what;
};
inline constexpr int64_t kBootStep = -1;
inline constexpr int64_t kTeardownStep = INT64_MAX;

// What a run reached. Adds up over runs.
struct RunStats {
  static constexpr int kErrnos = 134;
  int64_t histories = 0;
  int64_t boots = 0;  // of next kernels
  int64_t faults_hit = 0;
  int64_t missed = 0;        // Observation::missed
  int64_t gave_up = 0;       // a fault by plan made a kernel panic, as in Linux
  int64_t linux_warned = 0;  // ended early: Machine::NoteLinuxWarning()
  int64_t linux_hung = 0;    // the same: Machine::NoteLinuxHang()
  std::array<int64_t, model::kVerbs> verbs{};
  std::array<int64_t, model::kVerbs> failed{};  // of those
  std::array<int64_t, kErrnos> errnos{};
  int64_t sigbus = 0;
  int64_t sigsegv = 0;
  int64_t killed = 0;
  int64_t checks = 0;                       // of invariants
  std::array<int64_t, kReaches> reached{};  // histories

  void Add(const RunStats& other);
};

struct RunOptions {
  uint64_t seed = 0;       // start of the digest
  bool judge = true;       // the model
  bool invariants = true;  // what only the simulator sees
  bool teardown = true;
  bool log = false;    // fill in RunResult::log
  bool trace = false;  // and the machine's trace with it
  // Go on after something broke: for people who look at a history.
  bool keep_going = false;
  // Called after the boot (command: null) and after each command.
  std::function<void(int64_t step, const model::Command* command,
                     const model::Observation& seen, const Executor& executor)>
      observer;
  // Called between the kernels of each kexec (Executor::set_at_handover).
  std::function<void()> at_handover;
};

struct HistoryResult {
  std::vector<Finding> findings;
  uint64_t digest = 0;
  int64_t commands = 0;
  std::string log;
  // Where Linux goes on without end, and the history was not judged any
  // further: "step 11 (agent reboot): memfd_pin_folios: ...". Mostly empty.
  std::string hang;
  RunStats stats;

  bool ok() const { return findings.empty(); }
};

// Stops after the first step at which something broke, unless told otherwise.
HistoryResult RunHistory(const model::History& history,
                         const RunOptions& options = RunOptions());

// "step 12 (p0 write m0 3 7f): contents: ..."
std::string Print(const Finding& finding, const model::History& history);

}  // namespace sim

#endif  // SIM_EXEC_REPLAY_H_
