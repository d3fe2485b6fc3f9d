// SPDX-License-Identifier: BSD-3-Clause
#include "model/guest_log.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "model/kernel_log.h"

namespace handover::model {
namespace {

constexpr absl::string_view kPrefix = "handover: ";
// What the kernel takes in one line of its log, less what it puts before it.
constexpr size_t kLineBytes = 700;
constexpr absl::string_view kKinds[] = {"done", "blocked", "sigbus", "sigsegv",
                                        "killed"};

std::string_view Std(absl::string_view text) {
  return {text.data(), text.size()};
}

std::string Line(absl::string_view text) { return absl::StrCat(kPrefix, text); }

// "[   12.345678] " and the like; escapes that firmware sends to a terminal.
std::string Bare(absl::string_view line) {
  std::string out;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b') {
      while (i < line.size() &&
             !absl::ascii_isalpha(static_cast<unsigned char>(line[i])))
        ++i;
      continue;
    }
    if (line[i] != '\r') out.push_back(line[i]);
  }
  size_t from = 0;
  if (!out.empty() && out[0] == '[') {
    const size_t close = out.find(']');
    if (close != std::string::npos)
      from = std::min(out.size(), out.find_first_not_of(' ', close + 1));
  }
  return out.substr(from);
}

// The words of a line, taken one by one as numbers.
class Words {
 public:
  explicit Words(absl::string_view text)
      : words_(absl::StrSplit(text, ' ', absl::SkipEmpty())) {}

  bool Done() const { return at_ == words_.size(); }
  absl::string_view Next() { return Done() ? "" : words_[at_++]; }
  absl::string_view Peek() const { return Done() ? "" : words_[at_]; }

  template <typename T>
  bool Number(T* out) {
    int64_t signed_number = 0;
    uint64_t number = 0;
    const absl::string_view word = Next();
    if (absl::SimpleAtoi(word, &signed_number)) {
      *out = static_cast<T>(signed_number);
      return true;
    }
    if (!absl::SimpleAtoi(word, &number)) return false;
    *out = static_cast<T>(number);
    return true;
  }

 private:
  std::vector<absl::string_view> words_;
  size_t at_ = 0;
};

bool Hex(absl::string_view word, uint64_t* out) {
  return absl::SimpleHexAtoi(word, out);
}

class Reader {
 public:
  bool Take(absl::string_view line) {
    if (!absl::ConsumePrefix(&line, kPrefix)) {
      Message(line);
      return true;
    }
    Words words(line);
    const absl::string_view what = words.Next();
    if (what == "guest") return Guest(&words);
    if (what == "trouble") {
      log_.broken_off = absl::StrCat("the guest's agent says: ",
                                     absl::StripPrefix(line, "trouble "));
      return true;
    }
    if (!begun_) return false;
    if (what == "outcome") return OutcomeOf(&words);
    if (what == "pool") return Pool(&words);
    if (what == "words") return WordList(&words);
    if (what == "file") return File(&words);
    if (what == "page") return Pages(&words);
    if (what == "session") return Session(&words);
    if (what == "seen" || what == "same") return Seen(&words, what == "same");
    if (what == "reboot") return words.Number(&rebooting_);
    if (what == "end") {
      ended_ = true;
      return true;
    }
    return false;
  }

  GuestLog Log() && {
    if (log_.broken_off.empty() && !ended_) {
      log_.broken_off =
          !begun_ ? "no agent of a guest ran"
          : rebooting_ != kNowhere
              ? absl::StrCat("no kernel came after command ", rebooting_)
              : absl::StrCat("nothing was heard after command ",
                             log_.steps.empty() ? -1 : log_.steps.back().place);
      if (o_.warned) absl::StrAppend(&log_.broken_off, ": ", o_.message);
    }
    return std::move(log_);
  }

 private:
  static constexpr int64_t kNowhere = -2;

  void Message(absl::string_view line) {
    ReadKernelMessage(Std(line), &o_.shortage_reported, &reported_, &sized_,
                      &o_.handing);
    if (o_.warned || !IsKernelTrouble(Std(line))) return;
    o_.warned = true;
    o_.message = std::string(line);
  }

