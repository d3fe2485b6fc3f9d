// SPDX-License-Identifier: GPL-2.0-only

/*
 * Hands memfds with huge pages over to the next kernel, and the one after, and
 * compares all that can be seen of them: contents, page frames, nodes, holes,
 * size, position, seals, mode, and the pools of huge pages on every node.
 *
 * Each test is a chain of kernels: see lib/include/lu_chain.h for how to run it.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/kernel-page-flags.h>

#include <libliveupdate.h>
#include <lu_hugetlb.h>

/* --- roundtrip_2m, roundtrip_1g --- */

#define ROUNDTRIP_2M_ARGS	"hugepages=128"

static void roundtrip_2m_1(void)
{
	int session = new_session("roundtrip"), fds[3];

	fds[0] = preserve_full(session, 10, SZ_2M, 16, 0);
	fds[1] = preserve_full(session, 11, SZ_2M, 20, 1);
	fds[2] = preserve_sparse(session, 12, SZ_2M, 24);
	check_pools_in_use(SZ_2M, 64, 64, 0, 0);
	record_files(RECORD_BEFORE, fds);
	check_pools_in_use(SZ_2M, 64, 64, 0, 0);
	live_update(ROUNDTRIP_2M_ARGS);
}

static void roundtrip_2m_2(void)
{
	int session, fds[MAX_FILES];

	print_pools("before retrieval");
	load_state();
	check_pools_in_use(SZ_2M, 64, 64, 0, 0);
	session = take_session("roundtrip");
	retrieve_all(session, fds);
	check_pools_in_use(SZ_2M, 64, 64, 0, 0);
	finish(session);
	check_pools_in_use(SZ_2M, 64, 64, 0, 0);
	check_eq("hugeverify compare", compare_files(fds), 0);
	/* It is not content with anything. */
	fill_page(&state.files[0], fds[0], 3, 0);
	check_eq("hugeverify compare after a change", compare_files(fds), 1);
	check_pools_in_use(SZ_2M, 64, 64, 0, 0);
	close_all(fds);
	check_pools_free(SZ_2M, 64, 64);
}

#define ROUNDTRIP_1G_ARGS						\
	"hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=64"

static void roundtrip_1g_1(void)
{
	int session = new_session("roundtrip"), fds[3];

	print_pools("at first");
	fds[0] = preserve_full(session, 10, SZ_1G, 1, 0);
	fds[1] = preserve_full(session, 11, SZ_2M, 8, 1);
	fds[2] = preserve_last(session, 12, SZ_1G, 3, 1);
	record_files(RECORD_BEFORE, fds);
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	live_update(ROUNDTRIP_1G_ARGS);
}

static void roundtrip_1g_2(void)
{
	int session, fds[MAX_FILES];

	print_pools("before retrieval");
	load_state();
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	session = take_session("roundtrip");
	retrieve_all(session, fds);
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
	finish(session);
	check_eq("hugeverify compare", compare_files(fds), 0);
	close_all(fds);
	check_pools_free(SZ_1G, 1, 1);
	check_pools_free(SZ_2M, 32, 32);
}

/* --- roundtrip_64k_32m: all sizes that arm64 has with base pages of 4 KiB --- */

#define ROUNDTRIP_64K_32M_ARGS						\
	"hugepagesz=1G hugepages=2 hugepagesz=32M hugepages=0:6,1:3 "	\
	"hugepagesz=2M hugepages=32 hugepagesz=64K hugepages=0:150,1:50"

static void check_four_pools(void)
{
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
	check_pools_in_use(SZ_32M, 6, 3, 0, 0);
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	check_pools_in_use(SZ_64K, 150, 50, 0, 0);
}

static void roundtrip_64k_32m_1(void)
{
	int session = new_session("roundtrip"), fds[6];

	fds[0] = preserve_full(session, 10, SZ_64K, 100, 0);
	fds[1] = preserve_sparse(session, 11, SZ_64K, 64);
	fds[2] = preserve_sparse(session, 12, SZ_2M, 24);
	fds[3] = preserve_full(session, 13, SZ_32M, 2, 0);
	fds[4] = preserve_sparse(session, 14, SZ_32M, 12);
	fds[5] = preserve_last(session, 15, SZ_1G, 2, 1);
	check_four_pools();
	record_files(RECORD_BEFORE, fds);
	check_four_pools();
	live_update(ROUNDTRIP_64K_32M_ARGS);
}

static void roundtrip_64k_32m_2(void)
{
	int session, fds[MAX_FILES];

	print_pools("before retrieval");
	load_state();
	check_four_pools();
	session = take_session("roundtrip");
	retrieve_all(session, fds);
	check_four_pools();
	finish(session);
	check_four_pools();
	check_eq("hugeverify compare", compare_files(fds), 0);
	close_all(fds);
	check_pools_free(SZ_1G, 1, 1);
	check_pools_free(SZ_32M, 6, 3);
	check_pools_free(SZ_2M, 16, 16);
	check_pools_free(SZ_64K, 150, 50);
}

/* --- pools_by_node: hugepages=0:A,1:B, with more pages from one node --- */

#define POOLS_BY_NODE_ARGS	"hugepages=0:40,1:24"

static void pools_by_node_1(void)
{
	int session = new_session("pools");

	check_pools_in_use(SZ_2M, 40, 24, 0, 0);
	preserve_full(session, 10, SZ_2M, 33, 0);
	preserve_full(session, 11, SZ_2M, 3, 1);
	live_update(POOLS_BY_NODE_ARGS);
}

static void pools_by_node_2(void)
{
	int session, fds[MAX_FILES];

	print_pools("before retrieval");
	load_state();
	check_pools_in_use(SZ_2M, 40, 24, 0, 0);
	session = take_session("pools");
	retrieve_all(session, fds);
	finish(session);
	check_pools_in_use(SZ_2M, 40, 24, 0, 0);
	close_all(fds);
	check_pools_free(SZ_2M, 40, 24);
}

/* --- pools_global: hugepages=N, with more from one node than its half --- */

static void pools_global_1(void)
{
	int session = new_session("pools");

	preserve_full(session, 10, SZ_2M, 40, 0);
	preserve_full(session, 11, SZ_2M, 4, 1);
	live_update("hugepages=64");
}

static void pools_global_2(void)
{
	int session, fds[MAX_FILES];

	print_pools("before retrieval");
	load_state();
	check_pools_in_use(SZ_2M, 40, 24, 0, 0);
	session = take_session("pools");
	retrieve_all(session, fds);
	finish(session);
	close_all(fds);
	check_pools_free(SZ_2M, 40, 24);
}

/* --- pool_resized: between boot and retrieval, then to nothing --- */

#define POOL_RESIZED_ARGS	"hugepages=64"

static void resize_pool(long nr)
{
	char path[128];
	int err;

	pool_path(path, sizeof(path), SZ_2M, ANY_NODE, "nr_hugepages");
	err = write_number(path, nr);
	check(!err, "writing %ld to nr_hugepages: %s", nr, strerror(-err));
}

static void pool_resized_1(void)
{
	int session = new_session("resized");

	preserve_full(session, 10, SZ_2M, 20, 0);
	preserve_full(session, 11, SZ_2M, 20, 1);
	live_update(POOL_RESIZED_ARGS);
}

static void pool_resized_2(void)
{
	int session, fds[MAX_FILES];

	load_state();
	resize_pool(100);
	print_pools("resized to 100");
	check_pool(SZ_2M, ANY_NODE, 100, 60, 0);
	session = take_session("resized");
	retrieve_all(session, fds);
	check_pool(SZ_2M, ANY_NODE, 100, 60, 0);
	resize_pool(10);
	print_pools("resized to 10");
	check_pool(SZ_2M, ANY_NODE, 40, 0, 30);
	finish(session);
	close_all(fds);
	check_pool(SZ_2M, ANY_NODE, 10, 10, 0);
	resize_pool(0);
	check_pools_free(SZ_2M, 0, 0);
}

