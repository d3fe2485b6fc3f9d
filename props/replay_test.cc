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
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/history.h"
#include "props/rapidcheck.h"

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

std::string SavedFile(const std::string& name) {
  return HANDOVER_SOURCE_DIR "/props/histories/" + name + ".history";
}

std::string ReadSaved(const std::string& name) {
  std::ifstream file(SavedFile(name));
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
  // The others are most often its consequences, and replay shows them.
  ASSERT_TRUE(result.ok()) << sim::Print(result.findings[0], *history)
                           << "\nreplay it: "
                           << ReplayCommand(SavedFile(GetParam()));
  // What is not judged to its end says so by its name.
  EXPECT_EQ(!result.hang.empty(), GetParam().rfind("linux-hangs-", 0) == 0)
      << result.hang;
  EXPECT_EQ(result.stats.missed, 0) << "what it is about may have moved since";
  // Once more, without looking: the digest is the same.
  EXPECT_EQ(sim::RunHistory(*history).digest, result.digest);
}

// Which field it was, of a record that keeps others from being found.
TEST(Log, SaysWhyFilesWereNotFound) {
  for (const auto& [name, why] :
       {std::pair("fewer-files-than-listed", "nr_files, or next"),
        {"quarantine-file-magic", "magic of a record"},
        {"quarantine-file-next", "address of a record"},
        {"quarantine-file-version", "version of a record"}}) {
    absl::StatusOr<model::History> history =
        model::ParseHistory(ReadSaved(name));
    ASSERT_TRUE(history.ok()) << name;
    sim::RunOptions options;
    options.log = options.trace = true;
    EXPECT_NE(sim::RunHistory(*history, options)
                  .log.find(absl::StrCat(
                      "not all preserved files were found: ", why, "\n")),
              std::string::npos)
        << name;
  }
}

// That it is counted shows in the saved histories that are about it.
TEST(Reach, TellsHolesFromOtherMemory) {
  auto reached = [](const std::string& name) {
    absl::StatusOr<model::History> history =
        model::ParseHistory(ReadSaved(name));
    EXPECT_TRUE(history.ok()) << name;
    return sim::RunHistory(*history)
        .stats.reached[static_cast<size_t>(sim::Reach::kInHole)];
  };
  EXPECT_EQ(reached("run-in-a-hole"), 1);
  EXPECT_EQ(reached("quarantine-run-frame-resum"), 0);
  EXPECT_EQ(reached("run-beyond-memory"), 0);
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
