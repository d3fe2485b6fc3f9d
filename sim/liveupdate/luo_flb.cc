// SPDX-License-Identifier: BSD-3-Clause
//
// Objects whose life is bound to that of files (FLBs). Follows
// kernel/liveupdate/luo_flb.c; module references are left out.
#include <sim/kernel_api.h>

#include <cstring>

#include "sim/liveupdate/kho_internal.h"
#include "sim/liveupdate/luo_internal.h"

namespace sim {
namespace {

constexpr u64 kPages = 1;
constexpr long kMaxFlbs =
    ((kPages << PAGE_SHIFT) - sizeof(struct luo_flb_header_ser)) /
    sizeof(struct luo_flb_ser);

// One FLB in the list of a handler.
struct FlbLink {
  struct liveupdate_flb* flb;
  struct list_head list;
};

// Follows luo_flb_get_private().
struct luo_flb_private* PrivateOf(struct liveupdate_flb* flb) {
  struct luo_flb_private* p = &flb->flb_private;
  if (p->initialized) return p;
  spin_lock(&g_luo.flb_init_lock);
  if (!p->initialized) {
    sim_mutex_init(&p->incoming.lock, "&flb->incoming.lock");
    sim_mutex_init(&p->outgoing.lock, "&flb->outgoing.lock");
    INIT_LIST_HEAD(&p->list);
    p->users = 0;
    p->initialized = true;
  }
  spin_unlock(&g_luo.flb_init_lock);
  return p;
}

// Follows luo_flb_file_preserve_one().
int PreserveOne(struct liveupdate_flb* flb) {
  struct luo_flb_private_state* out = &PrivateOf(flb)->outgoing;
  MutexGuard guard(&out->lock);
  if (refcount_read(&out->count) != 0) {
    refcount_inc(&out->count);
    return 0;
  }
  struct liveupdate_flb_op_args args = {};
  args.flb = flb;
  if (int err = flb->ops->preserve(&args)) return err;
  out->data = args.data;
  out->obj = args.obj;
  refcount_set(&out->count, 1);
  return 0;
}

// Follows luo_flb_retrieve_one().
int RetrieveOne(struct liveupdate_flb* flb) {
  struct luo_flb_private_state* in = &PrivateOf(flb)->incoming;
  if (in->finished) return -ENODATA;
  if (in->retrieve_status < 0) return in->retrieve_status;
  if (in->retrieve_status > 0) return 0;
  const LuoFlbTable& table = g_luo.flb_incoming;
  if (!table.active) return -ENODATA;

  const struct luo_flb_ser* found = nullptr;
  for (u64 i = 0; i < table.header->count && found == nullptr; ++i) {
    if (std::strcmp(table.ser[i].name, flb->compatible) == 0) {
      found = &table.ser[i];
    }
  }
  if (found == nullptr) return -ENOENT;
  in->data = found->data;
  refcount_set(&in->count, found->count);

  struct liveupdate_flb_op_args args = {};
  args.flb = flb;
  args.data = in->data;
  if (int err = flb->ops->retrieve(&args)) {
    in->retrieve_status = err;
    return err;
  }
  in->obj = args.obj;
  in->retrieve_status = 1;
  return 0;
}

FlbLink* FindLink(struct liveupdate_file_handler* fh,
                  struct liveupdate_flb* flb) {
  FlbLink* it;
  list_for_each_entry(it, &fh->flb_list, list) {
    if (it->flb == flb) return it;
  }
  return nullptr;
}

// Follows luo_flb_unregister_one().
void UnregisterOne(struct liveupdate_file_handler* fh,
                   struct liveupdate_flb* flb) {
  struct luo_flb_private* p = PrivateOf(flb);
  FlbLink* link = FindLink(fh, flb);
  if (link == nullptr) {
    pr_warn("Failed to unregister FLB '%s': not in file handler '%s'\n",
            flb->compatible, fh->compatible);
    return;
  }
  list_del(&link->list);
  kfree(link);
  if (--p->users == 0) {
    list_del_init(&p->list);
    --g_luo.flb_count;
  }
}

// Enters an FLB into the global list the first time a handler names it.
int RegisterGlobally(struct liveupdate_flb* flb, struct luo_flb_private* p) {
  if (p->users != 0) return 0;
  if (WARN_ON(!list_empty(&p->list))) return -EINVAL;
  if (g_luo.flb_count == kMaxFlbs) return -ENOSPC;
  struct liveupdate_flb* it;
  list_for_each_entry(it, &g_luo.flbs, flb_private.list) {
    if (std::strcmp(it->compatible, flb->compatible) == 0) return -EEXIST;
  }
  list_add_tail(&p->list, &g_luo.flbs);
  ++g_luo.flb_count;
  return 0;
}

void SetTable(LuoFlbTable* table, void* mem) {
  table->header = static_cast<struct luo_flb_header_ser*>(mem);
  table->ser = reinterpret_cast<struct luo_flb_ser*>(table->header + 1);
  table->active = true;
}

}  // namespace

void LuoFlbReset() {
  INIT_LIST_HEAD(&g_luo.flbs);
  sim_spin_lock_init(&g_luo.flb_init_lock, "&luo_flb_init_lock");
}

// Follows luo_flb_file_preserve().
int LuoFlbFilePreserve(struct liveupdate_file_handler* fh) {
  ReadGuard guard(&g_luo.register_rwsem);
  FlbLink* it;
  int err = 0;
  list_for_each_entry(it, &fh->flb_list, list) {
    err = PreserveOne(it->flb);
    if (err != 0) break;
  }
  if (err == 0) return 0;
  list_for_each_entry_continue_reverse(it, &fh->flb_list, list) {
    liveupdate_flb_put_outgoing(it->flb);
  }
  return err;
}

// Follows luo_flb_file_unpreserve().
void LuoFlbFileUnpreserve(struct liveupdate_file_handler* fh) {
  ReadGuard guard(&g_luo.register_rwsem);
  FlbLink* it;
  list_for_each_entry_reverse(it, &fh->flb_list, list) {
    liveupdate_flb_put_outgoing(it->flb);
  }
}

// Follows luo_flb_file_finish().
void LuoFlbFileFinish(struct liveupdate_file_handler* fh) {
  ReadGuard guard(&g_luo.register_rwsem);
  FlbLink* it;
  list_for_each_entry_reverse(it, &fh->flb_list, list) {
    liveupdate_flb_put_incoming(it->flb);
  }
}

// Follows luo_flb_unregister_all().
void LuoFlbUnregisterAll(struct liveupdate_file_handler* fh) {
  FlbLink* it;
  FlbLink* next;
  list_for_each_entry_safe(it, next, &fh->flb_list, list) {
    UnregisterOne(fh, it->flb);
  }
}

// Follows luo_flb_setup_outgoing().
int LuoFlbSetUpOutgoing(u64* flbs_pa) {
  void* mem = kho_alloc_preserve(kPages << PAGE_SHIFT);
  if (IS_ERR(mem)) return PTR_ERR(mem);
  *flbs_pa = virt_to_phys(mem);
  SetTable(&g_luo.flb_outgoing, mem);
  g_luo.flb_outgoing.header->pgcnt = kPages;
  return 0;
}

// Follows luo_flb_setup_incoming().
void LuoFlbSetUpIncoming(u64 flbs_pa) {
  if (flbs_pa != 0) SetTable(&g_luo.flb_incoming, phys_to_virt(flbs_pa));
}

uint64_t LuoIncomingFlbPage() {
  if (!g_luo.flb_incoming.active) return 0;
  return virt_to_phys(g_luo.flb_incoming.header);
}

// Follows luo_flb_serialize().
void LuoFlbSerialize() {
  ReadGuard guard(&g_luo.register_rwsem);
  const LuoFlbTable& table = g_luo.flb_outgoing;
  u64 nr = 0;
  struct liveupdate_flb* flb;
  list_for_each_entry(flb, &g_luo.flbs, flb_private.list) {
    const struct luo_flb_private_state& out = PrivateOf(flb)->outgoing;
    const unsigned count = refcount_read(&out.count);
    if (count == 0) continue;
    CopyString(table.ser[nr].name, flb->compatible);
    table.ser[nr].data = out.data;
    table.ser[nr].count = count;
    ++nr;
  }
  table.header->count = nr;
}

}  // namespace sim

