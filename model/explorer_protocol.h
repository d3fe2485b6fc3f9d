// SPDX-License-Identifier: BSD-3-Clause
//
// What a design does to one file, and to one page, as a state machine: read off
// what the explorer comes by, so that it is what is explored.
#ifndef HANDOVER_MODEL_EXPLORER_PROTOCOL_H_
#define HANDOVER_MODEL_EXPLORER_PROTOCOL_H_

#include <string>
#include <vector>

#include "model/design.h"
#include "model/explorer.h"

namespace handover::model {

struct ProtocolEdge {
  std::string from, to;  // names of states
  std::string step;      // of the machine, without names
  bool fails = false;    // a failure, or what comes of one
};

struct ProtocolState {
  std::string name;
  bool next_kernel = false;  // one that only a kernel has that others came to
};

struct Protocol {
  std::vector<ProtocolState> states;  // that were reached
  std::vector<ProtocolEdge> edges;    // between two different ones
};

// In an order that only depends on the design and the bounds.
// Power cuts lead from everywhere to nothing: bounds without them are easier to
// look at.
struct Protocols {
  Protocol file;
  Protocol page;
};
Protocols ExploreProtocol(const Design& design, const Bounds& bounds);

// For Graphviz.
std::string ProtocolDot(const Protocol& protocol, const std::string& title);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_EXPLORER_PROTOCOL_H_
