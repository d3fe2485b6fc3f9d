// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_HUGETLB_SYSFS_H_
#define SIM_MM_HUGETLB_SYSFS_H_

// The files of /sys/kernel/mm/hugepages/hugepages-*/ and of its twin in
// /sys/devices/system/node/node*/, as functions.

#include <cstdint>

namespace sim {

// All return 0 or -errno; -ENOENT: there is no such directory, because the
// kernel does not know the size or the node has no memory.

// nr_hugepages; nid -1 is the global file.
int NrHugepagesStore(uint64_t page_size, uint64_t count, int nid);
int NrOvercommitStore(uint64_t page_size, uint64_t count);
// demote; -ENOENT for the smallest size, too. hugetlb_demote.cc
int NrDemoteStore(uint64_t page_size, uint64_t count, int nid);
// preserve_free; -ENOENT without CONFIG_LIVEUPDATE_HUGETLB.
int PreserveFreeStore(uint64_t page_size, bool on);
int PreserveFreeRead(uint64_t page_size);
// Whether there is such a directory of the node.
bool NodeHasFiles(int nid);

struct HugepageCounters {
  uint64_t nr = 0;
  uint64_t free = 0;
  uint64_t surplus = 0;
  // Only of the global directory.
  uint64_t resv = 0;
  uint64_t overcommit = 0;
  uint64_t max = 0;  // max_huge_pages, not in sysfs: vm.nr_hugepages
};
int HugepageCountersRead(uint64_t page_size, int nid, HugepageCounters* out);

// How many page sizes the kernel knows, and the i-th of them in ascending
// order, in bytes.
int NrPageSizes();
uint64_t PageSizeAt(int i);
uint64_t DefaultPageSize();

}  // namespace sim

#endif  // SIM_MM_HUGETLB_SYSFS_H_
