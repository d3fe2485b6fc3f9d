// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/refine.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/observation.h"
#include "sim/exec/executor.h"
#include "sim/exec/published.h"
#include "sim/exec/watched_page.h"
#include "sim/liveupdate/kho.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"

extern "C" {
#include <linux/kho/abi/hugetlb.h>
}

namespace sim {
namespace {

using model::Command;
using model::Observation;
using model::PageSight;
using model::Sight;
using model::Verb;

constexpr size_t kMostWindows = 6;

// A file that a window looks at.
struct Watched {
  struct inode* inode = nullptr;  // of this kernel; null: it has none yet
  bool comes = false;             // from the previous kernel, and nobody has it
  std::string session;            // in which it comes
  uint64_t token = 0;
  uint64_t record = 0;  // while it is preserved
};

struct Place {
  size_t file = 0;
  int64_t index = 0;
  int64_t entry = kNoFrame;  // what the table says, of a file that is in it
  int64_t came = kNoFrame;   // what it said in the previous kernel
};

struct Window {
  bool one_file = true;
  std::array<Watched, 2> file;
  std::array<Place, 2> place;
  std::unique_ptr<model::Tracker> tracker;
  Sight seen;
  int before = 0;  // kernels, before the window was there
  bool over = false;
  std::string name;

  size_t files() const { return one_file ? 1 : 2; }
};

// One on a page.
struct PageWindow {
  explicit PageWindow(const WatchedPage& its)
      : page(its),
        name(absl::StrCat("the page at frame ", its.frame(), " of order ",
                          its.order())) {}

  WatchedPage page;
  std::unique_ptr<model::Tracker> tracker;
  PageSight seen;
  bool listed_key = false;  // KHO got it in this reboot call, as a free page's
  bool over = false;
  std::string name;
};

LuoFile* FindLuoFile(LuoSessionList* sessions, const std::string* name,
                     uint64_t token, const struct inode* inode,
                     std::string* in) {
  if (sessions->list.next == nullptr) return nullptr;
  LuoSession* session;
  list_for_each_entry(session, &sessions->list, list) {
    if (name != nullptr && *name != session->name) continue;
    LuoFile* file;
    list_for_each_entry(file, &session->files.files, list) {
      if (inode == nullptr
              ? file->token != token
              : file->file == nullptr || file_inode(file->file) != inode) {
        continue;
      }
      if (in != nullptr) *in = session->name;
      return file;
    }
  }
  return nullptr;
}

int64_t FrameInFile(struct inode* inode, int64_t index) {
  const unsigned order = huge_page_order(hstate_inode(inode));
  unsigned long at = static_cast<unsigned long>(index) << order;
  const void* entry = xa_find(&inode->i_mapping->i_pages, &at, at, XA_PRESENT);
  return entry == nullptr ? kNoFrame
                          : static_cast<int64_t>(folio_pfn(
                                static_cast<const struct folio*>(entry)));
}

bool IsKey(int64_t frame, const std::vector<KhoKey>& keys) {
  const uint64_t phys = static_cast<uint64_t>(frame) << PAGE_SHIFT;
  return std::any_of(keys.begin(), keys.end(), [phys](const KhoKey& key) {
    return key.phys == phys && key.order > 0;
  });
}

bool HasFrame(int64_t frame, const std::vector<KhoKey>& keys) {
  return frame != kNoFrame && IsKey(frame, keys);
}

class Run {
 public:
  Run(const model::History& history, Shadows* shadows, uint64_t seed)
      : history_(history),
        shadows_(shadows),
        random_(seed),
        executor_(history) {}
  ~Run() { WatchSteps(nullptr); }

  RefinementResult Go() {
    const Observation& booted = executor_.Boot();
    if (!executor_.dead()) WatchPages(booted);
    executor_.set_at_handover([this] { Stopped(); });
    WatchSteps([this](const char* what) {
      // What happens in a boot nobody has looked at before it is over.
      if (CurrentActor() >= 0) AtStep(what);
    });
    for (const Command& command : history_.commands) {
      if (executor_.dead() || !result_.wrong.empty()) break;
      ++result_.command;
      Before(command);
      const Observation& seen = executor_.Run(command);
      if (executor_.dead() || !result_.wrong.empty()) break;
      After(command, seen);
    }
    for (const Window& window : windows_)
      result_.changes += window.tracker->changes();
    for (const PageWindow& window : pages_)
      result_.pages.changes += window.tracker->changes();
    return result_;
  }

