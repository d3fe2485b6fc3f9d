// SPDX-License-Identifier: BSD-3-Clause
//
// What histories cannot reach of kernel/new/mm: files that no
// memfd_create() makes, charges, memory errors, sizes in bytes, far offsets,
// orders of calls that are not LUO's, each call that may fail, signals, and
// tables of many blocks.
#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/handover_table.h"
#include "sim/exec/corrupt.h"
#include "sim/exec/table_view.h"
#include "sim/liveupdate/kho.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/liveupdate/luo.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/liveupdate/test_kernel.h"
#include "sim/mm/cgroup.h"
#include "sim/mm/cma.h"
#include "sim/mm/folio.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_hooks.h"
#include "sim/mm/hugetlb_sysfs.h"
#include "sim/mm/mapping.h"
#include "sim/mm/memfd.h"
#include "sim/mm/memmap.h"
#include "sim/mm/memory_failure.h"
#include "sim/mm/offline.h"
#include "sim/mm/slab.h"
#include "sim/mm/sparse.h"
#include "sim/mm/vfs.h"

extern "C" {
#include <linux/kho/abi/hugetlb.h>
}

extern "C" {
// How the struct of this name in kernel/new begins, and the one of its errors.
extern struct mutex hugetlb_luo_in;
extern struct {
  struct mutex lock;
  struct list_head files;
  struct hugetlb_luo_root_ser* root;
  spinlock_t errors_lock;
  struct hugetlb_luo_error_ser* errors;
  unsigned int nr_errors;
} hugetlb_luo_out;
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
  bool LogHas(std::string_view text) const {
    return std::any_of(machine_.log().begin(), machine_.log().end(),
                       [text](const std::string& line) {
                         return line.find(text) != std::string::npos;
                       });
  }
  size_t LogLines(const char* text) const {
    return static_cast<size_t>(
        std::count_if(machine_.log().begin(), machine_.log().end(),
                      [text](const std::string& line) {
                        return line.find(text) != std::string::npos;
                      }));
  }
  // Changes the record of a file, whose checksum stays right.
  void EditRecord(uint64_t at,
                  const std::function<void(hugetlb_luo_file_ser*)>& edit) {
    auto* ser =
        reinterpret_cast<hugetlb_luo_file_ser*>(machine_.memory().base() + at);
    edit(ser);
    ser->csum = RecordChecksum(
        at, offsetof(hugetlb_luo_file_ser, csum),
        sizeof(*ser) + ser->nr_counts * sizeof(hugetlb_luo_count_ser));
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
  using Ranges = std::vector<std::pair<loff_t, loff_t>>;
  // `joined`: also those that different groups are charged for.
  static Ranges RegionsOf(struct file* file, bool joined = true) {
    Ranges ranges;
    const struct file_region* region;
    list_for_each_entry(region, &Regions(file)->regions, link) {
      if (joined && !ranges.empty() && ranges.back().second == region->from)
        ranges.back().second = region->to;
      else
        ranges.emplace_back(region->from, region->to);
    }
    return ranges;
  }
  // As mmap() does.
  static void Reserve(struct file* file, loff_t from, loff_t to) {
    EXPECT_GE(hugetlb_reserve_pages(file_inode(file), from, to, nullptr,
                                    EMPTY_VMA_FLAGS),
              0);
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
    EXPECT_EQ(
        HugepageCountersRead(static_cast<uint64_t>(page_size), -1, &counters),
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
    EXPECT_TRUE(Run("agent", [args] { args->handler->ops->unpreserve(args); }));
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

  // What it has reserved without a page, by its record.
  static uint64_t ReservedHanded() {
    const TableView view = ReadTableView();
    return view.files.size() == 1 ? view.files[0].nr_resv : ~uint64_t{0};
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
    for (int nid = 0; nid < machine_.geometry().nodes; ++nid) {
      EXPECT_EQ(NodeStat(nid, NR_HUGETLB), 0) << "node " << nid;
      const struct folio* folio;
      list_for_each_entry(folio, &size_to_hstate(k16K)->hugepage_freelists[nid],
                          lru) {
        EXPECT_FALSE(folio_test_dirty(folio)) << folio_pfn(folio);
      }
    }
  }
};

// --- What can be preserved

// The next kernel is not told of memory that was added since boot, and a page
// may lie in more sections than one.
TEST_F(HugetlbLuoTest, PagesInMemoryThatWasAddedAreRefused) {
  constexpr loff_t k256K = 256 << 10;
  for (const bool last : {false, true}) {
    config_.cmdline = "kho=on liveupdate=on hugepagesz=256K hugepages=1";
    Up();
    struct file* file = MakeFile(1, {0}, k256K);
    struct file* session = Session();
    const uint64_t pfn = folio_pfn(PageAt(file, 0));
    const uint64_t end = pfn + (k256K >> PAGE_SHIFT);
    ASSERT_GE(end - pfn, 2 * sim_pages_per_section);
    AddSectionLate(end);
    EXPECT_EQ(PreserveFd(session, 1, file), 0);
    EXPECT_EQ(SessionRelease(session), 0);
    session = Session();
    AddSectionLate(last ? end - 1 : pfn);
    EXPECT_EQ(PreserveFd(session, 1, file), -EOPNOTSUPP);
    EXPECT_EQ(SessionRelease(session), 0);
    fput(file);
    ExpectNothingLeft();
  }
}

// What it says of the file has to be there, too.
TEST_F(HugetlbLuoTest, RecordsInMemoryThatWasAddedAreRefused) {
  int refused = 0, taken = 0;
  uint64_t section = 0;
  do {
    SCOPED_TRACE(section);
    Up();
    struct file* file = MakeFile(8, {0, 2});
    Reserve(file, 4, 6);
    const std::vector<KhoKey> before = KhoOutgoingKeys();
    AddSectionLate(section * sim_pages_per_section);
    Args args = ArgsOf(file);
    int err = Preserve(&args);
    if (err == 0) {
      EXPECT_EQ(Fill(file, 5), 0);
      err = Freeze(&args);
      for (const KhoKey& key : KhoOutgoingKeys()) {
        const bool old =
            std::find(before.begin(), before.end(), key) != before.end();
        if (err == 0 && !old) {
          EXPECT_NE((key.phys >> PAGE_SHIFT) / sim_pages_per_section, section);
        }
      }
      if (err == 0) Unfreeze(&args);
      Unpreserve(&args);
    }
    EXPECT_TRUE(err == 0 || err == -EOPNOTSUPP) << err;
    EXPECT_EQ(KhoOutgoingKeys(), before);
    ++(err == 0 ? taken : refused);
    fput(file);
    ExpectNothingLeft();
  } while (++section * sim_pages_per_section < sim_max_pfn);
  EXPECT_GT(taken, 0);
  EXPECT_GT(refused, 1);
}

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
  EXPECT_TRUE(file->f_flags & O_LARGEFILE);
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

// Migration takes a page of the pool, and cannot make a gigantic one.
TEST_F(HugetlbLuoTest, GiganticPageInCma) {
  constexpr loff_t k256K = 256 << 10;
  config_.cmdline = "kho=on liveupdate=on hugepagesz=256K hugepages=1";
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(1, {0}, k256K);
  const uint64_t pfn = folio_pfn(PageAt(file, 0));
  const uint64_t end = pfn + (k256K >> PAGE_SHIFT);
  for (uint64_t at = pfn; at < end; at += pageblock_nr_pages)
    SetPageblockType(at, MIGRATE_CMA);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(PreserveFd(session, 1, file), -ENOMEM);
    EXPECT_EQ(folio_pfn(PageAt(file, 0)), pfn);
    EXPECT_FALSE(folio_maybe_dma_pinned(PageAt(file, 0)));
    EXPECT_TRUE(folio_test_hugetlb_migratable(PageAt(file, 0)));
  }
  EXPECT_EQ(NrHugepagesStore(k256K, 2, -1), 0);
  EXPECT_EQ(Pool(k256K).free, 1u);
  EXPECT_EQ(PreserveFd(session, 1, file), 0);
  EXPECT_NE(folio_pfn(PageAt(file, 0)), pfn);
  EXPECT_EQ(Pool(k256K).free, 1u);
  for (uint64_t at = pfn; at < end; at += pageblock_nr_pages)
    SetPageblockType(at, MIGRATE_MOVABLE);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
}

// --- Memory errors

class ErrorTest : public HugetlbLuoTest {
 protected:
  static struct folio* Held(struct file* file, loff_t index) {
    return filemap_get_folio(file->f_mapping, static_cast<pgoff_t>(index)
                                                  << hstate_file(file)->order);
  }
  // An error in a base page of one of the file's pages.
  int Poison(struct file* file, loff_t index, uint64_t base) {
    return Call("admin", [=] {
      return memory_failure(folio_pfn(Held(file, index)) + base,
                            MF_COUNT_INCREASED | MF_SW_SIMULATED);
    });
  }
  static std::vector<int> ErrorsOf(struct file* file, loff_t index) {
    struct folio* folio = PageAt(file, index);
    std::vector<int> errors;
    for (int i = 0; i < static_cast<int>(folio_nr_pages(folio)); ++i) {
      if (is_raw_hwpoison_page_in_hugepage(
              folio_page(folio, static_cast<unsigned long>(i))))
        errors.push_back(i);
    }
    EXPECT_EQ(!errors.empty(), folio_test_hwpoison(folio)) << index;
    // Kept by memory_failure(), and not to be moved.
    EXPECT_EQ(folio_ref_count(folio), 4 + !errors.empty()) << index;
    EXPECT_EQ(folio_test_hugetlb_migratable(folio), errors.empty()) << index;
    return errors;
  }
  struct file* Retrieved() {
    struct file* file = nullptr;
    session_ = Incoming();
    EXPECT_EQ(RetrieveFd(session_, 1, &file), 0);
    return file;
  }
  // Everybody lets go, and `kept` pages stay out of the pool.
  void Finish(struct file* file, unsigned long kept) {
    EXPECT_EQ(SessionRelease(session_), 0);
    if (file) fput(file);
    EXPECT_EQ(Pool().nr, 24u);
    EXPECT_EQ(Pool().free, 24u - kept);
    EXPECT_EQ(LiveFiles(), 0);
  }
  // The list behind the root that goes to the next kernel.
  static struct hugetlb_luo_error_ser* List() {
    uint64_t phys = 0, bytes = 0;
    EXPECT_TRUE(OutgoingTable(&phys, &bytes));
    auto* root = static_cast<struct hugetlb_luo_root_ser*>(__va(phys));
    return reinterpret_cast<struct hugetlb_luo_error_ser*>(root->counts +
                                                           root->nr_counts);
  }

  using Errors = std::vector<int>;
  struct file* session_ = nullptr;
};

TEST_F(ErrorTest, BeforeAndAfterPreserve) {
  Up();
  struct file* file = MakeFile(5, {0, 1, 2, 3});
  EXPECT_EQ(Poison(file, 1, 2), 0);
  EXPECT_EQ(Poison(file, 1, 3), -EHWPOISON);
  EXPECT_EQ(Poison(file, 1, 3), -EHWPOISON);
  EXPECT_EQ(Poison(file, 2, 0), 0);
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  EXPECT_EQ(Poison(file, 0, 1), 0);
  for (int kernel = 2; kernel < 5; ++kernel) {
    NextKernel();
    EXPECT_EQ(Pool().nr - Pool().free, 4u);
    file = Retrieved();
    EXPECT_EQ(ErrorsOf(file, 0), Errors{1});
    EXPECT_EQ(ErrorsOf(file, 1), (Errors{2, 3}));
    EXPECT_EQ(ErrorsOf(file, 2), Errors{0});
    EXPECT_EQ(ErrorsOf(file, 3), Errors{});
    if (kernel == 4) break;
    EXPECT_EQ(SessionRelease(session_), 0);
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  }
  Finish(file, 3);
}

TEST_F(ErrorTest, NobodyAsks) {
  Up();
  struct file* file = MakeFile(3, {0, 2});
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  EXPECT_EQ(Poison(file, 2, 3), 0);
  const uint64_t pfn = folio_pfn(PageAt(file, 2));
  NextKernel();
  session_ = Incoming();
  Finish(nullptr, 1);
  struct folio* folio = pfn_folio(pfn);
  EXPECT_TRUE(folio_test_hugetlb(folio));
  EXPECT_TRUE(is_raw_hwpoison_page_in_hugepage(folio_page(folio, 3)));
  EXPECT_EQ(folio_ref_count(folio), 1);
  // It is on the list of those in use, and nothing else is.
  const struct hstate* h = folio_hstate(folio);
  EXPECT_EQ(h->hugepage_activelist.next, &folio->lru);
  EXPECT_EQ(h->hugepage_activelist.prev, &folio->lru);
}

// The kernel runs on until its processors are stopped.
TEST_F(ErrorTest, AfterFreeze) {
  Up();
  struct file* file = MakeFile(3, {0, 1, 2});
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  struct folio* folio = PageAt(file, 1);
  ASSERT_EQ(RebootCall(), 0);
  hugetlb_luo_error(folio_page(folio, 2), 1);
  // The processor was stopped in the middle of writing this one down.
  List()[1].csum = 7;
  ASSERT_TRUE(Kexec(config_));
  ASSERT_EQ(LuoOpen(), 0);
  file = Retrieved();
  EXPECT_EQ(ErrorsOf(file, 0), Errors{});
  EXPECT_EQ(ErrorsOf(file, 1), Errors{2});
  EXPECT_EQ(ErrorsOf(file, 2), Errors{});
  Finish(file, 1);
}

// The list is full to its end, and names the same base pages again and again.
TEST_F(ErrorTest, FullList) {
  Up();
  struct file* file = MakeFile(2, {0, 1});
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  struct folio* folio = PageAt(file, 1);
  ASSERT_EQ(RebootCall(), 0);
  for (unsigned long i = 0; i < 2 * HUGETLB_LUO_ERRORS; ++i)
    hugetlb_luo_error(folio_page(folio, 1 + i % 2), 1);
  ASSERT_TRUE(Kexec(config_));
  ASSERT_EQ(LuoOpen(), 0);
  file = Retrieved();
  EXPECT_EQ(ErrorsOf(file, 0), Errors{});
  EXPECT_EQ(ErrorsOf(file, 1), (Errors{1, 2}));
  Finish(file, 1);
}

TEST_F(ErrorTest, NotKnownWhich) {
  Up();
  struct file* file = MakeFile(3, {0, 1, 2});
  machine_.set_fault_plan({FailKind::kAlloc, 1});
  EXPECT_EQ(Poison(file, 1, 2), 0);
  EXPECT_TRUE(machine_.fault_fired());
  machine_.set_fault_plan({});
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  for (int kernel = 2; kernel < 4; ++kernel) {
    NextKernel();
    file = Retrieved();
    EXPECT_EQ(ErrorsOf(file, 0), Errors{});
    EXPECT_EQ(ErrorsOf(file, 1), (Errors{0, 1, 2, 3}));
    EXPECT_EQ(ErrorsOf(file, 2), Errors{});
    EXPECT_TRUE(folio_test_hugetlb_raw_hwp_unreliable(PageAt(file, 1)));
    if (kernel == 3) break;
    EXPECT_EQ(SessionRelease(session_), 0);
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  }
  Finish(file, 1);
}

// It was known of one base page, and then it was not known any more of which.
TEST_F(ErrorTest, NotKnownWhichAfterAll) {
  Up();
  struct file* file = MakeFile(3, {0, 1, 2});
  EXPECT_EQ(Poison(file, 1, 1), 0);
  hugetlb_luo_error(folio_page(PageAt(file, 1), 0), k16K / 4096);
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  NextKernel();
  file = Retrieved();
  EXPECT_EQ(ErrorsOf(file, 0), Errors{});
  EXPECT_EQ(ErrorsOf(file, 1), (Errors{0, 1, 2, 3}));
  EXPECT_EQ(ErrorsOf(file, 2), Errors{});
  Finish(file, 1);
}

// KHO holds the page, and nobody knows yet what it is.
TEST_F(ErrorTest, BeforeItIsRetrieved) {
  Up();
  struct file* file = MakeFile(3, {0, 1, 2});
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  const uint64_t pfn = folio_pfn(PageAt(file, 2));
  NextKernel();
  EXPECT_EQ(Call("admin", [pfn] { return memory_failure(pfn + 1, 0); }),
            -EBUSY);
  EXPECT_EQ(Call("admin", [pfn] { return memory_failure(pfn, 0); }), -EBUSY);
  file = Retrieved();
  EXPECT_EQ(ErrorsOf(file, 1), Errors{});
  EXPECT_EQ(ErrorsOf(file, 2), (Errors{0, 1}));
  Finish(file, 1);
}

TEST_F(ErrorTest, FailuresOfRetrieve) {
  bool fired = true;
  for (int nth = 1; fired; ++nth) {
    ASSERT_LT(nth, 200);
    Up();
    struct file* file = MakeFile(3, {0, 1, 2});
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    EXPECT_EQ(Poison(file, 1, 2), 0);
    NextKernel();
    session_ = Incoming();
    machine_.set_fault_plan({FailKind::kAny, nth});
    const int err = RetrieveFd(session_, 1, &file);
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    if (err != 0) {
      EXPECT_EQ(err, -EAGAIN);
      ASSERT_EQ(RetrieveFd(session_, 1, &file), 0);
    }
    EXPECT_EQ(ErrorsOf(file, 0), Errors{});
    // Which one it is may have got lost for lack of memory.
    const bool lost = folio_test_hugetlb_raw_hwp_unreliable(PageAt(file, 1));
    EXPECT_EQ(ErrorsOf(file, 1), lost ? (Errors{0, 1, 2, 3}) : Errors{2});
    EXPECT_EQ(ErrorsOf(file, 2), Errors{});
    Finish(file, 1);
    ASSERT_FALSE(HasFailure()) << nth;
  }
}

TEST_F(ErrorTest, PageThatMayNotStayIsRefused) {
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(3, {0, 1, 2});
  const uint64_t pfn = folio_pfn(PageAt(file, 1));
  const int type = PageblockType(pfn);
  SetPageblockType(pfn, MIGRATE_CMA);
  EXPECT_EQ(Poison(file, 1, 2), 0);
  EXPECT_EQ(PreserveFd(session, 1, file), -EHWPOISON);
  EXPECT_FALSE(folio_maybe_dma_pinned(PageAt(file, 0)));
  SetPageblockType(pfn, type);
  EXPECT_EQ(PreserveFd(session, 1, file), 0);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
}

// Each page of a run is looked at, wherever in the file that lies, and none
// beside it.
TEST_F(ErrorTest, PagesThatMayNotStayAreFoundInEachPlace) {
  for (const loff_t index : {5, 6, 7, 12}) {
    Up();
    struct file* file = MakeFile(16, {5, 6, 7, 12});
    const uint64_t pfn = folio_pfn(PageAt(file, index));
    const int type = PageblockType(pfn);
    SetPageblockType(pfn, MIGRATE_CMA);
    EXPECT_EQ(Poison(file, index, 2), 0);
    Args args = ArgsOf(file);
    EXPECT_EQ(Preserve(&args), -EHWPOISON) << index;
    EXPECT_TRUE(machine_.violations().empty()) << index;
    SetPageblockType(pfn, type);
    ASSERT_EQ(Preserve(&args), 0) << index;
    Unpreserve(&args);
    fput(file);
  }
}

// The CPU may be stopped anywhere. All of an entry is there before its address
// is, which makes it one.
TEST_F(ErrorTest, EntriesAreWrittenInOrder) {
  Up();
  int barriers = 0;
  const unsigned n = hugetlb_luo_out.nr_errors;
  WatchSteps([&](const char* step) {
    if (std::strcmp(step, "smp_wmb") != 0) return;
    ++barriers;
    const struct hugetlb_luo_error_ser* entry = &hugetlb_luo_out.errors[n];
    EXPECT_EQ(entry->addr, 0u);
    EXPECT_EQ(entry->nr, 4u);
    EXPECT_NE(entry->csum, 0u);
    EXPECT_EQ(hugetlb_luo_out.nr_errors, n);
  });
  EXPECT_TRUE(Run("p0", [] { hugetlb_luo_error(pfn_to_page(100), 4); }));
  WatchSteps(nullptr);
  EXPECT_EQ(barriers, 1);
  EXPECT_EQ(hugetlb_luo_out.errors[n].addr, 100u * PAGE_SIZE);
  EXPECT_EQ(hugetlb_luo_out.nr_errors, n + 1);
}

// Those without errors are moved, whatever else has some.
TEST_F(ErrorTest, PagesWithoutErrorsAreMoved) {
  Up();
  struct file* file = MakeFile(2, {0});
  hugetlb_luo_error(pfn_to_page(100), 1);
  const uint64_t pfn = folio_pfn(PageAt(file, 0));
  const int type = PageblockType(pfn);
  SetPageblockType(pfn, MIGRATE_CMA);
  Args args = ArgsOf(file);
  EXPECT_EQ(Preserve(&args), 0);
  EXPECT_NE(folio_pfn(PageAt(file, 0)), pfn);
  SetPageblockType(pfn, type);
  Unpreserve(&args);
  fput(file);
}

// Half of the list is left for what comes after the freeze.
TEST_F(ErrorTest, TooMany) {
  Up();
  struct file* file = MakeFile(2, {0});
  struct page* page = folio_page(PageAt(file, 0), 0);
  for (int i = 0; i < HUGETLB_LUO_ERRORS / 2; ++i) hugetlb_luo_error(page, 1);
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  hugetlb_luo_error(page, 1);
  EXPECT_EQ(Freeze(&args), -EHWPOISON);
  Unpreserve(&args);
  EXPECT_EQ(Preserve(&args), -EHWPOISON);
  uint64_t phys = 0, bytes = 0;
  EXPECT_TRUE(OutgoingTable(&phys, &bytes));
  for (int i = 0; i < HUGETLB_LUO_ERRORS; ++i) hugetlb_luo_error(page, 1);
  const struct hugetlb_luo_error_ser* end = List() + HUGETLB_LUO_ERRORS;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(end),
            reinterpret_cast<uintptr_t>(__va(phys + bytes)));
  EXPECT_NE(end[-1].addr, 0u);
  EXPECT_EQ(end[0].addr, 0u);
  fput(file);
}

// Without the list nobody can tell which pages are to be kept away from.
TEST_F(ErrorTest, DamagedListIsRefused) {
  Up();
  struct file* file = MakeFile(2, {0, 1});
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  EXPECT_EQ(Poison(file, 1, 2), 0);
  ASSERT_EQ(RebootCall(), 0);
  List()[0].nr ^= 2;
  ASSERT_TRUE(Kexec(config_));
  ASSERT_EQ(LuoOpen(), 0);
  EXPECT_TRUE(LogHas("list of memory errors is damaged"));
  session_ = Incoming();
  EXPECT_EQ(RetrieveFd(session_, 1, &file), -EINVAL);
  EXPECT_EQ(SessionRelease(session_), 0);
  EXPECT_EQ(RebootCall(), -EBUSY);
}

// Errors that came before there was a list are on it, as far as it has room.
TEST_F(ErrorTest, BeforeThereIsAList) {
  for (const int errors : {1, 8, HUGETLB_LUO_ERRORS / 2 + 1}) {
    SetBootObserver([errors](std::string_view stage) {
      for (int i = 0; stage == "hugetlb" && i < errors; ++i)
        hugetlb_luo_error(pfn_to_page(100 + i), 1);
    });
    Up();
    SetBootObserver(nullptr);
    struct file* file = MakeFile(2, {0});
    Args args = ArgsOf(file);
    if (errors > HUGETLB_LUO_ERRORS / 2) {
      EXPECT_EQ(Preserve(&args), -EHWPOISON);
      EXPECT_NE(List()[errors - 1].addr, 0u);
      EXPECT_EQ(List()[errors].addr, 0u);
    } else {
      EXPECT_EQ(Poison(file, 0, 1), 0);
      for (int i = 0; i < errors; ++i)
        EXPECT_EQ(List()[i].addr, (100u + i) << PAGE_SHIFT);
      EXPECT_EQ(List()[errors].addr, (folio_pfn(PageAt(file, 0)) + 1)
                                         << PAGE_SHIFT);
      EXPECT_EQ(List()[errors + 1].addr, 0u);
      ASSERT_EQ(Preserve(&args), 0);
      Unpreserve(&args);
    }
    fput(file);
  }
}

// --- Memory errors in pages that are not handed over

constexpr loff_t kGigantic = 256 << 10;

class LooseErrorTest : public ErrorTest {
 protected:
  // An error in a free page of the pool: the frame.
  uint64_t PoisonFree(loff_t page_size, uint64_t base, int result = 0,
                      int nid = 1) {
    const struct hstate* h =
        size_to_hstate(static_cast<unsigned long>(page_size));
    const uint64_t pfn = folio_pfn(list_first_entry(&h->hugepage_freelists[nid],
                                                    struct folio, lru)) +
                         base;
    EXPECT_EQ(
        Call("admin", [pfn] { return memory_failure(pfn, MF_SW_SIMULATED); }),
        result);
    return pfn;
  }
  // What is written down is this, and nothing else.
  static void ExpectListed(const std::vector<uint64_t>& frames, u32 nr = 1) {
    for (size_t i = 0; i <= frames.size(); ++i) {
      EXPECT_EQ(List()[i].addr,
                i < frames.size() ? frames[i] << PAGE_SHIFT : 0u);
      EXPECT_EQ(List()[i].nr, i < frames.size() ? nr : 0u);
    }
  }
  static void ExpectKeptAway(uint64_t pfn) {
    EXPECT_EQ(OwnerOf(pfn), Owner::kReserved) << pfn;
    EXPECT_TRUE(PageReserved(pfn_to_page(pfn))) << pfn;
    EXPECT_TRUE(PageHWPoison(pfn_to_page(pfn))) << pfn;
  }
  // All that the pools can get goes to them.
  static void TakeAll() {
    for (const loff_t size : {kGigantic, loff_t{64 << 10}, k16K})
      EXPECT_EQ(NrHugepagesStore(static_cast<uint64_t>(size), 10000, -1), 0);
  }
  // Goes down, with the list as `edit` leaves it.
  void NextKernelWith(const std::function<void()>& edit) {
    ASSERT_EQ(RebootCall(), 0);
    edit();
    ASSERT_TRUE(Kexec(config_));
    ASSERT_EQ(LuoOpen(), 0);
  }
  static void PutEntry(int n, uint64_t addr, u32 nr) {
    struct hugetlb_luo_error_ser& error = List()[n];
    error.addr = addr;
    error.nr = nr;
    error.csum = RecordChecksum(
        __pa(&error), offsetof(hugetlb_luo_error_ser, csum), sizeof(error));
  }
};

TEST_F(LooseErrorTest, FreePageIsDissolvedAndTheRestIsFree) {
  Up();
  const uint64_t was_free = FreePages();
  const uint64_t pfn = PoisonFree(k16K, 2);
  EXPECT_EQ(Pool().nr, 23u);
  EXPECT_EQ(Pool().free, 23u);
  EXPECT_EQ(FreePages(), was_free + 3);
  EXPECT_EQ(OwnerOf(pfn), Owner::kPoisoned);
  EXPECT_EQ(OwnerOf(pfn - 1), Owner::kFree);
  EXPECT_EQ(OwnerOf(pfn + 1), Owner::kFree);
  EXPECT_TRUE(PageHWPoison(pfn_to_page(pfn)));
  EXPECT_EQ(PoisonedPages(), 1u);
  ExpectListed({pfn});
  TakeAll();
  EXPECT_EQ(OwnerOf(pfn), Owner::kPoisoned);
  // A page that nobody can dissolve stays where it is.
  EXPECT_EQ(NrHugepagesStore(k16K, 1, -1), 0);
  struct file* file = Memfd();
  EXPECT_EQ(VfsTruncate(file, k16K), 0);
  Reserve(file, 0, 1);
  const int nid = folio_nid(pfn_folio(pfn));
  if (!list_empty(&size_to_hstate(k16K)->hugepage_freelists[nid]))
    PoisonFree(k16K, 1, -EBUSY, nid);
  else
    PoisonFree(k16K, 1, -EBUSY, 1 - nid);
  EXPECT_EQ(Pool().nr, 1u);
  EXPECT_EQ(PoisonedPages(), 2u);
  fput(file);
}

TEST_F(LooseErrorTest, OfAPool) {
  for (const loff_t size : {k16K, loff_t{64 << 10}}) {
    Up();
    const uint64_t pfn = PoisonFree(size, 2);
    for (int kernel = 2; kernel < 6; ++kernel) {
      NextKernel();
      ExpectKeptAway(pfn);
      EXPECT_EQ(PoisonedPages(), 1u);
      EXPECT_EQ(Pool().nr, 24u);
      ExpectListed({pfn});
      TakeAll();
      ExpectKeptAway(pfn);
    }
  }
}

// Its errors are known one by one while it is in a file, and afterwards.
TEST_F(LooseErrorTest, OfAFileThatIsGone) {
  Up();
  struct file* file = MakeFile(2, {0, 1});
  EXPECT_EQ(Poison(file, 1, 3), 0);
  EXPECT_EQ(Poison(file, 1, 2), -EHWPOISON);
  const uint64_t pfn = folio_pfn(PageAt(file, 1));
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  NextKernel();
  ExpectListed({});
  EXPECT_EQ(PoisonedPages(), 2u);
  file = Retrieved();
  ExpectListed({pfn + 2, pfn + 3});
  EXPECT_EQ(SessionRelease(session_), 0);
  fput(file);
  for (int kernel = 3; kernel < 5; ++kernel) {
    NextKernel();
    ExpectKeptAway(pfn + 2);
    ExpectKeptAway(pfn + 3);
    EXPECT_EQ(PoisonedPages(), 2u);
    ExpectListed({pfn + 2, pfn + 3});
  }
}

// One that is handed over beside one that is not: neither is written down
// twice, or marked as the other.
TEST_F(LooseErrorTest, BesideOneThatComes) {
  Up();
  struct file* file = MakeFile(1, {0});
  EXPECT_EQ(Poison(file, 0, 1), 0);
  const uint64_t kept = folio_pfn(PageAt(file, 0)) + 1;
  const uint64_t pfn = PoisonFree(k16K, 2);
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  for (int kernel = 2; kernel < 4; ++kernel) {
    NextKernel();
    EXPECT_EQ(PoisonedPages(), 2u);
    ExpectKeptAway(pfn);
    EXPECT_FALSE(PageReserved(pfn_to_page(kept)));
    ExpectListed({pfn});
    file = Retrieved();
    EXPECT_EQ(ErrorsOf(file, 0), Errors{1});
    ExpectListed({pfn, kept});
    EXPECT_EQ(PoisonedPages(), 2u);
    EXPECT_EQ(SessionRelease(session_), 0);
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  }
  NextKernel();
  Finish(Retrieved(), 1);
}

// Nobody knows which base pages have errors: no pool gets any of them again.
TEST_F(LooseErrorTest, NotKnownWhich) {
  Up();
  machine_.set_fault_plan({FailKind::kAlloc, 1});
  uint64_t pfn = PoisonFree(k16K, 2, -EBUSY) - 2;
  EXPECT_TRUE(machine_.fault_fired());
  machine_.set_fault_plan({});
  EXPECT_EQ(Pool().nr, 23u);
  ExpectListed({pfn}, 4);
  for (int kernel = 2; kernel < 4; ++kernel) {
    NextKernel();
    for (uint64_t i = 0; i < 4; ++i) ExpectKeptAway(pfn + i);
    EXPECT_EQ(PoisonedPages(), 4u);
    ExpectListed({pfn}, 4);
    TakeAll();
    ExpectKeptAway(pfn + 2);
  }
  // One of them was known before.
  NextKernelWith([pfn] {
    PutEntry(0, (pfn + 1) << PAGE_SHIFT, 1);
    PutEntry(1, pfn << PAGE_SHIFT, 4);
  });
  for (uint64_t i = 0; i < 4; ++i) ExpectKeptAway(pfn + i);
  EXPECT_EQ(PoisonedPages(), 4u);
  ExpectListed({pfn}, 4);
}

// What boot allocates from memblock is allocated later.
TEST_F(LooseErrorTest, GiganticPagesKeepAway) {
  for (const char* more : {"hugepages=100", "hugepages=1 hugetlb_cma=1M"}) {
    config_.cmdline = "kho=on liveupdate=on hugepagesz=256K hugepages=8";
    Up();
    const uint64_t pfn = PoisonFree(kGigantic, 17);
    const uint64_t other = PoisonFree(kGigantic, 0, 0, 0);
    config_.cmdline =
        absl::StrCat("kho=on liveupdate=on hugepagesz=256K ", more);
    for (int kernel = 2; kernel < 4; ++kernel) {
      NextKernel();
      ExpectKeptAway(pfn);
      ExpectKeptAway(other);
      TakeAll();
      ExpectKeptAway(pfn);
      ExpectKeptAway(other);
    }
  }
}

// The same of areas of hugetlb_cma=, one of which would be there.
TEST_F(LooseErrorTest, AreasKeepAway) {
  constexpr char kPlain[] = "kho=on liveupdate=on hugepagesz=16K";
  uint64_t pfn = 0;
  for (const bool bad : {false, true}) {
    config_.cmdline = kPlain;
    Up();
    TakeAll();
    if (bad) {
      ASSERT_TRUE(folio_test_hugetlb(pfn_folio(pfn - 1)));
      EXPECT_EQ(
          Call("admin", [pfn] { return memory_failure(pfn, MF_SW_SIMULATED); }),
          0);
    }
    config_.cmdline = absl::StrCat(kPlain, " hugetlb_cma=1M");
    NextKernel();
    ASSERT_FALSE(CmaAreas().empty());
    if (bad) break;
    for (const CmaRange& range : CmaAreas().front().ranges)
      pfn = range.base_pfn + 1;
    EXPECT_TRUE(CmaIntersects(pfn, 1));
  }
  ExpectKeptAway(pfn);
  EXPECT_FALSE(CmaIntersects(pfn, 1));
}

// There is no memory to look at what comes until somebody asks again.
TEST_F(LooseErrorTest, LateImport) {
  Up();
  struct file* file = MakeFile(2, {0, 1});
  EXPECT_EQ(Poison(file, 1, 1), 0);
  const uint64_t kept = folio_pfn(PageAt(file, 1)) + 1;
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  const uint64_t pfn = PoisonFree(k16K, 2);
  SetBootObserver([this](std::string_view stage) {
    // Those before are for the fault mutexes.
    if (stage == "buddy") machine_.set_fault_plan({FailKind::kAlloc, 3});
    if (stage == "hugetlb") machine_.set_fault_plan({});
  });
  KexecKernel();
  SetBootObserver(nullptr);
  EXPECT_TRUE(LogHas("no memory to check preserved files"));
  ASSERT_EQ(LuoOpen(), 0);
  EXPECT_EQ(OwnerOf(pfn), Owner::kReserved);
  EXPECT_EQ(PoisonedPages(), 0u);
  ExpectListed({});
  // It is met again before that.
  EXPECT_EQ(Call("admin", [pfn] { return memory_failure(pfn, 0); }), -EBUSY);
  EXPECT_EQ(PoisonedPages(), 1u);
  file = Retrieved();
  ExpectKeptAway(pfn);
  EXPECT_EQ(PoisonedPages(), 2u);
  ExpectListed({pfn, kept});
  EXPECT_EQ(SessionRelease(session_), 0);
  fput(file);
  NextKernel();
  ExpectKeptAway(pfn);
  ExpectKeptAway(kept);
}

// An entry that is whole and wrong: what it names has an owner already, or has
// none and is only lost.
TEST_F(LooseErrorTest, WrongEntries) {
  Up();
  NextKernel();
  struct file* file = MakeFile(1, {0});
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  const uint64_t in_file = folio_pfn(PageAt(file, 0)) + 1;
  const uint64_t pfn = PoisonFree(k16K, 2);
  // kho_populate() reserves the list of scratch areas, which is where it was.
  const uint64_t list = g_kho.in_scratch;
  ASSERT_NE(list, 0u);
  uint64_t root = 0, bytes = 0;
  NextKernelWith([&] {
    ASSERT_TRUE(OutgoingTable(&root, &bytes));
    PutEntry(1, list, 1);
    PutEntry(2, root, 1);
    PutEntry(3, PFN_PHYS(in_file), 1);
    PutEntry(4, PFN_PHYS(machine_.memory().end_pfn() + 7), 1);
    PutEntry(5, ~uint64_t{0} << PAGE_SHIFT, 1);
  });
  EXPECT_EQ(g_kho.in_scratch, list);
  ExpectKeptAway(pfn);
  EXPECT_FALSE(PageHWPoison(pfn_to_page(list >> PAGE_SHIFT)));
  EXPECT_FALSE(PageHWPoison(pfn_to_page(root >> PAGE_SHIFT)));
  EXPECT_TRUE(PageHWPoison(pfn_to_page(in_file)));
  EXPECT_EQ(PoisonedPages(), 2u);
  ExpectListed({pfn});
}

// However large they say that they are, there is memory to boot with.
TEST_F(LooseErrorTest, TooMuchOfIt) {
  Up();
  const uint64_t pfn = PoisonFree(k16K, 2);
  const uint64_t part = uint64_t{1}
                        << (59 - __builtin_clzll(machine_.memory().end_pfn()));
  NextKernelWith([part] {
    for (uint64_t i = 1; i < HUGETLB_LUO_ERRORS; ++i)
      PutEntry(static_cast<int>(i), i * part << PAGE_SHIFT,
               static_cast<u32>(part));
  });
  uint64_t memory = 0;
  for (const NodeSpan& span : machine_.geometry().spans)
    memory += span.nr_pages;
  // Those that name no memory are nothing to keep away from.
  uint64_t named = 0;
  for (uint64_t i = 1; i < HUGETLB_LUO_ERRORS; ++i)
    named += memblock_is_region_memory(PFN_PHYS(i * part), PFN_PHYS(part));
  EXPECT_GT(named, memory / 4 / part);
  EXPECT_EQ(LogLines("are not kept away from"), named - memory / 4 / part);
  ExpectKeptAway(pfn);
  EXPECT_EQ(Pool().nr, 24u);
  const uint64_t end = machine_.memory().end_pfn();
  uint64_t kept = 0;
  for (uint64_t i = 1; (i + 1) * part <= end; ++i)
    if (OwnerOf(i * part + part / 2) == Owner::kReserved) kept += part;
  EXPECT_GT(kept, 0u);
  EXPECT_LE(kept, end / 4);
}

// The next kernel boots with it, and may have nothing else at first.
TEST_F(LooseErrorTest, ScratchIsNeeded) {
  Up();
  const uint64_t pfn = PoisonFree(k16K, 2);
  uint64_t scratch = 0;
  NextKernelWith([&scratch] {
    while (!kho_scratch_overlap(PFN_PHYS(scratch), PAGE_SIZE)) scratch += 2;
    PutEntry(1, PFN_PHYS(scratch), 2);
  });
  ASSERT_NE(scratch, 0u);
  EXPECT_TRUE(LogHas("are not kept away from"));
  ExpectKeptAway(pfn);
}

// Of a list that is damaged, what is whole counts.
TEST_F(LooseErrorTest, DamagedEntry) {
  Up();
  const uint64_t first = PoisonFree(k16K, 2);
  const uint64_t second = PoisonFree(k16K, 1);
  NextKernelWith([] { List()[0].addr += PAGE_SIZE; });
  EXPECT_NE(OwnerOf(first), Owner::kReserved);
  EXPECT_NE(OwnerOf(first + 1), Owner::kReserved);
  ExpectKeptAway(second);
  EXPECT_EQ(PoisonedPages(), 1u);
  ExpectListed({second});
}

TEST_F(LooseErrorTest, RefusedRoot) {
  Up();
  const uint64_t pfn = PoisonFree(k16K, 2);
  NextKernelWith([] {
    reinterpret_cast<struct hugetlb_luo_root_ser*>(__va(OutgoingTableRoot()))
        ->csum ^= 1;
  });
  EXPECT_NE(OwnerOf(pfn), Owner::kReserved);
  EXPECT_FALSE(PageHWPoison(pfn_to_page(pfn)));
}

// A kernel that can take no files over keeps away from the memory all the same.
TEST_F(LooseErrorTest, LiveUpdateIsOff) {
  for (const bool files : {false, true}) {
    config_.cmdline = kCmdline;
    Up();
    const uint64_t pfn = PoisonFree(k16K, 2);
    struct file* file = MakeFile(1, {0});
    if (files) {
      ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    }
    ASSERT_EQ(RebootCall(), 0);
    config_.cmdline = "kho=on liveupdate=off hugepagesz=16K hugepages=24";
    ASSERT_TRUE(Kexec(config_));
    EXPECT_EQ(OwnerOf(pfn), Owner::kReserved);
    EXPECT_EQ(PageHWPoison(pfn_to_page(pfn)), !files);
  }
}

// --- Free pages

class FreePagesTest : public HugetlbLuoTest {
 protected:
  static struct hstate* Small() { return size_to_hstate(k16K); }
  static struct folio* FirstFree(int nid) {
    return list_first_entry(&Small()->hugepage_freelists[nid], struct folio,
                            lru);
  }
  // What the end of liveupdate_reboot() does, in a kernel that goes on.
  void HandOver() {
    EXPECT_TRUE(Run("agent", [] { hugetlb_luo_hand_over_free(); }));
  }
  // The frames in the table.
  static std::vector<uint64_t> FramesHanded() {
    std::vector<uint64_t> frames;
    for (const HandedFile& file : Handed()) {
      EXPECT_TRUE(file.free);
      for (const auto& page : file.pages)
        frames.push_back(static_cast<uint64_t>(page.frame));
    }
    return frames;
  }
};

TEST_F(FreePagesTest, NoneIsLeftOutWithoutReason) {
  Up();
  ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
  HandOver();
  EXPECT_EQ(FramesHanded().size(), 24u);
  EXPECT_FALSE(LogHas("not handed over"));
}

TEST_F(FreePagesTest, ThatHaveMemoryErrorsAreLeftOut) {
  Up();
  ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
  struct folio* bad = FirstFree(1);
  folio_set_hwpoison(bad);
  const KhoKeySet before = KhoOutgoing();
  HandOver();
  const std::vector<uint64_t> frames = FramesHanded();
  EXPECT_EQ(frames.size(), 23u);
  EXPECT_EQ(std::count(frames.begin(), frames.end(), folio_pfn(bad)), 0);
  // Their keys, the record and one block.
  EXPECT_EQ(KhoOutgoing().count, before.count + 23 + 2);
  EXPECT_TRUE(LogHas("1 free pages are not handed over"));
  folio_clear_hwpoison(bad);
}

// The next kernel is not told of memory that was added since boot.
TEST_F(FreePagesTest, InMemoryThatWasAddedAreLeftOut) {
  Up();
  ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
  const uint64_t section = folio_pfn(FirstFree(1)) / sim_pages_per_section;
  AddSectionLate(section * sim_pages_per_section);
  const KhoKeySet before = KhoOutgoing();
  HandOver();
  const std::vector<uint64_t> frames = FramesHanded();
  EXPECT_LT(frames.size(), 24u);
  EXPECT_GE(frames.size(), 12u);  // those of the other node
  for (const uint64_t frame : frames)
    EXPECT_NE(frame / sim_pages_per_section, section);
  EXPECT_EQ(KhoOutgoing().count, before.count + frames.size() + 2);
  EXPECT_TRUE(LogHas(
      absl::StrCat(24 - frames.size(), " free pages are not handed over")));
}

// An error that comes when a page was looked at for the last time. The next
// kernel checks what comes at boot, or has no memory for that and makes up for
// it later.
TEST_F(FreePagesTest, ThatGetMemoryErrorsMeanwhileAreInUse) {
  for (const bool late : {false, true}) {
    SCOPED_TRACE(late);
    Up();
    ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
    struct folio* bad = FirstFree(1);
    ASSERT_EQ(RebootCall(), 0);
    hugetlb_luo_error(folio_page(bad, 2), 1);
    const uint64_t pfn = folio_pfn(bad);
    SetBootObserver([this, late](std::string_view stage) {
      // The first call is for the fault mutexes.
      if (stage == "buddy" && late)
        machine_.set_fault_plan({FailKind::kAlloc, 2});
      if (stage == "hugetlb") machine_.set_fault_plan({});
    });
    ASSERT_TRUE(Kexec(config_));
    SetBootObserver(nullptr);
    EXPECT_EQ(LogHas("no memory to check preserved files"), late);
    ASSERT_EQ(LuoOpen(), 0);
    EXPECT_EQ(Pool().nr, 24u);
    EXPECT_EQ(Pool().free, late ? 0u : 23u);
    // To be handed over by itself, it is looked at again.
    ASSERT_EQ(RebootCall(), 0);
    EXPECT_EQ(Pool().nr, 24u);
    EXPECT_EQ(Pool().free, 23u);
    bad = pfn_folio(pfn);
    EXPECT_TRUE(folio_test_hugetlb(bad));
    EXPECT_TRUE(is_raw_hwpoison_page_in_hugepage(folio_page(bad, 2)));
    EXPECT_FALSE(is_raw_hwpoison_page_in_hugepage(folio_page(bad, 1)));
    EXPECT_EQ(folio_ref_count(bad), 1);
    const struct hstate* h = folio_hstate(bad);
    EXPECT_EQ(h->hugepage_activelist.next, &bad->lru);
    EXPECT_EQ(h->hugepage_activelist.prev, &bad->lru);
    ASSERT_TRUE(Kexec(config_));
    EXPECT_EQ(Pool().nr, 24u);
    EXPECT_EQ(Pool().free, 24u);
  }
}

// What comes later could not be told to the next kernel.
TEST_F(FreePagesTest, WithNoRoomForMemoryErrorsStay) {
  Up();
  ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
  const KhoKeySet before = KhoOutgoing();
  for (int i = 0; i <= HUGETLB_LUO_ERRORS / 2; ++i)
    hugetlb_luo_error(pfn_to_page(100), 1);
  HandOver();
  EXPECT_EQ(KhoOutgoing(), before);
  EXPECT_TRUE(LogHas("free pages are not handed over: "));
}

TEST_F(FreePagesTest, ThatLieInCmaAreLeftOut) {
  Up();
  ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
  struct folio* bad = FirstFree(0);
  folio_set_hugetlb_cma(bad);
  HandOver();
  EXPECT_EQ(FramesHanded().size(), 23u);
  folio_clear_hugetlb_cma(bad);
}

// As in ZONE_MOVABLE, nobody may pin them for long.
TEST_F(FreePagesTest, ThatMayNotStayAreLeftOut) {
  Up();
  ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
  const uint64_t pfn = folio_pfn(FirstFree(0));
  const int type = PageblockType(pfn);
  SetPageblockType(pfn, MIGRATE_CMA);
  HandOver();
  SetPageblockType(pfn, type);
  const std::vector<uint64_t> handed = FramesHanded();
  EXPECT_LT(handed.size(), 24u);
  EXPECT_GE(handed.size(), 20u);  // four in a block
  EXPECT_EQ(std::find(handed.begin(), handed.end(), pfn), handed.end());
}

TEST_F(FreePagesTest, NoneAreLeft) {
  Up();
  ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
  ASSERT_EQ(NrHugepagesStore(k16K, 0, -1), 0);
  const KhoKeySet before = KhoOutgoing();
  HandOver();
  EXPECT_EQ(KhoOutgoing(), before);
  EXPECT_FALSE(LogHas("not handed over"));
}

TEST_F(FreePagesTest, NobodyHasAskedForThem) {
  Up();
  const KhoKeySet before = KhoOutgoing();
  const uint64_t calls = machine_.fallible_calls();
  HandOver();
  EXPECT_EQ(machine_.fallible_calls(), calls);
  EXPECT_EQ(KhoOutgoing(), before);
}

// Of each call in turn: either all pages of the size are handed over, or all is
// as it was before.
TEST_F(FreePagesTest, FailuresOfHandingOver) {
  int failed = 0;
  for (int nth = 1;; ++nth) {
    machine_.set_fault_plan({});
    Up();
    ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
    ASSERT_EQ(PreserveFreeStore(64 << 10, true), 0);
    ASSERT_EQ(NrHugepagesStore(64 << 10, 1, -1), 0);
    const KhoKeySet before = KhoOutgoing();
    const uint64_t objects = SlabInUse().objects;
    machine_.set_fault_plan({FailKind::kAny, nth});
    HandOver();
    const bool fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    const size_t handed = FramesHanded().size();
    if (!fired) {
      EXPECT_EQ(handed, 24u + 1u);
      break;
    }
    ++failed;
    EXPECT_TRUE(handed == 0 || handed == 1 || handed == 24) << nth;
    // Their keys, a record and a block; and what is known of them.
    const uint64_t more = handed == 0 ? 0 : handed + 2;
    EXPECT_EQ(KhoOutgoing().count, before.count + more) << nth;
    EXPECT_EQ(SlabInUse().objects, objects + (handed == 0 ? 0 : 1)) << nth;
    EXPECT_TRUE(LogHas("free pages are not handed over: ")) << nth;
  }
  EXPECT_GT(failed, 30);
}

// At every step of it, others take pages out of the pool. The later they do,
// the more of them were free at the last look, and are handed over: of those
// that all leave at once each number is seen. Nothing is kept for the others.
TEST_F(FreePagesTest, LeaveWhileTheyAreCollected) {
  struct Way {
    const char* name;
    std::function<void(uint64_t pfn)> leave;
    bool all;
  };
  const std::vector<Way> ways = {
      {"used", [](uint64_t) { EXPECT_EQ(Fill(MakeFile(24, {}), 0, 24), 0); },
       true},
      {"given back",
       [](uint64_t) { EXPECT_EQ(NrHugepagesStore(k16K, 0, -1), 0); }, true},
      {"parts of larger ones",
       [](uint64_t) {
         EXPECT_EQ(NrHugepagesStore(k16K, 0, -1), 0);
         EXPECT_EQ(NrHugepagesStore(64 << 10, 4 + 24, -1), 0);
       },
       true},
      {"offline", [](uint64_t pfn) { EXPECT_EQ(MemoryBlockOffline(pfn), 0); },
       false},
      {"bad", [](uint64_t pfn) { folio_set_hwpoison(pfn_folio(pfn)); }, false},
      {"in CMA", [](uint64_t pfn) { folio_set_hugetlb_cma(pfn_folio(pfn)); },
       false},
  };
  for (const Way& way : ways) {
    std::vector<size_t> handed;
    bool told = false;  // when all left after they had been found
    uint64_t steps = 1;
    // The first time nobody interferes; that has the most steps.
    for (uint64_t step = 0; step < steps; ++step) {
      Up();
      ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
      const uint64_t pfn = folio_pfn(FirstFree(1));
      const KhoKeySet before = KhoOutgoing();
      if (step > 0) {
        PlanDuring(step, ActorByName("admin"), [&] { way.leave(pfn); });
      }
      HandOver();
      if (step == 0) steps = StepsOfLastRun() + 1;
      const std::vector<uint64_t> frames = FramesHanded();
      handed.push_back(frames.size());
      if (frames.empty()) {
        told = LogHas("order 2: 24 free pages are not handed over");
      }
      // Their keys, the record and a block.
      EXPECT_EQ(KhoOutgoing().count,
                before.count + (frames.empty() ? 0 : frames.size() + 2));
      folio_clear_hwpoison(pfn_folio(pfn));
      folio_clear_hugetlb_cma(pfn_folio(pfn));
      ASSERT_FALSE(HasFailure() || !machine_.violations().empty())
          << way.name << ", step " << step << ": "
          << (machine_.violations().empty() ? ""
                                            : machine_.violations()[0].what);
    }
    std::rotate(handed.begin(), handed.begin() + 1, handed.end());
    EXPECT_TRUE(std::is_sorted(handed.begin(), handed.end())) << way.name;
    EXPECT_LT(handed.front(), 24u) << way.name;
    EXPECT_EQ(handed.back(), 24u) << way.name;
    const std::set<size_t> numbers(handed.begin(), handed.end());
    if (way.all) {
      EXPECT_EQ(numbers.size(), 25u) << way.name;
      EXPECT_TRUE(told) << way.name;
    }
  }
}

// The pool grows at each step: there is room for all that are found then, and
// it is given back.
TEST_F(FreePagesTest, GrowWhileTheyAreCollected) {
  uint64_t steps = 2;
  std::set<size_t> numbers;
  for (uint64_t step = 1; step < steps; ++step) {
    Up();
    ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
    PlanDuring(step, ActorByName("admin"),
               [] { EXPECT_EQ(NrHugepagesStore(k16K, 30, -1), 0); });
    HandOver();
    if (step == 1) steps = StepsOfLastRun() + 1;
    numbers.insert(FramesHanded().size());
    for (const std::string& object : SlabLiveObjects()) {
      EXPECT_EQ(object.find("hugetlb_luo_collect_free"), std::string::npos)
          << object << ", step " << step;
    }
    ASSERT_FALSE(HasFailure() || !machine_.violations().empty()) << step;
  }
  EXPECT_EQ(numbers.count(24), 1u);
  EXPECT_EQ(numbers.count(30), 1u);
}

TEST_F(HugetlbLuoTest, AllPermissionBitsCross) {
  Up();
  struct file* file = MakeFile(1, {0});
  umode_t* mode = &file_inode(file)->i_mode;
  *mode = static_cast<umode_t>((*mode & ~S_IALLUGO) | 06751);
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  NextKernel();
  struct file* session = Incoming();
  ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
  EXPECT_EQ(file_inode(file)->i_mode, S_IFREG | 06751);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
  ExpectNothingLeft();
}

// mmap() gives one error for all, so it is asked for here. An error from
// before stays what it was.
TEST_F(HugetlbLuoTest, ReservingAHoleIsBusy) {
  Up();
  struct file* file = MakeFile(2, {0});
  struct inode* inode = file_inode(file);
  Args args = ArgsOf(file);
  EXPECT_EQ(hugetlb_luo_may_reserve(inode, 1), 0);
  ASSERT_EQ(Preserve(&args), 0);
  EXPECT_EQ(hugetlb_luo_may_reserve(inode, 1), -EBUSY);
  EXPECT_EQ(hugetlb_luo_may_reserve(inode, 0), 0);
  EXPECT_EQ(hugetlb_luo_may_reserve(inode, -ENOMEM), 0);
  EXPECT_EQ(hugetlb_luo_may_resize(inode), -EPERM);
  Unpreserve(&args);
  EXPECT_EQ(hugetlb_luo_may_reserve(inode, 1), 0);
  fput(file);
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

// A mapping that is only read reserves beyond the end without moving it.
TEST_F(HugetlbLuoTest, ReservedBeyondTheEndIsRefused) {
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(2, {0});
  Reserve(file, 1, 3);
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

  file = MakeFile(last + 4, {3});
  Reserve(file, last, last + 2);
  EXPECT_EQ(PreserveFd(session, 1, file), -EFBIG);
  fput(file);

  // Nor late ones.
  file = MakeFile(last + 4, {3});
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  ASSERT_EQ(Fill(file, last + 2), 0);
  EXPECT_EQ(Freeze(&args), -EFBIG);
  Unpreserve(&args);
  fput(file);

  file = MakeFile(last + 4, {3, last});
  Reserve(file, last - 1, last + 1);
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
  EXPECT_EQ(RegionsOf(file), (Ranges{{3, 4}, {last - 1, last + 1}}));
  EXPECT_EQ(Pool().resv, 1u);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
  ExpectNothingLeft();
}

// As abi/hugetlb.h has it, not only the same in one kernel as in the next.
TEST_F(HugetlbLuoTest, TheRootSaysWhereNodesLie) {
  Up();
  EXPECT_TRUE(ReadTableView().by_nodes);
  EXPECT_FALSE(ReadTableView().by_one);
  config_.cmdline = std::string("numa=off ") + kCmdline;
  NextKernel();
  EXPECT_FALSE(ReadTableView().by_nodes);
  EXPECT_TRUE(ReadTableView().by_one);
}

// --- What is reserved

// The list of regions comes back as it was, whatever lies in it.
TEST_F(HugetlbLuoTest, RegionsComeBack) {
  const std::vector<std::pair<std::vector<loff_t>, Ranges>> cases = {
      {{}, {{0, 1}}},          {{}, {{2, 9}}},
      {{0}, {{0, 3}}},         {{2}, {{0, 3}}},
      {{1}, {{0, 3}}},         {{0, 1, 2}, {{0, 3}}},
      {{0, 2, 4}, {{0, 5}}},   {{1, 2, 3, 6}, {{0, 2}, {3, 5}, {6, 9}}},
      {{4}, {{0, 2}, {7, 9}}}, {{0, 8}, {{1, 2}, {4, 6}, {7, 8}}},
      {{3, 4}, {{2, 4}}},      {{3, 4}, {{4, 6}}},
  };
  for (const auto& [there, reserved] : cases) {
    machine_.set_fault_plan({});
    Up();
    struct file* file = MakeFile(9, there);
    for (const auto& [from, to] : reserved) Reserve(file, from, to);
    const Ranges before = RegionsOf(file);
    const auto resv = Pool().resv;
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    EXPECT_EQ(RegionsOf(file), before);
    EXPECT_EQ(Pool().resv, resv);
    NextKernel();
    EXPECT_EQ(Pool().resv, resv);
    struct file* session = Incoming();
    ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
    EXPECT_EQ(RegionsOf(file), before);
    EXPECT_EQ(Regions(file)->adds_in_progress, 0);
    EXPECT_EQ(PagesIn(file), there.size());
    EXPECT_EQ(Pool().resv, resv);
    EXPECT_EQ(Finish(session), 0);
    EXPECT_EQ(SessionRelease(session), 0);
    EXPECT_EQ(Pool().resv, resv);
    fput(file);
    ExpectNothingLeft();
    ASSERT_FALSE(HasFailure()) << before.size();
  }
}

// Linux joins no regions of different groups, of which the root is one. Pages
// may be in one piece all the same.
TEST_F(HugetlbLuoTest, RegionsThatTouch) {
  Up();
  struct file* file = MakeFile(9, {8});
  ASSERT_EQ(Fill(file, 2, 2), 0);
  Reserve(file, 0, 2);
  ASSERT_EQ(CgroupMake(0, kRootCgroup), 0);
  ASSERT_EQ(CgroupJoin(ActorByName("p0"), 0), 0);
  Call("p0", [file] { return Reserve(file, 4, 6), 0; });
  Reserve(file, 6, 7);
  ASSERT_EQ(RegionsOf(file, /*joined=*/false),
            (Ranges{{0, 2}, {2, 4}, {4, 6}, {6, 7}, {8, 9}}));

  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  ASSERT_EQ(Freeze(&args), 0);
  const TableView view = ReadTableView();
  ASSERT_EQ(view.files.size(), 1u);
  ASSERT_EQ(view.files[0].runs.blocks.size(), 1u);
  EXPECT_EQ(view.files[0].runs.blocks[0].runs[0].pages, 2u) << "one piece";
  EXPECT_EQ(PagesHanded(), 3);
  EXPECT_EQ(ReservedHanded(), 5u);
  Unfreeze(&args);
  Unpreserve(&args);
  fput(file);
  ExpectNothingLeft();
}

// Pages that come later use up what was reserved for them, each time anew.
// Regions of nobody: each call that fails while their holes are written down.
TEST_F(HugetlbLuoTest, FailuresOfRegionsOfNobody) {
  config_.cmdline = std::string(kCmdline) + " cgroup_disable=hugetlb,memory";
  Up();
  bool fired = true;
  int nth = 0;
  while (fired) {
    struct file* file = MakeFile(6, {2, 4});
    Reserve(file, 0, 6);
    Args args = ArgsOf(file);
    machine_.set_fault_plan({FailKind::kAny, ++nth});
    const int err = Preserve(&args);
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    EXPECT_EQ(err == 0, !fired) << nth;
    if (err == 0) {
      ASSERT_EQ(Freeze(&args), 0);
      EXPECT_EQ(PagesHanded(), 2);
      EXPECT_EQ(ReservedHanded(), 4u);
      Unfreeze(&args);
      Unpreserve(&args);
    }
    fput(file);
    ASSERT_LT(nth, 100);
  }
  EXPECT_GT(nth, 5);
  ExpectNothingLeft();
}

TEST_F(HugetlbLuoTest, LatePagesWereReserved) {
  Up();
  struct file* file = MakeFile(9, {0});
  Reserve(file, 1, 3);
  Reserve(file, 5, 8);
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  auto handed = [&] {
    EXPECT_EQ(Freeze(&args), 0);
    EXPECT_NE(PagesHanded(), -1);
    const uint64_t reserved = ReservedHanded();
    Unfreeze(&args);
    return reserved;
  };
  EXPECT_EQ(handed(), 5u);
  ASSERT_EQ(Fill(file, 4), 0);  // was not reserved
  EXPECT_EQ(handed(), 5u);
  ASSERT_EQ(Fill(file, 2), 0);
  EXPECT_EQ(handed(), 4u);
  ASSERT_EQ(Fill(file, 5, 3), 0);
  EXPECT_EQ(handed(), 1u);
  ASSERT_EQ(Fill(file, 1), 0);
  EXPECT_EQ(handed(), 0u);
  Unpreserve(&args);
  fput(file);
  ExpectNothingLeft();
}

TEST_F(HugetlbLuoTest, EachSizeHasItsPool) {
  Up();
  struct file* session = Session();
  struct file* small = MakeFile(20, {});
  struct file* large = MakeFile(4, {1}, 64 << 10);
  Reserve(small, 0, 20);
  Reserve(large, 1, 4);
  ASSERT_EQ(PreserveFd(session, 1, small), 0);
  ASSERT_EQ(PreserveFd(session, 2, large), 0);
  NextKernel();
  EXPECT_FALSE(LogHas("preserved files have reserved"));
  EXPECT_EQ(Pool().resv, 20u);
  EXPECT_EQ(Pool(64 << 10).resv, 2u);
  session = Incoming();
  EXPECT_EQ(Finish(session), 0);
  EXPECT_EQ(SessionRelease(session), 0);
  EXPECT_EQ(Pool(64 << 10).resv, 0u);
  ExpectNothingLeft();
}

// What the pool is too small for can be had later.
TEST_F(HugetlbLuoTest, PoolIsTooSmall) {
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(9, {0});
  Reserve(file, 1, 7);
  struct file* other = MakeFile(4, {});
  Reserve(other, 0, 4);
  ASSERT_EQ(PreserveFd(session, 1, file), 0);
  ASSERT_EQ(PreserveFd(session, 2, other), 0);
  config_.cmdline =
      "kho=on liveupdate=on hugepagesz=16K hugepages=6 hugepagesz=64K "
      "hugepages=4";
  NextKernel();
  // One page is there, and of the other five the second file has four.
  EXPECT_TRUE(LogHas(
      "5 more pages of order 2 are needed for what preserved files have"));
  EXPECT_EQ(Pool().resv, 4u);
  session = Incoming();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(RetrieveFd(session, 1, &file), -EAGAIN);
    EXPECT_EQ(LiveFiles(), 0);
    EXPECT_EQ(Pool().resv, 4u);
  }
  ASSERT_EQ(RetrieveFd(session, 2, &other), 0);
  EXPECT_EQ(NrHugepagesStore(k16K, 10, -1), 0);
  EXPECT_EQ(RetrieveFd(session, 1, &file), -EAGAIN);
  EXPECT_EQ(NrHugepagesStore(k16K, 11, -1), 0);
  ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
  EXPECT_EQ(Pool().resv, 10u);
  EXPECT_EQ(RegionsOf(file), (Ranges{{0, 7}}));
  EXPECT_EQ(Finish(session), 0);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(other);
  fput(file);
  ExpectNothingLeft();
}

// What is reserved has no frames in which files could be seen to overlap.
TEST_F(HugetlbLuoTest, ListsOfWhatIsReservedAreNotShared) {
  Up();
  struct file* session = Session();
  for (u64 token : {1, 2}) {
    struct file* file = MakeFile(4, {0});
    Reserve(file, 1, 3);
    ASSERT_EQ(PreserveFd(session, token, file), 0);
  }
  ASSERT_EQ(RebootCall(), 0);
  const TableView view = ReadTableView();
  ASSERT_EQ(view.files.size(), 2u);
  u64 resv = 0;
  EditRecord(view.files[0].at,
             [&resv](hugetlb_luo_file_ser* ser) { resv = ser->resv; });
  EditRecord(view.files[1].at,
             [resv](hugetlb_luo_file_ser* ser) { ser->resv = resv; });
  EXPECT_TRUE(Handed().empty());
  ASSERT_TRUE(Kexec(config_));
  ASSERT_EQ(LuoOpen(), 0);
  session = Incoming();
  struct file* file = nullptr;
  for (u64 token : {1, 2})
    EXPECT_EQ(RetrieveFd(session, token, &file), -EINVAL);
  EXPECT_EQ(Finish(session), 0);
  EXPECT_EQ(SessionRelease(session), 0);
  EXPECT_EQ(Pool().resv, 0u);
  EXPECT_EQ(RebootCall(), -EBUSY);
}

// Many files with the same long list are not all looked at: it is seen that
// they have more than there is memory for, and all are refused.
TEST_F(HugetlbLuoTest, ListsOfAllFilesAreBounded) {
  constexpr u32 kBlocks = 1000;
  Up();
  struct file* session = Session();
  const uint64_t end = sim_max_pfn;
  const u64 files = 2 * end / kBlocks + 1;
  for (u64 token = 1; token <= files; ++token)
    ASSERT_EQ(PreserveFd(session, token, MakeFile(kBlocks, {})), 0);
  ASSERT_EQ(PreserveFd(session, files + 1, MakeFile(1, {0})), 0);
  u64 list = 0;
  for (u32 i = kBlocks; i-- > 0;) {
    void* page = kho_alloc_preserve(PAGE_SIZE);
    ASSERT_FALSE(IS_ERR(page));
    auto* block = static_cast<hugetlb_luo_block_ser*>(page);
    block->next = list;
    block->magic = HUGETLB_LUO_BLOCK_MAGIC;
    block->nr_runs = 1;
    block->runs[0] = {i, 1, 0, 0};
    list = virt_to_phys(page);
    block->csum = RecordChecksum(list, offsetof(hugetlb_luo_block_ser, csum),
                                 sizeof(*block) + sizeof(hugetlb_luo_run_ser));
  }
  ASSERT_EQ(RebootCall(), 0);
  for (const TableView::File& file : ReadTableView().files) {
    if (file.nr_pages != 0) continue;
    EditRecord(file.at, [&](hugetlb_luo_file_ser* ser) {
      ser->resv = list;
      ser->nr_resv = kBlocks;
    });
  }
  EXPECT_TRUE(Handed().empty());
  ASSERT_TRUE(Kexec(config_));
  ASSERT_EQ(LuoOpen(), 0);
  EXPECT_EQ(LogLines("file refused: -EINVAL, more than there is memory for"),
            files + 1);
}

// Nor do the pages that they say are theirs.
TEST_F(HugetlbLuoTest, PagesOfAllFilesAreBounded) {
  Up();
  struct file* session = Session();
  for (u64 token = 1; token <= 6; ++token)
    ASSERT_EQ(PreserveFd(session, token, MakeFile(4, {0})), 0);
  ASSERT_EQ(PreserveFd(session, 7, MakeFile(4, {0, 1})), 0);
  ASSERT_EQ(RebootCall(), 0);
  const u32 pages =
      static_cast<u32>(machine_.memory().end_pfn() * 2 / 5 * PAGE_SIZE / k16K);
  for (const TableView::File& file : ReadTableView().files) {
    if (file.nr_pages == 2) continue;
    const u64 at = file.runs.blocks.at(0).frame << PAGE_SHIFT;
    auto* block =
        reinterpret_cast<hugetlb_luo_block_ser*>(machine_.memory().base() + at);
    block->runs[0].nr = pages;
    block->csum = RecordChecksum(at, offsetof(hugetlb_luo_block_ser, csum),
                                 sizeof(*block) + sizeof(hugetlb_luo_run_ser));
    EditRecord(file.at, [&](hugetlb_luo_file_ser* ser) {
      ser->size = uint64_t{pages} * k16K;
      ser->nr_pages = ser->counts[0].nr = pages;
    });
  }
  std::vector<int> errors;
  for (const auto& refused :
       JudgeTable(ReadTableView(), {16 << 10, 64 << 10, 256 << 10}, true)
           .refused)
    errors.insert(errors.end(), refused.errors.begin(), refused.errors.end());
  EXPECT_EQ(std::count(errors.begin(), errors.end(), ENXIO), 5);
  EXPECT_EQ(std::count(errors.begin(), errors.end(), EINVAL), 2);
  ASSERT_TRUE(Kexec(config_));
  ASSERT_EQ(LuoOpen(), 0);
  EXPECT_EQ(LogLines("file refused: -ENXIO, frame of a run"), 5u);
  EXPECT_EQ(LogLines("file refused: -EINVAL, more than there is memory for"),
            2u);
}

// Two come to a hole, as memfd_pin_folios() may that has seen it empty: the
// page of the first is late, and stays so.
TEST_F(HugetlbLuoTest, WhoComesSecondToAHole) {
  Up();
  struct file* file = MakeFile(4, {0});
  struct file* other = MakeFile(4, {});
  Reserve(other, 0, 2);
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  ASSERT_EQ(Fill(file, 2), 0);
  struct folio* second = memfd_alloc_folio(file, 2 << 2);
  ASSERT_TRUE(IS_ERR(second));
  EXPECT_EQ(PTR_ERR(second), -EEXIST);
  ASSERT_EQ(Freeze(&args), 0);
  EXPECT_EQ(PagesHanded(), 2);
  Unfreeze(&args);
  Unpreserve(&args);
  // What memfd_alloc_folio() loses then: it is the other file's.
  EXPECT_EQ(hugetlb_acct_memory(hstate_file(file), 1), 0);
  fput(other);
  fput(file);
  ExpectNothingLeft();
}

// A pool that nothing comes to is filled as without all this, and nothing is
// said.
TEST_F(HugetlbLuoTest, NothingComes) {
  Up();
  NextKernel();
  for (const std::string& line : machine_.log())
    EXPECT_EQ(line.find("hugetlb_luo"), std::string::npos) << line;
  EXPECT_EQ(Pool().nr, 24u);
}

// Pages that turn out to lie on another node than announced, when it was too
// late to plan for that: what is surplus of them stays so.
TEST_F(HugetlbLuoTest, LateImportMovesSurplus) {
  const std::string base = "kho=on liveupdate=on hugepagesz=16K ";
  bool late = false;
  for (int n = 3; n < 40 && !late; ++n) {  // before it: LUO's own
    machine_.set_fault_plan({});
    config_.cmdline = base + "hugepages=1:3";
    Up();
    struct file* file = MakeFile(3, {0, 1, 2});
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    // They are announced as the only node's by this one.
    config_.cmdline = base + "numa=off hugepages=3";
    NextKernel();
    struct file* session = Incoming();
    ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
    EXPECT_EQ(Finish(session), 0);
    EXPECT_EQ(SessionRelease(session), 0);
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    config_.cmdline = base + "hugepages=0:2,1:2";
    ASSERT_EQ(RebootCall(), 0);
    machine_.set_fault_plan({FailKind::kAlloc, n});
    ASSERT_TRUE(Kexec(config_));
    machine_.set_fault_plan({});
    late = LogHas("no memory to check preserved files");
    if (!late) continue;
    HugepageCounters on;
    EXPECT_EQ(HugepageCountersRead(k16K, 0, &on), 0);
    EXPECT_EQ(on.nr, 3u);
    EXPECT_EQ(on.surplus, 1u);
    ASSERT_EQ(LuoOpen(), 0);
    session = Incoming();
    ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
    EXPECT_EQ(HugepageCountersRead(k16K, 0, &on), 0);
    EXPECT_EQ(on.nr, 0u);
    EXPECT_EQ(on.surplus, 0u);
    EXPECT_EQ(HugepageCountersRead(k16K, 1, &on), 0);
    EXPECT_EQ(on.nr, 5u);
    EXPECT_EQ(on.surplus, 1u);
    EXPECT_EQ(Pool().max, 4u);
    EXPECT_EQ(Finish(session), 0);
    EXPECT_EQ(SessionRelease(session), 0);
    fput(file);
    EXPECT_EQ(Pool().nr, 4u);
    ExpectNothingLeft();
  }
  EXPECT_TRUE(late);
}

class ThreeNodesTest : public HugetlbLuoTest {
 protected:
  ThreeNodesTest() : HugetlbLuoTest(MakeGeometry("small", 3).value()) {}
};

// The same, and they lie on two nodes: no more is surplus on one than lies
// there.
TEST_F(ThreeNodesTest, LateImportSpreadsSurplus) {
  const std::string base = "kho=on liveupdate=on hugepagesz=16K ";
  bool late = false;
  for (int n = 3; n < 40 && !late; ++n) {
    machine_.set_fault_plan({});
    config_.cmdline = base + "hugepages=1:2,2:2";
    Up();
    struct file* file = MakeFile(4, {0, 1, 2, 3});
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    config_.cmdline = base + "numa=off hugepages=4";
    NextKernel();
    struct file* session = Incoming();
    ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
    EXPECT_EQ(SessionRelease(session), 0);
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    config_.cmdline = base + "hugepages=1";
    ASSERT_EQ(RebootCall(), 0);
    machine_.set_fault_plan({FailKind::kAlloc, n});
    ASSERT_TRUE(Kexec(config_));
    machine_.set_fault_plan({});
    late = LogHas("no memory to check preserved files");
    if (!late) continue;
    ASSERT_EQ(LuoOpen(), 0);
    session = Incoming();
    ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
    const uint64_t expected[][2] = {{0, 0}, {2, 2}, {2, 1}};
    for (int nid = 0; nid < 3; ++nid) {
      HugepageCounters on;
      EXPECT_EQ(HugepageCountersRead(k16K, nid, &on), 0);
      EXPECT_EQ(on.nr, expected[nid][0]) << nid;
      EXPECT_EQ(on.surplus, expected[nid][1]) << nid;
    }
    EXPECT_EQ(Pool().surplus, 3u);
    EXPECT_EQ(Pool().max, 1u);
    EXPECT_EQ(SessionRelease(session), 0);
    fput(file);
    EXPECT_EQ(Pool().nr, 1u);
    ExpectNothingLeft();
  }
  EXPECT_TRUE(late);
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

// KHO's record of the root is damaged such that it is another's. That LUO has a
// file says that there was one.
TEST_F(RootlessTest, FilesThatCameWithoutATable) {
  for (const bool ask : {true, false}) {
    FirstKernel();
    auto* fdt = static_cast<char*>(g_kho.out_fdt);
    const size_t at =
        std::string_view(fdt, PAGE_SIZE).find(std::string_view("hugetlb", 8));
    ASSERT_LT(at, size_t{PAGE_SIZE});
    fdt[at] = 'x';
    ASSERT_TRUE(Kexec(config_));
    ASSERT_EQ(LuoOpen(), 0);
    EXPECT_FALSE(LogHas("table of preserved pages refused"));
    struct file* session = Incoming();
    struct file* file = nullptr;
    if (ask) {
      EXPECT_EQ(RetrieveFd(session, 1, &file), -ENOENT);
    }
    EXPECT_EQ(Finish(session), 0);
    EXPECT_EQ(SessionRelease(session), 0);
    EXPECT_EQ(RebootCall(), -EBUSY) << ask;
  }
}

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

// --- Freezing and thawing, in orders that LUO never uses

// Everything in the root's page, and whether all checksums in the table are
// right.
class FreezeOrderTest : public HugetlbLuoTest {
 protected:
  std::string RootBytes() {
    return std::string(machine_.memory().base() + OutgoingTableRoot(),
                       PAGE_SIZE);
  }
  // The table is in order and lists the frozen files, in whatever order.
  void ExpectListed(const std::vector<Args>& args,
                    const std::vector<bool>& frozen) {
    const TableView view = ReadTableView();
    EXPECT_TRUE(view.checksum);
    std::vector<uint64_t> listed, expected;
    for (const TableView::File& file : view.files) {
      EXPECT_TRUE(file.checksum);
      listed.push_back(file.at);
    }
    for (size_t i = 0; i < args.size(); ++i) {
      if (frozen[i]) expected.push_back(args[i].serialized_data);
    }
    EXPECT_EQ(view.nr_files, expected.size());
    std::sort(listed.begin(), listed.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(listed, expected);
    EXPECT_EQ(Handed().size(), expected.size());
  }
};

TEST_F(FreezeOrderTest, EveryOrderLeavesTheRootAsItWas) {
  Up();
  std::vector<Args> args;
  for (int i = 0; i < 3; ++i) {
    args.push_back(ArgsOf(MakeFile(4, {0, i})));
    ASSERT_EQ(Preserve(&args[i]), 0);
    ASSERT_EQ(Fill(args[i].file, 3), 0);  // a late page in each
  }
  const std::string before = RootBytes();
  std::array<int, 3> in = {0, 1, 2};
  do {
    std::array<int, 3> out = {0, 1, 2};
    do {
      std::vector<bool> frozen(3, false);
      for (const int i : in) {
        ASSERT_EQ(Freeze(&args[i]), 0);
        frozen[i] = true;
        ExpectListed(args, frozen);
      }
      for (const int i : out) {
        Unfreeze(&args[i]);
        frozen[i] = false;
        ExpectListed(args, frozen);
      }
      EXPECT_EQ(RootBytes(), before);
      if (HasFailure()) return;
    } while (std::next_permutation(out.begin(), out.end()));
  } while (std::next_permutation(in.begin(), in.end()));
  for (Args& a : args) {
    Unpreserve(&a);
    fput(a.file);
  }
  ExpectNothingLeft();
}

// A file thawed in the middle and frozen again, as after a freeze that failed.
TEST_F(FreezeOrderTest, ThawedAndFrozenAgain) {
  Up();
  std::vector<Args> args;
  for (int i = 0; i < 3; ++i) {
    args.push_back(ArgsOf(MakeFile(2, {i % 2})));
    ASSERT_EQ(Preserve(&args[i]), 0);
    ASSERT_EQ(Freeze(&args[i]), 0);
  }
  for (const int i : {1, 2, 0, 0, 1}) {
    Unfreeze(&args[i]);
    ASSERT_EQ(Freeze(&args[i]), 0);
    ExpectListed(args, {true, true, true});
  }
}

// --- Processes that wait, and signals

class WaiterTest : public HugetlbLuoTest {
 protected:
  Mapping* Map(struct file* file, unsigned long pages) {
    Mapping* mapping = nullptr;
    EXPECT_TRUE(Run("p0", [&] {
      mm_ = MmAlloc();
      mapping = Mmap(mm_, file, 0, pages, kMapWrite | kMapNoReserve);
    }));
    EXPECT_FALSE(IS_ERR(mapping));
    return mapping;
  }
  void Unmap() {
    EXPECT_TRUE(Run("p0", [&] { MmExit(mm_); }));
  }
  // A store by p0. False: it waits. What it ended with is in result_.
  bool StoreTo(Mapping* mapping, unsigned long page) {
    result_ = 1;
    return Run("p0", [=, this] { result_ = Store(mapping, page, 0, 7); });
  }

  struct mm_struct* mm_ = nullptr;
  long result_ = 1;
};

TEST_F(WaiterTest, KilledInAFaultAddsNothing) {
  Up();
  struct file* file = MakeFile(4, {0, 3});
  Mapping* mapping = Map(file, 4);
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  ASSERT_EQ(Freeze(&args), 0);
  const HugepageCounters pool = Pool();
  EXPECT_FALSE(StoreTo(mapping, 1));
  EXPECT_EQ(Pool().free, pool.free - 1);
  Kill(ActorByName("p0"));
  EXPECT_EQ(RunRunnable(), RunResult::kDone);
  EXPECT_EQ(StateOf(ActorByName("p0")), ActorState::kIdle);
  EXPECT_EQ(result_, kAccessKilled);

  // The page and its region are back.
  EXPECT_EQ(PagesIn(file), 2u);
  EXPECT_EQ(PageAt(file, 1), nullptr);
  EXPECT_EQ(MappedFolio(mapping, 1), nullptr);
  EXPECT_EQ(Pool().free, pool.free);
  EXPECT_EQ(Pool().resv, pool.resv);
  EXPECT_EQ(RegionsOf(file), (Ranges{{0, 1}, {3, 4}}));
  EXPECT_EQ(PagesHanded(), 2);

  Unfreeze(&args);
  EXPECT_TRUE(StoreTo(mapping, 1));
  EXPECT_EQ(result_, 0);
  ASSERT_EQ(Freeze(&args), 0);
  EXPECT_EQ(PagesHanded(), 3);
  Unfreeze(&args);
  Unpreserve(&args);
  Unmap();
  fput(file);
  ExpectNothingLeft();
}

TEST_F(WaiterTest, KilledInFallocateAddsNothing) {
  Up();
  struct file* file = MakeFile(4, {0, 3});
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  ASSERT_EQ(Freeze(&args), 0);
  const HugepageCounters pool = Pool();
  int result = 1;
  EXPECT_FALSE(Run("p1", [&] { result = Fill(file, 1, 2); }));
  Kill(ActorByName("p1"));
  EXPECT_EQ(RunRunnable(), RunResult::kDone);
  EXPECT_EQ(result, -EINTR);
  EXPECT_EQ(PagesIn(file), 2u);
  EXPECT_EQ(Pool().free, pool.free);
  EXPECT_EQ(Pool().resv, pool.resv);
  EXPECT_EQ(RegionsOf(file), (Ranges{{0, 1}, {3, 4}}));
  Unfreeze(&args);
  Unpreserve(&args);
  fput(file);
  ExpectNothingLeft();
}

// fallocate() waits for the thaw with the inode locked.
TEST_F(WaiterTest, ThawNeedsNoInodeLock) {
  Up();
  struct file* file = MakeFile(4, {0, 3});
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  ASSERT_EQ(Freeze(&args), 0);
  int result = 1;
  EXPECT_FALSE(Run("p1", [&] { result = Fill(file, 1); }));
  Unfreeze(&args);
  EXPECT_EQ(result, 0);
  EXPECT_EQ(PagesIn(file), 3u);
  ASSERT_EQ(Freeze(&args), 0);
  EXPECT_EQ(PagesHanded(), 3);
  Unfreeze(&args);
  Unpreserve(&args);
  fput(file);
  ExpectNothingLeft();
}

// A fault into a frozen file waits with the fault mutex of its index, which
// somebody needs who has another file's inode locked: no waiting for that one.
TEST_F(WaiterTest, FreezeDoesNotWaitForTheInodeLock) {
  Up();
  constexpr loff_t kPages = 512;  // enough for two indices of one mutex
  struct file* frozen = MakeFile(kPages, {});
  struct file* other = MakeFile(kPages, {});
  auto hash = [](struct file* file, loff_t index) {
    return hugetlb_fault_mutex_hash(file->f_mapping,
                                    static_cast<pgoff_t>(index));
  };
  loff_t index = 0;
  while (index < kPages && hash(other, index) != hash(frozen, 0)) ++index;
  ASSERT_LT(index, kPages);
  Mapping* mapping = Map(frozen, 1);
  Args args = ArgsOf(frozen);
  Args other_args = ArgsOf(other);
  ASSERT_EQ(Preserve(&args), 0);
  ASSERT_EQ(Preserve(&other_args), 0);
  ASSERT_EQ(Freeze(&args), 0);
  EXPECT_FALSE(StoreTo(mapping, 0));
  int result = 1;
  EXPECT_FALSE(Run("p1", [&] { result = Fill(other, index); }));
  EXPECT_EQ(Freeze(&other_args), -EBUSY);
  // As LUO does when a freeze fails.
  Unfreeze(&args);
  EXPECT_EQ(result_, 0);
  EXPECT_EQ(result, 0);
  ASSERT_EQ(Freeze(&other_args), 0);
  EXPECT_EQ(PagesHanded(), 1);
  Unfreeze(&other_args);
  Unpreserve(&args);
  Unpreserve(&other_args);
  Unmap();
  fput(frozen);
  fput(other);
  ExpectNothingLeft();
}

// --- At every step of one, another

class RaceTest : public WaiterTest {
 protected:
  void Plan(uint64_t step, const char* actor, std::function<void()> fn) {
    PlanDuring(step, ActorByName(actor), std::move(fn));
  }
  static constexpr uint64_t kManySteps = 5000;
};

// A page that comes while the file is being preserved is in the table, wherever
// it is, and is not promised once more. Holes are reserved up to `reserved`.
TEST_F(RaceTest, PageAddedWhilePreserving) {
  Up();
  for (const auto& [hole, reserved] :
       std::vector<std::pair<loff_t, loff_t>>{{1, 0}, {2, 0}, {5, 0}, {1, 5}}) {
    uint64_t steps = kManySteps;
    for (uint64_t step = 1; step < steps; ++step) {
      struct file* file = MakeFile(6, {0, 3});
      if (reserved > 0) Reserve(file, 0, reserved);
      Mapping* mapping = Map(file, 6);
      Args args = ArgsOf(file);
      const auto page = static_cast<unsigned long>(hole);
      Plan(step, "p0", [=, this] { result_ = Store(mapping, page, 0, 7); });
      ASSERT_EQ(Preserve(&args), 0);
      steps = std::min(steps, StepsOfLastRun());
      EXPECT_EQ(result_, 0);
      EXPECT_EQ(PagesIn(file), 3u);
      ASSERT_EQ(Freeze(&args), 0);
      EXPECT_EQ(PagesHanded(), 3) << "hole " << hole << " step " << step;
      EXPECT_EQ(ReservedHanded(), reserved > 0 ? 2u : 0u) << step;
      Unfreeze(&args);
      Unpreserve(&args);
      Unmap();
      fput(file);
      if (HasFailure()) return;
    }
    EXPECT_LT(steps, kManySteps);
  }
  ExpectNothingLeft();
}

// A region comes before one that is there: there are more than there was memory
// made for, and all of them are taken down.
TEST_F(RaceTest, RegionAddedWhilePreserving) {
  Up();
  uint64_t steps = 2;
  for (uint64_t step = 1; step < steps; ++step) {
    struct file* file = MakeFile(8, {0});
    Reserve(file, 5, 6);
    Mapping* mapping = Map(file, 8);
    Args args = ArgsOf(file);
    Plan(step, "p0", [=, this] { result_ = Store(mapping, 2, 0, 7); });
    ASSERT_EQ(Preserve(&args), 0);
    if (step == 1) steps = StepsOfLastRun() + 1;
    EXPECT_EQ(result_, 0);
    ASSERT_EQ(Freeze(&args), 0);
    EXPECT_EQ(PagesHanded(), 2) << step;
    EXPECT_EQ(ReservedHanded(), 1u) << step;
    Unfreeze(&args);
    Unpreserve(&args);
    Unmap();
    fput(file);
    ASSERT_FALSE(HasFailure()) << step;
  }
  ExpectNothingLeft();
}

// The file is preserved, frozen, or let go of at every step of a fault. What
// is in the file when it is frozen is what is in the table.
TEST_F(RaceTest, EverythingWhileAPageIsAdded) {
  Up();
  enum What { kPreserve, kFreeze, kUnpreserve };
  for (const What what : {kPreserve, kFreeze, kUnpreserve}) {
    uint64_t steps = kManySteps;
    for (uint64_t step = 1; step < steps; ++step) {
      // The page cache has to grow, which takes steps.
      struct file* file = MakeFile(64, {0, 63});
      Mapping* mapping = Map(file, 64);
      Args args = ArgsOf(file);
      if (what != kPreserve) {
        ASSERT_EQ(Preserve(&args), 0);
      }
      int err = 1;
      Plan(step, "agent", [&] {
        const struct liveupdate_file_ops* ops = args.handler->ops;
        err = 0;
        if (what == kPreserve) err = ops->preserve(&args);
        if (what == kFreeze) err = ops->freeze(&args);
        if (what == kUnpreserve) ops->unpreserve(&args);
      });
      const bool done = StoreTo(mapping, 40);
      steps = std::min(steps, StepsOfLastRun());
      EXPECT_TRUE(done || what == kFreeze);
      EXPECT_EQ(err, 0);
      if (what != kUnpreserve) {
        if (what == kPreserve) {
          ASSERT_EQ(Freeze(&args), 0);
        }
        EXPECT_EQ(PagesHanded(), static_cast<int64_t>(PagesIn(file)))
            << "case " << what << " step " << step;
        Unfreeze(&args);
        Unpreserve(&args);
      }
      EXPECT_EQ(result_, 0);
      EXPECT_EQ(PagesIn(file), 3u);
      for (const loff_t index : {0, 40, 63}) {
        EXPECT_FALSE(folio_maybe_dma_pinned(PageAt(file, index)));
      }
      Unmap();
      fput(file);
      if (HasFailure()) return;
    }
    EXPECT_LT(steps, kManySteps);
  }
  ExpectNothingLeft();
}

// Memory is taken away at each step while the file is let go of: until KHO has
// been told so, a page stays where it is.
TEST_F(RaceTest, OfflineWhileUnpreserving) {
  uint64_t steps = 2;
  int offline = 0;
  for (uint64_t step = 1; step < steps; ++step) {
    Up();
    struct file* file = MakeFile(3, {});
    EXPECT_EQ(Call("p0",
                   [file] {
                     SetTaskBind(CurrentActor(), 1);
                     return Fill(file, 0, 3);
                   }),
              0);
    Args args = ArgsOf(file);
    const KhoKeySet before = KhoOutgoing();
    ASSERT_EQ(Preserve(&args), 0);
    const uint64_t pfn = folio_pfn(PageAt(file, 1));
    Plan(step, "admin", [&] { offline += MemoryBlockOffline(pfn) == 0; });
    Unpreserve(&args);
    if (step == 1) steps = StepsOfLastRun() + 1;
    EXPECT_EQ(KhoOutgoing(), before) << step;
    EXPECT_EQ(PagesIn(file), 3u);
    fput(file);
    ASSERT_FALSE(HasFailure() || !machine_.violations().empty()) << step;
  }
  EXPECT_GT(offline, 0);
}

// Who adds a page without knowing that the file is preserved, or thinking that
// it still is, is waited for once nobody else can come to think so.
TEST_F(RaceTest, WhoAddsAPageIsWaitedForInTime) {
  Up();
  struct file* file = MakeFile(2, {0});
  Args args = ArgsOf(file);
  int waits = 0;
  bool preserved = true;
  WatchSteps([&](const char* step) {
    if (std::strcmp(step, "synchronize_srcu") != 0) return;
    ++waits;
    EXPECT_EQ(HUGETLBFS_I(file_inode(file))->luo_file != nullptr, preserved);
  });
  ASSERT_EQ(Preserve(&args), 0);
  EXPECT_EQ(waits, 1);
  preserved = false;
  Unpreserve(&args);
  EXPECT_EQ(waits, 2);
  WatchSteps(nullptr);
  fput(file);
  ExpectNothingLeft();
}

// LUO freezes one file after the other, but the list of them has its own lock.
TEST_F(RaceTest, TwoAreFrozenAndThawed) {
  Up();
  for (const bool thaw : {false, true}) {
    uint64_t steps = kManySteps;
    for (uint64_t step = 1; step <= steps; ++step) {
      struct file* files[3];
      std::array<Args, 3> args;
      for (size_t i = 0; i < 3; ++i) {
        files[i] = MakeFile(2, {0});
        args[i] = ArgsOf(files[i]);
        ASSERT_EQ(Preserve(&args[i]), 0);
      }
      ASSERT_EQ(Freeze(&args[0]), 0);
      if (thaw) {
        ASSERT_EQ(Freeze(&args[1]), 0);
        ASSERT_EQ(Freeze(&args[2]), 0);
      }
      auto change = [&](size_t i) {
        const struct liveupdate_file_ops* ops = args[i].handler->ops;
        if (thaw) {
          ops->unfreeze(&args[i]);
        } else {
          EXPECT_EQ(ops->freeze(&args[i]), 0);
        }
      };
      Plan(step, "p1", [&] { change(1); });
      EXPECT_TRUE(Run("agent", [&] { change(2); }));
      if (step == 1) steps = StepsOfLastRun() + 1;
      EXPECT_EQ(Handed().size(), thaw ? 1u : 3u) << step;
      for (size_t i = 0; i < 3; ++i) {
        if (i == 0 || !thaw) Unfreeze(&args[i]);
        Unpreserve(&args[i]);
        fput(files[i]);
      }
      ASSERT_FALSE(HasFailure()) << "thaw " << thaw << " step " << step;
    }
    EXPECT_LT(steps, kManySteps);
  }
  ExpectNothingLeft();
}

// Freezing at each step of a fault that fails in the end, in whatever way,
// fills no hole, whether or not the index has been remembered by then.
TEST_F(RaceTest, FrozenWhileAPageIsNotAdded) {
  Up();
  bool fired = true;
  int failed = 0;
  for (int nth = 1; fired; ++nth) {
    ASSERT_LT(nth, 100);
    uint64_t steps = 2;
    fired = false;
    for (uint64_t step = 1; step < steps; ++step) {
      struct file* file = MakeFile(64, {0, 63});
      // Pinning could fill a hole that is reserved, and no other.
      Reserve(file, 40, 41);
      Mapping* mapping = Map(file, 64);
      Args args = ArgsOf(file);
      ASSERT_EQ(Preserve(&args), 0);
      int frozen = 1;
      Plan(step, "agent", [&] { frozen = args.handler->ops->freeze(&args); });
      machine_.set_fault_plan({FailKind::kAlloc, nth});
      StoreTo(mapping, 40);
      fired |= machine_.fault_fired();
      machine_.set_fault_plan({});
      if (step == 1) steps = StepsOfLastRun() + 1;
      failed += result_ != 0;
      if (frozen == 0) Unfreeze(&args);
      EXPECT_EQ(PagesIn(file), result_ == 0 ? 3u : 2u)
          << nth << " step " << step;
      Unpreserve(&args);
      Unmap();
      fput(file);
      ASSERT_FALSE(HasFailure()) << nth << " step " << step;
    }
  }
  EXPECT_GT(failed, 20);
  ExpectNothingLeft();
}

// --- While somebody else has a lock

class HeldLockTest : public HugetlbLuoTest {
 protected:
  // Runs fn while somebody else has the lock, from its nth step on, if he can
  // have it then: not if fn has. False: fn waits for him.
  bool RunWith(struct sim_lock* lock, uint64_t step, std::function<void()> fn) {
    lock_ = lock;
    taken_ = false;
    PlanDuring(step, ActorByName("other"), [this] {
      if (lock_->writer != 0) return;
      lock_->writer = kOther;
      taken_ = true;
      then_ = look_ ? look_() : 0;
    });
    return Run("agent", std::move(fn));
  }
  // What the lock guards is what it was when he took it. He gives it back, and
  // fn goes on.
  void GiveBack() {
    if (!taken_) return;
    if (look_) {
      EXPECT_EQ(look_(), then_);
    }
    lock_->writer = 0;
    WakeAll(lock_);
    EXPECT_EQ(RunRunnable(), RunResult::kDone);
    EXPECT_EQ(StateOf(ActorByName("agent")), ActorState::kIdle);
  }

  // Sums up what the lock guards.
  std::function<uint64_t()> look_;

 private:
  static constexpr int kOther = 1000;
  struct sim_lock* lock_ = nullptr;
  bool taken_ = false;
  uint64_t then_ = 0;
};

TEST_F(HeldLockTest, MemoryErrorsAreWrittenDownInTurn) {
  Up();
  ASSERT_STREQ(hugetlb_luo_out.errors_lock.l.name,
               "hugetlb_luo_out.errors_lock");
  look_ = [] { return hugetlb_luo_out.nr_errors; };
  EXPECT_FALSE(RunWith(&hugetlb_luo_out.errors_lock.l, 1,
                       [] { hugetlb_luo_error(pfn_to_page(100), 1); }));
  EXPECT_EQ(hugetlb_luo_out.nr_errors, 0u);
  GiveBack();
  EXPECT_EQ(hugetlb_luo_out.nr_errors, 1u);
}

// Both when all are found and when each is looked at for the last time.
TEST_F(HeldLockTest, FreePagesAreLookedForUnderTheLockOfThePools) {
  int waits = 0;
  uint64_t steps = 2;
  for (uint64_t step = 1; step < steps; ++step) {
    Up();
    ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
    const KhoKeySet before = KhoOutgoing();
    const bool done =
        RunWith(&hugetlb_lock.l, step, [] { hugetlb_luo_hand_over_free(); });
    if (!done) ++waits;
    if (step == 1) {
      EXPECT_FALSE(done);
      EXPECT_EQ(KhoOutgoing(), before);
    }
    GiveBack();
    EXPECT_EQ(Handed().size(), 1u);
    if (step == 1) steps = StepsOfLastRun();
    ASSERT_FALSE(HasFailure()) << step;
  }
  EXPECT_GT(waits, 24);
}

// A file that is retrieved, or finished, leaves the list, and its record is
// gone, while nobody looks at the list.
TEST_F(HeldLockTest, FilesLeaveTheListUnderItsLock) {
  for (const bool retrieve : {true, false}) {
    uint64_t steps = 2;
    int waits = 0;
    for (uint64_t step = 1; step < steps; ++step) {
      Up();
      struct file* session = Session();
      ASSERT_EQ(PreserveFd(session, 1, MakeFile(4, {0, 2})), 0);
      NextKernel();
      LuoSession* incoming =
          list_first_entry(&g_luo.incoming.list, LuoSession, list);
      const uint64_t record =
          list_first_entry(&incoming->files.files, LuoFile, list)
              ->serialized_data;
      session = Incoming();
      ASSERT_STREQ(hugetlb_luo_in.l.name, "hugetlb_luo_in.lock");
      look_ = [record] { return kho_folio_preserved(record, 0); };
      struct file* file = nullptr;
      int err = 1;
      if (!RunWith(&hugetlb_luo_in.l, step, [&] {
            err = retrieve ? RetrieveFd(session, 1, &file) : Finish(session);
          })) {
        ++waits;
      }
      GiveBack();
      EXPECT_EQ(err, 0);
      if (step == 1) steps = StepsOfLastRun();
      if (retrieve) {
        EXPECT_EQ(Finish(session), 0);
        fput(file);
      }
      EXPECT_EQ(SessionRelease(session), 0);
      ExpectNothingLeft();
      ASSERT_FALSE(HasFailure()) << "step " << step;
    }
    EXPECT_GT(waits, 2);
  }
}

// --- Every call that fails

TEST_F(HugetlbLuoTest, FailuresWhileAPageIsAdded) {
  Up();
  int nth = 0;
  bool fired = true;
  while (fired) {
    // The hole is where the page cache has no node yet.
    struct file* file = MakeFile(64, {0, 63});
    Args args = ArgsOf(file);
    ASSERT_EQ(Preserve(&args), 0);
    machine_.set_fault_plan({FailKind::kAny, ++nth});
    const int err = Call("p1", [&] { return Fill(file, 40); });
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    if (!fired) {
      EXPECT_EQ(err, 0);
    }
    const uint64_t pages = err == 0 ? 3 : 2;
    EXPECT_EQ(PagesIn(file), pages);
    ASSERT_EQ(Freeze(&args), 0);
    EXPECT_EQ(PagesHanded(), static_cast<int64_t>(pages)) << nth;
    // Freezing fills no hole.
    EXPECT_EQ(PagesIn(file), pages) << nth;
    Unfreeze(&args);
    Unpreserve(&args);
    fput(file);
    ASSERT_LT(nth, 100);
  }
  EXPECT_GT(nth, 3);
  ExpectNothingLeft();
}

// What LUO gets for it. KHO's tree needs memory, too.
TEST_F(HugetlbLuoTest, PreservingWithoutMemory) {
  bool fired = true;
  int nth = 0;
  while (fired) {
    ASSERT_LT(++nth, 100);
    Up();  // or the tree would have grown already
    struct file* file = MakeFile(8, {1, 2, 5});
    Reserve(file, 2, 4);
    Args args = ArgsOf(file);
    const KhoKeySet before = KhoOutgoing();
    machine_.set_fault_plan({FailKind::kAlloc, nth});
    const int err = Preserve(&args);
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    EXPECT_EQ(err, fired ? -ENOMEM : 0) << nth;
    if (err == 0) Unpreserve(&args);
    EXPECT_EQ(KhoOutgoing(), before) << nth;
    fput(file);
  }
  EXPECT_GT(nth, 5);
  ExpectNothingLeft();
}

// Boot cannot check what came, and then each call of those that come after
// fails once: everything can be asked for again, and nothing is lost.
class ImportTest : public HugetlbLuoTest {
 protected:
  // To the next kernel, where the nth allocation between the start of the page
  // allocator and the end of hugetlb_init() fails. 0: none. False: there are
  // fewer.
  bool Cross(int nth) {
    machine_.set_fault_plan({});
    Up();
    EXPECT_EQ(PreserveFreeStore(k16K, with_free_), 0);
    struct file* session = Session();
    // In this order 1 and 2 are contiguous in memory, too.
    struct file* file = MakeFile(8, {5, 1, 2});
    EXPECT_EQ(Call("p0", [=] { return memfd_add_seals(file, F_SEAL_GROW); }),
              0);
    Reserve(file, 3, 5);
    Reserve(file, 7, 8);
    EXPECT_EQ(PreserveFd(session, 1, file), 0);
    EXPECT_EQ(Fill(file, 3), 0);
    EXPECT_EQ(PreserveFd(session, 2, MakeFile(2, {0, 1}, 64 << 10)), 0);
    EXPECT_EQ(PreserveFd(session, 3, MakeFile(3, {2})), 0);
    EXPECT_EQ(RebootCall(), 0);
    return CrossWith(nth);
  }
  // The second half.
  bool CrossWith(int nth) {
    bool fired = false;
    SetBootObserver([&](std::string_view stage) {
      if (stage == "buddy") machine_.set_fault_plan({FailKind::kAlloc, nth});
      if (stage == "hugetlb") {
        fired = machine_.fault_fired();
        machine_.set_fault_plan({});
      }
    });
    EXPECT_TRUE(Kexec(config_));
    SetBootObserver(nullptr);
    EXPECT_EQ(LuoOpen(), 0);
    session_ = Incoming();
    return fired;
  }
  bool Late() const { return LogHas("no memory to check preserved files"); }

  // What LUO has of the only file of an incoming session.
  static LuoFile* Entry(std::string_view name) {
    LuoSession* session;
    list_for_each_entry(session, &g_luo.incoming.list, list) {
      if (session->name == name)
        return list_first_entry(&session->files.files, LuoFile, list);
    }
    return nullptr;
  }

  // Retrieves; if the nth call fails, again. False: there are fewer.
  bool Retrieve(uint64_t token, FaultPlan plan) {
    machine_.set_fault_plan(plan);
    struct file* file = nullptr;
    int err = RetrieveFd(session_, token, &file);
    const bool fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    if (err != 0) {
      EXPECT_TRUE(fired);
      EXPECT_EQ(err, -EAGAIN);
      EXPECT_EQ(LiveFiles(), static_cast<int>(files_.size()));
      EXPECT_EQ(LiveInodes(), static_cast<int>(files_.size()));
      err = RetrieveFd(session_, token, &file);
    }
    EXPECT_EQ(err, 0);
    if (err == 0) files_.push_back(file);
    return fired;
  }
  // Finishes; if it cannot for now, again.
  bool FinishAll(int nth) {
    machine_.set_fault_plan({FailKind::kAlloc, nth});
    int err = Finish(session_);
    const bool fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    if (err != 0) {
      EXPECT_TRUE(fired);
      EXPECT_EQ(err, -EBUSY);
      err = Finish(session_);
    }
    EXPECT_EQ(err, 0);
    EXPECT_EQ(SessionRelease(session_), 0);
    return fired;
  }
  void ExpectFirstFile() {
    ASSERT_FALSE(files_.empty());
    struct file* file = files_[0];
    EXPECT_EQ(memfd_get_seals(file), F_SEAL_GROW);
    EXPECT_TRUE(file->f_flags & O_LARGEFILE);
    EXPECT_EQ(PagesIn(file), 4u);
    for (const loff_t index : {1, 2, 3, 5}) {
      struct folio* folio = PageAt(file, index);
      ASSERT_NE(folio, nullptr) << index;
      EXPECT_TRUE(folio_test_uptodate(folio));
      EXPECT_TRUE(folio_test_dirty(folio));
      EXPECT_TRUE(folio_test_hugetlb_migratable(folio));
      EXPECT_EQ(folio_ref_count(folio), folio_expected_ref_count(folio));
    }
    EXPECT_EQ(RegionsOf(file), (Ranges{{1, 6}, {7, 8}}));
    EXPECT_EQ(Regions(file)->adds_in_progress, 0);
    EXPECT_EQ(Pool().resv, 2u);
  }
  void Close() {
    for (struct file* file : files_) fput(file);
    files_.clear();
    ExpectNothingLeft();
    EXPECT_EQ(Pool().nr, 24u);
    EXPECT_EQ(Pool(64 << 10).nr, 4u);
    EXPECT_FALSE(LogHas("cannot be claimed"));
  }

  // Those of LUO and of the fault mutexes come first: no boot without them.
  static constexpr int kVital = 2;

  struct file* session_ = nullptr;
  std::vector<struct file*> files_;
  bool with_free_ = false;
};

TEST_F(ImportTest, FailuresOfRetrieve) {
  bool fired = true;
  int nth = 0;
  while (fired) {
    ASSERT_LT(++nth, 200);
    Cross(0);
    fired = Retrieve(1, {FailKind::kAny, nth});
    ExpectFirstFile();
    FinishAll(0);
    // What was retrieved is not looked for any more.
    EXPECT_FALSE(LogHas("no preserved file has its record"));
    Close();
    ASSERT_FALSE(HasFailure()) << nth;
  }
  EXPECT_GT(nth, 10);
}

// Regions of more than one page may lack memory when they are added, too.
TEST_F(ImportTest, FailuresOfRegions) {
  bool fired = true;
  for (int nth = 1; fired; ++nth) {
    ASSERT_LT(nth, 10);
    Cross(0);
    fired = Retrieve(1, {FailKind::kRace, nth});
    ExpectFirstFile();
    FinishAll(0);
    Close();
    ASSERT_FALSE(HasFailure()) << nth;
    EXPECT_TRUE(fired || nth > 1);
  }
}

// Retrieval fails somewhere, and then nobody asks again.
TEST_F(ImportTest, FinishAfterFailureOfRetrieve) {
  bool fired = true;
  for (int nth = 1; fired; ++nth) {
    ASSERT_LT(nth, 200);
    Cross(0);
    machine_.set_fault_plan({FailKind::kAny, nth});
    struct file* file = nullptr;
    const int err = RetrieveFd(session_, 1, &file);
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    if (err == 0) files_.push_back(file);
    FinishAll(0);
    Close();
    ASSERT_FALSE(HasFailure()) << nth;
  }
}

// Memory with pages that come in it cannot be taken away: not before somebody
// has asked for them, nor when that failed half-way. Then it can.
TEST_F(ImportTest, MemoryGoesOfflineWhenItIsRetrieved) {
  bool fired = true;
  int aside = 0;
  for (int nth = 1; fired; ++nth) {
    ASSERT_LT(nth, 200);
    Up();
    struct file* session = Session();
    // So far up that the page cache has to grow when the page is there.
    struct file* file = MakeFile(71, {});
    EXPECT_EQ(Call("p0",
                   [file] {
                     SetTaskBind(CurrentActor(), 1);
                     return Fill(file, 70);
                   }),
              0);
    EXPECT_EQ(PreserveFd(session, 1, file), 0);
    const uint64_t pfn = folio_pfn(PageAt(file, 70));
    auto offline = [&] {
      return Call("admin", [pfn] { return MemoryBlockOffline(pfn); });
    };
    EXPECT_EQ(offline(), -EINTR);
    EXPECT_EQ(folio_pfn(PageAt(file, 70)), pfn);
    NextKernel();
    session_ = Incoming();
    EXPECT_EQ(offline(), -EBUSY);

    machine_.set_fault_plan({FailKind::kAny, nth});
    int err = RetrieveFd(session_, 1, &file);
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    if (err != 0) {
      EXPECT_EQ(err, -EAGAIN);
      aside += folio_test_hugetlb(pfn_folio(pfn));
      EXPECT_EQ(offline(), -EBUSY);
      ASSERT_EQ(RetrieveFd(session_, 1, &file), 0);
    }
    files_.push_back(file);
    EXPECT_EQ(folio_pfn(PageAt(file, 70)), pfn);
    EXPECT_EQ(offline(), 0);
    EXPECT_NE(folio_pfn(PageAt(file, 70)), pfn);
    EXPECT_EQ(folio_nid(PageAt(file, 70)), 0);
    FinishAll(0);
    for (struct file* each : files_) fput(each);
    files_.clear();
    ExpectNothingLeft();
    ASSERT_FALSE(HasFailure()) << nth;
  }
  EXPECT_GT(aside, 0);
}

TEST_F(ImportTest, FailuresOfBoot) {
  int late = 0;
  for (int boot = kVital + 1; Cross(boot); ++boot) {
    const bool was_late = Late();
    EXPECT_TRUE(was_late || boot > kVital + 1) << "kVital is wrong";
    FinishAll(0);
    Close();
    ASSERT_FALSE(HasFailure()) << boot;
    if (!was_late) continue;
    ++late;
    bool fired = true;
    for (int nth = 1; fired; ++nth) {
      ASSERT_LT(nth, 200);
      Cross(boot);
      ASSERT_TRUE(Late());
      // Nothing may be replaced that is not even known.
      EXPECT_EQ(RebootCall(), -EBUSY);
      fired = Retrieve(1, {FailKind::kAny, nth});
      ExpectFirstFile();
      FinishAll(0);
      Close();
      ASSERT_FALSE(HasFailure()) << boot << " " << nth;
    }
    fired = true;
    for (int nth = 1; fired; ++nth) {
      ASSERT_LT(nth, 200);
      Cross(boot);
      fired = FinishAll(nth);
      Close();
      ASSERT_FALSE(HasFailure()) << boot << " " << nth;
    }
  }
  EXPECT_GT(late, 3);
}

// Two sessions ask for their files at the same time, when nobody has looked at
// them yet.
TEST_F(ImportTest, TwoAskForTheFirstTime) {
  uint64_t steps = 5000;
  for (uint64_t step = 1; step < steps; ++step) {
    machine_.set_fault_plan({});
    Up();
    for (const char* name : {"s", "t"}) {
      struct file* session = nullptr;
      ASSERT_EQ(SessionCreate(name, &session), 0);
      ASSERT_EQ(PreserveFd(session, 1, MakeFile(8, {1, 2, 5})), 0);
    }
    ASSERT_EQ(RebootCall(), 0);
    CrossWith(kVital + 1);
    ASSERT_TRUE(Late());
    struct file* other = nullptr;
    ASSERT_EQ(SessionRetrieve("t", &other), 0);
    std::array<struct file*, 2> files = {};
    int err = 1;
    PlanDuring(step, ActorByName("p0"),
               [&] { err = RetrieveFd(other, 1, &files[1]); });
    ASSERT_EQ(Call("agent", [&] { return RetrieveFd(session_, 1, &files[0]); }),
              0);
    steps = std::min(steps, StepsOfLastRun());
    ASSERT_EQ(err, 0) << step;
    for (struct file* file : files) EXPECT_EQ(PagesIn(file), 3u);
    files_.assign(files.begin(), files.end());
    FinishAll(0);
    EXPECT_EQ(SessionRelease(other), 0);
    Close();
    ASSERT_FALSE(HasFailure() || !machine_.violations().empty()) << step;
  }
}

// However often there is no memory to look at what came: it is not taken for
// more than there is memory for.
TEST_F(ImportTest, ManyAttempts) {
  Cross(kVital + 1);
  ASSERT_TRUE(Late());
  for (int i = 0; i < 1000; ++i) {
    machine_.set_fault_plan({FailKind::kAlloc, 4});
    struct file* file = nullptr;
    ASSERT_EQ(RetrieveFd(session_, 1, &file), -EAGAIN) << i;
    ASSERT_TRUE(machine_.fault_fired());
  }
  EXPECT_FALSE(Retrieve(1, {}));
  ExpectFirstFile();
  FinishAll(0);
  Close();
}

// One attempt fails late, and the next one early: of the pages that the first
// one got only some are in the second one's file.
TEST_F(ImportTest, TwoAttemptsThatFail) {
  int failed = 0;
  bool first_fired = true;
  for (int first = 1; first_fired; ++first) {
    ASSERT_LT(first, 200);
    for (int second = 1; second <= first; ++second) {
      Cross(0);
      struct file* file = nullptr;
      for (const int attempt : {1, 2}) {
        machine_.set_fault_plan(
            {FailKind::kAny, attempt == 1 ? first : second});
        const int err = RetrieveFd(session_, 1, &file);
        const bool fired = machine_.fault_fired();
        machine_.set_fault_plan({});
        if (attempt == 1) first_fired = fired;
        if (err == 0) break;
        EXPECT_EQ(err, -EAGAIN);
        EXPECT_TRUE(fired);
        ++failed;
      }
      if (file == nullptr) {
        EXPECT_FALSE(Retrieve(1, {}));
      } else {
        files_.push_back(file);
      }
      ExpectFirstFile();
      FinishAll(0);
      Close();
      ASSERT_FALSE(HasFailure()) << first << ", " << second;
      if (!first_fired) break;
    }
  }
  EXPECT_GT(failed, 100);
}

// LUO's records are damaged such that two sessions ask for the same file at the
// same time: one of them gets it.
TEST_F(ImportTest, TwoAskForTheSameFile) {
  uint64_t steps = 5000;
  int busy = 0;
  for (uint64_t step = 1; step < steps; ++step) {
    machine_.set_fault_plan({});
    Up();
    for (const char* name : {"s", "t"}) {
      struct file* session = nullptr;
      ASSERT_EQ(SessionCreate(name, &session), 0);
      ASSERT_EQ(PreserveFd(session, 1, MakeFile(8, {1, 2, 5})), 0);
    }
    ASSERT_EQ(RebootCall(), 0);
    CrossWith(0);
    struct file* other = nullptr;
    ASSERT_EQ(SessionRetrieve("t", &other), 0);
    const std::array<struct file*, 2> sessions = {session_, other};
    const u64 handle = Entry("s")->serialized_data;
    const u64 lost = std::exchange(Entry("t")->serialized_data, handle);
    std::array<struct file*, 2> files = {};
    std::array<int, 2> err = {1, 1};
    PlanDuring(step, ActorByName("p0"),
               [&] { err[1] = RetrieveFd(other, 1, &files[1]); });
    Call("agent", [&] {
      err[0] = RetrieveFd(session_, 1, &files[0]);
      return 0;
    });
    steps = std::min(steps, StepsOfLastRun());
    const size_t winner = err[0] == 0 ? 0 : 1;
    ASSERT_EQ(err[winner], 0) << step;
    EXPECT_EQ(PagesIn(files[winner]), 3u);
    const int why = err[1 - winner];
    EXPECT_TRUE(why == -EAGAIN || why == -ENOENT) << step << " " << why;
    busy += why == -EAGAIN;
    files_.push_back(files[winner]);
    // The file that nobody named is finished.
    Entry(winner == 0 ? "t" : "s")->serialized_data = lost;
    for (struct file* session : sessions) {
      EXPECT_EQ(Finish(session), 0);
      EXPECT_EQ(SessionRelease(session), 0);
    }
    Close();
    ASSERT_FALSE(HasFailure() || !machine_.violations().empty()) << step;
  }
  EXPECT_GT(busy, 10);
}

// What no damage can do, as records with other seals are refused at boot: the
// seals cannot be set.
// Boot could not do it, and then what is reserved is so as soon as the free
// pages are, whichever file somebody asks for.
TEST_F(ImportTest, LatePromisesAreKeptAtOnce) {
  with_free_ = true;
  Cross(kVital + 1);
  ASSERT_TRUE(Late());
  EXPECT_EQ(Pool().resv, 0u);
  EXPECT_FALSE(Retrieve(3, {}));
  EXPECT_EQ(Pool().resv, 2u);
  EXPECT_FALSE(LogHas("are needed for what preserved files have reserved"));
  FinishAll(0);
  Close();
}

// What LUO says of one file is wrong. There is a table, with all files in it:
// it is no sign of memory that nobody knows of.
TEST_F(ImportTest, FileThatIsNotInTheTable) {
  Cross(0);
  LuoFile* entry = Entry("s");
  const u64 at = entry->serialized_data;
  entry->serialized_data = at + PAGE_SIZE;
  struct file* file = nullptr;
  EXPECT_EQ(RetrieveFd(session_, entry->token, &file), -ENOENT);
  EXPECT_TRUE(LogHas("no preserved file has its record"));
  entry->serialized_data = at;
  FinishAll(0);
  Close();
  EXPECT_EQ(RebootCall(), 0);
}

TEST_F(ImportTest, FailureOfSealsClosesTheFile) {
  Up();
  struct file* file = MakeFile(2, {0});
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  uint64_t record = 0;
  SetBootObserver([&record](std::string_view stage) {
    if (stage == "kexec") record = ReadFileRecords().at(0);
  });
  KexecKernel();
  SetBootObserver(nullptr);
  ASSERT_EQ(LuoOpen(), 0);
  session_ = Incoming();
  char* seals =
      machine_.memory().base() + record + offsetof(hugetlb_luo_file_ser, seals);
  const u32 wrong = 1u << 31, right = 0;
  std::memcpy(seals, &wrong, sizeof(wrong));
  EXPECT_EQ(RetrieveFd(session_, 1, &file), -EAGAIN);
  EXPECT_EQ(LiveFiles(), 0);
  EXPECT_EQ(LiveInodes(), 0);
  std::memcpy(seals, &right, sizeof(right));
  EXPECT_TRUE(!Retrieve(1, {}));
  FinishAll(0);
  Close();
}

// Counts that only add up if what is beyond 64 bits is dropped are of one file,
// and only that one is refused.
TEST_F(ImportTest, CountsThatGoRound) {
  Up();
  struct file* session = Session();
  struct file* file = MakeFile(2, {0});
  EXPECT_EQ(Call("p0",
                 [file] {
                   SetTaskBind(CurrentActor(), 1);
                   return Fill(file, 1);
                 }),
            0);
  ASSERT_EQ(PreserveFd(session, 1, MakeFile(1, {0})), 0);
  ASSERT_EQ(PreserveFd(session, 2, file), 0);
  SetBootObserver([this](std::string_view stage) {
    if (stage != "kexec") return;
    const uint64_t record = ReadFileRecords().at(0);  // of the last one
    hugetlb_luo_file_ser ser;
    hugetlb_luo_count_ser counts[2];
    char* at = machine_.memory().base() + record;
    std::memcpy(&ser, at, sizeof(ser));
    std::memcpy(counts, at + sizeof(ser), sizeof(counts));
    ASSERT_EQ(ser.nr_counts, 2u);
    for (hugetlb_luo_count_ser& count : counts)
      count.nr = count.nr + (uint64_t{1} << 63);
    std::memcpy(at + sizeof(ser), counts, sizeof(counts));
    ser.csum = RecordChecksum(record, offsetof(hugetlb_luo_file_ser, csum),
                              sizeof(ser) + sizeof(counts));
    std::memcpy(at, &ser, sizeof(ser));
  });
  KexecKernel();
  SetBootObserver(nullptr);
  ASSERT_EQ(LuoOpen(), 0);
  session_ = Incoming();
  EXPECT_EQ(RetrieveFd(session_, 2, &file), -EINVAL);
  EXPECT_TRUE(!Retrieve(1, {}));
  FinishAll(0);
  for (struct file* each : files_) fput(each);
}

// A page that KHO does not give back is out of the pool for good.
TEST_F(ImportTest, PageThatIsNotGivenBack) {
  Cross(0);
  ASSERT_EQ(Pool().nr, 24u);
  const uint64_t unclaimed = KhoUnclaimed().size();
  machine_.set_fault_plan({FailKind::kKho, 1});
  EXPECT_EQ(Finish(session_), 0);
  EXPECT_TRUE(machine_.fault_fired());
  machine_.set_fault_plan({});
  EXPECT_EQ(SessionRelease(session_), 0);
  EXPECT_TRUE(LogHas("1 pages of a preserved file were not given back"));

  EXPECT_EQ(Pool().nr, 23u);
  EXPECT_EQ(Pool().free, 23u);
  EXPECT_EQ(Pool().max, 23u);
  const std::vector<uint64_t> never = KhoNeverRestored();
  std::vector<KhoKey> lost;
  for (const KhoKey& key : KhoUnclaimed()) {
    if (std::count(never.begin(), never.end(), key.phys) == 0)
      lost.push_back(key);
  }
  EXPECT_LT(KhoUnclaimed().size(), unclaimed);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].order, 2u);
  EXPECT_EQ(OwnerOf(lost[0].phys >> PAGE_SHIFT), Owner::kReserved);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(RebootCall(), -EBUSY);
  EXPECT_EQ(LiveFiles(), 0);
}

// Somebody changes the pool meanwhile: which pages are surplus is looked at
// when they are taken out of the count, and not before.
TEST_F(ImportTest, PoolIsResizedWhileAPageIsLost) {
  uint64_t steps = 2;
  for (uint64_t step = 1; step < steps; ++step) {
    Up();
    ASSERT_EQ(PreserveFd(Session(), 1, MakeFile(4, {0, 1, 2, 3})), 0);
    config_.cmdline = "kho=on liveupdate=on hugepagesz=16K hugepages=2";
    NextKernel();
    config_.cmdline = kCmdline;
    session_ = Incoming();
    EXPECT_EQ(Pool().surplus, 2u);
    PlanDuring(step, ActorByName("admin"),
               [] { EXPECT_EQ(NrHugepagesStore(k16K, 4, -1), 0); });
    machine_.set_fault_plan({FailKind::kKho, 1});
    EXPECT_EQ(Call("agent", [this] { return Finish(session_); }), 0);
    machine_.set_fault_plan({});
    if (step == 1) steps = StepsOfLastRun() + 1;
    EXPECT_EQ(SessionRelease(session_), 0);
    uint64_t surplus = 0;
    for (int nid : {0, 1}) {
      HugepageCounters on;
      EXPECT_EQ(HugepageCountersRead(k16K, nid, &on), 0);
      EXPECT_LE(on.surplus, on.nr) << step;
      surplus += on.surplus;
    }
    EXPECT_EQ(Pool().surplus, surplus) << step;
    EXPECT_LE(surplus, 2u) << step;
    ASSERT_FALSE(HasFailure()) << step;
  }
}

// Nor is one of the free ones, which are given back when somebody asks for a
// file if boot could not do it.
TEST_F(ImportTest, FreePageThatIsNotGivenBack) {
  with_free_ = true;
  int lost = 0;
  bool fired = true;
  for (int nth = 1; fired; ++nth) {
    ASSERT_LT(nth, 200);
    Cross(kVital + 1);
    ASSERT_TRUE(Late());
    const auto nr = Pool().nr;
    machine_.set_fault_plan({FailKind::kKho, nth});
    struct file* file = nullptr;
    int err = RetrieveFd(session_, 1, &file);
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    // A page of the file itself is asked for again.
    if (err == -EAGAIN) err = RetrieveFd(session_, 1, &file);
    ASSERT_EQ(err, 0) << nth;
    EXPECT_EQ(Finish(session_), 0);
    EXPECT_EQ(SessionRelease(session_), 0);
    fput(file);
    const bool gone = LogHas("1 pages of a preserved file were not given back");
    EXPECT_EQ(Pool().nr, nr - (gone ? 1 : 0)) << nth;
    EXPECT_EQ(Pool().free, Pool().nr) << nth;
    EXPECT_EQ(RebootCall(), gone ? -EBUSY : 0) << nth;
    lost += gone;
    ASSERT_FALSE(HasFailure()) << nth;
  }
  // All that are free: 24 less the four of the first file and that of the
  // third.
  EXPECT_EQ(lost, 19);
}

// Or when boot puts them into the pool: wherever such a page lies, it is
// missed.
TEST_F(ImportTest, FreePageThatBootIsNotGiven) {
  int lost = 0;
  bool fired = true;
  for (int nth = 1; fired; ++nth) {
    ASSERT_LT(nth, 200);
    Up();
    ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
    ASSERT_EQ(RebootCall(), 0);
    SetBootObserver([&](std::string_view stage) {
      if (stage == "buddy") machine_.set_fault_plan({FailKind::kKho, nth});
      if (stage == "hugetlb") {
        fired = machine_.fault_fired();
        machine_.set_fault_plan({});
      }
    });
    ASSERT_TRUE(Kexec(config_));
    SetBootObserver(nullptr);
    EXPECT_EQ(LogHas("1 preserved pages of order 2 on node"), fired) << nth;
    EXPECT_EQ(Pool().nr, fired ? 23u : 24u) << nth;
    EXPECT_EQ(Pool().free, Pool().nr) << nth;
    EXPECT_EQ(Pool().surplus, 0u);
    ASSERT_EQ(LuoOpen(), 0);
    EXPECT_EQ(RebootCall(), fired ? -EBUSY : 0) << nth;
    lost += fired;
    ASSERT_FALSE(HasFailure()) << nth;
  }
  EXPECT_EQ(lost, 24);
}

// A record of free pages says nothing that is said of files.
TEST_F(ImportTest, FreePagesThatAreAFile) {
  struct Field {
    const char* name;
    size_t offset, bytes;
  };
#define FIELD(name)                              \
  {                                              \
#name, offsetof(hugetlb_luo_file_ser, name), \
        sizeof(hugetlb_luo_file_ser::name)       \
  }
  const std::vector<Field> fields = {FIELD(late), FIELD(resv), FIELD(nr_resv),
                                     FIELD(size), FIELD(pos),  FIELD(seals),
                                     FIELD(mode)};
#undef FIELD
  for (const Field& field : fields) {
    Up();
    ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
    SetBootObserver([&](std::string_view stage) {
      if (stage != "kexec") return;
      const uint64_t record = ReadFileRecords().at(0);
      hugetlb_luo_file_ser ser;
      char* at = machine_.memory().base() + record;
      std::memcpy(&ser, at, sizeof(ser));
      ASSERT_EQ(ser.flags, u32{HUGETLB_LUO_FILE_FREE});
      // A block that is there, or what a file could have.
      const uint64_t value = field.bytes == 8 ? ser.runs : 1;
      std::memcpy(at + field.offset, &value, field.bytes);
      ser.csum = RecordChecksum(
          record, offsetof(hugetlb_luo_file_ser, csum),
          sizeof(ser) + ser.nr_counts * sizeof(hugetlb_luo_count_ser));
      std::memcpy(at + offsetof(hugetlb_luo_file_ser, csum), &ser.csum,
                  sizeof(ser.csum));
    });
    KexecKernel();
    SetBootObserver(nullptr);
    EXPECT_TRUE(LogHas("preserved free pages refused: -EINVAL")) << field.name;
    ASSERT_EQ(LuoOpen(), 0);
    EXPECT_EQ(RebootCall(), -EBUSY) << field.name;
    ASSERT_FALSE(HasFailure()) << field.name;
  }
}

// --- Large files

// Memory for more pages than commit() takes in one go, and for more runs than
// a block holds.
Geometry WithMemory() {
  Geometry geometry = MakeGeometry("small", 2).value();
  const NodeSpan& last = geometry.spans.back();
  // 16 MiB more, behind a hole.
  geometry.spans.push_back(
      {last.start_pfn + last.nr_pages + 64, (16 << 20) / 4096, 0});
  return geometry;
}

class LargeFileTest : public HugetlbLuoTest {
 protected:
  LargeFileTest() : HugetlbLuoTest(WithMemory()) {
    config_.cmdline = "kho=on liveupdate=on hugepagesz=16K hugepages=720";
  }

  // Hands over a file, retrieves it and compares where its pages are.
  void ExpectCrosses(struct file* file, loff_t pages) {
    const Ranges regions = RegionsOf(file);
    const auto resv = Pool().resv;
    std::vector<uint64_t> frames;
    for (loff_t i = 0; i < pages; ++i) frames.push_back(FrameAt(file, i));
    NextKernel();
    struct file* session = Incoming();
    ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
    for (loff_t i = 0; i < pages; ++i) {
      ASSERT_EQ(FrameAt(file, i), frames[static_cast<size_t>(i)]) << i;
    }
    EXPECT_EQ(RegionsOf(file), regions);
    EXPECT_EQ(Pool().resv, resv);
    EXPECT_EQ(Finish(session), 0);
    EXPECT_EQ(SessionRelease(session), 0);
    fput(file);
    ExpectNothingLeft();
    EXPECT_EQ(Pool().nr, 720u);
  }
  static uint64_t FrameAt(struct file* file, loff_t index) {
    const struct folio* folio = PageAt(file, index);
    return folio == nullptr ? 0 : folio_pfn(folio);
  }
  static constexpr loff_t kRuns = HUGETLB_LUO_BLOCK_RUNS;
};

TEST_F(LargeFileTest, ManyPages) {
  Up();
  struct file* file = MakeFile(700, {});
  ASSERT_EQ(Fill(file, 0, 700), 0);
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  ExpectCrosses(file, 700);
}

// Blocks that are just full, and one, two more runs. Two blocks of them, too.
TEST_F(LargeFileTest, BlocksOfRuns) {
  for (const loff_t runs : {kRuns, kRuns + 1, 2 * kRuns, 2 * kRuns + 2}) {
    Up();
    struct file* file = MakeFile(2 * runs, {});
    for (loff_t i = 0; i < runs; ++i) ASSERT_EQ(Fill(file, 2 * i), 0);
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    ExpectCrosses(file, 2 * runs);
  }
}

TEST_F(LargeFileTest, BlocksOfLateRuns) {
  Up();
  const loff_t pages = 2 * (kRuns + 3);
  struct file* file = MakeFile(pages, {pages - 1});
  ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
  for (loff_t i = 0; i < pages; i += 2) ASSERT_EQ(Fill(file, i), 0);
  ExpectCrosses(file, pages);
}

// What is reserved takes blocks, too: holes between pages, regions of one page.
TEST_F(LargeFileTest, BlocksOfReservedRuns) {
  for (const loff_t runs : {kRuns, kRuns + 1}) {
    Up();
    struct file* file = MakeFile(2 * runs, {});
    for (loff_t i = 0; i < runs; ++i) ASSERT_EQ(Fill(file, 2 * i), 0);
    Reserve(file, 0, 2 * runs);
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    ExpectCrosses(file, 2 * runs);

    Up();
    file = MakeFile(2 * runs, {});
    for (loff_t i = 0; i < runs; ++i) Reserve(file, 2 * i, 2 * i + 1);
    ASSERT_EQ(PreserveFd(Session(), 1, file), 0);
    ASSERT_EQ(Fill(file, 4), 0);
    ExpectCrosses(file, 2 * runs);
  }
}

// Free pages with others between them: a run for each.
TEST_F(LargeFileTest, BlocksOfFreeRuns) {
  for (const loff_t runs : {kRuns, kRuns + 1, kRuns + 2}) {
    Up();
    ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
    struct file* file = MakeFile(720, {});
    ASSERT_EQ(Fill(file, 0, 720), 0);
    std::vector<std::pair<uint64_t, loff_t>> pages;
    for (loff_t i = 0; i < 720; ++i) pages.emplace_back(FrameAt(file, i), i);
    std::sort(pages.begin(), pages.end());
    std::vector<uint64_t> frames;
    for (size_t i = 0; i < static_cast<size_t>(runs); ++i) {
      const auto& [frame, index] = pages[2 * i];
      ASSERT_EQ(VfsFallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             index * k16K, k16K),
                0);
      frames.push_back(frame);
    }
    EXPECT_TRUE(Run("agent", [] { hugetlb_luo_hand_over_free(); }));
    const std::vector<HandedFile> handed = Handed();
    ASSERT_EQ(handed.size(), 1u);
    std::vector<uint64_t> found;
    for (const auto& page : handed[0].pages)
      found.push_back(static_cast<uint64_t>(page.frame));
    EXPECT_EQ(found, frames);
  }
}

