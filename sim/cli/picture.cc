// SPDX-License-Identifier: BSD-3-Clause
//
// Collects what a picture shows. picture_dot.cc draws it.
#include "sim/cli/picture.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sim/exec/describe.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/machine.h"

namespace sim::cli {
namespace {

namespace model = ::handover::model;

UsedPage PageOf(const struct folio* folio, unsigned order, Use use) {
  UsedPage page;
  page.pfn = folio_pfn(folio);
  page.frames = uint64_t{1} << order;
  page.node = folio_nid(folio);
  page.use = use;
  return page;
}

// Inodes that an outgoing session holds.
std::set<uint64_t> PreservedInodes() {
  std::set<uint64_t> inodes;
  if (g_luo.outgoing.list.next == nullptr) return inodes;
  LuoSession* session;
  list_for_each_entry(session, &g_luo.outgoing.list, list) {
    LuoFile* file;
    list_for_each_entry(file, &session->files.files, list) {
      if (file->file != nullptr) inodes.insert(file_inode(file->file)->i_ino);
    }
  }
  return inodes;
}

std::string FileLabel(const std::string& label) {
  return label.substr(0, label.find('['));
}

}  // namespace

Picture::Picture(const model::History& history) : history_(history) {}

// Announced pages and quarantined ones look the same from outside, but their
// numbers are known, and a file is refused as a whole.
void Picture::AddHandedOver(const model::Observation& seen,
                            const Executor& executor,
                            std::vector<UsedPage>* pages) {
  std::vector<UsedPage> held;
  std::map<std::pair<uint64_t, std::string>, std::map<int, int64_t>> files;
  for (const KhoKey& key : executor.handed_over()) {
    UsedPage page;
    page.pfn = key.phys >> PAGE_SHIFT;
    page.frames = uint64_t{1} << key.order;
    page.node = M().memory().NodeOf(page.pfn);
    page.use = Use::kUnclaimed;
    page.label = labels_[page.pfn];
    ++files[{page.frames, FileLabel(page.label)}][page.node];
    held.push_back(std::move(page));
  }
  std::map<uint64_t, std::map<int, int64_t>> quarantined;
  for (const model::Reserved& r : seen.after.quarantined)
    if (r.count > 0) quarantined[r.page_size >> PAGE_SHIFT][r.node] += r.count;
  std::set<std::pair<uint64_t, std::string>> refused;
  for (const auto& [frames, counts] : quarantined) {
    std::vector<std::pair<uint64_t, std::string>> keys;
    for (const auto& [key, unused] : files)
      if (key.first == frames) keys.push_back(key);
    const size_t bits = std::min<size_t>(keys.size(), 12);
    for (uint64_t mask = 1; mask < uint64_t{1} << bits; ++mask) {
      std::map<int, int64_t> sum;
      for (size_t i = 0; i < bits; ++i)
        if (mask >> i & 1)
          for (const auto& [node, count] : files[keys[i]]) sum[node] += count;
      if (sum != counts) continue;
      for (size_t i = 0; i < bits; ++i)
        if (mask >> i & 1) refused.insert(keys[i]);
      break;
    }
  }
  for (UsedPage& page : held) {
    if (refused.count({page.frames, FileLabel(page.label)}))
      page.use = Use::kQuarantined;
    pages->push_back(std::move(page));
  }
}

std::vector<UsedPage> Picture::Pages(const model::Observation& seen,
                                     const Executor& executor) {
  std::vector<UsedPage> pages;
  if (executor.dead()) return pages;
  std::map<uint64_t, Use> known;
  const std::set<uint64_t> preserved = PreservedInodes();
  for (const model::FileView& file : seen.after.files) {
    const bool holds = preserved.count(file.inode) > 0;
    for (uint32_t i = file.pages_begin; i < file.pages_end; ++i) {
      const model::PageView& view = seen.after.pages[i];
      UsedPage page;
      page.pfn = static_cast<uint64_t>(view.frame);
      page.frames = file.page_size >> PAGE_SHIFT;
      page.node = view.node;
      page.use = holds ? Use::kPreserved : Use::kFile;
      if (!known.emplace(page.pfn, page.use).second) continue;
      // A file that has no name any more keeps the one it had.
      std::string name = file.name >= 0 ? absl::StrCat("f", file.name)
                                        : FileLabel(labels_[page.pfn]);
      if (name.empty()) name = "?";
      page.label = absl::StrCat(name, "[", view.index, "]");
      pages.push_back(std::move(page));
    }
  }
  struct hstate* h;
  for_each_hstate(h) {
    const unsigned order = huge_page_order(h);
    auto add = [&](const struct list_head* head, Use use) {
      for (const struct list_head* at = head->next; at != head; at = at->next) {
        UsedPage page = PageOf(list_entry(at, struct folio, lru), order, use);
        if (known.emplace(page.pfn, use).second)
          pages.push_back(std::move(page));
      }
    };
    for (int n = 0; n < M().geometry().nodes; ++n)
      add(&h->hugepage_freelists[n], Use::kFree);
    add(&h->hugepage_activelist, Use::kOther);
  }
  AddHandedOver(seen, executor, &pages);
  for (const UsedPage& page : pages)
    if (!page.label.empty()) labels_[page.pfn] = page.label;
  std::sort(pages.begin(), pages.end(),
            [](const UsedPage& a, const UsedPage& b) { return a.pfn < b.pfn; });
  return pages;
}

void Picture::Add(int64_t step, const model::Command* command,
                  const model::Observation& seen, const Executor& executor) {
  PictureRow row;
  row.step = step;
  if (command != nullptr) {
    row.text = model::Print(*command);
    // With what it lacks, "no-option" and the like.
    constexpr std::string_view kLoad = "loader load";
    if (command->verb == model::Verb::kLoad)
      loaded_ = row.text.substr(kLoad.size());
    row.result = Describe(seen.outcome);
    // " -> -EBUSY (frame ...)": the frame shows where it is.
    row.result = row.result.substr(0, row.result.find(" (frame"));
    if (row.result.rfind(" -> ", 0) == 0) row.result.erase(0, 4);
    row.failed = !seen.outcome.ok();
    if (seen.outcome.frame >= 0) {
      row.touched = static_cast<uint64_t>(seen.outcome.frame);
      switch (command->verb) {
        case model::Verb::kWrite:
          row.touch = "write";
          break;
        case model::Verb::kRead:
          row.touch = "read";
          break;
        case model::Verb::kDev:
          row.touch = "dma";
          break;
        default:
          break;
      }
    }
  }
  if (seen.fault_injected) row.notes.push_back("a call failed by plan");
  for (const model::Observation::During& during : seen.during)
    if (during.started)
      row.notes.push_back(absl::StrCat("during it:", Describe(during.outcome)));
  if (seen.shortage_reported)
    row.notes.push_back("the kernel reports missing huge pages");
  if (seen.warned) row.notes.push_back(seen.message);

  const bool first = kernels_.empty();
  if (first || seen.rebooted) {
    PictureKernel kernel;
    kernel.number = seen.after.generation;
    kernel.command_line = first ? history_.command_line : loaded_;
    kernel.how = first                                  ? "power on"
                 : command->verb == model::Verb::kPower ? "power cut"
                                                        : "kexec";
    if (!first) {
      // The command itself is the old kernel's last.
      PictureRow last = row;
      last.pages = kernels_.back().rows.back().pages;
      kernels_.back().rows.push_back(std::move(last));
      row.notes.clear();
    }
    row.text = "(boot)";
    row.result.clear();
    row.touch.clear();
    row.failed = false;
    kernels_.push_back(std::move(kernel));
  }
  row.pages = Pages(seen, executor);
  kernels_.back().rows.push_back(std::move(row));
}

void Picture::AddFindings(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    PictureRow* at = nullptr;
    for (PictureKernel& kernel : kernels_)
      for (PictureRow& row : kernel.rows)
        if (row.step == finding.step || finding.step == kTeardownStep)
          at = &row;
    if (at == nullptr) continue;
    at->broke = true;
    at->notes.push_back(
        absl::StrCat("BROKEN ", finding.property, ": ", finding.what));
  }
}

}  // namespace sim::cli
