// SPDX-License-Identifier: BSD-3-Clause
//
// A history: what processes, an administrator, a live update agent, a
// bootloader and (in the simulator) bad luck do to a chain of kernels, one
// command after the other. docs/history.md describes the text form.
#ifndef HANDOVER_MODEL_HISTORY_H_
#define HANDOVER_MODEL_HISTORY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace handover::model {

inline constexpr int kHistoryVersion = 1;
inline constexpr int kMaxNodes = 4;
inline constexpr int kMaxProcesses = 8;
// Names are a letter and a number: f0, m3, s1. The number is the identity.
inline constexpr int kMaxNames = 256;
// c0 to c7; with the root they are the digits of a path, see CgroupPath.
inline constexpr int kMaxCgroups = 8;
inline constexpr int kRootCgroup = -1;

enum class Geometry : uint8_t { kSmall, kX86, kArm64 };

// The text name of a geometry: "small", "x86", "arm64".
std::string_view GeometryName(Geometry geometry);

// The huge page sizes of a geometry in bytes, ascending. The last one of each
// geometry is larger than what the buddy allocator can hand out.
const std::vector<uint64_t>& PageSizes(Geometry geometry);

// How much memory goes offline at a time.
uint64_t MemoryBlock(Geometry geometry);

// True for sizes that the buddy allocator cannot hand out.
bool IsGigantic(Geometry geometry, uint64_t page_size);

// The size that `hugepages=` means before any `hugepagesz=` (HPAGE_SIZE).
uint64_t DefaultPageSize(Geometry geometry);

enum class Actor : uint8_t { kProcess, kAdmin, kAgent, kLoader, kSim };

enum class Verb : uint8_t {
  // Processes.
  kMemfd,
  kShmem,
  kMount,
  kTruncate,
  kMap,
  kUnmap,
  kWrite,
  kRead,
  kFallocate,
  kPunch,
  kSeal,
  kSeek,
  kBind,
  kPin,
  kClose,
  kExit,
  // The administrator.
  kNr,
  kOvercommit,
  kDemote,
  kOffline,
  kPoison,
  kPoisonFree,
  kPreserveFree,
  kCgroup,
  kRmdir,
  kMove,
  kLimit,
  // The agent.
  kOpen,
  kCloseDevice,
  kSession,
  kDrop,
  kPreserve,
  kReboot,
  kTake,
  kRetrieve,
  kFinish,
  // The loader.
  kLoad,
  // The simulator.
  kFail,
  kDuring,
  kDev,
  kInterleave,
  kCorrupt,
  kCut,
  kPower,
};
inline constexpr int kVerbs = static_cast<int>(Verb::kPower) + 1;

// "memfd", "nr", ...; kCloseDevice is "close" as well, of the agent.
std::string_view VerbName(Verb verb);

// Seals have the values of F_SEAL_* of linux/fcntl.h.
inline constexpr uint32_t kSealSeal = 0x01;
inline constexpr uint32_t kSealShrink = 0x02;
inline constexpr uint32_t kSealGrow = 0x04;
inline constexpr uint32_t kSealWrite = 0x08;
inline constexpr uint32_t kSealFutureWrite = 0x10;
inline constexpr uint32_t kSealExec = 0x20;

enum class FailKind : uint8_t { kAny, kAlloc, kKho, kOther, kCharge };

// What a cgroup is charged for: pages in use and reservations by the hugetlb
// controller, pages in use by the memory controller.
enum class Charge : uint8_t { kUsage, kRsvd, kMemory };
inline constexpr int kCharges = 3;

// A path of cgroups in one number: 0 is none at all, 1 is the root, cN of P is
// P * (kMaxCgroups + 1) + N + 1.
using CgroupPath = uint64_t;
inline constexpr CgroupPath kNobody = 0;
inline constexpr CgroupPath kRootPath = 1;
constexpr CgroupPath ChildPath(CgroupPath parent, int name) {
  return parent * (kMaxCgroups + 1) + static_cast<CgroupPath>(name + 1);
}
constexpr CgroupPath ParentPath(CgroupPath path) {
  return path / (kMaxCgroups + 1);
}
// "nobody", "/", "/c0/c3".
std::string PrintPath(CgroupPath path);

