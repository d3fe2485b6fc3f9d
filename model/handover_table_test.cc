// SPDX-License-Identifier: BSD-3-Clause
#include "model/handover_table.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "model/history.h"

namespace handover::model {
namespace {

const std::vector<uint64_t> kSizes = {16 << 10, 64 << 10, 256 << 10};

constexpr CgroupPath kTop = ChildPath(kRootPath, 0);

// Two files of 16K pages: pages 0 and 2 of the first, page 1 of the second. Of
// the first one pages 1 and 2 were reserved, and then came page 2. The root is
// charged for its page 0, c0 for what is reserved.
class TableTest : public ::testing::Test {
 protected:
  TableTest() {
    t_.found = t_.placed = t_.held = t_.magic = t_.version = true;
    t_.checksum = t_.counts_fit = true;
    t_.end_frame = 4096;
    t_.counts = {{2, 0, 2}, {2, 1, 1}, {4, 0, 0}, {4, 1, 0}};
    t_.nr_files = 2;
    t_.first = 0x1000;
    t_.files = {MakeFile(0x1000), MakeFile(0x2000)};
    t_.files[0].next = 0x2000;
    t_.files[0].nr_pages = 2;
    t_.files[0].counts = {{2, 0, 1}, {2, 1, 1}};
    t_.files[0].runs.blocks = {MakeBlock({{0, 1, 100, true, {0}}})};
    t_.files[0].late.blocks = {MakeBlock({{2, 1, 2000, true, {1}}})};
    t_.files[0].resv.blocks = {MakeBlock({{1, 2, 0, false, {}}})};
    t_.files[0].nr_resv = 1;
    t_.files[0].nr_owners = 2;
    t_.files[0].owners = {MakeOwner(1, {kRootPath, kNobody, kRootPath}),
                          MakeOwner(2, {kNobody, kTop, kNobody})};
    t_.files[0].runs.blocks[0].runs[0].owner = 1;
    t_.files[0].resv.blocks[0].runs[0].owner = 2;
    t_.files[1].nr_pages = 1;
    t_.files[1].counts = {{2, 0, 1}};
    t_.files[1].runs.blocks = {MakeBlock({{1, 1, 104, true, {0}}})};
  }

  static TableView::File MakeFile(uint64_t at) {
    TableView::File file;
    file.at = at;
    file.held = file.magic = file.version = file.checksum = true;
    file.counts_fit = true;
    file.order = 2;
    file.size = 3 * 16384;
    return file;
  }

  static TableView::Owner MakeOwner(uint64_t nr, const Owners& path) {
    TableView::Owner owner;
    owner.held = owner.magic = owner.checksum = owner.ended = true;
    owner.at = 0x300000 + nr * 0x1000;
    owner.nr = nr;
    owner.path = path;
    return owner;
  }

  static TableView::Block MakeBlock(std::vector<TableView::Run> runs) {
    TableView::Block block;
    block.held = block.magic = block.checksum = true;
    block.nr_runs = runs.size();
    block.runs = std::move(runs);
    return block;
  }

  TableVerdict Judge(bool live_update = true) const {
    return JudgeTable(t_, kSizes, live_update);
  }

  // The second record is of free pages.
  void MakeFree() {
    t_.files[1].flags = 1;
    t_.files[1].size = 0;
    t_.files[1].runs.blocks[0].runs[0].index = 0;
  }

  // Only the first file is refused, with this errno.
  void FirstRefused(int error) {
    const TableVerdict v = Judge();
    EXPECT_TRUE(v.quarantine);
    ASSERT_EQ(v.accepted.size(), 1u);
    EXPECT_EQ(v.accepted[0].at, 0x2000u);
    ASSERT_EQ(v.refused.size(), 1u);
    EXPECT_EQ(v.refused[0].errors, std::vector<int>{error});
    ASSERT_EQ(v.lost.size(), 2u);
    EXPECT_EQ(v.lost[0].pages, 1u);
    EXPECT_EQ(v.lost[1].pages, 1u);
  }

  // Nothing of the root is taken.
  void Distrusted() {
    const TableVerdict v = Judge();
    EXPECT_TRUE(v.quarantine);
    EXPECT_TRUE(v.distrusted);
    EXPECT_TRUE(v.accepted.empty());
  }

