// SPDX-License-Identifier: BSD-3-Clause
#include "props/generator.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "props/kernels.h"
#include "props/random.h"
#include "props/sketch.h"

namespace handover::props {
namespace {

using model::Actor;
using model::Command;
using model::History;
using model::Verb;

Command Bare(Actor actor, Verb verb) {
  Command c;
  c.actor = actor;
  c.verb = verb;
  return c;
}

// The story of one history: some files, then one to three live updates, each
// with its own trouble, and at the end everything is finished.
class Scenario {
 public:
  Scenario(uint64_t seed, const GeneratorOptions& options)
      : random_(seed), sketch_(&random_, &history_) {
    using Machine = GeneratorOptions::Machine;
    Machine machine = options.machine;
    if (machine == Machine::kMixed)
      machine = seed % 100 != 99      ? Machine::kSmall
                : random_.Percent(50) ? Machine::kX86
                                      : Machine::kArm64;
    history_.geometry = machine == Machine::kX86     ? model::Geometry::kX86
                        : machine == Machine::kArm64 ? model::Geometry::kArm64
                                                     : model::Geometry::kSmall;
    large_ = history_.geometry != model::Geometry::kSmall;
    history_.nodes =
        options.nodes != 0
            ? options.nodes
            : std::vector<int>{
                  2, 1, 3,
                  4}[static_cast<size_t>(random_.Weighted({80, 8, 6, 6}))];
    faults_left_ =
        random_.Percent(33) ? static_cast<int>(random_.Between(1, 3)) : 0;
    corrupts_ = random_.Percent(14);
    interleaves_ = random_.Percent(35);
    updates_left_ = 1 + random_.Weighted({54, 31, 11, 1, 3});
    target_ = updates_left_ > 3     ? random_.Between(70, 78)
              : random_.Percent(80) ? random_.Between(30, 36)
                                    : random_.Between(37, 56);
    frees_ = random_.Percent(40);
    // No draw: the others stay what they would be without.
    sketch_.has_cgroups = !options.real && seed % 3 == 1;
    areas_ = !options.real && seed % 20 == 7;
    mounts_ = seed % 9 == 4;
    // Free pages in areas are no free pages that can be handed over.
    frees_ |= areas_ && seed % 60 < 40;
    // So many go well in a row only where little else goes wrong.
    if (updates_left_ == 5) {
      faults_left_ = 0;
      corrupts_ = false;
      calm_ = true;
    }
    real_ = options.real;
    if (!real_) return;
    faults_left_ = 0;
    corrupts_ = interleaves_ = false;
    target_ *= 3;
  }

  History Make() {
    sketch_.kernel = FirstKernel(&random_, history_.geometry, history_.nodes);
    if (areas_)
      ChangeAreas(&random_, history_.geometry, history_.nodes, &sketch_.kernel);
    history_.command_line = sketch_.kernel.CommandLine(history_.geometry);
    if (areas_) FillFromAreas();
    MakeFiles();
    int updates = updates_left_;
    for (; updates_left_ > 0; --updates_left_) {
      if (updates_left_ < updates) BetweenUpdates();
      Update();
    }
    while (sketch_.Length() < target_ - Unfinished()) Step();
    WindUp();
    while (sketch_.Length() < 30) Step();
    return std::move(history_);
  }

 private:
  // Commands that WindUp() will take.
  int64_t Unfinished() const {
    int64_t commands = sketch_.device_open || sketch_.sessions.empty() ? 0 : 1;
    for (const SketchSession& s : sketch_.sessions)
      commands += s.incoming ? (s.open ? 0 : 1) + (s.finished ? 0 : 1) : 1;
    return commands;
  }

  // Room for `commands` more, with what must follow (an update takes some
  // fourteen commands) still in.
  bool Room(int64_t commands) const {
    return sketch_.Length() + commands + Unfinished() +
               std::max(0, updates_left_ - 1) * 14 <=
           target_;
  }