// All of it can be undone.
// Each block of the table has to be there before any page is taken down.
TEST_F(LargeFileTest, FailuresOfBlocksForFreePages) {
  bool fired = true;
  int nth = 0;
  std::vector<int> without;
  while (fired) {
    ASSERT_LT(++nth, 100);
    Up();
    ASSERT_EQ(PreserveFreeStore(k16K, true), 0);
    machine_.set_fault_plan({FailKind::kAlloc, nth});
    EXPECT_TRUE(Run("agent", [] { hugetlb_luo_hand_over_free(); }));
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    if (fired && Handed().size() == 1) without.push_back(nth);
    EXPECT_TRUE(fired || Handed().size() == 1);
    ASSERT_FALSE(HasFailure()) << nth;
  }
  // Only the list of where they are is made in another way: vmalloc() has it.
  EXPECT_EQ(without, std::vector<int>{1});
  EXPECT_GT(nth, 6);
}

TEST_F(LargeFileTest, BlocksAreFreed) {
  Up();
  const KhoKeySet keys = KhoOutgoing();
  struct file* file = MakeFile(4 * kRuns + 4, {});
  for (loff_t i = 0; i < kRuns + 1; ++i) ASSERT_EQ(Fill(file, 4 * i), 0);
  Reserve(file, 1, 2);
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  const KhoKeySet preserved = KhoOutgoing();
  for (loff_t i = 0; i < kRuns + 1; ++i) ASSERT_EQ(Fill(file, 4 * i + 2), 0);
  ASSERT_EQ(Freeze(&args), 0);
  EXPECT_EQ(PagesHanded(), 2 * kRuns + 2);
  Unfreeze(&args);
  EXPECT_EQ(KhoOutgoing(), preserved);
  Unpreserve(&args);
  EXPECT_EQ(KhoOutgoing(), keys);
  fput(file);
  ExpectNothingLeft();
}

