// SPDX-License-Identifier: BSD-3-Clause
//
// What each path of a live update costs, as a formula: instructions of
// kernel/new itself, counted one by one. What it calls is Linux's, and is
// measured in a guest (docs/cost.md). The numbers depend on the compiler; what
// they are in proportion to does not.
#include <elf.h>
#include <gtest/gtest.h>
#include <sim/kernel_api.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sim/exec/table_view.h"
#include "sim/liveupdate/kexec.h"
#include "sim/liveupdate/luo.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_hooks.h"
#include "sim/mm/hugetlb_sysfs.h"
#include "sim/mm/memfd.h"
#include "sim/mm/vfs.h"

extern "C" {
#include <linux/kho/abi/hugetlb.h>

extern const char __start_knew_text[], __stop_knew_text[];
void __real_hugetlb_luo_boot_begin(struct hstate* h);
bool __real_hugetlb_luo_boot_more(struct hstate* h);
void __real_hugetlb_luo_boot_end(struct hstate* h);
void __real_hugetlb_luo_import();
void __real_hugetlb_luo_hand_over_free();
}

namespace sim {
namespace {

enum Path {
  kPreserve,
  kUnpreserve,
  kFreeze,
  kHandOver,
  kAccounting,
  kImport,
  kRetrieve,
  kFinish,
  kNrPaths
};
constexpr int kNone = -1;

// What the process that is counted says to the one that counts.
struct Shared {
  int path = kNone;
  uintptr_t entry = 0;  // of the function of kernel/new that is to be counted
  int runs = 0;         // of all files' pages
  int free = 0;         // pages handed over that are in no file
};
Shared* g_shared;

// From here on it is `path`, whenever `entry` is called.
void Mark(int path, uintptr_t entry = 0) {
  if (g_shared == nullptr) return;
  g_shared->path = path;
  g_shared->entry = entry;
  raise(SIGUSR1);
}
template <typename Function>
void Mark(int path, Function* entry) {
  Mark(path, reinterpret_cast<uintptr_t>(entry));
}

const struct liveupdate_file_ops* Ops() {
  struct liveupdate_file_handler* it;
  list_for_each_entry(it, &g_luo.handlers, list) {
    if (std::strcmp(it->compatible, HUGETLB_LUO_FH_COMPATIBLE) == 0)
      return it->ops;
  }
  return nullptr;
}

// An update of some files.
struct Plan {
  int files = 1;
  int pages = 4;  // of each file
  int late = 0;   // of each file: added after it was preserved
  bool scattered = false;
  int reserved = 0;         // of each file: holes apart from each other
  int pool = 400;           // pages of the pool
  bool with_free = false;   // what is left of it is handed over
  bool unpreserve = false;  // instead of the update
  bool finish = false;      // instead of retrieving
  int sizes = 2;            // page sizes of the kernel
};

struct Costs {
  bool ok = false;
  std::array<int64_t, kNrPaths> own = {};
  int runs = 0;
  int free = 0;
};

Geometry TwoNodes(int sizes) {
  Geometry g;
  g.name = "cost";
  g.nodes = 2;
  g.max_page_order = 10;
  g.pageblock_order = 9;
  g.huge_orders = {2};
  if (sizes > 1) g.huge_orders.push_back(9);
  g.hpage_order = 9;
  g.kho_ext_block = 1 << 30;
  g.scratch_lowmem = g.scratch_global = g.scratch_pernode = 4 << 20;
  g.spans.push_back({4096, 4096, 0});
  g.spans.push_back({8192, 4096, 1});
  return g;
}

constexpr loff_t kPageSize = 16 << 10;

bool FillOne(struct file* file, loff_t index) {
  return VfsFallocate(file, FALLOC_FL_KEEP_SIZE, index * kPageSize,
                      kPageSize) == 0;
}

// The pool gives its pages in ascending order of their addresses.
struct file* MakeFile(const Plan& plan) {
  struct file* file =
      MemfdCreate(MFD_HUGETLB | MFD_EXEC | 14 << MFD_HUGE_SHIFT);
  if (IS_ERR(file)) return nullptr;
  const long end = plan.pages + plan.late;
  bool ok = VfsTruncate(file, (end + 2 * plan.reserved) * kPageSize) == 0;
  for (long at = end; at < end + 2 * plan.reserved; at += 2)
    ok &= hugetlb_reserve_pages(file_inode(file), at, at + 1, nullptr,
                                EMPTY_VMA_FLAGS) >= 0;
  for (int i = 0; i < plan.pages; ++i)
    ok &= FillOne(file, plan.scattered ? plan.pages - 1 - i : i);
  return ok ? file : nullptr;
}

// Goes through one update in the process that is counted.
bool Update(const Plan& plan) {
  Machine machine(TwoNodes(plan.sizes), 1);
  ResetActors();
  KernelConfig config;
  config.has_luo_hugetlb = true;
  config.cmdline =
      absl::StrCat("kho=on liveupdate=on hugepagesz=16K hugepages=", plan.pool);
  if (!Boot(config) || LuoOpen() != 0) return false;
  if (plan.with_free && PreserveFreeStore(kPageSize, true) != 0) return false;
  struct file* session = nullptr;
  if (SessionCreate("s", &session) != 0) return false;
  std::vector<struct file*> files;
  for (int i = 0; i < plan.files; ++i) {
    files.push_back(MakeFile(plan));
    if (files.back() == nullptr) return false;
  }
  for (int i = 0; i < plan.files; ++i) {
    Mark(kPreserve, Ops()->preserve);
    const int err = PreserveFd(session, static_cast<u64>(i), files[i]);
    Mark(kNone);
    if (err != 0) return false;
  }
  if (plan.unpreserve) {
    Mark(kUnpreserve, Ops()->unpreserve);
    const int err = SessionRelease(session);
    Mark(kNone);
    return err == 0 && machine.violations().empty();
  }
  for (struct file* file : files)
    for (int i = 0; i < plan.late; ++i)
      if (!FillOne(file, plan.pages + i)) return false;
  const RunResult result = RunOnActor(ActorByName("agent"), [] {
    Mark(kFreeze, Ops()->freeze);
    Reboot(/*image_loaded=*/true);
  });
  Mark(kNone);
  if (result != RunResult::kKernelDown) return false;
  for (const auto& file : ReadTableView().files) {
    if ((file.flags & HUGETLB_LUO_FILE_FREE) != 0) {
      g_shared->free += static_cast<int>(file.nr_pages);
      continue;
    }
    for (const auto* chain : {&file.runs, &file.late})
      for (const auto& block : chain->blocks)
        g_shared->runs += static_cast<int>(block.runs.size());
  }

  if (!Kexec(config) || LuoOpen() != 0) return false;
  if (SessionRetrieve("s", &session) != 0) return false;
  if (plan.finish) {
    Mark(kFinish, Ops()->finish);
    const int err = Finish(session);
    Mark(kNone);
    return err == 0 && machine.violations().empty();
  }
  for (int i = 0; i < plan.files; ++i) {
    struct file* file = nullptr;
    Mark(kRetrieve, Ops()->retrieve);
    const int err = RetrieveFd(session, static_cast<u64>(i), &file);
    Mark(kNone);
    if (err != 0) return false;
    if (static_cast<int>(file->f_mapping->nrpages >> 2) !=
        plan.pages + plan.late)
      return false;
  }
  return machine.violations().empty();
}

struct Registers {
  uintptr_t pc = 0;
  uintptr_t sp = 0;
  uintptr_t link = 0;
};

Registers RegistersOf(pid_t pid) {
  user_regs_struct regs = {};
  iovec io = {&regs, sizeof(regs)};
  if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io) != 0) return {};
#if defined(__x86_64__)
  return {regs.rip, regs.rsp, 0};
#else
  return {regs.pc, regs.sp, regs.regs[30]};
#endif
}

