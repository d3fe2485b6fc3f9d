// SPDX-License-Identifier: BSD-3-Clause
#include <sim/kernel_api.h>

#include <algorithm>

// Follows lib/xarray.c in what the plain interface shows: a radix tree of
// nodes with 64 slots, as low as its largest index allows, an entry at index 0
// alone in the head itself. Left out: marks, entries that span several
// indices, reserved entries, the lock (storing allocates before it touches
// the tree, and from there on does not give way to another actor).

namespace sim {
namespace {

constexpr unsigned kShift = 6;
constexpr unsigned kSlots = 1u << kShift;

struct XaNode {
  uint8_t shift;
  uint8_t offset;  // in its parent
  uint8_t count;   // slots in use
  XaNode* parent;
  void* slots[kSlots];
};

// Bits 1 set, bit 0 clear: a node, not an entry.
bool IsNode(const void* entry) {
  return (reinterpret_cast<uintptr_t>(entry) & 3) == 2 && !IS_ERR(entry);
}
XaNode* ToNode(const void* entry) {
  return reinterpret_cast<XaNode*>(reinterpret_cast<uintptr_t>(entry) - 2);
}
void* ToEntry(XaNode* node) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(node) + 2);
}

// Largest index below a node (or below an entry in the head).
unsigned long MaxIndex(const void* head) {
  if (!IsNode(head)) return 0;
  const unsigned bits = ToNode(head)->shift + kShift;
  return bits >= 64 ? ~0UL : (1UL << bits) - 1;
}

unsigned SlotOf(unsigned long index, unsigned shift) {
  return static_cast<unsigned>(index >> shift) & (kSlots - 1);
}

// Shift of the root that a tree needs for the index.
unsigned RootShift(unsigned long index) {
  unsigned shift = 0;
  while (shift + kShift < 64 && (index >> (shift + kShift)) != 0) {
    shift += kShift;
  }
  return shift;
}

// Nodes that storing at the index will take.
unsigned NodesNeeded(const struct xarray* xa, unsigned long index) {
  const void* head = xa->xa_head;
  if (head == nullptr) {
    return index == 0 ? 0 : RootShift(index) / kShift + 1;
  }
  unsigned need = 0;
  unsigned shift;
  if (index > MaxIndex(head)) {
    const unsigned root = RootShift(index);
    need = IsNode(head) ? (root - ToNode(head)->shift) / kShift
                        : root / kShift + 1;
    // Below the new root nothing of the index's path exists yet.
    return need + root / kShift;
  }
  if (!IsNode(head)) return 0;
  const XaNode* node = ToNode(head);
  for (;;) {
    shift = node->shift;
    if (shift == 0) return 0;
    const void* next = node->slots[SlotOf(index, shift)];
    if (next == nullptr) return shift / kShift;
    node = ToNode(next);
  }
}

// Spare nodes are chained through their first slot.
XaNode* TakeSpare(XaNode** spare, unsigned shift) {
  XaNode* node = *spare;
  *spare = static_cast<XaNode*>(node->slots[0]);
  node->slots[0] = nullptr;
  node->shift = static_cast<uint8_t>(shift);
  return node;
}

void FreeSpare(XaNode* spare) {
  while (spare != nullptr) {
    auto* next = static_cast<XaNode*>(spare->slots[0]);
    kfree(spare);
    spare = next;
  }
}

void SetSlot(XaNode* node, unsigned slot, void* entry) {
  if (node->slots[slot] == nullptr && entry != nullptr) ++node->count;
  if (node->slots[slot] != nullptr && entry == nullptr) --node->count;
  node->slots[slot] = entry;
}

XaNode* AddChild(XaNode* parent, unsigned slot, XaNode* child) {
  child->parent = parent;
  child->offset = static_cast<uint8_t>(slot);
  SetSlot(parent, slot, ToEntry(child));
  return child;
}

// xas_expand() and xas_create(): the leaf that holds the index; null for an
// index that lives in the head. There are enough spare nodes.
XaNode* MakePath(struct xarray* xa, unsigned long index, XaNode** spare) {
  if (xa->xa_head == nullptr) {
    if (index == 0) return nullptr;
    xa->xa_head = ToEntry(TakeSpare(spare, RootShift(index)));
  }
  while (index > MaxIndex(xa->xa_head)) {
    void* head = xa->xa_head;
    XaNode* root =
        TakeSpare(spare, IsNode(head) ? ToNode(head)->shift + kShift : 0);
    if (IsNode(head)) {
      AddChild(root, 0, ToNode(head));
    } else {
      SetSlot(root, 0, head);
    }
    xa->xa_head = ToEntry(root);
  }
  if (!IsNode(xa->xa_head)) return nullptr;
  XaNode* node = ToNode(xa->xa_head);
  while (node->shift > 0) {
    const unsigned slot = SlotOf(index, node->shift);
    void* next = node->slots[slot];
    node = next != nullptr
               ? ToNode(next)
               : AddChild(node, slot, TakeSpare(spare, node->shift - kShift));
  }
  return node;
}

XaNode* FindLeaf(const struct xarray* xa, unsigned long index) {
  if (!IsNode(xa->xa_head) || index > MaxIndex(xa->xa_head)) return nullptr;
  XaNode* node = ToNode(xa->xa_head);
  while (node->shift > 0) {
    void* next = node->slots[SlotOf(index, node->shift)];
    if (next == nullptr) return nullptr;
    node = ToNode(next);
  }
  return node;
}

