// SPDX-License-Identifier: BSD-3-Clause
#include "model/guest_log.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace handover::model {
namespace {

constexpr int kNodes = 2;
const std::vector<uint64_t> kWords = {0, 4088};

Snapshot Machine() {
  Snapshot s;
  s.nr_pools = 2;
  s.pool[0].page_size = 2 << 20;
  s.pool[0].resv = 3;
  s.pool[0].overcommit = 4;
  s.pool[0].node[0] = {8, 5, 1, 100};
  s.pool[0].node[1] = {7, 7, 0, -1};
  s.pool[1].page_size = 1 << 30;
  s.files.resize(2);
  s.files[0].name = 0;
  s.files[0].inode = uint64_t{13} << 40 | 17;
  s.files[0].page_size = 2 << 20;
  s.files[0].size = int64_t{1} << 40;
  s.files[0].position = 12345678901;
  s.files[0].seals = kSealShrink | kSealGrow;
  s.files[0].mode = 0777;
  for (int64_t i = 0; i < 100; ++i)
    s.pages.push_back({2 * i, 512 * (i + 1), static_cast<int>(i % 2)});
  s.files[0].pages_end = 100;
  s.files[1].name = 255;
  s.files[1].page_size = 4096;
  s.files[1].pages_begin = s.files[1].pages_end = 100;
  s.sessions = {{0, true}, {9, false}};
  return s;
}

std::vector<Cell> Cells(const Snapshot& s) {
  std::vector<Cell> cells;
  for (const PageView& page : s.pages)
    for (uint64_t at : kWords)
      cells.push_back(
          {page.frame, at, page.index % 3 == 0 ? ~uint64_t{0} - at : 0});
  return cells;
}

class Text {
 public:
  void Add(const std::string& line) {
    absl::StrAppend(&text_, "[    1.234567] ", line, "\r\n");
  }
  void Add(const std::vector<std::string>& lines) {
    for (const std::string& line : lines) Add(line);
  }
  // A look at a machine of which nothing much is to be seen.
  void Look(int64_t place) {
    Add(SnapshotLines(Snapshot(), kNodes, kWords, {}));
    Add(SeenLine(place));
  }
  absl::StatusOr<GuestLog> Read() const { return ReadGuestLog(text_); }
  const std::string& text() const { return text_; }

