// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_USER_USER_SPACE_H_
#define SIM_USER_USER_SPACE_H_

// What lies on the other side of the system calls: file descriptors, mappings
// and sessions under the names that a history gives them, and the devices that
// a process has set up on its memory.
//
// Each function is one system call (or one access to memory) of the actor that
// runs, and may block. A process that dies or a kernel that goes down never
// comes back from it, so nothing here is updated only afterwards.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

struct file;
struct mm_struct;

namespace sim {

struct KhoKey;
struct Mapping;
enum class CgroupLimit;

// How a call ended.
struct CallResult {
  enum class End : uint8_t { kDone, kSigbus, kSigsegv, kKilled };
  End end = End::kDone;
  int64_t value = 0;  // what it returned: a number, or -errno
  uint64_t word = 0;  // of a load
  // The page that a load or store reached, or that was pinned; as the number
  // of its first frame. -1: none.
  int64_t frame = -1;
  int node = -1;
};

// A device that writes to memory of its own accord. It was told a physical
// address, and a kexec does not stop it.
struct Device {
  int file = -1;  // the name that the page was pinned through
  int64_t page = 0;
  // Where its page is in the file, in a later kernel: a damaged record may say
  // another place, and a device knows its page by the frame.
  int64_t place = 0;
  uint64_t pfn = 0;  // first frame of the page
  unsigned order = 0;
  bool shmem = false;
  int generation = 0;  // the kernel that pinned the page
  // In a later kernel: the inode that has the page now, 0 before retrieval.
  unsigned long inode = 0;
};

// A base page with a memory error, in a page of a hugetlbfs file, or by itself.
struct BadFrame {
  uint64_t pfn = 0;
  uint64_t first = 0;  // frame of the huge page
  unsigned order = 0;  // of that
  int generation = 0;  // the kernel that it came up in
  bool late = false;   // the agent was at work, on an update for one
  // All of a huge page are taken for bad, smaller than the one it is in now.
  bool wide = false;
  // Its huge page was dissolved, or is gone with the kernel before: it has to
  // be nobody's.
  bool loose = false;
  // The kernel that it is known in tells the next one, too.
  bool passed_on = true;
};

class UserSpace {
  template <typename Array>
  static auto& Get(Array& array, int i) {
    return array[static_cast<size_t>(i)];
  }

 public:
  static constexpr int kNames = 256;
  static constexpr int kProcesses = 8;

  UserSpace() = default;
  UserSpace(const UserSpace&) = delete;
  UserSpace& operator=(const UserSpace&) = delete;

  // The kernel is gone and every process with it. Devices stay.
  void KernelDied();

  // --- Processes. Sizes, offsets and lengths are in pages of the file.
  CallResult Memfd(int name, uint64_t page_size, bool sealable, bool noexec);
  CallResult Shmem(int name);
  // A file of a mount with limits in pages, -1: none.
  CallResult Mount(int name, uint64_t page_size, int64_t most, int64_t least,
                   bool unlinked);
  CallResult Truncate(int name, int64_t pages);
  CallResult Fallocate(int name, int64_t from, int64_t pages, bool keep_size);
  CallResult Punch(int name, int64_t from, int64_t pages);
  CallResult Seal(int name, unsigned seals);
  CallResult Seek(int name, int64_t position);
  CallResult Close(int name);
  CallResult Pin(int name, int64_t page);
  CallResult Map(int process, int mapping, int name, int64_t from,
                 int64_t pages, bool read_only, bool is_private,
                 bool no_reserve);
  CallResult Unmap(int process, int mapping);
  // `at`: byte in the page; beyond its end, in one of those behind it.
  CallResult Write(int process, int mapping, int64_t page, uint64_t at,
                   uint64_t value);
  CallResult Read(int process, int mapping, int64_t page, uint64_t at);
  CallResult Bind(int node);
  // The process ends; descriptors are shared, and stay.
  CallResult Exit(int process);

