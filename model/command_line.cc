// SPDX-License-Identifier: BSD-3-Clause
#include "model/command_line.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "absl/strings/str_cat.h"

namespace handover::model {
namespace {

// memparse(): a number and a unit; what follows is not looked at.
uint64_t ReadMemory(std::string_view text) {
  uint64_t value = 0;
  size_t i = 0;
  for (; i < text.size() && std::isdigit(static_cast<unsigned char>(text[i]));
       ++i)
    value = value * 10 + static_cast<uint64_t>(text[i] - '0');
  if (i < text.size()) {
    switch (text[i]) {
      case 'k':
      case 'K':
        return value << 10;
      case 'm':
      case 'M':
        return value << 20;
      case 'g':
      case 'G':
        return value << 30;
      default:
        break;
    }
  }
  return value;
}

// The same, taken off the front. A percent sign stays.
uint64_t TakeMemory(std::string_view* text) {
  const uint64_t value = ReadMemory(*text);
  while (!text->empty() && std::isdigit(static_cast<unsigned char>((*text)[0])))
    text->remove_prefix(1);
  constexpr std::string_view kUnits = "kKmMgG";
  if (!text->empty() && kUnits.find((*text)[0]) != kUnits.npos)
    text->remove_prefix(1);
  return value;
}

// sscanf("%lu%n"): takes a number off the front.
bool TakeNumber(std::string_view* text, int64_t* value) {
  size_t i = 0;
  *value = 0;
  for (; i < text->size() && i < 18 &&
         std::isdigit(static_cast<unsigned char>((*text)[i]));
       ++i)
    *value = *value * 10 + ((*text)[i] - '0');
  text->remove_prefix(i);
  return i > 0;
}

std::optional<bool> ReadBool(std::string_view text) {
  if (text == "on" || text == "1" || text == "y" || text == "Y") return true;
  if (text == "off" || text == "0" || text == "n" || text == "N") return false;
  return std::nullopt;
}

// The parsers' state, under the names of mm/hugetlb.c where there is one.
class Reader {
 public:
  Reader(BootRequest* request, Geometry geometry, int nodes,
         std::vector<std::string>* ignored)
      : request_(request), nodes_(nodes), ignored_(ignored) {
    default_.page_size = DefaultPageSize(geometry);
  }

  void Word(std::string_view word) {
    word_ = word;
    const size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    if (equals == std::string_view::npos) return Ignore(kNotKnown);
    const std::string_view value = word.substr(equals + 1);
    if (name == "hugepages") return HugePages(value);
    if (name == "hugepagesz") return Size(value);
    if (name == "default_hugepagesz") return DefaultSize(value);
    if (name == "numa" && value.substr(0, 3) == "off") return;  // known
    if (name == "hugetlb_free_vmemmap") return CheckSwitch(value);
    if (name == "hugetlb_cma") return Cma(value);
    if (name == "hugetlb_cma_only") return Switch(value, &request_->cma.only);
    if (name == "kho") return Switch(value, &request_->kho);
    if (name == "liveupdate") return Switch(value, &request_->liveupdate);
    if (name != "kho_scratch") Ignore(kNotKnown);
  }

  void End() {
    EndCma();
    if (named_default_ || default_.total == 0) return;
    PageRequest* found = Find(default_.page_size);
    if (!found) return;
    if (found->total != 0) {
      word_ = "hugepages=";
      Ignore(absl::StrCat("of ", PrintSize(found->page_size),
                          " is ignored: the number without a size counts"));
    }
    Take(found);
  }

 private:
  static constexpr char kNotKnown[] = "means nothing to the simulated kernel";

  void Ignore(const std::string& why) {
    if (ignored_)
      ignored_->push_back(absl::StrCat("'", std::string(word_), "' ", why));
  }

  void CheckSwitch(std::string_view value) {
    bool unused;
    Switch(value, &unused);
  }

  void Switch(std::string_view value, bool* is) {
    const std::optional<bool> read = ReadBool(value);
    if (!read) return Ignore("is ignored: neither on nor off");
    *is = *read;
  }

