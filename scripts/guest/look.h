// SPDX-License-Identifier: BSD-3-Clause
//
// What the machine looks like from outside the processes of a history.
#ifndef HANDOVER_SCRIPTS_GUEST_LOOK_H_
#define HANDOVER_SCRIPTS_GUEST_LOOK_H_

#include <cstdint>

#include "model/history.h"
#include "scripts/guest/process.h"

namespace handover::guest {

class Looker {
 public:
  // The cgroup hierarchy is at /cgroup.
  explicit Looker(const model::History& history);
  // Says what is to be seen after the command at `place`; -1: after a boot.
  void Look(int64_t place);
  // A file's huge page: its first frame, or kNoFrame. -EHWPOISON: it is there,
  // and has a memory error.
  model::Outcome Find(int file, int64_t page);
  // The session is one of the kernel before.
  void SetIncoming(int session, bool incoming);

 private:
  Child child_;
};

}  // namespace handover::guest

#endif  // HANDOVER_SCRIPTS_GUEST_LOOK_H_
