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

/*
 * The functions of the kernel that are called PREFIX... and lie within @bounds,
 * with all between them. What the compiler has moved elsewhere as not likely to
 * run is left out.
 */
static struct range find_functions(const char *prefix, struct range bounds)
{
	struct range found = { .start = ~0UL, .end = 0 };
	static char line[512];
	FILE *file;

	file = fopen("/proc/kallsyms", "r");
	if (!file)
		fail_exit("/proc/kallsyms");
	while (fgets(line, sizeof(line), file)) {
		unsigned long addr;
		char *name;

		addr = strtoul(line, &name, 16);
		/* A space, the type, a space. */
		if (addr < bounds.start || addr >= bounds.end ||
		    strlen(name) < 4 || strncmp(name + 3, prefix, strlen(prefix)) ||
		    strstr(name, ".cold"))
			continue;
		if (addr < found.start)
			found.start = addr;
		if (addr > found.end)
			found.end = addr;
	}
	fclose(file);
	if (!found.end)
		ksft_exit_fail_msg("no %s in /proc/kallsyms\n", prefix);

	return found;
}

/* The code of hugetlb_luo.c. What frees itself after boot lies elsewhere. */
static struct range find_handler(void)
{
	struct range all = { .end = ~0UL }, text, found;

	text.start = find_functions("_stext\n", all).start;
	text.end = find_functions("_etext\n", all).end;
	found = find_functions("hugetlb_luo_", text);
	/* Those that follow the last one begin behind it. */
	text.start = found.end + 1;
	found.end = find_functions("", text).start;

	return found;
}

/*
 * Which allocations can fail: all, or those that the handler asks for, in
 * whatever function. Nothing is said about them: it is meant to happen.
 */
static void choose_faults(bool handler_only)
{
	static const char * const kinds[] = { "failslab", "fail_page_alloc" };
	struct range range = { .end = ~0UL };
	char path[64], number[32];
	unsigned int i;

	if (handler_only)
		range = find_handler();
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(path, sizeof(path), "/debugfs/%s/ignore-gfp-wait",
			 kinds[i]);
		write_text(path, "N");
		snprintf(path, sizeof(path), "/debugfs/%s/verbose", kinds[i]);
		write_text(path, "0");
		snprintf(path, sizeof(path), "/debugfs/%s/require-start",
			 kinds[i]);
		snprintf(number, sizeof(number), "0x%lx", range.start);
		write_text(path, number);
		snprintf(path, sizeof(path), "/debugfs/%s/require-end",
			 kinds[i]);
		snprintf(number, sizeof(number), "0x%lx", range.end);
		write_text(path, number);
	}
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

#define FAULTS_ARGS	"hugepages=64"

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

/* One file in few runs, and one in many. */
static void create_files(int *fds)
{
	struct file_state *f = new_file_state();
	__u64 i;

	fds[0] = create_file(f, 10, SZ_2M, 8);
	fill_pages(f, fds[0], 0, 8, 0);
	f = new_file_state();
	fds[1] = create_file(f, 11, SZ_2M, 40);
	for (i = 1; i < 39; i += 3)
		fill_page(f, fds[1], i, i % 2);
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

	for (i = 0; i < state.nr_files; i++) {
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

/* Return only if it never works. */
static void reboot_with_faults(const int *fds)
{
	int nth, err;

	for (nth = 1; nth < MAX_ATTEMPTS; nth++) {
		ksft_print_msg("allocation %d of freeze is to fail\n", nth);
		arm(nth);
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

	choose_faults(false);
	preserve_with_faults(fds);
	/* For freeze to take care of. */
	fill_page(&state.files[1], fds[1], 0, 1);
	fill_page(&state.files[1], fds[1], 5, 0);
	fill_page(&state.files[1], fds[1], 39, 1);
	check_leaks();
	save_state();
	load_kernel(faults_args());
	/* Of the handler only: others would fail kexec itself. */
	choose_faults(true);
	reboot_with_faults(fds);
}

static void faults_3(void)
{
	int session, fds[MAX_FILES], nth, i;

	load_state();
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
	session = take_session("faults");
	/* Of the handler only: LUO warns if it lacks memory afterwards. */
	choose_faults(true);
	for (i = state.nr_files - 1; i >= 0; i--) {
		const struct file_state *f = &state.files[i];
		bool failed;

		for (nth = 1; nth < MAX_ATTEMPTS; nth++) {
			arm(nth);
			fds[i] = luo_session_retrieve_fd(session, f->token);
			failed = disarm();
			if (fds[i] >= 0)
				break;
			check(failed && fds[i] == -EAGAIN,
			      "retrieve, allocation %d: %s", nth,
			      strerror(-fds[i]));
			check_pools_in_use(SZ_2M, 32, 32, 0, 0);
		}
		ksft_print_msg("file %llu: %d allocations of retrieve failed\n",
			       f->token, nth - 1);
		check(nth > 1, "there was none");
		check_file(f, fds[i]);
	}
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
	int session, err;

	load_state();
	session = take_session("faults");
	choose_faults(true);
	/* When some pages are back from KHO, and more are to come. */
	arm(16);
	err = luo_session_retrieve_fd(session, state.files[1].token);
	check(disarm(), "there are no 16 allocations");
	check_eq("retrieving", err, -EAGAIN);
	check_pools_in_use(SZ_2M, 32, 32, 0, 0);
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
