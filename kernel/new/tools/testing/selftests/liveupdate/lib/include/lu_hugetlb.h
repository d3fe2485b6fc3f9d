/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * Memfds with huge pages that a chain of kernels hands on: what they have, what
 * they must have after it, and the pools that their pages come from.
 */

#ifndef SELFTESTS_LIVEUPDATE_LIB_LU_HUGETLB_H
#define SELFTESTS_LIVEUPDATE_LIB_LU_HUGETLB_H

#include <sys/types.h>

#include <lu_chain.h>

/* Older C libraries lack it. */
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC	0x0020
#endif

#define SZ_64K		0x00010000UL
#define SZ_2M		0x00200000UL
#define SZ_32M		0x02000000UL
#define SZ_1G		0x40000000UL

#define NR_NODES	2
#define ANY_NODE	-1
#define NR_SIZES	2
#define MAX_FILES	8
#define MAX_PAGES	320

#define HUGEVERIFY	"/hugeverify"
/* What hugeverify recorded in the kernel before, and in this one. */
#define RECORD_BEFORE	"/record-before"
#define RECORD_NOW	"/record-now"

/* A huge page of a file. */
struct page_state {
	__u64 index;
	/* 0 for one that may have been moved. */
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

extern const unsigned long page_sizes[NR_SIZES];
extern struct state state;

void bind_to_node(int nid);

long read_number(const char *path);
int write_number(const char *path, long number);
void pool_path(char *path, size_t len, unsigned long size, int nid,
	       const char *name);
long pool_number(unsigned long size, int nid, const char *name);
struct pool read_pool(unsigned long size, int nid);
void print_pools(const char *when);
bool check_pool(unsigned long size, int nid, long nr, long free, long surplus);
long pages_on(unsigned long size, int nid);
void check_pools_in_use(unsigned long size, long nr0, long nr1, long surplus0,
			long surplus1);
void check_pools_free(unsigned long size, long nr0, long nr1);

void write_pattern(void *page, __u64 page_size, __u64 seed);
long compare_pattern(const void *page, __u64 page_size, __u64 seed);
__u64 frame_of(const void *addr);
int node_of(void *addr);
void *map_page(int fd, __u64 page_size, __u64 index);
void *map_any_page(int fd, __u64 page_size, __u64 index);

int create_file(struct file_state *f, __u64 token, __u64 page_size,
		__u64 nr_pages);
struct file_state *new_file_state(void);
__u64 page_seed(const struct file_state *f, __u64 index);
int fill_page(struct file_state *f, int fd, __u64 index, int nid);
void fill_pages(struct file_state *f, int fd, __u64 first, __u64 nr, int nid);
void note_page(struct file_state *f, int fd, __u64 index, __u64 seed);
void check_file(const struct file_state *f, int fd);
void print_file(const char *what, const struct file_state *f);

void preserve(int session, const struct file_state *f, int fd);
int retrieve(int session, const struct file_state *f);
void save_state(void);
void load_state(void);
void live_update(const char *args);

void record_files(const char *path, const int *fds);
void record_process(const char *path, const int *fds, pid_t pid);
int compare_files(const int *fds);
int compare_process(const int *fds, pid_t pid, char *text, size_t len);

void mount_cgroups(const char *controllers, const char *options);
void make_cgroup(const char *group, const char *controllers);
void make_long_cgroup(char *group, size_t len);
void remove_cgroup(const char *group);
int write_cgroup(const char *group, const char *name, const char *text);
void read_cgroup_text(const char *group, const char *name, char *text,
		      size_t len);
long read_cgroup(const char *group, const char *name);

int preserve_full(int session, __u64 token, __u64 page_size, __u64 nr, int nid);
int preserve_sparse(int session, __u64 token, __u64 page_size, __u64 nr);
int preserve_last(int session, __u64 token, __u64 page_size, __u64 nr, int nid);
void retrieve_all(int session, int *fds);
void close_all(const int *fds);
void forget_files(void);

#endif /* SELFTESTS_LIVEUPDATE_LIB_LU_HUGETLB_H */
