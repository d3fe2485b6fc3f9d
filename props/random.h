// SPDX-License-Identifier: BSD-3-Clause
//
// The generator's own source of chance: the same numbers on every machine,
// with every compiler and library (std:: distributions differ between them).
#ifndef HANDOVER_PROPS_RANDOM_H_
#define HANDOVER_PROPS_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace handover::props {

// splitmix64: one round of it turns neighbouring seeds into unrelated numbers.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) { Next(); }

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // 0..n-1; n > 0. The bias of the remainder is of no concern here.
  int64_t Below(int64_t n) {
    return static_cast<int64_t>(Next() % static_cast<uint64_t>(n));
  }
  int64_t Between(int64_t from, int64_t to) {
    return from + Below(to - from + 1);
  }
  bool Percent(int percent) { return Below(100) < percent; }

  // 1..max, small numbers more often: each power of two is as likely as any
  // other.
  int64_t Small(int64_t max) {
    int bits = 0;
    while ((max >> bits) > 1) ++bits;
    int64_t value = Between(1, int64_t{1} << Between(0, bits));
    return value > max ? max : value;
  }

  template <typename T>
  const T& Pick(const std::vector<T>& list) {
    return list[static_cast<size_t>(Below(static_cast<int64_t>(list.size())))];
  }
  template <typename T>
  T Pick(std::initializer_list<T> list) {
    return *(list.begin() + Below(static_cast<int64_t>(list.size())));
  }

  // The place of one of `weights`, each as likely as it is large.
  int Weighted(std::initializer_list<int> weights) {
    int64_t sum = 0;
    for (int weight : weights) sum += weight;
    int64_t at = Below(sum);
    int place = 0;
    for (int weight : weights) {
      if (at < weight) return place;
      at -= weight;
      ++place;
    }
    return place - 1;
  }

 private:
  uint64_t state_;
};

}  // namespace handover::props

#endif  // HANDOVER_PROPS_RANDOM_H_
