// SPDX-License-Identifier: BSD-3-Clause
//
// KHO's root device tree, its subtrees and its start. Follows
// kernel/liveupdate/kexec_handover.c; debugfs is left out.
#include <libfdt.h>
#include <sim/kernel_api.h>

#include <algorithm>
#include <cstring>

#include "sim/liveupdate/guard.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/machine/machine.h"
#include "sim/mm/boot.h"

namespace sim {

KhoState g_kho;

namespace {

constexpr char kRelease[] = "7.3.4-handover";

// Follows kho_out_fdt_setup().
int SetUpFdt(void* fdt) {
  const u64 map = virt_to_phys(g_kho.out_tree.root);
  int err = fdt_create(fdt, PAGE_SIZE);
  err |= fdt_finish_reservemap(fdt);
  err |= fdt_begin_node(fdt, "");
  err |= fdt_property_string(fdt, "compatible", KHO_FDT_COMPATIBLE);
  err |= fdt_property(fdt, KHO_FDT_MEMORY_MAP_PROP_NAME, &map, sizeof(map));
  err |= fdt_end_node(fdt);
  err |= fdt_finish(fdt);
  return err;
}

// Follows kho_in_kexec_metadata().
void ReadMetadata() {
  phys_addr_t phys;
  size_t size;
  if (kho_retrieve_subtree(kKhoMetadataNode, &phys, &size) != 0) return;
  g_kho.in_metadata = phys;
  const auto* metadata =
      static_cast<const KhoKexecMetadata*>(phys_to_virt(phys));
  if (size < sizeof(u32) || metadata->version != kKhoMetadataVersion ||
      size < sizeof(*metadata)) {
    pr_warn("KHO: kexec-metadata not supported\n");
    return;
  }
  g_kho.kexec_count = metadata->kexec_count;
  pr_info("KHO: exec from: %.64s (count %u)\n", metadata->previous_release,
          g_kho.kexec_count);
}

// Follows kho_out_kexec_metadata().
int WriteMetadata() {
  void* mem = kho_alloc_preserve(sizeof(KhoKexecMetadata));
  if (IS_ERR(mem)) return PTR_ERR(mem);
  auto* metadata = static_cast<KhoKexecMetadata*>(mem);
  metadata->version = kKhoMetadataVersion;
  std::memcpy(metadata->previous_release, kRelease, sizeof(kRelease));
  metadata->kexec_count = g_kho.kexec_count + 1;
  const int err = kho_add_subtree(kKhoMetadataNode, mem, sizeof(*metadata));
  if (err != 0) kho_unpreserve_free(mem);
  return err;
}

// The part of kho_init() that can fail. The checks of debugfs are left out.
int StartOutgoing() {
  int err = KhoRadixInit(&g_kho.out_tree, nullptr, "&kho_out.radix_tree.lock");
  if (err != 0) return err;
  void* fdt = kho_alloc_preserve(PAGE_SIZE);
  if (IS_ERR(fdt)) {
    KhoRadixDestroy(&g_kho.out_tree);
    return PTR_ERR(fdt);
  }
  g_kho.out_fdt = fdt;
  err = SetUpFdt(fdt);
  if (err == 0) {
    if (is_kho_boot()) ReadMetadata();
    err = WriteMetadata();
    if (err != 0) {
      pr_warn("KHO: failed to initialize kexec-metadata subtree: %d\n", err);
    }
  }
  if (err != 0) {
    kho_unpreserve_free(fdt);
    KhoRadixDestroy(&g_kho.out_tree);
    g_kho.out_fdt = nullptr;
    g_kho.out_keys = {};
  }
  return err;
}

// Reads a property that is one u64. -EINVAL if it is missing or of another
// size.
int GetU64(const void* fdt, int node, const char* name, u64* value) {
  int len;
  const void* prop = fdt_getprop(fdt, node, name, &len);
  if (prop == nullptr || len != sizeof(*value)) return -EINVAL;
  std::memcpy(value, prop, sizeof(*value));
  return 0;
}

// The part of kho_add_subtree() between opening and packing the device tree.
int AddNode(void* fdt, const char* name, u64 phys, u64 size) {
  const int node = fdt_add_subnode(fdt, 0, name);
  if (node == -FDT_ERR_EXISTS) return -EEXIST;
  if (node < 0) return -ENOMEM;
  if (fdt_setprop(fdt, node, KHO_SUB_TREE_PROP_NAME, &phys, sizeof(phys)) < 0 ||
      fdt_setprop(fdt, node, KHO_SUB_TREE_SIZE_PROP_NAME, &size, sizeof(size)) <
          0) {
    fdt_del_node(fdt, node);
    return -ENOMEM;
  }
  return 0;
}

}  // namespace

void KhoReset() {
  g_kho = KhoState();
  sim_mutex_init(&g_kho.out_lock, "&kho_out.lock");
  kho_scratch = nullptr;
  kho_scratch_cnt = 0;
}

// Follows kho_init(). When it fails, the kernel gives scratch back as ordinary
// memory, also on a boot by kexec, where it is no longer reserved; here it
// becomes CMA as if nothing had failed, and only where it was reserved.
void KhoInit() {
  if (!g_kho.enable) return;
  if (StartOutgoing() != 0) g_kho.enable = false;
  if (g_kho.in_scratch == 0) KhoReleaseScratch();
}

std::vector<uint64_t> KhoNeverRestored() {
  std::vector<uint64_t> pages;
  if (g_kho.in_fdt != 0) pages.push_back(g_kho.in_fdt);
  if (g_kho.in_metadata != 0) pages.push_back(g_kho.in_metadata);
  if (const uint64_t flbs = LuoIncomingFlbPage()) pages.push_back(flbs);
  std::sort(pages.begin(), pages.end());
  return pages;
}

uint32_t KhoKexecCount() { return g_kho.kexec_count; }

}  // namespace sim

