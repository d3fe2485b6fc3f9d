// SPDX-License-Identifier: BSD-3-Clause
//
// Init of a machine that runs a history on real kernels: reads /history and
// carries its commands out, those of this kernel; the next kernel's agent goes
// on behind the reboot. After each command what is to be seen goes into the
// kernel's log (model/guest_log.h), for `handover judge` to read.
#include <fcntl.h>
#include <linux/reboot.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/guest_log.h"
#include "model/history.h"
#include "scripts/guest/guest.h"
#include "scripts/guest/look.h"
#include "scripts/guest/next_kernel.h"
#include "scripts/guest/process.h"

namespace handover::guest {
namespace {

using model::Actor;
using model::Command;
using model::Outcome;
using model::Verb;

// linux/liveupdate.h, which a host need not have.
struct NamedSession {
  uint32_t size;
  int32_t fd;
  char name[64];
};
struct SessionFile {
  uint32_t size;
  int32_t fd;
  alignas(8) uint64_t token;
};
struct SessionEnd {
  uint32_t size;
  uint32_t reserved;
};
constexpr unsigned long kCreate = _IO(0xBA, 0x00);
constexpr unsigned long kTake = _IO(0xBA, 0x01);
constexpr unsigned long kPreserve = _IO(0xBA, 0x40);
constexpr unsigned long kRetrieve = _IO(0xBA, 0x41);
constexpr unsigned long kFinish = _IO(0xBA, 0x42);

class Agent {
 public:
  Agent(const model::History& history, int generation)
      : history_(history),
        generation_(generation),
        processes_(history),
        looker_(history) {}

  void Run(int64_t next) {
    looker_.Look(next - 1);
    const auto end = static_cast<int64_t>(history_.commands.size());
    for (int64_t place = next; place < end; ++place) {
      const Command& c = history_.commands[static_cast<size_t>(place)];
      const Outcome outcome = c.actor == Actor::kProcess ? processes_.Run(place)
                                                         : Perform(c, place);
      Say(model::OutcomeLine(place, outcome));
      if (outcome.kind == Outcome::Kind::kBlocked)
        GiveUp(absl::StrCat("command ", place, " does not return"));
      looker_.Look(place);
    }
    Say(model::EndLine());
  }

 private:
  Outcome Perform(const Command& c, int64_t place) {
    switch (c.verb) {
      case Verb::kNr:
        return Write(PoolPath(c.page_size, c.node, "nr_hugepages"), c.length);
      case Verb::kOvercommit:
        return Write(PoolPath(c.page_size, -1, "nr_overcommit_hugepages"),
                     c.length);
      case Verb::kDemote:
        return Write(PoolPath(c.page_size, c.node, "demote"), c.length);
      case Verb::kPreserveFree:
        return Write(PoolPath(c.page_size, -1, "preserve_free"), c.on);
      case Verb::kOffline:
        return Offline(c);
      case Verb::kPoison:
        return Poison(c);
      case Verb::kOpen:
        return Open();
      case Verb::kCloseDevice:
        return DoneWith(close(kDeviceFd));
      case Verb::kSession:
        return Session(c, kCreate, false);
      case Verb::kTake:
        return Session(c, kTake, true);
      case Verb::kDrop:
        return DoneWith(close(SessionFd(c.session)));
      case Verb::kPreserve: {
        SessionFile arg = {sizeof(arg), FileFd(c.file), c.token};
        return DoneWith(ioctl(SessionFd(c.session), kPreserve, &arg));
      }
      case Verb::kRetrieve:
        return Retrieve(c);
      case Verb::kFinish: {
        SessionEnd arg = {sizeof(arg), 0};
        return DoneWith(ioctl(SessionFd(c.session), kFinish, &arg));
      }
      case Verb::kLoad: {
        const int result = LoadKernel(c, generation_ + 1, place + 1);
        if (result == 0) loaded_ = c;
        return Done(result);
      }
      case Verb::kReboot:
        return Reboot(place);
      default:
        GiveUp(absl::StrCat("no real machine can do: ", model::Print(c)));
    }
  }

  Outcome Write(const std::string& path, int64_t number) {
    return Done(WriteText(path, absl::StrCat(number)));
  }

  // A page that has an error already cannot be found any more.
  Outcome Poison(const Command& c) {
    if (!IsOpen(FileFd(c.file))) return Done(-EBADF);
    const Outcome found = looker_.Find(c.file, c.page);
    struct stat st;
    if (fstat(FileFd(c.file), &st) != 0 ||
        c.at >= static_cast<uint64_t>(st.st_blksize))
      return Done(-ENOENT);
    if (found.result < 0) return found;
    if (found.frame == model::kNoFrame) return Done(-ENOENT);
    return Write("/sys/devices/system/memory/hard_offline_page",
                 found.frame * 4096 + static_cast<int64_t>(c.at));
  }

