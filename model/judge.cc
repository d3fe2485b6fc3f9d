// SPDX-License-Identifier: BSD-3-Clause
#include "model/judge.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/judge_internal.h"

namespace handover::model {

void Snapshot::Clear() {
  generation = 1;
  nr_pools = 0;
  files.clear();
  pages.clear();
  regions.clear();
  sessions.clear();
  quarantined.clear();
  reported.clear();
}

void Observation::Clear() {
  outcome = Outcome();
  during.clear();
  finished.clear();
  after.Clear();
  rebooted = false;
  before.Clear();
  fault_injected = false;
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
  if (error != 0 && (has(must) || fault_)) return false;
  if (must.empty() && (error == 0 || has(may))) return error == 0;
  if (must.empty()) {
    Fail(Property("refusal"),
         absl::StrCat("ended with errno ", error, ", should have gone well"));
  } else {
    std::string list;
    for (int e : must) absl::StrAppend(&list, list.empty() ? "" : " or ", e);
    Fail("refusal", absl::StrCat("ended with ", o.result,
                                 ", should be refused with errno ", list));
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
    if (pool.page_size != page_size) continue;
    for (int n = 0; n < state_->nodes; ++n)
      if (pool.node[static_cast<size_t>(n)].allocatable <= 0) return true;
  }
  return false;
}

PoolEvent* Stepper::Event(uint64_t page_size, PoolEvent::Kind kind) {
  for (size_t i = 0; i < state_->pools.size(); ++i) {
    if (state_->pools[i].page_size != page_size) continue;
    PoolEvent event;
    event.kind = kind;
    for (size_t n = 0; n < kMaxNodes; ++n)
      event.short_of_memory[n] =
          fault_ || snapshot_.pool[i].node[n].allocatable <= 0;
    events_[i].push_back(event);
    return &events_[i].back();
  }
  return nullptr;
}

void Stepper::Apply(const Command& c, const Outcome& o) {
  size_t verdicts_before = verdicts.size();
  switch (c.verb) {
    case Verb::kMemfd:
    case Verb::kShmem:
      Memfd(c, o);
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
    case Verb::kCorrupt:
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
    state_.nodes = history.nodes;
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
      if (file.life == File::Life::kGone || file.shmem || file.unknown)
        continue;
      bool handed_over = file.preserved || file.retrieved ||
                         file.life != File::Life::kLive;
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
        return true;
      case Verb::kDuring:
        if (!command.inner.empty()) during_.push_back(command.inner[0]);
        return true;
      case Verb::kCorrupt:
        corruptions_.push_back(
            {command.target, command.delta, command.nth, command.resum});
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
    // What ran at the same time may have come first or last; a failed update
    // lets waiting ones go on after it.
    if (during_.empty() && o.finished.empty()) {
      Attempt(&state_, command, o, /*during_first=*/false, &verdicts_);
    } else {
      State before = state_;
      Attempt(&state_, command, o, /*during_first=*/true, &verdicts_);
      if (!verdicts_.empty()) {
        std::vector<Verdict> verdicts;
        Attempt(&before, command, o, /*during_first=*/false, &verdicts);
        if (verdicts.empty()) {
          state_ = std::move(before);
          verdicts_.clear();
        }
      }
    }
    for (const Observation::Finished& finished : o.finished)
      waiting_.erase(
          std::remove_if(waiting_.begin(), waiting_.end(),
                         [&finished](const auto& waiting) {
                           return waiting.first == finished.command;
                         }),
          waiting_.end());
    if (o.outcome.kind == Outcome::Kind::kBlocked)
      waiting_.emplace_back(steps_, command);
  }

  void Attempt(State* state, const Command& command, const Observation& o,
               bool during_first, std::vector<Verdict>* verdicts) {
    Stepper stepper(state, o.after, o.fault_injected);
    if (during_first) During(&stepper, o);
    // A fault may only wait for a freeze, and nothing is frozen when a command
    // is over: an update that fails thaws everything first.
    if (o.outcome.kind == Outcome::Kind::kBlocked) {
      stepper.Fail("exact-rollback",
                   Where(command) + "waits though nothing is frozen");
    } else {
      stepper.Apply(command, o.outcome);
    }
    if (!during_first) During(&stepper, o);
    for (const Observation::Finished& finished : o.finished)
      for (const auto& [step, waiting] : waiting_)
        if (step == finished.command &&
            finished.outcome.kind != Outcome::Kind::kKilled)
          stepper.Apply(waiting, finished.outcome);
    stepper.Check();
    stepper.CheckCells(o.cells);
    *verdicts = std::move(stepper.verdicts);
  }

  void During(Stepper* stepper, const Observation& o) {
    for (size_t i = 0; i < during_.size() && i < o.during.size(); ++i) {
      const Outcome& outcome = o.during[i].outcome;
      if (!o.during[i].started || outcome.kind == Outcome::Kind::kBlocked)
        continue;
      stepper->Apply(during_[i], outcome);
    }
  }

  void Reboot(const Command& command, const Observation& o) {
    if (command.verb == Verb::kPower) {
      Stepper stepper(&state_, o.after, o.fault_injected);
      stepper.ColdBoot(o.shortage_reported);
      stepper.Check();
      verdicts_ = std::move(stepper.verdicts);
    } else {
      // First what the old kernel still did, then the new one.
      Stepper old(&state_, o.before, o.fault_injected);
      if (!waiting_.empty()) old.SetCutShort();
      for (size_t i = 0; i < during_.size() && i < o.during.size(); ++i) {
        const Outcome& outcome = o.during[i].outcome;
        // What was killed or still waits never got to its end.
        if (!o.during[i].started) continue;
        if (outcome.kind == Outcome::Kind::kBlocked ||
            outcome.kind == Outcome::Kind::kKilled) {
          old.SetCutShort();
        } else {
          old.Apply(during_[i], outcome);
        }
      }
      old.Apply(command, o.outcome);
      old.Check();
      verdicts_ = std::move(old.verdicts);
      Stepper young(&state_, o.after, o.fault_injected);
      young.Kexec(corruptions_, o.shortage_reported);
      young.Check();
      young.CheckCells(o.cells);
      verdicts_.insert(verdicts_.end(), young.verdicts.begin(),
                       young.verdicts.end());
    }
    corruptions_.clear();
    waiting_.clear();
  }

  void Warned(const Observation& o) {
    if (o.warned) verdicts_.push_back({"discipline", o.message});
  }

  State state_;
  std::vector<Verdict> verdicts_;
  std::vector<Command> during_;
  std::vector<Corruption> corruptions_;
  std::vector<std::pair<int64_t, Command>> waiting_;
  int64_t steps_ = 0;
};

Judge::Judge(const History& history)
    : impl_(std::make_unique<Impl>(history)) {}
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
