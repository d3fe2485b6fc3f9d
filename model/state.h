// SPDX-License-Identifier: BSD-3-Clause
//
// The abstract state of a chain of kernels: what a user may rely on, and what
// of mm/hugetlb.c's bookkeeping shows in sysfs. No pointers, so that a copy is
// a copy; small vectors, since histories are short.
#ifndef HANDOVER_MODEL_STATE_H_
#define HANDOVER_MODEL_STATE_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/accounting.h"
#include "model/command_line.h"
#include "model/handover_table.h"
#include "model/history.h"
#include "model/observation.h"

namespace handover::model {

// 8 bytes that somebody wrote. Everything else in a page is zero.
struct Word {
  uint64_t at = 0;
  uint64_t value = 0;
  uint64_t previous = 0;  // what it was before the last write
  int generation = 0;     // the kernel under which it was written
  bool device = false;    // by DMA
  bool rival = false;     // `previous` was written at the same time
};

// A page of a file, or a private copy of one.
struct Page {
  int64_t index = 0;
  Frame frame = kNoFrame;  // kNoFrame: not seen yet
  int node = -1;
  bool pinned = false;    // a device of this kernel holds it
  bool poisoned = false;  // has a memory error
  // It may still be mapped somewhere, as somebody held a lock.
  bool still_mapped = false;
  Owners owners{};  // of a file: who is charged for it
  std::vector<Word> words;

  const Word* Find(uint64_t at) const;
  Word* Find(uint64_t at);
  uint64_t Read(uint64_t at) const;
  void Write(uint64_t at, uint64_t value, int generation, bool device);
};

// An ascending set of pages or regions by index.
Page* FindPage(std::vector<Page>* pages, int64_t index);
const Page* FindPage(const std::vector<Page>& pages, int64_t index);
Page* AddPage(std::vector<Page>* pages, int64_t index);

// The regions of a reservation map: ascending, never touching.
class Regions {
 public:
  bool Contains(int64_t index) const;
  int64_t Count() const;  // pages in all regions
  int64_t CountIn(int64_t from, int64_t to) const;
  void Add(int64_t from, int64_t to);
  void Remove(int64_t from, int64_t to);
  const std::vector<Region>& list() const { return list_; }
  void Assign(const Region* begin, const Region* end);

 private:
  std::vector<Region> list_;
};

// Ranges that touch and have the same owner become one.
void JoinCharges(std::vector<RegionCharge>* charges);

struct File {
  enum class Life : uint8_t {
    kLive,       // an inode of the running kernel
    kAnnounced,  // handed over: counted, not yet retrieved
    kRefused,    // handed over and quarantined, or held by KHO only
    kGone,
  };
  Life life = Life::kLive;
  uint64_t inode = 0;
  uint64_t page_size = 0;
  bool shmem = false;
  int mount = -1;  // of hugetlbfs, in State::mounts; -1: the kernel's own
  // No file, but free pages of a pool on their way to the next kernel's.
  bool free = false;
  int64_t size = 0;
  int64_t position = 0;
  uint32_t seals = 0;
  uint32_t mode = 0;
  std::vector<Page> pages;
  Regions regions;
  // Who is charged for which of these, ascending; what nobody is charged for is
  // left out. From the handover to retrieval that is who was charged.
  std::vector<RegionCharge> charges;

  int names = 0;  // descriptors
  int mappings = 0;
  bool preserved = false;  // in an outgoing session
  bool retrieved = false;  // held by an incoming session
  // Late pages: not yet taken up by a freeze, so they may still migrate.
  std::vector<int64_t> late;
  // Pages that were added while other things ran. If it was preserved at that
  // time, they may be late ones or not.
  std::vector<int64_t> unsure;
  // Indices whose regions Linux left behind since it was preserved, for nothing
  // (restore_reserve_on_error()).
  std::vector<int64_t> left;
  // Something else ran while it was preserved: a fault that failed in the end
  // may have been taken for a reservation.
  bool raced = false;
  // Announced: what it has reserved is reserved in the pool of this kernel.
  bool promised = false;
  // A corrupted table gave it pages of which nobody knows what is in them.
  bool unknown = false;

  // What is missing in a range becomes reserved at the owner's charge.
  void Reserve(int64_t from, int64_t to, CgroupPath owner);
  void Unreserve(int64_t from, int64_t to);

  // Reserved indices without a page.
  int64_t Reserved() const {
    return regions.Count() - static_cast<int64_t>(pages.size());
  }
  // The page there is pinned for the next kernel, for sure.
  bool Holds(int64_t index) const {
    return preserved &&
           std::find(late.begin(), late.end(), index) == late.end() &&
           std::find(unsure.begin(), unsure.end(), index) == unsure.end();
  }
};

// A mount of hugetlbfs with limits, in pages; -1: none. As struct
// hugepage_subpool, which a page that never comes back keeps from ending.
struct Mount {
  uint64_t page_size = 0;
  int64_t most = -1;
  int64_t least = -1;
  int64_t used = 0;   // if there is a `most`
  int64_t ready = 0;  // reserved, of `least`, for whoever is first
  bool gone = false;
  bool closed = false;  // its file is gone, it may not be
  // Several commands ran at a time, or calls failed: `used` and `ready` may be
  // something else.
  bool unsure = false;