// xas_delete_node() and xas_shrink(), after a slot of the leaf was emptied.
void Shrink(struct xarray* xa, XaNode* node) {
  while (node != nullptr && node->count == 0) {
    XaNode* parent = node->parent;
    if (parent != nullptr) {
      SetSlot(parent, node->offset, nullptr);
    } else {
      xa->xa_head = nullptr;
    }
    kfree(node);
    node = parent;
  }
  while (IsNode(xa->xa_head)) {
    XaNode* root = ToNode(xa->xa_head);
    if (root->count != 1 || root->slots[0] == nullptr) break;
    xa->xa_head = root->slots[0];
    if (IsNode(xa->xa_head)) ToNode(xa->xa_head)->parent = nullptr;
    kfree(root);
  }
}

// Stores, if `expect_none` only where nothing is. Returns what was there.
void* Store(struct xarray* xa, unsigned long index, void* entry, gfp_t gfp,
            bool expect_none) {
  XaNode* spare = nullptr;
  unsigned have = 0;
  // Each allocation may give way to somebody who changes the tree.
  for (;;) {
    if (expect_none && xa_load(xa, index) != nullptr) break;
    if (have >= NodesNeeded(xa, index)) break;
    auto* node = static_cast<XaNode*>(kzalloc(sizeof(XaNode), gfp));
    if (node == nullptr) {
      FreeSpare(spare);
      return reinterpret_cast<void*>(static_cast<long>(-ENOMEM));
    }
    node->slots[0] = spare;
    spare = node;
    ++have;
  }
  void* old = xa_load(xa, index);
  if (!expect_none || old == nullptr) {
    XaNode* leaf = MakePath(xa, index, &spare);
    if (leaf == nullptr) {
      xa->xa_head = entry;
    } else {
      SetSlot(leaf, SlotOf(index, 0), entry);
    }
  }
  FreeSpare(spare);
  return old;
}

// First entry at or after *index below the node, which starts at base.
void* FindBelow(const XaNode* node, unsigned long base, unsigned long* index) {
  const unsigned first = *index > base ? SlotOf(*index, node->shift) : 0;
  for (unsigned slot = first; slot < kSlots; ++slot) {
    void* entry = node->slots[slot];
    const unsigned long at =
        base + (static_cast<unsigned long>(slot) << node->shift);
    if (entry == nullptr) {
      if (node->shift >= 60 && slot >= 15) break;  // end of 64 bits
      continue;
    }
    if (node->shift == 0) {
      *index = at;
      return entry;
    }
    if (at > *index) *index = at;
    void* found = FindBelow(ToNode(entry), at, index);
    if (found != nullptr) return found;
  }
  return nullptr;
}

void FreeNodes(XaNode* node) {
  for (void* entry : node->slots) {
    if (node->shift > 0 && entry != nullptr) FreeNodes(ToNode(entry));
  }
  kfree(node);
}

}  // namespace
}  // namespace sim

extern "C" {

void* xa_load(struct xarray* xa, unsigned long index) {
  if (!sim::IsNode(xa->xa_head)) return index == 0 ? xa->xa_head : nullptr;
  const sim::XaNode* leaf = sim::FindLeaf(xa, index);
  return leaf == nullptr ? nullptr : leaf->slots[sim::SlotOf(index, 0)];
}

void* xa_store(struct xarray* xa, unsigned long index, void* entry, gfp_t gfp) {
  if (entry == nullptr) return xa_erase(xa, index);
  if (WARN_ON((reinterpret_cast<uintptr_t>(entry) & 3) == 2 || IS_ERR(entry))) {
    return reinterpret_cast<void*>(static_cast<long>(-EINVAL));
  }
  return sim::Store(xa, index, entry, gfp, false);
}

int xa_insert(struct xarray* xa, unsigned long index, void* entry, gfp_t gfp) {
  if (WARN_ON(entry == nullptr ||
              (reinterpret_cast<uintptr_t>(entry) & 3) == 2 || IS_ERR(entry))) {
    return -EINVAL;
  }
  void* old = sim::Store(xa, index, entry, gfp, true);
  if (xa_err(old) != 0) return xa_err(old);
  return old == nullptr ? 0 : -EBUSY;
}

void* xa_erase(struct xarray* xa, unsigned long index) {
  if (!sim::IsNode(xa->xa_head)) {
    if (index != 0) return nullptr;
    void* old = xa->xa_head;
    xa->xa_head = nullptr;
    return old;
  }
  sim::XaNode* leaf = sim::FindLeaf(xa, index);
  if (leaf == nullptr) return nullptr;
  const unsigned slot = sim::SlotOf(index, 0);
  void* old = leaf->slots[slot];
  if (old != nullptr) {
    sim::SetSlot(leaf, slot, nullptr);
    sim::Shrink(xa, leaf);
  }
  return old;
}

void* xa_find(struct xarray* xa, unsigned long* index, unsigned long max,
              unsigned int) {
  unsigned long at = *index;
  if (at > max || at > sim::MaxIndex(xa->xa_head)) return nullptr;
  void* entry = sim::IsNode(xa->xa_head)
                    ? sim::FindBelow(sim::ToNode(xa->xa_head), 0, &at)
                    : xa->xa_head;
  if (entry == nullptr || at > max) return nullptr;
  *index = at;
  return entry;
}

void* xa_find_after(struct xarray* xa, unsigned long* index, unsigned long max,
                    unsigned int filter) {
  if (*index == ~0UL) return nullptr;
  unsigned long at = *index + 1;
  void* entry = xa_find(xa, &at, max, filter);
  if (entry != nullptr) *index = at;
  return entry;
}

void xa_destroy(struct xarray* xa) {
  if (sim::IsNode(xa->xa_head)) sim::FreeNodes(sim::ToNode(xa->xa_head));
  xa->xa_head = nullptr;
}

}  // extern "C"
