// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MACHINE_GEOMETRY_H_
#define SIM_MACHINE_GEOMETRY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace sim {

// A run of page frames of one NUMA node. Frames between spans do not exist.
struct NodeSpan {
  uint64_t start_pfn;
  uint64_t nr_pages;
  int nid;
};

// What the firmware and the architecture fix before any kernel runs. Sizes in
// bytes, orders in powers of two of 4 KiB pages.
struct Geometry {
  std::string name;
  int nodes;
  unsigned max_page_order;            // the buddy allocator's largest order
  unsigned pageblock_order;           // unit of migrate types
  std::vector<unsigned> huge_orders;  // that the architecture knows, ascending
  unsigned hpage_order;               // HPAGE_SIZE, default huge page size
  std::vector<NodeSpan> spans;        // ascending by pfn
  uint64_t memory_block = 128 << 20;  // that goes offline as one
  uint64_t cma_floor;                 // CMA areas lie above if they can
  unsigned vmemmap_reserve;           // struct pages that HVO leaves
  uint64_t kho_ext_block;             // KHO_SCRATCH_EXT_BLKSIZE
  uint64_t scratch_lowmem;            // kho_scratch=lowmem,global,pernode
  uint64_t scratch_global;
  uint64_t scratch_pernode;
};

// name: "small" (fast histories: three page sizes 16K, 64K, 256K, the last one
// just above max_page_order), "x86" (2M, 1G) or "arm64" (64K, 2M, 32M, 1G);
// nodes: 1 to 4. Returns kInvalidArgument with the names that exist.
absl::StatusOr<Geometry> MakeGeometry(std::string_view name, int nodes);

}  // namespace sim

#endif  // SIM_MACHINE_GEOMETRY_H_
