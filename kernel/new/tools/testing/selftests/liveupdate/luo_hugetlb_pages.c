// SPDX-License-Identifier: GPL-2.0-only

/*
 * Huge pages that are not like the others: with memory errors, gigantic ones, in
 * a CMA area, in ZONE_MOVABLE.
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/kernel-page-flags.h>

#include <libliveupdate.h>
#include <lu_hugetlb.h>

#define READ_ALL_OF_LOG	3

#ifndef MADV_HWPOISON
#define MADV_HWPOISON	100
#endif

/* As in include/linux/kernel-page-flags.h. */
#define KPF_RESERVED	32

static int sys_madvise(void *addr, size_t len, int advice)
{
	return syscall(__NR_madvise, addr, len, advice);
}

static void check_set_pool(unsigned long size, int nid, const char *name, long nr)
{
	char path[128];
	int err;

	pool_path(path, sizeof(path), size, nid, name);
	err = write_number(path, nr);
	check(!err, "writing %ld to %s: %s", nr, name, strerror(-err));
}

static void check_log(const char *text)
{
	static char log[1 << 18];
	int len;

	len = syscall(__NR_syslog, READ_ALL_OF_LOG, log, sizeof(log) - 1);
	if (len < 0)
		fail_exit("syslog");
	log[len] = 0;
	check(strstr(log, text), "the log lacks: %s", text);
}

/* --- poisoned: pages with memory errors stay what they are --- */

#define POISONED_ARGS	"hugepages=32"
#define BASE_PAGE	4096UL
/* Base pages with errors: before the file is preserved, and after. */
#define ERROR_EARLY	3
#define ERROR_LATE	0

/* A memory error, as madvise(2) has it, at a base page of a page. */
static void poison_page(int fd, __u64 page_size, __u64 index,
			unsigned long base_page)
{
	pid_t pid = fork();
	int status;
	char *addr;

	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		addr = map_any_page(fd, page_size, index);
		if (!addr)
			_exit(1);
		if (sys_madvise(addr + base_page * BASE_PAGE, BASE_PAGE,
				MADV_HWPOISON))
			_exit(2);
		_exit(0);
	}
	/* It is the one that has come by the error. */
	check(waitpid(pid, &status, 0) == pid &&
	      (!status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)),
	      "the status after a memory error in page %llu is %x", index, status);
}

static int hard_offline(__u64 pfn)
{
	return write_number("/sys/devices/system/memory/hard_offline_page",
			    pfn * BASE_PAGE);
}

/* Touching the page gives SIGBUS. */
static void check_poisoned(int fd, __u64 page_size, __u64 index)
{
	pid_t pid = fork();
	int status;
	char *addr;

	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		addr = map_page(fd, page_size, index);
		if (!addr)
			_exit(1);
		_exit(__atomic_load_n(addr, __ATOMIC_RELAXED) ? 2 : 3);
	}
	check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	      WTERMSIG(status) == SIGBUS,
	      "the status after touching page %llu is %x", index, status);
}

static void check_read(int fd, __u64 offset, long should)
{
	static char buf[8 * BASE_PAGE];
	long nr = sys_pread(fd, buf, sizeof(buf), offset);

	check_eq("pread()", nr < 0 ? -errno : nr, should);
}

static void check_poisoned_file(int fd)
{
	struct file_state *f = &state.files[0];
	__u64 i;

	for (i = 0; i < 4; i++) {
		void *addr;

		if (i == 1 || i == 2) {
			check_poisoned(fd, SZ_2M, i);
			continue;
		}
		addr = map_page(fd, SZ_2M, i);
		if (!addr)
			fail_exit("mmap");
		check(compare_pattern(addr, SZ_2M, f->pages[i].seed) < 0,
		      "page %llu differs", i);
		check_eq("page frame", frame_of(addr), f->pages[i].pfn);
		munmap(addr, SZ_2M);
	}
	/* What is in front of the error, and behind it, can be read. */
	check_read(fd, SZ_2M, ERROR_EARLY * BASE_PAGE);
	check_read(fd, SZ_2M + ERROR_EARLY * BASE_PAGE, -EIO);
	check_read(fd, SZ_2M + (ERROR_EARLY + 1) * BASE_PAGE, 8 * BASE_PAGE);
	check_read(fd, 2 * SZ_2M + ERROR_LATE * BASE_PAGE, -EIO);
	check_read(fd, 2 * SZ_2M + (ERROR_LATE + 1) * BASE_PAGE, 8 * BASE_PAGE);
}

