// SPDX-License-Identifier: GPL-2.0-only

/*
 * What an administrator does to pools of huge pages before, during and after a
 * live update, and what the next kernel's command line makes of them: surplus
 * pages, other numbers on other nodes, pages that are split, memory that goes
 * offline. And what programs do to files that are handed over: private mappings,
 * several processes, devices, seals, one update after the other.
 *
 * Each test is a chain of kernels: see lib/include/lu_chain.h for how to run it.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/memfd.h>
#include <linux/udmabuf.h>

#include <libliveupdate.h>
#include <lu_hugetlb.h>

#define READ_ALL_OF_LOG	3

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE	0x0010
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC		0x0020
#endif

static int set_pool(unsigned long size, int nid, const char *name, long nr)
{
	char path[128];

	pool_path(path, sizeof(path), size, nid, name);

	return write_number(path, nr);
}

static void check_set_pool(unsigned long size, int nid, const char *name, long nr)
{
	int err = set_pool(size, nid, name, nr);

	check(!err, "writing %ld to %s: %s", nr, name, strerror(-err));
}

/* Return: 0 or -errno. */
static int allocate(int fd, __u64 page_size, __u64 index, int nid)
{
	int err;

	bind_to_node(nid);
	err = sys_fallocate(fd, 0, index * page_size, page_size) ? -errno : 0;
	bind_to_node(ANY_NODE);

	return err;
}

static int truncate_to(struct file_state *f, int fd, __u64 nr_pages)
{
	__u32 i;

	if (ftruncate(fd, nr_pages * f->page_size))
		return -errno;
	f->size = nr_pages * f->page_size;
	for (i = 0; i < f->nr; )
		if (f->pages[i].index >= nr_pages)
			f->pages[i] = f->pages[--f->nr];
		else
			i++;

	return 0;
}

static int punch(struct file_state *f, int fd, __u64 index)
{
	__u32 i;

	if (sys_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  index * f->page_size, f->page_size))
		return -errno;
	for (i = 0; i < f->nr; i++)
		if (f->pages[i].index == index)
			f->pages[i] = f->pages[--f->nr];

	return 0;
}

/* What the log says of the pool of 2 MiB pages on a node since this boot. */
static void check_reported_order(int order, int nid, unsigned long preserved,
				 unsigned long free, unsigned long allocated,
				 unsigned long surplus)
{
	static char log[1 << 18];
	char line[128];
	int len;

	len = syscall(__NR_syslog, READ_ALL_OF_LOG, log, sizeof(log) - 1);
	if (len < 0)
		fail_exit("syslog");
	log[len] = 0;
	snprintf(line, sizeof(line),
		 "order %d, node %d: %lu preserved pages in use, %lu free, %lu allocated, %lu surplus\n",
		 order, nid, preserved, free, allocated, surplus);
	check(strstr(log, line), "the log lacks: %s", line);
}

static void check_reported_free(int nid, unsigned long preserved,
				unsigned long free, unsigned long allocated,
				unsigned long surplus)
{
	check_reported_order(9, nid, preserved, free, allocated, surplus);
}

static void check_reported(int nid, unsigned long preserved,
			   unsigned long allocated, unsigned long surplus)
{
	check_reported_free(nid, preserved, 0, allocated, surplus);
}

/* In kB. What slab has in reserve may be used as well. */
static long free_and_slab(void)
{
	return free_memory() + memory_number("Slab:");
}

/*
 * A window in which files are frozen
 */

/* What CONFIG_LIVEUPDATE_TEST has to offer, where chain_main() mounts it. */
#define TEST_FILE	"/debugfs/liveupdate_test/file"
#define TEST_FILE_TOKEN	20
#define FREEZE_CALLS	"/debugfs/liveupdate_test/freeze_calls"
#define FREEZE_ERROR	"/debugfs/liveupdate_test/freeze_error"
#define FREEZE_HOLD	"/debugfs/liveupdate_test/freeze_hold"

static void preserve_test_file(int session)
{
	int fd = open(TEST_FILE, O_RDONLY);

	if (fd < 0)
		fail_exit(TEST_FILE);
	preserve_fd(session, TEST_FILE_TOKEN, fd);
	close(fd);
}

/*
 * @fn, while the file is frozen that @fd is of, in an update that fails then. A
 * kernel is loaded, and the session has got no file of the test yet.
 */
static void while_frozen(int session, int fd, void (*fn)(__u64 arg), __u64 arg)
{
	long calls = read_number(FREEZE_CALLS);
	int status, i;
	pid_t pid;

	preserve_test_file(session);
	check_eq("freeze_error", write_number(FREEZE_ERROR, EIO), 0);
	check_eq("freeze_hold", write_number(FREEZE_HOLD, 1), 0);
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		for (i = 0; read_number(FREEZE_CALLS) == calls && i < 3000; i++)
			usleep(10000);
		check_eq("adding a seal",
			 sys_fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) ? -errno : 0,
			 -EBUSY);
		fn(arg);
		check_eq("freeze_hold", write_number(FREEZE_HOLD, 0), 0);
		_exit(nr_failures);
	}
	check_eq("reboot", try_reboot(), -EIO);
	check(waitpid(pid, &status, 0) == pid && !status,
	      "failures while files were frozen");
	check_eq("freeze_error", write_number(FREEZE_ERROR, 0), 0);
}

/* --- surplus: beyond the pool, before the update and after --- */

static void surplus_1(void)
{
	int session = new_session("surplus"), other, fd, err;
	struct file_state others;
	__u64 i;

	check_set_pool(SZ_2M, ANY_NODE, "nr_overcommit_hugepages", 4);
	preserve_full(session, 10, SZ_2M, 8, 0);
	/* All of the other node's, by a file that is not preserved. */
	other = create_file(&others, 20, SZ_2M, 8);
	fill_pages(&others, other, 0, 8, 1);
	fd = preserve_full(session, 11, SZ_2M, 4, 0);
	/* These were allocated just now, and may have been moved out of CMA. */
	for (i = 0; i < 4; i++)
		note_page(&state.files[1], fd, i,
			  page_seed(&state.files[1], i));
	check_pool(SZ_2M, 0, 12, 0, 4);
	check_pool(SZ_2M, 1, 8, 0, 0);
	err = allocate(other, SZ_2M, 8, ANY_NODE);
	check_eq("one surplus page too many", err, -ENOSPC);
	live_update("hugepages=16");
}

/* The pool is as large as the command line asks, so there is no surplus. */
static void surplus_2(void)
{
	int session, fds[MAX_FILES];

	load_state();
	check_pools_in_use(SZ_2M, 12, 4, 0, 0);
	check_reported(0, 12, 0, 0);
	check_reported(1, 0, 4, 0);
	session = take_session("surplus");
	retrieve_all(session, fds);
	check_pools_in_use(SZ_2M, 12, 4, 0, 0);
	finish(session);

	session = new_session("again");
	preserve(session, &state.files[0], fds[0]);
	preserve(session, &state.files[1], fds[1]);
	live_update("hugepages=8");
}

static void surplus_3(void)
{
	int session, fds[MAX_FILES], fd;
	struct file_state f;

	load_state();
	check_pools_in_use(SZ_2M, 12, 0, 4, 0);
	check_reported(0, 12, 0, 4);
	check_reported(1, 0, 0, 0);
	session = take_session("again");
	retrieve_all(session, fds);
	finish(session);

	/* The pages that came count against the limit. */
	fd = create_file(&f, 20, SZ_2M, 2);
	check_eq("a page beyond the pool", allocate(fd, SZ_2M, 0, 1), -ENOSPC);
	check_set_pool(SZ_2M, ANY_NODE, "nr_overcommit_hugepages", 5);
	check_eq("a surplus page", allocate(fd, SZ_2M, 0, 1), 0);
	check_eq("another one", allocate(fd, SZ_2M, 1, 1), -ENOSPC);
	check_pool(SZ_2M, 0, 12, 0, 4);
	check_pool(SZ_2M, 1, 1, 0, 1);

	/* As many as are surplus leave the pool, the others stay. */
	close(fd);
	check_pool(SZ_2M, 1, 0, 0, 0);
	close(fds[1]);
	check_pool(SZ_2M, 0, 8, 0, 0);
	close(fds[0]);
	check_pools_free(SZ_2M, 8, 0);
}

/* --- other_nodes: the command line is about nodes, other ones each time --- */

static void other_nodes_1(void)
{
	int session = new_session("nodes");

	preserve_full(session, 10, SZ_2M, 20, 0);
	preserve_full(session, 11, SZ_2M, 4, 1);
	live_update("hugepages=0:8,1:40");
}

static void again_with(const int *fds, const char *args)
{
	int session = new_session("nodes");
	__u32 i;

	for (i = 0; i < state.nr_files; i++)
		preserve(session, &state.files[i], fds[i]);
	live_update(args);
}

static void take_nodes(int *fds)
{
	int session = take_session("nodes");

	retrieve_all(session, fds);
	finish(session);
}

/* Fewer on one node, more on the other. */
static void other_nodes_2(void)
{
	int fds[MAX_FILES];

	load_state();
	check_pools_in_use(SZ_2M, 20, 40, 12, 0);
	check_reported(0, 20, 0, 12);
	check_reported(1, 4, 36, 0);
	take_nodes(fds);
	check_pools_in_use(SZ_2M, 20, 40, 12, 0);
	/* There is no such node, which makes nothing of all of it. */
	again_with(fds, "hugepages=0:30,5:4");
}

static void other_nodes_3(void)
{
	int fds[MAX_FILES];

	load_state();
	check_pools_in_use(SZ_2M, 20, 4, 20, 4);
	check_reported(0, 20, 0, 20);
	check_reported(1, 4, 0, 4);
	take_nodes(fds);
	/* Twice what there is: all that can be had, and no page is lost. */
	again_with(fds, "hugepages=1:1000");
}

