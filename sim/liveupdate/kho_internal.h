// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_LIVEUPDATE_KHO_INTERNAL_H_
#define SIM_LIVEUPDATE_KHO_INTERNAL_H_

// KHO's static data and what its files share.

#include <sim/kernel_api.h>

#include <cstdint>
#include <string>
#include <vector>

#include "sim/liveupdate/kho.h"
#include "sim/liveupdate/kho_radix.h"

namespace sim {

// "KHOP": in page->private of the first page of each preserved block, above
// the block's order, until it is restored.
inline constexpr uint32_t kKhoPageMagic = 0x4b484f50;

inline constexpr char kKhoMetadataNode[] = "kexec-metadata";
inline constexpr uint32_t kKhoMetadataVersion = 1;
struct __attribute__((packed)) KhoKexecMetadata {
  u32 version;
  char previous_release[65];
  u32 kexec_count;
};
static_assert(sizeof(KhoKexecMetadata) == 73);

// Static data of one kernel; nothing in it survives KhoReset().
struct KhoState {
  bool enable = false;

  // To the next kernel.
  void* out_fdt = nullptr;
  struct mutex out_lock = {};
  KhoRadixTree out_tree = {};

  // From the previous kernel.
  phys_addr_t in_fdt = 0;
  phys_addr_t in_scratch = 0;
  KhoRadixTree in_tree = {};
  uint32_t kexec_count = 0;
  uint64_t in_metadata = 0;

  // kho_scratch= or the geometry's sizes.
  uint64_t scratch_lowmem = 0;
  uint64_t scratch_global = 0;
  uint64_t scratch_pernode = 0;

  // Notes for checkers; the kernel's own code does not read them.
  KhoKeySet out_keys;
  std::vector<KhoKey> in_keys;
  uint64_t unclaimed_pages = 0;
};
extern KhoState g_kho;

// Follows kstrtobool(): leaves *value alone when the text is none.
void ParseBool(const std::string& text, bool* value);
// kho=, kho_scratch=.
void KhoParseEarlyParams();
// The incoming device tree, or null.
const void* KhoIncomingFdt();
// Follows kho_get_mem_map_phys(): 0 if the device tree has no such property.
phys_addr_t KhoMemMapPhys(const void* fdt);
// Adds or removes a key of the outgoing tree.
int KhoAddKey(uint64_t pfn, unsigned order);
void KhoDeleteKey(uint64_t pfn, unsigned order);
// kho_preserve_pages() and its counterpart by frame number.
int KhoPreserveRange(uint64_t pfn, uint64_t nr_pages);
void KhoUnpreserveRange(uint64_t pfn, uint64_t nr_pages);
// kho_restore_folio() and kho_restore_pages() without the fault plan's seam.
// For callers whose kernel counterpart loses memory when a restore fails: the
// loss is upstream's and known, and would be reported as a leak.
struct folio* KhoRestoreFolio(phys_addr_t phys);
struct page* KhoRestorePages(phys_addr_t phys, uint64_t nr_pages);
// Declares as CMA what kho_memory_init() reserved (kho_init).
void KhoReleaseScratch();
// Physical address of LUO's incoming table of FLBs, 0 without one.
uint64_t LuoIncomingFlbPage();

}  // namespace sim

#endif  // SIM_LIVEUPDATE_KHO_INTERNAL_H_
