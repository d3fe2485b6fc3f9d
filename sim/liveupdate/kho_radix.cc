// SPDX-License-Identifier: BSD-3-Clause
#include "sim/liveupdate/kho_radix.h"

#include <sim/kernel_api.h>

#include "sim/liveupdate/guard.h"
#include "sim/machine/actors.h"

namespace sim {
namespace {

// Follows kho_radix_alloc_node(): pages of the buddy allocator, or of
// memblock as long as there is none.
struct kho_radix_node* AllocNode() {
  if (slab_is_available()) {
    return reinterpret_cast<struct kho_radix_node*>(
        get_zeroed_page(GFP_KERNEL));
  }
  return static_cast<struct kho_radix_node*>(
      memblock_alloc(PAGE_SIZE, PAGE_SIZE));
}

// Follows kho_radix_free_node().
void FreeNode(struct kho_radix_node* node) {
  if (slab_is_available()) {
    free_page(reinterpret_cast<unsigned long>(node));
  } else {
    memblock_free(node, PAGE_SIZE);
  }
}

void DestroyNode(struct kho_radix_node* node, int level) {
  if (level > 0) {
    for (unsigned i = 0; i < (1u << KHO_TABLE_SIZE_LOG2); ++i) {
      if (i % 8 == 0 && kho_internal::EmptyLine(&node->table[i])) {
        i += 7;
        continue;
      }
      if (node->table[i] == 0) continue;
      DestroyNode(
          static_cast<struct kho_radix_node*>(phys_to_virt(node->table[i])),
          level - 1);
    }
  }
  FreeNode(node);
}

bool TooWide(uint64_t key) { return (key >> KHO_RADIX_KEY_WIDTH) != 0; }

unsigned long* LeafWord(struct kho_radix_node* leaf, uint64_t key,
                        unsigned long* mask) {
  const unsigned bit = key & ((1u << KHO_BITMAP_SIZE_LOG2) - 1);
  *mask = 1UL << (bit % 64);
  return reinterpret_cast<unsigned long*>(leaf) + bit / 64;
}

}  // namespace

// Follows kho_radix_init_tree(). The lock's class is named by the caller,
// where the kernel sets a class of its own for the tree of busy blocks.
int KhoRadixInit(KhoRadixTree* tree, struct kho_radix_node* root,
                 const char* lock_class) {
  if (root == nullptr) root = AllocNode();
  if (root == nullptr) return -ENOMEM;
  tree->root = root;
  sim_mutex_init(&tree->lock, lock_class);
  return 0;
}

// Follows kho_radix_add_key().
int KhoRadixAdd(KhoRadixTree* tree, uint64_t key, bool* added) {
  *added = false;
  if (WARN_ON(tree->root == nullptr)) return -EINVAL;
  if (TooWide(key)) return -ERANGE;
  MightSleep("kho_radix_add_key");
  MutexGuard guard(&tree->lock);

  struct kho_radix_node* fresh[KHO_TREE_MAX_DEPTH] = {};
  struct kho_radix_node* anchor = nullptr;  // gets the new branch, if any
  unsigned anchor_index = 0;
  struct kho_radix_node* node = tree->root;
  for (int level = kKhoTop; level > 0; --level) {
    const unsigned index = KhoTableIndex(key, level);
    if (node->table[index] == 0) {
      struct kho_radix_node* child = AllocNode();
      if (child == nullptr) {
        for (int l = kKhoTop; l > level; --l) {
          if (fresh[l] != nullptr) FreeNode(fresh[l]);
        }
        if (anchor != nullptr) anchor->table[anchor_index] = 0;
        return -ENOMEM;
      }
      node->table[index] = virt_to_phys(child);
      if (anchor == nullptr) {
        anchor = node;
        anchor_index = index;
      }
      fresh[level] = child;
    }
    node =
        static_cast<struct kho_radix_node*>(phys_to_virt(node->table[index]));
  }
  unsigned long mask;
  unsigned long* word = LeafWord(node, key, &mask);
  *added = (*word & mask) == 0;
  *word |= mask;
  return 0;
}

// Follows kho_radix_del_key(): warns only where a whole branch is missing, and
// leaves empty nodes in place.
void KhoRadixDelete(KhoRadixTree* tree, uint64_t key, bool* removed) {
  *removed = false;
  if (WARN_ON(tree->root == nullptr)) return;
  if (TooWide(key)) return;
  MightSleep("kho_radix_del_key");
  MutexGuard guard(&tree->lock);

  struct kho_radix_node* node = tree->root;
  for (int level = kKhoTop; level > 0; --level) {
    const unsigned index = KhoTableIndex(key, level);
    if (WARN_ON(node->table[index] == 0)) return;
    node =
        static_cast<struct kho_radix_node*>(phys_to_virt(node->table[index]));
  }
  unsigned long mask;
  unsigned long* word = LeafWord(node, key, &mask);
  *removed = (*word & mask) != 0;
  *word &= ~mask;
}

// A checker's question; the kernel has no such function.
bool KhoRadixContains(const KhoRadixTree& tree, uint64_t key) {
  struct kho_radix_node* node = tree.root;
  if (node == nullptr || TooWide(key)) return false;
  for (int level = kKhoTop; level > 0; --level) {
    const uint64_t below = node->table[KhoTableIndex(key, level)];
    if (below == 0) return false;
    node = static_cast<struct kho_radix_node*>(phys_to_virt(below));
  }
  unsigned long mask;
  const unsigned long* word = LeafWord(node, key, &mask);
  return (*word & mask) != 0;
}

// Follows kho_radix_destroy_tree().
void KhoRadixDestroy(KhoRadixTree* tree) {
  if (tree->root == nullptr) return;
  DestroyNode(tree->root, kKhoTop);
  tree->root = nullptr;
}

}  // namespace sim
