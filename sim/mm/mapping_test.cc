// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/mapping.h"

#include <random>

#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_test_kernel.h"
#include "sim/mm/shmem.h"

namespace sim {
namespace {

class MappingTest : public HugetlbTest {};

TEST_F(MappingTest, SharedPrivateAndHoles) {
  BootKernel("hugepagesz=16K hugepages=8");
  Run("p0", [&] {
    struct mm_struct* mm = MmAlloc();
    struct file* file = MemfdCreate(HugeFlag(k16K));
    Mapping* shared = Mmap(mm, file, 0, 3, kMapWrite);
    EXPECT_EQ(i_size_read(file_inode(file)), static_cast<loff_t>(3 * k16K));
    EXPECT_EQ(Counters(k16K).resv, 3u);
    EXPECT_EQ(Store(shared, 0, 8, 0x11), 0);
    EXPECT_EQ(Counters(k16K).resv, 2u);
    EXPECT_EQ(Counters(k16K).free, 7u);

    Mapping* copy = Mmap(mm, file, 0, 3, kMapWrite | kMapPrivate);
    EXPECT_EQ(Counters(k16K).resv, 5u);
    u64 value = 0;
    EXPECT_EQ(Load(copy, 0, 8, &value), 0);
    EXPECT_EQ(value, 0x11u);
    EXPECT_EQ(MappedFolio(copy, 0), MappedFolio(shared, 0));
    EXPECT_EQ(Store(copy, 0, 16, 0x22), 0);
    EXPECT_NE(MappedFolio(copy, 0), MappedFolio(shared, 0));
    EXPECT_EQ(Load(copy, 0, 8, &value), 0);
    EXPECT_EQ(value, 0x11u);
    EXPECT_EQ(Load(shared, 0, 16, &value), 0);
    EXPECT_EQ(value, 0u);
    EXPECT_EQ(Counters(k16K).resv, 4u);
    // A private page where the file has a hole: read first, then written.
    EXPECT_EQ(Load(copy, 1, 0, &value), 0);
    EXPECT_EQ(Store(copy, 1, 0, 0x33), 0);
    EXPECT_EQ(Load(shared, 1, 0, &value), 0);
    EXPECT_EQ(value, 0u);

    EXPECT_EQ(Load(shared, 3, 0, &value), kAccessSigsegv);
    EXPECT_EQ(Load(shared, 0, k16K - 4, &value), kAccessSigsegv);
    Munmap(copy);
    CheckPools();
    EXPECT_EQ(Counters(k16K).resv, 1u);
    EXPECT_EQ(VfsTruncate(file, k16K), 0);
    EXPECT_EQ(Counters(k16K).resv, 0u);
    EXPECT_EQ(Load(shared, 1, 0, &value), kAccessSigbus);
    EXPECT_EQ(Load(shared, 0, 8, &value), 0);
    EXPECT_EQ(value, 0x11u);
    MmExit(mm);
    fput(file);
  });
  CheckPools();
  CheckIdle();
}

TEST_F(MappingTest, PunchZeroesPartsAndFreesWholes) {
  BootKernel("hugepagesz=16K hugepages=4");
  Run("p0", [&] {
    struct mm_struct* mm = MmAlloc();
    struct file* file = MemfdCreate(HugeFlag(k16K));
    Mapping* mapping = Mmap(mm, file, 0, 3, kMapWrite | kMapNoReserve);
    for (unsigned page = 0; page < 3; page++) {
      EXPECT_EQ(Store(mapping, page, 0, 1), 0);
      EXPECT_EQ(Store(mapping, page, k16K - 8, 2), 0);
    }
    constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    EXPECT_EQ(VfsFallocate(file, FALLOC_FL_PUNCH_HOLE, 0, k16K), -EOPNOTSUPP);
    EXPECT_EQ(VfsFallocate(file, kPunch, k16K / 2, 2 * k16K), 0);
    EXPECT_EQ(Counters(k16K).free, 2u);
    u64 value;
    const u64 expected[3][2] = {{1, 0}, {0, 0}, {0, 2}};
    for (unsigned page = 0; page < 3; page++) {
      EXPECT_EQ(Load(mapping, page, 0, &value), 0);
      EXPECT_EQ(value, expected[page][0]);
      EXPECT_EQ(Load(mapping, page, k16K - 8, &value), 0);
      EXPECT_EQ(value, expected[page][1]);
    }
    MmExit(mm);
    fput(file);
  });
  CheckPools();
  CheckIdle();
}

TEST_F(MappingTest, NoPageIsSigbusAndNotKill) {
  BootKernel("hugepagesz=64K hugepages=1");
  Run("p0", [&] {
    struct mm_struct* mm = MmAlloc();
    struct file* file = MemfdCreate(HugeFlag(k64K));
    Mapping* mapping = Mmap(mm, file, 0, 2, kMapWrite | kMapNoReserve);
    EXPECT_EQ(Store(mapping, 0, 0, 1), 0);
    EXPECT_EQ(Store(mapping, 1, 0, 1), kAccessSigbus);
    // One allocation for the page table that fails is not the end: the access
    // is tried again.
    EXPECT_EQ(
        VfsFallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, k64K),
        0);
    Mapping* other = Mmap(mm, file, 0, 2, kMapWrite | kMapNoReserve);
    M().set_fault_plan({FailKind::kAlloc, 1});
    EXPECT_EQ(Store(other, 1, 0, 1), 0);
    EXPECT_TRUE(M().fault_fired());
    M().set_fault_plan({});
    MmExit(mm);
    fput(file);
  });
  CheckPools();
  CheckIdle();
}

TEST_F(MappingTest, Seals) {
  BootKernel("hugepagesz=64K hugepages=4");
  for (unsigned kind : {HugeFlag(k64K), 0u}) {
    const uint64_t page = kind ? k64K : PAGE_SIZE;
    Run("p0", [&] {
      struct mm_struct* mm = MmAlloc();
      struct file* plain = MemfdCreate(kind);
      EXPECT_EQ(memfd_get_seals(plain), F_SEAL_SEAL);
      EXPECT_EQ(memfd_add_seals(plain, F_SEAL_GROW), -EPERM);
      fput(plain);

      struct file* file = MemfdCreate(kind | MFD_ALLOW_SEALING);
      Mapping* mapping = Mmap(mm, file, 0, 2, kMapWrite);
      EXPECT_EQ(VfsTruncate(file, 2 * page), 0);
      EXPECT_EQ(Store(mapping, 0, 0, 7), 0);
      EXPECT_EQ(memfd_add_seals(file, 0x100), -EINVAL);
      EXPECT_EQ(memfd_add_seals(file, F_SEAL_WRITE), -EBUSY);
      EXPECT_EQ(memfd_add_seals(file, F_SEAL_SHRINK | F_SEAL_GROW), 0);
      EXPECT_EQ(VfsTruncate(file, page), -EPERM);
      EXPECT_EQ(VfsTruncate(file, 3 * page), -EPERM);
      EXPECT_EQ(VfsFallocate(file, 0, 0, 3 * page), -EPERM);

      struct folio* folio = MappedFolio(mapping, 0);
      folio_get(folio);
      Munmap(mapping);
      EXPECT_EQ(memfd_add_seals(file, F_SEAL_WRITE), -EBUSY);
      folio_put(folio);
      EXPECT_EQ(memfd_add_seals(file, F_SEAL_WRITE | F_SEAL_SEAL), 0);
      EXPECT_EQ(memfd_add_seals(file, F_SEAL_EXEC), -EPERM);
      EXPECT_EQ(PTR_ERR(Mmap(mm, file, 0, 1, kMapWrite)), -EPERM);
      mapping = Mmap(mm, file, 0, 2, 0);
      ASSERT_FALSE(IS_ERR(mapping));
      u64 value;
      EXPECT_EQ(Load(mapping, 0, 0, &value), 0);
      EXPECT_EQ(value, 7u);
      EXPECT_EQ(Store(mapping, 0, 0, 8), kAccessSigsegv);
      Mapping* copy = Mmap(mm, file, 0, 1, kMapWrite | kMapPrivate);
      ASSERT_FALSE(IS_ERR(copy));
      EXPECT_EQ(Store(copy, 0, 0, 8), 0);
      EXPECT_EQ(VfsFallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             0, page),
                -EPERM);
      struct file* reader = ReopenFile(file, true);
      EXPECT_EQ(memfd_add_seals(reader, F_SEAL_EXEC), -EPERM);
      EXPECT_EQ(VfsFallocate(reader, 0, 0, page), -EBADF);
      fput(reader);
      MmExit(mm);
      fput(file);

      struct file* noexec = MemfdCreate(kind | MFD_NOEXEC_SEAL);
      EXPECT_EQ(memfd_get_seals(noexec), F_SEAL_EXEC);
      EXPECT_EQ(file_inode(noexec)->i_mode & S_IXUGO, 0);
      fput(noexec);
    });
    CheckPools();
    CheckIdle();
  }
}