// --- Control groups

class CgroupTest : public HugetlbLuoTest {
 protected:
  static constexpr unsigned long kPage = k16K / 4096;
  static constexpr CgroupLimit kLimits[] = {
      CgroupLimit::kUsage, CgroupLimit::kRsvd, CgroupLimit::kMemory};

  // c0, c1 in it, and c2; p0 is in c1, p1 in c2.
  void Groups() {
    ASSERT_EQ(CgroupMake(0, kRootCgroup), 0);
    ASSERT_EQ(CgroupMake(1, 0), 0);
    ASSERT_EQ(CgroupMake(2, kRootCgroup), 0);
    ASSERT_EQ(CgroupJoin(ActorByName("p0"), 1), 0);
    ASSERT_EQ(CgroupJoin(ActorByName("p1"), 2), 0);
  }
  // Pages 0 and 1, and 4 and 5 reserved, by p0; page 2 by p1.
  struct file* ChargedFile() {
    struct file* file = nullptr;
    Call("p0", [&file] {
      file = MakeFile(6, {0, 1});
      Reserve(file, 4, 6);
      return 0;
    });
    EXPECT_EQ(Call("p1", [file] { return Fill(file, 2); }), 0);
    return file;
  }
  // A page of a group's counter, in huge pages.
  static unsigned long Charged(int name, CgroupLimit what) {
    struct cgroup* cgrp = CgroupNamed(name);
    const int idx = hstate_index(size_to_hstate(k16K));
    const struct hugetlb_cgroup* h_cg = HugetlbCgroupOf(cgrp);
    const unsigned long usage =
        what == CgroupLimit::kUsage  ? h_cg->hugepage[idx].usage
        : what == CgroupLimit::kRsvd ? h_cg->rsvd_hugepage[idx].usage
                                     : MemCgroupOf(cgrp)->memory.usage;
    EXPECT_EQ(usage % kPage, 0u);
    return usage / kPage;
  }
  static void ExpectCharged(int name, unsigned long usage, unsigned long rsvd,
                            unsigned long memory) {
    EXPECT_EQ(Charged(name, CgroupLimit::kUsage), usage) << "c" << name;
    EXPECT_EQ(Charged(name, CgroupLimit::kRsvd), rsvd) << "c" << name;
    EXPECT_EQ(Charged(name, CgroupLimit::kMemory), memory) << "c" << name;
  }
  static void Limit(int name, CgroupLimit what, unsigned long pages) {
    ASSERT_EQ(CgroupSetLimit(name, what, size_to_hstate(k16K), pages * kPage),
              0);
  }
  static void NoLimit(int name, CgroupLimit what) {
    ASSERT_EQ(
        CgroupSetLimit(name, what, size_to_hstate(k16K), PAGE_COUNTER_MAX), 0);
  }
  int Retrieve(struct file* session, struct file** file) {
    return Call("agent", [&] { return RetrieveFd(session, 1, file); });
  }
  // The file is preserved, and another kernel runs.
  void HandOver(struct file* file) {
    struct file* session = Session();
    ASSERT_EQ(Call("agent", [&] { return PreserveFd(session, 1, file); }), 0);
    NextKernel();
  }
  void Finished(struct file* session, struct file* file) {
    EXPECT_EQ(Finish(session), 0);
    EXPECT_EQ(SessionRelease(session), 0);
    if (file != nullptr) fput(file);
    for (const char* task : {"p0", "p1", "agent"})
      CgroupJoin(ActorByName(task), kRootCgroup);
    // Those without children first.
    for (int name : {1, 0, 2, 3}) {
      if (CgroupNamed(name) == nullptr) continue;
      ExpectCharged(name, 0, 0, 0);
      EXPECT_EQ(CgroupRemove(name), 0);
    }
    int left = 0;
    ForEachCgroup([&left](const CgroupSlot&) { ++left; });
    EXPECT_EQ(left, 1) << "only the root";
    ExpectNothingLeft();
  }
};

