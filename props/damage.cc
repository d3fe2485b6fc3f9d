// SPDX-License-Identifier: BSD-3-Clause
#include "props/damage.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <initializer_list>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "sim/exec/corrupt.h"
#include "sim/exec/table_view.h"
#include "sim/liveupdate/kho.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/boot.h"

namespace handover::props {
namespace {

using model::Command;
using model::History;
using model::TableView;
using model::Target;
using model::Verb;

constexpr size_t kMostFailures = 3;

// A field of the table, and what it is now.
struct Field {
  Target target;
  int64_t nth = 0;
  uint64_t value = 0;
  bool wide = false;  // 64 bits
};

Command Corrupt(const Field& field, uint64_t value, bool resum) {
  Command c;
  c.actor = model::Actor::kSim;
  c.verb = Verb::kCorrupt;
  c.target = field.target;
  c.nth = field.nth;
  // Arithmetic is modulo the field's width.
  c.delta = static_cast<int64_t>(value - field.value);
  c.resum = resum;
  return c;
}

// Of a record.
bool IsChecksum(const Field& field) {
  return field.target == Target::kRootCsum ||
         field.target == Target::kFileCsum ||
         field.target == Target::kBlockCsum ||
         field.target == Target::kOwnerCsum;
}

// The fields of a table, in the order and with the numbers that `sim corrupt`
// knows.
class Fields {
 public:
  explicit Fields(const Between& between) : t_(between.table) {
    Add(Target::kRootAddress, 0, between.root, true);
    // How long it says that the root is does not matter: it is only changed.
    Add(Target::kRootBytes, 0, 4096, true);
    Add(Target::kRootMagic, 0, 0x48544c52, false);
    Add(Target::kRootVersion, 0, 1, false);
    Add(Target::kRootNrCounts, 0, t_.counts.size(), false);
    Add(Target::kRootFiles, 0, t_.first, true);
    Add(Target::kRootNrFiles, 0, t_.nr_files, false);
    Add(Target::kRootNodes, 0, t_.nodes, false);
    // Nor does what a checksum is.
    Add(Target::kRootCsum, 0, 0, false);
    for (size_t i = 0; i < t_.counts.size(); ++i) {
      const auto nth = static_cast<int64_t>(i);
      Add(Target::kRootOrder, nth, t_.counts[i].order, false);
      Add(Target::kRootNode, nth, t_.counts[i].node, false);
      Add(Target::kRootCount, nth, t_.counts[i].pages, true);
    }
    for (size_t i = 0; i < t_.errors.size(); ++i) {
      const auto nth = static_cast<int64_t>(i);
      Add(Target::kErrorAddress, nth, t_.errors[i].address, true);
      Add(Target::kErrorNr, nth, t_.errors[i].pages, false);
      Add(Target::kErrorCsum, nth, t_.errors[i].checksum, false);
    }
    for (size_t i = 0; i < t_.files.size(); ++i)
      AddFile(t_.files[i], static_cast<int64_t>(i));
    for (size_t i = 0; i < t_.handles.size(); ++i)
      Add(Target::kLuoData, static_cast<int64_t>(i), t_.handles[i], true);
  }

  const std::vector<Field>& all() const { return all_; }
  std::vector<Field> Of(Target target) const {
    std::vector<Field> found;
    for (const Field& field : all_)
      if (field.target == target) found.push_back(field);
    return found;
  }
  // Addresses of records and blocks.
  const std::vector<uint64_t>& places() const { return places_; }

 private:
  void Add(Target target, int64_t nth, uint64_t value, bool wide) {
    all_.push_back({target, nth, value, wide});
  }

  static uint64_t First(const TableView::Chain& chain) {
    return chain.blocks.empty() ? 0 : chain.blocks[0].frame << 12;
  }