  // A call of the next command fails, perhaps. True: it was asked for.
  bool MaybeFail(int percent, int64_t most) {
    if (faults_left_ == 0 || !random_.Percent(percent)) return false;
    --faults_left_;
    Command c = Bare(Actor::kSim, Verb::kFail);
    c.fail_kind =
        random_.Pick({model::FailKind::kAny, model::FailKind::kAny,
                      model::FailKind::kAlloc, model::FailKind::kKho,
                      model::FailKind::kOther, model::FailKind::kCharge});
    c.step = random_.Small(most);
    sketch_.Add(std::move(c));
    return true;
  }

  void MaybeDuring(int percent, int64_t most) {
    if (!interleaves_ || !random_.Percent(percent)) return;
    const int64_t commands = random_.Percent(80) ? 1 : 2;
    for (int64_t i = commands; i > 0; --i) {
      Command c = Bare(Actor::kSim, Verb::kDuring);
      c.step = random_.Small(most);
      c.inner.push_back(sketch_.Interloper());
      // Linux loses a reservation where a page is added to a file while that is
      // truncated (docs/fidelity-histories.md).
      while (commands > 1 && c.inner[0].verb == Verb::kTruncate)
        c.inner[0] = sketch_.Interloper();
      sketch_.Add(std::move(c));
    }
    if (random_.Percent(50)) return;
    Command c = Bare(Actor::kSim, Verb::kInterleave);
    c.step = random_.Between(1, 1 << 20);
    sketch_.Add(std::move(c));
  }

  // A page of a file that is being handed over gets a memory error meanwhile.
  void MaybePoisonDuring(int percent, int64_t most) {
    std::vector<int> preserved;
    for (int file : sketch_.LiveFiles(false))
      if (sketch_.files[static_cast<size_t>(file)].preserved)
        preserved.push_back(file);
    if (!interleaves_ || preserved.empty() || !random_.Percent(percent)) return;
    Command c = Bare(Actor::kSim, Verb::kDuring);
    c.step = random_.Small(most);
    // Beside others, a free page may be taken before it is looked at.
    const Verb last = history_.commands.back().verb;
    const bool alone = last != Verb::kDuring && last != Verb::kInterleave;
    c.inner.push_back(alone && random_.Percent(70)
                          ? sketch_.PoisonFree()
                          : sketch_.Poison(random_.Pick(preserved)));
    sketch_.Add(std::move(c));
  }

  // A free page gets a memory error when it is on its way to the next kernel:
  // the file that it is made for takes it after the last look at the list.
  void SpoilFree(uint64_t page_size) {
    // Live update takes 25 steps and, for each free page, 7; three more, and
    // the CPUs stop.
    int64_t step = 25 + 7 * sketch_.FreePages(page_size) + random_.Below(4);
    for (Command& spoil : sketch_.TakeAndSpoil()) {
      Command c = Bare(Actor::kSim, Verb::kDuring);
      c.step = step;
      step += random_.Between(1, 20);
      c.inner.push_back(std::move(spoil));
      sketch_.Add(std::move(c));
    }
  }

  void Again() {
    // Whether the call got so far is not known here; if it did not, doing the
    // same again is refused, which is worth a look too.
    if (random_.Percent(80)) sketch_.Add(Command(history_.commands.back()));
  }

  void Step() {
    bool fails = MaybeFail(6, 8);
    sketch_.AnyStep();
    if (fails && random_.Percent(50)) Again();
  }

  // Some groups, and somebody in them before there is anything to charge.
  void MakeGroups() {
    if (!sketch_.has_cgroups) return;
    sketch_.NewCgroup(0, model::kRootCgroup);
    sketch_.NewCgroup(1, random_.Percent(50) ? 0 : model::kRootCgroup);
    sketch_.Move(0, static_cast<int>(random_.Below(2)));
    if (random_.Percent(70))
      sketch_.Move(1, static_cast<int>(random_.Below(2)));
    if (random_.Percent(40)) sketch_.CgroupStep();
  }