 private:
  std::string text_ = "\x1b[2J\x1b[1;1HSeaBIOS\r\n";
};

TEST(GuestLog, WhatIsWrittenIsRead) {
  const Snapshot s = Machine();
  Text text;
  text.Add(GuestLine(1, 0));
  text.Look(-1);
  Outcome o;
  o.kind = Outcome::Kind::kDone;
  o.result = -16;
  o.value = ~uint64_t{0};
  o.frame = 1 << 20;
  o.node = 1;
  text.Add(OutcomeLine(0, o));
  text.Add(SnapshotLines(s, kNodes, kWords, Cells(s)));
  text.Add(SeenLine(0));
  text.Add(EndLine());
  const auto log = text.Read();
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(log->broken_off, "");
  ASSERT_EQ(log->steps.size(), 2u);
  EXPECT_EQ(log->steps[1].place, 0);
  const Observation& seen = log->steps[1].observation;
  EXPECT_EQ(seen.outcome.kind, o.kind);
  EXPECT_EQ(seen.outcome.result, o.result);
  EXPECT_EQ(seen.outcome.value, o.value);
  EXPECT_EQ(seen.outcome.frame, o.frame);
  EXPECT_EQ(seen.outcome.node, o.node);
  const Snapshot& a = seen.after;
  EXPECT_FALSE(a.regions_known);
  EXPECT_FALSE(a.quarantine_known);
  ASSERT_EQ(a.nr_pools, s.nr_pools);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(a.pool[i].page_size, s.pool[i].page_size);
    EXPECT_EQ(a.pool[i].resv, s.pool[i].resv);
    EXPECT_EQ(a.pool[i].overcommit, s.pool[i].overcommit);
    for (size_t n = 0; n < kNodes; ++n) {
      EXPECT_EQ(a.pool[i].node[n].nr, s.pool[i].node[n].nr);
      EXPECT_EQ(a.pool[i].node[n].free, s.pool[i].node[n].free);
      EXPECT_EQ(a.pool[i].node[n].surplus, s.pool[i].node[n].surplus);
      EXPECT_EQ(a.pool[i].node[n].allocatable, s.pool[i].node[n].allocatable);
    }
  }
  ASSERT_EQ(a.files.size(), s.files.size());
  for (size_t i = 0; i < s.files.size(); ++i) {
    EXPECT_EQ(a.files[i].name, s.files[i].name);
    EXPECT_EQ(a.files[i].inode, s.files[i].inode);
    EXPECT_EQ(a.files[i].page_size, s.files[i].page_size);
    EXPECT_EQ(a.files[i].size, s.files[i].size);
    EXPECT_EQ(a.files[i].position, s.files[i].position);
    EXPECT_EQ(a.files[i].seals, s.files[i].seals);
    EXPECT_EQ(a.files[i].mode, s.files[i].mode);
    EXPECT_EQ(a.files[i].pages_begin, s.files[i].pages_begin);
    EXPECT_EQ(a.files[i].pages_end, s.files[i].pages_end);
  }
  ASSERT_EQ(a.pages.size(), s.pages.size());
  for (size_t i = 0; i < s.pages.size(); ++i) {
    EXPECT_EQ(a.pages[i].index, s.pages[i].index);
    EXPECT_EQ(a.pages[i].frame, s.pages[i].frame);
    EXPECT_EQ(a.pages[i].node, s.pages[i].node);
  }
  ASSERT_EQ(a.sessions.size(), s.sessions.size());
  for (size_t i = 0; i < s.sessions.size(); ++i) {
    EXPECT_EQ(a.sessions[i].name, s.sessions[i].name);
    EXPECT_EQ(a.sessions[i].incoming, s.sessions[i].incoming);
  }
  const std::vector<Cell> cells = Cells(s);
  ASSERT_EQ(seen.cells.size(), cells.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    EXPECT_EQ(seen.cells[i].frame, cells[i].frame);
    EXPECT_EQ(seen.cells[i].at, cells[i].at);
    EXPECT_EQ(seen.cells[i].value, cells[i].value);
  }
}

TEST(GuestLog, AllEndsOfACommandHaveAWord) {
  for (auto kind :
       {Outcome::Kind::kDone, Outcome::Kind::kBlocked, Outcome::Kind::kSigbus,
        Outcome::Kind::kSigsegv, Outcome::Kind::kKilled}) {
    Text text;
    text.Add(GuestLine(1, 0));
    text.Look(-1);
    Outcome o;
    o.kind = kind;
    text.Add(OutcomeLine(0, o));
    text.Look(0);
    const auto log = text.Read();
    ASSERT_TRUE(log.ok()) << log.status();
    EXPECT_EQ(log->steps[1].observation.outcome.kind, kind);
  }
}

// A kernel's log takes no line of more than about a thousand bytes.
TEST(GuestLog, NoLineIsTooLong) {
  const Snapshot s = Machine();
  for (const std::string& line : SnapshotLines(s, kNodes, kWords, Cells(s)))
    EXPECT_LT(line.size(), 900u);
}

TEST(GuestLog, SameIsWhatWasSeenLast) {
  const Snapshot s = Machine();
  Text text;
  text.Add(GuestLine(1, 0));
  text.Add(SnapshotLines(s, kNodes, kWords, Cells(s)));
  text.Add(SeenLine(-1));
  text.Add(OutcomeLine(0, Outcome()));
  text.Add(SameLine(0));
  const auto log = text.Read();
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_EQ(log->steps.size(), 2u);
  EXPECT_EQ(log->steps[1].observation.after.pages.size(), s.pages.size());
  EXPECT_EQ(log->steps[1].observation.cells.size(), Cells(s).size());
}

