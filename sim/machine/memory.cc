// SPDX-License-Identifier: BSD-3-Clause
#include <sim/kernel_api.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "sim/machine/machine.h"

extern "C" {
char* sim_direct_map = nullptr;
phys_addr_t sim_phys_end = 0;
}

namespace sim {
namespace {

constexpr uint64_t kPage = 4096;
// No access before the first and behind the last frame.
constexpr uint64_t kGuard = 1 << 20;
// From this many dirty frames on, it is cheaper to let the host forget them.
constexpr uint64_t kForgetFrames = 16384;
// Mappings that nobody uses, kept for the next machine.
constexpr size_t kMaxFree = 4;

bool SameSpans(const std::vector<NodeSpan>& a, const std::vector<NodeSpan>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const NodeSpan& x, const NodeSpan& y) {
                      return x.start_pfn == y.start_pfn &&
                             x.nr_pages == y.nr_pages && x.nid == y.nid;
                    });
}

void* MapOrDie(uint64_t bytes, int prot) {
  void* map = mmap(nullptr, bytes, prot,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) {
    std::perror("mmap of simulated memory");
    std::abort();
  }
  return map;
}

uint64_t* MapWords(uint64_t words) {
  return static_cast<uint64_t*>(
      MapOrDie(words * sizeof(uint64_t), PROT_READ | PROT_WRITE));
}

// Calls fn(index of word, mask of bits) for each word with bits of the range.
template <typename Fn>
void ForWords(uint64_t first, uint64_t nr, Fn fn) {
  const uint64_t end = first + nr;
  while (first < end) {
    const uint64_t bit = first % 64;
    const uint64_t n = std::min(64 - bit, end - first);
    const uint64_t mask = (n == 64 ? ~0ULL : (1ULL << n) - 1) << bit;
    fn(first / 64, mask);
    first += n;
  }
}

}  // namespace

// Invariant of a mapping on the free list: no bit is set, all bytes are zero.
struct PhysicalMemory::Mapping {
  std::vector<NodeSpan> spans;
  char* map;
  uint64_t map_bytes;
  uint64_t end_pfn;
  std::vector<int8_t> nid;
  unsigned nid_shift;
  uint64_t words;
  uint64_t* dirty;
  uint64_t* poisoned;
  uint64_t* summary;

  char* base() const { return map + kGuard; }

  explicit Mapping(const Geometry& geometry) : spans(geometry.spans) {
    end_pfn = 0;
    uint64_t bounds = 0;
    for (const NodeSpan& span : spans) {
      end_pfn = std::max(end_pfn, span.start_pfn + span.nr_pages);
      bounds |= span.start_pfn | span.nr_pages;
    }
    if (end_pfn == 0) {
      std::fprintf(stderr, "geometry without memory\n");
      std::abort();
    }
    nid_shift = static_cast<unsigned>(__builtin_ctzll(bounds));
    nid.assign(end_pfn >> nid_shift, -1);
    map_bytes = kGuard + end_pfn * kPage + kGuard;
    map = static_cast<char*>(MapOrDie(map_bytes, PROT_NONE));
    for (const NodeSpan& span : spans) {
      std::fill_n(nid.begin() + (span.start_pfn >> nid_shift),
                  span.nr_pages >> nid_shift, static_cast<int8_t>(span.nid));
      if (mprotect(base() + span.start_pfn * kPage, span.nr_pages * kPage,
                   PROT_READ | PROT_WRITE) != 0) {
        std::perror("mprotect of simulated memory");
        std::abort();
      }
    }
    words = (end_pfn + 63) / 64;
    dirty = MapWords(words);
    poisoned = MapWords(words);
    summary = MapWords((words + 63) / 64);
  }

  ~Mapping() {
    munmap(map, map_bytes);
    munmap(dirty, words * sizeof(uint64_t));
    munmap(poisoned, words * sizeof(uint64_t));
    munmap(summary, (words + 63) / 64 * sizeof(uint64_t));
  }

  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  void Clean() {
    uint64_t frames = 0;
    for (uint64_t s = 0; s < (words + 63) / 64; ++s) {
      for (uint64_t rest = summary[s]; rest != 0; rest &= rest - 1) {
        frames += __builtin_popcountll(dirty[s * 64 + __builtin_ctzll(rest)]);
      }
    }
    const bool forget = frames > kForgetFrames;
    if (forget) {
      for (const NodeSpan& span : spans) {
        madvise(base() + span.start_pfn * kPage, span.nr_pages * kPage,
                MADV_DONTNEED);
      }
    }
    for (uint64_t s = 0; s < (words + 63) / 64; ++s) {
      for (uint64_t rest = summary[s]; rest != 0; rest &= rest - 1) {
        const uint64_t word = s * 64 + __builtin_ctzll(rest);
        for (uint64_t bits = forget ? 0 : dirty[word]; bits != 0;
             bits &= bits - 1) {
          std::memset(base() + (word * 64 + __builtin_ctzll(bits)) * kPage, 0,
                      kPage);
        }
        dirty[word] = 0;
        poisoned[word] = 0;
      }
      summary[s] = 0;
    }
  }

