// SPDX-License-Identifier: BSD-3-Clause
#include "model/history.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace handover::model {
namespace {

constexpr std::string_view kGeometryNames[] = {"small", "x86", "arm64"};

constexpr std::string_view kVerbNames[kVerbs] = {
    "memfd",      "shmem",       "mount",         "truncate",  "map",
    "unmap",      "write",       "read",          "fallocate", "punch",
    "seal",       "seek",        "bind",          "pin",       "close",
    "exit",       "nr",          "overcommit",    "demote",    "offline",
    "poison",     "poison-free", "preserve-free", "cgroup",    "rmdir",
    "move",       "limit",       "open",          "close",     "session",
    "drop",       "preserve",    "reboot",        "take",      "retrieve",
    "finish",     "load",        "fail",          "during",    "dev",
    "interleave", "corrupt",     "cut",           "power",
};

// How each is written, in the words of docs/history.md.
constexpr std::string_view kForms[kVerbs] = {
    "p0 memfd F SIZE [sealable] [noexec]",
    "p0 shmem F",
    "p0 mount F SIZE [size=PAGES] [min_size=PAGES] [unlinked]",
    "p0 truncate F PAGES",
    "p0 map F M OFF LEN [ro] [private] [noreserve]",
    "p0 unmap M",
    "p0 write M PAGE VALUE [at=OFFSET]",
    "p0 read M PAGE [at=OFFSET]",
    "p0 fallocate F OFF LEN [keep]",
    "p0 punch F OFF LEN",
    "p0 seal F LIST",
    "p0 seek F POS",
    "p0 bind N|any",
    "p0 pin F PAGE",
    "p0 close F",
    "p0 exit",
    "admin nr SIZE COUNT [node=N]",
    "admin overcommit SIZE COUNT",
    "admin demote SIZE COUNT [node=N]",
    "admin offline F PAGE",
    "admin poison F PAGE [at=OFFSET]",
    "admin poison-free SIZE [node=N] [at=OFFSET]",
    "admin preserve-free SIZE on|off",
    "admin cgroup C [in=C]",
    "admin rmdir C",
    "admin move P|agent C|root",
    "admin limit C usage|rsvd|memory SIZE COUNT|max",
    "agent open",
    "agent close",
    "agent session S",
    "agent drop S",
    "agent preserve S TOKEN F",
    "agent reboot",
    "agent take S",
    "agent retrieve S TOKEN F",
    "agent finish S",
    "loader load [no-size=SIZE]... [no-option] COMMAND LINE",
    "sim fail N [KIND]",
    "sim during STEP COMMAND",
    "sim dev F PAGE VALUE [at=OFFSET]",
    "sim interleave SEED",
    "sim corrupt TARGET DELTA [nth=K] [resum]",
    "sim cut STEP",
    "sim power",
};

constexpr std::string_view kTargetNames[kTargets] = {
    "root.address",   "root.bytes",       "root.magic",     "root.version",
    "root.csum",      "root.nr_counts",   "root.files",     "root.nr_files",
    "root.nodes",     "root.order",       "root.nid",       "root.count",
    "error.address",  "error.nr",         "error.csum",     "file.magic",
    "file.version",   "file.csum",        "file.order",     "file.next",
    "file.runs",      "file.late",        "file.resv",      "file.owners",
    "file.nr_owners", "file.size",        "file.pos",       "file.nr_pages",
    "file.nr_resv",   "file.seals",       "file.mode",      "file.nr_counts",
    "file.flags",     "file.count_order", "file.count_nid", "file.count",
    "block.next",     "block.magic",      "block.csum",     "block.nr",
    "run.index",      "run.nr",           "run.frame",      "run.owner",
    "owner.next",     "owner.magic",      "owner.csum",     "owner.nr",
    "owner.path",     "luo.data",
};

constexpr std::string_view kFailKindNames[] = {"any", "alloc", "kho", "other",
                                               "charge"};
constexpr std::string_view kChargeNames[] = {"usage", "rsvd", "memory"};

struct SealName {
  std::string_view name;
  uint32_t bit;
};
// In the order they are printed in.
constexpr SealName kSealNames[] = {
    {"seal", kSealSeal},
    {"shrink", kSealShrink},
    {"grow", kSealGrow},
    {"write", kSealWrite},
    {"future-write", kSealFutureWrite},
    {"exec", kSealExec},
};

// Pages, counts and positions stay far from overflow in any arithmetic that a
// reader of histories does with them.
constexpr int64_t kMaxPages = int64_t{1} << 30;
constexpr int64_t kMaxBytes = int64_t{1} << 50;
constexpr int64_t kMaxSteps = int64_t{1} << 30;

// ToString() of a string_view that absl can take: Debian's absl has its own
// string_view type.
std::string Str(std::string_view text) { return std::string(text); }

absl::Status Wrong(std::string what) {
  return absl::InvalidArgumentError(std::move(what));
}

// Shown whole in a message; no terminal is to be upset by what stands in a
// file that was no history.
constexpr size_t kMaxQuoted = 60;

std::string Printable(std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= ' ' && byte < 0x7f) {
      out += c;
    } else {
      absl::StrAppend(&out, "\\x", std::string(1, kDigits[byte >> 4]),
                      std::string(1, kDigits[byte & 15]));
    }
  }
  return out;
}

