// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_EXECUTOR_H_
#define SIM_EXEC_EXECUTOR_H_

// Runs a history on a simulated machine, command by command, and says what was
// seen in the words of the model.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/history.h"
#include "model/observation.h"
#include "sim/exec/snapshot.h"
#include "sim/liveupdate/kho.h"
#include "sim/machine/machine.h"
#include "sim/mm/boot.h"
#include "sim/user/user_space.h"

namespace sim {

namespace model = ::handover::model;

class Executor {
 public:
  // The seed only starts the digest: all that happens is in the history.
  explicit Executor(const model::History& history, uint64_t seed = 0);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Powers the machine on. Call once, before the first Run().
  const model::Observation& Boot();
  // Carries out the next command. The result is valid until the next call.
  const model::Observation& Run(const model::Command& command);

  // The kernel hit a BUG() or did not boot: nothing can run any more.
  bool dead() const { return dead_; }
  // It gave up because a call failed by plan early in boot, with a panic or a
  // BUG_ON() that Linux has there: nothing that this project could mend.
  bool panicked_by_plan() const { return panicked_by_plan_; }
  // Machine::NoteLinuxWarning().
  bool linux_warned() const { return machine_->linux_warnings() > 0; }
  // Machine::NoteLinuxHang().
  const std::string& linux_hang() const { return machine_->linux_hang(); }
  // Looks at the kernel once more, after something was done behind the back of
  // Run().
  void Look();
  Machine& machine() { return *machine_; }
  const UserSpace& user() const { return user_; }
  UserSpace* mutable_user() { return &user_; }
  // Huge pages of files that this kernel was handed and nobody claimed yet.
  const std::vector<KhoKey>& handed_over() const {
    return snapshooter_.handed_over();
  }
  bool table_corrupted() const { return table_corrupted_; }
  // What LUO says about where files' records are, too.
  bool handles_corrupted() const { return handles_corrupted_; }
  // Pages of the table that the running kernel got which no record of it leads
  // to any more, since it was damaged. Ascending.
  const std::vector<uint64_t>& left_out() const { return left_out_; }
  // And those that were claimed in the meantime.
  const std::vector<KhoKey>& claimed() const { return snapshooter_.claimed(); }
  // The kernel before had other nodes.
  bool renumbered() const { return renumbered_; }
  // There is memory that this kernel could not claim, were it only tables.
  bool Quarantined() const {
    return snapshooter_.trouble() || !seen_.after.quarantined.empty();
  }
  // Called when a kernel has stopped and before the next one is entered, after
  // `sim corrupt`: its tables lie in memory as the next kernel will find them.
  void set_at_handover(std::function<void()> at_handover) {
    at_handover_ = std::move(at_handover);
  }
  // Words to be read into Observation::cells after each command.
  void set_watched(const std::vector<model::Cell>* cells) { watched_ = cells; }

 private:
  // A command that was given to an actor.
  struct Task {
    model::Command command;
    model::Outcome outcome;
    int64_t place = 0;  // in the history
    int actor = -1;
    bool started = false;
    bool missed = false;  // its step was not passed
    bool done = false;
    bool waited = false;  // set when it is done
  };

  int ActorOf(const model::Command& command) const;
  model::Outcome Perform(const model::Command& command);
  void Start(Task* task);
  void RunOnItsActor(const model::Command& command);
  void RunPlanned();
  void AfterStep();
  void ReportDuring();
  void ReportFinished();
  void NextKernel(bool power);
  bool GaveUp() const;
  void FillCells();
  void ReadLog();
  void CheckHandedOnce();
  model::TableVerdict JudgedTable() const;

  std::unique_ptr<Machine> machine_;
  UserSpace user_;
  Snapshooter snapshooter_;
  model::Observation seen_;
  KernelConfig config_;
  KernelConfig image_;
  bool image_loaded_ = false;
  bool dead_ = false;
  bool panicked_by_plan_ = false;
  int64_t place_ = 0;
  size_t violations_ = 0;  // seen so far
  size_t log_lines_ = 0;   // read so far

  // What `sim` commands prepared for the next command.
  std::vector<FaultPlan> faults_;
  uint64_t cut_ = 0;              // `sim cut`: at which step; 0: none
  bool table_corrupted_ = false;  // that the running kernel got
  bool handles_corrupted_ = false;
  std::vector<uint64_t> left_out_;
  bool renumbered_ = false;
  uint64_t interleave_ = 0;  // `sim interleave`, for the next command
  std::vector<model::Command> corruptions_;
  std::vector<std::unique_ptr<Task>> during_;

  Task main_;
  std::vector<std::unique_ptr<Task>> waiting_;
  const std::vector<model::Cell>* watched_ = nullptr;
  std::function<void()> at_handover_;
};

}  // namespace sim

#endif  // SIM_EXEC_EXECUTOR_H_
