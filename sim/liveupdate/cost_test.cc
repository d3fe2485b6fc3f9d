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
#include <sys/ucontext.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
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
u32 __real_jhash2(const u32* k, u32 length, u32 initval);
void __real_hugetlb_luo_boot_init();
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
  kBootInit,
  kAccounting,
  kGigantic,  // boot accounting of sizes that memblock allocates
  kImport,
  kRetrieve,
  kFinish,
  kNrPaths
};
constexpr int kNone = -1;

// What the process that is counted says to the one that counts.
struct Shared {
  unsigned paths = ~0U;  // that are to be counted
  bool traced = false;   // it is the other one that counts
  int path = kNone;
  uintptr_t entry = 0;  // of the function of kernel/new that is to be counted
  std::array<int64_t, kNrPaths> own = {};
  std::array<int64_t, kNrPaths> hashed = {};
  int runs = 0;  // of all files' pages
  int free = 0;  // pages handed over that are in no file
};
Shared* g_shared;

// Counts instructions of kernel/new in this process from the next call of
// `entry` on, or (0) none any more.
void StepFrom(uintptr_t entry);

// From here on it is `path`, whenever `entry` is called.
void Mark(int path, uintptr_t entry = 0) {
  if (g_shared == nullptr) return;
  if (path != kNone && (g_shared->paths >> path & 1) == 0) return;
  g_shared->path = path;
  g_shared->entry = entry;
  if (g_shared->traced)
    raise(SIGUSR1);
  else
    StepFrom(entry);
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
  unsigned paths = ~0U;     // that are counted, a bit each
  int sizes = 2;            // page sizes of the kernel
  int used = 1;             // of them: that there are files of, as many of each
  bool gigantic = false;    // the largest size is
  int nodes = 2;
  bool moved = false;  // the kernel before knows only one of the nodes

  friend bool operator==(const Plan&, const Plan&) = default;
};

struct Costs {
  bool ok = false;
  std::array<int64_t, kNrPaths> own = {};
  std::array<int64_t, kNrPaths> hashed = {};  // words, by jhash2()
  int runs = 0;
  int free = 0;
};

constexpr loff_t kPageSize = 16 << 10;

// Of which order the nth page size is.
unsigned OrderOf(const Plan& plan, int n) {
  return plan.gigantic && n == plan.sizes - 1
             ? 6
             : 2 + 2 * static_cast<unsigned>(n);
}

Geometry GeometryOf(const Plan& plan) {
  Geometry g;
  g.name = "cost";
  g.nodes = plan.nodes;
  g.max_page_order = plan.gigantic ? 5 : 10;
  g.pageblock_order = g.max_page_order - 1;
  for (int i = 0; i < plan.sizes; ++i)
    g.huge_orders.push_back(OrderOf(plan, i));
  g.hpage_order = OrderOf(plan, 0);
  g.kho_ext_block = 1 << 30;
  g.scratch_lowmem = g.scratch_global = g.scratch_pernode = 4 << 20;
  constexpr uint64_t frames = 8192;
  for (int nid = 0; nid < plan.nodes; ++nid)
    g.spans.push_back({frames * static_cast<uint64_t>(nid + 1), frames, nid});
  return g;
}

bool FillOne(struct file* file, loff_t index) {
  const auto size = static_cast<loff_t>(huge_page_size(hstate_file(file)));
  return VfsFallocate(file, FALLOC_FL_KEEP_SIZE, index * size, size) == 0;
}

// The pool gives its pages in ascending order of their addresses.
struct file* MakeFile(const Plan& plan, int size) {
  const unsigned shift = PAGE_SHIFT + OrderOf(plan, size);
  struct file* file =
      MemfdCreate(MFD_HUGETLB | MFD_EXEC | shift << MFD_HUGE_SHIFT);
  if (IS_ERR(file)) return nullptr;
  const long end = plan.pages + plan.late;
  bool ok = VfsTruncate(file, (end + 2 * plan.reserved) << shift) == 0;
  for (long at = end; at < end + 2 * plan.reserved; at += 2)
    ok &= hugetlb_reserve_pages(file_inode(file), at, at + 1, nullptr,
                                EMPTY_VMA_FLAGS) >= 0;
  for (int i = 0; i < plan.pages; ++i)
    ok &= FillOne(file, plan.scattered ? plan.pages - 1 - i : i);
  return ok ? file : nullptr;
}