/* --- finish_unretrieved: nobody asks for the files --- */

#define FINISH_UNRETRIEVED_ARGS	"hugepages=64"

static void finish_unretrieved_1(void)
{
	int session = new_session("unretrieved");
	struct file_state *f;

	preserve_full(session, 10, SZ_2M, 20, 0);
	preserve_sparse(session, 11, SZ_2M, 16);
	/* No pages at all, and no size. */
	f = new_file_state();
	preserve(session, f, create_file(f, 12, SZ_2M, 8));
	f = new_file_state();
	preserve(session, f, create_file(f, 13, SZ_2M, 0));
	live_update(FINISH_UNRETRIEVED_ARGS);
}

static void finish_unretrieved_2(void)
{
	struct file_state *f;
	int fd;

	load_state();
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	finish(take_session("unretrieved"));
	check_pools_free(SZ_2M, 32, 32);

	/* They are as good as any other page. */
	forget_files();
	f = new_file_state();
	fd = create_file(f, 20, SZ_2M, 64);
	fill_pages(f, fd, 0, 64, ANY_NODE);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	check_file(f, fd);
	close(fd);
	check_pools_free(SZ_2M, 32, 32);
}

/* --- retrieved_in_part: one of two sessions, the other one not at all --- */

#define RETRIEVED_IN_PART_ARGS	"hugepages=64"

static void retrieved_in_part_1(void)
{
	int first = new_session("first"), second = new_session("second");

	preserve_full(first, 10, SZ_2M, 8, 0);
	preserve_full(first, 11, SZ_2M, 9, 1);
	preserve_full(second, 12, SZ_2M, 10, 1);
	live_update(RETRIEVED_IN_PART_ARGS);
}

static void retrieved_in_part_2(void)
{
	int session, fd;

	load_state();
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	session = take_session("first");
	fd = retrieve(session, &state.files[1]);
	check_file(&state.files[1], fd);
	finish(session);
	/* The file that nobody asked for is gone, its pages are not. */
	state.files[0].nr = 0;
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	close(fd);
	state.files[1].nr = 0;
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);

	/* Those of the other session would be lost in a third kernel. */
	load_kernel(RETRIEVED_IN_PART_ARGS);
	check_eq("reboot", try_reboot(), -EBUSY);
	finish(take_session("second"));
	check_pools_free(SZ_2M, 32, 32);
}

/* --- fewer_pages: more come than the second kernel asks for --- */

static void fewer_pages_1(void)
{
	int session = new_session("fewer");

	preserve_full(session, 10, SZ_2M, 20, 0);
	preserve_full(session, 11, SZ_2M, 20, 1);
	live_update("hugepages=16");
}

static void fewer_pages_2(void)
{
	int session, fds[MAX_FILES];

	print_pools("before retrieval");
	load_state();
	check_pools_in_use(SZ_2M, 20, 20, 12, 12);
	session = take_session("fewer");
	retrieve_all(session, fds);
	check_pools_in_use(SZ_2M, 20, 20, 12, 12);
	finish(session);
	close_all(fds);
	check_pools_free(SZ_2M, 8, 8);
}

/* --- missing_size: the second kernel's CPU has no 1 GiB pages --- */

static void missing_size_1(void)
{
	int session = new_session("missing");

	preserve_full(session, 10, SZ_1G, 1, 1);
	preserve_full(session, 11, SZ_2M, 4, 0);
	live_update("clearcpuid=pdpe1gb hugepages=32");
}

static void missing_size_2(void)
{
	int session, fd;

	print_pools("before retrieval");
	check(kernel_said("1 preserved pages of order 18 on node 1 cannot be claimed"),
	      "nobody was told");
	load_state();
	session = take_session("missing");
	fd = luo_session_retrieve_fd(session, state.files[0].token);
	check_eq("retrieving the 1 GiB file", fd, -EOPNOTSUPP);
	fd = retrieve(session, &state.files[1]);
	check_file(&state.files[1], fd);
	state.files[0].nr = 0;
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	finish(session);
	close(fd);
	check_pools_free(SZ_2M, 16, 16);

	/* A device may still write to the 1 GiB page. */
	load_kernel("hugepages=32");
	check_eq("reboot", try_reboot(), -EBUSY);
}

/* --- preserved_twice: the same file, by another token or session --- */

#define PRESERVED_TWICE_ARGS	"hugepages=32"

static void preserved_twice_1(void)
{
	int first = new_session("first"), second = new_session("second");
	int fd = preserve_full(first, 10, SZ_2M, 4, 0), again, reopened;
	char path[32];

	again = dup(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reopened = open(path, O_RDWR);
	if (reopened < 0)
		fail_exit("%s", path);
	check_eq("again", luo_session_preserve_fd(first, fd, 11), -EBUSY);
	check_eq("duplicate", luo_session_preserve_fd(first, again, 11),
		 -EBUSY);
	check_eq("another opening",
		 luo_session_preserve_fd(first, reopened, 11), -EBUSY);
	check_eq("second session", luo_session_preserve_fd(second, again, 10),
		 -EBUSY);
	check_eq("same token", luo_session_preserve_fd(first, again, 10),
		 -EEXIST);
	live_update(PRESERVED_TWICE_ARGS);
}

static void preserved_twice_2(void)
{
	int session, fds[MAX_FILES];

	load_state();
	session = take_session("first");
	retrieve_all(session, fds);
	finish(session);
	close_all(fds);
	finish(take_session("second"));
	check_pools_free(SZ_2M, 16, 16);
}

/* --- changed_meanwhile: what a program may do to a file being preserved --- */

#define CHANGED_MEANWHILE_ARGS	"hugepages=64"

static int punch_hole(int fd, __u64 index, __u64 page_size)
{
	return sys_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     index * page_size, page_size) ? -errno : 0;
}

static void changed_meanwhile_1(void)
{
	struct file_state *f = new_file_state();
	int session, fd;

	fd = create_file(f, 10, SZ_2M, 16);
	fill_pages(f, fd, 4, 4, 0);
	session = new_session("changed");
	preserve(session, f, fd);

	check_eq("punching a hole", punch_hole(fd, 4, SZ_2M), -EPERM);
	check_eq("truncation", ftruncate(fd, 4 * SZ_2M) ? -errno : 0, -EPERM);
	check_eq("growing", ftruncate(fd, 20 * SZ_2M) ? -errno : 0, -EPERM);
	check_eq("growing by fallocate",
		 sys_fallocate(fd, 0, 15 * SZ_2M, 2 * SZ_2M) ? -errno : 0,
		 -EPERM);

	/* Closing the session is how an update is called off. */
	close(session);
	check_eq("punching a hole afterwards", punch_hole(fd, 4, SZ_2M), 0);
	check_eq("growing afterwards",
		 ftruncate(fd, 20 * SZ_2M) ? -errno : 0, 0);
	f->size = 20 * SZ_2M;
	f->pages[0] = f->pages[--f->nr];
	check_file(f, fd);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	/* The last page, which is the first one noted now. */
	check_eq("truncation afterwards",
		 ftruncate(fd, 7 * SZ_2M) ? -errno : 0, 0);
	f->pages[0] = f->pages[--f->nr];
	check_eq("growing once more", ftruncate(fd, 20 * SZ_2M) ? -errno : 0, 0);
	check_eq("allocating afterwards",
		 sys_fallocate(fd, 0, 2 * SZ_2M, SZ_2M) ? -errno : 0, 0);
	fill_page(f, fd, 2, ANY_NODE);
	fill_page(f, fd, 3, 1);
	check_file(f, fd);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);

	/* Now it is meant. Pages before, between and behind the others. */
	session = new_session("changed");
	preserve(session, f, fd);
	fill_page(f, fd, 0, 1);
	fill_page(f, fd, 4, 1);
	fill_page(f, fd, 19, 0);
	fill_page(f, fd, 5, ANY_NODE);
	if (sys_fallocate(fd, 0, 10 * SZ_2M, SZ_2M))
		fail_exit("fallocate");
	fill_page(f, fd, 10, ANY_NODE);
	check_file(f, fd);
	print_file("preserved", f);
	live_update(CHANGED_MEANWHILE_ARGS);
}

