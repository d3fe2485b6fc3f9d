// SPDX-License-Identifier: BSD-3-Clause
#include "model/handover_table.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <set>
#include <utility>

#include "model/history.h"

namespace handover::model {
namespace {

using Count = TableView::Count;

constexpr unsigned kPageShift = 12;
constexpr unsigned kOrders = 64 - kPageShift;
constexpr uint64_t kMaxCounts = 4096;
constexpr size_t kErrors = 128;  // that the list has room for
constexpr uint32_t kModes = 07777;
constexpr uint32_t kSeals = kSealSeal | kSealShrink | kSealGrow | kSealWrite |
                            kSealFutureWrite | kSealExec;
constexpr uint32_t kFlagFree = 1;
constexpr uint64_t kMaxFileSize = std::numeric_limits<int64_t>::max();

uint64_t Pages(const std::vector<Count>& counts, uint32_t order,
               uint32_t node) {
  uint64_t pages = 0;
  for (const Count& c : counts)
    if (c.order == order && c.node == node) pages += c.pages;
  return pages;
}

bool Before(const Count& a, const Count& b) {
  return a.order != b.order ? a.order < b.order : a.node < b.node;
}

// Every number is one that this machine may have, none is given twice.
bool Plausible(const TableView& table) {
  uint64_t sum = 0;  // of that size
  for (size_t i = 0; i < table.counts.size(); ++i) {
    const Count& c = table.counts[i];
    if (i == 0 || c.order != table.counts[i - 1].order) sum = 0;
    if (c.order >= kOrders || c.pages > (table.end_frame >> c.order) - sum ||
        (i > 0 && !Before(table.counts[i - 1], c)))
      return false;
    sum += c.pages;
  }
  return true;
}

using Runs = std::vector<const TableView::Run*>;

// Why a page that is named as one of the table's cannot be one. A page of
// somebody else's was preserved, and may have been given back since.
bool Strange(bool held, bool magic, std::set<int>* errors) {
  if (!held || !magic) errors->insert(ENXIO);
  if (held && !magic) errors->insert(EINVAL);
  return !held || !magic;
}

void CheckOwners(const TableView::File& file, std::set<int>* errors) {
  for (size_t i = 0; i < file.owners.size(); ++i) {
    const TableView::Owner& owner = file.owners[i];
    if (Strange(owner.held, owner.magic, errors)) return;
    if (!owner.checksum || !owner.ended || owner.nr != i + 1) {
      errors->insert(EINVAL);
      return;
    }
  }
  if (file.owners.size() != file.nr_owners || file.owners_end != 0)
    errors->insert(EINVAL);
}

Owners OwnersOf(const TableView::File& file, const TableView::Run& run) {
  return run.owner == 0 ? Owners{} : file.owners[run.owner - 1].path;
}

// The runs of a list of blocks, as far as it is right.
void Collect(const TableView::Chain& chain, uint64_t nr_owners, Runs* runs,
             std::set<int>* errors) {
  for (const TableView::Block& block : chain.blocks) {
    if (Strange(block.held, block.magic, errors)) return;
    bool right = block.checksum && block.nr_runs != 0 &&
                 block.nr_runs == block.runs.size();
    for (size_t i = 0; right && i < block.runs.size(); ++i) {
      const TableView::Run& run = block.runs[i];
      right = run.pages != 0 && run.owner <= nr_owners;
      if (right) runs->push_back(&run);
    }
    if (!right) {
      errors->insert(EINVAL);
      return;
    }
  }
  if (chain.circular) errors->insert(EINVAL);
}

uint64_t Sum(const Runs& runs) {
  uint64_t sum = 0;
  for (const TableView::Run* run : runs) sum += run->pages;
  return sum;
}

// How many indices of `runs` are in `others`, too. Both ascend.
uint64_t InBoth(const Runs& runs, const Runs& others) {
  uint64_t both = 0;
  size_t first = 0;  // of the others that may have something in common
  for (const TableView::Run* run : runs) {
    const uint64_t end = run->index + run->pages;
    while (first < others.size() &&
           others[first]->index + others[first]->pages <= run->index)
      ++first;
    for (size_t i = first; i < others.size() && others[i]->index < end; ++i)
      both += std::min(end, others[i]->index + others[i]->pages) -
              std::max(run->index, others[i]->index);
  }
  return both;
}

// What is counted as reserved has no page.
bool ReservedRight(const TableView::File& file, const Runs& resv,
                   const Runs& runs, const Runs& late) {
  return Sum(resv) - InBoth(resv, runs) - InBoth(resv, late) == file.nr_resv &&
         std::all_of(resv.begin(), resv.end(),
                     [](const TableView::Run* run) { return run->frame == 0; });
}

// Both lists ascend; in the order of the file they do so together.
bool Ascending(const Runs& runs, uint64_t end) {
  uint64_t next = 0;
  for (const TableView::Run* run : runs) {
    if (run->index < next) return false;
    next = run->index + run->pages;
    if (next > end) return false;
  }
  return true;
}

// Each node's pages once, and all together.
bool AddUp(const TableView::File& file) {
  uint64_t left = file.nr_pages;
  for (size_t i = 0; i < file.counts.size(); ++i) {
    const Count& c = file.counts[i];
    if (c.order != file.order || c.pages == 0 || c.pages > left) return false;
    if (i > 0 && c.node <= file.counts[i - 1].node) return false;
    left -= c.pages;
  }
  return left == 0;
}

// Of free pages there is nothing to say that has to do with a file.
bool OnlyPages(const TableView::File& file) {
  return file.size == 0 && file.position == 0 && file.seals == 0 &&
         file.mode == 0 && file.nr_resv == 0 && file.late.blocks.empty() &&
         file.resv.blocks.empty() && file.nr_owners == 0 &&
         file.owners_end == 0;
}

// How many pages of lists, and base pages of files, have been looked at. More
// than twice what there is, and several files are damaged: then all are
// refused. Those of a file that is refused for something else count as if it
// were right.
struct Looked {
  uint64_t listed = 0;
  uint64_t checked = 0;
  bool TooMuch(const TableView& table) const {
    return std::max(listed, checked) > 2 * table.end_frame;
  }
};

// Returns why the file has to be refused: nothing, if it has not.
std::vector<int> WhyNot(const TableView& table, const TableView::File& file,
                        const std::vector<uint64_t>& page_sizes, Looked* looked,
                        HandedFile* out) {
  if (!file.counts_fit || !file.checksum || (file.flags & ~kFlagFree) != 0 ||
      (file.seals & ~kSeals) != 0 || (file.mode & ~kModes) != 0 ||
      file.size > kMaxFileSize || file.position > kMaxFileSize)
    return {EINVAL};
  const bool free = (file.flags & kFlagFree) != 0;
  if (free && !OnlyPages(file)) return {EINVAL};
  if (file.order >= kOrders) return {EOPNOTSUPP};
  const uint64_t page_size = uint64_t{1} << (file.order + kPageShift);
  if (std::find(page_sizes.begin(), page_sizes.end(), page_size) ==
      page_sizes.end())
    return {EOPNOTSUPP};
  if (file.nr_pages > table.end_frame >> file.order) return {EINVAL};
  if (!AddUp(file)) return {EINVAL};

  Runs runs, late, resv;
  uint64_t end = file.size / page_size + (file.size % page_size != 0);
  if (free) end = file.nr_pages;
  // Which one of several shows depends on what is looked at first.
  std::set<int> errors;
  CheckOwners(file, &errors);
  bool adds_up = true;  // where nothing before that is wrong
  for (const auto& [chain, list] :
       {std::pair(&file.runs, &runs), std::pair(&file.late, &late),
        std::pair(&file.resv, &resv)}) {
    if (list == &resv && errors.empty())
      adds_up = Sum(runs) + Sum(late) == file.nr_pages;
    Collect(*chain, file.nr_owners, list, &errors);
    if (!Ascending(*list, end)) errors.insert(EINVAL);
    looked->listed += chain->blocks.size();
  }
  looked->listed += file.owners.size();
  if (!adds_up) return {EINVAL};
  if (looked->TooMuch(table)) errors.insert(EINVAL);
  if (!errors.empty()) return {errors.begin(), errors.end()};
  if (!ReservedRight(file, resv, runs, late)) return {EINVAL};
  looked->checked += file.nr_pages << file.order;
  if (looked->TooMuch(table)) return {EINVAL};
  runs.insert(runs.end(), late.begin(), late.end());
  std::stable_sort(runs.begin(), runs.end(),
                   [](const TableView::Run* a, const TableView::Run* b) {
                     return a->index < b->index;
                   });
  if (!Ascending(runs, end)) errors.insert(EINVAL);
  for (const TableView::Run* run : runs)
    if (!run->held) errors.insert(ENXIO);
  if (!errors.empty()) return {errors.begin(), errors.end()};

  for (const TableView::Run* run : runs) {
    for (uint64_t n = 0; n < run->pages; ++n)
      out->pages.push_back(
          {static_cast<int64_t>(run->index + n),
           static_cast<int64_t>(run->frame + (n << file.order)), run->node[n],
           OwnersOf(file, *run)});
  }
  for (const TableView::Run* run : resv)
    out->reserved.push_back(
        {static_cast<int64_t>(run->index),
         static_cast<int64_t>(run->index + run->pages),
         OwnersOf(file, *run)[static_cast<size_t>(Charge::kRsvd)]});
  for (const TableView::Block& block : file.resv.blocks)
    out->records.push_back(static_cast<int64_t>(block.frame));
  for (const TableView::Owner& owner : file.owners)
    out->records.push_back(static_cast<int64_t>(owner.at >> kPageShift));
  out->at = file.at;
  out->free = free;
  out->page_size = page_size;
  out->size = static_cast<int64_t>(file.size);
  out->position = static_cast<int64_t>(file.position);
  out->seals = file.seals;
  out->mode = file.mode;
  out->counts = file.counts;
  return {};
}

// Files that share memory with another one, or with themselves, are refused.
void RefuseOverlaps(std::vector<HandedFile>* files,
                    std::vector<RefusedFile>* refused) {
  struct Span {
    int64_t from;
    int64_t to;
    size_t file;
  };
  std::vector<Span> spans;
  for (size_t i = 0; i < files->size(); ++i) {
    const auto frames =
        static_cast<int64_t>((*files)[i].page_size >> kPageShift);
    for (const HandedPage& page : (*files)[i].pages)
      spans.push_back({page.frame, page.frame + frames, i});
    for (const int64_t record : (*files)[i].records)
      spans.push_back({record, record + 1, i});
  }
  std::sort(spans.begin(), spans.end(),
            [](const Span& a, const Span& b) { return a.from < b.from; });
  std::set<size_t> bad;
  for (size_t i = 0; i < spans.size(); ++i)
    for (size_t j = i + 1; j < spans.size() && spans[j].from < spans[i].to; ++j)
      bad.insert({spans[i].file, spans[j].file});
  std::vector<HandedFile> good;
  for (size_t i = 0; i < files->size(); ++i) {
    if (bad.count(i) == 0) {
      good.push_back(std::move((*files)[i]));
    } else {
      refused->push_back({(*files)[i].at, {EINVAL}});
    }
  }
  *files = std::move(good);
}

std::vector<Count> Claims(const std::vector<HandedFile>& files) {
  std::vector<Count> claims;
  for (const HandedFile& file : files)
    claims.insert(claims.end(), file.counts.begin(), file.counts.end());
  return claims;
}

// Adds the node of each page to `nodes`, of which no more than `most` are
// known.
bool LocateChain(const TableView::Chain& chain, uint64_t most,
                 std::vector<int>* nodes) {
  for (const TableView::Block& block : chain.blocks) {
    if (!block.held || !block.magic || !block.checksum || block.nr_runs == 0 ||
        block.nr_runs != block.runs.size())
      return false;
    for (const TableView::Run& run : block.runs) {
      if (run.pages == 0 || run.pages > most - nodes->size() ||
          run.node.size() != run.pages)
        return false;
      nodes->insert(nodes->end(), run.node.begin(), run.node.end());
    }
  }
  return !chain.circular;
}

bool LocateOrder(const TableView& table, uint32_t order,
                 std::vector<int>* nodes) {
  uint64_t announced = 0;
  for (const Count& c : table.counts)
    if (c.order == order) announced += c.pages;
  uint64_t at = table.first;
  // One that comes again is there once.
  const uint64_t most = std::min<uint64_t>(table.nr_files, table.files.size());
  for (uint64_t nr = 0; at != 0 && nr < most; ++nr) {
    const auto file =
        std::find_if(table.files.begin(), table.files.end(),
                     [at](const TableView::File& f) { return f.at == at; });
    if (file == table.files.end() || !file->held || !file->magic ||
        !file->version)
      return false;
    at = file->next;
    if (file->order != order) continue;
    if (!file->counts_fit || !file->checksum ||
        !LocateChain(file->runs, announced, nodes) ||
        !LocateChain(file->late, announced, nodes))
      return false;
  }
  return at == 0 && nodes->size() == announced;
}

bool Overlap(const BadMemory& a, const BadMemory& b) {
  return a.from < b.to && b.from < a.to;
}

// Whoever wrote an entry cannot be asked whether it is true. What it names is
// out of use, but never so much that a kernel cannot boot: of more than base
// pages no more than a quarter of memory, and nothing in scratch.
void KeepAway(const TableView& table, TableVerdict* verdict) {
  uint64_t left = table.frames / 4;
  auto keep = [verdict](const TableView::Error& error) {
    const uint64_t first = error.address >> kPageShift;
    BadMemory bad{first, first + error.pages, !error.owned};
    for (const BadMemory& before : verdict->kept_away)
      bad.nobodys &= !Overlap(before, bad);
    verdict->kept_away.push_back(bad);
  };
  for (const TableView::Error& error : table.errors) {
    if (!error.right || error.pages == 1 || !error.memory) continue;
    if (error.pages > left || error.scratch) {
      ++verdict->not_kept_away;
      continue;
    }
    left -= error.pages;
    keep(error);
  }
  for (const TableView::Error& error : table.errors)
    if (error.right && error.pages == 1 && error.memory) keep(error);
}

}  // namespace

std::map<uint32_t, std::vector<int>> LocatePages(const TableView& table) {
  std::map<uint32_t, std::vector<int>> located;
  for (const Count& c : table.counts) {
    std::vector<int> nodes;
    if (located.count(c.order) == 0 && LocateOrder(table, c.order, &nodes))
      located[c.order] = std::move(nodes);
  }
  return located;
}

bool TableView::Lists(uint64_t frame) const {
  return std::any_of(errors.begin(), errors.end(), [frame](const Error& error) {
    const uint64_t first = error.address >> kPageShift;
    return frame >= first && frame - first < error.pages;
  });
}

bool TableView::ErrorsFull() const { return errors.size() >= kErrors; }

TableVerdict JudgeTable(const TableView& table,
                        const std::vector<uint64_t>& page_sizes,
                        bool live_update) {
  TableVerdict verdict;
  if (!table.found) return verdict;
  // Every kernel leaves a root. One of another version without files is no
  // reason for anything.
  if (table.placed && table.magic && !table.version && table.nr_files == 0 &&
      table.first == 0)
    return verdict;
  verdict.quarantine = verdict.distrusted =
      !table.placed || !table.magic || !table.version || !table.counts_fit ||
      table.counts.size() > kMaxCounts || !table.checksum || !Plausible(table);
  if (verdict.distrusted) return verdict;
  // Also by a kernel that cannot take any file over.
  KeepAway(table, &verdict);
  verdict.quarantine = verdict.distrusted = table.nr_files != 0 && !live_update;
  if (verdict.distrusted) return verdict;
  verdict.announced = table.counts;
  if (!table.held) {
    // This shows only when the pools have been planned.
    verdict.quarantine = verdict.distrusted = true;
    return verdict;
  }

  std::vector<HandedFile> files;
  Looked looked;
  size_t found = 0;
  for (const TableView::File& file : table.files) {
    if (found == table.nr_files || !file.held || !file.magic || !file.version)
      break;
    ++found;
    HandedFile handed;
    std::vector<int> errors = WhyNot(table, file, page_sizes, &looked, &handed);
    if (errors.empty()) {
      files.push_back(std::move(handed));
    } else {
      verdict.quarantine = true;
      verdict.refused.push_back({file.at, std::move(errors)});
    }
  }
  const uint64_t then = found == 0 ? table.first : table.files[found - 1].next;
  if (found != table.nr_files || then != 0) verdict.quarantine = true;

  const size_t before = files.size();
  RefuseOverlaps(&files, &verdict.refused);
  if (files.size() != before) verdict.quarantine = true;

  if (!table.errors_right || looked.TooMuch(table)) {
    for (const HandedFile& file : files)
      verdict.refused.push_back({file.at, {EINVAL}});
    verdict.quarantine |= !files.empty();
    files.clear();
  }

  if (table.errors_right)
    for (const TableView::Error& error : table.errors)
      verdict.bad.push_back({error.address >> kPageShift,
                             (error.address >> kPageShift) + error.pages});

  const std::vector<Count> claims = Claims(files);
  for (const Count& c : claims) {
    if (Pages(claims, c.order, c.node) <= Pages(table.counts, c.order, c.node))
      continue;
    // More than was announced: nothing that was announced can be relied on.
    verdict.quarantine = verdict.distrusted = true;
    for (const HandedFile& file : files)
      verdict.refused.push_back({file.at, {EINVAL}});
    files.clear();
    break;
  }
  const std::vector<Count> claimed = Claims(files);
  for (const Count& c : table.counts) {
    const uint64_t lost = c.pages - Pages(claimed, c.order, c.node);
    if (lost == 0) continue;
    verdict.quarantine = true;
    verdict.lost.push_back({c.order, c.node, lost});
  }
  verdict.accepted = std::move(files);
  // Nobody can ask for free pages, nor for what says that it is.
  for (RefusedFile& refused : verdict.refused)
    for (const TableView::File& file : table.files)
      if (file.at == refused.at && (file.flags & kFlagFree) != 0)
        refused.errors = {ENOENT};
  return verdict;
}

}  // namespace handover::model
