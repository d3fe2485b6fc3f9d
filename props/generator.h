// SPDX-License-Identifier: BSD-3-Clause
//
// Random histories that get somewhere: a light sketch of what exists is kept
// while a history is made up, so that most commands mean something, and what
// is known to be hard for a live update comes up often. The sketch may be
// wrong (it does not know what fails); a history is no less valid for it.
#ifndef HANDOVER_PROPS_GENERATOR_H_
#define HANDOVER_PROPS_GENERATOR_H_

#include <cstdint>

#include "model/history.h"

namespace handover::props {

struct GeneratorOptions {
  enum class Machine : uint8_t {
    kMixed,  // small, and every 100th history x86 or arm64
    kSmall,
    kX86,
    kArm64,
  };
  Machine machine = Machine::kMixed;
  int nodes = 0;  // 0: mostly two, sometimes one, three or four
  // For real kernels, where a command costs little beside a boot: longer, with
  // more kernels that differ, and nothing of what only a simulator can do.
  bool real = false;
};

// The same seed and options give the same history everywhere and for ever, or
// until the generator is changed.
model::History Generate(uint64_t seed, const GeneratorOptions& options = {});

}  // namespace handover::props

#endif  // HANDOVER_PROPS_GENERATOR_H_