  void MakeFiles() {
    MakeGroups();
    int64_t most = large_ ? 2 : updates_left_ > 2 ? 2 : 3;
    for (int64_t i = random_.Between(1, most); i > 0; --i) {
      MaybeFail(10, 4);
      const uint64_t size = areas_ && random_.Percent(40)
                                ? model::PageSizes(history_.geometry).back()
                                : sketch_.AnySize();
      int file = sketch_.NewFile(size);
      MaybeFail(10, 8);
      sketch_.FillFile(file);
      if (sketch_.has_cgroups && random_.Percent(12)) sketch_.ShareOut(file);
      // Nobody may move such a page out of its area.
      if (areas_ && random_.Percent(30)) sketch_.Add(sketch_.Poison(file));
      if (random_.Percent(20))
        sketch_.Pin(file, sketch_.files.back().present.empty()
                              ? 0
                              : random_.Pick(sketch_.files.back().present));
    }
    MaybeMount(80);
    if (random_.Percent(25)) sketch_.FillFile(sketch_.NewShmem());
    if (random_.Percent(12)) sketch_.Nr();
    while (sketch_.Length() < target_ / 4 && !large_) Step();
  }

  // A file that stays behind, beside those that are handed over.
  void MaybeMount(int percent) {
    if (!mounts_ || !random_.Percent(percent)) return;
    // What min_size= reserves is not judged where calls fail or run at the same
    // time.
    const bool calm = !interleaves_ && faults_left_ == 0;
    const int file = sketch_.NewMounted(sketch_.AnySize(), calm);
    if (history_.commands.back().least > 1 && random_.Percent(60))
      sketch_.Fallocate(file, 0, 1);  // the others stay reserved
    else
      sketch_.FillFile(file);
  }

  void BetweenUpdates() {
    if (random_.Percent(40) && Room(5)) {
      int file = sketch_.NewFile(sketch_.AnySize());
      sketch_.FillFile(file);
    }
    for (int64_t i = random_.Below(3); i > 0 && Room(2); --i) Step();
    if (random_.Percent(10) && sketch_.device_open) {
      // Sessions do not need it; the next update opens it again.
      sketch_.Add(Bare(Actor::kAgent, Verb::kCloseDevice));
      sketch_.device_open = false;
    }
    if (random_.Percent(2)) {
      sketch_.Add(Bare(Actor::kSim, Verb::kPower));
      sketch_.Rebooted(sketch_.kernel);
      sketch_.sessions.clear();
      MakeFiles();
    }
  }

  std::vector<int> Outgoing() const {
    std::vector<int> list;
    for (size_t i = 0; i < sketch_.sessions.size(); ++i)
      if (!sketch_.sessions[i].incoming) list.push_back(static_cast<int>(i));
    return list;
  }

  void Open() {
    if (sketch_.device_open) return;
    bool fails = MaybeFail(10, 12);
    sketch_.Open();
    if (fails) Again();
  }

  void PreserveAll() {
    Open();
    int sessions = random_.Percent(70) || !Room(10) ? 1 : 2;
    for (int i = 0; i < sessions; ++i) {
      bool fails = MaybeFail(8, 6);
      sketch_.NewSession();
      if (fails) Again();
    }
    std::vector<int> outgoing = Outgoing();
    std::vector<int> files = sketch_.LiveFiles(true);
    for (int file : files) {
      const SketchFile& f = sketch_.files[static_cast<size_t>(file)];
      if (f.held || f.name < 0) continue;  // or closed in between
      if (!random_.Percent(Room(4) ? 92 : 60)) continue;
      bool fails = MaybeFail(35, 24);
      MaybeDuring(10, 120);
      sketch_.Preserve(random_.Pick(outgoing), file);
      if (fails) Again();
      if (random_.Percent(15) && Room(3)) Step();
    }
  }

