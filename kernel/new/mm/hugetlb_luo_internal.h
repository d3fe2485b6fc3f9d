/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
#ifndef _MM_HUGETLB_LUO_INTERNAL_H
#define _MM_HUGETLB_LUO_INTERNAL_H

/*
 * What the parts of the live update support of HugeTLB have in common.
 */

#include <linux/hugetlb.h>
#include <linux/kho/abi/hugetlb.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/xarray.h>

struct cgroup_subsys_state;
struct hugetlb_luo_payer;
struct liveupdate_file_handler;
struct liveupdate_file_op_args;

/*
 * Memory errors that there is room for before there is a list of them: as many
 * as the list has, since what comes from the previous kernel is among them.
 */
#define HUGETLB_LUO_EARLY_ERRORS	HUGETLB_LUO_ERRORS

/*
 * struct hugetlb_luo_table - the blocks of runs of one file
 * @first: First block, NULL if there are no pages.
 * @last:  Block that the next run goes to.
 */
struct hugetlb_luo_table {
	struct hugetlb_luo_block_ser *first;
	struct hugetlb_luo_block_ser *last;
};

/*
 * struct hugetlb_luo_file - a file that is being preserved
 * @list:       In hugetlb_luo_out.files while published.
 * @file:       The file. NULL stands for the free pages of a size, whose only
 *              members are @list, @h, @ser, @table, @nr_pages, and @node_pages.
 * @h:          Its page size.
 * @ser:        Its record.
 * @table:      The pages that preserve() found. All of them are pinned, and
 *              preserved by KHO.
 * @resv:       The indices that preserve() found reserved. Those of @table are
 *              left out unless somebody is charged for the reservation.
 * @nr_resv:    How many of these are not in @table.
 * @owners:     Who is charged, ascending by number.
 * @nr_owners:  How many there were when preserve() was done.
 * @lock:       Protects all below, and @table against pages being added.
 * @next_index: preserve() takes care of the pages from this index on by itself.
 * @late:       Indices of pages that were added below @next_index.
 * @late_table: These pages, while frozen. As in @table.
 * @frozen:     No page may be added.
 * @thaw:       Where those who want to add one wait.
 * @nr_pages:   Pages in both tables.
 * @node_pages: The same by node.
 */
struct hugetlb_luo_file {
	struct list_head list;
	struct file *file;
	struct hstate *h;
	struct hugetlb_luo_file_ser *ser;
	struct hugetlb_luo_table table;
	struct hugetlb_luo_table resv;
	u64 nr_resv;
	struct list_head owners;
	u32 nr_owners;
	/* Nests within the fault mutex of an index, and in the inode lock. */
	struct mutex lock;
	unsigned long next_index;
	struct xarray late;
	struct hugetlb_luo_table late_table;
	bool frozen;
	wait_queue_head_t thaw;
	u64 nr_pages;
	u64 node_pages[];
};

/* What goes to the next kernel: the published files, and the root. */
struct hugetlb_luo_out {
	/* Protects the members below, and what is written to the root. */
	struct mutex lock;
	struct list_head files;
	struct hugetlb_luo_root_ser *root;
	/*
	 * In the same memory as the root, written to by memory_failure(). What is
	 * found before there is one goes to @early_errors.
	 */
	spinlock_t errors_lock;
	struct hugetlb_luo_error_ser *errors;
	unsigned int nr_errors;
	struct hugetlb_luo_error_ser early_errors[HUGETLB_LUO_EARLY_ERRORS];
};

extern struct hugetlb_luo_out hugetlb_luo_out;

/*
 * struct hugetlb_luo_in_file - a file that comes from the previous kernel
 * @ser:        Its record.
 * @h:          Its page size.
 * @err:        Why it was refused, or 0.
 * @why:        What it was refused for: the field, if there is one.
 * @busy:       It is being retrieved, or finished.
 * @promised:   What the file has reserved is reserved in its pool.
 * @restored:   Number of pages, counted by ascending index, that KHO has given
 *              back and that are on @folios. More than zero only after a
 *              retrieval that failed half-way.
 * @folios:     These pages.
 * @payers:     By number of the owner, while the file is retrieved. The first
 *              one, of what has no owner, pays nothing.
 * @node_pages: Where its pages lie. The record has the previous kernel's nodes,
 *              which may be others.
 */
struct hugetlb_luo_in_file {
	struct hugetlb_luo_file_ser *ser;
	struct hstate *h;
	int err;
	const char *why;
	bool busy;
	bool promised;
	u64 restored;
	struct list_head folios;
	struct hugetlb_luo_payer *payers;
	u64 node_pages[];
};

/* What comes from the previous kernel. */
struct hugetlb_luo_in {
	/*
	 * Protects the members below once the system is up. A file of @files
	 * belongs to whoever made it busy.
	 */
	struct mutex lock;
	/* By frame number of the record; refused files are kept. */
	struct xarray files;
	struct hugetlb_luo_root_ser *root;
	/* One of another version that has no files. */
	struct hugetlb_luo_root_ser *empty_root;
	size_t root_size;
	/* Memory errors of its list whose memory was reserved because of them. */
	bool kept_away[HUGETLB_LUO_ERRORS];
	/* Pages of lists, and base pages of files, that were looked at. */
	u64 nr_listed, nr_checked;
	/* Those that are online when pools are planned. */
	nodemask_t nodes;
	/* Pages by size and node, if the root's nodes are others. */
	bool is_located[HUGE_MAX_HSTATE];
	unsigned int located[HUGE_MAX_HSTATE][MAX_NUMNODES];
	/* Everything was validated, @files is complete. */
	bool imported;
	/* The pages were counted into the pools. */
	bool counted;
	/* Something was handed over that cannot be claimed. */
	bool quarantine;
};

