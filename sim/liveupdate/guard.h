// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_LIVEUPDATE_GUARD_H_
#define SIM_LIVEUPDATE_GUARD_H_

// Scoped locks for kernel code in C++. A kernel that stops drops the stacks of
// its actors without running destructors: such locks stay taken, like those of
// CPUs that were stopped.

#include <sim/kernel_api.h>

namespace sim {

class MutexGuard {
 public:
  explicit MutexGuard(struct mutex* lock) : lock_(lock) { mutex_lock(lock_); }
  ~MutexGuard() { mutex_unlock(lock_); }
  MutexGuard(const MutexGuard&) = delete;
  MutexGuard& operator=(const MutexGuard&) = delete;

 private:
  struct mutex* lock_;
};

class ReadGuard {
 public:
  explicit ReadGuard(struct rw_semaphore* sem) : sem_(sem) { down_read(sem_); }
  ~ReadGuard() { up_read(sem_); }
  ReadGuard(const ReadGuard&) = delete;
  ReadGuard& operator=(const ReadGuard&) = delete;

 private:
  struct rw_semaphore* sem_;
};

class WriteGuard {
 public:
  explicit WriteGuard(struct rw_semaphore* sem) : sem_(sem) {
    down_write(sem_);
  }
  ~WriteGuard() { up_write(sem_); }
  WriteGuard(const WriteGuard&) = delete;
  WriteGuard& operator=(const WriteGuard&) = delete;

 private:
  struct rw_semaphore* sem_;
};

}  // namespace sim

#endif  // SIM_LIVEUPDATE_GUARD_H_