// Migration takes a mapped page elsewhere; programs do not notice.
TEST_F(MappingTest, StoresDuringMigration) {
  BootKernel("hugepagesz=16K hugepages=4");
  struct mm_struct* mm;
  struct file* file;
  Mapping* mapping;
  for (unsigned step = 1; step < 200; step++) {
    Run("p0", [&] {
      mm = MmAlloc();
      file = MemfdCreate(HugeFlag(k16K));
      mapping = Mmap(mm, file, 0, 1, kMapWrite);
      EXPECT_EQ(Store(mapping, 0, 0, 1), 0);
    });
    PlanDuring(step, ActorByName("p0"),
               [&] { EXPECT_EQ(Store(mapping, 0, 8, 2), 0); });
    Run("admin", [&] {
      struct folio* old_folio = MappedFolio(mapping, 0);
      struct folio* fresh = alloc_hugetlb_folio_nodemask(
          size_to_hstate(k16K), 0, nullptr,
          htlb_alloc_mask(size_to_hstate(k16K)), true);
      folio_lock(old_folio);
      sim_try_to_migrate(old_folio);
      if (!folio_mapped(old_folio) && folio_ref_count(old_folio) == 4 + 1) {
        Step("copy");
        CopyUserFolio(fresh, old_folio);
        Step("copied");
      }
      sim_remap_folio(old_folio, old_folio);
      folio_unlock(old_folio);
      folio_put(fresh);
    });
    u64 value = 0;
    Run("p0", [&] {
      EXPECT_EQ(Load(mapping, 0, 8, &value), 0);
      EXPECT_EQ(value, 2u);
      MmExit(mm);
      fput(file);
    });
    CheckPools();
    CheckIdle();
  }
}

