// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/slab.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/memmap.h"
#include "sim/mm/owners.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

extern "C" {
const char* sim_alloc_tag;
}

namespace sim {
namespace {

constexpr unsigned kClassSizes[] = {16,  32,  64,  96,  128,  192,
                                    256, 384, 512, 576, 1024, 2048};
constexpr unsigned kClasses = sizeof(kClassSizes) / sizeof(kClassSizes[0]);
constexpr unsigned kMaxObjects = PAGE_SIZE / 16;
constexpr unsigned char kJunk = 0xa5;
constexpr unsigned char kFreed = 0x6b;
constexpr unsigned char kRedZone = 0xbb;

// One page of objects, or one large object.
struct Slab {
  uint64_t pfn;
  int size_class;  // -1: a large object
  int nid;
  unsigned order;
  unsigned objects;
  unsigned in_use;
  int next, prev;  // slabs of the class and node that have room; -1: none
  uint64_t used[kMaxObjects / 64];
  uint64_t freed[kMaxObjects / 64];  // hold kFreed bytes
  uint64_t kv[kMaxObjects / 64];     // may be vmalloc()'s the next time
  uint32_t size[kMaxObjects];        // as asked for
  const char* tag[kMaxObjects];
};

struct Slabs {
  bool available = false;
  bool asan = false;
  std::vector<std::unique_ptr<Slab>> all;  // by index; kept for later kernels
  std::vector<int> unused;
  size_t taken = 0;  // of all, ever in this kernel
  int partial[kClasses][MAX_NUMNODES];
  SlabUse use;
};
Slabs slabs;

bool Bit(const uint64_t* bits, unsigned i) {
  return bits[i / 64] >> i % 64 & 1;
}
void SetBit(uint64_t* bits, unsigned i) { bits[i / 64] |= 1ULL << i % 64; }
void ClearBit(uint64_t* bits, unsigned i) { bits[i / 64] &= ~(1ULL << i % 64); }

char* SlabBase(const Slab& slab) {
  return static_cast<char*>(page_address(pfn_to_page(slab.pfn)));
}

uint64_t ObjectRoom(const Slab& slab) {
  return slab.size_class < 0 ? PAGE_SIZE << slab.order
                             : kClassSizes[slab.size_class];
}

void HostPoison([[maybe_unused]] const void* at, [[maybe_unused]] size_t n) {
#ifdef __SANITIZE_ADDRESS__
  if (slabs.asan) __asan_poison_memory_region(at, n);
#endif
}

void HostUnpoison([[maybe_unused]] const void* at, [[maybe_unused]] size_t n) {
#ifdef __SANITIZE_ADDRESS__
  if (slabs.asan) __asan_unpoison_memory_region(at, n);
#endif
}

bool AllBytes(const char* at, size_t n, unsigned char byte) {
  return n == 0 || (static_cast<unsigned char>(at[0]) == byte &&
                    memcmp(at, at + 1, n - 1) == 0);
}

void Report(const std::string& what) { M().Report("discipline", what); }

std::string Describe(const Slab& slab, unsigned i) {
  return absl::StrCat(slab.size[i], " bytes by ",
                      slab.tag[i] == nullptr ? "unknown" : slab.tag[i]);
}

int ClassOf(size_t size) {
  for (unsigned c = 0; c < kClasses; ++c) {
    if (size <= kClassSizes[c]) return static_cast<int>(c);
  }
  return -1;
}

int NewSlab() {
  if (!slabs.unused.empty()) {
    const int index = slabs.unused.back();
    slabs.unused.pop_back();
    return index;
  }
  if (slabs.taken == slabs.all.size()) {
    slabs.all.emplace_back(new Slab);  // not zeroed
  }
  return static_cast<int>(slabs.taken++);
}

void LinkPartial(int index) {
  Slab& slab = *slabs.all[static_cast<size_t>(index)];
  int* head = &slabs.partial[slab.size_class][slab.nid];
  slab.next = *head;
  slab.prev = -1;
  if (*head >= 0) slabs.all[static_cast<size_t>(*head)]->prev = index;
  *head = index;
}

void UnlinkPartial(int index) {
  Slab& slab = *slabs.all[static_cast<size_t>(index)];
  if (slab.prev >= 0) {
    slabs.all[static_cast<size_t>(slab.prev)]->next = slab.next;
  } else {
    slabs.partial[slab.size_class][slab.nid] = slab.next;
  }
  if (slab.next >= 0)
    slabs.all[static_cast<size_t>(slab.next)]->prev = slab.prev;
}

// Takes pages and makes them a slab; -1 when there are none.
int GrowSlab(int size_class, unsigned order, gfp_t gfp) {
  // Zeros and movability are no matter of the page.
  gfp &= ~(__GFP_ZERO | __GFP_MOVABLE | __GFP_HARDWALL | __GFP_COMP);
  struct page* page =
      TakePages(gfp | (order > 0 ? __GFP_COMP : 0), order, -1, nullptr);
  if (page == nullptr) return -1;
  const int index = NewSlab();
  Slab& slab = *slabs.all[static_cast<size_t>(index)];
  slab.pfn = page_to_pfn(page);
  slab.size_class = size_class;
  slab.nid = page_to_nid(page);
  slab.order = order;
  slab.objects = size_class < 0 ? 1
                                : static_cast<unsigned>(PAGE_SIZE) /
                                      kClassSizes[size_class];
  slab.in_use = 0;
  memset(slab.used, 0, sizeof(slab.used));
  memset(slab.freed, 0, sizeof(slab.freed));
  memset(slab.kv, 0, sizeof(slab.kv));
  page->flags |= 1UL << PG_slab;
  page->index = static_cast<pgoff_t>(index);
  SetOwner(slab.pfn, uint64_t{1} << order, Owner::kSlab);
  // Tail pages of a large object say so as well: owners are per frame.
  TouchPages(slab.pfn, uint64_t{1} << order);
  for (uint64_t i = 1; i < (uint64_t{1} << order); ++i) {
    page[i].flags |= 1UL << PG_slab;
  }
  HostPoison(SlabBase(slab), PAGE_SIZE << order);
  return index;
}

bool CheckFreedObjects(const Slab& slab) {
  bool good = true;
  for (unsigned i = 0; i < slab.objects; ++i) {
    if (!Bit(slab.freed, i)) continue;
    const char* at = SlabBase(slab) + i * ObjectRoom(slab);
    HostUnpoison(at, ObjectRoom(slab));
    if (!AllBytes(at, ObjectRoom(slab), kFreed)) {
      Report(absl::StrCat("object written after it was freed: ",
                          Describe(slab, i)));
      good = false;
    }
    HostPoison(at, ObjectRoom(slab));
  }
  return good;
}

void ReleaseSlab(int index) {
  Slab& slab = *slabs.all[static_cast<size_t>(index)];
  CheckFreedObjects(slab);
  HostUnpoison(SlabBase(slab), PAGE_SIZE << slab.order);
  struct page* page = pfn_to_page(slab.pfn);
  for (uint64_t i = 0; i < (uint64_t{1} << slab.order); ++i) {
    page[i].flags &= ~(1UL << PG_slab);
  }
  page->index = 0;
  slabs.unused.push_back(index);
  GivePages(page, slab.order);
}

bool CheckRedZone(const Slab& slab, unsigned i) {
  const char* at = SlabBase(slab) + i * ObjectRoom(slab);
  HostUnpoison(at, ObjectRoom(slab));
  const bool good =
      AllBytes(at + slab.size[i], ObjectRoom(slab) - slab.size[i], kRedZone);
  if (!good) {
    Report(absl::StrCat("written behind the end of ", Describe(slab, i)));
  }
  return good;
}

void* TakeObject(int index, size_t size, gfp_t gfp) {
  Slab& slab = *slabs.all[static_cast<size_t>(index)];
  unsigned word = 0;
  while (slab.used[word] == ~0ULL) ++word;
  const unsigned i =
      word * 64 + static_cast<unsigned>(__builtin_ctzll(~slab.used[word]));
  char* at = SlabBase(slab) + i * ObjectRoom(slab);
  HostUnpoison(at, ObjectRoom(slab));
  if (Bit(slab.freed, i)) {
    if (!AllBytes(at, ObjectRoom(slab), kFreed)) {
      Report(absl::StrCat("object written after it was freed: ",
                          Describe(slab, i)));
    }
    ClearBit(slab.freed, i);
  }
  SetBit(slab.used, i);
  ++slab.in_use;
  slab.size[i] = static_cast<uint32_t>(size);
  slab.tag[i] = sim_alloc_tag;
  memset(at, (gfp & __GFP_ZERO) != 0 ? 0 : kJunk, size);
  memset(at + size, kRedZone, ObjectRoom(slab) - size);
  HostPoison(at + size, ObjectRoom(slab) - size);
  ++slabs.use.objects;
  slabs.use.bytes += size;
  slabs.use.peak = std::max(slabs.use.peak, slabs.use.bytes);
  return at;
}

void* AllocSmall(int size_class, size_t size, gfp_t gfp) {
  const int local = LocalNode();
  int index = slabs.partial[size_class][local];
  if (index < 0) {
    index = GrowSlab(size_class, 0, gfp);
    // Better another node's slab than none.
    for (int nid = 0; index < 0 && nid < MAX_NUMNODES; ++nid) {
      index = slabs.partial[size_class][nid];
      if (index >= 0) break;
    }
    if (index < 0) return nullptr;
    if (slabs.all[static_cast<size_t>(index)]->in_use == 0) LinkPartial(index);
  }
  void* object = TakeObject(index, size, gfp);
  const Slab& slab = *slabs.all[static_cast<size_t>(index)];
  if (slab.in_use == slab.objects) UnlinkPartial(index);
  return object;
}

// By address. Machines are large and slabs are few.
std::vector<const Slab*> LiveSlabs() {
  std::vector<bool> unused(slabs.taken);
  for (const int index : slabs.unused)
    unused[static_cast<size_t>(index)] = true;
  std::vector<const Slab*> live;
  for (size_t i = 0; i < slabs.taken; ++i) {
    if (!unused[i]) live.push_back(&*slabs.all[i]);
  }
  std::sort(live.begin(), live.end(),
            [](const Slab* a, const Slab* b) { return a->pfn < b->pfn; });
  return live;
}

}  // namespace

void SlabForget() {
  for (size_t i = 0; i < slabs.taken; ++i) {
    if (std::find(slabs.unused.begin(), slabs.unused.end(),
                  static_cast<int>(i)) == slabs.unused.end()) {
      HostUnpoison(SlabBase(*slabs.all[i]), PAGE_SIZE << slabs.all[i]->order);
    }
  }
  slabs.unused.clear();
  slabs.taken = 0;
}

void SlabReset() {
  slabs.available = false;
  slabs.unused.clear();
  slabs.taken = 0;
  slabs.use = SlabUse();
  memset(slabs.partial, 0xff, sizeof(slabs.partial));
  sim_alloc_tag = nullptr;
}

void SlabInit() { slabs.available = true; }
void SetSlabAsanPoisoning(bool on) { slabs.asan = on; }
SlabUse SlabInUse() { return slabs.use; }
void SlabResetPeak() { slabs.use.peak = slabs.use.bytes; }

std::vector<std::string> SlabLiveObjects() {
  std::vector<std::pair<uint64_t, std::string>> found;
  for (const Slab* slab : LiveSlabs()) {
    for (unsigned i = 0; i < slab->objects; ++i) {
      if (Bit(slab->used, i)) found.emplace_back(slab->pfn, Describe(*slab, i));
    }
  }
  std::vector<std::string> lines;
  for (auto& entry : found) lines.push_back(std::move(entry.second));
  return lines;
}

// Only kvfree() may free it: with less luck, vmalloc() would have had it.
void MarkKv(const void* p) {
  const struct page* page = CompoundHead(__pa(p) >> PAGE_SHIFT);
  Slab& slab = *slabs.all[page->index];
  SetBit(slab.kv,
         static_cast<unsigned>((static_cast<const char*>(p) - SlabBase(slab)) /
                               static_cast<int64_t>(ObjectRoom(slab))));
}

bool VerifySlabs() {
  bool good = true;
  for (const Slab* live : LiveSlabs()) {
    const Slab& slab = *live;
    good = CheckFreedObjects(slab) && good;
    for (unsigned i = 0; i < slab.objects; ++i) {
      if (!Bit(slab.used, i)) continue;
      good = CheckRedZone(slab, i) && good;
      HostPoison(SlabBase(slab) + i * ObjectRoom(slab) + slab.size[i],
                 ObjectRoom(slab) - slab.size[i]);
    }
  }
  return good;
}

}  // namespace sim

