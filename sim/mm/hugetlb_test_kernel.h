// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_HUGETLB_TEST_KERNEL_H_
#define SIM_MM_HUGETLB_TEST_KERNEL_H_

// A booted kernel for tests of HugeTLB and files, and what has to hold of its
// pools at any time when nobody is in the middle of something.

#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <functional>
#include <utility>

#include "sim/liveupdate/kexec.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/hugetlb_sysfs.h"
#include "sim/mm/mapping.h"
#include "sim/mm/memfd.h"
#include "sim/mm/owners.h"
#include "sim/mm/slab.h"
#include "sim/mm/vfs.h"

namespace sim {

class HugetlbTest : public ::testing::Test {
 protected:
  static constexpr uint64_t k16K = 16 << 10;
  static constexpr uint64_t k64K = 64 << 10;
  static constexpr uint64_t k256K = 256 << 10;

  explicit HugetlbTest(const char* geometry = "small", int nodes = 2)
      : machine_(MakeGeometry(geometry, nodes).value(), 1), nodes_(nodes) {
    ResetActors();
    config_.has_luo_hugetlb = false;
  }

  void TearDown() override {
    for (const Violation& v : machine_.violations())
      ADD_FAILURE() << v.property << ": " << v.what;
    EXPECT_TRUE(VerifyOneOwner());
    EXPECT_TRUE(VerifySlabs());
    ResetActors();
  }

  void BootKernel(const char* cmdline) {
    config_.cmdline = cmdline;
    ASSERT_TRUE(Boot(config_));
  }

  // Runs kernel code as a process's or the administrator's.
  RunResult Run(const char* actor, std::function<void()> fn) {
    return RunOnActor(ActorByName(actor), std::move(fn));
  }
  template <typename T>
  T Call(std::function<T()> fn, const char* actor = "p0") {
    T result{};
    EXPECT_EQ(Run(actor, [&] { result = fn(); }), RunResult::kDone);
    return result;
  }

  static unsigned HugeFlag(uint64_t size) {
    return MFD_HUGETLB | static_cast<unsigned>(__builtin_ctzl(size))
                             << MFD_HUGE_SHIFT;
  }

  uint64_t FreePages() const {
    uint64_t pages = 0;
    for (int nid = 0; nid < nodes_; nid++) pages += FreePagesOfNode(nid);
    return pages;
  }

  HugepageCounters Counters(uint64_t size, int nid = -1) const {
    HugepageCounters counters;
    EXPECT_EQ(HugepageCountersRead(size, nid, &counters), 0);
    return counters;
  }

  bool LogHas(const char* text) const {
    for (const std::string& line : machine_.log()) {
      if (line.find(text) != std::string::npos) return true;
    }
    return false;
  }

  static unsigned long Length(const struct list_head* list) {
    unsigned long n = 0;
    for (const struct list_head* at = list->next; at != list; at = at->next)
      n++;
    return n;
  }

  void CheckPools() const {
    const struct hstate* h;
    for_each_hstate(h) {
      unsigned long nr = 0, free = 0, surplus = 0;
      for (int nid = 0; nid < nodes_; nid++) {
        nr += h->nr_huge_pages_node[nid];
        free += h->free_huge_pages_node[nid];
        surplus += h->surplus_huge_pages_node[nid];
        EXPECT_LE(h->free_huge_pages_node[nid], h->nr_huge_pages_node[nid]);
        const struct list_head* list = &h->hugepage_freelists[nid];
        EXPECT_EQ(Length(list), h->free_huge_pages_node[nid]);
        const struct folio* folio;
        list_for_each_entry(folio, list, lru) {
          EXPECT_EQ(folio_nid(folio), nid);
          EXPECT_EQ(folio_order(folio), h->order);
          EXPECT_EQ(folio_ref_count(folio), 0);
        }
      }
      EXPECT_EQ(nr, h->nr_huge_pages) << h->name;
      EXPECT_EQ(free, h->free_huge_pages) << h->name;
      EXPECT_EQ(surplus, h->surplus_huge_pages) << h->name;
      EXPECT_EQ(Length(&h->hugepage_activelist), nr - free) << h->name;
    }
  }

  // Reservations are backed by free pages, unless an error path freed a page
  // of a node with surplus pages.
  void CheckReservationsBacked() const {
    const struct hstate* h;
    for_each_hstate(h) {
      EXPECT_LE(h->resv_huge_pages, h->free_huge_pages) << h->name;
    }
  }

  // Nobody holds anything. Free pages may stay surplus, as upstream: a pool
  // that shrinks may take a free surplus page for a persistent one, or call a
  // node's page surplus while the one that will be freed lies on another node.
  void CheckIdle(bool surplus_may_stay = false) const {
    const struct hstate* h;
    for_each_hstate(h) {
      EXPECT_EQ(h->free_huge_pages, h->nr_huge_pages) << h->name;
      EXPECT_EQ(h->resv_huge_pages, 0u) << h->name;
      if (surplus_may_stay) continue;
      EXPECT_EQ(h->surplus_huge_pages, 0u) << h->name;
    }
    EXPECT_EQ(LiveInodes(), 0);
    EXPECT_EQ(LiveFiles(), 0);
  }

  Machine machine_;
  KernelConfig config_;
  const int nodes_;
};

}  // namespace sim

#endif  // SIM_MM_HUGETLB_TEST_KERNEL_H_