// Goes through one update in the process that is counted.
bool Update(const Plan& plan) {
  Machine machine(GeometryOf(plan), 1);
  ResetActors();
  KernelConfig config;
  config.has_luo_hugetlb = true;
  config.cmdline = "kho=on liveupdate=on";
  for (int i = 0; i < plan.used; ++i)
    absl::StrAppend(&config.cmdline, " hugepagesz=", 4 << OrderOf(plan, i),
                    "K hugepages=", plan.pool);
  const std::string next = config.cmdline;
  if (plan.moved) config.cmdline += " numa=off";
  if (!Boot(config) || LuoOpen() != 0) return false;
  config.cmdline = next;
  if (plan.with_free && PreserveFreeStore(kPageSize, true) != 0) return false;
  struct file* session = nullptr;
  if (SessionCreate("s", &session) != 0) return false;
  std::vector<struct file*> files;
  const int nr_files = plan.files * plan.used;
  for (int i = 0; i < nr_files; ++i) {
    files.push_back(MakeFile(plan, i % plan.used));
    if (files.back() == nullptr) return false;
  }
  for (int i = 0; i < nr_files; ++i) {
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
  for (int i = 0; i < nr_files; ++i) {
    struct file* file = nullptr;
    Mark(kRetrieve, Ops()->retrieve);
    const int err = RetrieveFd(session, static_cast<u64>(i), &file);
    Mark(kNone);
    if (err != 0) return false;
    if (static_cast<int>(file->f_mapping->nrpages >>
                         OrderOf(plan, i % plan.used)) !=
        plan.pages + plan.late)
      return false;
  }
  return machine.violations().empty();
}

bool IsOwn(uintptr_t at) {
  return at >= reinterpret_cast<uintptr_t>(+__start_knew_text) &&
         at < reinterpret_cast<uintptr_t>(+__stop_knew_text);
}

// Of code of kernel/new, which is where it is in this process, too.
bool IsReturn(uintptr_t at) {
  unsigned char code[4];
  std::memcpy(code, reinterpret_cast<const void*>(at), sizeof(code));
#if defined(__x86_64__)
  return code[0] == 0xc3 || (code[0] == 0xf3 && code[1] == 0xc3);
#else
  return code[0] == 0xc0 && code[1] == 0x03 && code[2] == 0x5f &&
         code[3] == 0xd6;
#endif
}

#if defined(__x86_64__)
// The processor stops after each instruction if it is asked to, and at a byte
// that is put in the place of another. The signal is handled here, which takes
// a fifth of the time that another process takes.
constexpr bool kStepsItself = true;
unsigned char* planted;
unsigned char planted_code;
uintptr_t stepped;  // the instruction that is executed now, 0: not ours

void PutBack() {
  if (planted != nullptr) *planted = planted_code;
  planted = nullptr;
}

void Plant(uintptr_t at) {
  PutBack();
  if (at == 0) return;
  planted = reinterpret_cast<unsigned char*>(at);
  planted_code = std::exchange(*planted, 0xcc);
}

void StepFrom(uintptr_t entry) { Plant(entry); }

void OnTrap(int, siginfo_t*, void* context) {
  constexpr greg_t kTrapFlag = 0x100;
  greg_t* regs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto pc = static_cast<uintptr_t>(regs[REG_RIP]);
  if (stepped == 0) {
    stepped = pc - 1;
    if (reinterpret_cast<uintptr_t>(planted) != stepped) _exit(2);
    PutBack();
    regs[REG_RIP] = static_cast<greg_t>(stepped);
    regs[REG_EFL] |= kTrapFlag;
    return;
  }
  ++g_shared->own[static_cast<size_t>(g_shared->path)];
  const bool returns = IsReturn(std::exchange(stepped, IsOwn(pc) ? pc : 0));
  if (stepped != 0) return;
  regs[REG_EFL] &= ~kTrapFlag;
  // It has called something, which may have called it for the last time.
  uintptr_t back = 0;
  std::memcpy(&back, reinterpret_cast<const void*>(regs[REG_RSP]),
              sizeof(back));
  Plant(!returns && IsOwn(back) ? back : g_shared->entry);
}

bool PrepareToStep() {
  alignas(16) static char stack[64 << 10];  // those of actors are small
  stack_t other = {};
  other.ss_sp = stack;
  other.ss_size = sizeof(stack);
  struct sigaction action = {};
  action.sa_sigaction = OnTrap;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<uintptr_t>(+__start_knew_text) & -page;
  const auto stop = reinterpret_cast<uintptr_t>(+__stop_knew_text);
  return sigaltstack(&other, nullptr) == 0 &&
         sigaction(SIGTRAP, &action, nullptr) == 0 &&
         mprotect(reinterpret_cast<void*>(start), stop - start,
                  PROT_READ | PROT_WRITE | PROT_EXEC) == 0;
}
#else
constexpr bool kStepsItself = false;
void StepFrom(uintptr_t) {}
bool PrepareToStep() { return false; }
#endif

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

// Executes one instruction of kernel/new after the other in the process that
// wants it.
void Trace(pid_t pid, int* status, Costs* costs) {
  int path = kNone, signal = 0;
  uintptr_t next = 0;  // what kernel/new executes next, if it does
  if (waitpid(pid, status, 0) != pid) return;
  while (WIFSTOPPED(*status)) {
    if (path != kNone && next == 0 && signal == 0) {
      const uintptr_t entry = g_shared->entry;
      if (RunTo(pid, entry, status)) next = entry;
    } else if (next != 0 && signal == 0) {
      ++costs->own[static_cast<size_t>(path)];
      const bool returns = IsReturn(next);
      ptrace(PTRACE_SINGLESTEP, pid, nullptr, 0);
      if (waitpid(pid, status, 0) != pid || !WIFSTOPPED(*status)) break;
      if (WSTOPSIG(*status) == SIGTRAP) {
        const Registers at = RegistersOf(pid);
        next = IsOwn(at.pc) ? at.pc : 0;
        // It has called something, which may have called it for the last time.
        if (next == 0 && !returns) {
          const uintptr_t back = ReturnAddress(pid, at);
          if (IsOwn(back) && RunTo(pid, back, status)) next = back;
        }
      }
    } else {
      ptrace(PTRACE_CONT, pid, nullptr, signal);
      if (waitpid(pid, status, 0) != pid) break;
    }
    if (!WIFSTOPPED(*status)) break;
    signal = WSTOPSIG(*status);
    if (signal == SIGUSR1) {
      path = g_shared->path;
      next = 0;
    }
    if (signal == SIGUSR1 || signal == SIGTRAP || signal == SIGSTOP) signal = 0;
  }
}

// Runs an update in another process and counts, where it says that it is on
// some path, the instructions of kernel/new. What others call back (as sort()
// does) is not counted.
Costs Measure(const Plan& plan, bool traced = !kStepsItself) {
  Costs costs;
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return costs;
  g_shared = new (memory) Shared;
  g_shared->paths = plan.paths;
  g_shared->traced = traced;
  const pid_t pid = fork();
  if (pid == 0) {
    if (traced) {
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      raise(SIGSTOP);
    } else if (!PrepareToStep()) {
      _exit(2);
    }
    _exit(Update(plan) ? 0 : 1);
  }
  int status = -1;
  if (traced && pid > 0)
    Trace(pid, &status, &costs);
  else if (pid > 0 && waitpid(pid, &status, 0) == pid)
    costs.own = g_shared->own;
  costs.ok = pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  costs.hashed = g_shared->hashed;
  costs.runs = g_shared->runs;
  costs.free = g_shared->free;
  g_shared = nullptr;
  munmap(memory, sizeof(Shared));
  return costs;
}

// The same is the same again: many differ from one that others differ from.
Costs Measured(const Plan& plan) {
  static auto* const known = new std::vector<std::pair<Plan, Costs>>;
  for (const auto& [other, costs] : *known)
    if (other == plan) return costs;
  known->emplace_back(plan, Measure(plan));
  return known->back().second;
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
    if (!kStepsItself && !MayTrace())
      GTEST_SKIP() << "ptrace() is not allowed here";
  }
  static Costs Of(const Plan& plan) {
    const Costs costs = Measured(plan);
    EXPECT_TRUE(costs.ok);
    return costs;
  }
};

