// SPDX-License-Identifier: BSD-3-Clause
//
// How one step is judged. Used by the judge_*.cc files only.
#ifndef HANDOVER_MODEL_JUDGE_INTERNAL_H_
#define HANDOVER_MODEL_JUDGE_INTERNAL_H_

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "model/accounting.h"
#include "model/history.h"
#include "model/judge.h"
#include "model/observation.h"
#include "model/state.h"

namespace handover::model {

// Applies commands to a state and compares the state with a snapshot. The
// state changes as the observed outcomes say; what could not be is a verdict.
class Stepper {
 public:
  // `snapshot` is what is seen after the commands that Apply() gets.
  Stepper(State* state, const Snapshot& snapshot, bool fault);

  // One command that a kernel carried out (no `sim fail` and the like).
  void Apply(const Command& command, const Outcome& outcome);

  // After all commands of the step: the state against the snapshot.
  void Check();
  // This command was cut short by the end of its kernel: a page may have been
  // taken, a reservation used, without it getting anywhere.
  void CutShort(const Command& command, const Outcome& outcome);
  // Several commands ran at a time, so one may have met another halfway.
  void SetRacing(const Command& command, const std::vector<Command>& during) {
    racing_ = true;
    offlines_ = command.verb == Verb::kOffline ||
                std::any_of(during.begin(), during.end(), [](const Command& c) {
                  return c.verb == Verb::kOffline;
                });
    poisons_ = during;
    poisons_.push_back(command);
    poisons_.erase(std::remove_if(poisons_.begin(), poisons_.end(),
                                  [](const Command& c) {
                                    return c.verb != Verb::kPoison;
                                  }),
                   poisons_.end());
  }

  // The old kernel of `state` is gone, the one of state->image (or a cold one)
  // runs and `snapshot` is its first. `corrupted`: by `sim corrupt`, the table
  // in `o` may be anything.
  void Kexec(const Observation& o, bool corrupted);
  void ColdBoot(bool shortage_reported);

  void CheckCells(const std::vector<Cell>& cells);

  void Fail(std::string_view property, std::string what);
  std::vector<Verdict> verdicts;

 private:
  using Errors = std::initializer_list<int>;

  // --- judge.cc
  // Collects in `must_` which errors the command must end with, one of them;
  // in `may_` which ones it may end with although it could succeed.
  void Must(int error) { must_.push_back(error); }
  void May(int error) { may_.push_back(error); }
  // Holds the outcome against both; true if the command took effect.
  bool Went(const Outcome& outcome);
  int FileOf(const Command& command);  // -1 and Must(EBADF) if there is none
  File& file(int id) { return state_->files[static_cast<size_t>(id)]; }
  bool MemoryIsShort(uint64_t page_size) const;
  void ForgiveShortage(uint64_t page_size, PoolEvent* event) const;
  bool ShrinksMeanwhile(size_t pool) const;

  // --- judge_process.cc
  void Memfd(const Command& c, const Outcome& o);
  void MakeFile(const Command& c, int mount);
  void Truncate(const Command& c, const Outcome& o);
  void Map(const Command& c, const Outcome& o);
  void Unmap(const Command& c, const Outcome& o);
  void Access(const Command& c, const Outcome& o);
  void Fallocate(const Command& c, const Outcome& o);
  void Punch(const Command& c, const Outcome& o);
  void Seal(const Command& c, const Outcome& o);
  void Seek(const Command& c, const Outcome& o);
  void Bind(const Command& c, const Outcome& o);
  void Pin(const Command& c, const Outcome& o);
  void Close(const Command& c, const Outcome& o);
  void Exit(int process);
  void Nr(const Command& c, const Outcome& o);
  void Demote(const Command& c, const Outcome& o);
  void Offline(const Command& c, const Outcome& o);
  void Poison(const Command& c, const Outcome& o);
  void PoisonFree(const Command& c, const Outcome& o);
  void PreserveFree(const Command& c, const Outcome& o);

