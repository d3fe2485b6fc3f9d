// SPDX-License-Identifier: GPL-2.0-only

/*
 * Control groups that are charged for huge pages, for reservations and, if memory
 * cgroups account for them, for the memory: the next kernel charges the group at
 * the same path, or who retrieves the file. A limit that is too low puts that off.
 *
 * Each test is a chain of kernels: see lib/include/lu_chain.h for how to run it.
 * The kernel needs CONFIG_CGROUP_HUGETLB and CONFIG_MEMCG.
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

#include <libliveupdate.h>
#include <lu_hugetlb.h>

#define READ_ALL_OF_LOG	3
#define CONTROLLERS	"+hugetlb +memory"
#define ACCOUNTING	"memory_hugetlb_accounting"

/* In huge pages of 2 MiB. */
struct charges {
	long usage;
	long rsvd;
	long memory;
};

static long in_pages(long bytes)
{
	check_eq("part of a page that is charged for", bytes % SZ_2M, 0);

	return bytes / (long)SZ_2M;
}

/* What memory.stat has is exact, and about huge pages only. */
static long hugetlb_in_memory(const char *group)
{
	static char text[1 << 14];
	const char *at;

	read_cgroup_text(group, "memory.stat", text, sizeof(text));
	at = strstr(text, "\nhugetlb ");
	if (!at)
		ksft_exit_fail_msg("memory.stat has no huge pages\n");

	return strtol(at + strlen("\nhugetlb "), NULL, 10);
}

static void check_charged(const char *group, struct charges should)
{
	struct charges is = {
		in_pages(read_cgroup(group, "hugetlb.2MB.current")),
		in_pages(read_cgroup(group, "hugetlb.2MB.rsvd.current")),
		in_pages(hugetlb_in_memory(group)),
	};

	check(!memcmp(&is, &should, sizeof(is)),
	      "%s is charged for %ld pages, %ld reserved, %ld in memory; should be %ld, %ld, %ld",
	      group, is.usage, is.rsvd, is.memory, should.usage, should.rsvd,
	      should.memory);
}

static void check_group(const char *group, long usage, long rsvd, long memory)
{
	check_charged(group, (struct charges){ usage, rsvd, memory });
}

static void set_limit(const char *group, const char *name, const char *value)
{
	int err = write_cgroup(group, name, value);

	check(!err, "writing %s to %s of %s: %s", value, name, group,
	      strerror(-err));
}