using sim::g_luo;

extern "C" {

// Follows liveupdate_register_flb().
int liveupdate_register_flb(struct liveupdate_file_handler* fh,
                            struct liveupdate_flb* flb) {
  struct luo_flb_private* p = sim::PrivateOf(flb);
  if (!liveupdate_enabled()) return -EOPNOTSUPP;
  const struct liveupdate_flb_ops* ops = flb->ops;
  if (WARN_ON(ops->preserve == nullptr || ops->unpreserve == nullptr ||
              ops->retrieve == nullptr || ops->finish == nullptr)) {
    return -EINVAL;
  }
  if (WARN_ON(list_empty(&fh->list))) return -EINVAL;
  sim::FlbLink* link = kzalloc_obj(sim::FlbLink, GFP_KERNEL);
  if (link == nullptr) return -ENOMEM;

  sim::WriteGuard guard(&g_luo.register_rwsem);
  int err = -EEXIST;
  if (sim::FindLink(fh, flb) == nullptr) err = sim::RegisterGlobally(flb, p);
  if (err != 0) {
    kfree(link);
    return err;
  }
  ++p->users;
  link->flb = flb;
  list_add_tail(&link->list, &fh->flb_list);
  return 0;
}

// Follows liveupdate_unregister_flb().
void liveupdate_unregister_flb(struct liveupdate_file_handler* fh,
                               struct liveupdate_flb* flb) {
  if (!liveupdate_enabled()) return;
  sim::WriteGuard guard(&g_luo.register_rwsem);
  sim::UnregisterOne(fh, flb);
}

// Follows liveupdate_flb_get_incoming().
int liveupdate_flb_get_incoming(struct liveupdate_flb* flb, void** objp) {
  struct luo_flb_private_state* in = &sim::PrivateOf(flb)->incoming;
  if (!liveupdate_enabled()) return -EOPNOTSUPP;
  sim::MutexGuard guard(&in->lock);
  if (in->obj == nullptr) {
    if (int err = sim::RetrieveOne(flb)) return err;
  }
  refcount_inc(&in->count);
  *objp = in->obj;
  return 0;
}

// Follows liveupdate_flb_put_incoming(). An FLB that nobody fetched has a count
// of zero here, and the kernel warns.
void liveupdate_flb_put_incoming(struct liveupdate_flb* flb) {
  struct luo_flb_private_state* in = &sim::PrivateOf(flb)->incoming;
  sim::MutexGuard guard(&in->lock);
  if (!refcount_dec_and_test(&in->count)) return;
  if (in->retrieve_status <= 0 && WARN_ON(sim::RetrieveOne(flb) != 0)) return;
  struct liveupdate_flb_op_args args = {};
  args.flb = flb;
  args.obj = in->obj;
  flb->ops->finish(&args);
  in->data = 0;
  in->obj = nullptr;
  in->finished = true;
}

// Follows liveupdate_flb_get_outgoing().
int liveupdate_flb_get_outgoing(struct liveupdate_flb* flb, void** objp) {
  struct luo_flb_private_state* out = &sim::PrivateOf(flb)->outgoing;
  if (!liveupdate_enabled()) return -EOPNOTSUPP;
  sim::MutexGuard guard(&out->lock);
  if (out->obj == nullptr) return -ENOENT;
  refcount_inc(&out->count);
  *objp = out->obj;
  return 0;
}

// Follows liveupdate_flb_put_outgoing().
void liveupdate_flb_put_outgoing(struct liveupdate_flb* flb) {
  struct luo_flb_private_state* out = &sim::PrivateOf(flb)->outgoing;
  sim::MutexGuard guard(&out->lock);
  if (!refcount_dec_and_test(&out->count)) return;
  struct liveupdate_flb_op_args args = {};
  args.flb = flb;
  args.data = out->data;
  args.obj = out->obj;
  if (flb->ops->unpreserve != nullptr) flb->ops->unpreserve(&args);
  out->data = 0;
  out->obj = nullptr;
}

}  // extern "C"