  bool Guest(Words* words) {
    int version = 0, generation = 0;
    int64_t next = 0;
    absl::string_view word;
    if (!words->Number(&version) || version != kGuestLogVersion) return false;
    word = words->Next();
    if (!absl::ConsumePrefix(&word, "kernel=") ||
        !absl::SimpleAtoi(word, &generation))
      return false;
    word = words->Next();
    if (!absl::ConsumePrefix(&word, "next=") || !absl::SimpleAtoi(word, &next))
      return false;
    if (begun_ && next != rebooting_ + 1) {
      log_.broken_off = absl::StrCat(
          "another kernel booted out of turn, after ", "command ", next - 1);
      return false;
    }
    if (begun_) {
      o_.rebooted = true;
      o_.before = last_;
      o_.before_exact = false;
    }
    begun_ = true;
    rebooting_ = kNowhere;
    generation_ = generation;
    // Of this kernel, though read before its agent spoke.
    std::vector<Reserved> mine(
        reported_.begin() + static_cast<std::ptrdiff_t>(of_old_kernel_),
        reported_.end());
    reported_ = std::move(mine);
    sized_.erase(sized_.begin(), sized_.begin() + sized_of_old_kernel_);
    Begin();
    return true;
  }

  void Begin() {
    o_.after.Clear();
    o_.after.regions_known = o_.after.quarantine_known = false;
    o_.after.charges_known = false;
    o_.cells.clear();
    words_.clear();
  }

  bool OutcomeOf(Words* words) {
    int64_t place = 0;
    if (!words->Number(&place)) return false;
    const absl::string_view kind = words->Next();
    const auto* known = std::find(std::begin(kKinds), std::end(kKinds), kind);
    if (known == std::end(kKinds)) return false;
    o_.outcome.kind = static_cast<Outcome::Kind>(known - std::begin(kKinds));
    rebooting_ = kNowhere;
    return words->Number(&o_.outcome.result) &&
           Hex(words->Next(), &o_.outcome.value) &&
           words->Number(&o_.outcome.frame) &&
           words->Number(&o_.outcome.node) && words->Done();
  }

  bool Pool(Words* words) {
    if (o_.after.nr_pools == kMaxPageSizes) return false;
    PoolView& pool = o_.after.pool[static_cast<size_t>(o_.after.nr_pools++)];
    pool = PoolView();
    if (!words->Number(&pool.page_size) || !words->Number(&pool.resv) ||
        !words->Number(&pool.overcommit))
      return false;
    for (size_t n = 0; !words->Done(); ++n) {
      const std::vector<absl::string_view> parts =
          absl::StrSplit(words->Next(), ',');
      if (n == kMaxNodes || parts.size() != 4) return false;
      NodeCounts& node = pool.node[n];
      if (!absl::SimpleAtoi(parts[0], &node.nr) ||
          !absl::SimpleAtoi(parts[1], &node.free) ||
          !absl::SimpleAtoi(parts[2], &node.surplus) ||
          !absl::SimpleAtoi(parts[3], &node.allocatable))
        return false;
    }
    return true;
  }

  bool WordList(Words* words) {
    while (!words->Done()) {
      uint64_t at = 0;
      if (!words->Number(&at)) return false;
      words_.push_back(at);
    }
    return true;
  }

  bool File(Words* words) {
    FileView view;
    if (!words->Number(&view.name) || !words->Number(&view.inode) ||
        !words->Number(&view.page_size) || !words->Number(&view.size) ||
        !words->Number(&view.position) || !words->Number(&view.seals) ||
        !words->Number(&view.mode) || !words->Done())
      return false;
    view.pages_begin = view.pages_end =
        static_cast<uint32_t>(o_.after.pages.size());
    o_.after.files.push_back(view);
    return true;
  }

  bool Pages(Words* words) {
    if (o_.after.files.empty()) return false;
    while (!words->Done()) {
      PageView page;
      if (!words->Number(&page.index) || !words->Number(&page.frame) ||
          !words->Number(&page.node))
        return false;
      const size_t first = o_.cells.size();
      for (uint64_t at : words_) o_.cells.push_back({page.frame, at, 0});
      for (; !words->Done() && words->Peek() != ";"; words->Next()) {
        const std::pair<absl::string_view, absl::string_view> word =
            absl::StrSplit(words->Peek(), absl::MaxSplits('=', 1));
        uint64_t at = 0, value = 0;
        if (!absl::SimpleAtoi(word.first, &at) || !Hex(word.second, &value))
          return false;
        const auto it = std::find(words_.begin(), words_.end(), at);
        if (it == words_.end()) return false;
        o_.cells[first + static_cast<size_t>(it - words_.begin())].value =
            value;
      }
      words->Next();  // ";"
      o_.after.pages.push_back(page);
    }
    o_.after.files.back().pages_end =
        static_cast<uint32_t>(o_.after.pages.size());
    return true;
  }

  bool Session(Words* words) {
    SessionView view;
    if (!words->Number(&view.name)) return false;
    const absl::string_view way = words->Next();
    view.incoming = way == "in";
    o_.after.sessions.push_back(view);
    return view.incoming || way == "out";
  }

