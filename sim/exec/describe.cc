// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/describe.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/history.h"

namespace sim {
namespace {

namespace model = ::handover::model;

constexpr char kIndent[] = "    ";

std::string NameOf(const model::FileView& file) {
  return file.name >= 0 ? absl::StrCat("f", file.name)
                        : absl::StrCat("inode ", file.inode);
}

// Views are the same file if name and inode are.
const model::FileView* Find(const model::Snapshot& in,
                            const model::FileView& file) {
  for (const model::FileView& other : in.files) {
    if (other.name == file.name && other.inode == file.inode) return &other;
  }
  return nullptr;
}

std::string Regions(const model::Snapshot& in, const model::FileView& file) {
  std::string out = "{";
  for (uint32_t i = file.regions_begin; i < file.regions_end; ++i) {
    absl::StrAppend(&out, out.size() > 1 ? " " : "", in.regions[i].from, "-",
                    in.regions[i].to);
  }
  return out + "}";
}

const model::PageView* FindPage(const model::Snapshot& in,
                                const model::FileView& file, int64_t index) {
  for (uint32_t i = file.pages_begin; i < file.pages_end; ++i) {
    if (in.pages[i].index == index) return &in.pages[i];
  }
  return nullptr;
}

class Describer {
 public:
  Describer(const model::Snapshot& before, const model::Snapshot& after)
      : before_(before), after_(after) {}

  std::string Run() {
    if (before_.generation != after_.generation) {
      Line(absl::StrCat("kernel ", after_.generation, " runs"));
    }
    Pools();
    for (const model::FileView& file : before_.files) {
      if (!Find(after_, file)) Line(absl::StrCat(NameOf(file), " is gone"));
    }
    for (const model::FileView& file : after_.files) File(file);
    Sessions();
    Quarantine();
    return std::move(out_);
  }

 private:
  void Line(const std::string& text) {
    absl::StrAppend(&out_, kIndent, text, "\n");
  }

  static void Number(std::string* out, const char* name, int64_t was,
                     int64_t is) {
    if (was == is) return;
    absl::StrAppend(out, " ", name, " ", was, "->", is);
  }

  template <typename Value>
  static void Field(std::string* out, const char* name, const Value& was,
                    const Value& is, const char* unit = "") {
    if (was == is) return;
    absl::StrAppend(out, out->empty() ? "" : ", ", name, " ", was, "->", is,
                    unit);
  }

  static std::string Octal(uint32_t mode) {
    char text[16];
    std::snprintf(text, sizeof(text), "%04o", mode);
    return text;
  }

  void Pools() {
    for (int i = 0; i < after_.nr_pools; ++i) {
      const model::PoolView& is = after_.pool[static_cast<size_t>(i)];
      model::PoolView was;
      for (int j = 0; j < before_.nr_pools; ++j) {
        if (before_.pool[static_cast<size_t>(j)].page_size == is.page_size) {
          was = before_.pool[static_cast<size_t>(j)];
        }
      }
      std::string text;
      Number(&text, "reserved", was.resv, is.resv);
      Number(&text, "overcommit", was.overcommit, is.overcommit);
      Number(&text, "preserve_free", std::max(was.preserve_free, 0),
             std::max(is.preserve_free, 0));
      for (size_t n = 0; n < is.node.size(); ++n) {
        std::string node;
        Number(&node, "nr", was.node[n].nr, is.node[n].nr);
        Number(&node, "free", was.node[n].free, is.node[n].free);
        Number(&node, "surplus", was.node[n].surplus, is.node[n].surplus);
        if (!node.empty()) absl::StrAppend(&text, " node", n, ":", node);
      }
      if (!text.empty()) {
        Line(absl::StrCat("pool ", model::PrintSize(is.page_size), ":", text));
      }
    }
  }

