// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_CGROUP_INTERNAL_H_
#define SIM_MM_CGROUP_INTERNAL_H_

// What the hierarchy and its controllers know of each other.

#include <sim/kernel_api.h>

namespace sim {

// --- hugetlb_cgroup.cc
void HugetlbCgroupReset();
void HugetlbCgroupCssOffline(struct hugetlb_cgroup* h_cg);
void MemCgroupCssOffline(struct mem_cgroup* memcg);

// --- cgroup.cc
struct obj_cgroup* ObjCgroupOf(struct mem_cgroup* memcg);
void ObjCgroupPut(struct obj_cgroup* objcg);
// Folios of `of` belong to `to` from here on.
void ReparentObjCgroups(struct mem_cgroup* of, struct mem_cgroup* to);

}  // namespace sim

#endif  // SIM_MM_CGROUP_INTERNAL_H_