  // What a preserved file still allows, and what it refuses.
  void WhilePreserved() {
    for (int64_t i = random_.Below(5); i > 0 && Room(2); --i) {
      std::vector<int> preserved;
      for (int file : sketch_.LiveFiles(false))
        if (sketch_.files[static_cast<size_t>(file)].preserved)
          preserved.push_back(file);
      if (preserved.empty()) return;
      int file = random_.Pick(preserved);
      const SketchFile& f = sketch_.files[static_cast<size_t>(file)];
      int64_t pages = std::max<int64_t>(1, f.pages);
      switch (random_.Weighted({40, 20, 10, 8, 6, 13, 3})) {
        case 0: {  // a late page, or a page it has
          int mapping = sketch_.MappingOf(file);
          if (mapping < 0) {
            sketch_.Map(file, 0, pages, true);
            mapping = sketch_.MappingOf(file);
          }
          const SketchMapping& m =
              sketch_.mappings[static_cast<size_t>(mapping)];
          MaybeFail(10, 6);
          sketch_.Write(mapping, m.from + random_.Below(m.length));
          break;
        }
        case 1:
          sketch_.Fallocate(file, random_.Below(pages),
                            random_.Percent(90) ? 1 : 2);
          break;
        case 2:
          sketch_.Punch(file, random_.Below(pages), 1);
          break;
        case 3:
          sketch_.Truncate(file, random_.Below(pages + 2));
          break;
        case 4:
          if (random_.Percent(30) && Room(3)) {
            const int other = sketch_.NewFile(sketch_.AnySize());
            sketch_.Fallocate(other, 0, 1);
            sketch_.Offline(other);
          } else if (random_.Percent(50))
            sketch_.Offline(file);
          else if (random_.Percent(50))
            sketch_.Add(sketch_.Poison(file));
          else if (random_.Percent(30))
            sketch_.Add(sketch_.PoisonFree());
          else
            sketch_.Nr();
          break;
        case 6:
          sketch_.SealWrites(file);
          break;
        default:
          Step();
          break;
      }
    }
  }

  // The loader's image, what goes wrong, and the call.
  // `spoil`: a page size of which a free page gets a memory error.
  void Reboot(uint64_t spoil = 0) {
    bool odd = random_.Percent(real_               ? 25
                               : calm_             ? 0
                               : updates_left_ > 1 ? 5
                                                   : 9);
    KernelPlan next = NextKernel(&random_, history_.geometry, history_.nodes,
                                 sketch_.kernel, odd);
    if (areas_) ChangeAreas(&random_, history_.geometry, history_.nodes, &next);
    if (random_.Percent(2)) RebootCall();  // nothing is loaded
    sketch_.Load(next);
    if (random_.Percent(10) && Room(4)) WhilePreserved();
    bool fails = spoil == 0 && MaybeFail(45, 200);
    if (spoil != 0) {
      SpoilFree(spoil);
    } else {
      MaybeDuring(70, 900);
      MaybePoisonDuring(8, 900);
    }
    if (corrupts_ && random_.Percent(60)) Corrupt();
    RebootCall();
    if (fails && random_.Percent(90)) {
      if (random_.Percent(30) && Room(4)) Step();
      RebootCall();
    }
    sketch_.Rebooted(next);
    // A history of many updates has no room for all groups in each kernel.
    if (sketch_.has_cgroups && Room(6))
      sketch_.CgroupsAgain();
    else
      sketch_.cgroups.clear();
  }

  void RebootCall() { sketch_.Add(Bare(Actor::kAgent, Verb::kReboot)); }

  void Corrupt() {
    int64_t last = model::kTargets;
    for (int64_t i = random_.Percent(80) ? 1 : 2; i > 0; --i) {
      Command c = Bare(Actor::kSim, Verb::kCorrupt);
      int64_t target = random_.Below(model::kTargets);
      // As another version of this code would.
      if (random_.Percent(12))
        target = static_cast<int64_t>(random_.Pick(
            {model::Target::kRootVersion, model::Target::kFileVersion}));
      // Two of one field might cancel out, and nothing would be damaged.
      if (target == last) target = (target + 1) % model::kTargets;
      last = target;
      c.target = static_cast<model::Target>(target);
      switch (random_.Weighted({50, 25, 25})) {
        case 0:
          c.delta = random_.Pick({1, -1, 2, -2, 4});
          break;
        case 1:
          c.delta = static_cast<int64_t>(uint64_t{1} << random_.Below(40));
          break;
        default:
          c.delta = static_cast<int64_t>(random_.Next());
          break;
      }
      if (random_.Percent(30)) c.nth = random_.Between(1, 3);
      c.resum = random_.Percent(60);
      if (random_.Percent(15)) IntoHole(&c);
      sketch_.Add(std::move(c));
    }
    if (random_.Percent(25)) InventErrors();
  }

