// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_SPARSE_H_
#define SIM_MM_SPARSE_H_

#include <cstdint>

namespace sim {

// At each boot: all sections of memory were there then.
void SparseReset();

// From now on the section that the frame lies in is one that was added while
// this kernel ran.
void AddSectionLate(uint64_t pfn);

}  // namespace sim

#endif  // SIM_MM_SPARSE_H_
