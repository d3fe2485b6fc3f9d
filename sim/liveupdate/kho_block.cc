// SPDX-License-Identifier: BSD-3-Clause
#include "sim/liveupdate/kho_block.h"

#include <sim/kernel_api.h>

#include <cstring>

namespace sim {
namespace {

// Upstream's bound on the length of a chain, against loops.
constexpr long kMaxBlocks = 10000;

struct kho_block_header_ser* HeaderAt(uint64_t phys) {
  return static_cast<struct kho_block_header_ser*>(phys_to_virt(phys));
}

KhoBlock* LastBlock(KhoBlockSet* set) {
  return list_empty(&set->blocks)
             ? nullptr
             : list_last_entry(&set->blocks, KhoBlock, list);
}

// Follows kho_block_free_ser().
void FreeHeader(KhoBlockSet* set, struct kho_block_header_ser* ser) {
  if (set->incoming) {
    kho_restore_free(ser);
  } else {
    kho_unpreserve_free(ser);
  }
}

// Follows kho_block_add().
int AddBlock(KhoBlockSet* set, struct kho_block_header_ser* ser) {
  if (set->nr_blocks >= kMaxBlocks) return -ENOSPC;
  KhoBlock* block = kzalloc_obj(KhoBlock, GFP_KERNEL);
  if (block == nullptr) return -ENOMEM;
  block->ser = ser;
  if (KhoBlock* last = LastBlock(set)) {
    last->ser->next = virt_to_phys(ser);
  } else {
    set->head_pa = virt_to_phys(ser);
  }
  list_add_tail(&block->list, &set->blocks);
  ++set->nr_blocks;
  return 0;
}

// Follows kho_block_set_grow_one().
int GrowOne(KhoBlockSet* set) {
  void* mem = kho_alloc_preserve(KHO_BLOCK_SIZE);
  if (IS_ERR(mem)) return PTR_ERR(mem);
  auto* ser = static_cast<struct kho_block_header_ser*>(mem);
  const int err = AddBlock(set, ser);
  if (err != 0) FreeHeader(set, ser);
  return err;
}

// Follows kho_block_set_shrink_one().
void ShrinkOne(KhoBlockSet* set) {
  KhoBlock* block = LastBlock(set);
  if (block == nullptr) return;
  list_del(&block->list);
  --set->nr_blocks;
  FreeHeader(set, block->ser);
  kfree(block);
  if (KhoBlock* last = LastBlock(set)) {
    last->ser->next = 0;
  } else {
    set->head_pa = 0;
  }
}

// Follows kho_block_set_is_cyclic(): two walks, one twice as fast.
bool IsCyclic(uint64_t head_pa) {
  struct kho_block_header_ser* fast = HeaderAt(head_pa);
  struct kho_block_header_ser* slow = fast;
  for (long steps = 0; steps < kMaxBlocks; ++steps) {
    if (fast->next == 0) return false;
    fast = HeaderAt(fast->next);
    if (fast->next == 0) return false;
    fast = HeaderAt(fast->next);
    slow = HeaderAt(slow->next);
    if (slow == fast) break;
  }
  pr_err("Block set is corrupted\n");
  return true;
}

}  // namespace

// Follows kho_block_set_init().
void KhoBlockSetInit(KhoBlockSet* set, size_t entry_size) {
  *set = KhoBlockSet();
  INIT_LIST_HEAD(&set->blocks);
  set->entry_size = entry_size;
  set->per_block =
      (KHO_BLOCK_SIZE - sizeof(struct kho_block_header_ser)) / entry_size;
}

// Follows kho_block_set_grow().
int KhoBlockSetGrow(KhoBlockSet* set, uint64_t count) {
  if (WARN_ON(set->incoming)) return -EINVAL;
  const long before = set->nr_blocks;
  while (count > set->nr_blocks * set->per_block) {
    if (int err = GrowOne(set)) {
      while (set->nr_blocks > before) ShrinkOne(set);
      return err;
    }
  }
  return 0;
}

// Follows kho_block_set_shrink().
void KhoBlockSetShrink(KhoBlockSet* set, uint64_t count) {
  while (set->nr_blocks > 0 && count <= (set->nr_blocks - 1) * set->per_block) {
    ShrinkOne(set);
  }
}

// Follows kho_block_set_restore(). After a failure it frees the blocks that
// were not adopted yet as well.
int KhoBlockSetRestore(KhoBlockSet* set, uint64_t head_pa) {
  set->incoming = true;
  if (head_pa == 0) return 0;
  if (IsCyclic(head_pa)) return -EINVAL;
  set->head_pa = head_pa;

  uint64_t next = head_pa;
  int err = 0;
  while (next != 0) {
    struct kho_block_header_ser* ser = HeaderAt(next);
    if (ser->count == 0 || ser->count > set->per_block) {
      pr_warn("Block contains invalid entry count: %llu\n", ser->count);
      err = -EINVAL;
    } else {
      err = AddBlock(set, ser);
    }
    if (err != 0) break;
    next = ser->next;
  }
  if (err == 0) return 0;
  KhoBlockSetDestroy(set);
  while (next != 0) {
    struct kho_block_header_ser* ser = HeaderAt(next);
    next = ser->next;
    FreeHeader(set, ser);
  }
  return err;
}

// Follows kho_block_set_destroy().
void KhoBlockSetDestroy(KhoBlockSet* set) {
  KhoBlock* block;
  KhoBlock* next;
  list_for_each_entry_safe(block, next, &set->blocks, list) {
    list_del(&block->list);
    FreeHeader(set, block->ser);
    kfree(block);
  }
  set->nr_blocks = 0;
  set->head_pa = 0;
}

// Follows kho_block_set_clear().
void KhoBlockSetClear(KhoBlockSet* set) {
  KhoBlock* block;
  list_for_each_entry(block, &set->blocks, list) {
    block->ser->count = 0;
    std::memset(block->ser + 1, 0, KHO_BLOCK_SIZE - sizeof(*block->ser));
  }
}

// Follows kho_block_set_it_init().
KhoBlockIterator::KhoBlockIterator(KhoBlockSet* set)
    : set_(set),
      block_(list_empty(&set->blocks)
                 ? nullptr
                 : list_first_entry(&set->blocks, KhoBlock, list)) {}

void* KhoBlockIterator::Entry(uint64_t i) {
  return reinterpret_cast<char*>(block_->ser + 1) + i * set_->entry_size;
}

bool KhoBlockIterator::NextBlock() {
  if (list_is_last(&block_->list, &set_->blocks)) return false;
  block_ = list_next_entry(block_, list);
  i_ = 0;
  return true;
}

// Follows kho_block_set_it_reserve_entry().
void* KhoBlockIterator::Reserve() {
  if (block_ == nullptr) return nullptr;
  if (i_ == set_->per_block && !NextBlock()) return nullptr;
  void* entry = Entry(i_++);
  block_->ser->count = i_;
  return entry;
}

// Follows kho_block_set_it_read_entry().
void* KhoBlockIterator::Read() {
  if (block_ == nullptr) return nullptr;
  if (i_ == block_->ser->count && !NextBlock()) return nullptr;
  return Entry(i_++);
}

// Follows kho_block_set_it_prev().
void* KhoBlockIterator::Previous() {
  if (block_ == nullptr) return nullptr;
  if (i_ == 0) {
    if (list_is_first(&block_->list, &set_->blocks)) return nullptr;
    block_ = list_prev_entry(block_, list);
    i_ = set_->per_block;
  }
  return Entry(--i_);
}

}  // namespace sim
