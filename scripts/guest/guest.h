// SPDX-License-Identifier: BSD-3-Clause
//
// What the parts of the agent share. The agent is init of a machine that runs a
// history on real kernels: each command of a process is carried out by a child
// (process.h), the others by the agent itself, and after each one another child
// tells what the machine looks like (look.h). All of them share one table of
// descriptors, so a name of the history is a fixed descriptor everywhere.
#ifndef HANDOVER_SCRIPTS_GUEST_GUEST_H_
#define HANDOVER_SCRIPTS_GUEST_GUEST_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "model/history.h"
#include "model/observation.h"

namespace handover::guest {

// Below lie those of the agent.
inline constexpr int kFirstName = 64;
inline constexpr int FileFd(int name) { return kFirstName + name; }
inline constexpr int SessionFd(int name) {
  return kFirstName + model::kMaxNames + name;
}
inline constexpr int kDeviceFd = kFirstName + 2 * model::kMaxNames;

bool IsOpen(int fd);
// Gives what `fd` stands for the descriptor `name`, and closes `fd`.
void Rename(int fd, int name);

// A line in the kernel's log.
void Say(std::string_view line);
// Says why the history cannot go on, and turns the machine off.
[[noreturn]] void GiveUp(std::string_view why);
[[noreturn]] void TurnOff();

// The whole of a small file; empty if it cannot be read.
std::string ReadText(const std::string& path);
// 0 or -errno.
int WriteText(const std::string& path, std::string_view text);
// The first number of a file, -1 if it cannot be read.
int64_t ReadNumber(const std::string& path);

// /sys/kernel/mm/hugepages/hugepages-2048kB/NAME, or a node's.
std::string PoolPath(uint64_t page_size, int node, std::string_view name);

// The frame behind an address of the caller, or kNoFrame: of the huge page, if
// it is part of one.
model::Frame FrameAt(const void* address, uint64_t page_size);
int NodeAt(const void* address);

// A child that has its own memory and the agent's descriptors. Returns its
// number to the agent; in the child, 0.
pid_t ForkSharingFiles();

inline model::Outcome Done(int64_t result) {
  model::Outcome outcome;
  outcome.result = result;
  return outcome;
}
// Of a system call that says -1 and sets errno.
model::Outcome DoneWith(int64_t returned);

}  // namespace handover::guest

#endif  // HANDOVER_SCRIPTS_GUEST_GUEST_H_
