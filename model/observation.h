// SPDX-License-Identifier: BSD-3-Clause
//
// What the run of one command shows. An executor (the simulator's, or one on
// a real machine) fills an Observation in after each command and hands it to
// the Judge; it keeps one object and Clear()s it, so that the vectors keep
// their memory. Nothing here is a pointer, an address or a time.
#ifndef HANDOVER_MODEL_OBSERVATION_H_
#define HANDOVER_MODEL_OBSERVATION_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "model/handover_table.h"
#include "model/history.h"

namespace handover::model {

inline constexpr int kMaxPageSizes = 4;

// The symbolic name of a physical frame: the number of its 4 KiB page, counted
// in any way that is the same in all kernels of the history and has no two
// pages with one number. A huge page is named by its first 4 KiB page; pages
// that overlap have numbers that say so.
using Frame = int64_t;
inline constexpr Frame kNoFrame = -1;

// How a command ended.
struct Outcome {
  enum class Kind : uint8_t {
    kDone,     // returned: `result`
    kBlocked,  // waits; reported again (in Observation::finished) at its end
    kSigbus,   // the access got SIGBUS; the process handles it and lives on
    kSigsegv,  // likewise SIGSEGV
    kKilled,   // the process is gone (OOM killer, or its kernel went down)
  };
  Kind kind = Kind::kDone;
  int64_t result = 0;  // 0 or what the call returned, or -errno
  // read: the 8 bytes; poison whose kernel went down: 1 if the page was marked.
  uint64_t value = 0;
  // write, read, pin, dev: the huge page that holds the byte afterwards (of a
  // private mapping the copy, where there is one); kNoFrame when unknown.
  Frame frame = kNoFrame;
  int node = -1;

  bool ok() const { return kind == Kind::kDone && result >= 0; }
};

struct NodeCounts {
  int32_t nr = 0;
  int32_t free = 0;
  int32_t surplus = 0;
  // How many more pages of this size an ordinary allocation could get on this
  // node now: 0 none, -1 not known. Excuses an allocation that fails.
  int32_t allocatable = -1;
  // `before` of a reboot: how many of the free ones may lie where they do for
  // the next kernel; -1: not known, or not to be handed over.
  int32_t fit = -1;
};

// One page size, as in sysfs.
struct PoolView {
  uint64_t page_size = 0;
  int32_t resv = 0;
  int32_t overcommit = 0;
  int32_t preserve_free = -1;  // not known
  std::array<NodeCounts, kMaxNodes> node;
};

struct PageView {
  int64_t index = 0;  // in huge pages of the file
  Frame frame = kNoFrame;
  int node = -1;
  Owners owners{};  // who is charged for it
};

// [from, to) in huge pages of the file.
struct Region {
  int64_t from = 0;
  int64_t to = 0;
};

// A range of a reservation map that somebody is charged for.
struct RegionCharge {
  int64_t from = 0;
  int64_t to = 0;
  CgroupPath owner = kNobody;
};

// A control group. In 4 KiB pages, of memory for the last one, else by pool;
// max -1: none. What is charged below it is in `used`.
struct CgroupView {
  struct Counter {
    int64_t used = 0;
    int64_t max = -1;
  };
  CgroupPath path = kRootPath;
  std::array<Counter, kMaxPageSizes> usage;
  std::array<Counter, kMaxPageSizes> rsvd;
  Counter memory;
};

// A file. One view for each name; a file that lives on without a name (mapped,
// or held by a session) has one view with name -1 if the executor can see it,
// and none otherwise. Pages and regions lie in the snapshot's vectors,
// ascending; views of one inode may share them.
struct FileView {
  int name = -1;       // N of fN
  uint64_t inode = 0;  // its number: unique among the live files of a kernel
  uint64_t page_size = 0;  // 4096: a shmem file; then no pages, no regions
  int64_t size = 0;        // bytes
  int64_t position = 0;
  uint32_t seals = 0;
  uint32_t mode = 0;  // permission bits, 07777
  uint32_t pages_begin = 0;
  uint32_t pages_end = 0;
  uint32_t regions_begin = 0;
  uint32_t regions_end = 0;
  uint32_t charges_begin = 0;
  uint32_t charges_end = 0;
};

struct SessionView {
  int name = -1;  // N of sN
  bool incoming = false;
};

// Huge pages that stay reserved and belong to nobody: page size, node, number.
struct Reserved {
  uint64_t page_size = 0;
  int node = -1;
  int64_t count = 0;
};

// What a kernel says of one size and node when its pools are filled: pages in
// use by files that come, free pages that come, pages allocated beside them,
// how many are surplus.
struct SizedPool {
  uint64_t page_size = 0;
  int node = -1;
  int64_t preserved = 0;
  int64_t free = 0;
  int64_t allocated = 0;
  int64_t surplus = 0;
};

// A part of a CMA area that hugetlb_cma= made, in 4 KiB pages.
struct CmaView {
  int node = -1;
  Frame from = kNoFrame;
  int64_t pages = 0;
  // The kernel had no memory for its map, and gave the part away.
  bool given_away = false;
};

struct Snapshot {
  int generation = 1;  // 1: the first kernel; counts every boot
  int nr_pools = 0;    // page sizes of this kernel, ascending
  std::array<PoolView, kMaxPageSizes> pool;
  std::vector<FileView> files;
  std::vector<PageView> pages;
  std::vector<Region> regions;
  // Else nobody can look at reservation maps, and `regions` says nothing.
  bool regions_known = true;
  // Those that were not removed, the root among them.
  std::vector<CgroupView> cgroups;
  std::vector<RegionCharge> charges;
  // Else nobody can look at who is charged for what, and the owners of pages,
  // `charges` and `cgroups` say nothing.
  bool charges_known = true;
  // Sessions whose descriptor the agent holds.
  std::vector<SessionView> sessions;
  // What KHO holds, nobody claimed and no counter counts: as the machine knows
  // it, and as the kernel's messages say since boot. A message that gives no
  // numbers is an entry of page size 0 and count -1.
  std::vector<Reserved> quarantined;
  std::vector<Reserved> reported;
  // Of the sizes of which some pages were handed over, since boot.
  std::vector<SizedPool> sized;
  // Of what was handed over, the huge pages that KHO still holds, ascending.
  std::vector<Frame> unclaimed;
  // As they were made at boot, by node; nobody sees them on a real machine.
  std::vector<CmaView> cma;
  // Else nobody can ask KHO, and `quarantined` and `unclaimed` say nothing.
  bool quarantine_known = true;

