// SPDX-License-Identifier: BSD-3-Clause
//
// The processes p0 to p7 of a history.
#ifndef HANDOVER_SCRIPTS_GUEST_PROCESS_H_
#define HANDOVER_SCRIPTS_GUEST_PROCESS_H_

#include <sys/types.h>

#include <array>

#include "model/history.h"
#include "model/observation.h"

namespace handover::guest {

// A child that serves one request after the other. Requests and answers go
// through pipes, so that one which gets no answer can be told.
class Child {
 public:
  using Serve = model::Outcome (*)(const model::History& history,
                                   int64_t request);

  bool alive() const { return pid_ > 0; }
  void Start(const model::History& history, Serve serve);
  // kBlocked: there was no answer in time; kKilled: the child died.
  model::Outcome Ask(int64_t request);
  // Lets it end, and waits until all that it had is gone.
  void End();

 private:
  void Gone();

  pid_t pid_ = -1;
  // The agent's ends of the pipes, and the child's, which are in one table.
  int ask_ = -1;
  int answer_ = -1;
  int ask_read_ = -1;
  int answer_write_ = -1;
};

class Processes {
 public:
  explicit Processes(const model::History& history) : history_(history) {}
  // `place`: of a command of a process.
  model::Outcome Run(int64_t place);

 private:
  const model::History& history_;
  std::array<Child, model::kMaxProcesses> children_;
};

}  // namespace handover::guest

#endif  // HANDOVER_SCRIPTS_GUEST_PROCESS_H_