TEST_F(CgroupTest, OwnersAreChargedAgain) {
  Up();
  Groups();
  struct file* file = ChargedFile();
  ExpectCharged(1, 2, 4, 2);
  ExpectCharged(0, 2, 4, 2);
  ExpectCharged(2, 1, 1, 1);
  HandOver(file);
  Groups();
  struct file* session = Incoming();
  ExpectCharged(1, 0, 0, 0);
  ASSERT_EQ(Retrieve(session, &file), 0);
  ExpectCharged(1, 2, 4, 2);
  ExpectCharged(0, 2, 4, 2);
  ExpectCharged(2, 1, 1, 1);
  EXPECT_EQ(Charged(kRootCgroup, CgroupLimit::kUsage), 3u);
  // They let go of it page by page, and of what is reserved.
  EXPECT_EQ(VfsTruncate(file, 5 * k16K), 0);
  ExpectCharged(1, 2, 3, 2);
  EXPECT_EQ(VfsTruncate(file, 1 * k16K), 0);
  ExpectCharged(1, 1, 1, 1);
  ExpectCharged(2, 0, 0, 0);
  Finished(session, file);
}

// One for all that is charged to the same groups, however many pages and
// regions that is.
TEST_F(CgroupTest, OwnersAreWrittenDownOnce) {
  Up();
  Groups();
  struct file* file = nullptr;
  Call("p0", [&file] {
    file = MakeFile(10, {0, 2, 4});
    for (const loff_t index : {5, 7, 9}) Reserve(file, index, index + 1);
    return 0;
  });
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  ASSERT_EQ(Freeze(&args), 0);
  EXPECT_EQ(ReadTableView().files.at(0).nr_owners, 2u);
  Unfreeze(&args);
  Unpreserve(&args);
  fput(file);
}