TEST_F(CostTest, HoweverItIsCounted) {
  if (!MayTrace()) GTEST_SKIP() << "ptrace() is not allowed here";
  constexpr unsigned kPaths = 1U << kPreserve | 1U << kFreeze | 1U << kImport;
  const Plan plan = {
      .pages = 2, .late = 1, .reserved = 1, .pool = 8, .paths = kPaths};
  const Costs traced = Measure(plan, /*traced=*/true);
  const Costs costs = Of(plan);
  ASSERT_TRUE(traced.ok);
  EXPECT_EQ(traced.own, costs.own);
  for (const Path path : {kPreserve, kFreeze, kImport})
    EXPECT_GT(costs.own[path], 100);
  EXPECT_EQ(costs.own[kRetrieve], 0);
}

// One path, which is all that is counted.
int64_t Only(Path path, Plan plan) {
  plan.paths = 1U << path;
  const Costs costs = Measured(plan);
  EXPECT_TRUE(costs.ok);
  return costs.own[static_cast<size_t>(path)];
}

// What sanitizers add is in no proportion.
#ifdef __SANITIZE_ADDRESS__
constexpr int kPercent = 20, kInstrumented = 2;
#else
constexpr int kPercent = 10, kInstrumented = 1;
#endif

// What a loop takes for each round may differ by what the compiler makes of it.
testing::AssertionResult About(int64_t is, int64_t should) {
  const int64_t off = is - should;
  if (off * off <= should * should * kPercent * kPercent / 10000 + 4)
    return testing::AssertionSuccess();
  return testing::AssertionFailure() << is << " instead of " << should;
}

