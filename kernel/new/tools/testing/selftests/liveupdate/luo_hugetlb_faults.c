// SPDX-License-Identifier: GPL-2.0-only

/*
 * Memory that runs out while memfds with huge pages are preserved, frozen or
 * retrieved: by the kernel's fault injection, each allocation in turn fails once.
 * Every time the error must be a clear one and nothing may have changed; in the
 * end it works, and nothing was lost or leaked.
 *
 * The kernel needs CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC, the filter by stack
 * trace, CONFIG_FAULT_INJECTION_DEBUG_FS and CONFIG_DEBUG_KMEMLEAK. Each test is
 * a chain of kernels: see lib/include/lu_chain.h for how to run it.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <linux/falloc.h>

#include <libliveupdate.h>
#include <lu_hugetlb.h>

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define KMEMLEAK	"/debugfs/kmemleak"
/* More would mean that it never works. */
#define MAX_ATTEMPTS	1000

/*
 * Fault injection
 */

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail_exit("writing %s to %s", text, path);
	close(fd);
}

struct range {
	unsigned long start;
	unsigned long end;
};

/* All of /proc/kallsyms, read once. */
static const char *kernel_symbols(void)
{
	static char *symbols;
	size_t size = 16 << 20, len = 0;
	ssize_t ret;
	int fd;

	if (symbols)
		return symbols;
	symbols = malloc(size);
	fd = open("/proc/kallsyms", O_RDONLY);
	if (!symbols || fd < 0)
		fail_exit("/proc/kallsyms");
	while ((ret = read(fd, symbols + len, size - 1 - len)) > 0)
		len += ret;
	close(fd);
	symbols[len] = 0;

	return symbols;
}

/*
 * The functions of the kernel whose names begin with @prefix and that lie within
 * @bounds: where the first one begins, and the last one. What the compiler has
 * moved elsewhere as not likely to run is left out.
 */
static struct range find_functions(const char *prefix, struct range bounds)
{
	struct range found = { .start = ~0UL, .end = 0 };
	size_t len = strlen(prefix);
	const char *line, *end;

	for (line = kernel_symbols(); (end = strchr(line, '\n')); line = end + 1) {
		unsigned long addr;
		char *name;

		addr = strtoul(line, &name, 16);
		/* A space, the type, a space. */
		name += 3;
		if (addr < bounds.start || addr >= bounds.end ||
		    name + len > end || strncmp(name, prefix, len) ||
		    (end - name > 5 && !strncmp(end - 5, ".cold", 5)))
			continue;
		if (addr < found.start)
			found.start = addr;
		if (addr > found.end)
			found.end = addr;
	}
	if (!found.end)
		ksft_exit_fail_msg("no %s in /proc/kallsyms\n", prefix);

	return found;
}

static const struct range all_functions = { .end = ~0UL };

/* The code of a file. What frees itself after boot lies elsewhere. */
static struct range find_code(const char *prefix)
{
	struct range text, found;

	text.start = find_functions("_stext", all_functions).start;
	text.end = find_functions("_etext", all_functions).end;
	found = find_functions(prefix, text);
	/* Those that follow the last one begin behind it. */
	text.start = found.end + 1;
	found.end = find_functions("", text).start;

	return found;
}

static struct range find_handler(void)
{
	return find_code("hugetlb_luo_");
}

/* What kmemleak itself does at every allocation: most of its file. */
static struct range find_kmemleak(void)
{
	return (struct range){
		.start = find_code("kmemleak_open").start,
		.end = find_code("kmemleak_write").end,
	};
}

/* What can fail. */
enum { SLAB = 1, PAGES = 2 };

static void write_address(const char *kind, const char *what,
			  unsigned long addr)
{
	char path[64], number[32];

	snprintf(path, sizeof(path), "/debugfs/%s/%s", kind, what);
	snprintf(number, sizeof(number), "0x%lx", addr);
	write_text(path, number);
}

/*
 * Those asked for by functions in @range, whoever they call in between. What
 * kmemleak asks for at every allocation can fail, and that has no effect.
 */
static void choose_fault(const char *kind, struct range range)
{
	struct range kmemleak = find_kmemleak();
	char path[64];

	snprintf(path, sizeof(path), "/debugfs/%s/ignore-gfp-wait", kind);
	write_text(path, "N");
	/* It is meant to happen. */
	snprintf(path, sizeof(path), "/debugfs/%s/verbose", kind);
	write_text(path, "0");
	write_address(kind, "require-start", range.start);
	write_address(kind, "require-end", range.end);
	write_address(kind, "reject-start", kmemleak.start);
	write_address(kind, "reject-end", kmemleak.end);
}