TEST_F(CgroupTest, WhoAsksIsChargedIfTheOwnerIsGone) {
  Up();
  Groups();
  HandOver(ChargedFile());
  // c1 is elsewhere, and so it is another one.
  ASSERT_EQ(CgroupMake(1, kRootCgroup), 0);
  ASSERT_EQ(CgroupMake(2, kRootCgroup), 0);
  ASSERT_EQ(CgroupMake(3, kRootCgroup), 0);
  ASSERT_EQ(CgroupJoin(ActorByName("agent"), 3), 0);
  struct file* session = Incoming();
  struct file* file = nullptr;
  ASSERT_EQ(Retrieve(session, &file), 0);
  ExpectCharged(1, 0, 0, 0);
  ExpectCharged(2, 1, 1, 1);
  ExpectCharged(3, 2, 4, 2);
  Finished(session, file);
}

// Whom nobody was charged for nobody is; and who cannot be charged is not.
TEST_F(CgroupTest, ControllersAreDisabled) {
  for (bool before : {false, true}) {
    config_.cmdline =
        std::string(kCmdline) +
        (before ? " cgroup_disable=hugetlb,memory" : " cgroup_disable=cpu");
    Up();
    Groups();
    struct file* file = ChargedFile();
    Args args = ArgsOf(file);
    ASSERT_EQ(Preserve(&args), 0);
    ASSERT_EQ(Freeze(&args), 0);
    // All of c1's pages with one owner, their reservation with another.
    EXPECT_EQ(ReadTableView().files[0].owners.size(), before ? 0u : 3u);
    EXPECT_EQ(ReservedHanded(), 2u);
    EXPECT_EQ(PagesHanded(), 3);
    Unfreeze(&args);
    Unpreserve(&args);
    config_.cmdline = std::string(kCmdline) +
                      (before ? "" : " cgroup_disable=memory,hugetlb");
    HandOver(file);
    Groups();
    struct file* session = Incoming();
    ASSERT_EQ(Retrieve(session, &file), 0);
    for (int name : {0, 1, 2, kRootCgroup}) ExpectCharged(name, 0, 0, 0);
    EXPECT_EQ(RegionsOf(file), (Ranges{{0, 3}, {4, 6}}));
    Finished(session, file);
    ASSERT_FALSE(HasFailure()) << before;
  }
}

