// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_PUBLISHED_H_
#define SIM_EXEC_PUBLISHED_H_

// What the next kernel would find in the table right now, at any step of this
// one. No lock is taken.

#include <cstdint>

namespace sim {

inline constexpr int64_t kNoFrame = -1;

// The file's record at this address is in the list that begins at the root.
bool Published(uint64_t record);

// The frame that a file's record has for a page; or kNoFrame.
int64_t FrameInRecord(uint64_t record, int64_t index);

// Free pages of that order are listed, and one of them is at that frame.
struct FreeList {
  bool is = false;
  bool has = false;
};
FreeList PublishedFree(unsigned order, int64_t frame);

// A file has a page there.
bool PublishedInFile(unsigned order, int64_t frame);

}  // namespace sim

#endif  // SIM_EXEC_PUBLISHED_H_