/* Which allocations count, and can fail: of these kinds, in @range. */
static void choose_faults(unsigned int kinds, struct range range)
{
	static const struct range none = { .start = 1, .end = 1 };

	choose_fault("failslab", kinds & SLAB ? range : none);
	choose_fault("fail_page_alloc", kinds & PAGES ? range : none);
	write_text("/debugfs/fail_page_alloc/min-order", "0");
}

/* The @nth allocation of this task from here on fails. */
static void arm(int nth)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", nth);
	write_text(FAIL_NTH, number);
}

/* Return: whether there were as many, and one failed. */
static bool disarm(void)
{
	bool failed = read_number(FAIL_NTH) == 0;

	arm(0);

	return failed;
}

/* Leaks show once what leaked is old enough. */
static void check_leaks(void)
{
	static char buf[8192];
	ssize_t len;
	int fd;

	write_text(KMEMLEAK, "scan");
	sleep(6);
	write_text(KMEMLEAK, "scan");
	fd = open(KMEMLEAK, O_RDONLY);
	if (fd < 0)
		fail_exit(KMEMLEAK);
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (!check(len == 0, "memory leak"))
		printf("%.*s\n", (int)len, buf);
}

/*
 * Preserving and freezing
 */

/* Where the kernel lies has an effect on how much memory there is. */
#define FAULTS_ARGS	"nokaslr kmemleak=on hugepages=64"

/*
 * What the next kernel has in all when everything is finished. Keys of KHO that
 * stayed behind would make it less, with huge pages or with records.
 */
static void check_total(void)
{
	long total = memory_number("MemTotal:");
	char value[32];

	if (cmdline_word("luo_total=", value, sizeof(value)))
		check_eq("MemTotal", total, atol(value));
}

static const char *faults_args(void)
{
	static char args[128];

	snprintf(args, sizeof(args), FAULTS_ARGS " luo_total=%ld",
		 memory_number("MemTotal:"));

	return args;
}

/* One file in one run, and some that are alike, in more. */
#define NR_FAULTS_FILES	8

static void create_files(int *fds)
{
	struct file_state *f = new_file_state();
	__u64 token, i;

	fds[0] = create_file(f, 10, SZ_2M, 8);
	fill_pages(f, fds[0], 0, 8, 0);
	for (token = 11; token < 10 + NR_FAULTS_FILES; token++) {
		f = new_file_state();
		fds[token - 10] = create_file(f, token, SZ_2M, 12);
		for (i = 1; i < 12; i += 3)
			fill_page(f, fds[token - 10], i, i % 2);
	}
}

static void check_unchanged(const int *fds)
{
	__u32 i;

	for (i = 0; i < state.nr_files; i++)
		check_file(&state.files[i], fds[i]);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
}

/*
 * Preserve a file, with each allocation failing in turn. If it succeeds although
 * one failed, it is left as it is and taken back along with the session.
 *
 * Return: whether it came to the end without a failure.
 */
static bool try_preserve(int session, const struct file_state *f, int fd,
			 int *nth)
{
	bool failed;
	int err;

	for (; *nth < MAX_ATTEMPTS; (*nth)++) {
		arm(*nth);
		err = luo_session_preserve_fd(session, fd, f->token);
		failed = disarm();
		if (!err)
			return !failed;
		if (!check(failed && err == -ENOMEM,
			   "preserve, allocation %d: %s", *nth,
			   strerror(-err)))
			break;
		/* It can be changed, so it was let go of. */
		check_eq("punching a hole",
			 sys_fallocate(fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, f->size, SZ_2M) ?
				-errno : 0, 0);
	}
	ksft_exit_fail_msg("preserving never works\n");

	return false;
}

static int preserve_with_faults(const int *fds)
{
	int session, nth;
	__u32 i;

	/* The others are alike. */
	for (i = 0; i < 2; i++) {
		const struct file_state *f = &state.files[i];
		bool clean;

		nth = 1;
		do {
			session = new_session("try");
			clean = try_preserve(session, f, fds[i], &nth);
			close(session);
			nth++;
		} while (!clean);
		ksft_print_msg("file %llu: %d allocations of preserve failed\n",
			       f->token, nth - 2);
		check(nth > 2, "there was none");
		check_unchanged(fds);
	}

	session = new_session("faults");
	for (i = 0; i < state.nr_files; i++)
		preserve(session, &state.files[i], fds[i]);

	return session;
}

/*
 * Have allocations of freeze fail that do not fail kexec as well: those of the
 * handler. The first page; then whatever slab is asked for in turn, until it
 * works, which is the end of this kernel.
 */
