// SPDX-License-Identifier: BSD-3-Clause
#include "model/judge.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/judge_internal.h"

namespace handover::model {
namespace {

// Pages of memory that a command gives back may have been missing a moment ago,
// when another one ran at the same time.
constexpr int64_t kPassing = 2;

// "EBUSY" of EBUSY.
std::string ErrnoName(int error) {
  const char* name = strerrorname_np(error);
  return name ? name : absl::StrCat("errno ", error);
}

}  // namespace

void Snapshot::Clear() {
  generation = 1;
  nr_pools = 0;
  files.clear();
  pages.clear();
  regions.clear();
  regions_known = true;
  cgroups.clear();
  charges.clear();
  charges_known = true;
  sessions.clear();
  quarantined.clear();
  unclaimed.clear();
  quarantine_known = true;
  reported.clear();
  sized.clear();
  cma.clear();
}

void Observation::Clear() {
  outcome = Outcome();
  during.clear();
  finished.clear();
  after.Clear();
  rebooted = false;
  before.Clear();
  before_exact = true;
  cut = false;
  handed_known = false;
  handed = TableView();
  errors_watched = false;
  reserved_before.clear();
  reserved.clear();
  not_kept_away = 0;
  handed_pages.clear();
  handing.clear();
  fault_injected = false;
  missed = 0;
  shortage_reported = false;
  warned = false;
  message.clear();
  cells.clear();
}

std::string Where(const Command& command) {
  return absl::StrCat(Print(command), ": ");
}

Stepper::Stepper(State* state, const Snapshot& snapshot, bool fault)
    : state_(state), snapshot_(snapshot), fault_(fault) {
  events_.resize(state->pools.size());
}

void Stepper::Fail(std::string_view property, std::string what) {
  verdicts.push_back({property, std::move(what)});
}

bool Stepper::Went(const Outcome& o) {
  std::vector<int> must = std::exchange(must_, {});
  std::vector<int> may = std::exchange(may_, {});
  if (o.kind != Outcome::Kind::kDone) {
    if (!fault_) Fail("refusal", "the call never returned");
    return false;
  }
  int error = o.result < 0 ? static_cast<int>(-o.result) : 0;
  auto has = [error](const std::vector<int>& list) {
    return std::find(list.begin(), list.end(), error) != list.end();
  };
  if (error != 0 && (has(must) || has(may) || fault_)) return false;
  if (must.empty() && error == 0) return true;
  if (must.empty()) {
    Fail(Property("refusal"), absl::StrCat("ended with ", ErrnoName(error),
                                           ", should have gone well"));
  } else {
    std::string list;
    for (int e : must)
      absl::StrAppend(&list, list.empty() ? "" : " or ", ErrnoName(e));
    Fail("refusal", absl::StrCat(error == 0 ? "went well" : "ended with ",
                                 error == 0 ? "" : ErrnoName(error),
                                 ", should be refused with ", list));
  }
  return error == 0;
}

int Stepper::FileOf(const Command& command) {
  int id = state_->names[static_cast<size_t>(command.file)];
  if (id < 0) Must(EBADF);
  return id;
}

bool Stepper::MemoryIsShort(uint64_t page_size) const {
  for (int i = 0; i < snapshot_.nr_pools; ++i) {
    const PoolView& pool = snapshot_.pool[static_cast<size_t>(i)];
    // The kernel's own needs are smaller than the smallest huge page.
    if (pool.page_size != page_size && i != 0) continue;
    for (int n = 0; n < state_->nodes; ++n)
      if (pool.node[static_cast<size_t>(n)].allocatable <= 0) return true;
  }
  return snapshot_.nr_pools == 0;
}

// There is memory, but not for as many pages as a reservation needs.
void Stepper::ForgiveShortage(uint64_t page_size, PoolEvent* event) const {
  if (event->kind != PoolEvent::Kind::kReserveFails) return;
  for (int i = 0; i < snapshot_.nr_pools; ++i) {
    const PoolView& pool = snapshot_.pool[static_cast<size_t>(i)];
    if (pool.page_size != page_size) continue;
    const Pool& before = state_->pools[static_cast<size_t>(i)];
    int64_t there = 0;
    for (int n = 0; n < state_->nodes; ++n)
      there += pool.node[static_cast<size_t>(n)].allocatable;
    if (before.resv + event->count - before.Free() > there)
      event->short_of_memory.fill(true);
  }
}

// Whether pages of another size went back to where new ones come from: too late
// for somebody, perhaps.
bool Stepper::ShrinksMeanwhile(size_t pool) const {
  for (size_t i = 0; i < state_->pools.size(); ++i)
    if (i != pool &&
        PoolOf(snapshot_.pool[i], state_->nodes).Nr() < state_->pools[i].Nr())
      return true;
  return false;
}

PoolEvent* Stepper::Event(uint64_t page_size, PoolEvent::Kind kind) {
  for (size_t i = 0; i < state_->pools.size(); ++i) {
    if (state_->pools[i].page_size != page_size) continue;
    PoolEvent event;
    event.kind = kind;
    all_may_migrate_ |=
        kind != PoolEvent::Kind::kFree && kind != PoolEvent::Kind::kLose &&
        kind != PoolEvent::Kind::kLeave && kind != PoolEvent::Kind::kJoin &&
        IsGigantic(state_->geometry, page_size);
    for (size_t n = 0; n < kMaxNodes; ++n)
      event.short_of_memory[n] =
          fault_ ||
          snapshot_.pool[i].node[n].allocatable <= (racing_ ? kPassing : 0) ||
          (racing_ && ShrinksMeanwhile(i));
    events_[i].push_back(event);
    return &events_[i].back();
  }
  return nullptr;
}

void Stepper::Apply(const Command& c, const Outcome& o) {
  size_t verdicts_before = verdicts.size();
  payer_ = kRootPath;
  if (racing_ || fault_)
    for (Mount& mount : state_->mounts) mount.unsure = true;
  if (c.process >= 0)
    payer_ = state_->in_cgroup[static_cast<size_t>(c.process)];
  if (c.actor == Actor::kAgent) payer_ = state_->in_cgroup[kMaxProcesses];
  switch (c.verb) {
    case Verb::kMemfd:
    case Verb::kShmem:
      Memfd(c, o);
      break;
    case Verb::kMount:
      MakeMount(c, o);
      break;
    case Verb::kTruncate:
      Truncate(c, o);
      break;
    case Verb::kMap:
      Map(c, o);
      break;
    case Verb::kUnmap:
      Unmap(c, o);
      break;
    case Verb::kWrite:
    case Verb::kRead:
      Access(c, o);
      break;
    case Verb::kFallocate:
      Fallocate(c, o);
      break;
    case Verb::kPunch:
      Punch(c, o);
      break;
    case Verb::kSeal:
      Seal(c, o);
      break;
    case Verb::kSeek:
      Seek(c, o);
      break;
    case Verb::kBind:
      Bind(c, o);
      break;
    case Verb::kPin:
      Pin(c, o);
      break;
    case Verb::kClose:
      Close(c, o);
      break;
    case Verb::kExit:
      if (Went(o)) Exit(c.process);
      break;
    case Verb::kNr:
    case Verb::kOvercommit:
      Nr(c, o);
      break;
    case Verb::kDemote:
      Demote(c, o);
      break;
    case Verb::kOffline:
      Offline(c, o);
      break;
    case Verb::kPoison:
      Poison(c, o);
      break;
    case Verb::kPoisonFree:
      PoisonFree(c, o);
      break;
    case Verb::kPreserveFree:
      PreserveFree(c, o);
      break;
    case Verb::kCgroup:
    case Verb::kRmdir:
    case Verb::kMove:
    case Verb::kLimit:
      Cgroup(c, o);
      break;
    case Verb::kLoad:
      // The segments need memory, and as much of it again in scratch.
      May(ENOMEM);
      May(EADDRNOTAVAIL);
      if (Went(o)) {
        state_->image_loaded = true;
        state_->image = {c.command_line, c.missing_sizes, c.no_option};
      }
      break;
    case Verb::kDev:
      Dev(c, o);
      break;
    case Verb::kFail:
    case Verb::kDuring:
    case Verb::kInterleave:
    case Verb::kCorrupt:
    case Verb::kCut:
    case Verb::kPower:
      break;
    default:
      Agent(c, o);
      break;
  }
  for (size_t i = verdicts_before; i < verdicts.size(); ++i)
    verdicts[i].what = Where(c) + verdicts[i].what;
}

// A judge's memory between steps, and the order of things within one.
class Judge::Impl {
 public:
  explicit Impl(const History& history) {
    state_.geometry = history.geometry;
    state_.nodes = state_.all_nodes = history.nodes;
    state_.kernel.command_line = history.command_line;
  }

