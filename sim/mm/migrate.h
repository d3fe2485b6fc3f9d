// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_MIGRATE_H_
#define SIM_MM_MIGRATE_H_

// Migration of folios of hugetlbfs and shmem, mm/migrate.c.

#include <sim/kernel_api.h>

namespace sim {

// Takes a reference and puts the folio on the list, if it can be moved at all.
bool IsolateFolio(struct folio* folio, struct list_head* list);
// Puts back what could not be moved.
void PutbackFolios(struct list_head* list);
// migrate_pages(), synchronous: moves each isolated folio of the list and
// frees the old one. Returns the number that stay on the list, or -ENOMEM.
// nid NUMA_NO_NODE: the node each of them lies on. `nodes`: none but these.
int MigrateFolios(struct list_head* list, int nid, gfp_t gfp,
                  enum migrate_reason reason, nodemask_t* nodes = nullptr);

}  // namespace sim

#endif  // SIM_MM_MIGRATE_H_