  void AddFile(const TableView::File& f, int64_t nth) {
    places_.push_back(f.at);
    Add(Target::kFileMagic, nth, 0x48544c46, false);
    Add(Target::kFileVersion, nth, 1, false);
    Add(Target::kFileCsum, nth, 0, false);
    Add(Target::kFileOrder, nth, f.order, false);
    Add(Target::kFileNext, nth, f.next, true);
    Add(Target::kFileRuns, nth, First(f.runs), true);
    Add(Target::kFileLate, nth, First(f.late), true);
    Add(Target::kFileResv, nth, First(f.resv), true);
    Add(Target::kFileOwners, nth, f.owners.empty() ? 0 : f.owners[0].at, true);
    Add(Target::kFileNrOwners, nth, f.nr_owners, true);
    Add(Target::kFileSize, nth, f.size, true);
    Add(Target::kFilePos, nth, f.position, true);
    Add(Target::kFileNrPages, nth, f.nr_pages, true);
    Add(Target::kFileNrResv, nth, f.nr_resv, true);
    Add(Target::kFileSeals, nth, f.seals, false);
    Add(Target::kFileMode, nth, f.mode, false);
    Add(Target::kFileNrCounts, nth, f.counts.size(), false);
    Add(Target::kFileFlags, nth, f.flags, false);
    if (!f.counts.empty()) {
      Add(Target::kFileCountOrder, nth, f.counts[0].order, false);
      Add(Target::kFileCountNode, nth, f.counts[0].node, false);
      Add(Target::kFileCount, nth, f.counts[0].pages, true);
    }
    for (const TableView::Chain* chain : {&f.runs, &f.late, &f.resv})
      AddChain(*chain, chain == &f.resv ? 0 : f.order);
    for (const TableView::Owner& owner : f.owners) {
      places_.push_back(owner.at);
      Add(Target::kOwnerNext, owners_, owner.next, true);
      Add(Target::kOwnerMagic, owners_, 0x48544c4f, false);
      Add(Target::kOwnerCsum, owners_, 0, false);
      Add(Target::kOwnerNr, owners_, owner.nr, false);
      // No path here is as long as that.
      Add(Target::kOwnerPath, owners_, 0, false);
      ++owners_;
    }
  }

  void AddChain(const TableView::Chain& chain, uint32_t order) {
    for (size_t b = 0; b < chain.blocks.size(); ++b) {
      const TableView::Block& block = chain.blocks[b];
      places_.push_back(block.frame << 12);
      const uint64_t next =
          b + 1 < chain.blocks.size() ? chain.blocks[b + 1].frame << 12 : 0;
      Add(Target::kBlockNext, blocks_, next, true);
      Add(Target::kBlockMagic, blocks_, 0x48544c42, false);
      Add(Target::kBlockCsum, blocks_, 0, false);
      Add(Target::kBlockNr, blocks_, block.nr_runs, false);
      ++blocks_;
      for (const TableView::Run& run : block.runs) {
        Add(Target::kRunIndex, runs_, run.index, false);
        Add(Target::kRunNr, runs_, run.pages, false);
        Add(Target::kRunFrame, runs_, run.frame >> order, false);
        Add(Target::kRunOwner, runs_, run.owner, false);
        ++runs_;
      }
    }
  }

