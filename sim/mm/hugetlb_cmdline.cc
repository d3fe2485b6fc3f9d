// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/hugetlb_cmdline.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "sim/machine/machine.h"
#include "sim/mm/boot.h"
#include "sim/mm/hugetlb_cma.h"
#include "sim/mm/hugetlb_vmemmap.h"

namespace sim {
namespace {

constexpr int kMaxArgs = 2 * HUGE_MAX_HSTATE + 1;

HugetlbCmdline params;

unsigned OrderOf(unsigned long size) {
  return static_cast<unsigned>(__builtin_ctzl(size)) - PAGE_SHIFT;
}

// hugepages_clear_pages_in_node().
void ClearPagesInNode() {
  if (!hugetlb_max_hstate) {
    params.default_max_huge_pages = 0;
    std::fill_n(params.default_in_node, MAX_NUMNODES, 0u);
  } else {
    params.parsed_hstate->max_huge_pages = 0;
    std::fill_n(params.parsed_hstate->max_huge_pages_node, MAX_NUMNODES, 0u);
  }
}

// The loop of hugepages_setup(); false: malformed from *rest on.
bool ParseCounts(unsigned long* max, std::string_view* rest) {
  const std::string_view all = *rest;
  unsigned int* in_node = hugetlb_max_hstate
                              ? params.parsed_hstate->max_huge_pages_node
                              : params.default_in_node;
  while (!rest->empty()) {
    std::string_view at = *rest;
    unsigned long value;
    if (!TakeNumber(&at, &value)) return false;
    if (at.empty() || at[0] != ':') {
      if (rest->data() != all.data()) return false;
      *max = value;
      return true;
    }
    if (value >= MAX_NUMNODES || !node_online(value)) return false;
    const unsigned long node = value;
    at.remove_prefix(1);
    *rest = at;
    if (!TakeNumber(&at, &value)) return false;
    in_node[node] = static_cast<unsigned>(value);
    *max += value;
    if (at.empty() || at[0] != ',') return true;
    at.remove_prefix(1);
    *rest = at;
  }
  return true;
}

// hugepages_setup().
void HugepagesSetup(std::string_view value) {
  const std::string text(value);
  if (!params.valid_hugepagesz) {
    pr_warn(
        "HugeTLB: hugepages=%s does not follow a valid hugepagesz, ignoring\n",
        text.c_str());
    params.valid_hugepagesz = true;
    return;
  }
  unsigned long* max = hugetlb_max_hstate
                           ? &params.parsed_hstate->max_huge_pages
                           : &params.default_max_huge_pages;
  if (max == params.last) {
    pr_warn(
        "HugeTLB: hugepages= specified twice without interleaving "
        "hugepagesz=, ignoring hugepages=%s\n",
        text.c_str());
    return;
  }
  std::string_view rest = value;
  if (!ParseCounts(max, &rest)) {
    pr_warn("HugeTLB: Invalid hugepages parameter %s\n",
            std::string(rest).c_str());
    ClearPagesInNode();
    return;
  }
  params.last = max;
}

// hugepagesz_setup().
void HugepageszSetup(std::string_view value) {
  const std::string text(value);
  const unsigned long size = MemParse(value);
  params.valid_hugepagesz = false;
  if (!HugetlbValidSize(size)) {
    pr_err("HugeTLB: unsupported hugepagesz=%s\n", text.c_str());
    return;
  }
  struct hstate* h = size_to_hstate(size);
  if (!h) {
    hugetlb_add_hstate(OrderOf(size));
  } else if (!params.default_hugepagesz || h != &default_hstate ||
             default_hstate.max_huge_pages) {
    pr_warn("HugeTLB: hugepagesz=%s specified twice, ignoring\n", text.c_str());
    return;
  } else {
    params.parsed_hstate = h;
  }
  params.valid_hugepagesz = true;
}

// default_hugepagesz_setup().
void DefaultHugepageszSetup(std::string_view value) {
  const std::string text(value);
  params.valid_hugepagesz = false;
  if (params.default_hugepagesz) {
    pr_err("HugeTLB: default_hugepagesz previously specified, ignoring %s\n",
           text.c_str());
    return;
  }
  const unsigned long size = MemParse(value);
  if (!HugetlbValidSize(size)) {
    pr_err("HugeTLB: unsupported default_hugepagesz=%s\n", text.c_str());
    return;
  }
  hugetlb_add_hstate(OrderOf(size));
  params.valid_hugepagesz = true;
  params.default_hugepagesz = true;
  default_hstate_idx = hstate_index(size_to_hstate(size));
  if (!params.default_max_huge_pages) return;
  default_hstate.max_huge_pages = params.default_max_huge_pages;
  for (int i = 0; i < MAX_NUMNODES; i++) {
    if (params.default_in_node[i])
      default_hstate.max_huge_pages_node[i] = params.default_in_node[i];
  }
  params.default_max_huge_pages = 0;
}

}  // namespace

bool TakeNumber(std::string_view* text, unsigned long* value) {
  size_t i = 0;
  while (i < text->size() && isspace((*text)[i])) ++i;
  const size_t first_digit = i;
  *value = 0;
  for (; i < text->size() && isdigit((*text)[i]); ++i)
    *value = *value * 10 + static_cast<unsigned long>((*text)[i] - '0');
  if (i == first_digit) return false;
  text->remove_prefix(i);
  return true;
}

unsigned long MemParse(std::string_view text, size_t* end_at) {
  const std::string copy(text);
  char* end;
  unsigned long value = strtoul(copy.c_str(), &end, 0);
  const char unit = static_cast<char>(tolower(*end));
  switch (unit) {
    case 'e':
      value <<= 10;
      [[fallthrough]];
    case 'p':
      value <<= 10;
      [[fallthrough]];
    case 't':
      value <<= 10;
      [[fallthrough]];
    case 'g':
      value <<= 10;
      [[fallthrough]];
    case 'm':
      value <<= 10;
      [[fallthrough]];
    case 'k':
      value <<= 10;
      ++end;
      break;
    default:
      break;
  }
  if (end_at) *end_at = static_cast<size_t>(end - copy.c_str());
  return value;
}

HugetlbCmdline& HugetlbParams() { return params; }

bool HugepagesSupported() {
  return HugetlbValidSize(PAGE_SIZE << M().geometry().hpage_order);
}

bool HugetlbValidSize(unsigned long size) {
  const std::vector<uint64_t>& missing = Config().missing_sizes;
  if (std::find(missing.begin(), missing.end(), size) != missing.end())
    return false;
  for (unsigned order : M().geometry().huge_orders) {
    if (PAGE_SIZE << order == size) return true;
  }
  return false;
}

void HugetlbParseParams(std::string_view cmdline) {
  int args = 0;
  while (!cmdline.empty()) {
    const size_t space = std::min(cmdline.find(' '), cmdline.size());
    std::string_view word = cmdline.substr(0, space);
    cmdline.remove_prefix(std::min(space + 1, cmdline.size()));

    const size_t equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = word.substr(0, equals);
    const std::string_view value = word.substr(equals + 1);
    // An early parameter, whatever else stands around it.
    if (key == "hugetlb_free_vmemmap") VmemmapParam(std::string(value));
    void (*setup)(std::string_view) = key == "hugepages"    ? HugepagesSetup
                                      : key == "hugepagesz" ? HugepageszSetup
                                      : key == "default_hugepagesz"
                                          ? DefaultHugepageszSetup
                                          : nullptr;
    if (!setup || args++ >= kMaxArgs) continue;
    if (!HugepagesSupported()) {
      pr_warn("HugeTLB: huge pages unsupported, ignoring %s cmdline\n",
              std::string(word).c_str());
      continue;
    }
    setup(value);
  }
  HugetlbCmaValidateParams();
}

}  // namespace sim

extern "C" {

// Follows hugetlb_add_hstate().
void hugetlb_add_hstate(unsigned int order) {
  if (size_to_hstate(PAGE_SIZE << order)) return;
  BUG_ON(hugetlb_max_hstate >= HUGE_MAX_HSTATE);
  BUG_ON(order < 2);
  struct hstate* h = &hstates[hugetlb_max_hstate++];
  sim_mutex_init(&h->resize_lock, "hstate->resize_lock");
  h->order = order;
  h->mask = ~(huge_page_size(h) - 1);
  for (struct list_head& list : h->hugepage_freelists) INIT_LIST_HEAD(&list);
  INIT_LIST_HEAD(&h->hugepage_activelist);
  snprintf(h->name, sizeof(h->name), "hugepages-%lukB",
           huge_page_size(h) / 1024);
  sim::HugetlbParams().parsed_hstate = h;
}

}  // extern "C"
