// SPDX-License-Identifier: BSD-3-Clause
#include "model/design.h"

#include <cstdlib>
#include <initializer_list>
#include <utility>

namespace handover::model {
namespace {

Design Ours() {
  Design d;
  d.name = "late-pages";
  d.what =
      "pages are written down while the workload runs; those that are added "
      "afterwards are remembered and written down when the file freezes, and "
      "then whoever needs another one waits";
  d.who = "kernel/new";
  return d;
}

// Ours but for what `change` does.
template <typename Change>
Design Variation(std::string_view name, std::string_view what,
                 std::string_view who, std::string_view variation,
                 Change change) {
  Design d = Ours();
  d.name = name;
  d.what = what;
  d.who = who;
  d.variation = variation;
  change(&d);
  return d;
}

std::vector<Design> MakeDesigns() {
  using D = Design;
  std::vector<Design> all;
  all.push_back(Ours());
  all.push_back(Variation(
      "free-pools",
      "as late-pages, and the free pages go along: when all files are frozen "
      "it is noted where they are, memory for their list is allocated, and "
      "then those that are free still are listed; nobody looks at who takes "
      "one afterwards",
      "kernel/new, with preserve_free", "late-pages",
      [](D* d) { d->snapshot = D::Snapshot::kAtFreeze; }));
  all.push_back(Variation(
      "rfc-2025",
      "preserve() freezes the file, by a flag on the inode that is looked at "
      "under its lock, notes its size, and fills its holes by pinning; a "
      "writable mapping beyond its end makes it grow all the same; pages are "
      "counted per size; each is taken as it is found; a retrieval that fails "
      "leaks",
      "the RFC of December 2025", "late-pages", [](D* d) {
        d->freeze = D::Freeze::kAtPreserve;
        d->fault = D::Fault::kGoesOn;
        d->growth = D::Growth::kAlways;
        d->size = D::Size::kAtPreserve;
        d->fills_holes = true;
        d->notices = false;
        d->counts = D::Counts::kTotal;
        d->counted = D::Counted::kWhenRetrieved;
        d->import = D::Import::kOnePass;
        d->refused = D::Refused::kLeaked;
        d->retries = false;
        d->waits_for_claims = false;
      }));
  all.push_back(Variation(
      "frozen-early",
      "the file is frozen when it is preserved: nothing can be added, so "
      "nothing has to be remembered",
      "who finds remembering pages too clever", "late-pages",
      [](D* d) { d->freeze = D::Freeze::kAtPreserve; }));
  all.push_back(Variation(
      "faults-fail",
      "a fault into a hole of a frozen file gets SIGBUS instead of waiting",
      "who does not want a fault to sleep for so long", "late-pages",
      [](D* d) { d->fault = D::Fault::kFails; }));
  all.push_back(Variation(
      "never-frozen",
      "pages that are added are remembered until the reboot call, and nothing "
      "stops more of them until the CPUs stop",
      "who wants hugetlbfs to change as little as possible", "late-pages",
      [](D* d) {
        d->freeze = D::Freeze::kNever;
        d->fault = D::Fault::kGoesOn;
      }));
  all.push_back(Variation(
      "flag-on-inode",
      "a fault looks at a flag on the inode when it begins, not where the page "
      "is added",
      "who copies what fallocate() does", "late-pages",
      [](D* d) { d->check = D::Check::kAtEntry; }));
  all.push_back(Variation(
      "unnoticed", "pages that are added after preserve() are not remembered",
      "who takes preserve() for a snapshot", "late-pages",
      [](D* d) { d->notices = false; }));
  all.push_back(Variation(
      "walk-at-freeze",
      "nothing is written down before the file is frozen: all of it is part of "
      "the blackout",
      "who wants one place where pages are written down", "late-pages",
      [](D* d) { d->walk = D::Walk::kAtFreeze; }));
  all.push_back(Variation(
      "unguarded",
      "pages can be taken out of a preserved file until it is frozen",
      "who does not want to refuse what a guest's balloon does", "late-pages",
      [](D* d) { d->guard = D::Guard::kFromFreezing; }));
  all.push_back(Variation(
      "unpinned",
      "pages can be taken out of a preserved file until it is frozen, and go "
      "back to the pool then",
      "who leaves out the references, too", "unguarded", [](D* d) {
        d->guard = D::Guard::kFromFreezing;
        d->pins = false;
      }));
  all.push_back(Variation(
      "grows",
      "a preserved file can grow until it is frozen; its size is written down "
      "then",
      "who adds memory to a guest at any time", "late-pages",
      [](D* d) { d->growth = D::Growth::kUntilFreezing; }));
  all.push_back(Variation(
      "size-early",
      "a preserved file can grow until it is frozen; its size is written down "
      "by preserve()",
      "who copies what memfds of shmem do", "late-pages", [](D* d) {
        d->growth = D::Growth::kUntilFreezing;
        d->size = D::Size::kAtPreserve;
      }));
  all.push_back(Variation("fills-holes",
                          "preserving a file puts pages into its holes",
                          "who pins with what memfds have", "late-pages",
                          [](D* d) { d->fills_holes = true; }));
  all.push_back(Variation("one-pass",
                          "each page is taken as soon as it looks right",
                          "who reads the table only once", "late-pages",
                          [](D* d) { d->import = D::Import::kOnePass; }));
  all.push_back(Variation("refused-freed",
                          "the pages of a file that is refused are freed",
                          "who does not want to lose memory", "late-pages",
                          [](D* d) { d->refused = D::Refused::kFreed; }));
  all.push_back(Variation(
      "refused-leaked",
      "the pages of a file that is refused stay where they are, and nobody "
      "keeps a record of them",
      "who leaves them to KHO", "late-pages",
      [](D* d) { d->refused = D::Refused::kLeaked; }));
  all.push_back(
      Variation("reboots-anyway",
                "a kernel reboots though pages that came to it are unclaimed",
                "who does not want a reboot to fail", "late-pages",
                [](D* d) { d->waits_for_claims = false; }));
  all.push_back(Variation(
      "no-retry", "a retrieval that failed is remembered as failed",
      "LUO as it is in 7.3", "late-pages", [](D* d) { d->retries = false; }));
  all.push_back(Variation("no-unwind",
                          "what was preserved before a failure stays preserved",
                          "who forgets an error path", "late-pages",
                          [](D* d) { d->unwinds = false; }));
  all.push_back(Variation(
      "no-thaw",
      "a file that was frozen for a reboot call that failed stays frozen until "
      "its session is given up",
      "who takes it that nobody goes on after that", "late-pages",
      [](D* d) { d->thaws = false; }));
  all.push_back(Variation(
      "published-early",
      "the next kernel would find the record of a file from preserve() on, and "
      "late pages come to it when the file freezes",
      "who wants less to do in the blackout", "late-pages",
      [](D* d) { d->publish = D::Publish::kAtPreserve; }));
  all.push_back(Variation("unchecked-twice",
                          "a file may be preserved in two sessions",
                          "who leaves out get_id()", "late-pages",
                          [](D* d) { d->twice = D::Twice::kNowhere; }));
  all.push_back(Variation(
      "twice-at-import",
      "a file that is preserved twice is noticed by the next kernel, which "
      "refuses it",
      "who wants all checks in one place", "late-pages",
      [](D* d) { d->twice = D::Twice::kAtImport; }));
  all.push_back(Variation(
      "count-total", "the next kernel is told how many pages come, not where",
      "the RFC of December 2025", "late-pages",
      [](D* d) { d->counts = D::Counts::kTotal; }));
  all.push_back(
      Variation("count-none", "the next kernel fills its pools without knowing",
                "memfds of shmem, which have no pool", "late-pages", [](D* d) {
                  d->counts = D::Counts::kNone;
                  d->counted = D::Counted::kWhenRetrieved;
                }));
  all.push_back(
      Variation("count-late",
                "pages that come are in no counter until they are retrieved",
                "the RFC of December 2025", "late-pages",
                [](D* d) { d->counted = D::Counted::kWhenRetrieved; }));
  all.push_back(Variation(
      "counted-free",
      "pages that come are counted as free ones until they are retrieved",
      "who puts them in with what fills the pool", "late-pages",
      [](D* d) { d->counted = D::Counted::kAsFree; }));
  all.push_back(
      Variation("counted-twice",
                "pages that come are counted at boot, and again when they are "
                "retrieved",
                "who retrieves them with what makes huge pages", "late-pages",
                [](D* d) { d->counted = D::Counted::kTwice; }));
  all.push_back(Variation(
      "free-unchecked",
      "the free pages that were noted are handed over without another look",
      "who takes the noting for the snapshot", "free-pools", [](D* d) {
        d->snapshot = D::Snapshot::kAtFreeze;
        d->looks = D::Looks::kOnce;
      }));
  all.push_back(Variation(
      "free-checked-early",
      "each of the free pages that were noted is looked at again when KHO has "
      "its key, before the next one's",
      "who wants one loop instead of two", "free-pools", [](D* d) {
        d->snapshot = D::Snapshot::kAtFreeze;
        d->looks = D::Looks::kAfterEach;
      }));
  all.push_back(Variation(
      "free-at-once",
      "the list of free pages is made in one step, as if the lock of the pools "
      "allowed to allocate memory",
      "who allocates enough beforehand", "free-pools", [](D* d) {
        d->snapshot = D::Snapshot::kAtFreeze;
        d->looks = D::Looks::kAtOnce;
      }));
  all.push_back(Variation(
      "list-stays",
      "the list of free pages is made before the last call that can fail, and "
      "stays when that does",
      "who makes it where LUO writes down what else there is", "free-at-once",
      [](D* d) {
        d->snapshot = D::Snapshot::kAtFreeze;
        d->looks = D::Looks::kAtOnce;
        d->drops_list = false;
      }));
  all.push_back(Variation(
      "snapshot-early",
      "the list of free pages is made when the first file is preserved, and "
      "nobody looks at who takes one afterwards",
      "who wants an FLB to do it", "free-at-once", [](D* d) {
        d->snapshot = D::Snapshot::kAtPreserve;
        d->looks = D::Looks::kAtOnce;
      }));
  all.push_back(Variation(
      "snapshot-tracked",
      "the list of free pages is made when the first file is preserved; a page "
      "that leaves the pool is taken off",
      "who wants the keys to be set before the blackout", "free-at-once",
      [](D* d) {
        d->snapshot = D::Snapshot::kAtPreserve;
        d->looks = D::Looks::kAtOnce;
        d->leaving = D::Leaving::kDropped;
      }));
  all.push_back(Variation(
      "pool-frozen",
      "the list of free pages is made when the first file is preserved, and no "
      "page that is on it can be taken from then on: a fault fails if there is "
      "no other",
      "who does not want to be told of each page that leaves", "free-at-once",
      [](D* d) {
        d->snapshot = D::Snapshot::kAtPreserve;
        d->looks = D::Looks::kAtOnce;
        d->leaving = D::Leaving::kRefused;
      }));
  all.push_back(Variation(
      "snapshot-live",
      "the list of free pages is made when the first file is preserved; a page "
      "that leaves the pool is taken off, one that joins it comes on the list",
      "who wants all that is free in the end", "free-at-once", [](D* d) {
        d->snapshot = D::Snapshot::kAtPreserve;
        d->looks = D::Looks::kAtOnce;
        d->leaving = D::Leaving::kDropped;
        d->joining = D::Joining::kListed;
      }));
  all.push_back(Variation(
      "joins-unlocked",
      "as snapshot-live, but who puts a page on the list does it after the "
      "page has joined the pool, and does not look at it again",
      "who has to allocate for that, which the lock of the pools does not "
      "allow",
      "free-at-once", [](D* d) {
        d->snapshot = D::Snapshot::kAtPreserve;
        d->looks = D::Looks::kAtOnce;
        d->leaving = D::Leaving::kDropped;
        d->joining = D::Joining::kListedLater;
      }));
  return all;
}

}  // namespace

const std::vector<Design>& Designs() {
  static const auto* all = new std::vector<Design>(MakeDesigns());
  return *all;
}

std::vector<std::string_view> PointsOf(const Design& d) {
  std::vector<std::string_view> points;
  // A value that has no words is a mistake here.
  auto one_of = [&points](auto value,
                          std::initializer_list<std::string_view> names) {
    const auto at = static_cast<size_t>(value);
    if (at >= names.size()) std::abort();
    points.push_back(names.begin()[at]);
  };
  one_of(d.freeze, {"pages can always be added",
                    "no page can be added to a "
                    "file from preserve() on",
                    "no page can be added to a file from the reboot call on"});
  one_of(d.fault, {"a fault into a frozen file goes on",
                   "a fault into a frozen file fails",
                   "a fault into a frozen file waits"});
  one_of(d.check, {"whether it is frozen is looked at when a fault begins",
                   "whether it is frozen is looked at where the page is added, "
                   "in one step with that"});
  one_of(d.guard, {"pages can always be taken out of a file",
                   "no page can be taken out of a file from the reboot call on",
                   "no page can be taken out of a file from preserve() on"});
  one_of(d.pins, {"a page that is taken out goes to the pool",
                  "a page that is taken out stays where it is while it is "
                  "preserved"});
  one_of(d.growth, {"a file can grow until the reboot call",
                    "a file can grow as long as pages can be taken out of it",
                    "a file can always grow"});
  one_of(d.size, {"a file's size is written down by preserve()",
                  "a file's size is written down in the reboot call"});
  one_of(d.walk, {"pages are written down at preserve(), while programs run",
                  "pages are written down in the reboot call"});
  one_of(d.fills_holes, {"holes stay holes", "preserve() fills holes"});
  one_of(d.notices, {"pages that are added later are not remembered",
                     "pages that are added later are remembered"});
  one_of(d.unwinds, {"what was preserved stays preserved after a failure",
                     "a failure takes back what was preserved"});
  one_of(d.thaws, {"files stay frozen when the reboot call fails",
                   "files thaw when the reboot call fails"});
  one_of(d.publish,
         {"a file's record can be found by the next kernel from preserve() on",
          "a file's record can be found by the next kernel when it is final"});
  one_of(d.counts,
         {"the next kernel fills its pools without knowing what comes",
          "the next kernel knows how many pages come when it fills its pools",
          "the next kernel knows how many pages come on which node when it "
          "fills its pools"});
  one_of(d.counted,
         {"pages that come are counted once they are retrieved",
          "pages that come are counted from boot on",
          "pages that come are counted as free from boot on",
          "pages that come are counted from boot on, and again once they are "
          "retrieved"});
  one_of(d.snapshot, {"free pages stay behind",
                      "free pages are listed at the first preserve()",
                      "free pages are listed when all files are frozen"});
  one_of(d.looks,
         {"the list of free pages is made in one step",
          "where free pages are is noted before memory for the list is "
          "allocated, and nobody looks again",
          "where free pages are is noted before memory for the list is "
          "allocated, and each is looked at again before there is memory for "
          "the next",
          "where free pages are is noted before memory for the list is "
          "allocated, and each is looked at again after all of that"});
  one_of(d.leaving, {"a free page that is taken stays on the list",
                     "a free page that is taken leaves the list",
                     "no free page on the list can be taken"});
  one_of(d.drops_list,
         {"the list of free pages stays when the reboot call fails",
          "the list of free pages goes when the reboot call fails"});
  one_of(d.joining, {"a page that joins the pool later stays behind",
                     "a page that joins the pool later is listed at once",
                     "a page that joins the pool later is listed after that"});
  one_of(d.import, {"each page is taken as soon as it looks right",
                    "all is looked at before the first page is taken"});
  one_of(d.refused, {"pages of a file that is refused are freed",
                     "pages of a file that is refused are nobody's",
                     "pages of a file that is refused are in quarantine"});
  one_of(d.twice,
         {"nobody looks whether a file is preserved twice",
          "a file that is preserved twice is refused at preserve()",
          "a file that is preserved twice is refused by the next kernel"});
  one_of(d.retries, {"a retrieval that failed has failed for good",
                     "a retrieval that failed can be tried again"});
  one_of(d.waits_for_claims,
         {"a kernel reboots though pages are unclaimed",
          "a kernel does not reboot while pages are unclaimed"});
  return points;
}

const Design* FindDesign(std::string_view name) {
  for (const Design& d : Designs())
    if (d.name == name) return &d;
  return nullptr;
}

}  // namespace handover::model
