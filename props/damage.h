// SPDX-License-Identifier: BSD-3-Clause
//
// Damage to what lies between two kernels, by someone who knows its structure:
// made for one table, as the `sim corrupt` commands that do it to that table,
// so that each case is a history like any other.
#ifndef HANDOVER_PROPS_DAMAGE_H_
#define HANDOVER_PROPS_DAMAGE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "model/handover_table.h"
#include "model/history.h"
#include "props/faults.h"

namespace handover::props {

struct Damage {
  std::string name;  // what is wrong
  std::vector<model::Command> commands;
};

// A table, and where memory lies that no table may claim.
struct Between {
  model::TableView table;
  uint64_t root = 0;           // addresses
  uint64_t kernel_memory = 0;  // that nobody preserved
  uint64_t pool_page = 0;      // free, and not handed over; 0: there is none
  uint64_t scratch = 0;
};

// What the history leaves to the next kernel at command `at`, an update.
Between LookBetween(const model::History& history, size_t at);
// Where that is, of the first that goes well; -1: nowhere, or the history has
// damage of its own.
int64_t FirstUpdate(const model::History& history);

// All there is to do to one table: each bit of each field, with a checksum that
// is right and without; and, with the right one, values that other fields have,
// memory that is somebody else's, lists that are circular, numbers that are too
// large.
std::vector<Damage> BitDamage(const Between& between);
std::vector<Damage> StructuredDamage(const Between& between);

// One by one, at the first update of the history. The next kernel boots,
// refuses what the table's rules ask for and nothing else, says for which
// field, and takes no more steps and calls than in proportion to what there is.
SweepResult DamageEach(const model::History& history,
                       const std::vector<Damage>& damage, const Shard& shard);

}  // namespace handover::props

#endif  // HANDOVER_PROPS_DAMAGE_H_
