// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_MEMBLOCK_H_
#define SIM_MM_MEMBLOCK_H_

// The early allocator's two lists of regions, for its parts and for tests.

#include <sim/kernel_api.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace sim {

struct MemblockRegion {
  phys_addr_t base;
  phys_addr_t size;
  int nid;  // MAX_NUMNODES or NUMA_NO_NODE: not known
  unsigned flags;

  phys_addr_t end() const { return base + size; }
};

// Sorted, disjoint, neighbours that agree in node and flags merged.
struct MemblockType {
  std::vector<MemblockRegion> regions;
};

struct Memblock {
  bool bottom_up = false;
  bool scratch_only = false;
  MemblockType memory;
  MemblockType reserved;
};

Memblock& TheMemblock();

// --- memblock.cc
int MemblockAddRange(MemblockType* type, phys_addr_t base, phys_addr_t size,
                     int nid, unsigned flags);
int MemblockRemoveRange(MemblockType* type, phys_addr_t base, phys_addr_t size);
int MemblockReserve(phys_addr_t base, phys_addr_t size, int nid,
                    unsigned flags);
// Index of the region that holds addr, or -1.
int MemblockSearch(const MemblockType& type, phys_addr_t addr);

// --- memblock_find.cc
// An aligned free range of memory that is not reserved, or 0.
phys_addr_t MemblockFind(phys_addr_t size, phys_addr_t align, phys_addr_t start,
                         phys_addr_t end, int nid, unsigned flags);
// for_each_free_mem_range()
void MemblockForEachFree(
    int nid, unsigned flags,
    const std::function<void(phys_addr_t start, phys_addr_t end)>& fn);

}  // namespace sim

#endif  // SIM_MM_MEMBLOCK_H_
