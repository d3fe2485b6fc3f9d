// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_MEMORY_ERRORS_H_
#define SIM_EXEC_MEMORY_ERRORS_H_

// What the next kernel makes of the list of memory errors that it is handed,
// be it damaged.

#include <vector>

#include "model/handover_table.h"
#include "model/observation.h"
#include "sim/liveupdate/kho.h"
#include "sim/mm/memblock.h"
#include "sim/user/user_space.h"

namespace sim {

// From before a kexec until the next kernel is up.
class ErrorWatch {
 public:
  ErrorWatch() = default;
  ~ErrorWatch();
  ErrorWatch(const ErrorWatch&) = delete;
  ErrorWatch& operator=(const ErrorWatch&) = delete;

  // `seen` has the table as it is handed over. What is in memory that this
  // names is noted, and what the next kernel finds there and reserves for it
  // goes to `seen`. `handed_over`: huge pages of files, and free ones.
  void Start(const std::vector<KhoKey>& handed_over,
             ::handover::model::Observation* seen);
  // The errors that the next kernel has to know of.
  std::vector<BadFrame> Believed(
      const ::handover::model::TableVerdict& verdict) const;
  // That it takes nothing else of what the list names for bad, or that it is
  // not counted, is reported.
  void CheckMarks(const ::handover::model::TableVerdict& verdict) const;

 private:
  bool Held(uint64_t from, uint64_t to) const;
  bool Comes(uint64_t pfn) const;
  void LookAtMemblock();
  void SeeReserved();

  std::vector<KhoKey> handed_over_;
  std::vector<::handover::model::BadMemory> held_;  // by KHO
  std::vector<BadFrame> named_;
  MemblockType before_;
  ::handover::model::Observation* seen_ = nullptr;
};

}  // namespace sim

#endif  // SIM_EXEC_MEMORY_ERRORS_H_