// Of the blackout, what comes before the jump: files, and pages that were added
// since they were preserved.
TEST_F(CostTest, FreezingTakesNoTimeForPages) {
  const int64_t one = Only(kFreeze, {.pages = 2});
  EXPECT_GT(one, 100);
  EXPECT_EQ(Only(kFreeze, {.pages = 40}), one);
  EXPECT_EQ(Only(kFreeze, {.pages = 40, .scattered = true}), one);
  // What kernel/new has others do is not in that: checksums.
  EXPECT_EQ(Of({.pages = 40, .scattered = true, .paths = 1U << kFreeze}).hashed,
            Of({.pages = 2, .paths = 1U << kFreeze}).hashed);
  const int64_t two = Only(kFreeze, {.files = 2, .pages = 2});
  const int64_t three = Only(kFreeze, {.files = 3, .pages = 2});
  EXPECT_EQ(three - two, two - one);
  Say("freeze, a file", static_cast<double>(two - one));

  const int64_t late8 = Only(kFreeze, {.pages = 2, .late = 8});
  const int64_t late16 = Only(kFreeze, {.pages = 2, .late = 16});
  const int64_t late32 = Only(kFreeze, {.pages = 2, .late = 32});
  const double a_page = static_cast<double>(late16 - late8) / 8;
  EXPECT_NEAR(static_cast<double>(late32 - late16) / 16, a_page, a_page / 20);
  Say("freeze, a late page", a_page);
}

TEST_F(CostTest, FreezingTakesLittleTimeForSizesAndNodes) {
  auto freeze = [](int sizes, int nodes) {
    return Only(kFreeze, {.pages = 2, .sizes = sizes, .nodes = nodes});
  };
  const int64_t one = freeze(1, 1);
  const int64_t size = freeze(2, 1) - one, node = freeze(1, 2) - one;
  EXPECT_TRUE(About(freeze(3, 1) - one, 2 * size));
  EXPECT_TRUE(About(freeze(1, 4) - one, 3 * node));
  EXPECT_TRUE(About(freeze(3, 4) - one, 2 * size + 3 * node));
  EXPECT_LT(size + node, one / 10);
  Say("freeze, of a file's for each size", static_cast<double>(size));
  Say("freeze, of a file's for each node", static_cast<double>(node));
}

