// SPDX-License-Identifier: GPL-2.0-only

/*
 * Long chains of kernels that do random things to memfds with huge pages, and
 * hand them on.
 *
 * Each kernel first compares all that it was handed with what its predecessor
 * had: the files, and the pools on every node with what the command line asks
 * for. It retrieves the files in any order, some of them, or none. Then it goes
 * on with those it has kept and with new ones: fills holes, punches them, changes
 * sizes, seals, modes and positions, resizes pools, preserves, calls the update
 * off, tries one that cannot succeed, and in the end boots the next kernel with a
 * command line that asks for other pools. What must come of each step is known
 * beforehand; the pools are compared after every one.
 *
 * All of it follows from luo_seed= on the command line of the first kernel, and
 * where the kernel is free to choose (a node, a page frame) from its choice. The
 * state of the random numbers goes from kernel to kernel with the files.
 *
 * See lib/include/lu_chain.h for how to run it.
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
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/memfd.h>
#include <linux/unistd.h>

#include <libliveupdate.h>
#include <lu_hugetlb.h>

#define SIZE_2M		0
#define SIZE_1G		1

/* Sessions with files. One more is for an update that fails. */
#define MAX_SESSIONS	4
/* Room for the one file that makes an update fail. */
#define MAX_KEPT_FILES	(MAX_FILES - 1)

/* So that there is always memory for what a pool is asked to have. */
#define MAX_POOL_PAGES	150
#define MAX_FILE_PAGES	64
/* Node 0 is mostly below the hole for devices, and in pieces. */
#define MAX_GIGANTIC_0	1
#define MAX_GIGANTIC_1	2

#define ARGS_LEN	127

/* All that the kernel has said, and what it says if it is short of these. */
#define NO_GIGANTIC	"of page size 1.00 GiB failed"

/* What is counted over all kernels of the chain. */
enum count {
	UPDATES,
	FILES,
	PAGES_2M,
	PAGES_1G,
	LATE_PAGES,
	CALLED_OFF,
	FAILED_REBOOTS,
	RETRIEVED,
	NOT_RETRIEVED,
	PRESERVED_AGAIN,
	RESIZED,
	SHORT,
	REFUSED,
	NR_COUNTS,
};

static const char * const count_names[NR_COUNTS] = {
	[UPDATES]		= "updates",
	[FILES]			= "files",
	[PAGES_2M]		= "2M pages",
	[PAGES_1G]		= "1G pages",
	[LATE_PAGES]		= "late pages",
	[CALLED_OFF]		= "called off",
	[FAILED_REBOOTS]	= "failed reboots",
	[RETRIEVED]		= "retrieved",
	[NOT_RETRIEVED]		= "never retrieved",
	[PRESERVED_AGAIN]	= "preserved again",
	[RESIZED]		= "pools resized",
	[SHORT]			= "short of 1G pages",
	[REFUSED]		= "refused",
};

/* The pool of one page size as it must be. What is in use follows from files. */
struct pool_state {
	__s64 nr[NR_NODES];
	__s64 surplus[NR_NODES];
	__s64 overcommit;
};

/* What goes to the next kernel. */
struct chain {
	__u64 seed;
	__u64 random;
	__u64 next_token;
	__u64 next_session;
	__u64 gigantic;
	__u64 nokaslr;
	/* Gigantic pages are neither handed over nor asked for by node. */
	__u64 anywhere;
	/* In kB: all that there is, and what is in no counter. */
	__s64 memory_total;
	__s64 memory_rest;
	__u64 did[NR_COUNTS];
	__u64 nr_sessions;
	__u64 sessions[MAX_SESSIONS];
	__u64 session_of[MAX_FILES];
	struct pool_state pools[NR_SIZES];
	struct state files;
};

/* What this kernel has of the file at the same place of the state. */
struct handle {
	/* -1 if only a session has it. */
	int fd;
	/* Of those from the last kernel: is going to be retrieved, and was. */
	bool wanted;
	bool retrieved;
	/* Numbers of sessions, 0 for none: from the last kernel, to the next. */
	__u64 came_in;
	__u64 goes_in;
};

struct session {
	__u64 number;
	int fd;
};

/* What a command line asks for. */
struct request {
	bool by_node;
	long total;
	long node[NR_NODES];
};

static struct chain chain;
static struct handle handles[MAX_FILES];
static struct session in[MAX_SESSIONS], out[MAX_SESSIONS + 1];
static unsigned int nr_in, nr_out;
/* Files with lower ones are from a kernel before. */
static __u64 first_token;

/*
 * Random numbers
 */

