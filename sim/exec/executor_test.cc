// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/executor.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>

#include "model/command_line.h"
#include "sim/exec/replay.h"

namespace sim {
namespace {

using model::Outcome;

constexpr char kHeader[] = "history 1\ngeometry small nodes=2\nboot ";

model::History Parse(const std::string& text) {
  auto history = model::ParseHistory(kHeader + text);
  EXPECT_TRUE(history.ok()) << history.status();
  return history.ok() ? *history : model::History();
}

// A machine that is given commands one by one. All of them are held against
// nothing: these tests say themselves what should be seen.
class ExecutorTest : public ::testing::Test {
 protected:
  void PowerOn(const std::string& command_line) {
    model::History history = Parse(command_line + "\n");
    executor_ = std::make_unique<Executor>(history);
    executor_->Boot();
  }

  const model::Observation& Do(const std::string& text) {
    auto command = model::ParseCommand(text);
    EXPECT_TRUE(command.ok()) << text << ": " << command.status();
    return executor_->Run(*command);
  }

  int64_t ResultOf(const std::string& text) {
    const Outcome& outcome = Do(text).outcome;
    EXPECT_EQ(outcome.kind, Outcome::Kind::kDone) << text;
    return outcome.result;
  }

  void MustDo(const std::string& text) { EXPECT_EQ(ResultOf(text), 0) << text; }

  uint64_t ValueOf(const std::string& text) {
    const Outcome& outcome = Do(text).outcome;
    EXPECT_TRUE(outcome.ok()) << text;
    return outcome.value;
  }

