// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/memory_errors.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "sim/liveupdate/kexec.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/machine/machine.h"
#include "sim/mm/memory_failure.h"

namespace sim {
namespace {

using ::handover::model::BadMemory;
using ::handover::model::Observation;
using ::handover::model::TableVerdict;
using ::handover::model::TableView;

// Of more frames than that, only some are looked at.
constexpr uint64_t kAllOf = 64;

std::vector<uint64_t> SomeOf(uint64_t from, uint64_t to) {
  std::vector<uint64_t> frames;
  const uint64_t step = std::max<uint64_t>(1, (to - from) / kAllOf);
  for (uint64_t pfn = from; pfn < to; pfn += step) frames.push_back(pfn);
  if (frames.back() != to - 1) frames.push_back(to - 1);
  return frames;
}

std::vector<BadMemory> Spans(const MemblockType& type) {
  std::vector<BadMemory> spans;
  for (const MemblockRegion& region : type.regions) {
    const BadMemory span{PHYS_PFN(region.base), PFN_UP(region.end())};
    if (!spans.empty() && spans.back().to >= span.from)
      spans.back().to = std::max(spans.back().to, span.to);
    else
      spans.push_back(span);
  }
  return spans;
}

}  // namespace

ErrorWatch::~ErrorWatch() {
  if (seen_ != nullptr) SetBootObserver(nullptr);
}

bool ErrorWatch::Held(uint64_t from, uint64_t to) const {
  const auto at = std::upper_bound(
      held_.begin(), held_.end(), from,
      [](uint64_t pfn, const BadMemory& span) { return pfn < span.to; });
  return at != held_.end() && at->from < to;
}

// In a huge page.
bool ErrorWatch::Comes(uint64_t pfn) const {
  return std::any_of(
      handed_over_.begin(), handed_over_.end(), [pfn](const KhoKey& key) {
        const uint64_t first = key.phys >> PAGE_SHIFT;
        return first <= pfn && pfn - first < uint64_t{1} << key.order;
      });
}

void ErrorWatch::Start(const std::vector<KhoKey>& handed_over,
                       Observation* seen) {
  if (seen->handed.errors.empty()) return;
  seen_ = seen;
  handed_over_ = handed_over;
  for (const KhoKey& key : KhoOutgoingKeys())
    held_.push_back({key.phys >> PAGE_SHIFT,
                     (key.phys >> PAGE_SHIFT) + (uint64_t{1} << key.order)});
  std::sort(held_.begin(), held_.end(),
            [](const BadMemory& a, const BadMemory& b) { return a.to < b.to; });
  std::set<uint64_t> known;
  for (const TableView::Error& error : seen->handed.errors) {
    const uint64_t from = error.address >> PAGE_SHIFT;
    const uint64_t to = std::min(from + error.pages, M().memory().end_pfn());
    if (!error.right || from >= to) continue;
    for (const KhoKey& key : handed_over_) {
      BadFrame bad;
      bad.first = key.phys >> PAGE_SHIFT;
      bad.order = key.order;
      bad.generation = M().generation;
      const uint64_t end = bad.first + (uint64_t{1} << key.order);
      if (bad.first >= to || end <= from) continue;
      const uint64_t begin = std::max(bad.first, from);
      bad.wide = std::min(end, to) - begin > kAllOf;
      for (uint64_t pfn : SomeOf(begin, std::min(end, to))) {
        bad.pfn = pfn;
        if (known.insert(pfn).second) named_.push_back(bad);
      }
    }
    for (uint64_t pfn : SomeOf(from, to)) {
      if (!M().memory().Exists(pfn) || Held(pfn, pfn + 1) ||
          kho_scratch_overlap(PFN_PHYS(pfn), PAGE_SIZE) ||
          !known.insert(pfn).second)
        continue;
      // Or whoever clears it later is not seen to.
      M().memory().MarkDirty(pfn);
      BadFrame bad;
      bad.pfn = bad.first = pfn;
      bad.generation = M().generation;
      bad.loose = true;
      named_.push_back(bad);
    }
  }
  // How many there are in a page is known if all of them are looked at.
  for (BadFrame& bad : named_)
    bad.wide |= std::any_of(named_.begin(), named_.end(),
                            [&bad](const BadFrame& other) {
                              return other.wide && other.first == bad.first;
                            });
  SetBootObserver([this](std::string_view stage) {
    if (stage == "kho") LookAtMemblock();
    if (stage == "errors") SeeReserved();
  });
}

void ErrorWatch::LookAtMemblock() {
  before_ = TheMemblock().reserved;
  for (TableView::Error& error : seen_->handed.errors) {
    const uint64_t bytes = uint64_t{error.pages} << PAGE_SHIFT;
    error.memory = memblock_is_region_memory(error.address, bytes);
    error.scratch = kho_scratch_overlap(error.address, bytes);
    error.owned = memblock_is_region_reserved(error.address, bytes);
  }
}

void ErrorWatch::SeeReserved() {
  seen_->errors_watched = true;
  seen_->reserved_before = Spans(before_);
  seen_->reserved = Spans(TheMemblock().reserved);
}

void ErrorWatch::CheckMarks(const TableVerdict& verdict) const {
  if (seen_ == nullptr) return;
  // Also in pages of files that turn out to be refused.
  auto may_be_bad = [&](uint64_t pfn) {
    if (!Held(pfn, pfn + 1))
      return std::any_of(verdict.kept_away.begin(), verdict.kept_away.end(),
                         [pfn](const BadMemory& m) {
                           return m.nobodys && m.from <= pfn && pfn < m.to;
                         });
    return Comes(pfn) &&
           std::any_of(seen_->handed.errors.begin(), seen_->handed.errors.end(),
                       [pfn](const TableView::Error& error) {
                         const uint64_t from = error.address >> PAGE_SHIFT;
                         return error.right && from <= pfn &&
                                pfn - from < error.pages;
                       });
  };
  std::set<uint64_t> marked;
  bool in_files = false;
  for (const TableView::Error& error : seen_->handed.errors) {
    const uint64_t from = error.address >> PAGE_SHIFT;
    const uint64_t to = std::min(from + error.pages, M().memory().end_pfn());
    for (uint64_t pfn = from; pfn < to; ++pfn) {
      if (!M().memory().Exists(pfn)) continue;
      in_files |= Comes(pfn);
      if (!PageHWPoison(pfn_to_page(pfn)) || !marked.insert(pfn).second ||
          may_be_bad(pfn))
        continue;
      M().Report(
          "metadata",
          absl::StrCat("frame ", pfn, " is taken for one with a memory error"));
    }
  }
  // Those of huge pages may be one for all of it.
  if (!in_files && PoisonedPages() != marked.size())
    M().Report("counters",
               absl::StrCat(PoisonedPages(), " frames count as bad, ",
                            marked.size(), " are marked"));
}

std::vector<BadFrame> ErrorWatch::Believed(const TableVerdict& verdict) const {
  std::vector<BadFrame> believed;
  for (BadFrame bad : named_) {
    const std::vector<BadMemory>& from =
        bad.loose ? verdict.kept_away : verdict.bad;
    const auto entry =
        std::find_if(from.begin(), from.end(), [&bad](const BadMemory& m) {
          return m.from <= bad.pfn && bad.pfn < m.to &&
                 (!bad.loose || m.nobodys);
        });
    if (entry == from.end()) continue;
    // Of a page that is bad as a whole nobody else has a part.
    bad.passed_on = !Held(entry->from, entry->to);
    believed.push_back(bad);
  }
  return believed;
}

}  // namespace sim
