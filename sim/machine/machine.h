// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MACHINE_MACHINE_H_
#define SIM_MACHINE_MACHINE_H_

// The simulated machine: what outlives a kernel (physical memory, devices,
// fault plan, trace, digest, found violations) and nothing of what a kernel
// knows. One machine is current at a time; kernel functions, which have no
// place for a context argument, find it through M().

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/machine/geometry.h"

namespace sim {

// What a simulated kernel's misbehaviour or a broken property is reported as.
struct Violation {
  std::string property;  // a name of properties.md: "discipline", "no-leak", …
  std::string what;
};

// Kinds of fallible calls, for fault plans. kRace: calls that in the kernel
// fail only after a race that cannot happen here; not part of kAny.
enum class FailKind { kAny, kAlloc, kKho, kOther, kCharge, kRace };

// Makes the nth (1-based) fallible call of a kind fail, once.
struct FaultPlan {
  FailKind kind = FailKind::kAny;
  int nth = 0;  // 0: nothing fails
};

// The bytes behind physical addresses. Frames that nobody wrote cost nothing
// and read as zeros. The host's mapping outlives the object and is used again
// by the next one of the same shape: making one costs a microsecond.
class PhysicalMemory {
 public:
  explicit PhysicalMemory(const Geometry& geometry);
  ~PhysicalMemory();
  PhysicalMemory(const PhysicalMemory&) = delete;
  PhysicalMemory& operator=(const PhysicalMemory&) = delete;

  uint64_t end_pfn() const { return end_pfn_; }
  char* base() const { return base_; }  // direct map: byte of phys 0
  bool Exists(uint64_t pfn) const { return NodeOf(pfn) >= 0; }
  // -1: there is no such frame. As the running kernel sees it, or as it is.
  int NodeOf(uint64_t pfn) const { return RealNodeOf(pfn) >> hide_nodes_; }
  int RealNodeOf(uint64_t pfn) const {
    return pfn < end_pfn_ ? nid_[pfn >> nid_shift_] : -1;
  }
  // All memory is on one node.
  void HideNodes(bool hide) { hide_nodes_ = hide ? 7 : 0; }

  // Whoever may write the frame's bytes says so first; only such frames are
  // overwritten with kPoison by a kexec and zeroed by Zero().
  void MarkDirty(uint64_t pfn, uint64_t nr = 1);
  bool IsDirty(uint64_t pfn) const {
    return pfn < end_pfn_ && (dirty_[pfn / 64] >> (pfn % 64) & 1);
  }
  // Zeros: free for frames that are not dirty. They are not dirty afterwards:
  // whoever writes them again says so again (so Zero() first, then
  // MarkDirty() for a frame that is given out zeroed).
  void Zero(uint64_t pfn, uint64_t nr);
  // What happens to memory that nobody preserved: dirty frames are filled
  // with kPoison bytes, and stay dirty. Whoever writes such a frame later
  // marks it dirty again, or the next Poison() leaves it as it is. The range
  // may have holes.
  void Poison(uint64_t pfn, uint64_t nr);
  static constexpr unsigned char kPoison = 0x5a;

  // For tests: somebody wrote a frame without MarkDirty(). Reads all memory.
  // Returns the first such frame, or end_pfn().
  uint64_t FindUnmarkedWrite() const;

 private:
  struct Mapping;
  static Mapping* TakeMapping(const Geometry& geometry);
  void CheckRange(uint64_t pfn, uint64_t nr) const;

  Mapping* mapping_;
  // Copies of what mapping_ has, for speed.
  char* base_;
  uint64_t end_pfn_;
  const int8_t* nid_;  // by pfn >> nid_shift_
  unsigned nid_shift_;
  // Makes 0 of any node, and leaves -1.
  unsigned hide_nodes_ = 0;
  uint64_t* dirty_;     // bit per frame
  uint64_t* poisoned_;  // bit per frame: dirty, and holds nothing but kPoison
  uint64_t* summary_;   // bit per word of dirty_
};

class Machine {
 public:
  Machine(const Geometry& geometry, uint64_t seed);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // As the running kernel sees it.
  const Geometry& geometry() const { return numa_ ? geometry_ : one_node_; }
  // A kernel boots, with numa=off or without.
  void SetNuma(bool on);
  PhysicalMemory& memory() { return memory_; }

