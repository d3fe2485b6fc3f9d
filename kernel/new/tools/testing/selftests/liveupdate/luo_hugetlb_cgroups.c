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
#include <signal.h>
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

#include <libliveupdate.h>
#include <lu_hugetlb.h>

#define READ_ALL_OF_LOG	3
#define CONTROLLERS	"+hugetlb +memory"
#define ACCOUNTING	"memory_hugetlb_accounting"

/* In huge pages. */
struct charges {
	long usage;
	long rsvd;
	long memory;
};

static long in_pages(unsigned long size, long bytes)
{
	check_eq("part of a page that is charged for", bytes % size, 0);

	return bytes / (long)size;
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

static long hugetlb_counter(const char *group, unsigned long size,
			    const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "hugetlb.%s.%s",
		 size == SZ_1G ? "1GB" : "2MB", name);

	return in_pages(size, read_cgroup(group, path));
}

/* There are pages of @size only. */
static void check_charged(const char *group, unsigned long size,
			  struct charges should)
{
	struct charges is = {
		hugetlb_counter(group, size, "current"),
		hugetlb_counter(group, size, "rsvd.current"),
		in_pages(size, hugetlb_in_memory(group)),
	};

	check(!memcmp(&is, &should, sizeof(is)),
	      "%s is charged for %ld pages, %ld reserved, %ld in memory; should be %ld, %ld, %ld",
	      group, is.usage, is.rsvd, is.memory, should.usage, should.rsvd,
	      should.memory);
}

static void check_group(const char *group, long usage, long rsvd, long memory)
{
	check_charged(group, SZ_2M, (struct charges){ usage, rsvd, memory });
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

static __u64 page_size_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		fail_exit("fstat");

	return st.st_blksize;
}

static int allocate(int fd, __u64 from, __u64 nr)
{
	__u64 size = page_size_of(fd);

	return sys_fallocate(fd, 0, from * size, nr * size);
}

/* What is reserved is the file's, and outlives the mapping. */
static int reserve(int fd, __u64 from, __u64 nr)
{
	__u64 size = page_size_of(fd);

	return mmap(NULL, nr * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    from * size) == MAP_FAILED;
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

/* --- cgroups_1g: the same for gigantic pages --- */

#define CGROUPS_1G_ARGS	"nokaslr hugepagesz=1G hugepages=0:1,1:2"

static void check_group_1g(const char *group, long usage, long rsvd, long memory)
{
	check_charged(group, SZ_1G, (struct charges){ usage, rsvd, memory });
}

static void check_gigantic_pool(long free, long resv)
{
	check_pool(SZ_1G, ANY_NODE, 3, free, 0);
	check_eq("resv_hugepages",
		 pool_number(SZ_1G, ANY_NODE, "resv_hugepages"), resv);
}

static void cgroups_1g_1(void)
{
	int session = new_session("gigantic"), fd;
	struct file_state *f = new_file_state();

	make_groups();
	fd = create_file(f, 10, SZ_1G, 3);
	in_group("/vms/a", reserve, fd, 0, 2);
	in_group("/vms/a", allocate, fd, 0, 1);
	fill_page(f, fd, 0, ANY_NODE);
	preserve(session, f, fd);
	/* A late page. */
	in_group("/vms/b", allocate, fd, 2, 1);
	fill_page(f, fd, 2, ANY_NODE);
	check_group_1g("/vms/a", 1, 2, 1);
	check_group_1g("/vms/b", 1, 1, 1);
	check_gigantic_pool(1, 1);
	live_update(CGROUPS_1G_ARGS);
}

static void cgroups_1g_2(void)
{
	int session, fd;

	load_state();
	make_groups();
	set_limit("/agent", "cgroup.procs", "0");
	check_group_1g("/vms", 0, 0, 0);
	check_gigantic_pool(1, 1);

	session = take_session("gigantic");
	set_limit("/vms/a", "hugetlb.1GB.rsvd.max", "1G");
	check_eq("retrieving beyond a limit", try_retrieve(session, 10), -EAGAIN);
	check_group_1g("/vms", 0, 0, 0);
	check_gigantic_pool(1, 1);
	set_limit("/vms/a", "hugetlb.1GB.rsvd.max", "max");
	fd = retrieve(session, &state.files[0]);
	check_file(&state.files[0], fd);
	check_group_1g("/vms/a", 1, 2, 1);
	check_group_1g("/vms/b", 1, 1, 1);
	check_group_1g("/vms", 2, 3, 2);
	check_group_1g("/agent", 0, 0, 0);
	finish(session);

	/* What is left of the reservation is used by another one. */
	in_group("/vms/b", allocate, fd, 1, 1);
	check_group_1g("/vms/a", 1, 2, 1);
	check_group_1g("/vms/b", 2, 1, 2);
	check_gigantic_pool(0, 0);
	close(fd);
	check_group_1g("/vms", 0, 0, 0);
	remove_cgroup("/vms/a");
	remove_cgroup("/vms/b");
	remove_cgroup("/vms");
	check_pools_free(SZ_1G, 1, 2);
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

/* --- cgroup_verify: what hugeverify says of a process in a group --- */

#define VERIFY_ARGS	"hugepages=0:8,1:8"

/* As systemd calls them; and as hugeverify writes that. */
#define VM		"/machine-qemu\\x2d1.scope"
#define VM_COUNTER	"cgroup/machine-qemu%5cx2d1.scope/hugetlb.2MB."

#define CGROUPS_TOO	"/control groups too"

/* The file, and where the mapping of the process begins, in pages. */
#define VM_PAGES	8
#define VM_FIRST	1

/* Pages of the file that the process has not: beyond its mapping, and within. */
#define VM_OUTSIDE	0
#define VM_UNMAPPED	3

/* Those that are in its page tables. */
static const struct {
	__u64 index;
	int nid;
} vm_pages[] = {
	{ 1, 0 }, { 2, 1 }, { 5, 1 }, { 6, 0 },
};

#define VM_THERE	(ARRAY_SIZE(vm_pages) + 2)

/* The groups, at a second place as well: some programs mount their own. */
static void mount_cgroups_twice(void)
{
	mount_cgroups(CONTROLLERS, ACCOUNTING);
	if (mkdir(CGROUPS_TOO, 0755) ||
	    mount("cgroup2", CGROUPS_TOO, "cgroup2", 0, ACCOUNTING))
		fail_exit("mounting cgroup2 once more");
}

static char *vm_page(char *mem, __u64 index)
{
	return mem + (index - VM_FIRST) * SZ_2M;
}

/* Read what the state has of it. */
static void vm_map(char *mem, __u64 index)
{
	const struct file_state *f = &state.files[0];
	unsigned int i;

	for (i = 0; i < f->nr; i++)
		if (f->pages[i].index == index &&
		    compare_pattern(vm_page(mem, index), SZ_2M,
				    f->pages[i].seed) >= 0)
			_exit(1);
}

static void vm_unmap(char *mem, __u64 index)
{
	if (syscall(__NR_madvise, vm_page(mem, index), SZ_2M, MADV_DONTNEED))
		_exit(1);
}

/* It stops itself: nobody writes while somebody records. */
static void wait_for_vm(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, WUNTRACED) != pid ||
	    status != (SIGSTOP << 8 | 0x7f))
		ksft_exit_fail_msg("the process in %s failed: %d\n", VM, status);
}

