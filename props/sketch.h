// SPDX-License-Identifier: BSD-3-Clause
//
// What the generator believes to exist while it makes a history up, and the
// single random steps of processes, administrator and devices upon it.
#ifndef HANDOVER_PROPS_SKETCH_H_
#define HANDOVER_PROPS_SKETCH_H_

#include <cstdint>
#include <vector>

#include "model/history.h"
#include "props/kernels.h"
#include "props/random.h"

namespace handover::props {

struct SketchFile {
  int name = -1;  // -1: closed; its mappings or a session may still hold it
  uint64_t page_size = 0;
  bool shmem = false;
  bool mounted = false;  // of a mount of hugetlbfs: never preserved
  bool sealable = false;
  bool gone = false;
  bool preserved = false;
  bool held = false;             // by an incoming session that is not finished
  int64_t pages = 0;             // its size
  std::vector<int64_t> present;  // ascending
  int session = -1;              // that it is preserved in
  uint64_t token = 0;

  bool IsHole(int64_t page) const;
};

struct SketchMapping {
  int process = 0;
  int name = 0;
  int file = 0;  // in Sketch::files
  int64_t from = 0;
  int64_t length = 0;
  bool read_only = false;
  bool is_private = false;
};

struct SketchSession {
  int name = -1;
  bool incoming = false;
  bool open = false;
  bool finished = false;
  std::vector<SketchFile> files;  // incoming: not yet retrieved
};

// A control group, and what limits it.
struct SketchCgroup {
  int name = -1;
  int parent = model::kRootCgroup;
  std::vector<model::Command> limits;
};

struct SketchPin {
  int name = -1;
  int64_t page = 0;
};

class Sketch {
 public:
  Sketch(Random* random, model::History* history);

  void Add(model::Command command);
  int64_t Length() const;

  // --- One command each. The agent's are for the scenario to order.
  int NewFile(uint64_t page_size);  // in files
  int NewShmem();
  // Of a mount with limits, perhaps; `reserves`: with min_size=, too.
  int NewMounted(uint64_t page_size, bool reserves);
  void Truncate(int file, int64_t pages);
  void Map(int file, int64_t from, int64_t length, bool no_reserve,
           bool read_only = false, bool is_private = false);
  void Write(int mapping, int64_t index);
  void Fallocate(int file, int64_t from, int64_t length);
  void Punch(int file, int64_t from, int64_t length);
  void Bind(int process, int node);
  void Pin(int file, int64_t page);
  void CloseFile(int file);
  void Nr();
  void Nr(uint64_t page_size, int64_t pages);
  void PreserveFree();
  void PreserveFree(uint64_t page_size, bool on);
  void Offline(int file);
  model::Command Poison(int file);
  model::Command PoisonFree();
  void NewCgroup(int name, int parent);
  void Limit(int cgroup, bool tight);
  void Move(int task, int cgroup);
  void MoveSomebody();
  void Open();
  void NewSession();
  void DropSession(int session);
  void Preserve(int session, int file);
  void Load(const KernelPlan& kernel);
  // The kernel that was loaded last runs.
  void Rebooted(const KernelPlan& kernel);
  void Take(int session);
  void Retrieve(int session, int place);
  void Finish(int session);

  // --- Random ones.
  // Some files' pages in one of the ways that are hard to hand over.
  void FillFile(int file);
  // Whatever a process, the administrator or a device may do now.
  void AnyStep();
  // The administrator makes, limits, removes control groups, or moves somebody.
  void CgroupStep();
  // Some of those that the kernel before had are made again, or others.
  void CgroupsAgain();
  // No limit is left.
  void LiftLimits();
  // A command that may run while another one does.
  model::Command Interloper();
  // Takes what the pool of `page_size` has left, perhaps, by another file.
  void TakeTheRest(uint64_t page_size);
  // And what the administrator allows beyond it.
  void HitTheLimit(uint64_t page_size);
  void SealWrites(int file);
  // Pages of a file become several groups'.
  void ShareOut(int file);
  // A free page is taken by the last file, and gets a memory error then.
  std::vector<model::Command> TakeAndSpoil();
  // Of a size, as far as is known.
  int64_t FreePages(uint64_t page_size) const;

  std::vector<int> LiveFiles(bool with_shmem) const;
  std::vector<int> Mappings(bool writable) const;
  // A shared, writable mapping of it; -1: there is none.
  int MappingOf(int file) const;
  uint64_t AnySize();  // rather of a size that has a pool

  std::vector<SketchFile> files;
  std::vector<SketchMapping> mappings;
  std::vector<SketchSession> sessions;
  std::vector<SketchPin> pins;
  std::vector<SketchCgroup> cgroups;
  bool has_cgroups = false;  // they come into this history
  KernelPlan kernel;
  bool device_open = false;

 private:
  int FreeName() const;
  int FreeMapping(int process) const;
  int FreeSession() const;
  int AnyProcess();
  uint64_t AnyValue();
  uint64_t AnyAt(uint64_t page_size);
  void TouchPage(int file, int64_t page);
  model::Command WriteCommand(const SketchMapping& mapping, int64_t index);
  void DeviceWrite();
  void Read();
  void OddSeal(int file);

  Random* random_;
  model::History* history_;
  uint64_t next_token_ = 1;
};

}  // namespace handover::props

#endif  // HANDOVER_PROPS_SKETCH_H_