static void other_nodes_4(void)
{
	int fds[MAX_FILES];
	struct pool pool;

	load_state();
	print_pools("before retrieval");
	check_pool(SZ_2M, 0, 20, 0, 20);
	pool = read_pool(SZ_2M, 1);
	check(pool.nr > 100 && pool.nr < 512, "node 1 has %ld pages", pool.nr);
	check_eq("pages in use on node 1", pool.nr - pool.free, 4);
	check_eq("surplus on node 1", pool.surplus, 0);
	check_reported(0, 20, 0, 20);
	check_reported(1, 4, pool.nr - 4, 0);
	take_nodes(fds);
	close_all(fds);
	check_pool(SZ_2M, 0, 0, 0, 0);
	check_pool(SZ_2M, 1, pool.nr, pool.nr, 0);
}

/* --- numa_off: the second kernel knows no nodes, the third one does again --- */

static __s64 nodes[MAX_FILES][MAX_PAGES];

/* All pages are on node 0, or back where they were. */
static void forget_nodes(void)
{
	__u32 i, j;

	for (i = 0; i < state.nr_files; i++) {
		for (j = 0; j < state.files[i].nr; j++) {
			nodes[i][j] = state.files[i].pages[j].nid;
			state.files[i].pages[j].nid = 0;
		}
	}
}

static void remember_nodes(void)
{
	__u32 i, j;

	for (i = 0; i < state.nr_files; i++)
		for (j = 0; j < state.files[i].nr; j++)
			state.files[i].pages[j].nid = nodes[i][j];
}

static void numa_off_1(void)
{
	int session = new_session("nodes");

	preserve_full(session, 10, SZ_2M, 12, 0);
	preserve_full(session, 11, SZ_2M, 16, 1);
	live_update("numa=off hugepages=32");
}

static void numa_off_2(void)
{
	int fds[MAX_FILES];

	load_state();
	forget_nodes();
	check_eq("pages of node 1", pool_number(SZ_2M, 1, "nr_hugepages"),
		 -ENOENT);
	check_pool(SZ_2M, 0, 32, 4, 0);
	check_pool(SZ_2M, ANY_NODE, 32, 4, 0);
	check_reported(0, 28, 4, 0);
	take_nodes(fds);
	check_pool(SZ_2M, 0, 32, 4, 0);
	remember_nodes();
	again_with(fds, "hugepages=0:16,1:12");
}

static void numa_off_3(void)
{
	int fds[MAX_FILES];

	load_state();
	check_pools_in_use(SZ_2M, 16, 16, 0, 4);
	check_reported(0, 12, 4, 0);
	check_reported(1, 16, 0, 4);
	take_nodes(fds);
	check_pools_in_use(SZ_2M, 16, 16, 0, 4);
	close_all(fds);
	check_pools_free(SZ_2M, 16, 12);
}

/* --- numa_off_1g: the same of gigantic pages, which are allocated early --- */

/* nokaslr: a kernel that is anywhere may be where a gigantic page could be. */
#define NUMA_1G_ARGS	"nokaslr hugepagesz=1G hugepages=1:1"

static void numa_off_1g_1(void)
{
	struct file_state *f = new_file_state();
	int session = new_session("nodes"), fd;

	fd = create_file(f, 10, SZ_1G, 2);
	fill_page(f, fd, 0, 1);
	preserve(session, f, fd);
	live_update("nokaslr numa=off hugepagesz=1G hugepages=2");
}

static void numa_off_1g_2(void)
{
	struct file_state *f = &state.files[0];
	int fds[MAX_FILES], session;

	load_state();
	forget_nodes();
	check_pool(SZ_1G, 0, 2, 1, 0);
	check_pool(SZ_1G, ANY_NODE, 2, 1, 0);
	check_reported_order(18, 0, 1, 0, 1, 0);
	take_nodes(fds);
	remember_nodes();
	session = new_session("nodes");
	preserve(session, f, fds[0]);
	/* A late page, and nobody knows on which node. */
	fill_page(f, fds[0], 1, 0);
	live_update("nokaslr hugepagesz=1G hugepages=0:1,1:2");
}

/* None was allocated in vain, and none is missing. */
static void numa_off_1g_3(void)
{
	struct pool pool = read_pool(SZ_1G, 1);
	long used = pool.nr - pool.free;
	int fds[MAX_FILES];

	load_state();
	print_pools("before retrieval");
	check(used == 1 || used == 2, "%ld pages of node 1 are in use", used);
	state.files[0].pages[1].nid = used == 2;
	check_pools_in_use(SZ_1G, 1, 2, 0, 0);
	check_reported_order(18, 0, 2 - used, 0, used - 1, 0);
	check_reported_order(18, 1, used, 0, 2 - used, 0);
	take_nodes(fds);
	check_pools_in_use(SZ_1G, 1, 2, 0, 0);
	close_all(fds);
	check_pools_free(SZ_1G, 1, 2);
}

/* --- demote: a page that is preserved is not split --- */

/* nokaslr: a kernel that is anywhere may be where a gigantic page could be. */
#define DEMOTE_ARGS	"nokaslr hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=16"
#define PIECES		(SZ_1G / SZ_2M)

/* Both are asked for, and only one is free. */
static void demote_free_one(__u64 unused)
{
	check_set_pool(SZ_1G, ANY_NODE, "demote", 2);
	check_pools_in_use(SZ_1G, 1, 0, 0, 0);
	check_pools_in_use(SZ_2M, 8, 8 + PIECES, 0, 0);
	check_set_pool(SZ_1G, 0, "demote", 1);
	check_pools_in_use(SZ_1G, 1, 0, 0, 0);
}

static void demote_1(void)
{
	struct file_state *f = new_file_state();
	int session, fd;

	fd = create_file(f, 10, SZ_1G, 1);
	fill_page(f, fd, 0, 0);
	session = new_session("demote");
	preserve(session, f, fd);
	load_kernel(DEMOTE_ARGS);
	while_frozen(session, fd, demote_free_one, 0);
	unload_kernel();
	check_set_pool(SZ_1G, 0, "demote", 1);
	check_pools_in_use(SZ_1G, 1, 0, 0, 0);
	check_file(f, fd);

	/* No more than before after an update that was called off. */
	close(session);
	check_set_pool(SZ_1G, 0, "demote", 1);
	check_pools_in_use(SZ_1G, 1, 0, 0, 0);
	check_file(f, fd);
	check_eq("punching a hole", punch(f, fd, 0), 0);
	check_set_pool(SZ_1G, 0, "demote", 1);
	check_pools_free(SZ_1G, 0, 0);
	check_pools_free(SZ_2M, 8 + PIECES, 8 + PIECES);

	/* From the pieces it takes another page of that size. */
	check_set_pool(SZ_2M, ANY_NODE, "nr_hugepages", 16);
	check_set_pool(SZ_1G, 0, "nr_hugepages", 1);
	fill_page(f, fd, 0, 0);
	session = new_session("demote");
	preserve(session, f, fd);
	live_update(DEMOTE_ARGS);
}

/* The same between boot and retrieval, when the page is in no file yet. */
static void demote_2(void)
{
	int session, fds[MAX_FILES];

	load_state();
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
	demote_free_one(0);
	session = take_session("demote");
	retrieve_all(session, fds);
	check_set_pool(SZ_1G, ANY_NODE, "demote", 1);
	check_pools_in_use(SZ_1G, 1, 0, 0, 0);
	finish(session);
	check_file(&state.files[0], fds[0]);

	/* Free at last. */
	close_all(fds);
	check_set_pool(SZ_1G, ANY_NODE, "demote", 1);
	check_pools_free(SZ_1G, 0, 0);
	check_pools_free(SZ_2M, 8 + PIECES, 8 + PIECES);
}

/* --- offline: memory with a page that is preserved cannot be taken away --- */

/* Enough for several blocks of memory: in some there are pages of the kernel. */
#define OFFLINE_ARGS	"hugepages=0:16,1:160"
#define OFFLINE_PAGES	160
/* Most of what the node has, so that some of it lies where the first ones did. */
#define OFFLINE_POOL	400
#define OFFLINE_AGAIN	300
#define OFFLINE_REST	(OFFLINE_POOL - OFFLINE_AGAIN)
/* Seconds until it is known not to work, and in which it has to. */
#define OFFLINE_SHORT	3
#define OFFLINE_LONG	30
#define MEMORY		"/sys/devices/system/memory/"

static int write_state(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), err = 0;

	if (fd < 0)
		fail_exit("%s", path);
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);

	return err;
}

/* Return: how long a block of memory is. */
static unsigned long block_size(void)
{
	char buf[32] = {};
	int fd = open(MEMORY "block_size_bytes", O_RDONLY);

	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) <= 0)
		fail_exit(MEMORY "block_size_bytes");
	close(fd);

	return strtoul(buf, NULL, 16);
}

/*
 * The block of memory that the page frame is in goes offline, and comes back if
 * that works. The kernel tries for as long as there is a page that it thinks can
 * be moved, so it needs somebody who interrupts it after @seconds.
 *
 * Return: 0 or -errno, -EINTR if it was interrupted.
 */
static int take_offline(__u64 pfn, int seconds)
{
	int status = 0, tries, err;
	char path[64];
	pid_t pid;

	snprintf(path, sizeof(path), MEMORY "memory%llu/state",
		 pfn * getpagesize() / block_size());
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid)
		_exit(-write_state(path, "offline"));
	for (tries = 0; tries < 10 * seconds; tries++) {
		if (waitpid(pid, &status, WNOHANG))
			break;
		usleep(100000);
	}
	if (tries == 10 * seconds) {
		kill(pid, SIGKILL);
		if (waitpid(pid, &status, 0) != pid)
			fail_exit("waitpid");
	}
	err = WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
	if (!err)
		check_eq("online", write_state(path, "online"), 0);

	return err;
}