  void Clear();
};

// One 8 byte word of memory, read directly, whoever owns it.
struct Cell {
  Frame frame = kNoFrame;  // of the huge page
  uint64_t at = 0;         // byte in the huge page
  uint64_t value = 0;
};

struct Observation {
  Outcome outcome;
  // Outcomes of the `sim during` commands given for this command, in order.
  // One whose step was never passed is started right after the command; if
  // that is no more possible (its kernel is gone), `started` is false.
  struct During {
    Outcome outcome;
    bool started = false;
    bool waited = false;  // for somebody else, before it ended
  };
  std::vector<During> during;
  // Earlier commands that waited and ended now: their place in the history
  // (0 is the first command given to Judge::Step) and how they ended.
  struct Finished {
    int64_t command = 0;
    Outcome outcome;
  };
  std::vector<Finished> finished;

  Snapshot after;
  // reboot and power: the kernel changed. `before` is then the old kernel's
  // snapshot after its last instruction (unused for a power cut).
  bool rebooted = false;
  // By `sim cut`: the old kernel never came to the jump.
  bool cut = false;
  Snapshot before;
  // Else `before` is from before the reboot call: nobody could look later, when
  // late pages had been moved out of scratch.
  bool before_exact = true;
  // reboot: what the old kernel left of HugeTLB for the new one, after `sim
  // corrupt`. Not `known`: nobody looked, then it is as it should be.
  bool handed_known = false;
  TableView handed;
  // What was reserved before the new kernel looked at the list of memory
  // errors, and when it had, ascending; how many entries it said it does not
  // keep away from. Unless `watched` nobody looked.
  bool errors_watched = false;
  std::vector<BadMemory> reserved_before;
  std::vector<BadMemory> reserved;
  int not_kept_away = 0;
  // What the old kernel said of free pages that it hands over.
  std::vector<Reserved> handing;
  // Of all huge pages that were handed over, the nodes of the machine that they
  // lie on; also if the next kernel knows no nodes.
  std::vector<PageView> handed_pages;

  // A `sim fail` for this command hit: that call was made and failed. Or the
  // kernel had no page left for its own needs, which is no different.
  bool fault_injected = false;
  // Of `sim fail`, `during` and `cut` for this command: those whose call was
  // not made, or whose step was not passed.
  int64_t missed = 0;
  // The kernel logged that boot could not get all huge pages asked for.
  bool shortage_reported = false;
  // The kernel logged a warning with a trace (WARN_ON), hit a BUG or died.
  bool warned = false;
  std::string message;  // the first line of it

  // Words that Judge::Watch asked for, in any order; may be left empty.
  std::vector<Cell> cells;

  void Clear();
};

}  // namespace handover::model

#endif  // HANDOVER_MODEL_OBSERVATION_H_
