// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_LIVEUPDATE_LUO_H_
#define SIM_LIVEUPDATE_LUO_H_

// The live update orchestrator as the system calls of a process reach it.
// Results are 0 or a negative errno. The kernel's own interface is
// linux/liveupdate.h.

#include <cstdint>

struct file;

namespace sim {

// open("/dev/liveupdate") and the last close of it. -ENOENT: no such device
// (live update is off); -EBUSY: somebody has it open; -EIO: what the previous
// kernel left could not be read.
int LuoOpen();
void LuoClose();

// LIVEUPDATE_IOCTL_CREATE_SESSION and _RETRIEVE_SESSION. *session gets one
// reference, to be given to SessionRelease(). Such a file is nothing for
// fput(). -EINVAL: name empty or longer than 63 bytes, or retrieved already;
// -EEXIST; -ENOENT.
int SessionCreate(const char* name, struct file** session);
int SessionRetrieve(const char* name, struct file** session);

// The last close of a session's file descriptor: an outgoing session is undone,
// an incoming one is finished. The error is for tests: close() hides it, the
// file is gone in any case.
int SessionRelease(struct file* session);

// LIVEUPDATE_SESSION_PRESERVE_FD: takes a reference of its own. A null file is
// a descriptor that is not open: -EBADF.
int PreserveFd(struct file* session, uint64_t token, struct file* file);
// LIVEUPDATE_SESSION_RETRIEVE_FD: *file gets a reference for the caller.
int RetrieveFd(struct file* session, uint64_t token, struct file** file);
// LIVEUPDATE_SESSION_FINISH.
int Finish(struct file* session);

// reboot(LINUX_REBOOT_CMD_KEXEC). -EINVAL: no image is loaded. On success it
// does not return: the actors stop, and the executor calls Kexec().
int Reboot(bool image_loaded);

// What checkers count.
struct LuoCounts {
  int outgoing_sessions = 0;
  int incoming_sessions = 0;
  int outgoing_files = 0;
  int incoming_files = 0;  // not finished yet
  int busy_objects = 0;    // that may not be preserved (again)
  bool device_open = false;
  bool frozen = false;  // liveupdate_reboot() has succeeded

  friend bool operator==(const LuoCounts&, const LuoCounts&) = default;
};
LuoCounts CountLuo();

// True once shmem's handler has lost memory in this kernel, as upstream's does
// when allocations fail while it gives pages back: then some of KhoUnclaimed()
// stays there, and that is not the fault of the code under test.
bool ShmemLuoLostMemory();

}  // namespace sim

#endif  // SIM_LIVEUPDATE_LUO_H_
