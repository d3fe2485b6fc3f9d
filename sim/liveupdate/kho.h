// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_LIVEUPDATE_KHO_H_
#define SIM_LIVEUPDATE_KHO_H_

// What checkers, the executor and tests may ask about kexec handover (KHO).
// The kernel's own interface is linux/kexec_handover.h.

#include <compare>
#include <cstdint>
#include <vector>

namespace sim {

// One preserved block of page frames, as KHO's radix tree knows it.
struct KhoKey {
  uint64_t phys = 0;
  unsigned order = 0;
  friend auto operator<=>(const KhoKey&, const KhoKey&) = default;
};

// A fingerprint of the set of keys that go to the next kernel. Independent of
// the order in which keys came and went, so that two states compare.
struct KhoKeySet {
  uint64_t count = 0;
  uint64_t hash = 0;
  friend bool operator==(const KhoKeySet&, const KhoKeySet&) = default;
};
KhoKeySet KhoOutgoing();

// The same keys, ascending by address and order, read from the tree.
std::vector<KhoKey> KhoOutgoingKeys();

// Frames that the outgoing tree itself takes: they grow and never shrink
// while a kernel runs (del_key leaves empty nodes), which is no leak.
std::vector<uint64_t> KhoOutgoingTreePages();

// What the previous kernel preserved and this one has not restored yet,
// ascending. A few pages stay there for good in every kernel: KHO's own device
// tree and metadata, and LUO's table of FLBs.
std::vector<KhoKey> KhoUnclaimed();
uint64_t KhoUnclaimedPages();

// Physical addresses of what stays in KhoUnclaimed() for good, in the kernel
// that is running: the incoming device tree and LUO's table of FLBs and KHO's
// metadata, as far as there were any. Ascending.
std::vector<uint64_t> KhoNeverRestored();

// How often a kernel was entered by kexec since the last cold boot, as KHO's
// metadata tells.
uint32_t KhoKexecCount();

}  // namespace sim

#endif  // SIM_LIVEUPDATE_KHO_H_