  void Cma(std::string_view text) {
    CmaRequest* cma = &request_->cma;
    const std::string_view all = text;
    while (!text.empty()) {
      int64_t number;
      if (!TakeNumber(&text, &number)) return Ignore("is not like 0:2M,1:4M");
      if (text.empty() || text[0] != ':') {
        std::string_view size = all;
        cma->total = TakeMemory(&size);
        cma->percent = !size.empty() && size[0] == '%';
        cma->node.fill(0);
        return;
      }
      text.remove_prefix(1);
      cma->total = 0;
      const uint64_t size = TakeMemory(&text);
      cma->percent |= !text.empty() && text[0] == '%';
      if (number >= nodes_) {
        Ignore(absl::StrCat("asks for an area on node ", number));
      } else {
        cma->node[static_cast<size_t>(number)] = size;
      }
      if (text.empty() || text[0] != ',') return;
      text.remove_prefix(1);
    }
  }

  void EndCma() {
    CmaRequest* cma = &request_->cma;
    word_ = "hugetlb_cma=";
    for (uint64_t& size : cma->node) {
      if (cma->page_size == 0) {
        cma->in_vain |= size != 0;
        size = 0;
      } else if (size % cma->page_size != 0) {
        Ignore(absl::StrCat("is no multiple of ", PrintSize(cma->page_size)));
        size = 0;
      }
      cma->by_node |= size != 0;
    }
    if (cma->page_size == 0) {
      cma->in_vain |= cma->total != 0;
      cma->total = 0;
    } else if (cma->total % cma->page_size != 0) {
      Ignore(absl::StrCat("is no multiple of ", PrintSize(cma->page_size)));
      cma->total = 0;
    }
    if (cma->total == 0 && !cma->by_node && !cma->percent) cma->only = false;
  }

  void HugePages(std::string_view text) {
    if (!valid_size_) {
      valid_size_ = true;
      Ignore("is ignored: it follows a page size that is not valid");
      return;
    }
    PageRequest* target = current_ ? current_ : &default_;
    if (target == last_)
      return Ignore("is ignored: a second number without hugepagesz= between");
    bool first = true;
    while (!text.empty()) {
      int64_t number;
      if (!TakeNumber(&text, &number)) return Invalid(target);
      if (text.empty() || text[0] != ':') {
        if (!first) return Invalid(target);
        target->total = number;
        Rest(text);
        break;
      }
      if (number >= nodes_) return Invalid(target);
      size_t node = static_cast<size_t>(number);
      text.remove_prefix(1);
      if (!TakeNumber(&text, &number)) return Invalid(target);
      target->node[node] = number;
      target->total += number;
      first = false;
      if (text.empty() || text[0] != ',') {
        Rest(text);
        break;
      }
      text.remove_prefix(1);
    }
    last_ = target;
  }

  void Rest(std::string_view text) {
    if (!text.empty())
      Ignore(absl::StrCat("ends in '", std::string(text), "', ignored"));
  }

  void Size(std::string_view text) {
    PageRequest* found = Find(ReadMemory(text));
    valid_size_ = false;
    if (!found) return Ignore(kNoSize);
    if (Named(found)) {
      // Only the default size may be named again, once it has no number yet.
      if (found != named_default_ || found->total != 0)
        return Ignore("is ignored: this size is named already");
    } else {
      Name(found);
    }
    current_ = found;
    valid_size_ = true;
  }

  void DefaultSize(std::string_view text) {
    valid_size_ = false;
    if (named_default_)
      return Ignore("is ignored: there is a default size already");
    PageRequest* found = Find(ReadMemory(text));
    if (!found) return Ignore(kNoSize);
    // hugetlb_add_hstate() of a size that is there changes nothing, also not
    // which size hugepages= belongs to.
    if (!Named(found)) {
      Name(found);
      current_ = found;
    }
    named_default_ = found;
    valid_size_ = true;
    if (default_.total != 0) {
      Take(found);
      default_.total = 0;
    }
  }

