// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_REFINE_H_
#define SIM_EXEC_REFINE_H_

// Runs a history and holds each step of the kernel code against a design: what
// can be seen of some places of some files, and what could be seen of the
// explorer's machine. docs/atomicity.md says what is looked at.

#include <cstdint>
#include <string>

#include "model/design.h"
#include "model/history.h"
#include "model/refinement.h"

namespace sim {

namespace model = ::handover::model;

// The machines of the designs: for windows on one file and for those on two,
// and for those on a page.
struct Shadows {
  Shadows(const model::Design& of_files, const model::Design& of_pages)
      : one(of_files, model::Shadow::Window::kOneFile),
        two(of_files, model::Shadow::Window::kTwoFiles),
        page(of_pages, model::Shadow::Window::kPage) {}
  model::Shadow one;
  model::Shadow two;
  model::Shadow page;
};

struct RefinementResult {
  std::string wrong;  // what the kernel did that the design does not; or empty
  int64_t command = -1;   // in which
  int64_t windows = 0;    // on files that were looked through
  int64_t steps = 0;      // of the kernel that were looked at, by window
  int64_t changes = 0;    // of these, changed what was to be seen
  int64_t handovers = 0;  // of windows with a file that goes along
  size_t states = 0;      // that the machine may have been in, at most
  // Of windows on pages:
  struct Pages {
    int64_t windows = 0;
    int64_t changes = 0;
    int64_t listed = 0;  // as free, when a kernel had stopped
    int64_t left = 0;    // had a key as free pages have, and were not listed
    int64_t other = 0;   // listed, and not in the pool any more by then
    int64_t held = 0;    // came, and waited for somebody to claim them
  } pages;
};

// Ends with the first window in which something is wrong.
RefinementResult CheckRefinement(const model::History& history,
                                 Shadows* shadows, uint64_t seed);

}  // namespace sim

#endif  // SIM_EXEC_REFINE_H_
