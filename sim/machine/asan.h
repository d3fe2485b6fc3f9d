// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MACHINE_ASAN_H_
#define SIM_MACHINE_ASAN_H_

// SIM_ASAN is defined in builds with AddressSanitizer, which has to be told of
// stacks that it does not know.
#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif

#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#endif  // SIM_MACHINE_ASAN_H_