static void poisoned_1(void)
{
	struct file_state *f = new_file_state(), *other = new_file_state();
	int session = new_session("poisoned"), unasked = new_session("unasked");
	int fd, other_fd;

	fd = create_file(f, 10, SZ_2M, 6);
	fill_pages(f, fd, 0, 4, 0);
	other_fd = create_file(other, 11, SZ_2M, 2);
	fill_pages(other, other_fd, 0, 2, 1);
	poison_page(fd, SZ_2M, 1, ERROR_EARLY);
	poison_page(other_fd, SZ_2M, 0, 7);
	preserve(session, f, fd);
	preserve(unasked, other, other_fd);
	poison_page(fd, SZ_2M, 2, ERROR_LATE);
	check_poisoned_file(fd);
	check_eq("HardwareCorrupted", memory_number("HardwareCorrupted:"), 3 * 4);
	live_update(POISONED_ARGS);
}

static void poisoned_2(void)
{
	struct file_state *f = &state.files[0];
	int session, fd;

	load_state();
	check_eq("HardwareCorrupted", memory_number("HardwareCorrupted:"), 3 * 4);
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	session = take_session("poisoned");
	fd = retrieve(session, f);
	check_poisoned_file(fd);
	finish(session);
	check_poisoned_file(fd);
	/* Nobody asks for it: one page is free, the other one never will be. */
	finish(take_session("unasked"));
	state.nr_files = 1;
	check_pool(SZ_2M, 0, 16, 12, 0);
	check_pool(SZ_2M, 1, 16, 15, 0);

	preserve(new_session("poisoned"), f, fd);
	live_update(POISONED_ARGS);
}

/* So many base pages are marked; these of them belong to nobody, for good. */
static void check_marked(long nr, long nr_reserved)
{
	static __u64 flags[4096];
	int fd = open("/proc/kpageflags", O_RDONLY);
	long marked = 0, reserved = 0;
	ssize_t len, i;

	if (fd < 0)
		fail_exit("/proc/kpageflags");
	while ((len = read(fd, flags, sizeof(flags))) > 0) {
		for (i = 0; i < len / (ssize_t)sizeof(*flags); i++) {
			if (!(flags[i] & 1ULL << KPF_HWPOISON))
				continue;
			marked++;
			reserved += flags[i] >> KPF_RESERVED & 1;
		}
	}
	close(fd);
	check_eq("marked base pages", marked, nr);
	check_eq("of these, reserved ones", reserved, nr_reserved);
	check_eq("HardwareCorrupted", memory_number("HardwareCorrupted:"), nr * 4);
}

static void poisoned_3(void)
{
	struct file_state *f;
	int session, fds[MAX_FILES];

	load_state();
	/* The file that nobody asked for is gone, its memory is not given out. */
	check_marked(3, 1);
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	session = take_session("poisoned");
	fds[0] = retrieve(session, &state.files[0]);
	check_poisoned_file(fds[0]);
	finish(session);
	close(fds[0]);
	check_pool(SZ_2M, 0, 16, 14, 0);
	check_pool(SZ_2M, 1, 16, 16, 0);

	/* A free page leaves its pool at once. */
	forget_files();
	f = new_file_state();
	fds[0] = create_file(f, 12, SZ_2M, 1);
	fill_page(f, fds[0], 0, 1);
	close(fds[0]);
	check_eq("a memory error in a free page", hard_offline(f->pages[0].pfn + 5), 0);
	check_pool(SZ_2M, 0, 16, 14, 0);
	check_pool(SZ_2M, 1, 15, 15, 0);

	/* The others go along, without any session. */
	check_set_pool(SZ_2M, ANY_NODE, "preserve_free", 1);
	load_kernel(POISONED_ARGS);
	ksft_exit_fail_msg("live update: %s\n", strerror(-try_reboot()));
}

/*
 * What had errors was not in the pool any more, and others take its place. Nobody
 * gets the base pages with errors, one of which is two kernels old.
 */
static void poisoned_4(void)
{
	check_log("order 9, node 0: 0 preserved pages in use, 14 free, 2 allocated, 0 surplus");
	check_log("order 9, node 1: 0 preserved pages in use, 15 free, 1 allocated, 0 surplus");
	check_pools_free(SZ_2M, 16, 16);
	check_marked(4, 4);
}