static void changed_meanwhile_2(void)
{
	int session, fds[MAX_FILES];

	load_state();
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	session = take_session("changed");
	retrieve_all(session, fds);
	finish(session);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	close_all(fds);
	check_pools_free(SZ_2M, 32, 32);
}

/* --- retrieved_unfinished: the next update comes before the session is finished --- */

#define UNFINISHED_ARGS		"hugepages=64"
/* In kB: less than a page, and more than memory differs by between two boots. */
#define UNFINISHED_SLACK	1024

static void retrieved_unfinished_1(void)
{
	int session = new_session("unfinished");

	preserve_full(session, 10, SZ_2M, 8, 0);
	preserve_full(session, 11, SZ_2M, 9, 1);
	live_update(UNFINISHED_ARGS);
}

static void retrieved_unfinished_2(void)
{
	int unfinished, session, fd, reopened;
	struct file_state *f = state.files;
	char args[64], path[32];

	load_state();
	unfinished = take_session("unfinished");
	fd = retrieve(unfinished, &f[0]);
	/* The other file is not retrieved yet, and would be lost. */
	load_kernel(UNFINISHED_ARGS);
	check_eq("reboot", try_reboot(), -EBUSY);
	check_file(&f[1], retrieve(unfinished, &f[1]));

	/* They are used like any others. */
	fill_page(&f[0], fd, 3, ANY_NODE);
	check_file(&f[0], fd);
	check_eq("punching a hole", punch_hole(fd, 7, SZ_2M), 0);
	f[0].nr--;
	check_file(&f[0], fd);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reopened = open(path, O_RDWR);
	if (reopened < 0)
		fail_exit("%s", path);
	session = new_session("again");
	check_eq("preserving before finish",
		 luo_session_preserve_fd(session, fd, 20), -EBUSY);
	check_eq("another opening",
		 luo_session_preserve_fd(session, reopened, 20), -EBUSY);
	check_file(&f[0], fd);

	/* No update waits for what nobody has preserved. */
	forget_files();
	preserve_full(session, 12, SZ_2M, 3, 1);
	snprintf(args, sizeof(args), UNFINISHED_ARGS " luo_total=%ld",
		 memory_number("MemTotal:"));
	live_update(args);
}

static void retrieved_unfinished_3(void)
{
	int session, fds[MAX_FILES];
	char value[32];
	long total;

	load_state();
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	check_eq("retrieving the session that was not finished",
		 luo_retrieve_session(luo_fd, "unfinished"), -ENOENT);
	session = take_session("again");
	retrieve_all(session, fds);
	finish(session);
	close_all(fds);
	check_pools_free(SZ_2M, 32, 32);

	/* The pages went with the kernel before: none of them is kept from use. */
	if (!cmdline_word("luo_total=", value, sizeof(value)))
		ksft_exit_fail_msg("no luo_total=\n");
	total = memory_number("MemTotal:");
	check(labs(total - atol(value)) < UNFINISHED_SLACK,
	      "MemTotal is %ld, should be %s", total, value);
}

/* --- aborted_update: freezing fails, and the same sessions go on --- */

#define ABORTED_UPDATE_ARGS						\
	"hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=64"

/*
 * fallocate() holds the lock of the inode for as long as it takes to clear the
 * page, and freezing does not wait for that.
 */
static pid_t start_filling(int fd, __u64 page_size)
{
	pid_t pid = fork();

	if (pid < 0)
		fail_exit("fork");
	if (!pid)
		_exit(sys_fallocate(fd, 0, 0, page_size) ? 1 : 0);
	usleep(200000);

	return pid;
}

static void aborted_update_1(void)
{
	struct file_state *late = new_file_state(), *busy;
	int session, late_fd, busy_fd, status;
	pid_t pid;
	int err;

	/* This one is frozen, then thawed, for want of the other one. */
	session = new_session("aborted");
	late_fd = create_file(late, 10, SZ_2M, 12);
	fill_pages(late, late_fd, 2, 4, 0);
	preserve(session, late, late_fd);
	fill_page(late, late_fd, 1, 1);
	busy = new_file_state();
	busy_fd = create_file(busy, 11, SZ_1G, 1);
	preserve(session, busy, busy_fd);
	save_state();
	load_kernel(ABORTED_UPDATE_ARGS);

	pid = start_filling(busy_fd, SZ_1G);
	err = try_reboot();
	check_eq("reboot while a file is busy", err, -EBUSY);
	if (waitpid(pid, &status, 0) != pid || status)
		check(false, "fallocate failed");

	/* All is as it was. */
	check_file(late, late_fd);
	fill_page(late, late_fd, 0, 1);
	fill_page(late, late_fd, 11, 0);
	check_eq("punching a hole", punch_hole(late_fd, 2, SZ_2M), -EPERM);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	fill_page(busy, busy_fd, 0, ANY_NODE);
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
	check_file(late, late_fd);

	/* The state that was preserved is of before. */
	drop_chain_state();
	live_update(ABORTED_UPDATE_ARGS);
}

static void aborted_update_2(void)
{
	int session, fds[MAX_FILES];

	load_state();
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	session = take_session("aborted");
	retrieve_all(session, fds);
	finish(session);
	close_all(fds);
	check_pools_free(SZ_1G, 1, 1);
	check_pools_free(SZ_2M, 32, 32);
}

/* --- failing_freeze: a file in the middle fails to freeze, then does not --- */

#define FAILING_FREEZE_ARGS	"hugepages=64"

/* What CONFIG_LIVEUPDATE_TEST has to offer, where chain_main() mounts it. */
#define TEST_FILE		"/debugfs/liveupdate_test/file"
#define TEST_FILE_TOKEN		20
#define FREEZE_CALLS		"/debugfs/liveupdate_test/freeze_calls"
#define FREEZE_ERROR		"/debugfs/liveupdate_test/freeze_error"
#define FREEZE_HOLD		"/debugfs/liveupdate_test/freeze_hold"

/* Files by their place in the state, and pages of them. */
enum { THAWED_SESSION, THAWED_FILE, NEVER_FROZEN, NR_FAILING_FREEZE };
#define WRITTEN_WHILE_FROZEN	3
#define TOUCHED_WHILE_FROZEN	0
#define ALLOCATED_WHILE_FROZEN	8
#define FILLED_WHILE_HELD	1
#define SEED_WHILE_FROZEN	0x66726f7a656eULL

static void control_freeze(const char *path, long number)
{
	int err = write_number(path, number);

	if (err)
		ksft_exit_fail_msg("writing %ld to %s: %s\n", number, path,
				   strerror(-err));
}

static void preserve_test_file(int session)
{
	int fd = open(TEST_FILE, O_RDONLY);

	if (fd < 0)
		fail_exit(TEST_FILE);
	preserve_fd(session, TEST_FILE_TOKEN, fd);
	close(fd);
}

static void check_preserved(const struct file_state *f, int fd)
{
	check_eq("truncation", ftruncate(fd, SZ_2M) ? -errno : 0, -EPERM);
	check_eq("growing", ftruncate(fd, f->size + SZ_2M) ? -errno : 0,
		 -EPERM);
	check_eq("punching a hole", punch_hole(fd, f->pages[0].index, SZ_2M),
		 -EPERM);
}

static void check_frozen(const struct file_state *f, int fd)
{
	check_preserved(f, fd);
	check_eq("adding a seal",
		 sys_fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) ? -errno : 0,
		 -EBUSY);
}