  std::unique_ptr<Executor> executor_;
};

TEST_F(ExecutorTest, SnapshotShowsPoolsAndFiles) {
  PowerOn("hugepagesz=16K hugepages=4 hugepagesz=64K hugepages=0:2,1:1");
  MustDo("p0 memfd f3 16K sealable");
  MustDo("p0 map f3 m0 0 3");
  const model::Observation& seen = Do("p0 write m0 1 beef");
  ASSERT_EQ(seen.after.nr_pools, 3);
  EXPECT_EQ(seen.after.pool[0].page_size, 16u << 10);
  EXPECT_EQ(seen.after.pool[0].resv, 2);
  EXPECT_EQ(seen.after.pool[1].node[0].nr, 2);
  EXPECT_EQ(seen.after.pool[1].node[1].nr, 1);
  EXPECT_GT(seen.after.pool[2].node[0].allocatable, 0);
  ASSERT_EQ(seen.after.files.size(), 1u);
  const model::FileView& file = seen.after.files[0];
  EXPECT_EQ(file.name, 3);
  EXPECT_EQ(file.size, 3 * 16 << 10);
  EXPECT_EQ(file.mode, 0777u);
  ASSERT_EQ(file.pages_end - file.pages_begin, 1u);
  EXPECT_EQ(seen.after.pages[0].index, 1);
  EXPECT_EQ(seen.after.pages[0].frame, seen.outcome.frame);
  ASSERT_EQ(file.regions_end - file.regions_begin, 1u);
  EXPECT_EQ(seen.after.regions[0].to, 3);
}

TEST_F(ExecutorTest, FilesWithoutANameAreSeenWhileMapped) {
  PowerOn("hugepages=2");
  MustDo("p0 memfd f0 64K");
  MustDo("p0 map f0 m0 0 1");
  const model::Observation& seen = Do("p0 close f0");
  ASSERT_EQ(seen.after.files.size(), 1u);
  EXPECT_EQ(seen.after.files[0].name, -1);
  EXPECT_TRUE(Do("p0 unmap m0").after.files.empty());
}

TEST_F(ExecutorTest, HandsOver) {
  PowerOn("hugepages=4");
  MustDo("p0 memfd f0 64K");
  MustDo("p0 map f0 m0 0 2 noreserve");
  const model::Frame frame = Do("p0 write m0 1 abc at=65528").outcome.frame;
  MustDo("agent open");
  MustDo("agent session s0");
  MustDo("agent preserve s0 9 f0");
  EXPECT_EQ(ResultOf("agent reboot"), -EINVAL);
  MustDo("loader load hugepages=4");
  const model::Observation& seen = Do("agent reboot");
  EXPECT_TRUE(seen.rebooted);
  EXPECT_EQ(seen.before.generation, 1);
  EXPECT_EQ(seen.before.files.size(), 1u);
  EXPECT_EQ(seen.after.generation, 2);
  EXPECT_TRUE(seen.after.files.empty());
  EXPECT_TRUE(seen.after.quarantined.empty());
  MustDo("agent open");
  MustDo("agent take s0");
  MustDo("agent retrieve s0 9 f5");
  MustDo("p1 map f5 m1 0 2 ro noreserve");
  EXPECT_EQ(ValueOf("p1 read m1 1 at=65528"), 0xabcu);
  EXPECT_EQ(Do("p1 read m1 1").outcome.frame, frame);
}

TEST_F(ExecutorTest, AFaultWaitsForAnAbortedUpdate) {
  PowerOn("hugepagesz=16K hugepages=4");
  MustDo("p0 memfd f0 16K");
  MustDo("p0 map f0 m0 0 2 noreserve");
  MustDo("p0 memfd f1 16K");
  MustDo("p0 truncate f1 1");
  MustDo("p1 map f1 m0 0 1 noreserve");
  MustDo("agent open");
  MustDo("agent session s0");
  MustDo("agent preserve s0 1 f0");
  MustDo("agent preserve s0 2 f1");
  MustDo("p1 write m0 0 1");  // a late page, which freeze has to pin
  MustDo("loader load");
  // The second file cannot be frozen: its late page is not pinned, nor was it
  // by the attempt before that counts for nothing. The first one has been by
  // then.
  bool waited = false;
  for (int step = 1; step < 60 && !waited; ++step) {
    MustDo("sim fail 2 other");
    MustDo("sim during " + std::to_string(step) + " p0 write m0 1 77");
    const model::Observation& seen = Do("agent reboot");
    ASSERT_FALSE(seen.rebooted);
    EXPECT_TRUE(seen.fault_injected);
    ASSERT_EQ(seen.during.size(), 1u);
    EXPECT_TRUE(seen.during[0].started);
    EXPECT_EQ(seen.during[0].outcome.kind, Outcome::Kind::kDone);
    waited = seen.outcome.result < 0;
  }
  EXPECT_TRUE(waited);
  EXPECT_EQ(ValueOf("p0 read m0 1"), 0x77u);
}

// A page of a mapping in which a fault waits cannot be moved, and one in CMA
// has to be: not while others wait, then.
TEST_F(ExecutorTest, ALatePageIsMovedBeforeOthersWait) {
  bool moved = false;
  for (int step = 1; step < 40; ++step) {
    PowerOn("hugepagesz=16K");
    MustDo("admin nr 16K 150 node=0");
    MustDo("p0 bind 0");
    MustDo("p0 memfd f0 16K");
    MustDo("p0 map f0 m0 0 150 noreserve");
    MustDo("p0 fallocate f0 0 141");
    MustDo("agent open");
    MustDo("agent session s0");
    MustDo("agent preserve s0 1 f0");
    const model::Frame frame = Do("p0 write m0 141 1").outcome.frame;
    MustDo("loader load hugepagesz=16K hugepages=150");
    MustDo("sim during " + std::to_string(step) + " p0 write m0 145 2");
    MustDo("sim interleave 1");  // who spins for a lock gets it in the end
    ASSERT_EQ(Do("agent reboot").outcome.result, 0) << "step " << step;
    MustDo("agent open");
    MustDo("agent take s0");
    MustDo("agent retrieve s0 1 f0");
    MustDo("p0 map f0 m0 0 150 ro noreserve");
    moved |= Do("p0 read m0 141").outcome.frame != frame;
  }
  EXPECT_TRUE(moved);
}

TEST_F(ExecutorTest, WhatWaitsWhenTheKernelStopsIsKilled) {
  bool killed = false, done = false, late = false;
  for (int step = 1; step < 80; ++step) {
    PowerOn("hugepagesz=16K hugepages=4");
    MustDo("p0 memfd f0 16K");
    MustDo("p0 map f0 m0 0 2 noreserve");
    MustDo("agent open");
    MustDo("agent session s0");
    MustDo("agent preserve s0 1 f0");
    MustDo("loader load");
    MustDo("sim during " + std::to_string(step) + " p0 write m0 1 77");
    const model::Observation& seen = Do("agent reboot");
    ASSERT_TRUE(seen.rebooted);
    ASSERT_EQ(seen.during.size(), 1u);
    const model::Observation::During& during = seen.during[0];
    late |= !during.started;
    if (!during.started) continue;
    killed |= during.outcome.kind == Outcome::Kind::kKilled;
    // Whatever was done is there.
    if (during.outcome.kind != Outcome::Kind::kDone) continue;
    done = true;
    MustDo("agent open");
    MustDo("agent take s0");
    MustDo("agent retrieve s0 1 f0");
    MustDo("p0 map f0 m0 0 2 noreserve");
    EXPECT_EQ(ValueOf("p0 read m0 1"), 0x77u) << "step " << step;
  }
  EXPECT_TRUE(done && killed && late);
}

TEST_F(ExecutorTest, DevicesGoOnWriting) {
  PowerOn("hugepages=2");
  MustDo("p0 memfd f0 64K");
  MustDo("p0 map f0 m0 0 1");
  MustDo("p0 pin f0 0");
  EXPECT_EQ(ResultOf("sim dev f0 1 5"), -ENODEV);
  MustDo("sim dev f0 0 5 at=8");
  EXPECT_EQ(ValueOf("p0 read m0 0 at=8"), 5u);
  MustDo("agent open");
  MustDo("agent session s0");
  MustDo("agent preserve s0 1 f0");
  MustDo("loader load hugepages=2");
  MustDo("agent reboot");
  MustDo("sim dev f0 0 6 at=16");
  MustDo("agent open");
  MustDo("agent take s0");
  MustDo("agent retrieve s0 1 f1");
  MustDo("sim dev f0 0 7");
  MustDo("p0 map f1 m0 0 1");
  EXPECT_EQ(ValueOf("p0 read m0 0"), 7u);
  EXPECT_EQ(ValueOf("p0 read m0 0 at=8"), 5u);
  EXPECT_EQ(ValueOf("p0 read m0 0 at=16"), 6u);
  MustDo("p0 unmap m0");
  MustDo("agent drop s0");
  MustDo("p0 close f1");
  EXPECT_EQ(ResultOf("sim dev f0 0 8"), -ENODEV);
}

TEST_F(ExecutorTest, PowerCutForgetsEverything) {
  PowerOn("hugepages=2");
  MustDo("p0 memfd f0 64K");
  MustDo("loader load hugepages=3");
  const model::Observation& seen = Do("sim power");
  EXPECT_TRUE(seen.rebooted);
  EXPECT_TRUE(seen.after.files.empty());
  EXPECT_EQ(seen.after.pool[1].node[0].nr + seen.after.pool[1].node[1].nr, 3);
  EXPECT_EQ(ResultOf("p0 close f0"), -EBADF);
}

TEST_F(ExecutorTest, MomentsThatDoNotComeAreCounted) {
  PowerOn("hugepagesz=16K hugepages=4");
  MustDo("p0 memfd f0 16K");
  MustDo("sim fail 1");
  MustDo("sim fail 100");
  EXPECT_EQ(Do("p0 fallocate f0 0 1").missed, 1);
  EXPECT_EQ(Do("p0 fallocate f0 0 1").missed, 0);
  MustDo("sim during 1 p1 fallocate f0 1 1");
  MustDo("sim during 2 p2 fallocate f0 2 1");
  MustDo("sim during 1000 admin nr 16K 5");
  EXPECT_EQ(Do("p0 fallocate f0 3 1").missed, 1);
  // There is nothing in it, and so no second step until others run.
  MustDo("sim during 1 p1 punch f0 0 1");
  MustDo("sim during 2 p2 punch f0 1 1");
  EXPECT_EQ(Do("agent preserve s0 1 f0").missed, 0);
  MustDo("sim during 2 p2 punch f0 2 1");
  EXPECT_EQ(Do("agent preserve s0 1 f0").missed, 1);
  MustDo("sim cut 100000");
  EXPECT_EQ(Do("p0 fallocate f0 3 1").missed, 1);
}

TEST_F(ExecutorTest, ShortageIsReported) {
  PowerOn("hugepagesz=256K hugepages=1000");
  EXPECT_TRUE(
      executor_->Run(*model::ParseCommand("sim power")).shortage_reported);
}

class CorruptTest : public ExecutorTest,
                    public ::testing::WithParamInterface<int> {};

// Without a checksum to match, whatever is changed is found out, and memory
// stays where it is.
TEST_P(CorruptTest, IsQuarantinedAndReported) {
  const std::string target(
      model::TargetName(static_cast<model::Target>(GetParam())));
  PowerOn("hugepages=3");
  MustDo("p0 memfd f0 64K");
  MustDo("p0 fallocate f0 0 2");
  MustDo("agent open");
  MustDo("agent session s0");
  MustDo("agent preserve s0 1 f0");
  MustDo("loader load hugepages=1");
  // Fewer bytes than it takes, or a root that KHO does not hold like this.
  MustDo("sim corrupt " + target + (target == "root.bytes" ? " 8192" : " 1"));
  const model::Observation& seen = Do("agent reboot");
  ASSERT_TRUE(seen.rebooted);
  EXPECT_FALSE(executor_->dead());
  int64_t held = 0;
  for (const model::Reserved& r : seen.after.quarantined) {
    EXPECT_EQ(r.page_size, 64u << 10);
    held += r.count;
  }
  // What LUO says is seen when it asks for the file.
  const bool ours = target != "luo.data";
  EXPECT_EQ(held, ours ? 2 : 0);
  EXPECT_EQ(seen.after.reported.empty(), !ours);
  MustDo("agent open");
  MustDo("agent take s0");
  EXPECT_LT(ResultOf("agent retrieve s0 1 f0"), 0);
}

INSTANTIATE_TEST_SUITE_P(Targets, CorruptTest,
                         ::testing::Range(0, model::kTargets));

// The list of memory errors that the next kernel gets.
class CorruptErrorTest : public ExecutorTest {
 protected:
  std::vector<model::TableView::Error> After(
      const std::vector<std::string>& commands, bool bad = true) {
    PowerOn("hugepagesz=16K hugepages=4");
    MustDo("p0 memfd f0 16K");
    frame_ = Do("p0 fallocate f0 0 1").after.pages[0].frame;
    if (bad) MustDo("admin poison f0 0 at=4096");
    MustDo("loader load hugepagesz=16K hugepages=4");
    for (const std::string& command : commands) Do("sim corrupt " + command);
    const model::Observation& seen = Do("agent reboot");
    EXPECT_TRUE(seen.rebooted);
    return seen.handed.errors;
  }