constexpr std::array<int, 3> kNodes = {1, 2, 4};

// What early boot takes: each count of the root, of which there is one for each
// size and node, and a look at where each node's memory lies.
TEST_F(CostTest, ReadingTheRootTakesTimeForSizesAndNodes) {
  auto read = [](int sizes, int nodes, int pages = 2) {
    return Only(kBootInit, {.pages = pages,
                            .pool = pages + 20,
                            .sizes = sizes,
                            .used = sizes,
                            .nodes = nodes});
  };
  const int64_t a_count = read(2, 1) - read(1, 1);
  EXPECT_GT(a_count, 10);
  const int64_t a_node = read(1, 2) - read(1, 1) - a_count;
  EXPECT_GT(a_node, 10);
  for (const int nodes : kNodes) {
    const int64_t one = read(1, nodes);
    EXPECT_TRUE(About(one - read(1, 1), (a_count + a_node) * (nodes - 1)));
    EXPECT_TRUE(About(read(2, nodes) - one, a_count * nodes));
    EXPECT_TRUE(About(read(3, nodes) - one, 2 * a_count * nodes));
    EXPECT_EQ(read(1, nodes, 100), one);
  }
  Say("early boot, one size on one node", static_cast<double>(read(1, 1)));
  Say("early boot, a size on a node", static_cast<double>(a_count));
  Say("early boot, a node", static_cast<double>(a_node));
}

TEST_F(CostTest, AccountingTakesNoTimeForPages) {
  auto account = [](int pages, bool scattered, int pool = 400) {
    return Only(kAccounting,
                {.pages = pages, .scattered = scattered, .pool = pool});
  };
  const int64_t few = account(2, false);
  // Which halves are searched depends on how many there are.
  const int64_t little = 2 * (few - account(2, false, 200));
  EXPECT_GT(little, 10);
  EXPECT_LT(little, few / 5);
  for (const bool scattered : {false, true}) {
    EXPECT_NEAR(account(150, scattered), few, little);
    EXPECT_NEAR(account(300, scattered), few, little);
  }
  Say("boot accounting, two sizes on two nodes", static_cast<double>(few));
}

// A look at each file for each size, and not for each node.
TEST_F(CostTest, AccountingTakesLittleTimeForFiles) {
  auto account = [](int files, int sizes, int nodes) {
    return Only(kAccounting, {.files = files,
                              .pages = 1,
                              .pool = 128,
                              .sizes = sizes,
                              .nodes = nodes});
  };
  auto a_file = [&account](int sizes, int nodes) {
    const int64_t few = account(4, sizes, nodes),
                  more = account(12, sizes, nodes);
    EXPECT_NEAR(account(20, sizes, nodes) - more, more - few, (more - few) / 10)
        << sizes << " sizes, " << nodes << " nodes";
    return static_cast<double>(more - few) / 8;
  };
  const double one = a_file(1, 1), two = a_file(2, 1), three = a_file(3, 1);
  EXPECT_GT(two, one);
  EXPECT_LT(two, 2 * one);
  EXPECT_NEAR(three - two, two - one, 1);
  EXPECT_NEAR(a_file(1, 4), one, one / 10);
  EXPECT_NEAR(a_file(3, 4), three, three / 10);
  EXPECT_LT(one, 150 * kInstrumented);  // with the counters of gcov
  Say("boot accounting, a file of that size", one);
  Say("boot accounting, a file of another size", two - one);
}