/* Where the page of the file at @index is now. */
static __u64 frame_in_file(const struct file_state *f, int fd, __u64 index)
{
	void *addr = map_page(fd, f->page_size, index);
	__u64 pfn;

	if (!addr)
		fail_exit("mmap of page %llu", index);
	/* This touches it, too. */
	check(node_of(addr) >= 0, "page %llu is on no node", index);
	pfn = frame_of(addr);
	munmap(addr, f->page_size);

	return pfn;
}

static __u64 block_of(__u64 pfn)
{
	return pfn * getpagesize() / block_size();
}

static void note_frames(struct file_state *f, int fd)
{
	__u32 i;

	for (i = 0; i < f->nr; i++)
		note_page(f, fd, f->pages[i].index, f->pages[i].seed);
}

/*
 * Much of the memory has something in it that can never be moved. Takes a block
 * away that has pages of the file in it, and nothing of that kind.
 *
 * Return: its number, or 0.
 */
static __u64 find_block(struct file_state *f, int fd)
{
	__u64 before, after, tried = 0;
	__u32 i, n;

	/* The second time round is for a kernel that checks much, and is slow. */
	for (n = 0; n < 2 * f->nr; n++) {
		i = n % f->nr;
		before = f->pages[i].pfn;
		if (i && block_of(before) == tried)
			continue;
		tried = block_of(before);
		if (take_offline(before, n < f->nr ? OFFLINE_SHORT : OFFLINE_LONG))
			continue;
		after = frame_in_file(f, fd, f->pages[i].index);
		check(block_of(after) != block_of(before),
		      "frame %llx was taken away, the page is in %llx", before,
		      after);
		return block_of(before);
	}

	return 0;
}

static __u32 pages_in_block(const struct file_state *f, __u64 block)
{
	__u32 i, nr = 0;

	for (i = 0; i < f->nr; i++)
		if (block_of(f->pages[i].pfn) == block)
			nr++;

	return nr;
}

static void offline_frozen(__u64 pfn)
{
	check_eq("taking frozen pages away", take_offline(pfn, OFFLINE_SHORT), -EINTR);
}

static void offline_1(void)
{
	struct file_state probe, *f = new_file_state();
	int session, fd, first;
	__u64 block, pfn;

	/* First of all: it takes memory that cannot be moved. */
	load_kernel(OFFLINE_ARGS);
	fd = create_file(&probe, 20, SZ_2M, OFFLINE_PAGES);
	fill_pages(&probe, fd, 0, OFFLINE_PAGES, 1);
	block = find_block(&probe, fd);
	close(fd);
	if (!block) {
		/* The pool fills three blocks. Others may be luckier. */
		check_set_pool(SZ_2M, 1, "nr_hugepages", OFFLINE_POOL);
		fd = create_file(&probe, 20, SZ_2M, OFFLINE_AGAIN);
		fill_pages(&probe, fd, 0, OFFLINE_AGAIN, 1);
		block = find_block(&probe, fd);
		close(fd);
	}
	if (!block)
		ksft_exit_fail_msg("no memory can be taken away\n");
	/* The pages have gone to the other node. There is room for others. */
	check_set_pool(SZ_2M, 0, "nr_hugepages", 0);
	check_set_pool(SZ_2M, 1, "nr_hugepages", OFFLINE_POOL);
	fd = create_file(f, 10, SZ_2M, OFFLINE_AGAIN);
	fill_pages(f, fd, 0, OFFLINE_AGAIN, 1);
	if (!pages_in_block(f, block)) {
		/* Then they are among the rest of the pool. */
		first = fd;
		fd = create_file(f, 10, SZ_2M, OFFLINE_REST);
		fill_pages(f, fd, 0, OFFLINE_REST, 1);
		close(first);
	}
	if (!pages_in_block(f, block))
		ksft_exit_fail_msg("no page is in block %llu again\n", block);
	pfn = block * block_size() / getpagesize();

	session = new_session("offline");
	preserve(session, f, fd);
	/* It has moved those out of CMA. */
	note_frames(f, fd);
	if (!pages_in_block(f, block))
		ksft_exit_fail_msg("no page is in block %llu still\n", block);
	/* It waits for pages that it thinks can be moved. */
	check_eq("taking preserved pages away", take_offline(pfn, OFFLINE_SHORT), -EINTR);
	check_file(f, fd);
	while_frozen(session, fd, offline_frozen, pfn);
	check_file(f, fd);
	close(session);

	/* Nothing holds them any longer. */
	check_eq("taking them away afterwards",
		 take_offline(pfn, OFFLINE_LONG), 0);
	note_frames(f, fd);
	check_eq("pages in the block", pages_in_block(f, block), 0);
	session = new_session("offline");
	preserve(session, f, fd);
	note_frames(f, fd);
	live_update(OFFLINE_ARGS);
}

static void offline_2(void)
{
	struct file_state *f = &state.files[0];
	int session, fds[MAX_FILES];
	__u32 i;

	load_state();
	/* What nobody has asked for yet is not to be moved at all. */
	for (i = 0; i < f->nr; i++) {
		int err;

		if (i && block_of(f->pages[i].pfn) == block_of(f->pages[i - 1].pfn))
			continue;
		/* EINVAL is for a block with a hole in it. */
		err = take_offline(f->pages[i].pfn, OFFLINE_SHORT);
		check(err == -EBUSY || err == -EINVAL,
		      "taking announced memory away is %d", err);
	}
	session = take_session("offline");
	retrieve_all(session, fds);
	/* From here on the pages are like any others. */
	finish(session);
	check(find_block(f, fds[0]), "no memory can be taken away");
	note_frames(f, fds[0]);
	check_file(f, fds[0]);
	close_all(fds);
}

/* --- private: copies are their process's, the pages are the file's --- */

#define PRIVATE_ARGS	"hugepages=32"
#define PRIVATE_PAGES	8
#define PRIVATE_SEED	0x70726976617465ULL

/* Another process, with the same file mapped. */
static void write_as_child(struct file_state *f, int fd, __u64 index)
{
	__u64 seed = page_seed(f, index) ^ PRIVATE_SEED;
	pid_t pid = fork();
	int status;
	void *addr;

	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		addr = map_any_page(fd, SZ_2M, index);
		if (!addr)
			_exit(1);
		write_pattern(addr, SZ_2M, seed);
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid && !status, "a child's status is %x",
	      status);
	note_page(f, fd, index, seed);
}

static void write_copy(void *mapped, __u64 index)
{
	write_pattern(mapped + index * SZ_2M, SZ_2M, PRIVATE_SEED + index);
}

static void check_copy(const void *mapped, __u64 index)
{
	long diff = compare_pattern(mapped + index * SZ_2M, SZ_2M,
				    PRIVATE_SEED + index);

	check(diff < 0, "the copy of page %llu differs at %ld", index, diff);
}

static void private_1(void)
{
	struct file_state *f = new_file_state();
	int session, fd, ends[2];
	struct iovec iov;
	void *mapped;

	fd = create_file(f, 10, SZ_2M, PRIVATE_PAGES);
	fill_pages(f, fd, 0, 4, 0);
	mapped = mmap(NULL, PRIVATE_PAGES * SZ_2M, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE, fd, 0);
	if (mapped == MAP_FAILED)
		fail_exit("mmap");
	check_eq("resv_hugepages",
		 pool_number(SZ_2M, ANY_NODE, "resv_hugepages"), PRIVATE_PAGES);
	/* A copy of a page, and one of a hole. */
	write_copy(mapped, 0);
	write_copy(mapped, 5);
	write_as_child(f, fd, 1);
	/* And a page that the kernel itself holds: it sits in a pipe. */
	iov.iov_base = mapped + 3 * SZ_2M;
	iov.iov_len = 4096;
	if (pipe(ends) || syscall(__NR_vmsplice, ends[1], &iov, 1, 0) != 4096)
		fail_exit("vmsplice");

	/* What a private mapping has reserved is not the file's. */
	session = new_session("private");
	preserve(session, f, fd);
	check_file(f, fd);
	check_copy(mapped, 0);
	check_copy(mapped, 5);
	write_copy(mapped, 2);
	write_copy(mapped, 6);
	write_as_child(f, fd, 7);
	check_file(f, fd);
	/* Nobody reads the pipe: it holds the page until the CPUs stop. */
	check_pool(SZ_2M, ANY_NODE, 32, 32 - 5 - 4, 0);
	check_eq("resv_hugepages",
		 pool_number(SZ_2M, ANY_NODE, "resv_hugepages"),
		 PRIVATE_PAGES - 4);
	live_update(PRIVATE_ARGS);
}

static void private_2(void)
{
	struct file_state *f = &state.files[0];
	int session, fds[MAX_FILES];
	char *mapped;

	/* The copies have ended with their process. */
	load_state();
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	session = take_session("private");
	retrieve_all(session, fds);
	finish(session);
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);

	mapped = mmap(NULL, PRIVATE_PAGES * SZ_2M, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE, fds[0], 0);
	if (mapped == MAP_FAILED)
		fail_exit("mmap");
	write_copy(mapped, 0);
	write_copy(mapped, 4);
	check_copy(mapped, 0);
	check_copy(mapped, 4);
	check_file(f, fds[0]);
	check_pool(SZ_2M, ANY_NODE, 32, 32 - 5 - 2, 0);
	munmap(mapped, PRIVATE_PAGES * SZ_2M);
	check_file(f, fds[0]);
	close_all(fds);
	check_pools_free(SZ_2M, 16, 16);
}

/* --- pinned: a device has pages of the file, whatever becomes of the update --- */

#define PINNED_ARGS	"hugepages=32"
#define PINNED_PAGES	6
/* The first ones are the device's before the file is preserved, and one after. */
#define PINNED_EARLY	2
#define PINNED_AFTER	3
#define PINNED_HOLE	5
#define PINNED_SEED	0x70696e6e6564ULL

static int add_seals(int fd, unsigned int seals)
{
	return sys_fcntl(fd, F_ADD_SEALS, seals) ? -errno : 0;
}