// ---------------------------------------------------------------------------
// Random histories of two processes and an administrator.

class RandomTest : public MappingTest {
 protected:
  static constexpr int kFiles = 3;
  static constexpr int kMaps = 4;

  void Start(const char* cmdline, bool shmem) {
    BootKernel(cmdline);
    shmem_ = shmem;
    free_pages_ = FreePages();
    objects_ = SlabInUse().objects;
    Run("p0", [&] {
      mm_[0] = MmAlloc();
      mm_[1] = MmAlloc();
    });
  }

  uint64_t Size(int file) const {
    return shmem_ ? PAGE_SIZE : file == 2 ? k64K : k16K;
  }

  // One random act of a process. Results are not looked at, but for loads.
  void Act(std::mt19937* random, int p) {
    const unsigned op = (*random)() % 12;
    const int f = static_cast<int>((*random)() % kFiles);
    const unsigned long page = (*random)() % 6;
    const unsigned long len = 1 + (*random)() % 4;
    const unsigned flags = (*random)() % 8;
    struct file*& file = file_[f];
    Mapping*& map = map_[p][(*random)() % kMaps];
    const auto bytes = static_cast<loff_t>(Size(f));
    constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    switch (op) {
      case 0:
        if (file || !alone_) break;
        file =
            MemfdCreate(MFD_ALLOW_SEALING | (shmem_ ? 0 : HugeFlag(Size(f))));
        if (IS_ERR(file)) file = nullptr;
        break;
      case 1:
        if (!file || !alone_ || (*random)() % 3) break;
        fput(file);
        file = nullptr;
        break;
      case 2:
      case 3:
        if (!file || map) break;
        map = Mmap(mm_[p], file, page, len, flags);
        if (IS_ERR(map)) map = nullptr;
        break;
      case 4:
        if (!map) break;
        Munmap(map);
        map = nullptr;
        break;
      case 5:
      case 6:
      case 7: {
        if (!map) break;
        const unsigned long at = (*random)() % map->nr_pages;
        const u64 value = (*random)();
        if (Store(map, at, 0, value) || !alone_) break;
        u64 seen = 0;
        EXPECT_EQ(Load(map, at, 0, &seen), 0);
        EXPECT_EQ(seen, value);
        break;
      }
      case 8: {
        u64 value;
        if (map) Load(map, (*random)() % map->nr_pages, 0, &value);
        break;
      }
      case 9:
        if (file) VfsFallocate(file, 0, page * bytes, len * bytes);
        break;
      case 10:
        if (file)
          VfsFallocate(file, kPunch,
                       page * bytes + bytes * ((*random)() % 2) / 2,
                       len * bytes);
        break;
      case 11:
        if (file) VfsTruncate(file, static_cast<loff_t>(page) * bytes);
        break;
    }
  }