static void go_on_with_vm(pid_t pid)
{
	kill(pid, SIGCONT);
	wait_for_vm(pid);
}

/* @fn, in a process of the group that has the file mapped, to its first stop. */
static pid_t start_vm(int fd, void (*fn)(char *mem))
{
	pid_t pid = fork();
	char *mem;

	if (pid < 0)
		fail_exit("fork");
	if (!pid) {
		if (write_cgroup(VM, "cgroup.procs", "0"))
			_exit(1);
		mem = mmap(NULL, (VM_PAGES - VM_FIRST) * SZ_2M,
			   PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   VM_FIRST * SZ_2M);
		if (mem == MAP_FAILED)
			_exit(1);
		fn(mem);
		_exit(0);
	}
	wait_for_vm(pid);

	return pid;
}

static void end_vm(pid_t pid)
{
	kill(pid, SIGKILL);
	if (waitpid(pid, NULL, 0) != pid)
		fail_exit("waiting for the process in %s", VM);
}

static void vm_before(char *mem)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(vm_pages); i++) {
		bind_to_node(vm_pages[i].nid);
		write_pattern(vm_page(mem, vm_pages[i].index), SZ_2M,
			      page_seed(&state.files[0], vm_pages[i].index));
	}
	raise(SIGSTOP);
}

static void vm_after(char *mem)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(vm_pages); i++)
		vm_map(mem, vm_pages[i].index);
	raise(SIGSTOP);
	vm_unmap(mem, 2);
	raise(SIGSTOP);
	vm_map(mem, 2);
	vm_map(mem, VM_UNMAPPED);
	raise(SIGSTOP);
	vm_unmap(mem, VM_UNMAPPED);
	write_pattern(vm_page(mem, 5), SZ_2M, page_seed(&state.files[0], 5));
	raise(SIGSTOP);
}

/*
 * Whose the only page of a file is that nobody records: @group's or, NULL, that of
 * the root, which has no counters.
 */
static void charge_other(int other, const char *group)
{
	if (ftruncate(other, 0) || ftruncate(other, SZ_2M))
		fail_exit("ftruncate");
	/* The pool of each node is to be as it was. */
	bind_to_node(0);
	if (group)
		in_group(group, allocate, other, 0, 1);
	else if (allocate(other, 0, 1))
		fail_exit("fallocate");
	bind_to_node(ANY_NODE);
}

/*
 * Compare with the record of the kernel before, all of it: nothing is to be ignored,
 * as pools, groups and frames are the same. @first and @second, which may be NULL,
 * are all that differs. @nr pages are in both records.
 */
