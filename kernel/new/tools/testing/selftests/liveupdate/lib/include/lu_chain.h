/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * Tests that are chains of kernels, each one booted by the one before it by
 * kexec.
 *
 * A kernel is told on its command line which test it is part of and which link
 * of the chain it is ("luo_test=NAME luo_stage=N"). What it has to know of its
 * predecessor comes through a shmem memfd that is preserved along with what the
 * test is about.
 *
 * Run as init, a program with such tests runs that stage in a child, which loads
 * the next kernel from /kernel and boots it by kexec. The initramfs for it is
 * made from the files of this one, so that a chain can have any length. Run with
 * --list, on any machine, the program prints the tests, the memory each needs on
 * each of its two nodes in MiB, the number of kernels, what the kernels must be
 * built with, and the command line of the first.
 */

#ifndef SELFTESTS_LIVEUPDATE_LIB_LU_CHAIN_H
#define SELFTESTS_LIVEUPDATE_LIB_LU_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/unistd.h>

#include <libliveupdate.h>

#define MAX_STAGES	4

struct chain_test {
	const char *name;
	/* Memory on each node. */
	unsigned int mib;
	int nr_stages;
	/* The first kernel's command line. */
	const char *args;
	/* The last one is for all stages that have none of their own. */
	void (*stages[MAX_STAGES])(void);
	/* What --list says of what the kernel must have; NULL is nothing special. */
	const char *needs;
};

/* The test that this kernel is part of, and which link of the chain it is. */
extern const struct chain_test *test;
extern int stage;
extern int luo_fd;
extern int nr_failures;
/* What a failure names besides its place, with a space at the end. */
extern const char *chain_id;

/* Files of the initramfs, up to NULL, that go to the next kernel if they exist. */
extern const char * const chain_files[];

/* Says what is wrong, and goes on: what else is wrong tells more. */
#define check(condition, fmt, ...) ({					\
	bool ok_ = (condition);						\
									\
	if (!ok_) {							\
		nr_failures++;						\
		ksft_print_msg("FAILURE %sstage %d [%s:%d] " fmt "\n",	\
			       chain_id, stage, __func__, __LINE__,	\
			       ##__VA_ARGS__);				\
	}								\
	ok_;								\
})

#define check_eq(what, is, should) ({					\
	long long is_ = (is), should_ = (should);			\
									\
	check(is_ == should_, "%s is %lld, should be %lld", what, is_,	\
	      should_);							\
})

/*
 * System calls that not every C library has.
 */

static inline int sys_memfd_create(const char *name, unsigned int flags)
{
	return syscall(__NR_memfd_create, name, flags);
}

static inline int sys_fallocate(int fd, int mode, __u64 offset, __u64 len)
{
	return syscall(__NR_fallocate, fd, mode, offset, len);
}

static inline int sys_fcntl(int fd, unsigned int cmd, unsigned long arg)
{
	return syscall(__NR_fcntl, fd, cmd, arg);
}

static inline int sys_fchmod(int fd, unsigned int mode)
{
	return syscall(__NR_fchmod, fd, mode);
}

static inline long sys_pread(int fd, void *buf, size_t count, __u64 offset)
{
	return syscall(__NR_pread64, fd, buf, count, offset);
}

int new_session(const char *name);
int take_session(const char *name);
void preserve_fd(int session, __u64 token, int fd);
int retrieve_fd(int session, __u64 token);
void finish(int session);

void save_chain_state(const void *data, size_t len);
void drop_chain_state(void);
void load_chain_state(void *data, size_t len);

void load_kernel_image(const char *image, const char *args);
void load_kernel(const char *args);
void unload_kernel(void);
int try_reboot(void);

long memory_number(const char *name);
long free_memory(void);
bool kernel_said(const char *text);
void print_memory(const char *when);
bool cmdline_word(const char *name, char *value, size_t len);

int chain_main(int argc, char *argv[], const struct chain_test *tests,
	       unsigned int nr);

#endif /* SELFTESTS_LIVEUPDATE_LIB_LU_CHAIN_H */
