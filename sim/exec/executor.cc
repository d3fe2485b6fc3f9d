// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/executor.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "sim/exec/corrupt.h"
#include "sim/exec/memory_errors.h"
#include "sim/exec/table_view.h"
#include "sim/liveupdate/kexec.h"
#include "sim/liveupdate/kho.h"
#include "sim/machine/actors.h"
#include "sim/machine/geometry.h"
#include "sim/mm/memory_failure.h"

namespace sim {
namespace {

constexpr uint64_t kPageShift = 12;

using model::Command;
using model::Outcome;
using model::Verb;

Geometry GeometryOf(const model::History& history) {
  absl::StatusOr<Geometry> geometry =
      MakeGeometry(model::GeometryName(history.geometry), history.nodes);
  if (!geometry.ok()) {
    std::fprintf(stderr, "%s\n", geometry.status().ToString().c_str());
    std::abort();
  }
  return *std::move(geometry);
}

// In a history both hold unless its command line says otherwise.
std::string CommandLine(const std::string& text) {
  return absl::StrCat("kho=on liveupdate=on ", text);
}

Outcome OutcomeOf(const CallResult& result) {
  Outcome outcome;
  switch (result.end) {
    case CallResult::End::kDone:
      outcome.kind = Outcome::Kind::kDone;
      break;
    case CallResult::End::kSigbus:
      outcome.kind = Outcome::Kind::kSigbus;
      break;
    case CallResult::End::kSigsegv:
      outcome.kind = Outcome::Kind::kSigsegv;
      break;
    case CallResult::End::kKilled:
      outcome.kind = Outcome::Kind::kKilled;
      break;
  }
  outcome.result = result.value;
  outcome.value = result.word;
  outcome.frame = result.frame;
  outcome.node = result.node;
  return outcome;
}

Outcome DoneWith(int64_t result) {
  Outcome outcome;
  outcome.result = result;
  return outcome;
}

int ProcessActor(int process) {
  static constexpr std::string_view kProcesses[] = {"p0", "p1", "p2", "p3",
                                                    "p4", "p5", "p6", "p7"};
  return ActorByName(kProcesses[process]);
}

FailKind KindOf(model::FailKind kind) {
  switch (kind) {
    case model::FailKind::kAny:
      return FailKind::kAny;
    case model::FailKind::kAlloc:
      return FailKind::kAlloc;
    case model::FailKind::kKho:
      return FailKind::kKho;
    case model::FailKind::kOther:
      return FailKind::kOther;
    case model::FailKind::kCharge:
      return FailKind::kCharge;
  }
  return FailKind::kAny;
}

// Free pages that got a memory error after they had been looked at.
void NoteErrors(const std::vector<BadFrame>& errors, model::TableView* out) {
  for (model::TableView::Free& free : out->free)
    for (model::TableView::FreePage& page : free.pages)
      for (const BadFrame& bad : errors)
        page.poisoned |= bad.first == page.frame;
}

// The pages that a table's records are in, ascending.
std::vector<uint64_t> PagesOf(const model::TableView& table) {
  std::vector<uint64_t> pages;
  for (const model::TableView::File& file : table.files) {
    pages.push_back(file.at);
    for (const auto* chain : {&file.runs, &file.late, &file.resv})
      for (const model::TableView::Block& block : chain->blocks)
        pages.push_back(block.frame << kPageShift);
    for (const model::TableView::Owner& owner : file.owners)
      pages.push_back(owner.at);
  }
  std::sort(pages.begin(), pages.end());
  return pages;
}

}  // namespace

Executor::Executor(const model::History& history, uint64_t seed)
    : machine_(std::make_unique<Machine>(GeometryOf(history), seed)),
      snapshooter_(user_) {
  config_.cmdline = CommandLine(history.command_line);
}

Executor::~Executor() = default;

const model::Observation& Executor::Boot() {
  seen_.Clear();
  dead_ = !sim::Boot(config_);
  snapshooter_.Booted(/*cold=*/true);
  AfterStep();
  return seen_;
}

const model::Observation& Executor::Run(const Command& command) {
  // What only sets the scene changes nothing that can be seen.
  const bool same =
      command.verb == Verb::kFail || command.verb == Verb::kDuring ||
      command.verb == Verb::kInterleave || command.verb == Verb::kCorrupt ||
      command.verb == Verb::kCut;
  if (same) {
    model::Snapshot after = std::move(seen_.after);
    seen_.Clear();
    seen_.after = std::move(after);
  } else {
    seen_.Clear();
  }
  switch (command.verb) {
    case Verb::kFail:
      faults_.push_back(
          {KindOf(command.fail_kind), static_cast<int>(command.step)});
      break;
    case Verb::kCut:
      cut_ = static_cast<uint64_t>(command.step);
      break;
    case Verb::kInterleave:
      interleave_ = static_cast<uint64_t>(command.step);
      break;
    case Verb::kDuring: {
      auto task = std::make_unique<Task>();
      task->command = command.inner.at(0);
      task->command.step = command.step;
      task->place = place_;
      during_.push_back(std::move(task));
      break;
    }
    case Verb::kCorrupt:
      corruptions_.push_back(command);
      break;
    default:
      machine_->DigestAdd(static_cast<uint64_t>(command.verb));
      machine_->set_fault_plans(std::exchange(faults_, {}));
      if (dead_) {
        seen_.outcome.kind = Outcome::Kind::kKilled;
      } else if (command.verb == Verb::kDev) {
        seen_.outcome = Perform(command);
        RunPlanned();
      } else if (command.verb == Verb::kPower) {
        NextKernel(/*power=*/true);
      } else {
        RunOnItsActor(command);
      }
      ReportDuring();
      ReportFinished();
      seen_.fault_injected = machine_->fault_fired() || machine_->shortage();
      seen_.missed += machine_->faults_left();
      machine_->set_fault_plans({});
      AfterStep();
      break;
  }
  ++place_;
  return seen_;
}

int Executor::ActorOf(const Command& command) const {
  switch (command.actor) {
    case model::Actor::kProcess:
      return ProcessActor(command.process);
    case model::Actor::kAdmin:
      return ActorByName("admin");
    case model::Actor::kAgent:
      return ActorByName("agent");
    case model::Actor::kLoader:
      return ActorByName("loader");
    case model::Actor::kSim:
      break;
  }
  return -1;
}

// Runs on the command's actor.
Outcome Executor::Perform(const Command& c) {
  switch (c.verb) {
    case Verb::kMemfd:
      return OutcomeOf(user_.Memfd(c.file, c.page_size, c.sealable, c.noexec));
    case Verb::kShmem:
      return OutcomeOf(user_.Shmem(c.file));
    case Verb::kMount:
      return OutcomeOf(
          user_.Mount(c.file, c.page_size, c.most, c.least, c.unlinked));
    case Verb::kTruncate:
      return OutcomeOf(user_.Truncate(c.file, c.page));
    case Verb::kMap:
      return OutcomeOf(user_.Map(c.process, c.mapping, c.file, c.page, c.length,
                                 c.read_only, c.is_private, c.no_reserve));
    case Verb::kUnmap:
      return OutcomeOf(user_.Unmap(c.process, c.mapping));
    case Verb::kWrite:
      return OutcomeOf(
          user_.Write(c.process, c.mapping, c.page, c.at, c.value));
    case Verb::kRead:
      return OutcomeOf(user_.Read(c.process, c.mapping, c.page, c.at));
    case Verb::kFallocate:
      return OutcomeOf(user_.Fallocate(c.file, c.page, c.length, c.keep_size));
    case Verb::kPunch:
      return OutcomeOf(user_.Punch(c.file, c.page, c.length));
    case Verb::kSeal:
      return OutcomeOf(user_.Seal(c.file, c.seals));
    case Verb::kSeek:
      return OutcomeOf(user_.Seek(c.file, c.position));
    case Verb::kBind:
      return OutcomeOf(user_.Bind(c.node));
    case Verb::kPin:
      return OutcomeOf(user_.Pin(c.file, c.page));
    case Verb::kClose:
      return OutcomeOf(user_.Close(c.file));
    case Verb::kExit:
      return OutcomeOf(user_.Exit(c.process));
    case Verb::kNr:
      return OutcomeOf(user_.SetNr(c.page_size, c.length, c.node));
    case Verb::kOvercommit:
      return OutcomeOf(user_.SetOvercommit(c.page_size, c.length));
    case Verb::kDemote:
      return OutcomeOf(user_.Demote(c.page_size, c.length, c.node));
    case Verb::kOffline:
      return OutcomeOf(user_.Offline(c.file, c.page));
    case Verb::kPoison:
      return OutcomeOf(user_.Poison(c.file, c.page, c.at));
    case Verb::kPoisonFree:
      return OutcomeOf(user_.PoisonFree(c.page_size, c.node, c.at));
    case Verb::kPreserveFree:
      return OutcomeOf(user_.SetPreserveFree(c.page_size, c.on));
    case Verb::kCgroup:
      return OutcomeOf(user_.MakeCgroup(c.cgroup, c.parent));
    case Verb::kRmdir:
      return OutcomeOf(user_.RemoveCgroup(c.cgroup));
    case Verb::kMove:
      return OutcomeOf(user_.MoveTask(
          c.task < 0 ? ActorByName("agent") : ProcessActor(c.task), c.cgroup));
    case Verb::kLimit:
      return OutcomeOf(user_.SetCgroupLimit(
          c.cgroup, static_cast<CgroupLimit>(c.charge), c.page_size, c.length));
    case Verb::kOpen:
      return OutcomeOf(user_.OpenDevice());
    case Verb::kCloseDevice:
      return OutcomeOf(user_.CloseDevice());
    case Verb::kSession:
      return OutcomeOf(user_.NewSession(c.session));
    case Verb::kDrop:
      return OutcomeOf(user_.DropSession(c.session));
    case Verb::kPreserve:
      return OutcomeOf(user_.Preserve(c.session, c.token, c.file));
    case Verb::kReboot:
      return OutcomeOf(user_.Reboot(image_loaded_));
    case Verb::kTake:
      return OutcomeOf(user_.TakeSession(c.session));
    case Verb::kRetrieve:
      return OutcomeOf(user_.Retrieve(c.session, c.token, c.file));
    case Verb::kFinish:
      return OutcomeOf(user_.FinishSession(c.session));
    case Verb::kLoad:
      // The image's segments are taken for granted.
      image_.cmdline = CommandLine(c.command_line);
      image_.has_luo_hugetlb = !c.no_option;
      image_.missing_sizes = c.missing_sizes;
      image_loaded_ = true;
      return DoneWith(0);
    case Verb::kDev:
      return OutcomeOf(user_.DeviceWrite(c.file, c.page, c.at, c.value));
    case Verb::kFail:
    case Verb::kDuring:
    case Verb::kInterleave:
    case Verb::kCorrupt:
    case Verb::kCut:
    case Verb::kPower:
      break;
  }
  return DoneWith(-ENOSYS);
}

void Executor::Start(Task* task) {
  task->started = true;
  // What is planned for the first step is for as soon as there is one.
  const int64_t step = task->command.step;
  task->missed = task != &main_ && step > 1 &&
                 StepsOfLastRun() < static_cast<uint64_t>(step);
  task->outcome = Perform(task->command);
  task->done = true;
  task->waited = HasWaited(task->actor);
}

void Executor::RunOnItsActor(const Command& command) {
  const int actor = ActorOf(command);
  if (StateOf(actor) != ActorState::kIdle) {
    // Only after something went wrong: nobody waits between two commands.
    seen_.outcome = DoneWith(-EBUSY);
    RunPlanned();
    return;
  }
  for (auto& task : during_) {
    task->actor = ActorOf(task->command);
    PlanDuring(static_cast<uint64_t>(task->command.step), task->actor,
               [this, t = task.get()] { Start(t); });
  }
  const uint64_t cut = std::exchange(cut_, 0);
  if (cut != 0) {
    PlanDuring(cut, ActorByName("cut"), [this] {
      seen_.cut = true;
      StopKernel();
    });
  }
  main_.command = command;
  main_.place = place_;
  main_.actor = actor;
  main_.started = main_.done = false;
  TakeTurns(std::exchange(interleave_, 0));
  const RunResult result = RunOnActor(actor, [this] { Start(&main_); });
  TakeTurns(0);
  seen_.missed += cut > StepsOfLastRun();
  switch (result) {
    case RunResult::kDone:
      seen_.outcome = main_.outcome;
      break;
    case RunResult::kBlocked:
      seen_.outcome.kind = Outcome::Kind::kBlocked;
      waiting_.push_back(std::make_unique<Task>(main_));
      break;
    case RunResult::kKernelDown:
      seen_.outcome = DoneWith(0);
      if (seen_.cut) seen_.outcome = main_.outcome;
      if (seen_.cut && !main_.done) seen_.outcome.kind = Outcome::Kind::kKilled;
      NextKernel(/*power=*/false);
      break;
    case RunResult::kBug:
      seen_.outcome.kind = Outcome::Kind::kKilled;
      dead_ = true;
      break;
  }
}

// What was planned for a command that gave it no chance.
void Executor::RunPlanned() {
  for (auto& task : during_) {
    task->actor = ActorOf(task->command);
    if (dead_ || StateOf(task->actor) != ActorState::kIdle) continue;
    dead_ = RunOnActor(task->actor, [this, t = task.get()] { Start(t); }) ==
            RunResult::kBug;
  }
}

void Executor::ReportDuring() {
  for (auto& task : during_) {
    model::Observation::During during;
    during.started = task->started;
    seen_.missed += !task->started || task->missed;
    during.outcome = task->outcome;
    during.waited =
        task->done ? task->waited : task->started && HasWaited(task->actor);
    if (!task->done) {
      during.outcome.kind = seen_.rebooted || dead_ ? Outcome::Kind::kKilled
                                                    : Outcome::Kind::kBlocked;
    }
    seen_.during.push_back(during);
    if (task->started && !task->done && !seen_.rebooted && !dead_) {
      waiting_.push_back(std::move(task));
    }
  }
  during_.clear();
}

void Executor::ReportFinished() {
  if (waiting_.empty()) return;
  std::vector<std::unique_ptr<Task>> still;
  for (auto& task : waiting_) {
    if (seen_.rebooted || task->done) {
      if (!task->done) task->outcome.kind = Outcome::Kind::kKilled;
      seen_.finished.push_back({task->place, task->outcome});
    } else {
      still.push_back(std::move(task));
    }
  }
  waiting_ = std::move(still);
}

// The last thing that happened was a panic or a BUG_ON() outside of kernel/new.
bool Executor::GaveUp() const {
  const std::vector<Violation>& all = machine_->violations();
  if (all.size() != violations_ + 1) return false;
  const std::string& what = all.back().what;
  return absl::StartsWith(what, "kernel panic: ") ||
         (absl::StartsWith(what, "BUG ") &&
          !absl::StrContains(what, "hugetlb_luo"));
}

// No memory that is to survive lies in other such memory, and none of KHO's own
// records of it does.
void Executor::CheckHandedOnce() {
  struct Span {
    uint64_t from;
    uint64_t to;
    bool operator<(const Span& other) const { return from < other.from; }
  };
  std::vector<Span> spans;
  for (const KhoKey& key : KhoOutgoingKeys()) {
    const uint64_t pfn = key.phys >> kPageShift;
    spans.push_back({pfn, pfn + (uint64_t{1} << key.order)});
  }
  for (uint64_t pfn : KhoOutgoingTreePages()) spans.push_back({pfn, pfn + 1});
  std::sort(spans.begin(), spans.end());
  for (size_t i = 1; i < spans.size(); ++i) {
    if (spans[i - 1].to <= spans[i].from) continue;
    machine_->Report("one-owner",
                     absl::StrCat("frame ", spans[i].from,
                                  " is to survive for two reasons"));
    return;
  }
}

void Executor::NextKernel(bool power) {
  if (image_loaded_) config_ = image_;
  image_loaded_ = false;
  const int nodes = machine_->geometry().nodes;
  if (power) {
    user_.KeepErrors({}, [](uint64_t) { return false; });
    user_.KernelDied();
    dead_ = !PowerCut(config_);
  } else {
    ReadLog();
    seen_.handing = snapshooter_.handing();
    // Who stopped in the midst of things has some of them half-done.
    if (!seen_.cut) {
      snapshooter_.Fill(&seen_.before, /*stopped=*/!during_.empty());
      snapshooter_.CountFit(&seen_.before);
    }
    model::TableView left;
    const model::TableView whole = ReadTableView();
    // An error that was not written down yet might as well not have been.
    const bool noted = whole.Lists(user_.poisoning());
    for (auto& task : during_) {
      if (task->done || task->command.verb != Verb::kPoison) continue;
      task->outcome.value = task->started && noted && user_.PoisonTookEffect();
    }
    NoteRecords(whole, &left);
    snapshooter_.NoteHandover(left, seen_.cut);
    for (const KhoKey& key : snapshooter_.handed_over()) {
      const uint64_t pfn = key.phys >> kPageShift;
      seen_.handed_pages.push_back(
          {0, static_cast<int64_t>(pfn), machine_->memory().RealNodeOf(pfn)});
    }
    if (!noted) user_.ForgetPoisoning();
    user_.KeepErrors(snapshooter_.handed_over(), [&](uint64_t pfn) {
      if (!whole.Lists(pfn)) {
        // A list that has room, in a kernel that knew.
        if (whole.held && !seen_.cut && sim::KnowsError(pfn) &&
            !whole.ErrorsFull())
          machine_->Report("metadata",
                           absl::StrCat("the memory error in frame ", pfn,
                                        " is not written down"));
        return false;
      }
      return config_.has_luo_hugetlb;
    });
    NoteErrors(user_.errors(), &left);
    CheckHandedOnce();
    if (!corruptions_.empty()) CorruptTable(corruptions_);
    seen_.handed = ReadTableView();
    seen_.handed.handles = LuoHandles();
    left_out_.clear();
    const std::vector<uint64_t> were = PagesOf(whole);
    const std::vector<uint64_t> are = PagesOf(seen_.handed);
    std::set_difference(were.begin(), were.end(), are.begin(), are.end(),
                        std::back_inserter(left_out_));
    seen_.handed.original = std::move(left.original);
    seen_.handed.free = std::move(left.free);
    seen_.handed_known = true;
    if (at_handover_) at_handover_();
    ErrorWatch watch;
    watch.Start(snapshooter_.handed_over(), &seen_);
    user_.KernelDied();
    dead_ = !Kexec(config_);
    const model::TableVerdict verdict = JudgedTable();
    if (!dead_) watch.CheckMarks(verdict);
    if (!corruptions_.empty()) user_.set_errors(watch.Believed(verdict));
  }
  panicked_by_plan_ = dead_ && machine_->fault_fired() && GaveUp();
  renumbered_ = machine_->geometry().nodes != nodes;
  table_corrupted_ = !power && !corruptions_.empty();
  handles_corrupted_ =
      !power && std::any_of(corruptions_.begin(), corruptions_.end(),
                            [](const Command& c) {
                              return c.target == model::Target::kLuoData;
                            });
  corruptions_.clear();
  seen_.rebooted = true;
  log_lines_ = 0;
  snapshooter_.Booted(/*cold=*/power);
}

// What the running kernel has to make of a table with memory errors.
model::TableVerdict Executor::JudgedTable() const {
  if (seen_.handed.errors.empty() || !config_.has_luo_hugetlb || dead_)
    return {};
  std::vector<uint64_t> page_sizes;
  struct hstate* h;
  for_each_hstate(h) page_sizes.push_back(huge_page_size(h));
  return JudgeTable(seen_.handed, page_sizes,
                    kho_is_enabled() && liveupdate_enabled());
}

void Executor::Look() {
  ReadLog();
  snapshooter_.Fill(&seen_.after);
}

void Executor::ReadLog() {
  const std::vector<std::string>& log = machine_->log();
  for (; log_lines_ < log.size(); ++log_lines_) {
    snapshooter_.ReadLogLine(log[log_lines_], &seen_.shortage_reported);
    seen_.not_kept_away +=
        absl::StrContains(log[log_lines_], "are not kept away from");
  }
}

void Executor::FillCells() {
  if (watched_ == nullptr) return;
  const PhysicalMemory& memory = machine_->memory();
  for (const model::Cell& cell : *watched_) {
    const uint64_t phys =
        (static_cast<uint64_t>(cell.frame) << kPageShift) + cell.at;
    if (!memory.Exists(phys >> kPageShift)) continue;
    model::Cell seen = cell;
    std::memcpy(&seen.value, memory.base() + phys, sizeof(seen.value));
    seen_.cells.push_back(seen);
  }
}

void Executor::AfterStep() {
  const std::vector<Violation>& violations = machine_->violations();
  for (; violations_ < violations.size(); ++violations_) {
    if (violations[violations_].property != "discipline") continue;
    if (!seen_.warned) seen_.message = violations[violations_].what;
    seen_.warned = true;
  }
  if (dead_) return;
  ReadLog();
  user_.StopDevices();
  snapshooter_.Fill(&seen_.after);
  FillCells();
}

}  // namespace sim
