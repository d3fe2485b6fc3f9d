// SPDX-License-Identifier: GPL-2.0-only

/*
 * Measures what it costs to hand memfds with huge pages to the next kernel: how
 * long preserving, freezing, retrieving and finishing take, and which functions
 * of the kernel that time goes to.
 *
 * Each test is a chain of kernels: see lib/include/lu_chain.h for how to run it.
 * What was measured is printed in lines for programs to read:
 *
 *   cost WHAT files=N pages=N runs=N rounds=N min=NS median=NS
 *   share WHAT files=N pages=N runs=N function=NAME calls=N ns=NS
 *   boot files=N pages=N runs=N holes=N function=NAME calls=N ns=NS
 *   calibration files=N pages=N runs=N holes=N function=NAME calls=N ns=NS
 *
 * "files" and "pages" are what one round is about, "runs" how many pieces of
 * physical memory these pages are, "holes" how many indices apart from each other
 * are reserved and have no page. The clock is the guest's. In a share the time
 * is that between entering and leaving a function, all calls together. Some of
 * the profiler's own time is in it: "share calibration" has nothing but that, as
 * "calibration" has nothing but that of the tracer, which "boot" has in it.
 *
 * What a kernel does at boot with what it is given is timed by the function graph
 * tracer, since the profiler is not to be had by then; of free pages, "files" is
 * zero. "boot" also has what preserving and retrieving a file with holes takes, by
 * the clock alone. How long a reboot took is in the kernel's log, from a line "reboot" with
 * the same fields to the one that a new kernel is started.
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
#include <time.h>
#include <unistd.h>

#include <linux/reboot.h>

#include <libliveupdate.h>
#include <lu_hugetlb.h>

#define MAX_ROUNDS	9

/* How many files are frozen at a time, and how many pages come late. */
#define NR_FROZEN	4
#define NR_LATE		16

/* Of functions to profile. */
#define NR_SETS		2
#define MAX_SET		12

#define TRACING		"/tracing"
#define CALIBRATION_CALLS	1000

/*
 * What a test is about. A file can be retrieved or finished only once, so there
 * are several for that, and one more for each set of functions to profile.
 */
struct plan {
	const char *test;
	unsigned long page_size;
	unsigned int nr_pages;
	unsigned int nr_retrieved;
	unsigned int nr_finished;
	/* Only the second kernel is of interest. */
	bool second_only;
	const char *next_args;
};

/* The kernel would mistrust its best clock if the host is busy. */
#define ARGS	"tsc=reliable "
#define ARGS_2M	ARGS "hugepages=0:1320,1:1320"
#define ARGS_1G	ARGS "hugepagesz=1G hugepages=0:3,1:4 "			\
		"hugepagesz=2M hugepages=64"
#define HVO	" hugetlb_free_vmemmap=on"
#define ARGS_BOOT	ARGS "ftrace=function_graph ftrace_filter="	\
			"hugetlb_luo_import,hugetlb_luo_boot_begin,"	\
			"hugetlb_luo_boot_end "

static const struct plan plans[] = {
	{ "cost_2m", SZ_2M, 256, 4, 2, false, ARGS_2M },
	{ "cost_2m_hvo", SZ_2M, 256, 4, 2, true, ARGS_2M HVO },
	{ "cost_1g", SZ_1G, 1, 2, 1, false, ARGS_1G },
	{ "cost_1g_hvo", SZ_1G, 1, 2, 1, true, ARGS_1G HVO },
};

static const struct plan *plan;

/* By token, which ascends in this order: the first of each kind. */
#define FIRST_PROFILED	(plan->nr_retrieved)
#define FIRST_EMPTY	(FIRST_PROFILED + NR_SETS)
#define FIRST_FINISHED	(FIRST_EMPTY + NR_EMPTY)
#define NR_EMPTY	2
#define NR_FILES	(FIRST_FINISHED + plan->nr_finished + NR_SETS)
#define MAX_COST_FILES	16

static int fds[MAX_COST_FILES];

/*
 * Functions to profile. Those of one set do not call each other, so that the
 * profiler's time for one is not taken for another's. What the compiler has
 * inlined is missing, and is a part of who calls it.
 */