 private:
  // --- What can be seen
  void LookDuring(Window* w, Sight* sight) {
    sight->generation = M().generation - w->before;
    for (size_t f = 0; f < w->files(); ++f) {
      Watched& file = w->file[f];
      if (file.inode == nullptr) continue;
      sight->file[f].out = HUGETLBFS_I(file.inode)->luo_file != nullptr;
      if (!sight->file[f].out) continue;
      const LuoFile* luo =
          FindLuoFile(&g_luo.outgoing, nullptr, 0, file.inode, &file.session);
      if (luo == nullptr) continue;
      file.token = luo->token;
      file.record = luo->serialized_data;
      sight->file[f].published = file.record != 0 && Published(file.record);
    }
    const bool published = sight->file[0].published || sight->file[1].published;
    if (published) keys_ = KhoOutgoingKeys();
    for (size_t i = 0; i < w->place.size(); ++i) {
      Place& place = w->place[i];
      const Watched& file = w->file[place.file];
      if (file.inode == nullptr) continue;
      const int64_t frame = FrameInFile(file.inode, place.index);
      sight->place[i].page = frame != kNoFrame;
      place.entry = kNoFrame;
      if (!sight->file[place.file].published) continue;
      place.entry = FrameInRecord(file.record, place.index);
      if (place.entry == kNoFrame) continue;
      sight->place[i].entry = place.entry == frame && IsKey(frame, keys_)
                                  ? Sight::kEntry
                                  : Sight::kWrongEntry;
    }
  }

  void LookAtRest(Window* w, const Observation& seen, Sight* sight) {
    LookDuring(w, sight);
    const Sight::Refused unclaimed = RefusedOf(seen);
    keys_ = KhoOutgoingKeys();
    for (size_t i = 0; i < w->place.size(); ++i) {
      const Place& place = w->place[i];
      const Watched& file = w->file[place.file];
      if (file.inode != nullptr) {
        sight->place[i].key =
            HasFrame(FrameInFile(file.inode, place.index), keys_);
      } else if (file.comes && place.came != kNoFrame) {
        const bool of_kho = HasFrame(place.came, executor_.handed_over());
        // What is set aside has been claimed, whatever becomes of the rest.
        sight->place[i].held =
            of_kho || (HasFrame(place.came, executor_.claimed()) &&
                       HeldAside(place.came));
        if (of_kho) sight->place[i].refused = unclaimed;
      }
    }
  }

  void AtStep(const char* what) {
    if (!result_.wrong.empty()) return;
    for (Window& w : windows_) {
      if (w.over) continue;
      Sight sight;
      LookDuring(&w, &sight);
      ++result_.steps;
      if (!w.tracker->Step(sight, reboots_)) Wrong(w, sight, Now(what));
      w.seen = sight;
    }
    for (PageWindow& w : pages_) {
      if (w.over) continue;
      const PageSight sight = LookAt(&w);
      ++result_.steps;
      if (!w.tracker->Step(sight, reboots_)) Wrong(w, sight, Now(what));
      w.seen = sight;
    }
  }

  static std::string Now(const char* what) {
    return absl::StrCat("before ", what, " of ",
                        std::string(ActorName(CurrentActor())));
  }

  PageSight LookAt(PageWindow* w) {
    PageSight sight = w->page.During(reboots_);
    sight.generation = M().generation;
    w->listed_key |=
        reboots_ && sight.key && !w->seen.key && sight.kind == PageSight::kFree;
    return sight;
  }

  // The kernel, after its last step.
  void Stopped() {
    if (cut_ || damaged_ || !result_.wrong.empty()) return;
    for (PageWindow& w : pages_) {
      if (w.over) continue;
      PageSight sight = w.page.AtStop();
      sight.generation = M().generation;
      if (!w.tracker->Stop(sight))
        Wrong(w, sight, "when the kernel had stopped");
      w.seen = sight;
      result_.pages.listed += sight.listed;
      result_.pages.left += w.listed_key && !sight.listed;
      result_.pages.other += sight.listed && sight.kind != PageSight::kFree;
    }
  }

