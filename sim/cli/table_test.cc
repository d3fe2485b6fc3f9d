// SPDX-License-Identifier: BSD-3-Clause
#include "sim/cli/table.h"

#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

extern "C" {
#include <linux/kho/abi/hugetlb.h>
}

namespace sim::cli {
namespace {

constexpr uint64_t kRoot = 0x1000;
constexpr uint64_t kFile = 0x2000;
constexpr uint64_t kRuns = 0x3000;
constexpr uint64_t kLate = 0x4000;
constexpr uint64_t kResv = 0x5000;
constexpr uint64_t kOwner = 0x6000;
constexpr u32 kOrder = 4;
constexpr uint64_t kPageSize = PAGE_SIZE << kOrder;

// Writes a record and its entries; the checksum follows at the end.
template <typename Record, typename Entry>
std::string Page(Record& record, const std::vector<Entry>& entries) {
  std::string page(PAGE_SIZE, '\0');
  const size_t bytes = sizeof(record) + entries.size() * sizeof(Entry);
  std::memcpy(page.data(), &record, sizeof(record));
  if (!entries.empty())
    std::memcpy(page.data() + sizeof(record), entries.data(),
                entries.size() * sizeof(Entry));
  std::vector<u32> words(bytes / sizeof(u32));
  std::memcpy(words.data(), page.data(), bytes);
  const size_t at = offsetof(Record, csum) / sizeof(u32);
  const u32 csum =
      jhash2(words.data(), static_cast<u32>(at), HUGETLB_LUO_VERSION);
  record.csum = jhash2(words.data() + at + 1,
                       static_cast<u32>(words.size() - at - 1), csum);
  std::memcpy(page.data(), &record, sizeof(record));
  return page;
}

// Records end in flexible arrays, and so cannot be members.
// One file of three pages of 64K, one of them late, for a test to damage. The
// late one was reserved before, and two more are. A memory cgroup is charged
// for the first one.
struct Parts {
  std::unique_ptr<hugetlb_luo_root_ser> root =
      std::make_unique<hugetlb_luo_root_ser>();
  std::unique_ptr<hugetlb_luo_file_ser> file =
      std::make_unique<hugetlb_luo_file_ser>();
  std::unique_ptr<hugetlb_luo_block_ser> runs =
      std::make_unique<hugetlb_luo_block_ser>();
  std::unique_ptr<hugetlb_luo_block_ser> late =
      std::make_unique<hugetlb_luo_block_ser>();
  std::unique_ptr<hugetlb_luo_block_ser> resv =
      std::make_unique<hugetlb_luo_block_ser>();
  std::vector<hugetlb_luo_count_ser> root_counts = {{kOrder, 0, 1},
                                                    {kOrder, 1, 2}};
  std::vector<hugetlb_luo_count_ser> file_counts = root_counts;
  hugetlb_luo_owner_ser owner{};
  std::vector<hugetlb_luo_run_ser> run = {{0, 1, 100, 1}, {2, 1, 200, 0}};
  std::vector<hugetlb_luo_run_ser> late_run = {{1, 1, 300, 0}};
  std::vector<hugetlb_luo_run_ser> resv_run = {{1, 1, 0, 0}, {3, 2, 0, 0}};

  Parts() {
    root->magic = HUGETLB_LUO_ROOT_MAGIC;
    file->magic = HUGETLB_LUO_FILE_MAGIC;
    runs->magic = late->magic = resv->magic = HUGETLB_LUO_BLOCK_MAGIC;
    root->version = file->version = HUGETLB_LUO_VERSION;
    root->files = kFile;
    root->nr_files = 1;
    file->order = kOrder;
    file->runs = kRuns;
    file->late = kLate;
    file->resv = kResv;
    file->size = 5 * kPageSize;
    file->nr_pages = 3;
    file->nr_resv = 2;
    file->owners = kOwner;
    file->nr_owners = 1;
    owner.magic = HUGETLB_LUO_OWNER_MAGIC;
    owner.nr = 1;
    std::strcpy(owner.path[HUGETLB_LUO_MEMCG], "/vm/1");
    file->mode = 0777;
  }

  TableText Describe() {
    root->nr_counts = static_cast<u32>(root_counts.size());
    file->nr_counts = static_cast<u32>(file_counts.size());
    runs->nr_runs = static_cast<u32>(run.size());
    late->nr_runs = static_cast<u32>(late_run.size());
    resv->nr_runs = static_cast<u32>(resv_run.size());
    SavedTable table;
    table.root = kRoot;
    table.pages[kRoot] = Page(*root, root_counts);
    table.pages[kFile] = Page(*file, file_counts);
    table.pages[kRuns] = Page(*runs, run);
    table.pages[kLate] = Page(*late, late_run);
    table.pages[kResv] = Page(*resv, resv_run);
    table.pages[kOwner] = Page(owner, std::vector<u32>());
    return DescribeTable(table);
  }