// One controller is there and the other is not: each has its own charges.
TEST_F(CgroupTest, OneControllerIsDisabled) {
  for (const bool memory : {false, true}) {
    config_.cmdline = kCmdline;
    Up();
    Groups();
    struct file* file = ChargedFile();
    config_.cmdline = std::string(kCmdline) +
                      " cgroup_disable=" + (memory ? "memory" : "hugetlb");
    HandOver(file);
    Groups();
    struct file* session = Incoming();
    ASSERT_EQ(Retrieve(session, &file), 0);
    for (const int name : {0, 1}) {
      ExpectCharged(name, memory ? 2 : 0, memory ? 4 : 0, memory ? 0 : 2);
    }
    ExpectCharged(2, memory, memory, !memory);
    Finished(session, file);
    ASSERT_FALSE(HasFailure()) << memory;
  }
}

// Regions of nobody, whom the kernel did not charge that made them, next to one
// of somebody, and one run of pages in all of them: what nobody is charged for
// is not listed where there is a page.
TEST_F(CgroupTest, OneRunInRegionsOfSeveral) {
  config_.cmdline = std::string(kCmdline) + " cgroup_disable=memory,hugetlb";
  Up();
  struct file* file = MakeFile(4, {});
  Reserve(file, 0, 2);
  Reserve(file, 3, 4);
  config_.cmdline = kCmdline;
  HandOver(file);
  Groups();
  struct file* session = Incoming();
  ASSERT_EQ(Retrieve(session, &file), 0);

  // Pages side by side are what is free next.
  struct file* rest = MakeFile(static_cast<loff_t>(Pool().nr), {});
  loff_t nr = 0;
  while (Pool().free > Pool().resv) ASSERT_EQ(Fill(rest, nr++), 0);
  constexpr uint64_t kFrames = k16K / 4096;
  std::map<uint64_t, loff_t> index_of;
  for (loff_t i = 0; i < nr; ++i) index_of[folio_pfn(PageAt(rest, i))] = i;
  uint64_t first = 0;
  for (const auto& [frame, index] : index_of) {
    bool all = true;
    for (uint64_t i = 1; i < 4; ++i)
      all &= index_of.contains(frame + i * kFrames);
    if (all) first = frame;
  }
  ASSERT_NE(first, 0u);
  for (uint64_t i = 4; i-- > 0;) {
    ASSERT_EQ(VfsFallocate(rest, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           index_of[first + i * kFrames] * k16K, k16K),
              0);
  }
  Call("p0", [file] {
    Reserve(file, 2, 3);
    return Fill(file, 0, 4);
  });
  EXPECT_EQ(RegionsOf(file, false), (Ranges{{0, 2}, {2, 3}, {3, 4}}));
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  ASSERT_EQ(Freeze(&args), 0);
  const TableView view = ReadTableView();
  ASSERT_EQ(view.files.size(), 1u);
  ASSERT_EQ(view.files[0].runs.blocks.size(), 1u);
  EXPECT_EQ(view.files[0].runs.blocks[0].runs.size(), 1u);
  ASSERT_EQ(view.files[0].resv.blocks.size(), 1u);
  ASSERT_EQ(view.files[0].resv.blocks[0].runs.size(), 1u);
  EXPECT_EQ(view.files[0].resv.blocks[0].runs[0].index, 2u);
  EXPECT_EQ(view.files[0].resv.blocks[0].runs[0].pages, 1u);
  EXPECT_EQ(PagesHanded(), 4);
  Unfreeze(&args);
  Unpreserve(&args);
  fput(rest);
  Finished(session, file);
}

