// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_LIVEUPDATE_KHO_BLOCK_H_
#define SIM_LIVEUPDATE_KHO_BLOCK_H_

// Arrays of records that cross a kexec: a chain of preserved pages, each with a
// header and as many records as fit. See linux/kho/abi/block.h. Follows
// kernel/liveupdate/kho_block.c.

#include <linux/kho/abi/block.h>
#include <sim/kernel_api.h>

#include <cstddef>
#include <cstdint>

namespace sim {

struct KhoBlock {
  struct list_head list;
  struct kho_block_header_ser* ser;
};

// Lies in kernel memory or static data; initialised by KhoBlockSetInit().
struct KhoBlockSet {
  struct list_head blocks;
  long nr_blocks;
  uint64_t head_pa;
  size_t entry_size;
  uint64_t per_block;
  bool incoming;
};

void KhoBlockSetInit(KhoBlockSet* set, size_t entry_size);
// Makes room for `count` records, or changes nothing and returns an error.
int KhoBlockSetGrow(KhoBlockSet* set, uint64_t count);
// Frees blocks at the end that `count` records do not need.
void KhoBlockSetShrink(KhoBlockSet* set, uint64_t count);
// Adopts the blocks of the previous kernel. -EINVAL when they are damaged.
int KhoBlockSetRestore(KhoBlockSet* set, uint64_t head_pa);
void KhoBlockSetDestroy(KhoBlockSet* set);
// Zeros all records and counts.
void KhoBlockSetClear(KhoBlockSet* set);

class KhoBlockIterator {
 public:
  explicit KhoBlockIterator(KhoBlockSet* set);
  // The next free record, counted as used; null when there is none.
  void* Reserve();
  // The next record in use; null at the end.
  void* Read();
  // Goes back to the record before; null at the beginning.
  void* Previous();

 private:
  bool NextBlock();
  void* Entry(uint64_t i);

  KhoBlockSet* set_;
  KhoBlock* block_;
  uint64_t i_ = 0;
};

}  // namespace sim

#endif  // SIM_LIVEUPDATE_KHO_BLOCK_H_
