// SPDX-License-Identifier: BSD-3-Clause
#include "model/accounting.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/history.h"

namespace handover::model {
namespace {

int64_t Sum(const std::array<int64_t, kMaxNodes>& counts) {
  int64_t sum = 0;
  for (int64_t count : counts) sum += count;
  return sum;
}

// Walks through all sequences of picks, depth first.
class Chooser {
 public:
  // One of `options` (at least one), the first ones first.
  int Pick(int options) {
    if (options == 1) return 0;
    if (depth_ == picks_.size()) picks_.push_back({0, options});
    return picks_[depth_++].first;
  }

  // Goes on to the next sequence; false when there is none.
  bool Next() {
    depth_ = 0;
    while (!picks_.empty()) {
      if (++picks_.back().first < picks_.back().second) return true;
      picks_.pop_back();
    }
    return false;
  }

 private:
  std::vector<std::pair<int, int>> picks_;
  size_t depth_ = 0;
};

// Nodes in the order in which they are tried: at most kMaxNodes.
struct NodeList {
  std::array<int, kMaxNodes> node{};
  int size = 0;
  void Add(int n) { node[static_cast<size_t>(size++)] = n; }
};

// Replays events on a pool.
class Replay {
 public:
  Replay(const Pool& before, const Pool& target, Chooser* chooser)
      : p_(before), target_(target), chooser_(chooser) {}

  const Pool& pool() const { return p_; }
  const std::string& why() const { return why_; }

  bool Run(const std::vector<PoolEvent>& events) {
    only_ = events.size() == 1;
    for (const PoolEvent& event : events)
      if (!One(event)) return false;
    return true;
  }

 private:
  using Kind = PoolEvent::Kind;

  bool Wrong(std::string why) {
    why_ = std::move(why);
    return false;
  }

  bool Allowed(int node, int bind) const {
    return bind == kAnyNode || node == bind;
  }

  bool Short(const PoolEvent& e) const {
    for (int n = 0; n < p_.nodes; ++n)
      if (Allowed(n, e.bind) && !e.short_of_memory[static_cast<size_t>(n)])
        return false;
    return true;
  }

  int64_t FreeOn(int bind) const {
    int64_t sum = 0;
    for (int n = 0; n < p_.nodes; ++n)
      if (Allowed(n, bind)) sum += p_.free[static_cast<size_t>(n)];
    return sum;
  }

  // Of `nodes`, first those that must still change most to meet the target.
  int PickNode(NodeList nodes, int sign) {
    auto need = [this, sign](int n) {
      size_t i = static_cast<size_t>(n);
      return sign * (target_.nr[i] - p_.nr[i]);
    };
    std::stable_sort(nodes.node.begin(), nodes.node.begin() + nodes.size,
                     [&need](int a, int b) { return need(a) > need(b); });
    return nodes.node[static_cast<size_t>(chooser_->Pick(nodes.size))];
  }

  void AddSurplus(int node) {
    ++p_.nr[static_cast<size_t>(node)];
    ++p_.surplus[static_cast<size_t>(node)];
  }

  // alloc_surplus_hugetlb_folio() for `count` free pages.
  void Gather(int64_t count, int bind) {
    for (; count > 0; --count) {
      NodeList nodes;
      for (int n = 0; n < p_.nodes; ++n)
        if (Allowed(n, bind)) nodes.Add(n);
      int node = PickNode(nodes, +1);
      AddSurplus(node);
      ++p_.free[static_cast<size_t>(node)];
    }
  }

  // return_unused_surplus_pages() without the change of the reservations.
  void ReturnUnused(int64_t count) {
    count = std::min(count, p_.Surplus());
    for (; count > 0; --count) {
      NodeList nodes;
      for (int n = 0; n < p_.nodes; ++n) {
        size_t i = static_cast<size_t>(n);
        if (p_.surplus[i] > 0 && p_.free[i] > 0) nodes.Add(n);
      }
      if (nodes.size == 0) return;
      size_t i = static_cast<size_t>(PickNode(nodes, -1));
      --p_.nr[i];
      --p_.free[i];
      --p_.surplus[i];
    }
  }

