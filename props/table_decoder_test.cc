// SPDX-License-Identifier: BSD-3-Clause
//
// What the fuzzer has found worth keeping, and some chance.
#include "props/table_decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "props/random.h"
#include "props/rapidcheck.h"

namespace handover::props {
namespace {

TEST(TableDecoder, TakesWhatIsRight) {
  EXPECT_EQ(DecodeTable(nullptr, 0), "");
  // With all that the command line may say, by nodes and by one node.
  for (int flags = 0; flags < 256; ++flags) {
    const auto right = static_cast<uint8_t>(flags & ~6);
    EXPECT_EQ(DecodeTable(&right, 1), "") << flags;
  }
}

TEST(TableDecoder, SavedInputs) {
  int inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           HANDOVER_SOURCE_DIR "/props/corpus")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)),
                                  std::istreambuf_iterator<char>());
    EXPECT_EQ(DecodeTable(reinterpret_cast<const uint8_t*>(bytes.data()),
                          bytes.size()),
              "")
        << entry.path();
    ++inputs;
  }
  EXPECT_GT(inputs, 20);
}

TEST(TableDecoder, AnyBytes) {
  Random random(FromEnvironment("HANDOVER_SEED", 1));
  const uint64_t runs = FromEnvironment("HANDOVER_HISTORIES", 20000);
  for (uint64_t n = 0; n < runs; ++n) {
    std::vector<uint8_t> data(1 + 12 * static_cast<size_t>(random.Small(6)));
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(random.Next());
    // Mostly near what is there.
    for (size_t at = 1; at < data.size(); at += 12)
      if (random.Percent(70))
        std::fill(data.begin() + static_cast<std::ptrdiff_t>(at) + 5,
                  data.begin() + static_cast<std::ptrdiff_t>(at) + 12, 0);
    if (random.Percent(80)) data[0] &= static_cast<uint8_t>(~6);
    ASSERT_EQ(DecodeTable(data.data(), data.size()), "") << "run " << n;
  }
}

}  // namespace
}  // namespace handover::props
