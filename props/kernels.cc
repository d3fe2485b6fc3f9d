// SPDX-License-Identifier: BSD-3-Clause
#include "props/kernels.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace handover::props {
namespace {

void Spread(Random* random, int nodes, PoolPlan* pool) {
  pool->node.fill(0);
  for (int64_t i = 0; i < pool->total; ++i)
    ++pool->node[static_cast<size_t>(random->Below(nodes))];
}

PoolPlan MakePool(Random* random, model::Geometry geometry, int nodes,
                  uint64_t page_size) {
  PoolPlan pool;
  pool.page_size = page_size;
  pool.total = random->Between(1, MostPages(geometry, page_size));
  pool.per_node = random->Percent(35);
  Spread(random, nodes, &pool);
  return pool;
}

// Another number, or another way to say where.
void Change(Random* random, model::Geometry geometry, int nodes,
            PoolPlan* pool) {
  int64_t most = MostPages(geometry, pool->page_size);
  switch (random->Weighted({30, 20, 15, 25, 10})) {
    case 0:  // fewer
      pool->total = random->Below(pool->total + 1);
      break;
    case 1:  // more
      pool->total += random->Between(1, std::max<int64_t>(1, most / 2));
      break;
    case 2:  // none
      pool->total = 0;
      break;
    case 3:
      pool->per_node = !pool->per_node;
      break;
    default:  // more than there is, but not so much that nothing can boot
      pool->total =
          most * (pool->page_size == model::PageSizes(geometry).back() ? 3 : 6);
      break;
  }
  Spread(random, nodes, pool);
}

}  // namespace

int64_t MostPages(model::Geometry geometry, uint64_t page_size) {
  constexpr uint64_t kMi = 1 << 20;
  switch (geometry) {
    case model::Geometry::kSmall:
      if (page_size == 16 << 10) return 16;
      return page_size == 64 << 10 ? 10 : 3;
    case model::Geometry::kX86:
      return page_size == 2 * kMi ? 12 : 2;
    case model::Geometry::kArm64:
      if (page_size == 64 << 10) return 16;
      if (page_size == 2 * kMi) return 8;
      return page_size == 32 * kMi ? 3 : 1;
  }
  return 1;
}

bool KernelPlan::Has(uint64_t page_size) const {
  return std::find(missing_sizes.begin(), missing_sizes.end(), page_size) ==
         missing_sizes.end();
}

std::string KernelPlan::CommandLine(model::Geometry geometry) const {
  uint64_t standard =
      default_size != 0 ? default_size : model::DefaultPageSize(geometry);
  std::string line;
  auto word = [&line](std::string text) {
    absl::StrAppend(&line, line.empty() ? "" : " ", text);
  };
  if (default_size != 0)
    word(absl::StrCat("default_hugepagesz=", model::PrintSize(default_size)));
  // hugepages= with no size before it belongs to the default size.
  for (int pass = 0; pass < 2; ++pass) {
    for (const PoolPlan& pool : pools) {
      if ((pool.page_size == standard) != (pass == 0)) continue;
      if (pass == 1)
        word(absl::StrCat("hugepagesz=", model::PrintSize(pool.page_size)));
      if (!pool.per_node) {
        word(absl::StrCat("hugepages=", pool.total));
        continue;
      }
      std::string parts;
      for (size_t n = 0; n < pool.node.size(); ++n)
        if (pool.node[n] > 0)
          absl::StrAppend(&parts, parts.empty() ? "" : ",", n, ":",
                          pool.node[n]);
      word(absl::StrCat("hugepages=", parts.empty() ? "0" : parts));
    }
  }
  if (no_numa) word("numa=off");
  if (optimizes) word("hugetlb_free_vmemmap=on");
  const uint64_t largest = model::PageSizes(geometry).back();
  auto area_size = [largest](int64_t pages) {
    return model::PrintSize(static_cast<uint64_t>(pages) * largest);
  };
  if (areas > 0) {
    std::string parts;
    for (size_t n = 0; areas_by_node && n < area.size(); ++n)
      if (area[n] > 0)
        absl::StrAppend(&parts, parts.empty() ? "" : ",", n, ":",
                        area_size(area[n]));
    word(
        absl::StrCat("hugetlb_cma=", parts.empty() ? area_size(areas) : parts));
    if (areas_only) word("hugetlb_cma_only=on");
  }
  if (no_kho) word("kho=off");
  if (no_liveupdate) word("liveupdate=off");
  return line;
}

