// SPDX-License-Identifier: BSD-3-Clause
#include "sim/cli/failures.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "sim/cli/arguments.h"
#include "sim/cli/files.h"

namespace sim::cli {
namespace {

namespace model = ::handover::model;

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class FailuresTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "failures test " +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      names.insert(entry.path().filename());
    return names;
  }

  std::string folder_;
};

TEST_F(FailuresTest, KeepsWhatIsThere) {
  Failures failures(folder_, /*force=*/false);
  ASSERT_TRUE(failures.Open().ok());
  EXPECT_EQ(*failures.Save(7, "whole", "shrunk"),
            folder_ + "/seed-7.min.history");
  // The same again is no second file; another one does not take its place.
  EXPECT_EQ(*failures.Save(7, "whole", "shrunk"),
            folder_ + "/seed-7.min.history");
  EXPECT_EQ(*failures.Save(7, "whole", "shrunk otherwise"),
            folder_ + "/seed-7-2.min.history");
  EXPECT_EQ(Names(), (std::set<std::string>{
                         "seed-7.history", "seed-7.min.history",
                         "seed-7-2.history", "seed-7-2.min.history"}));
  EXPECT_EQ(*ReadFile(folder_ + "/seed-7.min.history"), "shrunk");
  failures.Close();
  EXPECT_TRUE(std::filesystem::exists(folder_));
}

TEST_F(FailuresTest, ForceWritesOver) {
  Failures failures(folder_, /*force=*/true);
  ASSERT_TRUE(failures.Open().ok());
  ASSERT_TRUE(failures.Save(7, "whole", "shrunk").ok());
  EXPECT_EQ(*failures.Save(7, "other", "shrunk otherwise"),
            folder_ + "/seed-7.min.history");
  EXPECT_EQ(*ReadFile(folder_ + "/seed-7.min.history"), "shrunk otherwise");
  EXPECT_EQ(Names().size(), 2u);
}

TEST_F(FailuresTest, OneLineForWhatIsLikeAnother) {
  SetProgramName("build/handover");
  Failures failures(folder_, /*force=*/false);
  ASSERT_TRUE(failures.Open().ok());
  Reporter reporter(failures);
  const std::string head = "history 1\ngeometry small nodes=1\nboot\n";
  const model::History one = *model::ParseHistory(head + "p0 shmem f0\n");
  const model::History like = *model::ParseHistory(head + "p0 shmem f3\n");
  const model::History other = *model::ParseHistory(head + "p0 exit\n");
  const Finding finding = {0, "contents", "made up"};

  const std::string first = reporter.Report(1, one, finding);
  EXPECT_TRUE(Contains(first, "seed 1: step 0 (p0 shmem f0): contents: made"))
      << first;
  EXPECT_TRUE(Contains(first, "\n    p0 shmem f0\n")) << first;
  EXPECT_TRUE(Contains(first, "--keep-going")) << first;
  // The folder's name has spaces.
  EXPECT_TRUE(Contains(first, "replay it: build/handover replay '" + folder_ +
                                  "/seed-1.min.history'\n"))
      << first;

  const std::string second = reporter.Report(2, like, finding);
  EXPECT_TRUE(Contains(second, "seed 2 broke contents the way seed 1 did"));
  EXPECT_EQ(second.find('\n'), second.size() - 2) << second;
  EXPECT_TRUE(Contains(reporter.Report(3, other, finding), "seed 3: step 0"));
  EXPECT_TRUE(Contains(reporter.Report(4, like, {0, "counters", "made up"}),
                       "seed 4: step 0"));
  EXPECT_EQ(Names().size(), 8u);
}

// The folder went away, or the disk is full: the history is told all the same.
TEST_F(FailuresTest, WhatCannotBeSavedIsPrinted) {
  Failures failures(folder_, /*force=*/false);
  ASSERT_TRUE(failures.Open().ok());
  std::filesystem::remove_all(folder_);
  std::ofstream(folder_) << "in the way";
  Reporter reporter(failures);
  const model::History history = *model::ParseHistory(
      "history 1\ngeometry small nodes=1\nboot\np0 exit\n");
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    const std::string text =
        reporter.Report(seed, history, {0, "contents", "made up"});
    EXPECT_TRUE(Contains(text, "it could not be saved: ")) << text;
    EXPECT_TRUE(Contains(text, "\n    p0 exit\n")) << text;
  }
}

TEST_F(FailuresTest, FilesAreWholeOrNotThere) {
  std::filesystem::create_directories(folder_);
  const std::string path = folder_ + "/file";
  ASSERT_TRUE(WriteFile(path, "first", false).ok());
  EXPECT_FALSE(WriteFile(path, "second", false).ok());
  EXPECT_EQ(*ReadFile(path), "first");
  ASSERT_TRUE(WriteFile(path, "third", true).ok());
  EXPECT_EQ(*ReadFile(path), "third");
  EXPECT_EQ(Names(), (std::set<std::string>{"file"}));
}

TEST(ShellWordTest, IsReadBackByAShell) {
  EXPECT_EQ(ShellWord("build/handover"), "build/handover");
  EXPECT_EQ(ShellWord("a b"), "'a b'");
  EXPECT_EQ(ShellWord("it's"), "'it'\\''s'");
  EXPECT_EQ(ShellWord(""), "''");
  EXPECT_EQ(FileWord("-x"), "./-x");
}

}  // namespace
}  // namespace sim::cli
