// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_FILEMAP_H_
#define SIM_MM_FILEMAP_H_

// The page cache of mm/filemap.c: files in memory, one size of folio per file.

#include <sim/kernel_api.h>

namespace sim {

// Order of the folios in this mapping: the huge page size's, or 0.
unsigned MappingOrder(const struct address_space* mapping);

}  // namespace sim

#endif  // SIM_MM_FILEMAP_H_
