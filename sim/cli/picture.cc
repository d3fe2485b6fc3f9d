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
#include "sim/liveupdate/kho_internal.h"
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
std::set<uint64_t> HeldInodes() {
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

std::vector<UsedPage> PoolPages() {
  std::vector<UsedPage> pages;
  struct hstate* h;
  for_each_hstate(h) {
    const unsigned order = huge_page_order(h);
    auto add = [&pages, order](const struct list_head* head, Use use) {
      for (const struct list_head* at = head->next; at != head; at = at->next)
        pages.push_back(PageOf(list_entry(at, struct folio, lru), order, use));
    };
    for (int n = 0; n < M().geometry().nodes; ++n)
      add(&h->hugepage_freelists[n], Use::kFree);
    add(&h->hugepage_activelist, Use::kOther);
  }
  return pages;
}

Insight LookInside() {
  Insight insight;
  insight.held_inodes = HeldInodes();
  if (g_kho.enable && g_kho.out_fdt != nullptr) insight.kho = KhoOutgoingKeys();
  insight.pools = PoolPages();
  return insight;
}

bool KhoHolds(const Insight& insight, const UsedPage& page) {
  const auto order = static_cast<unsigned>(__builtin_ctzll(page.frames));
  return std::binary_search(insight.kho.begin(), insight.kho.end(),
                            KhoKey{page.pfn << PAGE_SHIFT, order});
}

// Of several about one page the first counts.
void Sort(std::vector<UsedPage>* pages) {
  auto before = [](const UsedPage& a, const UsedPage& b) {
    return a.pfn < b.pfn;
  };
  std::stable_sort(pages->begin(), pages->end(), before);
  pages->erase(std::unique(pages->begin(), pages->end(),
                           [](const UsedPage& a, const UsedPage& b) {
                             return a.pfn == b.pfn;
                           }),
               pages->end());
}

std::string FileLabel(const std::string& label) {
  return label.substr(0, label.find('['));
}

}  // namespace

Picture::Picture(const model::History& history) : history_(history) {}

// Announced pages and quarantined ones look the same from outside, but their
// numbers are known, and a file is refused as a whole.
void Picture::AddHandedOver(const model::Snapshot& seen,
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
  for (const model::Reserved& r : seen.quarantined)
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

void Picture::AddFiles(const model::Snapshot& seen, const Insight& insight,
                       std::vector<UsedPage>* pages) const {
  for (const model::FileView& file : seen.files) {
    const bool held = insight.held_inodes.count(file.inode) > 0;
    for (uint32_t i = file.pages_begin; i < file.pages_end; ++i) {
      const model::PageView& view = seen.pages[i];
      UsedPage page;
      page.pfn = static_cast<uint64_t>(view.frame);
      page.frames = file.page_size >> PAGE_SHIFT;
      page.node = view.node;
      page.use = !held                     ? Use::kFile
                 : KhoHolds(insight, page) ? Use::kPreserved
                                           : Use::kNotYet;
      // A file that has no name any more keeps the one it had.
      auto known = labels_.find(page.pfn);
      std::string name = file.name >= 0           ? absl::StrCat("f", file.name)
                         : known == labels_.end() ? ""
                                                  : FileLabel(known->second);
      if (name.empty()) name = "?";
      page.label = absl::StrCat(name, "[", view.index, "]");
      pages->push_back(std::move(page));
    }
  }
}

std::vector<UsedPage> Picture::Pages(const model::Snapshot& seen,
                                     const Executor& executor) {
  std::vector<UsedPage> pages;
  if (executor.dead()) return pages;
  const Insight insight = LookInside();
  AddFiles(seen, insight, &pages);
  pages.insert(pages.end(), insight.pools.begin(), insight.pools.end());
  AddHandedOver(seen, executor, &pages);
  Sort(&pages);
  for (const UsedPage& page : pages)
    if (!page.label.empty()) labels_[page.pfn] = page.label;
  return pages;
}

void Picture::NoteHandover() { at_handover_ = LookInside(); }

std::vector<UsedPage> Picture::PagesAtHandover(
    const model::Snapshot& before) const {
  std::vector<UsedPage> pages;
  AddFiles(before, *at_handover_, &pages);
  pages.insert(pages.end(), at_handover_->pools.begin(),
               at_handover_->pools.end());
  // What this kernel was handed itself and nobody asked for.
  for (const UsedPage& page : kernels_.back().rows.back().pages)
    if (page.use == Use::kUnclaimed || page.use == Use::kQuarantined)
      pages.push_back(page);
  Sort(&pages);
  return pages;
}

void Picture::AddNotes(const model::Command* command,
                       const model::Observation& seen, PictureRow* row) {
  if (command != nullptr && command->verb == model::Verb::kDuring)
    planned_.push_back(model::Print(command->inner[0]));
  if (seen.fault_injected) row->notes.push_back("a call failed by plan");
  for (size_t i = 0; i < seen.during.size(); ++i) {
    const model::Observation::During& during = seen.during[i];
    row->notes.push_back(absl::StrCat(
        "meanwhile ", i < planned_.size() ? planned_[i] : "",
        during.started ? Describe(during.outcome) : " -> never started",
        during.waited && during.outcome.kind != model::Outcome::Kind::kBlocked
            ? ", after a wait"
            : ""));
  }
  if (!seen.during.empty()) planned_.clear();
  for (const model::Observation::Finished& finished : seen.finished)
    row->notes.push_back(absl::StrCat("what waited since ", finished.command,
                                      Describe(finished.outcome)));
  if (seen.shortage_reported)
    row->notes.push_back("the kernel reports missing huge pages");
  if (seen.warned) row->notes.push_back(seen.message);
}

PictureRow Picture::Row(int64_t step, const model::Command* command,
                        const model::Observation& seen) {
  PictureRow row;
  row.step = step;
  AddNotes(command, seen, &row);
  if (command == nullptr) return row;
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
  if (seen.outcome.frame < 0) return row;
  row.touched = static_cast<uint64_t>(seen.outcome.frame);
  row.touch = command->verb == model::Verb::kDev
                  ? "dma"
                  : std::string(model::VerbName(command->verb));
  return row;
}

// The command itself is the old kernel's last; what is left in `row` is the
// boot.
void Picture::NextKernel(const model::Command* command,
                         const model::Observation& seen, PictureRow* row) {
  const bool first = kernels_.empty();
  PictureKernel kernel;
  kernel.number = seen.after.generation;
  kernel.command_line = first ? history_.command_line : loaded_;
  kernel.how = first                                  ? "power on"
               : command->verb == model::Verb::kPower ? "power cut"
                                                      : "kexec";
  if (!first) {
    PictureRow last = *row;
    last.pages = at_handover_ ? PagesAtHandover(seen.before)
                              : kernels_.back().rows.back().pages;
    kernels_.back().rows.push_back(std::move(last));
    row->notes.clear();
  }
  at_handover_.reset();
  row->text = "(boot)";
  row->result.clear();
  row->touch.clear();
  row->failed = false;
  kernels_.push_back(std::move(kernel));
}

void Picture::Add(int64_t step, const model::Command* command,
                  const model::Observation& seen, const Executor& executor) {
  PictureRow row = Row(step, command, seen);
  if (kernels_.empty() || seen.rebooted) NextKernel(command, seen, &row);
  row.pages = Pages(seen.after, executor);
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
