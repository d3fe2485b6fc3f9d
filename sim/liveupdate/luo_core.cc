// SPDX-License-Identifier: BSD-3-Clause
//
// LUO's start in both kernels, its device and the reboot path. Follows
// kernel/liveupdate/luo_core.c and kernel_kexec() of kernel/kexec_core.c.
#include <sim/kernel_api.h>

#include <cstring>
#include <string>

#include "sim/liveupdate/kho_internal.h"
#include "sim/liveupdate/luo.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/boot.h"

extern "C" {
int hugetlb_luo_reboot(void);
void hugetlb_luo_hand_over_free(void);
}

namespace sim {

LuoState g_luo;

namespace {

// Follows luo_early_startup().
int EarlyStartup() {
  if (!kho_is_enabled()) {
    if (g_luo.enabled) {
      pr_warn("Disabling liveupdate because KHO is disabled\n");
    }
    g_luo.enabled = false;
    return 0;
  }
  phys_addr_t phys;
  size_t size;
  int err = kho_retrieve_subtree(LUO_KHO_ENTRY_NAME, &phys, &size);
  if (err == -ENOENT) return 0;
  if (err != 0) return err;
  if (size < sizeof(struct luo_ser)) return -EINVAL;

  auto* ser = static_cast<struct luo_ser*>(phys_to_virt(phys));
  if (std::strncmp(ser->compatible, LUO_ABI_COMPATIBLE, LUO_ABI_COMPAT_LEN) !=
      0) {
    pr_err("LUO state is incompatible with '%s'\n", LUO_ABI_COMPATIBLE);
    return -EINVAL;
  }
  g_luo.liveupdate_num = ser->liveupdate_num;
  pr_info("Retrieved live update data, liveupdate number: %lld\n",
          static_cast<long long>(g_luo.liveupdate_num));
  err = LuoSessionSetUpIncoming(ser->sessions_pa);
  if (err == 0) LuoFlbSetUpIncoming(ser->flbs_pa);
  kho_restore_free(ser);
  return err;
}

// Follows luo_state_setup().
int SetUpOutgoing() {
  void* mem = kho_alloc_preserve(sizeof(struct luo_ser));
  if (IS_ERR(mem)) return PTR_ERR(mem);
  auto* ser = static_cast<struct luo_ser*>(mem);
  CopyString(ser->compatible, LUO_ABI_COMPATIBLE);
  ser->liveupdate_num = g_luo.liveupdate_num + 1;
  // The record is packed, but each of its members lies on its own alignment.
  auto* words = reinterpret_cast<u64*>(reinterpret_cast<char*>(mem) +
                                       offsetof(struct luo_ser, sessions_pa));
  static_assert(offsetof(struct luo_ser, sessions_pa) % 8 == 0 &&
                offsetof(struct luo_ser, flbs_pa) ==
                    offsetof(struct luo_ser, sessions_pa) + 8);
  LuoSessionSetUpOutgoing(&words[0]);
  int err = LuoFlbSetUpOutgoing(&words[1]);
  if (err == 0) err = kho_add_subtree(LUO_KHO_ENTRY_NAME, ser, sizeof(*ser));
  if (err != 0) {
    // As in the kernel the table of FLBs stays preserved.
    kho_unpreserve_free(ser);
    pr_err("failed to prepare LUO state: %d\n", err);
    return err;
  }
  g_luo.ser_out = ser;
  return 0;
}

}  // namespace

void LuoReset() {
  g_luo = LuoState();
  sim_init_rwsem(&g_luo.register_rwsem, "&luo_register_rwlock");
  sim_mutex_init(&g_luo.transition_mutex, "&system_transition_mutex");
  LuoSessionsReset();
  LuoFilesReset();
  LuoFlbReset();
  MemfdLuoReset();
}

void LuoPanic(const char* what, int err) {
  pr_err("Kernel panic - not syncing: %s [%d]\n", what, err);
  M().Report("refusal", std::string("kernel panic: ") + what);
  StopHistory();
}

void LuoParseEarlyParams() {
  std::string value;
  for (int i = 0; CmdlineParam("liveupdate", i, &value); ++i) {
    ParseBool(value, &g_luo.enabled);
  }
}

// Follows liveupdate_early_init().
void LuoEarlyInit() {
  if (int err = EarlyStartup()) {
    g_luo.enabled = false;
    LuoPanic("LUO's incoming tree failed to initialize properly", err);
  }
}

// Follows luo_late_startup(), liveupdate_ioctl_init() and memfd_luo_init(). If
// kho_init() failed after LUO's early start, the kernel goes on and warns where
// it meets the missing tree; here live update is off.
void LuoLateInit() {
  if (!kho_is_enabled()) g_luo.enabled = false;
  if (g_luo.enabled && SetUpOutgoing() != 0) g_luo.enabled = false;
  MemfdLuoInit();
}

// Follows luo_open().
int LuoOpen() {
  if (!g_luo.enabled) return -ENOENT;
  Step("luo_open");
  if (g_luo.device_open) return -EBUSY;
  g_luo.device_open = true;
  if (LuoSessionDeserialize() != 0) {
    g_luo.device_open = false;
    return -EIO;
  }
  return 0;
}

// Follows luo_release().
void LuoClose() {
  Step("luo_release");
  g_luo.device_open = false;
}

// Follows kernel_kexec() under system_transition_mutex as reboot(2) takes it.
// kexec_lock has no other user here. Between liveupdate_reboot() and the stop
// of the CPUs in machine_shutdown() user space may still run.
int Reboot(bool image_loaded) {
  MutexGuard guard(&g_luo.transition_mutex);
  if (!image_loaded) return -EINVAL;
  if (int err = liveupdate_reboot()) return err;
  MightSleep("kernel_restart_prepare");
  Step("migrate_to_reboot_cpu");
  Step("machine_shutdown");
  StopKernel();
}

}  // namespace sim

using sim::g_luo;

extern "C" {

// Follows liveupdate_enabled().
bool liveupdate_enabled(void) { return g_luo.enabled; }

// Follows liveupdate_reboot() as kernel/hooks changes it.
int liveupdate_reboot(void) {
  if (sim::Config().has_luo_hugetlb) {
    // HOOK(kernel/liveupdate/luo_core.c, liveupdate_reboot): hugetlb_luo_reboot
    if (int err = hugetlb_luo_reboot()) return err;
  }
  if (!g_luo.enabled) return 0;
  if (int err = sim::LuoSessionSerialize()) return err;
  sim::LuoFlbSerialize();
  if (sim::Config().has_luo_hugetlb) {
    // HOOK(kernel/liveupdate/luo_core.c, liveupdate_reboot):
    // hugetlb_luo_hand_over_free
    hugetlb_luo_hand_over_free();
  }
  return 0;
}

}  // extern "C"
