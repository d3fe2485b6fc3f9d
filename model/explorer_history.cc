// SPDX-License-Identifier: BSD-3-Clause
#include "model/explorer_history.h"

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/explorer_state.h"

namespace handover::model {
namespace {

absl::string_view View(std::string_view text) {
  return {text.data(), text.size()};
}

class Writer {
 public:
  Writer(const Design& design, const Bounds& bounds,
         const Counterexample& found)
      : bounds_(bounds),
        unwinds_(design.unwinds),
        hands_over_free_(design.snapshot != Design::Snapshot::kNone) {
    bool listing = false;
    int generation = 0;
    for (const ExploredStep& step : found.steps) {
      const K kind = step.action.kind;
      something_else_ |= step.generation == 1 && kind == K::kListFails;
      listing = kind == K::kList || (listing && step.generation == generation);
      generation = step.generation;
      if (listing && kind == K::kUseFree) list_lies_in_ = step.generation;
    }
    if (bounds.nodes == 1) asked_ = {2, 0};
    pool_ = asked_;
    pools_ = bounds.nodes == 2 ? "hugepagesz=16K hugepages=0:1,1:1"
                               : "hugepagesz=16K hugepages=2";
  }

  void Begin() {
    Line("history 1");
    Line("geometry small nodes=", bounds_.nodes);
    // What else there is has pages of its own.
    Line("boot ", !something_else_     ? pools_
                  : bounds_.nodes == 2 ? "hugepagesz=16K hugepages=0:2,1:2"
                                       : "hugepagesz=16K hugepages=4");
    for (int f = 0; f < bounds_.files; ++f) {
      Line("p0 memfd f", f, " 16K");
      Map(f);
    }
    if (something_else_) {
      Line("p0 memfd f9 16K");
      Line("p0 map f9 m9 0 1 noreserve");
    }
    HandOverFree();
    Line("agent open");
  }

  void Add(size_t number, const ExploredStep& step) {
    Comment(absl::StrCat(number, ". ", step.what));
    if (step.differs)
      Comment("   (the kernel code does not do this, or not so)");
    Do(step);
  }

  // Until it shows what became of it.
  void End() {
    Comment("What became of it:");
    if (!during_.empty() || !agent_.empty()) Flush();
    // Whether a file that came back from the reboot call is as it was.
    for (int f = 0; f < bounds_.files && kernel_ == 1 && came_back_; ++f)
      for (int i = 0; i < bounds_.indices; ++i) Line("p0 read m", f, " ", i);
    if (kernel_ == 1 && any_out()) Reboot(), Flush();
    if (kernel_ > 1) {
      for (int f = 0; f < bounds_.files; ++f)
        if (file_[f].incoming >= 0 && !file_[f].open) Retrieve(f);
    }
    for (int f = 0; f < bounds_.files; ++f) {
      if (!file_[f].open) continue;
      for (int i = 0; i < bounds_.indices; ++i)
        if (file_[f].touched[static_cast<size_t>(i)])
          Line("p0 read m", f, " ", i);
    }
    Line("admin nr 16K 2");
    FinishAll(3);
    for (int f = 0; f < bounds_.files; ++f)
      if (file_[f].session >= 0) Line("agent drop s", file_[f].session);
    if (kernel_ > 1) {
      // Whether what is left survives once more.
      Line("loader load ", pools_);
      Line("agent reboot");
    }
  }

  std::string Text() { return std::move(text_); }

 private:
  using K = XAction::Kind;

  struct File {
    bool open = true;
    int session = -1;   // in which it is preserved, or was to be
    int incoming = -1;  // in which it comes
    bool out = false;
    bool published = false;
    std::array<bool, 2> touched{};
  };

  template <typename... Words>
  void Line(const Words&... words) {
    absl::StrAppend(&text_, words..., "\n");
  }
  void Comment(const std::string& text) { Line("# ", text); }

  // What is allocated next comes to lie in a page that leaves the pool.
  void FillMemory() {
    Comment("   (all other memory is in use, but what is in the pool)");
    Line("admin nr 64K 999");
    Line("admin nr 16K 999");
    for (int n = 0; n < bounds_.nodes; ++n)
      Line("admin nr 16K ", pool_[static_cast<size_t>(n)], " node=", n);
  }

  // Of each kernel by itself.
  void HandOverFree() {
    if (hands_over_free_) Line("admin preserve-free 16K on");
  }

  bool any_out() const { return file_[0].out || file_[1].out; }

  void Map(int f) {
    for (int p = 0; p < bounds_.processes; ++p) Line(MapCommand(p, f));
  }
  std::string MapCommand(int p, int f) const {
    return absl::StrCat("p", p, " map f", f, " m", f, " 0 ", bounds_.indices,
                        " noreserve");
  }

  // A name that nothing has yet, in this kernel.
  void Create(int f) {
    Other(absl::StrCat("p0 memfd f", f, " 16K"));
    for (int p = 0; p < bounds_.processes; ++p) Other(MapCommand(p, f));
    file_[f] = File();
  }

