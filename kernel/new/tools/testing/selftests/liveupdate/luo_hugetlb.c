// SPDX-License-Identifier: GPL-2.0-only

/*
 * Hands memfds with huge pages over to the next kernel, and the one after, and
 * compares all that can be seen of them: contents, page frames, nodes, holes,
 * size, position, seals, mode, and the pools of huge pages on every node.
 *
 * Each test is a chain of kernels. A kernel is told on its command line which
 * test it is part of and which link of the chain it is ("luo_test=NAME
 * luo_stage=N"). What it has to know about its predecessor's files comes through
 * a shmem memfd that is preserved along with them.
 *
 * Run as init, this program runs that stage in a child, which loads the next
 * kernel from /kernel and boots it by kexec. The initramfs for it is made from
 * the files of this one, so that a chain can have any length. Run with --list,
 * on any machine, it prints the tests, the memory each needs on each of its two
 * nodes in MiB, and the command line of the first kernel.
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
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <linux/reboot.h>
#include <linux/unistd.h>

#include <libliveupdate.h>

#define SZ_2M		0x00200000UL
#define SZ_1G		0x40000000UL
/* The kernel's, which C libraries for 64 bits may define as 0. */
#define LINUX_O_LARGEFILE 0100000

#define NR_NODES	2
#define ANY_NODE	-1
#define NR_SIZES	2
#define MAX_FILES	8
#define MAX_PAGES	320
#define CMDLINE_SIZE	1024

#define KERNEL_IMAGE	"/kernel"
#define INIT_BINARY	"/init"
#define INITRAMFS_IMAGE	"/initramfs"
#define HUGEVERIFY	"/hugeverify"
/* What hugeverify recorded in the kernel before, and in this one. */
#define RECORD_BEFORE	"/record-before"
#define RECORD_NOW	"/record-now"
/* What all kernels of all tests are booted with. */
#define COMMON_ARGS	"console=ttyS0 panic=-1 oops=panic kho=on liveupdate=on"

#define STATE_SESSION	"luo-hugetlb-state"
#define STATE_TOKEN	1
#define STATE_MAGIC	0x6c756f68

static const unsigned long page_sizes[NR_SIZES] = { SZ_2M, SZ_1G };

/* A huge page of a file. */
struct page_state {
	__u64 index;
	__u64 pfn;
	__u64 seed;
	__s64 nid;
};

/* A file as it has to come back. */
struct file_state {
	__u64 token;
	__u64 page_size;
	__u64 size;
	__u64 pos;
	__u32 seals;
	__u32 mode;
	__u32 nr;
	__u32 unused;
	struct page_state pages[MAX_PAGES];
};

/* What goes to the next kernel. */
struct state {
	__u32 magic;
	__u32 stage;
	__u32 nr_files;
	__u32 unused;
	struct file_state files[MAX_FILES];
};

/* The pool of one page size, as sysfs has it, on one node or on all. */
struct pool {
	long nr;
	long free;
	long surplus;
};

struct test {
	const char *name;
	/* Memory on each node. */
	unsigned int mib;
	int nr_stages;
	/* The first kernel's command line. */
	const char *args;
	void (*stages[4])(void);
};

static const struct test *test;
static struct state state;
static int luo_fd = -1;
static int stage;
static int nr_failures;
static int state_session = -1;