  // Entries of memory errors that look like others: whoever reads them cannot
  // know better.
  void InventErrors() {
    constexpr int64_t kBeyond = 127;  // every list
    for (int64_t i = random_.Between(1, 3); i > 0 && Room(4); --i) {
      const int64_t order = random_.Percent(50) ? 0 : random_.Between(1, 8);
      const int64_t frames =
          history_.geometry == model::Geometry::kSmall ? 2048 : 1 << 20;
      Command c = Bare(Actor::kSim, Verb::kCorrupt);
      c.target = model::Target::kErrorAddress;
      c.nth = kBeyond;
      c.delta = (random_.Between(1, frames >> order) << order) * 4096;
      c.resum = true;
      sketch_.Add(c);
      if (order == 0) continue;
      c.target = model::Target::kErrorNr;
      c.delta = (int64_t{1} << order) - 1;
      sketch_.Add(std::move(c));
    }
  }

  // A run that points a bit below where it is: into what lies between nodes,
  // perhaps, since pages are near one end of a node most often.
  void IntoHole(Command* c) {
    c->target = model::Target::kRunFrame;
    c->nth = 0;
    c->delta = -random_.Between(1, 16);
    c->resum = true;
  }

  void Update() {
    // With no session at all there may be free pages to hand over.
    const bool bare = frees_ && random_.Percent(12);
    if (!bare && (Outgoing().empty() || random_.Percent(20))) PreserveAll();
    if (random_.Percent(14) && !Outgoing().empty() && Room(8)) {
      // Given up, and tried again.
      WhilePreserved();
      MaybeFail(10, 6);
      sketch_.DropSession(random_.Pick(Outgoing()));
      if (random_.Percent(50) && Room(6)) Step();
      PreserveAll();
    }
    if (bare && interleaves_ && Outgoing().empty() && random_.Percent(80)) {
      const uint64_t size = sketch_.AnySize();
      sketch_.NewFile(size);
      sketch_.PreserveFree(size, true);
      Reboot(size);
      AfterReboot();
      return;
    }
    WhilePreserved();
    if (random_.Percent(3) && Room(4)) sketch_.HitTheLimit(sketch_.AnySize());
    if (areas_ && frees_)
      sketch_.PreserveFree(model::PageSizes(history_.geometry).back(), true);
    for (int i = 0; frees_ && i < 2; ++i)
      if (random_.Percent(i == 0 ? 90 : 40) && Room(2)) sketch_.PreserveFree();
    Reboot();
    AfterReboot();
  }

  // With areas, gigantic pages are not allocated at boot.
  void FillFromAreas() {
    const KernelPlan& kernel = sketch_.kernel;
    if (kernel.areas == 0 || kernel.areas_only) return;
    for (const PoolPlan& pool : kernel.pools) {
      if (model::IsGigantic(history_.geometry, pool.page_size) &&
          kernel.Has(pool.page_size) && random_.Percent(80))
        sketch_.Nr(pool.page_size,
                   std::min<int64_t>(kernel.areas, 4) + random_.Between(1, 3));
    }
  }

  void AfterReboot() {
    if (areas_ && Room(2) && random_.Percent(85)) FillFromAreas();
    for (int64_t i = random_.Below(3); i > 0 && Room(2); --i) {
      if (random_.Percent(50)) {
        MaybeFail(10, 8);
        sketch_.Nr();
      } else {
        Step();
      }
    }
    if (Room(4)) MaybeMount(40);
    // Sometimes nobody asks for anything, and the next update is refused.
    if (updates_left_ > 1 && !calm_ && random_.Percent(8)) return;
    Open();
    for (size_t s = 0; s < sketch_.sessions.size(); ++s) {
      if (!sketch_.sessions[s].incoming || sketch_.sessions[s].open) continue;
      if (!calm_ && random_.Percent(8)) continue;
      bool fails = MaybeFail(8, 6);
      sketch_.Take(static_cast<int>(s));
      if (fails) Again();
      TakeFiles(static_cast<int>(s));
    }
    for (size_t s = 0; s < sketch_.sessions.size(); ++s) {
      if (!sketch_.sessions[s].incoming || !sketch_.sessions[s].open) continue;
      // A chain goes on only when everything is finished.
      if (random_.Percent(calm_ ? 100 : updates_left_ > 1 ? 90 : 50))
        EndSession(static_cast<int>(s));
    }
  }

