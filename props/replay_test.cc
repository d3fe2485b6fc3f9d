// SPDX-License-Identifier: BSD-3-Clause
//
// The saved histories: bugs that were found, decisions that were made. All
// hold.
#include "sim/exec/replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "model/history.h"

namespace handover::props {
namespace {

std::vector<std::string> SavedHistories() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(
           HANDOVER_SOURCE_DIR "/props/histories"))
    if (entry.path().extension() == ".history")
      names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string ReadSaved(const std::string& name) {
  std::ifstream file(HANDOVER_SOURCE_DIR "/props/histories/" + name +
                     ".history");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class Saved : public ::testing::TestWithParam<std::string> {};

TEST_P(Saved, Holds) {
  const std::string text = ReadSaved(GetParam());
  EXPECT_EQ(text.rfind("# ", 0), 0u) << "a comment should say what it guards";
  absl::StatusOr<model::History> history = model::ParseHistory(text);
  ASSERT_TRUE(history.ok()) << history.status();
  sim::RunOptions options;
  options.log = true;
  const sim::HistoryResult result = sim::RunHistory(*history, options);
  for (const sim::Finding& finding : result.findings)
    ADD_FAILURE() << sim::Print(finding, *history);
  if (!result.ok()) {
    std::fputs(result.log.c_str(), stderr);
    return;
  }
  // Once more, without looking: the digest is the same.
  EXPECT_EQ(sim::RunHistory(*history).digest, result.digest);
}

std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Histories, Saved,
                         ::testing::ValuesIn(SavedHistories()), TestName);

}  // namespace
}  // namespace handover::props
