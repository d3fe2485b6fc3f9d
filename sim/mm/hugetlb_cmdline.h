// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_HUGETLB_CMDLINE_H_
#define SIM_MM_HUGETLB_CMDLINE_H_

// hugepages=, hugepagesz= and default_hugepagesz= as mm/hugetlb.c reads them:
// in the order in which they stand, each depending on the ones before it.

#include <sim/kernel_api.h>

#include <string_view>

namespace sim {

// What remains to be done for them in hugetlb_init().
struct HugetlbCmdline {
  struct hstate* parsed_hstate = nullptr;
  bool valid_hugepagesz = true;
  bool default_hugepagesz = false;
  // hugepages= before any page size: for the default one.
  unsigned long default_max_huge_pages = 0;
  unsigned int default_in_node[MAX_NUMNODES] = {};
  unsigned long* last = nullptr;  // where the last hugepages= went
};

HugetlbCmdline& HugetlbParams();

// The CPU can do huge pages at all: it has HPAGE_SIZE (hugepages_supported()).
bool HugepagesSupported();
// arch_hugetlb_valid_size(): the geometry's sizes but the missing ones.
bool HugetlbValidSize(unsigned long size);

// sscanf("%lu%n"): takes a decimal number off the front.
bool TakeNumber(std::string_view* text, unsigned long* value);
// memparse(): a number, decimal, 0x or octal, and a suffix; *end: how long that
// is.
unsigned long MemParse(std::string_view text, size_t* end = nullptr);

// hugetlb_add_param() and hugetlb_parse_params().
void HugetlbParseParams(std::string_view cmdline);

}  // namespace sim

#endif  // SIM_MM_HUGETLB_CMDLINE_H_
