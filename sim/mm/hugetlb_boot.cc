// SPDX-License-Identifier: BSD-3-Clause
//
// HugeTLB at boot: the command line, gigantic pages from memblock, the other
// sizes from the buddy allocator. Threads of boot allocation and pages that
// cross zones are left out (a node is one zone here).

#include "sim/machine/machine.h"
#include "sim/mm/boot.h"
#include "sim/mm/cgroup.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_cma.h"
#include "sim/mm/hugetlb_cmdline.h"
#include "sim/mm/hugetlb_hooks.h"
#include "sim/mm/hugetlb_vmemmap.h"
#include "sim/mm/hugetlbfs.h"
#include "sim/mm/memmap.h"

extern "C" {
struct mutex* hugetlb_fault_mutex_table;
}

namespace sim {

void HugetlbPoolsReset();
void HugetlbAllocReset();

namespace {

// Lies in the first bytes of a gigantic page until it gets into its pool.
struct BootPage {
  struct list_head list;
  struct hstate* hstate;
  bool cma;
};

constexpr u32 kNrFaultMutexes = 16;  // 8 for each of two CPUs

struct list_head huge_boot_pages[MAX_NUMNODES];
nodemask_t bootmem_nodes;  // hugetlb_bootmem_nodes
u32 nr_fault_mutexes;
unsigned long skipped[HUGE_MAX_HSTATE];

void SizeText(const struct hstate* h, char (&buf)[32]) {
  string_get_size(huge_page_size(h), 1, STRING_UNITS_2, buf, sizeof(buf));
}

// alloc_bootmem_huge_page() and __alloc_bootmem_huge_page().
bool AllocBootPage(struct hstate* h, int nid) {
  const bool exact = nid != NUMA_NO_NODE;
  if (!exact) nid = NextNodeToAlloc(&h->next_nid_to_alloc, &bootmem_nodes);
  void* mem = HugetlbEarlyCma(h)
                  ? HugetlbCmaAllocBootmem(h, nid, exact)
                  : memblock_alloc_hugetlb(huge_page_size(h), nid, exact);
  if (!mem) return false;

  M().memory().MarkDirty(__pa(mem) >> PAGE_SHIFT);
  auto* page = static_cast<BootPage*>(mem);
  page->hstate = h;
  page->cma = HugetlbEarlyCma(h);
  nid = early_pfn_to_nid(__pa(mem) >> PAGE_SHIFT);
  list_add_tail(&page->list, &huge_boot_pages[nid]);
  memblock_reserved_mark_noinit(__pa(mem) + PAGE_SIZE,
                                huge_page_size(h) - PAGE_SIZE);
  return true;
}

// hugetlb_hstate_alloc_pages_onenode().
void AllocOneNode(struct hstate* h, int nid) {
  const unsigned asked = h->max_huge_pages_node[nid];
  struct list_head fresh;
  INIT_LIST_HEAD(&fresh);
  unsigned got = 0;
  for (; got < asked; got++) {
    if (hstate_is_gigantic(h)) {
      if (!AllocBootPage(h, nid)) break;
    } else {
      struct folio* folio =
          AllocFreshHugetlbFolio(h, htlb_alloc_mask(h) | __GFP_THISNODE, nid,
                                 &node_states[N_MEMORY], nullptr);
      if (!folio) break;
      list_add(&folio->lru, &fresh);
    }
    cond_resched();
  }
  if (!list_empty(&fresh)) prep_and_add_allocated_folios(h, &fresh);
  if (got == asked) return;

  char buf[32];
  SizeText(h, buf);
  pr_warn(
      "HugeTLB: allocating %u of page size %s failed node%d.  Only allocated "
      "%u hugepages.\n",
      asked, buf, nid, got);
  h->max_huge_pages -= asked - got;
  h->max_huge_pages_node[nid] = got;
}

// hugetlb_hstate_alloc_pages_specific_nodes().
bool AllocSpecificNodes(struct hstate* h) {
  bool specific = false;
  int nid;
  for_each_online_node(nid) {
    if (!h->max_huge_pages_node[nid]) continue;
    AllocOneNode(h, nid);
    specific = true;
  }
  return specific;
}

// hugetlb_gigantic_pages_alloc_boot().
unsigned long AllocGiganticBalanced(struct hstate* h) {
  unsigned long got = 0;
  while (got < h->max_huge_pages && AllocBootPage(h, NUMA_NO_NODE)) {
    got++;
    cond_resched();
  }
  return got;
}

// hugetlb_pages_alloc_boot() with one thread.
unsigned long AllocBalanced(struct hstate* h) {
  struct list_head fresh;
  INIT_LIST_HEAD(&fresh);
  nodemask_t noretry;
  nodes_clear(noretry);
  int next_node = first_online_node;
  const unsigned long missing = h->max_huge_pages - h->nr_huge_pages;
  for (unsigned long i = 0; i < missing; i++) {
    struct folio* folio =
        AllocPoolHugeFolio(h, &node_states[N_MEMORY], &noretry, &next_node);
    if (!folio) break;
    list_move(&folio->lru, &fresh);
    cond_resched();
  }
  prep_and_add_allocated_folios(h, &fresh);
  return h->nr_huge_pages;
}

// hugetlb_hstate_alloc_pages(), with the hooks that size the pool around the
// pages that are handed over.
void AllocPages(struct hstate* h) {
  if (hstate_is_gigantic(h) && HugetlbCmaTotalSize() && !HugetlbEarlyCma(h)) {
    pr_warn("HugeTLB: hugetlb_cma is enabled, skip boot time allocation\n");
    skipped[hstate_index(h)] = h->max_huge_pages;
    return;
  }
  if (LuoHugetlb()) {
    // HOOK(mm/hugetlb.c, hugetlb_hstate_alloc_pages): hugetlb_luo_boot_begin
    hugetlb_luo_boot_begin(h);
  }
  if (!h->max_huge_pages) return;
  bool done = AllocSpecificNodes(h);
  if (done && LuoHugetlb()) {
    // HOOK(mm/hugetlb.c, hugetlb_hstate_alloc_pages): hugetlb_luo_boot_more
    done = !hugetlb_luo_boot_more(h);
  }
  if (done) return;
  const unsigned long got =
      hstate_is_gigantic(h) ? AllocGiganticBalanced(h) : AllocBalanced(h);
  if (got >= h->max_huge_pages) return;

  char buf[32];
  SizeText(h, buf);
  pr_warn(
      "HugeTLB: allocating %lu of page size %s failed.  Only allocated %lu "
      "hugepages.\n",
      h->max_huge_pages, buf, got);
  h->max_huge_pages = got;
}

// gather_bootmem_prealloc_node().
void GatherNode(int nid) {
  struct BootPage *boot, *next;
  struct list_head* pages = &huge_boot_pages[nid];
  list_for_each_entry_safe(boot, next, pages, list) {
    struct hstate* h = boot->hstate;
    struct page* page = virt_to_page(boot);
    auto* folio = reinterpret_cast<struct folio*>(page);
    VM_BUG_ON(!hstate_is_gigantic(h));
    const unsigned long pfn = page_to_pfn(page);
    InitStructPages(pfn + 1, pages_per_huge_page(h) - 1);  // tail pages
    const bool cma = boot->cma;
    memset(static_cast<void*>(boot), 0, sizeof(*boot));
    atomic_set(&folio->_refcount, 0);
    prep_compound_page(page, huge_page_order(h));
    folio_clear_reserved(folio);
    init_new_hugetlb_folio(folio);
    if (cma) folio_set_hugetlb_cma(folio);
    adjust_managed_page_count(page, pages_per_huge_page(h));
    for (unsigned i = 0; i < pages_per_huge_page(h); i += pageblock_nr_pages)
      SetPageblockType(pfn + i, cma ? MIGRATE_CMA : MIGRATE_MOVABLE);

    VmemmapOptimizeFolio(h, folio);
    spin_lock_irq(&hugetlb_lock);
    AccountNewHugetlbFolio(h, folio);
    EnqueueHugetlbFolio(h, folio);
    spin_unlock_irq(&hugetlb_lock);
  }
  INIT_LIST_HEAD(pages);
}

// hugetlb_init_hstates().
void InitHstates() {
  struct hstate* h;
  for_each_hstate(h) {
    h->next_nid_to_alloc = first_memory_node;
    h->next_nid_to_free = first_memory_node;
    if (!hstate_is_gigantic(h)) AllocPages(h);
    if (LuoHugetlb()) {
      // HOOK(mm/hugetlb.c, hugetlb_init_hstates): hugetlb_luo_boot_end
      hugetlb_luo_boot_end(h);
      // It sets max_huge_pages if there are any.
      if (h->nr_huge_pages) HugetlbForgetSkipped(h);
    }
    HugetlbSetDemoteOrder(h);
  }
}

// report_hugepages().
void ReportHugepages() {
  struct hstate* h;
  for_each_hstate(h) {
    char buf[32];
    SizeText(h, buf);
    pr_info("HugeTLB: registered %s page size, pre-allocated %ld pages\n", buf,
            static_cast<long>(h->nr_huge_pages));
  }
}

// The part of hugetlb_init() about hugepages= without a page size.
void SetDefaultHstate() {
  const HugetlbCmdline& params = HugetlbParams();
  if (params.default_hugepagesz) return;
  default_hstate_idx =
      hstate_index(size_to_hstate(PAGE_SIZE << M().geometry().hpage_order));
  if (!params.default_max_huge_pages) return;
  if (default_hstate.max_huge_pages) {
    char buf[32];
    SizeText(&default_hstate, buf);
    pr_warn("HugeTLB: Ignoring hugepages=%lu associated with %s page size\n",
            default_hstate.max_huge_pages, buf);
    pr_warn("HugeTLB: Using hugepages=%lu for number of default huge pages\n",
            params.default_max_huge_pages);
  }
  default_hstate.max_huge_pages = params.default_max_huge_pages;
  int nid;
  for_each_online_node(nid) {
    default_hstate.max_huge_pages_node[nid] = params.default_in_node[nid];
  }
}

}  // namespace

nodemask_t HugetlbBootmemSetNodes() {
  for (const NodeSpan& span : M().geometry().spans)
    node_set(span.nid, bootmem_nodes);
  return bootmem_nodes;
}

unsigned long HugetlbSkippedAtBoot(const struct hstate* h) {
  return skipped[h - hstates];
}

void HugetlbForgetSkipped(const struct hstate* h) { skipped[h - hstates] = 0; }

// The static data of a fresh kernel.
void HugetlbReset() {
  HugetlbCmaReset();
  HugetlbPoolsReset();
  HugetlbAllocReset();
  HugetlbfsReset();
  VmemmapReset();
  CgroupReset();
  HugetlbParams() = HugetlbCmdline();
  nodes_clear(bootmem_nodes);
  memset(skipped, 0, sizeof(skipped));
  hugetlb_fault_mutex_table = nullptr;
  nr_fault_mutexes = 0;
}

// Follows hugetlb_bootmem_alloc().
void HugetlbBootmemAlloc() {
  HugetlbBootmemSetNodes();
  for (struct list_head& list : huge_boot_pages) INIT_LIST_HEAD(&list);
  HugetlbParseParams(Config().cmdline);
  struct hstate* h;
  for_each_hstate(h) {
    h->next_nid_to_alloc = first_online_node;
    if (hstate_is_gigantic(h)) AllocPages(h);
  }
}

// Follows hugetlb_bootmem_struct_page_init().
void HugetlbStructPageInit() {
  int nid;
  for_each_online_node(nid) { GatherNode(nid); }
}

// Follows x86's gigantic_pages_init() and arm64's hugetlbpage_init(): sizes
// that the command line does not name are known from here on.
void HugetlbArchInit() {
  if (!HugepagesSupported()) return;
  const std::vector<unsigned>& orders = M().geometry().huge_orders;
  for (auto order = orders.rbegin(); order != orders.rend(); ++order) {
    if (HugetlbValidSize(PAGE_SIZE << *order)) hugetlb_add_hstate(*order);
  }
}

// Follows hugetlb_init().
void HugetlbInit() {
  if (!HugepagesSupported()) {
    const HugetlbCmdline& params = HugetlbParams();
    if (hugetlb_max_hstate || params.default_max_huge_pages) {
      pr_warn(
          "HugeTLB: huge pages not supported, ignoring associated "
          "command-line parameters\n");
    }
    if (LuoHugetlb()) {
      // HOOK(mm/hugetlb.c, hugetlb_init): hugetlb_luo_import
      hugetlb_luo_import();
    }
    return;
  }
  // Upstream makes the table last. Here, where a command line may ask for all
  // of a small machine's memory, it comes first.
  hugetlb_fault_mutex_table = static_cast<struct mutex*>(
      kmalloc(kNrFaultMutexes * sizeof(struct mutex), GFP_KERNEL));
  BUG_ON(!hugetlb_fault_mutex_table);
  nr_fault_mutexes = kNrFaultMutexes;
  for (u32 i = 0; i < kNrFaultMutexes; i++)
    sim_mutex_init(&hugetlb_fault_mutex_table[i], "hugetlb_fault_mutex");

  hugetlb_add_hstate(M().geometry().hpage_order);
  SetDefaultHstate();
  if (LuoHugetlb()) {
    // HOOK(mm/hugetlb.c, hugetlb_init): hugetlb_luo_import
    hugetlb_luo_import();
  }
  InitHstates();
  ReportHugepages();
}

}  // namespace sim

extern "C" {

// Follows hugetlb_fault_mutex_hash(); the mapping's physical address stands
// for its pointer, which differs from run to run.
u32 hugetlb_fault_mutex_hash(struct address_space* mapping, pgoff_t idx) {
  const u64 addr = __pa(mapping);
  const u32 key[4] = {static_cast<u32>(addr), static_cast<u32>(addr >> 32),
                      static_cast<u32>(idx), static_cast<u32>(idx >> 32)};
  return jhash2(key, 4, 0) & (sim::nr_fault_mutexes - 1);
}

}  // extern "C"