// What filling the pools takes, of which pages come for each size: a node's
// part for each size and each bit of the number of pages, since balancing the
// nodes searches for the right level by halves.
TEST_F(CostTest, AccountingTakesTimeForSizesAndNodes) {
  auto account = [](int sizes, int nodes, int pool) {
    return Only(kAccounting, {.pages = 2,
                              .pool = pool,
                              .sizes = sizes,
                              .used = sizes,
                              .nodes = nodes});
  };
  std::array<std::array<int64_t, 3>, 4> at = {};
  for (size_t s = 1; s <= 3; ++s)
    for (size_t n = 0; n < 3; ++n)
      at[s][n] = account(static_cast<int>(s), kNodes[n], 16);
  const int64_t a_node = at[1][1] - at[1][0];
  EXPECT_GT(a_node, 20);
  for (size_t s = 1; s <= 3; ++s) {
    const auto sizes = static_cast<int64_t>(s);
    EXPECT_TRUE(About(at[s][1] - at[s][0], sizes * a_node));
    EXPECT_TRUE(About(at[s][2] - at[s][0], 3 * sizes * a_node));
  }
  // For each size a look at the files of all sizes, of which there are as many.
  const int64_t a_look = at[3][0] - 2 * at[2][0] + at[1][0];
  EXPECT_GT(a_look, 0);
  EXPECT_LT(a_look, at[1][0] / 10);
  EXPECT_TRUE(About(at[3][1] - 2 * at[2][1] + at[1][1], a_look));
  EXPECT_TRUE(About(at[3][2] - 2 * at[2][2] + at[1][2], a_look));

  std::array<int64_t, 3> bit = {};
  for (size_t n = 0; n < 3; ++n) {
    bit[n] = account(1, kNodes[n], 32) - account(1, kNodes[n], 16);
    EXPECT_GT(bit[n], 20);
    EXPECT_TRUE(
        About(account(1, kNodes[n], 64) - account(1, kNodes[n], 32), bit[n]));
  }
  EXPECT_GT(bit[1], bit[0]);
  EXPECT_TRUE(About(bit[2] - bit[1], 2 * (bit[1] - bit[0])));
  Say("boot accounting, a size on one node, 16 pages",
      static_cast<double>(at[1][0]));
  Say("boot accounting, a size on a node more", static_cast<double>(a_node));
  Say("the same size on one node, twice the pages",
      static_cast<double>(bit[0]));
  Say("the same on a node more", static_cast<double>(bit[1] - bit[0]));
}

// Sizes that memblock allocates are planned before anything is known but the
// root, which is searched for each node: once more sizes and nodes.
TEST_F(CostTest, GiganticAccountingTakesTimeForSizesAndNodesSquared) {
  auto account = [](int sizes, int nodes, int pool, int pages = 1) {
    return Only(kGigantic, {.pages = pages,
                            .pool = pool,
                            .sizes = sizes,
                            .used = sizes,
                            .gigantic = true,
                            .nodes = nodes});
  };
  auto a_bit = [&account](int sizes, int nodes) {
    return account(sizes, nodes, 32) - account(sizes, nodes, 16);
  };
  // What a size more takes of that.
  std::array<int64_t, 5> size = {};
  for (int nodes = 1; nodes <= 4; ++nodes)
    size[static_cast<size_t>(nodes)] = a_bit(2, nodes) - a_bit(1, nodes);
  EXPECT_TRUE(About(a_bit(3, 4) - a_bit(2, 4), size[4]));
  const int64_t square = size[3] - 2 * size[2] + size[1];
  EXPECT_GT(square, 1);
  EXPECT_NEAR(size[4] - 2 * size[3] + size[2], square, square / 2);
  EXPECT_NEAR(account(1, 4, 16, 4), account(1, 4, 16), a_bit(1, 4));
  Say("boot accounting of gigantic pages, two sizes on two nodes, 16 pages",
      static_cast<double>(account(2, 2, 16)));
  Say("the same, twice the pages", static_cast<double>(a_bit(2, 2)));
}

