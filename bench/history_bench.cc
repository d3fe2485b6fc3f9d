// SPDX-License-Identifier: BSD-3-Clause
//
// How many histories a second: generated, run, and judged after every step.
#include <cstdint>

#include "benchmark/benchmark.h"
#include "props/generator.h"
#include "sim/exec/replay.h"

namespace {

using handover::props::Generate;
using handover::props::GeneratorOptions;

void RunHistories(benchmark::State& state, GeneratorOptions::Machine machine) {
  GeneratorOptions options;
  options.machine = machine;
  uint64_t seed = 1;
  int64_t commands = 0;
  int64_t boots = 0;
  for (auto _ : state) {
    const sim::HistoryResult result =
        sim::RunHistory(Generate(seed++, options));
    if (!result.ok()) {
      state.SkipWithError("a history failed; see handover run");
      return;
    }
    commands += result.commands;
    boots += result.stats.boots;
  }
  state.SetItemsProcessed(state.iterations());
  const auto n = static_cast<double>(state.iterations());
  state.counters["commands"] = static_cast<double>(commands) / n;
  state.counters["updates"] = static_cast<double>(boots) / n;
}

void BM_HistoriesSmall(benchmark::State& state) {
  RunHistories(state, GeneratorOptions::Machine::kSmall);
}
BENCHMARK(BM_HistoriesSmall);

void BM_HistoriesMixed(benchmark::State& state) {
  RunHistories(state, GeneratorOptions::Machine::kMixed);
}
BENCHMARK(BM_HistoriesMixed);

void BM_GenerateOnly(benchmark::State& state) {
  uint64_t seed = 1;
  for (auto _ : state) benchmark::DoNotOptimize(Generate(seed++));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_GenerateOnly);

}  // namespace

BENCHMARK_MAIN();