/* --- gigantic: a late page, memory errors, a promise, a file nobody asks for --- */

/* nokaslr: a kernel that is anywhere may be where a gigantic page could be. */
#define GIGANTIC_ARGS	"nokaslr hugepagesz=1G hugepages=0:1,1:2"
/* Files by their place in the state, and pages of them. */
enum { DAMAGED, PROMISED };
#define PAGE_DAMAGED	0
#define PAGE_LATE	2
#define PAGE_PROMISED	1
/* Base pages with errors: before the file is preserved, and after. */
#define GIGANTIC_EARLY	1000
#define GIGANTIC_LATE	200000

static void check_gigantic_pools(long free0, long free1, long resv)
{
	check_pool(SZ_1G, 0, 1, free0, 0);
	check_pool(SZ_1G, 1, 2, free1, 0);
	check_pool(SZ_1G, ANY_NODE, 3, free0 + free1, 0);
	check_eq("resv_hugepages",
		 pool_number(SZ_1G, ANY_NODE, "resv_hugepages"), resv);
}

/* Up to the bad base page, and from the one behind it on. */
static void check_read_around(int fd, unsigned long base_page)
{
	__u64 at = PAGE_DAMAGED * SZ_1G + base_page * BASE_PAGE;

	check_read(fd, at - 2 * BASE_PAGE, 2 * BASE_PAGE);
	check_read(fd, at, -EIO);
	check_read(fd, at + BASE_PAGE, 8 * BASE_PAGE);
}

static void check_damaged_file(int fd)
{
	const struct page_state *late = &state.files[DAMAGED].pages[1];
	void *addr;

	check_poisoned(fd, SZ_1G, PAGE_DAMAGED);
	check_read_around(fd, GIGANTIC_EARLY);
	check_read_around(fd, GIGANTIC_LATE);
	check_eq("HardwareCorrupted", memory_number("HardwareCorrupted:"), 2 * 4);

	addr = map_page(fd, SZ_1G, PAGE_LATE);
	if (!addr)
		fail_exit("mmap");
	check(compare_pattern(addr, SZ_1G, late->seed) < 0,
	      "the late page differs");
	check_eq("page frame", frame_of(addr), late->pfn);
	check_eq("node", node_of(addr), 0);
	munmap(addr, SZ_1G);
}

/* The one that is promised can be had where it was reserved, and only there. */
static void check_gigantic_promise(struct file_state *f, int fd)
{
	struct file_state other;
	pid_t pid;
	int other_fd, status;

	other_fd = create_file(&other, 20, SZ_1G, 1);
	check_eq("allocating", sys_fallocate(other_fd, 0, 0, SZ_1G) ? -errno : 0,
		 -ENOSPC);
	close(other_fd);
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		char *addr = map_any_page(fd, SZ_1G, PAGE_PROMISED);

		if (addr)
			__atomic_store_n(addr, 0, __ATOMIC_RELAXED);
		_exit(!addr);
	}
	if (check(waitpid(pid, &status, 0) == pid && !status,
		  "what was promised cannot be had: status %x", status))
		note_page(f, fd, PAGE_PROMISED, 0);
}

static void gigantic_1(void)
{
	int session = new_session("gigantic"), fd, promised_fd;
	struct file_state *f = new_file_state(), *promised = new_file_state();
	void *addr;

	fd = create_file(f, 10, SZ_1G, 3);
	fill_page(f, fd, PAGE_DAMAGED, 1);
	poison_page(fd, SZ_1G, PAGE_DAMAGED, GIGANTIC_EARLY);
	promised_fd = create_file(promised, 11, SZ_1G, 2);
	/* The mapping may go, what it reserved stays with the file. */
	addr = mmap(NULL, SZ_1G, PROT_READ | PROT_WRITE, MAP_SHARED, promised_fd,
		    PAGE_PROMISED * SZ_1G);
	if (addr == MAP_FAILED)
		fail_exit("mmap");
	munmap(addr, SZ_1G);

	preserve(session, f, fd);
	preserve(session, promised, promised_fd);
	fill_page(f, fd, PAGE_LATE, 0);
	/* Linux says so, of a huge page that has had one. */
	check_eq("another memory error in the page",
		 hard_offline(f->pages[0].pfn + GIGANTIC_LATE), -EHWPOISON);
	check_damaged_file(fd);
	check_gigantic_pools(0, 1, 1);
	live_update(GIGANTIC_ARGS);
}

