// SPDX-License-Identifier: BSD-3-Clause
//
// Two versions of kernel/new in a chain of kernels, in which a later one has
// another table: this program is linked with both
// (scripts/lib/other_version.py). A kernel refuses what the other version left,
// boots all the same, and keeps that memory.
#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "sim/liveupdate/kho.h"
#include "sim/liveupdate/luo.h"
#include "sim/liveupdate/test_kernel.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_hooks.h"
#include "sim/mm/hugetlb_sysfs.h"
#include "sim/mm/memfd.h"
#include "sim/mm/slab.h"
#include "sim/mm/vfs.h"

extern "C" {
extern int other_version_now, other_version_next;
using Initcall = int (*)(void);
extern Initcall __start_sim_initcall7[], __stop_sim_initcall7[];
extern Initcall __start_other_sim_initcall7[], __stop_other_sim_initcall7[];
}

namespace sim {
namespace {

constexpr loff_t k16K = 16 << 10;
constexpr int kPages = 3;
constexpr char kCmdline[] =
    "kho=on liveupdate=on hugepagesz=16K hugepages=0:4,1:4 hugepagesz=64K "
    "hugepages=1";
constexpr char kWhy[] = "pages refused: version";

Initcall g_this_init, g_other_init;
int InitOfThisKernel() {
  return other_version_now ? g_other_init() : g_this_init();
}

// What runs: the sources as they are, or those of the other version.
enum Version { kThis, kOther };

class VersionsTest : public KernelTest {
 protected:
  VersionsTest() : KernelTest(MakeGeometry("small", 2).value()) {
    config_.has_luo_hugetlb = true;
    config_.cmdline = kCmdline;
  }
  static void SetUpTestSuite() {
    if (g_this_init != nullptr) return;
    ASSERT_EQ(__stop_sim_initcall7 - __start_sim_initcall7, 1);
    ASSERT_EQ(__stop_other_sim_initcall7 - __start_other_sim_initcall7, 1);
    g_this_init = __start_sim_initcall7[0];
    g_other_init = __start_other_sim_initcall7[0];
    ASSERT_NE(g_this_init, g_other_init);
    __start_sim_initcall7[0] = InitOfThisKernel;
  }

  void Up(Version version) {
    other_version_next = version;
    ASSERT_TRUE(PowerCut(config_));
    ASSERT_EQ(other_version_now, version);
    ASSERT_EQ(LuoOpen(), 0);
  }
  void NextKernel(Version version) {
    other_version_next = version;
    KexecKernel();
    ASSERT_EQ(other_version_now, version);
    ASSERT_EQ(LuoOpen(), 0);
  }
  int LogCount(const char* text) const {
    return static_cast<int>(
        std::count_if(machine_.log().begin(), machine_.log().end(),
                      [text](const std::string& line) {
                        return line.find(text) != std::string::npos;
                      }));
  }
  static struct file* Session(const char* name) {
    struct file* session = nullptr;
    EXPECT_EQ(SessionCreate(name, &session), 0);
    return session;
  }
  static struct file* Incoming(const char* name) {
    struct file* session = nullptr;
    EXPECT_EQ(SessionRetrieve(name, &session), 0);
    return session;
  }
  // A file of kPages pages with their numbers in them.
  struct file* MakeFile() {
    struct file* file = MemfdCreate(MFD_HUGETLB | MFD_ALLOW_SEALING | MFD_EXEC |
                                    14 << MFD_HUGE_SHIFT);
    EXPECT_FALSE(IS_ERR(file));
    EXPECT_EQ(VfsFallocate(file, 0, 0, kPages * k16K), 0);
    for (int i = 0; i < kPages; ++i) {
      frames_[i] = FrameOf(file, i);
      machine_.memory().MarkDirty(frames_[i]);
      std::memset(BytesOf(i), 'a' + i, PAGE_SIZE);
    }
    return file;
  }
  static uint64_t FrameOf(struct file* file, int index) {
    struct folio* folio = filemap_get_folio(
        file->f_mapping, static_cast<pgoff_t>(index)
                             << huge_page_order(hstate_file(file)));
    if (IS_ERR(folio)) return 0;
    folio_put(folio);
    return folio_pfn(folio);
  }
  char* BytesOf(int i) {
    return machine_.memory().base() + (frames_[i] << PAGE_SHIFT);
  }
  // The pages are where they were, and hold what they held.
  void ExpectContents() {
    for (int i = 0; i < kPages; ++i) {
      EXPECT_EQ(BytesOf(i)[0], 'a' + i) << i;
      EXPECT_EQ(BytesOf(i)[PAGE_SIZE - 1], 'a' + i) << i;
    }
  }
  bool Held(int i) const {
    const std::vector<KhoKey> held = KhoUnclaimed();
    return std::any_of(held.begin(), held.end(), [&](const KhoKey& key) {
      return key.phys == frames_[i] << PAGE_SHIFT && key.order == 2;
    });
  }
  static HugepageCounters Pool(int nid = -1) {
    HugepageCounters counters;
    EXPECT_EQ(HugepageCountersRead(k16K, nid, &counters), 0);
    return counters;
  }
  // As the command line asks, and with nothing that came.
  void ExpectOwnPools() {
    for (int nid = 0; nid < 2; ++nid) {
      EXPECT_EQ(Pool(nid).nr, 4u) << nid;
      EXPECT_EQ(Pool(nid).free, 4u) << nid;
      EXPECT_EQ(Pool(nid).surplus, 0u) << nid;
    }
  }
  // Pools of the other kernel's pages: all the memory that they can get.
  void TakeAllMemory() {
    EXPECT_EQ(NrHugepagesStore(k16K, 1u << 20, -1), 0);
    EXPECT_GT(Pool().nr, 8u);
    EXPECT_EQ(NrHugepagesStore(k16K, 8, -1), 0);
  }