  // That is what is wrong.
  void Says(const std::string& what) {
    const TableText text = Describe();
    EXPECT_NE(text.text.find(what), std::string::npos) << text.text;
    EXPECT_GE(text.wrong, 1);
  }
};

TEST(TableTest, NothingIsWrong) {
  const TableText text = Parts().Describe();
  EXPECT_EQ(text.wrong, 0) << text.text;
  EXPECT_NE(text.text.find("page 1 at 0x12c0000 (frame 4800)"),
            std::string::npos)
      << text.text;
  EXPECT_NE(text.text.find("3 pages of 64K, 2 more reserved"),
            std::string::npos)
      << text.text;
  EXPECT_NE(text.text.find("    pages 3 to 4\n"), std::string::npos)
      << text.text;
  EXPECT_NE(text.text.find("page 0 at 0x640000 (frame 1600), owner 1\n"),
            std::string::npos)
      << text.text;
  EXPECT_NE(text.text.find("    memory: /vm/1\n"), std::string::npos)
      << text.text;
}

TEST(TableTest, Counts) {
  Parts parts;
  std::swap(parts.root_counts[0], parts.root_counts[1]);
  parts.Says("1 page of 64K on node 0, OUT OF ORDER");
  parts = Parts();
  parts.file_counts[1].nid = 0;
  parts.Says("THERE TWICE");
  parts = Parts();
  parts.file_counts[1].nr = 1;
  parts.Says("TOTAL WRONG: the counts add up to 2, the file says 3");
  parts = Parts();
  parts.root_counts[1].nr = 3;
  parts.Says(
      "ANNOUNCED IS NOT WHAT COMES: on node 1 3 pages of order 4, the "
      "files have 2");
  parts = Parts();
  parts.root_counts[1].order = 77;
  parts.Says("IMPOSSIBLE ORDER 77");
  parts = Parts();
  for (hugetlb_luo_count_ser& count : parts.file_counts) count.order = 5;
  parts.Says("COUNTS ARE OF ANOTHER SIZE");
  parts = Parts();
  parts.root->nr_files = 2;
  parts.Says("THE LIST HAS 1 FILES, the root says 2");
}

TEST(TableTest, Runs) {
  Parts parts;
  std::swap(parts.run[0], parts.run[1]);
  parts.Says("page 0 at 0x640000 (frame 1600), OUT OF ORDER");
  parts = Parts();
  parts.run[0].nr = 0;
  parts.Says("RUN OF NO PAGES at index 0");
  parts = Parts();
  parts.late_run[0].index = 2;
  parts.Says("PAGE 2 IS THERE TWICE");
  parts = Parts();
  parts.late_run[0].frame = 200;
  parts.Says("FRAME 3200 IS THERE TWICE: in file 0 and in file 0");
  parts = Parts();
  parts.resv_run.pop_back();
  parts.file->nr_resv = 0;
  parts.run[1].nr = 2;
  parts.file->size = 3 * kPageSize;
  parts.Says("PAGES BEYOND THE END");
  parts.Says("TOTAL WRONG: the runs have 4 pages, the file says 3");
  parts = Parts();
  parts.late_run.clear();
  parts.Says("EMPTY BLOCK");
}

TEST(TableTest, WhatIsReserved) {
  Parts parts;
  parts.file->nr_resv = 3;
  parts.Says("TOTAL WRONG: 2 reserved without a page, the file says 3");
  parts = Parts();
  parts.resv_run[1].index = 2;
  parts.Says("TOTAL WRONG: 1 reserved without a page, the file says 2");
  parts = Parts();
  parts.resv_run[1].frame = 1;
  parts.Says("pages 3 to 4, HAS A FRAME");
  parts = Parts();
  parts.file->size = 4 * kPageSize;
  parts.Says("RESERVED BEYOND THE END");
  parts = Parts();
  std::swap(parts.resv_run[0], parts.resv_run[1]);
  parts.Says("page 1, OUT OF ORDER");
  parts = Parts();
  parts.resv->magic = 0;
  parts.Says("MAGIC WRONG");
}

TEST(TableTest, Owners) {
  Parts parts;
  parts.owner.magic = 0;
  parts.Says("MAGIC WRONG");
  parts = Parts();
  parts.owner.nr = 2;
  parts.Says("HAS NUMBER 2");
  parts = Parts();
  std::memset(parts.owner.path[0], 'x', sizeof(parts.owner.path[0]));
  parts.Says("PATH DOES NOT END");
  parts = Parts();
  parts.owner.next = kOwner;
  parts.Says("MORE OWNERS");
  parts.file->nr_owners = 2;
  parts.Says("THE LIST OF OWNERS LOOPS");
}

TEST(TableTest, Fields) {
  Parts parts;
  parts.file->seals = 0x100;
  parts.Says("UNKNOWN SEALS 0x100");
  parts = Parts();
  parts.file->mode = 0100644;
  parts.Says("MODE IS NO PERMISSIONS");
  parts = Parts();
  parts.file->pos = ~0ull;
  parts.Says("POSITION OUT OF RANGE");
  parts = Parts();
  parts.file->flags = 2;
  parts.Says("UNKNOWN FLAGS 0x2");
  parts = Parts();
  parts.run[0].owner = 2;
  parts.Says("OWNER 2 IS NOT THERE");
  parts = Parts();
  parts.file->next = kFile;
  parts.Says("THE LIST OF FILES LOOPS");
  parts = Parts();
  parts.runs->next = kRuns;
  parts.Says("THE LIST OF BLOCKS LOOPS");
  parts = Parts();
  parts.runs->next = 0x77000;
  parts.Says("NO SUCH PAGE");
}

}  // namespace
}  // namespace sim::cli