  void Admin(std::mt19937* random) {
    const uint64_t size = (*random)() % 2 ? k16K : k64K;
    if ((*random)() % 3)
      NrHugepagesStore(size, (*random)() % 16,
                       static_cast<int>((*random)() % 3) - 1);
    else
      NrOvercommitStore(size, (*random)() % 4);
  }

  // Everybody closes everything, and the pools are emptied.
  void End() {
    Run("p0", [&] {
      for (int p = 0; p < 2; p++) {
        for (Mapping*& map : map_[p]) map = nullptr;
        MmExit(mm_[p]);
      }
      for (struct file*& file : file_) {
        if (file) fput(file);
        file = nullptr;
      }
    });
    CheckPools();
    CheckIdle(/*surplus_may_stay=*/true);
    Run("admin", [&] {
      for (uint64_t size : {k16K, k64K, k256K}) {
        // What is surplus and free is made persistent first.
        NrHugepagesStore(size, Counters(size).nr, -1);
        NrHugepagesStore(size, 0, -1);
      }
    });
    EXPECT_EQ(FreePages(), free_pages_);
    EXPECT_EQ(SlabInUse().objects, objects_);
  }

  bool shmem_ = false;
  bool alone_ = true;  // no other actor runs meanwhile
  uint64_t free_pages_ = 0;
  uint64_t objects_ = 0;
  struct mm_struct* mm_[2] = {};
  struct file* file_[kFiles] = {};
  Mapping* map_[2][kMaps] = {};
};

TEST_F(RandomTest, OneAfterTheOther) {
  for (unsigned seed = 0; seed < 150; seed++) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Start("", seed % 5 == 0);
    for (int i = 0; i < 120; i++) {
      if (random() % 6 == 0)
        Run("admin", [&] { Admin(&random); });
      else
        Run(random() % 2 ? "p0" : "p1",
            [&, p = static_cast<int>(random() % 2)] { Act(&random, p); });
      CheckPools();
      CheckReservationsBacked();
      ASSERT_TRUE(machine_.violations().empty());
      if (HasFailure()) return;
    }
    End();
    if (HasFailure()) return;
  }
}

TEST_F(RandomTest, AllocationsFail) {
  for (unsigned seed = 0; seed < 300; seed++) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Start("", seed % 5 == 0);
    for (int i = 0; i < 100; i++) {
      if (random() % 3 == 0)
        machine_.set_fault_plan(
            {FailKind::kAlloc, 1 + static_cast<int>(random() % 6)});
      if (random() % 6 == 0)
        Run("admin", [&] { Admin(&random); });
      else
        Run("p0", [&, p = static_cast<int>(random() % 2)] { Act(&random, p); });
      machine_.set_fault_plan({});
      CheckPools();
      ASSERT_TRUE(machine_.violations().empty());
      if (HasFailure()) return;
    }
    if (LogHas("Reserved Count may go negative")) continue;
    End();
    if (HasFailure()) return;
  }
}

// Another process, or the administrator, acts at a random step of each act.
TEST_F(RandomTest, AtTheSameTime) {
  alone_ = false;
  for (unsigned seed = 0; seed < 400; seed++) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Start("", seed % 5 == 0);
    Run("p0", [&] {
      for (int f = 0; f < kFiles; f++)
        file_[f] = MemfdCreate(shmem_ ? 0 : HugeFlag(Size(f)));
    });
    Run("admin", [&] { Admin(&random); });
    for (int i = 0; i < 80; i++) {
      const unsigned step = 1 + random() % 120;
      std::mt19937 other(random());
      if (random() % 4 == 0)
        PlanDuring(step, ActorByName("admin"), [&] { Admin(&other); });
      else
        PlanDuring(step, ActorByName("p1"), [&] { Act(&other, 1); });
      EXPECT_EQ(Run("p0", [&] { Act(&random, 0); }), RunResult::kDone);
      CheckPools();
      ASSERT_TRUE(machine_.violations().empty());
      if (HasFailure()) return;
    }
    End();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace sim