extern struct hugetlb_luo_in hugetlb_luo_in;

extern u32 hugetlb_luo_nodes;

/*
 * struct hugetlb_luo_cursor - where a walk over lists of runs is
 * @block: The block of the next run, of either list.
 * @i:     The next run in it.
 */
struct hugetlb_luo_cursor {
	struct hugetlb_luo_block_ser *block[2];
	u32 i[2];
};

/* Records, and lists of runs: hugetlb_luo_records.c */
u32 hugetlb_luo_root_csum(const struct hugetlb_luo_root_ser *root);
u32 hugetlb_luo_file_csum(const struct hugetlb_luo_file_ser *ser);
u32 hugetlb_luo_block_csum(const struct hugetlb_luo_block_ser *block);
u32 hugetlb_luo_error_csum(const struct hugetlb_luo_error_ser *error);
struct hugetlb_luo_error_ser *
hugetlb_luo_error_list(struct hugetlb_luo_root_ser *root);
u32 hugetlb_luo_owner_csum(const struct hugetlb_luo_owner_ser *owner);
unsigned long hugetlb_luo_pfn(struct hstate *h, unsigned long frame);
u64 hugetlb_luo_end_index(struct hstate *h, u64 size);
unsigned int hugetlb_luo_rank(const struct hstate *h);
bool hugetlb_luo_is_early(unsigned long pfn, unsigned long nr);
void *hugetlb_luo_alloc(size_t size);
struct hugetlb_luo_block_ser *
hugetlb_luo_next_block(const struct hugetlb_luo_block_ser *block);
struct hugetlb_luo_run_ser *
hugetlb_luo_peek_run(struct hugetlb_luo_cursor *cursor, unsigned int n);
struct hugetlb_luo_run_ser *
hugetlb_luo_next_run(struct hugetlb_luo_cursor *cursor);
void hugetlb_luo_walk_lists(struct hugetlb_luo_cursor *cursor, u64 a, u64 b);
void hugetlb_luo_walk(struct hugetlb_luo_cursor *cursor,
		      const struct hugetlb_luo_file_ser *ser);
u64 hugetlb_luo_common(u64 a, u64 b);
int hugetlb_luo_table_add_run(struct hugetlb_luo_table *table,
			      u32 index, u32 nr, u32 frame, u32 owner);
int hugetlb_luo_table_add(struct hugetlb_luo_table *table, u32 index,
			  u32 frame, u32 owner);
void hugetlb_luo_table_seal(struct hugetlb_luo_table *table);
u64 hugetlb_luo_table_phys(const struct hugetlb_luo_table *table);
void hugetlb_luo_table_free(struct hugetlb_luo_table *table);
int hugetlb_luo_table_reserve(struct hugetlb_luo_table *table,
			      unsigned long nr);
void hugetlb_luo_table_trim(struct hugetlb_luo_table *table);

/* Files that are being preserved: hugetlb_luo_preserve.c */
void hugetlb_luo_put_css(struct cgroup_subsys_state **css);
void hugetlb_luo_start_errors(struct hugetlb_luo_error_ser *errors);
bool hugetlb_luo_knows_errors(void);
bool hugetlb_luo_can_preserve(struct liveupdate_file_handler *handler,
			      struct file *file);
unsigned long hugetlb_luo_get_id(struct file *file);
struct hugetlb_luo_file *hugetlb_luo_file_alloc(struct file *file,
						struct hstate *h);
int hugetlb_luo_preserve(struct liveupdate_file_op_args *args);
void hugetlb_luo_unpreserve(struct liveupdate_file_op_args *args);
void hugetlb_luo_publish(struct hugetlb_luo_file *f);
int hugetlb_luo_fill_counts(struct hugetlb_luo_file *f);
int hugetlb_luo_freeze(struct liveupdate_file_op_args *args);
void hugetlb_luo_unfreeze(struct liveupdate_file_op_args *args);

/* What comes, and whether it is valid: hugetlb_luo_import.c */
bool hugetlb_luo_is_free(const struct hugetlb_luo_in_file *in);
u64 hugetlb_luo_claimable(unsigned int order, unsigned int nid);
bool hugetlb_luo_has_node(u32 nid);
u64 hugetlb_luo_expected(struct hstate *h, unsigned int nid);
void hugetlb_luo_report_lost(unsigned int order, unsigned int nid, u64 nr);
int hugetlb_luo_do_import(void);
void hugetlb_luo_in_forget(struct hugetlb_luo_in_file *in);
void hugetlb_luo_put_root(void);

/* The pools: hugetlb_luo_pools.c */
void hugetlb_luo_let_go(struct hstate *h, struct folio *folio);
int hugetlb_luo_promise(struct hugetlb_luo_in_file *in);
void hugetlb_luo_promise_fails(struct hstate *h, u64 nr);
void hugetlb_luo_promise_all(struct hstate *h);
unsigned long hugetlb_luo_uncount(struct hstate *h, int nid,
				  unsigned long nr);
void hugetlb_luo_discount(void);

/* Files that come: hugetlb_luo_retrieve.c */
int hugetlb_luo_import_late(void);
int hugetlb_luo_retrieve(struct liveupdate_file_op_args *args);
bool hugetlb_luo_can_finish(struct liveupdate_file_op_args *args);
void hugetlb_luo_finish(struct liveupdate_file_op_args *args);

#endif /* _MM_HUGETLB_LUO_INTERNAL_H */
