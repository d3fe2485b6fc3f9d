// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_INVARIANTS_H_
#define SIM_EXEC_INVARIANTS_H_

// Properties that need insight into the simulated kernel, checked after every
// step, from outside: no lock is taken, nothing is changed. What shows in
// system calls and sysfs is the model's to judge.

#include <cstdint>
#include <string>
#include <vector>

#include "model/history.h"
#include "model/observation.h"
#include "sim/exec/executor.h"
#include "sim/liveupdate/kho.h"
#include "sim/machine/machine.h"

struct folio;

namespace sim {

// What an attempt that failed, or was undone, has to leave as it was.
struct KernelState {
  KhoKeySet kho;
  uint64_t slab_objects = 0;
  uint64_t vmalloc_areas = 0;
  int64_t pins = 0;         // of huge pages
  uint64_t tree_pages = 0;  // of KHO: they only ever grow
  // Frames that are free or lie in a pool: a page that was moved aside may
  // have been taken from either.
  uint64_t free_frames = 0;
};

class Invariants {
 public:
  explicit Invariants(const Executor& executor);
  Invariants(const Invariants&) = delete;
  Invariants& operator=(const Invariants&) = delete;

  // A kernel came up; `cold`: without a predecessor's pages, `fault`: a call
  // of its boot failed by plan.
  void Booted(bool cold, bool fault = false);
  void Before(const model::Command& command);
  // Valid until the next call.
  const std::vector<Violation>& After(const model::Command& command,
                                      const model::Observation& seen);
  // Ends all processes, closes all files and sessions, and looks at what is
  // left; not at what KHO holds if a kernel was cut short (not `whole`): that
  // is more than any record tells of.
  const std::vector<Violation>& Teardown(Executor* executor, bool whole = true);

 private:
  void Fail(const char* property, std::string what);

  // invariants.cc
  KernelState Capture() const;
  uint64_t KernelFrames() const;
  void CheckRollback(const model::Command& command,
                     const model::Observation& seen);
  void CheckKeys();
  void CheckRest();

  // invariant_pools.cc
  void CheckPools();
  void CheckRetrieved(struct file* file);
  bool HeldAside(const KhoKey& key) const;
  bool Claim(uint64_t pfn, unsigned order, const char* owner);
  void CheckFreeFolio(const struct folio* folio, int nid, unsigned order);
  void CheckActiveFolio(const struct folio* folio, unsigned order);
  void CountCma(const struct folio* folio, unsigned order);
  void CheckCma(bool end);
  void CheckQuarantine();
  void CheckErrors();
  void CheckErrorList();
  void CheckLooseError(const BadFrame& bad);

  // invariant_charges.cc
  void CheckCharges();
  void CheckNoCharges();

  // teardown.cc
  void CloseEverything(UserSpace* user);
  void CheckNothingLeft(bool whole);
  void CheckSlabs();
  void CheckOwnSlabs();
  void CheckFrames();

  const Executor& executor_;
  std::vector<Violation> found_;

  // --- Of the running kernel, when it had booted.
  KernelState boot_;
  bool cold_ = true;
  uint64_t boot_kernel_frames_ = 0;
  uint64_t boot_reserved_frames_ = 0;
  uint64_t boot_unclaimed_ = 0;
  bool boot_fault_ = false;
  std::vector<std::string> boot_objects_;  // after a handover boot

  bool comparing_ = false;
  KernelState before_;

  // Who was seen to own which part of memory, in this check.
  std::vector<uint32_t> claims_;
  uint32_t check_ = 0;
  unsigned claim_order_ = 0;
  uint64_t cma_pages_[model::kMaxNodes] = {};  // of the areas, in pools
};

}  // namespace sim

#endif  // SIM_EXEC_INVARIANTS_H_