static bool write_page(int fd, __u64 index, __u64 seed)
{
	void *addr = map_any_page(fd, SZ_2M, index);

	if (addr) {
		write_pattern(addr, SZ_2M, seed);
		munmap(addr, SZ_2M);
	}

	return addr;
}

static pid_t touch_hole(const struct file_state *f, int fd, __u64 index)
{
	pid_t pid = fork();

	if (!pid)
		_exit(!write_page(fd, index, page_seed(f, index)));

	return pid;
}

static pid_t allocate_hole(int fd, __u64 index)
{
	pid_t pid = fork();

	if (!pid)
		_exit(sys_fallocate(fd, 0, index * SZ_2M, SZ_2M) ? 1 : 0);

	return pid;
}

/* To nothing, as far as that goes, and back. */
static void resize_node_pool(int nid)
{
	struct pool pool = read_pool(SZ_2M, nid);
	long used = pool.nr - pool.free;
	char path[128];

	pool_path(path, sizeof(path), SZ_2M, nid, "nr_hugepages");
	check_eq("shrinking a pool", write_number(path, 0), 0);
	check_pool(SZ_2M, nid, used, 0, used);
	check_eq("growing it again", write_number(path, 32), 0);
	check_pool(SZ_2M, nid, 32, 32 - used, 0);
}

/*
 * A page that the pool has got since boot may lie in a CMA area, and leaves that
 * when the file is frozen.
 */
static void forget_frame(struct file_state *f, __u64 index)
{
	__u32 i;

	for (i = 0; i < f->nr; i++)
		if (f->pages[i].index == index)
			f->pages[i].pfn = 0;
}

static void fill_movable_page(struct file_state *f, int fd, __u64 index, int nid)
{
	fill_page(f, fd, index, nid);
	forget_frame(f, index);
}

/* Runs beside reboot(): does what programs do while some files are frozen. */
static void run_while_frozen(const int *fds)
{
	struct file_state *f = state.files;
	pid_t pids[2];
	struct stat st;
	int status, i;
	long free;

	for (i = 0; read_number(FREEZE_CALLS) < 1 && i < 3000; i++)
		usleep(10000);
	check_eq("freeze_calls", read_number(FREEZE_CALLS), 1);

	check_frozen(&f[THAWED_SESSION], fds[THAWED_SESSION]);
	check_frozen(&f[THAWED_FILE], fds[THAWED_FILE]);
	check_preserved(&f[NEVER_FROZEN], fds[NEVER_FROZEN]);
	/* What is there can be written to; where no file is frozen, holes too. */
	check(write_page(fds[THAWED_SESSION], WRITTEN_WHILE_FROZEN,
			 SEED_WHILE_FROZEN), "mmap: %s", strerror(errno));
	check(write_page(fds[NEVER_FROZEN], FILLED_WHILE_HELD,
			 SEED_WHILE_FROZEN), "mmap: %s", strerror(errno));

	/* These have to wait, when they have got a page. */
	free = read_pool(SZ_2M, ANY_NODE).free;
	pids[0] = touch_hole(&f[THAWED_SESSION], fds[THAWED_SESSION],
			     TOUCHED_WHILE_FROZEN);
	pids[1] = allocate_hole(fds[THAWED_FILE], ALLOCATED_WHILE_FROZEN);
	for (i = 0; read_pool(SZ_2M, ANY_NODE).free > free - 2 && i < 3000; i++)
		usleep(10000);
	usleep(500000);
	for (i = 0; i < 2; i++) {
		check_eq("waitpid", waitpid(pids[i], &status, WNOHANG), 0);
		if (fstat(fds[i], &st))
			fail_exit("fstat");
		check_eq("blocks", st.st_blocks, f[i].nr * (SZ_2M / 512));
	}
	/* Pages in use are nobody's to take, and what is free comes and goes. */
	for (i = 0; i < NR_NODES; i++)
		resize_node_pool(i);
	control_freeze(FREEZE_HOLD, 0);
	for (i = 0; i < 2; i++)
		check(waitpid(pids[i], &status, 0) == pids[i] && !status,
		      "process %d that waited ended with status %x", i, status);
}

static int preserve_with_late_page(int session, __u64 token, int nid)
{
	struct file_state *f = new_file_state();
	int fd = create_file(f, token, SZ_2M, 12);

	fill_pages(f, fd, 2, 4, nid);
	preserve(session, f, fd);
	fill_page(f, fd, 10, !nid);

	return fd;
}

static void check_failing_freeze(const int *fds)
{
	int i;

	for (i = 0; i < NR_FAILING_FREEZE; i++) {
		check_file(&state.files[i], fds[i]);
		check_preserved(&state.files[i], fds[i]);
	}
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
}

static void failing_freeze_1(void)
{
	int earlier = new_session("earlier"), session = new_session("failing");
	int fds[NR_FAILING_FREEZE], status, i;
	struct file_state *f = state.files;
	pid_t pid;

	fds[THAWED_SESSION] = preserve_with_late_page(earlier, 10, 0);
	fds[THAWED_FILE] = preserve_with_late_page(session, 11, 1);
	preserve_test_file(session);
	fds[NEVER_FROZEN] = preserve_with_late_page(session, 12, 0);
	/* A third session. */
	save_state();
	load_kernel(FAILING_FREEZE_ARGS);

	control_freeze(FREEZE_ERROR, EIO);
	control_freeze(FREEZE_HOLD, 1);
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		run_while_frozen(fds);
		_exit(nr_failures);
	}
	check_eq("reboot", try_reboot(), -EIO);
	check(waitpid(pid, &status, 0) == pid && !status,
	      "failures while files were frozen");

	/* All is as it was, and what waited has happened. */
	note_page(&f[THAWED_SESSION], fds[THAWED_SESSION], WRITTEN_WHILE_FROZEN,
		  SEED_WHILE_FROZEN);
	note_page(&f[THAWED_SESSION], fds[THAWED_SESSION], TOUCHED_WHILE_FROZEN,
		  page_seed(&f[THAWED_SESSION], TOUCHED_WHILE_FROZEN));
	note_page(&f[THAWED_FILE], fds[THAWED_FILE], ALLOCATED_WHILE_FROZEN, 0);
	forget_frame(&f[THAWED_SESSION], TOUCHED_WHILE_FROZEN);
	forget_frame(&f[THAWED_FILE], ALLOCATED_WHILE_FROZEN);
	note_page(&f[NEVER_FROZEN], fds[NEVER_FROZEN], FILLED_WHILE_HELD,
		  SEED_WHILE_FROZEN);
	check_failing_freeze(fds);
	for (i = 0; i < NR_FAILING_FREEZE; i++) {
		check_eq("adding a seal",
			 sys_fcntl(fds[i], F_ADD_SEALS, F_SEAL_SHRINK) ?
			 -errno : 0, 0);
		f[i].seals = F_SEAL_SHRINK;
		fill_movable_page(&f[i], fds[i], 11, i & 1);
	}

	/* Once more, with what has changed since. */
	control_freeze(FREEZE_ERROR, ENOSPC);
	check_eq("reboot", try_reboot(), -ENOSPC);
	check_failing_freeze(fds);
	for (i = 0; i < NR_FAILING_FREEZE; i++)
		fill_movable_page(&f[i], fds[i], 6, !(i & 1));
	check_failing_freeze(fds);

	control_freeze(FREEZE_ERROR, 0);
	/* The state that was preserved is of before. */
	drop_chain_state();
	live_update(FAILING_FREEZE_ARGS);
}