// Where such pages lie is looked up only if the root counts them by other
// nodes: of each page of the size, and a look at each file.
TEST_F(CostTest, GiganticAccountingLooksAtPagesOnlyIfNodesAreOthers) {
  auto account = [](bool moved, int files, int pages, bool scattered = true) {
    return Only(kGigantic, {.files = files,
                            .pages = pages,
                            .scattered = scattered,
                            .pool = 64,
                            .sizes = 1,
                            .gigantic = true,
                            .nodes = 2,
                            .moved = moved});
  };
  // What is missing has an effect on how it is spread.
  const int64_t few = account(false, 1, 8), little = few / 4;
  EXPECT_NEAR(account(false, 1, 48), few, little);
  EXPECT_NEAR(account(false, 6, 8), few, little);
  auto more = [&account](int files, int pages, bool scattered = true) {
    return static_cast<double>(account(true, files, pages, scattered) -
                               account(false, files, pages, scattered));
  };
  const double a_page = (more(1, 16, false) - more(1, 8, false)) / 8;
  const double a_run = (more(1, 16) - more(1, 8)) / 8 - a_page;
  const double a_file = (more(2, 8) - more(1, 8)) - 8 * (a_page + a_run);
  EXPECT_GT(a_page, 10);
  EXPECT_GT(a_run, 5);
  EXPECT_GT(a_file, 20);
  EXPECT_NEAR(more(1, 48) - more(1, 16), 32 * (a_page + a_run), little);
  Say("where gigantic pages lie, a page", a_page);
  Say("where gigantic pages lie, a run", a_run);
  Say("where gigantic pages lie, a file", a_file);
}

// One look at what KHO left in the page's struct page, and the rest by run.
TEST_F(CostTest, ValidationTakesTimeForRunsAndLittleForPages) {
  const Costs p8 = Of({.pages = 8, .paths = 1U << kImport}),
              p16 = Of({.pages = 16, .paths = 1U << kImport}),
              p32 = Of({.pages = 32, .paths = 1U << kImport});
  ASSERT_EQ(p8.runs, 1);
  ASSERT_EQ(p32.runs, 1);
  const double a_page =
      static_cast<double>(p16.own[kImport] - p8.own[kImport]) / 8;
  EXPECT_NEAR(static_cast<double>(p32.own[kImport] - p16.own[kImport]) / 16,
              a_page, 1);
  const Costs r16 =
                  Of({.pages = 16, .scattered = true, .paths = 1U << kImport}),
              r32 =
                  Of({.pages = 32, .scattered = true, .paths = 1U << kImport}),
              r64 =
                  Of({.pages = 64, .scattered = true, .paths = 1U << kImport});
  ASSERT_EQ(r16.runs, 16);
  ASSERT_EQ(r32.runs, 32);
  ASSERT_EQ(r64.runs, 64);
  const double a_run =
      static_cast<double>(r32.own[kImport] - r16.own[kImport]) / 16 - a_page;
  EXPECT_GT(a_run, 2 * a_page);
  EXPECT_NEAR(
      static_cast<double>(r64.own[kImport] - r32.own[kImport]) / 32 - a_page,
      a_run, a_run / 20);
  Say("import, a page", a_page);
  Say("import, a run", a_run);
}

// Each file, and for each of its nodes and each size and node a comparison.
// The counts of the root are compared with each other, too.
TEST_F(CostTest, ValidationTakesTimeForFiles) {
  auto import = [](int files, int sizes, int nodes) {
    return Only(kImport, {.files = files,
                          .pages = 1,
                          .pool = 32,
                          .sizes = sizes,
                          .nodes = nodes});
  };
  auto a_file = [&import](int sizes, int nodes) {
    const int64_t few = import(2, sizes, nodes), more = import(4, sizes, nodes);
    const double each = static_cast<double>(more - few) / 2;
    EXPECT_NEAR(static_cast<double>(import(8, sizes, nodes) - more) / 4, each,
                each / 20)
        << sizes << " sizes, " << nodes << " nodes";
    return each;
  };
  const double one = a_file(1, 1), four = a_file(1, 4), twelve = a_file(3, 4);
  const double a_count = (twelve - four) / 8;
  EXPECT_GT(a_count, 1);
  EXPECT_LT(a_count, one / 20);
  Say("import, a file, one size on one node", one);
  Say("import, of a file's for each size and node", a_count);
  const auto c4 = static_cast<double>(import(1, 1, 4)),
             c8 = static_cast<double>(import(1, 2, 4)),
             c12 = static_cast<double>(import(1, 3, 4));
  const double a_pair = (c12 - 2 * c8 + c4) / 32;
  EXPECT_GT(a_pair, 1);
  EXPECT_LT(a_pair, 60 * kInstrumented);  // with the counters of gcov
  Say("import, a pair of sizes on nodes", a_pair);
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
  constexpr unsigned kPaths = 1U << kPreserve | 1U << kRetrieve;
  const Costs p16 = Of({.pages = 16, .paths = kPaths}),
              p32 = Of({.pages = 32, .paths = kPaths}),
              p64 = Of({.pages = 64, .paths = kPaths});
  ProportionalTo(16, p16, p32, p64, kPreserve, "preserve, a page");
  ProportionalTo(16, p16, p32, p64, kRetrieve, "retrieve, a page");
}