  void Free(int node) {
    size_t i = static_cast<size_t>(node);
    if (p_.surplus[i] > 0) {
      --p_.nr[i];
      --p_.surplus[i];
    } else {
      ++p_.free[i];
    }
  }

  // A node that has a page in use, for a page whose node nobody saw.
  int PickUsed() {
    NodeList nodes;
    for (int n = 0; n < p_.nodes; ++n) {
      size_t i = static_cast<size_t>(n);
      if (p_.nr[i] > p_.free[i]) nodes.Add(n);
    }
    return nodes.size == 0 ? 0 : PickNode(nodes, -1);
  }

  bool Take(const PoolEvent& e) {
    bool from_pool = (e.reserved || p_.SomeAvailable()) && FreeOn(e.bind) > 0;
    if (!e.exact && !e.reserved && from_pool && p_.Surplus() < p_.overcommit)
      from_pool = chooser_->Pick(2) == 0;
    NodeList nodes;
    for (int n = 0; n < p_.nodes; ++n) {
      if (!Allowed(n, e.bind) || (e.node != kAnyNode && e.node != n)) continue;
      if (from_pool && p_.free[static_cast<size_t>(n)] == 0) continue;
      nodes.Add(n);
    }
    if (nodes.size == 0) {
      return Wrong(absl::StrCat(
          "a page came from node ", e.node, ", which had none free, while ",
          "there are free ones that it should have taken"));
    }
    if (!from_pool && p_.Surplus() >= p_.overcommit)
      return Wrong(
          "a page was allocated though none was free or unreserved "
          "and no more surplus is allowed");
    int node = PickNode(nodes, from_pool ? -1 : +1);
    if (from_pool) {
      --p_.free[static_cast<size_t>(node)];
    } else {
      AddSurplus(node);
    }
    if (e.reserved) --p_.resv;
    return true;
  }

  bool TakeFails(const PoolEvent& e) {
    if (e.exact && (e.reserved || p_.SomeAvailable()) && FreeOn(e.bind) > 0)
      return Wrong("no page was given though one was free");
    if (p_.Surplus() < p_.overcommit && !Short(e))
      return Wrong(
          "no surplus page was given though one was allowed and "
          "memory was there");
    return true;
  }

  bool Reserve(const PoolEvent& e) {
    int64_t needed = p_.resv + e.count - p_.Free();
    if (needed > p_.overcommit - p_.Surplus() && needed > 0)
      return Wrong(
          "pages were reserved that are neither there nor allowed "
          "as surplus");
    if (!e.exact) {
      const int64_t room = std::min(e.count, p_.overcommit - p_.Surplus());
      needed = std::max(needed, int64_t{0});
      if (needed < room)
        needed += chooser_->Pick(static_cast<int>(room - needed) + 1);
    }
    Gather(needed, e.bind);
    if (e.count > FreeOn(e.bind))
      return Wrong(
          "more pages were reserved than are free on the allowed "
          "nodes");
    p_.resv += e.count;
    return true;
  }

  bool ReserveFails(const PoolEvent& e) {
    int64_t needed = p_.resv + e.count - p_.Free();
    if (needed > 0 && needed > p_.overcommit - p_.Surplus()) return true;
    // Memory ran out on the way: what was gathered was given back.
    if (needed > 0 && Short(e) && chooser_->Pick(2) == 0) return true;
    Gather(needed, e.bind);
    if (e.count <= FreeOn(e.bind))
      return Wrong("a reservation was refused that could have been had");
    ReturnUnused(e.count);
    return true;
  }

  bool Migrate(const PoolEvent& e) {
    size_t from = static_cast<size_t>(e.node);
    size_t to = static_cast<size_t>(e.to);
    bool pool = p_.SomeAvailable() && p_.free[to] > 0;
    if (pool && chooser_->Pick(2) == 0) {
      --p_.free[to];
      Free(e.node);
      return true;
    }
    ++p_.nr[to];
    --p_.nr[from];
    if (from != to && p_.surplus[from] > 0) {
      --p_.surplus[from];
      ++p_.surplus[to];
    }
    return true;
  }

