// SPDX-License-Identifier: BSD-3-Clause
#include "model/kernel_log.h"

#include <algorithm>
#include <initializer_list>

#include "absl/strings/numbers.h"

namespace handover::model {
namespace {

constexpr uint64_t kSmallPage = 4096;

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Takes a number that follows `before` in the text.
bool NumberAfter(std::string_view text, std::string_view before,
                 uint64_t* number) {
  const size_t at = text.find(before);
  if (at == std::string_view::npos) return false;
  size_t end = at + before.size();
  const size_t begin = end;
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
  return absl::SimpleAtoi(absl::string_view(text.data() + begin, end - begin),
                          number);
}

// Takes "TEXT NUMBER" off the front of the line.
bool TakeNumber(std::string_view* line, std::string_view text,
                int64_t* number) {
  if (line->substr(0, text.size()) != text) return false;
  line->remove_prefix(text.size());
  const size_t end =
      std::min(line->find_first_not_of("0123456789"), line->size());
  if (!absl::SimpleAtoi(absl::string_view(line->data(), end), number))
    return false;
  line->remove_prefix(end);
  return true;
}

// Free pages of one node that the kernel hands over.
bool ReadHanding(std::string_view line, std::vector<Reserved>* handing) {
  constexpr std::string_view kBegin = "hugetlb_luo: order ";
  const size_t at = line.find(kBegin);
  if (at == std::string_view::npos) return false;
  line.remove_prefix(at);
  int64_t order, node, pages;
  if (!TakeNumber(&line, kBegin, &order) || order >= 52 ||
      !TakeNumber(&line, ", node ", &node) ||
      !TakeNumber(&line, ": ", &pages) || !Has(line, " are handed over"))
    return false;
  handing->push_back({kSmallPage << order, static_cast<int>(node), pages});
  return true;
}

// What became of one node's share of a pool.
bool ReadSizedPool(std::string_view line, std::vector<SizedPool>* sized) {
  constexpr std::string_view kBegin = "hugetlb_luo: order ";
  const size_t at = line.find(kBegin);
  if (at == std::string_view::npos) return false;
  line.remove_prefix(at);
  int64_t order, node;
  SizedPool pool;
  if (!TakeNumber(&line, kBegin, &order) || order >= 52 ||
      !TakeNumber(&line, ", node ", &node) ||
      !TakeNumber(&line, ": ", &pool.preserved) ||
      !TakeNumber(&line, " preserved pages in use, ", &pool.free) ||
      !TakeNumber(&line, " free, ", &pool.allocated) ||
      !TakeNumber(&line, " allocated, ", &pool.surplus))
    return false;
  pool.page_size = kSmallPage << order;
  pool.node = static_cast<int>(node);
  sized->push_back(pool);
  return true;
}

}  // namespace

void ReadKernelMessage(std::string_view line, bool* shortage,
                       std::vector<Reserved>* reported,
                       std::vector<SizedPool>* sized,
                       std::vector<Reserved>* handing) {
  if (Has(line, "Only allocated")) {
    *shortage = true;
    return;
  }
  if (Has(line, "hugetlb_luo: table of preserved pages refused") ||
      Has(line, "hugetlb_luo: table of preserved pages is not") ||
      Has(line, "hugetlb_luo: fewer pages announced than preserved")) {
    // Nobody can tell what was in a table that is not to be trusted.
    reported->push_back({0, -1, -1});
    return;
  }
  if (ReadHanding(line, handing) || ReadSizedPool(line, sized)) return;
  uint64_t count, order, node;
  if (!Has(line, "cannot be claimed and stay reserved") ||
      !NumberAfter(line, "hugetlb_luo: ", &count) ||
      !NumberAfter(line, " of order ", &order) ||
      !NumberAfter(line, " on node ", &node))
    return;
  reported->push_back({order < 52 ? kSmallPage << order : 0,
                       static_cast<int>(node), static_cast<int64_t>(count)});
}

bool IsKernelTrouble(std::string_view line) {
  for (std::string_view part : {"WARNING:",
                                "BUG:",
                                "kernel BUG at",
                                "Oops",
                                "KASAN",
                                "Kernel panic",
                                "general protection fault",
                                "unable to handle",
                                "circular locking",
                                "possible recursive locking",
                                "inconsistent lock state",
                                "suspicious RCU",
                                "bad unlock balance",
                                "blocked for more than",
                                "self-detected stall",
                                "detected stalls",
                                "soft lockup",
                                "hard LOCKUP",
                                "Bad page",
                                "list_add corrupt",
                                "list_del corrupt",
                                "segfault at",
                                "Out of memory"})
    if (Has(line, part)) return true;
  return false;
}

}  // namespace handover::model
