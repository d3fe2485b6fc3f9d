// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_DESCRIBE_H_
#define SIM_EXEC_DESCRIBE_H_

#include <string>

#include "model/observation.h"

namespace sim {

// " -> -EBUSY", " -> SIGBUS", " -> 0x7f", " (frame 1024 on node 1)".
std::string Describe(const ::handover::model::Outcome& outcome);

// What is different, a line for each counter, file, page and session, for
// people to read. Empty if nothing is.
std::string DescribeChange(const ::handover::model::Snapshot& before,
                           const ::handover::model::Snapshot& after);

}  // namespace sim

#endif  // SIM_EXEC_DESCRIBE_H_