  bool SetNr(const PoolEvent& e) {
    int64_t count = e.count;
    if (e.bind != kAnyNode) {
      size_t i = static_cast<size_t>(e.bind);
      count += p_.Persistent() - (p_.nr[i] - p_.surplus[i]);
    }
    while (p_.Surplus() > 0 && count > p_.Persistent()) {
      NodeList nodes;
      for (int n = 0; n < p_.nodes; ++n)
        if (Allowed(n, e.bind) && p_.surplus[static_cast<size_t>(n)] > 0)
          nodes.Add(n);
      if (nodes.size == 0) break;
      --p_.surplus[static_cast<size_t>(PickSurplus(nodes, -1))];
    }
    // Fresh pages go to the free lists of the nodes where they are seen. They
    // may be gone again in the end, if there was another change of size.
    int64_t grow = count - p_.Persistent();
    // Some that are seen there may be others' surplus.
    const bool beside = !only_ && grow > 0 && chooser_->Pick(2) == 1;
    for (int n = 0; n < p_.nodes && grow > 0; ++n) {
      size_t i = static_cast<size_t>(n);
      if (!Allowed(n, e.bind)) continue;
      int64_t more = target_.nr[i] - p_.nr[i];
      if (beside) more -= target_.surplus[i] - p_.surplus[i];
      int64_t got = std::clamp(more, int64_t{0}, grow);
      p_.nr[i] += got;
      p_.free[i] += got;
      grow -= got;
    }
    if (grow > 0 && !only_ && chooser_->Pick(2) == 1) {
      for (int n = 0; grow > 0; n = (n + 1) % p_.nodes) {
        if (!Allowed(n, e.bind)) continue;
        ++p_.nr[static_cast<size_t>(n)];
        ++p_.free[static_cast<size_t>(n)];
        --grow;
      }
    }
    if (grow > 0) {
      if (!Short(e))
        return Wrong(absl::StrCat("the pool is ", grow, " pages smaller than ",
                                  "asked for though memory was there"));
      return true;
    }
    int64_t persistent_free = p_.Free();
    if (persistent_free > p_.Persistent())
      persistent_free = std::max<int64_t>(0, persistent_free - p_.Surplus());
    int64_t used = p_.resv + p_.Persistent() - persistent_free;
    int64_t keep = std::max(count, used + Passing(e, count - used));
    while (keep < p_.Persistent()) {
      NodeList nodes;
      for (int n = 0; n < p_.nodes; ++n)
        if (Allowed(n, e.bind) && p_.free[static_cast<size_t>(n)] > 0)
          nodes.Add(n);
      if (nodes.size == 0) break;
      size_t i = static_cast<size_t>(PickNode(nodes, -1));
      --p_.nr[i];
      --p_.free[i];
    }
    while (count < p_.Persistent()) {
      NodeList nodes;
      for (int n = 0; n < p_.nodes; ++n) {
        size_t i = static_cast<size_t>(n);
        if (Allowed(n, e.bind) && p_.surplus[i] < p_.nr[i]) nodes.Add(n);
      }
      if (nodes.size == 0) break;
      ++p_.surplus[static_cast<size_t>(PickSurplus(nodes, +1))];
    }
    return true;
  }

  // How many of those that are on their way still counted as used: first what
  // would explain how many pages are left.
  int64_t Passing(const PoolEvent& e, int64_t room) {
    if (e.passing == 0) return 0;
    const int64_t likely = std::clamp<int64_t>(
        target_.Nr() - p_.Surplus() - e.count + room, 0, e.passing);
    const int64_t pick = chooser_->Pick(static_cast<int>(e.passing) + 1);
    if (pick == 0) return likely;
    return pick <= likely ? pick - 1 : pick;
  }

