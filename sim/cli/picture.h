// SPDX-License-Identifier: BSD-3-Clause
//
// A history as a picture: time goes down, page frames go across.
#ifndef SIM_CLI_PICTURE_H_
#define SIM_CLI_PICTURE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
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
  kPreserved,    // in a file that a session holds, and KHO holds it, too
  kNotYet,       // in such a file, but KHO does not hold it: a hole filled late
  kUnclaimed,    // handed over, in the pool's count, not yet asked for
  kQuarantined,  // handed over and refused, or not understood
  kOther,        // a private copy, a page that its file let go and a device
                 // has, or one that a fault which waits has taken
};
inline constexpr int kUses = 7;

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
  std::string touch;              // "write", "read", "pin", "dma"
  std::vector<UsedPage> pages;    // ascending by pfn
};

struct PictureKernel {
  int number = 1;
  std::string command_line;
  std::string how;  // "power on", "kexec", "power cut"
  std::vector<PictureRow> rows;
};

// What no snapshot shows of the kernel that is running.
struct Insight {
  std::set<uint64_t> held_inodes;  // by outgoing sessions
  std::vector<KhoKey> kho;         // ascending
  std::vector<UsedPage> pools;     // free, or in use by whomever
};

// Fills itself while a history runs.
class Picture {
 public:
  explicit Picture(const ::handover::model::History& history);

  // For RunOptions::observer.
  void Add(int64_t step, const ::handover::model::Command* command,
           const ::handover::model::Observation& seen,
           const Executor& executor);
  // For RunOptions::at_handover: what freezing has changed.
  void NoteHandover();
  void AddFindings(const std::vector<Finding>& findings);

  // In Graphviz' dot language.
  std::string Dot(const std::string& title) const;

 private:
  void AddFiles(const ::handover::model::Snapshot& seen, const Insight& insight,
                std::vector<UsedPage>* pages) const;
  void AddHandedOver(const ::handover::model::Snapshot& seen,
                     const Executor& executor, std::vector<UsedPage>* pages);
  std::vector<UsedPage> Pages(const ::handover::model::Snapshot& seen,
                              const Executor& executor);
  std::vector<UsedPage> PagesAtHandover(
      const ::handover::model::Snapshot& before) const;
  void AddNotes(const ::handover::model::Command* command,
                const ::handover::model::Observation& seen, PictureRow* row);
  PictureRow Row(int64_t step, const ::handover::model::Command* command,
                 const ::handover::model::Observation& seen);
  void NextKernel(const ::handover::model::Command* command,
                  const ::handover::model::Observation& seen, PictureRow* row);

  ::handover::model::History history_;
  std::vector<PictureKernel> kernels_;
  std::string loaded_;  // command line of the image, and what it lacks
  // What the pages that were handed over last were called.
  std::map<uint64_t, std::string> labels_;
  std::vector<std::string> planned_;  // for the next command, by sim during
  std::optional<Insight> at_handover_;
};

}  // namespace sim::cli

#endif  // SIM_CLI_PICTURE_H_
