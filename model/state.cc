// SPDX-License-Identifier: BSD-3-Clause
#include "model/state.h"

#include <algorithm>

namespace handover::model {

const Word* Page::Find(uint64_t at) const {
  for (const Word& word : words)
    if (word.at == at) return &word;
  return nullptr;
}

Word* Page::Find(uint64_t at) {
  return const_cast<Word*>(static_cast<const Page*>(this)->Find(at));
}

uint64_t Page::Read(uint64_t at) const {
  const Word* word = Find(at);
  return word ? word->value : 0;
}

void Page::Write(uint64_t at, uint64_t value, int generation, bool device) {
  for (Word& word : words) {
    if (word.at != at) continue;
    word.previous = word.value;
    word.value = value;
    word.generation = generation;
    word.device = device;
    word.rival = false;
    return;
  }
  words.push_back({at, value, 0, generation, device, false});
}

const Page* FindPage(const std::vector<Page>& pages, int64_t index) {
  auto it = std::lower_bound(
      pages.begin(), pages.end(), index,
      [](const Page& page, int64_t i) { return page.index < i; });
  return it != pages.end() && it->index == index ? &*it : nullptr;
}

Page* FindPage(std::vector<Page>* pages, int64_t index) {
  return const_cast<Page*>(
      FindPage(static_cast<const std::vector<Page>&>(*pages), index));
}

Page* AddPage(std::vector<Page>* pages, int64_t index) {
  auto it = std::lower_bound(
      pages->begin(), pages->end(), index,
      [](const Page& page, int64_t i) { return page.index < i; });
  if (it == pages->end() || it->index != index) {
    it = pages->insert(it, Page());
    it->index = index;
  }
  return &*it;
}

bool Regions::Contains(int64_t index) const {
  return CountIn(index, index + 1) == 1;
}

int64_t Regions::Count() const {
  int64_t count = 0;
  for (const Region& region : list_) count += region.to - region.from;
  return count;
}

int64_t Regions::CountIn(int64_t from, int64_t to) const {
  int64_t count = 0;
  for (const Region& region : list_)
    count += std::max<int64_t>(
        0, std::min(to, region.to) - std::max(from, region.from));
  return count;
}

void Regions::Add(int64_t from, int64_t to) {
  if (from >= to) return;
  Region added{from, to};
  auto first = std::find_if(list_.begin(), list_.end(), [&](const Region& r) {
    return r.to >= added.from;
  });
  auto last = first;
  for (; last != list_.end() && last->from <= added.to; ++last) {
    added.from = std::min(added.from, last->from);
    added.to = std::max(added.to, last->to);
  }
  list_.insert(list_.erase(first, last), added);
}

void Regions::Remove(int64_t from, int64_t to) {
  for (size_t i = 0; i < list_.size();) {
    Region region = list_[i];
    if (region.to <= from || region.from >= to) {
      ++i;
      continue;
    }
    list_.erase(list_.begin() + static_cast<std::ptrdiff_t>(i));
    if (region.from < from)
      list_.insert(list_.begin() + static_cast<std::ptrdiff_t>(i++),
                   {region.from, from});
    if (region.to > to)
      list_.insert(list_.begin() + static_cast<std::ptrdiff_t>(i++),
                   {to, region.to});
  }
}

void Regions::Assign(const Region* begin, const Region* end) {
  list_.clear();
  // What touches is one region here, whatever list the kernel keeps.
  for (const Region* region = begin; region != end; ++region)
    Add(region->from, region->to);
}

void File::Reserve(int64_t from, int64_t to, CgroupPath owner) {
  int64_t at = from;
  std::vector<Region> gaps;
  for (const Region& region : regions.list()) {
    if (region.to <= at || region.from >= to) continue;
    if (region.from > at) gaps.push_back({at, region.from});
    at = region.to;
  }
  if (at < to) gaps.push_back({at, to});
  regions.Add(from, to);
  if (owner == kNobody) return;
  for (const Region& gap : gaps) charges.push_back({gap.from, gap.to, owner});
  std::sort(charges.begin(), charges.end(),
            [](const RegionCharge& a, const RegionCharge& b) {
              return a.from < b.from;
            });
  JoinCharges(&charges);
}

void File::Unreserve(int64_t from, int64_t to) {
  regions.Remove(from, to);
  std::vector<RegionCharge> rest;
  for (const RegionCharge& c : charges) {
    if (c.from < from) rest.push_back({c.from, std::min(c.to, from), c.owner});
    if (c.to > to) rest.push_back({std::max(c.from, to), c.to, c.owner});
  }
  charges = std::move(rest);
}

void JoinCharges(std::vector<RegionCharge>* charges) {
  size_t n = 0;
  for (const RegionCharge& c : *charges) {
    RegionCharge* last = n == 0 ? nullptr : &(*charges)[n - 1];
    if (last && last->to == c.from && last->owner == c.owner) {
      last->to = c.to;
    } else {
      (*charges)[n++] = c;
    }
  }
  charges->resize(n);
}

CgroupView* State::FindCgroup(CgroupPath path) {
  for (CgroupView& cgroup : cgroups)
    if (cgroup.path == path) return &cgroup;
  return nullptr;
}

Pool* State::FindPool(uint64_t page_size) {
  for (Pool& pool : pools)
    if (pool.page_size == page_size) return &pool;
  return nullptr;
}

Mapping* State::FindMapping(int process, int name) {
  for (Mapping& mapping : mappings)
    if (mapping.process == process && mapping.name == name) return &mapping;
  return nullptr;
}

Session* State::FindOpenSession(int name) {
  for (Session& session : sessions)
    if (session.open && session.name == name) return &session;
  return nullptr;
}

}  // namespace handover::model
