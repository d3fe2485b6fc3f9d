// SPDX-License-Identifier: BSD-3-Clause
#include "model/command_line.h"

#include <algorithm>
#include <cctype>

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

bool ReadBool(std::string_view text, bool otherwise) {
  if (text == "on" || text == "1" || text == "y" || text == "Y") return true;
  if (text == "off" || text == "0" || text == "n" || text == "N") return false;
  return otherwise;
}

// The parsers' state, under the names of mm/hugetlb.c where there is one.
class Reader {
 public:
  Reader(BootRequest* request, Geometry geometry, int nodes)
      : request_(request), nodes_(nodes) {
    default_.page_size = DefaultPageSize(geometry);
  }

  void HugePages(std::string_view text) {
    if (!valid_size_) {
      valid_size_ = true;
      return;
    }
    PageRequest* target = current_ ? current_ : &default_;
    if (target == last_) return;
    bool first = true;
    while (!text.empty()) {
      int64_t number;
      if (!TakeNumber(&text, &number)) return Invalid(target);
      if (text.empty() || text[0] != ':') {
        if (!first) return Invalid(target);
        target->total = number;
        break;
      }
      if (number >= nodes_) return Invalid(target);
      size_t node = static_cast<size_t>(number);
      text.remove_prefix(1);
      if (!TakeNumber(&text, &number)) return Invalid(target);
      target->node[node] = number;
      target->total += number;
      first = false;
      if (text.empty() || text[0] != ',') break;
      text.remove_prefix(1);
    }
    last_ = target;
  }

  void Size(std::string_view text) {
    PageRequest* found = Find(ReadMemory(text));
    valid_size_ = false;
    if (!found) return;
    if (Named(found)) {
      // Only the default size may be named again, once it has no number yet.
      if (found != named_default_ || found->total != 0) return;
    } else {
      named_.push_back(found);
    }
    current_ = found;
    valid_size_ = true;
  }

  void DefaultSize(std::string_view text) {
    valid_size_ = false;
    if (named_default_) return;
    PageRequest* found = Find(ReadMemory(text));
    if (!found) return;
    // hugetlb_add_hstate() of a size that is there changes nothing, also not
    // which size hugepages= belongs to.
    if (!Named(found)) {
      named_.push_back(found);
      current_ = found;
    }
    named_default_ = found;
    valid_size_ = true;
    if (default_.total != 0) {
      Take(found);
      default_.total = 0;
    }
  }

  void End() {
    if (named_default_ || default_.total == 0) return;
    if (PageRequest* found = Find(default_.page_size)) Take(found);
  }

 private:
  PageRequest* Find(uint64_t size) {
    for (PageRequest& pages : request_->pages)
      if (pages.page_size == size) return &pages;
    return nullptr;
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
  }

  BootRequest* request_;
  int nodes_;
  PageRequest default_;                    // before any size is named
  PageRequest* current_ = nullptr;         // parsed_hstate
  PageRequest* named_default_ = nullptr;   // parsed_default_hugepagesz
  const PageRequest* last_ = nullptr;      // last_mhp
  bool valid_size_ = true;                 // parsed_valid_hugepagesz
  std::vector<const PageRequest*> named_;  // sizes that have an hstate
};

}  // namespace

BootRequest ReadCommandLine(std::string_view command_line, Geometry geometry,
                            int nodes, const std::vector<uint64_t>& missing) {
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

  Reader reader(&request, geometry, nodes);
  while (!command_line.empty()) {
    size_t space = command_line.find(' ');
    std::string_view word = command_line.substr(0, space);
    command_line.remove_prefix(
        space == std::string_view::npos ? command_line.size() : space + 1);
    size_t equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    std::string_view name = word.substr(0, equals);
    std::string_view value = word.substr(equals + 1);
    if (name == "hugepages") reader.HugePages(value);
    if (name == "hugepagesz") reader.Size(value);
    if (name == "default_hugepagesz") reader.DefaultSize(value);
    if (name == "kho") request.kho = ReadBool(value, request.kho);
    if (name == "liveupdate")
      request.liveupdate = ReadBool(value, request.liveupdate);
  }
  reader.End();

  if (!request.kho) request.liveupdate = false;
  for (PageRequest& pages : request.pages)
    for (int64_t count : pages.node)
      if (count > 0) pages.per_node = true;
  return request;
}

}  // namespace handover::model