TEST_F(CostTest, UnpreservingAndFinishingTakeTimeForPages) {
  auto unpreserve = [](int pages) {
    return Of({.pages = pages, .unpreserve = true, .paths = 1U << kUnpreserve});
  };
  ProportionalTo(8, unpreserve(8), unpreserve(16), unpreserve(32), kUnpreserve,
                 "unpreserve, a page");
  auto finish = [](int pages) {
    return Of({.pages = pages, .finish = true, .paths = 1U << kFinish});
  };
  ProportionalTo(8, finish(8), finish(16), finish(32), kFinish,
                 "finish, a page");
}

TEST_F(CostTest, ReservedHolesTakeTimeForEach) {
  constexpr unsigned kPaths =
      1U << kPreserve | 1U << kFreeze | 1U << kImport | 1U << kRetrieve;
  const Costs r8 = Of({.reserved = 8, .paths = kPaths}),
              r16 = Of({.reserved = 16, .paths = kPaths}),
              r32 = Of({.reserved = 32, .paths = kPaths});
  ProportionalTo(8, r8, r16, r32, kPreserve, "preserve, a reserved hole");
  ProportionalTo(8, r8, r16, r32, kImport, "import, a reserved hole");
  ProportionalTo(8, r8, r16, r32, kRetrieve, "retrieve, a reserved hole");
  // Late pages are compared with what is reserved, and there are none.
  EXPECT_EQ(r32.own[kFreeze], r8.own[kFreeze]);
}

// The part of the blackout that is in proportion to free pages, where they are
// handed over; else they are not even counted.
TEST_F(CostTest, FreePagesTakeTimeForEach) {
  constexpr unsigned kPaths =
      1U << kHandOver | 1U << kImport | 1U << kAccounting;
  std::vector<Costs> with, without;
  for (int pool : {30, 60, 120}) {
    with.push_back(Of({.pool = pool, .with_free = true, .paths = kPaths}));
    if (pool != 60) without.push_back(Of({.pool = pool, .paths = kPaths}));
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

void NoteHashed(u32 words) {
  if (g_shared != nullptr && g_shared->path != kNone)
    g_shared->hashed[static_cast<size_t>(g_shared->path)] += words;
}

int AccountingOf(struct hstate* h) {
  return hstate_is_gigantic(h) ? kGigantic : kAccounting;
}

}  // namespace sim

// What Linux calls at boot, with the counting around it.
extern "C" {
u32 __wrap_jhash2(const u32* k, u32 length, u32 initval) {
  sim::NoteHashed(length);
  return __real_jhash2(k, length, initval);
}
void __wrap_hugetlb_luo_boot_init() {
  sim::Mark(sim::kBootInit, __real_hugetlb_luo_boot_init);
  __real_hugetlb_luo_boot_init();
  sim::Mark(sim::kNone);
}
void __wrap_hugetlb_luo_boot_begin(struct hstate* h) {
  sim::Mark(sim::AccountingOf(h), __real_hugetlb_luo_boot_begin);
  __real_hugetlb_luo_boot_begin(h);
  sim::Mark(sim::kNone);
}
bool __wrap_hugetlb_luo_boot_more(struct hstate* h) {
  sim::Mark(sim::AccountingOf(h), __real_hugetlb_luo_boot_more);
  const bool more = __real_hugetlb_luo_boot_more(h);
  sim::Mark(sim::kNone);
  return more;
}
void __wrap_hugetlb_luo_boot_end(struct hstate* h) {
  sim::Mark(sim::AccountingOf(h), __real_hugetlb_luo_boot_end);
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