static const char * const preserve_sets[NR_SETS][MAX_SET] = {
	{ "memfd_pin_folios", "kho_preserve_folio", "hugetlb_luo_table_add",
	  "filemap_get_folios", "__folio_batch_release", "kho_scratch_overlap",
	  "kho_alloc_preserve", "synchronize_srcu", "region_count" },
	{ "filemap_get_folios_contig", "try_grab_folio", "kho_radix_add_key" },
};

static const char * const freeze_set[MAX_SET] = {
	"hugetlb_luo_freeze", "hugetlb_luo_unfreeze"
};

static const char * const retrieve_sets[NR_SETS][MAX_SET] = {
	{ "kho_restore_folio", "init_new_hugetlb_folio",
	  "hugetlb_add_to_page_cache", "folio_unlock", "region_chg",
	  "region_add", "memfd_alloc_file", "memfd_add_seals",
	  "hugetlb_luo_commit", "hugetlb_luo_in_done" },
	{ "prep_compound_page", "adjust_managed_page_count",
	  "__filemap_add_folio" },
};

static const char * const finish_sets[NR_SETS][MAX_SET] = {
	{ "kho_restore_folio", "init_new_hugetlb_folio", "__folio_put",
	  "hugetlb_luo_in_done" },
	{ "prep_compound_page", "adjust_managed_page_count",
	  "free_huge_folio" },
};

/* One function, which has more than one name. */
static const char * const calibration_set[MAX_SET] = {
	"__x64_sys_ni_syscall", "__do_sys_ni_syscall", "__arm64_sys_ni_syscall"
};

/* What a round is about. */
struct load {
	unsigned int nr_files;
	unsigned int nr_pages;
	unsigned int nr_runs;
	unsigned int nr_holes;
};

#define MAX_BOOT_PAGES	1024
#define MAX_BOOT_HOLES	512

/*
 * What one kernel hands to the next, and nothing else that is huge: pages of a
 * file, or free ones, or a file with nothing but reserved holes. A pool gives its
 * pages in the opposite order to that in which it got them, so that a file that is
 * filled once more has them the other way round, in many runs or in few.
 */
static const struct boot_load {
	unsigned int nr_files;
	unsigned int nr_pages;
	bool turned;
	unsigned int nr_holes;
} boot_loads[] = {
	{ 0 },
	{ 0, 1 },
	{ 0, MAX_BOOT_PAGES },
	{ 1, 1 },
	{ 1, MAX_BOOT_PAGES, true },
	{ 1, MAX_BOOT_PAGES },
	{ .nr_files = 1, .nr_holes = 1 },
	{ .nr_files = 1, .nr_holes = MAX_BOOT_HOLES },
};

/*
 * Interrupts fall into it, but not each time. A page of a file takes so little
 * that these are measured more often.
 */
#define BOOT_ROUNDS	2
#define FIRST_WITH_PAGES	3
#define NR_WITH_PAGES	3
#define NR_EACH		(BOOT_ROUNDS * (int)ARRAY_SIZE(boot_loads))
#define NR_BOOTS	(NR_EACH + BOOT_ROUNDS * NR_WITH_PAGES)

struct samples {
	unsigned int nr;
	__u64 ns[MAX_ROUNDS];
};

/*
 * Time
 */