  TableView t_;
};

TEST_F(TableTest, WholeOneIsAccepted) {
  const TableVerdict v = Judge();
  EXPECT_FALSE(v.quarantine);
  EXPECT_TRUE(v.lost.empty());
  ASSERT_EQ(v.accepted.size(), 2u);
  ASSERT_EQ(v.accepted[0].pages.size(), 2u);
  EXPECT_EQ(v.accepted[0].pages[1].index, 2);
  EXPECT_EQ(v.accepted[0].pages[1].frame, 2000);
  EXPECT_EQ(v.accepted[0].page_size, 16384u);
  ASSERT_EQ(v.accepted[0].reserved.size(), 1u);
  EXPECT_EQ(v.accepted[0].reserved[0].from, 1);
  EXPECT_EQ(v.accepted[0].reserved[0].to, 3);
  EXPECT_TRUE(v.accepted[1].reserved.empty());
}

TEST_F(TableTest, NoneIsNoReason) {
  EXPECT_FALSE(JudgeTable(TableView(), kSizes, true).quarantine);
  t_.version = false;
  EXPECT_TRUE(Judge().quarantine);
  t_.nr_files = 0;
  EXPECT_TRUE(Judge().quarantine);  // says where one is all the same
  t_.first = 0;
  EXPECT_FALSE(Judge().quarantine);
}

TEST_F(TableTest, RootsThatAreWrong) {
  EXPECT_TRUE(Judge(/*live_update=*/false).quarantine);
  for (bool TableView::*part :
       {&TableView::placed, &TableView::held, &TableView::magic,
        &TableView::checksum, &TableView::counts_fit}) {
    t_.*part = false;
    Distrusted();
    t_.*part = true;
  }
  t_.counts[1].node = 8;
  Distrusted();
  t_.counts[1].node = 0;  // given twice
  Distrusted();
  t_.counts[1] = {2, 1, 1025};
  Distrusted();
}

TEST_F(TableTest, FewerAnnouncedThanThere) {
  t_.counts[1].pages = 0;
  Distrusted();
  EXPECT_EQ(Judge().refused.size(), 2u);
}

TEST_F(TableTest, MoreAnnouncedThanThere) {
  t_.counts[2].pages = 7;
  const TableVerdict v = Judge();
  EXPECT_EQ(v.accepted.size(), 2u);
  ASSERT_EQ(v.lost.size(), 1u);
  EXPECT_EQ(v.lost[0].pages, 7u);
}

TEST_F(TableTest, AFileOfNodesThatWereNotAnnounced) {
  t_.files[0].counts[1].node = 2;
  Distrusted();
  EXPECT_EQ(Judge().refused.size(), 2u);
}

// What counts is that it adds up: nodes may have other numbers here.
TEST_F(TableTest, NodesOfTheNextKernelAreOthers) {
  for (TableView::File& file : t_.files)
    for (TableView::Chain* chain : {&file.runs, &file.late})
      for (TableView::Block& block : chain->blocks)
        for (TableView::Run& run : block.runs) run.node = {1};
  EXPECT_FALSE(Judge().quarantine);
  EXPECT_EQ(Judge().accepted.size(), 2u);
}

TEST_F(TableTest, PagesAreLocatedIfAllAreFound) {
  using Nodes = std::vector<int>;
  auto located = [this] { return LocatePages(t_); };
  EXPECT_EQ(located()[2], (Nodes{0, 1, 0}));
  EXPECT_EQ(located().count(4), 1u);
  // KHO is not asked yet.
  t_.files[1].runs.blocks[0].runs[0].held = false;
  EXPECT_EQ(located().count(2), 1u);
  const TableView whole = t_;
  auto lost = [&](const char* what) {
    EXPECT_EQ(located().count(2), 0u) << what;
    t_ = whole;
  };
  t_.counts[1].pages = 2;
  lost("more announced");
  t_.counts[1].pages = 0;
  lost("fewer announced");
  t_.nr_files = 1;
  lost("a file too few");
  t_.nr_files = 4097;
  EXPECT_EQ(located().count(2), 1u);  // that is for the import to say
  t_.files[0].next = 0;
  lost("the list ends");
  t_.files[0].next = 0x1000;
  lost("the list is a circle");
  t_.files[1].next = 0x2000;
  lost("the list goes on");
  t_.files[1].next = 0x1000;
  lost("the list begins anew");
  t_.files[0].next = 0x3000;
  lost("no such record");
  t_.files[0].magic = false;
  lost("magic of a record");
  t_.files[0].version = false;
  lost("version of a record");
  t_.files[0].checksum = false;
  lost("checksum of a record");
  t_.files[0].order = 4;
  lost("order of a record");
  t_.files[0].counts_fit = false;
  lost("counts of a record");
  t_.files[0].late.blocks[0].held = false;
  lost("address of a block");
  t_.files[0].late.blocks[0].magic = false;
  lost("magic of a block");
  t_.files[0].late.blocks[0].checksum = false;
  lost("checksum of a block");
  t_.files[0].late.blocks[0].nr_runs = 500;
  lost("runs of a block");
  t_.files[0].late.circular = true;
  lost("a circle of blocks");
  t_.files[1].runs.blocks[0].runs[0].node = {};
  lost("no memory");
  t_.files[1].runs.blocks[0].runs[0].pages = 0;
  lost("an empty run");
  // What is wrong with others is the import's business.
  t_.files[1].order = 4;
  t_.files[1].checksum = false;
  t_.counts[0].pages = 1;
  EXPECT_EQ(located()[2], (Nodes{0, 1}));
  EXPECT_EQ(located().count(4), 0u);
}

TEST_F(TableTest, FilesThatAreWrong) {
  TableView::File& f = t_.files[0];
  const TableView::File good = f;
  auto wrong = [&](int error, auto change) {
    change();
    FirstRefused(error);
    f = good;
  };
  wrong(EINVAL, [&] { f.checksum = false; });
  wrong(EINVAL, [&] { f.flags = 2; });
  wrong(EINVAL, [&] { f.nr_owners = 1; });
  wrong(EINVAL, [&] { f.nr_owners = 3; });
  wrong(EINVAL, [&] { f.owners_end = 0x3000; });
  wrong(EINVAL, [&] { f.owners[1].nr = 1; });
  wrong(EINVAL, [&] { f.owners[0].checksum = false; });
  wrong(EINVAL, [&] { f.owners[1].ended = false; });
  wrong(ENXIO, [&] { f.owners[1].held = false; });
  wrong(EINVAL, [&] { f.runs.blocks[0].runs[0].owner = 3; });
  wrong(EINVAL, [&] { f.seals = 64; });
  wrong(EINVAL, [&] { f.mode = 010000; });
  wrong(EINVAL, [&] { f.size = uint64_t{1} << 63; });
  wrong(EINVAL, [&] { f.position = ~uint64_t{0}; });
  wrong(EOPNOTSUPP, [&] { f.order = 3; });
  wrong(EOPNOTSUPP, [&] { f.order = 52; });
  wrong(EINVAL, [&] { f.nr_pages = 3; });
  wrong(EINVAL, [&] { f.nr_pages = 1; });
  wrong(EINVAL, [&] { f.nr_pages = 1025; });
  wrong(EINVAL, [&] { f.size = 2 * 16384; });
  wrong(EINVAL, [&] { f.counts[0].pages = 2; });
  wrong(EINVAL, [&] { f.counts[0].order = 4; });
  wrong(EINVAL, [&] { f.counts[1].node = 0; });
  wrong(EINVAL, [&] { f.counts[1].pages = ~uint64_t{0}; });
  wrong(EINVAL, [&] { f.counts.pop_back(); });
  wrong(ENXIO, [&] { f.runs.blocks[0].held = false; });
  wrong(EINVAL, [&] { f.late.blocks[0].checksum = false; });
  wrong(EINVAL, [&] { f.runs.blocks[0].nr_runs = 0; });
  wrong(EINVAL, [&] { f.runs.circular = true; });
  wrong(ENXIO, [&] { f.runs.blocks[0].runs[0].held = false; });
  wrong(EINVAL, [&] { f.late.blocks[0].runs[0].index = 0; });
  wrong(EINVAL, [&] { f.late.blocks[0].runs[0].pages = 0; });
  TableView::Block& resv = f.resv.blocks[0];
  wrong(EINVAL, [&] { f.nr_resv = 0; });
  wrong(EINVAL, [&] { f.nr_resv = 2; });
  wrong(EINVAL, [&] { f.resv.blocks.clear(); });
  wrong(ENXIO, [&] { resv.held = false; });
  // What does not add up is seen before the reservations are looked at.
  wrong(EINVAL, [&] {
    f.late.blocks.clear();
    resv.held = false;
  });
  wrong(EINVAL, [&] { resv.checksum = false; });
  wrong(EINVAL, [&] { resv.nr_runs = 0; });
  wrong(EINVAL, [&] { f.resv.circular = true; });
  wrong(EINVAL, [&] { resv.runs[0].frame = 1; });
  wrong(EINVAL, [&] { resv.runs[0].pages = 0; });
  wrong(EINVAL, [&] { resv.runs[0].owner = 3; });
  wrong(EINVAL, [&] { resv.runs[0] = {0, 1, 0, false, {}}; });
  wrong(EINVAL, [&] { resv.runs[0] = {2, 2, 0, false, {}}; });  // the end
  wrong(EINVAL, [&] {
    resv = MakeBlock({{2, 1, 0, false, {}}, {1, 1, 0, false, {}}});
  });
}

// A page of somebody else's may have been given back by the time that it is
// looked at.
TEST_F(TableTest, PagesOfOthers) {
  const std::vector<int> either = {ENXIO, EINVAL};
  auto errors = [this] {
    const TableVerdict v = Judge();
    return v.refused.size() == 1 ? v.refused[0].errors : std::vector<int>();
  };
  TableView::File& f = t_.files[0];
  f.owners[0].magic = false;
  EXPECT_EQ(errors(), either);
  f.owners[0].magic = true;
  f.runs.blocks[0].magic = false;
  EXPECT_EQ(errors(), either);
}

// Lists and pages of all files together are not more than twice what there is.
TEST_F(TableTest, NoMoreThanThereIs) {
  t_.end_frame = 1100;
  int64_t frame = 5000;
  auto add = [&frame](TableView::File* f, uint64_t index) {
    f->resv.blocks.push_back(MakeBlock({{index, 1, 0, false, {}}}));
    f->resv.blocks.back().frame = frame++;
    ++f->nr_resv;
  };
  for (TableView::File& f : t_.files) {
    f.size = uint64_t{1} << 40;
    f.late.blocks.clear();
    f.resv.blocks.clear();
    f.owners.clear();
    f.nr_owners = 0;
    f.runs.blocks[0].runs[0].owner = 0;
    f.nr_resv = 0;
    for (uint64_t i = 0; i < 1097; ++i) add(&f, 10 + i);
  }
  t_.files[0].nr_pages = 1;
  t_.files[0].counts = {{2, 0, 1}};
  TableView::File& second = t_.files[1];
  const auto refused = [this] { return Judge().refused.size(); };
  // 2 x 1097 of what is reserved, 2 of pages: four more fit.
  for (uint64_t i = 0; i < 4; ++i) add(&second, 2000 + i);
  EXPECT_EQ(refused(), 0u);
  add(&second, 3000);
  EXPECT_EQ(refused(), 2u);
}

TEST_F(TableTest, WhoIsCharged) {
  TableView::File& f = t_.files[0];
  // Page 0 was reserved as well, which it is in the list for.
  f.resv.blocks[0].runs[0] = {0, 3, 0, false, {}, 2};
  const TableVerdict v = Judge();
  ASSERT_EQ(v.accepted.size(), 2u);
  const HandedFile& first = v.accepted[0];
  EXPECT_EQ(first.pages[0].owners, (Owners{kRootPath, kNobody, kRootPath}));
  EXPECT_EQ(first.pages[1].owners, Owners{});
  ASSERT_EQ(first.reserved.size(), 1u);
  EXPECT_EQ(first.reserved[0].owner, kTop);
}

TEST_F(TableTest, ReservedInManyPieces) {
  TableView::File& f = t_.files[0];
  f.size = 40 * 16384;
  f.resv.blocks = {MakeBlock({{1, 1, 0, false, {}}, {2, 1, 0, false, {}}}),
                   MakeBlock({{3, 5, 0, false, {}}, {39, 1, 0, false, {}}})};
  f.nr_resv = 7;
  EXPECT_TRUE(Judge().quarantine);  // both blocks are the same page
  f.resv.blocks[0].frame = 3000;
  f.resv.blocks[1].frame = 3001;
  EXPECT_FALSE(Judge().quarantine);
  f.late.blocks = {MakeBlock({{1, 3, 2000, true, {1, 1, 1}}})};
  f.nr_pages = 4;
  f.counts[1].pages = t_.counts[1].pages = 3;
  EXPECT_TRUE(Judge().quarantine);
  f.nr_resv = 5;
  EXPECT_FALSE(Judge().quarantine);
}

TEST_F(TableTest, OwnersInCommonAreRefusedOnBothSides) {
  t_.files[1].nr_owners = 1;
  t_.files[1].owners = {t_.files[0].owners[0]};
  const TableVerdict v = Judge();
  EXPECT_TRUE(v.quarantine);
  EXPECT_TRUE(v.accepted.empty());
  EXPECT_EQ(v.refused.size(), 2u);
}

TEST_F(TableTest, OverlapsAreRefusedOnBothSides) {
  t_.files[1].runs.blocks[0].runs[0].frame = 102;
  const TableVerdict v = Judge();
  EXPECT_TRUE(v.accepted.empty());
  EXPECT_EQ(v.refused.size(), 2u);
  EXPECT_FALSE(v.distrusted);
}

TEST_F(TableTest, DamagedListOfErrorsRefusesAll) {
  t_.errors_right = false;
  const TableVerdict verdict = Judge();
  EXPECT_TRUE(verdict.quarantine);
  EXPECT_FALSE(verdict.distrusted);
  EXPECT_TRUE(verdict.accepted.empty());
  ASSERT_EQ(verdict.refused.size(), 2u);
  for (const RefusedFile& file : verdict.refused)
    EXPECT_EQ(file.errors, std::vector<int>{EINVAL});
}

// What is in files is bad whatever else is to be said of it.
TEST_F(TableTest, ErrorsAreBelieved) {
  TableView::Error error;
  error.address = 104 << 12;
  error.pages = 1;
  t_.errors = {error};
  error.address = 96 << 12;
  error.pages = 32;
  t_.errors.push_back(error);
  TableVerdict v = Judge();
  EXPECT_EQ(v.accepted.size(), 2u);
  EXPECT_EQ(v.bad, (std::vector<BadMemory>{{104, 105}, {96, 128}}));
  EXPECT_TRUE(v.kept_away.empty());
  t_.errors_right = false;
  v = Judge();
  EXPECT_TRUE(v.accepted.empty());
  EXPECT_TRUE(v.bad.empty());
}

class KeptAwayTest : public TableTest {
 protected:
  KeptAwayTest() { t_.frames = 4096; }