/* @fn, in a process that is in @group. */
static void in_group(const char *group, int (*fn)(int fd, __u64 from, __u64 nr),
		     int fd, __u64 from, __u64 nr)
{
	pid_t pid = fork();
	int status = 0;

	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		if (write_cgroup(group, "cgroup.procs", "0"))
			_exit(1);
		_exit(fn(fd, from, nr) ? 2 : 0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		ksft_exit_fail_msg("the child in %s failed: %d\n", group, status);
}

static int allocate(int fd, __u64 from, __u64 nr)
{
	return sys_fallocate(fd, 0, from * SZ_2M, nr * SZ_2M);
}

/* What is reserved is the file's, and outlives the mapping. */
static int reserve(int fd, __u64 from, __u64 nr)
{
	return mmap(NULL, nr * SZ_2M, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    from * SZ_2M) == MAP_FAILED;
}

static int try_retrieve(int session, __u64 token)
{
	int fd = luo_session_retrieve_fd(session, token);

	if (fd < 0)
		return fd;
	close(fd);

	return 0;
}

static void check_logged(const char *text)
{
	static char log[1 << 18];
	int len = syscall(__NR_syslog, READ_ALL_OF_LOG, log, sizeof(log) - 1);

	if (len < 0)
		fail_exit("syslog");
	log[len] = 0;
	check(strstr(log, text), "the log lacks: %s", text);
}

/* --- cgroups: who was charged is charged again --- */

#define CGROUPS_ARGS	"hugepages=0:16,1:16"

static void make_groups(void)
{
	mount_cgroups(CONTROLLERS, ACCOUNTING);
	make_cgroup("/vms", CONTROLLERS);
	make_cgroup("/vms/a", NULL);
	make_cgroup("/vms/b", NULL);
	make_cgroup("/agent", NULL);
}

static void cgroups_1(void)
{
	int session = new_session("cgroups"), fd;
	struct file_state *f = new_file_state();
	__u64 i;

	make_groups();
	make_cgroup("/vms/removed", NULL);
	make_cgroup("/gone", NULL);
	fd = create_file(f, 10, SZ_2M, 12);

	in_group("/vms/a", reserve, fd, 0, 4);
	in_group("/vms/a", allocate, fd, 0, 2);
	in_group("/vms/b", allocate, fd, 6, 2);
	in_group("/gone", allocate, fd, 8, 1);
	in_group("/vms/removed", allocate, fd, 9, 1);
	/* Whose page it is does not depend on who writes to it. */
	for (i = 0; i < 2; i++) {
		fill_page(f, fd, i, ANY_NODE);
		fill_page(f, fd, 6 + i, ANY_NODE);
		fill_page(f, fd, 8 + i, ANY_NODE);
	}
	check_group("/vms/a", 2, 4, 2);
	check_group("/vms/b", 2, 2, 2);
	check_group("/gone", 1, 1, 1);
	check_group("/vms", 5, 7, 5);

	preserve(session, f, fd);
	/* Late pages: one that was reserved by another group, and one that was not. */
	in_group("/vms/b", allocate, fd, 2, 1);
	in_group("/vms/b", allocate, fd, 10, 1);
	fill_page(f, fd, 2, ANY_NODE);
	fill_page(f, fd, 10, ANY_NODE);
	check_group("/vms/b", 4, 3, 4);
	/* What it was charged for is its parent's from here on. */
	remove_cgroup("/vms/removed");
	check_group("/vms", 7, 8, 7);
	live_update(CGROUPS_ARGS);
}

static void cgroups_2(void)
{
	int session, fds[MAX_FILES];

	load_state();
	make_groups();
	/* Others of these names, or where these are not. */
	make_cgroup("/vms/removed", NULL);
	make_cgroup("/vms/gone", NULL);
	set_limit("/agent", "cgroup.procs", "0");
	check_group("/vms", 0, 0, 0);

	session = take_session("cgroups");
	retrieve_all(session, fds);
	check_group("/vms/a", 2, 4, 2);
	check_group("/vms/b", 4, 3, 4);
	check_group("/vms/removed", 0, 0, 0);
	check_group("/vms/gone", 0, 0, 0);
	check_group("/vms", 7, 8, 7);
	check_group("/agent", 1, 1, 1);
	finish(session);

	/* The reservation that is left can be used by anybody. */
	in_group("/agent", allocate, fds[0], 3, 1);
	fill_page(&state.files[0], fds[0], 3, ANY_NODE);
	check_group("/agent", 2, 1, 2);
	check_group("/vms/a", 2, 4, 2);

	session = new_session("again");
	preserve(session, &state.files[0], fds[0]);
	live_update(CGROUPS_ARGS);
}

/* Once more; and all is given back, page by page and at the end. */
static void cgroups_3(void)
{
	int session, fds[MAX_FILES];

	load_state();
	make_groups();
	session = take_session("again");
	retrieve_all(session, fds);
	check_group("/vms/a", 2, 4, 2);
	check_group("/vms/b", 4, 3, 4);
	check_group("/vms", 7, 8, 7);
	check_group("/agent", 2, 1, 2);
	finish(session);

	if (ftruncate(fds[0], 7 * SZ_2M))
		fail_exit("ftruncate");
	check_group("/vms/b", 2, 1, 2);
	check_group("/vms", 4, 5, 4);
	check_group("/agent", 1, 0, 1);
	close_all(fds);
	check_group("/vms/a", 0, 0, 0);
	check_group("/vms/b", 0, 0, 0);
	check_group("/agent", 0, 0, 0);
	remove_cgroup("/vms/a");
	remove_cgroup("/vms/b");
	remove_cgroup("/vms");
	check_pools_free(SZ_2M, 16, 16);
}

/* --- cgroup_limit: a limit that is too low puts retrieval off --- */

#define LIMIT_ARGS	"hugepages=0:16,1:8"

static const struct {
	const char *name;
	const char *low;
	const char *log;
} limits[] = {
	{ "hugetlb.2MB.max", "14M", "hugetlb limit of control group /vm\n" },
	{ "hugetlb.2MB.rsvd.max", "18M",
	  "hugetlb rsvd limit of control group /vm\n" },
	{ "memory.max", "14M", "memory limit of control group /vm\n" },
};

static void cgroup_limit_1(void)
{
	int session = new_session("limit"), fds[2];
	__u64 i;

	mount_cgroups(CONTROLLERS, ACCOUNTING);
	make_cgroup("/vm", NULL);
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		struct file_state *f = new_file_state();

		fds[i] = create_file(f, 10 + i, SZ_2M, 10);
		in_group("/vm", reserve, fds[i], 0, 10);
		in_group("/vm", allocate, fds[i], 0, 8);
		fill_pages(f, fds[i], 0, 8, ANY_NODE);
		preserve(session, f, fds[i]);
	}
	check_group("/vm", 16, 20, 16);
	live_update(LIMIT_ARGS);
}