  const TableView& t_;
  std::vector<Field> all_;
  std::vector<uint64_t> places_;
  int64_t blocks_ = 0;
  int64_t runs_ = 0;
  int64_t owners_ = 0;
};

std::string NameOf(const Field& field) {
  return absl::StrCat(std::string(model::TargetName(field.target)),
                      " nth=", field.nth);
}

// Of a table, the field whose name a message may have for `target`.
std::vector<std::string_view> WordsFor(Target target) {
  switch (target) {
    case Target::kRootAddress:
    case Target::kRootBytes:
      return {"its address or size",
              "is not preserved itself",
              "magic",
              "version",
              "nr_counts",
              "csum",
              "counts",
              "live update"};
    case Target::kRootMagic:
    case Target::kFileMagic:
    case Target::kBlockMagic:
    case Target::kOwnerMagic:
      return {"magic"};
    case Target::kRootVersion:
    case Target::kFileVersion:
      return {"version"};
    case Target::kRootCsum:
    case Target::kFileCsum:
    case Target::kBlockCsum:
    case Target::kOwnerCsum:
      return {"csum"};
    case Target::kErrorAddress:
    case Target::kErrorNr:
    case Target::kErrorCsum:
      return {"list of memory errors", "not kept away from"};
    case Target::kRootNrCounts:
      return {"nr_counts", "counts", "csum", "announced",
              "list of memory errors"};
    case Target::kRootOrder:
    case Target::kRootNode:
    case Target::kRootCount:
      return {"counts", "csum", "announced", "cannot be claimed"};
    case Target::kRootFiles:
    case Target::kRootNrFiles:
    case Target::kFileNext:
      return {"address of a record", "nr_files, or next", "magic of a record",
              "version of a record", "csum"};
    case Target::kFileOrder:
      return {"order", "counts", "csum"};
    case Target::kRootNodes:
      return {"csum"};
    case Target::kFileRuns:
    case Target::kFileLate:
    case Target::kFileResv:
    case Target::kBlockNext:
      return {"block",         "run",       "nr_pages",
              "nr_resv",       "late page", "reservation",
              "memory of two", "csum",      "what only files have"};
    case Target::kFileOwners:
    case Target::kFileNrOwners:
    case Target::kOwnerNext:
      return {"of an owner", "owner of a run",       "nr_owners",
              "csum",        "what only files have", "memory of two"};
    case Target::kOwnerNr:
      return {"nr of an owner", "csum"};
    case Target::kOwnerPath:
      return {"path of an owner", "csum"};
    case Target::kRunOwner:
      return {"owner of a run", "csum"};
    case Target::kFileSize:
      return {"size", "end of a run", "csum", "what only files have"};
    case Target::kFilePos:
      return {"pos", "csum", "what only files have"};
    case Target::kFileNrPages:
      return {"nr_pages", "counts", "csum", "run"};
    case Target::kFileNrResv:
      return {"nr_resv", "csum", "what only files have"};
    case Target::kFileSeals:
      return {"seals", "csum", "what only files have"};
    case Target::kFileMode:
      return {"mode", "csum", "what only files have"};
    case Target::kFileNrCounts:
      return {"nr_counts", "counts", "csum"};
    case Target::kFileFlags:
      return {"flags", "csum", "run", "nr_pages"};
    case Target::kFileCountOrder:
    case Target::kFileCountNode:
    case Target::kFileCount:
      return {"counts", "announced", "csum"};
    case Target::kBlockNr:
      return {"nr_runs",  "nr of a run", "index of a run", "end of a run",
              "nr_pages", "nr_resv",     "csum",           "frame of a run"};
    case Target::kRunIndex:
      return {"index", "end of a run", "nr_resv", "csum"};
    case Target::kRunNr:
      return {"nr of a run", "index", "end of a run", "nr_pages",
              "nr_resv",     "csum",  "frame",        "memory of two"};
    case Target::kRunFrame:
      return {"frame", "memory of two", "csum"};
    case Target::kLuoData:
      return {"no preserved file has its record at"};
  }
  return {};
}

// Adds what breaks its rules to `found`.
class Watcher {
 public:
  // In proportion to frames and to what there is to look at.
  static uint64_t Bound(uint64_t whole) {
    return 8 * whole + 64 * sim::M().memory().end_pfn();
  }