TEST_F(CgroupTest, LimitsThatAreTooLow) {
  for (CgroupLimit limit : kLimits) {
    for (int name : {0, 1, 2}) {
      Up();
      Groups();
      HandOver(ChargedFile());
      Groups();
      Limit(name, limit, name == 2 ? 0 : 1);
      struct file* session = Incoming();
      struct file* file = nullptr;
      const uint64_t free = Pool().free;
      for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(Retrieve(session, &file), -EAGAIN);
        for (int group : {0, 1, 2, kRootCgroup}) ExpectCharged(group, 0, 0, 0);
        EXPECT_EQ(Pool().free, free);
        EXPECT_EQ(LiveFiles(), 0);
      }
      EXPECT_TRUE(LogHas(
          limit == CgroupLimit::kUsage  ? ", hugetlb limit of control group /c"
          : limit == CgroupLimit::kRsvd ? ", hugetlb rsvd limit of control "
                                          "group /c"
                                        : ", memory limit of control group "
                                          "/c"));
      NoLimit(name, limit);
      ASSERT_EQ(Retrieve(session, &file), 0);
      ExpectCharged(0, 2, 4, 2);
      Finished(session, file);
      ASSERT_FALSE(HasFailure()) << name << " " << static_cast<int>(limit);
    }
  }
}

