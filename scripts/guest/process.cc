// SPDX-License-Identifier: BSD-3-Clause
#include "scripts/guest/process.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "scripts/guest/guest.h"

namespace handover::guest {
namespace {

using model::Command;
using model::Outcome;
using model::Verb;

// Filling a page of 1 GiB takes an emulated machine some ten seconds, on a busy
// host minutes.
constexpr int kPatienceMs = 240 * 1000;

constexpr unsigned kNoExecSeal = 0x0008;  // MFD_NOEXEC_SEAL
constexpr unsigned kExec = 0x0010;        // MFD_EXEC
constexpr unsigned kHugeShift = 26;       // MFD_HUGE_SHIFT
constexpr int kAddSeals = 1033;           // F_ADD_SEALS

// --- In the child.

struct Mapped {
  char* address = nullptr;
  uint64_t page_size = 0;
  int64_t pages = 0;
};
std::array<Mapped, model::kMaxNames> g_mapped;

sigjmp_buf g_before_access;
volatile sig_atomic_t g_signal;

void OnFault(int number) {
  g_signal = number;
  siglongjmp(g_before_access, 1);
}

// Bytes in a page of the file.
int64_t PageSizeOf(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 ? st.st_blksize : 1;
}

Outcome Memfd(const Command& c) {
  if (IsOpen(FileFd(c.file))) return Done(-EEXIST);
  unsigned flags = c.noexec ? kNoExecSeal : kExec;
  if (c.verb == Verb::kMemfd)
    flags |= MFD_HUGETLB | static_cast<unsigned>(__builtin_ctzll(c.page_size))
                               << kHugeShift;
  if (c.sealable) flags |= MFD_ALLOW_SEALING;
  const std::string name = absl::StrCat("f", c.file);
  const int fd = memfd_create(name.c_str(), flags);
  if (fd < 0) return DoneWith(-1);
  Rename(fd, FileFd(c.file));
  return Done(0);
}

// A file of a mount that is nowhere to be seen any more.
Outcome Mount(const Command& c) {
  if (IsOpen(FileFd(c.file))) return Done(-EEXIST);
  const std::string at = absl::StrCat("/mnt", c.file);
  if (mkdir(at.c_str(), 0755) != 0 && errno != EEXIST) return DoneWith(-1);
  std::string options = absl::StrCat("pagesize=", c.page_size);
  const auto size = static_cast<int64_t>(c.page_size);
  if (c.most >= 0) absl::StrAppend(&options, ",size=", c.most * size);
  if (c.least >= 0) absl::StrAppend(&options, ",min_size=", c.least * size);
  if (mount("none", at.c_str(), "hugetlbfs", 0, options.c_str()) != 0)
    return DoneWith(-1);
  const std::string name = absl::StrCat(at, "/f", c.file);
  const int fd = open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0777);
  Outcome outcome = DoneWith(fd < 0 ? -1 : fchmod(fd, 0777));
  if (c.unlinked) unlink(name.c_str());
  if (umount2(at.c_str(), MNT_DETACH) != 0) outcome = DoneWith(-1);
  if (fd >= 0) Rename(fd, FileFd(c.file));
  return outcome;
}

Outcome Map(const Command& c) {
  Mapped& m = g_mapped[static_cast<size_t>(c.mapping)];
  if (m.address) return Done(-EEXIST);
  const int64_t size = PageSizeOf(FileFd(c.file));
  int flags = c.is_private ? MAP_PRIVATE : MAP_SHARED;
  if (c.no_reserve) flags |= MAP_NORESERVE;
  void* address = mmap(nullptr, static_cast<size_t>(c.length * size),
                       c.read_only ? PROT_READ : PROT_READ | PROT_WRITE, flags,
                       FileFd(c.file), c.page * size);
  if (address == MAP_FAILED) return DoneWith(-1);
  m = {static_cast<char*>(address), static_cast<uint64_t>(size), c.length};
  return Done(0);
}

Outcome Unmap(const Command& c) {
  Mapped& m = g_mapped[static_cast<size_t>(c.mapping)];
  if (!m.address) return Done(-EBADF);
  const Outcome outcome =
      DoneWith(munmap(m.address, static_cast<size_t>(m.pages) * m.page_size));
  if (outcome.ok()) m = Mapped();
  return outcome;
}

Outcome Access(const Command& c) {
  const Mapped& m = g_mapped[static_cast<size_t>(c.mapping)];
  if (!m.address) return Done(-EBADF);
  Outcome outcome;
  const uint64_t end = static_cast<uint64_t>(m.pages) * m.page_size;
  // What lies behind the mapping is no matter of the history.
  if (c.page >= m.pages ||
      static_cast<uint64_t>(c.page) * m.page_size + c.at >= end) {
    outcome.kind = Outcome::Kind::kSigsegv;
    return outcome;
  }
  auto* word = reinterpret_cast<volatile uint64_t*>(
      m.address + static_cast<uint64_t>(c.page) * m.page_size + c.at);
  struct sigaction action = {};
  action.sa_handler = OnFault;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
  if (sigsetjmp(g_before_access, 1) != 0) {
    outcome.kind =
        g_signal == SIGBUS ? Outcome::Kind::kSigbus : Outcome::Kind::kSigsegv;
    return outcome;
  }
  if (c.verb == Verb::kWrite) {
    *word = c.value;
  } else {
    outcome.value = *word;
  }
  signal(SIGSEGV, SIG_DFL);
  signal(SIGBUS, SIG_DFL);
  const void* at = const_cast<const uint64_t*>(word);
  outcome.frame = FrameAt(at, m.page_size);
  outcome.node = NodeAt(at);
  return outcome;
}

Outcome Fallocate(const Command& c, int mode) {
  const int64_t size = PageSizeOf(FileFd(c.file));
  return DoneWith(
      fallocate(FileFd(c.file), mode, c.page * size, c.length * size));
}

Outcome Bind(const Command& c) {
  unsigned long mask = c.node < 0 ? 0 : 1UL << c.node;
  return DoneWith(
      c.node < 0
          ? syscall(SYS_set_mempolicy, MPOL_DEFAULT, nullptr, 0)
          : syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 8 * sizeof(mask)));
}