std::string Quote(std::string_view text) {
  return absl::StrCat("'", Printable(text.substr(0, kMaxQuoted)),
                      text.size() > kMaxQuoted ? "..." : "", "'");
}

template <size_t N>
std::string List(const std::string_view (&names)[N], size_t from = 0,
                 size_t to = N) {
  std::string out;
  for (size_t i = from; i < to; ++i)
    absl::StrAppend(&out, i > from ? ", " : "", Str(names[i]));
  return out;
}

bool IsSpace(char c) { return c == ' ' || c == '\t'; }

// Takes words off a line one after the other. The first error sticks and every
// later call gives a default, so that a command's rule reads straight through.
class Words {
 public:
  explicit Words(std::string_view text) : rest_(text) { Trim(); }

  bool empty() const { return rest_.empty(); }
  bool failed() const { return !error_.empty(); }
  const std::string& error() const { return error_; }

  void Fail(std::string what) {
    if (error_.empty()) error_ = std::move(what);
  }

  // What the line should look like, for words that are missing or too many.
  void SetForm(std::string_view form) { form_ = form; }

  std::string_view Peek() const {
    size_t end = 0;
    while (end < rest_.size() && !IsSpace(rest_[end])) ++end;
    return rest_.substr(0, end);
  }

  // The next word; `what` names it in the error.
  std::string_view Word(std::string_view what) {
    if (rest_.empty()) {
      Fail(absl::StrCat("missing ", Str(what), Form()));
      return {};
    }
    std::string_view word = Peek();
    rest_.remove_prefix(word.size());
    Trim();
    return word;
  }

  // All that is left of the line.
  std::string_view Rest() { return std::exchange(rest_, std::string_view()); }

  // Takes the next word if it is `word`.
  bool Flag(std::string_view word) {
    if (failed() || Peek() != word) return false;
    Word(word);
    return true;
  }

  // Takes the next word if it is PREFIX...; gives what stands after it.
  std::optional<std::string_view> Option(std::string_view prefix) {
    if (failed() || Peek().substr(0, prefix.size()) != prefix)
      return std::nullopt;
    return Word(prefix).substr(prefix.size());
  }

  int64_t Number(std::string_view what, int64_t min, int64_t max) {
    return ToNumber(Word(what), what, min, max);
  }

  int64_t ToNumber(std::string_view word, std::string_view what, int64_t min,
                   int64_t max) {
    if (failed()) return min;
    int64_t value = 0;
    auto [end, error] =
        std::from_chars(word.data(), word.data() + word.size(), value);
    // "007" and "-0" would print otherwise than they were read.
    if (error != std::errc() || end != word.data() + word.size() ||
        std::to_string(value) != word) {
      Fail(absl::StrCat(Str(what), " ", Quote(word), " is not a number"));
      return min;
    }
    if (value < min || value > max) {
      Fail(absl::StrCat(Str(what), " ", value, " is not in ", min, "..", max));
      return min;
    }
    return value;
  }

  uint64_t Token() {
    std::string_view word = Word("token");
    uint64_t value = 0;
    auto [end, error] =
        std::from_chars(word.data(), word.data() + word.size(), value);
    if (!failed() &&
        (error != std::errc() || end != word.data() + word.size() ||
         std::to_string(value) != word))
      Fail(absl::StrCat("token ", Quote(word), " is not a number"));
    return value;
  }

  uint64_t Hex(std::string_view what) {
    std::string_view word = Word(what);
    uint64_t value = 0;
    auto [end, error] =
        std::from_chars(word.data(), word.data() + word.size(), value, 16);
    if (!failed() &&
        (error != std::errc() || end != word.data() + word.size() ||
         absl::StrCat(absl::Hex(value)) != Str(word)))
      Fail(absl::StrCat(Str(what), " ", Quote(word),
                        " is not a hexadecimal number (lower case, no 0x)"));
    return value;
  }

  int Name(char letter, std::string_view what) {
    std::string_view word = Word(what);
    if (failed()) return 0;
    if (word.size() < 2 || word[0] != letter) {
      Fail(absl::StrCat(Str(what), " ", Quote(word), " is not like ",
                        std::string(1, letter), "0"));
      return 0;
    }
    return static_cast<int>(ToNumber(word.substr(1), what, 0, kMaxNames - 1));
  }

