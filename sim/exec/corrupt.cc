// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/corrupt.h"

#include <libfdt.h>
#include <sim/kernel_api.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "sim/liveupdate/kho_internal.h"
#include "sim/liveupdate/luo_internal.h"
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
  std::vector<uint64_t> owners;
};

// No record is longer than the buddy allocator's largest block.
bool Readable(uint64_t phys, size_t bytes) {
  if (phys == 0 || bytes > PAGE_SIZE << MAX_PAGE_ORDER) return false;
  for (uint64_t pfn = phys >> PAGE_SHIFT;
       pfn <= (phys + bytes - 1) >> PAGE_SHIFT; ++pfn)
    if (!M().memory().Exists(pfn)) return false;
  return true;
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
    uint64_t resv = record.resv;
    while (table.blocks.size() < kMaxRecords) {
      if (block == 0) block = std::exchange(late, 0);
      if (block == 0) block = std::exchange(resv, 0);
      if (!Readable(block, PAGE_SIZE)) break;
      table.blocks.push_back(block);
      const auto head = Load<hugetlb_luo_block_ser>(block);
      for (u32 i = 0; i < head.nr_runs && i < HUGETLB_LUO_BLOCK_RUNS; ++i) {
        table.runs.push_back({block, block + sizeof(hugetlb_luo_block_ser) +
                                         i * sizeof(hugetlb_luo_run_ser)});
      }
      block = head.next;
    }
    uint64_t owner = record.owners;
    for (u32 i = 0; i < record.nr_owners && Readable(owner, PAGE_SIZE) &&
                    table.owners.size() < kMaxRecords;
         ++i) {
      table.owners.push_back(owner);
      owner = Load<hugetlb_luo_owner_ser>(owner).next;
    }
    file = record.next;
  }
  return table;
}