static __u64 next_random(void)
{
	__u64 z = (chain.random += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;

	return z ^ (z >> 31);
}

/* From 0 to @n - 1. */
static unsigned int pick(unsigned int n)
{
	return next_random() % n;
}

static bool chance(unsigned int percent)
{
	return pick(100) < percent;
}

/* Node 0, node 1, or any. */
static int pick_node(void)
{
	return (int)pick(NR_NODES + 1) - 1;
}

/*
 * What was done last, to be told if it went wrong
 */

#define MAX_STEPS	16

static char steps[MAX_STEPS][96];
static unsigned int nr_steps;

#define step(fmt, ...)							\
	snprintf(steps[nr_steps++ % MAX_STEPS], sizeof(steps[0]), fmt,	\
		 ##__VA_ARGS__)

/* What comes after the first failure says little. */
static void stop_on_failure(void)
{
	unsigned int n;

	if (!nr_failures)
		return;
	ksft_print_msg("the last steps, out of %u:\n", nr_steps);
	for (n = nr_steps < MAX_STEPS ? 0 : nr_steps - MAX_STEPS; n < nr_steps;
	     n++)
		ksft_print_msg("  %s\n", steps[n % MAX_STEPS]);
	ksft_exit_fail_msg("seed %llu stage %d has failures\n", chain.seed,
			   stage);
}

/*
 * Pools
 */

static int size_of(const struct file_state *f)
{
	return f->page_size == SZ_1G ? SIZE_1G : SIZE_2M;
}

static long free_on(int size, int nid)
{
	const struct pool_state *pool = &chain.pools[size];
	long nr;

	if (nid == ANY_NODE)
		return free_on(size, 0) + free_on(size, 1);
	nr = pool->nr[nid];

	return nr - pages_on(page_sizes[size], nid);
}

static long surplus_of(int size)
{
	return chain.pools[size].surplus[0] + chain.pools[size].surplus[1];
}

/* Can a page be had? A fault that fails kills. */
static bool has_room(int size, int nid)
{
	return free_on(size, nid) > 0 ||
	       surplus_of(size) < chain.pools[size].overcommit;
}

/* A page on @nid is about to be in use. */
static void take_page(int size, int nid)
{
	struct pool_state *pool = &chain.pools[size];

	if (free_on(size, nid) > 0)
		return;
	pool->nr[nid]++;
	pool->surplus[nid]++;
}

/* A page on @nid has become free: surplus pages leave the pool. */
static void give_page(int size, int nid)
{
	struct pool_state *pool = &chain.pools[size];

	if (!pool->surplus[nid])
		return;
	pool->nr[nid]--;
	pool->surplus[nid]--;
}

static void check_pools(void)
{
	int size;

	for (size = 0; size < NR_SIZES; size++) {
		struct pool_state *pool = &chain.pools[size];

		check_pools_in_use(page_sizes[size], pool->nr[0], pool->nr[1],
				   pool->surplus[0], pool->surplus[1]);
	}
	stop_on_failure();
}

/* The kernel was free to choose the nodes. */
static void adopt_pool(int size)
{
	int nid;

	for (nid = 0; nid < NR_NODES; nid++) {
		struct pool pool = read_pool(page_sizes[size], nid);

		chain.pools[size].nr[nid] = pool.nr;
		chain.pools[size].surplus[nid] = pool.surplus;
	}
}

/* What writing @target to the node's own nr_hugepages does. */
static void resize_on_node(int size, int nid, long target)
{
	struct pool_state *pool = &chain.pools[size];
	long less = pool->nr[nid] - pool->surplus[nid] - target, n;

	if (less < 0) {
		n = pool->surplus[nid] < -less ? pool->surplus[nid] : -less;
		pool->surplus[nid] -= n;
		pool->nr[nid] += -less - n;
		return;
	}
	n = free_on(size, nid) < less ? free_on(size, nid) : less;
	pool->nr[nid] -= n;
	pool->surplus[nid] += less - n;
}

/* The same of all nodes, which only the sums are known of. */
static void resize_on_all(int size, long target, long *nr, long *surplus)
{
	struct pool_state *pool = &chain.pools[size];
	long less, n;

	*nr = pool->nr[0] + pool->nr[1];
	*surplus = surplus_of(size);
	less = *nr - *surplus - target;
	if (less < 0) {
		n = *surplus < -less ? *surplus : -less;
		*surplus -= n;
		*nr += -less - n;
		return;
	}
	n = free_on(size, ANY_NODE) < less ? free_on(size, ANY_NODE) : less;
	*nr -= n;
	*surplus += less - n;
}

/*
 * Gigantic pages are not asked for at run time: there may be none, and looking
 * for them moves others.
 */
static void resize_pool(void)
{
	int size = chain.gigantic && chance(20) ? SIZE_1G : SIZE_2M;
	int nid = pick_node(), err;
	struct pool_state *pool = &chain.pools[size];
	long limit, target, nr, surplus;
	char path[128];

	if (size == SIZE_1G)
		limit = nid == ANY_NODE ? pool->nr[0] + pool->nr[1] :
			pool->nr[nid];
	else
		limit = nid == ANY_NODE ? MAX_POOL_PAGES : MAX_POOL_PAGES / 2;
	target = pick(limit + 1);
	if (chance(10))
		target = 0;

	step("%ld pages of %lu kB for node %d", target, page_sizes[size] >> 10,
	     nid);
	pool_path(path, sizeof(path), page_sizes[size], nid, "nr_hugepages");
	err = write_number(path, target);
	check(!err, "writing %ld to %s: %s", target, path, strerror(-err));
	if (nid == ANY_NODE) {
		resize_on_all(size, target, &nr, &surplus);
		check_pool(page_sizes[size], ANY_NODE, nr,
			   nr - pages_on(page_sizes[size], ANY_NODE), surplus);
		adopt_pool(size);
	} else {
		resize_on_node(size, nid, target);
	}
	check_pools();
	chain.did[RESIZED]++;
}

static void set_overcommit(void)
{
	char path[128];
	int err;

	chain.pools[SIZE_2M].overcommit = pick(9);
	step("overcommit of %lld pages", chain.pools[SIZE_2M].overcommit);
	pool_path(path, sizeof(path), SZ_2M, ANY_NODE, "nr_overcommit_hugepages");
	err = write_number(path, chain.pools[SIZE_2M].overcommit);
	check(!err, "writing to %s: %s", path, strerror(-err));
}

/* What the next kernel makes of @want if @coming pages are handed to it. */
static void predict_pool(const struct request *want, const long *coming,
			 struct pool_state *pool)
{
	long total = 0;
	int nid;

	memset(pool, 0, sizeof(*pool));
	for (nid = 0; nid < NR_NODES; nid++) {
		pool->nr[nid] = coming[nid];
		total += coming[nid];
	}
	if (want->by_node && (want->node[0] || want->node[1])) {
		for (nid = 0; nid < NR_NODES; nid++) {
			if (want->node[nid] > coming[nid])
				pool->nr[nid] = want->node[nid];
			else
				pool->surplus[nid] = coming[nid] - want->node[nid];
		}
		return;
	}

	/* One at a time to the node with the fewest, or off the most. */
	for (; total < want->total; total++)
		pool->nr[pool->nr[1] < pool->nr[0]]++;
	for (; total > want->total; total--)
		pool->surplus[pool->nr[1] - pool->surplus[1] >
			      pool->nr[0] - pool->surplus[0]]++;
}

/* Pages that are missing, as many as come, and more. */
static void pick_request(struct request *want, const long *coming)
{
	long total = coming[0] + coming[1];

	memset(want, 0, sizeof(*want));
	switch (pick(10)) {
	case 0:
		break;
	case 1:
	case 2:
		want->total = pick(total + 1);
		break;
	case 3:
		want->total = total;
		break;
	case 4:
	case 5:
		want->total = total + pick(MAX_POOL_PAGES);
		if (want->total > MAX_POOL_PAGES)
			want->total = MAX_POOL_PAGES;
		break;
	case 6:
		want->by_node = true;
		want->node[0] = pick(coming[0] + 1);
		want->node[1] = pick(coming[1] + 1);
		break;
	case 7:
		want->by_node = true;
		want->node[0] = coming[0] + pick(40);
		want->node[1] = pick(coming[1] + 1);
		break;
	default:
		want->by_node = true;
		want->node[0] = pick(MAX_POOL_PAGES / 2);
		want->node[1] = pick(MAX_POOL_PAGES / 2);
		break;
	}
}

static void pick_gigantic_request(struct request *want)
{
	memset(want, 0, sizeof(*want));
	if (!chain.gigantic || chance(15))
		return;
	want->by_node = chance(50);
	if (want->by_node) {
		want->node[0] = pick(MAX_GIGANTIC_0 + 1);
		want->node[1] = pick(MAX_GIGANTIC_1 + 1);
	} else {
		want->total = 1 + pick(MAX_GIGANTIC_0 + MAX_GIGANTIC_1);
	}
}

static size_t print_request(char *args, size_t len, const struct request *want)
{
	if (!want->by_node)
		return snprintf(args, len, " hugepages=%ld", want->total);
	if (!want->node[0])
		return snprintf(args, len, " hugepages=1:%ld", want->node[1]);
	if (!want->node[1])
		return snprintf(args, len, " hugepages=0:%ld", want->node[0]);

	return snprintf(args, len, " hugepages=0:%ld,1:%ld", want->node[0],
			want->node[1]);
}

/* 2 MiB is the default size; that of 1 GiB may be left out if it is zero. */
static void print_requests(char *args, size_t len, const struct request *want)
{
	bool named = chance(50);
	size_t n = 0;

	if (!named)
		n += print_request(args, len, &want[SIZE_2M]);
	if (chain.gigantic && (want[SIZE_1G].by_node || want[SIZE_1G].total)) {
		n += snprintf(args + n, len - n, " hugepagesz=1G");
		n += print_request(args + n, len - n, &want[SIZE_1G]);
	}
	if (named) {
		n += snprintf(args + n, len - n, " hugepagesz=2M");
		n += print_request(args + n, len - n, &want[SIZE_2M]);
	}
}

/*
 * Files
 */

/* Areas that the next kernel overwrites. Pinning moves pages out of them. */
static struct {
	__u64 start;
	__u64 end;
} scratch[8];

static unsigned int read_hex_lines(const char *path, __u64 *values,
				   unsigned int max)
{
	static char buf[512];
	unsigned int n = 0;
	char *line = buf;
	ssize_t len;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[len < 0 ? 0 : len] = 0;
	while (*line && n < max) {
		values[n++] = strtoull(line, &line, 16);
		while (*line == '\n')
			line++;
	}

	return n;
}

static void find_scratch(void)
{
	__u64 phys[ARRAY_SIZE(scratch)], len[ARRAY_SIZE(scratch)];
	unsigned int nr, i;

	nr = read_hex_lines("/debugfs/kho/out/scratch_phys", phys,
			    ARRAY_SIZE(phys));
	if (!nr || read_hex_lines("/debugfs/kho/out/scratch_len", len,
				  ARRAY_SIZE(len)) != nr)
		ksft_exit_fail_msg("KHO's scratch areas are not in debugfs\n");
	for (i = 0; i < nr; i++) {
		scratch[i].start = phys[i] / getpagesize();
		scratch[i].end = (phys[i] + len[i]) / getpagesize();
	}
}

static bool in_scratch(__u64 pfn)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(scratch); i++)
		if (pfn >= scratch[i].start && pfn < scratch[i].end)
			return true;

	return false;
}

