// SPDX-License-Identifier: BSD-3-Clause
#include "scripts/guest/next_kernel.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "scripts/guest/guest.h"

namespace handover::guest {
namespace {

constexpr char kInitramfs[] = "/initramfs";
// As scripts/kernel-history boots the first kernel with. What is said by way of
// /dev/kmsg must not be left out when there is much of it; on a busy host an
// emulated timer may look as if it were broken.
constexpr char kCommonWords[] =
    "console=ttyS0 panic=-1 oops=panic no_timer_check printk.devkmsg=on kho=on "
    "liveupdate=on";

void Pad(std::string* out) { out->resize((out->size() + 3) & ~size_t{3}); }

// One entry of a cpio archive ("newc").
void AddEntry(std::string* out, std::string_view name, unsigned mode,
              std::string_view content, unsigned major = 0,
              unsigned minor = 0) {
  static unsigned inode = 1;
  absl::StrAppend(
      out, absl::StrFormat("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x"
                           "%08x%08x",
                           inode++, mode, 0, 0, 1, 0, content.size(), 0, 0,
                           major, minor, name.size() + 1, 0));
  out->append(name);
  out->push_back('\0');
  Pad(out);
  out->append(content);
  Pad(out);
}

void AddFile(std::string* out, const std::string& path, unsigned mode) {
  const std::string content = ReadText(path);
  if (content.empty()) return;  // not every machine has every kernel
  AddEntry(out, path.substr(1), S_IFREG | mode, content);
}

// The initramfs of the next kernel is like that of this one. Written once: it
// is the same for all that this kernel loads.
int OpenInitramfs() {
  struct stat st;
  if (stat(kInitramfs, &st) != 0) {
    std::string out;
    for (const char* folder : {"dev", "proc", "sys", "cgroup"})
      AddEntry(&out, folder, S_IFDIR | 0755, "");
    AddEntry(&out, "dev/console", S_IFCHR | 0600, "", 5, 1);
    AddFile(&out, "/init", 0755);
    AddFile(&out, kHistoryFile, 0644);
    AddFile(&out, kKernelFile, 0644);
    AddFile(&out, kKernelWithoutFile, 0644);
    AddEntry(&out, "TRAILER!!!", 0, "");
    const int fd = open(kInitramfs, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) GiveUp("no initramfs");
    for (size_t done = 0; done < out.size();) {
      const ssize_t n = write(fd, out.data() + done, out.size() - done);
      if (n <= 0) GiveUp("the initramfs cannot be written");
      done += static_cast<size_t>(n);
    }
    close(fd);
  }
  // The kernel reads it only if nobody can write to it.
  return open(kInitramfs, O_RDONLY | O_CLOEXEC);
}

// A word that makes the processor look as if it lacked 1 GiB pages.
std::string WithoutSizes(const model::Command& load) {
  if (load.missing_sizes.empty()) return "";
  if (load.missing_sizes != std::vector<uint64_t>{uint64_t{1} << 30})
    GiveUp("only 1G can be made to be missing");
  return " clearcpuid=pdpe1gb";
}

}  // namespace

int LoadKernel(const model::Command& load, int generation, int64_t next) {
  const std::string line =
      absl::StrCat(kCommonWords, " ", kGenerationWord, generation, " ",
                   kNextWord, next, WithoutSizes(load), " ", load.command_line);
  const int kernel = open(load.no_option ? kKernelWithoutFile : kKernelFile,
                          O_RDONLY | O_CLOEXEC);
  const int initramfs = OpenInitramfs();
  if (kernel < 0 || initramfs < 0) GiveUp("no kernel to load");
  const long result = syscall(SYS_kexec_file_load, kernel, initramfs,
                              line.size() + 1, line.c_str(), 0UL);
  const int error = result < 0 ? -errno : 0;
  close(kernel);
  close(initramfs);
  return error;
}

}  // namespace handover::guest
