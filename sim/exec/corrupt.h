// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_CORRUPT_H_
#define SIM_EXEC_CORRUPT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/history.h"

namespace sim {

// Carries out `sim corrupt` commands: changes HugeTLB's table of preserved
// pages where the stopped kernel has left it, before the next one sees it.
// Elements are counted as the table had them before the first change; one that
// does not exist is left alone.
void CorruptTable(const std::vector<::handover::model::Command>& corruptions);

// What KHO's device tree says about HugeTLB's root record, true or not. False:
// there is none.
bool OutgoingTable(uint64_t* phys, uint64_t* bytes);

// What LUO has written down as the data of each hugetlb file, session by
// session.
std::vector<uint64_t> LuoHandles();

// The checksum of a record of `bytes` at `phys`, whose own field is at
// `offset`.
uint32_t RecordChecksum(uint64_t phys, size_t offset, size_t bytes);

// Where HugeTLB's root record lies that the next kernel is going to find; 0:
// there is none.
uint64_t OutgoingTableRoot();

}  // namespace sim

#endif  // SIM_EXEC_CORRUPT_H_