static void check_verified(const int *fds, pid_t pid, int nr, const char *first,
			   const char *second)
{
	int differences = !!first + !!second;
	static char text[1 << 12];
	char summary[64];

	check_eq("hugeverify compare",
		 compare_process(fds, pid, text, sizeof(text)), !!differences);
	snprintf(summary, sizeof(summary),
		 "%d pages in 2 files compared: %d differences\n", nr, differences);
	check(strstr(text, summary), "hugeverify does not say: %s", summary);
	check(!first || strstr(text, first), "hugeverify does not say: %s", first);
	check(!second || strstr(text, second), "hugeverify does not say: %s",
	      second);
	/* Frames, flags and hashes were there to be compared. */
	check(!strstr(text, "note: "), "hugeverify did not compare everything");
}

static void cgroup_verify_1(void)
{
	struct file_state *f = new_file_state();
	static struct file_state other;
	int session, fds[2];
	unsigned int i;
	pid_t pid;

	mount_cgroups_twice();
	make_cgroup(VM, NULL);
	fds[0] = create_file(f, 10, SZ_2M, VM_PAGES);
	fds[1] = create_file(&other, 11, SZ_2M, 1);
	charge_other(fds[1], NULL);
	pid = start_vm(fds[0], vm_before);

	in_group(VM, allocate, fds[0], VM_OUTSIDE, 1);
	in_group(VM, allocate, fds[0], VM_UNMAPPED, 1);
	for (i = 0; i < ARRAY_SIZE(vm_pages); i++) {
		note_page(f, fds[0], vm_pages[i].index,
			  page_seed(f, vm_pages[i].index));
		check_eq("node of a page", f->pages[i].nid, vm_pages[i].nid);
	}
	/* Zeroes would not be told from holes without userfaultfd(). */
	fill_page(f, fds[0], VM_OUTSIDE, ANY_NODE);
	fill_page(f, fds[0], VM_UNMAPPED, ANY_NODE);
	check_group(VM, VM_THERE, VM_PAGES, VM_THERE);

	session = new_session("verify");
	preserve(session, f, fds[0]);
	record_process(RECORD_BEFORE, fds, pid);
	live_update(VERIFY_ARGS);
}

static void cgroup_verify_2(void)
{
	const int same = ARRAY_SIZE(vm_pages) + VM_THERE;
	int session, fds[MAX_FILES], other_fd;
	static struct file_state other;
	pid_t pid;

	load_state();
	mount_cgroups_twice();
	make_cgroup(VM, NULL);
	session = take_session("verify");
	retrieve_all(session, fds);
	finish(session);
	other_fd = create_file(&other, 11, SZ_2M, 1);
	charge_other(other_fd, NULL);
	pid = start_vm(fds[0], vm_after);
	check_group(VM, VM_THERE, VM_PAGES, VM_THERE);
	check_verified(fds, pid, same, NULL, NULL);

	/* The group has a page more; pools, the file and the process are the same. */
	charge_other(other_fd, VM);
	check_verified(fds, pid, same,
		       VM_COUNTER "current: it was 12582912, is 14680064\n",
		       VM_COUNTER "rsvd.current: it was 16777216, is 18874368\n");
	charge_other(other_fd, NULL);
	check_verified(fds, pid, same, NULL, NULL);

	/* Only the process has a page less, and then another one more. */
	go_on_with_vm(pid);
	check_verified(fds, pid, same - 1,
		       "process/0 page 2: it was there, is a hole\n", NULL);
	go_on_with_vm(pid);
	check_verified(fds, pid, same,
		       "process/0 page 3: it was a hole, is there\n", NULL);
	/* And what both of them have. */
	go_on_with_vm(pid);
	check_verified(fds, pid, same, "10 page 5: hash was 0x",
		       "process/0 page 5: hash was 0x");

	end_vm(pid);
	close(other_fd);
	close_all(fds);
	check_group(VM, 0, 0, 0);
	remove_cgroup(VM);
	check_pools_free(SZ_2M, 8, 8);
}

static const struct chain_test tests[] = {
	{ "cgroups", 1024, 3,
	  CGROUPS_ARGS,
	  { cgroups_1, cgroups_2, cgroups_3 } },
	{ "cgroups_1g", 4096, 2,
	  CGROUPS_1G_ARGS,
	  { cgroups_1g_1, cgroups_1g_2 } },
	{ "cgroup_limit", 1024, 2,
	  LIMIT_ARGS,
	  { cgroup_limit_1, cgroup_limit_2 } },
	{ "cgroup_path", 1024, 2,
	  CGROUPS_ARGS,
	  { cgroup_path_1, cgroup_path_2 } },
	{ "cgroup_verify", 1024, 2,
	  VERIFY_ARGS,
	  { cgroup_verify_1, cgroup_verify_2 } },
};

int main(int argc, char *argv[])
{
	return chain_main(argc, argv, tests, ARRAY_SIZE(tests));
}
