// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_HUGETLB_HOOKS_H_
#define SIM_MM_HUGETLB_HOOKS_H_

// What kernel/new offers to the twins of its hooks. A twin calls it only if
// the running kernel was built with the option: `if (LuoHugetlb()) ...`.

#include <sim/kernel_api.h>

#include "sim/mm/boot.h"

extern "C" {
#include <linux/hugetlb_luo.h>
}

namespace sim {

inline bool LuoHugetlb() { return Config().has_luo_hugetlb; }

}  // namespace sim

#endif  // SIM_MM_HUGETLB_HOOKS_H_