  // hugepage_subpool_get_pages(): how many more must be reserved in the pool
  // for `pages`; -1: there is no room for them.
  int64_t Get(int64_t pages);
  // hugepage_subpool_put_pages(): how many fewer.
  int64_t Put(int64_t pages);
  bool Unused() const;
};

struct Mapping {
  int process = -1;
  int name = -1;
  int file = -1;  // in State::files
  int64_t from = 0;
  int64_t length = 0;
  bool read_only = false;
  bool is_private = false;
  bool may_write = false;         // keeps F_SEAL_WRITE off
  bool owner = false;             // private with a reservation map of its own
  std::vector<Page> copies;       // private: anonymous pages, by file index
  std::vector<int64_t> consumed;  // private: reservations used, ascending
  // A call failed, and `consumed` may have another index of those that were
  // taken out of the page tables then.
  bool unsure = false;
};

struct SessionFile {
  uint64_t token = 0;
  int file = -1;
  int status = 0;  // as LUO keeps it: 1 retrieved, 0 never asked for, -errno
};

struct Session {
  int name = -1;
  bool incoming = false;
  bool open = false;  // the agent holds its descriptor
  bool finished = false;
  // Its descriptor was closed when it could not be finished: nobody can open it
  // again (luo_session_release()).
  bool stuck = false;
  std::vector<SessionFile> files;
};

// A device that was set up on a page and knows it by its frame for good.
struct Device {
  int name = -1;      // of the file, as in the command
  int64_t asked = 0;  // the page, as in the command
  int64_t page = 0;   // where it is now, which a damaged record can change
  int file = -1;      // in State::files
  Frame frame = kNoFrame;
};

// Memory of this kernel that a device holds though its file let go of it.
struct Orphan {
  uint64_t page_size = 0;
  Frame frame = kNoFrame;
};

// A kernel that can be booted.
struct Image {
  std::string command_line;
  std::vector<uint64_t> missing_sizes;
  bool no_option = false;
};

struct State {
  Geometry geometry = Geometry::kSmall;
  int nodes = 1;      // of this kernel
  int all_nodes = 1;  // of the machine
  int generation = 1;

  Image kernel;
  BootRequest request;  // what kernel.command_line means
  bool cma = false;     // it has areas of hugetlb_cma=, or believes so
  bool image_loaded = false;
  Image image;

  std::vector<Pool> pools;  // ascending by page size
  // By pool: the administrator wants free pages to be handed over.
  std::array<bool, kMaxPageSizes> preserve_free{};
  // By pool: how far the reservations are from what they should be, after a
  // verdict said so once.
  std::array<int64_t, kMaxPageSizes> resv_off{};
  std::vector<File> files;
  std::vector<Mount> mounts;
  std::array<int, kMaxNames> names{};  // descriptor -> files, or -1
  std::vector<Mapping> mappings;       // in order of creation
  std::vector<Session> sessions;       // outgoing ones in order of creation
  std::array<int, kMaxProcesses> bind{};
  // The control groups, the root among them, as they were seen last, in order
  // of their paths; the path of cN, or nobody's; by process and last for the
  // agent, who is in which.
  std::vector<CgroupView> cgroups;
  std::array<CgroupPath, kMaxCgroups> cgroup_path{};
  std::array<CgroupPath, kMaxProcesses + 1> in_cgroup{};
  // Groups of this kernel that were removed.
  std::vector<CgroupPath> removed;
  std::vector<Device> devices;
  std::vector<Orphan> orphans;

  bool device_open = false;  // /dev/liveupdate
  bool luo_broken = false;   // deserialization failed: -EIO for good
  // What is to be made of the table that this kernel got, and the files that
  // its records are of.
  TableVerdict table;
  std::vector<std::pair<uint64_t, int>> records;
  bool corrupted = false;  // by `sim corrupt`
  // There was no memory to look at the files at boot, it will be done later.
  bool unsettled = false;
  // The addresses of `records` are the real ones.
  bool addresses_known = true;
  bool report_due = false;  // what cannot be claimed has to be in the log
  bool quarantine = false;  // memory stays reserved for good
  // The list of memory errors may be too long for anything to be preserved.
  bool many_errors = false;
  bool boot_fault = false;  // a call failed by plan during this boot

  State() {
    names.fill(-1);
    bind.fill(-1);
    in_cgroup.fill(kRootPath);
  }

  CgroupView* FindCgroup(CgroupPath path);

  Pool* FindPool(uint64_t page_size);
  Mapping* FindMapping(int process, int name);
  Session* FindOpenSession(int name);
  bool luo() const { return request.kho && request.liveupdate; }
  bool handler() const { return luo() && !kernel.no_option; }
};

}  // namespace handover::model

#endif  // HANDOVER_MODEL_STATE_H_