using sim::g_kho;

extern "C" {

// Follows kho_is_enabled().
bool kho_is_enabled(void) { return g_kho.enable; }

// Follows is_kho_boot().
bool is_kho_boot(void) { return sim::KhoIncomingFdt() != nullptr; }

// Follows kho_add_subtree().
int kho_add_subtree(const char* name, void* blob, size_t size) {
  if (sim::M().Fails(sim::FailKind::kKho, "kho_add_subtree")) return -ENOMEM;
  sim::MutexGuard guard(&g_kho.out_lock);
  void* fdt = g_kho.out_fdt;
  if (fdt_open_into(fdt, fdt, PAGE_SIZE) < 0) return -ENOMEM;
  const int err = sim::AddNode(fdt, name, virt_to_phys(blob), size);
  fdt_pack(fdt);
  return err;
}

// Follows kho_remove_subtree().
void kho_remove_subtree(void* blob) {
  const u64 target = virt_to_phys(blob);
  sim::MutexGuard guard(&g_kho.out_lock);
  void* fdt = g_kho.out_fdt;
  if (fdt_open_into(fdt, fdt, PAGE_SIZE) < 0) return;
  for (int node = fdt_first_subnode(fdt, 0); node >= 0;
       node = fdt_next_subnode(fdt, node)) {
    u64 phys;
    if (sim::GetU64(fdt, node, KHO_SUB_TREE_PROP_NAME, &phys) != 0) continue;
    if (phys == target) {
      fdt_del_node(fdt, node);
      break;
    }
  }
  fdt_pack(fdt);
}

// Follows kho_retrieve_subtree().
int kho_retrieve_subtree(const char* name, phys_addr_t* phys, size_t* size) {
  const void* fdt = sim::KhoIncomingFdt();
  if (fdt == nullptr) return -ENOENT;
  if (phys == nullptr) return -EINVAL;
  const int node = fdt_subnode_offset(fdt, 0, name);
  if (node < 0) return -ENOENT;
  u64 value;
  if (int err = sim::GetU64(fdt, node, KHO_SUB_TREE_PROP_NAME, &value)) {
    return err;
  }
  *phys = value;
  if (sim::GetU64(fdt, node, KHO_SUB_TREE_SIZE_PROP_NAME, &value) != 0) {
    pr_warn("KHO: broken KHO subnode '%s': missing or invalid blob-size\n",
            name);
    return -EINVAL;
  }
  if (size != nullptr) *size = value;
  return 0;
}

}  // extern "C"