  // Going offline takes until there is a signal where a page cannot be moved.
  Outcome Offline(const Command& c) {
    constexpr unsigned kPatience = 3;  // seconds
    const std::string memory = "/sys/devices/system/memory/";
    if (!IsOpen(FileFd(c.file))) return Done(-EBADF);
    const model::Frame frame = looker_.Find(c.file, c.page).frame;
    if (frame == model::kNoFrame) return Done(-ENOENT);
    const uint64_t block = std::strtoull(
        ReadText(memory + "block_size_bytes").c_str(), nullptr, 16);
    if (block == 0) GiveUp("no memory can go offline");
    const std::string state =
        absl::StrCat(memory, "memory",
                     static_cast<uint64_t>(frame) * 4096 / block, "/state");
    struct sigaction action = {};
    action.sa_handler = [](int) {};  // no SA_RESTART
    sigaction(SIGALRM, &action, nullptr);
    alarm(kPatience);
    const int result = WriteText(state, "offline");
    alarm(0);
    if (result == 0 && WriteText(state, "online") != 0)
      GiveUp("memory does not come back");
    return Done(result);
  }

  Outcome Open() {
    const int fd = open("/dev/liveupdate", O_RDWR | O_CLOEXEC);
    if (fd < 0) return DoneWith(-1);
    if (IsOpen(kDeviceFd)) {
      close(fd);
      return Done(0);  // which nobody should get
    }
    Rename(fd, kDeviceFd);
    return Done(0);
  }

  Outcome Session(const Command& c, unsigned long what, bool incoming) {
    if (!IsOpen(kDeviceFd)) return Done(-EBADF);
    if (IsOpen(SessionFd(c.session))) return Done(-EEXIST);
    NamedSession arg = {sizeof(arg), -1, {}};
    std::snprintf(arg.name, sizeof(arg.name), "s%d", c.session);
    if (ioctl(kDeviceFd, what, &arg) != 0) return DoneWith(-1);
    looker_.SetIncoming(c.session, incoming);
    Rename(arg.fd, SessionFd(c.session));
    return Done(0);
  }

  Outcome Retrieve(const Command& c) {
    if (!IsOpen(SessionFd(c.session))) return Done(-EBADF);
    if (IsOpen(FileFd(c.file))) return Done(-EEXIST);
    SessionFile arg = {sizeof(arg), -1, c.token};
    if (ioctl(SessionFd(c.session), kRetrieve, &arg) != 0) return DoneWith(-1);
    Rename(arg.fd, FileFd(c.file));
    return Done(0);
  }

  // Comes back only if it fails. What is loaded does not know after which
  // command it will run, so it is loaded once more, with that number.
  Outcome Reboot(int64_t place) {
    if (loaded_) {
      const int result = LoadKernel(*loaded_, generation_ + 1, place + 1);
      if (result != 0) return Done(result);
    }
    Say(model::RebootLine(place));
    return DoneWith(syscall(SYS_reboot, LINUX_REBOOT_MAGIC1,
                            LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC,
                            nullptr));
  }

  const model::History& history_;
  const int generation_;
  Processes processes_;
  Looker looker_;
  std::optional<Command> loaded_;
};

void MountAll() {
  // The kernel may have mounted it.
  if (mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr) != 0 && errno != EBUSY)
    TurnOff();
  if (mount("proc", "/proc", "proc", 0, nullptr) != 0 ||
      mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0 ||
      mount("cgroup2", "/cgroup", "cgroup2", 0, nullptr) != 0)
    GiveUp("a file system cannot be mounted");
}

// The number that follows a word of the kernel's command line. The last one
// holds.
int64_t CommandLineNumber(const char* word) {
  const std::string line = ReadText("/proc/cmdline");
  const size_t at = line.rfind(word);
  if (at == std::string::npos)
    GiveUp(absl::StrCat("no ", word, " on the kernel's command line"));
  return std::strtoll(line.c_str() + at + std::strlen(word), nullptr, 10);
}

}  // namespace
}  // namespace handover::guest

int main() {
  using namespace handover;  // NOLINT: it is a program
  guest::MountAll();
  const auto history = model::ParseHistory(guest::ReadText("/history"));
  if (!history.ok()) guest::GiveUp(std::string(history.status().message()));
  const auto generation =
      static_cast<int>(guest::CommandLineNumber(guest::kGenerationWord));
  const int64_t next = guest::CommandLineNumber(guest::kNextWord);
  guest::Say(model::GuestLine(generation, next));
  guest::Agent(*history, generation).Run(next);
  guest::TurnOff();
}
