// SPDX-License-Identifier: BSD-3-Clause
#include "model/kernel_log.h"

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

}  // namespace

void ReadKernelMessage(std::string_view line, bool* shortage,
                       std::vector<Reserved>* reported) {
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
