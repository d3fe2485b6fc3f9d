// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_TABLE_VIEW_H_
#define SIM_EXEC_TABLE_VIEW_H_

#include <cstdint>
#include <vector>

#include "model/handover_table.h"

namespace sim {

// HugeTLB's table of preserved pages as the stopped kernel has left it, for
// the judge. What it was before any corruption stays empty.
::handover::model::TableView ReadTableView();

// The same of the running kernel's predecessor, as long as nothing of it was
// claimed: its root is at `phys` and said to have that many bytes.
::handover::model::TableView ReadIncomingTableView(uint64_t phys,
                                                   uint64_t bytes);

// What the root says of where this machine's nodes lie, with NUMA or without.
uint32_t NodesChecksum(bool numa);

// The addresses of the files' records in the order of their list.
std::vector<uint64_t> ReadFileRecords();

// Fills that in: `table` is what it was.
void NoteRecords(const ::handover::model::TableView& table,
                 ::handover::model::TableView* out);

}  // namespace sim

#endif  // SIM_EXEC_TABLE_VIEW_H_