Outcome Perform(const model::History& history, int64_t place) {
  const Command& c = history.commands[static_cast<size_t>(place)];
  switch (c.verb) {
    case Verb::kMemfd:
    case Verb::kShmem:
      return Memfd(c);
    case Verb::kMount:
      return Mount(c);
    case Verb::kTruncate:
      return DoneWith(
          ftruncate(FileFd(c.file), c.page * PageSizeOf(FileFd(c.file))));
    case Verb::kMap:
      return Map(c);
    case Verb::kUnmap:
      return Unmap(c);
    case Verb::kWrite:
    case Verb::kRead:
      return Access(c);
    case Verb::kFallocate:
      return Fallocate(c, c.keep_size ? FALLOC_FL_KEEP_SIZE : 0);
    case Verb::kPunch:
      return Fallocate(c, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    case Verb::kSeal:
      return DoneWith(fcntl(FileFd(c.file), kAddSeals, c.seals));
    case Verb::kSeek:
      return DoneWith(lseek(FileFd(c.file), c.position, SEEK_SET));
    case Verb::kBind:
      return Bind(c);
    case Verb::kClose:
      return DoneWith(close(FileFd(c.file)));
    default:
      return Done(-ENOSYS);
  }
}

}  // namespace

void Child::Start(const model::History& history, Serve serve) {
  int ask[2], answer[2];
  if (pipe2(ask, O_CLOEXEC) != 0 || pipe2(answer, O_CLOEXEC) != 0)
    GiveUp("no pipe for a child");
  ask_ = ask[1];
  answer_ = answer[0];
  ask_read_ = ask[0];
  answer_write_ = answer[1];
  pid_ = ForkSharingFiles();
  if (pid_ < 0) GiveUp("no child");
  if (pid_ > 0) return;
  for (;;) {
    int64_t request = 0;
    if (read(ask[0], &request, sizeof(request)) != sizeof(request)) _exit(1);
    if (request < 0) _exit(0);
    const Outcome outcome = serve(history, request);
    if (write(answer[1], &outcome, sizeof(outcome)) != sizeof(outcome))
      _exit(1);
  }
}

Outcome Child::Ask(int64_t request) {
  Outcome outcome;
  if (write(ask_, &request, sizeof(request)) != sizeof(request))
    GiveUp("a child does not listen");
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd < 0) GiveUp("a child cannot be watched");
  struct pollfd wait[2] = {{answer_, POLLIN, 0}, {pidfd, POLLIN, 0}};
  const int ready = poll(wait, 2, kPatienceMs);
  close(pidfd);
  if (wait[0].revents & POLLIN) {
    if (read(answer_, &outcome, sizeof(outcome)) != sizeof(outcome))
      GiveUp("a child's answer is too short");
  } else if (ready > 0) {
    Gone();
    outcome.kind = Outcome::Kind::kKilled;
  } else {
    outcome.kind = Outcome::Kind::kBlocked;
  }
  return outcome;
}

void Child::End() {
  const int64_t request = -1;
  if (write(ask_, &request, sizeof(request)) != sizeof(request))
    GiveUp("a child does not listen");
  Gone();
}

void Child::Gone() {
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
  for (int fd : {ask_, answer_, ask_read_, answer_write_}) close(fd);
}

Outcome Processes::Run(int64_t place) {
  const Command& c = history_.commands[static_cast<size_t>(place)];
  Child& child = children_[static_cast<size_t>(c.process)];
  if (c.verb == Verb::kExit) {
    if (child.alive()) child.End();
    return Done(0);
  }
  if (!child.alive()) child.Start(history_, Perform);
  return child.Ask(place);
}

}  // namespace handover::guest
