// SPDX-License-Identifier: BSD-3-Clause
//
// What histories cannot reach of kernel/new/mm/hugetlb_luo.c: files that no
// memfd_create() makes, charges, memory errors, sizes in bytes, far offsets,
// orders of calls that are not LUO's, each call that may fail, signals, and
// tables of many blocks.
#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "model/handover_table.h"
#include "sim/exec/corrupt.h"
#include "sim/exec/table_view.h"
#include "sim/liveupdate/kho.h"
#include "sim/liveupdate/luo.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/liveupdate/test_kernel.h"
#include "sim/mm/hugetlb_sysfs.h"
#include "sim/mm/mapping.h"
#include "sim/mm/memfd.h"
#include "sim/mm/slab.h"
#include "sim/mm/vfs.h"

extern "C" {
#include <linux/kho/abi/hugetlb.h>
}

namespace sim {
namespace {

using ::handover::model::HandedFile;
using ::handover::model::JudgeTable;
using ::handover::model::TableView;
using Args = struct liveupdate_file_op_args;

constexpr loff_t k16K = 16 << 10;
constexpr char kCmdline[] =
    "kho=on liveupdate=on hugepagesz=16K hugepages=24 hugepagesz=64K "
    "hugepages=4";

class HugetlbLuoTest : public KernelTest {
 protected:
  explicit HugetlbLuoTest(
      const Geometry& geometry = MakeGeometry("small", 2).value())
      : KernelTest(geometry) {
    config_.has_luo_hugetlb = true;
    config_.cmdline = kCmdline;
  }

  void TearDown() override {
    EXPECT_TRUE(VerifySlabs());
    KernelTest::TearDown();
  }

  // --- Kernels
  void Up() {
    ASSERT_TRUE(PowerCut(config_));
    ASSERT_EQ(LuoOpen(), 0);
  }
  void NextKernel() {
    KexecKernel();
    ASSERT_EQ(LuoOpen(), 0);
  }
  bool LogHas(const char* text) const {
    return std::any_of(machine_.log().begin(), machine_.log().end(),
                       [text](const std::string& line) {
                         return line.find(text) != std::string::npos;
                       });
  }
  struct file* Session() {
    struct file* session = nullptr;
    EXPECT_EQ(SessionCreate("s", &session), 0);
    return session;
  }
  struct file* Incoming() {
    struct file* session = nullptr;
    EXPECT_EQ(SessionRetrieve("s", &session), 0);
    return session;
  }
  // Runs as an actor's command. False: it waits for somebody.
  bool Run(const char* actor, std::function<void()> fn) {
    return RunOnActor(ActorByName(actor), std::move(fn)) == RunResult::kDone;
  }
  int Call(const char* actor, std::function<int()> fn) {
    int result = 1;
    EXPECT_TRUE(Run(actor, [&] { result = fn(); }));
    return result;
  }

  // --- Files
  static loff_t PageSize(struct file* file) {
    return static_cast<loff_t>(huge_page_size(hstate_file(file)));
  }
  static struct resv_map* Regions(struct file* file) {
    return HUGETLBFS_I(file_inode(file))->resv_map;
  }
  static struct file* Memfd(loff_t page_size = k16K) {
    struct file* file = MemfdCreate(
        MFD_HUGETLB | MFD_ALLOW_SEALING | MFD_EXEC |
        static_cast<unsigned>(__builtin_ctzl(page_size)) << MFD_HUGE_SHIFT);
    EXPECT_FALSE(IS_ERR(file));
    return file;
  }
  static int Fill(struct file* file, loff_t index, loff_t pages = 1) {
    return VfsFallocate(file, FALLOC_FL_KEEP_SIZE, index * PageSize(file),
                        pages * PageSize(file));
  }
  // A memfd of `pages` pages with some of them there.
  static struct file* MakeFile(loff_t pages, std::vector<loff_t> there,
                               loff_t page_size = k16K) {
    struct file* file = Memfd(page_size);
    EXPECT_EQ(VfsTruncate(file, pages * page_size), 0);
    for (const loff_t index : there) EXPECT_EQ(Fill(file, index), 0);
    return file;
  }
  static uint64_t PagesIn(struct file* file) {
    return file->f_mapping->nrpages >> huge_page_order(hstate_file(file));
  }
  // The page at an index, or null.
  static struct folio* PageAt(struct file* file, loff_t index) {
    struct folio* folio =
        filemap_get_folio(file->f_mapping, static_cast<pgoff_t>(index)
                                               << hstate_file(file)->order);
    if (IS_ERR(folio)) return nullptr;
    folio_put(folio);
    return folio;
  }
  static HugepageCounters Pool(loff_t page_size = k16K) {
    HugepageCounters counters;
    EXPECT_EQ(HugepageCountersRead(static_cast<uint64_t>(page_size), -1,
                                   &counters),
              0);
    return counters;
  }

