// SPDX-License-Identifier: GPL-2.0-only

/*
 * What a chain of kernels hands on in huge pages, and what is compared of it:
 * see lu_hugetlb.h.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <linux/unistd.h>

#include <libliveupdate.h>
#include <lu_hugetlb.h>

/* The kernel's, which C libraries for 64 bits may define as 0. */
#ifdef __aarch64__
#define LINUX_O_LARGEFILE 0400000
#else
#define LINUX_O_LARGEFILE 0100000
#endif

const unsigned long page_sizes[NR_SIZES] = { SZ_2M, SZ_1G };

/* Pools are printed of those that there are. */
static const unsigned long printed_sizes[] = { SZ_64K, SZ_2M, SZ_32M, SZ_1G };

struct state state;

/* What hugeverify says of two records. */
#define COMPARED	"/compared"

/* What the next kernel needs besides its init. */
const char * const chain_files[] = { HUGEVERIFY, RECORD_BEFORE, NULL };

/* New pages come from @nid, or from anywhere if that is ANY_NODE. */
void bind_to_node(int nid)
{
	unsigned long mask = 1UL << nid;
	int err;

	if (nid < 0)
		err = syscall(__NR_set_mempolicy, MPOL_DEFAULT, NULL, 0);
	else
		err = syscall(__NR_set_mempolicy, MPOL_BIND, &mask,
			      8 * sizeof(mask));
	if (err)
		fail_exit("set_mempolicy %d", nid);
}

/*
 * Pools
 */

long read_number(const char *path)
{
	char buf[32] = {};
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		return -errno;
	if (read(fd, buf, sizeof(buf) - 1) <= 0)
		buf[0] = 0;
	close(fd);

	return atol(buf);
}

int write_number(const char *path, long number)
{
	char buf[32];
	int fd = open(path, O_WRONLY), len, err = 0;

	if (fd < 0)
		return -errno;
	len = snprintf(buf, sizeof(buf), "%ld", number);
	if (write(fd, buf, len) != len)
		err = -errno;
	close(fd);

	return err;
}

void pool_path(char *path, size_t len, unsigned long size, int nid,
	       const char *name)
{
	if (nid < 0)
		snprintf(path, len, "/sys/kernel/mm/hugepages/hugepages-%lukB/%s",
			 size >> 10, name);
	else
		snprintf(path, len,
			 "/sys/devices/system/node/node%d/hugepages/hugepages-%lukB/%s",
			 nid, size >> 10, name);
}

long pool_number(unsigned long size, int nid, const char *name)
{
	char path[128];

	pool_path(path, sizeof(path), size, nid, name);

	return read_number(path);
}

struct pool read_pool(unsigned long size, int nid)
{
	return (struct pool){
		.nr = pool_number(size, nid, "nr_hugepages"),
		.free = pool_number(size, nid, "free_hugepages"),
		.surplus = pool_number(size, nid, "surplus_hugepages"),
	};
}

void print_pools(const char *when)
{
	unsigned int i;
	int nid;

	for (i = 0; i < ARRAY_SIZE(printed_sizes); i++) {
		for (nid = -1; nid < NR_NODES; nid++) {
			struct pool pool = read_pool(printed_sizes[i], nid);

			if (pool.nr < 0)
				continue;
			ksft_print_msg("pool %lukB node %d: nr %ld free %ld surplus %ld (%s)\n",
				       printed_sizes[i] >> 10, nid, pool.nr,
				       pool.free, pool.surplus, when);
		}
	}
}

bool check_pool(unsigned long size, int nid, long nr, long free,
		long surplus)
{
	struct pool pool = read_pool(size, nid);

	return check(pool.nr == nr && pool.free == free &&
		     pool.surplus == surplus,
		     "pool %lukB node %d: nr %ld free %ld surplus %ld, should be %ld %ld %ld",
		     size >> 10, nid, pool.nr, pool.free, pool.surplus, nr,
		     free, surplus);
}