/*
 * Pages of a file for a device that programs play themselves: pinned for as long
 * as the buffer is there.
 *
 * Return: its descriptor or -errno.
 */
static int pin_pages(int fd, __u64 first, __u64 nr)
{
	struct udmabuf_create create = {
		.memfd = fd,
		.offset = first * SZ_2M,
		.size = nr * SZ_2M,
	};
	int device = open("/dev/udmabuf", O_RDWR), buffer;

	if (device < 0)
		fail_exit("/dev/udmabuf");
	buffer = ioctl(device, UDMABUF_CREATE, &create);
	if (buffer < 0)
		buffer = -errno;
	close(device);

	return buffer;
}

static int check_pin_pages(int fd, __u64 first, __u64 nr)
{
	int buffer = pin_pages(fd, first, nr);

	if (buffer < 0)
		ksft_exit_fail_msg("pinning page %llu: %s\n", first,
				   strerror(-buffer));

	return buffer;
}

/* As the device, which knows pages and no file. */
static void write_as_device(int buffer, __u64 nth, __u64 seed)
{
	void *addr = mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE, MAP_SHARED,
			  buffer, nth * SZ_2M);

	if (addr == MAP_FAILED)
		fail_exit("mmap of a buffer");
	write_pattern(addr, SZ_2M, seed);
	munmap(addr, SZ_2M);
}

static void write_while_frozen(__u64 buffer)
{
	write_as_device(buffer, 1, PINNED_SEED);
}

/* A file of which no page is mapped is sealed unless one of them is pinned. */
static void check_pinned(int fd)
{
	check_eq("sealing a file with pinned pages against writing",
		 add_seals(fd, F_SEAL_WRITE), -EBUSY);
}

/* What the update has pinned it lets go, and the device's pins it does not. */
static void check_pins_apart(void)
{
	struct file_state f;
	int session = new_session("apart"), fd, buffer;

	fd = create_file(&f, 20, SZ_2M, 1);
	fill_page(&f, fd, 0, 1);
	check_eq("F_SEAL_SHRINK", add_seals(fd, F_SEAL_SHRINK), 0);
	buffer = check_pin_pages(fd, 0, 1);
	preserve(session, &f, fd);
	close(session);
	check_pinned(fd);
	session = new_session("apart");
	preserve(session, &f, fd);
	close(buffer);
	check_pinned(fd);
	close(session);
	check_eq("sealing it", add_seals(fd, F_SEAL_WRITE), 0);
	close(fd);
}

static void pinned_1(void)
{
	struct file_state *f = new_file_state();
	int session, fd, early, after;

	check_pins_apart();
	fd = create_file(f, 10, SZ_2M, PINNED_PAGES);
	fill_pages(f, fd, 0, 4, 1);
	check_eq("F_SEAL_SHRINK", add_seals(fd, F_SEAL_SHRINK), 0);
	f->seals = F_SEAL_SHRINK;
	early = check_pin_pages(fd, 0, PINNED_EARLY);
	/* This may have moved them. */
	note_frames(f, fd);
	session = new_session("pinned");
	preserve(session, f, fd);
	check_file(f, fd);
	check_eq("pinning a hole", pin_pages(fd, PINNED_HOLE, 1), -EBUSY);
	after = check_pin_pages(fd, PINNED_AFTER, 1);

	/* Called off when it is frozen, and then altogether. */
	load_kernel(PINNED_ARGS);
	while_frozen(session, fd, write_while_frozen, early);
	note_page(f, fd, 1, PINNED_SEED);
	check_file(f, fd);
	close(session);
	check_pinned(fd);
	write_as_device(early, 0, PINNED_SEED + 1);
	note_page(f, fd, 0, PINNED_SEED + 1);
	check_file(f, fd);

	/* This time it is meant. The device goes on until the CPUs stop. */
	session = new_session("pinned");
	preserve(session, f, fd);
	write_as_device(early, 1, PINNED_SEED + 2);
	note_page(f, fd, 1, PINNED_SEED + 2);
	write_as_device(after, 0, PINNED_SEED + 3);
	note_page(f, fd, PINNED_AFTER, PINNED_SEED + 3);
	check_file(f, fd);
	live_update(PINNED_ARGS);
}

static void pinned_2(void)
{
	struct file_state *f = &state.files[0];
	int session, fds[MAX_FILES], buffer;

	load_state();
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	session = take_session("pinned");
	retrieve_all(session, fds);
	/* The device has the same page frames again. */
	buffer = check_pin_pages(fds[0], 0, PINNED_EARLY);
	check_file(f, fds[0]);
	write_as_device(buffer, 0, PINNED_SEED);
	note_page(f, fds[0], 0, PINNED_SEED);
	check_file(f, fds[0]);
	finish(session);
	check_pinned(fds[0]);
	/* Its pins are all that there are. */
	close(buffer);
	check_eq("sealing it", add_seals(fds[0], F_SEAL_WRITE), 0);
	f->seals |= F_SEAL_WRITE;
	check_file(f, fds[0]);
	close_all(fds);
	check_pools_free(SZ_2M, 16, 16);
}

/* --- five_updates: files grow and shrink, some are given up on the way --- */

#define FIVE_ARGS	"nokaslr hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=640"
/*
 * In kB. What the kernel allocates first avoids every GiB that something preserved
 * lies in, and may fill its last page or not.
 */
#define TOTAL_SLACK	8
/* Files by their place in the state. */
enum { GROWING, SHRINKING, GIGANTIC, LARGE, PASSING, NR_FIVE };
#define LARGE_PAGES	300
/* At first every tenth is a hole. */
#define LARGE_HOLES	10

/* What a page of a table has room for: see include/linux/kho/abi/hugetlb.h. */
#define RUN_SIZE	16
#define BLOCK_HEADER	20

/*
 * In kB: a record, an owner, who is the same for all pages, and runs, where a page
 * that continues the one before it in the file and in memory begins none.
 */
static long table_size(const struct file_state *f)
{
	long page = getpagesize(), runs = f->nr, in_block;
	__u64 step = f->page_size / page;
	__u32 i, j;

	for (i = 0; i < f->nr; i++)
		for (j = 0; j < f->nr; j++)
			if (f->pages[i].index + 1 == f->pages[j].index &&
			    f->pages[i].pfn + step == f->pages[j].pfn)
				runs--;
	in_block = (page - BLOCK_HEADER) / RUN_SIZE;
	ksft_print_msg("file %llu has %u pages in %ld runs\n", f->token, f->nr,
		       runs);

	return (2 + (runs + in_block - 1) / in_block) * (page >> 10);
}

/*
 * Files take as much as they would if they had never been handed over, however
 * often and in however many parts that was. What KHO's tree and others need in
 * addition is there when they have been preserved before, and what the kernel does
 * beside it comes and goes: once is enough, for each.
 */
static void check_tables(const int *fds)
{
	long taken[PASSING], size[PASSING], free;
	bool seen[PASSING] = {};
	int round, session, nr_seen = 0, i;

	for (i = 0; i < PASSING; i++)
		size[i] = table_size(&state.files[i]);
	for (round = 0; round < 8 && nr_seen < PASSING - 1; round++) {
		session = new_session("tables");
		for (i = 0; i < PASSING; i++) {
			free = free_and_slab();
			preserve(session, &state.files[i], fds[i]);
			taken[i] = free - free_and_slab();
			seen[i] |= taken[i] == size[i];
		}
		close(session);
		nr_seen = 0;
		for (i = GROWING + 1; i < PASSING; i++)
			nr_seen += seen[i];
	}
	/* The first one's includes what the session takes. */
	for (i = GROWING + 1; i < PASSING; i++)
		check(seen[i], "the table of file %llu took %ld kB, should be %ld",
		      state.files[i].token, taken[i], size[i]);
}

static long memory_total;

static void check_total(void)
{
	long total = memory_number("MemTotal:"), first = 0;
	char value[32];

	if (cmdline_word("luo_total=", value, sizeof(value))) {
		first = atol(value);
		check(labs(total - first) <= TOTAL_SLACK,
		      "MemTotal is %ld, should be %ld", total, first);
	}
	/* Always the same one: growth by a page a time would be too little to see. */
	memory_total = first ? first : total;
}

static void check_five(void)
{
	check_pools_in_use(SZ_2M, 320, 320, 0, 0);
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
}

static void preserve_five(const int *fds)
{
	struct file_state *passing = &state.files[PASSING];
	int session, other, fd, i;
	char args[128];

	check_tables(fds);
	session = new_session("five");
	other = new_session("other");

	for (i = 0; i < PASSING; i++)
		preserve(session, &state.files[i], fds[i]);
	/* One that nobody will ask for. */
	state.nr_files = NR_FIVE;
	fd = create_file(passing, 20 + stage, SZ_2M, 4);
	fill_pages(passing, fd, 0, stage < 4 ? stage : 4, stage & 1);
	preserve(other, passing, fd);
	/* While it is under way, too. */
	fill_page(&state.files[GROWING], fds[GROWING], 8 + 2 * stage,
		  stage & 1);
	for (i = 0; i < LARGE_PAGES; i += LARGE_HOLES)
		if (i / LARGE_HOLES % 5 == stage % 5)
			fill_page(&state.files[LARGE], fds[LARGE], i, ANY_NODE);
	check_five();
	snprintf(args, sizeof(args), FIVE_ARGS " luo_%s=%ld",
		 stage > 1 ? "total" : "none", memory_total);
	live_update(args);
}