static struct page_state *find_page(struct file_state *f, __u64 index)
{
	__u32 i;

	for (i = 0; i < f->nr; i++)
		if (f->pages[i].index == index)
			return &f->pages[i];

	return NULL;
}

/* Where the page is. One that will yet be moved has no frame to compare. */
static void locate_page(const struct file_state *f, int fd,
			struct page_state *page)
{
	__u64 *addr = map_page(fd, f->page_size, page->index);

	if (!addr)
		fail_exit("mmap of page %llu", page->index);
	__atomic_load_n(addr, __ATOMIC_RELAXED);
	page->pfn = frame_of(addr);
	page->nid = node_of(addr);
	if (in_scratch(page->pfn))
		page->pfn = 0;
	munmap(addr, f->page_size);
}

/* Pages were pinned. Return: how many of them have been moved for that. */
static unsigned int settle_pages(int i)
{
	struct file_state *f = &state.files[i];
	unsigned int moved = 0;
	__u32 n;

	if (handles[i].fd < 0)
		return 0;
	for (n = 0; n < f->nr; n++) {
		struct page_state *page = &f->pages[n];
		int nid = page->nid;

		if (page->pfn)
			continue;
		locate_page(f, handles[i].fd, page);
		check_eq("node of a page that was moved", page->nid, nid);
		if (page->pfn)
			moved++;
	}

	return moved;
}

/*
 * A page that moves is taken from the pool and another one given back, so that
 * surplus pages may have left it.
 */
static void check_moved(int size)
{
	struct pool_state before = chain.pools[size];
	int nid;

	adopt_pool(size);
	check_pools();
	for (nid = 0; nid < NR_NODES; nid++)
		check_eq("pages of a pool that are no surplus",
			 chain.pools[size].nr[nid] -
			 chain.pools[size].surplus[nid],
			 before.nr[nid] - before.surplus[nid]);
}

static void settle_all_pages(void)
{
	bool moved[NR_SIZES] = {};
	__u32 i;

	for (i = 0; i < state.nr_files; i++)
		if (settle_pages(i))
			moved[size_of(&state.files[i])] = true;
	for (i = 0; i < NR_SIZES; i++)
		if (moved[i])
			check_moved(i);
}