  TableView::Error* Add(uint64_t frame, uint32_t pages) {
    TableView::Error error;
    error.address = frame << 12;
    error.pages = pages;
    error.memory = true;
    t_.errors.push_back(error);
    return &t_.errors.back();
  }

  // By frame, in which order they are kept away from.
  std::vector<uint64_t> Kept(bool live_update = true) const {
    std::vector<uint64_t> frames;
    for (const BadMemory& m : Judge(live_update).kept_away)
      frames.push_back(m.from);
    return frames;
  }
  using Frames = std::vector<uint64_t>;
};

TEST_F(KeptAwayTest, WholePagesFirst) {
  Add(7, 1);
  Add(64, 16);
  EXPECT_EQ(Kept(), (Frames{64, 7}));
  EXPECT_EQ(Kept(/*live_update=*/false), (Frames{64, 7}));
  t_.errors_right = false;  // for a gap
  EXPECT_EQ(Kept(), (Frames{64, 7}));
  t_.errors[1].right = false;
  EXPECT_EQ(Kept(), Frames{7});
  t_.checksum = false;
  EXPECT_EQ(Kept(), Frames{});
}

TEST_F(KeptAwayTest, NoMoreThanAQuarter) {
  Add(512, 512);
  Add(1024, 1024);
  Add(2048, 512);
  Add(4, 4);
  Add(3, 1);
  EXPECT_EQ(Kept(), (Frames{512, 2048, 3}));
  EXPECT_EQ(Judge().not_kept_away, 2);
  // What is no memory takes nothing.
  t_.errors[0].memory = false;
  t_.errors[4].memory = false;
  EXPECT_EQ(Kept(), Frames{1024});
  EXPECT_EQ(Judge().not_kept_away, 2);
}

TEST_F(KeptAwayTest, NothingInScratch) {
  Add(512, 2)->scratch = true;
  Add(514, 1)->scratch = true;
  EXPECT_EQ(Kept(), Frames{514});
  EXPECT_EQ(Judge().not_kept_away, 1);
}

TEST_F(KeptAwayTest, WhatIsSomebodysIsNotMarked) {
  Add(64, 16);
  Add(65, 1);
  Add(80, 1);
  Add(81, 1)->owned = true;
  const std::vector<BadMemory> kept = Judge().kept_away;
  ASSERT_EQ(kept.size(), 4u);
  EXPECT_TRUE(kept[0].nobodys);
  EXPECT_FALSE(kept[1].nobodys);
  EXPECT_TRUE(kept[2].nobodys);
  EXPECT_FALSE(kept[3].nobodys);
}

TEST_F(TableTest, ListsErrors) {
  TableView::Error error;
  error.address = 96 << 12;
  error.pages = 4;
  t_.errors = {error};
  EXPECT_FALSE(t_.Lists(95));
  EXPECT_TRUE(t_.Lists(96));
  EXPECT_TRUE(t_.Lists(99));
  EXPECT_FALSE(t_.Lists(100));
  t_.errors.resize(127);
  EXPECT_FALSE(t_.ErrorsFull());
  t_.errors.resize(128);
  EXPECT_TRUE(t_.ErrorsFull());
}

TEST_F(TableTest, TheListEndsWhereItIsBroken) {
  t_.files[1].magic = false;
  EXPECT_TRUE(Judge().quarantine);
  EXPECT_EQ(Judge().accepted.size(), 1u);
  t_.files[1].magic = true;
  t_.nr_files = 3;
  EXPECT_TRUE(Judge().quarantine);
  EXPECT_EQ(Judge().accepted.size(), 2u);
  t_.nr_files = 1;
  EXPECT_TRUE(Judge().quarantine);
  EXPECT_EQ(Judge().accepted.size(), 1u);
}

TEST_F(TableTest, FreePagesAreTaken) {
  MakeFree();
  const TableVerdict v = Judge();
  EXPECT_FALSE(v.quarantine);
  ASSERT_EQ(v.accepted.size(), 2u);
  EXPECT_FALSE(v.accepted[0].free);
  EXPECT_TRUE(v.accepted[1].free);
  EXPECT_EQ(v.accepted[1].pages.size(), 1u);
}

TEST_F(TableTest, FreePagesHaveNothingOfAFile) {
  for (int field = 0; field < 9; ++field) {
    t_.files[1] = MakeFile(0x2000);
    t_.files[1].nr_pages = 1;
    t_.files[1].counts = {{2, 0, 1}};
    t_.files[1].runs.blocks = {MakeBlock({{1, 1, 104, true, {0}}})};
    MakeFree();
    TableView::File& f = t_.files[1];
    if (field == 0) f.size = 16384;
    if (field == 1) f.position = 1;
    if (field == 2) f.seals = kSealGrow;
    if (field == 3) f.mode = 0600;
    if (field == 4) f.nr_resv = 1;
    if (field == 5) f.late = f.runs;
    if (field == 6) f.resv.blocks = {MakeBlock({{1, 1, 0, false, {}}})};
    if (field == 7) f.runs.blocks[0].runs[0].index = 1;
    if (field == 8) f.owners_end = 0x301000;
    const TableVerdict v = Judge();
    ASSERT_EQ(v.refused.size(), 1u) << field;
    // Refused or not, they are no file.
    EXPECT_EQ(v.refused[0].errors, std::vector<int>{ENOENT}) << field;
  }
}

TEST_F(TableTest, OtherFlagsAreNotKnown) {
  t_.files[0].flags = 2;
  FirstRefused(EINVAL);
}

}  // namespace
}  // namespace handover::model