long Peek(pid_t pid, uintptr_t at) {
  return ptrace(PTRACE_PEEKDATA, pid, at, nullptr);
}

bool IsReturn(pid_t pid, uintptr_t at) {
#if defined(__x86_64__)
  const auto instruction = static_cast<unsigned long>(Peek(pid, at));
  return (instruction & 0xff) == 0xc3 || (instruction & 0xffff) == 0xc3f3;
#else
  return (Peek(pid, at) & 0xffffffff) == 0xd65f03c0;
#endif
}

// Where a function that begins at `at` will return to.
uintptr_t ReturnAddress(pid_t pid, const Registers& at) {
#if defined(__x86_64__)
  return static_cast<uintptr_t>(Peek(pid, at.sp));
#else
  (void)pid;
  return at.link;
#endif
}

// Lets the process run until it gets to `at`. False: it stopped for another
// reason, or is gone (`status`).
bool RunTo(pid_t pid, uintptr_t at, int* status) {
#if defined(__x86_64__)
  constexpr long kMask = 0xff, kBreak = 0xcc;
#else
  constexpr long kMask = 0xffffffff, kBreak = 0xd4200000;
#endif
  const long code = Peek(pid, at);
  ptrace(PTRACE_POKEDATA, pid, at, (code & ~kMask) | kBreak);
  ptrace(PTRACE_CONT, pid, nullptr, 0);
  if (waitpid(pid, status, 0) != pid || !WIFSTOPPED(*status)) return false;
  ptrace(PTRACE_POKEDATA, pid, at, code);
  if (WSTOPSIG(*status) != SIGTRAP) return false;
#if defined(__x86_64__)
  user_regs_struct regs = {};
  iovec io = {&regs, sizeof(regs)};
  ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io);
  regs.rip = at;  // it is behind it
  ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &io);