static __u64 now(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		fail_exit("clock_gettime");

	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* In ascending order. */
static void add_sample(struct samples *samples, __u64 ns)
{
	unsigned int i;

	if (samples->nr == MAX_ROUNDS)
		ksft_exit_fail_msg("too many rounds\n");
	for (i = samples->nr++; i && samples->ns[i - 1] > ns; i--)
		samples->ns[i] = samples->ns[i - 1];
	samples->ns[i] = ns;
}

static void print_cost(const char *what, const struct load *load,
		       const struct samples *samples)
{
	ksft_print_msg("cost %s files=%u pages=%u runs=%u rounds=%u min=%llu median=%llu\n",
		       what, load->nr_files, load->nr_pages, load->nr_runs,
		       samples->nr, samples->ns[0],
		       (samples->ns[(samples->nr - 1) / 2] +
			samples->ns[samples->nr / 2]) / 2);
}

/* What is part of all that is measured. */
static void measure_clock(void)
{
	const struct load load = {};
	struct samples samples = {};

	while (samples.nr < MAX_ROUNDS) {
		__u64 start = now();

		add_sample(&samples, now() - start);
	}
	print_cost("nothing", &load, &samples);
}

/*
 * The kernel's function profiler
 */

static int write_text(const char *path, int flags, const char *text)
{
	int fd = open(path, O_WRONLY | flags), err = 0;
	ssize_t len = strlen(text);

	if (fd < 0)
		return -errno;
	if (write(fd, text, len) != len)
		err = -errno;
	close(fd);

	return err;
}

static void must_write(const char *path, const char *text)
{
	int err = write_text(path, 0, text);

	if (err)
		ksft_exit_fail_msg("writing to %s: %s\n", path, strerror(-err));
}

static void mount_at(const char *dir, const char *type)
{
	if (mkdir(dir, 0700) || mount(type, dir, type, 0, NULL))
		fail_exit("mounting %s", type);
}

static void set_filter(const char * const *set)
{
	unsigned int i, nr = 0;
	char line[64];

	write_text(TRACING "/set_ftrace_filter", O_TRUNC, " ");
	for (i = 0; i < MAX_SET && set[i]; i++) {
		snprintf(line, sizeof(line), "%s\n", set[i]);
		if (!write_text(TRACING "/set_ftrace_filter", O_APPEND, line))
			nr++;
	}
	/* An empty filter stands for all functions. */
	if (!nr)
		ksft_exit_fail_msg("there is nothing to profile\n");
}

static void start_profile(const char * const *set)
{
	set_filter(set);
	must_write(TRACING "/function_profile_enabled", "1");
}

/* A number of microseconds with up to three decimals. */
static __u64 parse_us(const char *text)
{
	unsigned int unit = 1000;
	char *end;
	__u64 ns;

	ns = strtoull(text, &end, 10) * unit;
	if (*end == '.')
		while (*++end >= '0' && *end <= '9') {
			unit /= 10;
			ns += (*end - '0') * unit;
		}

	return ns;
}

/* The next word of a line, which is cut off in place. */
static char *next_word(char **text)
{
	char *word;

	while (**text == ' ')
		(*text)++;
	word = *text;
	while (**text > ' ')
		(*text)++;
	if (**text)
		*(*text)++ = 0;

	return word;
}

/* Of a line of the profile: the name of a function, calls, and time. */
static void print_share(const char *what, const struct load *load, char *line)
{
	const char *name = next_word(&line), *calls = next_word(&line);

	/* The headings have no number there. */
	if (!atol(calls))
		return;
	ksft_print_msg("share %s files=%u pages=%u runs=%u function=%s calls=%s ns=%llu\n",
		       what, load->nr_files, load->nr_pages, load->nr_runs,
		       name, calls, parse_us(next_word(&line)));
}

static void print_profile(const char *path, const char *what,
			  const struct load *load)
{
	static char buf[8192];
	char *line, *end;
	size_t done = 0;
	ssize_t len;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return;
	while ((len = read(fd, buf + done, sizeof(buf) - 1 - done)) > 0)
		done += len;
	close(fd);
	buf[done] = 0;

	for (line = buf; (end = strchr(line, '\n')); line = end + 1) {
		*end = 0;
		print_share(what, load, line);
	}
}

static void end_profile(const char *what, const struct load *load)
{
	must_write(TRACING "/function_profile_enabled", "0");
	print_profile(TRACING "/trace_stat/function0", what, load);
	print_profile(TRACING "/trace_stat/function1", what, load);
}

/*
 * The profiler's own time in each call of a function. A system call that is no
 * more is a function that does nothing.
 */
static void calibrate_profile(void)
{
	const struct load load = {};
	unsigned int i;

	mount_at(TRACING, "tracefs");
	start_profile(calibration_set);
	for (i = 0; i < CALIBRATION_CALLS; i++)
		syscall(__NR_nfsservctl);
	end_profile("calibration", &load);
}

/*
 * Files
 */

static __u64 word_of(__u64 token, __u64 index)
{
	return token << 32 | (index + 1);
}

static void write_word(int fd, __u64 page_size, __u64 index, __u64 word)
{
	__u64 *addr = map_any_page(fd, page_size, index);

	if (!addr)
		fail_exit("mmap of page %llu", index);
	*addr = word;
	munmap(addr, page_size);
}

static int make_empty_file(__u64 page_size, unsigned int nr_pages)
{
	static struct file_state unused;

	return create_file(&unused, 0, page_size, nr_pages);
}

/* Those that are to have pages have each of them written to. */
static void make_files(void)
{
	long needed = (NR_FILES - NR_EMPTY) * plan->nr_pages;
	struct pool pool = read_pool(plan->page_size, ANY_NODE);
	unsigned int token, i;

	if (NR_FILES > MAX_COST_FILES)
		ksft_exit_fail_msg("too many files\n");
	if (pool.free < needed)
		ksft_exit_fail_msg("%ld pages are free, %ld are needed\n",
				   pool.free, needed);
	for (token = 0; token < NR_FILES; token++) {
		fds[token] = make_empty_file(plan->page_size, plan->nr_pages);
		if (token >= FIRST_EMPTY && token < FIRST_FINISHED)
			continue;
		for (i = 0; i < plan->nr_pages; i++)
			write_word(fds[token], plan->page_size, i,
				   word_of(token, i));
	}
}

/* Return: how many pieces of memory it is. */
static unsigned int check_pages(__u64 token, int fd)
{
	__u64 frames = plan->page_size / getpagesize(), expected = 0;
	unsigned int i, nr_runs = 0;
	struct stat st;

	if (fstat(fd, &st))
		fail_exit("fstat");
	check_eq("blocks", st.st_blocks,
		 plan->nr_pages * (plan->page_size / 512));
	for (i = 0; i < plan->nr_pages; i++) {
		__u64 *addr = map_page(fd, plan->page_size, i);

		if (!addr)
			fail_exit("mmap of page %u", i);
		check_eq("word", *addr, word_of(token, i));
		if (frame_of(addr) != expected)
			nr_runs++;
		expected = frame_of(addr) + frames;
		munmap(addr, plan->page_size);
	}

	return nr_runs;
}

/*
 * The first kernel
 */

/* Each preservation waits for a grace period, which one just before prolongs. */
static void settle(void)
{
	usleep(1000);
}

static void measure_preserve(int fd, const struct load *load)
{
	struct samples preserve = {}, unpreserve = {};
	unsigned int i;

	while (preserve.nr < MAX_ROUNDS) {
		int session = new_session("measured");
		__u64 start;

		settle();
		start = now();
		preserve_fd(session, 1, fd);
		add_sample(&preserve, now() - start);
		settle();
		start = now();
		close(session);
		add_sample(&unpreserve, now() - start);
	}
	print_cost("preserve", load, &preserve);
	print_cost("unpreserve", load, &unpreserve);

	for (i = 0; i < NR_SETS; i++) {
		int session = new_session("profiled");

		start_profile(preserve_sets[i]);
		preserve_fd(session, 1, fd);
		end_profile("preserve", load);
		close(session);
	}
}

/* One file right after the other: the time for the last of them. */
static void measure_hurry(void)
{
	struct load load = { 1 };
	struct samples samples = {};
	int empty[2];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(empty); i++)
		empty[i] = make_empty_file(plan->page_size, plan->nr_pages);
	while (samples.nr < MAX_ROUNDS) {
		int session = new_session("hurry");
		__u64 start;

		preserve_fd(session, 1, empty[0]);
		start = now();
		preserve_fd(session, 2, empty[1]);
		add_sample(&samples, now() - start);
		close(session);
	}
	print_cost("preserve_next", &load, &samples);
	for (i = 0; i < ARRAY_SIZE(empty); i++)
		close(empty[i]);
}