  // --- Trace and digest. Everything that happens is added to the digest;
  // text is kept only while tracing is on. No host address may show.
  void Trace(std::string_view line);
  void DigestAdd(uint64_t word);
  void AddStep(int actor, const char* what);  // digest only: there are many
  // Text only: whoever looks changes nothing. Only while tracing is on.
  void Note(std::string line) { trace_.push_back(std::move(line)); }
  uint64_t digest() const { return digest_; }
  void set_tracing(bool on) { tracing_ = on; }
  bool tracing() const { return tracing_; }
  std::vector<std::string>& trace() { return trace_; }

  // --- Kernel log (printk) of the running kernel, newest last. A line starts
  // with its level, as in `dmesg -r`: "<3>" is an error.
  void Printk(std::string_view line);
  const std::vector<std::string>& log() const { return log_; }
  void ClearLog() { log_.clear(); }

  // --- Violations. The first one ends the history; a few more are kept.
  // `detail` is told along with it, but is not in the digest: it may depend on
  // the build.
  void Report(std::string_view property, std::string what,
              std::string_view detail = {});
  const std::vector<Violation>& violations() const { return violations_; }
  // A call that failed made Linux's own code warn, where nothing is wrong with
  // what called it: no violation. Linux's state is such from there on that
  // nothing but letting go of everything is asked of it.
  void NoteLinuxWarning(std::string_view what);
  int linux_warnings() const { return linux_warnings_; }
  // Linux's own code goes on without end, where nothing is wrong with what
  // called it: no violation, but nothing can be asked of this machine any more.
  // Whoever says so stops the history, with StopHistory().
  void NoteLinuxHang(std::string what);
  const std::string& linux_hang() const { return linux_hang_; }  // empty: none

  // --- The seam that each fallible call passes. True: fail now.
  bool Fails(FailKind kind, const char* what);
  void set_fault_plan(FaultPlan plan) { set_fault_plans({plan}); }
  // Each of them fails its call, counted from here on.
  void set_fault_plans(const std::vector<FaultPlan>& plans);
  bool fault_fired() const { return fault_fired_; }  // since set_fault_plan
  // Plans whose call has not been made.
  int faults_left() const;
  // A single page could not be had, of any node: not by plan.
  void NoteShortage() { shortage_ = true; }
  bool shortage() const { return shortage_; }  // since set_fault_plan
  // Ever: for who wants to know how many there are, and how many failed.
  uint64_t fallible_calls() const { return fallible_calls_; }
  uint64_t failed_calls() const { return failed_calls_; }

  // Kernels booted so far: 1 for the first.
  int generation = 0;

 private:
  void DigestAddText(std::string_view text);
  void NoteCall(FailKind kind, const char* what);

  Geometry geometry_;
  Geometry one_node_;  // the same without nodes
  bool numa_ = true;
  PhysicalMemory memory_;
  uint64_t digest_;
  bool tracing_ = false;
  std::vector<std::string> trace_;
  std::vector<std::string> log_;
  std::vector<Violation> violations_;
  int linux_warnings_ = 0;
  std::string linux_hang_;
  std::vector<FaultPlan> plans_;  // nth: how many are left to it
  bool fault_fired_ = false;
  bool shortage_ = false;
  uint64_t fallible_calls_ = 0;
  uint64_t failed_calls_ = 0;
  // Since set_fault_plans(), while tracing is on: all of them, and by kind.
  std::array<uint64_t, 5> calls_{};
};

// The current machine. The constructor of Machine makes it current.
Machine& M();
bool HaveMachine();

}  // namespace sim

#endif  // SIM_MACHINE_MACHINE_H_
