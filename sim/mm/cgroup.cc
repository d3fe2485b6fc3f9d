// SPDX-License-Identifier: BSD-3-Clause
//
// Control groups: the hierarchy of kernel/cgroup/cgroup.c and the counters of
// mm/page_counter.c. Left out: version 1, threads, enabling controllers group
// by group, namespaces, migration of what a task has charged (as in Linux).

#include "sim/mm/cgroup.h"

#include <cstring>
#include <string>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/cgroup_internal.h"

extern "C" {
struct cgroup_subsys memory_cgrp_subsys = {memory_cgrp_id};
struct cgroup_subsys hugetlb_cgrp_subsys = {hugetlb_cgrp_id};
}

namespace sim {
namespace {

constexpr int kMaxTasks = 64;
constexpr int kMaxSlots = 256;  // those that were removed and are still charged

CgroupSlot slots[kMaxSlots];
int slots_end;
struct cgroup_root root;  // stands for the hierarchy; its group is slots[0]'s
struct task_struct tasks[kMaxTasks + 1];  // the last one: outside of any actor
struct mutex cgroup_mutex;

CgroupSlot* SlotOf(struct cgroup* cgrp) {
  return container_of(cgrp, CgroupSlot, cgrp);
}

struct cgroup* Parent(const struct cgroup* cgrp) {
  return cgrp->self.parent ? cgrp->self.parent->cgroup : nullptr;
}

// init_and_link_css(), online_css().
void InitCss(struct cgroup_subsys_state* css, struct cgroup* cgrp,
             struct cgroup_subsys* ss, struct cgroup_subsys_state* parent) {
  *css = {};
  css->cgroup = cgrp;
  css->ss = ss;
  css->parent = parent;
  css->sim_refs = 1;
  css->flags = CSS_ONLINE | (parent ? 0 : CSS_NO_REF);
  if (parent) css_get(parent);
}

void InitCounter(struct page_counter* counter, struct page_counter* parent) {
  counter->usage = 0;
  counter->max = PAGE_COUNTER_MAX;
  counter->parent = parent;
}

// cgroup_create() and css_create() of both controllers.
void InitGroup(CgroupSlot* slot, int name, struct cgroup* parent) {
  CgroupSlot* above = parent ? SlotOf(parent) : nullptr;
  struct cgroup* cgrp = &slot->cgrp;
  slot->used = true;
  InitCss(&cgrp->self, cgrp, nullptr, parent ? &parent->self : nullptr);
  InitCss(&slot->hugetlb.css, cgrp, &hugetlb_cgrp_subsys,
          above ? &above->hugetlb.css : nullptr);
  InitCss(&slot->memory.css, cgrp, &memory_cgrp_subsys,
          above ? &above->memory.css : nullptr);
  cgrp->subsys[hugetlb_cgrp_id] = &slot->hugetlb.css;
  cgrp->subsys[memory_cgrp_id] = &slot->memory.css;
  cgrp->root = &root;
  cgrp->sim_name = name;
  // hugetlb_cgroup_init()
  for (int i = 0; i < HUGE_MAX_HSTATE; ++i) {
    InitCounter(&slot->hugetlb.hugepage[i],
                above ? &above->hugetlb.hugepage[i] : nullptr);
    InitCounter(&slot->hugetlb.rsvd_hugepage[i],
                above ? &above->hugetlb.rsvd_hugepage[i] : nullptr);
  }
  InitCounter(&slot->memory.memory, above ? &above->memory.memory : nullptr);
  slot->objcg = {&slot->memory, 0};
}

void Release(CgroupSlot* slot) {
  if (!slot->used || slot->cgrp.self.sim_refs != 0 ||
      slot->hugetlb.css.sim_refs != 0 || slot->memory.css.sim_refs != 0 ||
      slot->objcg.sim_refs != 0) {
    return;
  }
  slot->used = false;
  css_put(slot->cgrp.self.parent);
  css_put(slot->hugetlb.css.parent);
  css_put(slot->memory.css.parent);
}

// kill_css_sync(), kill_css_finish(): from here on css_tryget_online() fails.
void Kill(struct cgroup_subsys_state* css) {
  css->flags |= CSS_DYING;
  css->sim_killed = true;
}

// The end of offline_css() and css_killed_work_fn().
void Offline(struct cgroup_subsys_state* css) {
  css->flags &= ~static_cast<unsigned>(CSS_ONLINE);
  if (css->ss) css->cgroup->subsys[css->ss->id] = nullptr;
  css_put(css);
}

bool HasTasks(const struct cgroup* cgrp) {
  for (const struct task_struct& task : tasks)
    if (task.sim_cgroup == cgrp) return true;
  return false;
}

bool HasOnlineChildren(const struct cgroup* cgrp) {
  bool found = false;
  ForEachCgroup([&](CgroupSlot& slot) {
    found |= Parent(&slot.cgrp) == cgrp && css_is_online(&slot.cgrp.self);
  });
  return found;
}

std::string Path(const struct cgroup* cgrp) {
  if (Parent(cgrp) == nullptr) return "/";
  std::string path;
  for (; Parent(cgrp) != nullptr; cgrp = Parent(cgrp)) {
    std::string name = "/c";
    name += std::to_string(cgrp->sim_name);
    path.insert(0, name);
  }
  return path;
}

}  // namespace

CgroupSlot* CgroupSlots() { return slots; }
int CgroupSlotsEnd() { return slots_end; }

void CgroupReset() {
  std::memset(static_cast<void*>(slots), 0,
              sizeof(slots[0]) * static_cast<size_t>(slots_end));
  slots_end = 1;
  InitGroup(&slots[0], kRootCgroup, nullptr);
  for (struct task_struct& task : tasks) task = {};
  mutex_init(&cgroup_mutex);
  HugetlbCgroupReset();
}

bool AnyActiveMemcg() {
  for (const struct task_struct& task : tasks)
    if (task.active_memcg != nullptr) return true;
  return false;
}

struct cgroup* CgroupNamed(int name) {
  if (name == kRootCgroup) return &slots[0].cgrp;
  for (int i = 1; i < slots_end; ++i) {
    if (slots[i].used && slots[i].cgrp.sim_name == name &&
        css_is_online(&slots[i].cgrp.self)) {
      return &slots[i].cgrp;
    }
  }
  return nullptr;
}

struct hugetlb_cgroup* HugetlbCgroupOf(struct cgroup* cgrp) {
  return &SlotOf(cgrp)->hugetlb;
}
struct mem_cgroup* MemCgroupOf(struct cgroup* cgrp) {
  return &SlotOf(cgrp)->memory;
}
struct obj_cgroup* ObjCgroupOf(struct mem_cgroup* memcg) {
  return &container_of(memcg, CgroupSlot, memory)->objcg;
}
void ObjCgroupPut(struct obj_cgroup* objcg) {
  objcg->sim_refs--;
  Release(container_of(objcg, CgroupSlot, objcg));
}

uint64_t CgroupNumber(const struct cgroup_subsys_state* css) {
  if (css == nullptr) return 0;
  while (css->parent != nullptr &&
         (!(css->flags & CSS_ONLINE) || (css->flags & CSS_DYING))) {
    css = css->parent;
  }
  uint64_t number = 0;
  uint64_t factor = 1;
  const struct cgroup* cgrp = css->cgroup;
  for (; Parent(cgrp) != nullptr; cgrp = Parent(cgrp)) {
    number += static_cast<uint64_t>(cgrp->sim_name + 1) * factor;
    factor *= kCgroups + 1;
  }
  return number + factor;
}

// Follows cgroup_mkdir().
int CgroupMake(int name, int parent) {
  mutex_lock(&cgroup_mutex);
  int ret = 0;
  struct cgroup* above = CgroupNamed(parent);
  int at = 1;
  while (at < slots_end && slots[at].used) ++at;
  if (above == nullptr) {
    ret = -ENOENT;
  } else if (CgroupNamed(name) != nullptr) {
    // Elsewhere, perhaps: a name stands for one group.
    ret = -EEXIST;
  } else if (at == kMaxSlots || M().Fails(FailKind::kAlloc, "cgroup_mkdir")) {
    ret = -ENOMEM;
  } else {
    if (at == slots_end) ++slots_end;
    InitGroup(&slots[at], name, above);
  }
  mutex_unlock(&cgroup_mutex);
  return ret;
}

// Follows cgroup_rmdir(), and does at once what Linux leaves to a worker: what
// is charged goes to the parent.
int CgroupRemove(int name) {
  mutex_lock(&cgroup_mutex);
  struct cgroup* cgrp = name == kRootCgroup ? nullptr : CgroupNamed(name);
  int ret = cgrp == nullptr ? -ENOENT : 0;
  if (cgrp && (HasTasks(cgrp) || HasOnlineChildren(cgrp))) ret = -EBUSY;
  if (ret == 0) {
    CgroupSlot* slot = SlotOf(cgrp);
    Kill(&cgrp->self);
    cgrp->self.flags &= ~static_cast<unsigned>(CSS_ONLINE);
    Kill(&slot->hugetlb.css);
    Kill(&slot->memory.css);
    HugetlbCgroupCssOffline(&slot->hugetlb);
    Offline(&slot->hugetlb.css);
    MemCgroupCssOffline(&slot->memory);
    Offline(&slot->memory.css);
    css_put(&cgrp->self);
  }
  mutex_unlock(&cgroup_mutex);
  return ret;
}

int CgroupJoin(int actor, int name) {
  BUG_ON(actor < 0 || actor >= kMaxTasks);
  mutex_lock(&cgroup_mutex);
  struct cgroup* cgrp = CgroupNamed(name);
  if (cgrp != nullptr) tasks[actor].sim_cgroup = cgrp;
  mutex_unlock(&cgroup_mutex);
  return cgrp == nullptr ? -ENOENT : 0;
}

// Follows hugetlb_cgroup_write() and memory_max_write(). A memory limit below
// what is charged already sets the OOM killer on the group there, which is left
// out.
int CgroupSetLimit(int name, CgroupLimit limit, struct hstate* h,
                   unsigned long nr_pages) {
  struct cgroup* cgrp = name == kRootCgroup ? nullptr : CgroupNamed(name);
  if (cgrp == nullptr) return -ENOENT;
  CgroupSlot* slot = SlotOf(cgrp);
  switch (limit) {
    case CgroupLimit::kUsage:
      return page_counter_set_max(&slot->hugetlb.hugepage[hstate_index(h)],
                                  nr_pages);
    case CgroupLimit::kRsvd:
      return page_counter_set_max(&slot->hugetlb.rsvd_hugepage[hstate_index(h)],
                                  nr_pages);
    case CgroupLimit::kMemory:
      slot->memory.memory.max = nr_pages;
      return 0;
  }
  return -EINVAL;
}

// Reparents what its folios hold on to.
void ReparentObjCgroups(struct mem_cgroup* of, struct mem_cgroup* to) {
  ForEachCgroup([of, to](CgroupSlot& slot) {
    if (slot.objcg.memcg == of) slot.objcg.memcg = to;
  });
}

}  // namespace sim

