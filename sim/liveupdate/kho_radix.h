// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_LIVEUPDATE_KHO_RADIX_H_
#define SIM_LIVEUPDATE_KHO_RADIX_H_

// KHO's radix tree: a set of integers in physical pages. Level 0 is a page
// used as a bitmap, the levels above are pages of physical addresses. See
// linux/kho/abi/kexec_handover.h.

#include <sim/kernel_api.h>

#include <cstdint>

namespace sim {

struct KhoRadixTree {
  struct kho_radix_node* root;
  struct mutex lock;
};

inline constexpr int kKhoTop = KHO_TREE_MAX_DEPTH - 1;

// Keys of KHO's tree of preserved memory: address and order in one number.
inline uint64_t KhoEncodeKey(uint64_t phys, unsigned order) {
  const unsigned shift = PAGE_SHIFT + order;
  return (uint64_t{1} << (64 - shift)) | (phys >> shift);
}

inline uint64_t KhoDecodeKey(uint64_t key, unsigned* order) {
  const unsigned top_bit = 63 - __builtin_clzll(key);
  *order = 64 - PAGE_SHIFT - top_bit;
  return key << (PAGE_SHIFT + *order);
}

inline unsigned KhoTableIndex(uint64_t key, int level) {
  const int shift = (level - 1) * KHO_TABLE_SIZE_LOG2 + KHO_BITMAP_SIZE_LOG2;
  return (key >> shift) & ((1u << KHO_TABLE_SIZE_LOG2) - 1);
}

// `root` may be null: then an empty one is allocated. 0 or -ENOMEM.
int KhoRadixInit(KhoRadixTree* tree, struct kho_radix_node* root,
                 const char* lock_class);
// `added`: whether the key was not there before.
int KhoRadixAdd(KhoRadixTree* tree, uint64_t key, bool* added);
// `removed`: whether the key was there.
void KhoRadixDelete(KhoRadixTree* tree, uint64_t key, bool* removed);
bool KhoRadixContains(const KhoRadixTree& tree, uint64_t key);
void KhoRadixDestroy(KhoRadixTree* tree);

namespace kho_internal {

inline bool EmptyLine(const u64* entries) {
  return (entries[0] | entries[1] | entries[2] | entries[3] | entries[4] |
          entries[5] | entries[6] | entries[7]) == 0;
}

// Follows kho_radix_walk_leaf() and __kho_radix_walk_tree().
template <typename OnKey, typename OnNode>
int WalkNode(const struct kho_radix_node* node, int level, uint64_t prefix,
             const OnKey& on_key, const OnNode& on_node) {
  if (int err = on_node(virt_to_phys(node))) return err;
  if (level == 0) {
    const auto* words = reinterpret_cast<const unsigned long*>(node);
    for (unsigned w = 0; w < PAGE_SIZE / sizeof(*words); ++w) {
      for (unsigned long bits = words[w]; bits != 0; bits &= bits - 1) {
        const uint64_t bit = w * 64 + __builtin_ctzl(bits);
        if (int err = on_key(prefix | bit)) return err;
      }
    }
    return 0;
  }
  const int shift = (level - 1) * KHO_TABLE_SIZE_LOG2 + KHO_BITMAP_SIZE_LOG2;
  for (uint64_t i = 0; i < (1u << KHO_TABLE_SIZE_LOG2); ++i) {
    if (node->table[i] == 0) {
      // Nearly all of a table is empty.
      if (i % 8 == 0 && EmptyLine(&node->table[i])) i += 7;
      continue;
    }
    const auto* below =
        static_cast<struct kho_radix_node*>(phys_to_virt(node->table[i]));
    if (int err = WalkNode(below, level - 1, prefix | (i << shift), on_key,
                           on_node)) {
      return err;
    }
  }
  return 0;
}

}  // namespace kho_internal

// Calls on_key(key) for each key, ascending, and on_node(phys) for each page of
// the tree, before its keys. Stops at the first result that is not 0. Without
// the lock: for those who stand outside of the kernel (checkers, kexec).
template <typename OnKey, typename OnNode>
int KhoRadixWalkUnlocked(const struct kho_radix_node* root, const OnKey& on_key,
                         const OnNode& on_node) {
  return kho_internal::WalkNode(root, kKhoTop, 0, on_key, on_node);
}

// Follows kho_radix_walk_tree().
template <typename OnKey, typename OnNode>
int KhoRadixWalk(KhoRadixTree* tree, const OnKey& on_key,
                 const OnNode& on_node) {
  if (WARN_ON(tree->root == nullptr)) return -EINVAL;
  mutex_lock(&tree->lock);
  const int err = KhoRadixWalkUnlocked(tree->root, on_key, on_node);
  mutex_unlock(&tree->lock);
  return err;
}

}  // namespace sim

#endif  // SIM_LIVEUPDATE_KHO_RADIX_H_