  // What others do: at once, or during what the agent does. The agent's command
  // is written when all of its steps are known.
  void Other(const std::string& command) {
    if (agent_.empty())
      Line(command);
    else
      during_.emplace_back(agent_steps_, command);
  }

  void Start(const std::string& command) {
    agent_ = command;
    agent_steps_ = 0;
    fails_ = -1;
  }

  // Something else has failed, if there was something.
  void FlushReboot() {
    Flush();
    came_back_ = true;
    if (something_else_ && kernel_ == 1) Line("agent drop s98");
  }

  void Flush() {
    // One more than there were, so that nothing is at the very end.
    for (const auto& [at, command] : during_)
      Line("sim during ", 1000 * (2 * at + 1) / (2 * agent_steps_ + 2), " ",
           command);
    if (fails_ >= 0)
      Line("sim fail ",
           last_ ? 1000 : 1000 * (2 * fails_ + 1) / (2 * agent_steps_ + 2));
    last_ = false;
    // It would have had more steps.
    if (cut_)
      Line("sim cut ", 1000 * (2 * agent_steps_ + 1) / (2 * agent_steps_ + 4));
    cut_ = false;
    if (!agent_.empty()) Line(agent_);
    during_.clear();
    agent_.clear();
  }

  void OpenSession(int f) {
    if (file_[f].session >= 0) return;
    file_[f].session = 10 * kernel_ + f;
    Line("agent session s", file_[f].session);
  }

  void Reboot() {
    Line("loader load ", pools_);
    Start("agent reboot");
  }

  // `cut`: something else may come in the design than in the code. It is asked
  // for all the same.
  void NextKernel(bool cut = false) {
    ++kernel_;
    pool_ = asked_;
    HandOverFree();
    Line("agent open");
    for (File& file : file_) {
      file.incoming = file.published || (cut && file.out) ? file.session : -1;
      if (file.incoming >= 0) Line("agent take s", file.incoming);
      file.open = file.out = file.published = false;
      file.session = -1;
    }
  }

  void Retrieve(int f) {
    Line("agent retrieve s", file_[f].incoming, " ", f, " f", f);
    Retrieved(f);
  }
  void Retrieved(int f) {
    file_[f].open = true;
    Map(f);
  }

  // `stuck`: where a page is that KHO does not let go of; or -1.
  void FinishAll(int files, int stuck = -1) {
    for (int f = 0; f < bounds_.files; ++f) {
      if ((files & 1 << f) == 0 || file_[f].incoming < 0) continue;
      Start(absl::StrCat("agent finish s", file_[f].incoming));
      if (stuck >= 0 && stuck / 2 == f) fails_ = agent_steps_ = stuck % 2 + 1;
      Flush();
      Line("agent drop s", file_[f].incoming);
      file_[f].incoming = -1;
    }
  }

  void Touch(const ExploredStep& step, const char* verb,
             const std::string& rest) {
    const XAction& a = step.action;
    file_[a.slot / 2].touched[a.slot % 2] = true;
    Other(absl::StrCat("p", a.who, " ", verb, " m", a.slot / 2, " ", a.slot % 2,
                       rest));
  }