static void gigantic_2(void)
{
	struct file_state *promised = &state.files[PROMISED];
	int session, fds[2];

	load_state();
	check_gigantic_pools(0, 1, 1);
	session = take_session("gigantic");
	fds[DAMAGED] = retrieve(session, &state.files[DAMAGED]);
	fds[PROMISED] = retrieve(session, promised);
	check_damaged_file(fds[DAMAGED]);
	check_gigantic_pools(0, 1, 1);
	finish(session);
	check_gigantic_pools(0, 1, 1);
	check_gigantic_promise(promised, fds[PROMISED]);
	check_gigantic_pools(0, 0, 0);
	check_file(promised, fds[PROMISED]);

	preserve(new_session("again"), &state.files[DAMAGED], fds[DAMAGED]);
	preserve(new_session("unasked"), promised, fds[PROMISED]);
	live_update(GIGANTIC_ARGS);
}

static void gigantic_3(void)
{
	int session, fd;

	load_state();
	check_gigantic_pools(0, 0, 0);
	/* Nobody asks for it: its page is free. */
	finish(take_session("unasked"));
	check_gigantic_pools(0, 1, 0);

	session = take_session("again");
	fd = retrieve(session, &state.files[DAMAGED]);
	check_damaged_file(fd);
	finish(session);
	/* One of its pages never is free again. */
	close(fd);
	check_gigantic_pools(1, 1, 0);
	check_eq("HardwareCorrupted", memory_number("HardwareCorrupted:"), 2 * 4);
}

/* --- movable: pages leave ZONE_MOVABLE when they are preserved --- */

#define MOVABLE_ARGS	"hugepages=32 movablecore=1024M"

static void movable_1(void)
{
	struct file_state *f = new_file_state(), before;
	int session = new_session("movable"), fd;
	__u32 i;

	fd = create_file(f, 10, SZ_2M, 8);
	fill_pages(f, fd, 0, 4, 0);
	fill_pages(f, fd, 4, 4, 1);
	before = *f;
	preserve(session, f, fd);
	f->nr = 0;
	for (i = 0; i < before.nr; i++) {
		note_page(f, fd, i, before.pages[i].seed);
		check(f->pages[i].pfn != before.pages[i].pfn,
		      "page %u is where it was", i);
		check_eq("node", f->pages[i].nid, before.pages[i].nid);
	}
	check_file(f, fd);
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	check_set_pool(SZ_2M, ANY_NODE, "preserve_free", 1);
	live_update(MOVABLE_ARGS);
}

static void movable_2(void)
{
	int session, fd;

	load_state();
	/* The free ones were left out. */
	check_log("order 9, node 0: 4 preserved pages in use, 0 free, 12 allocated, 0 surplus");
	check_log("order 9, node 1: 4 preserved pages in use, 0 free, 12 allocated, 0 surplus");
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	session = take_session("movable");
	fd = retrieve(session, &state.files[0]);
	check_file(&state.files[0], fd);
	finish(session);
	close(fd);
	check_pools_free(SZ_2M, 16, 16);
}

/* --- cma: gigantic pages from a CMA area, beside those that are handed over --- */

/* nokaslr: a kernel that is anywhere may be where the area could be. */
#define CMA_ARGS							\
	"nokaslr hugetlb_cma=1:1G hugepagesz=1G hugepages=1:1 hugepagesz=2M hugepages=32"

static void cma_1(void)
{
	int session = new_session("cma");

	preserve_full(session, 10, SZ_1G, 1, 1);
	preserve_full(session, 11, SZ_2M, 4, 0);
	live_update(CMA_ARGS);
}