/* How many pages of @size all files of the state have on @nid. */
long pages_on(unsigned long size, int nid)
{
	long found = 0;
	__u32 i, j;

	for (i = 0; i < state.nr_files; i++) {
		const struct file_state *f = &state.files[i];

		if (f->page_size != size)
			continue;
		for (j = 0; j < f->nr; j++)
			if (nid == ANY_NODE || nid == f->pages[j].nid)
				found++;
	}

	return found;
}

/*
 * Pools of @size as they have to be while the files hold their pages: @nr0 and
 * @nr1 pages in all on the nodes, @surplus0 and @surplus1 of them surplus.
 */
void check_pools_in_use(unsigned long size, long nr0, long nr1,
			long surplus0, long surplus1)
{
	long used0 = pages_on(size, 0), used1 = pages_on(size, 1);

	check_pool(size, 0, nr0, nr0 - used0, surplus0);
	check_pool(size, 1, nr1, nr1 - used1, surplus1);
	/* The sum over all nodes is kept apart in the kernel. */
	check_pool(size, ANY_NODE, nr0 + nr1, nr0 + nr1 - used0 - used1,
		   surplus0 + surplus1);
	check_eq("resv_hugepages",
		 pool_number(size, ANY_NODE, "resv_hugepages"), 0);
}

/* The same when all pages are free. */
void check_pools_free(unsigned long size, long nr0, long nr1)
{
	check_pool(size, 0, nr0, nr0, 0);
	check_pool(size, 1, nr1, nr1, 0);
	check_pool(size, ANY_NODE, nr0 + nr1, nr0 + nr1, 0);
	check_eq("resv_hugepages",
		 pool_number(size, ANY_NODE, "resv_hugepages"), 0);
}

/*
 * Files
 */

/* One word in each cache line, of gigantic pages in each base page. */
static size_t pattern_step(__u64 page_size)
{
	return (page_size > SZ_2M ? 4096 : 64) / sizeof(__u64);
}

static __u64 next_word(__u64 word)
{
	word ^= word << 13;
	word ^= word >> 7;
	word ^= word << 17;

	return word;
}

void write_pattern(void *page, __u64 page_size, __u64 seed)
{
	size_t step = pattern_step(page_size), n;
	__u64 *words = page;

	for (n = 0; n < page_size / sizeof(*words); n += step) {
		seed = next_word(seed);
		words[n] = seed;
	}
}

/* Return: where the first difference is, or -1. */
long compare_pattern(const void *page, __u64 page_size, __u64 seed)
{
	size_t step = pattern_step(page_size), n;
	const __u64 *words = page;

	for (n = 0; n < page_size / sizeof(*words); n += step) {
		seed = next_word(seed);
		if (words[n] != seed)
			return n * sizeof(*words);
	}

	return -1;
}

/* The page frame behind a page of this process, 0 if there is none. */
__u64 frame_of(const void *addr)
{
	__u64 entry = 0;
	int fd;

	fd = open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0)
		fail_exit("/proc/self/pagemap");
	if (sys_pread(fd, &entry, sizeof(entry),
		      (unsigned long)addr / getpagesize() * sizeof(entry)) !=
	    sizeof(entry))
		fail_exit("reading pagemap");
	close(fd);

	return entry & 1ULL << 63 ? entry & ((1ULL << 55) - 1) : 0;
}

int node_of(void *addr)
{
	int nid = -1;

	if (syscall(__NR_get_mempolicy, &nid, NULL, 0, addr,
		    MPOL_F_NODE | MPOL_F_ADDR))
		return -errno;

	return nid;
}

/* For reading, only pages that are there: those need no new reservation. */
void *map_page(int fd, __u64 page_size, __u64 index)
{
	void *addr = mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd,
			  index * page_size);

	return addr == MAP_FAILED ? NULL : addr;
}

/* For writing. A file that is being preserved lets no hole be reserved. */
void *map_any_page(int fd, __u64 page_size, __u64 index)
{
	void *addr = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_NORESERVE, fd, index * page_size);

	return addr == MAP_FAILED ? NULL : addr;
}