  sim::HistoryResult Run(const History& history, size_t at,
                         const std::vector<Command>* damage) {
    uint64_t at_jump = 0;
    sim::RunOptions options;
    options.at_handover = [&at_jump] { at_jump = sim::M().fallible_calls(); };
    std::vector<sim::Finding> found;
    bool due = false;  // a message, as soon as the kernel has looked
    options.observer = [&](int64_t step, const Command* command,
                           const model::Observation& seen,
                           const sim::Executor& executor) {
      if (command == nullptr || executor.dead()) return;
      if (static_cast<size_t>(step) != at) {
        due &= !seen.rebooted;
        if (!due || !Complains()) return;
        due = false;
        if (!Named(*damage)) found.push_back({step, "refusal", kUnnamed});
        return;
      }
      if (!seen.rebooted) return;
      calls = sim::M().fallible_calls() - at_jump;
      steps = sim::StepsOfLastRun();
      if (damage == nullptr) {
        whole_refused = executor.Quarantined();
        return;
      }
      if (steps > Bound(whole_steps) || calls > Bound(whole_calls))
        found.push_back({step, "refusal",
                         absl::StrCat("the next kernel took ", steps,
                                      " steps and made ", calls, " calls")});
      if (whole_refused || !IsRefused(seen) || Named(*damage)) return;
      // There may have been no memory to look: somebody will ask for a file.
      due =
          seen.fault_injected && Logged({"trying again later"}) && !Complains();
      if (!due) found.push_back({step, "refusal", kUnnamed});
    };
    sim::HistoryResult result = sim::RunHistory(history, options);
    result.findings.insert(result.findings.end(), found.begin(), found.end());
    return result;
  }

  uint64_t calls = 0;
  uint64_t steps = 0;
  uint64_t whole_calls = 0;
  uint64_t whole_steps = 0;
  bool whole_refused = false;  // without any damage

 private:
  static bool Logged(const std::vector<std::string_view>& words) {
    return std::any_of(sim::M().log().begin(), sim::M().log().end(),
                       [&words](const std::string& line) {
                         return absl::StrContains(line, "hugetlb_luo: ") &&
                                std::any_of(words.begin(), words.end(),
                                            [&line](std::string_view word) {
                                              return absl::StrContains(
                                                  line, std::string(word));
                                            });
                       });
  }

  // It has looked at the table, and something was wrong with it.
  static bool Complains() {
    return std::any_of(sim::M().log().begin(), sim::M().log().end(),
                       [](const std::string& line) {
                         return absl::StartsWith(line, "<3>hugetlb_luo: ") &&
                                !absl::StrContains(line, "no memory to check");
                       });
  }

  static constexpr char kUnnamed[] = "no message names the field that is wrong";

  // By this kernel, which `seen` is the boot of, for what is in the table.
  static bool IsRefused(const model::Observation& seen) {
    std::vector<uint64_t> page_sizes;
    struct hstate* h;
    for_each_hstate(h) page_sizes.push_back(huge_page_size(h));
    // What errors take may be what LUO lacks later: the table was read by then.
    const bool live_update = kho_is_enabled() && liveupdate_enabled();
    const model::TableVerdict verdict =
        JudgeTable(seen.handed, page_sizes, live_update);
    return verdict.quarantine && sim::Config().has_luo_hugetlb &&
           (live_update || !seen.fault_injected);
  }