  static void Expect(const model::TableView::Error& error, int64_t frame,
                     uint32_t pages, bool right) {
    EXPECT_EQ(error.address, static_cast<uint64_t>(frame) << 12);
    EXPECT_EQ(error.pages, pages);
    EXPECT_EQ(error.right, right);
  }

  int64_t frame_ = 0;
};

TEST_F(CorruptErrorTest, WithAChecksumOrWithout) {
  auto first = [this](const std::vector<std::string>& commands, int64_t further,
                      uint32_t pages, bool right) {
    const auto errors = After(commands);
    ASSERT_EQ(errors.size(), 1u);
    Expect(errors[0], frame_ + further, pages, right);
  };
  first({}, 1, 1, true);
  first({"error.address 4096 resum"}, 2, 1, true);
  first({"error.address 4096"}, 2, 1, false);
  first({"error.nr 2 resum"}, 1, 3, false);
  first({"error.address -4096", "error.nr 3 resum"}, 0, 4, true);
  first({"error.csum 1 resum"}, 1, 1, false);
}

TEST_F(CorruptErrorTest, OneMore) {
  const auto errors = After(
      {"error.address 4096000 nth=127 resum",
       "error.address 4100096 nth=2 resum", "error.address 4104192 nth=3",
       "error.address 4108288 nth=127 resum", "error.nr -1 nth=127 resum"});
  ASSERT_EQ(errors.size(), 5u);
  Expect(errors[0], frame_ + 1, 1, true);
  Expect(errors[1], 1000, 1, true);
  Expect(errors[2], 1001, 1, true);
  Expect(errors[3], 1002, 1, false);
  Expect(errors[4], 1003, 0, false);
}

TEST_F(CorruptErrorTest, WhereThereIsNone) {
  const auto errors =
      After({"error.address 4096000 resum", "error.nr 7 resum"}, false);
  ASSERT_EQ(errors.size(), 1u);
  Expect(errors[0], 1000, 8, true);
  EXPECT_EQ(After({"error.nr 4096"}, false).size(), 1u);
}

TEST_F(CorruptErrorTest, AsManyAsThereIsRoomFor) {
  const std::vector<std::string> many(200,
                                      "error.address 4096000 nth=127 resum");
  EXPECT_EQ(After(many).size(), 128u);
}

TEST(ReplayTest, SameSeedSameDigest) {
  const model::History history = Parse(
      "hugepages=2\np0 memfd f0 64K\np0 map f0 m0 0 1\np0 write m0 0 1\n"
      "agent open\nagent session s0\nagent preserve s0 1 f0\n"
      "loader load hugepages=2\nagent reboot\n");
  RunOptions options;
  options.seed = 5;
  const HistoryResult first = RunHistory(history, options);
  const HistoryResult second = RunHistory(history, options);
  EXPECT_TRUE(first.ok());
  EXPECT_EQ(first.digest, second.digest);
  EXPECT_EQ(first.commands, 8);
  EXPECT_EQ(first.stats.boots, 1);
  options.seed = 6;
  EXPECT_NE(RunHistory(history, options).digest, first.digest);
  options.log = true;
  const HistoryResult logged = RunHistory(history, options);
  EXPECT_NE(logged.log.find("kernel 2 runs"), std::string::npos) << logged.log;
}

// What the simulated kernel says it ignores is what people are told.
TEST(CommandLineTest, TheKernelIgnoresWhatIsSaid) {
  for (const char* line :
       {"", "hugepages=2", "hugepages=2 hugepages=2", "hugepages=abc",
        "hugepages=0:1,3:1", "hugepagesz=32K", "hugepagesz=32K hugepages=1",
        "hugepagesz=16K hugepages=1 hugepagesz=16K",
        "default_hugepagesz=16K default_hugepagesz=16K",
        "default_hugepagesz=16K hugepagesz=16K hugepages=2",
        "hugepages=1 hugepagesz=64K hugepages=2", "default_hugepagesz=3M"}) {
    const model::History history = Parse(std::string(line) + "\n");
    Executor executor(history);
    executor.Boot();
    size_t said = 0;
    for (const std::string& log : executor.machine().log()) {
      for (const char* part : {"gnoring", "Invalid", "unsupported"}) {
        if (log.find(part) != std::string::npos) {
          ++said;
          break;
        }
      }
    }
    EXPECT_EQ(model::IgnoredWords(history).size(), said) << line;
  }
}

constexpr char kUpdate[] =
    "hugepages=2\np0 memfd f0 64K\np0 map f0 m0 0 2\np0 write m0 0 1\n"
    "agent open\nagent session s0\n";

std::string LogOf(const std::string& text, bool trace) {
  RunOptions options;
  options.log = true;
  options.trace = trace;
  const HistoryResult result = RunHistory(Parse(text), options);
  EXPECT_TRUE(result.ok()) << result.log;
  return result.log;
}

size_t Times(const std::string& text, const std::string& part) {
  size_t times = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) {
    ++times;
  }
  return times;
}

// Looking changes nothing.
TEST(ReplayTest, TraceDoesNotChangeTheDigest) {
  const model::History history =
      Parse(std::string(kUpdate) +
            "agent preserve s0 1 f0\nloader load\nagent reboot\n");
  RunOptions options;
  const uint64_t digest = RunHistory(history, options).digest;
  options.log = true;
  EXPECT_EQ(RunHistory(history, options).digest, digest);
  options.trace = true;
  EXPECT_EQ(RunHistory(history, options).digest, digest);
}

// The numbers of a trace are those that `sim during` and `sim fail` take.
TEST(ReplayTest, TraceNumbersStepsAndCalls) {
  const std::string preserve = "agent preserve s0 1 f0\n";
  const std::string trace = LogOf(kUpdate + preserve, true);
  const std::string command = trace.substr(trace.find("agent preserve"));
  EXPECT_NE(command.find("| step 1 agent: "), std::string::npos) << command;
  // The second call that KHO may fail, under the number among all of them.
  const size_t end = command.find(" (kho 2): ");
  ASSERT_NE(end, std::string::npos) << command;
  const size_t begin = command.rfind("call ", end) + 5;
  const std::string number = command.substr(begin, end - begin);
  for (const std::string& which : {std::string("2 kho"), number}) {
    const std::string failed =
        LogOf(kUpdate + ("sim fail " + which + "\n") + preserve, true);
    const size_t fault = failed.find("    | fault: ");
    ASSERT_NE(fault, std::string::npos) << which << failed;
    const size_t line = failed.rfind('\n', fault - 2) + 1;
    EXPECT_EQ(failed.substr(line, fault - line),
              "    | call " + number + " (kho 2): kho_preserve\n");
  }
}

TEST(ReplayTest, TellsWhoWaited) {
  // The page comes when the file's lock is free again.
  const std::string log =
      LogOf(std::string(kUpdate) +
                "sim during 30 p0 fallocate f0 1 1\nagent preserve s0 1 f0\n"
                "sim during 1000 p0 read m0 0\nagent close\n",
            false);
  EXPECT_EQ(Times(log, "    meanwhile 5, after a wait\n"), 1u) << log;
  EXPECT_EQ(Times(log, "    meanwhile 7 -> 1 (frame"), 1u) << log;
  EXPECT_EQ(Times(log, "after a wait"), 1u) << log;
}

TEST(ReplayTest, LogHasEachFindingOnce) {
  RunOptions options;
  options.log = true;
  options.observer = [](int64_t step, const model::Command*,
                        const model::Observation&, const Executor&) {
    if (step == 0) M().Report("discipline", "made up");
  };
  const HistoryResult result =
      RunHistory(Parse("\np0 exit\np0 exit\np0 exit\n"), options);
  EXPECT_EQ(result.findings.size(), 1u);
  EXPECT_EQ(Times(result.log, "BROKEN discipline: made up\n"), 1u)
      << result.log;
  // The last command's may show only at the end.
  const HistoryResult last = RunHistory(Parse("\np0 exit\n"), options);
  EXPECT_EQ(Times(last.log, "teardown\n    BROKEN discipline: made up\n"), 1u)
      << last.log;
}

TEST(ReplayTest, CountsErrors) {
  const HistoryResult result =
      RunHistory(Parse("\np0 close f0\np0 memfd f0 64K\np0 memfd f0 64K\n"));
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.stats.errnos[EBADF], 1);
  EXPECT_EQ(result.stats.errnos[EEXIST], 1);
  EXPECT_EQ(result.stats.verbs[static_cast<int>(model::Verb::kMemfd)], 2);
  EXPECT_EQ(result.stats.failed[static_cast<int>(model::Verb::kMemfd)], 1);
}

}  // namespace
}  // namespace sim