void Resum(uint64_t phys, size_t offset, size_t bytes) {
  Store<u32>(phys + offset, RecordChecksum(phys, offset, bytes));
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

void ResumOwner(uint64_t phys) {
  Resum(phys, offsetof(hugetlb_luo_owner_ser, csum),
        sizeof(hugetlb_luo_owner_ser));
}

// A field of a record.
struct Field {
  size_t offset;
  bool wide;  // 64 bits
};

#define FIELD(record, member) \
  Field { offsetof(record, member), sizeof(record::member) == sizeof(u64) }

Field RootField(const Command& c) {
  const size_t count =
      sizeof(hugetlb_luo_root_ser) +
      static_cast<uint64_t>(c.nth) * sizeof(hugetlb_luo_count_ser);
  switch (c.target) {
    case Target::kRootMagic:
      return FIELD(hugetlb_luo_root_ser, magic);
    case Target::kRootVersion:
      return FIELD(hugetlb_luo_root_ser, version);
    case Target::kRootCsum:
      return FIELD(hugetlb_luo_root_ser, csum);
    case Target::kRootNrCounts:
      return FIELD(hugetlb_luo_root_ser, nr_counts);
    case Target::kRootFiles:
      return FIELD(hugetlb_luo_root_ser, files);
    case Target::kRootNrFiles:
      return FIELD(hugetlb_luo_root_ser, nr_files);
    case Target::kRootNodes:
      return FIELD(hugetlb_luo_root_ser, nodes);
    case Target::kRootOrder:
      return {count + offsetof(hugetlb_luo_count_ser, order), false};
    case Target::kRootNode:
      return {count + offsetof(hugetlb_luo_count_ser, nid), false};
    default:  // kRootCount
      return {count + offsetof(hugetlb_luo_count_ser, nr), true};
  }
}

Field FileField(Target target) {
  constexpr size_t kCount = sizeof(hugetlb_luo_file_ser);
  switch (target) {
    case Target::kFileMagic:
      return FIELD(hugetlb_luo_file_ser, magic);
    case Target::kFileVersion:
      return FIELD(hugetlb_luo_file_ser, version);
    case Target::kFileCsum:
      return FIELD(hugetlb_luo_file_ser, csum);
    case Target::kFileOrder:
      return FIELD(hugetlb_luo_file_ser, order);
    case Target::kFileNext:
      return FIELD(hugetlb_luo_file_ser, next);
    case Target::kFileRuns:
      return FIELD(hugetlb_luo_file_ser, runs);
    case Target::kFileLate:
      return FIELD(hugetlb_luo_file_ser, late);
    case Target::kFileResv:
      return FIELD(hugetlb_luo_file_ser, resv);
    case Target::kFileOwners:
      return FIELD(hugetlb_luo_file_ser, owners);
    case Target::kFileSize:
      return FIELD(hugetlb_luo_file_ser, size);
    case Target::kFilePos:
      return FIELD(hugetlb_luo_file_ser, pos);
    case Target::kFileNrPages:
      return FIELD(hugetlb_luo_file_ser, nr_pages);
    case Target::kFileNrResv:
      return FIELD(hugetlb_luo_file_ser, nr_resv);
    case Target::kFileSeals:
      return FIELD(hugetlb_luo_file_ser, seals);
    case Target::kFileMode:
      return FIELD(hugetlb_luo_file_ser, mode);
    case Target::kFileNrCounts:
      return FIELD(hugetlb_luo_file_ser, nr_counts);
    case Target::kFileNrOwners:
      return FIELD(hugetlb_luo_file_ser, nr_owners);
    case Target::kFileFlags:
      return FIELD(hugetlb_luo_file_ser, flags);
    case Target::kFileCountOrder:
      return {kCount + offsetof(hugetlb_luo_count_ser, order), false};
    case Target::kFileCountNode:
      return {kCount + offsetof(hugetlb_luo_count_ser, nid), false};
    default:  // kFileCount
      return {kCount + offsetof(hugetlb_luo_count_ser, nr), true};
  }
}

Field BlockField(Target target) {
  switch (target) {
    case Target::kBlockNext:
      return FIELD(hugetlb_luo_block_ser, next);
    case Target::kBlockMagic:
      return FIELD(hugetlb_luo_block_ser, magic);
    case Target::kBlockCsum:
      return FIELD(hugetlb_luo_block_ser, csum);
    default:  // kBlockNr
      return FIELD(hugetlb_luo_block_ser, nr_runs);
  }
}

Field RunField(Target target) {
  switch (target) {
    case Target::kRunIndex:
      return FIELD(hugetlb_luo_run_ser, index);
    case Target::kRunNr:
      return FIELD(hugetlb_luo_run_ser, nr);
    case Target::kRunFrame:
      return FIELD(hugetlb_luo_run_ser, frame);
    default:  // kRunOwner
      return FIELD(hugetlb_luo_run_ser, owner);
  }
}

Field OwnerField(Target target) {
  switch (target) {
    case Target::kOwnerNext:
      return FIELD(hugetlb_luo_owner_ser, next);
    case Target::kOwnerMagic:
      return FIELD(hugetlb_luo_owner_ser, magic);
    case Target::kOwnerCsum:
      return FIELD(hugetlb_luo_owner_ser, csum);
    case Target::kOwnerNr:
      return FIELD(hugetlb_luo_owner_ser, nr);
    default:  // kOwnerPath
      return {offsetof(hugetlb_luo_owner_ser, path) + HUGETLB_LUO_PATH_SIZE -
                  sizeof(u32),
              false};
  }
}
#undef FIELD

void Add(uint64_t phys, const Field& field, int64_t delta) {
  const uint64_t at = phys + field.offset;
  if (field.wide) {
    Store<u64>(at, Load<u64>(at) + static_cast<uint64_t>(delta));
  } else {
    Store<u32>(at, Load<u32>(at) + static_cast<uint32_t>(delta));
  }
}

// What KHO's device tree says of the root.
void CorruptEntry(const Command& c) {
  void* fdt = g_kho.out_fdt;
  const char* name = c.target == Target::kRootAddress
                         ? KHO_SUB_TREE_PROP_NAME
                         : KHO_SUB_TREE_SIZE_PROP_NAME;
  const int node = fdt_subnode_offset(fdt, 0, HUGETLB_LUO_KHO_ENTRY);
  int len;
  void* prop = node < 0 ? nullptr : fdt_getprop_w(fdt, node, name, &len);
  if (prop == nullptr || len != sizeof(uint64_t)) return;
  uint64_t value;
  std::memcpy(&value, prop, sizeof(value));
  value += static_cast<uint64_t>(c.delta);
  std::memcpy(prop, &value, sizeof(value));
}

void CorruptRoot(uint64_t phys, const Command& c) {
  const bool of_count = c.target == Target::kRootOrder ||
                        c.target == Target::kRootNode ||
                        c.target == Target::kRootCount;
  if (of_count && c.nth >= Load<hugetlb_luo_root_ser>(phys).nr_counts) return;
  const Field field = RootField(c);
  if (!Readable(phys, field.offset + sizeof(u64))) return;
  Add(phys, field, c.delta);
  if (c.resum) ResumRoot(phys);
}

// An entry of the list behind the counts. Beyond the last one an address makes
// another one, of a single base page, and everything else is the last one's. If
// there is none, whatever it is makes one.
void CorruptError(uint64_t phys, uint64_t bytes, const Command& c) {
  using Entry = hugetlb_luo_error_ser;
  const u64 nr = Load<hugetlb_luo_root_ser>(phys).nr_counts;
  const uint64_t list =
      phys + sizeof(hugetlb_luo_root_ser) + nr * sizeof(hugetlb_luo_count_ser);
  if (nr > PAGE_SIZE || !Readable(phys, bytes)) return;
  auto there = [&](int64_t n) {
    const uint64_t at = list + static_cast<uint64_t>(n) * sizeof(Entry);
    return n < HUGETLB_LUO_ERRORS && at + sizeof(Entry) <= phys + bytes;
  };
  int64_t nth = 0;
  while (nth < c.nth && there(nth) &&
         Load<Entry>(list + static_cast<uint64_t>(nth) * sizeof(Entry)).addr)
    ++nth;
  if (c.target != Target::kErrorAddress && nth > 0 &&
      (!there(nth) ||
       Load<Entry>(list + static_cast<uint64_t>(nth) * sizeof(Entry)).addr ==
           0))
    --nth;
  if (!there(nth)) return;
  const uint64_t at = list + static_cast<uint64_t>(nth) * sizeof(Entry);
  const auto entry = Load<Entry>(at);
  if (entry.addr == 0) {
    Store<u32>(at + offsetof(Entry, nr), 1);
    Store<u64>(at + offsetof(Entry, addr), static_cast<uint64_t>(c.delta));
  } else if (c.target == Target::kErrorNr) {
    Add(at, {offsetof(Entry, nr), false}, c.delta);
  } else if (c.target == Target::kErrorCsum) {
    Add(at, {offsetof(Entry, csum), false}, c.delta);
  } else {
    Add(at, {offsetof(Entry, addr), true}, c.delta);
  }
  if (c.resum && c.target != Target::kErrorCsum)
    Resum(at, offsetof(Entry, csum), sizeof(Entry));
}

void CorruptFile(uint64_t phys, const Command& c) {
  Target target = c.target;
  // A file without pages has no counts, only their number.
  if ((target == Target::kFileCount || target == Target::kFileCountOrder ||
       target == Target::kFileCountNode) &&
      Load<hugetlb_luo_file_ser>(phys).nr_counts == 0)
    target = Target::kFileNrCounts;
  Add(phys, FileField(target), c.delta);
  if (c.resum) ResumFile(phys);
}

void CorruptBlock(uint64_t phys, const Command& c) {
  Add(phys, BlockField(c.target), c.delta);
  if (c.resum) ResumBlock(phys);
}

// Where the data of LUO's records of hugetlb files stand, as far as its
// sessions were written down.
std::vector<uint64_t> LuoDataFields() {
  std::vector<uint64_t> fields;
  if (!g_luo.frozen) return fields;
  LuoSession* session;
  list_for_each_entry(session, &g_luo.outgoing.list, list) {
    for (uint64_t block = session->files.blocks.head_pa; block != 0;) {
      const auto head = Load<kho_block_header_ser>(block);
      for (u64 i = 0; i < head.count; ++i) {
        const uint64_t at =
            block + sizeof(head) + i * sizeof(struct luo_file_ser);
        const auto ser = Load<struct luo_file_ser>(at);
        if (std::strncmp(ser.compatible, HUGETLB_LUO_FH_COMPATIBLE,
                         sizeof(ser.compatible)) == 0) {
          fields.push_back(at + offsetof(struct luo_file_ser, data));
        }
      }
      block = head.next;
    }
  }
  return fields;
}

void CorruptRun(const Table::Run& run, const Command& c) {
  Add(run.phys, RunField(c.target), c.delta);
  if (c.resum) ResumBlock(run.block);
}

void CorruptOwner(uint64_t phys, const Command& c) {
  Add(phys, OwnerField(c.target), c.delta);
  if (c.resum) ResumOwner(phys);
}

}  // namespace

