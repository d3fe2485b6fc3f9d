// SPDX-License-Identifier: BSD-3-Clause
#include "model/history.h"

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace handover::model {
namespace {

constexpr std::string_view kHead = "history 1\ngeometry small nodes=2\nboot\n";

// Every command, every option, as Print() spells it.
constexpr std::string_view kAllCommands =
    "history 1\n"
    "geometry arm64 nodes=4\n"
    "boot hugepagesz=2M hugepages=0:2,1:1 kho=on\n"
    "p0 memfd f0 64K\n"
    "p0 memfd f1 2M sealable\n"
    "p7 memfd f255 1G noexec\n"
    "p1 memfd f2 32M sealable noexec\n"
    "p0 shmem f3\n"
    "p0 mount f4 2M\n"
    "p0 mount f5 64K size=3 unlinked\n"
    "p2 mount f6 1G size=4 min_size=0\n"
    "p0 mount f7 2M min_size=2 unlinked\n"
    "p0 truncate f0 0\n"
    "p0 map f0 m0 0 4\n"
    "p0 map f0 m1 1 2 ro private noreserve\n"
    "p0 unmap m1\n"
    "p0 write m0 3 c0ffee\n"
    "p0 write m0 3 0 at=4096\n"
    "p0 read m0 3\n"
    "p0 read m0 3 at=8\n"
    "p0 fallocate f0 2 3\n"
    "p0 fallocate f0 2 3 keep\n"
    "p0 punch f0 0 1\n"
    "p0 seal f1 seal,shrink,grow,write,future-write,exec\n"
    "p0 seek f0 12345\n"
    "p0 bind 1\n"
    "p0 bind any\n"
    "p0 pin f0 2\n"
    "p0 close f0\n"
    "p0 exit\n"
    "admin nr 2M 12\n"
    "admin nr 2M 3 node=1\n"
    "admin overcommit 64K 5\n"
    "admin demote 1G 1\n"
    "admin demote 2M 0 node=3\n"
    "admin preserve-free 2M on\n"
    "admin preserve-free 64K off\n"
    "admin offline f0 2\n"
    "admin poison f0 2\n"
    "admin poison f0 1 at=8192\n"
    "admin poison-free 2M\n"
    "admin poison-free 64K node=1 at=4096\n"
    "admin cgroup c0\n"
    "admin cgroup c7 in=c0\n"
    "admin rmdir c7\n"
    "admin move p3 c0\n"
    "admin move agent root\n"
    "admin limit c0 usage 2M 3\n"
    "admin limit c0 rsvd 64K max\n"
    "admin limit c0 memory 1G 0\n"
    "agent open\n"
    "agent close\n"
    "agent session s0\n"
    "agent drop s0\n"
    "agent preserve s1 18446744073709551615 f0\n"
    "agent reboot\n"
    "agent take s1\n"
    "agent retrieve s1 7 f1\n"
    "agent finish s1\n"
    "loader load\n"
    "loader load no-size=64K no-size=1G no-option hugepagesz=2M hugepages=1\n"
    "sim fail 3\n"
    "sim fail 1 alloc\n"
    "sim fail 2 kho\n"
    "sim fail 4 other\n"
    "sim fail 5 charge\n"
    "sim during 17 p1 write m0 0 ffffffffffffffff\n"
    "sim during 2 admin nr 2M 0\n"
    "sim dev f0 2 abc at=16\n"
    "sim interleave 77\n"
    "sim corrupt root.version 1\n"
    "sim corrupt run.frame -12 nth=3 resum\n"
    "sim cut 31\n"
    "sim power\n";

TEST(HistoryTest, PrintsWhatItReads) {
  auto history = ParseHistory(kAllCommands);
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->geometry, Geometry::kArm64);
  EXPECT_EQ(history->nodes, 4);
  EXPECT_EQ(Print(*history), kAllCommands);
}

TEST(HistoryTest, ReadsWhatItPrints) {
  auto history = ParseHistory(kAllCommands);
  ASSERT_TRUE(history.ok());
  auto again = ParseHistory(Print(*history));
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(*history == *again);
  for (const Command& command : history->commands) {
    auto one = ParseCommand(Print(command));
    ASSERT_TRUE(one.ok()) << Print(command);
    EXPECT_TRUE(*one == command) << Print(command);
  }
}

TEST(HistoryTest, EveryVerbIsThere) {
  auto history = ParseHistory(kAllCommands);
  ASSERT_TRUE(history.ok());
  for (int verb = 0; verb < kVerbs; ++verb) {
    bool found = false;
    for (const Command& command : history->commands)
      found |= command.verb == static_cast<Verb>(verb);
    EXPECT_TRUE(found) << VerbName(static_cast<Verb>(verb));
  }
}

TEST(HistoryTest, EveryTargetHasAName) {
  for (int target = 0; target < kTargets; ++target) {
    std::string text = "sim corrupt ";
    text += TargetName(static_cast<Target>(target));
    text += " 1";
    auto command = ParseCommand(text);
    ASSERT_TRUE(command.ok()) << text;
    EXPECT_EQ(command->target, static_cast<Target>(target));
    EXPECT_EQ(Print(*command), text);
  }
}

TEST(HistoryTest, CommentsBlanksAndSpaces) {
  auto history = ParseHistory(
      "# a story\n\n  history   1  # version\n\tgeometry x86 nodes=1\n"
      "boot   hugepages=1\t kho=on \n\np0 exit # gone\n");
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(Print(*history),
            "history 1\ngeometry x86 nodes=1\nboot hugepages=1 kho=on\n"
            "p0 exit\n");
}

TEST(HistoryTest, NoNewlineAtTheEnd) {
  auto history =
      ParseHistory("history 1\ngeometry small nodes=1\nboot\nagent open");
  ASSERT_TRUE(history.ok());
  EXPECT_EQ(history->commands.size(), 1u);
}

TEST(HistoryTest, DefaultsMayBeWritten) {
  auto command = ParseCommand("sim fail 2 any");
  ASSERT_TRUE(command.ok());
  EXPECT_EQ(Print(*command), "sim fail 2");
  command = ParseCommand("p0 read m0 1 at=0");
  ASSERT_TRUE(command.ok());
  EXPECT_EQ(Print(*command), "p0 read m0 1");
}

struct BadLine {
  std::string_view line;
  std::string_view why;
};

TEST(HistoryTest, ErrorsNameTheirLineAndReason) {
  constexpr BadLine kBad[] = {
      {"p8 exit", "'p8' is no actor"},
      {"q0 exit", "'q0' is no actor"},
      {"p0", "missing verb"},
      {"p0 dance", "a process cannot 'dance'"},
      {"p0 open", "a process cannot 'open'"},
      {"admin exit", "the admin cannot 'exit'"},
      {"agent nr 2M 1", "the agent cannot 'nr'"},
      {"loader open", "the loader cannot 'open'"},
      {"sim open", "sim cannot 'open'"},
      {"p0 exit now", "'now' is too much"},
      {"p0 memfd 0 16K", "file '0' is not like f0"},
      {"p0 memfd f 16K", "file 'f' is not like f0"},
      {"p0 memfd f01 16K", "'01' is not a number"},
      {"p0 memfd f256 16K", "256 is not in 0..255"},
      {"p0 memfd f0 17000", "'17000' is not a page size"},
      {"p0 memfd f0 1024K", "'1024K' is not a page size"},
      {"p0 memfd f0 17K", "page size '17K' is not a page size like 16K"},
      {"p0 memfd f0 2K", "'2K' is not a page size"},
      {"admin nr 48K 1", "'48K' is not a page size"},
      {"p0 memfd f0 16K selable",
       "'selable' is too much, or in the wrong place: p0 memfd F SIZE "
       "[sealable] [noexec]"},
      {"sim during 3 p0 memfd f0", "missing page size: p0 memfd F SIZE"},
      {"p0 dance", "memfd, shmem, mount, truncate, map,"},
      {"p0 mount f0 2M min_size=1 size=2", "'size=2' is too much"},
      {"p0 mount f0 2M size=2M", "size= '2M' is not a number"},
      {"p0 mount f0", "missing page size: p0 mount F SIZE [size=PAGES]"},
      {"agent nr 2M 1", "open, close, session, drop, preserve, reboot, take"},
      {"sim open", "fail, during, dev, interleave, corrupt, cut, power"},
      {"p0 memfd f0 \x80\xff", "page size '\\x80\\xff' is"},
      {"p0 da\033nce", "byte '\\x1b' is not text"},
      {"p0 memfd f0 16k", "'16k' is not a page size"},
      {"p0 memfd f0 16K noexec sealable", "'sealable' is too much"},
      {"p0 truncate f0 -1", "-1 is not in"},
      {"p0 truncate f0", "missing pages"},
      {"p0 map f0 m0 0 0", "length 0 is not in"},
      {"p0 map f0 m0 0", "missing length"},
      {"p0 write m0 0 0x1", "'0x1' is not a hexadecimal number"},
      {"p0 write m0 0 1 at=4", "at= is not a multiple of 8"},
      {"p0 write m0 0 10000000000000000", "is not a hexadecimal number"},
      {"p0 seal f0 shrink,shrink", "'shrink' is not a seal"},
      {"p0 seal f0 all", "'all' is not a seal"},
      {"p0 seal f0 ", "missing seals"},
      {"p0 bind 4", "node 4 is not in 0..3"},
      {"p0 bind", "missing node"},
      {"admin nr 2M 1 node=x", "'x' is not a number"},
      {"agent session 0", "session '0' is not like s0"},
      {"agent preserve s0 -1 f0", "token '-1' is not a number"},
      {"loader load no-size=1G no-size=2M", "not in ascending order"},
      {"sim fail 0", "call 0 is not in"},
      {"sim fail 1 disk", "'disk' is not a kind"},
      {"sim during 1", "missing actor"},
      {"sim during 1 agent reboot", "and no reboot"},
      {"sim during 1 sim power", "'during' starts a command"},
      {"sim during 1 sim during 1 p0 exit", "cannot start another"},
      {"sim during 1 p0 dance", "a process cannot 'dance'"},
      {"sim corrupt root.color 1", "'root.color' is no field"},
      {"sim corrupt root.color 1", "root.csum, root.nr_counts"},
      {"sim corrupt root.csum", "missing delta"},
      {"history 1", "'history' is no actor"},
  };
  for (const BadLine& bad : kBad) {
    std::string text(kHead);
    text += "p0 exit\n";
    text += bad.line;
    text += "\np0 exit\n";
    auto history = ParseHistory(text);
    ASSERT_FALSE(history.ok()) << bad.line;
    std::string message(history.status().message());
    EXPECT_EQ(message.rfind("line 5: ", 0), 0u) << message;
    EXPECT_NE(message.find(bad.why), std::string::npos) << message;
  }
}

TEST(HistoryTest, TheHeadIsStrict) {
  constexpr BadLine kBad[] = {
      {"", "line 1: 'history' is missing"},
      {"p0 exit\n", "line 1: 'history' must come first, not 'p0'"},
      {"history 2\n", "line 1: version 2 is not in 1..1"},
      {"history 1\nboot\n", "line 2: 'geometry' must come first"},
      {"history 1\ngeometry mips nodes=1\n", "line 2: 'mips' is no geometry"},
      {"history 1\ngeometry small\n", "line 2: missing nodes="},
      {"history 1\ngeometry small nodes=5\n", "line 2: nodes= 5 is not in 1"},
      {"history 1\ngeometry small nodes=1\n", "line 3: 'boot' is missing"},
      {"history 1\n\ngeometry small nodes=1\np0 exit\n",
       "line 4: 'boot' must come first"},
  };
  for (const BadLine& bad : kBad) {
    auto history = ParseHistory(bad.line);
    ASSERT_FALSE(history.ok()) << bad.line;
    std::string message(history.status().message());
    EXPECT_EQ(message.rfind(bad.why, 0), 0u) << message;
  }
}

TEST(HistoryTest, OtherEditorsFilesAreRead) {
  auto history = ParseHistory(kAllCommands);
  ASSERT_TRUE(history.ok());
  std::string text = "\xef\xbb\xbf";
  for (char c : kAllCommands) text += c == '\n' ? "\r\n" : std::string(1, c);
  auto other = ParseHistory(text);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(*other, *history);
  // What is no text may stand in comments.
  EXPECT_TRUE(ParseHistory(std::string(kHead) + "# \033 \xff\n").ok());
}

TEST(HistoryTest, Seals) {
  EXPECT_EQ(PrintSeals(0), "none");
  EXPECT_EQ(PrintSeals(kSealExec | kSealShrink), "shrink,exec");
  EXPECT_EQ(PrintSeals(0x40), "0x40");
  EXPECT_EQ(PrintSeals(kSealGrow | 0x100), "grow,0x100");
}

TEST(HistoryTest, MessagesAreShort) {
  auto command = ParseCommand("p0 " + std::string(100000, 'x'));
  ASSERT_FALSE(command.ok());
  EXPECT_LT(command.status().message().size(), 400u);
}

// What an error message shows of a command is what the documentation says.
TEST(HistoryTest, DocumentationHasEveryFormAndTarget) {
  std::ifstream file(HANDOVER_SOURCE_DIR "/docs/history.md");
  std::ostringstream content;
  content << file.rdbuf();
  std::string docs = content.str();
  for (size_t at; (at = docs.find("\\|")) != std::string::npos;)
    docs.erase(at, 1);
  auto history = ParseHistory(kAllCommands);
  ASSERT_TRUE(history.ok());
  int forms = 0;
  for (const Command& command : history->commands) {
    // These take any word at their end, or another command.
    if (command.verb == Verb::kLoad || command.verb == Verb::kDuring ||
        (command.verb == Verb::kFail && command.fail_kind == FailKind::kAny))
      continue;
    const std::string text = Print(command);
    const std::string message(
        ParseCommand(text + " and more").status().message());
    const size_t colon = message.find("place: ");
    ASSERT_NE(colon, std::string::npos) << message;
    const std::string form = message.substr(colon + 7);
    EXPECT_NE(docs.find("`" + form + "`"), std::string::npos) << form;
    ++forms;
  }
  EXPECT_GE(forms, kVerbs - 2);
  for (int t = 0; t < kTargets; ++t) {
    const std::string name(TargetName(static_cast<Target>(t)));
    EXPECT_NE(docs.find("`" + name + "`"), std::string::npos) << name;
  }
}

TEST(HistoryTest, SimulatorOnly) {
  auto history = ParseHistory(kAllCommands);
  ASSERT_TRUE(history.ok());
  for (const Command& command : history->commands)
    EXPECT_EQ(IsSimulatorOnly(command), Print(command).rfind("sim ", 0) == 0);
}

}  // namespace
}  // namespace handover::model
