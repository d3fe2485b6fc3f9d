// SPDX-License-Identifier: BSD-3-Clause
//
// What linux/kho/abi/hugetlb.h says about a handover table, however it came
// about: which files the next kernel has to accept and what they look like,
// which it has to refuse. Free pages have records like those of files. Written
// from the header and docs/decisions.md and
// not from the kernel's code, so that the one checks the other.
#ifndef HANDOVER_MODEL_HANDOVER_TABLE_H_
#define HANDOVER_MODEL_HANDOVER_TABLE_H_

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "model/history.h"

namespace handover::model {

// A table as it lies in memory when the next kernel starts. Numbers are those
// of the records. Frames are numbers of 4 KiB pages.
struct TableView {
  struct Count {
    uint32_t order = 0;
    uint32_t node = 0;
    uint64_t pages = 0;
  };
  struct Run {
    uint64_t index = 0;
    uint64_t pages = 0;
    uint64_t frame = 0;  // of the first page; of `resv`: what stands there
    bool held = false;   // KHO holds each page, as one of the file's page size
    // By page, as far as there is memory: the node that it lies on, of the
    // machine.
    std::vector<int> node;
    uint64_t owner = 0;  // number of one of the file's owners, 0: none
  };
  struct Block {
    uint64_t frame = 0;
    bool held = false;  // there is a page there, and KHO holds it
    bool magic = false;
    bool checksum = false;
    uint64_t nr_runs = 0;   // as the block says
    std::vector<Run> runs;  // as many as a block can have
  };
  struct Owner {
    uint64_t at = 0;    // which record it is
    uint64_t next = 0;  // which record comes then; 0: none
    bool held = false;
    bool magic = false;
    bool checksum = false;
    bool ended = false;  // each of its paths does
    uint64_t nr = 0;
    std::array<CgroupPath, kCharges> path{};
  };
  // The list of blocks ends with the first that is not there or that was there
  // before (and `circular` is set).
  struct Chain {
    std::vector<Block> blocks;
    bool circular = false;
  };
  struct File {
    uint64_t at = 0;  // which record it is
    bool held = false;
    bool magic = false;
    bool version = false;
    bool checksum = false;
    uint32_t order = 0;
    uint64_t next = 0;  // which record comes then; 0: none
    uint64_t size = 0;
    uint64_t position = 0;
    uint64_t nr_pages = 0;
    uint64_t nr_resv = 0;
    uint32_t seals = 0;
    uint32_t mode = 0;
    uint32_t flags = 0;
    // As many as the record says, but none after one that is not there or that
    // was there before; and which record would come next.
    uint64_t nr_owners = 0;
    std::vector<Owner> owners;
    uint64_t owners_end = 0;
    bool counts_fit = false;  // their number is one that a record has room for
    std::vector<Count> counts;
    Chain runs;
    Chain late;
    Chain resv;
  };

  bool found = false;   // KHO has an entry for it
  bool placed = false;  // that names a place in memory that can hold a root
  bool held = false;    // KHO holds the root, with that length
  bool magic = false;
  bool version = false;
  bool checksum = false;
  bool counts_fit = false;
  // The list of memory errors, and whether it is undamaged: all entries are
  // right, and there is no gap between them.
  struct Error {
    uint64_t address = 0;
    uint32_t pages = 0;
    uint32_t checksum = 0;  // as it stands there
    bool right = true;      // one page or a power of two of them, and meant
    // As the next kernel finds it when it starts: all of it is memory, in one
    // piece; some of it is scratch; some of it was reserved before.
    bool memory = false;
    bool scratch = false;
    bool owned = false;
  };
  std::vector<Error> errors;
  bool errors_right = true;
  // Whether that list has the frame, and whether it has room for no more.
  bool Lists(uint64_t frame) const;
  bool ErrorsFull() const;
  uint64_t first = 0;  // the first file's record
  uint64_t nr_files = 0;
  // Where nodes lie that `counts` are by, and whether that is where they lie in
  // a kernel of this machine, and in one that knows only one node (numa=off).
  uint32_t nodes = 0;
  bool by_nodes = true;
  bool by_one = true;
  std::vector<Count> counts;
  // Following `next` until a record is not there or was there before.
  std::vector<File> files;