  // The pages are taken from, or come to, the nodes where it is seen.
  bool Demote(const PoolEvent& e, int sign) {
    int64_t left = e.count;
    for (int n = 0; n < p_.nodes && left > 0; ++n) {
      size_t i = static_cast<size_t>(n);
      if (!Allowed(n, e.bind)) continue;
      const int64_t most = sign < 0 ? std::min(left, p_.free[i]) : left;
      int64_t pages =
          std::clamp(sign * (target_.nr[i] - p_.nr[i]), int64_t{0}, most);
      // Where others come as well, as many more may have left.
      if (sign < 0 && !only_ && !e.exact && pages < most)
        pages += chooser_->Pick(static_cast<int>(most - pages) + 1);
      p_.nr[i] += sign * pages;
      p_.free[i] += sign * pages;
      left -= pages;
    }
    if (left > 0 && e.exact)
      return Wrong(absl::StrCat(e.count - left, " pages were ",
                                sign < 0 ? "split" : "made", ", it should be ",
                                e.count));
    return true;
  }

  bool Dissolve(const PoolEvent& e) {
    NodeList nodes;
    for (int n = 0; n < p_.nodes; ++n)
      if (Allowed(n, e.node) && p_.free[static_cast<size_t>(n)] > 0)
        nodes.Add(n);
    if (nodes.size == 0) return Wrong("a page was dissolved, and none is free");
    const auto i = static_cast<size_t>(PickNode(nodes, -1));
    --p_.nr[i];
    --p_.free[i];
    if (p_.surplus[i] > 0) --p_.surplus[i];
    return true;
  }

  // Where the pages in use went is not known of all; none is lost, and no free
  // page is gone that was reserved. What was taken for a page that cannot be
  // moved is freed again, and gone where there is surplus.
  bool Offline(const PoolEvent& e) {
    const int64_t gone = p_.Nr() - target_.Nr();
    if (p_.Nr() - p_.Free() != target_.Nr() - target_.Free() || gone < 0 ||
        gone >
            e.count + std::max<int64_t>(0, p_.Surplus() - target_.Surplus()) ||
        p_.resv != target_.resv ||
        (p_.Available() >= 0 && target_.Available() < 0) ||
        p_.overcommit != target_.overcommit)
      return Wrong("no block of memory could go offline with this result");
    p_ = target_;
    return true;
  }

  int PickSurplus(NodeList nodes, int sign) {
    auto need = [this, sign](int n) {
      size_t i = static_cast<size_t>(n);
      return sign * (target_.surplus[i] - p_.surplus[i]);
    };
    std::stable_sort(nodes.node.begin(), nodes.node.begin() + nodes.size,
                     [&need](int a, int b) { return need(a) > need(b); });
    return nodes.node[static_cast<size_t>(chooser_->Pick(nodes.size))];
  }

  bool One(const PoolEvent& e) {
    switch (e.kind) {
      case Kind::kTake:
        return Take(e);
      case Kind::kTakeFails:
        return TakeFails(e);
      case Kind::kFree: {
        const int node = e.node == kAnyNode ? PickUsed() : e.node;
        const auto i = static_cast<size_t>(node);
        if (!e.exact && p_.surplus[i] > 0 && chooser_->Pick(2) == 1)
          ++p_.free[i];
        else
          Free(node);
        return true;
      }
      case Kind::kLose: {
        const auto i = static_cast<size_t>(e.node);
        --p_.nr[i];
        if (p_.surplus[i] > 0) --p_.surplus[i];
        return true;
      }
      case Kind::kReserve:
        return Reserve(e);
      case Kind::kReserveFails:
        return ReserveFails(e);
      case Kind::kUnreserve:
        p_.resv -= e.count;
        ReturnUnused(e.count);
        return true;
      case Kind::kMigrate:
        return Migrate(e);
      case Kind::kSetNr:
        return SetNr(e);
      case Kind::kSetOvercommit:
        p_.overcommit = e.count;
        return true;
      case Kind::kLeave:
        return Demote(e, -1);
      case Kind::kJoin:
        return Demote(e, +1);
      case Kind::kDissolve:
        return Dissolve(e);
      case Kind::kOffline:
        return Offline(e);
      case Kind::kMaybeChurn: {
        // Taken from the pool and freed where the node has surplus pages: the
        // only way in which taking and freeing leaves a trace.
        NodeList nodes;
        nodes.Add(kAnyNode);
        for (int n = 0; n < p_.nodes; ++n) {
          size_t i = static_cast<size_t>(n);
          if (Allowed(n, e.bind) && p_.surplus[i] > 0 && p_.free[i] > 0)
            nodes.Add(n);
        }
        int node =
            nodes.size == 1
                ? kAnyNode
                : nodes.node[static_cast<size_t>(chooser_->Pick(nodes.size))];
        if (node == kAnyNode) return true;
        --p_.free[static_cast<size_t>(node)];
        Free(node);
        return true;
      }
      case Kind::kMaybeKeep: {
        int64_t needed = p_.resv + 1 - p_.Free();
        bool can = needed <= 0 || needed <= p_.overcommit - p_.Surplus();
        if (!can || chooser_->Pick(2) == 1) return true;
        Gather(needed, e.bind);
        ++p_.resv;
        return true;
      }
      case Kind::kMaybeUnreserve:
        if (chooser_->Pick(2) == 0) return true;
        p_.resv -= e.count;
        if (e.reserved) ReturnUnused(e.count);
        return true;
      case Kind::kMaybeReserve: {
        int64_t needed = p_.resv + e.count - p_.Free();
        bool can = needed <= 0 || needed <= p_.overcommit - p_.Surplus();
        if (!can || chooser_->Pick(2) == 0) return true;
        Gather(needed, e.bind);
        ReturnUnused(e.count);
        return true;
      }
    }
    return true;
  }

