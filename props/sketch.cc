// SPDX-License-Identifier: BSD-3-Clause
#include "props/sketch.h"

#include <algorithm>
#include <utility>

namespace handover::props {
namespace {

using model::Actor;
using model::Command;
using model::Verb;

constexpr int64_t kMostFilePages = 10;

Command Of(Actor actor, Verb verb) {
  Command c;
  c.actor = actor;
  c.verb = verb;
  return c;
}

Command OfProcess(int process, Verb verb) {
  Command c = Of(Actor::kProcess, verb);
  c.process = process;
  return c;
}

template <typename List>
auto& At(List& list, int i) {
  return list[static_cast<size_t>(i)];
}

}  // namespace

bool SketchFile::IsHole(int64_t page) const {
  return !std::binary_search(present.begin(), present.end(), page);
}

Sketch::Sketch(Random* random, model::History* history)
    : random_(random), history_(history) {}

void Sketch::Add(Command command) {
  history_->commands.push_back(std::move(command));
}

int64_t Sketch::Length() const {
  return static_cast<int64_t>(history_->commands.size());
}

int Sketch::FreeName() const {
  for (int name = 0;; ++name) {
    bool used = std::any_of(
        files.begin(), files.end(),
        [name](const SketchFile& f) { return !f.gone && f.name == name; });
    if (!used) return name;
  }
}

int Sketch::FreeMapping(int process) const {
  for (int name = 0;; ++name) {
    bool used = std::any_of(mappings.begin(), mappings.end(),
                            [&](const SketchMapping& m) {
                              return m.process == process && m.name == name;
                            });
    if (!used) return name;
  }
}

int Sketch::FreeSession() const {
  for (int name = 0;; ++name) {
    bool used =
        std::any_of(sessions.begin(), sessions.end(),
                    [name](const SketchSession& s) { return s.name == name; });
    if (!used) return name;
  }
}

int Sketch::AnyProcess() { return random_->Weighted({70, 20, 10}); }

uint64_t Sketch::AnyValue() { return random_->Next() & 0xffffff; }

uint64_t Sketch::AnyAt(uint64_t page_size) {
  switch (random_->Weighted({60, 15, 25})) {
    case 0:
      return 0;
    case 1:
      return page_size - 8;
    default:
      return static_cast<uint64_t>(
          random_->Below(static_cast<int64_t>(page_size / 8)) * 8);
  }
}

uint64_t Sketch::AnySize() {
  if (!kernel.pools.empty() && random_->Percent(95))
    return random_->Pick(kernel.pools).page_size;
  return random_->Pick(model::PageSizes(history_->geometry));
}

int Sketch::NewFile(uint64_t page_size) {
  SketchFile f;
  f.name = FreeName();
  f.page_size = page_size;
  f.sealable = random_->Percent(60);
  Command c = OfProcess(AnyProcess(), Verb::kMemfd);
  c.file = f.name;
  c.page_size = page_size;
  c.noexec = random_->Percent(15);
  c.sealable = f.sealable && !c.noexec;
  f.sealable |= c.noexec;
  Add(c);
  files.push_back(f);
  return static_cast<int>(files.size()) - 1;
}

int Sketch::NewShmem() {
  SketchFile f;
  f.name = FreeName();
  f.page_size = 4096;
  f.shmem = true;
  Command c = OfProcess(AnyProcess(), Verb::kShmem);
  c.file = f.name;
  Add(c);
  files.push_back(f);
  return static_cast<int>(files.size()) - 1;
}

int Sketch::NewMounted(uint64_t page_size, bool reserves) {
  SketchFile f;
  f.name = FreeName();
  f.page_size = page_size;
  f.mounted = true;
  Command c = OfProcess(AnyProcess(), Verb::kMount);
  c.file = f.name;
  c.page_size = page_size;
  switch (random_->Weighted({15, 35, reserves ? 70 : 0})) {
    case 0:
      break;
    case 1:
      c.most = random_->Between(1, 4);
      break;
    default:
      c.least = random_->Between(1, 3);
      if (random_->Percent(15)) c.most = c.least + random_->Below(3);
      break;
  }
  c.unlinked = random_->Percent(30);
  Add(c);
  files.push_back(f);
  return static_cast<int>(files.size()) - 1;
}

void Sketch::Truncate(int file, int64_t pages) {
  SketchFile& f = At(files, file);
  Command c = OfProcess(AnyProcess(), Verb::kTruncate);
  c.file = f.name;
  c.page = pages;
  Add(c);
  if (f.preserved) return;
  f.pages = pages;
  f.present.erase(std::lower_bound(f.present.begin(), f.present.end(), pages),
                  f.present.end());
}

void Sketch::Map(int file, int64_t from, int64_t length, bool no_reserve,
                 bool read_only, bool is_private) {
  SketchFile& f = At(files, file);
  SketchMapping m;
  m.process = AnyProcess();
  m.name = FreeMapping(m.process);
  m.file = file;
  m.from = from;
  m.length = length;
  m.read_only = read_only;
  m.is_private = is_private;
  Command c = OfProcess(m.process, Verb::kMap);
  c.file = f.name;
  c.mapping = m.name;
  c.page = from;
  c.length = length;
  c.read_only = read_only;
  c.is_private = is_private;
  c.no_reserve = no_reserve;
  Add(c);
  mappings.push_back(m);
  if (!f.preserved) {
    if (!read_only && !f.shmem) f.pages = std::max(f.pages, from + length);
  }
}

Command Sketch::WriteCommand(const SketchMapping& m, int64_t index) {
  Command c = OfProcess(m.process, Verb::kWrite);
  c.mapping = m.name;
  c.page = index - m.from;
  c.value = AnyValue();
  c.at = AnyAt(At(files, m.file).page_size);
  return c;
}

void Sketch::TouchPage(int file, int64_t page) {
  SketchFile& f = At(files, file);
  auto it = std::lower_bound(f.present.begin(), f.present.end(), page);
  if (page < f.pages && (it == f.present.end() || *it != page))
    f.present.insert(it, page);
}

void Sketch::Write(int mapping, int64_t index) {
  const SketchMapping& m = At(mappings, mapping);
  Add(WriteCommand(m, index));
  if (!m.is_private && !m.read_only) TouchPage(m.file, index);
}

void Sketch::Fallocate(int file, int64_t from, int64_t length) {
  SketchFile& f = At(files, file);
  Command c = OfProcess(AnyProcess(), Verb::kFallocate);
  c.file = f.name;
  c.page = from;
  c.length = length;
  c.keep_size = random_->Percent(8);
  Add(c);
  if (!f.preserved && !c.keep_size) f.pages = std::max(f.pages, from + length);
  for (int64_t i = from; i < from + length; ++i) TouchPage(file, i);
}

void Sketch::Punch(int file, int64_t from, int64_t length) {
  SketchFile& f = At(files, file);
  Command c = OfProcess(AnyProcess(), Verb::kPunch);
  c.file = f.name;
  c.page = from;
  c.length = length;
  Add(c);
  if (f.preserved) return;
  f.present.erase(
      std::lower_bound(f.present.begin(), f.present.end(), from),
      std::lower_bound(f.present.begin(), f.present.end(), from + length));
}

void Sketch::Bind(int process, int node) {
  Command c = OfProcess(process, Verb::kBind);
  c.node = node;
  Add(c);
}

void Sketch::Pin(int file, int64_t page) {
  SketchFile& f = At(files, file);
  Command c = OfProcess(AnyProcess(), Verb::kPin);
  c.file = f.name;
  c.page = page;
  Add(c);
  TouchPage(file, page);
  pins.push_back({f.name, page});
}

void Sketch::CloseFile(int file) {
  SketchFile& f = At(files, file);
  Command c = OfProcess(AnyProcess(), Verb::kClose);
  c.file = f.name;
  Add(c);
  f.name = -1;
}

void Sketch::Nr() {
  uint64_t size = AnySize();
  int64_t most = MostPages(history_->geometry, size);
  const Verb verb =
      random_->Pick({Verb::kNr, Verb::kNr, Verb::kNr, Verb::kNr, Verb::kNr,
                     Verb::kOvercommit, Verb::kOvercommit, Verb::kDemote});
  Command c = Of(Actor::kAdmin, verb);
  c.page_size = size;
  c.length = random_->Below(verb == Verb::kNr ? most + most / 2 + 1 : most + 1);
  if (verb != Verb::kOvercommit && random_->Percent(35))
    c.node = static_cast<int>(random_->Below(history_->nodes));
  Add(c);
}

void Sketch::Nr(uint64_t page_size, int64_t pages) {
  Command c = Of(Actor::kAdmin, Verb::kNr);
  c.page_size = page_size;
  c.length = pages;
  Add(c);
}

void Sketch::PreserveFree() {
  const uint64_t size = AnySize();
  PreserveFree(size, random_->Percent(90));
}

void Sketch::PreserveFree(uint64_t page_size, bool on) {
  Command c = Of(Actor::kAdmin, Verb::kPreserveFree);
  c.page_size = page_size;
  c.on = on;
  Add(c);
}

// The memory of one of its pages, if it has any.
void Sketch::Offline(int file) {
  const SketchFile& f = At(files, file);
  Command c = Of(Actor::kAdmin, Verb::kOffline);
  c.file = f.name;
  c.page = f.present.empty() ? 0 : random_->Pick(f.present);
  Add(c);
}

// One of its pages, if it has any, in any of its base pages.
Command Sketch::Poison(int file) {
  const SketchFile& f = At(files, file);
  Command c = Of(Actor::kAdmin, Verb::kPoison);
  c.file = f.name;
  c.page = f.present.empty() ? 0 : random_->Pick(f.present);
  const auto base_pages = static_cast<int64_t>(f.page_size / 4096);
  if (!f.shmem)
    c.at = static_cast<uint64_t>(
               random_->Below(std::min<int64_t>(base_pages, 4))) *
           4096;
  return c;
}

// A free page of a pool, in any of its base pages.
Command Sketch::PoisonFree() {
  Command c = Of(Actor::kAdmin, Verb::kPoisonFree);
  c.page_size = AnySize();
  if (random_->Percent(40))
    c.node = static_cast<int>(random_->Below(history_->nodes));
  const auto base_pages = static_cast<int64_t>(c.page_size / 4096);
  c.at =
      static_cast<uint64_t>(random_->Below(std::min<int64_t>(base_pages, 4))) *
      4096;
  return c;
}

void Sketch::NewCgroup(int name, int parent) {
  Command c = Of(Actor::kAdmin, Verb::kCgroup);
  c.cgroup = name;
  c.parent = parent;
  Add(c);
  cgroups.push_back({name, parent, {}});
}

// `tight`: some of what there is will not fit.
void Sketch::Limit(int cgroup, bool tight) {
  Command c = Of(Actor::kAdmin, Verb::kLimit);
  c.cgroup = At(cgroups, cgroup).name;
  c.charge = random_->Pick({model::Charge::kUsage, model::Charge::kUsage,
                            model::Charge::kRsvd, model::Charge::kRsvd,
                            model::Charge::kMemory});
  c.page_size = AnySize();
  c.length = tight ? random_->Between(0, 2) : random_->Between(2, 12);
  Add(c);
  At(cgroups, cgroup).limits.push_back(c);
}

void Sketch::Move(int task, int cgroup) {
  Command c = Of(Actor::kAdmin, Verb::kMove);
  c.task = task;
  c.cgroup = cgroup;
  Add(c);
}

void Sketch::MoveSomebody() {
  const int task = random_->Percent(20) ? -1 : AnyProcess();
  Move(task, !cgroups.empty() && random_->Percent(85)
                 ? random_->Pick(cgroups).name
                 : model::kRootCgroup);
}

void Sketch::CgroupStep() {
  const auto nr = static_cast<int>(cgroups.size());
  const int any =
      nr == 0 ? -1 : static_cast<int>(random_->Below(static_cast<int64_t>(nr)));
  switch (nr == 0 ? 0 : random_->Weighted({20, 40, 20, 20})) {
    case 0: {
      int name = 0;
      while (
          std::any_of(cgroups.begin(), cgroups.end(),
                      [name](const SketchCgroup& c) { return c.name == name; }))
        ++name;
      if (name >= 4) {
        MoveSomebody();
        break;
      }
      NewCgroup(name, nr > 0 && random_->Percent(40) ? At(cgroups, any).name
                                                     : model::kRootCgroup);
      break;
    }
    case 1:
      MoveSomebody();
      break;
    case 2:
      Limit(any, random_->Percent(30));
      break;
    default: {
      Command c = Of(Actor::kAdmin, Verb::kRmdir);
      c.cgroup = At(cgroups, any).name;
      // Its tasks are moved away first, mostly.
      for (int task = 0; task < 2 && random_->Percent(90); ++task)
        Move(task, model::kRootCgroup);
      Add(c);
      cgroups.erase(cgroups.begin() + any);
      break;
    }
  }
}

void Sketch::CgroupsAgain() {
  const std::vector<SketchCgroup> before = std::move(cgroups);
  cgroups.clear();
  for (const SketchCgroup& c : before) {
    if (random_->Percent(25)) continue;
    NewCgroup(c.name, random_->Percent(90) ? c.parent : model::kRootCgroup);
    if (random_->Percent(60))
      Limit(static_cast<int>(cgroups.size()) - 1, random_->Percent(70));
  }
  if (random_->Percent(30)) MoveSomebody();
}

void Sketch::LiftLimits() {
  for (SketchCgroup& cgroup : cgroups) {
    for (Command& c : cgroup.limits) {
      c.length = -1;
      Add(c);
    }
    cgroup.limits.clear();
  }
}

void Sketch::Open() {
  Add(Of(Actor::kAgent, Verb::kOpen));
  device_open = true;
}

void Sketch::NewSession() {
  SketchSession s;
  s.name = FreeSession();
  s.open = true;
  Command c = Of(Actor::kAgent, Verb::kSession);
  c.session = s.name;
  Add(c);
  sessions.push_back(s);
}

void Sketch::DropSession(int session) {
  Command c = Of(Actor::kAgent, Verb::kDrop);
  c.session = At(sessions, session).name;
  Add(c);
  for (SketchFile& f : files) {
    if (f.session != c.session) continue;
    f.preserved = f.held = false;
    f.session = -1;
  }
  sessions.erase(sessions.begin() + session);
}

void Sketch::Preserve(int session, int file) {
  SketchFile& f = At(files, file);
  Command c = Of(Actor::kAgent, Verb::kPreserve);
  c.session = At(sessions, session).name;
  c.token = random_->Percent(95) ? next_token_++ : 1;
  c.file = f.name;
  Add(c);
  if (f.preserved || f.held || f.mounted) return;
  f.preserved = true;
  f.session = c.session;
  f.token = c.token;
}

void Sketch::Load(const KernelPlan& plan) {
  Command c = Of(Actor::kLoader, Verb::kLoad);
  c.command_line = plan.CommandLine(history_->geometry);
  c.missing_sizes = plan.missing_sizes;
  c.no_option = plan.no_option;
  Add(c);
}

void Sketch::Rebooted(const KernelPlan& plan) {
  bool comes = kernel.takes_part() && plan.takes_part();
  std::vector<SketchSession> coming;
  for (SketchSession& s : sessions) {
    if (s.incoming || !comes) continue;
    s.incoming = true;
    s.open = s.finished = false;
    s.files.clear();
    for (const SketchFile& f : files)
      if (f.preserved && f.session == s.name) s.files.push_back(f);
    coming.push_back(s);
  }
  sessions = std::move(coming);
  files.clear();
  mappings.clear();
  device_open = false;
  kernel = plan;
}

void Sketch::Take(int session) {
  Command c = Of(Actor::kAgent, Verb::kTake);
  c.session = At(sessions, session).name;
  Add(c);
  At(sessions, session).open = true;
}

void Sketch::Retrieve(int session, int place) {
  SketchSession& s = At(sessions, session);
  SketchFile f = At(s.files, place);
  Command c = Of(Actor::kAgent, Verb::kRetrieve);
  c.session = s.name;
  c.token = f.token;
  // Most like the name that it had, which is easier to read.
  bool taken =
      f.name < 0 ||
      std::any_of(files.begin(), files.end(), [&f](const SketchFile& other) {
        return !other.gone && other.name == f.name;
      });
  c.file = taken ? FreeName() : f.name;
  Add(c);
  f.name = c.file;
  f.preserved = false;
  f.held = true;
  f.session = s.name;
  files.push_back(f);
  s.files.erase(s.files.begin() + place);
}

void Sketch::Finish(int session) {
  SketchSession& s = At(sessions, session);
  Command c = Of(Actor::kAgent, Verb::kFinish);
  c.session = s.name;
  Add(c);
  s.finished = true;
  s.files.clear();
  for (SketchFile& f : files) {
    if (f.session != s.name || !f.held) continue;
    f.held = false;
    f.session = -1;
  }
}

std::vector<int> Sketch::LiveFiles(bool with_shmem) const {
  std::vector<int> list;
  for (size_t i = 0; i < files.size(); ++i)
    if (!files[i].gone && files[i].name >= 0 && (with_shmem || !files[i].shmem))
      list.push_back(static_cast<int>(i));
  return list;
}

std::vector<int> Sketch::Mappings(bool writable) const {
  std::vector<int> list;
  for (size_t i = 0; i < mappings.size(); ++i)
    if (!writable || !mappings[i].read_only)
      list.push_back(static_cast<int>(i));
  return list;
}

int Sketch::MappingOf(int file) const {
  for (size_t i = 0; i < mappings.size(); ++i)
    if (mappings[i].file == file && !mappings[i].read_only &&
        !mappings[i].is_private)
      return static_cast<int>(i);
  return -1;
}

void Sketch::FillFile(int file) {
  int64_t most = std::min<int64_t>(
      kMostFilePages,
      At(files, file).shmem
          ? 4
          : MostPages(history_->geometry, At(files, file).page_size));
  int64_t pages = random_->Between(1, most);
  if (At(files, file).shmem) {
    Truncate(file, pages);
    Map(file, 0, pages, false);
    Write(static_cast<int>(mappings.size()) - 1, random_->Below(pages));
    return;
  }
  // What has no page is a hole that is reserved, if there are pages for it, or
  // one that is not.
  const bool reserved = random_->Percent(60);
  if (reserved && random_->Percent(85)) {
    for (const PoolPlan& pool : kernel.pools)
      if (pool.page_size == At(files, file).page_size)
        pages = std::clamp<int64_t>(pages, 1, std::max<int64_t>(1, pool.total));
  }
  switch (random_->Weighted({20, 30, 25, 15, 10})) {
    case 0:  // in one piece
      Fallocate(file, 0, pages);
      break;
    case 1: {  // sparse; far larger than it has pages, at times
      if (!reserved && random_->Percent(40)) pages = random_->Between(10, 200);
      Map(file, 0, pages, !reserved);
      int mapping = static_cast<int>(mappings.size()) - 1;
      for (int64_t i = random_->Between(1, 3); i > 0; --i)
        Write(mapping, random_->Below(pages));
      break;
    }
    case 2: {  // its pages alternate between nodes
      Map(file, 0, pages, !reserved);
      int mapping = static_cast<int>(mappings.size()) - 1;
      int process = mappings.back().process;
      for (int64_t i = 0; i < std::min<int64_t>(pages, 3); ++i) {
        Bind(process, static_cast<int>(random_->Below(history_->nodes)));
        Write(mapping, random_->Percent(70) ? i : random_->Below(pages));
      }
      if (random_->Percent(60)) Bind(process, -1);
      break;
    }
    case 3:  // holes
      Fallocate(file, 0, pages);
      Punch(file, random_->Below(pages), random_->Between(1, 2));
      if (random_->Percent(40)) Punch(file, random_->Below(pages), 1);
      if (reserved) {  // some of them again
        const int64_t from = random_->Below(pages);
        Map(file, from, random_->Between(1, pages - from), false);
      }
      break;
    default:  // reserved by a mapping
      Map(file, 0, pages, false);
      if (random_->Percent(70))
        Fallocate(file, 0, pages);
      else
        Write(static_cast<int>(mappings.size()) - 1, random_->Below(pages));
      break;
  }
}

void Sketch::TakeTheRest(uint64_t page_size) {
  const int file = NewFile(page_size);
  Fallocate(file, 0, MostPages(history_->geometry, page_size) + 2);
}

void Sketch::HitTheLimit(uint64_t page_size) {
  Command c = Of(Actor::kAdmin, Verb::kOvercommit);
  c.page_size = page_size;
  c.length = random_->Between(1, 2);
  Add(c);
  TakeTheRest(page_size);
}

void Sketch::SealWrites(int file) {
  Command c = OfProcess(AnyProcess(), Verb::kSeal);
  c.file = At(files, file).name;
  c.seals = model::kSealWrite;
  Add(c);
}

void Sketch::ShareOut(int file) {
  MoveSomebody();
  Fallocate(file, random_->Below(std::max<int64_t>(1, At(files, file).pages)),
            random_->Between(1, 2));
}

std::vector<Command> Sketch::TakeAndSpoil() {
  const int file = static_cast<int>(files.size()) - 1;
  Command take = OfProcess(1, Verb::kFallocate);
  take.file = At(files, file).name;
  take.length = 1;
  return {take, Poison(file)};
}

int64_t Sketch::FreePages(uint64_t page_size) const {
  int64_t pages = 0;
  for (const PoolPlan& pool : kernel.pools)
    if (pool.page_size == page_size) pages = pool.total;
  for (const SketchFile& f : files)
    if (f.page_size == page_size)
      pages -= static_cast<int64_t>(f.present.size());
  return std::max<int64_t>(pages, 0);
}

void Sketch::DeviceWrite() {
  const SketchPin& pin = random_->Pick(pins);
  Command c = Of(Actor::kSim, Verb::kDev);
  c.file = pin.name;
  c.page = pin.page;
  c.value = AnyValue();
  c.at = random_->Percent(60) ? 0 : 8;
  Add(c);
}

void Sketch::Read() {
  const SketchMapping& m = random_->Pick(mappings);
  const SketchFile& f = At(files, m.file);
  Command c = OfProcess(m.process, Verb::kRead);
  c.mapping = m.name;
  c.page = random_->Below(m.length);
  if (!f.present.empty() && random_->Percent(75))
    c.page = std::max<int64_t>(0, random_->Pick(f.present) - m.from);
  c.at = random_->Percent(70) ? 0 : AnyAt(f.page_size);
  Add(c);
}

void Sketch::OddSeal(int file) {
  Command c = OfProcess(AnyProcess(), Verb::kSeal);
  c.file = At(files, file).name;
  c.seals =
      random_->Pick({model::kSealShrink, model::kSealGrow, model::kSealWrite,
                     model::kSealFutureWrite, model::kSealExec,
                     model::kSealSeal, model::kSealShrink | model::kSealGrow});
  Add(c);
}

void Sketch::AnyStep() {
  if (has_cgroups && random_->Percent(12)) {
    CgroupStep();
    return;
  }
  std::vector<int> open = LiveFiles(true);
  if (open.empty()) {
    NewFile(AnySize());
    return;
  }
  int file = random_->Pick(open);
  const int64_t pages = std::max<int64_t>(1, At(files, file).pages);
  const std::vector<int> writable = Mappings(true);
  switch (random_->Weighted({24, 12, 12, 8, 8, 4, 4, 5, 5, 7, 4, 3, 4})) {
    case 0:
      if (!writable.empty()) {
        int mapping = random_->Pick(writable);
        const SketchMapping& m = At(mappings, mapping);
        // Sometimes just outside of it.
        Write(mapping, m.from + random_->Below(m.length) +
                           (random_->Percent(3) ? m.length : 0));
        break;
      }
      [[fallthrough]];
    case 1: {
      int64_t from = random_->Percent(70) ? 0 : random_->Below(pages);
      int64_t length = random_->Between(1, std::max<int64_t>(1, pages - from));
      Map(file, from, length, random_->Percent(55), random_->Percent(15),
          random_->Percent(15));
      break;
    }
    case 2:
      if (!mappings.empty()) {
        Read();
        break;
      }
      [[fallthrough]];
    case 3:
      // What fallocate() gives a shmem file is cleared when it is first
      // touched, in Linux as here: a device that was faster would be lost.
      if (!At(files, file).shmem) {
        Fallocate(file, random_->Below(pages), random_->Between(1, 3));
        break;
      }
      [[fallthrough]];
    case 4:
      Punch(file, random_->Below(pages), random_->Between(1, 3));
      break;
    case 5:
      if (At(files, file).sealable || random_->Percent(10))
        OddSeal(file);
      else
        Nr();
      break;
    case 6: {
      Command c = OfProcess(AnyProcess(), Verb::kSeek);
      c.file = At(files, file).name;
      c.position = random_->Small(1 << 20);
      Add(c);
      break;
    }
    case 7:
      Bind(AnyProcess(),
           static_cast<int>(random_->Below(history_->nodes + 1)) - 1);
      break;
    case 8:
      Pin(file, random_->Below(pages));
      break;
    case 9:
      if (!pins.empty()) {
        DeviceWrite();
        break;
      }
      [[fallthrough]];
    case 10:
      if (!At(files, file).shmem && random_->Percent(20))
        Offline(file);
      else if (!At(files, file).shmem && random_->Percent(25))
        Add(Poison(file));
      else if (random_->Percent(10))
        Add(PoisonFree());
      else
        Nr();
      break;
    case 11:
      if (random_->Percent(50)) {
        Truncate(file, random_->Below(pages + 2));
      } else {
        int made = NewFile(AnySize());
        Fallocate(made, 0, random_->Between(1, 3));
      }
      break;
    default:
      switch (random_->Weighted({40, 40, 20})) {
        case 0:
          if (!mappings.empty()) {
            int64_t at = random_->Below(static_cast<int64_t>(mappings.size()));
            Command c = OfProcess(At(mappings, static_cast<int>(at)).process,
                                  Verb::kUnmap);
            c.mapping = At(mappings, static_cast<int>(at)).name;
            Add(c);
            mappings.erase(mappings.begin() + at);
            break;
          }
          [[fallthrough]];
        case 1:
          if (open.size() > 1) {
            CloseFile(file);
            break;
          }
          [[fallthrough]];
        default: {
          int process = AnyProcess();
          Add(OfProcess(process, Verb::kExit));
          mappings.erase(std::remove_if(mappings.begin(), mappings.end(),
                                        [process](const SketchMapping& m) {
                                          return m.process == process;
                                        }),
                         mappings.end());
          break;
        }
      }
      break;
  }
}

Command Sketch::Interloper() {
  if (!cgroups.empty() && random_->Percent(20)) {
    Command c = Of(Actor::kAdmin,
                   random_->Pick({Verb::kMove, Verb::kRmdir, Verb::kLimit}));
    c.cgroup = random_->Pick(cgroups).name;
    if (c.verb == Verb::kMove) {
      c.task = 0;
      if (random_->Percent(60)) c.cgroup = model::kRootCgroup;
    }
    if (c.verb == Verb::kLimit) {
      c.page_size = AnySize();
      c.length = random_->Below(4);
    }
    return c;
  }
  const std::vector<int> writable = Mappings(true);
  const std::vector<int> open = LiveFiles(true);
  switch (random_->Weighted({54, 10, 8, 5, 5, 5, 13})) {
    case 0:
      if (!writable.empty()) {
        const SketchMapping& m = At(mappings, random_->Pick(writable));
        return WriteCommand(m, m.from + random_->Below(m.length));
      }
      [[fallthrough]];
    case 1:
      if (!open.empty()) {
        const SketchFile& f = At(files, random_->Pick(open));
        if (!f.shmem) {
          Command c = OfProcess(1, Verb::kFallocate);
          c.file = f.name;
          c.page = random_->Below(std::max<int64_t>(1, f.pages));
          c.length = 1;
          return c;
        }
      }
      [[fallthrough]];
    case 2:
      if (!open.empty()) {
        Command c = OfProcess(1, Verb::kSeal);
        c.file = At(files, random_->Pick(open)).name;
        c.seals = model::kSealGrow;
        return c;
      }
      [[fallthrough]];
    case 3:
      if (!open.empty()) {
        Command c = OfProcess(2, Verb::kPunch);
        c.file = At(files, random_->Pick(open)).name;
        c.page = random_->Below(4);
        c.length = 2;
        return c;
      }
      [[fallthrough]];
    case 4:
      if (!open.empty()) {
        Command c = OfProcess(2, Verb::kTruncate);
        c.file = At(files, random_->Pick(open)).name;
        c.page = random_->Below(4);
        return c;
      }
      [[fallthrough]];
    case 5:
      if (!open.empty()) {
        Command c = Of(Actor::kAdmin, Verb::kOffline);
        c.file = At(files, random_->Pick(open)).name;
        c.page = random_->Below(3);
        return c;
      }
      [[fallthrough]];
    default: {
      Command c =
          Of(Actor::kAdmin, random_->Percent(65) ? Verb::kNr : Verb::kDemote);
      c.page_size = AnySize();
      c.length = random_->Below(MostPages(history_->geometry, c.page_size) + 1);
      return c;
    }
  }
}

}  // namespace handover::props