static void five_updates_1(void)
{
	int fds[NR_FIVE], i;

	state.nr_files = PASSING;
	fds[GROWING] = create_file(&state.files[GROWING], 10, SZ_2M, 20);
	fill_pages(&state.files[GROWING], fds[GROWING], 0, 4, 0);
	fds[SHRINKING] = create_file(&state.files[SHRINKING], 11, SZ_2M, 16);
	fill_pages(&state.files[SHRINKING], fds[SHRINKING], 0, 16, 1);
	fds[GIGANTIC] = create_file(&state.files[GIGANTIC], 12, SZ_1G, 2);
	fill_page(&state.files[GIGANTIC], fds[GIGANTIC], 1, 1);
	fds[LARGE] = create_file(&state.files[LARGE], 13, SZ_2M, LARGE_PAGES);
	for (i = 0; i < LARGE_PAGES; i++)
		if (i % LARGE_HOLES)
			fill_page(&state.files[LARGE], fds[LARGE], i,
				  i < LARGE_PAGES / 2);
	preserve_five(fds);
}

/* All others: from the second to the last. */
static void take_five(int *fds)
{
	struct file_state *f = state.files;
	int session, i;

	load_state();
	check_five();
	session = take_session("five");
	for (i = PASSING - 1; i >= 0; i--) {
		fds[i] = retrieve(session, &f[i]);
		check_file(&f[i], fds[i]);
	}
	check_eq("preserving before finish",
		 luo_session_preserve_fd(new_session("early"), fds[GROWING], 9),
		 -EBUSY);
	finish(session);
	check_five();
	/* Its pages go to the pool. */
	finish(take_session("other"));
	state.nr_files = PASSING;
	check_five();
	/* What is missing of it, if anything, is no more each time. */
	check_total();

	check_eq("growing",
		 truncate_to(&f[GROWING], fds[GROWING], 20 + 4 * stage), 0);
	fill_page(&f[GROWING], fds[GROWING], 19 + 4 * stage, stage & 1);
	fill_page(&f[GROWING], fds[GROWING], stage, ANY_NODE);
	check_eq("shrinking",
		 truncate_to(&f[SHRINKING], fds[SHRINKING], 16 - 2 * stage), 0);
	check_eq("punching a hole",
		 punch(&f[SHRINKING], fds[SHRINKING], stage), 0);
	fill_page(&f[GIGANTIC], fds[GIGANTIC], 1, ANY_NODE);
	/* Nothing was done to the large one. */
	for (i = 0; i < LARGE; i++)
		check_file(&f[i], fds[i]);
	check_five();
}

static void five_updates_n(void)
{
	int fds[NR_FIVE];

	take_five(fds);
	if (stage < test->nr_stages)
		preserve_five(fds);
	close_all(fds);
	check_pools_free(SZ_2M, 320, 320);
	check_pools_free(SZ_1G, 1, 1);
}

/* --- seals: all that there are, and what they forbid --- */

#define SEALS_ARGS	"hugepages=32"

static const struct {
	unsigned int flags;
	unsigned int seals;
	/* What those and the flags come to. */
	unsigned int all;
	unsigned int mode;
} sealed[] = {
	{ 0, 0, F_SEAL_SEAL, 0777 },
	{ MFD_ALLOW_SEALING, 0, 0, 0777 },
	{ MFD_ALLOW_SEALING, F_SEAL_SHRINK | F_SEAL_SEAL,
	  F_SEAL_SHRINK | F_SEAL_SEAL, 0777 },
	{ MFD_ALLOW_SEALING, F_SEAL_GROW | F_SEAL_FUTURE_WRITE,
	  F_SEAL_GROW | F_SEAL_FUTURE_WRITE, 0777 },
	{ MFD_ALLOW_SEALING, F_SEAL_WRITE, F_SEAL_WRITE, 0777 },
	/* Who may execute it may not write to it. */
	{ MFD_ALLOW_SEALING, F_SEAL_EXEC,
	  F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
	  F_SEAL_FUTURE_WRITE, 0777 },
	{ MFD_NOEXEC_SEAL, 0, F_SEAL_EXEC, 0666 },
	{ MFD_NOEXEC_SEAL,
	  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE |
	  F_SEAL_SEAL,
	  F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
	  F_SEAL_FUTURE_WRITE | F_SEAL_SEAL, 0666 },
};

static int try_map_writable(int fd)
{
	void *addr = mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (addr == MAP_FAILED)
		return -errno;
	munmap(addr, SZ_2M);

	return 0;
}

static void seals_1(void)
{
	int session = new_session("seals"), fds[MAX_FILES];
	__u32 i;

	for (i = 0; i < ARRAY_SIZE(sealed); i++) {
		struct file_state *f = new_file_state();

		fds[i] = sys_memfd_create("sealed", sealed[i].flags | MFD_HUGETLB |
					  21U << MFD_HUGE_SHIFT);
		if (fds[i] < 0 || ftruncate(fds[i], 2 * SZ_2M))
			fail_exit("memfd_create");
		f->token = 10 + i;
		f->page_size = SZ_2M;
		f->size = 2 * SZ_2M;
		f->mode = sealed[i].mode;
		fill_page(f, fds[i], 1, i & 1);
		if (sealed[i].seals)
			check_eq("F_ADD_SEALS",
				 add_seals(fds[i], sealed[i].seals), 0);
		f->seals = sealed[i].all;
		preserve(session, f, fds[i]);
		check_file(f, fds[i]);
	}
	/* The pages are pinned, which is like being written to. */
	check_eq("sealing a file that is preserved against writing",
		 add_seals(fds[1], F_SEAL_WRITE), -EBUSY);
	check_eq("another seal", add_seals(fds[1], F_SEAL_FUTURE_WRITE), 0);
	state.files[1].seals = F_SEAL_FUTURE_WRITE;
	live_update(SEALS_ARGS);
}

static void seals_2(void)
{
	int session, fds[MAX_FILES];
	__u32 i;

	load_state();
	session = take_session("seals");
	retrieve_all(session, fds);
	finish(session);
	for (i = 0; i < state.nr_files; i++) {
		struct file_state *f = &state.files[i];
		bool writable = !(f->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));

		check_eq("mapping it writable", try_map_writable(fds[i]),
			 writable ? 0 : -EPERM);
		check_eq("growing", truncate_to(f, fds[i], 3),
			 f->seals & F_SEAL_GROW ? -EPERM : 0);
		check_eq("shrinking", truncate_to(f, fds[i], 2),
			 f->seals & F_SEAL_GROW ? 0 :
			 f->seals & F_SEAL_SHRINK ? -EPERM : 0);
		check_eq("another seal", add_seals(fds[i], F_SEAL_SHRINK),
			 f->seals & F_SEAL_SEAL ? -EPERM : 0);
		if (!(f->seals & F_SEAL_SEAL))
			f->seals |= F_SEAL_SHRINK;
		check_file(f, fds[i]);
	}
	close_all(fds);
	check_pools_free(SZ_2M, 16, 16);
}

/* --- mounts: files of mounts of hugetlbfs are refused, whatever their limits --- */

#define MOUNTS_ARGS	"hugepages=0:8,1:8"

/* One with a name if @name, else one without. */
static int mount_file(const char *dir, const char *options, const char *name)
{
	char path[64];
	int fd;

	if (mkdir(dir, 0700) || mount("none", dir, "hugetlbfs", 0, options))
		fail_exit("mounting hugetlbfs with %s", options);
	snprintf(path, sizeof(path), "%s/%s", dir, name ? name : "");
	fd = open(path, O_RDWR | (name ? O_CREAT : O_TMPFILE), 0600);
	if (fd < 0)
		fail_exit("a file of %s", dir);
	if (sys_fallocate(fd, 0, 0, 2 * SZ_2M))
		fail_exit("fallocate");

	return fd;
}

static void mounts_1(void)
{
	static const char * const options[] = {
		"pagesize=2M", "pagesize=2M,size=8M", "pagesize=2M,min_size=6M",
	};
	int session = new_session("mounts"), fd, i;

	fd = preserve_full(session, 10, SZ_2M, 2, 0);
	for (i = 0; i < 2 * (int)ARRAY_SIZE(options); i++) {
		struct pool before;
		char dir[16];
		long resv;
		int other;

		snprintf(dir, sizeof(dir), "/mount%d", i);
		other = mount_file(dir, options[i / 2], i & 1 ? "file" : NULL);
		before = read_pool(SZ_2M, ANY_NODE);
		resv = pool_number(SZ_2M, ANY_NODE, "resv_hugepages");
		check_eq("preserving a file of a mount",
			 luo_session_preserve_fd(session, other, 20), -ENOENT);
		check_pool(SZ_2M, ANY_NODE, before.nr, before.free,
			   before.surplus);
		check_eq("resv_hugepages",
			 pool_number(SZ_2M, ANY_NODE, "resv_hugepages"), resv);
		/* The last one, with pages that it is sure of, stays. */
		if (i == 5)
			break;
		close(other);
		if (i & 1) {
			char path[32];

			snprintf(path, sizeof(path), "%s/file", dir);
			unlink(path);
		}
		if (umount2(dir, 0))
			fail_exit("umount %s", dir);
	}
	check_file(&state.files[0], fd);
	check_pool(SZ_2M, ANY_NODE, 16, 16 - 2 - 2, 0);
	check_eq("resv_hugepages",
		 pool_number(SZ_2M, ANY_NODE, "resv_hugepages"), 1);
	live_update(MOUNTS_ARGS);
}

static void mounts_2(void)
{
	int session, fds[MAX_FILES];

	/* The mount, what it was sure of, and its file were the old kernel's. */
	load_state();
	check_pools_in_use(SZ_2M, 8, 8, 0, 0);
	check_pool(SZ_2M, ANY_NODE, 16, 14, 0);
	check_eq("resv_hugepages",
		 pool_number(SZ_2M, ANY_NODE, "resv_hugepages"), 0);
	session = take_session("mounts");
	retrieve_all(session, fds);
	finish(session);
	close_all(fds);
	check_pools_free(SZ_2M, 8, 8);
}

/* --- free_pages: those of the pools go along, with and without a file --- */

