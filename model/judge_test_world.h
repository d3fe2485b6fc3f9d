// SPDX-License-Identifier: BSD-3-Clause
//
// For tests of the judge: a hand-made machine. A test sets what is to be seen,
// gives a command, and says whether the judge should hold it for possible.
#ifndef HANDOVER_MODEL_JUDGE_TEST_WORLD_H_
#define HANDOVER_MODEL_JUDGE_TEST_WORLD_H_

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "model/history.h"
#include "model/judge.h"
#include "model/observation.h"

namespace handover::model {

struct SeenFile {
  int name = 0;
  uint64_t inode = 1;
  uint64_t page_size = 16 << 10;
  int64_t size = 0;
  int64_t position = 0;
  uint32_t seals = 0;
  uint32_t mode = 0777;
  std::vector<PageView> pages;
  std::vector<Region> regions;
};

class World {
 public:
  // Two nodes of the small geometry; memory enough on both, no counter set.
  explicit World(std::string_view command_line) {
    History history;
    history.command_line = std::string(command_line);
    judge_ = std::make_unique<Judge>(history);
    o.after.nr_pools = 3;
    o.after.charges_known = false;
    for (size_t i = 0; i < 3; ++i) {
      PoolView& pool = o.after.pool[i];
      pool.page_size = PageSizes(Geometry::kSmall)[i];
      for (NodeCounts& node : pool.node) node.allocatable = 8;
    }
  }

  // The 16K pool, which most tests need.
  NodeCounts& node(size_t n) { return o.after.pool[0].node[n]; }
  int32_t& resv() { return o.after.pool[0].resv; }

  void Set(size_t n, int nr, int free, int surplus = 0) {
    node(n).nr = nr;
    node(n).free = free;
    node(n).surplus = surplus;
  }

  // From now on it is to be seen who is charged, at first the root.
  void KnowCharges() {
    o.after.charges_known = true;
    o.after.cgroups = {CgroupView()};
    owners = {kRootPath, kRootPath, kRootPath};
  }
  // A group appears.
  CgroupView& AddCgroup(CgroupPath path) {
    o.after.cgroups.emplace_back();
    o.after.cgroups.back().path = path;
    return o.after.cgroups.back();
  }

  std::vector<Verdict> Boot() {
    Fill(&o.after);
    return judge_->Boot(o);
  }

  std::vector<Verdict> Do(std::string_view text, int64_t result = 0) {
    auto command = ParseCommand(text);
    EXPECT_TRUE(command.ok()) << text << ": " << command.status();
    o.outcome.result = result;
    Fill(&o.after);
    if (o.rebooted) SaySized();
    std::vector<Verdict> verdicts = judge_->Step(*command, o);
    o.outcome = Outcome();
    o.fault_injected = false;
    o.rebooted = false;
    o.cells.clear();
    o.during.clear();
    return verdicts;
  }

  // The command is possible like this, with what is set up now.
  void Holds(std::string_view text, int64_t result = 0) {
    for (const Verdict& verdict : Do(text, result))
      ADD_FAILURE() << text << ": " << verdict.property << ": " << verdict.what;
  }

  // The command breaks this property and no other.
  void Breaks(std::string_view property, std::string_view text,
              int64_t result = 0) {
    std::vector<Verdict> verdicts = Do(text, result);
    EXPECT_FALSE(verdicts.empty()) << text << " should break " << property;
    for (const Verdict& verdict : verdicts)
      EXPECT_EQ(verdict.property, property) << verdict.what;
  }

  // Everything as in the new kernel right after an update; the test says what
  // the pools look like before it calls Holds("agent reboot").
  void Reboot() {
    Fill(&o.after);
    o.before = o.after;
    o.rebooted = true;
    ++o.after.generation;
    for (PoolView& pool : o.after.pool) pool.resv = pool.overcommit = 0;
    files.clear();
    sessions.clear();
  }

  // hugepagesz=16K hugepages=4; f0 with page 0 (frame 100, node 0, value 7 in
  // byte 8) and a hole, mapped as m0 by p0.
  void MakeFile() {
    Set(0, 2, 2);
    Set(1, 2, 2);
    EXPECT_TRUE(Boot().empty());
    files.emplace_back();
    Holds("p0 memfd f0 16K sealable");
    files[0].size = 2 * 16384;
    Holds("p0 map f0 m0 0 2 noreserve");
    files[0].pages = {{0, 100, 0, owners}};
    files[0].regions = {{0, 1}};
    Set(0, 2, 1);
    o.outcome.frame = 100;
    o.outcome.node = 0;
    Holds("p0 write m0 0 7 at=8");
  }