#endif
  return true;
}

// Runs an update in another process, wherever it says that it is on some path
// one instruction of kernel/new after the other. What others call back (as
// sort() does) is not counted.
Costs Measure(const Plan& plan) {
  Costs costs;
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return costs;
  g_shared = new (memory) Shared;
  const pid_t pid = fork();
  if (pid == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    _exit(Update(plan) ? 0 : 1);
  }
  const auto start = reinterpret_cast<uintptr_t>(+__start_knew_text);
  const auto stop = reinterpret_cast<uintptr_t>(+__stop_knew_text);
  auto own = [&](uintptr_t at) { return at >= start && at < stop; };
  int path = kNone, status = 0, signal = 0;
  uintptr_t next = 0;  // what kernel/new executes next, if it does
  if (pid > 0) waitpid(pid, &status, 0);
  while (pid > 0 && WIFSTOPPED(status)) {
    if (path != kNone && next == 0 && signal == 0) {
      const uintptr_t entry = g_shared->entry;
      if (RunTo(pid, entry, &status)) next = entry;
    } else if (next != 0 && signal == 0) {
      ++costs.own[static_cast<size_t>(path)];
      const bool returns = IsReturn(pid, next);
      ptrace(PTRACE_SINGLESTEP, pid, nullptr, 0);
      if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) break;
      if (WSTOPSIG(status) == SIGTRAP) {
        const Registers at = RegistersOf(pid);
        next = own(at.pc) ? at.pc : 0;
        // It has called something, which may have called it for the last time.
        if (next == 0 && !returns) {
          const uintptr_t back = ReturnAddress(pid, at);
          if (own(back) && RunTo(pid, back, &status)) next = back;
        }
      }
    } else {
      ptrace(PTRACE_CONT, pid, nullptr, signal);
      if (waitpid(pid, &status, 0) != pid) break;
    }
    if (!WIFSTOPPED(status)) break;
    signal = WSTOPSIG(status);
    if (signal == SIGUSR1) {
      path = g_shared->path;
      next = 0;
    }
    if (signal == SIGUSR1 || signal == SIGTRAP || signal == SIGSTOP) signal = 0;
  }
  costs.ok = pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  costs.runs = g_shared->runs;
  costs.free = g_shared->free;
  g_shared = nullptr;
  munmap(memory, sizeof(Shared));
  return costs;
}