static void failing_freeze_2(void)
{
	int earlier, session, fds[MAX_FILES], i;

	load_state();
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	session = take_session("failing");
	earlier = take_session("earlier");
	for (i = NR_FAILING_FREEZE - 1; i >= 0; i--) {
		fds[i] = retrieve(i == THAWED_SESSION ? earlier : session,
				  &state.files[i]);
		check_file(&state.files[i], fds[i]);
	}
	close(retrieve_fd(session, TEST_FILE_TOKEN));
	finish(earlier);
	finish(session);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	close_all(fds);
	check_pools_free(SZ_2M, 32, 32);

	/* More announced than came would be in quarantine, and this refused. */
	forget_files();
	live_update(FAILING_FREEZE_ARGS);
}

static void failing_freeze_3(void)
{
	load_state();
	check_pools_free(SZ_2M, 32, 32);
}

/* --- three_kernels: on from the second, with more pages, to a third --- */

#define THREE_KERNELS_ARGS						\
	"hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=64"

static void three_kernels_1(void)
{
	int session = new_session("one");

	preserve_full(session, 10, SZ_1G, 1, 1);
	preserve_sparse(session, 11, SZ_2M, 16);
	live_update(THREE_KERNELS_ARGS);
}

static void three_kernels_2(void)
{
	int session, fds[MAX_FILES];
	__u32 i;

	load_state();
	session = take_session("one");
	retrieve_all(session, fds);
	check_eq("preserving before finish",
		 luo_session_preserve_fd(new_session("early"), fds[0], 9),
		 -EBUSY);
	finish(session);
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);

	/* The same files, changed, and one more. */
	fill_page(&state.files[0], fds[0], 0, ANY_NODE);
	fill_page(&state.files[1], fds[1], 12, 1);
	session = new_session("two");
	for (i = 0; i < 2; i++)
		preserve(session, &state.files[i], fds[i]);
	preserve_full(session, 12, SZ_2M, 6, 1);
	live_update(THREE_KERNELS_ARGS);
}

static void three_kernels_3(void)
{
	int session, fds[MAX_FILES];

	load_state();
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	session = take_session("two");
	retrieve_all(session, fds);
	finish(session);
	close_all(fds);
	check_pools_free(SZ_1G, 1, 1);
	check_pools_free(SZ_2M, 32, 32);
}

/* --- writer: stores counted values until its CPU is stopped --- */

#define WRITER_ARGS	"hugepages=256"
#define WRITER_PAGES	200

/* Words of the first page: two of each writer, and two of who watches them. */
enum {
	COUNTED, COUNTED_AFTER, OTHER, OTHER_AFTER, OTHER_WHEN_FROZEN, WATCHED,
	NR_WORDS
};

/*
 * Two words of a page that is there, one after the other; and now and then a
 * word of a page that is not there yet, before it is counted. What has to be
 * there follows from the count.
 */
static void write_counted(int fd)
{
	__u64 *count = map_any_page(fd, SZ_2M, 0);
	__u64 n;

	if (!count)
		_exit(1);
	for (n = 1; ; n++) {
		if (n % 64 == 0 && n / 64 < WRITER_PAGES) {
			__u64 *word = map_any_page(fd, SZ_2M, n / 64);

			if (!word)
				_exit(2);
			__atomic_store_n(word, n, __ATOMIC_SEQ_CST);
			munmap(word, SZ_2M);
			usleep(2000);
		}
		__atomic_store_n(&count[COUNTED], n, __ATOMIC_SEQ_CST);
		__atomic_store_n(&count[COUNTED_AFTER], n, __ATOMIC_SEQ_CST);
	}
}

/* One that never has to wait for a page. */
static void write_other(__u64 *count)
{
	__u64 n;

	for (n = 1; ; n++) {
		__atomic_store_n(&count[OTHER], n, __ATOMIC_SEQ_CST);
		__atomic_store_n(&count[OTHER_AFTER], n, __ATOMIC_SEQ_CST);
	}
}

/*
 * Lets reboot() go on when it was seen that there is writing beside it. The page
 * has to be mapped here by then: a fault may have to wait behind that of the one
 * who waits for the file, if both have the same fault mutex.
 */
static void wait_for_other(__u64 *count)
{
	__u64 frozen;
	int i;

	__atomic_store_n(&count[WATCHED], 1, __ATOMIC_SEQ_CST);
	for (i = 0; read_number(FREEZE_CALLS) < 1 && i < 3000; i++)
		usleep(10000);
	check_eq("freeze_calls", read_number(FREEZE_CALLS), 1);
	frozen = __atomic_load_n(&count[OTHER_AFTER], __ATOMIC_SEQ_CST);
	count[OTHER_WHEN_FROZEN] = frozen;
	for (i = 0; i < 3000; i++) {
		if (__atomic_load_n(&count[OTHER_AFTER], __ATOMIC_SEQ_CST) >
		    frozen)
			break;
		usleep(10000);
	}
	control_freeze(FREEZE_HOLD, 0);
}

static void bind_to_cpu(int cpu)
{
	unsigned long mask = 1UL << cpu;

	if (syscall(__NR_sched_setaffinity, 0, sizeof(mask), &mask))
		fail_exit("sched_setaffinity");
}

/* The reboot call runs on CPU 0, which stops the other one. */
static void writer_1(void)
{
	struct file_state *f = new_file_state();
	int session = new_session("writer"), fd;
	__u64 *count;
	pid_t pid;

	fd = create_file(f, 10, SZ_2M, WRITER_PAGES);
	fill_page(f, fd, 0, 1);
	preserve(session, f, fd);
	preserve_test_file(session);
	save_state();
	load_kernel(WRITER_ARGS);
	count = map_any_page(fd, SZ_2M, 0);
	if (!count)
		fail_exit("mmap");
	memset(count, 0, NR_WORDS * sizeof(*count));
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		bind_to_cpu(1);
		write_counted(fd);
	}
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		bind_to_cpu(1);
		write_other(count);
	}
	bind_to_cpu(0);
	control_freeze(FREEZE_HOLD, 1);
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		wait_for_other(count);
		_exit(0);
	}
	while (!__atomic_load_n(&count[WATCHED], __ATOMIC_SEQ_CST) ||
	       !__atomic_load_n(&count[OTHER_AFTER], __ATOMIC_SEQ_CST))
		usleep(1000);
	while (__atomic_load_n(&count[COUNTED_AFTER], __ATOMIC_SEQ_CST) <
	       64 * 20)
		;
	check_eq("reboot", try_reboot(), 0);
}

static void writer_2(void)
{
	__u64 first, second, last, n;
	const __u64 *words;
	int session, fd;
	struct stat st;

	load_state();
	session = take_session("writer");
	fd = retrieve(session, &state.files[0]);
	words = map_page(fd, SZ_2M, 0);
	if (!words)
		fail_exit("mmap");
	first = words[COUNTED];
	second = words[COUNTED_AFTER];
	ksft_print_msg("one got to %llu and %llu; the other one to %llu and %llu, from %llu\n",
		       first, second, words[OTHER], words[OTHER_AFTER],
		       words[OTHER_WHEN_FROZEN]);
	check(words[OTHER_AFTER] > words[OTHER_WHEN_FROZEN],
	      "nobody wrote while the kernel rebooted");
	check(first == second || first == second + 1,
	      "a word came that was stored after one that did not");
	check(words[OTHER] == words[OTHER_AFTER] ||
	      words[OTHER] == words[OTHER_AFTER] + 1,
	      "a word of the other one came that was stored after one that did not");
	check(second >= 64 * 20, "what was seen by others did not come");
	check(frame_of(words) == state.files[0].pages[0].pfn,
	      "another page frame");

	last = second / 64;
	if (last >= WRITER_PAGES)
		last = WRITER_PAGES - 1;
	if (fstat(fd, &st))
		fail_exit("fstat");
	n = st.st_blocks / (SZ_2M / 512);
	ksft_print_msg("%llu pages came, %llu were counted\n", n, last + 1);
	check(n == last + 1 || n == last + 2, "%llu pages came, not %llu", n,
	      last + 1);
	for (n = 1; n <= last; n++) {
		words = map_page(fd, SZ_2M, n);
		if (check(words, "page %llu: %s", n, strerror(errno)))
			check(words[0] == 64 * n, "page %llu has %llu", n,
			      words[0]);
		munmap((void *)words, SZ_2M);
	}
	finish(session);
}

