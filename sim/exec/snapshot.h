// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_SNAPSHOT_H_
#define SIM_EXEC_SNAPSHOT_H_

// What can be seen of a kernel from outside, without disturbing it: no lock is
// taken and no step is made, so that a kernel which stopped halfway can be
// looked at, too.

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "model/observation.h"
#include "sim/liveupdate/kho.h"
#include "sim/user/user_space.h"

namespace sim {

namespace model = ::handover::model;

class Snapshooter {
 public:
  explicit Snapshooter(const UserSpace& user) : user_(user) {}
  Snapshooter(const Snapshooter&) = delete;
  Snapshooter& operator=(const Snapshooter&) = delete;

  // A kernel is about to go by kexec: notes which of the blocks that KHO keeps
  // are huge pages, which the next kernel cannot tell any more.
  void NoteHandover(const model::TableView& table, bool cut);
  // A kernel came up; `cold`: nothing was handed to it.
  void Booted(bool cold);
  // A line of the kernel's log.
  void ReadLogLine(std::string_view line, bool* shortage);

  // `stopped`: others were in the middle of something when the kernel stopped.
  void Fill(model::Snapshot* out, bool stopped = false);
  // How many free pages could be handed over where they are.
  void CountFit(model::Snapshot* out) const;
  // What the running kernel says of free pages that it hands over.
  const std::vector<model::Reserved>& handing() const { return handing_; }

  // Huge pages handed to this kernel which are still KHO's, ascending.
  const std::vector<KhoKey>& handed_over() const { return handed_over_; }
  const std::vector<KhoKey>& claimed() const { return restored_; }
  // HugeTLB reported an error with what was handed over.
  bool trouble() const { return trouble_; }

 private:
  void FillPools(model::Snapshot* out) const;
  void FillFiles(model::Snapshot* out) const;
  void AddFile(model::Snapshot* out, int name, struct file* file) const;
  void AddUnnamed(model::Snapshot* out) const;
  void FillQuarantine(model::Snapshot* out, bool stopped);

  const UserSpace& user_;
  std::vector<KhoKey> handed_over_;
  std::vector<KhoKey> restored_;  // of those, no more KHO's
  uint64_t unclaimed_pages_ = 0;  // when handed_over_ was last looked at
  // By hstate and node: pages in use that are still KHO's.
  std::array<std::array<int64_t, model::kMaxNodes>, model::kMaxPageSizes>
      announced_{};
  std::vector<model::Reserved> reported_;
  std::vector<model::SizedPool> sized_;
  std::vector<model::Reserved> handing_;
  bool trouble_ = false;
};

// Huge pages of an order that an allocation from this node would get for
// certain; 0 where that cannot be told.
int64_t SureAllocations(int nid, unsigned order);

}  // namespace sim

#endif  // SIM_EXEC_SNAPSHOT_H_
