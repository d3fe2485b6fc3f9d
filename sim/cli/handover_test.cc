// SPDX-License-Identifier: BSD-3-Clause
//
// The `handover` command as a user meets it: what it prints, what it writes,
// how it ends. What kernel/new does in live updates is for the properties to
// judge; where that is possible, nothing here depends on it.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sim/cli/table.h"

namespace {

struct Ended {
  int status = -1;
  std::string output;  // standard output and error
};

Ended Handover(const std::string& arguments) {
  Ended ended;
  std::FILE* pipe = popen(
      (HANDOVER_BINARY_DIR "/handover " + arguments + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return ended;
  char buffer[4096];
  while (size_t got = std::fread(buffer, 1, sizeof(buffer), pipe))
    ended.output.append(buffer, got);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) ended.status = WEXITSTATUS(status);
  return ended;
}

std::string Saved(const std::string& name) {
  return HANDOVER_SOURCE_DIR "/props/histories/" + name + ".history";
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string LastLine(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

class HandoverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(
        ::testing::TempDir(), "handover_test_",
        ::testing::UnitTest::GetInstance()->current_test_info()->name(), "_",
        getpid());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string Path(const std::string& name) const {
    return folder_ + "/" + name;
  }
  // Pools, a file and two kernels, without a live update.
  std::string Plain() const {
    std::ofstream(Path("plain.history"))
        << "history 1\ngeometry small nodes=2\n"
           "boot hugepagesz=64K hugepages=0:4,1:2\n"
           "p0 memfd f0 64K\np0 map f0 m0 0 6 noreserve\n"
           "p0 write m0 0 a0\np0 bind 1\np0 write m0 5 a5\n"
           "loader load hugepagesz=64K hugepages=4\nsim power\n"
           "p0 memfd f1 64K\n";
    return Path("plain.history");
  }

 private:
  std::string folder_;
};

TEST_F(HandoverTest, HelpNamesEverySubcommandAndFlag) {
  Ended ended = Handover("--help");
  EXPECT_EQ(ended.status, 0);
  for (const char* name :
       {"run", "replay", "draw", "inspect", "judge", "generate"}) {
    EXPECT_TRUE(Contains(ended.output, name)) << ended.output;
    Ended help = Handover(std::string(name) + " --help");
    EXPECT_EQ(help.status, 0);
    EXPECT_EQ(help.output.rfind("usage: handover ", 0), 0u) << help.output;
  }
  EXPECT_TRUE(Contains(Handover("run --help").output, "--histories=N"));
  EXPECT_EQ(Handover("").status, 2);
}

TEST_F(HandoverTest, BadUsageIsStatusTwoAndSaysWhatIsRight) {
  struct Case {
    const char* arguments;
    const char* says;
  };
  for (const Case& c : {
           Case{"frobnicate",
                "run, replay, draw, inspect, judge, generate, explore and "
                "sweep"},
           Case{"run --sed=1", "--seed"},
           Case{"run --seed=one", "--seed is a number"},
           Case{"run --nodes=5", "from 1 to 4"},
           Case{"run --geometry=large", "small, x86, arm64 or mixed"},
           Case{"run extra", "'extra' is too much"},
           Case{"run --seed", "--seed needs a value: --seed=S"},
           Case{"replay", "handover replay FILE"},
           Case{"replay /nonexistent.history", "No such file"},
           Case{"draw /nonexistent.history", "-o OUT.svg"},
           Case{"draw /nonexistent.history -o picture.gif",
                "picture.gif: the name must end in .svg, .png or .dot"},
           Case{"run --out --force", "--out needs a value, and --force looks"},
           Case{"run --out=", "--out needs a value: --out=DIR"},
           Case{"replay --save-table= FILE", "--save-table needs a value"},
           Case{"replay ''", "an empty word is no file's name"},
           Case{"draw -o '' FILE", "-o needs a value: -o OUT"},
           Case{"inspect /nonexistent", "No such file"},
       }) {
    Ended ended = Handover(c.arguments);
    EXPECT_EQ(ended.status, 2) << c.arguments;
    EXPECT_TRUE(Contains(ended.output, c.says))
        << c.arguments << ": " << ended.output;
  }
}

TEST_F(HandoverTest, RunEndsWithOneLineOfResults) {
  Ended ended = Handover("run --seed=7 --histories=20 --max-failures=1");
  const std::regex form(
      "histories=([0-9]+) failed=([01]) commands=[0-9]+ digest=[0-9a-f]{16} "
      "rate=[0-9]+/s");
  const std::string line = LastLine(ended.output);
  std::smatch match;
  ASSERT_TRUE(std::regex_match(line, match, form)) << line;
  EXPECT_EQ(std::to_string(ended.status), match[2]) << line;
  if (ended.status == 0) {
    EXPECT_EQ(match[1], "20") << line;
  }
}

TEST_F(HandoverTest, SameSeedSameDigest) {
  auto digest = [](const std::string& arguments) {
    const std::string line = LastLine(Handover(arguments).output);
    const size_t at = line.find("digest=");
    return at == std::string::npos ? line : line.substr(at, 23);
  };
  const std::string run = "run --histories=40 --max-failures=1 --seed=";
  const std::string first = digest(run + "3");
  EXPECT_EQ(digest(run + "3"), first);
  EXPECT_NE(digest(run + "4"), first);
  EXPECT_EQ(first.rfind("digest=", 0), 0u);
}

TEST_F(HandoverTest, StatsCountCommandsAndErrors) {
  Ended ended = Handover("run --histories=30 --max-failures=1 --stats");
  for (const char* part : {"preserve", "reboot", "next kernels"})
    EXPECT_TRUE(Contains(ended.output, part)) << ended.output;
  // Unless it stopped early.
  if (ended.status == 0) {
    EXPECT_TRUE(Contains(ended.output, "EBUSY")) << ended.output;
  }
}

TEST_F(HandoverTest, ReplayTellsWhatChanged) {
  Ended ended = Handover("replay " + Plain());
  EXPECT_EQ(ended.status, 0) << ended.output;
  for (const char* part : {"p0 write m0 0 a0", "kernel 2 runs", "pool 64K"})
    EXPECT_TRUE(Contains(ended.output, part)) << ended.output;
  EXPECT_EQ(LastLine(ended.output).rfind("held ", 0), 0u);
}

TEST_F(HandoverTest, WarnsOfIgnoredWords) {
  std::ofstream(Path("a.history"))
      << "history 1\ngeometry small nodes=1\nboot hugepage=2\n";
  for (const std::string& how :
       {"replay --quiet " + Path("a.history"),
        "draw " + Path("a.history") + " -o " + Path("a.dot")}) {
    Ended ended = Handover(how);
    EXPECT_EQ(ended.status, 0);
    EXPECT_TRUE(Contains(ended.output,
                         "warning: command line of boot: 'hugepage=2' means"))
        << ended.output;
  }
}

TEST_F(HandoverTest, ReplayNamesTheLineThatIsWrong) {
  std::ofstream(Path("wrong.history"))
      << "history 1\ngeometry small nodes=2\nboot\np0 memfd f0 17\n";
  Ended ended = Handover("replay " + Path("wrong.history"));
  EXPECT_EQ(ended.status, 2);
  EXPECT_TRUE(Contains(ended.output, "wrong.history: line 4: "))
      << ended.output;
}

TEST_F(HandoverTest, DrawsWithoutWritingOverAnything) {
  const std::string plain = Plain();
  const std::string output = Path("picture.dot");
  ASSERT_EQ(Handover("draw " + plain + " -o " + output).status, 0);
  const std::string dot = ReadFile(output);
  for (const char* part : {"digraph", "kernel 1", "kernel 2", "node 1", "f0[5]",
                           "p0 write m0 5 a5", "quarantined"})
    EXPECT_TRUE(Contains(dot, part)) << part;
  Ended again = Handover("draw " + plain + " -o " + output);
  EXPECT_EQ(again.status, 2);
  EXPECT_TRUE(Contains(again.output, "--force")) << again.output;
  EXPECT_EQ(Handover("draw --force " + plain + " -o " + output).status, 0);
  EXPECT_EQ(ReadFile(output), dot);
}

TEST_F(HandoverTest, DrawNamesThePackageThatIsMissing) {
  const std::string output = Path("picture.svg");
  std::FILE* pipe =
      popen(("PATH=/nonexistent " HANDOVER_BINARY_DIR "/handover draw " +
             Plain() + " -o " + output + " 2>&1")
                .c_str(),
            "r");
  ASSERT_NE(pipe, nullptr);
  char buffer[4096] = {};
  const size_t got = std::fread(buffer, 1, sizeof(buffer) - 1, pipe);
  const int status = pclose(pipe);
  EXPECT_EQ(WEXITSTATUS(status), 2);
  EXPECT_TRUE(Contains(std::string(buffer, got), "apt-get install graphviz"))
      << buffer;
  EXPECT_FALSE(std::filesystem::exists(output));
}

TEST_F(HandoverTest, InspectsASavedTable) {
  const std::string table = Path("table");
  Ended saved =
      Handover("replay --quiet " + Saved("demo") + " --save-table=" + table);
  ASSERT_EQ(saved.status, 0) << saved.output;
  Ended ended = Handover("inspect " + table);
  EXPECT_EQ(ended.status, 0);
  for (const char* part :
       {"root at ", "checksum right", "files: 2", "4 pages of 64K",
        "1 page of 64K", "page 0 at 0x618000 (frame 1560)", "seals none"})
    EXPECT_TRUE(Contains(ended.output, part)) << ended.output;
  EXPECT_FALSE(Contains(ended.output, "WRONG")) << ended.output;

  // A table that a history damaged.
  const std::string damaged = Path("damaged");
  ASSERT_EQ(Handover("replay --quiet " + Saved("quarantine-run-frame") +
                     " --save-table=" + damaged)
                .status,
            0);
  ended = Handover("inspect " + damaged);
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(Contains(ended.output, "CHECKSUM WRONG"));
}

// Tables whose checksums were made to match what a history did to them.
TEST_F(HandoverTest, InspectFindsWhatChecksumsDoNot) {
  struct Case {
    const char* history;
    const char* says;
  };
  for (const Case& c : {
           Case{"block-next-resum", "NO SUCH PAGE"},
           Case{"block-nr-resum", "RUN OF NO PAGES"},
           Case{"file-order-resum", "COUNTS ARE OF ANOTHER SIZE"},
           Case{"file-count-resum", "TOTAL WRONG: the counts add up to 4"},
           Case{"file-next-resum", "THE LIST HAS 1 FILES, the root says 2"},
           Case{"file-nr-pages-resum", "TOTAL WRONG: the runs have 3 pages"},
           Case{"file-version-resum", "VERSION UNKNOWN"},
           Case{"root-count-resum", "ANNOUNCED IS NOT WHAT COMES"},
           Case{"run-index-resum", "OUT OF ORDER"},
           Case{"run-nr-resum", "PAGE 1 IS THERE TWICE"},
       }) {
    const std::string table = Path(c.history);
    ASSERT_EQ(Handover("replay --quiet " +
                       Saved(std::string("quarantine-") + c.history) +
                       " --save-table=" + table)
                  .status,
              0);
    Ended ended = Handover("inspect " + table);
    EXPECT_EQ(ended.status, 1) << c.history;
    EXPECT_TRUE(Contains(ended.output, c.says)) << c.history << ended.output;
    EXPECT_FALSE(Contains(ended.output, "CHECKSUM")) << ended.output;
  }
}

TEST_F(HandoverTest, InspectSaysWhatIsWrongWithAFile) {
  const std::string table = Path("table");
  // Whatever it holds, it is there.
  Handover("replay --quiet " + Saved("demo") + " --save-table=" + table);
  const std::string content = ReadFile(table);
  ASSERT_FALSE(content.empty());
  std::ofstream(Path("cut"), std::ios::binary)
      << content.substr(0, content.size() - 1);
  EXPECT_EQ(Handover("inspect " + Path("cut")).status, 2);
  std::ofstream(Path("text")) << "nothing of the kind\n";
  Ended ended = Handover("inspect " + Path("text"));
  EXPECT_EQ(ended.status, 2);
  EXPECT_TRUE(Contains(ended.output, "--save-table")) << ended.output;
  // Any damage inside of the pages is told, and nothing worse.
  for (size_t at = 33; at < content.size(); at += 971) {
    std::string broken = content;
    broken[at] = static_cast<char>(broken[at] ^ 0x55);
    std::ofstream(Path("broken"), std::ios::binary) << broken;
    const int status = Handover("inspect " + Path("broken")).status;
    EXPECT_TRUE(status >= 0 && status <= 2) << "byte " << at;
  }
  // As the command does it, and more of it.
  for (size_t at = 33; at < content.size(); at += 11) {
    std::string broken = content;
    broken[at] = static_cast<char>(broken[at] ^ 0x55);
    const auto decoded = sim::cli::DecodeTable(broken);
    if (!decoded.ok()) continue;
    EXPECT_FALSE(sim::cli::DescribeTable(*decoded).text.empty()) << at;
  }
}

// A value that begins with - is one after a =.
TEST_F(HandoverTest, GenerateMakesHistoriesForRealKernels) {
  Ended ended = Handover("generate --seed=3");
  EXPECT_EQ(ended.status, 0);
  EXPECT_TRUE(Contains(ended.output, "geometry x86 nodes=2\n"));
  EXPECT_FALSE(Contains(ended.output, "\nsim "));
  EXPECT_EQ(Handover("generate --seed=3").output, ended.output);
  EXPECT_NE(Handover("generate --seed=4").output, ended.output);
  ended = Handover("generate --from=" + Plain());
  EXPECT_EQ(ended.status, 0);
  EXPECT_TRUE(Contains(ended.output, "boot hugepagesz=2M hugepages=0:4,1:2\n"));
  EXPECT_EQ(Handover("generate --seed=1 --from=" + Plain()).status, 2);
}

// A log as scripts/kernel-history gets it.
class JudgeCommandTest : public HandoverTest {
 protected:
  void SetUp() override {
    HandoverTest::SetUp();
    std::ofstream(Path("a.history"))
        << "history 1\ngeometry x86 nodes=2\nboot hugepages=0:2,1:1\n"
           "p0 memfd f0 2M\np0 fallocate f0 0 1\n";
  }
  Ended Judge(const std::string& log) {
    std::ofstream(Path("a.log")) << log;
    return Handover("judge " + Path("a.history") + " " + Path("a.log"));
  }
  const std::string pools =
      "handover: pool 2097152 0 0 2,2,0,90 1,1,0,90\r\n"
      "handover: pool 1073741824 0 0 0,0,0,-1 0,0,0,-1\n"
      "handover: words 0\n";
  const std::string file = "handover: file 0 7 2097152 ";
  const std::string first =
      "SeaBIOS\n[    0.0] Linux version 7.3\n"
      "[    1.234567] handover: guest 1 kernel=1 next=0\n" +
      pools + "handover: seen -1\nhandover: outcome 0 done 0 0 -1 -1\n" +
      pools + file + "0 0 1 511\nhandover: seen 0\n";
  std::string Second(const std::string& counts) {
    return "handover: outcome 1 done 0 0 -1 -1\nhandover: pool 2097152 0 0 " +
           counts +
           "\nhandover: pool 1073741824 0 0 0,0,0,-1 0,0,0,-1\n"
           "handover: words 0\n" +
           file + "2097152 0 1 511\nhandover: page 0 512 0\nhandover: seen 1\n";
  }
};

TEST_F(JudgeCommandTest, WhatHeld) {
  const Ended ended =
      Judge(first + Second("2,1,0,90 1,1,0,90") + "handover: end\n");
  EXPECT_EQ(ended.status, 0) << ended.output;
  EXPECT_TRUE(Contains(ended.output, "1: p0 fallocate f0 0 1\n"));
  EXPECT_TRUE(Contains(ended.output, "f0[0]: frame 512 on node 0"));
  EXPECT_EQ(LastLine(ended.output), "held commands=2");
}

TEST_F(JudgeCommandTest, WhatBroke) {
  const Ended ended =
      Judge(first + Second("2,2,0,90 1,1,0,90") + "handover: end\n");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_TRUE(Contains(ended.output, "BROKEN counters: ")) << ended.output;
  EXPECT_EQ(LastLine(ended.output), "BROKEN commands=2");
}

TEST_F(JudgeCommandTest, AMachineThatStopped) {
  Ended ended = Judge(first);
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_TRUE(Contains(ended.output, "nothing was heard after command 0"));
  ended = Judge(first + "handover: end\n");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_TRUE(Contains(ended.output, "it ends before command 1"));
}

TEST_F(JudgeCommandTest, ALogOfSomethingElse) {
  Ended ended = Judge("handover: guest 1 kernel=1 next=0\nhandover: seen 5\n");
  EXPECT_EQ(ended.status, 2) << ended.output;
  EXPECT_TRUE(Contains(ended.output, "is of another history"));
  ended = Judge("handover: guest 99 kernel=1 next=0\n");
  EXPECT_EQ(ended.status, 2) << ended.output;
  EXPECT_TRUE(Contains(ended.output, "line 1 is not what a guest's agent"));
}

// What it says of bounds is what it takes.
TEST_F(HandoverTest, ExploreHelpNamesAllBounds) {
  const std::string help = Handover("explore --help").output;
  const Ended ended =
      Handover("explore --design=published-early --property=one-owner");
  std::istringstream bounds(ended.output.substr(0, ended.output.find('\n')));
  int words = 0;
  for (std::string word; bounds >> word; ++words)
    EXPECT_TRUE(Contains(help, word)) << word << "\n" << help;
  EXPECT_EQ(words, 14) << ended.output;
  for (const char* name : {"'small'", "'pair'"})
    EXPECT_TRUE(Contains(help, name)) << help;
}

// What it writes is tested in explore_test.cc and model/explorer_test.cc.
TEST_F(HandoverTest, ExploreWritesNoDocumentThatHasNoPlaceForIt) {
  const std::string document = Path("page.md");
  EXPECT_EQ(Handover("explore --document=" + document).status, 2);
  std::ofstream(document) << "Before.\n";
  const Ended ended = Handover("explore --document=" + document);
  EXPECT_EQ(ended.status, 2) << ended.output;
  EXPECT_TRUE(Contains(ended.output, "handover explore: begin"));
  EXPECT_EQ(ReadFile(document), "Before.\n");
}

TEST_F(HandoverTest, DashedValues) {
  Ended ended = Handover("run --seed=-1");
  EXPECT_EQ(ended.status, 2);
  EXPECT_TRUE(Contains(ended.output, "--seed is a number")) << ended.output;
}

TEST_F(HandoverTest, OutputIsCheckedBeforeAnythingRuns) {
  std::ofstream(Path("file")) << "mine";
  struct Case {
    std::string arguments;
    const char* says;
  };
  const std::string demo = Saved("demo");
  for (const Case& c : {
           Case{"run --histories=1 --out=" + Path("file"), "is not a folder"},
           Case{"run --histories=1 --out=" + Path("file/below"), "cannot be"},
           Case{"draw " + demo + " -o " + Path("no/such.dot"), "mkdir -p"},
           Case{"draw " + demo + " -o " + Path("file/a.dot"), "not a folder"},
           Case{"replay " + demo + " --save-table=" + Path("no/table"),
                "there is no folder"},
       }) {
    Ended ended = Handover(c.arguments);
    EXPECT_EQ(ended.status, 2) << c.arguments;
    EXPECT_TRUE(Contains(ended.output, c.says)) << ended.output;
    // Neither a step of a history nor a result.
    EXPECT_FALSE(Contains(ended.output, "digest=")) << ended.output;
  }
  EXPECT_FALSE(std::filesystem::exists(Path("no")));
  EXPECT_EQ(ReadFile(Path("file")), "mine");
}

TEST_F(HandoverTest, RunMakesItsFolderAndLeavesNoEmptyOne) {
  EXPECT_EQ(Handover("run --histories=1 --out=" + Path("a/b")).status, 0);
  EXPECT_FALSE(std::filesystem::exists(Path("a/b")));
}

// However long a kernel's command line and what is said about its steps.
TEST_F(HandoverTest, ColumnsOfAllKernelsLineUp) {
  std::ofstream(Path("wide.history"))
      << "history 1\ngeometry small nodes=1\nboot hugepagesz=16K hugepages=2\n"
         "sim during 1 p0 map f0 m0 0 4\nagent open\nagent session s0\n"
         "loader load hugepagesz=16K hugepages=0:2 default_hugepagesz=64K "
         "hugepages=0:1 hugepagesz=256K hugepages=0 kho_scratch=64K,64K,64K\n"
         "agent reboot\nagent open\n";
  const std::string output = Path("picture.svg");
  ASSERT_EQ(Handover("draw " + Path("wide.history") + " -o " + output).status,
            0);
  const std::string svg = ReadFile(output);
  const std::regex label("x=\"([-.0-9]+)\"[^>]*>(node 0|[0-9]{2,4})</text>");
  std::map<std::string, std::vector<double>> places;
  for (auto it = std::sregex_iterator(svg.begin(), svg.end(), label);
       it != std::sregex_iterator(); ++it)
    places[(*it)[2]].push_back(std::stod((*it)[1]));
  EXPECT_GE(places.size(), 3u);
  for (const auto& [name, at] : places) {
    ASSERT_EQ(at.size(), 2u) << name;
    EXPECT_NEAR(at[0], at[1], 2) << name;
  }
}

TEST_F(HandoverTest, PictureTellsLatePagesFromPreservedOnes) {
  const std::string output = Path("picture.dot");
  ASSERT_EQ(Handover("draw " + Saved("late-page") + " -o " + output).status, 0);
  const std::string dot = ReadFile(output);
  // Of the three pages that came late, each has the colour twice: when it
  // came, and as preserved when the old kernel was frozen.
  for (const char* page : {"f0[0]", "f0[3]", "f0[9]"}) {
    std::vector<std::string> colours;
    const std::regex cell(
        "BGCOLOR=\"(#[0-9a-f]+)\"><FONT[^>]*>" +
        std::regex_replace(std::string(page), std::regex("[\\[\\]]"), "\\$&") +
        "</FONT>");
    for (auto it = std::sregex_iterator(dot.begin(), dot.end(), cell);
         it != std::sregex_iterator(); ++it)
      colours.push_back((*it)[1]);
    EXPECT_EQ(colours, (std::vector<std::string>{"#4fc3bd", "#3d77c9",
                                                 "#ffd75e", "#bcd9fb"}))
        << page;
  }
}

TEST_F(HandoverTest, PictureMarksPins) {
  std::ofstream(Path("pin.history"))
      << "history 1\ngeometry small nodes=1\nboot hugepages=1\n"
         "p0 memfd f0 64K\np0 fallocate f0 0 1\np0 pin f0 0\n"
         "sim dev f0 0 7\n";
  const std::string output = Path("picture.dot");
  ASSERT_EQ(Handover("draw " + Path("pin.history") + " -o " + output).status,
            0);
  const std::string dot = ReadFile(output);
  EXPECT_TRUE(Contains(dot, ">pin</FONT>")) << dot;
  EXPECT_TRUE(Contains(dot, ">dma</FONT>")) << dot;
}

TEST_F(HandoverTest, PictureNotesStandBelowTheGrid) {
  const std::string output = Path("picture.dot");
  ASSERT_EQ(
      Handover("draw " + Saved("hole-fault-waits") + " -o " + output).status,
      0);
  const std::string dot = ReadFile(output);
  const size_t row = dot.find("agent reboot");
  const size_t grid_ends = dot.find("</TABLE>", row);
  const size_t note =
      dot.find("16: meanwhile p0 write m0 1 b1 -&gt; killed, after a wait");
  EXPECT_LT(grid_ends, note);
  EXPECT_LT(note, dot.find("kernel 2"));
}

}  // namespace
