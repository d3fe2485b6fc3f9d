// SPDX-License-Identifier: BSD-3-Clause
//
// The counters of one huge page size, and which changes of them Linux may make
// for a given sequence of events. Where Linux picks a node, every pick that it
// could have made is tried until one explains what was observed.
#ifndef HANDOVER_MODEL_ACCOUNTING_H_
#define HANDOVER_MODEL_ACCOUNTING_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "model/observation.h"

namespace handover::model {

struct Pool {
  uint64_t page_size = 0;
  int nodes = 1;
  int64_t overcommit = 0;
  int64_t resv = 0;
  std::array<int64_t, kMaxNodes> nr{};
  std::array<int64_t, kMaxNodes> free{};
  std::array<int64_t, kMaxNodes> surplus{};

  int64_t Nr() const;
  int64_t Free() const;
  int64_t Surplus() const;
  int64_t Persistent() const { return Nr() - Surplus(); }
  // free pages that no reservation claims
  int64_t Available() const { return Free() - resv; }
  // available_huge_pages() is unsigned: with more reserved than free, which a
  // failed allocation may lead to, Linux takes all that are free for available.
  bool SomeAvailable() const { return Available() != 0; }
};

Pool PoolOf(const PoolView& view, int nodes);
std::string Print(const Pool& pool);

// A node, or any of them.
inline constexpr int kAnyNode = -1;

struct PoolEvent {
  enum class Kind : uint8_t {
    // alloc_hugetlb_folio() on `node`; `reserved`: has one. Not `exact`, as
    // kReserve: it may have come before set_max_huge_pages() added the pages
    // that it had got, and have taken surplus pages.
    kTake,
    // It found none, policy `bind`. Not `exact`: a page that is freed may have
    // been on its way.
    kTakeFails,
    // free_huge_folio() of a page of `node`; not `exact`: it may have come
    // between the halves of set_max_huge_pages(), and stay as a surplus page.
    kFree,
    kLose,     // a page of `node` that was counted cannot be had
    kReserve,  // hugetlb_acct_memory(+count), policy `bind`, went well
    kReserveFails,
    kUnreserve,  // hugetlb_acct_memory(-count)
    kMigrate,    // a page of `node` moved to `to`
    kSetNr,      // set_max_huge_pages(count), `bind`: the node, or all
    kSetOvercommit,
    kMaybeChurn,  // a page may have been taken and freed again
    kMaybeKeep,   // hugetlb_fix_reserve_counts(): +1, if there is a page for it
    kMaybeReserve,  // +count, then -count, may have happened
    // Linux forgot that they were reserved, perhaps: memfd_alloc_folio().
    // `reserved`: it had reserved them itself, and gave that back once more.
    kMaybeUnreserve,
    // `count` free pages (`exact`; or fewer) of `bind`, the node, or any, are
    // split into smaller ones; such pieces come.
    kLeave,
    kJoin,
    // A free page of `node`, or of any, is dissolved, surplus if there is some.
    kDissolve,
    // A memory block was emptied, or as far as that went: pages in use are on
    // other nodes, up to `count` free ones are gone.
    kOffline,
  };
  Kind kind = Kind::kFree;
  int node = kAnyNode;
  int to = kAnyNode;
  int bind = kAnyNode;
  int64_t count = 0;
  // kSetNr: so many pages that are freed, or reservations that are given back,
  // at the same time may still have been in use when it looked first, and not
  // when it looked again.
  int64_t passing = 0;
  bool reserved = false;
  bool exact = true;
  // An allocation may have failed for a reason that does not show: a fault
  // plan, or memory that the observation says is short.
  std::array<bool, kMaxNodes> short_of_memory{};
};

// True if `events`, in this order, can turn `before` into `after`. Otherwise
// says in `why` what does not fit (of the most likely way).
bool Explains(const Pool& before, const std::vector<PoolEvent>& events,
              const Pool& after, std::string* why);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_ACCOUNTING_H_