  const std::vector<Verdict>& Boot(const Observation& o) {
    Stepper stepper(&state_, o.after, o.fault_injected);
    state_.generation = 0;  // as if a loader were the kernel before
    state_.image = state_.kernel;
    state_.image_loaded = true;
    stepper.ColdBoot(o.shortage_reported);
    stepper.Check();
    verdicts_ = std::move(stepper.verdicts);
    Warned(o);
    return verdicts_;
  }

  const std::vector<Verdict>& Step(const Command& command,
                                   const Observation& o) {
    verdicts_.clear();
    if (Prepares(command)) {
      Stepper stepper(&state_, o.after, false);
      stepper.Check();
      verdicts_ = std::move(stepper.verdicts);
    } else {
      Main(command, o);
      during_.clear();
    }
    Warned(o);
    ++steps_;
    return verdicts_;
  }

  void Watch(std::vector<Cell>* cells) const {
    cells->clear();
    for (const File& file : state_.files) {
      if (file.life == File::Life::kGone || file.shmem || file.unknown ||
          file.free)
        continue;
      bool handed_over =
          file.preserved || file.retrieved || file.life != File::Life::kLive;
      for (const Page& page : file.pages) {
        if (page.frame == kNoFrame) continue;
        for (const Word& word : page.words)
          cells->push_back({page.frame, word.at, word.value});
        if (handed_over && !page.Find(0)) cells->push_back({page.frame, 0, 0});
      }
    }
  }