  // --- judge_cgroup.cc
  void Cgroup(const Command& c, const Outcome& o);
  void SetCgroupLimit(const Command& c, const Outcome& o);
  void Removed(CgroupPath path);
  // Whether a limit of the group, or of one above it, leaves room for so many
  // pages; it cannot be said when others run at the same time.
  enum class Room : uint8_t { kEnough, kNone, kUnknown };
  Room RoomFor(CgroupPath path, Charge charge, uint64_t page_size,
               int64_t pages) const;
  // Of a new page of this command's: in hugetlb's groups, and then in those of
  // memory.
  Room RoomForPage(uint64_t page_size, bool reserved) const;
  Room RoomInMemory(uint64_t page_size) const;
  // That has been charged since the groups were seen.
  void Charged(CgroupPath path, Charge charge, uint64_t page_size,
               int64_t pages);
  void ChargePage(File* f, Page* page, bool reserved);
  // Who pays in this kernel for what `path` paid for.
  CgroupPath PayerFor(CgroupPath path) const;
  Room RoomForFile(const File& f) const;
  void TakeCharges(File* f);
  void CheckCgroups();
  void CheckCharges(int id, const FileView& view);

  // --- judge_mount.cc
  void MakeMount(const Command& c, const Outcome& o);
  // Whether the mount of a file leaves room for so many more pages, and how
  // many of those have to be reserved, or used, that it does not have in hand.
  Room RoomInMount(const File& f, int64_t pages) const;
  int64_t TakeFromMount(const File& f, int64_t pages);
  // A page was not to be had in the end.
  void LoseInMount(const File& f);
  bool HasInMount(const File& f) const;
  // Reservations of a file, or of a mapping of it, that are not needed.
  void GiveBack(const File& f, int64_t pages);
  void EndMount(int mount);
  bool UnsureOf(uint64_t page_size) const;

  // --- judge_process.cc
  void Dev(const Command& c, const Outcome& o);

  // A page of the snapshot, or null if the snapshot does not show it.
  bool MayBePoisoned(int id, int64_t index) const;
  const PageView* SeenPage(int id, int64_t index);
  bool SeenReserved(int id, int64_t index) const;
  void LeaveRegion(int id, int64_t index);
  void LoseReservation(Mapping* m, int64_t index);
  // A new page of a file; it is of the pool unless `file` is a shmem one.
  Page* NewPage(int id, int64_t index, int bind, const Outcome* outcome);
  void RemovePages(int id, int64_t from, int64_t to);
  // How private copies of a range go.
  struct ZapWay {
    std::vector<size_t> order;  // mappings, one after the other
    // A copy whose node is not known was on one that has surplus pages.
    bool surplus = false;
    // Of those that should give their reservation back, bit by bit: it fails.
    unsigned lost = 0;
  };
  void RemoveRange(int id, int64_t from, int64_t to);
  void ZapCopies(int id, int64_t from, int64_t to, const ZapWay& way);
  static int64_t CopiesIn(const Mapping& m, int64_t from, int64_t to);
  void MakeUnsure(const std::vector<size_t>& mappings);
  int64_t SeenReservations(uint64_t page_size) const;
  int64_t SeenPages(uint64_t page_size, int node) const;
  void DropCopies(Mapping* m, bool surplus);
  void DropMapping(size_t mapping);
  void DropMappings(int process, const std::vector<int>& names, bool at_once,
                    size_t gone);
  void ExitAsSeen(int process, std::vector<int> names);
  bool HasSurplus(int id) const;
  void FreePage(uint64_t page_size, const Page& page, int mount = -1);
  void PutFile(int id);  // evicts it if nothing holds it
  // Those of a frame, or (kNoFrame) of a page of a file.
  void StopDevices(int id, int64_t page, Frame frame);
  void CheckRead(Page* page, uint64_t at, uint64_t value);

  // --- judge_agent.cc
  void Agent(const Command& c, const Outcome& o);
  bool NoRoomToMove(int id);
  void Preserve(const Command& c, const Outcome& o);
  void Retrieve(const Command& c, const Outcome& o);
  void RetrievePromise(File* f, const Outcome& o);
  void Reboot(const Command& c, const Outcome& o);
  bool StillAnnounced(const Session& session) const;
  bool FinishSession(Session* session);
  bool KhoKeeps(const Page& page) const;
  void KeepOut(uint64_t page_size, const Page& page, bool free = false);
  void Release(int file);
  std::vector<int> WhyRefused(int file) const;
  void DropSession(int name);

