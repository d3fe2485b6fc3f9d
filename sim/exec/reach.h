// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_REACH_H_
#define SIM_EXEC_REACH_H_

// Which of the situations of docs/huge-pages.md a history came by: that random
// ones do is to be seen in `handover run --stats`.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/history.h"
#include "model/observation.h"
#include "sim/exec/executor.h"

namespace sim {

enum class Reach : uint8_t {
  kSurplusPreserved,
  kMoreAsked,
  kFewerAsked,
  kAskedByNode,
  kAskedOfNoNode,
  kNodeMissing,
  kOptimizedBefore,
  kOptimizedAfter,
  kSizeMissing,
  kDemoted,
  kResized,
  kOfflineMoved,
  kOfflineWaited,
  kPrivate,
  kManyProcesses,
  kPinned,
  kSeals,
  kNoexec,
  kNeverAsked,
  kErrorHandedOver,
  kErrorLoose,
  kErrorAfterPreserve,
  kErrorLate,
  kFreeHanded,
  kFreeAlone,
  kFreeBeyond,
  kFreeLeft,
  kThreeUpdates,
  kFiveUpdates,
  kOwners,
  kManyOwners,
  kOwnerCharged,
  kLimited,
  kLimitedThenRetrieved,
  kLimitedThenFinished,
  kAreaUsed,
  kAreaAtBoot,
  kAreaLeft,
  kAreaRefused,
  kAreaAfter,
  kAreaShort,
  kReserved,
  kPromised,
  kPoolShort,
  kGigantic,
  kRebootRefused,
  kAgainRefused,
  kPreservedAgain,
  kOptimizedBoth,
  kNodeBack,
  kOptionMissing,
  kOvercommitHit,
  kResizedMeanwhile,
  kDemotedMeanwhile,
  kOfflinedMeanwhile,
  kSealedMeanwhile,
  kSealRefused,
  kRegionsBack,
  kErrorMet,
  kErrorRefused,
  kGiganticLate,
  kGiganticFree,
  kGiganticError,
  kFreeRefused,
  kFreeError,
  kFreeMeanwhile,
  kFreeLeftInArea,
  kMountRefused,
  kUnlinkedRefused,
  kMountLimit,
  kMountLimitHit,
  kMountReserves,
  kRootVersion,
  kFileVersion,
  kInHole,
};
inline constexpr int kReaches = static_cast<int>(Reach::kInHole) + 1;

std::string_view ReachName(Reach reach);

class ReachCounter {
 public:
  // After each command. Looks, and changes nothing.
  void After(const model::Command& command, const model::Observation& seen,
             const Executor& executor);
  bool reached(Reach reach) const {
    return reached_[static_cast<size_t>(reach)];
  }

 private:
  void Mark(Reach reach, bool is = true) {
    reached_[static_cast<size_t>(reach)] |= is;
  }
  void Preserved(int name, const model::Observation& seen,
                 const Executor& executor);
  void Retrieved(const model::Command& command, const model::Observation& seen);
  void Booted(const model::Observation& seen, const Executor& executor);
  void Handed(const model::Observation& seen, const Executor& executor);
  void Meanwhile(const model::Observation& seen);
  void LookAtMounts(const model::Command& command,
                    const model::Observation& seen, const Executor& executor);
  void LookAtLimits(const model::Command& command,
                    const model::Observation& seen, const Executor& executor,
                    bool beside);
  void LookAtAreas(const model::Command& command,
                   const model::Observation& seen);

  std::array<bool, kReaches> reached_{};
  int64_t outgoing_ = 0;  // sessions, likewise
  size_t unclaimed_ = 0;  // huge pages, after the command before
  int updates_ = 0;       // in a row that handed pages over
  // Tokens of this kernel's retrievals that failed on a limit.
  std::vector<uint64_t> limited_;
  // Names of files with a gigantic page in a CMA area, after the command
  // before.
  std::vector<int> in_area_;
  int64_t free_in_area_ = 0;  // pages, likewise
  // Of `sim during`, for the next command.
  std::vector<model::Verb> during_;
  std::vector<int> retrieved_;  // names, in this kernel
  std::string line_;            // the running kernel's command line
};

}  // namespace sim

#endif  // SIM_EXEC_REACH_H_