  // What is refused is refused for a field that has been damaged.
  static bool Named(const std::vector<Command>& damage) {
    std::vector<std::string_view> words;
    for (const Command& c : damage)
      for (std::string_view word : WordsFor(c.target)) words.push_back(word);
    return Logged(words);
  }
};

}  // namespace

int64_t FirstUpdate(const History& history) {
  int64_t at = -1;
  for (const Command& c : history.commands)
    if (c.verb == Verb::kCorrupt) return at;
  sim::RunOptions options;
  options.observer = [&at](int64_t step, const Command* command,
                           const model::Observation& seen,
                           const sim::Executor& /*executor*/) {
    if (at < 0 && seen.rebooted && command != nullptr &&
        command->verb == Verb::kReboot)
      at = step;
  };
  sim::RunHistory(history, options);
  return at;
}

Between LookBetween(const History& history, size_t at) {
  Between between;
  History shorter = history;
  shorter.commands.resize(at + 1);
  sim::RunOptions options;
  options.at_handover = [&between] {
    between.table = sim::ReadTableView();
    between.table.handles = sim::LuoHandles();
    between.root = sim::OutgoingTableRoot();
    if (kho_scratch_cnt > 0) between.scratch = kho_scratch[0].addr;
    std::set<uint64_t> held;
    for (const sim::KhoKey& key : sim::KhoOutgoingKeys())
      for (uint64_t n = 0; n < uint64_t{1} << key.order; ++n)
        held.insert((key.phys >> 12) + n);
    struct hstate* h;
    for_each_hstate(h) {
      for (int nid = 0; nid < MAX_NUMNODES; ++nid) {
        const struct list_head* head = &h->hugepage_freelists[nid];
        for (const struct list_head* at = head->next;
             at != head && between.pool_page == 0; at = at->next) {
          const uint64_t pfn = folio_pfn(list_entry(at, struct folio, lru));
          if (held.count(pfn) == 0 &&
              !kho_scratch_overlap(pfn << 12, huge_page_size(h)))
            between.pool_page = pfn << 12;
        }
      }
    }
    for (uint64_t pfn = 1; pfn < sim::M().memory().end_pfn(); ++pfn) {
      if (!sim::M().memory().Exists(pfn) || held.count(pfn) != 0 ||
          kho_scratch_overlap(pfn << 12, 4096))
        continue;
      between.kernel_memory = pfn << 12;
      break;
    }
  };
  sim::RunHistory(shorter, options);
  return between;
}

std::vector<Damage> BitDamage(const Between& between) {
  std::vector<Damage> list;
  const Fields fields(between);
  for (const Field& field : fields.all()) {
    for (int bit = 0; bit < (field.wide ? 64 : 32); ++bit) {
      for (const bool resum : {false, true}) {
        // Only the records have checksums, and an entry of memory errors; what
        // is made right is no damage.
        if (resum && (field.target == Target::kLuoData || IsChecksum(field) ||
                      field.target <= Target::kRootBytes))
          continue;
        const uint64_t value = field.value ^ uint64_t { 1 } << bit;
        list.push_back({absl::StrCat(NameOf(field), " bit ", bit),
                        {Corrupt(field, value, resum)}});
      }
    }
  }
  return list;
}

std::vector<Damage> StructuredDamage(const Between& between) {
  std::vector<Damage> list;
  const Fields fields(between);
  auto add = [&list](const std::string& name, const Field& field,
                     uint64_t value) {
    if (value == field.value) return;
    list.push_back({absl::StrCat(NameOf(field), " ", name),
                    {Corrupt(field, value, /*resum=*/!IsChecksum(field))}});
  };
  // Any number: none, one more or less, the largest of each width.
  for (const Field& field : fields.all()) {
    add("none", field, 0);
    add("one", field, 1);
    add("one more", field, field.value + 1);
    add("one less", field, field.value - 1);
    add("twice", field, 2 * field.value);
    add("31 bits", field, 0x7fffffff);
    add("32 bits", field, 0xffffffff);
    if (!field.wide) continue;
    add("more than 32 bits", field, uint64_t{1} << 32);
    add("63 bits", field, ~uint64_t{0} >> 1);
    add("64 bits", field, ~uint64_t{0});
  }
  // An address: of each other record, which makes circles and lists in common;
  // of the kernel's memory, of scratch, of where there is no memory.
  std::vector<uint64_t> places = fields.places();
  places.push_back(between.root);
  places.push_back(between.kernel_memory);
  places.push_back(between.scratch);
  places.push_back(between.table.end_frame << 12);
  for (const TableView::File& f : between.table.files)
    for (const TableView::Block& block : f.runs.blocks)
      for (const TableView::Run& run : block.runs)
        places.push_back(run.frame << 12);
  for (const Target target :
       {Target::kRootAddress, Target::kRootFiles, Target::kFileNext,
        Target::kFileRuns, Target::kFileLate, Target::kFileResv,
        Target::kFileOwners, Target::kBlockNext, Target::kOwnerNext,
        Target::kErrorAddress, Target::kLuoData})
    for (const Field& field : fields.Of(target))
      for (const uint64_t place : places)
        add(absl::StrCat("to ", place), field, place);
  // What another element has: overlapping runs, indices that are there twice,
  // counts for one node twice, one file's record for two.
  for (const Target target :
       {Target::kRunIndex, Target::kRunNr, Target::kRunFrame, Target::kRunOwner,
        Target::kOwnerNr, Target::kFileOwners, Target::kRootOrder,
        Target::kRootNode, Target::kRootCount, Target::kFileOrder,
        Target::kFileSize, Target::kFileNrPages, Target::kFileCountNode,
        Target::kFileCount, Target::kFileCountOrder, Target::kLuoData,
        Target::kFileNext, Target::kBlockNr}) {
    const std::vector<Field> same = fields.Of(target);
    for (const Field& field : same)
      for (const Field& other : same) {
        add(absl::StrCat("as nth=", other.nth), field, other.value);
        add(absl::StrCat("after nth=", other.nth), field, other.value + 1);
      }
  }
  // Frames of all kinds, in the units of each file.
  int64_t run = 0;
  const std::vector<Field> frames = fields.Of(Target::kRunFrame);
  for (const TableView::File& f : between.table.files) {
    for (const TableView::Chain* chain : {&f.runs, &f.late, &f.resv})
      for (const TableView::Block& block : chain->blocks)
        for (size_t n = 0; n < block.runs.size(); ++n, ++run)
          for (const uint64_t place : places)
            add(absl::StrCat("at ", place), frames[static_cast<size_t>(run)],
                place >> 12 >> f.order);
  }
  // Entries of memory errors that have a right checksum, wherever and however
  // large. Of those that may be right, too, the next kernel has to do what they
  // say: one that is changed, a new one, several.
  const auto entries = static_cast<int64_t>(between.table.errors.size());
  places.push_back(between.pool_page);
  places.push_back(between.kernel_memory + 4096);
  for (int64_t nth = 0; nth <= entries; ++nth) {
    TableView::Error error;
    if (nth < entries)
      error = between.table.errors[static_cast<size_t>(nth)];
    else
      error.pages = 1;
    const Field address{Target::kErrorAddress, nth, error.address, true};
    const Field number{Target::kErrorNr, nth, error.pages, false};
    auto put = [&](const std::string& name, uint64_t at, uint64_t pages) {
      Damage damage{absl::StrCat(name, " as nth=", nth, " at ", at, ", ", pages,
                                 " pages"),
                    {}};
      if (at == 0) return;
      if (at != address.value)
        damage.commands.push_back(Corrupt(address, at, true));
      if (pages != number.value)
        damage.commands.push_back(Corrupt(number, pages, true));
      if (!damage.commands.empty()) list.push_back(std::move(damage));
    };
    for (const uint64_t place : places) {
      put("an error", place, 1);
      put("no error", place, 0);
      for (unsigned order = 1; order < 32; order += order < 4 ? 1 : 3) {
        const uint64_t pages = uint64_t{1} << order;
        put("errors", place & ~((pages << 12) - 1), pages);
        if (order == 2) put("misaligned errors", place + 4096, pages);
      }
    }
    put("an error", ~uint64_t{4095}, 1);
    put("errors", uint64_t{1} << 63, uint64_t{1} << 31);
    put("an error within a page", between.kernel_memory + 8, 1);
  }
  // Whole lists: everywhere, and the same one again and again.
  for (const uint64_t place : places) {
    for (const unsigned pages : {0, 1, 3, 8}) {
      Damage damage{absl::StrCat("a full list from ", place, ", each ", pages,
                                 " pages further"),
                    {}};
      for (int64_t nth = entries; nth < 128; ++nth) {
        const uint64_t further = static_cast<uint64_t>(nth - entries) * pages;
        damage.commands.push_back(Corrupt({Target::kErrorAddress, nth, 0, true},
                                          place + (further << 12), true));
      }
      if (place != 0) list.push_back(std::move(damage));
    }
  }
  // More than a kernel can do without.
  for (unsigned parts = 1; parts <= 8; ++parts) {
    uint64_t pages = 1;
    while (2 * pages <= between.table.frames / 8) pages *= 2;
    Damage damage{absl::StrCat("errors in ", parts, " parts of memory"), {}};
    for (unsigned n = 0; n < parts; ++n) {
      const int64_t nth = entries + n;
      const uint64_t at = (n + 1) * pages << 12;
      damage.commands.push_back(
          Corrupt({Target::kErrorAddress, nth, 0, true}, at, true));
      damage.commands.push_back(
          Corrupt({Target::kErrorNr, nth, 1, false}, pages, true));
    }
    list.push_back(std::move(damage));
  }
  // Two that go together, each right by itself.
  auto pair = [&list](const std::string& name, const Field& a, uint64_t va,
                      const Field& b, uint64_t vb) {
    list.push_back({name, {Corrupt(a, va, true), Corrupt(b, vb, true)}});
  };
  const std::vector<Field> nr = fields.Of(Target::kRunNr);
  const std::vector<Field> pages = fields.Of(Target::kFileNrPages);
  const std::vector<Field> count = fields.Of(Target::kFileCount);
  const std::vector<Field> order = fields.Of(Target::kFileOrder);
  const std::vector<Field> of_count = fields.Of(Target::kFileCountOrder);
  for (const Field& p : pages)
    for (const Field& c : count)
      if (c.nth == p.nth)
        for (const int64_t more : {-1, 1, 1000})
          pair(absl::StrCat("nr_pages and count ", more, " more"), p,
               p.value + static_cast<uint64_t>(more), c,
               c.value + static_cast<uint64_t>(more));
  for (const Field& o : order)
    for (const Field& c : of_count)
      if (c.nth == o.nth)
        for (const uint64_t other : {0, 2, 4, 6, 9, 18, 51})
          pair(absl::StrCat("order ", other), o, other, c, other);
  for (size_t i = 0; i + 1 < frames.size(); ++i)
    pair("frames of two runs, the other way round", frames[i],
         frames[i + 1].value, frames[i + 1], frames[i].value);
  for (size_t i = 0; i + 1 < nr.size(); ++i)
    pair("a page of the next run", nr[i], nr[i].value + 1, nr[i + 1],
         nr[i + 1].value - 1);
  const std::vector<Field> data = fields.Of(Target::kLuoData);
  for (size_t i = 0; i + 1 < data.size(); ++i)
    pair("handles the other way round", data[i], data[i + 1].value, data[i + 1],
         data[i].value);
  return list;
}

SweepResult DamageEach(const History& history,
                       const std::vector<Damage>& damage, const Shard& shard) {
  SweepResult out;
  const int64_t update = FirstUpdate(history);
  if (update < 0) return out;
  const auto at = static_cast<size_t>(update);
  Watcher watcher;
  watcher.Run(history, at, nullptr);
  watcher.whole_calls = watcher.calls;
  watcher.whole_steps = watcher.steps;
  for (size_t i = 0; i < damage.size(); ++i) {
    if (i % shard.shards != shard.shard) continue;
    History damaged = history;
    damaged.commands.insert(
        damaged.commands.begin() + static_cast<std::ptrdiff_t>(at),
        damage[i].commands.begin(), damage[i].commands.end());
    const sim::HistoryResult result = watcher.Run(
        damaged, at + damage[i].commands.size(), &damage[i].commands);
    ++out.points;
    if (result.ok() || out.failures.size() >= kMostFailures) continue;
    sim::Finding finding = result.findings[0];
    finding.what += " (" + damage[i].name + ")";
    out.failures.emplace_back(std::move(damaged), std::move(finding));
  }
  return out;
}

}  // namespace handover::props