#define FREE_ARGS	"nokaslr hugepagesz=1G hugepages=0:1 hugepagesz=2M hugepages=0:24,1:8"
#define USED_PAGES	4
#define FREE_PAGES	28
/* Which frames are free, as if a file had them. The last entry is the 1 GiB one. */
#define FREE_FRAMES	1

static void check_choice(unsigned long size, long is)
{
	check_eq("preserve_free", pool_number(size, ANY_NODE, "preserve_free"),
		 is);
}

/* They come in the order in which they are freed, which is not that of before. */
static void sort_frames(struct file_state *f)
{
	__u32 i, j;
	__u64 pfn;

	for (i = 1; i < f->nr; i++) {
		pfn = f->pages[i].pfn;
		for (j = i; j && f->pages[j - 1].pfn > pfn; j--)
			f->pages[j].pfn = f->pages[j - 1].pfn;
		f->pages[j].pfn = pfn;
	}
}

/* Take all free pages for a moment, to see which ones these are. */
static void note_free_frames(struct file_state *f)
{
	struct file_state taken;
	__u64 i;
	int fd;

	f->page_size = SZ_2M;
	f->nr = 0;
	fd = create_file(&taken, 30, SZ_2M, FREE_PAGES);
	for (i = 0; i < FREE_PAGES; i++) {
		check_eq("a free page", allocate(fd, SZ_2M, i, ANY_NODE), 0);
		f->pages[f->nr++].pfn = frame_in_file(&taken, fd, i);
	}
	check_eq("one more", allocate(fd, SZ_2M, i, ANY_NODE), -ENOSPC);
	close(fd);
	sort_frames(f);
	fd = create_file(&taken, 31, SZ_1G, 1);
	check_eq("a gigantic page", allocate(fd, SZ_1G, 0, ANY_NODE), 0);
	f->pages[f->nr++].pfn = frame_in_file(&taken, fd, 0);
	close(fd);
}

static void reboot_without_session(const char *args)
{
	load_kernel(args);
	print_pools("before");
	ksft_exit_fail_msg("live update: %s\n", strerror(-try_reboot()));
}

static void free_pages_1(void)
{
	int session = new_session("free");

	check_choice(SZ_2M, 0);
	check_choice(SZ_1G, 0);
	check_eq("a third choice",
		 set_pool(SZ_2M, ANY_NODE, "preserve_free", 2), -EINVAL);
	check_set_pool(SZ_2M, ANY_NODE, "preserve_free", 1);
	check_set_pool(SZ_1G, ANY_NODE, "preserve_free", 1);
	check_choice(SZ_2M, 1);

	preserve_full(session, 10, SZ_2M, USED_PAGES, 0);
	note_free_frames(&state.files[FREE_FRAMES]);
	check_pools_in_use(SZ_2M, 24, 8, 0, 0);
	/* Fewer on the one node, and none that is gigantic. */
	live_update("hugepages=0:8,1:8");
}

static void free_pages_2(void)
{
	int session, fds[MAX_FILES];
	struct file_state now = {};
	__u32 i;

	load_state();
	check_choice(SZ_2M, 0);
	check_pools_in_use(SZ_2M, 24, 8, 4, 0);
	check_reported_free(0, USED_PAGES, 20, 0, USED_PAGES);
	check_reported_free(1, 0, 8, 0, 0);
	check_pools_free(SZ_1G, 1, 0);
	note_free_frames(&now);
	for (i = 0; i < now.nr; i++)
		check(now.pages[i].pfn == state.files[FREE_FRAMES].pages[i].pfn,
		      "free page %u is in frame %llx, was in %llx", i,
		      now.pages[i].pfn,
		      state.files[FREE_FRAMES].pages[i].pfn);
	session = take_session("free");
	retrieve_all(session, fds);
	finish(session);
	close_all(fds);
	/* What exceeds the command line, and was in use, leaves the pool. */
	check_pools_free(SZ_2M, 20, 8);

	check_set_pool(SZ_2M, ANY_NODE, "preserve_free", 1);
	reboot_without_session("hugepages=34");
}

/* The missing ones come on top, for the sake of balance on the other node. */
static void free_pages_3(void)
{
	check_pools_free(SZ_1G, 0, 0);
	check_pools_free(SZ_2M, 20, 14);
	check_reported_free(0, 0, 20, 0, 0);
	check_reported_free(1, 0, 8, 6, 0);
	check_choice(SZ_2M, 0);
	reboot_without_session("hugepages=6");
}

static void free_pages_4(void)
{
	check_pools_free(SZ_2M, 3, 3);
}

/* --- free_pages_churn: pages enter and leave the pools while they are collected --- */

/* Where the kernel lies has an effect on how much memory there is. */
#define CHURN_ARGS	"nokaslr hugepagesz=1G hugepages=1:1 hugepagesz=2M hugepages=0:1024,1:256"
/* There are enough of them for collecting to take longer than one that moves. */
static const long churn_low[NR_NODES] = { 1024, 256 };
static const long churn_high[NR_NODES] = { 1088, 320 };
static const long churn_used[NR_NODES] = { 4, 1 };
#define CHURN_MAPPED	8
/* More than what moves at a time, and what has come to lie in CMA by moving. */
#define CHURN_MOVING	256
#define CHURN_PIECES	(SZ_1G / SZ_2M)
#define COUNTERS_TOKEN	21
/* In kB. */
#define CHURN_REST	512
#define CONSOLE_LEVEL	8
#define NR_REPORTED	4

enum { RESIZER, SPLITTER, MAPPER, ALLOCATOR, NR_CHURNERS };

/* In a page that is handed over, so that the next kernel knows how far they got. */
struct churn {
	__u64 rounds[NR_CHURNERS];
	__u64 steps[NR_CHURNERS];
	/* When freezing was let go on, just before pages are collected. */
	__u64 before[NR_CHURNERS];
};

static struct churn *churn;
static pid_t churners[NR_CHURNERS], watcher;
/* Which one this process is. */
static int churner;

static void stay_on_cpu(int cpu)
{
	unsigned long mask = 1UL << cpu;

	if (syscall(__NR_sched_setaffinity, 0, sizeof(mask), &mask))
		fail_exit("sched_setaffinity %d", cpu);
}

static void set_churned_pool(unsigned long size, int nid, const char *name, long nr)
{
	check_set_pool(size, nid, name, nr);
	churn->steps[churner]++;
}

static void resize_pools(void)
{
	int nid;

	for (nid = 0; nid < NR_NODES; nid++) {
		set_churned_pool(SZ_2M, nid, "nr_hugepages", churn_low[nid]);
		set_churned_pool(SZ_2M, nid, "nr_hugepages", churn_high[nid]);
	}
}

/* If there is one to be had again; its pieces may lie anywhere by then. */
static void split_page(void)
{
	set_churned_pool(SZ_1G, 1, "demote", 1);
	set_churned_pool(SZ_2M, 1, "nr_hugepages", churn_low[1]);
	set_churned_pool(SZ_1G, 1, "nr_hugepages", 1);
}

/* At the beginning of each piece: whoever shares a page with somebody shares that. */
#define MARK_SIZE	4096

static void write_marks(void *addr, __u64 size, __u64 seed)
{
	__u64 at;

	for (at = 0; at < size; at += SZ_2M)
		write_pattern(addr + at, MARK_SIZE, seed + at);
}

static void check_marks(const void *addr, __u64 size, __u64 seed)
{
	long diff;
	__u64 at;

	for (at = 0; at < size; at += SZ_2M) {
		diff = compare_pattern(addr + at, MARK_SIZE, seed + at);
		check(diff < 0, "what was written at %llu differs at %ld", at,
		      diff);
	}
}

static void *map_memory(int fd, size_t size)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_NORESERVE;
	void *addr = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (addr == MAP_FAILED)
		fail_exit("mmap");

	return addr;
}

/* Of a file, or, with @fd < 0, of nobody: somebody has to have what leaves pools. */
static void use_pages(int fd, __u64 seed)
{
	void *addr = map_memory(fd, CHURN_MAPPED * SZ_2M);
	int i;

	bind_to_node(seed & 1);
	for (i = 0; i < CHURN_MAPPED; i++) {
		write_marks(addr + i * SZ_2M, SZ_2M, seed + i * SZ_2M);
		churn->steps[churner]++;
	}
	check_marks(addr, CHURN_MAPPED * SZ_2M, seed);
	munmap(addr, CHURN_MAPPED * SZ_2M);
}

static void run_churner(void)
{
	struct file_state unused;
	int fd;

	stay_on_cpu(1);
	while (!nr_failures) {
		__u64 seed = churn->rounds[churner] + 1;

		switch (churner) {
		case RESIZER:
			resize_pools();
			break;
		case SPLITTER:
			split_page();
			break;
		case MAPPER:
			fd = create_file(&unused, 30, SZ_2M, CHURN_MAPPED);
			use_pages(fd, seed);
			close(fd);
			break;
		case ALLOCATOR:
			use_pages(-1, seed);
			break;
		}
		churn->rounds[churner]++;
	}
}

/* Of 10 ms: less than a test may take. */
#define MAX_TRIES	20000
/* More than a pool is resized in, or a page split and made anew. */
#define CHURN_STEPS	5

/* Holds the reboot up until all of them have been at work meanwhile. */
static void watch_churn(long calls)
{
	__u64 steps[NR_CHURNERS];
	int i, tries = 0;

	for (; read_number(FREEZE_CALLS) == calls && tries < MAX_TRIES; tries++)
		usleep(10000);
	memcpy(steps, churn->steps, sizeof(steps));
	for (i = 0; i < NR_CHURNERS; i++) {
		for (; churn->steps[i] < steps[i] + CHURN_STEPS && tries < MAX_TRIES; tries++)
			usleep(10000);
		check(churn->steps[i] >= steps[i] + CHURN_STEPS,
		      "process %d is stuck", i);
	}
	/* Whatever else is going on, it moves pages while they are collected. */
	if (syscall(__NR_setpriority, 0, churners[RESIZER], -10))
		fail_exit("setpriority");
	memcpy(churn->before, churn->steps, sizeof(churn->before));
	check_eq("freeze_hold", write_number(FREEZE_HOLD, 0), 0);
}