static bool is_write_sealed(const struct file_state *f)
{
	return f->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
}

static bool can_add_file(void)
{
	return state.nr_files < MAX_KEPT_FILES;
}

static int add_file(int size, unsigned int nr_pages)
{
	unsigned int flags = MFD_HUGETLB;
	struct file_state *f = new_file_state();
	int i = state.nr_files - 1, fd;

	memset(f, 0, sizeof(*f));
	f->token = chain.next_token++;
	f->page_size = page_sizes[size];
	f->size = nr_pages * f->page_size;
	flags |= size == SIZE_1G ? MFD_HUGE_1GB : MFD_HUGE_2MB;
	f->mode = 0777;
	f->seals = F_SEAL_SEAL;
	if (chance(80)) {
		flags |= MFD_ALLOW_SEALING;
		f->seals = 0;
	}
	if (chance(10)) {
		flags |= MFD_NOEXEC_SEAL;
		f->mode = 0666;
		f->seals = F_SEAL_EXEC;
	}

	step("new file %llu of %u pages of %llu kB, flags %x", f->token,
	     nr_pages, f->page_size >> 10, flags);
	fd = sys_memfd_create("luo-stress", flags);
	if (fd < 0)
		fail_exit("memfd_create");
	if (ftruncate(fd, f->size))
		fail_exit("ftruncate");
	memset(&handles[i], 0, sizeof(handles[i]));
	handles[i].fd = fd;

	return i;
}

static void forget_page(struct file_state *f, __u32 n)
{
	int nid = f->pages[n].nid;

	f->pages[n] = f->pages[--f->nr];
	give_page(size_of(f), nid);
}

/* Nobody has it any more. The last one takes its place. */
static void drop_file(int i)
{
	struct file_state *f = &state.files[i];

	step("file %llu is dropped", f->token);
	if (handles[i].fd >= 0)
		close(handles[i].fd);
	while (f->nr)
		forget_page(f, f->nr - 1);
	state.nr_files--;
	if (i != (int)state.nr_files) {
		*f = state.files[state.nr_files];
		handles[i] = handles[state.nr_files];
	}
}

/* One that is open, or -1. */
static int pick_file(void)
{
	int i, n = 0, found = -1;

	for (i = 0; i < (int)state.nr_files; i++)
		if (handles[i].fd >= 0 && pick(++n) == 0)
			found = i;

	return found;
}

static void check_some_files(void)
{
	__u32 i;

	for (i = 0; i < state.nr_files; i++) {
		/* A gigantic page takes a second. */
		if (handles[i].fd >= 0 &&
		    (state.files[i].page_size == SZ_2M || chance(30)))
			check_file(&state.files[i], handles[i].fd);
	}
}

enum fill {
	BY_WRITE,
	BY_WRITE_RESERVED,
	BY_READ,
	BY_FALLOCATE,
};

static void fill_hole(int i, __u64 index, enum fill how, int nid)
{
	struct file_state *f = &state.files[i];
	int fd = handles[i].fd, size = size_of(f);
	struct page_state page = { .index = index };
	void *addr = NULL;

	step("hole %llu of file %llu is filled from node %d, way %d", index,
	     f->token, nid, how);
	bind_to_node(nid);
	switch (how) {
	case BY_WRITE:
	case BY_WRITE_RESERVED:
		page.seed = next_random() | 1;
		if (how == BY_WRITE)
			addr = map_any_page(fd, f->page_size, index);
		else
			addr = mmap(NULL, f->page_size, PROT_READ | PROT_WRITE,
				    MAP_SHARED, fd, index * f->page_size);
		if (!addr || addr == MAP_FAILED)
			fail_exit("mmap of hole %llu", index);
		write_pattern(addr, f->page_size, page.seed);
		break;
	case BY_READ:
		addr = mmap(NULL, f->page_size, PROT_READ,
			    MAP_SHARED | MAP_NORESERVE, fd,
			    index * f->page_size);
		if (addr == MAP_FAILED)
			fail_exit("mmap of hole %llu", index);
		check_eq("what a hole reads as",
			 __atomic_load_n((__u64 *)addr, __ATOMIC_RELAXED), 0);
		break;
	case BY_FALLOCATE:
		if (sys_fallocate(fd, chance(50) ? FALLOC_FL_KEEP_SIZE : 0,
				  index * f->page_size, f->page_size))
			fail_exit("fallocate of hole %llu", index);
		break;
	}
	if (addr)
		munmap(addr, f->page_size);
	bind_to_node(ANY_NODE);

	locate_page(f, fd, &page);
	if (nid != ANY_NODE)
		check_eq("node of a new page", page.nid, nid);
	take_page(size, page.nid);
	f->pages[f->nr++] = page;
	if (handles[i].goes_in)
		chain.did[LATE_PAGES]++;
}

/* Some pages in a row, as far as they are holes and there is room. */
static void fill_holes(int i)
{
	struct file_state *f = &state.files[i];
	__u64 end = f->size / f->page_size, index, nr;
	int size = size_of(f), nid = pick_node();
	enum fill how = pick(BY_FALLOCATE + 1);

	if (!end)
		return;
	if (is_write_sealed(f) && how < BY_READ)
		how = BY_READ;
	if (how == BY_WRITE_RESERVED && handles[i].goes_in)
		how = BY_WRITE;
	index = pick(end);
	nr = size == SIZE_1G ? 1 : 1 + pick(16);
	for (; nr && index < end; nr--, index++) {
		if (find_page(f, index))
			continue;
		/* A reservation is made good for at once with any page. */
		if (how == BY_WRITE_RESERVED && free_on(size, nid) <= 0)
			return;
		if (!has_room(size, nid) || f->nr == MAX_PAGES ||
		    pages_on(page_sizes[size], ANY_NODE) >= MAX_POOL_PAGES)
			return;
		fill_hole(i, index, how, nid);
	}
}

