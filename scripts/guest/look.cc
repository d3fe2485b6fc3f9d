// SPDX-License-Identifier: BSD-3-Clause
//
// Which pages a file has is not to be told by any system call, and reading a
// hole through a mapping fills it. So the child that looks is in a cgroup that
// may have no huge page: it maps the file privately and asks for each page to
// be put into its page table. A page that is there is put there, for a hole a
// new one would have to be charged, which fails before anything is changed.
#include "scripts/guest/look.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "model/guest_log.h"
#include "scripts/guest/guest.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

namespace handover::guest {
namespace {

using model::Outcome;
using model::Snapshot;
using model::Verb;

constexpr uint64_t kSmallPage = 4096;
constexpr int kGetSeals = 1034;  // F_GET_SEALS
// Fewer blocks than this may all be gone when somebody asks for one.
constexpr int64_t kSureBlocks = 8;

// Shared by the agent and the child.
bool* g_incoming;

// --- In the child.

std::vector<std::string> g_last;

// Bytes of a page that the history writes to or reads, and the first.
std::vector<uint64_t> WordsOf(const model::History& history) {
  std::vector<uint64_t> words = {0};
  for (const model::Command& c : history.commands)
    if (c.verb == Verb::kWrite || c.verb == Verb::kRead) words.push_back(c.at);
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return words;
}

// No page of a file can lie beyond.
int64_t EndOf(const model::History& history) {
  int64_t end = 1;
  for (const model::Command& c : history.commands)
    if (c.actor == model::Actor::kProcess)
      end = std::max(end, c.page + std::max<int64_t>(c.length, 1));
  return end;
}

// Blocks of 2 MiB that an ordinary allocation from the node would get; -1 where
// that cannot be told. What is free in scratch is no place for everybody.
int64_t FreeBlocks(int node) {
  constexpr int kOrder = 9;
  int64_t blocks = 0;
  const std::string buddies = ReadText("/proc/buddyinfo");
  for (absl::string_view line : absl::StrSplit(buddies, '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() < 5 || words[1] != absl::StrCat(node, ",") ||
        words[3] == "DMA")
      continue;
    for (size_t order = kOrder; order + 4 < words.size(); ++order) {
      int64_t count = 0;
      if (absl::SimpleAtoi(words[order + 4], &count))
        blocks += count << (order - kOrder);
    }
  }
  bool mine = false;
  const std::string zones = ReadText("/proc/zoneinfo");
  for (absl::string_view line : absl::StrSplit(zones, '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() == 4 && words[0] == "Node")
      mine = words[1] == absl::StrCat(node, ",") && words[3] != "DMA";
    int64_t count = 0;
    if (mine && words.size() == 2 &&
        (words[0] == "nr_free_cma" || words[0] == "high") &&
        absl::SimpleAtoi(words[1], &count))
      blocks -= (count + (1 << kOrder) - 1) >> kOrder;
  }
  return blocks < kSureBlocks ? -1 : blocks;
}

void FillPools(const model::History& history, Snapshot* out) {
  for (uint64_t size : model::PageSizes(history.geometry)) {
    if (ReadNumber(PoolPath(size, -1, "nr_hugepages")) < 0) continue;
    model::PoolView& pool = out->pool[static_cast<size_t>(out->nr_pools++)];
    pool = model::PoolView();
    pool.page_size = size;
    pool.resv =
        static_cast<int32_t>(ReadNumber(PoolPath(size, -1, "resv_hugepages")));
    pool.overcommit = static_cast<int32_t>(
        ReadNumber(PoolPath(size, -1, "nr_overcommit_hugepages")));
    for (int n = 0; n < history.nodes; ++n) {
      model::NodeCounts& node = pool.node[static_cast<size_t>(n)];
      auto number = [size, n](const char* name) {
        return static_cast<int32_t>(ReadNumber(PoolPath(size, n, name)));
      };
      node.nr = number("nr_hugepages");
      node.free = number("free_hugepages");
      node.surplus = number("surplus_hugepages");
      node.allocatable = model::IsGigantic(history.geometry, size)
                             ? -1
                             : static_cast<int32_t>(FreeBlocks(n));
    }
  }
}

// The huge pages of a file, and the words in them.
void FillPages(int fd, const struct stat& st, int64_t end,
               const std::vector<uint64_t>& words, Snapshot* out,
               std::vector<model::Cell>* cells) {
  const auto size = static_cast<uint64_t>(st.st_blksize);
  const int64_t pages = st.st_blocks / static_cast<int64_t>(size / 512);
  if (pages == 0) return;
  end =
      std::max(end, static_cast<int64_t>(
                        (static_cast<uint64_t>(st.st_size) + size - 1) / size));
  const size_t bytes = static_cast<size_t>(end) * size;
  void* mapped =
      mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
  if (mapped == MAP_FAILED) GiveUp("a file cannot be mapped to look at it");
  int64_t found = 0;
  for (int64_t index = 0; index < end && found < pages; ++index) {
    char* page =
        static_cast<char*>(mapped) + static_cast<uint64_t>(index) * size;
    model::PageView view;
    view.index = index;
    if (madvise(page, size, MADV_POPULATE_READ) != 0) {
      // One with a memory error is there, and that is all to be seen of it.
      if (errno == EHWPOISON) {
        ++found;
        out->pages.push_back(view);
      } else if (errno != EFAULT) {
        GiveUp("a page cannot be looked at");
      }
      continue;
    }
    ++found;
    view.frame = FrameAt(page, size);
    view.node = NodeAt(page);
    if (view.frame == model::kNoFrame || view.node < 0)
      GiveUp("a page is nowhere");
    out->pages.push_back(view);
    for (uint64_t at : words) {
      if (at + 8 > size) continue;
      cells->push_back(
          {view.frame, at,
           *reinterpret_cast<const volatile uint64_t*>(page + at)});
    }
  }
  munmap(mapped, bytes);
  if (found != pages)
    GiveUp(absl::StrCat("a file has ", pages, " pages, of which ", found,
                        " were found"));
}

void FillFiles(const model::History& history,
               const std::vector<uint64_t>& words, Snapshot* out,
               std::vector<model::Cell>* cells) {
  for (int name = 0; name < model::kMaxNames; ++name) {
    const int fd = FileFd(name);
    struct stat st;
    if (fstat(fd, &st) != 0) continue;
    model::FileView view;
    view.name = name;
    // Files of two file systems may have one number.
    view.inode = static_cast<uint64_t>(st.st_dev) << 40 | st.st_ino;
    view.page_size = static_cast<uint64_t>(st.st_blksize);
    view.size = st.st_size;
    view.position = lseek(fd, 0, SEEK_CUR);
    view.seals = static_cast<uint32_t>(fcntl(fd, kGetSeals));
    view.mode = st.st_mode & 07777;
    view.pages_begin = static_cast<uint32_t>(out->pages.size());
    if (view.page_size != kSmallPage)
      FillPages(fd, st, EndOf(history), words, out, cells);
    view.pages_end = static_cast<uint32_t>(out->pages.size());
    out->files.push_back(view);
  }
}

// `request`: the place and 1, since a child is not asked for less than 0.
Outcome LookNow(const model::History& history, int64_t request) {
  static const std::vector<uint64_t> words = WordsOf(history);
  const int64_t place = request - 1;
  Snapshot snapshot;
  std::vector<model::Cell> cells;
  FillPools(history, &snapshot);
  FillFiles(history, words, &snapshot, &cells);
  for (int name = 0; name < model::kMaxNames; ++name)
    if (IsOpen(SessionFd(name)))
      snapshot.sessions.push_back({name, g_incoming[name]});
  std::vector<std::string> lines =
      model::SnapshotLines(snapshot, history.nodes, words, cells);
  if (lines == g_last) {
    Say(model::SameLine(place));
  } else {
    for (const std::string& line : lines) Say(line);
    Say(model::SeenLine(place));
    g_last = std::move(lines);
  }
  return Outcome();
}

// The first thing that the child is asked for.
Outcome Confine() {
  const std::string me = absl::StrCat(getpid());
  int error = WriteText("/cgroup/cgroup.subtree_control", "+hugetlb");
  if (error == 0 && mkdir("/cgroup/look", 0755) != 0) error = -errno;
  for (const char* size : {"2MB", "1GB"}) {
    const std::string limit =
        absl::StrCat("/cgroup/look/hugetlb.", size, ".max");
    if (error == 0 && access(limit.c_str(), F_OK) == 0)
      error = WriteText(limit, "0");
  }
  if (error == 0) error = WriteText("/cgroup/look/cgroup.procs", me);
  return Done(error);
}

constexpr int64_t kConfine = int64_t{1} << 62;
// Which page of which file follows.
constexpr int64_t kFrameOf = int64_t{1} << 61;
constexpr int kFileShift = 32;

// The outcome's frame is that of the page.
Outcome FindFrame(int64_t request) {
  const int fd = FileFd(static_cast<int>(request >> kFileShift));
  const int64_t page = request & ((int64_t{1} << kFileShift) - 1);
  Outcome outcome;
  struct stat st;
  if (fstat(fd, &st) != 0 || st.st_blksize == kSmallPage) return outcome;
  const auto size = static_cast<uint64_t>(st.st_blksize);
  void* mapped = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd,
                      static_cast<off_t>(static_cast<uint64_t>(page) * size));
  if (mapped == MAP_FAILED) return outcome;
  if (madvise(mapped, size, MADV_POPULATE_READ) == 0) {
    outcome.frame = FrameAt(mapped, size);
  } else if (errno == EHWPOISON) {
    outcome.result = -EHWPOISON;
  }
  munmap(mapped, size);
  return outcome;
}

Outcome Serve(const model::History& history, int64_t request) {
  if (request == kConfine) return Confine();
  if (request & kFrameOf) return FindFrame(request & ~kFrameOf);
  return LookNow(history, request);
}

}  // namespace

Looker::Looker(const model::History& history) {
  void* shared = mmap(nullptr, model::kMaxNames, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) GiveUp("no shared memory");
  g_incoming = static_cast<bool*>(shared);
  child_.Start(history, Serve);
  const Outcome outcome = child_.Ask(kConfine);
  if (!outcome.ok()) {
    errno = static_cast<int>(-outcome.result);
    GiveUp("a cgroup without huge pages cannot be had");
  }
}

void Looker::Look(int64_t place) {
  const Outcome outcome = child_.Ask(place + 1);
  if (!outcome.ok()) GiveUp("who looks is gone");
}

Outcome Looker::Find(int file, int64_t page) {
  return child_.Ask(kFrameOf | int64_t{file} << kFileShift | page);
}

void Looker::SetIncoming(int session, bool incoming) {
  g_incoming[session] = incoming;
}

}  // namespace handover::guest
