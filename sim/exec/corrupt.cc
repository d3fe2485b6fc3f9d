// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/corrupt.h"

#include <libfdt.h>
#include <sim/kernel_api.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "sim/liveupdate/kho_internal.h"
#include "sim/machine/machine.h"

extern "C" {
#include <linux/kho/abi/hugetlb.h>
}

namespace sim {
namespace {

using ::handover::model::Command;
using ::handover::model::Target;

// A table that is not the kernel's own could lead anywhere.
constexpr size_t kMaxRecords = 65536;

// Records by physical address. They lie in packed structures: all access is by
// copy.
struct Table {
  uint64_t root = 0;
  std::vector<uint64_t> files;
  std::vector<uint64_t> blocks;
  struct Run {
    uint64_t block;
    uint64_t phys;
  };
  std::vector<Run> runs;
};

bool Readable(uint64_t phys, size_t bytes) {
  const PhysicalMemory& memory = M().memory();
  return phys != 0 && memory.Exists(phys >> PAGE_SHIFT) &&
         memory.Exists((phys + bytes - 1) >> PAGE_SHIFT);
}

template <typename T>
T Load(uint64_t phys) {
  T value;
  std::memcpy(&value, M().memory().base() + phys, sizeof(value));
  return value;
}

template <typename T>
void Store(uint64_t phys, T value) {
  M().memory().MarkDirty(phys >> PAGE_SHIFT);
  M().memory().MarkDirty((phys + sizeof(value) - 1) >> PAGE_SHIFT);
  std::memcpy(M().memory().base() + phys, &value, sizeof(value));
}

template <typename T>
void Add(uint64_t phys, int64_t delta) {
  Store<T>(phys, static_cast<T>(Load<T>(phys) + static_cast<uint64_t>(delta)));
}

Table ReadTable() {
  Table table;
  table.root = OutgoingTableRoot();
  if (!Readable(table.root, PAGE_SIZE)) {
    table.root = 0;
    return table;
  }
  uint64_t file = Load<hugetlb_luo_root_ser>(table.root).files;
  while (Readable(file, PAGE_SIZE) && table.files.size() < kMaxRecords) {
    table.files.push_back(file);
    const auto record = Load<hugetlb_luo_file_ser>(file);
    uint64_t block = record.runs;
    uint64_t late = record.late;
    while (table.blocks.size() < kMaxRecords) {
      if (block == 0) block = std::exchange(late, 0);
      if (!Readable(block, PAGE_SIZE)) break;
      table.blocks.push_back(block);
      const auto head = Load<hugetlb_luo_block_ser>(block);
      for (u32 i = 0; i < head.nr_runs && i < HUGETLB_LUO_BLOCK_RUNS; ++i) {
        table.runs.push_back({block, block + sizeof(hugetlb_luo_block_ser) +
                                         i * sizeof(hugetlb_luo_run_ser)});
      }
      block = head.next;
    }
    file = record.next;
  }
  return table;
}

// The checksum of a record of `bytes`, whose own field is at `offset`.
void Resum(uint64_t phys, size_t offset, size_t bytes) {
  std::vector<u32> words(bytes / sizeof(u32));
  std::memcpy(words.data(), M().memory().base() + phys,
              words.size() * sizeof(u32));
  const size_t before = offset / sizeof(u32);
  const u32 csum =
      jhash2(words.data(), static_cast<u32>(before), HUGETLB_LUO_VERSION);
  Store<u32>(phys + offset,
             jhash2(words.data() + before + 1,
                    static_cast<u32>(words.size() - before - 1), csum));
}

void ResumRoot(uint64_t phys) {
  const u64 nr = Load<hugetlb_luo_root_ser>(phys).nr_counts;
  const size_t bytes =
      sizeof(hugetlb_luo_root_ser) + nr * sizeof(hugetlb_luo_count_ser);
  if (Readable(phys, bytes))
    Resum(phys, offsetof(hugetlb_luo_root_ser, csum), bytes);
}

void ResumFile(uint64_t phys) {
  const u64 nr = Load<hugetlb_luo_file_ser>(phys).nr_counts;
  if (nr <= HUGETLB_LUO_FILE_COUNTS)
    Resum(phys, offsetof(hugetlb_luo_file_ser, csum),
          sizeof(hugetlb_luo_file_ser) + nr * sizeof(hugetlb_luo_count_ser));
}

void ResumBlock(uint64_t phys) {
  const u64 nr = Load<hugetlb_luo_block_ser>(phys).nr_runs;
  if (nr <= HUGETLB_LUO_BLOCK_RUNS)
    Resum(phys, offsetof(hugetlb_luo_block_ser, csum),
          sizeof(hugetlb_luo_block_ser) + nr * sizeof(hugetlb_luo_run_ser));
}

void CorruptRoot(uint64_t phys, const Command& c) {
  switch (c.target) {
    case Target::kRootVersion:
      Add<u32>(phys + offsetof(hugetlb_luo_root_ser, version), c.delta);
      break;
    case Target::kRootCsum:
      Add<u32>(phys + offsetof(hugetlb_luo_root_ser, csum), c.delta);
      break;
    case Target::kRootFiles:
      Add<u64>(phys + offsetof(hugetlb_luo_root_ser, files), c.delta);
      break;
    default:  // kRootCount
      if (c.nth >= Load<hugetlb_luo_root_ser>(phys).nr_counts) return;
      Add<u64>(
          phys + sizeof(hugetlb_luo_root_ser) +
              static_cast<uint64_t>(c.nth) * sizeof(hugetlb_luo_count_ser) +
              offsetof(hugetlb_luo_count_ser, nr),
          c.delta);
      break;
  }
  if (c.resum) ResumRoot(phys);
}

void CorruptFile(uint64_t phys, const Command& c) {
  switch (c.target) {
    case Target::kFileVersion:
      Add<u32>(phys + offsetof(hugetlb_luo_file_ser, version), c.delta);
      break;
    case Target::kFileCsum:
      Add<u32>(phys + offsetof(hugetlb_luo_file_ser, csum), c.delta);
      break;
    case Target::kFileOrder:
      Add<u32>(phys + offsetof(hugetlb_luo_file_ser, order), c.delta);
      break;
    case Target::kFileSize:
      Add<u64>(phys + offsetof(hugetlb_luo_file_ser, size), c.delta);
      break;
    case Target::kFileSeals:
      Add<u32>(phys + offsetof(hugetlb_luo_file_ser, seals), c.delta);
      break;
    case Target::kFileNrPages:
      Add<u64>(phys + offsetof(hugetlb_luo_file_ser, nr_pages), c.delta);
      break;
    case Target::kFileRuns:
      Add<u64>(phys + offsetof(hugetlb_luo_file_ser, runs), c.delta);
      break;
    case Target::kFileNext:
      Add<u64>(phys + offsetof(hugetlb_luo_file_ser, next), c.delta);
      break;
    default:  // kFileCount: its first count; without any, their number
      if (Load<hugetlb_luo_file_ser>(phys).nr_counts == 0) {
        Add<u32>(phys + offsetof(hugetlb_luo_file_ser, nr_counts), c.delta);
      } else {
        Add<u64>(phys + sizeof(hugetlb_luo_file_ser) +
                     offsetof(hugetlb_luo_count_ser, nr),
                 c.delta);
      }
      break;
  }
  if (c.resum) ResumFile(phys);
}

void CorruptBlock(uint64_t phys, const Command& c) {
  switch (c.target) {
    case Target::kBlockNext:
      Add<u64>(phys + offsetof(hugetlb_luo_block_ser, next), c.delta);
      break;
    case Target::kBlockNr:
      Add<u32>(phys + offsetof(hugetlb_luo_block_ser, nr_runs), c.delta);
      break;
    default:  // kBlockCsum
      Add<u32>(phys + offsetof(hugetlb_luo_block_ser, csum), c.delta);
      break;
  }
  if (c.resum) ResumBlock(phys);
}

void CorruptRun(const Table::Run& run, const Command& c) {
  size_t offset = offsetof(hugetlb_luo_run_ser, frame);
  if (c.target == Target::kRunIndex) {
    offset = offsetof(hugetlb_luo_run_ser, index);
  } else if (c.target == Target::kRunNr) {
    offset = offsetof(hugetlb_luo_run_ser, nr);
  }
  Add<u32>(run.phys + offset, c.delta);
  if (c.resum) ResumBlock(run.block);
}

}  // namespace

uint64_t OutgoingTableRoot() {
  if (!g_kho.enable || g_kho.out_fdt == nullptr) return 0;
  const int node = fdt_subnode_offset(g_kho.out_fdt, 0, HUGETLB_LUO_KHO_ENTRY);
  if (node < 0) return 0;
  int len;
  const void* prop =
      fdt_getprop(g_kho.out_fdt, node, KHO_SUB_TREE_PROP_NAME, &len);
  if (prop == nullptr || len != sizeof(uint64_t)) return 0;
  uint64_t phys;
  std::memcpy(&phys, prop, sizeof(phys));
  return phys;
}

void CorruptTable(const std::vector<Command>& corruptions) {
  const Table table = ReadTable();
  if (table.root == 0) return;
  for (const Command& c : corruptions) {
    const size_t nth = static_cast<size_t>(c.nth);
    if (c.target <= Target::kRootCount) {
      CorruptRoot(table.root, c);
    } else if (c.target <= Target::kFileNext) {
      if (nth < table.files.size()) CorruptFile(table.files[nth], c);
    } else if (c.target <= Target::kBlockCsum) {
      if (nth < table.blocks.size()) CorruptBlock(table.blocks[nth], c);
    } else {
      if (nth < table.runs.size()) CorruptRun(table.runs[nth], c);
    }
  }
}

}  // namespace sim