  // A kernel of `to` finds what one of `from` left, with a file of shmem's
  // beside it.
  void Refused(Version from, Version to) {
    Up(from);
    struct file* session = Session("s");
    struct file* file = MakeFile();
    ASSERT_EQ(PreserveFd(session, 1, file), 0);
    struct file* shmem = memfd_alloc_file("test", MFD_ALLOW_SEALING);
    ASSERT_EQ(VfsTruncate(shmem, 5 * PAGE_SIZE), 0);
    ASSERT_EQ(PreserveFd(session, 2, shmem), 0);
    NextKernel(to);

    EXPECT_EQ(LogCount(kWhy), 1);
    ExpectOwnPools();
    for (int i = 0; i < kPages; ++i) EXPECT_TRUE(Held(i)) << i;
    TakeAllMemory();
    session = Incoming("s");
    EXPECT_EQ(RetrieveFd(session, 1, &file), -ENOENT);
    ASSERT_EQ(RetrieveFd(session, 2, &shmem), 0);
    EXPECT_EQ(i_size_read(file_inode(shmem)), 5 * PAGE_SIZE);
    EXPECT_EQ(Finish(session), 0);
    EXPECT_EQ(SessionRelease(session), 0);
    fput(shmem);

    TakeAllMemory();
    ExpectContents();
    for (int i = 0; i < kPages; ++i) EXPECT_TRUE(Held(i)) << i;
    // Its device may still write there: nobody else is to get that memory.
    EXPECT_EQ(RebootCall(), -EBUSY);
    EXPECT_EQ(Pool().free, 8u);
    EXPECT_EQ(LiveFiles(), 0);
    EXPECT_EQ(LiveInodes(), 0);
    EXPECT_TRUE(VerifySlabs());
    Up(from);  // the cold reboot that it takes
    ExpectOwnPools();
    EXPECT_EQ(RebootCall(), 0);
  }

  std::array<uint64_t, kPages> frames_ = {};
};

TEST_F(VersionsTest, ALaterVersionIsRefused) { Refused(kOther, kThis); }

TEST_F(VersionsTest, AnEarlierVersionIsRefused) { Refused(kThis, kOther); }

// Or the tests above would show nothing.
TEST_F(VersionsTest, TheOtherVersionUnderstandsItself) {
  for (const Version version : {kThis, kOther}) {
    Up(version);
    struct file* file = MakeFile();
    ASSERT_EQ(PreserveFd(Session("s"), 1, file), 0);
    NextKernel(version);
    EXPECT_EQ(LogCount(kWhy), 0);
    struct file* session = Incoming("s");
    ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
    ExpectContents();
    for (int i = 0; i < kPages; ++i) EXPECT_EQ(FrameOf(file, i), frames_[i]);
    EXPECT_EQ(Finish(session), 0);
    EXPECT_EQ(SessionRelease(session), 0);
    fput(file);
    EXPECT_EQ(Pool().free, 8u);
  }
}

// Nothing was handed over, so there is nothing to lose.
TEST_F(VersionsTest, AnUpdateWithoutFilesGoesBothWays) {
  Up(kThis);
  for (const Version version : {kOther, kThis, kOther, kOther}) {
    NextKernel(version);
    EXPECT_EQ(LogCount(kWhy), 0);
    ExpectOwnPools();
  }
}

}  // namespace
}  // namespace sim