std::vector<uint64_t> LuoHandles() {
  std::vector<uint64_t> handles;
  for (uint64_t at : LuoDataFields()) handles.push_back(Load<u64>(at));
  return handles;
}

uint32_t RecordChecksum(uint64_t phys, size_t offset, size_t bytes) {
  std::vector<u32> words(bytes / sizeof(u32));
  std::memcpy(words.data(), M().memory().base() + phys,
              words.size() * sizeof(u32));
  const size_t before = offset / sizeof(u32);
  const u32 csum =
      jhash2(words.data(), static_cast<u32>(before), HUGETLB_LUO_VERSION);
  return jhash2(words.data() + before + 1,
                static_cast<u32>(words.size() - before - 1), csum);
}

bool OutgoingTable(uint64_t* phys, uint64_t* bytes) {
  if (!g_kho.enable || g_kho.out_fdt == nullptr) return false;
  const int node = fdt_subnode_offset(g_kho.out_fdt, 0, HUGETLB_LUO_KHO_ENTRY);
  if (node < 0) return false;
  auto read = [node](const char* name, uint64_t* value) {
    int len;
    const void* prop = fdt_getprop(g_kho.out_fdt, node, name, &len);
    if (prop == nullptr || len != sizeof(*value)) return false;
    std::memcpy(value, prop, sizeof(*value));
    return true;
  };
  return read(KHO_SUB_TREE_PROP_NAME, phys) &&
         read(KHO_SUB_TREE_SIZE_PROP_NAME, bytes);
}

