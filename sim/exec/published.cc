// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/published.h"

#include <sim/kernel_api.h>

#include <cstring>

#include "sim/exec/corrupt.h"
#include "sim/machine/machine.h"

extern "C" {
#include <linux/kho/abi/hugetlb.h>
}

namespace sim {
namespace {

// A list that is longer than this has no end.
constexpr int kMostRecords = 4096;

// Records lie in packed structures: all access is by copy.
template <typename T>
bool Load(uint64_t phys, T* value) {
  if (phys == 0 || !M().memory().Exists(phys >> PAGE_SHIFT)) return false;
  std::memcpy(value, M().memory().base() + phys, sizeof(*value));
  return true;
}

// Calls see(at, record) for each record of a file until it returns true.
template <typename See>
bool AnyRecord(const See& see) {
  hugetlb_luo_root_ser root;
  if (!Load(OutgoingTableRoot(), &root)) return false;
  uint64_t at = root.files;
  hugetlb_luo_file_ser file;
  for (int n = 0; n < kMostRecords && Load(at, &file); ++n) {
    if (see(at, file)) return true;
    at = file.next;
  }
  return false;
}

// The same for the runs of a list.
template <typename See>
bool AnyRun(uint64_t block, const See& see) {
  hugetlb_luo_block_ser head;
  for (int n = 0; n < kMostRecords && Load(block, &head); ++n) {
    for (u32 i = 0; i < head.nr_runs && i < HUGETLB_LUO_BLOCK_RUNS; ++i) {
      hugetlb_luo_run_ser run;
      if (!Load(block + sizeof(head) + i * sizeof(run), &run)) break;
      if (see(run)) return true;
    }
    block = head.next;
  }
  return false;
}

bool HasFrame(uint64_t block, unsigned order, int64_t frame) {
  return AnyRun(block, [&](const hugetlb_luo_run_ser& run) {
    return frame >> order >= run.frame &&
           frame >> order < int64_t{run.frame} + run.nr;
  });
}

int64_t FrameInList(uint64_t block, int64_t index, unsigned order) {
  int64_t frame = kNoFrame;
  AnyRun(block, [&](const hugetlb_luo_run_ser& run) {
    if (index < run.index || index >= int64_t{run.index} + run.nr) return false;
    frame = (run.frame + (index - run.index)) << order;
    return true;
  });
  return frame;
}

}  // namespace

bool Published(uint64_t record) {
  return AnyRecord([record](uint64_t at, const hugetlb_luo_file_ser&) {
    return at == record;
  });
}

int64_t FrameInRecord(uint64_t record, int64_t index) {
  hugetlb_luo_file_ser file;
  if (!Load(record, &file)) return kNoFrame;
  const int64_t frame = FrameInList(file.runs, index, file.order);
  return frame != kNoFrame ? frame : FrameInList(file.late, index, file.order);
}

FreeList PublishedFree(unsigned order, int64_t frame) {
  FreeList list;
  AnyRecord([&](uint64_t, const hugetlb_luo_file_ser& file) {
    if ((file.flags & HUGETLB_LUO_FILE_FREE) == 0 || file.order != order)
      return false;
    list.is = true;
    list.has = HasFrame(file.runs, order, frame);
    return list.has;
  });
  return list;
}

bool PublishedInFile(unsigned order, int64_t frame) {
  return AnyRecord([&](uint64_t, const hugetlb_luo_file_ser& file) {
    return (file.flags & HUGETLB_LUO_FILE_FREE) == 0 && file.order == order &&
           (HasFrame(file.runs, order, frame) ||
            HasFrame(file.late, order, frame));
  });
}

}  // namespace sim