int create_file(struct file_state *f, __u64 token, __u64 page_size,
		__u64 nr_pages)
{
	unsigned int flags = MFD_HUGETLB | MFD_ALLOW_SEALING;
	int fd;

	/* The size is told as a power of two. */
	flags |= (unsigned int)__builtin_ctzll(page_size) << MFD_HUGE_SHIFT;
	fd = sys_memfd_create("luo-hugetlb", flags);
	if (fd < 0)
		fail_exit("memfd_create, %llu kB", page_size >> 10);
	if (ftruncate(fd, nr_pages * page_size))
		fail_exit("ftruncate");

	memset(f, 0, sizeof(*f));
	f->token = token;
	f->page_size = page_size;
	f->size = nr_pages * page_size;
	f->mode = 0777;

	return fd;
}

struct file_state *new_file_state(void)
{
	if (state.nr_files == MAX_FILES)
		ksft_exit_fail_msg("too many files\n");

	return &state.files[state.nr_files++];
}

/* What is known of the page at @index, which may be new. */
static struct page_state *page_at(struct file_state *f, __u64 index)
{
	__u32 i;

	for (i = 0; i < f->nr; i++)
		if (f->pages[i].index == index)
			return &f->pages[i];
	if (f->nr == MAX_PAGES)
		ksft_exit_fail_msg("too many pages\n");
	f->pages[f->nr].index = index;

	return &f->pages[f->nr++];
}

/* What fill_page() writes there. */
__u64 page_seed(const struct file_state *f, __u64 index)
{
	return (f->token << 32 | (index + 1) << 4 | stage) *
		0x9e3779b97f4a7c15ULL;
}

/* Write to the page at @index, which is taken from @nid if there is none. */
int fill_page(struct file_state *f, int fd, __u64 index, int nid)
{
	struct page_state *page = page_at(f, index);
	void *addr;

	bind_to_node(nid);
	addr = map_any_page(fd, f->page_size, index);
	if (!addr)
		fail_exit("mmap of page %llu", index);
	page->seed = page_seed(f, index);
	write_pattern(addr, f->page_size, page->seed);
	page->pfn = frame_of(addr);
	page->nid = node_of(addr);
	munmap(addr, f->page_size);
	bind_to_node(ANY_NODE);

	if (nid != ANY_NODE)
		check_eq("node of a new page", page->nid, nid);

	return page->pfn ? 0 : -EFAULT;
}

/*
 * Take note of the page at @index, which another process has written @seed's
 * pattern to; that of 0 is zero.
 */
void note_page(struct file_state *f, int fd, __u64 index, __u64 seed)
{
	struct page_state *page = page_at(f, index);
	void *addr = map_page(fd, f->page_size, index);
	long diff;

	if (!addr)
		fail_exit("mmap of page %llu", index);
	page->seed = seed;
	diff = compare_pattern(addr, f->page_size, seed);
	check(diff < 0, "file %llu, page %llu differs at %ld", f->token, index,
	      diff);
	page->pfn = frame_of(addr);
	page->nid = node_of(addr);
	munmap(addr, f->page_size);
}

void fill_pages(struct file_state *f, int fd, __u64 first, __u64 nr,
		int nid)
{
	__u64 i;

	for (i = first; i < first + nr; i++)
		fill_page(f, fd, i, nid);
}

static bool is_backed(const struct file_state *f, __u64 index)
{
	__u32 i;

	for (i = 0; i < f->nr; i++)
		if (f->pages[i].index == index)
			return true;

	return false;
}