using sim::M;

extern "C" {

struct task_struct* sim_current(void) {
  const int actor = sim::CurrentActor();
  return &sim::tasks[actor < 0 || actor >= sim::kMaxTasks ? sim::kMaxTasks
                                                          : actor];
}

void css_get(struct cgroup_subsys_state* css) {
  if (css->flags & CSS_NO_REF) return;
  WARN_ON(css->sim_refs <= 0);
  css->sim_refs++;
}

void css_put(struct cgroup_subsys_state* css) {
  if (css->flags & CSS_NO_REF) return;
  if (WARN_ON(css->sim_refs <= 0)) return;
  if (--css->sim_refs == 0) sim::Release(sim::SlotOf(css->cgroup));
}

bool css_tryget(struct cgroup_subsys_state* css) {
  if (css->flags & CSS_NO_REF) return true;
  if (css->sim_refs <= 0) return false;
  css->sim_refs++;
  return true;
}

bool css_tryget_online(struct cgroup_subsys_state* css) {
  return !css->sim_killed && css_tryget(css);
}

// Follows kernfs_path_from_node(), which cuts what is too long, and does not
// say so. No path here is as long as some may be, unless it is asked for.
int cgroup_path(struct cgroup* cgrp, char* buf, size_t buflen) {
  std::string path = sim::Path(cgrp);
  if (M().Fails(sim::FailKind::kRace, "cgroup_path"))
    path += std::string(buflen, 'x');
  if (path.size() >= buflen) path.resize(buflen - 1);
  memcpy(buf, path.c_str(), path.size() + 1);
  return static_cast<int>(path.size());
}

// Follows cgroup_get_from_path_in(). There is one root to start from.
struct cgroup* cgroup_get_from_path_in(struct cgroup* root_cgrp,
                                       const char* path) {
  (void)root_cgrp;
  for (int i = 0; i < sim::slots_end; ++i) {
    struct cgroup* cgrp = &sim::slots[i].cgrp;
    if (!sim::slots[i].used || !css_is_online(&cgrp->self)) continue;
    if (sim::Path(cgrp) != path || !css_tryget(&cgrp->self)) continue;
    return cgrp;
  }
  return static_cast<struct cgroup*>(ERR_PTR(-ENOENT));
}

// Follows cgroup_get_e_css().
struct cgroup_subsys_state* cgroup_get_e_css(struct cgroup* cgroup,
                                             struct cgroup_subsys* ss) {
  for (; cgroup != nullptr; cgroup = sim::Parent(cgroup)) {
    struct cgroup_subsys_state* css = cgroup->subsys[ss->id];
    if (css && css_tryget_online(css)) return css;
  }
  return sim::slots[0].cgrp.subsys[ss->id];
}

struct cgroup_subsys_state* task_get_css(struct task_struct* task,
                                         int subsys_id) {
  struct cgroup* cgrp =
      task->sim_cgroup ? task->sim_cgroup : &sim::slots[0].cgrp;
  struct cgroup_subsys_state* css = cgrp->subsys[subsys_id];
  BUG_ON(!css_tryget(css));  // its tasks keep it
  return css;
}

// Follow mm/page_counter.c. Protection and watermarks are left out.
void page_counter_cancel(struct page_counter* counter, unsigned long nr_pages) {
  if (WARN_ON(counter->usage < nr_pages)) nr_pages = counter->usage;
  counter->usage -= nr_pages;
}

bool page_counter_try_charge(struct page_counter* counter,
                             unsigned long nr_pages,
                             struct page_counter** fail) {
  sim::Step("page_counter_try_charge");
  *fail = counter;
  if (M().Fails(sim::FailKind::kCharge, "page_counter_try_charge"))
    return false;
  for (struct page_counter* c = counter; c != nullptr; c = c->parent) {
    if (c->usage + nr_pages <= c->max) {
      c->usage += nr_pages;
      continue;
    }
    *fail = c;
    for (; counter != c; counter = counter->parent)
      page_counter_cancel(counter, nr_pages);
    return false;
  }
  return true;
}

void page_counter_uncharge(struct page_counter* counter,
                           unsigned long nr_pages) {
  for (; counter != nullptr; counter = counter->parent)
    page_counter_cancel(counter, nr_pages);
}

int page_counter_set_max(struct page_counter* counter, unsigned long nr_pages) {
  if (counter->usage > nr_pages) return -EBUSY;
  counter->max = nr_pages;
  return 0;
}

}  // extern "C"