// Whether this process may trace its children: containers may forbid it.
bool MayTrace() {
  const pid_t pid = fork();
  if (pid == 0) _exit(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0 ? 0 : 1);
  int status = 1;
  return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

void Say(const char* what, double instructions) {
  std::printf("[     COST ] %s: %.1f instructions of kernel/new\n", what,
              instructions);
}

class CostTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!MayTrace()) GTEST_SKIP() << "ptrace() is not allowed here";
  }
  static Costs Of(const Plan& plan) {
    const Costs costs = Measure(plan);
    EXPECT_TRUE(costs.ok);
    return costs;
  }
};

// Of the blackout, what comes before the jump: files, and pages that were added
// since they were preserved.
TEST_F(CostTest, FreezingTakesNoTimeForPages) {
  const int64_t one = Of({.pages = 2}).own[kFreeze];
  EXPECT_GT(one, 100);
  EXPECT_EQ(Of({.pages = 40}).own[kFreeze], one);
  EXPECT_EQ(Of({.pages = 40, .scattered = true}).own[kFreeze], one);
  const int64_t two = Of({.files = 2, .pages = 2}).own[kFreeze];
  const int64_t three = Of({.files = 3, .pages = 2}).own[kFreeze];
  EXPECT_EQ(three - two, two - one);
  Say("freeze, a file", static_cast<double>(two - one));

  const int64_t late8 = Of({.pages = 2, .late = 8}).own[kFreeze];
  const int64_t late16 = Of({.pages = 2, .late = 16}).own[kFreeze];
  const int64_t late32 = Of({.pages = 2, .late = 32}).own[kFreeze];
  const double a_page = static_cast<double>(late16 - late8) / 8;
  EXPECT_NEAR(static_cast<double>(late32 - late16) / 16, a_page, a_page / 20);
  Say("freeze, a late page", a_page);
}

// What early boot and the filling of the pools take: page sizes and nodes.
TEST_F(CostTest, AccountingTakesNoTimeForPagesAndFiles) {
  const int64_t few = Of({.pages = 2}).own[kAccounting];
  EXPECT_GT(few, 100);
  // Balancing the nodes searches for the right level by halves.
  const int64_t little = few / 10;
  EXPECT_NEAR(Of({.pages = 40}).own[kAccounting], few, little);
  EXPECT_NEAR(Of({.files = 3, .pages = 2}).own[kAccounting], few, little);
  EXPECT_NEAR(Of({.files = 4, .pages = 10}).own[kAccounting], few, little);
  Say("boot accounting, two sizes on two nodes", static_cast<double>(few));
}

// One look at what KHO left in the page's struct page, and the rest by run.
TEST_F(CostTest, ValidationTakesTimeForRunsAndLittleForPages) {
  const Costs p8 = Of({.pages = 8}), p16 = Of({.pages = 16}),
              p32 = Of({.pages = 32});
  ASSERT_EQ(p8.runs, 1);
  ASSERT_EQ(p32.runs, 1);
  const double a_page =
      static_cast<double>(p16.own[kImport] - p8.own[kImport]) / 8;
  EXPECT_NEAR(static_cast<double>(p32.own[kImport] - p16.own[kImport]) / 16,
              a_page, 1);
  const Costs r16 = Of({.pages = 16, .scattered = true}),
              r32 = Of({.pages = 32, .scattered = true});
  ASSERT_EQ(r16.runs, 16);
  ASSERT_EQ(r32.runs, 32);
  const double a_run =
      static_cast<double>(r32.own[kImport] - r16.own[kImport]) / 16 - a_page;
  EXPECT_GT(a_run, 2 * a_page);
  Say("import, a page", a_page);
  Say("import, a run", a_run);
}

// What costs the same for each of n, 2n, 4n of something.
void ProportionalTo(int n, const Costs& one, const Costs& two,
                    const Costs& four, Path path, const char* what) {
  const double each = static_cast<double>(two.own[path] - one.own[path]) / n;
  EXPECT_GT(each, 1) << what;
  EXPECT_NEAR(static_cast<double>(four.own[path] - two.own[path]) / n / 2, each,
              each / 10)
      << what;
  Say(what, each);
}

TEST_F(CostTest, PreservingAndRetrievingTakeTimeForPages) {
  const Costs p16 = Of({.pages = 16}), p32 = Of({.pages = 32}),
              p64 = Of({.pages = 64});
  ProportionalTo(16, p16, p32, p64, kPreserve, "preserve, a page");
  ProportionalTo(16, p16, p32, p64, kRetrieve, "retrieve, a page");
}