  void File(const model::FileView& file) {
    const model::FileView* found = Find(before_, file);
    const model::FileView was = found ? *found : model::FileView();
    std::string text;
    if (!found) {
      absl::StrAppend(&text, "new, inode ", file.inode, ", pages of ",
                      model::PrintSize(file.page_size));
    }
    Field(&text, "size", was.size, file.size, " bytes");
    Field(&text, "position", was.position, file.position, " bytes");
    Field(&text, "seals", model::PrintSeals(was.seals),
          model::PrintSeals(file.seals));
    if (found) Field(&text, "mode", Octal(was.mode), Octal(file.mode));
    Field(&text, "regions", found ? Regions(before_, was) : std::string("{}"),
          Regions(after_, file));
    if (!text.empty()) Line(absl::StrCat(NameOf(file), ": ", text));
    for (uint32_t i = file.pages_begin; i < file.pages_end; ++i) {
      const model::PageView& page = after_.pages[i];
      const model::PageView* old =
          found ? FindPage(before_, was, page.index) : nullptr;
      if (old && old->frame == page.frame) continue;
      Line(absl::StrCat(NameOf(file), "[", page.index, "]: frame ",
                        old ? absl::StrCat(old->frame, "->") : "", page.frame,
                        " on node ", page.node));
    }
    for (uint32_t i = was.pages_begin; found && i < was.pages_end; ++i) {
      const model::PageView& page = before_.pages[i];
      if (!FindPage(after_, file, page.index)) {
        Line(absl::StrCat(NameOf(file), "[", page.index, "]: a hole"));
      }
    }
  }

  void Sessions() {
    auto has = [](const model::Snapshot& in, const model::SessionView& s) {
      return std::any_of(in.sessions.begin(), in.sessions.end(),
                         [&s](const model::SessionView& other) {
                           return other.name == s.name &&
                                  other.incoming == s.incoming;
                         });
    };
    for (const model::SessionView& s : before_.sessions) {
      if (!has(after_, s)) Line(absl::StrCat("s", s.name, " is closed"));
    }
    for (const model::SessionView& s : after_.sessions) {
      if (has(before_, s)) continue;
      Line(absl::StrCat("s", s.name, " is open",
                        s.incoming ? ", from the kernel before" : ""));
    }
  }

  void Quarantine() {
    auto print = [](const std::vector<model::Reserved>& list) {
      std::string out;
      for (const model::Reserved& r : list) {
        if (r.page_size == 0 && r.count < 0) {
          absl::StrAppend(&out, out.empty() ? "" : ", ", "no numbers");
          continue;
        }
        absl::StrAppend(&out, out.empty() ? "" : ", ", r.count, " of ",
                        model::PrintSize(r.page_size), " on node ", r.node);
      }
      return out.empty() ? std::string("nothing") : out;
    };
    const std::string was = print(before_.quarantined);
    const std::string is = print(after_.quarantined);
    if (was != is) Line(absl::StrCat("quarantined: ", is));
    const std::string said = print(after_.reported);
    if (said != print(before_.reported)) {
      Line(absl::StrCat("reported: ", said));
    }
  }

  const model::Snapshot& before_;
  const model::Snapshot& after_;
  std::string out_;
};

}  // namespace

std::string Describe(const model::Outcome& outcome) {
  std::string out;
  switch (outcome.kind) {
    case model::Outcome::Kind::kDone:
      if (outcome.result < 0) {
        const char* name = strerrorname_np(static_cast<int>(-outcome.result));
        out = absl::StrCat(" -> -", name ? name : "?");
      } else if (outcome.value != 0) {
        out = absl::StrCat(" -> ", absl::Hex(outcome.value));
      }
      break;
    case model::Outcome::Kind::kBlocked:
      return " -> waits";
    case model::Outcome::Kind::kSigbus:
      return " -> SIGBUS";
    case model::Outcome::Kind::kSigsegv:
      return " -> SIGSEGV";
    case model::Outcome::Kind::kKilled:
      return " -> killed";
  }
  if (outcome.frame >= 0) {
    absl::StrAppend(&out, " (frame ", outcome.frame, " on node ", outcome.node,
                    ")");
  }
  return out;
}

std::string DescribeChange(const model::Snapshot& before,
                           const model::Snapshot& after) {
  return Describer(before, after).Run();
}

}  // namespace sim