  Pool p_;
  const Pool& target_;
  Chooser* chooser_;
  bool only_ = false;  // there is but one event
  std::string why_;
};

bool Same(const Pool& a, const Pool& b) {
  return a.nr == b.nr && a.free == b.free && a.surplus == b.surplus &&
         a.resv == b.resv && a.overcommit == b.overcommit;
}

}  // namespace

int64_t Pool::Nr() const { return Sum(nr); }
int64_t Pool::Free() const { return Sum(free); }
int64_t Pool::Surplus() const { return Sum(surplus); }

Pool PoolOf(const PoolView& view, int nodes) {
  Pool pool;
  pool.page_size = view.page_size;
  pool.nodes = nodes;
  pool.overcommit = view.overcommit;
  pool.resv = view.resv;
  for (size_t n = 0; n < static_cast<size_t>(nodes); ++n) {
    pool.nr[n] = view.node[n].nr;
    pool.free[n] = view.node[n].free;
    pool.surplus[n] = view.node[n].surplus;
  }
  return pool;
}

std::string Print(const Pool& pool) {
  std::string out = PrintSize(pool.page_size);
  auto counts = [&pool, &out](const char* name,
                              const std::array<int64_t, kMaxNodes>& values) {
    absl::StrAppend(&out, " ", name, "=");
    for (int n = 0; n < pool.nodes; ++n)
      absl::StrAppend(&out, n ? "," : "", values[static_cast<size_t>(n)]);
  };
  counts("nr", pool.nr);
  counts("free", pool.free);
  counts("surplus", pool.surplus);
  absl::StrAppend(&out, " resv=", pool.resv, " overcommit=", pool.overcommit);
  return out;
}

bool Explains(const Pool& before, const std::vector<PoolEvent>& events,
              const Pool& after, std::string* why) {
  if (events.empty()) {
    if (Same(before, after)) return true;
    *why = absl::StrCat("expected ", Print(before), ", is ", Print(after));
    return false;
  }
  // More picks than any history of a sane length has; beyond them the first
  // way that was tried is reported, so nothing passes unexplained.
  constexpr int kMaxTries = 20000;
  Chooser chooser;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    Replay replay(before, after, &chooser);
    bool possible = replay.Run(events);
    if (possible && Same(replay.pool(), after)) return true;
    if (tries == 0) {
      *why = possible ? absl::StrCat("expected ", Print(replay.pool()), ", is ",
                                     Print(after))
                      : absl::StrCat(replay.why(), "; was ", Print(before),
                                     ", is ", Print(after));
    }
    if (!chooser.Next()) return false;
  }
  return false;
}

}  // namespace handover::model
