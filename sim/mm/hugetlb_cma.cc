// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/hugetlb_cma.h"

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/machine/machine.h"
#include "sim/mm/boot.h"
#include "sim/mm/cma.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_cmdline.h"
#include "sim/mm/memblock.h"

namespace sim {
namespace {

// A size, or a part of the memory in percent.
struct Request {
  unsigned long size = 0;
  unsigned percent = 0;
};

Request all;
Request in_node[MAX_NUMNODES];
CmaArea* area_of[MAX_NUMNODES];
bool only;
uint64_t forgotten;

// What memparse() and a percent sign make of the front of *text.
bool TakeRequest(std::string_view* text, const std::string& where,
                 Request* request) {
  size_t end;
  const unsigned long value = MemParse(*text, &end);
  text->remove_prefix(end);
  if (text->empty() || text->front() != '%') {
    *request = {value, 0};
    return true;
  }
  if (value > 100) {
    pr_warn("hugetlb_cma: invalid percentage %lu%s\n", value, where.c_str());
    return false;
  }
  text->remove_prefix(1);
  *request = {0, static_cast<unsigned>(value)};
  return true;
}

// cmdline_parse_hugetlb_cma()
void ParseParam(std::string_view param) {
  std::string_view text = param;
  while (!text.empty()) {
    std::string_view at = text;
    unsigned long node;
    if (!TakeNumber(&at, &node)) return;
    if (at.empty() || at.front() != ':') {
      // Linux reads the parameter from the front again.
      if (TakeRequest(&param, "", &all))
        std::fill_n(in_node, MAX_NUMNODES, Request());
      return;
    }
    if (node >= MAX_NUMNODES) return;
    all = Request();
    at.remove_prefix(1);
    if (!TakeRequest(&at, absl::StrCat(" for node ", node), &in_node[node]))
      return;
    if (at.empty() || at.front() != ',') return;
    text = at.substr(1);
  }
}

unsigned long PercentOf(phys_addr_t size, unsigned percent) {
  return size / 100 * percent + size % 100 * percent / 100;
}

phys_addr_t MemorySize(int nid) {
  phys_addr_t size = 0;
  for (const MemblockRegion& region : TheMemblock().memory.regions) {
    if (nid == NUMA_NO_NODE || region.nid == nid) size += region.size;
  }
  return size;
}

// arch_hugetlb_cma_order(): of the largest gigantic pages there are.
unsigned AreaOrder() {
  const std::vector<unsigned>& orders = M().geometry().huge_orders;
  for (auto order = orders.rbegin(); order != orders.rend(); ++order) {
    if (order_is_gigantic(*order) && HugetlbValidSize(PAGE_SIZE << *order))
      return *order;
  }
  return 0;
}

unsigned long MiB(unsigned long size) { return size / SZ_1M; }

// The first part of hugetlb_cma_reserve(): how much that is, by node and as a
// whole. False: nothing.
bool Settle(unsigned long page_size, bool* by_node) {
  const bool asked_by_node =
      std::any_of(in_node, in_node + MAX_NUMNODES,
                  [](const Request& r) { return r.size || r.percent; });
  if (all.percent) {
    const unsigned long asked = all.size;
    all.size &= ~(page_size - 1);
    if (asked && !all.size)
      pr_warn(
          "hugetlb_cma: reservation size rounded down to 0 from %lu MiB "
          "(%u%%)\n",
          MiB(asked), all.percent);
  } else if (asked_by_node) {
    all.size = 0;
    for (int nid = 0; nid < MAX_NUMNODES; nid++) {
      Request& node = in_node[nid];
      if (node.percent) {
        const unsigned long asked = node.size;
        node.size &= ~(page_size - 1);
        if (asked && !node.size)
          pr_warn(
              "hugetlb_cma: reservation size rounded down to 0 from %lu MiB "
              "(%u%%) on node %d\n",
              MiB(asked), node.percent, nid);
      }
      all.size += node.size;
    }
  }
  const nodemask_t nodes = HugetlbBootmemSetNodes();
  *by_node = false;
  for (int nid = 0; nid < MAX_NUMNODES; nid++) {
    Request& node = in_node[nid];
    if (node.size == 0) continue;
    if (!node_isset(nid, nodes)) {
      pr_warn("hugetlb_cma: invalid node %d specified\n", nid);
    } else if (node.size % page_size != 0) {
      pr_warn(
          "hugetlb_cma: cma area of node %d must be a multiple of %lu MiB\n",
          nid, MiB(page_size));
    } else {
      *by_node = true;
      continue;
    }
    all.size -= node.size;
    node.size = 0;
  }
  if (all.size % page_size != 0) {
    pr_warn("hugetlb_cma: cma area must be a multiple of %lu MiB\n",
            MiB(page_size));
    all.size = 0;
  }
  return all.size != 0;
}

bool ReserveArea(int nid, unsigned long size, unsigned long page_size) {
  const int ret = CmaDeclareContiguousMulti(
      size, page_size, M().geometry().hpage_order, absl::StrCat("hugetlb", nid),
      &area_of[nid], nid);
  // A node is one zone here: no area spans several.
  if (ret) {
    pr_warn("hugetlb_cma: reservation failed: err %d, node %d\n", ret, nid);
    area_of[nid] = nullptr;
    return false;
  }
  pr_info("hugetlb_cma: reserved %lu MiB on node %d\n", MiB(size), nid);
  return true;
}

}  // namespace

void HugetlbCmaReset() {
  CmaReset();
  all = Request();
  std::fill_n(in_node, MAX_NUMNODES, Request());
  std::fill_n(area_of, MAX_NUMNODES, nullptr);
  only = false;
  forgotten = 0;
}

// Follows hugetlb_cma_reserve(), and the early parameters that it goes by.
void HugetlbCmaReserve() {
  std::string value;
  for (int i = 0; CmdlineParam("hugetlb_cma", i, &value); ++i)
    ParseParam(value);
  for (int i = 0; CmdlineParam("hugetlb_cma_only", i, &value); ++i)
    ParseBool(value, &only);

  bool any = all.size || all.percent;
  for (int nid = 0; nid < MAX_NUMNODES; nid++) {
    Request& node = in_node[nid];
    any |= node.size || node.percent;
    if (node.percent) node.size = PercentOf(MemorySize(nid), node.percent);
  }
  if (all.percent) all.size = PercentOf(MemorySize(NUMA_NO_NODE), all.percent);
  if (!any) return;
  const unsigned order = AreaOrder();
  if (!order) {
    pr_warn("hugetlb_cma: the option isn't supported by current arch\n");
    // Linux goes on to believe that there are areas.
    for (const Request& node : in_node) all.size += node.size;
    return;
  }
  const unsigned long page_size = PAGE_SIZE << order;
  bool by_node;
  if (!Settle(page_size, &by_node)) return;

  const nodemask_t nodes = HugetlbBootmemSetNodes();
  const unsigned long nr = static_cast<unsigned long>(nodes_weight(nodes));
  unsigned long per_node = (all.size + nr - 1) / nr;
  per_node = (per_node + page_size - 1) / page_size * page_size;
  if (!by_node)
    pr_info("hugetlb_cma: reserve %lu MiB, up to %lu MiB per node\n",
            MiB(all.size), MiB(per_node));
  unsigned long reserved = 0;
  int nid;
  for_each_node_mask(nid, nodes) {
    const unsigned long size =
        by_node ? in_node[nid].size : std::min(per_node, all.size - reserved);
    if (size == 0 || !ReserveArea(nid, size, page_size)) continue;
    reserved += size;
    if (reserved >= all.size) break;
  }
  if (!reserved) all.size = 0;
}

unsigned long HugetlbCmaTotalSize() { return all.size; }

bool HugetlbCmaExclusive() { return only; }

void HugetlbCmaValidateParams() {
  if (!all.size) only = false;
}

bool HugetlbEarlyCma(const struct hstate* h) {
  return order_is_gigantic(h->order) && only;
}

// Follows hugetlb_cma_alloc_bootmem().
void* HugetlbCmaAllocBootmem(const struct hstate* h, int nid, bool node_exact) {
  void* mem = CmaReserveEarly(area_of[nid], huge_page_size(h));
  if (mem || node_exact) return mem;
  const nodemask_t nodes = HugetlbBootmemSetNodes();
  int node;
  for_each_node_mask(node, nodes) {
    if (!area_of[node] || node == nid) continue;
    mem = CmaReserveEarly(area_of[node], huge_page_size(h));
    if (mem) return mem;
  }
  return nullptr;
}

// Follows hugetlb_cma_alloc_frozen_folio(); cpusets are left out.
struct folio* HugetlbCmaAllocFolio(unsigned order, gfp_t gfp, int nid,
                                   const nodemask_t* nodes) {
  if (!all.size) return nullptr;
  auto allowed = [nodes](int node) {
    return !nodes || node_isset(node, *nodes);
  };
  struct page* page = nullptr;
  if (area_of[nid] && allowed(nid))
    page = CmaAllocFrozenCompound(area_of[nid], order);
  for (int node = 0; !page && !(gfp & __GFP_THISNODE) && node < MAX_NUMNODES;
       node++) {
    if (node != nid && area_of[node] && allowed(node))
      page = CmaAllocFrozenCompound(area_of[node], order);
  }
  if (!page) return nullptr;
  auto* folio = reinterpret_cast<struct folio*>(page);
  folio_set_hugetlb_cma(folio);
  return folio;
}

// Follows hugetlb_cma_free_frozen_folio().
void HugetlbCmaFreeFolio(struct folio* folio) {
  WARN_ON(!CmaReleaseFrozen(area_of[folio_nid(folio)], folio_page(folio, 0),
                            static_cast<uint64_t>(folio_nr_pages(folio))));
}

uint64_t HugetlbCmaForgotten() { return forgotten; }

void HugetlbCmaForget(const struct folio* folio) {
  forgotten += static_cast<uint64_t>(folio_nr_pages(folio));
}

}  // namespace sim