  uint64_t Size(std::string_view what) { return ToSize(Word(what), what); }

  uint64_t ToSize(std::string_view word, std::string_view what) {
    if (failed()) return 0;
    absl::StatusOr<uint64_t> size = ParseSize(word);
    if (!size.ok()) {
      Fail(absl::StrCat(Str(what), " ", Quote(word),
                        " is not a page size like 16K, 2M, 1G"));
      return 0;
    }
    return *size;
  }

  uint64_t At() {
    std::optional<std::string_view> word = Option("at=");
    if (!word) return 0;
    uint64_t at = static_cast<uint64_t>(
        ToNumber(*word, "at=", 0, (int64_t{1} << 30) - 8));
    if (at % 8 != 0) Fail("at= is not a multiple of 8");
    return at;
  }

  absl::Status End() {
    if (!failed() && !empty())
      Fail(absl::StrCat(Quote(Peek()), " is too much, or in the wrong place",
                        Form()));
    if (failed()) return Wrong(error_);
    return absl::OkStatus();
  }

 private:
  std::string Form() const {
    return form_.empty() ? "" : absl::StrCat(": ", Str(form_));
  }

  void Trim() {
    while (!rest_.empty() && IsSpace(rest_.front())) rest_.remove_prefix(1);
    while (!rest_.empty() && IsSpace(rest_.back())) rest_.remove_suffix(1);
  }

  std::string_view rest_;
  std::string_view form_;
  std::string error_;
};

template <size_t N>
int Find(const std::string_view (&names)[N], std::string_view name) {
  for (size_t i = 0; i < N; ++i)
    if (names[i] == name) return static_cast<int>(i);
  return -1;
}

// A kernel command line is printed as words with one space between them.
std::string OneSpace(std::string_view text) {
  std::string out;
  Words words(text);
  while (!words.empty()) {
    if (!out.empty()) out += ' ';
    out += words.Word("word");
  }
  return out;
}

// Takes one of the verbs from `first` to `last`; false: it is none of them.
bool ParseVerb(Words* words, std::string_view who, std::string_view verb,
               Verb first, Verb last, Command* c) {
  const auto begin = static_cast<size_t>(first),
             end = static_cast<size_t>(last) + 1;
  for (size_t v = begin; v < end; ++v) {
    if (kVerbNames[v] != verb) continue;
    c->verb = static_cast<Verb>(v);
    words->SetForm(kForms[v]);
    return true;
  }
  words->Fail(absl::StrCat(Str(who), " cannot ", Quote(verb), ", but ",
                           List(kVerbNames, begin, end)));
  return false;
}