/* A control group with a path that cannot be handed over. */
static char stuck_group[4096];

/*
 * A file that cannot be frozen, since a page was added to it that is charged to
 * such a group. This makes reboot() come back, with everything thawed again.
 */
static int preserve_stuck_file(int session)
{
	int fd = make_empty_file(SZ_2M, 1);

	preserve_fd(session, 1000, fd);
	if (write_cgroup(stuck_group, "cgroup.procs", "0"))
		fail_exit("entering a control group");
	write_word(fd, SZ_2M, 0, 1);
	if (write_cgroup("", "cgroup.procs", "0"))
		fail_exit("leaving a control group");

	return fd;
}

static __u64 failing_reboot(void)
{
	__u64 start = now();
	long ret;

	ret = syscall(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		      LINUX_REBOOT_CMD_KEXEC, NULL);
	start = now() - start;
	check_eq("reboot", ret ? -errno : 0, -ENAMETOOLONG);

	return start;
}

/* With @nr_late pages in the first file that were added while it is preserved. */
static void measure_freeze(const char *what, const int *files,
			   const struct load *load, unsigned int nr_late)
{
	int session = new_session("frozen"), stuck;
	struct samples samples = {};
	unsigned int i;

	for (i = 0; i < load->nr_files; i++)
		preserve_fd(session, i + 1, files[i]);
	for (i = 0; i < nr_late; i++)
		write_word(files[0], plan->page_size, i, 1);
	stuck = preserve_stuck_file(session);

	while (samples.nr < MAX_ROUNDS)
		add_sample(&samples, failing_reboot());
	start_profile(freeze_set);
	failing_reboot();
	end_profile(what, load);
	print_cost(what, load, &samples);
	close(session);
	close(stuck);
}