using sim::slabs;

extern "C" {

bool slab_is_available(void) { return slabs.available; }

// mm/slub.c:__do_kmalloc_node()
void* sim_kmalloc(size_t size, gfp_t gfp) {
  if ((gfp & __GFP_DIRECT_RECLAIM) != 0) {
    sim::MightSleep("kmalloc");
  } else {
    sim::Step("kmalloc");
  }
  BUG_ON(!slabs.available);
  if ((gfp & __GFP_NOFAIL) == 0 &&
      sim::M().Fails(sim::FailKind::kAlloc, "kmalloc")) {
    return nullptr;
  }
  const int size_class = sim::ClassOf(size);
  if (size_class >= 0) return sim::AllocSmall(size_class, size, gfp);
  const int order = get_order(size);
  if (static_cast<unsigned>(order) > MAX_PAGE_ORDER) {
    WARN_ON((gfp & __GFP_NOWARN) == 0);
    return nullptr;
  }
  const int index = sim::GrowSlab(-1, static_cast<unsigned>(order), gfp);
  return index < 0 ? nullptr : sim::TakeObject(index, size, gfp);
}

void* sim_kmalloc_array(size_t n, size_t size, gfp_t gfp) {
  size_t bytes;
  if (check_mul_overflow(n, size, &bytes)) return nullptr;
  return sim_kmalloc(bytes, gfp);
}

static void SlabFree(const void* p, bool kv) {
  if (p == nullptr) return;
  const uint64_t pfn = __pa(p) >> PAGE_SHIFT;
  struct page* page = sim::CompoundHead(pfn);
  if (((page->flags >> PG_slab) & 1) == 0) {
    sim::Report("kfree() of what is not allocated (freed twice?)");
    return;
  }
  const int index = static_cast<int>(page->index);
  sim::Slab& slab = *slabs.all[static_cast<size_t>(index)];
  const uint64_t offset =
      static_cast<uint64_t>(static_cast<const char*>(p) - sim::SlabBase(slab));
  const uint64_t room = sim::ObjectRoom(slab);
  const unsigned i = static_cast<unsigned>(offset / room);
  if (offset % room != 0 || i >= slab.objects) {
    sim::Report("kfree() of an address inside of an object");
    return;
  }
  if (!sim::Bit(slab.used, i)) {
    sim::Report(
        absl::StrCat("kfree() of a freed object: ", sim::Describe(slab, i)));
    return;
  }
  if (!kv && sim::Bit(slab.kv, i)) {
    sim::Report(absl::StrCat("kfree() of what kvmalloc() has allocated: ",
                             sim::Describe(slab, i)));
  }
  sim::ClearBit(slab.kv, i);
  sim::CheckRedZone(slab, i);
  char* at = sim::SlabBase(slab) + offset;
  memset(at, sim::kFreed, room);
  sim::HostPoison(at, room);
  sim::ClearBit(slab.used, i);
  sim::SetBit(slab.freed, i);
  --slabs.use.objects;
  slabs.use.bytes -= slab.size[i];
  const bool was_full = slab.in_use-- == slab.objects;
  if (slab.size_class >= 0 && was_full && slab.in_use > 0) {
    sim::LinkPartial(index);
  } else if (slab.size_class >= 0 && !was_full && slab.in_use == 0) {
    sim::UnlinkPartial(index);
  }
  if (slab.in_use == 0) sim::ReleaseSlab(index);
}

void kfree(const void* p) { SlabFree(p, /*kv=*/false); }

// mm/util.c:__kvmalloc_node(): larger than a page, contiguous frames are tried
// first and their lack is no failure. Left out: the size limit of INT_MAX.
void* sim_kvmalloc_array(size_t n, size_t size, gfp_t gfp) {
  size_t bytes;
  if (check_mul_overflow(n, size, &bytes)) return nullptr;
  if (static_cast<unsigned>(get_order(bytes)) <= MAX_PAGE_ORDER) {
    void* p = sim_kmalloc(
        bytes, bytes <= PAGE_SIZE ? gfp : gfp | __GFP_NORETRY | __GFP_NOWARN);
    if (p != nullptr) sim::MarkKv(p);
    if (p != nullptr || bytes <= PAGE_SIZE) return p;
  }
  return (gfp & __GFP_ZERO) != 0 ? vzalloc(bytes) : vmalloc(bytes);
}

void kvfree(const void* p) {
  if (p == nullptr) return;
  if (find_vm_area(p) != nullptr) {
    vfree(p);
  } else {
    SlabFree(p, /*kv=*/true);
  }
}

}  // extern "C"