  // --- The administrator.
  CallResult SetNr(uint64_t page_size, int64_t count, int node);
  CallResult SetOvercommit(uint64_t page_size, int64_t count);
  CallResult Demote(uint64_t page_size, int64_t count, int node);
  CallResult SetPreserveFree(uint64_t page_size, bool on);
  // Control groups. `parent` and `cgroup`: -1 is the root.
  CallResult MakeCgroup(int name, int parent);
  CallResult RemoveCgroup(int name);
  CallResult MoveTask(int actor, int cgroup);
  // Of a group in pages of a size; -1: none.
  CallResult SetCgroupLimit(int name, CgroupLimit limit, uint64_t page_size,
                            int64_t count);
  // The memory block of a file's huge page; -ENOENT: there is no such page.
  CallResult Offline(int name, int64_t page);
  // What machine checks lead to. As madvise(MADV_HWPOISON) does it; -ENOENT:
  // there is no such page.
  CallResult Poison(int name, int64_t page, uint64_t at);
  // What a scrubber finds in a free page, the first one of the node (-1: of
  // any) in its pool; -ENOENT: there is none, or all are promised to somebody.
  CallResult PoisonFree(uint64_t page_size, int node, uint64_t at);

  // --- The live update agent.
  CallResult OpenDevice();
  CallResult CloseDevice();
  CallResult NewSession(int name);
  CallResult TakeSession(int name);
  CallResult DropSession(int name);
  CallResult Preserve(int session, uint64_t token, int name);
  CallResult Retrieve(int session, uint64_t token, int name);
  CallResult FinishSession(int name);
  // Does not come back if it goes well.
  CallResult Reboot(bool image_loaded);

  // --- No system call: what a device does.
  CallResult DeviceWrite(int name, int64_t page, uint64_t at, uint64_t value);
  // After each step: forgets devices whose page belongs to nobody who knows of
  // them any more, as their driver would have stopped them.
  void StopDevices();

  // The kernel is gone: of the memory errors only those are still known that it
  // took down, and that are in pages which were handed over or that the next
  // kernel is told of.
  void KeepErrors(const std::vector<KhoKey>& handed_over,
                  const std::function<bool(uint64_t pfn)>& told);
  // The frame of a Poison() that has not come back; 0: none. Its error may not
  // be written down yet, and then nobody knows of it if the kernel stops here.
  uint64_t poisoning() const { return poisoning_; }
  void ForgetPoisoning();
  // A Poison() that never came back got so far that the kernel knew of it.
  bool PoisonTookEffect() const;

  // --- For checkers.
  struct file* FileOf(int name) const {
    return Get(files_, name);
  }
  struct file* SessionFile(int name) const {
    return Get(sessions_, name).file;
  }
  bool SessionIncoming(int name) const { return Get(sessions_, name).incoming; }
  Mapping* MappingNamed(int process, int name) const {
    return Get(Get(processes_, process).mappings, name);
  }
  bool device_open() const { return device_open_; }
  const std::vector<Device>& devices() const { return devices_; }
  const std::vector<BadFrame>& errors() const { return errors_; }
  void set_errors(std::vector<BadFrame> errors) { errors_ = std::move(errors); }
  // Pages of shmem files that a device of this kernel holds, in their file or
  // not.
  uint64_t PinnedShmemPages() const { return pinned_shmem_.size(); }
  // In huge pages of which it is not known which base pages have errors, and
  // that left their pool for it.
  uint64_t LeakedPages() const;
  // One past the highest name in use since this kernel booted.
  int files_end() const { return files_end_; }
  int sessions_end() const { return sessions_end_; }
  int mappings_end(int process) const {
    return Get(processes_, process).mappings_end;
  }
  bool Runs(int process) const { return Get(processes_, process).mm; }

 private:
  struct Session {
    struct file* file = nullptr;
    bool incoming = false;
  };
  struct Process {
    struct mm_struct* mm = nullptr;
    std::array<Mapping*, kNames> mappings{};
    int mappings_end = 0;
  };

  CallResult Install(int name, struct file* file);
  CallResult Access(int process, int mapping, int64_t page, uint64_t at,
                    bool write, uint64_t value);
  CallResult InstallSession(int name, struct file* file, bool incoming);
  bool StillThere(Device* device);

  std::array<struct file*, kNames> files_{};
  std::array<Session, kNames> sessions_{};
  std::array<Process, kProcesses> processes_{};
  int files_end_ = 0;
  int sessions_end_ = 0;
  bool device_open_ = false;
  std::vector<Device> devices_;
  std::vector<BadFrame> errors_;
  uint64_t poisoning_ = 0;              // frame of the Poison() that runs
  std::vector<uint64_t> pinned_shmem_;  // frames, each once
};

// Bytes in a page of the file: its huge page size, or 4096.
uint64_t FilePageSize(struct file* file);

}  // namespace sim

#endif  // SIM_USER_USER_SPACE_H_