static void rewrite_page(int i)
{
	struct file_state *f = &state.files[i];
	struct page_state *page;
	void *addr;

	if (!f->nr)
		return;
	page = &f->pages[pick(f->nr)];
	step("page %llu of file %llu is rewritten", page->index, f->token);
	addr = map_any_page(handles[i].fd, f->page_size, page->index);
	if (is_write_sealed(f)) {
		check(!addr, "writing to a file that is sealed");
		chain.did[REFUSED]++;
		return;
	}
	if (!addr)
		fail_exit("mmap of page %llu", page->index);
	page->seed = next_random() | 1;
	write_pattern(addr, f->page_size, page->seed);
	munmap(addr, f->page_size);
}

/* @err is what came of it, @refused whether it must not be possible. */
static bool was_done(const char *what, const struct file_state *f, int err,
		     bool refused)
{
	check(err == (refused ? -EPERM : 0), "%s, file %llu: %s, should be %s",
	      what, f->token, strerror(-err), refused ? "refused" : "done");
	if (refused)
		chain.did[REFUSED]++;

	return !err;
}

static void forget_pages_from(struct file_state *f, __u64 start, __u64 end)
{
	__u32 n = 0;

	while (n < f->nr) {
		if (f->pages[n].index >= start && f->pages[n].index < end)
			forget_page(f, n);
		else
			n++;
	}
}

static void punch_holes(int i)
{
	struct file_state *f = &state.files[i];
	__u64 end = f->size / f->page_size, start, nr;
	int err;

	if (!end)
		return;
	start = pick(end);
	nr = 1 + pick(6);
	step("holes %llu + %llu are punched into file %llu", start, nr,
	     f->token);
	err = sys_fallocate(handles[i].fd,
			    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    start * f->page_size, nr * f->page_size) ? -errno : 0;
	if (was_done("punching holes", f, err,
		     is_write_sealed(f) || handles[i].goes_in))
		forget_pages_from(f, start, start + nr);
}

static void change_size(int i)
{
	struct file_state *f = &state.files[i];
	__u64 size = f->page_size;
	bool refused;
	int err;

	size *= pick(f->page_size == SZ_1G ? 4 : MAX_FILE_PAGES + 1);
	refused = handles[i].goes_in ||
		  (size < f->size && f->seals & F_SEAL_SHRINK) ||
		  (size > f->size && f->seals & F_SEAL_GROW);
	step("file %llu gets %llu pages", f->token, size / f->page_size);
	err = ftruncate(handles[i].fd, size) ? -errno : 0;
	if (!was_done("ftruncate", f, err, refused))
		return;
	f->size = size;
	forget_pages_from(f, size / f->page_size, ~0ULL);
}

static void add_seal(int i)
{
	static const unsigned int seals[] = {
		F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_EXEC,
		F_SEAL_WRITE, F_SEAL_FUTURE_WRITE,
	};
	struct file_state *f = &state.files[i];
	unsigned int seal = seals[pick(ARRAY_SIZE(seals))], all = seal;
	int err;

	/* No exec means no change at all of what can be executed. */
	if (seal == F_SEAL_EXEC && f->mode & 0111)
		all |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
			F_SEAL_FUTURE_WRITE;
	step("file %llu gets seals %x", f->token, seal);
	err = sys_fcntl(handles[i].fd, F_ADD_SEALS, seal) ? -errno : 0;
	/* Somebody might write to pages that are pinned. */
	if (err == -EBUSY && all & F_SEAL_WRITE && handles[i].goes_in && f->nr)
		return;
	if (was_done("sealing", f, err, f->seals & F_SEAL_SEAL))
		f->seals |= all;
}

static void change_mode(int i)
{
	struct file_state *f = &state.files[i];

	f->mode = pick(010000);
	if (sys_fchmod(handles[i].fd, f->mode))
		fail_exit("fchmod");
}

static void change_position(int i)
{
	struct file_state *f = &state.files[i];

	f->pos = next_random() >> (16 + pick(48));
	if (lseek(handles[i].fd, f->pos, SEEK_SET) != (off_t)f->pos)
		fail_exit("lseek");
}

static void make_file(void)
{
	int size = chain.gigantic && chance(40) ? SIZE_1G : SIZE_2M, i, n;

	if (!can_add_file())
		return;
	i = add_file(size, pick(size == SIZE_1G ? 4 : MAX_FILE_PAGES + 1));
	for (n = size == SIZE_1G ? 1 : pick(6); n > 0; n--)
		fill_holes(i);
}

/*
 * Sessions
 */

static const char *session_name(__u64 number)
{
	static char name[32];

	snprintf(name, sizeof(name), "stress-%llu", number);

	return name;
}

/* Return: its place in @out. */
static unsigned int open_session(void)
{
	struct session *session = &out[nr_out];

	session->number = chain.next_session++;
	step("session %llu is opened", session->number);
	session->fd = new_session(session_name(session->number));

	return nr_out++;
}

/* Its files go on as if nothing had been. */
static void close_session(unsigned int k)
{
	__u64 number = out[k].number;
	int i;

	step("session %llu is closed", number);
	close(out[k].fd);
	/* LUO hands them on in the order in which they were opened. */
	for (nr_out--; k < nr_out; k++)
		out[k] = out[k + 1];
	for (i = state.nr_files - 1; i >= 0; i--) {
		if (handles[i].goes_in != number)
			continue;
		handles[i].goes_in = 0;
		if (handles[i].fd < 0)
			drop_file(i);
	}
}

static void preserve_one(int i, unsigned int k)
{
	struct file_state *f = &state.files[i];
	int err;
	__u32 n;

	step("file %llu is preserved in session %llu", f->token, out[k].number);
	err = luo_session_preserve_fd(out[k].fd, handles[i].fd, f->token);
	check(!err, "preserving file %llu: %s", f->token, strerror(-err));
	stop_on_failure();
	handles[i].goes_in = out[k].number;
	if (settle_pages(i))
		check_moved(size_of(f));
	for (n = 0; n < f->nr; n++)
		check(f->pages[n].pfn, "file %llu, page %llu is still in scratch",
		      f->token, f->pages[n].index);
	check_pools();
}

