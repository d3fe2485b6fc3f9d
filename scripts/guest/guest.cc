// SPDX-License-Identifier: BSD-3-Clause
#include "scripts/guest/guest.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "model/guest_log.h"

namespace handover::guest {
namespace {

constexpr uint64_t kSmallPage = 4096;

}  // namespace

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

void Rename(int fd, int name) {
  if (dup3(fd, name, O_CLOEXEC) != name) GiveUp("a descriptor has no place");
  close(fd);
}

void Say(std::string_view line) {
  static const int kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
  const std::string text = absl::StrCat(std::string(line), "\n");
  if (write(kmsg, text.data(), text.size()) < 0) TurnOff();
}

void TurnOff() {
  sync();
  reboot(RB_AUTOBOOT);
  for (;;) pause();
}

void GiveUp(std::string_view why) {
  const int error = errno;
  Say(model::TroubleLine(
      absl::StrCat(std::string(why), " (errno ", error, ")")));
  TurnOff();
}

std::string ReadText(const std::string& path) {
  std::string out;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return out;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;)
    out.append(buffer, static_cast<size_t>(n));
  close(fd);
  return out;
}

int WriteText(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  const ssize_t n = write(fd, text.data(), text.size());
  const int result = n < 0 ? -errno : 0;
  close(fd);
  return result;
}

int64_t ReadNumber(const std::string& path) {
  const std::string text = ReadText(path);
  return text.empty() ? -1 : std::strtoll(text.c_str(), nullptr, 10);
}

std::string PoolPath(uint64_t page_size, int node, std::string_view name) {
  const std::string pool = absl::StrCat("hugepages/hugepages-", page_size >> 10,
                                        "kB/", std::string(name));
  if (node < 0) return absl::StrCat("/sys/kernel/mm/", pool);
  return absl::StrCat("/sys/devices/system/node/node", node, "/", pool);
}

model::Frame FrameAt(const void* address, uint64_t page_size) {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  constexpr uint64_t kNumber = (uint64_t{1} << 55) - 1;
  const auto at = reinterpret_cast<uintptr_t>(address);
  const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  uint64_t entry = 0;
  const bool got =
      fd >= 0 && pread(fd, &entry, sizeof(entry),
                       static_cast<off_t>(at / kSmallPage * sizeof(entry))) ==
                     sizeof(entry);
  if (fd >= 0) close(fd);
  if (!got || !(entry & kPresent)) return model::kNoFrame;
  return static_cast<model::Frame>((entry & kNumber) &
                                   ~(page_size / kSmallPage - 1));
}

int NodeAt(const void* address) {
  void* page = const_cast<void*>(address);
  int node = -1;
  if (syscall(SYS_move_pages, 0, 1UL, &page, nullptr, &node, 0) != 0) return -1;
  return node < 0 ? -1 : node;
}

pid_t ForkSharingFiles() {
  return static_cast<pid_t>(
      syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
}

model::Outcome DoneWith(int64_t returned) {
  return Done(returned < 0 ? -errno : 0);
}

}  // namespace handover::guest