TEST(GuestLog, TheNextKernelFollowsAReboot) {
  const Snapshot s = Machine();
  Text text;
  text.Add(
      "hugetlb_luo: 1 preserved pages of order 9 on node 0 cannot be "
      "claimed and stay reserved");
  text.Add(GuestLine(1, 0));
  text.Add(SnapshotLines(s, kNodes, kWords, Cells(s)));
  text.Add(SeenLine(-1));
  text.Add(RebootLine(0));
  text.Add(
      "HugeTLB: allocating 9 of page size 2.00 MiB failed.  Only "
      "allocated 4 hugepages.");
  text.Add(
      "hugetlb_luo: 2 preserved pages of order 9 on node 1 cannot be "
      "claimed and stay reserved");
  text.Add(GuestLine(2, 1));
  text.Look(0);
  text.Add(EndLine());
  const auto log = text.Read();
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(log->broken_off, "");
  ASSERT_EQ(log->steps.size(), 2u);
  EXPECT_EQ(log->steps[0].observation.after.reported.size(), 1u);
  const Observation& seen = log->steps[1].observation;
  EXPECT_TRUE(seen.rebooted);
  EXPECT_TRUE(seen.shortage_reported);
  EXPECT_FALSE(seen.before_exact);
  EXPECT_EQ(seen.before.pages.size(), s.pages.size());
  EXPECT_EQ(seen.after.generation, 2);
  ASSERT_EQ(seen.after.reported.size(), 1u);
  EXPECT_EQ(seen.after.reported[0].count, 2);
}

TEST(GuestLog, ARebootThatFails) {
  Text text;
  text.Add(GuestLine(1, 0));
  text.Look(-1);
  text.Add(RebootLine(0));
  Outcome o;
  o.result = -16;
  text.Add(OutcomeLine(0, o));
  text.Look(0);
  text.Add(EndLine());
  const auto log = text.Read();
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_FALSE(log->steps[1].observation.rebooted);
  EXPECT_EQ(log->steps[1].observation.outcome.result, -16);
  EXPECT_EQ(log->broken_off, "");
}

TEST(GuestLog, AWarningBelongsToTheCommandThatGotIt) {
  Text text;
  text.Add(GuestLine(1, 0));
  text.Look(-1);
  text.Add("WARNING: mm/hugetlb.c:1 at f+0x1/0x2, CPU#1: init/1");
  text.Add("WARNING: another one");
  text.Add(OutcomeLine(0, Outcome()));
  text.Look(0);
  text.Add(OutcomeLine(1, Outcome()));
  text.Look(1);
  const auto log = text.Read();
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_FALSE(log->steps[0].observation.warned);
  EXPECT_TRUE(log->steps[1].observation.warned);
  EXPECT_EQ(log->steps[1].observation.message,
            "WARNING: mm/hugetlb.c:1 at f+0x1/0x2, CPU#1: init/1");
  EXPECT_FALSE(log->steps[2].observation.warned);
}

TEST(GuestLog, WhyItBreaksOff) {
  EXPECT_EQ(Text().Read()->broken_off, "no agent of a guest ran");
  Text text;
  text.Add(GuestLine(1, 0));
  text.Look(-1);
  EXPECT_EQ(text.Read()->broken_off, "nothing was heard after command -1");
  Text trouble = text;
  trouble.Add(TroubleLine("no pipe"));
  EXPECT_EQ(trouble.Read()->broken_off, "the guest's agent says: no pipe");
  text.Add(RebootLine(0));
  EXPECT_EQ(text.Read()->broken_off, "no kernel came after command 0");
  text.Add("Kernel panic - not syncing: x");
  EXPECT_EQ(text.Read()->broken_off,
            "no kernel came after command 0: Kernel panic - not syncing: x");
}

TEST(GuestLog, WhatIsNoneIsRefused) {
  for (const char* line : {"handover: guest 2 kernel=1 next=0",
                           "handover: guest 1 kernel=x next=0",
                           "handover: seen 0", "handover: frobnicate"}) {
    Text text;
    text.Add(line);
    EXPECT_FALSE(text.Read().ok()) << line;
  }
  for (const char* line :
       {"handover: outcome 0 lost 0 0 -1 -1", "handover: outcome 0 done 0 0 -1",
        "handover: pool 1 2 3 4,5,6", "handover: page 0 1 0",
        "handover: file 0 1 2", "handover: session 0 sideways",
        "handover: seen", "handover: guest 1 kernel=2 next=5"}) {
    Text text;
    text.Add(GuestLine(1, 0));
    text.Look(-1);
    text.Add(line);
    const auto log = text.Read();
    EXPECT_FALSE(log.ok()) << line;
  }
}

}  // namespace
}  // namespace handover::model
