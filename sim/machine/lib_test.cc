// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

extern "C" void* memchr_inv(const void* s, int c, size_t n);

namespace {

// As do_div() of Linux: a divisor is no more than its lower 32 bits. Of huge
// pages of 16 GiB, which arm64 has with base pages of 64 KiB, nothing would be
// left.
TEST(MathTest, RoundingUpDividesBy32Bits) {
  const u64 page = u64{16} << 30;
  EXPECT_EQ(DIV_ROUND_UP_ULL(3 * page, page + 3), (4 * page + 2) / 3);
  EXPECT_EQ(DIV_ROUND_UP(3 * page, page + 3), 3u);
  EXPECT_EQ(DIV_ROUND_UP_ULL(3 * page - 1, u64{1} << 30), 48u);
  EXPECT_EQ(DIV_ROUND_UP_ULL(u32{0xffffffff}, 2), u64{1} << 31);
}

// Computed with include/linux/jhash.h of Linux 7.3.4, over 1, 2, 3, ….
TEST(Jhash2Test, GivesTheKernelsValues) {
  const u32 words[] = {1, 2, 3, 4, 5, 6, 7};
  const u32 zero[] = {0xdeadbeef, 0x72a82a9b, 0x8b4c7979, 0xa46158f5,
                      0x66491246, 0x629129c0, 0xe3e36b25, 0x3e606a2c};
  const u32 seeded[] = {0x27020b41, 0x365ef884, 0x5a08b5d5, 0xb55d340d,
                        0x0beeb0a1, 0x56cac8ff, 0x9c782477, 0x727bafe1};
  for (u32 n = 0; n <= 7; ++n) {
    EXPECT_EQ(jhash2(words, n, 0), zero[n]) << n;
    EXPECT_EQ(jhash2(words, n, 0x48544c52), seeded[n]) << n;
  }
}

std::string Size(u64 size, string_size_units units, u64 block = 1) {
  char text[32];
  const int n = string_get_size(size, block, units, text, sizeof(text));
  EXPECT_EQ(static_cast<size_t>(n), std::strlen(text));
  return text;
}

TEST(StringGetSizeTest, ThreeSignificantFigures) {
  EXPECT_EQ(Size(0, STRING_UNITS_2), "0 B");
  EXPECT_EQ(Size(1, STRING_UNITS_2), "1.00 B");
  EXPECT_EQ(Size(512, STRING_UNITS_2), "512 B");
  EXPECT_EQ(Size(64 << 10, STRING_UNITS_2), "64.0 KiB");
  EXPECT_EQ(Size(2 << 20, STRING_UNITS_2), "2.00 MiB");
  EXPECT_EQ(Size(1 << 30, STRING_UNITS_2), "1.00 GiB");
  EXPECT_EQ(Size(1 << 30, STRING_UNITS_10), "1.07 GB");
  EXPECT_EQ(Size(1027, STRING_UNITS_10), "1.03 kB");
  EXPECT_EQ(Size(~0ULL, STRING_UNITS_2), "16.0 EiB");
  EXPECT_EQ(Size(8, STRING_UNITS_2, 512), "4.00 KiB");
  EXPECT_EQ(Size(8, STRING_UNITS_2, 0), "0 B");
}

TEST(StringGetSizeTest, Truncates) {
  char text[4];
  EXPECT_EQ(string_get_size(2 << 20, 1, STRING_UNITS_2, text, sizeof(text)), 8);
  EXPECT_STREQ(text, "2.0");
}

TEST(MemchrInvTest, FindsTheFirstOtherByte) {
  char bytes[100] = {};
  EXPECT_EQ(memchr_inv(bytes, 0, sizeof(bytes)), nullptr);
  bytes[63] = 1;
  EXPECT_EQ(memchr_inv(bytes, 0, sizeof(bytes)), bytes + 63);
  EXPECT_EQ(memchr_inv(bytes, 0, 63), nullptr);
  std::memset(bytes, 0xa5, sizeof(bytes));
  EXPECT_EQ(memchr_inv(bytes, 0xa5, sizeof(bytes)), nullptr);
}

TEST(SortTest, SortsElementsOfAnySize) {
  struct Element {
    unsigned char key;
    unsigned char rest[11];
  };
  static_assert(sizeof(Element) == 12);
  std::mt19937 random(1);
  for (size_t n = 0; n < 60; ++n) {
    std::vector<Element> v(n);
    for (Element& e : v) {
      e.key = static_cast<unsigned char>(random() % 30);
      std::memset(e.rest, e.key, sizeof(e.rest));
    }
    sort(
        v.data(), n, sizeof(Element),
        [](const void* a, const void* b) {
          return int{*static_cast<const unsigned char*>(a)} -
                 int{*static_cast<const unsigned char*>(b)};
        },
        nullptr);
    EXPECT_TRUE(std::is_sorted(
        v.begin(), v.end(),
        [](const Element& a, const Element& b) { return a.key < b.key; }));
    for (const Element& e : v) EXPECT_EQ(e.rest[10], e.key);
  }
}

TEST(SortTest, UsesTheCallersSwap) {
  static int swaps;
  swaps = 0;
  std::vector<int> v = {3, 1, 2};
  sort(
      v.data(), v.size(), sizeof(int),
      [](const void* a, const void* b) {
        return *static_cast<const int*>(a) - *static_cast<const int*>(b);
      },
      [](void* a, void* b, int size) {
        EXPECT_EQ(size, 4);
        ++swaps;
        std::swap(*static_cast<int*>(a), *static_cast<int*>(b));
      });
  EXPECT_EQ(v, (std::vector<int>{1, 2, 3}));
  EXPECT_GT(swaps, 0);
}

}  // namespace
