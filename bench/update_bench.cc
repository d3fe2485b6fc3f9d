// SPDX-License-Identifier: BSD-3-Clause
//
// What one live update costs per page, as a function of the number of pages
// and of how scattered they are; beside it, in the same run, a plain table of
// 16 bytes a page (frame number and index of each).
//
// The pages stand for 2 MiB pages but are of 16 KiB, so that 524,288 of them
// fit: everything counted here is done once a page whatever its size, except
// for kho_restore_folio(), whose writes to struct pages are thus not shown.
#include <linux/kho/abi/hugetlb.h>
#include <sim/kernel_api.h>
#include <uapi/linux/memfd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "sim/liveupdate/kexec.h"
#include "sim/machine/actors.h"
#include "sim/machine/geometry.h"
#include "sim/machine/machine.h"
#include "sim/mm/boot.h"
#include "sim/user/user_space.h"

namespace {

constexpr unsigned kOrder = 2;
constexpr uint64_t kPageSize = 4096u << kOrder;

double Seconds() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// One node, room for twice the pages and for the kernel's own tables.
sim::Geometry BenchGeometry(int64_t pages) {
  sim::Geometry g;
  g.name = "bench";
  g.nodes = 1;
  g.max_page_order = 10;
  g.pageblock_order = 9;
  g.huge_orders = {kOrder, 9};
  g.hpage_order = 9;
  g.kho_ext_block = 1 << 30;
  g.scratch_lowmem = g.scratch_global = g.scratch_pernode = 32 << 20;
  const uint64_t frames =
      (static_cast<uint64_t>(pages) * 2 << kOrder) + (512u << 8);
  const uint64_t block = 1024;
  g.spans.push_back({4096, (frames + block - 1) / block * block, 0});
  return g;
}

struct PlainEntry {
  uint64_t pfn;
  uint64_t index;
};

struct Costs {
  bool ok = false;
  double preserve = 0;
  double preserve_plain = 0;
  double freeze = 0;
  double boot = 0;  // hugetlb's share: boot accounting and import
  double retrieve = 0;
  double restore_plain = 0;  // kho_restore_folio() of each entry alone
  int64_t table_bytes = 0;
  int64_t table_bytes_plain = 0;
};

// Runs fn as the agent; a session that blocks or dies fails the benchmark.
bool AsAgent(std::function<void()> fn, sim::RunResult expected) {
  return sim::RunOnActor(sim::ActorByName("agent"), std::move(fn)) == expected;
}

int64_t TableBytes(uint64_t file_pa) {
  const auto* ser =
      static_cast<const hugetlb_luo_file_ser*>(phys_to_virt(file_pa));
  int64_t bytes = 0;
  for (uint64_t pa = ser->runs; pa != 0;) {
    const auto* block =
        static_cast<const hugetlb_luo_block_ser*>(phys_to_virt(pa));
    bytes += static_cast<int64_t>(sizeof(*block) +
                                  block->nr_runs * sizeof(block->runs[0]));
    pa = block->next;
  }
  return bytes;
}

uint64_t FirstFilePa() {
  phys_addr_t pa = 0;
  size_t size = 0;
  if (kho_retrieve_subtree(HUGETLB_LUO_KHO_ENTRY, &pa, &size) != 0) return 0;
  return static_cast<const hugetlb_luo_root_ser*>(phys_to_virt(pa))->files;
}

// f0 goes through kernel/new, f1 through the plain table.
Costs Measure(int64_t pages, bool scattered) {
  Costs costs;
  sim::Machine machine(BenchGeometry(pages), 1);
  sim::KernelConfig config;
  config.cmdline = "kho=on liveupdate=on hugepagesz=16K hugepages=" +
                   std::to_string(2 * pages);
  if (!sim::Boot(config)) return costs;

  auto user = std::make_unique<sim::UserSpace>();
  const int n = static_cast<int>(pages);
  bool ok = true;
  ok &= AsAgent(
      [&] {
        for (int f : {0, 1}) {
          ok &= user->Memfd(f, kPageSize, true, false).value >= 0;
          ok &= user->Truncate(f, n).value == 0;
        }
      },
      sim::RunResult::kDone);
  // The machine takes a command of very many steps for an endless loop.
  constexpr int kAtATime = 16384;
  for (int from = 0; from < n; from += kAtATime) {
    const int count = std::min(kAtATime, n - from);
    ok &= AsAgent(
        [&] {
          if (!scattered) {
            for (int f : {0, 1})
              ok &= user->Fallocate(f, from, count, false).value == 0;
            return;
          }
          for (int i = from; i < from + count; ++i)
            for (int f : {0, 1})
              ok &= user->Fallocate(f, i, 1, false).value == 0;
        },
        sim::RunResult::kDone);
  }
  ok &= AsAgent(
      [&] {
        ok &= user->OpenDevice().value == 0;
        ok &= user->NewSession(0).value == 0;
      },
      sim::RunResult::kDone);

  double start = Seconds();
  ok &= AsAgent([&] { ok &= user->Preserve(0, 1, 0).value == 0; },
                sim::RunResult::kDone);
  costs.preserve = Seconds() - start;

  // The plain table, in host memory: what it costs to fill, not where it is.
  std::vector<PlainEntry> plain(static_cast<size_t>(n));
  std::vector<struct folio*> folios(static_cast<size_t>(n));
  start = Seconds();
  ok &= AsAgent(
      [&] {
        pgoff_t offset = 0;
        ok &= memfd_pin_folios(
                  user->FileOf(1), 0, static_cast<loff_t>(n * kPageSize) - 1,
                  folios.data(), static_cast<unsigned>(n), &offset) == n;
        for (size_t i = 0; ok && i < plain.size(); ++i) {
          ok &= kho_preserve_folio(folios[i]) == 0;
          plain[i] = {folio_pfn(folios[i]), i};
        }
      },
      sim::RunResult::kDone);
  costs.preserve_plain = Seconds() - start;
  costs.table_bytes_plain =
      static_cast<int64_t>(plain.size() * sizeof(PlainEntry));

  start = Seconds();
  ok &= AsAgent([&] { user->Reboot(true); }, sim::RunResult::kKernelDown);
  costs.freeze = Seconds() - start;
  if (!ok) return costs;

  user->KernelDied();
  double buddy = 0;
  sim::SetBootObserver([&](std::string_view stage) {
    if (stage == "buddy") {
      costs.table_bytes = TableBytes(FirstFilePa());
      buddy = Seconds();
    }
    if (stage == "hugetlb") costs.boot = Seconds() - buddy;
  });
  config.cmdline =
      "kho=on liveupdate=on hugepagesz=16K hugepages=" + std::to_string(pages);
  ok &= sim::Kexec(config);
  sim::SetBootObserver(nullptr);
  if (!ok) return costs;

  start = Seconds();
  ok &= AsAgent(
      [&] {
        ok &= user->OpenDevice().value == 0;
        ok &= user->TakeSession(0).value == 0;
        ok &= user->Retrieve(0, 1, 0).value >= 0;
      },
      sim::RunResult::kDone);
  costs.retrieve = Seconds() - start;

  start = Seconds();
  ok &= AsAgent(
      [&] {
        for (const PlainEntry& entry : plain)
          ok &= kho_restore_folio(PFN_PHYS(entry.pfn)) != nullptr;
      },
      sim::RunResult::kDone);
  costs.restore_plain = Seconds() - start;
  costs.ok = ok && machine.violations().empty();
  return costs;
}

// Every phase of one update is measured in one go.
const Costs& Cached(int64_t pages, bool scattered) {
  static auto* cache = new std::map<std::pair<int64_t, bool>, Costs>;
  auto [it, fresh] = cache->try_emplace({pages, scattered});
  if (fresh) it->second = Measure(pages, scattered);
  return it->second;
}

void Report(benchmark::State& state, double Costs::*phase,
            double Costs::*beside) {
  const int64_t pages = state.range(0);
  const Costs& costs = Cached(pages, state.range(1) != 0);
  if (!costs.ok) {
    state.SkipWithError("the update failed");
    return;
  }
  for (auto _ : state) state.SetIterationTime(costs.*phase);
  state.counters["ns/page"] = costs.*phase * 1e9 / static_cast<double>(pages);
  if (beside != nullptr)
    state.counters["of_plain"] = costs.*phase / costs.*beside;
  state.counters["table_B/page"] =
      static_cast<double>(costs.table_bytes) / static_cast<double>(pages);
  state.counters["plain_B/page"] =
      static_cast<double>(costs.table_bytes_plain) / static_cast<double>(pages);
}

void BM_Preserve(benchmark::State& state) {
  Report(state, &Costs::preserve, &Costs::preserve_plain);
}
void BM_Freeze(benchmark::State& state) {
  Report(state, &Costs::freeze, nullptr);
}
void BM_BootAccounting(benchmark::State& state) {
  Report(state, &Costs::boot, nullptr);
}
void BM_Retrieve(benchmark::State& state) {
  Report(state, &Costs::retrieve, &Costs::restore_plain);
}

void Arguments(benchmark::internal::Benchmark* b) {
  b->ArgNames({"pages", "scattered"});
  for (int64_t pages : {1000, 8192, 65536, 524288})
    for (int64_t scattered : {0, 1}) b->Args({pages, scattered});
  b->UseManualTime()->Iterations(1)->Unit(benchmark::kMillisecond);
}
BENCHMARK(BM_Preserve)->Apply(Arguments);
BENCHMARK(BM_Freeze)->Apply(Arguments);
BENCHMARK(BM_BootAccounting)->Apply(Arguments);
BENCHMARK(BM_Retrieve)->Apply(Arguments);

}  // namespace
