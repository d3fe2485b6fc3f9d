// SPDX-License-Identifier: BSD-3-Clause
#include "props/real.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "sim/exec/replay.h"

namespace handover::props {
namespace {

model::History Read(const std::string& text) {
  auto history = model::ParseHistory(text);
  EXPECT_TRUE(history.ok()) << history.status();
  return *history;
}

constexpr char kSmallHistory[] =
    "history 1\n"
    "geometry small nodes=3\n"
    "boot default_hugepagesz=16K hugepages=4 hugepagesz=64K hugepages=0:2,1:1 "
    "hugepagesz=256K hugepages=1 kho=on\n"
    "p0 memfd f0 16K sealable\n"
    "p0 memfd f1 256K\n"
    "p0 bind 2\n"
    "sim fail 2\n"
    "p0 pin f0 0\n"
    "admin nr 64K 2 node=0\n"
    "sim during 4 p0 close f0\n"
    "loader load no-size=16K no-size=256K hugepages=3\n"
    "agent reboot\n"
    "sim dev f0 0 7\n";

TEST(Real, SmallBecomesX86) {
  EXPECT_EQ(model::Print(ForRealMachine(Read(kSmallHistory), true)),
            "history 1\n"
            "geometry x86 nodes=2\n"
            "boot default_hugepagesz=2M hugepages=4 hugepagesz=1G hugepages=1 "
            "kho=on\n"
            "p0 memfd f0 2M sealable\n"
            "p0 memfd f1 1G\n"
            "p0 bind 1\n"
            "admin nr 2M 2 node=0\n"
            "loader load no-size=1G hugepages=3\n"
            "agent reboot\n");
}

TEST(Real, WithoutGiganticPagesAllAreOfOneSize) {
  const model::History history = ForRealMachine(Read(kSmallHistory), false);
  EXPECT_FALSE(IsGigantic(history));
  EXPECT_TRUE(IsGigantic(ForRealMachine(Read(kSmallHistory), true)));
  EXPECT_EQ(history.command_line, "default_hugepagesz=2M hugepages=4 kho=on");
  EXPECT_EQ(history.commands[1].page_size, 2u << 20);
}

// What Linux was seen to do where the simulator did something else, without a
// live update. Calls that fail by plan are not tried there (sweep_test.cc does
// that with the others), since Linux itself may then lose a reserved page.
TEST(Real, WhatLinuxDoes) {
  int histories = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           HANDOVER_SOURCE_DIR "/props/histories/linux")) {
    std::ifstream file(entry.path());
    std::ostringstream text;
    text << file.rdbuf();
    EXPECT_EQ(text.str().rfind("# ", 0), 0u) << entry.path();
    const model::History history = Read(text.str());
    const sim::HistoryResult result = sim::RunHistory(history);
    EXPECT_TRUE(result.ok())
        << entry.path() << ": " << sim::Print(result.findings[0], history);
    ++histories;
  }
  EXPECT_GE(histories, 3);
}

TEST(Real, RandomOnesHoldInTheSimulator) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const model::History history = GenerateReal(seed, seed % 8 == 0);
    EXPECT_EQ(history.geometry, model::Geometry::kX86);
    EXPECT_EQ(history.nodes, 2);
    EXPECT_EQ(history, Read(model::Print(history)));
    for (const model::Command& c : history.commands) {
      EXPECT_FALSE(model::IsSimulatorOnly(c)) << model::Print(c);
      EXPECT_NE(c.verb, model::Verb::kPin);
    }
    const sim::HistoryResult result = sim::RunHistory(history);
    EXPECT_TRUE(result.ok())
        << seed << ": " << sim::Print(result.findings[0], history);
  }
}

}  // namespace
}  // namespace handover::props