  static std::vector<std::unique_ptr<Mapping>>& Free() {
    static auto* free = new std::vector<std::unique_ptr<Mapping>>;
    return *free;
  }
};

PhysicalMemory::Mapping* PhysicalMemory::TakeMapping(const Geometry& geometry) {
  auto& free = Mapping::Free();
  for (size_t i = free.size(); i-- > 0;) {
    if (SameSpans(free[i]->spans, geometry.spans)) {
      Mapping* found = free[i].release();
      free.erase(free.begin() + static_cast<ptrdiff_t>(i));
      return found;
    }
  }
  return new Mapping(geometry);
}

PhysicalMemory::PhysicalMemory(const Geometry& geometry)
    : mapping_(TakeMapping(geometry)),
      base_(mapping_->base()),
      end_pfn_(mapping_->end_pfn),
      nid_(mapping_->nid.data()),
      nid_shift_(mapping_->nid_shift),
      dirty_(mapping_->dirty),
      poisoned_(mapping_->poisoned),
      summary_(mapping_->summary) {}

PhysicalMemory::~PhysicalMemory() {
  mapping_->Clean();
  auto& free = Mapping::Free();
  if (free.size() == kMaxFree) free.erase(free.begin());
  free.emplace_back(mapping_);
}

void PhysicalMemory::CheckRange(uint64_t pfn, uint64_t nr) const {
  if (nr == 0) return;
  bool exists = pfn < end_pfn_ && nr <= end_pfn_ - pfn;
  for (uint64_t block = pfn >> nid_shift_;
       exists && block <= (pfn + nr - 1) >> nid_shift_; ++block) {
    exists = nid_[block] >= 0;
  }
  if (!exists) sim_bug("memory.cc", 0, "PhysicalMemory", "no such page frame");
}

void PhysicalMemory::MarkDirty(uint64_t pfn, uint64_t nr) {
  CheckRange(pfn, nr);
  ForWords(pfn, nr, [&](uint64_t word, uint64_t mask) {
    dirty_[word] |= mask;
    poisoned_[word] &= ~mask;
    summary_[word / 64] |= 1ULL << (word % 64);
  });
}

void PhysicalMemory::Zero(uint64_t pfn, uint64_t nr) {
  CheckRange(pfn, nr);
  ForWords(pfn, nr, [&](uint64_t word, uint64_t mask) {
    for (uint64_t bits = dirty_[word] & mask; bits != 0; bits &= bits - 1) {
      std::memset(base_ + (word * 64 + __builtin_ctzll(bits)) * kPage, 0,
                  kPage);
    }
    dirty_[word] &= ~mask;
    poisoned_[word] &= ~mask;
  });
}

void PhysicalMemory::Poison(uint64_t pfn, uint64_t nr) {
  // The range may have holes: what does not exist is never dirty.
  if (pfn >= end_pfn_) return;
  nr = std::min(nr, end_pfn_ - pfn);
  ForWords(pfn, nr, [&](uint64_t word, uint64_t mask) {
    const uint64_t todo = dirty_[word] & ~poisoned_[word] & mask;
    for (uint64_t bits = todo; bits != 0; bits &= bits - 1) {
      std::memset(base_ + (word * 64 + __builtin_ctzll(bits)) * kPage, kPoison,
                  kPage);
    }
    poisoned_[word] |= todo;
  });
}

uint64_t PhysicalMemory::FindUnmarkedWrite() const {
  for (const NodeSpan& span : mapping_->spans) {
    for (uint64_t i = 0; i < span.nr_pages; ++i) {
      const uint64_t pfn = span.start_pfn + i;
      const char* frame = base_ + pfn * kPage;
      const bool poisoned = poisoned_[pfn / 64] >> (pfn % 64) & 1;
      if (IsDirty(pfn) && !poisoned) continue;
      const char want = poisoned ? static_cast<char>(kPoison) : 0;
      if (frame[0] != want || std::memcmp(frame, frame + 1, kPage - 1) != 0) {
        return pfn;
      }
    }
  }
  return end_pfn_;
}

}  // namespace sim

// Follows phys_to_virt() and virt_to_phys() with CONFIG_DEBUG_VIRTUAL: an
// address outside of the direct map is a BUG(). Unlike the kernel, a frame
// that does not exist is one too, since nothing good can come of the pointer.
extern "C" void* sim_phys_to_virt(phys_addr_t phys) {
  sim::PhysicalMemory& memory = sim::M().memory();
  if (!memory.Exists(phys >> PAGE_SHIFT)) {
    sim_bug("page.h", 0, "phys_to_virt", "no such physical address");
  }
  return memory.base() + phys;
}

extern "C" phys_addr_t sim_virt_to_phys(const void* virt) {
  sim::PhysicalMemory& memory = sim::M().memory();
  const uint64_t phys = reinterpret_cast<uintptr_t>(virt) -
                        reinterpret_cast<uintptr_t>(memory.base());
  if (!memory.Exists(phys >> PAGE_SHIFT)) {
    sim_bug("page.h", 0, "virt_to_phys", "not in the direct map");
  }
  return phys;
}