  void TakeFiles(int session) {
    auto files = [&]() -> std::vector<SketchFile>& {
      return sketch_.sessions[static_cast<size_t>(session)].files;
    };
    while (!files().empty()) {
      if (random_.Percent(12)) {  // never asked for, or by somebody else
        files().pop_back();
        continue;
      }
      bool fails = MaybeFail(40, 40);
      MaybeDuring(8, 100);
      sketch_.Retrieve(session, static_cast<int>(random_.Below(
                                    static_cast<int64_t>(files().size()))));
      if (fails) Again();
      // What did not fit does then.
      if (sketch_.has_cgroups && random_.Percent(80) && Room(3)) {
        const Command retrieve = history_.commands.back();
        sketch_.LiftLimits();
        sketch_.Add(retrieve);
      }
      int file = static_cast<int>(sketch_.files.size()) - 1;
      if (random_.Percent(50) && Room(5)) {
        const SketchFile f = sketch_.files[static_cast<size_t>(file)];
        sketch_.Map(file, 0, std::max<int64_t>(1, f.pages), random_.Percent(60),
                    random_.Percent(20));
        // What was reserved is there, whoever else wants it.
        if (!f.shmem && random_.Percent(20)) sketch_.TakeTheRest(f.page_size);
        if (random_.Percent(70)) sketch_.AnyStep();
        const int mapping = sketch_.MappingOf(file);
        if (mapping >= 0 && random_.Percent(50)) {
          const SketchMapping& m =
              sketch_.mappings[static_cast<size_t>(mapping)];
          sketch_.Write(mapping, m.from + random_.Below(m.length));
        }
      }
    }
  }

  void EndSession(int session) {
    if (sketch_.sessions[static_cast<size_t>(session)].finished) return;
    bool fails = MaybeFail(30, 12);
    MaybeDuring(8, 100);
    if (random_.Percent(15)) {
      // What is finished and closed at once keeps no name in the sketch.
      Command c = Bare(Actor::kAgent, Verb::kDrop);
      c.session = sketch_.sessions[static_cast<size_t>(session)].name;
      sketch_.Add(std::move(c));
      for (SketchFile& f : sketch_.files) {
        if (f.session != sketch_.sessions[static_cast<size_t>(session)].name)
          continue;
        f.held = false;
        f.session = -1;
      }
      sketch_.sessions[static_cast<size_t>(session)].finished = true;
      return;
    }
    sketch_.Finish(session);
    if (fails) Again();
  }

  // Nothing stays open: what was never asked for goes to the pools here.
  void WindUp() {
    if (!sketch_.device_open && !sketch_.sessions.empty()) sketch_.Open();
    for (size_t s = 0; s < sketch_.sessions.size(); ++s) {
      const SketchSession& session = sketch_.sessions[s];
      if (!session.incoming) {
        Command c = Bare(Actor::kAgent, Verb::kDrop);
        c.session = session.name;
        sketch_.Add(std::move(c));
        continue;
      }
      if (!session.open) sketch_.Take(static_cast<int>(s));
      if (!session.finished) sketch_.Finish(static_cast<int>(s));
    }
  }

  Random random_;
  History history_;
  Sketch sketch_;
  bool large_ = false;
  int faults_left_ = 0;
  bool real_ = false;
  bool corrupts_ = false;
  bool interleaves_ = false;
  bool frees_ = false;
  bool areas_ = false;   // kernels may have areas of hugetlb_cma=
  bool calm_ = false;    // a long chain
  bool mounts_ = false;  // files of mounts of hugetlbfs come into it
  int updates_left_ = 1;
  int64_t target_ = 30;
};

}  // namespace

History Generate(uint64_t seed, const GeneratorOptions& options) {
  return Scenario(seed, options).Make();
}

}  // namespace handover::props