  // --- The handler, without LUO in between
  static struct liveupdate_file_handler* Handler() {
    struct liveupdate_file_handler* it;
    list_for_each_entry(it, &g_luo.handlers, list) {
      if (std::strcmp(it->compatible, HUGETLB_LUO_FH_COMPATIBLE) == 0) {
        return it;
      }
    }
    return nullptr;
  }
  static Args ArgsOf(struct file* file) {
    Args args = {};
    args.handler = Handler();
    args.file = file;
    return args;
  }
  int Preserve(Args* args) {
    return Call("agent", [args] { return args->handler->ops->preserve(args); });
  }
  void Unpreserve(Args* args) {
    EXPECT_TRUE(
        Run("agent", [args] { args->handler->ops->unpreserve(args); }));
  }
  int Freeze(Args* args) {
    return Call("agent", [args] { return args->handler->ops->freeze(args); });
  }
  void Unfreeze(Args* args) {
    EXPECT_TRUE(Run("agent", [args] { args->handler->ops->unfreeze(args); }));
  }
  // What the next kernel would find, and has to accept.
  static std::vector<HandedFile> Handed() {
    return JudgeTable(ReadTableView(), {16 << 10, 64 << 10, 256 << 10}, true)
        .accepted;
  }
  // The frozen file's pages, by its record. -1: it would not be accepted.
  static int64_t PagesHanded() {
    const std::vector<HandedFile> files = Handed();
    return files.size() == 1 ? static_cast<int64_t>(files[0].pages.size()) : -1;
  }

