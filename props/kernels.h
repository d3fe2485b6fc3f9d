// SPDX-License-Identifier: BSD-3-Clause
//
// Random kernels to boot: command lines, and what such a kernel lacks.
#ifndef HANDOVER_PROPS_KERNELS_H_
#define HANDOVER_PROPS_KERNELS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "model/history.h"
#include "props/random.h"

namespace handover::props {

// Pages of one size that a command line asks for.
struct PoolPlan {
  uint64_t page_size = 0;
  int64_t total = 0;
  bool per_node = false;
  std::array<int64_t, model::kMaxNodes> node{};
};

struct KernelPlan {
  std::vector<PoolPlan> pools;  // those the command line names
  uint64_t default_size = 0;    // default_hugepagesz=; 0: not given
  std::vector<uint64_t> missing_sizes;
  bool no_option = false;
  bool no_liveupdate = false;
  bool no_kho = false;
  bool no_numa = false;
  bool optimizes = false;  // HVO
  // Areas of hugetlb_cma=, in pages of the largest size: none, or as `node`
  // says, or as many in all.
  int64_t areas = 0;
  bool areas_by_node = false;
  std::array<int64_t, model::kMaxNodes> area{};
  bool areas_only = false;  // gigantic pages come from nowhere else

  std::string CommandLine(model::Geometry geometry) const;
  bool Has(uint64_t page_size) const;
  // Whether sessions with hugetlb files survive into and out of it.
  bool takes_part() const { return !no_option && !no_liveupdate && !no_kho; }
};

// The largest number of pages of a size that a plan asks for in normal times.
int64_t MostPages(model::Geometry geometry, uint64_t page_size);

KernelPlan FirstKernel(Random* random, model::Geometry geometry, int nodes);

// Has it keep areas for gigantic pages, or others than before, or none.
void ChangeAreas(Random* random, model::Geometry geometry, int nodes,
                 KernelPlan* plan);

// A next kernel: most often as `before`, or near it. `odd` allows one that
// cannot take over what comes.
KernelPlan NextKernel(Random* random, model::Geometry geometry, int nodes,
                      const KernelPlan& before, bool odd);

}  // namespace handover::props

#endif  // HANDOVER_PROPS_KERNELS_H_