  // What LUO's records of files call their data: of each file, in the order in
  // which they were preserved in their sessions.
  std::vector<uint64_t> handles;

  // Of the machine.
  uint64_t end_frame = 0;  // no memory from here on
  uint64_t frames = 0;     // of memory

  // The records, in the order of the list, before any `sim corrupt`.
  std::vector<uint64_t> original;
  // Those of them that are about free pages.
  struct FreePage {
    uint64_t frame = 0;
    int node = 0;  // of the machine
    bool poisoned = false;
  };
  struct Free {
    uint64_t at = 0;
    uint32_t order = 0;
    std::vector<FreePage> pages;
  };
  std::vector<Free> free;
};

// By kind of charge, who is charged.
using Owners = std::array<CgroupPath, kCharges>;

struct HandedPage {
  int64_t index = 0;
  int64_t frame = 0;
  int node = 0;
  Owners owners{};
};

// Indices from `from` on, up to `to` and without it.
struct HandedRange {
  int64_t from = 0;
  int64_t to = 0;
  CgroupPath owner = kNobody;
};

// A file, or free pages, that the next kernel has to accept.
struct HandedFile {
  uint64_t at = 0;
  bool free = false;
  uint64_t page_size = 0;
  int64_t size = 0;
  int64_t position = 0;
  uint32_t seals = 0;
  uint32_t mode = 0;
  std::vector<HandedPage> pages;  // ascending by index
  // Ascending. Where there is no page, that is promised to be had. Where nobody
  // is charged it may be left out if there is one.
  std::vector<HandedRange> reserved;
  // Frames of the table in which that stands, and in which the owners do.
  std::vector<int64_t> records;
  // Pages by node, of the kernel that it comes from.
  std::vector<TableView::Count> counts;
};

// One that it has to refuse: asking for it gives one of these errnos.
struct RefusedFile {
  uint64_t at = 0;
  std::vector<int> errors;
};

// Memory that the list of errors names, by frames.
struct BadMemory {
  uint64_t from = 0;
  uint64_t to = 0;  // without it
  // Kept away from: it was nobody's before, and is marked once the files are
  // known.
  bool nobodys = false;

  bool operator==(const BadMemory& other) const {
    return from == other.from && to == other.to;
  }
};

struct TableVerdict {
  std::vector<HandedFile> accepted;
  // Of those that could be found. Others are not known (ENOENT).
  std::vector<RefusedFile> refused;
  // What was announced and nobody can claim, by order and node, none of them 0:
  // to be reported with these numbers.
  std::vector<TableView::Count> lost;
  // To be reported without numbers: the root, or what it announces, is wrong.
  bool distrusted = false;
  // Memory stays reserved for good, so there is no further live update.
  bool quarantine = false;
  // What is bad in pages that are accepted.
  std::vector<BadMemory> bad;
  // What nobody gets, whether or not any file is accepted; what was reserved
  // before is among it.
  std::vector<BadMemory> kept_away;
  // How many entries the kernel says it does not keep away from.
  int not_kept_away = 0;
  // What the root announces, before anything else is looked at.
  std::vector<TableView::Count> announced;
  // Where the nodes are others than those it is announced by: by order, on
  // which node of the machine each page lies that the files' lists have, as the
  // next kernel sees it before it can check more. Not of an order of which
  // something is wrong, or does not add up to what is announced; of none if the
  // list of files does not end.
  std::map<uint32_t, std::vector<int>> located;
};

// `page_sizes` are the next kernel's, in bytes; `live_update` says whether it
// has LUO running, without which nobody can ask for a file.
TableVerdict JudgeTable(const TableView& table,
                        const std::vector<uint64_t>& page_sizes,
                        bool live_update);

// TableVerdict::located of a root that is not refused.
std::map<uint32_t, std::vector<int>> LocatePages(const TableView& table);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_HANDOVER_TABLE_H_