/* Return: why the reboot failed. */
static int reboot_amid_churn(void)
{
	long calls = read_number(FREEZE_CALLS);
	pid_t pid;
	int i;

	memset(churn, 0, sizeof(*churn));
	check_eq("freeze_hold", write_number(FREEZE_HOLD, 1), 0);
	for (i = 0; i <= NR_CHURNERS; i++) {
		pid = fork();
		if (pid < 0)
			fail_exit("fork");
		if (!pid) {
			churner = i;
			if (i < NR_CHURNERS)
				run_churner();
			else
				watch_churn(calls);
			_exit(nr_failures);
		}
		if (i < NR_CHURNERS)
			churners[i] = pid;
		else
			watcher = pid;
	}
	stay_on_cpu(0);

	return try_reboot();
}

static void stop_churn(void)
{
	int i, status;

	check(waitpid(watcher, &status, 0) == watcher && !status,
	      "who watches ended with status %x", status);
	for (i = 0; i < NR_CHURNERS; i++) {
		kill(churners[i], SIGKILL);
		check(waitpid(churners[i], &status, 0) == churners[i] &&
		      status == SIGKILL,
		      "process %d ended by itself, with status %x", i, status);
	}
}

static void check_churned(void)
{
	int i;

	for (i = 0; i < NR_CHURNERS; i++) {
		ksft_print_msg("churn %d: %llu rounds, %llu steps, and %llu at the end\n",
			       i, churn->rounds[i], churn->before[i],
			       churn->steps[i] - churn->before[i]);
		check(churn->steps[i] >= CHURN_STEPS, "process %d did %llu steps",
		      i, churn->steps[i]);
	}
}

static void map_counters(int fd)
{
	churn = map_any_page(fd, SZ_2M, 0);
	if (!churn)
		fail_exit("mmap");
}

/* Every free page at the same time, so that those that lie in each other show. */
static void use_free_pages(void)
{
	struct file_state unused;
	void *addr[NR_SIZES];
	int fds[NR_SIZES], i;
	long nr[NR_SIZES], surplus;

	for (i = 0; i < NR_SIZES; i++) {
		nr[i] = read_pool(page_sizes[i], ANY_NODE).free;
		fds[i] = create_file(&unused, 40, page_sizes[i], nr[i] + 1);
		addr[i] = map_memory(fds[i], (nr[i] + 1) * page_sizes[i]);
		write_marks(addr[i], nr[i] * page_sizes[i], page_sizes[i]);
		check_eq("one more",
			 allocate(fds[i], page_sizes[i], nr[i], ANY_NODE),
			 -ENOSPC);
	}
	for (i = 0; i < NR_SIZES; i++)
		check_marks(addr[i], nr[i] * page_sizes[i], page_sizes[i]);
	for (i = 0; i < NR_SIZES; i++) {
		/* As many leave the pool when they are free. */
		surplus = read_pool(page_sizes[i], ANY_NODE).surplus;
		munmap(addr[i], (nr[i] + 1) * page_sizes[i]);
		close(fds[i]);
		check_eq("free pages", read_pool(page_sizes[i], ANY_NODE).free,
			 nr[i] - surplus);
	}
}

/* What the log says that came of that order to that node, allocated, surplus. */
static void read_reported(unsigned int order, int nid, long *nr)
{
	static char log[1 << 18];
	char start[64], *line;
	int len, i;

	len = syscall(__NR_syslog, READ_ALL_OF_LOG, log, sizeof(log) - 1);
	if (len < 0)
		fail_exit("syslog");
	log[len] = 0;
	memset(nr, 0, NR_REPORTED * sizeof(*nr));
	snprintf(start, sizeof(start), "order %u, node %d: ", order, nid);
	line = strstr(log, start);
	if (!line)
		return;
	line += strlen(start);
	for (i = 0; i < NR_REPORTED; i++) {
		nr[i] = strtol(line, &line, 10);
		while (*line > '\n' && (*line < '0' || *line > '9'))
			line++;
	}
}

/*
 * The pools are what came, no more than could be in them when pages were
 * collected, and not much less: pages are taken from that end of a free list that
 * they are put to, so that most of them never leave.
 */
static void check_came(void)
{
	long nr[NR_REPORTED], gigantic = 0, huge = 0, used = churn_used[0] + churn_used[1];
	int nid;

	for (nid = 0; nid < NR_NODES; nid++) {
		read_reported(9, nid, nr);
		check_eq("pages in use that came", nr[0], churn_used[nid]);
		check_eq("allocated", nr[2], 0);
		check_eq("surplus", nr[3], churn_used[nid]);
		check_pool(SZ_2M, nid, churn_used[nid] + nr[1], nr[1],
			   churn_used[nid]);
		check(nr[1] <= churn_high[nid] - churn_used[nid] + (nid ? CHURN_PIECES : 0),
		      "%ld free pages came to node %d", nr[1], nid);
		/* Making a gigantic page puts others in the place of some. */
		check(nr[1] >= (nid ? 1 : churn_low[nid] - CHURN_MOVING),
		      "%ld free pages came to node %d", nr[1], nid);
		huge += churn_used[nid] + nr[1];

		read_reported(18, nid, nr);
		check_eq("gigantic pages in use", nr[0], 0);
		check_pool(SZ_1G, nid, nr[1], nr[1], 0);
		check(nr[1] <= nid, "%ld gigantic pages came to node %d", nr[1],
		      nid);
		gigantic += nr[1];
	}
	check_pool(SZ_2M, ANY_NODE, huge, huge - used, used);
	check_pool(SZ_1G, ANY_NODE, gigantic, gigantic, 0);
	check_eq("Hugetlb", memory_number("Hugetlb:"),
		 (huge * SZ_2M + gigantic * SZ_1G) / 1024);
}

static void preserve_churn(const int *fds)
{
	int session = new_session("churn");

	preserve(session, &state.files[0], fds[0]);
	preserve_fd(session, COUNTERS_TOKEN, fds[1]);
	preserve_test_file(session);
	save_state();
	check_set_pool(SZ_2M, ANY_NODE, "preserve_free", 1);
	check_set_pool(SZ_1G, ANY_NODE, "preserve_free", 1);
	/* The serial log is to tell which pages are left out. */
	if (syscall(__NR_syslog, CONSOLE_LEVEL, NULL, 7))
		fail_exit("syslog");
}

static void take_churn(int *fds)
{
	int session;

	load_state();
	check_came();
	session = take_session("churn");
	close(retrieve_fd(session, TEST_FILE_TOKEN));
	fds[0] = retrieve(session, &state.files[0]);
	fds[1] = retrieve_fd(session, COUNTERS_TOKEN);
	finish(session);
	check_file(&state.files[0], fds[0]);
	map_counters(fds[1]);
	check_churned();
	use_free_pages();
	check_file(&state.files[0], fds[0]);
}

static void update_amid_churn(void)
{
	char args[64];

	/* Not of the first kernel, which KHO did not boot. */
	snprintf(args, sizeof(args), "nokaslr luo_%s=%ld",
		 stage > 1 ? "total" : "none", memory_number("MemTotal:"));
	load_kernel(args);
	ksft_exit_fail_msg("live update: %s\n", strerror(-reboot_amid_churn()));
}

static void free_pages_churn_1(void)
{
	struct file_state *f = new_file_state(), counters;
	int fds[2], nid;

	fds[0] = create_file(f, 10, SZ_2M, churn_used[0]);
	fill_pages(f, fds[0], 0, churn_used[0], 0);
	fds[1] = create_file(&counters, COUNTERS_TOKEN, SZ_2M, 1);
	fill_page(&counters, fds[1], 0, 1);
	map_counters(fds[1]);
	preserve_churn(fds);

	/* Nothing comes of it if the update fails. */
	load_kernel("");
	check_eq("freeze_error", write_number(FREEZE_ERROR, EIO), 0);
	check_eq("reboot", reboot_amid_churn(), -EIO);
	stop_churn();
	unload_kernel();
	for (nid = 0; nid < NR_NODES; nid++) {
		check_set_pool(SZ_2M, nid, "nr_hugepages", churn_low[nid]);
		check_pool(SZ_2M, nid, churn_low[nid],
			   churn_low[nid] - churn_used[nid], 0);
	}
	use_free_pages();
	check_file(f, fds[0]);

	check_eq("freeze_error", write_number(FREEZE_ERROR, 0), 0);
	update_amid_churn();
}

/* What came is handed over in turn. */
static void free_pages_churn_2(void)
{
	int fds[2];

	take_churn(fds);
	check_total();
	preserve_churn(fds);
	update_amid_churn();
}

static void free_pages_churn_3(void)
{
	long free;
	int fds[2], i;

	take_churn(fds);
	check_total();
	munmap(churn, SZ_2M);
	for (i = 0; i < 2; i++)
		close(fds[i]);
	/* All of it can be the page allocator's again. */
	free = free_and_slab() + memory_number("Hugetlb:");
	for (i = 0; i < NR_SIZES; i++) {
		check_set_pool(page_sizes[i], ANY_NODE, "nr_hugepages", 0);
		check_pools_free(page_sizes[i], 0, 0);
	}
	check_eq("Hugetlb", memory_number("Hugetlb:"), 0);
	i = free_and_slab() - free;
	check(labs(i) < CHURN_REST, "%d kB more are free than should be", i);
}

/* --- free_missing_size: free pages come to a CPU without 1 GiB pages --- */

static void free_missing_size_1(void)
{
	check_set_pool(SZ_2M, ANY_NODE, "preserve_free", 1);
	check_set_pool(SZ_1G, ANY_NODE, "preserve_free", 1);
	reboot_without_session("clearcpuid=pdpe1gb hugepages=0:24,1:8");
}

