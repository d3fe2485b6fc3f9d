// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_MEMFD_H_
#define SIM_MM_MEMFD_H_

#include <sim/kernel_api.h>

extern "C" {
// mmap()'s question to the seals; may take VM_MAYWRITE away.
int memfd_check_seals_mmap(struct file* file, vm_flags_t* vm_flags);
}

namespace sim {

// memfd_create(2) without its file descriptor: checks the flags, then
// memfd_alloc_file(). ERR_PTR() on failure.
struct file* MemfdCreate(unsigned flags);

}  // namespace sim

#endif  // SIM_MM_MEMFD_H_