  // ... preserved as token 5 of s0, an image with hugepages=4 loaded.
  void Preserve() {
    Holds("agent open");
    sessions = {{0, false}};
    Holds("agent session s0");
    Holds("agent preserve s0 5 f0");
    Holds("loader load hugepagesz=16K hugepages=4");
  }

  // For after Reboot(): the table that tells of f0, in an order that the tests
  // do not depend on.
  void HandOver() {
    TableView& t = o.handed;
    o.handed_known = t.found = t.placed = t.held = t.magic = t.version = true;
    t.checksum = t.counts_fit = true;
    t.end_frame = 1 << 16;
    t.counts = {{2, 0, 1}, {2, 1, 0}};
    t.nr_files = 1;
    t.first = 4096;
    t.original = {4096};
    TableView::File file;
    file.at = 4096;
    file.held = file.magic = file.version = file.checksum = true;
    file.counts_fit = true;
    file.order = 2;
    file.size = 2 * 16384;
    file.mode = 0777;
    file.nr_pages = 1;
    file.counts = {{2, 0, 1}};
    TableView::Block block;
    block.held = block.magic = block.checksum = true;
    block.nr_runs = 1;
    block.runs.push_back({0, 1, 100, true, {0}});
    file.runs.blocks.push_back(block);
    t.files = {file};
  }

  // ... and the next kernel runs, the session taken.
  void Update() {
    SeenFile saved = files[0];
    Reboot();
    Holds("agent reboot");
    Holds("agent open");
    sessions = {{0, true}};
    Holds("agent take s0");
    handed_over = saved;
  }

  // What a retrieved f0 looks like.
  void ShowRetrieved() {
    files = {handed_over};
    files[0].inode = 9;
  }

  // What the log says wrong of each pool that pages come to.
  SizedPool said_wrong;
  // Free pages of 16K that the next kernel got, by node.
  std::array<int, 2> came_free{};

  Observation o;
  std::vector<SeenFile> files;
  std::vector<SessionView> sessions;
  SeenFile handed_over;
  Owners owners{};  // of f0's page

 private:
  void Fill(Snapshot* s) {
    s->files.clear();
    s->pages.clear();
    s->regions.clear();
    for (const SeenFile& f : files) {
      FileView view;
      view.name = f.name;
      view.inode = f.inode;
      view.page_size = f.page_size;
      view.size = f.size;
      view.position = f.position;
      view.seals = f.seals;
      view.mode = f.mode;
      view.pages_begin = static_cast<uint32_t>(s->pages.size());
      s->pages.insert(s->pages.end(), f.pages.begin(), f.pages.end());
      view.pages_end = static_cast<uint32_t>(s->pages.size());
      view.regions_begin = static_cast<uint32_t>(s->regions.size());
      s->regions.insert(s->regions.end(), f.regions.begin(), f.regions.end());
      view.regions_end = static_cast<uint32_t>(s->regions.size());
      s->files.push_back(view);
    }
    s->sessions = sessions;
  }

  // The log of a kernel in which all that is in use was handed over.
  void SaySized() {
    o.after.sized.clear();
    for (int i = 0; i < o.after.nr_pools; ++i) {
      const PoolView& pool = o.after.pool[static_cast<size_t>(i)];
      const auto& node = pool.node;
      const std::array<int, 2> came = i == 0 ? came_free : std::array<int, 2>{};
      if (node[0].nr == node[0].free && node[1].nr == node[1].free &&
          came[0] + came[1] == 0)
        continue;
      for (size_t n = 0; n < 2; ++n)
        o.after.sized.push_back(
            {pool.page_size, static_cast<int>(n) + said_wrong.node + 1,
             node[n].nr - node[n].free + said_wrong.preserved,
             came[n] + said_wrong.free,
             node[n].free - came[n] + said_wrong.allocated,
             node[n].surplus + said_wrong.surplus});
    }
  }

  std::unique_ptr<Judge> judge_;
};

inline constexpr std::string_view kFourPages = "hugepagesz=16K hugepages=4";

}  // namespace handover::model

#endif  // HANDOVER_MODEL_JUDGE_TEST_WORLD_H_