  // --- judge_boot.cc
  void Boot(bool cold, bool shortage_reported);
  void Renumber(const std::vector<PageView>& handed);
  void BootPool(size_t pool, bool cold, bool shortage_reported);
  bool SaysSized(const Pool& seen, bool due,
                 const std::array<int64_t, kMaxNodes>& in,
                 const std::array<int64_t, kMaxNodes>& free_on) const;
  std::vector<int> HandOverFree(const Observation& o);
  void CheckHandedFree(const Observation& o, const std::vector<int>& ids);
  void LoseFree();
  void CheckAreas(bool cold);
  bool SkipsAtBoot(uint64_t page_size) const;
  bool StillHeld() const;
  void LoseEverything();
  void Import(const Observation& o, const std::vector<int>& published,
              bool corrupted);
  TableView TableOf(const std::vector<int>& published) const;
  void FollowHandles(const std::vector<uint64_t>& handles);
  void SettleTable();
  bool IsBad(const Page& page, uint64_t page_size) const;
  void CheckKeptAway(const Observation& o);
  void CountErrors();
  void TakeOver(File* f, const HandedFile& handed,
                const std::vector<Page>& before);
  void SettleLate(bool went, int finishing = -1);
  void MatchRegions();
  void MatchOwners(File* f, const HandedFile& handed);
  std::vector<int> Claimants(uint64_t page_size) const;
  static int64_t Promise(std::vector<File>* files, const std::vector<int>& ids,
                         int64_t available);
  int64_t PromiseAtBoot(uint64_t page_size, const Pool& seen);
  bool ExplainsPromises();
  void PromiseLate();
  // Pages that this step has let go of so far.
  int64_t Freed(size_t pool) const;
  // `finishing`: the session whose files are finished now, or none (-1); KHO
  // may have kept some of their pages.
  bool ExplainsQuarantine(int finishing = -1) const;
  bool ExplainsUse() const;
  bool ExplainsReport() const;
  std::vector<Reserved> Due() const;  // to be reported, with numbers
  std::vector<Reserved> Quarantined() const;
  int64_t Announced(uint64_t page_size, int node) const;

  // --- judge_check.cc
  void CheckFiles();
  void CheckFile(int id, const FileView& view);
  void CheckRegions(int id, const FileView& view);
  void CheckPages(int id, const FileView& view);
  bool InCma(uint64_t page_size, Frame frame) const;
  void PromiseUnnoticed(size_t pool, int64_t resv);
  static void LetPass(std::vector<PoolEvent>* events);
  void CheckPools();
  void CheckChoice(size_t pool);
  void CheckDuplicates();
  void CheckSessions();
  void CheckQuarantine();
  void ForgetCopies();
  int64_t ExpectedReservations(uint64_t page_size) const;
  // With what is counted wrong for good.
  int64_t CountedReservations(uint64_t page_size) const;
  bool ReservedAsSeen() const;  // in every pool
  const FileView* ViewOf(int id) const;
  bool IsCut(int id) const;
  bool Trusts(int id) { return !file(id).unknown && !IsCut(id); }
  std::string_view Property(std::string_view usual) const {
    return override_.empty() ? usual : override_;
  }

  PoolEvent* Event(uint64_t page_size, PoolEvent::Kind kind);

  State* state_;
  const Snapshot& snapshot_;
  CgroupPath payer_ = kRootPath;  // whose command it is
  bool fault_;
  std::vector<int> must_;
  std::vector<int> may_;
  std::vector<std::vector<PoolEvent>> events_;  // by pool
  std::vector<int> may_migrate_;                // files
  // Files of which a freeze moves late pages, but none that it pinned before.
  std::vector<int> late_may_migrate_;
  // A gigantic page was allocated, for which any page may be moved aside.
  bool all_may_migrate_ = false;
  // Memory went offline, or was to: pages moved, free ones are gone.
  bool offlined_ = false;
  std::string_view override_;
  bool frames_changed_ = false;
  // Of the page sizes of mounts and mappings that ended in this step, unsure
  // ones.
  std::vector<uint64_t> ended_unsure_;
  bool late_import_ = false;     // files left the counters for quarantine
  bool uncertain_resv_ = false;  // Linux gave up on counting it right
  bool racing_ = false;
  bool offlines_ = false;  // one of several commands does
  struct Written {
    int file;
    int64_t index;
    uint64_t at;
  };
  std::vector<Written> written_;
  // Pages that could not be written right after they were added: poisoned.
  std::vector<std::pair<int, int64_t>> spoilt_;
  std::vector<Command> poisons_;  // at the same time  // while racing
  bool cut_short_ = false;
  std::vector<int> cut_files_;  // those that it was about
};

// Whether both say the same when what has one size and node is added up. A
// report without numbers has page size 0.
bool SameReserved(const std::vector<Reserved>& a,
                  const std::vector<Reserved>& b);

// "p0 write m0 3 7f: " for verdicts.
std::string Where(const Command& command);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_JUDGE_INTERNAL_H_