  void Wrong(const Window& w, const Sight& sight, const std::string& when) {
    Wrong(w.name, model::Print(w.seen, w.one_file),
          model::Print(sight, w.one_file), when);
  }
  void Wrong(const PageWindow& w, const PageSight& sight,
             const std::string& when) {
    Wrong(w.name, model::Print(w.seen), model::Print(sight), when);
  }
  void Wrong(const std::string& window, const std::string& was,
             const std::string& is, const std::string& when) {
    if (!result_.wrong.empty()) return;
    result_.wrong = absl::StrCat(
        "command ", result_.command, " (",
        model::Print(history_.commands[static_cast<size_t>(result_.command)]),
        "), ", when, ", ", window, ":\n  was: ", was, "\n  is:  ", is,
        "\n  which no step of the design does\n");
  }

  // --- What begins, and what ends
  void Before(const Command& command) {
    reboots_ = command.verb == Verb::kReboot;
    const Verb verb =
        command.verb == Verb::kDuring ? command.inner.at(0).verb : command.verb;
    if (verb == Verb::kOffline)
      for (PageWindow& w : pages_) w.page.MaybeNew();
    switch (command.verb) {
      case Verb::kCut:
        cut_ = true;
        break;
      case Verb::kCorrupt:
        damaged_ = true;
        // Damage whose checksum is right may be taken for something else, and
        // so may one file's handle for another's.
        misleading_ |=
            command.resum || command.target == model::Target::kLuoData;
        break;
      case Verb::kDuring:
        if (command.inner.at(0).verb == Verb::kClose)
          Leave(command.inner.at(0).file);
        if (command.inner.at(0).verb == Verb::kLoad)
          loaded_ = &command.inner.at(0);
        break;
      case Verb::kClose:
        Leave(command.file);
        break;
      case Verb::kLoad:
        loaded_ = &command;
        break;
      default:
        break;
    }
  }

  // Nobody looks at a file any more that is about to be closed.
  void Leave(int name) {
    const struct file* file = executor_.user().FileOf(name);
    if (file == nullptr) return;
    for (Window& w : windows_)
      for (const Watched& each : w.file)
        w.over |= each.inode == file_inode(file);
  }

  bool HasName(const struct inode* inode) const {
    const UserSpace& user = executor_.user();
    for (int name = 0; name < user.files_end(); ++name) {
      const struct file* file = user.FileOf(name);
      if (file != nullptr && file_inode(file) == inode) return true;
    }
    return false;
  }

  // The next kernel takes part in live updates.
  bool TakesPart() const {
    if (loaded_ == nullptr) return true;
    return !loaded_->no_option && loaded_->missing_sizes.empty() &&
           !absl::StrContains(loaded_->command_line, "kho=") &&
           !absl::StrContains(loaded_->command_line, "liveupdate=") &&
           !absl::StrContains(loaded_->command_line, "default_hugepagesz");
  }

  void Rebooted(const Command& command, const Observation& seen) {
    const bool on =
        command.verb == Verb::kReboot && TakesPart() && !misleading_ && !cut_;
    loaded_ = nullptr;
    for (Window& w : windows_) {
      w.over |= !on || (damaged_ && !w.one_file);
      if (w.over) continue;
      for (size_t f = 0; f < w.files(); ++f) {
        Watched& file = w.file[f];
        file.inode = nullptr;
        file.comes = w.seen.file[f].published;
        result_.handovers += file.comes;
      }
      for (Place& place : w.place)
        place.came = std::exchange(place.entry, kNoFrame);
    }
    for (PageWindow& w : pages_)
      if (!w.over) RebootedPage(&w, on, seen);
  }

  void RebootedPage(PageWindow* w, bool on, const Observation& seen) {
    w->over |= !on || w->page.HasError(executor_);
    w->page.Booted(true, damaged_);
    w->listed_key = false;
    if (w->over) return;
    PageSight sight = w->page.AtRest(executor_, seen);
    w->page.Booted(sight.held, damaged_);
    sight.generation = M().generation;
    result_.pages.held += sight.held;
    if (!w->tracker->Boot(sight, damaged_))
      Wrong(*w, sight, "in the next kernel");
    w->seen = sight;
  }

  void Retrieved(Window* w) {
    for (size_t f = 0; f < w->files(); ++f) {
      Watched& file = w->file[f];
      if (file.inode != nullptr && !HasName(file.inode)) w->over = true;
      if (!file.comes) continue;
      const LuoFile* luo = FindLuoFile(&g_luo.incoming, &file.session,
                                       file.token, nullptr, nullptr);
      if (luo == nullptr || luo->file == nullptr) continue;
      file.inode = file_inode(luo->file);
      file.comes = false;
      for (const Place& place : w->place) {
        if (place.file != f) continue;
        const int64_t frame = FrameInFile(file.inode, place.index);
        if (place.came == kNoFrame || frame == place.came) continue;
        Wrong(*w, w->seen,
              absl::StrCat("at index ", place.index, " frame ", frame,
                           " instead of frame ", place.came));
      }
    }
  }