uint32_t ParseSeals(Words* words) {
  std::string_view list = words->Word("seals");
  uint32_t seals = 0;
  while (!words->failed()) {
    size_t comma = list.find(',');
    std::string_view name = list.substr(0, comma);
    uint32_t bit = 0;
    for (const SealName& seal : kSealNames)
      if (seal.name == name) bit = seal.bit;
    if (bit == 0 || (seals & bit)) {
      words->Fail(absl::StrCat(Quote(name), " is not a seal, or is there ",
                               "twice (seal, shrink, grow, write, ",
                               "future-write, exec)"));
    }
    seals |= bit;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return seals;
}

void ParseProcessVerb(Words* words, std::string_view verb, Command* c) {
  if (!ParseVerb(words, "a process", verb, Verb::kMemfd, Verb::kExit, c))
    return;
  switch (c->verb) {
    case Verb::kMemfd:
      c->file = words->Name('f', "file");
      c->page_size = words->Size("page size");
      c->sealable = words->Flag("sealable");
      c->noexec = words->Flag("noexec");
      break;
    case Verb::kShmem:
    case Verb::kClose:
      c->file = words->Name('f', "file");
      break;
    case Verb::kMount:
      c->file = words->Name('f', "file");
      c->page_size = words->Size("page size");
      if (std::optional<std::string_view> most = words->Option("size="))
        c->most = words->ToNumber(*most, "size=", 0, kMaxPages);
      if (std::optional<std::string_view> least = words->Option("min_size="))
        c->least = words->ToNumber(*least, "min_size=", 0, kMaxPages);
      c->unlinked = words->Flag("unlinked");
      break;
    case Verb::kTruncate:
      c->file = words->Name('f', "file");
      c->page = words->Number("pages", 0, kMaxPages);
      break;
    case Verb::kMap:
      c->file = words->Name('f', "file");
      c->mapping = words->Name('m', "mapping");
      c->page = words->Number("offset", 0, kMaxPages);
      c->length = words->Number("length", 1, kMaxPages);
      c->read_only = words->Flag("ro");
      c->is_private = words->Flag("private");
      c->no_reserve = words->Flag("noreserve");
      break;
    case Verb::kUnmap:
      c->mapping = words->Name('m', "mapping");
      break;
    case Verb::kWrite:
    case Verb::kRead:
      c->mapping = words->Name('m', "mapping");
      c->page = words->Number("page", 0, kMaxPages);
      if (c->verb == Verb::kWrite) c->value = words->Hex("value");
      c->at = words->At();
      break;
    case Verb::kFallocate:
    case Verb::kPunch:
      c->file = words->Name('f', "file");
      c->page = words->Number("offset", 0, kMaxPages);
      c->length = words->Number("length", 1, kMaxPages);
      if (c->verb == Verb::kFallocate) c->keep_size = words->Flag("keep");
      break;
    case Verb::kSeal:
      c->file = words->Name('f', "file");
      c->seals = ParseSeals(words);
      break;
    case Verb::kSeek:
      c->file = words->Name('f', "file");
      c->position = words->Number("position", 0, kMaxBytes);
      break;
    case Verb::kBind:
      if (!words->Flag("any"))
        c->node = static_cast<int>(words->Number("node", 0, kMaxNodes - 1));
      break;
    case Verb::kPin:
      c->file = words->Name('f', "file");
      c->page = words->Number("page", 0, kMaxPages);
      break;
    default:
      break;  // exit
  }
}

int ParseCgroup(Words* words) {
  const int name = words->Name('c', "cgroup");
  if (name >= kMaxCgroups)
    words->Fail(absl::StrCat("there are cgroups c0 to c", kMaxCgroups - 1));
  return name;
}

void ParseLimit(Words* words, Command* c) {
  std::string_view name = words->Word("what is limited");
  int charge = Find(kChargeNames, name);
  if (!words->failed() && charge < 0)
    words->Fail(
        absl::StrCat(Quote(name), " has no limit (", List(kChargeNames), ")"));
  c->charge = static_cast<Charge>(std::max(charge, 0));
  c->page_size = words->Size("page size");
  c->length = -1;
  if (!words->Flag("max")) c->length = words->Number("count", 0, kMaxPages);
}

void ParseMove(Words* words, Command* c) {
  if (!words->Flag("agent")) {
    c->task = words->Name('p', "process");
    if (c->task >= kMaxProcesses)
      words->Fail(
          absl::StrCat("there are processes p0 to p", kMaxProcesses - 1));
  }
  if (!words->Flag("root")) c->cgroup = ParseCgroup(words);
}

void ParseAdminVerb(Words* words, std::string_view verb, Command* c) {
  if (!ParseVerb(words, "the admin", verb, Verb::kNr, Verb::kLimit, c)) return;
  if (c->verb == Verb::kMove) {
    ParseMove(words, c);
    return;
  }
  if (c->verb >= Verb::kCgroup) {
    c->cgroup = ParseCgroup(words);
    if (c->verb == Verb::kLimit) ParseLimit(words, c);
    if (c->verb != Verb::kCgroup) return;
    if (std::optional<std::string_view> parent = words->Option("in=")) {
      Words in(*parent);
      c->parent = ParseCgroup(&in);
      if (in.failed()) words->Fail(in.error());
    }
    return;
  }
  if (c->verb == Verb::kOffline || c->verb == Verb::kPoison) {
    c->file = words->Name('f', "file");
    c->page = words->Number("page", 0, kMaxPages);
    if (c->verb == Verb::kPoison) c->at = words->At();
    return;
  }
  c->page_size = words->Size("page size");
  if (c->verb == Verb::kPreserveFree) {
    c->on = words->Flag("on");
    if (!c->on && !words->Flag("off")) words->Fail("it is on or off");
    return;
  }
  if (c->verb != Verb::kPoisonFree)
    c->length = words->Number("count", 0, kMaxPages);
  if (c->verb == Verb::kOvercommit) return;
  if (std::optional<std::string_view> node = words->Option("node="))
    c->node =
        static_cast<int>(words->ToNumber(*node, "node=", 0, kMaxNodes - 1));
  if (c->verb == Verb::kPoisonFree) c->at = words->At();
}

void ParseAgentVerb(Words* words, std::string_view verb, Command* c) {
  if (!ParseVerb(words, "the agent", verb, Verb::kOpen, Verb::kFinish, c))
    return;
  if (c->verb == Verb::kOpen || c->verb == Verb::kCloseDevice ||
      c->verb == Verb::kReboot)
    return;
  c->session = words->Name('s', "session");
  if (c->verb != Verb::kPreserve && c->verb != Verb::kRetrieve) return;
  c->token = words->Token();
  c->file = words->Name('f', "file");
}

void ParseLoad(Words* words, std::string_view verb, Command* c) {
  if (!ParseVerb(words, "the loader", verb, Verb::kLoad, Verb::kLoad, c))
    return;
  while (std::optional<std::string_view> size = words->Option("no-size=")) {
    uint64_t bytes = words->ToSize(*size, "no-size=");
    if (!c->missing_sizes.empty() && c->missing_sizes.back() >= bytes)
      words->Fail("no-size= are not in ascending order");
    c->missing_sizes.push_back(bytes);
  }
  c->no_option = words->Flag("no-option");
  c->command_line = OneSpace(words->Rest());
}

absl::Status ParseOne(Words* words, bool nested, Command* c);

void ParseFail(Words* words, Command* c) {
  c->step = words->Number("call", 1, kMaxSteps);
  if (words->empty()) return;
  std::string_view name = words->Word("kind");
  int kind = Find(kFailKindNames, name);
  if (kind < 0)
    words->Fail(absl::StrCat(Quote(name), " is not a kind (",
                             List(kFailKindNames), ")"));
  c->fail_kind = static_cast<FailKind>(std::max(kind, 0));
}

void ParseDuring(Words* words, bool nested, Command* c) {
  if (nested) {
    words->Fail("'during' cannot start another 'during'");
    return;
  }
  c->step = words->Number("step", 1, kMaxSteps);
  if (words->failed()) return;
  Command inner;
  absl::Status status = ParseOne(words, /*nested=*/true, &inner);
  if (!status.ok()) {
    words->Fail(std::string(status.message()));
    return;
  }
  if (inner.actor == Actor::kSim || inner.verb == Verb::kReboot) {
    words->Fail(
        "'during' starts a command of a process, the admin, the "
        "agent or the loader, and no reboot");
    return;
  }
  c->inner.push_back(std::move(inner));
}

void ParseCorrupt(Words* words, Command* c) {
  std::string_view name = words->Word("target");
  int target = Find(kTargetNames, name);
  if (!words->failed() && target < 0)
    words->Fail(absl::StrCat(Quote(name), " is no field of the table (",
                             List(kTargetNames), ")"));
  c->target = static_cast<Target>(std::max(target, 0));
  c->delta = words->Number("delta", std::numeric_limits<int64_t>::min(),
                           std::numeric_limits<int64_t>::max());
  if (std::optional<std::string_view> nth = words->Option("nth="))
    c->nth = words->ToNumber(*nth, "nth=", 0, kMaxPages);
  c->resum = words->Flag("resum");
}

void ParseSimVerb(Words* words, std::string_view verb, bool nested,
                  Command* c) {
  if (!ParseVerb(words, "sim", verb, Verb::kFail, Verb::kPower, c)) return;
  switch (c->verb) {
    case Verb::kFail:
      ParseFail(words, c);
      break;
    case Verb::kDuring:
      ParseDuring(words, nested, c);
      break;
    case Verb::kDev:
      c->file = words->Name('f', "file");
      c->page = words->Number("page", 0, kMaxPages);
      c->value = words->Hex("value");
      c->at = words->At();
      break;
    case Verb::kInterleave:
      c->step = words->Number("seed", 1, kMaxSteps);
      break;
    case Verb::kCut:
      c->step = words->Number("step", 1, kMaxSteps);
      break;
    case Verb::kCorrupt:
      ParseCorrupt(words, c);
      break;
    default:
      break;  // power
  }
}

absl::Status ParseOne(Words* words, bool nested, Command* c) {
  std::string_view actor = words->Word("actor");
  std::string_view verb = words->Word("verb");
  if (words->failed()) return Wrong(words->error());
  if (actor.size() == 2 && actor[0] == 'p' && actor[1] >= '0' &&
      actor[1] < '0' + kMaxProcesses) {
    c->actor = Actor::kProcess;
    c->process = actor[1] - '0';
    ParseProcessVerb(words, verb, c);
  } else if (actor == "admin") {
    c->actor = Actor::kAdmin;
    ParseAdminVerb(words, verb, c);
  } else if (actor == "agent") {
    c->actor = Actor::kAgent;
    ParseAgentVerb(words, verb, c);
  } else if (actor == "loader") {
    c->actor = Actor::kLoader;
    ParseLoad(words, verb, c);
  } else if (actor == "sim") {
    c->actor = Actor::kSim;
    ParseSimVerb(words, verb, nested, c);
  } else {
    words->Fail(absl::StrCat(Quote(actor), " is no actor (p0 to p",
                             kMaxProcesses - 1,
                             ", admin, agent, loader, sim)"));
  }
  return words->End();
}

absl::Status IsText(std::string_view line) {
  for (char c : line)
    if ((static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7f)
      return Wrong(absl::StrCat("byte ", Quote(std::string_view(&c, 1)),
                                " is not text"));
  return absl::OkStatus();
}

absl::Status AtLine(int number, const absl::Status& status) {
  return Wrong(absl::StrCat("line ", number, ": ", status.message()));
}

absl::Status ParseGeometry(Words* words, History* history) {
  words->SetForm("geometry NAME nodes=N");
  std::string_view name = words->Word("name");
  int geometry = Find(kGeometryNames, name);
  if (!words->failed() && geometry < 0)
    words->Fail(
        absl::StrCat(Quote(name), " is no geometry (small, x86, arm64)"));
  history->geometry = static_cast<Geometry>(std::max(geometry, 0));
  std::optional<std::string_view> nodes = words->Option("nodes=");
  if (!nodes) {
    words->Word("nodes=");
    words->Fail("missing nodes=: geometry NAME nodes=N");
  } else {
    history->nodes =
        static_cast<int>(words->ToNumber(*nodes, "nodes=", 1, kMaxNodes));
  }
  return words->End();
}

void PrintFlags(const Command& c, std::string* out) {
  if (c.sealable) *out += " sealable";
  if (c.noexec) *out += " noexec";
  if (c.read_only) *out += " ro";
  if (c.is_private) *out += " private";
  if (c.no_reserve) *out += " noreserve";
  if (c.keep_size) *out += " keep";
  if (c.at != 0) absl::StrAppend(out, " at=", c.at);
}

std::string ActorName(const Command& c) {
  switch (c.actor) {
    case Actor::kProcess:
      return absl::StrCat("p", c.process);
    case Actor::kAdmin:
      return "admin";
    case Actor::kAgent:
      return "agent";
    case Actor::kLoader:
      return "loader";
    case Actor::kSim:
      return "sim";
  }
  return "";
}

}  // namespace

std::string_view GeometryName(Geometry geometry) {
  return kGeometryNames[static_cast<int>(geometry)];
}

const std::vector<uint64_t>& PageSizes(Geometry geometry) {
  constexpr uint64_t kKi = 1024, kMi = kKi * 1024, kGi = kMi * 1024;
  static const auto* const sizes = new std::array<std::vector<uint64_t>, 3>{{
      {16 * kKi, 64 * kKi, 256 * kKi},
      {2 * kMi, kGi},
      {64 * kKi, 2 * kMi, 32 * kMi, kGi},
  }};
  return (*sizes)[static_cast<size_t>(geometry)];
}

uint64_t DefaultPageSize(Geometry geometry) {
  return geometry == Geometry::kSmall ? 64 << 10 : 2 << 20;
}

uint64_t MemoryBlock(Geometry geometry) {
  return geometry == Geometry::kSmall ? 128 << 10 : 128 << 20;
}

bool IsGigantic(Geometry geometry, uint64_t page_size) {
  return page_size > (geometry == Geometry::kSmall ? 128 << 10 : 4 << 20);
}

std::string_view VerbName(Verb verb) {
  return kVerbNames[static_cast<int>(verb)];
}

std::string_view TargetName(Target target) {
  return kTargetNames[static_cast<int>(target)];
}

bool operator==(const Command& a, const Command& b) {
  return a.actor == b.actor && a.verb == b.verb && a.process == b.process &&
         a.file == b.file && a.mapping == b.mapping && a.session == b.session &&
         a.node == b.node && a.token == b.token && a.cgroup == b.cgroup &&
         a.parent == b.parent && a.task == b.task && a.charge == b.charge &&
         a.page_size == b.page_size && a.page == b.page &&
         a.length == b.length && a.at == b.at && a.value == b.value &&
         a.position == b.position && a.seals == b.seals &&
         a.sealable == b.sealable && a.noexec == b.noexec &&
         a.read_only == b.read_only && a.is_private == b.is_private &&
         a.no_reserve == b.no_reserve && a.keep_size == b.keep_size &&
         a.on == b.on && a.unlinked == b.unlinked && a.most == b.most &&
         a.least == b.least && a.step == b.step && a.fail_kind == b.fail_kind &&
         a.target == b.target && a.delta == b.delta && a.nth == b.nth &&
         a.resum == b.resum && a.no_option == b.no_option &&
         a.missing_sizes == b.missing_sizes &&
         a.command_line == b.command_line && a.inner == b.inner;
}

bool operator==(const History& a, const History& b) {
  return a.geometry == b.geometry && a.nodes == b.nodes &&
         a.command_line == b.command_line && a.commands == b.commands;
}

bool IsSimulatorOnly(const Command& command) {
  return command.actor == Actor::kSim;
}

std::string PrintPath(CgroupPath path) {
  if (path == kNobody) return "nobody";
  if (path == kRootPath) return "/";
  std::string out;
  for (; path != kRootPath && path != kNobody; path = ParentPath(path)) {
    const auto name = static_cast<int64_t>(path % (kMaxCgroups + 1)) - 1;
    out.insert(0, absl::StrCat("/c", name));
  }
  return out;
}

std::string PrintSeals(uint32_t seals) {
  if (seals == 0) return "none";
  std::string out;
  for (const SealName& seal : kSealNames) {
    if ((seals & seal.bit) == 0) continue;
    absl::StrAppend(&out, out.empty() ? "" : ",", Str(seal.name));
    seals &= ~seal.bit;
  }
  if (seals != 0)
    absl::StrAppend(&out, out.empty() ? "" : ",", "0x", absl::Hex(seals));
  return out;
}

std::string PrintSize(uint64_t bytes) {
  constexpr uint64_t kKi = 1024;
  if (bytes != 0 && bytes % (kKi * kKi * kKi) == 0)
    return absl::StrCat(bytes / (kKi * kKi * kKi), "G");
  if (bytes != 0 && bytes % (kKi * kKi) == 0)
    return absl::StrCat(bytes / (kKi * kKi), "M");
  return absl::StrCat(bytes / kKi, "K");
}

absl::StatusOr<uint64_t> ParseSize(std::string_view text) {
  uint64_t number = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  size_t digits = static_cast<size_t>(end - text.data());
  if (error != std::errc() || digits + 1 != text.size() || number == 0 ||
      number > 1024)
    return Wrong(absl::StrCat(Quote(text), " is not a size"));
  uint64_t bytes = 0;
  if (text.back() == 'K') bytes = number << 10;
  if (text.back() == 'M') bytes = number << 20;
  if (text.back() == 'G') bytes = number << 30;
  constexpr uint64_t kSmallest = 4096;
  if (bytes < kSmallest || (bytes & (bytes - 1)) != 0 ||
      PrintSize(bytes) != text)
    return Wrong(absl::StrCat(Quote(text), " is not a size"));
  return bytes;
}

absl::StatusOr<Command> ParseCommand(std::string_view text) {
  Words words(text);
  Command command;
  absl::Status status = ParseOne(&words, /*nested=*/false, &command);
  if (!status.ok()) return status;
  return command;
}

absl::StatusOr<History> ParseHistory(std::string_view text) {
  History history;
  // What comes first, in this order; then commands.
  enum { kVersion, kGeometry, kBoot, kCommands } expect = kVersion;
  int line_number = 0;
  // Editors of other systems put a byte order mark first and a carriage return
  // at each line's end.
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark)
    text.remove_prefix(kByteOrderMark.size());
  while (!text.empty()) {
    ++line_number;
    size_t newline = text.find('\n');
    std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size()
                                                         : newline + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    line = line.substr(0, line.find('#'));
    Words words(line);
    if (words.empty()) continue;

    absl::Status status = IsText(line);
    if (!status.ok()) return AtLine(line_number, status);
    auto header = [&words, &status](std::string_view name) {
      if (words.Flag(name)) return true;
      status = Wrong(absl::StrCat(Quote(name), " must come first, not ",
                                  Quote(words.Peek())));
      return false;
    };
    switch (expect) {
      case kVersion:
        if (!header("history")) break;
        words.SetForm("history 1");
        words.Number("version", kHistoryVersion, kHistoryVersion);
        status = words.End();
        expect = kGeometry;
        break;
      case kGeometry:
        if (!header("geometry")) break;
        status = ParseGeometry(&words, &history);
        expect = kBoot;
        break;
      case kBoot:
        if (!header("boot")) break;
        history.command_line = OneSpace(words.Rest());
        expect = kCommands;
        break;
      case kCommands: {
        Command command;
        status = ParseOne(&words, /*nested=*/false, &command);
        history.commands.push_back(std::move(command));
        break;
      }
    }
    if (!status.ok()) return AtLine(line_number, status);
  }
  if (expect != kCommands)
    return Wrong(absl::StrCat("line ", line_number + 1, ": '",
                              expect == kVersion    ? "history"
                              : expect == kGeometry ? "geometry"
                                                    : "boot",
                              "' is missing"));
  return history;
}