  static constexpr char kNoSize[] =
      "is ignored: this kernel has no such page size";

  PageRequest* Find(uint64_t size) {
    for (PageRequest& pages : request_->pages)
      if (pages.page_size == size) return &pages;
    return nullptr;
  }

  void Name(PageRequest* pages) {
    pages->named = true;
    named_.push_back(pages);
  }

  bool Named(const PageRequest* pages) const {
    return std::find(named_.begin(), named_.end(), pages) != named_.end();
  }

  void Take(PageRequest* to) {
    to->total = default_.total;
    to->node = default_.node;
  }

  void Invalid(PageRequest* target) {
    target->total = 0;
    target->node.fill(0);
    Ignore("is ignored: not a number, and not like 0:2,1:1 with these nodes");
  }

  BootRequest* request_;
  int nodes_;
  std::vector<std::string>* ignored_;
  std::string_view word_;                  // that is being read
  PageRequest default_;                    // before any size is named
  PageRequest* current_ = nullptr;         // parsed_hstate
  PageRequest* named_default_ = nullptr;   // parsed_default_hugepagesz
  const PageRequest* last_ = nullptr;      // last_mhp
  bool valid_size_ = true;                 // parsed_valid_hugepagesz
  std::vector<const PageRequest*> named_;  // sizes that have an hstate
};

}  // namespace

BootRequest ReadCommandLine(std::string_view command_line, Geometry geometry,
                            int nodes, const std::vector<uint64_t>& missing,
                            std::vector<std::string>* ignored) {
  BootRequest request;
  bool supported = std::find(missing.begin(), missing.end(),
                             DefaultPageSize(geometry)) == missing.end();
  for (uint64_t size : PageSizes(geometry)) {
    if (!supported ||
        std::find(missing.begin(), missing.end(), size) != missing.end())
      continue;
    PageRequest pages;
    pages.page_size = size;
    request.pages.push_back(pages);
  }
  for (uint64_t size : PageSizes(geometry)) {
    if (IsGigantic(geometry, size) &&
        std::find(missing.begin(), missing.end(), size) == missing.end())
      request.cma.page_size = size;
  }

  if (!supported && ignored &&
      command_line.find("hugepages") != command_line.npos)
    ignored->push_back(
        "no huge page is to be had: this kernel lacks the default size");

  for (std::string_view rest = command_line; !rest.empty();) {
    const size_t space = std::min(rest.find(' '), rest.size());
    if (rest.substr(0, space).substr(0, 8) == "numa=off") request.numa = false;
    rest.remove_prefix(std::min(space + 1, rest.size()));
  }
  // Nodes are known by the time that numbers of pages are read.
  Reader reader(&request, geometry, request.numa ? nodes : 1, ignored);
  while (!command_line.empty()) {
    size_t space = command_line.find(' ');
    std::string_view word = command_line.substr(0, space);
    command_line.remove_prefix(
        space == std::string_view::npos ? command_line.size() : space + 1);
    if (!word.empty()) reader.Word(word);
  }
  reader.End();

  if (!request.kho) request.liveupdate = false;
  for (PageRequest& pages : request.pages)
    for (int64_t count : pages.node)
      if (count > 0) pages.per_node = true;
  return request;
}

std::vector<std::string> IgnoredWords(const History& history) {
  std::vector<std::string> all;
  auto add = [&history, &all](const std::string& where, std::string_view line,
                              const std::vector<uint64_t>& missing) {
    std::vector<std::string> ignored;
    ReadCommandLine(line, history.geometry, history.nodes, missing, &ignored);
    for (const std::string& word : ignored)
      all.push_back(absl::StrCat(where, ": ", word));
  };
  add("boot", history.command_line, {});
  for (size_t i = 0; i < history.commands.size(); ++i) {
    const Command* command = &history.commands[i];
    if (command->verb == Verb::kDuring) command = &command->inner[0];
    if (command->verb == Verb::kLoad)
      add(absl::StrCat("step ", i, " (loader load)"), command->command_line,
          command->missing_sizes);
  }
  return all;
}

}  // namespace handover::model