  // Nothing is left of what came, or of what was preserved.
  void ExpectNothingLeft() {
    EXPECT_EQ(KhoUnclaimed().size(), KhoNeverRestored().size());
    for (const std::string& object : SlabLiveObjects()) {
      EXPECT_EQ(object.find("hugetlb_luo"), std::string::npos) << object;
    }
    EXPECT_EQ(LiveFiles(), 0);
    EXPECT_EQ(LiveInodes(), 0);
    EXPECT_EQ(Pool().free, Pool().nr);
    EXPECT_EQ(Pool().resv, 0u);
  }
};

// --- What can be preserved

TEST_F(HugetlbLuoTest, OnlyMemfdsAreTaken) {
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(2, {0});
  struct inode* inode = file_inode(file);

  inode->i_nlink = 1;  // a name in a directory
  EXPECT_EQ(PreserveFd(session, 1, file), -ENOENT);
  inode->i_nlink = 0;
  inode->i_sb->s_flags &= ~SB_KERNMOUNT;  // mount -t hugetlbfs
  EXPECT_EQ(PreserveFd(session, 1, file), -ENOENT);
  inode->i_sb->s_flags |= SB_KERNMOUNT;

  struct file* segment =  // shmget(SHM_HUGETLB)
      hugetlb_file_setup("SYSV00000000", k16K, EMPTY_VMA_FLAGS,
                         HUGETLB_SHMFS_INODE, 14);
  ASSERT_FALSE(IS_ERR(segment));
  EXPECT_EQ(Fill(segment, 0), 0);
  EXPECT_EQ(PreserveFd(session, 1, segment), -ENOENT);
  fput(segment);

  EXPECT_EQ(PreserveFd(session, 1, file), 0);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
  ExpectNothingLeft();
}

TEST_F(HugetlbLuoTest, ReadOnlyDescriptorIsRefused) {
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(2, {0});
  struct file* read_only = ReopenFile(file, /*read_only=*/true);
  EXPECT_EQ(PreserveFd(session, 1, read_only), -EACCES);
  EXPECT_EQ(PreserveFd(session, 1, file), 0);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(read_only);
  fput(file);
  ExpectNothingLeft();
}

TEST_F(HugetlbLuoTest, SecondDescriptorIsTheSameFile) {
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(2, {1});
  struct file* second = ReopenFile(file, /*read_only=*/false);
  ASSERT_EQ(PreserveFd(session, 1, second), 0);
  EXPECT_EQ(PreserveFd(session, 2, file), -EBUSY);
  file->f_pos = 11;
  second->f_pos = 4711;
  NextKernel();
  session = Incoming();
  ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
  EXPECT_EQ(file->f_pos, 4711);
  second = ReopenFile(file, /*read_only=*/false);
  // Of the files that came, too, until finish.
  struct file* out = nullptr;
  ASSERT_EQ(SessionCreate("out", &out), 0);
  EXPECT_EQ(PreserveFd(out, 1, second), -EBUSY);
  EXPECT_EQ(Finish(session), 0);
  EXPECT_EQ(PreserveFd(out, 1, second), 0);
  EXPECT_EQ(SessionRelease(out), 0);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(second);
  fput(file);
  ExpectNothingLeft();
}

// Charges of control groups, each where it is noted down.
TEST_F(HugetlbLuoTest, ChargedPagesAreRefused) {
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(4, {0, 1, 3});
  struct folio* folio = PageAt(file, 1);
  const KhoKeySet keys = KhoOutgoing();
  struct hugetlb_cgroup root = {}, group = {};
  group.css.parent = &root.css;
  struct mem_cgroup memory_root = {0}, memory_group = {1};
  uint64_t token = 0;
  auto expect = [&](int err) {
    struct file* session = nullptr;
    ASSERT_EQ(SessionCreate("try", &session), 0);
    EXPECT_EQ(PreserveFd(session, ++token, file), err);
    EXPECT_EQ(SessionRelease(session), 0);
    EXPECT_EQ(KhoOutgoing(), keys);
    EXPECT_FALSE(folio_maybe_dma_pinned(PageAt(file, 0)));
  };

  set_hugetlb_cgroup(folio, &group);
  expect(-EOPNOTSUPP);
  set_hugetlb_cgroup(folio, &root);
  expect(0);
  set_hugetlb_cgroup(folio, nullptr);

  set_hugetlb_cgroup_rsvd(folio, &group);
  expect(-EOPNOTSUPP);
  set_hugetlb_cgroup_rsvd(folio, &root);
  expect(0);
  set_hugetlb_cgroup_rsvd(folio, nullptr);

  folio->memcg = &memory_group;
  expect(-EOPNOTSUPP);
  folio->memcg = &memory_root;
  expect(0);
  folio->memcg = nullptr;

  struct file_region* region =
      list_last_entry(&Regions(file)->regions, struct file_region, link);
  region->css = &group.css;
  expect(-EOPNOTSUPP);
  region->css = &root.css;
  expect(0);
  region->css = nullptr;

  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
  ExpectNothingLeft();
}

TEST_F(HugetlbLuoTest, PageWithMemoryErrorIsRefused) {
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(4, {0, 1, 2});
  struct folio* folio = PageAt(file, 2);
  folio_set_hwpoison(folio);
  EXPECT_EQ(PreserveFd(session, 1, file), -EHWPOISON);
  EXPECT_FALSE(folio_maybe_dma_pinned(PageAt(file, 0)));
  folio_clear_hwpoison(folio);
  EXPECT_EQ(PreserveFd(session, 1, file), 0);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
  ExpectNothingLeft();
}

// --- Sizes and offsets

// fallocate() sets sizes to the byte.
TEST_F(HugetlbLuoTest, SizeInTheMiddleOfAPage) {
  Up();
  struct file* file = Memfd();
  const loff_t size = 2 * k16K + 5000;
  ASSERT_EQ(VfsFallocate(file, 0, 0, size), 0);
  ASSERT_EQ(PagesIn(file), 3u);
  std::array<uint64_t, 3> frames;
  for (int i = 0; i < 3; ++i) frames[i] = folio_pfn(PageAt(file, i));
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  NextKernel();
  struct file* session = Incoming();
  ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
  EXPECT_EQ(i_size_read(file_inode(file)), size);
  ASSERT_EQ(PagesIn(file), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(folio_pfn(PageAt(file, i)), frames[i]);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
  ExpectNothingLeft();
}

TEST_F(HugetlbLuoTest, PageBeyondTheEndIsRefused) {
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(2, {0, 2});
  EXPECT_EQ(PreserveFd(session, 1, file), -EOPNOTSUPP);
  ASSERT_EQ(VfsFallocate(file, 0, 2 * k16K, 1), 0);  // one byte of it
  EXPECT_EQ(PreserveFd(session, 1, file), 0);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
  ExpectNothingLeft();
}

TEST_F(HugetlbLuoTest, IndicesEndAt32Bits) {
  Up();
  const loff_t last = (1LL << 32) - 2;
  struct file* session = Session();
  struct file* file = MakeFile(last + 4, {last, last + 1});
  EXPECT_EQ(PreserveFd(session, 1, file), -EFBIG);
  EXPECT_EQ(PagesIn(file), 2u);
  fput(file);
  file = MakeFile(last + 4, {3, last + 2});
  EXPECT_EQ(PreserveFd(session, 1, file), -EFBIG);
  EXPECT_EQ(PagesIn(file), 2u);
  fput(file);

  file = MakeFile(last + 4, {3, last});
  const uint64_t frame = folio_pfn(PageAt(file, last));
  ASSERT_EQ(PreserveFd(session, 1, file), 0);
  EXPECT_EQ(PagesIn(file), 2u);
  NextKernel();
  session = Incoming();
  ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
  EXPECT_EQ(i_size_read(file_inode(file)), (last + 4) * k16K);
  EXPECT_EQ(PagesIn(file), 2u);
  EXPECT_NE(PageAt(file, 3), nullptr);
  ASSERT_NE(PageAt(file, last), nullptr);
  EXPECT_EQ(folio_pfn(PageAt(file, last)), frame);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
  ExpectNothingLeft();
}

// --- A kernel that has no root

// Which of the calls that may fail is the last of a boot.
class RootlessTest : public HugetlbLuoTest {
 protected:
  // One file in session "s", in a kernel of its own.
  void FirstKernel() {
    machine_.set_fault_plan({});
    Up();
    struct file* file = MakeFile(3, {0, 2});
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    ASSERT_EQ(RebootCall(), 0);
  }
  void ExpectNoRoot() {
    EXPECT_TRUE(LogHas("no memory can be handed over"));
    EXPECT_EQ(OutgoingTableRoot(), 0u);
    ASSERT_EQ(LuoOpen(), 0);
    struct file* session = nullptr;
    ASSERT_EQ(SessionCreate("out", &session), 0);
    struct file* file = MakeFile(2, {0});
    EXPECT_EQ(PreserveFd(session, 1, file), -ENOENT);
    EXPECT_EQ(SessionRelease(session), 0);
    fput(file);
  }
};

TEST_F(RootlessTest, PreservesNothing) {
  Up();
  const uint64_t keys = KhoOutgoing().count;
  int calls = 0;
  do {
    machine_.set_fault_plan({FailKind::kKho, ++calls});
    ASSERT_TRUE(PowerCut(config_));
  } while (machine_.fault_fired());
  --calls;
  // The last two are those that the root is made with.
  for (const int nth : {calls - 1, calls}) {
    machine_.set_fault_plan({FailKind::kKho, nth});
    ASSERT_TRUE(PowerCut(config_));
    ASSERT_TRUE(machine_.fault_fired());
    EXPECT_EQ(KhoOutgoing().count, keys - 1) << nth;
    ExpectNoRoot();
    EXPECT_EQ(KhoOutgoing().count, keys - 1) << nth;
    // There is nothing that a reboot could lose.
    EXPECT_EQ(RebootCall(), 0);
  }
}

TEST_F(RootlessTest, GivesBackWhatCame) {
  int calls = 0;
  do {
    FirstKernel();
    machine_.set_fault_plan({FailKind::kKho, ++calls});
    ASSERT_TRUE(Kexec(config_));
  } while (machine_.fault_fired());
  --calls;
  for (const int nth : {calls - 1, calls}) {
    FirstKernel();
    machine_.set_fault_plan({FailKind::kKho, nth});
    ASSERT_TRUE(Kexec(config_));
    ASSERT_TRUE(machine_.fault_fired());
    ExpectNoRoot();
    struct file* session = Incoming();
    struct file* file = nullptr;
    ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
    EXPECT_EQ(PagesIn(file), 2u);
    EXPECT_EQ(SessionRelease(session), 0);
    fput(file);
    ExpectNothingLeft();
  }
}

}  // namespace
}  // namespace sim