std::string Print(const Command& c) {
  std::string out = absl::StrCat(ActorName(c), " ", Str(VerbName(c.verb)));
  switch (c.verb) {
    case Verb::kMemfd:
      absl::StrAppend(&out, " f", c.file, " ", PrintSize(c.page_size));
      break;
    case Verb::kMount:
      absl::StrAppend(&out, " f", c.file, " ", PrintSize(c.page_size));
      if (c.most >= 0) absl::StrAppend(&out, " size=", c.most);
      if (c.least >= 0) absl::StrAppend(&out, " min_size=", c.least);
      if (c.unlinked) out += " unlinked";
      break;
    case Verb::kShmem:
    case Verb::kClose:
      absl::StrAppend(&out, " f", c.file);
      break;
    case Verb::kTruncate:
    case Verb::kPin:
    case Verb::kOffline:
    case Verb::kPoison:
      absl::StrAppend(&out, " f", c.file, " ", c.page);
      break;
    case Verb::kMap:
      absl::StrAppend(&out, " f", c.file, " m", c.mapping, " ", c.page, " ",
                      c.length);
      break;
    case Verb::kUnmap:
      absl::StrAppend(&out, " m", c.mapping);
      break;
    case Verb::kWrite:
      absl::StrAppend(&out, " m", c.mapping, " ", c.page, " ",
                      absl::Hex(c.value));
      break;
    case Verb::kRead:
      absl::StrAppend(&out, " m", c.mapping, " ", c.page);
      break;
    case Verb::kFallocate:
    case Verb::kPunch:
      absl::StrAppend(&out, " f", c.file, " ", c.page, " ", c.length);
      break;
    case Verb::kSeal:
      absl::StrAppend(&out, " f", c.file, " ", PrintSeals(c.seals));
      break;
    case Verb::kSeek:
      absl::StrAppend(&out, " f", c.file, " ", c.position);
      break;
    case Verb::kBind:
      out += c.node < 0 ? " any" : absl::StrCat(" ", c.node);
      break;
    case Verb::kNr:
    case Verb::kOvercommit:
    case Verb::kDemote:
      absl::StrAppend(&out, " ", PrintSize(c.page_size), " ", c.length);
      if (c.node >= 0) absl::StrAppend(&out, " node=", c.node);
      break;
    case Verb::kPoisonFree:
      absl::StrAppend(&out, " ", PrintSize(c.page_size));
      if (c.node >= 0) absl::StrAppend(&out, " node=", c.node);
      break;
    case Verb::kPreserveFree:
      absl::StrAppend(&out, " ", PrintSize(c.page_size), c.on ? " on" : " off");
      break;
    case Verb::kCgroup:
    case Verb::kRmdir:
      absl::StrAppend(&out, " c", c.cgroup);
      if (c.parent >= 0) absl::StrAppend(&out, " in=c", c.parent);
      break;
    case Verb::kMove:
      out += c.task < 0 ? " agent" : absl::StrCat(" p", c.task);
      out += c.cgroup < 0 ? " root" : absl::StrCat(" c", c.cgroup);
      break;
    case Verb::kLimit:
      absl::StrAppend(&out, " c", c.cgroup, " ",
                      Str(kChargeNames[static_cast<int>(c.charge)]), " ",
                      PrintSize(c.page_size), " ");
      out += c.length < 0 ? "max" : absl::StrCat(c.length);
      break;
    case Verb::kSession:
    case Verb::kDrop:
    case Verb::kTake:
    case Verb::kFinish:
      absl::StrAppend(&out, " s", c.session);
      break;
    case Verb::kPreserve:
    case Verb::kRetrieve:
      absl::StrAppend(&out, " s", c.session, " ", c.token, " f", c.file);
      break;
    case Verb::kLoad:
      for (uint64_t size : c.missing_sizes)
        absl::StrAppend(&out, " no-size=", PrintSize(size));
      if (c.no_option) out += " no-option";
      if (!c.command_line.empty()) absl::StrAppend(&out, " ", c.command_line);
      break;
    case Verb::kFail:
      absl::StrAppend(&out, " ", c.step);
      if (c.fail_kind != FailKind::kAny)
        absl::StrAppend(&out, " ",
                        Str(kFailKindNames[static_cast<int>(c.fail_kind)]));
      break;
    case Verb::kDuring:
      absl::StrAppend(&out, " ", c.step);
      for (const Command& inner : c.inner)
        absl::StrAppend(&out, " ", Print(inner));
      break;
    case Verb::kDev:
      absl::StrAppend(&out, " f", c.file, " ", c.page, " ", absl::Hex(c.value));
      break;
    case Verb::kInterleave:
    case Verb::kCut:
      absl::StrAppend(&out, " ", c.step);
      break;
    case Verb::kCorrupt:
      absl::StrAppend(&out, " ", Str(TargetName(c.target)), " ", c.delta);
      if (c.nth != 0) absl::StrAppend(&out, " nth=", c.nth);
      if (c.resum) out += " resum";
      break;
    case Verb::kExit:
    case Verb::kOpen:
    case Verb::kCloseDevice:
    case Verb::kReboot:
    case Verb::kPower:
      break;
  }
  PrintFlags(c, &out);
  return out;
}

std::string Print(const History& history) {
  std::string out = absl::StrCat("history ", kHistoryVersion, "\ngeometry ",
                                 Str(GeometryName(history.geometry)),
                                 " nodes=", history.nodes, "\nboot");
  if (!history.command_line.empty())
    absl::StrAppend(&out, " ", history.command_line);
  out += '\n';
  for (const Command& command : history.commands)
    absl::StrAppend(&out, Print(command), "\n");
  return out;
}

}  // namespace handover::model