/* All that can be seen of a file is as the state has it. */
void check_file(const struct file_state *f, int fd)
{
	static char buf[4096];
	struct stat st;
	__u64 index;
	__u32 i;

	if (fstat(fd, &st))
		fail_exit("fstat");
	check_eq("size", st.st_size, f->size);
	check_eq("mode", st.st_mode & 07777, f->mode);
	check_eq("position", lseek(fd, 0, SEEK_CUR), f->pos);
	check_eq("seals", sys_fcntl(fd, F_GET_SEALS, 0), f->seals);
	check_eq("blocks", st.st_blocks, f->nr * (f->page_size / 512));
	check_eq("block size", st.st_blksize, f->page_size);
	check(sys_fcntl(fd, F_GETFL, 0) & LINUX_O_LARGEFILE, "no O_LARGEFILE");

	for (i = 0; i < f->nr; i++) {
		const struct page_state *page = &f->pages[i];
		void *addr;
		long diff;

		addr = map_page(fd, f->page_size, page->index);
		if (!check(addr, "mmap of page %llu: %s", page->index,
			   strerror(errno)))
			continue;
		diff = compare_pattern(addr, f->page_size, page->seed);
		check(diff < 0, "file %llu, page %llu differs at %ld",
		      f->token, page->index, diff);
		check(!page->pfn || frame_of(addr) == page->pfn,
		      "file %llu, page %llu: frame %llx, should be %llx",
		      f->token, page->index, frame_of(addr), page->pfn);
		check_eq("node", node_of(addr), page->nid);
		munmap(addr, f->page_size);
	}

	/* Reading fills no hole. */
	for (index = 0; index < f->size / f->page_size; index++) {
		unsigned long n;

		if (is_backed(f, index))
			continue;
		if (!check(sys_pread(fd, buf, sizeof(buf),
				     index * f->page_size) == sizeof(buf),
			   "cannot read hole %llu", index))
			continue;
		for (n = 0; n < sizeof(buf); n++)
			if (buf[n])
				break;
		check(n == sizeof(buf), "hole %llu is not zero", index);
	}

	if (fstat(fd, &st))
		fail_exit("fstat");
	check_eq("blocks afterwards", st.st_blocks,
		 f->nr * (f->page_size / 512));
}

void print_file(const char *what, const struct file_state *f)
{
	__u32 i;

	for (i = 0; i < f->nr; i++)
		if (i == 0 || i + 1 == f->nr ||
		    f->pages[i].nid != f->pages[i - 1].nid)
			ksft_print_msg("%s: file %llu, %llu kB page %llu: frame %llx, node %lld\n",
				       what, f->token, f->page_size >> 10,
				       f->pages[i].index, f->pages[i].pfn,
				       f->pages[i].nid);
}

/*
 * Sessions
 */

void preserve(int session, const struct file_state *f, int fd)
{
	preserve_fd(session, f->token, fd);
}

int retrieve(int session, const struct file_state *f)
{
	return retrieve_fd(session, f->token);
}

void save_state(void)
{
	save_chain_state(&state, sizeof(state));
}

void load_state(void)
{
	load_chain_state(&state, sizeof(state));
}

void live_update(const char *args)
{
	int err;

	save_state();
	load_kernel(args);
	print_pools("before");
	err = try_reboot();
	ksft_exit_fail_msg("live update: %s\n", strerror(-err));
}

/*
 * What tools/mm/hugeverify makes of it
 */

/* Return: its exit status. What it says goes to @out, unless that is NULL. */
static int run_hugeverify(char *const argv[], const char *out)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		int fd = out ? open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600) :
			       STDOUT_FILENO;

		if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0)
			fail_exit("%s", out);
		execve(HUGEVERIFY, argv, (char *const []){ NULL });
		fail_exit(HUGEVERIFY);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		ksft_exit_fail_msg("hugeverify did not end as it should\n");

	return WEXITSTATUS(status);
}

/*
 * All files of the state, in its order, which are called by their tokens, and what
 * the process @pid has mapped, unless that is 0. It is called "process".
 */