/* --- oversized: a file that is larger than the pool, and than memory --- */

#define OVERSIZED_ARGS	"hugepages=16"
#define OVERSIZED_PAGES	4096

static void oversized_1(void)
{
	struct file_state *f = new_file_state();
	int session = new_session("oversized"), fd;

	fd = create_file(f, 10, SZ_2M, OVERSIZED_PAGES);
	fill_page(f, fd, 0, 0);
	fill_page(f, fd, 2000, 1);
	fill_page(f, fd, OVERSIZED_PAGES - 1, 0);
	check_pools_in_use(SZ_2M, 8, 8, 0, 0);
	preserve(session, f, fd);
	check_pools_in_use(SZ_2M, 8, 8, 0, 0);
	check_file(f, fd);
	live_update(OVERSIZED_ARGS);
}

static void oversized_2(void)
{
	int session, fds[MAX_FILES];

	load_state();
	check_pools_in_use(SZ_2M, 8, 8, 0, 0);
	session = take_session("oversized");
	retrieve_all(session, fds);
	finish(session);
	check_pools_in_use(SZ_2M, 8, 8, 0, 0);
	close_all(fds);
	check_pools_free(SZ_2M, 8, 8);
}

/* --- sparse: a few pages of many, and no more than these --- */

#define SPARSE_ARGS	"hugepages=160"

static void sparse_1(void)
{
	struct file_state *f = new_file_state();
	int session = new_session("sparse"), fd;

	fd = create_file(f, 10, SZ_2M, 128);
	fill_page(f, fd, 0, 0);
	fill_page(f, fd, 63, 1);
	fill_page(f, fd, 64, 0);
	fill_page(f, fd, 127, 1);
	preserve(session, f, fd);
	check_pools_in_use(SZ_2M, 80, 80, 0, 0);
	check_file(f, fd);
	live_update(SPARSE_ARGS);
}

static void sparse_2(void)
{
	int session, fds[MAX_FILES];

	load_state();
	check_pools_in_use(SZ_2M, 80, 80, 0, 0);
	session = take_session("sparse");
	retrieve_all(session, fds);
	finish(session);
	check_pools_in_use(SZ_2M, 80, 80, 0, 0);
	close_all(fds);
	check_pools_free(SZ_2M, 80, 80);
}

/* --- memory_counted: nothing is missing when all is finished --- */

/* Where the kernel lies has an effect on how much memory there is. */
#define MEMORY_COUNTED_ARGS	"nokaslr hugepages=64"

static long memory_total;

/* Something to preserve that is not huge, in as many sessions and files. */
static void preserve_small(int session, __u64 token)
{
	int fd = sys_memfd_create("small", 0);

	if (fd < 0 || ftruncate(fd, 4096))
		fail_exit("memfd");
	preserve_fd(session, token, fd);
	close(fd);
}

/*
 * What LUO and KHO themselves keep of one update to the next is the same each
 * time, and is in none of the counters of any kernel but the first.
 */
static void memory_counted_1(void)
{
	int session = new_session("counted");
	__u64 token;

	for (token = 10; token < 14; token++)
		preserve_small(session, token);
	live_update(MEMORY_COUNTED_ARGS);
}

static void preserve_counted(void)
{
	struct file_state *f;
	int session = new_session("counted");

	preserve_full(session, 10, SZ_2M, 5, 0);
	preserve_sparse(session, 11, SZ_2M, 16);
	/* No pages at all, and no size. */
	f = new_file_state();
	preserve(session, f, create_file(f, 12, SZ_2M, 8));
	f = new_file_state();
	preserve(session, f, create_file(f, 13, SZ_2M, 0));
}

static void check_total(void)
{
	long total = memory_number("MemTotal:"), before;
	char value[32];

	if (cmdline_word("luo_total=", value, sizeof(value))) {
		before = atol(value);
		check_eq("MemTotal", total, before);
	}
	memory_total = total;
}

static void update_counted(void)
{
	char args[128];

	snprintf(args, sizeof(args), MEMORY_COUNTED_ARGS " luo_total=%ld",
		 memory_total);
	live_update(args);
}

static void memory_counted_2(void)
{
	load_state();
	finish(take_session("counted"));
	check_total();
	preserve_counted();
	update_counted();
}

static void memory_counted_3(void)
{
	int session, fds[MAX_FILES];

	load_state();
	session = take_session("counted");
	retrieve_all(session, fds);
	finish(session);
	close_all(fds);
	forget_files();
	check_pools_free(SZ_2M, 32, 32);
	check_total();
	preserve_counted();
	update_counted();
}

static void memory_counted_4(void)
{
	load_state();
	finish(take_session("counted"));
	check_pools_free(SZ_2M, 32, 32);
	check_total();
}

/* --- no_option: the second kernel does not know what it is given --- */

#define NO_OPTION_ARGS	"hugepages=32"
#define NO_OPTION_PAGES	12
#define NO_OPTION_IMAGE	"/kernel-no-option"
/* What a page would show that is free, or that the kernel has made use of. */
#define BIT(nr)	(1ULL << (nr))
#define IN_USE	(BIT(KPF_LRU) | BIT(KPF_SLAB) | BIT(KPF_BUDDY) | BIT(KPF_MMAP) | \
		 BIT(KPF_ANON) | BIT(KPF_COMPOUND_HEAD) | \
		 BIT(KPF_COMPOUND_TAIL) | BIT(KPF_HUGE) | BIT(KPF_PGTABLE))

/* Preserve pages, and boot @image, which cannot take them. */
static void boot_stranger(const char *image)
{
	int session = new_session("unknown"), len;
	char args[256] = NO_OPTION_ARGS " luo_frames=";
	__u32 i;

	preserve_full(session, 10, SZ_2M, NO_OPTION_PAGES, 0);
	len = strlen(args);
	for (i = 0; i < NO_OPTION_PAGES; i++)
		len += snprintf(args + len, sizeof(args) - len, "%llx,",
				state.files[0].pages[i].pfn);
	save_state();
	load_kernel_image(image, args);
	check_eq("reboot", try_reboot(), 0);
}

/* The pages that were handed over are nobody's, and yet not free. */
static void check_frames_kept(void)
{
	static __u64 flags[SZ_2M / 4096];
	char frames[256], *frame = frames;
	int fd, nr = 0;

	if (!cmdline_word("luo_frames=", frames, sizeof(frames)))
		ksft_exit_fail_msg("no luo_frames=\n");
	fd = open("/proc/kpageflags", O_RDONLY);
	if (fd < 0)
		fail_exit("/proc/kpageflags");
	while (*frame) {
		unsigned long pfn = strtoul(frame, &frame, 16), n;

		frame++;
		if (sys_pread(fd, flags, sizeof(flags), pfn * sizeof(flags[0])) !=
		    sizeof(flags))
			fail_exit("reading flags of frame %lx", pfn);
		for (n = 0; n < ARRAY_SIZE(flags); n++)
			if (flags[n] & IN_USE)
				break;
		check(n == ARRAY_SIZE(flags), "frame %lx has flags %llx",
		      pfn + n, flags[n % ARRAY_SIZE(flags)]);
		nr++;
	}
	check_eq("pages", nr, NO_OPTION_PAGES);
	close(fd);
}

static void no_option_1(void)
{
	boot_stranger(NO_OPTION_IMAGE);
}

static void no_option_2(void)
{
	int fd;

	/* LUO gives up all sessions, this one's state included. */
	fd = open(LUO_DEVICE, O_RDWR);
	check_eq("opening the device", fd < 0 ? -errno : fd, -EIO);
	check_pools_free(SZ_2M, 16, 16);
	check_frames_kept();
}

