// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_CGROUP_H_
#define SIM_MM_CGROUP_H_

// Control groups as an administrator and /proc know them: c0 to c7 in one
// hierarchy, each with the hugetlb and the memory controller, mounted with
// memory_hugetlb_accounting.

#include <sim/kernel_api.h>

#include <cstdint>

namespace sim {

constexpr int kCgroups = 8;
constexpr int kRootCgroup = -1;

// As model::Charge has them.
enum class CgroupLimit { kUsage, kRsvd, kMemory };

void CgroupReset();
// A task that has left set_active_memcg() set.
bool AnyActiveMemcg();

// mkdir and rmdir below the root or another group.
int CgroupMake(int name, int parent);
int CgroupRemove(int name);
// A task writes itself to cgroup.procs, or is gone.
int CgroupJoin(int actor, int name);
// hugetlb.SIZE.max, hugetlb.SIZE.rsvd.max and memory.max, in base pages.
int CgroupSetLimit(int name, CgroupLimit limit, struct hstate* h,
                   unsigned long nr_pages);

// What a group is called in one number: the root is 1, a child of one with the
// number P is P * (kCgroups + 1) + its name + 1. 0 is no group at all. Of one
// that was removed it is its nearest ancestor's that was not.
uint64_t CgroupNumber(const struct cgroup_subsys_state* css);

// A group that was not removed, or null.
struct cgroup* CgroupNamed(int name);
struct hugetlb_cgroup* HugetlbCgroupOf(struct cgroup* cgrp);
struct mem_cgroup* MemCgroupOf(struct cgroup* cgrp);
// Calls fn for each group that is still there in some way, the root included.
template <typename Fn>
void ForEachCgroup(Fn fn);

// For checkers: every group with what refers to it.
struct CgroupSlot {
  struct cgroup cgrp;
  struct hugetlb_cgroup hugetlb;
  struct mem_cgroup memory;
  struct obj_cgroup objcg;
  bool used;
};
CgroupSlot* CgroupSlots();
int CgroupSlotsEnd();

template <typename Fn>
void ForEachCgroup(Fn fn) {
  for (int i = 0; i < CgroupSlotsEnd(); ++i)
    if (CgroupSlots()[i].used) fn(CgroupSlots()[i]);
}

}  // namespace sim

#endif  // SIM_MM_CGROUP_H_