void record_process(const char *path, const int *fds, pid_t pid)
{
	static char words[MAX_FILES][2][32];
	char *argv[4 + 3 * MAX_FILES + 4 + 1] = {
		HUGEVERIFY, "record", "--out", (char *)path,
	};
	char number[16];
	int n = 4;
	__u32 i;

	for (i = 0; i < state.nr_files; i++) {
		snprintf(words[i][0], sizeof(words[i][0]), "%llu",
			 state.files[i].token);
		snprintf(words[i][1], sizeof(words[i][1]), "/proc/%d/fd/%d",
			 getpid(), fds[i]);
		argv[n++] = "--label";
		argv[n++] = words[i][0];
		argv[n++] = words[i][1];
	}
	if (pid) {
		snprintf(number, sizeof(number), "%d", pid);
		argv[n++] = "--label";
		argv[n++] = "process";
		argv[n++] = "--pid";
		argv[n++] = number;
	}
	unlink(path);
	check_eq("hugeverify record", run_hugeverify(argv, NULL), 0);
}

void record_files(const char *path, const int *fds)
{
	record_process(path, fds, 0);
}

/* With what the kernel before recorded: 0 if all is the same. */
static int compare_records(const char *out)
{
	char *argv[5] = {
		HUGEVERIFY, "compare", RECORD_BEFORE, RECORD_NOW, NULL,
	};

	return run_hugeverify(argv, out);
}

int compare_files(const int *fds)
{
	record_files(RECORD_NOW, fds);

	return compare_records(NULL);
}

/* What is said of it goes to @text. */
int compare_process(const int *fds, pid_t pid, char *text, size_t len)
{
	int status, fd;
	ssize_t nr;

	record_process(RECORD_NOW, fds, pid);
	status = compare_records(COMPARED);
	fd = open(COMPARED, O_RDONLY);
	nr = fd < 0 ? -1 : read(fd, text, len - 1);
	if (nr < 0)
		fail_exit(COMPARED);
	close(fd);
	text[nr] = 0;
	ksft_print_msg("hugeverify compare, status %d:\n%s", status, text);

	return status;
}

/*
 * Control groups, named by their path in the one hierarchy of version 2
 */

/* With a space, which /proc/mounts has as something else. */
#define CGROUPS		"/control groups"

/* As long as a name of a directory can be. */
#define CGROUP_NAME	255

static void cgroup_file(char *path, size_t len, const char *group,
			const char *name)
{
	if ((size_t)snprintf(path, len, CGROUPS "%s/%s", group, name) >= len)
		ksft_exit_fail_msg("the path of a control group is too long\n");
}

/* Return: 0 or -errno. */
int write_cgroup(const char *group, const char *name, const char *text)
{
	char path[4096];
	int fd, err;

	cgroup_file(path, sizeof(path), group, name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	err = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);

	return err;
}

void read_cgroup_text(const char *group, const char *name, char *text, size_t len)
{
	char path[4096];
	ssize_t nr;
	int fd;

	cgroup_file(path, sizeof(path), group, name);
	fd = open(path, O_RDONLY);
	nr = fd < 0 ? -1 : read(fd, text, len - 1);
	if (nr < 0)
		fail_exit("reading %s", path);
	close(fd);
	text[nr] = 0;
}

long read_cgroup(const char *group, const char *name)
{
	char text[64];

	read_cgroup_text(group, name, text, sizeof(text));

	return strtol(text, NULL, 10);
}

/* Have @controllers in the groups below @group. */
static void enable_controllers(const char *group, const char *controllers)
{
	int err = write_cgroup(group, "cgroup.subtree_control", controllers);

	if (err)
		ksft_exit_fail_msg("enabling %s in %s: %s\n", controllers, group,
				   strerror(-err));
}

void mount_cgroups(const char *controllers, const char *options)
{
	mkdir(CGROUPS, 0755);
	if (mount("cgroup2", CGROUPS, "cgroup2", 0, options))
		fail_exit("mounting cgroup2");
	enable_controllers("", controllers);
}

void make_cgroup(const char *group, const char *controllers)
{
	char path[4096];

	cgroup_file(path, sizeof(path), group, "");
	if (mkdir(path, 0755))
		fail_exit("making %s", path);
	if (controllers)
		enable_controllers(group, controllers);
}