/* --- other_version: the second kernel has another version of the table --- */

#define OTHER_VERSION_IMAGE	"/kernel-other-version"
#define VERSION_MESSAGE							\
	"table of preserved pages refused: version. All of them stay reserved"

static void other_version_1(void)
{
	boot_stranger(OTHER_VERSION_IMAGE);
}

/* Other files come, and the system goes on until somebody boots it afresh. */
static void other_version_2(void)
{
	char path[128];
	int session;
	long more;

	check(kernel_said(VERSION_MESSAGE), "nobody was told");
	load_state();
	check_pools_free(SZ_2M, 16, 16);
	check_frames_kept();
	session = take_session("unknown");
	check_eq("retrieve", luo_session_retrieve_fd(session, 10), -ENOENT);
	check_frames_kept();
	finish(session);

	/* Half of what is free: of the rest, the kernel cannot use what is in CMA. */
	more = (memory_number("MemFree:") << 10) / SZ_2M / 2;
	pool_path(path, sizeof(path), SZ_2M, ANY_NODE, "nr_hugepages");
	check_eq("growing the pool", write_number(path, 32 + more), 0);
	check(read_pool(SZ_2M, ANY_NODE).nr > 32 + more / 2,
	      "the pool did not grow");
	check_frames_kept();
	check_eq("shrinking it", write_number(path, 32), 0);
	check_frames_kept();

	load_kernel(NO_OPTION_ARGS);
	check_eq("reboot", try_reboot(), -EBUSY);
}

/* --- used_afterwards: a file that came is like any other --- */

#define USED_AFTERWARDS_ARGS	"hugepages=32"

static void used_afterwards_1(void)
{
	int session = new_session("used");

	preserve_full(session, 10, SZ_2M, 6, 0);
	live_update(USED_AFTERWARDS_ARGS);
}

static void used_afterwards_2(void)
{
	struct file_state *f = &state.files[0];
	int session, fds[MAX_FILES];
	void *addr;

	load_state();
	session = take_session("used");
	retrieve_all(session, fds);
	/* Before finish, and after. */
	check_eq("punching a hole", punch_hole(fds[0], 5, SZ_2M), 0);
	f->nr--;
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	finish(session);
	check_eq("truncation", ftruncate(fds[0], 4 * SZ_2M) ? -errno : 0, 0);
	f->size = 4 * SZ_2M;
	f->nr--;
	check_file(f, fds[0]);
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	check_eq("growing", ftruncate(fds[0], 8 * SZ_2M) ? -errno : 0, 0);
	f->size = 8 * SZ_2M;
	fill_page(f, fds[0], 7, 1);
	fill_page(f, fds[0], 2, ANY_NODE);
	check_file(f, fds[0]);
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);

	/* Only holes need to be reserved, three of them. */
	addr = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
		    0);
	check(addr != MAP_FAILED, "mmap: %s", strerror(errno));
	check_eq("resv_hugepages",
		 pool_number(SZ_2M, ANY_NODE, "resv_hugepages"), 3);
	munmap(addr, f->size);
	check_eq("truncation to nothing", ftruncate(fds[0], 0) ? -errno : 0, 0);
	check_pools_free(SZ_2M, 16, 16);
	close(fds[0]);
	check_pools_free(SZ_2M, 16, 16);
}

/* --- reservations: pages that are promised and not used yet --- */

#define RESERVATIONS_ARGS	"hugepages=0:16,1:16"
#define RESERVATIONS_FEW_ARGS	"hugepages=0:4,1:4"

static void check_reserved(long nr)
{
	check_eq("resv_hugepages",
		 pool_number(SZ_2M, ANY_NODE, "resv_hugepages"), nr);
}

/* A file of @nr pages, of which @nr_resv are reserved, and two of those used. */
static int preserve_reserved(int session, __u64 token, __u64 nr, __u64 first,
			     __u64 nr_resv, int nid)
{
	struct file_state *f = new_file_state();
	int fd = create_file(f, token, SZ_2M, nr);
	void *addr;

	/* The mapping may go, what it reserved stays with the file. */
	addr = mmap(NULL, nr_resv * SZ_2M, PROT_READ | PROT_WRITE, MAP_SHARED,
		    fd, first * SZ_2M);
	if (addr == MAP_FAILED)
		fail_exit("mmap of %llu pages", nr_resv);
	munmap(addr, nr_resv * SZ_2M);
	fill_page(f, fd, first + 1, nid);
	fill_page(f, fd, first + nr_resv - 1, nid);
	preserve(session, f, fd);

	return fd;
}

/* Another process takes all pages that it can get, @nr of them. */
static int take_free_pages(long nr)
{
	struct file_state f;
	struct stat st;
	int fd, status;
	__u64 n = 0;
	pid_t pid;

	fd = create_file(&f, 99, SZ_2M, 64);
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		while (!sys_fallocate(fd, 0, n * SZ_2M, SZ_2M))
			n++;
		_exit(errno != ENOSPC);
	}
	if (waitpid(pid, &status, 0) != pid)
		fail_exit("waitpid");
	check_eq("status of who takes pages", status, 0);
	if (fstat(fd, &st))
		fail_exit("fstat");
	check_eq("pages taken", st.st_blocks / (SZ_2M / 512), nr);

	return fd;
}

/* Whether a process that touches the page at @index lives on. */
static bool can_touch(int fd, __u64 index)
{
	pid_t pid = fork();
	int status;
	void *addr;

	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		addr = map_any_page(fd, SZ_2M, index);
		if (addr)
			__atomic_store_n((__u64 *)addr, 0, __ATOMIC_SEQ_CST);
		_exit(!addr);
	}
	if (waitpid(pid, &status, 0) != pid)
		fail_exit("waitpid");

	return !status;
}

static void check_promised(struct file_state *f, int fd, __u64 index)
{
	if (check(can_touch(fd, index), "file %llu, page %llu cannot be had",
		  f->token, index))
		note_page(f, fd, index, 0);
}

static void reservations_1(void)
{
	int session = new_session("reservations"), fds[2];

	fds[0] = preserve_reserved(session, 10, 10, 0, 10, 0);
	fds[1] = preserve_reserved(session, 11, 12, 4, 6, 1);
	check_reserved(8 + 4);
	/* Late pages: one of these had been reserved. */
	fill_page(&state.files[0], fds[0], 5, 1);
	fill_page(&state.files[1], fds[1], 0, 0);
	check_reserved(7 + 4);
	check_pool(SZ_2M, 0, 16, 13, 0);
	check_pool(SZ_2M, 1, 16, 13, 0);
	live_update(RESERVATIONS_ARGS);
}

static void reservations_2(void)
{
	int session, fds[MAX_FILES], others;
	__u64 index;

	print_pools("before retrieval");
	load_state();
	check_pool(SZ_2M, 0, 16, 13, 0);
	check_pool(SZ_2M, 1, 16, 13, 0);
	check_reserved(11);
	others = take_free_pages(26 - 11);
	session = take_session("reservations");
	retrieve_all(session, fds);
	check_reserved(11);
	finish(session);
	check_reserved(11);

	check(!can_touch(fds[1], 11), "a page came from nowhere");
	for (index = 0; index < 10; index++)
		if (index != 1 && index != 5 && index != 9)
			check_promised(&state.files[0], fds[0], index);
	check_reserved(4);
	check_promised(&state.files[1], fds[1], 4);
	for (index = 6; index < 9; index++)
		check_promised(&state.files[1], fds[1], index);
	check_reserved(0);
	check_pool(SZ_2M, ANY_NODE, 32, 0, 0);
	check_file(&state.files[0], fds[0]);
	check_file(&state.files[1], fds[1]);
	close(others);
	close_all(fds);
	check_pools_free(SZ_2M, 16, 16);

	/* The next kernel has four pages for six and one that are promised. */
	forget_files();
	session = new_session("reservations");
	preserve_reserved(session, 20, 8, 0, 8, 0);
	preserve_reserved(session, 21, 4, 1, 3, 1);
	check_reserved(6 + 1);
	live_update(RESERVATIONS_FEW_ARGS);
}

