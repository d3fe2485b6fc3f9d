// SPDX-License-Identifier: BSD-3-Clause
// What the kernel's lib/ does for the code under test.
#include <sim/kernel_api.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"

namespace {

// Exchanges size bytes, in pieces that a register holds.
void SwapBytes(char* a, char* b, size_t size) {
  while (size != 0) {
    char piece[8];
    const size_t n = size < sizeof(piece) ? size : sizeof(piece);
    std::memcpy(piece, a, n);
    std::memmove(a, b, n);
    std::memcpy(b, piece, n);
    a += n;
    b += n;
    size -= n;
  }
}

uint32_t Rotate(uint32_t x, int bits) {
  return (x << bits) | (x >> (32 - bits));
}

}  // namespace

extern "C" {

void* memchr_inv(const void* s, int c, size_t n);

// Follow lib/list_debug.c: __list_add_valid_or_report() and
// __list_del_entry_valid_or_report().
bool __list_add_valid(struct list_head* entry, struct list_head* prev,
                      struct list_head* next) {
  if (prev != nullptr && next != nullptr && next->prev == prev &&
      prev->next == next && entry != prev && entry != next)
    return true;
  sim::M().Report("discipline", "list_add corruption");
  return false;
}

bool __list_del_entry_valid(struct list_head* entry) {
  if (entry->next != nullptr && entry->prev != nullptr &&
      entry->next != LIST_POISON1 && entry->prev != LIST_POISON2 &&
      entry->prev->next == entry && entry->next->prev == entry)
    return true;
  sim::M().Report("discipline", "list_del corruption");
  return false;
}

bool sim_fatal_signal_pending(void) { return sim::FatalSignalPending(); }

void sim_might_sleep(const char* what) { sim::MightSleep(what); }

// As memchr_inv() of lib/string.c: the first byte that is not c.
void* memchr_inv(const void* s, int c, size_t n) {
  const auto* bytes = static_cast<const unsigned char*>(s);
  const auto want = static_cast<unsigned char>(c);
  for (size_t i = 0; i < n; ++i) {
    if (bytes[i] != want) return const_cast<unsigned char*>(bytes + i);
  }
  return nullptr;
}

// As sort() of lib/sort.c: a heap sort, in place and without recursion; the
// order of equal elements differs.
void sort(void* base, size_t num, size_t size, cmp_func_t cmp_func,
          swap_func_t swap_func) {
  char* const elements = static_cast<char*>(base);
  auto at = [&](size_t i) { return elements + i * size; };
  auto swap_at = [&](size_t i, size_t j) {
    if (swap_func != nullptr) {
      swap_func(at(i), at(j), static_cast<int>(size));
    } else {
      SwapBytes(at(i), at(j), size);
    }
  };
  // Lets the element at `root` sink to its place in the heap of `n`.
  auto sink = [&](size_t root, size_t n) {
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
      if (child + 1 < n && cmp_func(at(child), at(child + 1)) < 0) ++child;
      if (cmp_func(at(root), at(child)) >= 0) return;
      swap_at(root, child);
    }
  };
  for (size_t i = num / 2; i-- > 0;) sink(i, num);
  for (size_t n = num; n > 1;) {
    swap_at(0, --n);
    sink(0, n);
  }
}

// As sort_nonatomic() of lib/sort.c.
void sort_nonatomic(void* base, size_t num, size_t size, cmp_func_t cmp_func,
                    swap_func_t swap_func) {
  sim::MightSleep("sort_nonatomic");
  sort(base, num, size, cmp_func, swap_func);
}

// Bob Jenkins' lookup3 (public domain), for an array of words, with the
// kernel's start value of jhash2().
u32 jhash2(const u32* k, u32 length, u32 initval) {
  u32 a = 0xdeadbeef + (length << 2) + initval;
  u32 b = a;
  u32 c = a;
  for (; length > 3; length -= 3, k += 3) {
    a += k[0];
    b += k[1];
    c += k[2];
    a = (a - c) ^ Rotate(c, 4);
    c += b;
    b = (b - a) ^ Rotate(a, 6);
    a += c;
    c = (c - b) ^ Rotate(b, 8);
    b += a;
    a = (a - c) ^ Rotate(c, 16);
    c += b;
    b = (b - a) ^ Rotate(a, 19);
    a += c;
    c = (c - b) ^ Rotate(b, 4);
    b += a;
  }
  if (length == 0) return c;
  if (length > 2) c += k[2];
  if (length > 1) b += k[1];
  a += k[0];
  c = (c ^ b) - Rotate(b, 14);
  a = (a ^ c) - Rotate(c, 11);
  b = (b ^ a) - Rotate(a, 25);
  c = (c ^ b) - Rotate(b, 16);
  a = (a ^ c) - Rotate(c, 4);
  b = (b ^ a) - Rotate(a, 14);
  c = (c ^ b) - Rotate(b, 24);
  return c;
}

// As string_get_size() of lib/string_helpers.c: three significant figures,
// rounded half up. Left out: its variants without a space or without "B".
int string_get_size(u64 size, u64 blk_size, const enum string_size_units units,
                    char* buf, int len) {
  const char* const prefix = units == STRING_UNITS_10 ? "kMGTPEZY" : "KMGTPEZY";
  const unsigned base = units == STRING_UNITS_10 ? 1000 : 1024;
  unsigned __int128 whole = static_cast<unsigned __int128>(size) * blk_size;
  unsigned rest = 0;  // of base
  int power = 0;
  while (whole >= base) {
    rest = static_cast<unsigned>(whole % base);
    whole /= base;
    ++power;
  }
  auto number = static_cast<unsigned>(whole);
  // Digits behind the point, and half of the last of them, in thousandths.
  const int digits = number == 0 || number >= 100 ? 0 : number >= 10 ? 1 : 2;
  const unsigned half = digits == 0 ? 500 : digits == 1 ? 50 : 5;
  unsigned thousandths = rest * 1000 / base + (number == 0 ? 0 : half);
  if (thousandths >= 1000) {
    thousandths -= 1000;
    ++number;
  }
  std::string text = std::to_string(number);
  if (digits != 0) {
    char fraction[8];
    std::snprintf(fraction, sizeof(fraction), ".%03u", thousandths % 1000);
    text.append(fraction, static_cast<size_t>(digits) + 1);
  }
  text += ' ';
  if (power > 0) {
    text += prefix[power - 1];
    if (units == STRING_UNITS_2) text += 'i';
  }
  text += 'B';
  return std::snprintf(buf, static_cast<size_t>(len), "%s", text.c_str());
}

}  // extern "C"