TEST_F(CostTest, UnpreservingAndFinishingTakeTimeForPages) {
  auto unpreserve = [](int pages) {
    return Of({.pages = pages, .unpreserve = true});
  };
  ProportionalTo(8, unpreserve(8), unpreserve(16), unpreserve(32), kUnpreserve,
                 "unpreserve, a page");
  auto finish = [](int pages) { return Of({.pages = pages, .finish = true}); };
  ProportionalTo(8, finish(8), finish(16), finish(32), kFinish,
                 "finish, a page");
}

TEST_F(CostTest, ReservedHolesTakeTimeForEach) {
  const Costs r8 = Of({.reserved = 8}), r16 = Of({.reserved = 16}),
              r32 = Of({.reserved = 32});
  ProportionalTo(8, r8, r16, r32, kPreserve, "preserve, a reserved hole");
  ProportionalTo(8, r8, r16, r32, kImport, "import, a reserved hole");
  ProportionalTo(8, r8, r16, r32, kRetrieve, "retrieve, a reserved hole");
  // Late pages are compared with what is reserved, and there are none.
  EXPECT_EQ(r32.own[kFreeze], r8.own[kFreeze]);
}

// The part of the blackout that is in proportion to free pages, where they are
// handed over; else they are not even counted.
TEST_F(CostTest, FreePagesTakeTimeForEach) {
  std::vector<Costs> with, without;
  for (int pool : {30, 60, 120}) {
    with.push_back(Of({.pool = pool, .with_free = true}));
    if (pool != 60) without.push_back(Of({.pool = pool}));
  }
  EXPECT_EQ(without[0].free, 0);
  EXPECT_EQ(without[1].own[kHandOver], without[0].own[kHandOver]);
  // As above, and the pools are not of one size.
  EXPECT_NEAR(without[1].own[kAccounting], without[0].own[kAccounting],
              without[0].own[kAccounting] / 3);
  for (const auto& [path, name] :
       {std::pair(kHandOver, "hand over, a free page"),
        {kImport, "import, a free page"},
        {kAccounting, "boot accounting, a free page"}}) {
    auto each = [&with, path](size_t i) {
      return static_cast<double>(with[i + 1].own[path] - with[i].own[path]) /
             (with[i + 1].free - with[i].free);
    };
    ASSERT_GT(with[1].free, with[0].free + 10);
    ASSERT_GT(with[2].free, with[1].free + 30);
    EXPECT_GT(each(0), 1) << name;
    EXPECT_NEAR(each(1), each(0), each(0) / 2) << name;  // not its square
    Say(name, each(1));
  }
}

}  // namespace
}  // namespace sim

// What Linux calls at boot, with the counting around it.
extern "C" {
void __wrap_hugetlb_luo_boot_begin(struct hstate* h) {
  sim::Mark(sim::kAccounting, __real_hugetlb_luo_boot_begin);
  __real_hugetlb_luo_boot_begin(h);
  sim::Mark(sim::kNone);
}
bool __wrap_hugetlb_luo_boot_more(struct hstate* h) {
  sim::Mark(sim::kAccounting, __real_hugetlb_luo_boot_more);
  const bool more = __real_hugetlb_luo_boot_more(h);
  sim::Mark(sim::kNone);
  return more;
}
void __wrap_hugetlb_luo_boot_end(struct hstate* h) {
  sim::Mark(sim::kAccounting, __real_hugetlb_luo_boot_end);
  __real_hugetlb_luo_boot_end(h);
  sim::Mark(sim::kNone);
}
void __wrap_hugetlb_luo_import() {
  sim::Mark(sim::kImport, __real_hugetlb_luo_import);
  __real_hugetlb_luo_import();
  sim::Mark(sim::kNone);
}
void __wrap_hugetlb_luo_hand_over_free() {
  sim::Mark(sim::kHandOver, __real_hugetlb_luo_hand_over_free);
  __real_hugetlb_luo_hand_over_free();
  sim::Mark(sim::kNone);
}
}