static void cgroup_limit_2(void)
{
	int session, fds[MAX_FILES];
	unsigned int i, n;

	load_state();
	mount_cgroups(CONTROLLERS, ACCOUNTING);
	make_cgroup("/vm", NULL);
	session = take_session("limit");

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		set_limit("/vm", limits[i].name, limits[i].low);
		for (n = 0; n < 2; n++) {
			check_eq("retrieving beyond a limit",
				 try_retrieve(session, 10), -EAGAIN);
			check_eq("retrieving the other one",
				 try_retrieve(session, 11), -EAGAIN);
			check_group("/vm", 0, 0, 0);
			check_pool(SZ_2M, ANY_NODE, 24, 8, 0);
		}
		check_logged(limits[i].log);
		set_limit("/vm", limits[i].name, "max");
	}

	/* There is room for one of them. */
	set_limit("/vm", "hugetlb.2MB.max", "16M");
	fds[0] = retrieve(session, &state.files[0]);
	check_file(&state.files[0], fds[0]);
	check_group("/vm", 8, 10, 8);
	check_eq("retrieving the other one", try_retrieve(session, 11), -EAGAIN);
	check_group("/vm", 8, 10, 8);

	/* Its pages go to the pool when nobody has got it by the end. */
	finish(session);
	check_group("/vm", 8, 10, 8);
	check_pool(SZ_2M, ANY_NODE, 24, 16, 0);
	close(fds[0]);
	check_group("/vm", 0, 0, 0);
	check_pools_free(SZ_2M, 16, 8);
}

/* --- cgroup_path: one that does not fit --- */

static void cgroup_path_1(void)
{
	int session = new_session("path"), fd, i;
	struct file_state *f = new_file_state();
	static char path[4096];

	mount_cgroups("+hugetlb", NULL);
	make_long_cgroup(path, sizeof(path));
	fd = create_file(f, 10, SZ_2M, 2);
	fill_page(f, fd, 0, ANY_NODE);
	preserve(session, f, fd);
	in_group(path, allocate, fd, 1, 1);
	fill_page(f, fd, 1, ANY_NODE);
	load_kernel(CGROUPS_ARGS);
	for (i = 0; i < 2; i++)
		check_eq("reboot with a path that is too long", try_reboot(),
			 -ENAMETOOLONG);
	close(session);

	session = new_session("again");
	check_eq("preserving it", luo_session_preserve_fd(session, fd, 10),
		 -ENAMETOOLONG);
	check_file(f, fd);
	close(fd);
	close(session);
	check_pools_free(SZ_2M, 16, 16);
	/* Nothing is in the way of an update without it. */
	live_update(CGROUPS_ARGS);
}

static void cgroup_path_2(void)
{
	load_state();
	check_pools_free(SZ_2M, 16, 16);
}

static const struct chain_test tests[] = {
	{ "cgroups", 1024, 3,
	  CGROUPS_ARGS,
	  { cgroups_1, cgroups_2, cgroups_3 } },
	{ "cgroup_limit", 1024, 2,
	  LIMIT_ARGS,
	  { cgroup_limit_1, cgroup_limit_2 } },
	{ "cgroup_path", 1024, 2,
	  CGROUPS_ARGS,
	  { cgroup_path_1, cgroup_path_2 } },
};

int main(int argc, char *argv[])
{
	return chain_main(argc, argv, tests, ARRAY_SIZE(tests));
}