  void Do(const ExploredStep& step) {
    const XAction& a = step.action;
    const int f = a.slot / 2;
    switch (a.kind) {
      case K::kFault:
        // The page is taken from there when the access comes, which is where
        // the page is added.
        if (bounds_.nodes == 2 && agent_.empty())
          Line("p", a.who, " bind ", step.node);
        break;
      case K::kCreate:
        Create(f);
        break;
      case K::kAdd:
        Touch(step, "read", "");
        break;
      case K::kWrite:
        Touch(step, "write", absl::StrCat(" ", ++value_));
        break;
      case K::kTakeOut:
        Other(absl::StrCat("p", a.who, " punch f", f, " ", a.slot % 2, " 1"));
        break;
      case K::kTruncate:
        Other(absl::StrCat("p", a.who, " truncate f", f, " ", a.size));
        break;
      case K::kShrink:
        Other(absl::StrCat("admin nr 16K ", step.pool, " node=", step.node));
        pool_[static_cast<size_t>(step.node)] = step.pool;
        break;
      case K::kSetNr:
        Other("admin nr 16K 2");
        break;
      case K::kPreserve:
        OpenSession(f);
        Start(absl::StrCat("agent preserve s", file_[f].session, " ", f, " f",
                           f));
        file_[f].out = true;
        break;
      case K::kPreserveFails:
        OpenSession(f);
        Start(absl::StrCat("agent preserve s", file_[f].session, " ", f, " f",
                           f));
        agent_steps_ = bounds_.indices;
        fails_ = 0;
        if (!unwinds_) Flush();
        break;
      case K::kPreserveTwice:
        Line("agent session s", 100 + f);
        Line("agent preserve s", 100 + f, " ", f, " f", f);
        break;
      case K::kLook:
        ++agent_steps_;
        if (a.slot % 2 == 1) Flush();
        break;
      case K::kLookFails:
        fails_ = ++agent_steps_;
        file_[f].out = false;
        if (!unwinds_) Flush();
        break;
      case K::kUnpreserve:
        Start(absl::StrCat("agent drop s", file_[f].session));
        ++agent_steps_;
        file_[f].session = -1;
        file_[f].out = file_[f].published = false;
        break;
      case K::kLetGo:
        Flush();
        break;
      case K::kReboot:
        Flush();
        // What else can fail: another file, which has a late page.
        if (something_else_ && kernel_ == 1) {
          Line("agent session s98");
          Line("agent preserve s98 9 f9");
          Line("p0 write m9 0 9");
        }
        if (kernel_ == list_lies_in_) FillMemory();
        Reboot();
        break;
      case K::kFreeze:
        ++agent_steps_;
        file_[f].published = true;
        order_[static_cast<size_t>(f)] = ++frozen_;
        break;
      case K::kFreezeFails:
      case K::kListFails:
        fails_ = ++agent_steps_;
        last_ = something_else_ && a.kind == K::kListFails;
        if (!file_[0].published && !file_[1].published) FlushReboot();
        break;
      case K::kThaw:
        ++agent_steps_;
        file_[f].published = false;
        if (!file_[0].published && !file_[1].published) FlushReboot();
        break;
      case K::kList:
        if (hands_over_free_) ++agent_steps_;
        break;  // and whoever comes now comes late
      case K::kKeys:
      case K::kKey:
      case K::kLookAgain:
        ++agent_steps_;
        break;
      case K::kKeyFails:
        fails_ = ++agent_steps_;
        break;
      case K::kStopDamaged: {
        // The record that was published last comes first.
        int nth = 0;
        for (int g = 0; g < bounds_.files; ++g)
          nth += file_[g].published && order_[static_cast<size_t>(g)] >
                                           order_[static_cast<size_t>(f)];
        Line("sim corrupt file.csum 1 nth=", nth);
        [[fallthrough]];
      }
      case K::kStop:
        Flush();
        NextKernel();
        break;
      case K::kCut:
        if (agent_.empty()) Start("agent session s99");  // a command like any
        cut_ = true;
        Flush();
        NextKernel(/*cut=*/true);
        break;
      case K::kPowerCut:
        Flush();
        Line("sim power");
        for (File& file : file_) file.published = false;
        NextKernel();
        break;
      case K::kRetrieve:
        Start(absl::StrCat("agent retrieve s", file_[f].incoming, " ", f, " f",
                           f));
        break;
      case K::kRestore:
        ++agent_steps_;
        if (a.slot % 2 == 0) break;
        Flush();
        Retrieved(f);
        break;
      case K::kRestoreFails:
        fails_ = ++agent_steps_;
        Flush();
        break;
      case K::kFinishFile:
        FinishAll(1 << f);
        break;
      case K::kFinishFails:
        FinishAll(1 << f, a.slot);
        break;
      case K::kUseFree:
        if (kernel_ != list_lies_in_)
          Comment("   (no command makes KHO take this page)");
        break;
      case K::kImportFails:
      case K::kImportKeeps:
        Comment("   (a failing call of the reboot)");
        break;
      case K::kJoin:
      case K::kAddFails:
      case K::kKilled:
      case K::kAbort:
      case K::kFinish:
      case K::kTakeOutEntry:
      case K::kTruncateEntry:
      case K::kWake:
      case K::kFill:
      case K::kImport:
      case K::kImported:
      case K::kImportLate:
        break;
    }
  }

  const Bounds& bounds_;
  const bool unwinds_;  // what failed
  const bool hands_over_free_;
  std::string pools_;
  std::string text_;
  std::array<int, 2> asked_{1, 1};
  std::array<int, 2> pool_;
  int list_lies_in_ = 0;  // the kernel whose list of free pages lies in one
  std::array<File, 2> file_;
  std::array<int, 2> order_{};
  int frozen_ = 0;
  int kernel_ = 1;
  int value_ = 0;
  std::string agent_;            // its command that is under way
  int agent_steps_ = 0;          // of it, so far
  int fails_ = -1;               // in which
  bool cut_ = false;             // its kernel ends in the middle of it
  bool last_ = false;            // the last call that can fail does
  bool something_else_ = false;  // there is what else can fail, a file
  bool came_back_ = false;       // a reboot call
  std::vector<std::pair<int, std::string>> during_;
};

}  // namespace

std::string CounterexampleHistory(const Design& design, size_t property,
                                  const Bounds& bounds,
                                  const Counterexample& found) {
  std::string text =
      absl::StrCat("# How the design ", View(design.name), " breaks ",
                   View(ExploredName(property)), ": ", found.why,
                   ".\n# Each step of the explorer's machine is a comment, "
                   "with what does it "
                   "in front of or\n# behind it. The kernel code holds.\n");
  Writer writer(design, bounds, found);
  writer.Begin();
  for (size_t i = 0; i < found.steps.size(); ++i)
    writer.Add(i + 1, found.steps[i]);
  writer.End();
  return text + writer.Text();
}

}  // namespace handover::model