/* Says what is wrong, and goes on: what else is wrong tells more. */
#define check(condition, fmt, ...) ({					\
	bool ok_ = (condition);						\
									\
	if (!ok_) {							\
		nr_failures++;						\
		ksft_print_msg("FAILURE [%s:%d] " fmt "\n", __func__,	\
			       __LINE__, ##__VA_ARGS__);		\
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

static int sys_memfd_create(const char *name, unsigned int flags)
{
	return syscall(__NR_memfd_create, name, flags);
}

static int sys_fallocate(int fd, int mode, __u64 offset, __u64 len)
{
	return syscall(__NR_fallocate, fd, mode, offset, len);
}

static int sys_fcntl(int fd, unsigned int cmd, unsigned long arg)
{
	return syscall(__NR_fcntl, fd, cmd, arg);
}

static int sys_fchmod(int fd, unsigned int mode)
{
	return syscall(__NR_fchmod, fd, mode);
}

static long sys_pread(int fd, void *buf, size_t count, __u64 offset)
{
	return syscall(__NR_pread64, fd, buf, count, offset);
}

/* New pages come from @nid, or from anywhere if that is ANY_NODE. */
static void bind_to_node(int nid)
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

static long read_number(const char *path)
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

static int write_number(const char *path, long number)
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

static void pool_path(char *path, size_t len, unsigned long size, int nid,
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

static long pool_number(unsigned long size, int nid, const char *name)
{
	char path[128];

	pool_path(path, sizeof(path), size, nid, name);

	return read_number(path);
}

static struct pool read_pool(unsigned long size, int nid)
{
	return (struct pool){
		.nr = pool_number(size, nid, "nr_hugepages"),
		.free = pool_number(size, nid, "free_hugepages"),
		.surplus = pool_number(size, nid, "surplus_hugepages"),
	};
}

static void print_pools(const char *when)
{
	int i, nid;

	for (i = 0; i < NR_SIZES; i++) {
		for (nid = -1; nid < NR_NODES; nid++) {
			struct pool pool = read_pool(page_sizes[i], nid);

			if (pool.nr < 0)
				continue;
			ksft_print_msg("pool %lukB node %d: nr %ld free %ld surplus %ld (%s)\n",
				       page_sizes[i] >> 10, nid, pool.nr,
				       pool.free, pool.surplus, when);
		}
	}
}

/* A line of /proc/meminfo, in kB. */
static long memory_number(const char *name)
{
	static char buf[4096];
	const char *line;
	int fd = open("/proc/meminfo", O_RDONLY);
	ssize_t len;

	len = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	if (len < 0)
		fail_exit("/proc/meminfo");
	close(fd);
	buf[len] = 0;
	line = strstr(buf, name);
	if (!line)
		return -1;
	for (line += strlen(name); *line == ' '; line++)
		;

	return atol(line);
}

static void print_memory(const char *when)
{
	ksft_print_msg("memory: total %ld kB, free %ld kB (%s)\n",
		       memory_number("MemTotal:"), memory_number("MemFree:"), when);
}

static bool check_pool(unsigned long size, int nid, long nr, long free,
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
static long pages_on(unsigned long size, int nid)
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
static void check_pools_in_use(unsigned long size, long nr0, long nr1,
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
static void check_pools_free(unsigned long size, long nr0, long nr1)
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

static void write_pattern(void *page, __u64 page_size, __u64 seed)
{
	size_t step = pattern_step(page_size), n;
	__u64 *words = page;

	for (n = 0; n < page_size / sizeof(*words); n += step) {
		seed = next_word(seed);
		words[n] = seed;
	}
}

/* Return: where the first difference is, or -1. */
static long compare_pattern(const void *page, __u64 page_size, __u64 seed)
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
static __u64 frame_of(const void *addr)
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

static int node_of(void *addr)
{
	int nid = -1;

	if (syscall(__NR_get_mempolicy, &nid, NULL, 0, addr,
		    MPOL_F_NODE | MPOL_F_ADDR))
		return -errno;

	return nid;
}

/* For reading, only pages that are there: those need no new reservation. */
static void *map_page(int fd, __u64 page_size, __u64 index)
{
	void *addr = mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd,
			  index * page_size);

	return addr == MAP_FAILED ? NULL : addr;
}

/* For writing. A file that is being preserved lets no hole be reserved. */
static void *map_any_page(int fd, __u64 page_size, __u64 index)
{
	void *addr = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_NORESERVE, fd, index * page_size);

	return addr == MAP_FAILED ? NULL : addr;
}

static int create_file(struct file_state *f, __u64 token, __u64 page_size,
		       __u64 nr_pages)
{
	unsigned int flags = MFD_HUGETLB | MFD_ALLOW_SEALING;
	int fd;

	flags |= page_size == SZ_1G ? MFD_HUGE_1GB : MFD_HUGE_2MB;
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

static struct file_state *new_file_state(void)
{
	if (state.nr_files == MAX_FILES)
		ksft_exit_fail_msg("too many files\n");

	return &state.files[state.nr_files++];
}

/* Write to the page at @index, which is taken from @nid if there is none. */
static int fill_page(struct file_state *f, int fd, __u64 index, int nid)
{
	struct page_state *page = NULL;
	void *addr;
	__u32 i;

	for (i = 0; i < f->nr; i++)
		if (f->pages[i].index == index)
			page = &f->pages[i];
	if (!page) {
		if (f->nr == MAX_PAGES)
			ksft_exit_fail_msg("too many pages\n");
		page = &f->pages[f->nr++];
		page->index = index;
	}

	bind_to_node(nid);
	addr = map_any_page(fd, f->page_size, index);
	if (!addr)
		fail_exit("mmap of page %llu", index);
	page->seed = (f->token << 32 | (index + 1) << 4 | stage) *
		0x9e3779b97f4a7c15ULL;
	write_pattern(addr, f->page_size, page->seed);
	page->pfn = frame_of(addr);
	page->nid = node_of(addr);
	munmap(addr, f->page_size);
	bind_to_node(ANY_NODE);

	if (nid != ANY_NODE)
		check_eq("node of a new page", page->nid, nid);

	return page->pfn ? 0 : -EFAULT;
}

static void fill_pages(struct file_state *f, int fd, __u64 first, __u64 nr,
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
static void check_file(const struct file_state *f, int fd)
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
		check(frame_of(addr) == page->pfn,
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

static void print_file(const char *what, const struct file_state *f)
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

static int new_session(const char *name)
{
	int fd = luo_create_session(luo_fd, name);

	if (fd < 0)
		ksft_exit_fail_msg("creating session %s: %s\n", name,
				   strerror(-fd));

	return fd;
}

static int take_session(const char *name)
{
	int fd = luo_retrieve_session(luo_fd, name);

	if (fd < 0)
		ksft_exit_fail_msg("retrieving session %s: %s\n", name,
				   strerror(-fd));

	return fd;
}

static void preserve(int session, const struct file_state *f, int fd)
{
	int err = luo_session_preserve_fd(session, fd, f->token);

	if (err)
		ksft_exit_fail_msg("preserving file %llu: %s\n", f->token,
				   strerror(-err));
}

static int retrieve(int session, const struct file_state *f)
{
	int fd = luo_session_retrieve_fd(session, f->token);

	if (fd < 0)
		ksft_exit_fail_msg("retrieving file %llu: %s\n", f->token,
				   strerror(-fd));

	return fd;
}

static void finish(int session)
{
	int err = luo_session_finish(session);

	if (err)
		ksft_exit_fail_msg("ending a session: %s\n", strerror(-err));
	close(session);
}

/* Preserve what this kernel knows about the files. */
static void save_state(void)
{
	int session = new_session(STATE_SESSION);
	int fd = sys_memfd_create("state", 0);
	int err;

	state_session = session;

	state.magic = STATE_MAGIC;
	state.stage = stage;
	if (fd < 0 || write(fd, &state, sizeof(state)) != sizeof(state))
		fail_exit("writing the state");
	err = luo_session_preserve_fd(session, fd, STATE_TOKEN);
	if (err)
		ksft_exit_fail_msg("preserving the state: %s\n",
				   strerror(-err));
	close(fd);
}

/* Take it back, to preserve another one. */
static void drop_state(void)
{
	close(state_session);
}

static void load_state(void)
{
	int session = take_session(STATE_SESSION);
	int fd = luo_session_retrieve_fd(session, STATE_TOKEN);

	if (fd < 0)
		ksft_exit_fail_msg("retrieving the state: %s\n", strerror(-fd));
	if (sys_pread(fd, &state, sizeof(state), 0) != sizeof(state) ||
	    state.magic != STATE_MAGIC || state.stage != (__u32)stage - 1)
		ksft_exit_fail_msg("the state is not what stage %d left\n",
				   stage - 1);
	close(fd);
	finish(session);
}

/*
 * What tools/mm/hugeverify makes of it
 */

/* Return: its exit status. */
static int run_hugeverify(char *const argv[])
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		execve(HUGEVERIFY, argv, (char *const []){ NULL });
		fail_exit(HUGEVERIFY);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		ksft_exit_fail_msg("hugeverify did not end as it should\n");

	return WEXITSTATUS(status);
}

/* All files of the state, in its order. They are called by their tokens. */
static void record_files(const char *path, const int *fds)
{
	static char words[MAX_FILES][2][32];
	char *argv[4 + 3 * MAX_FILES + 1] = {
		HUGEVERIFY, "record", "--out", (char *)path,
	};
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
	unlink(path);
	check_eq("hugeverify record", run_hugeverify(argv), 0);
}

/* With what the kernel before recorded: 0 if all is the same. */
static int compare_files(const int *fds)
{
	char *argv[5] = {
		HUGEVERIFY, "compare", RECORD_BEFORE, RECORD_NOW, NULL,
	};

	record_files(RECORD_NOW, fds);

	return run_hugeverify(argv);
}

/*
 * The next kernel
 */

static void write_all(int fd, const void *data, size_t len)
{
	while (len) {
		ssize_t ret = write(fd, data, len);

		if (ret <= 0)
			fail_exit("write");
		data = (const char *)data + ret;
		len -= ret;
	}
}

static size_t pad4(size_t len)
{
	return (len + 3) & ~3UL;
}

/* One entry of a cpio archive ("newc"). */
static void cpio_entry(int out, const char *name, unsigned int mode,
		       unsigned int major, unsigned int minor, const char *from)
{
	static unsigned int ino = 1;
	static char buf[65536];
	size_t size = 0, len, done = 0;
	struct stat st;
	int in = -1;

	if (from) {
		in = open(from, O_RDONLY);
		if (in < 0 || fstat(in, &st))
			fail_exit("%s", from);
		size = st.st_size;
	}
	len = snprintf(buf, sizeof(buf),
		       "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s",
		       ino++, mode, 0, 0, 1, 0, (unsigned int)size, 0, 0, major,
		       minor, (unsigned int)strlen(name) + 1, 0, name);
	memset(buf + len, 0, 4);
	write_all(out, buf, pad4(len + 1));
	while (done < size) {
		ssize_t ret = read(in, buf, sizeof(buf));

		if (ret <= 0)
			fail_exit("%s", from);
		write_all(out, buf, ret);
		done += ret;
	}
	memset(buf, 0, 4);
	write_all(out, buf, pad4(size) - size);
	if (in >= 0)
		close(in);
}

/* The initramfs of the next kernel is like that of this one. */
static int make_initramfs(void)
{
	struct stat st;
	int fd = open(INITRAMFS_IMAGE, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0)
		fail_exit(INITRAMFS_IMAGE);
	cpio_entry(fd, "dev", S_IFDIR | 0755, 0, 0, NULL);
	cpio_entry(fd, "proc", S_IFDIR | 0755, 0, 0, NULL);
	cpio_entry(fd, "sys", S_IFDIR | 0755, 0, 0, NULL);
	cpio_entry(fd, "debugfs", S_IFDIR | 0755, 0, 0, NULL);
	cpio_entry(fd, "dev/console", S_IFCHR | 0600, 5, 1, NULL);
	cpio_entry(fd, "init", S_IFREG | 0755, 0, 0, INIT_BINARY);
	cpio_entry(fd, "kernel", S_IFREG | 0644, 0, 0, KERNEL_IMAGE);
	cpio_entry(fd, "hugeverify", S_IFREG | 0755, 0, 0, HUGEVERIFY);
	if (!stat(RECORD_BEFORE, &st))
		cpio_entry(fd, RECORD_BEFORE + 1, S_IFREG | 0600, 0, 0,
			   RECORD_BEFORE);
	cpio_entry(fd, "TRAILER!!!", 0, 0, 0, NULL);
	close(fd);

	/* The kernel reads it only if nobody can write to it. */
	return open(INITRAMFS_IMAGE, O_RDONLY);
}

/* Load the next kernel, with @args on its command line. */
static void load_kernel(const char *args)
{
	char cmdline[CMDLINE_SIZE];
	int kernel, initramfs, len;

	len = snprintf(cmdline, sizeof(cmdline),
		       COMMON_ARGS " luo_test=%s luo_stage=%d %s", test->name,
		       stage + 1, args);
	kernel = open(KERNEL_IMAGE, O_RDONLY);
	if (kernel < 0)
		fail_exit(KERNEL_IMAGE);
	initramfs = make_initramfs();
	if (syscall(__NR_kexec_file_load, kernel, initramfs, len + 1, cmdline,
		    0))
		fail_exit("kexec_file_load");
	close(initramfs);
	close(kernel);
}

/* Only returns if the reboot fails, with the reason. */
static int try_reboot(void)
{
	if (nr_failures)
		ksft_exit_fail_msg("stage %d of %s has failures\n", stage,
				   test->name);
	ksft_print_msg("stage %d of %s done, rebooting\n", stage, test->name);
	syscall(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_KEXEC, NULL);

	return -errno;
}

static void live_update(const char *args)
{
	int err;

	save_state();
	load_kernel(args);
	print_pools("before");
	err = try_reboot();
	ksft_exit_fail_msg("live update: %s\n", strerror(-err));
}

/*
 * Tests
 */

/* A file with all its pages on @nid, and a position. */
static int preserve_full(int session, __u64 token, __u64 page_size, __u64 nr,
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
static int preserve_sparse(int session, __u64 token, __u64 page_size, __u64 nr)
{
	struct file_state *f = new_file_state();
	int fd = create_file(f, token, page_size, nr);

	fill_page(f, fd, 1, 0);
	fill_page(f, fd, nr - 2, 1);
	if (page_size == SZ_2M) {
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
static int preserve_last(int session, __u64 token, __u64 page_size, __u64 nr,
			 int nid)
{
	struct file_state *f = new_file_state();
	int fd = create_file(f, token, page_size, nr);

	fill_page(f, fd, nr - 1, nid);
	preserve(session, f, fd);
	print_file("preserved", f);

	return fd;
}

/* Retrieve all files of a session, the last one first, and compare them. */
static void retrieve_all(int session, int *fds)
{
	int i;

	for (i = state.nr_files - 1; i >= 0; i--) {
		fds[i] = retrieve(session, &state.files[i]);
		check_file(&state.files[i], fds[i]);
		print_file("retrieved", &state.files[i]);
	}
}

static void close_all(const int *fds)
{
	__u32 i;

	for (i = 0; i < state.nr_files; i++)
		close(fds[i]);
}

/* The files can be gone; their pages are free then. */
static void forget_files(void)
{
	state.nr_files = 0;
}

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

/* --- retrieved_in_part: two sessions, one never asked for until the end --- */

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
	session = take_session("second");
	fd = retrieve(session, &state.files[2]);
	check_file(&state.files[2], fd);
	finish(session);
	close(fd);
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
	int fd = preserve_full(first, 10, SZ_2M, 4, 0), again;

	again = dup(fd);
	check_eq("again", luo_session_preserve_fd(first, fd, 11), -EBUSY);
	check_eq("duplicate", luo_session_preserve_fd(first, again, 11),
		 -EBUSY);
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
	drop_state();
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
		__atomic_store_n(&count[0], n, __ATOMIC_SEQ_CST);
		__atomic_store_n(&count[1], n, __ATOMIC_SEQ_CST);
	}
}

static void writer_1(void)
{
	struct file_state *f = new_file_state();
	int session = new_session("writer"), fd;
	__u64 *count;
	pid_t pid;

	fd = create_file(f, 10, SZ_2M, WRITER_PAGES);
	fill_page(f, fd, 0, 1);
	preserve(session, f, fd);
	save_state();
	load_kernel(WRITER_ARGS);
	count = map_any_page(fd, SZ_2M, 0);
	if (!count)
		fail_exit("mmap");
	pid = fork();
	if (pid < 0)
		fail_exit("fork");
	if (!pid)
		write_counted(fd);
	while (__atomic_load_n(&count[1], __ATOMIC_SEQ_CST) < 64 * 20)
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
	first = words[0];
	second = words[1];
	ksft_print_msg("the writer got to %llu and %llu\n", first, second);
	check(first == second || first == second + 1,
	      "a word came that was stored after one that did not");
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

/*
 * The program
 */

static const struct test tests[] = {
	{ "roundtrip_2m", 1024, 2,
	  ROUNDTRIP_2M_ARGS,
	  { roundtrip_2m_1, roundtrip_2m_2 } },
	{ "roundtrip_1g", 4096, 2,
	  ROUNDTRIP_1G_ARGS,
	  { roundtrip_1g_1, roundtrip_1g_2 } },
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
	{ "fewer_pages", 1024, 2,
	  "hugepages=64",
	  { fewer_pages_1, fewer_pages_2 } },
	{ "missing_size", 4096, 2,
	  "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=32",
	  { missing_size_1, missing_size_2 } },
	{ "preserved_twice", 1024, 2,
	  PRESERVED_TWICE_ARGS,
	  { preserved_twice_1, preserved_twice_2 } },
	{ "changed_meanwhile", 1024, 2,
	  CHANGED_MEANWHILE_ARGS,
	  { changed_meanwhile_1, changed_meanwhile_2 } },
	{ "aborted_update", 4096, 2,
	  ABORTED_UPDATE_ARGS,
	  { aborted_update_1, aborted_update_2 } },
	{ "three_kernels", 4096, 3,
	  THREE_KERNELS_ARGS,
	  { three_kernels_1, three_kernels_2, three_kernels_3 } },
	{ "writer", 1024, 2,
	  WRITER_ARGS,
	  { writer_1, writer_2 } },
	{ "oversized", 1024, 2,
	  OVERSIZED_ARGS,
	  { oversized_1, oversized_2 } },
	{ "used_afterwards", 1024, 2,
	  USED_AFTERWARDS_ARGS,
	  { used_afterwards_1, used_afterwards_2 } },
};

static void list_tests(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tests); i++)
		printf("%s %u %d " COMMON_ARGS " luo_test=%s luo_stage=1 %s\n",
		       tests[i].name, tests[i].mib, tests[i].nr_stages,
		       tests[i].name, tests[i].args);
}

/* The value of a "NAME=VALUE" word of the kernel's command line. */
static bool cmdline_word(const char *name, char *value, size_t len)
{
	char cmdline[CMDLINE_SIZE] = {};
	const char *word;
	int fd = open("/proc/cmdline", O_RDONLY);
	size_t n = 0;

	if (fd < 0 || read(fd, cmdline, sizeof(cmdline) - 1) < 0)
		fail_exit("/proc/cmdline");
	close(fd);
	word = strstr(cmdline, name);
	if (!word)
		return false;
	for (word += strlen(name); *word > ' ' && n + 1 < len; word++)
		value[n++] = *word;
	value[n] = 0;

	return true;
}

static void run_stage(void)
{
	char name[32], number[8];
	unsigned int i;

	if (!cmdline_word("luo_test=", name, sizeof(name)) ||
	    !cmdline_word("luo_stage=", number, sizeof(number)))
		ksft_exit_fail_msg("no luo_test= and luo_stage= on the kernel's command line\n");
	stage = atoi(number);
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		if (!strcmp(tests[i].name, name))
			test = &tests[i];
	if (!test || stage < 1 || stage > test->nr_stages)
		ksft_exit_fail_msg("no test %s with a stage %d\n", name, stage);

	ksft_print_header();
	ksft_set_plan(1);
	ksft_print_msg("stage %d of %s begins\n", stage, name);
	luo_fd = luo_open_device();
	if (luo_fd < 0)
		fail_exit(LUO_DEVICE);
	print_memory("at the beginning");
	test->stages[stage - 1]();
	print_memory("at the end");
	if (stage < test->nr_stages)
		ksft_exit_fail_msg("stage %d of %s has led nowhere\n", stage,
				   name);
	if (nr_failures)
		ksft_exit_fail_msg("%s: %d failures\n", name, nr_failures);
	ksft_test_result_pass("%s\n", name);
	ksft_finished();
}

static void mount_all(void)
{
	if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
		fail_exit("mounting /dev");
	if (mount("proc", "/proc", "proc", 0, NULL))
		fail_exit("mounting /proc");
	if (mount("sysfs", "/sys", "sysfs", 0, NULL))
		fail_exit("mounting /sys");
	if (mount("debugfs", "/debugfs", "debugfs", 0, NULL))
		fail_exit("mounting /debugfs");
}

static void be_init(void)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		mount_all();
		run_stage();
		exit(KSFT_FAIL);
	}
	while (waitpid(-1, &status, 0) != pid)
		;
	reboot(RB_AUTOBOOT);
}

int main(int argc, char *argv[])
{
	if (argc == 2 && !strcmp(argv[1], "--list"))
		list_tests();
	else if (getpid() == 1)
		be_init();
	else
		run_stage();

	return 0;
}