/* That freezing fails is printed, which is not to be waited for. */
static void set_console(bool on)
{
	if (on)
		usleep(100000);
	if (syscall(__NR_syslog, on ? 7 : 6, NULL, 0))
		fail_exit("syslog");
}

/* How much does it matter how many files there are, and how many pages each has? */
static void measure_freezes(unsigned int nr_runs)
{
	int empty[NR_FROZEN], small[NR_FROZEN];
	struct load load = {};
	unsigned int i;

	mount_cgroups("+hugetlb", NULL);
	make_long_cgroup(stuck_group, sizeof(stuck_group));
	load_kernel(plan->next_args);
	for (i = 0; i < NR_FROZEN; i++) {
		empty[i] = make_empty_file(plan->page_size, NR_LATE);
		if (plan->nr_pages == 1)
			continue;
		small[i] = make_empty_file(plan->page_size, 1);
		write_word(small[i], plan->page_size, 0, 1);
	}
	set_console(false);

	measure_freeze("freeze", NULL, &load, 0);
	for (i = 1; i <= NR_FROZEN; i += NR_FROZEN - 1) {
		load = (struct load){ i };
		measure_freeze("freeze", empty, &load, 0);
		load = (struct load){ i, i, i };
		if (plan->nr_pages > 1)
			measure_freeze("freeze", small, &load, 0);
		load = (struct load){ i, i * plan->nr_pages, i * nr_runs };
		measure_freeze("freeze", fds, &load, 0);
	}
	if (plan->page_size == SZ_2M) {
		load = (struct load){ 1, NR_LATE };
		measure_freeze("freeze_late", empty, &load, NR_LATE);
	}

	set_console(true);
	for (i = 0; i < NR_FROZEN; i++) {
		close(empty[i]);
		if (plan->nr_pages > 1)
			close(small[i]);
	}
}

static const char *finished_session(unsigned int token)
{
	static char name[32];

	snprintf(name, sizeof(name), "finished-%u", token);

	return name;
}

static void preserve_files(void)
{
	int session = new_session("retrieved");
	unsigned int token;

	for (token = 0; token < FIRST_FINISHED; token++)
		preserve_fd(session, token, fds[token]);
	for (token = FIRST_FINISHED; token < NR_FILES; token++)
		preserve_fd(new_session(finished_session(token)), token,
			    fds[token]);
	preserve_fd(new_session("empty"), token,
		    make_empty_file(plan->page_size, plan->nr_pages));
}

static void first_kernel(void)
{
	struct load load = { 1 };

	if (!plan->second_only) {
		measure_clock();
		calibrate_profile();
	}
	make_files();
	if (!plan->second_only) {
		measure_preserve(fds[FIRST_EMPTY], &load);
		load.nr_pages = plan->nr_pages;
		load.nr_runs = check_pages(0, fds[0]);
		measure_preserve(fds[0], &load);
		measure_hurry();
		measure_freezes(load.nr_runs);
	}
	preserve_files();
	load_kernel(plan->next_args);
	print_pools("before");
	check_eq("reboot", try_reboot(), 0);
}

/*
 * The second kernel
 */