static void reboot_with_faults(const int *fds)
{
	int nth, err;

	choose_faults(PAGES, find_handler());
	for (nth = 0; nth < MAX_ATTEMPTS; nth++) {
		if (nth == 1)
			choose_faults(SLAB, find_handler());
		ksft_print_msg("%s allocation of freeze is to fail\n",
			       nth ? "the next slab" : "the first page");
		arm(nth ? nth : 1);
		err = try_reboot();
		if (!check(disarm() && err == -ENOMEM,
			   "freeze, allocation %d: %s", nth, strerror(-err)))
			break;
		check_unchanged(fds);
	}
	ksft_exit_fail_msg("freezing never works\n");
}

/* --- faults: preserve and freeze in the second kernel, retrieve in the third --- */

static void faults_1(void)
{
	int session, fds[MAX_FILES];
	__u32 i;

	create_files(fds);
	session = new_session("faults");
	for (i = 0; i < state.nr_files; i++)
		preserve(session, &state.files[i], fds[i]);
	live_update(FAULTS_ARGS);
}

static void faults_2(void)
{
	int session, fds[MAX_FILES];

	load_state();
	session = take_session("faults");
	retrieve_all(session, fds);
	finish(session);

	choose_faults(SLAB | PAGES, all_functions);
	preserve_with_faults(fds);
	/* For freeze to take care of. */
	fill_page(&state.files[1], fds[1], 0, 1);
	fill_page(&state.files[1], fds[1], 5, 0);
	fill_page(&state.files[1], fds[1], 11, 1);
	check_leaks();
	save_state();
	load_kernel(faults_args());
	reboot_with_faults(fds);
}

/*
 * Retrieve files from @i on downwards, with each allocation of slab in turn
 * failing. The page cache tries a second time, and then the file is there: the
 * next one goes on with the next allocation. The handler asks for no page by
 * itself, and slab for none as long as it has room.
 *
 * Return: the first file that is left, once one came to the end without a failure.
 */
static int retrieve_with_faults(int session, int i, int *fds)
{
	int nth = 1, nr_failures = 0;
	bool failed = true;

	choose_faults(SLAB, find_handler());
	for (; failed && i > 0; i--) {
		const struct file_state *f = &state.files[i];

		for (fds[i] = -EAGAIN; fds[i] < 0; nth++) {
			arm(nth);
			fds[i] = luo_session_retrieve_fd(session, f->token);
			failed = disarm();
			if (fds[i] < 0 && failed)
				nr_failures++;
			if (!check(fds[i] >= 0 || (failed && fds[i] == -EAGAIN),
				   "retrieve, allocation %d: %s", nth,
				   strerror(-fds[i])))
				return i;
			check_pools_in_use(SZ_2M, 32, 32, 0, 0);
		}
		check_file(f, fds[i]);
	}
	ksft_print_msg("%d of %d slab allocations made retrieve fail\n",
		       nr_failures, nth - 2);
	check(!failed, "there are more");
	check(nr_failures > 3, "that is not much");

	return i;
}

static void faults_3(void)
{
	int session, fds[MAX_FILES], i;

	load_state();
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	session = take_session("faults");
	/* Of the handler only: LUO warns if it lacks memory afterwards. */
	i = retrieve_with_faults(session, state.nr_files - 1, fds);
	for (; i >= 0; i--)
		fds[i] = retrieve(session, &state.files[i]);
	check_unchanged(fds);
	finish(session);
	check_unchanged(fds);
	close_all(fds);
	check_pools_free(SZ_2M, 32, 32);
	check_total();
	check_leaks();
}

/* --- faults_unretrieved: a file of which a part was retrieved is given up --- */

static void faults_unretrieved_2(void)
{
	int session, nth, fd, nr_failures = 0, i;

	load_state();
	session = take_session("faults");
	choose_faults(SLAB, find_handler());
	/* When some pages are back from KHO, and more are to come. */
	for (i = state.nr_files - 1, nth = 5; i > 0; i--, nth++) {
		arm(nth);
		fd = luo_session_retrieve_fd(session, state.files[i].token);
		if (disarm() && fd == -EAGAIN)
			nr_failures++;
		else if (check(fd >= 0, "retrieve: %s", strerror(-fd)))
			close(fd);
	}
	ksft_print_msg("%d files failed half-way\n", nr_failures);
	check(nr_failures, "no file failed");
	/* Nothing that finish needs can fail. */
	arm(1);
	finish(session);
	disarm();
	check_pools_free(SZ_2M, 32, 32);
	check_leaks();
}

static const struct chain_test tests[] = {
	{ "faults", 1024, 3,
	  FAULTS_ARGS,
	  { faults_1, faults_2, faults_3 }, "checking" },
	{ "faults_unretrieved", 1024, 2,
	  FAULTS_ARGS,
	  { faults_1, faults_unretrieved_2 }, "checking" },
};

int main(int argc, char *argv[])
{
	return chain_main(argc, argv, tests, ARRAY_SIZE(tests));
}