static void free_missing_size_2(void)
{
	check_pools_free(SZ_2M, 24, 8);
	check_reported_free(0, 0, 24, 0, 0);
	check_reported_free(1, 0, 8, 0, 0);
	check(kernel_said("1 preserved pages of order 18 on node 0 cannot be claimed"),
	      "nobody was told");
	/* Nobody can ask for it, and nobody gets it. */
	load_kernel("hugepages=32");
	check_eq("reboot", try_reboot(), -EBUSY);
}

/* --- free_not_wanted: free pages come to a kernel that has live update off --- */

static void free_not_wanted_1(void)
{
	check_set_pool(SZ_2M, ANY_NODE, "preserve_free", 1);
	reboot_without_session("liveupdate=off hugepages=0:24,1:8");
}

static void free_not_wanted_2(void)
{
	check_pools_free(SZ_2M, 24, 8);
	check_eq("preserve_free",
		 set_pool(SZ_2M, ANY_NODE, "preserve_free", 1), -EOPNOTSUPP);
	/* Nobody can ask for them, and nobody gets them. */
	load_kernel("hugepages=32");
	check_eq("reboot", try_reboot(), -EBUSY);
}

/* --- hvo: page structures that are optimized away, on either side --- */

#define HVO_POOLS	"hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=64"
#define HVO_ON		"hugetlb_free_vmemmap=on " HVO_POOLS
#define HVO_OFF		"hugetlb_free_vmemmap=off " HVO_POOLS

#define OPTIMIZE	"/proc/sys/vm/hugetlb_optimize_vmemmap"

/* Of the 8 pages, or 4096, with the page structures of one, all but one. */
#define FREED_2M	7
#define FREED_1G	4095

/*
 * In kB, of what retrieving the files may take besides slabs. Others take memory
 * meanwhile, up to a hundred. The page structures would be 17,000.
 */
#define HVO_REST	256

static void check_hvo_pools(int on)
{
	check_eq(OPTIMIZE, read_number(OPTIMIZE), on);
	check_pools_in_use(SZ_1G, 1, 1, 0, 0);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
}

/* The free pages are those of the kernel before: none was allocated. */
static void check_hvo_free(void)
{
	int nid;

	for (nid = 0; nid < NR_NODES; nid++) {
		struct pool pool = read_pool(SZ_2M, nid);

		check_reported_free(nid, pool.nr - pool.free, pool.free, 0, 0);
	}
	check(kernel_said("order 18, node 0: 0 preserved pages in use, 1 free, 0 allocated"),
	      "the free page of 1 GiB did not come");
}

/* Pages that page structures take. */
static long memmap_pages(void)
{
	static const char * const names[] = {
		"\nnr_memmap_pages ", "\nnr_memmap_boot_pages "
	};
	static char buf[16384];
	long nr = 0;
	unsigned int i;
	size_t len = 0;
	ssize_t ret;
	int fd;

	fd = open("/proc/vmstat", O_RDONLY);
	if (fd < 0)
		fail_exit("/proc/vmstat");
	while ((ret = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += ret;
	close(fd);
	buf[len] = 0;
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		const char *line = strstr(buf, names[i]);

		if (!line)
			ksft_exit_fail_msg("/proc/vmstat lacks%s", names[i]);
		nr += atol(line + strlen(names[i]));
	}

	return nr;
}

/* Page structures are left as they are, and there is little else. */
static void retrieve_hvo(int session, int *fds)
{
	long memmap = memmap_pages(), free = free_memory();

	retrieve_all(session, fds);
	free -= free_memory();
	check_eq("pages of the memory map", memmap_pages(), memmap);
	ksft_print_msg("retrieving took %ld kB\n", free);
	check(free < HVO_REST, "retrieving took %ld kB", free);
}

static void hvo_1(void)
{
	int session = new_session("hvo"), fds[3];

	fds[0] = preserve_full(session, 10, SZ_1G, 1, 1);
	fds[1] = preserve_full(session, 11, SZ_2M, 12, 0);
	fds[2] = preserve_sparse(session, 12, SZ_2M, 24);
	record_files(RECORD_BEFORE, fds);
	check_hvo_pools(1);
	check_set_pool(SZ_2M, ANY_NODE, "preserve_free", 1);
	check_set_pool(SZ_1G, ANY_NODE, "preserve_free", 1);
	live_update(HVO_OFF);
}

/* Off, and in the third kernel on again. */
static void hvo_2(void)
{
	int session, fds[MAX_FILES];
	__u32 i;

	load_state();
	check_hvo_pools(0);
	check_hvo_free();
	session = take_session("hvo");
	retrieve_hvo(session, fds);
	finish(session);
	check_eq("hugeverify compare", compare_files(fds), 0);
	session = new_session("hvo");
	for (i = 0; i < state.nr_files; i++)
		preserve(session, &state.files[i], fds[i]);
	record_files(RECORD_BEFORE, fds);
	check_set_pool(SZ_2M, ANY_NODE, "preserve_free", 1);
	check_set_pool(SZ_1G, ANY_NODE, "preserve_free", 1);
	live_update(HVO_ON);
}

/* From on to on, with pages that are optimized and others that are not. */
static void hvo_3(void)
{
	int session, fds[MAX_FILES];
	__u32 i;

	load_state();
	check_hvo_pools(1);
	check_hvo_free();
	session = take_session("hvo");
	retrieve_hvo(session, fds);
	finish(session);
	check_eq("hugeverify compare", compare_files(fds), 0);
	session = new_session("hvo");
	for (i = 0; i < state.nr_files; i++)
		preserve(session, &state.files[i], fds[i]);
	fds[3] = preserve_full(session, 13, SZ_2M, 8, 1);
	record_files(RECORD_BEFORE, fds);
	check_set_pool(SZ_2M, ANY_NODE, "preserve_free", 1);
	check_set_pool(SZ_1G, ANY_NODE, "preserve_free", 1);
	live_update(HVO_ON);
}

static void hvo_4(void)
{
	int session, fds[MAX_FILES];
	long memmap, nr_free;

	load_state();
	check_hvo_pools(1);
	check_hvo_free();
	nr_free = read_pool(SZ_2M, ANY_NODE).free;
	memmap = memmap_pages();
	session = take_session("hvo");
	retrieve_hvo(session, fds);
	finish(session);
	check_eq("hugeverify compare", compare_files(fds), 0);
	close_all(fds);
	check_pools_free(SZ_2M, 32, 32);
	check_pools_free(SZ_1G, 1, 1);
	/*
	 * They go back to where they came from, and come again. Those that came
	 * free had been optimized, and no others.
	 */
	check_set_pool(SZ_2M, ANY_NODE, "nr_hugepages", 0);
	check_pools_free(SZ_2M, 0, 0);
	check_eq("page structures of 2 MiB", memmap_pages(),
		 memmap + nr_free * FREED_2M);
	check_set_pool(SZ_1G, ANY_NODE, "nr_hugepages", 0);
	check_pools_free(SZ_1G, 0, 0);
	check_eq("page structures of 1 GiB", memmap_pages(),
		 memmap + nr_free * FREED_2M + FREED_1G);
	check_set_pool(SZ_2M, 0, "nr_hugepages", 32);
	check_set_pool(SZ_2M, 1, "nr_hugepages", 32);
	check_pools_free(SZ_2M, 32, 32);
	check_eq("page structures, when the pool is there again", memmap_pages(),
		 memmap + nr_free * FREED_2M + FREED_1G - 64 * FREED_2M);
}

static const struct chain_test tests[] = {
	{ "hvo", 4096, 4,
	  HVO_ON,
	  { hvo_1, hvo_2, hvo_3, hvo_4 }, "x86_64" },
	{ "surplus", 1024, 3,
	  "hugepages=16",
	  { surplus_1, surplus_2, surplus_3 } },
	{ "other_nodes", 1024, 4,
	  "hugepages=0:40,1:24",
	  { other_nodes_1, other_nodes_2, other_nodes_3, other_nodes_4 } },
	{ "numa_off", 1024, 3,
	  "hugepages=0:20,1:20",
	  { numa_off_1, numa_off_2, numa_off_3 } },
	{ "numa_off_1g", 4096, 3,
	  NUMA_1G_ARGS,
	  { numa_off_1g_1, numa_off_1g_2, numa_off_1g_3 } },
	{ "demote", 4096, 2,
	  DEMOTE_ARGS,
	  { demote_1, demote_2 }, "x86_64" },
	{ "offline", 1024, 2,
	  OFFLINE_ARGS,
	  { offline_1, offline_2 }, "x86_64" },
	{ "free_pages", 4096, 4,
	  FREE_ARGS,
	  { free_pages_1, free_pages_2, free_pages_3, free_pages_4 } },
	{ "free_pages_churn", 4096, 3,
	  CHURN_ARGS,
	  { free_pages_churn_1, free_pages_churn_2, free_pages_churn_3 } },
	{ "free_missing_size", 4096, 2,
	  FREE_ARGS,
	  { free_missing_size_1, free_missing_size_2 }, "x86_64" },
	{ "free_not_wanted", 4096, 2,
	  FREE_ARGS,
	  { free_not_wanted_1, free_not_wanted_2 } },
	{ "private", 1024, 2,
	  PRIVATE_ARGS,
	  { private_1, private_2 } },
	{ "pinned", 1024, 2,
	  PINNED_ARGS,
	  { pinned_1, pinned_2 } },
	{ "five_updates", 4096, 6,
	  FIVE_ARGS,
	  { five_updates_1, five_updates_n } },
	{ "seals", 1024, 2,
	  SEALS_ARGS,
	  { seals_1, seals_2 } },
	{ "mounts", 1024, 2,
	  MOUNTS_ARGS,
	  { mounts_1, mounts_2 } },
};

int main(int argc, char *argv[])
{
	return chain_main(argc, argv, tests, ARRAY_SIZE(tests));
}
