// SPDX-License-Identifier: BSD-3-Clause
//
// A history as a picture: time goes down, page frames go across.
#ifndef SIM_CLI_PICTURE_H_
#define SIM_CLI_PICTURE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/history.h"
#include "model/observation.h"
#include "sim/exec/executor.h"
#include "sim/exec/replay.h"

namespace sim::cli {

enum class Use : uint8_t {
  kFree,         // on a free list of a pool
  kFile,         // in a file
  kPreserved,    // in a file that a session holds for the next kernel
  kUnclaimed,    // handed over, in the pool's count, not yet asked for
  kQuarantined,  // handed over and refused, or not understood
  kOther,        // a private copy, or a device's page that its file let go
};
inline constexpr int kUses = 6;

// A huge page and who has it.
struct UsedPage {
  uint64_t pfn = 0;
  uint64_t frames = 0;
  int node = 0;
  Use use = Use::kFree;
  std::string label;  // "f0[3]"
};

// One command and what was there after it.
struct PictureRow {
  int64_t step = 0;  // kBootStep: the boot
  std::string text;
  std::string result;
  bool failed = false;
  std::vector<std::string> notes;  // what broke, what failed by plan
  bool broke = false;
  uint64_t touched = UINT64_MAX;  // a frame that was written or read
  std::string touch;              // "write", "read", "dma"
  std::vector<UsedPage> pages;    // ascending by pfn
};

struct PictureKernel {
  int number = 1;
  std::string command_line;
  std::string how;  // "power on", "kexec", "power cut"
  std::vector<PictureRow> rows;
};

// Fills itself while a history runs.
class Picture {
 public:
  explicit Picture(const ::handover::model::History& history);

  // For RunOptions::observer.
  void Add(int64_t step, const ::handover::model::Command* command,
           const ::handover::model::Observation& seen,
           const Executor& executor);
  void AddFindings(const std::vector<Finding>& findings);

  // In Graphviz' dot language.
  std::string Dot(const std::string& title) const;

 private:
  std::vector<UsedPage> Pages(const ::handover::model::Observation& seen,
                              const Executor& executor);
  void AddHandedOver(const ::handover::model::Observation& seen,
                     const Executor& executor, std::vector<UsedPage>* pages);

  ::handover::model::History history_;
  std::vector<PictureKernel> kernels_;
  std::string loaded_;  // command line of the image, and what it lacks
  // What the pages that were handed over last were called.
  std::map<uint64_t, std::string> labels_;
  std::vector<std::string> last_notes_;
};

}  // namespace sim::cli

#endif  // SIM_CLI_PICTURE_H_
