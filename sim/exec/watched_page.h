// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_WATCHED_PAGE_H_
#define SIM_EXEC_WATCHED_PAGE_H_

// One huge page, wherever it goes: what a window of refine.cc on a page sees.

#include <cstdint>
#include <vector>

#include "model/observation.h"
#include "model/refinement.h"
#include "sim/exec/executor.h"

namespace sim {

// A retrieval that failed holds on to what it got from KHO. A page with a
// memory error has another reference, for good.
bool HeldAside(int64_t frame);

// All or none of what KHO still has for this kernel was refused; or unknown.
model::Sight::Refused RefusedOf(const model::Observation& seen);

class WatchedPage {
 public:
  WatchedPage(int64_t frame, unsigned order) : frame_(frame), order_(order) {}

  int64_t frame() const { return frame_; }
  unsigned order() const { return order_; }

  // At any step. `reboots`: in a reboot call, in which KHO gets the keys of
  // free pages, and their list may be found.
  model::PageSight During(bool reboots);
  // After the last one.
  model::PageSight AtStop();
  // Between two commands.
  model::PageSight AtRest(const Executor& executor,
                          const model::Observation& seen);
  // Memory was taken offline: what is there cannot be handed over any more.
  void MaybeNew() { maybe_new_ = true; }
  // A kernel came up in which it `waits` for somebody to claim it; what came
  // may be `damaged`.
  void Booted(bool waits, bool damaged);

  // A base page of it has a memory error.
  bool HasError(const Executor& executor) const;

 private:
  model::PageSight::Kind KindNow() const;
  bool Fits() const;
  bool HasOthers() const;
  bool MoreKeys(bool reboots);

  int64_t frame_;
  unsigned order_;
  model::PageSight::Kind kind_ = model::PageSight::kElsewhere;
  bool came_ = false;  // to this kernel, and was in no file yet
  bool damaged_ = false;
  bool maybe_new_ = false;
  bool unwanted_ = false;  // at some time of this reboot call, in a list
  bool key_ = false;       // KHO has it
  int64_t keys_ = 0;       // that KHO had
  int64_t own_ = 0;        // of which were not counted yet
};

// Some pages to look at, of which most are free in their pools.
std::vector<WatchedPage> ChoosePages(uint64_t seed);

}  // namespace sim

#endif  // SIM_EXEC_WATCHED_PAGE_H_
