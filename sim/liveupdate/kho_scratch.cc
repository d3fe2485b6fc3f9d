// SPDX-License-Identifier: BSD-3-Clause
//
// Scratch regions, and KHO's part in early boot: memory that nothing preserved
// lies in, where the next kernel starts. Follows
// kernel/liveupdate/kexec_handover.c.
#include <libfdt.h>
#include <sim/kernel_api.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "sim/liveupdate/kho_internal.h"
#include "sim/machine/machine.h"
#include "sim/mm/boot.h"
#include "sim/mm/memmap.h"

extern "C" {
struct kho_scratch* kho_scratch;
unsigned int kho_scratch_cnt;
}

namespace sim {
namespace {

// Scratch becomes CMA and is merged by the buddy allocator.
uint64_t ScratchAlignment() { return PAGE_SIZE * MAX_ORDER_NR_PAGES; }

// Follows memparse() for what kho_scratch= may contain.
bool ParseSize(const char** text, uint64_t* size) {
  char* end;
  *size = std::strtoull(*text, &end, 0);
  if (end == *text) return false;
  switch (*end | 0x20) {
    case 'k':
      *size <<= 10;
      ++end;
      break;
    case 'm':
      *size <<= 20;
      ++end;
      break;
    case 'g':
      *size <<= 30;
      ++end;
      break;
    default:
      break;
  }
  *text = end;
  return true;
}

// Follows kho_parse_scratch_size() for lowmem,global,pernode. The form N% is
// left out, as scaling by what a real kernel allocates in boot has no meaning
// here: it leaves the geometry's sizes.
void ParseScratchSizes(const std::string& text) {
  uint64_t sizes[3];
  const char* p = text.c_str();
  for (int i = 0; i < 3; ++i) {
    if (i > 0 && *p++ != ',') return;
    if (!ParseSize(&p, &sizes[i])) return;
  }
  if (*p != 0 || sizes[0] + sizes[1] + sizes[2] == 0) return;
  g_kho.scratch_lowmem = sizes[0];
  g_kho.scratch_global = sizes[1];
  g_kho.scratch_pernode = sizes[2];
}

// Takes a region of memblock and notes it as the next scratch region.
bool TakeScratch(const char* name, uint64_t size, phys_addr_t addr,
                 unsigned* nr) {
  if (addr == 0) {
    pr_err("KHO: Failed to reserve %s scratch buffer\n", name);
    return false;
  }
  kho_scratch[*nr].addr = addr;
  kho_scratch[*nr].size = size;
  ++*nr;
  return true;
}

bool TakeAllScratch(unsigned* nr) {
  const uint64_t align = ScratchAlignment();
  uint64_t size = round_up(g_kho.scratch_lowmem, align);
  if (!TakeScratch(
          "lowmem", size,
          memblock_phys_alloc_range(size, align, 0, ARCH_LOW_ADDRESS_LIMIT),
          nr)) {
    return false;
  }
  size = round_up(g_kho.scratch_global, align);
  if (!TakeScratch("global", size, memblock_phys_alloc(size, align), nr)) {
    return false;
  }
  int nid;
  for_each_node_state(nid, N_MEMORY) {
    size = round_up(g_kho.scratch_pernode, align);
    if (!TakeScratch("node", size,
                     memblock_alloc_range_nid(
                         size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE, nid, true),
                     nr)) {
      return false;
    }
  }
  return true;
}

// Follows kho_reserve_scratch().
void ReserveScratch() {
  if (!g_kho.enable) return;
  kho_scratch_cnt = nodes_weight(node_states[N_MEMORY]) + 2;
  const uint64_t bytes = kho_scratch_cnt * sizeof(*kho_scratch);
  kho_scratch =
      static_cast<struct kho_scratch*>(memblock_alloc(bytes, PAGE_SIZE));
  if (kho_scratch == nullptr) {
    pr_err("KHO: Failed to reserve scratch array\n");
  } else {
    unsigned nr = 0;
    if (TakeAllScratch(&nr)) return;
    while (nr-- > 0) {
      memblock_phys_free(kho_scratch[nr].addr, kho_scratch[nr].size);
    }
    memblock_free(kho_scratch, bytes);
    // The kernel leaves the pointer and the count to memory it gave back; the
    // memory map is already made, so nobody looks at them any more.
    kho_scratch = nullptr;
    kho_scratch_cnt = 0;
  }
  pr_warn("KHO: Failed to reserve scratch area, disabling kexec handover\n");
  g_kho.enable = false;
}

// Follows kho_extend_scratch(): early allocation may also use each block of
// kho_ext_block bytes that holds nothing preserved and no page of the tree.
// Blocks that follow each other in the walk are added once.
int ExtendScratch(KhoRadixTree* busy) {
  const uint64_t block = M().geometry().kho_ext_block;
  const int shift = 63 - __builtin_clzll(block);
  uint64_t last = ~uint64_t{0};
  bool added;
  const auto mark_busy = [&](uint64_t start, uint64_t end) {
    for (uint64_t b = start >> shift; b <= (end - 1) >> shift; ++b) {
      if (b == last) continue;
      if (int err = KhoRadixAdd(busy, b, &added)) return err;
      last = b;
    }
    return 0;
  };
  int err = KhoRadixWalk(
      &g_kho.in_tree,
      [&](uint64_t key) {
        unsigned order;
        const uint64_t phys = KhoDecodeKey(key, &order);
        return mark_busy(phys, phys + (PAGE_SIZE << order));
      },
      [&](uint64_t phys) { return mark_busy(phys, phys + PAGE_SIZE); });
  if (err != 0) return err;

  uint64_t free_from = 0;
  err = KhoRadixWalk(
      busy,
      [&](uint64_t b) {
        const uint64_t start = b << shift;
        int e = 0;
        if (start > free_from) {
          e = memblock_mark_kho_scratch(free_from, start - free_from);
        }
        free_from = start + block;
        return e;
      },
      [](uint64_t) { return 0; });
  if (err != 0) return err;
  const uint64_t end = memblock_end_of_DRAM();
  if (free_from >= end) return 0;
  return memblock_mark_kho_scratch(free_from, end - free_from);
}

// Follows kho_preserved_memory_reserve() and kho_get_preserved_page(): struct
// pages of all that is preserved are initialised here, tail pages as well, each
// as that of a single page. A key that names no memory would make the kernel
// scribble over what lies beyond its memory map.
int ReservePreserved(uint64_t key) {
  unsigned order;
  const uint64_t phys = KhoDecodeKey(key, &order);
  if (WARN_ON(pfn_to_online_page(PHYS_PFN(phys)) == nullptr)) return 0;
  InitStructPages(PHYS_PFN(phys), uint64_t{1} << order);
  memblock_reserve(phys, PAGE_SIZE << order);
  memblock_reserved_mark_noinit(phys, PAGE_SIZE << order);
  pfn_to_page(PHYS_PFN(phys))->private_ =
      (static_cast<unsigned long>(kKhoPageMagic) << 32) | order;
  g_kho.in_keys.push_back(KhoKey{phys, order});
  g_kho.unclaimed_pages += uint64_t{1} << order;
  return 0;
}

// Follows kho_mem_retrieve().
void RetrieveMemory() {
  if (KhoRadixWalk(&g_kho.in_tree, ReservePreserved,
                   [](uint64_t) { return 0; }) != 0) {
    g_kho.in_fdt = 0;
    g_kho.in_tree.root = nullptr;
  }
}

}  // namespace

void ParseBool(const std::string& text, bool* value) {
  if (text.empty()) return;
  const char c = text[0] | 0x20;
  const char second = text.size() > 1 ? (text[1] | 0x20) : 0;
  if (std::strchr("eyt1", c) != nullptr || (c == 'o' && second == 'n')) {
    *value = true;
  } else if (std::strchr("dnf", c) != nullptr || text[0] == '0' ||
             (c == 'o' && second == 'f')) {
    *value = false;
  }
}

void KhoParseEarlyParams() {
  const Geometry& geometry = M().geometry();
  g_kho.scratch_lowmem = geometry.scratch_lowmem;
  g_kho.scratch_global = geometry.scratch_global;
  g_kho.scratch_pernode = geometry.scratch_pernode;
  std::string value;
  for (int i = 0; CmdlineParam("kho", i, &value); ++i) {
    ParseBool(value, &g_kho.enable);
  }
  for (int i = 0; CmdlineParam("kho_scratch", i, &value); ++i) {
    ParseScratchSizes(value);
  }
}

const void* KhoIncomingFdt() {
  return g_kho.in_fdt != 0 ? phys_to_virt(g_kho.in_fdt) : nullptr;
}

phys_addr_t KhoMemMapPhys(const void* fdt) {
  int len;
  const void* prop = fdt_getprop(fdt, 0, KHO_FDT_MEMORY_MAP_PROP_NAME, &len);
  if (prop == nullptr || len != sizeof(u64)) {
    pr_err("KHO: failed to get preserved memory map\n");
    return 0;
  }
  u64 phys;
  std::memcpy(&phys, prop, sizeof(phys));  // device trees align to 4 bytes
  return phys;
}

// The loop at the end of kho_init(): scratch, reserved until now, is from now
// on there for movable pages.
void KhoReleaseScratch() {
  for (unsigned i = 0; i < kho_scratch_cnt; ++i) {
    const uint64_t end = PHYS_PFN(kho_scratch[i].addr + kho_scratch[i].size);
    for (uint64_t pfn = PHYS_PFN(kho_scratch[i].addr); pfn < end;
         pfn += pageblock_nr_pages) {
      init_cma_reserved_pageblock(pfn_to_page(pfn));
    }
  }
}

}  // namespace sim

