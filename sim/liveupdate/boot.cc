// SPDX-License-Identifier: BSD-3-Clause
//
// The boot of a simulated kernel: the steps of sim/mm/boot.h in the order of
// Linux 7.3 (setup_arch(), mm_core_init_early(), mm_core_init(), then the
// initcalls by level and, within a level, in the order of linking).
#include "sim/mm/boot.h"

#include <sim/kernel_api.h>

#include <functional>
#include <string>
#include <utility>

#include "sim/liveupdate/boot_internal.h"
#include "sim/liveupdate/kexec.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/hugetlb_hooks.h"

// late_initcall()s of kernel/new, collected by the linker. Weak: a program may
// be linked without kernel/new.
using SimInitcall = int (*)(void);
extern "C" {
extern SimInitcall __start_sim_initcall7[] __attribute__((weak));
extern SimInitcall __stop_sim_initcall7[] __attribute__((weak));
}

namespace sim {
namespace {

KernelConfig g_config;
std::function<void(std::string_view)> g_observer;

// setup_arch() as far as memory is concerned. The bootloader's data is read
// before the firmware's memory map is.
void SetUpArch(const Handover& handover) {
  KhoParseEarlyParams();
  LuoParseEarlyParams();
  if (handover.fdt != 0) {
    kho_populate(handover.fdt, handover.fdt_size, handover.scratch,
                 handover.scratch_size);
  }
  MemblockAddRam();
}

// Follows numa_setup() of x86 and numa_parse_early_param() of arm64.
bool NumaIsOff() {
  std::string value;
  bool off = false;
  for (int i = 0; CmdlineParam("numa", i, &value); ++i)
    off |= value.compare(0, 3, "off") == 0;
  return off;
}

void RunLateInitcalls() {
  LuoLateInit();
  if (!Config().has_luo_hugetlb) return;
  const SimInitcall* end = __stop_sim_initcall7;
  for (const SimInitcall* fn = __start_sim_initcall7; fn != end; ++fn) (*fn)();
}

void RunBootSteps(const Handover& handover,
                  const std::vector<uint64_t>& tree_frames) {
  SetUpArch(handover);

  // mm_core_init_early()
  kho_memory_init_early();
  if (LuoHugetlb()) {
    NotifyBootObserver("kho");
    // HOOK(mm/mm_init.c, mm_core_init_early): hugetlb_luo_boot_init
    hugetlb_luo_boot_init();
    NotifyBootObserver("errors");
  }
  FreeAreaInit();
  HugetlbCmaReserve();
  HugetlbBootmemAlloc();
  MemmapInit();
  NotifyBootObserver("memmap");

  // mm_core_init(). The old kernel's tree is not preserved: once it has been
  // read its frames are free, and whoever looked at them again would find what
  // somebody else made of them.
  kho_memory_init();
  for (uint64_t pfn : tree_frames) M().memory().Poison(pfn, 1);
  MmCoreInit();
  NotifyBootObserver("buddy");

  LuoEarlyInit();           // early_initcall
  DeferredInit();           // page_alloc_init_late()
  HugetlbStructPageInit();  // the same
  CmaInitReservedAreas();   // core_initcall
  HugetlbArchInit();        // arch_initcall
  HugetlbInit();            // subsys_initcall
  NotifyBootObserver("hugetlb");
  KhoInit();  // fs_initcall: kernel/ is linked before fs/
  HugetlbfsInit();
  RunLateInitcalls();
  NotifyBootObserver("up");
}

}  // namespace

const KernelConfig& Config() { return g_config; }

// n counts from 0. A parameter ends at the next space; quotes are left out.
bool CmdlineParam(std::string_view key, int nth, std::string* value) {
  std::string_view rest = g_config.cmdline;
  while (!rest.empty()) {
    const size_t end = rest.find(' ');
    const std::string_view word = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view()
                                         : rest.substr(end + 1);
    if (word.size() <= key.size() || word.substr(0, key.size()) != key ||
        word[key.size()] != '=') {
      continue;
    }
    if (nth-- > 0) continue;
    *value = std::string(word.substr(key.size() + 1));
    return true;
  }
  return false;
}

void SetBootObserver(std::function<void(std::string_view)> observer) {
  g_observer = std::move(observer);
}

void NotifyBootObserver(std::string_view stage) {
  if (g_observer) g_observer(stage);
}

bool BootKernel(const KernelConfig& config, const Handover& handover,
                const std::vector<uint64_t>& tree_frames) {
  // Static data is what the loader puts there.
  g_config = config;
  M().SetNuma(!NumaIsOff());
  MmReset();
  HugetlbReset();
  KhoReset();
  LuoReset();
  ResetKernelNewData();

  Machine& machine = M();
  ++machine.generation;
  machine.ClearLog();
  machine.DigestAdd(static_cast<uint64_t>(machine.generation));
  if (machine.tracing()) {
    machine.Note("kernel " + std::to_string(machine.generation) +
                 " boots: " + config.cmdline);
  }
  return RunBoot([&] { RunBootSteps(handover, tree_frames); }) ==
         RunResult::kDone;
}

}  // namespace sim
