// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/geometry.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sim {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kGiB = 1024 * kMiB;
constexpr uint64_t kPage = 4 * kKiB;

// Spans start and end at multiples of the buddy allocator's largest block, as
// the sections of a real memory map do: a pageblock never has a hole in it.
void AddSpan(Geometry& g, int nid, uint64_t start, uint64_t bytes) {
  g.spans.push_back({start / kPage, bytes / kPage, nid});
}

// All that histories need, in few frames. The orders keep the relations of a
// real machine: the default huge page is one pageblock; the largest huge page
// is just above the buddy allocator and as large as a block of extended
// scratch (1 GiB upstream); one size is smaller than the default, as on arm64.
Geometry Small(int nodes) {
  Geometry g;
  g.name = "small";
  g.nodes = nodes;
  g.max_page_order = 5;       // 128 KiB
  g.pageblock_order = 4;      // 64 KiB
  g.huge_orders = {2, 4, 6};  // 16 KiB, 64 KiB, 256 KiB
  g.hpage_order = 4;
  g.memory_block = 128 * kKiB;
  g.cma_floor = kMiB;
  g.vmemmap_reserve = 4;  // the smallest size has none to give back
  g.kho_ext_block = 256 * kKiB;
  // One largest buddy block each, the smallest that the alignment allows.
  // Early in a handover boot, lowmem and global hold the tables by which
  // scratch is extended (some ten frames).
  g.scratch_lowmem = 128 * kKiB;
  g.scratch_global = 128 * kKiB;
  g.scratch_pernode = 128 * kKiB;

  // No memory at address 0: an address of zero means failure to memblock.
  uint64_t at = 256 * kKiB;
  if (nodes == 1) {
    AddSpan(g, 0, at, 3 * kMiB);
    return g;
  }
  // Node 0 lies around the others.
  AddSpan(g, 0, at, 1536 * kKiB);
  at += 1536 * kKiB + 256 * kKiB;
  for (int nid = 1; nid < nodes; ++nid) {
    AddSpan(g, nid, at, 2560 * kKiB);
    at += 2560 * kKiB + 128 * kKiB;
  }
  AddSpan(g, 0, at, 1536 * kKiB);
  return g;
}

// 1 GiB pages need 1 GiB of aligned memory that holds no scratch: each node
// has room for one or two. What lies between the spans costs nothing.
Geometry X86(int nodes) {
  Geometry g;
  g.name = "x86";
  g.nodes = nodes;
  g.max_page_order = 10;
  g.pageblock_order = 9;
  g.huge_orders = {9, 18};  // 2 MiB, 1 GiB
  g.hpage_order = 9;
  g.memory_block = 128 * kMiB;
  g.cma_floor = 4 * kGiB;
  g.vmemmap_reserve = 64;
  g.kho_ext_block = kGiB;
  g.scratch_lowmem = 32 * kMiB;
  g.scratch_global = 32 * kMiB;
  g.scratch_pernode = 32 * kMiB;
  // The first 16 MiB: firmware, and the kernel's own image. From 3 to 4 GiB:
  // devices; the memory they hide shows up above.
  AddSpan(g, 0, 16 * kMiB, 3 * kGiB - 16 * kMiB);
  AddSpan(g, 0, 4 * kGiB, 256 * kMiB);
  for (int nid = 1; nid < nodes; ++nid) {
    AddSpan(g, nid, (2 + 3 * nid) * kGiB, 2 * kGiB + 256 * kMiB);
  }
  return g;
}

// With a granule of 4 KiB: contiguous PTE, PMD, contiguous PMD and PUD sizes.
Geometry Arm64(int nodes) {
  Geometry g;
  g.name = "arm64";
  g.nodes = nodes;
  g.max_page_order = 10;
  g.pageblock_order = 9;
  g.huge_orders = {4, 9, 13, 18};  // 64 KiB, 2 MiB, 32 MiB, 1 GiB
  g.hpage_order = 9;
  g.memory_block = 128 * kMiB;
  g.cma_floor = 4 * kGiB;
  g.vmemmap_reserve = 64;
  g.kho_ext_block = kGiB;
  g.scratch_lowmem = 32 * kMiB;
  g.scratch_global = 32 * kMiB;
  g.scratch_pernode = 32 * kMiB;
  // Memory starts at 1 GiB, devices lie below.
  AddSpan(g, 0, kGiB, 2 * kGiB);
  AddSpan(g, 0, 3 * kGiB + 512 * kMiB, 256 * kMiB);
  for (int nid = 1; nid < nodes; ++nid) {
    AddSpan(g, nid, (1 + 3 * nid) * kGiB, 2 * kGiB + 256 * kMiB);
  }
  return g;
}

}  // namespace

absl::StatusOr<Geometry> MakeGeometry(std::string_view name, int nodes) {
  if (nodes < 1 || nodes > 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("a machine has 1 to 4 nodes, not ", nodes));
  }
  if (name == "small") return Small(nodes);
  if (name == "x86") return X86(nodes);
  if (name == "arm64") return Arm64(nodes);
  return absl::InvalidArgumentError(
      absl::StrCat("no geometry is called \"", std::string(name),
                   "\": there are small, x86 and arm64"));
}

}  // namespace sim