uint64_t OutgoingTableRoot() {
  uint64_t phys, bytes;
  return OutgoingTable(&phys, &bytes) ? phys : 0;
}

void CorruptTable(const std::vector<Command>& corruptions) {
  const Table table = ReadTable();
  if (table.root == 0) return;
  for (const Command& c : corruptions) {
    const size_t nth = static_cast<size_t>(c.nth);
    if (c.target == Target::kLuoData) {
      const std::vector<uint64_t> at = LuoDataFields();
      if (nth < at.size()) Add(at[nth], {0, true}, c.delta);
    } else if (c.target <= Target::kRootBytes) {
      CorruptEntry(c);
    } else if (c.target <= Target::kRootCount) {
      CorruptRoot(table.root, c);
    } else if (c.target <= Target::kErrorCsum) {
      uint64_t phys, bytes;
      if (OutgoingTable(&phys, &bytes)) CorruptError(table.root, bytes, c);
    } else if (c.target <= Target::kFileCount) {
      if (nth < table.files.size()) CorruptFile(table.files[nth], c);
    } else if (c.target <= Target::kBlockNr) {
      if (nth < table.blocks.size()) CorruptBlock(table.blocks[nth], c);
    } else if (c.target <= Target::kRunOwner) {
      if (nth < table.runs.size()) CorruptRun(table.runs[nth], c);
    } else {
      if (nth < table.owners.size()) CorruptOwner(table.owners[nth], c);
    }
  }
}

}  // namespace sim
