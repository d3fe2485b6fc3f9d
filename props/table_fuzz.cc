// SPDX-License-Identifier: BSD-3-Clause
//
// libFuzzer on the decoder of the handover table: scripts/fuzz builds and runs
// it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "props/table_decoder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string wrong = handover::props::DecodeTable(data, size);
  if (wrong.empty()) return 0;
  std::fprintf(stderr, "%s\n", wrong.c_str());
  std::abort();
}