using sim::g_kho;

extern "C" {

// Follows kho_scratch_overlap().
bool kho_scratch_overlap(phys_addr_t phys, size_t size) {
  for (unsigned i = 0; i < kho_scratch_cnt; ++i) {
    const phys_addr_t start = kho_scratch[i].addr;
    if (phys < start + kho_scratch[i].size && phys + size > start) return true;
  }
  return false;
}

// Follows kho_populate(). Mapping and unmapping are left out.
void kho_populate(phys_addr_t fdt_phys, u64 fdt_len, phys_addr_t scratch_phys,
                  u64 scratch_len) {
  const void* fdt = phys_to_virt(fdt_phys);
  int err = fdt_len < sizeof(struct fdt_header) ? -FDT_ERR_TRUNCATED
                                                : fdt_check_header(fdt);
  if (err != 0) {
    pr_warn("KHO: setup: handover FDT is invalid: %d\n", err);
  } else {
    err = fdt_node_check_compatible(fdt, 0, KHO_FDT_COMPATIBLE);
    if (err != 0) {
      pr_warn("KHO: setup: handover FDT is incompatible with '%s': %d\n",
              KHO_FDT_COMPATIBLE, err);
    }
  }
  if (err != 0 || sim::KhoMemMapPhys(fdt) == 0) {
    pr_warn("KHO: disabling KHO revival\n");
    return;
  }
  const auto* scratch =
      static_cast<const struct kho_scratch*>(phys_to_virt(scratch_phys));
  const unsigned count = scratch_len / sizeof(*scratch);
  for (unsigned i = 0; i < count; ++i) {
    memblock_add(scratch[i].addr, scratch[i].size);
    err = memblock_mark_kho_scratch(scratch[i].addr, scratch[i].size);
    if (err != 0) {
      pr_warn("KHO: failed to mark scratch region %u: %d\n", i, err);
      pr_warn("KHO: disabling KHO revival\n");
      return;
    }
  }
  memblock_reserve(scratch_phys, scratch_len);
  memblock_set_kho_scratch_only();
  g_kho.in_fdt = fdt_phys;
  g_kho.in_scratch = scratch_phys;
  kho_scratch_cnt = count;
  pr_info("KHO: found kexec handover data.\n");
}

// Follows kho_memory_init_early().
void kho_memory_init_early(void) {
  if (!is_kho_boot()) return;
  const phys_addr_t map = sim::KhoMemMapPhys(sim::KhoIncomingFdt());
  if (WARN_ON(map == 0)) {
    g_kho.in_fdt = 0;
    g_kho.in_scratch = 0;
    return;
  }
  kho_scratch =
      static_cast<struct kho_scratch*>(phys_to_virt(g_kho.in_scratch));
  // With a root there is nothing to allocate, so this does not fail.
  sim::KhoRadixInit(&g_kho.in_tree,
                    static_cast<struct kho_radix_node*>(phys_to_virt(map)),
                    "&kho_in.radix_tree.lock");
  sim::KhoRadixTree busy = {};
  int err = sim::KhoRadixInit(&busy, nullptr, "&busy_blocks.lock");
  if (err == 0) {
    err = sim::ExtendScratch(&busy);
    sim::KhoRadixDestroy(&busy);
  }
  if (err != 0) pr_err("KHO: Failed to extend scratch: %d\n", err);
}

// Follows kho_memory_init(). Crash kernels are left out.
void kho_memory_init(void) {
  if (g_kho.in_scratch != 0) {
    sim::RetrieveMemory();
  } else {
    sim::ReserveScratch();
  }
}

}  // extern "C"