static void preserve_some(void)
{
	int i, from = pick(MAX_FILES), n;

	for (n = 0; n < MAX_FILES; n++) {
		i = (from + n) % MAX_FILES;
		if (i >= (int)state.nr_files || handles[i].goes_in ||
		    chance(20))
			continue;
		if (!nr_out || (nr_out < MAX_SESSIONS && chance(40)))
			open_session();
		preserve_one(i, pick(nr_out));
		if (chance(10)) {
			close(handles[i].fd);
			handles[i].fd = -1;
		}
	}
	if (nr_out < MAX_SESSIONS && chance(10))
		open_session();
}

static void call_off(void)
{
	unsigned int k, sure;

	if (!nr_out)
		return;
	sure = pick(nr_out);
	for (k = nr_out; k-- > 0;)
		if (k == sure || chance(60))
			close_session(k);
	chain.did[CALLED_OFF]++;
	check_pools();
	check_some_files();
}

/* Things that have to be refused, and change nothing. */
static void try_refused(void)
{
	int i = pick_file(), fd, session, err;
	struct file_state *f;
	char path[32];
	void *addr;

	if (i < 0)
		return;
	f = &state.files[i];
	fd = handles[i].fd;
	session = new_session("refused");
	switch (pick(4)) {
	case 0:
		/* Preserved already, or not finished yet. */
		if (!handles[i].goes_in && !handles[i].came_in)
			goto out;
		err = luo_session_preserve_fd(session, fd, 1);
		check_eq("preserving again", err, -EBUSY);
		break;
	case 1:
		if (handles[i].goes_in || handles[i].came_in)
			goto out;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			fail_exit("%s", path);
		err = luo_session_preserve_fd(session, fd, 1);
		check_eq("preserving what cannot be written to", err, -EACCES);
		close(fd);
		break;
	case 2:
		/* What is reserved beyond the end, as by a mapping to read from. */
		if (free_on(SIZE_2M, ANY_NODE) < 2)
			goto out;
		fd = sys_memfd_create("reserved", MFD_HUGETLB | MFD_HUGE_2MB);
		if (fd < 0)
			fail_exit("memfd_create");
		addr = mmap(NULL, 2 * SZ_2M, PROT_READ, MAP_SHARED, fd, 0);
		if (addr == MAP_FAILED)
			fail_exit("mmap");
		munmap(addr, 2 * SZ_2M);
		err = luo_session_preserve_fd(session, fd, 1);
		check_eq("preserving what is reserved beyond the end", err,
			 -EOPNOTSUPP);
		close(fd);
		break;
	case 3:
		if (!handles[i].goes_in || !f->size || find_page(f, 0))
			goto out;
		addr = mmap(NULL, f->page_size, PROT_READ, MAP_SHARED, fd, 0);
		check(addr == MAP_FAILED, "reserving a hole");
		break;
	}
	chain.did[REFUSED]++;
out:
	close(session);
}

/* Any of the things that one can do with files and pools. */
static void work(unsigned int steps)
{
	int i;

	while (steps--) {
		i = pick_file();
		if (i < 0) {
			make_file();
			continue;
		}
		switch (pick(20)) {
		case 0:
		case 1:
		case 2:
			make_file();
			break;
		case 3:
		case 4:
		case 5:
		case 6:
			fill_holes(i);
			break;
		case 7:
			rewrite_page(i);
			break;
		case 8:
			punch_holes(i);
			break;
		case 9:
			if (chance(50))
				change_size(i);
			break;
		case 10:
			if (chance(40))
				add_seal(i);
			break;
		case 11:
			change_mode(i);
			break;
		case 12:
			change_position(i);
			break;
		case 13:
		case 14:
			resize_pool();
			break;
		case 15:
			set_overcommit();
			break;
		case 16:
			if (!handles[i].goes_in && !handles[i].came_in)
				drop_file(i);
			break;
		default:
			try_refused();
			break;
		}
		check_pools();
	}
}

/*
 * To the next kernel
 */

/* What is in no session does not get there. */
static void make_next(struct chain *next)
{
	struct state *files = &next->files;
	unsigned int k, i;

	*next = chain;
	next->nr_sessions = nr_out;
	for (k = 0; k < nr_out && k < MAX_SESSIONS; k++)
		next->sessions[k] = out[k].number;
	memset(files, 0, sizeof(*files));
	for (i = 0; i < state.nr_files; i++) {
		struct file_state *f = &state.files[i];

		if (!handles[i].goes_in)
			continue;
		next->session_of[files->nr_files] = handles[i].goes_in;
		files->files[files->nr_files++] = *f;
		next->did[FILES]++;
		if (f->token < first_token)
			next->did[PRESERVED_AGAIN]++;
		next->did[size_of(f) == SIZE_1G ? PAGES_1G : PAGES_2M] += f->nr;
	}
	next->did[UPDATES]++;
}

/* Copies of the command line take the same memory in each kernel. */
static void pad_args(char *args)
{
	size_t n = strlen(args);

	n += snprintf(args + n, ARGS_LEN + 1 - n, " luo_pad=");
	while (n < ARGS_LEN)
		args[n++] = 'x';
	args[n] = 0;
}

/* Load a kernel with a command line of its own, and tell it what it gets. */
static void get_ready(void)
{
	static struct chain next;
	struct request want[NR_SIZES];
	long coming[NR_SIZES][NR_NODES] = {};
	char args[ARGS_LEN + 1] = "";
	__u32 i, n;
	int size;

	for (i = 0; i < state.nr_files; i++) {
		struct file_state *f = &state.files[i];

		for (n = 0; handles[i].goes_in && n < f->nr; n++)
			coming[size_of(f)][f->pages[n].nid]++;
	}
	pick_request(&want[SIZE_2M], coming[SIZE_2M]);
	pick_gigantic_request(&want[SIZE_1G]);
	print_requests(args, sizeof(args), want);
	ksft_print_msg("seed %llu stage %d hands %ld + %ld, %ld + %ld pages to%s\n",
		       chain.seed, stage, coming[SIZE_2M][0],
		       coming[SIZE_1G][0], coming[SIZE_2M][1],
		       coming[SIZE_1G][1], args);
	if (chain.nokaslr)
		strncat(args, " nokaslr", sizeof(args) - strlen(args) - 1);
	pad_args(args);
	load_kernel(args);

	make_next(&next);
	for (size = 0; size < NR_SIZES; size++)
		predict_pool(&want[size], coming[size], &next.pools[size]);
	next.anywhere = !want[SIZE_1G].by_node && !coming[SIZE_1G][0] &&
			!coming[SIZE_1G][1];
	save_chain_state(&next, sizeof(next));
}