  void After(const Command& command, const Observation& seen) {
    if (seen.rebooted) Rebooted(command, seen);
    for (Window& w : windows_) {
      if (w.over) continue;
      Retrieved(&w);
      if (w.over || !result_.wrong.empty()) continue;
      Sight sight;
      LookAtRest(&w, seen, &sight);
      if (!w.tracker->Rest(sight, reboots_, seen.rebooted,
                           seen.rebooted && damaged_))
        Wrong(w, sight, "afterwards");
      result_.states = std::max(result_.states, w.tracker->states());
      w.seen = sight;
    }
    for (PageWindow& w : pages_) {
      if (w.over || seen.rebooted || !result_.wrong.empty()) continue;
      PageSight sight = w.page.AtRest(executor_, seen);
      sight.generation = M().generation;
      if (!w.tracker->Rest(sight, reboots_)) Wrong(w, sight, "afterwards");
      result_.states = std::max(result_.states, w.tracker->states());
      w.listed_key = false;
      w.seen = sight;
    }
    if (seen.rebooted) damaged_ = misleading_ = cut_ = false;
    if (command.verb == Verb::kMemfd && seen.outcome.ok()) Watch(command.file);
  }

  void WatchPages(const Observation& booted) {
    for (const WatchedPage& page : ChoosePages(random_)) {
      pages_.emplace_back(page);
      PageWindow& w = pages_.back();
      w.tracker = std::make_unique<model::Tracker>(&shadows_->page);
      w.seen = w.page.AtRest(executor_, booted);
      // Where it is free is the initial state, and where not the administrator
      // has taken it.
      w.tracker->Rest(w.seen, /*reboots=*/false);
      ++result_.pages.windows;
    }
  }

  void Watch(int name) {
    struct inode* inode = file_inode(executor_.user().FileOf(name));
    const int64_t index = Roll(3);
    Add(inode, name, index, inode, name, index + 1 + Roll(2));
    if (last_ >= 0 && executor_.user().FileOf(last_) != nullptr &&
        last_generation_ == M().generation && last_ != name) {
      struct inode* other = file_inode(executor_.user().FileOf(last_));
      // A window starts where nothing has happened yet.
      const int64_t at = Roll(3);
      if (HUGETLBFS_I(other)->luo_file == nullptr &&
          FrameInFile(other, at) == kNoFrame)
        Add(other, last_, at, inode, name, Roll(3));
    }
    last_ = name;
    last_generation_ = M().generation;
  }

  void Add(struct inode* a, int a_name, int64_t a_index, struct inode* b,
           int b_name, int64_t b_index) {
    if (windows_.size() == kMostWindows) return;
    Window w;
    w.one_file = a == b;
    w.file[0].inode = a;
    if (!w.one_file) w.file[1].inode = b;
    w.place[0] = {0, a_index};
    w.place[1] = {w.one_file ? size_t{0} : size_t{1}, b_index};
    w.tracker = std::make_unique<model::Tracker>(w.one_file ? &shadows_->one
                                                            : &shadows_->two);
    w.before = M().generation - 1;
    w.name = absl::StrCat("f", a_name, " index ", a_index, " and ",
                          w.one_file ? "" : absl::StrCat("f", b_name, " "),
                          "index ", b_index);
    windows_.push_back(std::move(w));
    ++result_.windows;
  }

  int64_t Roll(int64_t n) {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int64_t>((random_ >> 33) % static_cast<uint64_t>(n));
  }

  const model::History& history_;
  Shadows* shadows_;
  uint64_t random_;
  Executor executor_;
  std::vector<Window> windows_;
  std::vector<PageWindow> pages_;
  std::vector<KhoKey> keys_;
  RefinementResult result_;
  const Command* loaded_ = nullptr;
  bool reboots_ = false;  // the command is a reboot call
  bool cut_ = false;      // and may be cut short
  bool damaged_ = false;
  bool misleading_ = false;
  int last_ = -1;
  int last_generation_ = 0;
};

}  // namespace

RefinementResult CheckRefinement(const model::History& history,
                                 Shadows* shadows, uint64_t seed) {
  return Run(history, shadows, seed).Go();
}

}  // namespace sim