// Fields of the records of linux/kho/abi/hugetlb.h; first, what KHO's device
// tree says about the place and length of the root, and last, what LUO's
// records say about the place of a file's.
enum class Target : uint8_t {
  kRootAddress,
  kRootBytes,
  kRootMagic,
  kRootVersion,
  kRootCsum,
  kRootNrCounts,
  kRootFiles,
  kRootNrFiles,
  kRootNodes,
  kRootOrder,  // of its counts
  kRootNode,
  kRootCount,
  kErrorAddress,  // of the list of memory errors behind those
  kErrorNr,
  kErrorCsum,
  kFileMagic,
  kFileVersion,
  kFileCsum,
  kFileOrder,
  kFileNext,
  kFileRuns,
  kFileLate,
  kFileResv,
  kFileOwners,
  kFileNrOwners,
  kFileSize,
  kFilePos,
  kFileNrPages,
  kFileNrResv,
  kFileSeals,
  kFileMode,
  kFileNrCounts,
  kFileFlags,
  kFileCountOrder,  // of its first count
  kFileCountNode,
  kFileCount,
  kBlockNext,
  kBlockMagic,
  kBlockCsum,
  kBlockNr,
  kRunIndex,
  kRunNr,
  kRunFrame,
  kRunOwner,
  kOwnerNext,
  kOwnerMagic,
  kOwnerCsum,
  kOwnerNr,
  kOwnerPath,  // the last four bytes of its first path
  kLuoData,
};
inline constexpr int kTargets = static_cast<int>(Target::kLuoData) + 1;

// "root.version", ...
std::string_view TargetName(Target target);

// One command. Which fields mean something depends on the verb; the others
// keep their defaults, so that == compares commands as printed.
struct Command {
  Actor actor = Actor::kProcess;
  Verb verb = Verb::kExit;
  int process = -1;  // 0..7 of kProcess, else -1
  int file = -1;     // N of fN
  int mapping = -1;  // N of mN; each process has its own mapping names
  int session = -1;  // N of sN
  int node = -1;     // bind, nr, demote; -1: any node, or the global file
  uint64_t token = 0;
  int cgroup = kRootCgroup;        // N of cN
  int parent = kRootCgroup;        // cgroup: where it is made
  int task = -1;                   // move: N of pN, -1: the agent
  Charge charge = Charge::kUsage;  // limit: of what; length -1: none

  uint64_t page_size =
      0;                 // memfd, mount, nr, overcommit, demote, preserve-free
  int64_t page = 0;      // first page, or the page; truncate: the new size
  int64_t length = 0;    // pages; nr, overcommit, demote: the count
  uint64_t at = 0;       // byte in the page
  uint64_t value = 0;    // write, dev
  int64_t position = 0;  // seek: bytes
  uint32_t seals = 0;

  bool sealable = false;
  bool noexec = false;
  bool read_only = false;
  bool is_private = false;
  bool no_reserve = false;
  bool keep_size = false;
  bool on = false;        // preserve-free
  bool unlinked = false;  // mount
  int64_t most = -1;      // mount: pages of size= and of min_size=, -1: none
  int64_t least = -1;

  int64_t step = 0;  // fail: which call; during, cut: which step; all from 1
  FailKind fail_kind = FailKind::kAny;
  Target target = Target::kRootVersion;
  int64_t delta = 0;
  int64_t nth = 0;
  bool resum = false;

  bool no_option = false;               // load: no CONFIG_LIVEUPDATE_HUGETLB
  std::vector<uint64_t> missing_sizes;  // load: ascending
  std::string command_line;             // load

  std::vector<Command> inner;  // during: the one command that is started

  friend bool operator==(const Command& a, const Command& b);
};

struct History {
  Geometry geometry = Geometry::kSmall;
  int nodes = 2;
  std::string command_line;  // of the first kernel
  std::vector<Command> commands;

  friend bool operator==(const History& a, const History& b);
};

// True for commands that no real machine can carry out.
bool IsSimulatorOnly(const Command& command);

// Reads a history. The parser is strict: words in the order of docs/history.md,
// nothing left over, every number in its range. Errors are InvalidArgument with
// "line N: what is wrong".
absl::StatusOr<History> ParseHistory(std::string_view text);

// Reads one command line, without "line N: ".
absl::StatusOr<Command> ParseCommand(std::string_view text);

// Prints such that ParseHistory(Print(h)) == h and Print of that is the same
// text. Command: without the line's end.
std::string Print(const Command& command);
std::string Print(const History& history);

// "shrink,grow", in the order of docs/history.md; "none"; what is no seal comes
// last, as a number.
std::string PrintSeals(uint32_t seals);

// "16K", "2M", "1G": the largest unit that divides `bytes`.
std::string PrintSize(uint64_t bytes);
absl::StatusOr<uint64_t> ParseSize(std::string_view text);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_HISTORY_H_