KernelPlan FirstKernel(Random* random, model::Geometry geometry, int nodes) {
  KernelPlan plan;
  const std::vector<uint64_t>& sizes = model::PageSizes(geometry);
  for (uint64_t size : sizes)
    if (random->Percent(75))
      plan.pools.push_back(MakePool(random, geometry, nodes, size));
  // Without any pool there is not much to see.
  if (plan.pools.empty())
    plan.pools.push_back(
        MakePool(random, geometry, nodes, random->Pick(sizes)));
  if (random->Percent(10)) plan.default_size = random->Pick(sizes);
  plan.no_numa = nodes > 1 && random->Percent(2);
  plan.optimizes = random->Percent(20);
  return plan;
}

void ChangeAreas(Random* random, model::Geometry geometry, int nodes,
                 KernelPlan* plan) {
  if (plan->areas > 0 && random->Percent(60)) return;
  const uint64_t largest = model::PageSizes(geometry).back();
  plan->areas = random->Percent(80)
                    ? random->Between(1, MostPages(geometry, largest) + 1)
                    : 0;
  plan->areas_by_node = random->Percent(40);
  plan->area.fill(0);
  for (int64_t i = 0; i < plan->areas; ++i)
    ++plan->area[static_cast<size_t>(random->Below(nodes))];
  if (plan->areas > 0 && random->Percent(12)) {
    // More than there is on a node. Where all of it would do, it would be an
    // area, and there would be no room for scratch.
    constexpr int64_t kTooMany = 16;
    plan->areas_by_node = true;
    plan->areas += kTooMany;
    plan->area[static_cast<size_t>(random->Below(nodes))] += kTooMany;
  }
  plan->areas_only = random->Percent(35);
  const bool asked = std::any_of(
      plan->pools.begin(), plan->pools.end(), [&](const PoolPlan& pool) {
        return model::IsGigantic(geometry, pool.page_size);
      });
  if (!asked) plan->pools.push_back(MakePool(random, geometry, nodes, largest));
}

KernelPlan NextKernel(Random* random, model::Geometry geometry, int nodes,
                      const KernelPlan& before, bool odd) {
  KernelPlan plan = before;
  plan.missing_sizes.clear();
  plan.no_option = plan.no_liveupdate = plan.no_kho = plan.no_numa = false;
  const std::vector<uint64_t>& sizes = model::PageSizes(geometry);
  switch (random->Weighted({40, 35, 10, 10, 5})) {
    case 0:
      break;
    case 1:
      for (PoolPlan& pool : plan.pools)
        if (random->Percent(70)) Change(random, geometry, nodes, &pool);
      break;
    case 2:  // nothing asked for: all that comes is surplus
      plan.pools.clear();
      break;
    case 3:
      plan = FirstKernel(random, geometry, nodes);
      break;
    default:
      plan.default_size = random->Pick(sizes);
      break;
  }
  if (nodes > 1) plan.no_numa = random->Percent(before.no_numa ? 50 : 5);
  plan.optimizes = random->Percent(before.optimizes ? 70 : 10);
  if (!odd) return plan;
  switch (random->Weighted({50, 30, 12, 8})) {
    case 0:
      plan.missing_sizes.push_back(random->Pick(sizes));
      break;
    case 1:
      plan.no_option = true;
      break;
    case 2:
      plan.no_liveupdate = true;
      break;
    default:
      plan.no_kho = true;
      break;
  }
  return plan;
}

}  // namespace handover::props