static __u64 timed_finish(const char *name)
{
	int session = take_session(name);
	__u64 start = now();
	int err;

	err = luo_session_finish(session);
	start = now() - start;
	check_eq("finish", err, 0);
	close(session);

	return start;
}

static void measure_retrieve(void)
{
	struct samples samples = {}, empty = {}, end = {};
	int session = take_session("retrieved");
	struct load load = { 1 };
	unsigned int token;
	__u64 start;
	int fd;

	for (token = FIRST_EMPTY; token < FIRST_FINISHED; token++) {
		start = now();
		fd = retrieve_fd(session, token);
		add_sample(&empty, now() - start);
	}
	print_cost("retrieve", &load, &empty);

	load.nr_pages = plan->nr_pages;
	for (token = 0; token < FIRST_PROFILED; token++) {
		start = now();
		fd = retrieve_fd(session, token);
		add_sample(&samples, now() - start);
		load.nr_runs = check_pages(token, fd);
	}
	print_cost("retrieve", &load, &samples);

	for (; token < FIRST_EMPTY; token++) {
		start_profile(retrieve_sets[token - FIRST_PROFILED]);
		fd = retrieve_fd(session, token);
		end_profile("retrieve", &load);
		check_pages(token, fd);
	}

	load = (struct load){ FIRST_FINISHED, FIRST_EMPTY * plan->nr_pages };
	start = now();
	check_eq("finish", luo_session_finish(session), 0);
	add_sample(&end, now() - start);
	print_cost("finish_retrieved", &load, &end);
}

static void measure_finish(void)
{
	struct samples samples = {}, empty = {};
	struct load load = { 1 };
	unsigned int i;

	add_sample(&empty, timed_finish("empty"));
	print_cost("finish", &load, &empty);

	load.nr_pages = plan->nr_pages;
	for (i = 0; i < plan->nr_finished; i++)
		add_sample(&samples,
			   timed_finish(finished_session(FIRST_FINISHED + i)));
	print_cost("finish", &load, &samples);

	for (i = 0; i < NR_SETS; i++) {
		start_profile(finish_sets[i]);
		timed_finish(finished_session(FIRST_FINISHED +
					      plan->nr_finished + i));
		end_profile("finish", &load);
	}
}

static void second_kernel(void)
{
	long nr = (long)FIRST_EMPTY * plan->nr_pages;
	struct pool pool;

	measure_clock();
	calibrate_profile();
	measure_retrieve();
	measure_finish();

	/* What was measured gave back what was to be finished, and no more. */
	print_pools("at the end");
	pool = read_pool(plan->page_size, ANY_NODE);
	check_eq("pages in use", pool.nr - pool.free, nr);
	check_eq("surplus pages", pool.surplus, 0);
}

/*
 * Early boot, and free pages
 */

static void print_calls(const char *what, const struct load *load,
			const char *name, unsigned int calls, __u64 ns)
{
	ksft_print_msg("%s files=%u pages=%u runs=%u holes=%u function=%s calls=%u ns=%llu\n",
		       what, load->nr_files, load->nr_pages, load->nr_runs,
		       load->nr_holes, name, calls, ns);
}

/* Of the tracer, all calls together. */
static void print_graph(const char *what, const struct load *load,
			const char *name)
{
	static char buf[16384];
	const char *line = buf;
	unsigned int calls = 0;
	size_t done = 0;
	ssize_t len;
	__u64 ns = 0;
	int fd;

	fd = open(TRACING "/trace", O_RDONLY);
	if (fd < 0)
		fail_exit(TRACING "/trace");
	while ((len = read(fd, buf + done, sizeof(buf) - 1 - done)) > 0)
		done += len;
	close(fd);
	buf[done] = 0;

	/* "CPU)   TIME us    |  NAME();" */
	while ((line = strstr(line, " us "))) {
		const char *time = line, *function;

		while (time > buf && time[-1] > ' ')
			time--;
		function = strchr(line, '|');
		line += strlen(" us ");
		if (!function)
			break;
		while (*function == '|' || *function == ' ')
			function++;
		len = strlen(name);
		if (strncmp(function, name, len) || function[len] != '(')
			continue;
		ns += parse_us(time);
		calls++;
	}
	print_calls(what, load, name, calls, ns);
}