static void cma_2(void)
{
	struct file_state in_cma;
	int session, fds[MAX_FILES], fd;
	__u32 i;

	load_state();
	/* What was handed over is in the pool, and the area is there as well. */
	check_log("hugetlb_cma: reserved 1024 MiB on node 1");
	check_pools_in_use(SZ_1G, 0, 1, 0, 0);
	check_pools_in_use(SZ_2M, 16, 16, 0, 0);
	session = take_session("cma");
	retrieve_all(session, fds);
	finish(session);

	check_set_pool(SZ_1G, 1, "nr_hugepages", 2);
	check_pool(SZ_1G, 1, 2, 1, 0);
	fd = create_file(&in_cma, 20, SZ_1G, 1);
	fill_page(&in_cma, fd, 0, 1);
	/* It may not stay in the area, and there is no other page for it. */
	session = new_session("cma");
	for (i = 0; i < 2; i++)
		check_eq("preserving a page in CMA",
			 luo_session_preserve_fd(session, fd, 20), -ENOMEM);
	check_file(&in_cma, fd);
	check_pool(SZ_1G, 1, 2, 0, 0);
	close(fd);
	check_pool(SZ_1G, 1, 2, 1, 0);

	for (i = 0; i < state.nr_files; i++)
		preserve(session, &state.files[i], fds[i]);
	live_update(CMA_ARGS);
}

static void cma_3(void)
{
	int session, fds[MAX_FILES];

	load_state();
	check_log("hugetlb_cma: reserved 1024 MiB on node 1");
	check_pools_in_use(SZ_1G, 0, 1, 0, 0);
	session = take_session("cma");
	retrieve_all(session, fds);
	finish(session);
	check_set_pool(SZ_1G, 1, "nr_hugepages", 2);
	close_all(fds);
	check_pools_free(SZ_1G, 0, 2);
	check_pools_free(SZ_2M, 16, 16);
}

/* --- cma_moved: a gigantic page leaves its area, since there is another one --- */

static void cma_moved_1(void)
{
	preserve_full(new_session("cma"), 10, SZ_1G, 1, 1);
	live_update(CMA_ARGS);
}

static __u64 frame_in_file(int fd, __u64 index)
{
	void *addr = map_page(fd, SZ_1G, index);
	__u64 pfn;

	if (!addr)
		fail_exit("mmap of page %llu", index);
	/* This touches it, too. */
	check_eq("node", node_of(addr), 1);
	pfn = frame_of(addr);
	munmap(addr, SZ_1G);

	return pfn;
}

/* With areas for them, boot allocates none: only what was handed over is elsewhere. */
static void cma_moved_2(void)
{
	__u64 elsewhere, in_cma;
	struct file_state both;
	int session, fd;

	load_state();
	elsewhere = state.files[0].pages[0].pfn;
	finish(take_session("cma"));
	check_set_pool(SZ_1G, 1, "nr_hugepages", 2);
	check_pools_free(SZ_1G, 0, 2);

	fd = create_file(&both, 20, SZ_1G, 2);
	check_eq("allocating", sys_fallocate(fd, 0, 0, 2 * SZ_1G), 0);
	in_cma = frame_in_file(fd, 0) == elsewhere;
	check_eq("frame of the other page", frame_in_file(fd, !in_cma), elsewhere);
	check_eq("punching a hole",
		 sys_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       !in_cma * SZ_1G, SZ_1G), 0);
	fill_page(&both, fd, in_cma, 1);
	check(both.pages[0].pfn != elsewhere, "the page is not in the area");
	session = new_session("moved");
	check_eq("preserving a page in CMA",
		 luo_session_preserve_fd(session, fd, 20), 0);
	both.pages[0].pfn = elsewhere;
	check_file(&both, fd);
	check_pool(SZ_1G, 1, 2, 1, 0);
	close(session);
	close(fd);
	check_pools_free(SZ_1G, 0, 2);
}

static const struct chain_test tests[] = {
	{ "poisoned", 1024, 4,
	  POISONED_ARGS,
	  { poisoned_1, poisoned_2, poisoned_3, poisoned_4 }, "x86_64" },
	{ "gigantic", 4096, 3,
	  GIGANTIC_ARGS,
	  { gigantic_1, gigantic_2, gigantic_3 }, "x86_64" },
	{ "movable", 1024, 2,
	  MOVABLE_ARGS,
	  { movable_1, movable_2 } },
	{ "cma", 4096, 3,
	  "nokaslr hugepagesz=1G hugepages=1:1 hugepagesz=2M hugepages=32",
	  { cma_1, cma_2, cma_3 }, "x86_64" },
	/* An emulator takes a minute to copy the page: on one configuration. */
	{ "cma_moved", 4096, 2,
	  "nokaslr hugepagesz=1G hugepages=1:1",
	  { cma_moved_1, cma_moved_2 }, "lean" },
};

int main(int argc, char *argv[])
{
	return chain_main(argc, argv, tests, ARRAY_SIZE(tests));
}
