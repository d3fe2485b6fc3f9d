// SPDX-License-Identifier: BSD-3-Clause
//
// Preserving vmalloc areas: a list of pages full of physical addresses. Follows
// kernel/liveupdate/kexec_handover.c.
#include <sim/kernel_api.h>

#include "sim/liveupdate/kho_internal.h"
#include "sim/machine/machine.h"

namespace sim {
namespace {

constexpr unsigned long kSupportedFlags = VM_ALLOC | VM_ALLOW_HUGE_VMAP;
constexpr unsigned short kKhoVmAlloc = 0x0001;
constexpr unsigned short kKhoVmHuge = 0x0002;

struct kho_vmalloc_chunk* ChunkAt(uint64_t phys) {
  if (phys == 0) return nullptr;
  return static_cast<struct kho_vmalloc_chunk*>(phys_to_virt(phys));
}

// Follows new_vmalloc_chunk().
struct kho_vmalloc_chunk* NewChunk(struct kho_vmalloc_chunk* last) {
  const unsigned long addr = get_zeroed_page(GFP_KERNEL);
  if (addr == 0) return nullptr;
  auto* chunk = reinterpret_cast<struct kho_vmalloc_chunk*>(addr);
  if (kho_preserve_pages(virt_to_page(chunk), 1) != 0) {
    free_page(addr);
    return nullptr;
  }
  if (last != nullptr) last->hdr.next.phys = virt_to_phys(chunk);
  return chunk;
}

// Follows kho_vmalloc_unpreserve_chunk().
void UnpreserveChunk(struct kho_vmalloc_chunk* chunk, unsigned order) {
  KhoUnpreserveRange(PHYS_PFN(virt_to_phys(chunk)), 1);
  for (uint64_t phys : chunk->phys) {
    if (phys == 0) break;
    KhoUnpreserveRange(PHYS_PFN(phys), uint64_t{1} << order);
  }
}

// The loop over the chunks of kho_restore_vmalloc(): frees each chunk after its
// pages are restored. False leaves behind what was not reached, as the kernel.
bool RestoreChunks(const struct kho_vmalloc* preservation,
                   struct page** pages) {
  const unsigned contig = 1u << preservation->order;
  unsigned idx = 0;
  struct kho_vmalloc_chunk* chunk = ChunkAt(preservation->first.phys);
  while (chunk != nullptr) {
    for (uint64_t phys : chunk->phys) {
      if (phys == 0) break;
      if (idx + contig > preservation->total_pages) return false;
      struct page* page = KhoRestorePages(phys, contig);
      if (page == nullptr) return false;
      for (unsigned j = 0; j < contig; ++j) pages[idx++] = page + j;
    }
    struct page* own = KhoRestorePages(virt_to_phys(chunk), 1);
    if (own == nullptr) return false;
    struct kho_vmalloc_chunk* next = ChunkAt(chunk->hdr.next.phys);
    free_page(reinterpret_cast<unsigned long>(chunk));
    chunk = next;
  }
  return idx == preservation->total_pages;
}

}  // namespace
}  // namespace sim

extern "C" {

// Follows kho_preserve_vmalloc().
int kho_preserve_vmalloc(void* ptr, struct kho_vmalloc* preservation) {
  struct vm_struct* vm = find_vm_area(ptr);
  if (vm == nullptr) return -EINVAL;
  if ((vm->flags & ~sim::kSupportedFlags) != 0) return -EOPNOTSUPP;

  struct kho_vmalloc_chunk* chunk = sim::NewChunk(nullptr);
  if (chunk == nullptr) return -ENOMEM;
  preservation->first.phys = virt_to_phys(chunk);
  // The kernel sets the order at the end, and unwinds with what happens to be
  // in it before; here it is set first, so that unwinding is exact.
  preservation->order = vm->page_order;

  const unsigned contig = 1u << vm->page_order;
  unsigned idx = 0;
  for (unsigned i = 0; i < vm->nr_pages; i += contig) {
    if (int err = kho_preserve_pages(vm->pages[i], contig)) {
      kho_unpreserve_vmalloc(preservation);
      return err;
    }
    chunk->phys[idx++] = page_to_phys(vm->pages[i]);
    if (idx == KHO_VMALLOC_SIZE) {
      chunk = sim::NewChunk(chunk);
      if (chunk == nullptr) {
        kho_unpreserve_vmalloc(preservation);
        return -ENOMEM;
      }
      idx = 0;
    }
  }
  preservation->total_pages = vm->nr_pages;
  preservation->flags =
      ((vm->flags & VM_ALLOC) != 0 ? sim::kKhoVmAlloc : 0) |
      ((vm->flags & VM_ALLOW_HUGE_VMAP) != 0 ? sim::kKhoVmHuge : 0);
  return 0;
}

// Follows kho_unpreserve_vmalloc().
void kho_unpreserve_vmalloc(struct kho_vmalloc* preservation) {
  struct kho_vmalloc_chunk* chunk = sim::ChunkAt(preservation->first.phys);
  while (chunk != nullptr) {
    sim::UnpreserveChunk(chunk, preservation->order);
    struct kho_vmalloc_chunk* next = sim::ChunkAt(chunk->hdr.next.phys);
    free_page(reinterpret_cast<unsigned long>(chunk));
    chunk = next;
  }
}

// Follows kho_restore_vmalloc(). KASAN and alignment are left out. May fail by
// plan before it has taken anything.
void* kho_restore_vmalloc(const struct kho_vmalloc* preservation) {
  if (sim::M().Fails(sim::FailKind::kKho, "kho_restore_vmalloc")) {
    return nullptr;
  }
  unsigned long flags = 0;
  if ((preservation->flags & sim::kKhoVmAlloc) != 0) flags |= VM_ALLOC;
  if ((preservation->flags & sim::kKhoVmHuge) != 0) {
    flags |= VM_ALLOW_HUGE_VMAP;
  }
  struct page** pages =
      kvmalloc_objs(struct page*, preservation->total_pages, GFP_KERNEL);
  if (pages == nullptr) return nullptr;
  if (!sim::RestoreChunks(preservation, pages)) {
    kvfree(pages);
    return nullptr;
  }
  // Mapping makes a list of its own. When it fails the pages are lost, as in
  // the kernel.
  void* addr = sim_vmap_pages(pages, preservation->total_pages, flags);
  kvfree(pages);
  return addr;
}

}  // extern "C"