 private:
  // True for the commands that only set the scene for the next one.
  bool Prepares(const Command& command) {
    switch (command.verb) {
      case Verb::kFail:
      case Verb::kInterleave:
      case Verb::kCut:
        return true;
      case Verb::kDuring:
        if (!command.inner.empty()) {
          during_.push_back(command.inner[0]);
          during_.back().step = command.step;  // unused in the command itself
        }
        return true;
      case Verb::kCorrupt:
        corrupted_ = true;
        return true;
      default:
        return false;
    }
  }

  void Main(const Command& command, const Observation& o) {
    if (o.rebooted) {
      Reboot(command, o);
      return;
    }
    InAnyOrder(o, [&](State* state, const std::vector<int>& order) {
      return Attempt(state, command, o, order);
    });
    for (const Observation::Finished& finished : o.finished)
      waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(),
                                    [&finished](const auto& waiting) {
                                      return waiting.first == finished.command;
                                    }),
                     waiting_.end());
    if (o.outcome.kind == Outcome::Kind::kBlocked)
      waiting_.emplace_back(steps_, command);
  }

  // What ran at the same time may have come in any order. Tries them until one
  // holds, and else goes on with the first: the `during` commands by number,
  // then -1, the command itself.
  template <typename Try>
  void InAnyOrder(const Observation& o, Try attempt) {
    std::vector<int> order;
    for (size_t i = 0; i < during_.size() && i < o.during.size(); ++i)
      order.push_back(static_cast<int>(i));
    // The most likely one first: that of the steps they were to start at.
    std::stable_sort(order.begin(), order.end(), [this](int a, int b) {
      return during_[static_cast<size_t>(a)].step <
             during_[static_cast<size_t>(b)].step;
    });
    order.push_back(-1);
    if (order.size() == 1) {
      verdicts_ = attempt(&state_, order);
      return;
    }
    const State before = state_;
    verdicts_ = attempt(&state_, order);
    std::sort(order.begin(), order.end());
    bool more = true;
    for (int tries = 0; !verdicts_.empty() && more && tries < kMaxOrders;
         ++tries) {
      State state = before;
      if (attempt(&state, order).empty()) {
        state_ = std::move(state);
        verdicts_.clear();
      }
      more = std::next_permutation(order.begin(), order.end());
    }
  }

  // What another command has isolated cannot be had, which is no different from
  // a call that fails.
  bool Starves(const Command& command, const Observation& o) const {
    bool offline = command.verb == Verb::kOffline;
    for (size_t i = 0; i < during_.size() && i < o.during.size(); ++i)
      offline |= o.during[i].started && during_[i].verb == Verb::kOffline;
    return o.fault_injected || (offline && !o.during.empty());
  }

  std::vector<Verdict> Attempt(State* state, const Command& command,
                               const Observation& o,
                               const std::vector<int>& order) {
    Stepper stepper(state, o.after, Starves(command, o));
    if (order.size() > 1) stepper.SetRacing(command, during_);
    for (int i : order) {
      if (i >= 0) {
        During(&stepper, o, static_cast<size_t>(i));
      } else {
        Itself(&stepper, command, o);
      }
    }
    for (const Observation::Finished& finished : o.finished)
      for (const auto& [step, waiting] : waiting_)
        if (step == finished.command &&
            finished.outcome.kind != Outcome::Kind::kKilled)
          stepper.Apply(waiting, finished.outcome);
    stepper.Check();
    stepper.CheckCells(o.cells);
    return std::move(stepper.verdicts);
  }

  void Itself(Stepper* stepper, const Command& command, const Observation& o) {
    // A fault may only wait for a freeze, and nothing is frozen when a command
    // is over: an update that fails thaws everything first.
    if (Waits(command) && o.outcome.kind == Outcome::Kind::kDone &&
        o.outcome.result == -EBUSY) {
      // The executor did not give the command to anybody.
    } else if (o.outcome.kind == Outcome::Kind::kBlocked) {
      stepper->Fail("exact-rollback",
                    Where(command) + "waits though nothing is frozen");
    } else {
      stepper->Apply(command, o.outcome);
    }
  }

  bool Waits(const Command& command) const {
    return std::any_of(waiting_.begin(), waiting_.end(),
                       [&command](const auto& waiting) {
                         return waiting.second.actor == command.actor &&
                                waiting.second.process == command.process;
                       });
  }

  void During(Stepper* stepper, const Observation& o, size_t i) {
    const Outcome& outcome = o.during[i].outcome;
    if (o.during[i].started && outcome.kind != Outcome::Kind::kBlocked)
      stepper->Apply(during_[i], outcome);
  }

  // What the old kernel still did.
  std::vector<Verdict> OldKernel(State* state, const Command& command,
                                 const Observation& o,
                                 const std::vector<int>& order) {
    Stepper old(state, o.before, Starves(command, o));
    if (order.size() > 1) old.SetRacing(command, during_);
    for (const auto& [step, waiting] : waiting_)
      old.CutShort(waiting, Outcome());
    for (int i : order) {
      if (i < 0) {
        old.Apply(command, o.outcome);
        continue;
      }
      const Observation::During& during = o.during[static_cast<size_t>(i)];
      if (!during.started) continue;
      if (during.outcome.kind == Outcome::Kind::kBlocked ||
          during.outcome.kind == Outcome::Kind::kKilled) {
        old.CutShort(during_[static_cast<size_t>(i)], during.outcome);
      } else {
        old.Apply(during_[static_cast<size_t>(i)], during.outcome);
      }
    }
    old.Check();
    return std::move(old.verdicts);
  }

  void Reboot(const Command& command, const Observation& o) {
    if (command.verb == Verb::kPower) {
      Stepper stepper(&state_, o.after, o.fault_injected);
      stepper.ColdBoot(o.shortage_reported);
      stepper.Check();
      verdicts_ = std::move(stepper.verdicts);
    } else {
      InAnyOrder(o, [&](State* state, const std::vector<int>& order) {
        return OldKernel(state, command, o, order);
      });
      Stepper young(&state_, o.after, o.fault_injected);
      young.Kexec(o, corrupted_);
      young.Check();
      young.CheckCells(o.cells);
      verdicts_.insert(verdicts_.end(), young.verdicts.begin(),
                       young.verdicts.end());
    }
    corrupted_ = false;
    waiting_.clear();
  }

  void Warned(const Observation& o) {
    if (o.warned) verdicts_.push_back({"discipline", o.message});
  }

  static constexpr int kMaxOrders = 24;  // of four commands

  State state_;
  std::vector<Verdict> verdicts_;
  std::vector<Command> during_;
  bool corrupted_ = false;
  std::vector<std::pair<int64_t, Command>> waiting_;
  int64_t steps_ = 0;
};

Judge::Judge(const History& history) : impl_(std::make_unique<Impl>(history)) {}
Judge::~Judge() = default;

const std::vector<Verdict>& Judge::Boot(const Observation& observation) {
  return impl_->Boot(observation);
}

const std::vector<Verdict>& Judge::Step(const Command& command,
                                        const Observation& observation) {
  return impl_->Step(command, observation);
}

void Judge::Watch(std::vector<Cell>* cells) const { impl_->Watch(cells); }

}  // namespace handover::model
