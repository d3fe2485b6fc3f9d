// SPDX-License-Identifier: BSD-3-Clause
//
// What happens between two kernels: nothing crosses but physical memory. All
// this follows is machine_kexec() and kernel/kexec_file.c in outline: the
// image, whose only content is the list of scratch regions, goes into scratch.
#include "sim/liveupdate/kexec.h"

#include <libfdt.h>
#include <sim/kernel_api.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "sim/liveupdate/boot_internal.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"

extern "C" {
extern char __start_knew_data[] __attribute__((weak));
extern char __stop_knew_data[] __attribute__((weak));
}

namespace sim {
namespace {

struct Range {
  uint64_t start;  // frames
  uint64_t end;
};

// What the old kernel hands over, read from its memory as the loader and the
// next kernel find it.
struct OldKernel {
  uint64_t fdt = 0;
  std::vector<struct kho_scratch> scratch;
  std::vector<Range> kept;  // preserved, and the tree's own frames
  std::vector<uint64_t> tree_frames;
};

// Follows kho_fill_kimage(): these two are what kexec_file_load() takes from
// KHO. All the rest is read from physical memory, beginning there.
OldKernel LookAtOldKernel() {
  OldKernel old;
  if (!g_kho.enable || g_kho.out_fdt == nullptr) return old;
  old.fdt = virt_to_phys(g_kho.out_fdt);
  old.scratch.assign(kho_scratch, kho_scratch + kho_scratch_cnt);

  const void* fdt = phys_to_virt(old.fdt);
  const uint64_t map = KhoMemMapPhys(fdt);
  if (map == 0) return old;
  KhoRadixWalkUnlocked(
      static_cast<const struct kho_radix_node*>(phys_to_virt(map)),
      [&](uint64_t key) {
        unsigned order;
        const uint64_t pfn = PHYS_PFN(KhoDecodeKey(key, &order));
        old.kept.push_back({pfn, pfn + (uint64_t{1} << order)});
        return 0;
      },
      [&](uint64_t phys) {
        old.tree_frames.push_back(PHYS_PFN(phys));
        old.kept.push_back({PHYS_PFN(phys), PHYS_PFN(phys) + 1});
        return 0;
      });
  std::sort(old.kept.begin(), old.kept.end(),
            [](const Range& a, const Range& b) { return a.start < b.start; });
  return old;
}

// Memory that nobody preserved holds no bytes of the old kernel any more: the
// next one has the right to use it, and the worst time for that is now.
void OverwriteAllBut(const std::vector<Range>& kept) {
  PhysicalMemory& memory = M().memory();
  uint64_t from = 0;
  for (const Range& range : kept) {
    if (range.start > from) memory.Poison(from, range.start - from);
    from = std::max(from, range.end);
  }
  if (from < memory.end_pfn()) memory.Poison(from, memory.end_pfn() - from);
}

// Puts the list of scratch regions into scratch, from the top of the first
// region that has room, as kexec_locate_mem_hole() does. 0 if none has.
uint64_t LoadScratchList(const std::vector<struct kho_scratch>& scratch) {
  const uint64_t bytes = scratch.size() * sizeof(scratch[0]);
  constexpr uint64_t kAlign = 64 * 1024;
  for (const struct kho_scratch& region : scratch) {
    if (region.size < bytes) continue;
    const uint64_t at = (region.addr + region.size - bytes) & ~(kAlign - 1);
    if (at < region.addr) continue;
    M().memory().MarkDirty(PHYS_PFN(at),
                           PHYS_PFN(at + bytes - 1) - PHYS_PFN(at) + 1);
    std::memcpy(phys_to_virt(at), scratch.data(), bytes);
    return at;
  }
  return 0;
}

// Copies without the sanitizers' checks: what lies between the variables are
// their red zones.
__attribute__((no_sanitize("address", "undefined"))) void CopyRaw(
    volatile char* to, const volatile char* from, size_t bytes) {
  size_t i = 0;
  for (; i + sizeof(uint64_t) <= bytes; i += sizeof(uint64_t)) {
    *reinterpret_cast<volatile uint64_t*>(to + i) =
        *reinterpret_cast<const volatile uint64_t*>(from + i);
  }
  for (; i < bytes; ++i) to[i] = from[i];
}

}  // namespace

void ResetKernelNewData() {
  static char* pristine = nullptr;
  char* start = __start_knew_data;
  const size_t bytes = reinterpret_cast<uintptr_t>(+__stop_knew_data) -
                       reinterpret_cast<uintptr_t>(start);
  if (bytes == 0) return;
  if (pristine == nullptr) {
    pristine = new char[bytes];
    CopyRaw(pristine, start, bytes);
    return;
  }
  CopyRaw(start, pristine, bytes);
}

bool Boot(const KernelConfig& config) { return BootKernel(config, {}, {}); }

bool Kexec(const KernelConfig& next) {
  OldKernel old = LookAtOldKernel();
  M().DigestAdd(g_kho.out_keys.count);
  M().DigestAdd(g_kho.out_keys.hash);

  // The image goes into scratch, whatever lies there.
  OverwriteAllBut(old.kept);
  for (const struct kho_scratch& region : old.scratch) {
    M().memory().Poison(PHYS_PFN(region.addr), PHYS_PFN(region.size));
  }
  Handover handover;
  if (old.fdt != 0) {
    handover.fdt = old.fdt;
    handover.fdt_size = PAGE_SIZE;
    handover.scratch = LoadScratchList(old.scratch);
    handover.scratch_size = old.scratch.size() * sizeof(old.scratch[0]);
    if (handover.scratch == 0) handover = Handover();  // -EADDRNOTAVAIL
  }
  if (handover.fdt == 0) {
    // Nobody is going to read the tree.
    OverwriteAllBut({});
    old.tree_frames.clear();
  }
  NotifyBootObserver("kexec");
  return BootKernel(next, handover, old.tree_frames);
}

bool PowerCut(const KernelConfig& next) {
  ResetActors();
  M().memory().Poison(0, M().memory().end_pfn());
  return Boot(next);
}

}  // namespace sim
