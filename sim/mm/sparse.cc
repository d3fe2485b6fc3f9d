// SPDX-License-Identifier: BSD-3-Clause
//
// Sections of memory, mm/sparse.c and include/linux/mmzone.h: only whether they
// were there at boot. Memory that comes later is not modelled; what the next
// kernel would make of it, which is not told of it, neither.
#include "sim/mm/sparse.h"

#include <sim/kernel_api.h>

#include <set>

#include "sim/machine/machine.h"

unsigned long sim_pages_per_section;

namespace sim {
namespace {

std::set<uint64_t> late_sections;

}  // namespace

void SparseReset() {
  sim_pages_per_section = M().geometry().memory_block >> PAGE_SHIFT;
  late_sections.clear();
}

void AddSectionLate(uint64_t pfn) {
  late_sections.insert(pfn / sim_pages_per_section);
}

}  // namespace sim

extern "C" {

struct mem_section* __pfn_to_section(unsigned long pfn) {
  static mem_section early = {1}, late = {0};
  return sim::late_sections.count(pfn / sim_pages_per_section) != 0 ? &late
                                                                    : &early;
}

int early_section(const struct mem_section* section) {
  return section != nullptr && section->section_mem_map != 0;
}

}  // extern "C"