/* One with a path that is longer than what can be handed over. */
void make_long_cgroup(char *group, size_t len)
{
	size_t used = 0;
	int i;

	for (i = 0; i < 6; i++) {
		if (used + CGROUP_NAME + 2 > len)
			ksft_exit_fail_msg("no room for a path\n");
		group[used++] = '/';
		memset(group + used, 'x', CGROUP_NAME);
		used += CGROUP_NAME;
		group[used] = 0;
		make_cgroup(group, i < 5 ? "+hugetlb" : NULL);
	}
}

void remove_cgroup(const char *group)
{
	char path[4096];

	cgroup_file(path, sizeof(path), group, "");
	if (rmdir(path))
		fail_exit("removing %s", path);
}

/*
 * What many tests begin and end with
 */

/* A file with all its pages on @nid, and a position. */
int preserve_full(int session, __u64 token, __u64 page_size, __u64 nr,
		  int nid)
{
	struct file_state *f = new_file_state();
	int fd = create_file(f, token, page_size, nr);

	fill_pages(f, fd, 0, nr, nid);
	f->pos = 4097 * token;
	lseek(fd, f->pos, SEEK_SET);
	preserve(session, f, fd);
	print_file("preserved", f);

	return fd;
}

/* A file with holes, pages on both nodes, seals and a mode of its own. */
int preserve_sparse(int session, __u64 token, __u64 page_size, __u64 nr)
{
	struct file_state *f = new_file_state();
	int fd = create_file(f, token, page_size, nr);

	fill_page(f, fd, 1, 0);
	fill_page(f, fd, nr - 2, 1);
	if (page_size < SZ_1G) {
		fill_page(f, fd, 2, 0);
		fill_page(f, fd, 4, 1);
		fill_page(f, fd, 7, 0);
	}
	f->mode = 0640;
	f->seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	if (sys_fchmod(fd, f->mode))
		fail_exit("fchmod");
	if (sys_fcntl(fd, F_ADD_SEALS, f->seals))
		fail_exit("F_ADD_SEALS");
	preserve(session, f, fd);
	print_file("preserved", f);

	return fd;
}

/* A file with nothing but a page at its end. */
int preserve_last(int session, __u64 token, __u64 page_size, __u64 nr,
		  int nid)
{
	struct file_state *f = new_file_state();
	int fd = create_file(f, token, page_size, nr);

	fill_page(f, fd, nr - 1, nid);
	f->seals = F_SEAL_SEAL | F_SEAL_SHRINK;
	f->mode = 0640;
	if (sys_fcntl(fd, F_ADD_SEALS, f->seals) ||
	    syscall(__NR_fchmod, fd, f->mode))
		fail_exit("seals and mode");
	preserve(session, f, fd);
	print_file("preserved", f);

	return fd;
}

/* Where pages are now, as their mapping has it. */
static void print_retrieved(const struct file_state *f, int fd)
{
	__u32 i;

	for (i = 0; i < f->nr; i++) {
		void *addr;
		int nid;

		if (i && i + 1 != f->nr && f->pages[i].nid == f->pages[i - 1].nid)
			continue;
		addr = map_page(fd, f->page_size, f->pages[i].index);
		if (!addr)
			continue;
		nid = node_of(addr);
		ksft_print_msg("retrieved: file %llu, %llu kB page %llu: frame %llx, node %d\n",
			       f->token, f->page_size >> 10, f->pages[i].index,
			       frame_of(addr), nid);
		munmap(addr, f->page_size);
	}
}

/* Retrieve all files of a session, the last one first, and compare them. */
void retrieve_all(int session, int *fds)
{
	int i;

	for (i = state.nr_files - 1; i >= 0; i--) {
		fds[i] = retrieve(session, &state.files[i]);
		check_file(&state.files[i], fds[i]);
		print_retrieved(&state.files[i], fds[i]);
	}
}

void close_all(const int *fds)
{
	__u32 i;

	for (i = 0; i < state.nr_files; i++)
		close(fds[i]);
}

/* The files can be gone; their pages are free then. */
void forget_files(void)
{
	state.nr_files = 0;
}
