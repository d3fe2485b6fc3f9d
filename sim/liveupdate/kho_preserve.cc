// SPDX-License-Identifier: BSD-3-Clause
//
// Preserving and restoring folios and pages, and the questions checkers ask
// about them. Follows kernel/liveupdate/kexec_handover.c.
#include <sim/kernel_api.h>

#include <algorithm>

#include "sim/liveupdate/kho.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/memmap.h"

namespace sim {
namespace {

uint64_t MixKey(uint64_t key) {
  uint64_t x = key + 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint32_t MagicOf(const struct page* page) { return page->private_ >> 32; }
unsigned OrderOf(const struct page* page) {
  return static_cast<uint32_t>(page->private_);
}

bool HasMagic(const struct page* page, unsigned order) {
  return MagicOf(page) == kKhoPageMagic && OrderOf(page) == order;
}

unsigned LargestOrder(uint64_t pfn, uint64_t nr_pages) {
  unsigned order = 63 - __builtin_clzll(nr_pages);
  if (pfn != 0) {
    order = std::min(order, static_cast<unsigned>(__builtin_ctzll(pfn)));
  }
  return order;
}

// Follows __kho_preserve_pages_order(): the largest block that starts at pfn,
// fits and lies on one node.
unsigned PreserveOrder(uint64_t pfn, uint64_t nr_pages) {
  unsigned order = LargestOrder(pfn, nr_pages);
  while (pfn_to_nid(pfn) != pfn_to_nid(pfn + (uint64_t{1} << order) - 1)) {
    --order;
  }
  return order;
}

// Follows kho_init_folio() and kho_init_pages(). Allocation tags are left out,
// and the tail pages of a folio that the memory map never writes: they rest
// with no reference.
void InitPages(struct page* page, unsigned order, bool is_folio) {
  uint64_t nr_pages = uint64_t{1} << order;
  if (is_folio) nr_pages = std::min(nr_pages, kWrittenTails);
  for (uint64_t i = 0; i < nr_pages; ++i) {
    page[i]._refcount.counter = i == 0 || !is_folio ? 1 : 0;
  }
  if (is_folio && order > 0) prep_compound_page(page, order);
}

// Follows kho_restore_page().
struct page* RestorePage(phys_addr_t phys, bool is_folio) {
  struct page* page = pfn_to_online_page(PHYS_PFN(phys));
  if (page == nullptr) return nullptr;
  sim_page_access(page);
  if (WARN_ON(MagicOf(page) != kKhoPageMagic)) return nullptr;
  const unsigned order = OrderOf(page);
  page->private_ = 0;  // a second restore finds no magic
  InitPages(page, order, is_folio);
  adjust_managed_page_count(page, long{1} << order);
  g_kho.unclaimed_pages -= uint64_t{1} << order;
  return page;
}

// Who still reads what was in it finds nothing of use.
void FreeRecord(struct folio* folio) {
  M().memory().Poison(folio_pfn(folio), folio_nr_pages(folio));
  folio_put(folio);
}

}  // namespace

int KhoAddKey(uint64_t pfn, unsigned order) {
  if (M().Fails(FailKind::kKho, "kho_preserve")) return -ENOMEM;
  const uint64_t key = KhoEncodeKey(PFN_PHYS(pfn), order);
  bool added;
  const int err = KhoRadixAdd(&g_kho.out_tree, key, &added);
  if (added) {
    ++g_kho.out_keys.count;
    g_kho.out_keys.hash += MixKey(key);
  }
  return err;
}

void KhoDeleteKey(uint64_t pfn, unsigned order) {
  const uint64_t key = KhoEncodeKey(PFN_PHYS(pfn), order);
  bool removed;
  KhoRadixDelete(&g_kho.out_tree, key, &removed);
  if (removed) {
    --g_kho.out_keys.count;
    g_kho.out_keys.hash -= MixKey(key);
  }
}

// Follows __kho_unpreserve().
void KhoUnpreserveRange(uint64_t pfn, uint64_t nr_pages) {
  const uint64_t end = pfn + nr_pages;
  while (pfn < end) {
    const unsigned order = PreserveOrder(pfn, end - pfn);
    KhoDeleteKey(pfn, order);
    pfn += uint64_t{1} << order;
  }
}

int KhoPreserveRange(uint64_t pfn, uint64_t nr_pages) {
  const uint64_t start = pfn;
  const uint64_t end = pfn + nr_pages;
  while (pfn < end) {
    const unsigned order = PreserveOrder(pfn, end - pfn);
    if (int err = KhoAddKey(pfn, order)) {
      KhoUnpreserveRange(start, pfn - start);
      return err;
    }
    pfn += uint64_t{1} << order;
  }
  return 0;
}

struct folio* KhoRestoreFolio(phys_addr_t phys) {
  struct page* page = RestorePage(phys, /*is_folio=*/true);
  return page != nullptr ? page_folio(page) : nullptr;
}

struct page* KhoRestorePages(phys_addr_t phys, uint64_t nr_pages) {
  const uint64_t start = PHYS_PFN(phys);
  const uint64_t end = start + nr_pages;
  // Where blocks were split at a node's border this asks for larger ones than
  // there are, as the kernel does.
  for (uint64_t pfn = start; pfn < end;) {
    const unsigned order = LargestOrder(pfn, end - pfn);
    if (RestorePage(PFN_PHYS(pfn), /*is_folio=*/false) == nullptr) {
      return nullptr;
    }
    pfn += uint64_t{1} << order;
  }
  return pfn_to_page(start);
}

KhoKeySet KhoOutgoing() { return g_kho.out_keys; }

std::vector<KhoKey> KhoOutgoingKeys() {
  std::vector<KhoKey> keys;
  if (g_kho.out_tree.root == nullptr) return keys;
  keys.reserve(g_kho.out_keys.count);
  KhoRadixWalkUnlocked(
      g_kho.out_tree.root,
      [&](uint64_t key) {
        KhoKey k;
        k.phys = KhoDecodeKey(key, &k.order);
        keys.push_back(k);
        return 0;
      },
      [](uint64_t) { return 0; });
  std::sort(keys.begin(), keys.end());
  return keys;
}

std::vector<uint64_t> KhoOutgoingTreePages() {
  std::vector<uint64_t> pages;
  if (g_kho.out_tree.root == nullptr) return pages;
  KhoRadixWalkUnlocked(
      g_kho.out_tree.root, [](uint64_t) { return 0; },
      [&](uint64_t phys) {
        pages.push_back(PHYS_PFN(phys));
        return 0;
      });
  std::sort(pages.begin(), pages.end());
  return pages;
}

std::vector<KhoKey> KhoUnclaimed() {
  std::vector<KhoKey> keys;
  for (const KhoKey& key : g_kho.in_keys) {
    if (HasMagic(pfn_to_page(PHYS_PFN(key.phys)), key.order)) {
      keys.push_back(key);
    }
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

uint64_t KhoUnclaimedPages() { return g_kho.unclaimed_pages; }

}  // namespace sim

using sim::FailKind;
using sim::g_kho;
using sim::M;

extern "C" {

// Follows kho_preserve_folio() with CONFIG_KEXEC_HANDOVER_DEBUG.
int kho_preserve_folio(struct folio* folio) {
  const uint64_t pfn = folio_pfn(folio);
  const unsigned order = folio_order(folio);
  if (WARN_ON(kho_scratch_overlap(PFN_PHYS(pfn), PAGE_SIZE << order))) {
    return -EINVAL;
  }
  return sim::KhoAddKey(pfn, order);
}

// Follows kho_unpreserve_folio().
void kho_unpreserve_folio(struct folio* folio) {
  sim::KhoDeleteKey(folio_pfn(folio), folio_order(folio));
}

// Follows kho_preserve_pages() with CONFIG_KEXEC_HANDOVER_DEBUG.
int kho_preserve_pages(struct page* page, unsigned long nr_pages) {
  const uint64_t pfn = page_to_pfn(page);
  if (WARN_ON(kho_scratch_overlap(PFN_PHYS(pfn), nr_pages << PAGE_SHIFT))) {
    return -EINVAL;
  }
  return sim::KhoPreserveRange(pfn, nr_pages);
}

// Follows kho_unpreserve_pages().
void kho_unpreserve_pages(struct page* page, unsigned long nr_pages) {
  sim::KhoUnpreserveRange(page_to_pfn(page), nr_pages);
}

// Follows kho_restore_folio(). A planned failure takes nothing: the block can
// be asked for again.
struct folio* kho_restore_folio(phys_addr_t phys) {
  if (M().Fails(FailKind::kKho, "kho_restore_folio")) return nullptr;
  return sim::KhoRestoreFolio(phys);
}

// Follows kho_restore_pages(), with the same remark.
struct page* kho_restore_pages(phys_addr_t phys, unsigned long nr_pages) {
  if (M().Fails(FailKind::kKho, "kho_restore_pages")) return nullptr;
  return sim::KhoRestorePages(phys, nr_pages);
}

// Follows kho_alloc_preserve().
void* kho_alloc_preserve(size_t size) {
  if (size == 0) return ERR_PTR(-EINVAL);
  const unsigned order = get_order(size);
  if (order > MAX_PAGE_ORDER) return ERR_PTR(-E2BIG);
  struct folio* folio = folio_alloc(GFP_KERNEL | __GFP_ZERO, order);
  if (folio == nullptr) return ERR_PTR(-ENOMEM);
  if (int err = kho_preserve_folio(folio)) {
    folio_put(folio);
    return ERR_PTR(err);
  }
  return folio_address(folio);
}

// Follows kho_unpreserve_free().
void kho_unpreserve_free(void* mem) {
  if (mem == nullptr) return;
  struct folio* folio = virt_to_folio(mem);
  kho_unpreserve_folio(folio);
  sim::FreeRecord(folio);
}

// Follows kho_restore_free(). It warns when the restore fails, so that the
// fault plan has no part in it.
void kho_restore_free(void* mem) {
  if (mem == nullptr) return;
  struct folio* folio = sim::KhoRestoreFolio(__pa(mem));
  if (!WARN_ON(folio == nullptr)) sim::FreeRecord(folio);
}

// Follows kho_folio_preserved() as kernel/hooks adds it.
// clang-format off
// HOOK(kernel/liveupdate/kexec_handover.c, kho_folio_preserved): kho_folio_preserved
// clang-format on
bool kho_folio_preserved(phys_addr_t phys, unsigned int order) {
  const struct page* page = pfn_to_online_page(PHYS_PFN(phys));
  if (page == nullptr) return false;
  sim_page_access(page);
  return sim::HasMagic(page, order);
}

}  // extern "C"