// Nor are charges left behind when the regions that they are for cannot be
// added.
TEST_F(CgroupTest, RegionsThatFail) {
  bool fired = true;
  int failed = 0;
  for (int nth = 1; fired; ++nth) {
    ASSERT_LT(nth, 10);
    Up();
    Groups();
    HandOver(ChargedFile());
    Groups();
    struct file* session = Incoming();
    struct file* file = nullptr;
    machine_.set_fault_plan({FailKind::kRace, nth});
    const int err = Retrieve(session, &file);
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    EXPECT_EQ(err, fired ? -EAGAIN : 0);
    if (fired) {
      ++failed;
      for (int group : {0, 1, 2, kRootCgroup}) ExpectCharged(group, 0, 0, 0);
      ASSERT_EQ(Retrieve(session, &file), 0);
    }
    ExpectCharged(0, 2, 4, 2);
    ExpectCharged(1, 2, 4, 2);
    ExpectCharged(2, 1, 1, 1);
    Finished(session, file);
    ASSERT_FALSE(HasFailure()) << nth;
  }
  EXPECT_GT(failed, 0);
}

// There may be no memory to say which limit it was.
TEST_F(CgroupTest, LimitsWithoutMemory) {
  bool fired = true;
  int unknown = 0;
  for (int nth = 1; fired; ++nth) {
    ASSERT_LT(nth, 100);
    Up();
    Groups();
    HandOver(ChargedFile());
    Groups();
    Limit(1, CgroupLimit::kUsage, 1);
    struct file* session = Incoming();
    struct file* file = nullptr;
    machine_.set_fault_plan({FailKind::kAlloc, nth});
    EXPECT_EQ(Retrieve(session, &file), -EAGAIN);
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    unknown += LogHas("limit of control group (unknown)");
    NoLimit(1, CgroupLimit::kUsage);
    ASSERT_EQ(Retrieve(session, &file), 0);
    Finished(session, file);
    ASSERT_FALSE(HasFailure()) << nth;
  }
  EXPECT_EQ(unknown, 1);
}

TEST_F(CgroupTest, FinishedAfterALimit) {
  Up();
  Groups();
  HandOver(ChargedFile());
  Groups();
  Limit(1, CgroupLimit::kUsage, 1);
  struct file* session = Incoming();
  struct file* file = nullptr;
  EXPECT_EQ(Retrieve(session, &file), -EAGAIN);
  Finished(session, nullptr);
}

// What was charged to a group that is removed afterwards is its parent's: the
// next kernel may have another one of that name.
TEST_F(CgroupTest, RemovedAfterPreserve) {
  Up();
  Groups();
  struct file* file = ChargedFile();
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  ASSERT_EQ(CgroupJoin(ActorByName("p0"), kRootCgroup), 0);
  ASSERT_EQ(CgroupRemove(1), 0);
  ASSERT_EQ(Freeze(&args), 0);
  const uint64_t c0 = CgroupNumber(&CgroupNamed(0)->self);
  const std::vector<HandedFile> files = Handed();
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].pages[0].owners, (handover::model::Owners{c0, c0, c0}));
  ASSERT_EQ(files[0].reserved.size(), 1u);
  EXPECT_EQ(files[0].reserved[0].owner, c0);
  Unfreeze(&args);
  Unpreserve(&args);
  fput(file);
  ASSERT_EQ(CgroupJoin(ActorByName("p1"), kRootCgroup), 0);
  EXPECT_EQ(CgroupRemove(0), 0);
  EXPECT_EQ(CgroupRemove(2), 0);
  ExpectNothingLeft();
}

// Their owners come and go with them.
TEST_F(CgroupTest, OwnersOfLatePages) {
  Up();
  Groups();
  struct file* file = MakeFile(3, {0});
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  EXPECT_EQ(Call("p0", [file] { return Fill(file, 1); }), 0);
  EXPECT_EQ(Call("p1", [file] { return Fill(file, 2); }), 0);
  const KhoKeySet keys = KhoOutgoing();
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(Freeze(&args), 0);
    EXPECT_EQ(ReadTableView().files[0].owners.size(), 3u);
    EXPECT_EQ(PagesHanded(), 3);
    Unfreeze(&args);
    EXPECT_EQ(KhoOutgoing(), keys);
  }
  for (int nth = 1; nth <= 3; ++nth) {
    machine_.set_fault_plan({FailKind::kRace, nth});
    EXPECT_EQ(Freeze(&args), -ENAMETOOLONG);
    machine_.set_fault_plan({});
    EXPECT_EQ(KhoOutgoing(), keys);
  }
  ASSERT_EQ(Freeze(&args), 0);
  EXPECT_EQ(PagesHanded(), 3);
  Unfreeze(&args);
  Unpreserve(&args);
  fput(file);
  ExpectNothingLeft();
}

// One that was frozen already, and is gone when the next freeze is done: what
// was the last but one is the last, with another checksum.
TEST_F(CgroupTest, OwnerOfALatePageIsGone) {
  Up();
  Groups();
  ASSERT_EQ(CgroupJoin(ActorByName("p0"), 0), 0);
  ASSERT_EQ(CgroupJoin(ActorByName("p1"), 1), 0);
  struct file* file = nullptr;
  Call("p0", [&file] {
    file = MakeFile(3, {});
    Reserve(file, 0, 3);
    return Fill(file, 0);
  });
  Args args = ArgsOf(file);
  ASSERT_EQ(Preserve(&args), 0);
  EXPECT_EQ(Call("p1", [file] { return Fill(file, 1); }), 0);
  ASSERT_EQ(Freeze(&args), 0);
  const size_t owners = ReadTableView().files[0].owners.size();
  EXPECT_EQ(PagesHanded(), 2);
  Unfreeze(&args);
  ASSERT_EQ(CgroupJoin(ActorByName("p1"), kRootCgroup), 0);
  ASSERT_EQ(CgroupRemove(1), 0);
  ASSERT_EQ(Freeze(&args), 0);
  EXPECT_EQ(ReadTableView().files[0].owners.size(), owners - 1);
  EXPECT_EQ(PagesHanded(), 2);
  Unfreeze(&args);
  Unpreserve(&args);
  fput(file);
  ExpectNothingLeft();
}

TEST_F(CgroupTest, PathsThatAreTooLong) {
  Up();
  Groups();
  struct file* file = ChargedFile();
  struct file* session = Session();
  const KhoKeySet keys = KhoOutgoing();
  for (int nth = 1; nth <= 3; ++nth) {
    machine_.set_fault_plan({FailKind::kRace, nth});
    EXPECT_EQ(PreserveFd(session, 1, file), -ENAMETOOLONG);
    machine_.set_fault_plan({});
    EXPECT_EQ(KhoOutgoing(), keys);
  }
  EXPECT_EQ(PreserveFd(session, 1, file), 0);
  EXPECT_EQ(SessionRelease(session), 0);
  fput(file);
  // Also that of who is charged for nothing but what is reserved.
  file = MakeFile(6, {0});
  EXPECT_EQ(Call("p0",
                 [file] {
                   Reserve(file, 4, 6);
                   return 0;
                 }),
            0);
  bool fired = true;
  int failed = 0;
  for (int nth = 1; fired; ++nth) {
    Args args = ArgsOf(file);
    machine_.set_fault_plan({FailKind::kRace, nth});
    const int err = Preserve(&args);
    fired = machine_.fault_fired();
    machine_.set_fault_plan({});
    EXPECT_EQ(err, fired ? -ENAMETOOLONG : 0) << nth;
    if (err == 0) Unpreserve(&args);
    failed += fired;
  }
  EXPECT_EQ(failed, 4);  // the first page has three
  fput(file);
  ExpectNothingLeft();
}

// Whoever is removed while the file comes back: somebody is charged, and only
// for as long as the file is there.
TEST_F(CgroupTest, RemovedWhileRetrieved) {
  Up();
  Groups();
  HandOver(ChargedFile());
  Groups();
  uint64_t steps = 1;
  for (uint64_t step = 1; step <= steps; ++step) {
    struct file* session = Incoming();
    struct file* file = nullptr;
    ASSERT_EQ(CgroupJoin(ActorByName("p0"), kRootCgroup), 0);
    int removed = 1;
    PlanDuring(step, ActorByName("admin"),
               [&removed] { removed = CgroupRemove(1); });
    int ret = 1;
    ASSERT_TRUE(Run("agent", [&] { ret = RetrieveFd(session, 1, &file); }));
    steps = std::max(steps, StepsOfLastRun());
    EXPECT_EQ(removed, 0);
    if (ret == -EAGAIN) ret = Retrieve(session, &file);
    ASSERT_EQ(ret, 0);
    EXPECT_EQ(Charged(kRootCgroup, CgroupLimit::kUsage), 3u);
    EXPECT_EQ(Charged(kRootCgroup, CgroupLimit::kRsvd), 5u);
    ASSERT_EQ(CgroupMake(1, 0), 0);
    ExpectCharged(1, 0, 0, 0);
    Finished(session, file);
    ASSERT_FALSE(HasFailure()) << "step " << step;
    Groups();
    HandOver(ChargedFile());
    Groups();
  }
  EXPECT_GT(steps, 20u);
  struct file* session = Incoming();
  Finished(session, nullptr);
}

TEST_F(CgroupTest, RemovedWhilePreserved) {
  Up();
  uint64_t steps = 1;
  for (uint64_t step = 1; step <= steps; ++step) {
    Groups();
    struct file* file = ChargedFile();
    struct file* session = Session();
    ASSERT_EQ(CgroupJoin(ActorByName("p0"), kRootCgroup), 0);
    PlanDuring(step, ActorByName("admin"),
               [] { EXPECT_EQ(CgroupRemove(1), 0); });
    int ret = 1;
    ASSERT_TRUE(Run("agent", [&] { ret = PreserveFd(session, 1, file); }));
    steps = std::max(steps, StepsOfLastRun());
    EXPECT_EQ(ret, 0);
    NextKernel();
    Groups();
    session = Incoming();
    ASSERT_EQ(Retrieve(session, &file), 0);
    ExpectCharged(0, 2, 4, 2);
    ExpectCharged(1, 0, 0, 0);
    Finished(session, file);
    ASSERT_FALSE(HasFailure()) << "step " << step;
  }
  EXPECT_GT(steps, 10u);
}

}  // namespace
}  // namespace sim