/* Write the first page of a file on behalf of a control group of a long name. */
static void fill_charged(int fd, __u64 seed)
{
	static char group[4096];
	int status;
	pid_t pid;

	if (!group[0]) {
		mount_cgroups("+hugetlb", NULL);
		make_long_cgroup(group, sizeof(group));
	}
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		void *addr = map_any_page(fd, SZ_2M, 0);

		if (!addr || write_cgroup(group, "cgroup.procs", "0"))
			_exit(1);
		write_pattern(addr, SZ_2M, seed);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		ksft_exit_fail_msg("the child in a control group failed\n");
}

/*
 * A late page that is charged to a control group whose path does not fit cannot be
 * handed on. What was frozen before that shows depends on the session that it is
 * in.
 */
static void fail_reboot(void)
{
	struct page_state page = { .index = 0 };
	__u64 token, number;
	unsigned int k;
	int i;

	if (!has_room(SIZE_2M, ANY_NODE))
		return;
	i = add_file(SIZE_2M, 1 + pick(3));
	token = state.files[i].token;
	k = nr_out && chance(50) ? pick(nr_out) : open_session();
	number = out[k].number;
	preserve_one(i, k);
	page.seed = next_random() | 1;
	fill_charged(handles[i].fd, page.seed);
	locate_page(&state.files[i], handles[i].fd, &page);
	take_page(SIZE_2M, page.nid);
	state.files[i].pages[state.files[i].nr++] = page;
	check_pools();

	get_ready();
	step("file %llu of session %llu has a page that is charged", token,
	     number);
	check_eq("reboot with a page that is charged", try_reboot(),
		 -ENAMETOOLONG);
	drop_chain_state();

	/* All is as it was, and these sessions go on. But not this one. */
	settle_all_pages();
	check_pools();
	check_some_files();
	work(pick(4));
	for (k = 0; out[k].number != number; k++)
		;
	close_session(k);
	for (i = 0; state.files[i].token != token; i++)
		;
	drop_file(i);
	check_pools();
	chain.did[FAILED_REBOOTS]++;
}

static void hand_on(void)
{
	int err, i;

	for (i = state.nr_files - 1; i >= 0; i--)
		if (!handles[i].goes_in && chance(50))
			drop_file(i);
	check_pools();
	get_ready();
	err = try_reboot();
	ksft_exit_fail_msg("seed %llu stage %d, live update: %s\n", chain.seed,
			   stage, strerror(-err));
}

static void go_on(void)
{
	unsigned int attempts = 1 + pick(3);

	for (;;) {
		work(4 + pick(8));
		preserve_some();
		work(pick(8));
		if (!--attempts)
			break;
		if (chance(50))
			fail_reboot();
		else
			call_off();
	}
	hand_on();
}

/*
 * From the last kernel
 */

static void retrieve_one(const struct session *session, int i)
{
	struct file_state *f = &state.files[i];
	struct handle *handle = &handles[i];
	__u32 n;
	int fd;

	step("file %llu is retrieved from session %llu", f->token,
	     session->number);
	handle->fd = luo_session_retrieve_fd(session->fd, f->token);
	check(handle->fd >= 0, "retrieving file %llu: %s", f->token,
	      strerror(-handle->fd));
	stop_on_failure();
	handle->retrieved = true;
	/* These were moved when they were frozen. */
	settle_pages(i);
	for (n = 0; n < f->nr; n++)
		check(f->pages[n].pfn, "file %llu, page %llu came from scratch",
		      f->token, f->pages[n].index);
	check_file(f, handle->fd);
	if (chance(10)) {
		fd = retrieve(session->fd, f);
		check_eq("position by another descriptor",
			 lseek(fd, 0, SEEK_CUR), f->pos);
		close(fd);
	}
	if (chance(10)) {
		close(handle->fd);
		handle->fd = -1;
	}
	chain.did[RETRIEVED]++;
}

/* A file of this session that is still to be retrieved, or -1. */
static int pick_wanted(__u64 number)
{
	int i, n = 0, found = -1;

	for (i = 0; i < (int)state.nr_files; i++)
		if (handles[i].came_in == number && handles[i].wanted &&
		    !handles[i].retrieved && pick(++n) == 0)
			found = i;

	return found;
}

/* Files that were not retrieved are gone, their pages are not. */
static void end_session(unsigned int k)
{
	__u64 number = in[k].number;
	int i;

	step("session %llu is finished", number);
	if (chance(50))
		finish(in[k].fd);
	else
		close(in[k].fd);
	in[k] = in[--nr_in];
	for (i = state.nr_files - 1; i >= 0; i--) {
		if (handles[i].came_in != number)
			continue;
		handles[i].came_in = 0;
		if (!handles[i].retrieved)
			chain.did[NOT_RETRIEVED]++;
		if (handles[i].fd < 0)
			drop_file(i);
	}
	check_pools();
}

/* Pages that nobody has asked for would be lost. */
static void reboot_early(void)
{
	__u32 i;

	for (i = 0; i < state.nr_files; i++)
		if (handles[i].came_in && !handles[i].retrieved)
			break;
	if (i == state.nr_files)
		return;
	step("reboot with files that are not finished");
	load_kernel("");
	check_eq("reboot with files that are not finished", try_reboot(),
		 -EBUSY);
	unload_kernel();
	chain.did[REFUSED]++;
}

/* Take and end the sessions, and retrieve what is wanted, in any order. */
static void receive(void)
{
	unsigned int k;
	int i;

	while (nr_in) {
		k = pick(nr_in);
		if (in[k].fd < 0) {
			in[k].fd = take_session(session_name(in[k].number));
			continue;
		}
		i = pick_wanted(in[k].number);
		if (i >= 0)
			retrieve_one(&in[k], i);
		else
			end_session(k);

		switch (pick(12)) {
		case 0:
			reboot_early();
			break;
		case 1:
		case 2:
			work(1);
			break;
		case 3:
			resize_pool();
			break;
		case 4:
			if (nr_in && in[0].fd >= 0)
				check_eq("retrieving what there is not",
					 luo_session_retrieve_fd(in[0].fd, 0),
					 -ENOENT);
			break;
		}
		check_pools();
	}
}