static void print_boot(const struct boot_load *from)
{
	struct load load = { from->nr_files, from->nr_pages, 0, from->nr_holes };
	char runs[16];
	unsigned int i;

	if (!cmdline_word("luo_runs=", runs, sizeof(runs)))
		ksft_exit_fail_msg("no luo_runs= on the kernel's command line\n");
	load.nr_runs = atoi(runs);
	print_graph("boot", &load, "hugetlb_luo_import");
	print_graph("boot", &load, "hugetlb_luo_boot_begin");
	print_graph("boot", &load, "hugetlb_luo_boot_end");

	/* What the tracer takes, of a function that does nothing. */
	set_filter(calibration_set);
	/* Whoever opens it to write empties it. */
	write_text(TRACING "/trace", O_TRUNC, " ");
	for (i = 0; i < 64; i++)
		syscall(__NR_nfsservctl);
	load = (struct load){};
	for (i = 0; calibration_set[i]; i++)
		print_graph("calibration", &load, calibration_set[i]);
	must_write(TRACING "/current_tracer", "nop");
}

/* Of the pages of a file, in their order, or sorted by their frames. */
static unsigned int count_runs(int fd, unsigned int nr, bool sorted)
{
	static __u64 frames[MAX_BOOT_PAGES];
	__u64 step = plan->page_size / getpagesize();
	unsigned int i, j, nr_runs = 0;

	for (i = 0; i < nr; i++) {
		__u64 *addr = map_page(fd, plan->page_size, i), frame;

		if (!addr || *addr != word_of(0, i))
			ksft_exit_fail_msg("page %u is not as it was\n", i);
		frame = frame_of(addr);
		munmap(addr, plan->page_size);
		for (j = i; sorted && j && frames[j - 1] > frame; j--)
			frames[j] = frames[j - 1];
		frames[j] = frame;
	}
	for (i = 0; i < nr; i++)
		if (!i || frames[i - 1] + step != frames[i])
			nr_runs++;

	return nr_runs;
}

static void set_boot_pool(int nid, const char *name, long nr)
{
	char path[128];
	int err;

	pool_path(path, sizeof(path), plan->page_size, nid, name);
	err = write_number(path, nr);
	if (err)
		ksft_exit_fail_msg("writing to %s: %s\n", path, strerror(-err));
}

static int fill_boot_file(const struct boot_load *load)
{
	int fd = make_empty_file(plan->page_size, load->nr_pages);
	unsigned int i;

	for (i = 0; i < load->nr_pages; i++)
		write_word(fd, plan->page_size, i, word_of(0, i));

	return fd;
}

/* Every other index is reserved, which mapping it does. */
static int reserve_boot_holes(const struct boot_load *load)
{
	int fd = make_empty_file(plan->page_size, 2 * load->nr_holes);
	unsigned int i;

	for (i = 0; i < load->nr_holes; i++) {
		/* Unlike map_any_page(), it is to reserve. */
		void *addr = mmap(NULL, plan->page_size, PROT_READ | PROT_WRITE,
				  MAP_SHARED, fd, 2 * i * plan->page_size);

		if (addr == MAP_FAILED)
			fail_exit("mmap of page %u", 2 * i);
		munmap(addr, plan->page_size);
	}

	return fd;
}

static void print_hole_cost(const struct boot_load *from, const char *name,
			    __u64 ns)
{
	const struct load load = { from->nr_files, 0, 0, from->nr_holes };

	print_calls("boot", &load, name, 1, ns);
}

static void preserve_holes(const struct boot_load *load)
{
	int fd = reserve_boot_holes(load), session;
	struct samples samples = {};
	__u64 start;

	/* Some have to wait for a grace period. */
	while (samples.nr < MAX_ROUNDS) {
		session = new_session("measured");
		settle();
		start = now();
		preserve_fd(session, 1, fd);
		add_sample(&samples, now() - start);
		close(session);
		settle();
	}
	print_hole_cost(load, "preserve", samples.ns[0]);
	preserve_fd(new_session("boot"), 1, fd);
	close(fd);
}