  bool Seen(Words* words, bool same) {
    GuestStep step;
    if (!words->Number(&step.place) || !words->Done()) return false;
    if (same) {
      o_.after = last_;
      o_.cells = last_cells_;
    }
    o_.after.generation = generation_;
    o_.after.reported = reported_;
    of_old_kernel_ = reported_.size();
    o_.after.sized = sized_;
    sized_of_old_kernel_ = static_cast<std::ptrdiff_t>(sized_.size());
    last_ = o_.after;
    last_cells_ = o_.cells;
    step.observation = o_;
    log_.steps.push_back(std::move(step));
    o_.Clear();
    Begin();
    return true;
  }

  GuestLog log_;
  Observation o_;
  Snapshot last_;
  std::vector<Cell> last_cells_;
  std::vector<uint64_t> words_;
  std::vector<Reserved> reported_;
  size_t of_old_kernel_ = 0;
  std::vector<SizedPool> sized_;
  std::ptrdiff_t sized_of_old_kernel_ = 0;
  int generation_ = 1;
  int64_t rebooting_ = kNowhere;
  bool begun_ = false;
  bool ended_ = false;
};

}  // namespace

std::string GuestLine(int generation, int64_t next) {
  return Line(absl::StrCat("guest ", kGuestLogVersion, " kernel=", generation,
                           " next=", next));
}

std::string OutcomeLine(int64_t place, const Outcome& o) {
  return Line(absl::StrCat("outcome ", place, " ",
                           kKinds[static_cast<size_t>(o.kind)], " ", o.result,
                           " ", absl::Hex(o.value), " ", o.frame, " ", o.node));
}

std::vector<std::string> SnapshotLines(const Snapshot& snapshot, int nodes,
                                       const std::vector<uint64_t>& words,
                                       const std::vector<Cell>& cells) {
  std::vector<std::string> lines;
  for (int i = 0; i < snapshot.nr_pools; ++i) {
    const PoolView& pool = snapshot.pool[static_cast<size_t>(i)];
    std::string line = absl::StrCat("pool ", pool.page_size, " ", pool.resv,
                                    " ", pool.overcommit);
    for (int n = 0; n < nodes; ++n) {
      const NodeCounts& node = pool.node[static_cast<size_t>(n)];
      absl::StrAppend(&line, " ", node.nr, ",", node.free, ",", node.surplus,
                      ",", node.allocatable);
    }
    lines.push_back(Line(line));
  }
  std::string list = "words";
  for (uint64_t at : words) absl::StrAppend(&list, " ", at);
  lines.push_back(Line(list));
  for (const FileView& view : snapshot.files) {
    lines.push_back(Line(absl::StrCat(
        "file ", view.name, " ", view.inode, " ", view.page_size, " ",
        view.size, " ", view.position, " ", view.seals, " ", view.mode)));
    std::string line;
    for (uint32_t i = view.pages_begin; i < view.pages_end; ++i) {
      const PageView& page = snapshot.pages[i];
      std::string text =
          absl::StrCat(page.index, " ", page.frame, " ", page.node);
      for (const Cell& cell : cells)
        if (cell.frame == page.frame && cell.value != 0)
          absl::StrAppend(&text, " ", cell.at, "=", absl::Hex(cell.value));
      if (!line.empty() && line.size() + text.size() > kLineBytes) {
        lines.push_back(Line(line));
        line.clear();
      }
      absl::StrAppend(&line, line.empty() ? "page " : " ; ", text);
    }
    if (!line.empty()) lines.push_back(Line(line));
  }
  for (const SessionView& session : snapshot.sessions)
    lines.push_back(Line(absl::StrCat("session ", session.name,
                                      session.incoming ? " in" : " out")));
  return lines;
}

std::string SeenLine(int64_t place) {
  return Line(absl::StrCat("seen ", place));
}
std::string SameLine(int64_t place) {
  return Line(absl::StrCat("same ", place));
}
std::string RebootLine(int64_t place) {
  return Line(absl::StrCat("reboot ", place));
}
std::string TroubleLine(std::string_view text) {
  return Line(
      absl::StrCat("trouble ", absl::string_view(text.data(), text.size())));
}
std::string EndLine() { return Line("end"); }

absl::StatusOr<GuestLog> ReadGuestLog(std::string_view text) {
  Reader reader;
  int64_t number = 0;
  for (absl::string_view line :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    const std::string bare = Bare(line);
    if (!reader.Take(bare))
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, " is not what a guest's agent of this ",
                       "version writes there: ", bare.substr(0, 80)));
  }
  return std::move(reader).Log();
}

}  // namespace handover::model