/*
 * Memory
 */

/*
 * In kB. With KASLR it is random where the code is mapped that each CPU enters the
 * kernel by, and how many page tables that takes. Where memory is larger than a
 * few GiB, what the kernel allocates first may fill its last page or not: these
 * allocations avoid every GiB that something preserved lies in.
 */
#define KASLR_SLACK	8
#define PLACE_SLACK	8
/* Half of a huge page. */
#define REST_SLACK	1024

/*
 * With all sessions at their end nothing of what was handed over is missing any
 * more, and what is nobody's is free: as in the first kernel that got something.
 */
static void check_memory(void)
{
	static const char * const users[] = {
		"Hugetlb:", "Cached:", "Slab:", "AnonPages:", "PageTables:",
		"KernelStack:", "Percpu:",
	};
	long total = memory_number("MemTotal:"), rest = total - free_memory();
	long slack = (chain.nokaslr ? 0 : KASLR_SLACK) +
		     (chain.gigantic ? PLACE_SLACK : 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(users); i++)
		rest -= memory_number(users[i]);
	if (!chain.memory_total) {
		chain.memory_total = total;
		chain.memory_rest = rest;
	}
	check(labs(total - chain.memory_total) <= slack,
	      "MemTotal is %ld kB, should be %lld kB", total,
	      chain.memory_total);
	check(labs(rest - chain.memory_rest) < REST_SLACK,
	      "%ld kB of memory are in no counter, should be about %lld kB",
	      rest, chain.memory_rest);
	stop_on_failure();
}

/*
 * There may be fewer gigantic pages than the command line asks for if memory that
 * was handed over lies scattered: the kernel then says so. What one node is short
 * of may come from another one.
 */
static void allow_shortage(void)
{
	const struct pool_state *pool = &chain.pools[SIZE_1G];
	struct pool now[NR_NODES];
	long less = 0;
	int nid;

	for (nid = 0; nid < NR_NODES; nid++) {
		now[nid] = read_pool(SZ_1G, nid);
		less += pool->nr[nid] - now[nid].nr;
		if (now[nid].surplus != pool->surplus[nid] ||
		    now[nid].nr < pages_on(SZ_1G, nid))
			return;
	}
	if (less < 0 ||
	    ((less || !chain.anywhere) && !kernel_said(NO_GIGANTIC)))
		return;
	adopt_pool(SIZE_1G);
	chain.did[SHORT]++;
}

static void expect_files(void)
{
	unsigned int k, i, percent;

	state = chain.files;
	nr_in = chain.nr_sessions;
	for (k = 0; k < nr_in; k++) {
		in[k].number = chain.sessions[k];
		in[k].fd = -1;
		/* All of them, some, or none. */
		percent = chance(60) ? 100 : pick(2) * 50;
		for (i = 0; i < state.nr_files; i++) {
			if (chain.session_of[i] != in[k].number)
				continue;
			memset(&handles[i], 0, sizeof(handles[i]));
			handles[i].fd = -1;
			handles[i].came_in = in[k].number;
			handles[i].wanted = chance(percent);
		}
	}
}

/* As the line that tells them, which the host adds up. */
static void print_counts(void)
{
	char line[512];
	size_t n = 0;
	int i;

	for (i = 0; i < NR_COUNTS; i++)
		n += snprintf(line + n, sizeof(line) - n, "%s%llu %s",
			      i ? ", " : "", chain.did[i], count_names[i]);
	ksft_print_msg("seed %llu did: %s\n", chain.seed, line);
}

static void wind_up(void)
{
	work(pick(8));
	check_some_files();
	while (state.nr_files)
		drop_file(0);
	check_pools();
	print_counts();
}

static void name_chain(void)
{
	static char name[32];

	snprintf(name, sizeof(name), "seed %llu ", chain.seed);
	chain_id = name;
}

/*
 * There is one on each node. So a page that may come from any node comes from the
 * same one when the chain is repeated.
 */
static void run_on_cpu(int cpu)
{
	unsigned long mask = 1UL << cpu;

	if (syscall(__NR_sched_setaffinity, 0, sizeof(mask), &mask))
		fail_exit("sched_setaffinity");
}

static void stress_first(void)
{
	char value[32];

	chain.seed = 1;
	if (cmdline_word("luo_seed=", value, sizeof(value)))
		chain.seed = strtoull(value, NULL, 10);
	chain.random = chain.seed;
	chain.next_token = 1;
	chain.next_session = 1;
	name_chain();
	find_scratch();
	adopt_pool(SIZE_2M);
	adopt_pool(SIZE_1G);
	check_pools();
	chain.gigantic = chain.pools[SIZE_1G].nr[0] > 0;
	chain.nokaslr = chance(50);
	run_on_cpu(pick(NR_NODES));
	go_on();
}

static void stress_next(void)
{
	load_chain_state(&chain, sizeof(chain));
	first_token = chain.next_token;
	name_chain();
	find_scratch();
	run_on_cpu(pick(NR_NODES));
	expect_files();
	ksft_print_msg("seed %llu stage %d: %u sessions, %u files came\n",
		       chain.seed, stage, nr_in, state.nr_files);
	if (chain.gigantic)
		allow_shortage();
	check_pools();
	receive();
	check_memory();
	if (stage < test->nr_stages)
		go_on();
	wind_up();
}

static const struct chain_test tests[] = {
	{ "stress_2m", 1024, 9,
	  "hugepages=64",
	  { stress_first, stress_next }, "stress" },
	{ "stress_1g", 5120, 7,
	  "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=64",
	  { stress_first, stress_next }, "stress" },
};

int main(int argc, char *argv[])
{
	return chain_main(argc, argv, tests, ARRAY_SIZE(tests));
}
