// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/watched_page.h"

#include <sim/kernel_api.h>

#include <algorithm>

#include "sim/exec/published.h"
#include "sim/liveupdate/kho.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/liveupdate/kho_radix.h"
#include "sim/machine/machine.h"
#include "sim/mm/owners.h"

extern "C" {
#include <linux/hugetlb_luo.h>
}

namespace sim {
namespace {

using model::PageSight;
using model::Sight;

constexpr int kPages = 3;

// A huge page that begins at that frame, or null.
struct folio* HugePageAt(int64_t frame, unsigned order) {
  const auto pfn = static_cast<uint64_t>(frame);
  if (!M().memory().Exists(pfn)) return nullptr;
  struct folio* folio = page_folio(pfn_to_page(pfn));
  return folio_test_hugetlb(folio) && folio_pfn(folio) == pfn &&
                 folio_order(folio) == order
             ? folio
             : nullptr;
}

bool HasKey(int64_t frame, unsigned order) {
  if (!g_kho.enable || g_kho.out_tree.root == nullptr) return false;
  const uint64_t phys = static_cast<uint64_t>(frame) << PAGE_SHIFT;
  return KhoRadixContains(g_kho.out_tree, KhoEncodeKey(phys, order));
}

bool Has(const std::vector<KhoKey>& keys, int64_t frame, unsigned order) {
  const KhoKey key{static_cast<uint64_t>(frame) << PAGE_SHIFT, order};
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// Free pages of this size are to be handed over.
bool Wanted(unsigned order) {
  struct hstate* h = size_to_hstate(PAGE_SIZE << order);
  return h != nullptr && hugetlb_luo_preserves_free(h);
}

}  // namespace

bool HeldAside(int64_t frame) {
  const auto* folio = reinterpret_cast<const struct folio*>(
      pfn_to_page(static_cast<uint64_t>(frame)));
  return folio_test_hugetlb(folio) &&
         folio->_refcount.counter > int{folio_test_hwpoison(folio)} &&
         folio->mapping == nullptr && folio->_pincount.counter == 0;
}

Sight::Refused RefusedOf(const model::Observation& seen) {
  int64_t refused = 0;
  for (const model::Reserved& each : seen.after.quarantined)
    refused += each.count;
  return refused == 0 ? Sight::kNotRefused
         : refused == static_cast<int64_t>(seen.after.unclaimed.size())
             ? Sight::kRefused
             : Sight::kUnknown;
}

PageSight::Kind WatchedPage::KindNow() const {
  struct folio* folio = HugePageAt(frame_, order_);
  if (folio == nullptr) return PageSight::kElsewhere;
  // Nobody gets one with a memory error.
  if (folio_test_hugetlb_freed(folio))
    return folio_test_hwpoison(folio) ? PageSight::kElsewhere
                                      : PageSight::kFree;
  // A page that is made or that is unmade has no reference, nor has one that is
  // on its way back.
  if (folio->_refcount.counter == 0)
    return kind_ == PageSight::kUsed ? kind_ : PageSight::kElsewhere;
  if (came_ && HeldAside(frame_)) return PageSight::kElsewhere;
  return PageSight::kUsed;
}

// As for hugetlb_luo_prepare_free() and hugetlb_luo_still_free().
bool WatchedPage::Fits() const {
  const uint64_t phys = static_cast<uint64_t>(frame_) << PAGE_SHIFT;
  if (maybe_new_ || kho_scratch_overlap(phys, PAGE_SIZE << order_))
    return false;
  struct folio* folio = HugePageAt(frame_, order_);
  return folio == nullptr ||
         (!folio_test_hwpoison(folio) && !folio_test_hugetlb_cma(folio) &&
          folio_is_longterm_pinnable(folio));
}

// Of what is KHO's something else lies here, too.
bool WatchedPage::HasOthers() const {
  const int64_t end = frame_ + (int64_t{1} << order_);
  for (const KhoKey& key : KhoOutgoingKeys()) {
    const auto first = static_cast<int64_t>(key.phys >> PAGE_SHIFT);
    if (first == frame_ && key.order == order_) continue;
    if (first < end && first + (int64_t{1} << key.order) > frame_) return true;
  }
  for (const uint64_t pfn : KhoOutgoingTreePages()) {
    const auto frame = static_cast<int64_t>(pfn);
    if (frame >= frame_ && frame < end) return true;
  }
  return false;
}

PageSight WatchedPage::During(bool reboots) {
  PageSight sight;
  sight.kind = kind_ = KindNow();
  sight.unfit = !Fits();
  const FreeList list = reboots ? PublishedFree(order_, frame_) : FreeList();
  sight.list = list.is;
  sight.listed = list.has;
  sight.meta = list.has && HasOthers();
  unwanted_ = reboots && (unwanted_ || !Wanted(order_));
  sight.may_fail =
      M().fault_fired() || M().shortage() || sight.unfit || unwanted_;
  sight.more_keys = MoreKeys(reboots);
  sight.key = (kind_ != PageSight::kElsewhere || list.has) && key_;
  return sight;
}

// Since the last time, and not counting its own, which KHO counts a moment
// after it has it.
bool WatchedPage::MoreKeys(bool reboots) {
  const bool key = HasKey(frame_, order_);
  const auto keys = static_cast<int64_t>(KhoOutgoing().count);
  int64_t more = keys - keys_;
  own_ += int{key} - int{key_};
  if ((own_ > 0 && more > 0) || (own_ < 0 && more < 0)) {
    more -= own_;
    own_ = 0;
  }
  key_ = key;
  keys_ = keys;
  return reboots && more > 0;
}

PageSight WatchedPage::AtStop() {
  PageSight sight = During(/*reboots=*/true);
  sight.recorded = PublishedInFile(order_, frame_);
  // What is the kernel's may have been preserved for itself.
  const Owner owner = OwnerOf(static_cast<uint64_t>(frame_));
  sight.stray = sight.kind == PageSight::kElsewhere && !sight.listed &&
                owner != Owner::kKernel && key_;
  return sight;
}

PageSight WatchedPage::AtRest(const Executor& executor,
                              const model::Observation& seen) {
  const struct folio* folio = HugePageAt(frame_, order_);
  PageSight sight = AtStop();
  if (sight.kind == PageSight::kFree ||
      (folio != nullptr && folio->mapping != nullptr))
    came_ = false;
  const bool of_kho = Has(executor.handed_over(), frame_, order_);
  sight.held =
      of_kho || (came_ && folio != nullptr &&
                 Has(executor.claimed(), frame_, order_) && HeldAside(frame_));
  if (of_kho) sight.refused = RefusedOf(seen);
  // What is damaged is refused when somebody looks.
  sight.may_fail = seen.fault_injected || (came_ && damaged_);
  unwanted_ = false;
  return sight;
}

void WatchedPage::Booted(bool waits, bool damaged) {
  came_ = waits;
  damaged_ = damaged;
  kind_ = PageSight::kElsewhere;
  maybe_new_ = key_ = false;
  keys_ = own_ = 0;
}

bool WatchedPage::HasError(const Executor& executor) const {
  const auto& errors = executor.user().errors();
  return std::any_of(errors.begin(), errors.end(), [this](const BadFrame& bad) {
    return static_cast<int64_t>(bad.pfn) >> order_ == frame_ >> order_;
  });
}

std::vector<WatchedPage> ChoosePages(uint64_t seed) {
  auto roll = [&seed](uint64_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
  };
  std::vector<WatchedPage> free, chosen;
  std::vector<unsigned> orders;
  const struct hstate* h;
  for_each_hstate(h) {
    orders.push_back(h->order);
    for (int n = 0; n < M().geometry().nodes; ++n) {
      const struct list_head* head = &h->hugepage_freelists[n];
      for (const struct list_head* at = head->next; at != head; at = at->next)
        free.emplace_back(
            static_cast<int64_t>(folio_pfn(list_entry(at, struct folio, lru))),
            h->order);
    }
  }
  if (orders.empty()) return chosen;
  for (int i = 0; i < kPages; ++i) {
    if (!free.empty() && roll(8) != 0) {
      chosen.push_back(free[roll(free.size())]);
      continue;
    }
    const unsigned order = orders[roll(orders.size())];
    const uint64_t nr = M().memory().end_pfn() >> order;
    if (nr > 0)
      chosen.emplace_back(static_cast<int64_t>(roll(nr) << order), order);
  }
  return chosen;
}

}  // namespace sim