/* They need not have pages, but there have to be enough. */
static void retrieve_holes(const struct boot_load *came)
{
	int session = take_session("boot"), fd;
	__u64 start;

	set_boot_pool(0, "nr_hugepages", came->nr_holes);
	start = now();
	fd = retrieve_fd(session, 1);
	print_hole_cost(came, "retrieve", now() - start);
	check_eq("reserved pages",
		 pool_number(plan->page_size, ANY_NODE, "resv_hugepages"),
		 came->nr_holes);
	finish(session);
	close(fd);
}

static void hand_over_load(const struct boot_load *load)
{
	char args[256], line[128];
	unsigned int nr_runs = 0;
	int fd, kmsg, session;

	set_boot_pool(0, "nr_hugepages", load->nr_pages + load->nr_holes);
	set_boot_pool(ANY_NODE, "preserve_free", load->nr_pages && !load->nr_files);
	if (load->nr_pages) {
		/* Preserving it moves out what is not to be handed over. */
		fd = fill_boot_file(load);
		session = new_session("moved");
		preserve_fd(session, 1, fd);
		close(session);
		if (load->turned) {
			close(fd);
			fd = fill_boot_file(load);
		}
		nr_runs = count_runs(fd, load->nr_pages, !load->nr_files);
		if (load->nr_files)
			preserve_fd(new_session("boot"), 1, fd);
		close(fd);
	} else if (load->nr_holes) {
		preserve_holes(load);
	}

	snprintf(args, sizeof(args), ARGS_BOOT "luo_runs=%u", nr_runs);
	load_kernel(args);
	print_pools("before");
	if (nr_failures)
		ksft_exit_fail_msg("stage %d has failures\n", stage);
	ksft_print_msg("stage %d of %s done, rebooting\n", stage, test->name);
	/* The console is not to be busy with it still. */
	sleep(1);
	snprintf(line, sizeof(line),
		 "<5>luo_hugetlb_cost: reboot files=%u pages=%u runs=%u holes=%u\n",
		 load->nr_files, load->nr_pages, nr_runs, load->nr_holes);
	kmsg = open("/dev/kmsg", O_WRONLY);
	if (kmsg < 0 || write(kmsg, line, strlen(line)) < 0)
		fail_exit("/dev/kmsg");
	syscall(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_KEXEC, NULL);
	fail_exit("reboot");
}

/* What the nth kernel, from zero on, hands over. */
static const struct boot_load *boot_load(int nr)
{
	if (nr < NR_EACH)
		return &boot_loads[nr % ARRAY_SIZE(boot_loads)];

	return &boot_loads[FIRST_WITH_PAGES + (nr - NR_EACH) % NR_WITH_PAGES];
}

static void run_boot_kernel(void)
{
	const struct boot_load *came;
	struct pool pool;

	plan = &plans[0];
	mount_at(TRACING, "tracefs");
	if (stage > 1) {
		came = boot_load(stage - 2);
		print_boot(came);
		pool = read_pool(plan->page_size, 0);
		check_eq("pages that came", pool.nr, came->nr_pages);
		check_eq("free pages", pool.free,
			 came->nr_files ? 0 : came->nr_pages);
		if (came->nr_holes)
			retrieve_holes(came);
		else if (came->nr_files)
			finish(take_session("boot"));
		set_boot_pool(ANY_NODE, "nr_hugepages", 0);
	}
	if (stage < test->nr_stages)
		hand_over_load(boot_load(stage - 1));
}

static void run_kernel(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(plans); i++)
		if (!strcmp(plans[i].test, test->name))
			plan = &plans[i];
	if (stage == 1)
		first_kernel();
	else
		second_kernel();
}

static const struct chain_test tests[] = {
	{ "cost_2m", 4608, 2, ARGS_2M, { run_kernel }, "cost" },
	{ "cost_2m_hvo", 4608, 2, ARGS_2M, { run_kernel }, "cost" },
	{ "cost_boot", 4608, 1 + NR_BOOTS, ARGS_BOOT,
	  { run_boot_kernel }, "cost" },
	{ "cost_1g", 8192, 2, ARGS_1G, { run_kernel }, "cost" },
	{ "cost_1g_hvo", 8192, 2, ARGS_1G, { run_kernel }, "cost" },
};

int main(int argc, char *argv[])
{
	return chain_main(argc, argv, tests, ARRAY_SIZE(tests));
}
