// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/vmalloc.h"

#include <sim/kernel_api.h>

#include <vector>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/memmap.h"

// Follows mm/vmalloc.c: an area has a vm_struct and an array of its order-0
// pages. Left out is what vmalloc is for: there is no second address space, so
// the frames are one contiguous run and the area's address is that of the
// direct map. It fails where no such run is free; one that is larger than the
// buddy allocator's largest block is got together as a gigantic page is.

namespace sim {
namespace {

struct Area {
  const void* addr;
  struct vm_struct* vm;
};
std::vector<Area> areas;

// An area over nr pages from first on, whose references it takes over.
void* MakeArea(struct page* first, unsigned nr, unsigned long flags) {
  auto* vm = kzalloc_obj(struct vm_struct, GFP_KERNEL);
  if (vm == nullptr) return nullptr;
  auto** pages = kmalloc_objs(struct page*, nr, GFP_KERNEL);
  if (pages == nullptr) {
    kfree(vm);
    return nullptr;
  }
  for (unsigned i = 0; i < nr; ++i) pages[i] = first + i;
  vm->addr = page_address(first);
  vm->size = (nr + 1) * PAGE_SIZE;  // with its guard page
  vm->flags = flags;
  vm->pages = pages;
  vm->nr_pages = nr;
  areas.push_back(Area{vm->addr, vm});
  return vm->addr;
}

void* Allocate(unsigned long size, gfp_t gfp) {
  MightSleep("vmalloc");
  if (size == 0 || M().Fails(FailKind::kAlloc, "vmalloc")) return nullptr;
  const uint64_t nr = PFN_UP(size);
  const unsigned order = static_cast<unsigned>(get_order(size));
  struct page* first =
      order > MAX_PAGE_ORDER
          ? alloc_contig_frozen_pages(1UL << order, gfp, -1, nullptr)
          : TakePages(gfp, order, -1, nullptr);
  if (first == nullptr) return nullptr;
  // split_page(), and back with what was not asked for.
  for (uint64_t i = 0; i < (uint64_t{1} << order); ++i) {
    if (i < nr) {
      set_page_count(first + i, 1);
    } else {
      GivePages(first + i, 0);
    }
  }
  void* addr = MakeArea(first, static_cast<unsigned>(nr), VM_ALLOC);
  if (addr == nullptr) {
    for (uint64_t i = 0; i < nr; ++i) __free_pages(first + i, 0);
  }
  return addr;
}

}  // namespace

void VmallocReset() { areas.clear(); }
uint64_t VmallocAreas() { return areas.size(); }

}  // namespace sim

extern "C" {

void* vmalloc(unsigned long size) { return sim::Allocate(size, GFP_KERNEL); }

void* vzalloc(unsigned long size) {
  return sim::Allocate(size, GFP_KERNEL | __GFP_ZERO);
}

void* vcalloc(size_t n, size_t size) {
  size_t bytes;
  return check_mul_overflow(n, size, &bytes) ? nullptr : vzalloc(bytes);
}

// vmap() with VM_MAP_PUT_PAGES.
void* sim_vmap_pages(struct page** pages, unsigned int nr_pages,
                     unsigned long flags) {
  if (nr_pages == 0) return nullptr;
  for (unsigned i = 1; i < nr_pages; ++i) {
    if (pages[i] != pages[0] + i) return nullptr;
  }
  return sim::MakeArea(pages[0], nr_pages, flags);
}

struct vm_struct* find_vm_area(const void* addr) {
  for (const sim::Area& area : sim::areas) {
    if (area.addr == addr) return area.vm;
  }
  return nullptr;
}

void vfree(const void* addr) {
  if (addr == nullptr) return;
  for (size_t i = 0; i < sim::areas.size(); ++i) {
    if (sim::areas[i].addr != addr) continue;
    struct vm_struct* vm = sim::areas[i].vm;
    sim::areas.erase(sim::areas.begin() + static_cast<long>(i));
    for (unsigned p = 0; p < vm->nr_pages; ++p) __free_pages(vm->pages[p], 0);
    kfree(vm->pages);
    kfree(vm);
    return;
  }
  sim::M().Report("discipline", "vfree() of what is no area");
}

}  // extern "C"
