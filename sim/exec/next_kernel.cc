// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/next_kernel.h"

#include <sim/kernel_api.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/handover_table.h"
#include "sim/mm/boot.h"

namespace sim {
namespace {

using model::TableVerdict;
using model::TableView;

// Pages of `h` on the node that are counted, not free, and in no file that this
// kernel has: announced.
int64_t Announced(struct hstate* h, int nid) {
  int64_t in_use = 0;
  const struct list_head* head = &h->hugepage_activelist;
  for (const struct list_head* at = head->next; at != head; at = at->next)
    in_use += folio_nid(list_entry(at, struct folio, lru)) == nid;
  return static_cast<int64_t>(h->nr_huge_pages_node[nid]) -
         h->free_huge_pages_node[nid] - in_use;
}

}  // namespace

std::vector<Violation> CheckAfterCut(const model::Observation& seen) {
  std::vector<Violation> found;
  auto fail = [&found](const char* property, std::string what) {
    found.push_back({property, std::move(what)});
  };
  if (!Config().has_luo_hugetlb) return found;
  const bool live_update = kho_is_enabled() && liveupdate_enabled();
  std::vector<uint64_t> page_sizes;
  struct hstate* h;
  for_each_hstate(h) page_sizes.push_back(huge_page_size(h));

  const TableVerdict verdict = JudgeTable(seen.handed, page_sizes, live_update);
  const bool all_sizes = [&] {
    for (const TableView::File& file : seen.handed.files) {
      bool known = false;
      for_each_hstate(h) known |= huge_page_order(h) == file.order;
      if (!known) return false;
    }
    return live_update;
  }();
  if (all_sizes && (verdict.distrusted || !verdict.refused.empty() ||
                    !verdict.lost.empty())) {
    fail("atomic-import",
         absl::StrCat("a kernel that was cut short left a table that is not "
                      "complete: ",
                      verdict.distrusted ? "its root is wrong, " : "",
                      verdict.refused.size(), " files are wrong, ",
                      verdict.lost.size(), " counts are"));
  }
  // A boot that lacked memory looks later.
  if (seen.fault_injected) return found;
  for_each_hstate(h) {
    std::array<int64_t, model::kMaxNodes> expected{};
    for (const model::HandedFile& file : verdict.accepted) {
      if (file.free || file.page_size != huge_page_size(h)) continue;
      for (const model::HandedPage& page : file.pages)
        ++expected[static_cast<size_t>(
            M().memory().NodeOf(static_cast<uint64_t>(page.frame)))];
    }
    for (int n = 0; n < M().geometry().nodes; ++n) {
      const int64_t is = Announced(h, n);
      if (is == expected[static_cast<size_t>(n)]) continue;
      fail("atomic-import", absl::StrCat(h->name, " node ", n, ": ", is,
                                         " pages are announced, the table has ",
                                         expected[static_cast<size_t>(n)]));
    }
  }
  const bool reported = !seen.after.reported.empty();
  const bool due = verdict.distrusted || !verdict.lost.empty();
  if (reported != due) {
    fail("quarantine", reported ? "a loss was reported, there is none"
                                : "a loss was not reported");
  }
  return found;
}

}  // namespace sim