static void reservations_3(void)
{
	int session, fd, i;

	load_state();
	check_pool(SZ_2M, ANY_NODE, 8, 4, 0);
	check_reserved(1);
	session = take_session("reservations");
	for (i = 0; i < 2; i++) {
		fd = luo_session_retrieve_fd(session, state.files[0].token);
		check_eq("retrieving what is not promised", fd, -EAGAIN);
		check_reserved(1);
		/* One page less than it takes. */
		resize_pool(10);
	}
	resize_pool(11);
	fd = retrieve(session, &state.files[0]);
	check_file(&state.files[0], fd);
	check_pool(SZ_2M, ANY_NODE, 11, 7, 0);
	check_reserved(6 + 1);
	/* Nobody has asked for the other file. */
	finish(session);
	check_pool(SZ_2M, ANY_NODE, 11, 9, 0);
	check_reserved(6);
	check_promised(&state.files[0], fd, 0);
	check_reserved(5);
	check_file(&state.files[0], fd);
	close(fd);
	check_pool(SZ_2M, ANY_NODE, 11, 11, 0);
	check_reserved(0);
}

static const struct chain_test tests[] = {
	{ "roundtrip_2m", 1024, 2,
	  ROUNDTRIP_2M_ARGS,
	  { roundtrip_2m_1, roundtrip_2m_2 } },
	{ "roundtrip_1g", 4096, 2,
	  ROUNDTRIP_1G_ARGS,
	  { roundtrip_1g_1, roundtrip_1g_2 } },
	{ "roundtrip_64k_32m", 4096, 2,
	  ROUNDTRIP_64K_32M_ARGS,
	  { roundtrip_64k_32m_1, roundtrip_64k_32m_2 }, "arm64" },
	{ "pools_by_node", 1024, 2,
	  POOLS_BY_NODE_ARGS,
	  { pools_by_node_1, pools_by_node_2 } },
	{ "pools_global", 1024, 2,
	  "hugepages=0:40,1:24",
	  { pools_global_1, pools_global_2 } },
	{ "pool_resized", 1024, 2,
	  POOL_RESIZED_ARGS,
	  { pool_resized_1, pool_resized_2 } },
	{ "finish_unretrieved", 1024, 2,
	  FINISH_UNRETRIEVED_ARGS,
	  { finish_unretrieved_1, finish_unretrieved_2 } },
	{ "retrieved_in_part", 1024, 2,
	  RETRIEVED_IN_PART_ARGS,
	  { retrieved_in_part_1, retrieved_in_part_2 } },
	{ "retrieved_unfinished", 1024, 3,
	  UNFINISHED_ARGS,
	  { retrieved_unfinished_1, retrieved_unfinished_2,
	    retrieved_unfinished_3 } },
	{ "fewer_pages", 1024, 2,
	  "hugepages=64",
	  { fewer_pages_1, fewer_pages_2 } },
	{ "missing_size", 4096, 2,
	  "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=32",
	  { missing_size_1, missing_size_2 }, "x86_64" },
	{ "preserved_twice", 1024, 2,
	  PRESERVED_TWICE_ARGS,
	  { preserved_twice_1, preserved_twice_2 } },
	{ "changed_meanwhile", 1024, 2,
	  CHANGED_MEANWHILE_ARGS,
	  { changed_meanwhile_1, changed_meanwhile_2 } },
	{ "aborted_update", 4096, 2,
	  ABORTED_UPDATE_ARGS,
	  { aborted_update_1, aborted_update_2 } },
	{ "failing_freeze", 1024, 3,
	  FAILING_FREEZE_ARGS,
	  { failing_freeze_1, failing_freeze_2, failing_freeze_3 } },
	{ "three_kernels", 4096, 3,
	  THREE_KERNELS_ARGS,
	  { three_kernels_1, three_kernels_2, three_kernels_3 } },
	{ "writer", 1024, 2,
	  WRITER_ARGS,
	  { writer_1, writer_2 } },
	{ "oversized", 1024, 2,
	  OVERSIZED_ARGS,
	  { oversized_1, oversized_2 } },
	{ "sparse", 1024, 2,
	  SPARSE_ARGS,
	  { sparse_1, sparse_2 } },
	{ "memory_counted", 1024, 4,
	  MEMORY_COUNTED_ARGS,
	  { memory_counted_1, memory_counted_2, memory_counted_3,
	    memory_counted_4 } },
	{ "no_option", 1024, 2,
	  NO_OPTION_ARGS,
	  { no_option_1, no_option_2 }, "no-option" },
	{ "other_version", 1024, 2,
	  NO_OPTION_ARGS,
	  { other_version_1, other_version_2 }, "other-version" },
	{ "used_afterwards", 1024, 2,
	  USED_AFTERWARDS_ARGS,
	  { used_afterwards_1, used_afterwards_2 } },
	{ "reservations", 1024, 3,
	  RESERVATIONS_ARGS,
	  { reservations_1, reservations_2, reservations_3 } },
};

/* --- what vmtest.sh runs: two kernels, whose init is init.c --- */

#define VMTEST_STATE_SESSION	"luo-hugetlb-vmtest"
#define VMTEST_STATE_TOKEN	2
#define VMTEST_SESSION		"vmtest"
#define VMTEST_TOKEN		10
#define VMTEST_SEED		0x76657374ULL
#define VMTEST_PAGES		8

static void vmtest_1(int fd)
{
	struct file_state f;
	int session, memfd;
	void *addr;

	luo_fd = fd;
	if (write_number("/proc/sys/vm/nr_hugepages", 2 * VMTEST_PAGES))
		ksft_exit_fail_msg("no huge pages\n");
	memfd = create_file(&f, VMTEST_TOKEN, SZ_2M, VMTEST_PAGES);
	addr = map_any_page(memfd, SZ_2M, 1);
	if (!addr)
		fail_exit("mmap");
	write_pattern(addr, SZ_2M, VMTEST_SEED);
	create_state_file(fd, VMTEST_STATE_SESSION, VMTEST_STATE_TOKEN, 2);
	session = new_session(VMTEST_SESSION);
	preserve(session, &f, memfd);
	daemonize_and_wait();
}

static void vmtest_2(int fd, int state_session)
{
	struct file_state f = { .token = VMTEST_TOKEN };
	int session, memfd, next;
	struct stat st;
	void *addr;

	luo_fd = fd;
	restore_and_read_stage(state_session, VMTEST_STATE_TOKEN, &next);
	check_eq("stage", next, 2);
	session = take_session(VMTEST_SESSION);
	memfd = retrieve(session, &f);
	if (fstat(memfd, &st))
		fail_exit("fstat");
	check_eq("size", st.st_size, VMTEST_PAGES * SZ_2M);
	check_eq("blocks", st.st_blocks, SZ_2M / 512);
	addr = map_page(memfd, SZ_2M, 1);
	if (!addr)
		fail_exit("mmap");
	check(compare_pattern(addr, SZ_2M, VMTEST_SEED) < 0,
	      "not what was written");
	finish(session);
	finish(state_session);
	if (nr_failures)
		ksft_exit_fail_msg("%d failures\n", nr_failures);
	ksft_print_msg("--- HUGETLB TEST PASSED ---\n");
}

int main(int argc, char *argv[])
{
	if (argc > 1 && !strcmp(argv[1], "-s"))
		return luo_test(argc, argv, VMTEST_STATE_SESSION, vmtest_1,
				vmtest_2);

	return chain_main(argc, argv, tests, ARRAY_SIZE(tests));
}
