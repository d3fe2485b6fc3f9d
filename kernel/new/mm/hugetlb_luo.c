// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Preservation of hugetlb memfds across a live update.
 */

/**
 * DOC: HugeTLB memfd preservation via LUO
 *
 * Overview
 * ========
 *
 * A memfd that was made with MFD_HUGETLB can be handed to the next kernel by
 * the Live Update Orchestrator (LUO). Its pages stay where they are; nothing is
 * copied. The next kernel sizes its pools around the pages that come, on every
 * node, so that it ends up with what its command line asks for.
 *
 * Preserved Properties
 * ====================
 *
 * File Contents
 *   Each index is backed by the same page. A hole stays a hole.
 *
 * File Size, File Position, Permission Bits
 *   As they are at the time of freezing.
 *
 * Seals
 *   All seals.
 *
 * Reservations
 *   The reservation map. What is reserved in it and has no page yet is reserved
 *   in the pool of the next kernel, too.
 *
 * Memory Errors
 *   Which base pages have them, see below.
 *
 * Charges to Control Groups
 *   Of pages in use and of reservations to hugetlb cgroups, of pages to memory
 *   cgroups. See below.
 *
 * Non-Preserved Properties
 * ========================
 *
 * Everything else is set to its default in the next kernel: the name of the
 * memfd, its owner, status flags of the descriptor, and whether the page
 * structures of its pages were optimized away (HVO). A file with properties
 * whose loss would be felt is refused: pages and reservations beyond the end of
 * the file. So are descriptors that are not writable, since what comes back is.
 *
 * Pages in memory that was added since boot cannot be preserved: %EOPNOTSUPP. The
 * next kernel is not told of that memory in time.
 *
 * Files Being Preserved
 * =====================
 *
 * From preserve() on the size of the file is fixed and no page can be taken out
 * of it. But touching a hole is nothing that a program could be told to avoid, and
 * the time to freeze() may be long. So faults and fallocate() go on filling
 * holes, the index is remembered, and freeze() picks those pages up. Those that
 * had been reserved need no reservation any more.
 *
 * What fails meanwhile, and with what:
 *
 * ===========================================  =======
 * ftruncate(), also to the size that it has    %EPERM
 * fallocate() beyond the end, punching a hole  %EPERM
 * mmap() that would make the file larger       %EPERM
 * mmap() that would reserve a hole             %ENOMEM
 * pinning a hole that is not reserved          %EBUSY
 * F_SEAL_WRITE, since the pages are pinned     %EBUSY
 * any seal, once the file is frozen            %EBUSY
 * preserving the file once more                %EBUSY
 * ===========================================  =======
 *
 * A fault that is on its way while preserve() runs may have its region in the
 * reservation map already. If it fails after all, the next kernel reserves one
 * page too many, until that index is used or the file is gone.
 *
 * The table is final when freeze() returns, but programs run on other CPUs until
 * these are stopped. Writes to pages that are in the file need no attention: the
 * page is what is handed over. A fault into a hole waits until either unfreeze()
 * lets it go on or the CPU is stopped. In the latter case the write has never
 * happened, so that nothing which a program saw completed is lost.
 *
 * Memory Errors
 * =============
 *
 * A page with memory errors stays in its file, there and here. Touching it gives
 * SIGBUS as before, read() gives what is in front of the first base page with an
 * error and fails with %EIO there. It is neither read nor written on the way. When
 * the file is gone, or if nobody has asked for it, the page is not used again: it
 * counts as in use, as in the kernel that saw the error.
 *
 * An error may come at any time until the CPUs are stopped, and after the kexec
 * as well. memory_failure() tells of all errors in huge pages, and all of them are
 * written down where the next kernel finds them; nothing has to be done for that
 * when a file is preserved or frozen. There is room for a fixed number. When half
 * of it is used, files are neither preserved nor frozen any more, with %EHWPOISON,
 * so that the other half is there for what comes after the freeze. What is on the
 * list stays on it from each kernel to the next, until a cold reboot.
 *
 * A page with an error cannot be moved. One in a CMA area, or in ZONE_MOVABLE, can
 * therefore not be preserved: %EHWPOISON.
 *
 * A free page of a pool that gets an error is taken out of the pool at once by
 * memory_failure(). If it was to be handed over by then, it is known as bad in the
 * next kernel, and counts as in use there.
 *
 * A base page with an error that is in nothing which is handed over is not given
 * to anybody in the next kernel: that of a page dissolved from a pool, or of a file
 * that is gone. It is reserved before memory is allocated for anything but what
 * lies in scratch, and marked. If it is not known which base pages of a huge page
 * have errors, that goes for all of them.
 *
 * A next kernel without CONFIG_MEMORY_FAILURE refuses files with such pages, and
 * free pages with such among them, with %EHWPOISON.
 *
 * The Next Kernel
 * ===============
 *
 * All records are validated at once at boot before anything is taken from them.
 * The pages of files that passed are counted into the pools there and then, as
 * pages in use: they show as such before anybody asks for the files, and resizing
 * a pool meanwhile takes them into account. Those in excess of what the command
 * line asks for are surplus pages, on each node if it is about nodes. What that
 * comes to is in the log. A page counts on the node that it lies on, which need
 * not have the number that it had in the previous kernel. Where that is so, it is
 * found out for gigantic pages before any is allocated.
 *
 * What does not pass is left alone. It may still be the target of a device, so
 * that memory stays reserved, is reported, and no further live update is possible
 * since it would hand it out.
 *
 * Free Pages
 * ==========
 *
 * The free pages of a pool are given to the page allocator by a reboot, unless
 * 1 is written to preserve_free of their size in sysfs. Then the next kernel's
 * pool starts with the same pages, without allocating any, as far as they are
 * fit for it: not those with memory errors, nor those in CMA areas, ZONE_MOVABLE
 * or memory that was added since boot. They stay in the pool also if the command
 * line asks for fewer. Their contents are not kept.
 *
 * They are looked for at the end of liveupdate_reboot(), whether or not any file
 * is preserved. Programs still run then, and may take pages from the pool, or
 * give them back to the page allocator. That does not matter any more: whoever
 * gets such a page is gone with this kernel. Only what is to survive must not
 * come to lie in it. LUO preserves nothing after that point, so that it is our
 * own tables, and the pages of KHO's tree, that have to be allocated before any
 * page is found to be free for the last time. One that left the pool in the
 * meantime is left out.
 *
 * A lack of memory at that point does not stop the update. Then the pages of that
 * size are given up as they would be without this.
 *
 * Reservations at Boot
 * ====================
 *
 * When the pools are filled, what the files have reserved is reserved there,
 * before anybody else can take the pages. The pools are not made larger for it.
 * If one is too small for a file, a message says how many pages are missing.
 * Nothing of that file is lost: retrieving it fails with %EAGAIN until there are
 * enough free pages.
 *
 * Control Groups
 * ==============
 *
 * Who is charged is handed over as the path of a control group in its hierarchy,
 * not as seen from a cgroup namespace. If that was removed, its charges are
 * those of the nearest ancestor which was not, as Linux has it.
 *
 * Nobody is charged in the next kernel until the file is retrieved. Then what has
 * an owner is charged to the control group that has this path now, or, if there
 * is none, to the task that retrieves the file. If it lacks the controller, an
 * ancestor is charged, as for a page that one of its tasks touches. What had no
 * owner has none. A limit that is too low makes the retrieval fail with %EAGAIN:
 * nobody is charged then, and the file can be retrieved once there is room. If it
 * is finished instead, its pages go to the pool, without any charge.
 */

#define pr_fmt(fmt) "hugetlb_luo: " fmt

#include <linux/cgroup.h>
#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/folio_batch.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/hugetlb_cgroup.h>
#include <linux/hugetlb_luo.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/jhash.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/hugetlb.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/lockdep.h>
#include <linux/log2.h>
#include <linux/memblock.h>
#include <linux/memcontrol.h>
#include <linux/memfd.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/string.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include <uapi/linux/memfd.h>

#include "hugetlb_internal.h"

#define HUGETLB_LUO_SEALS	(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | \
				 F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | \
				 F_SEAL_EXEC)

/* More than any kernel announces: what is beyond is not worth the time. */
#define HUGETLB_LUO_MAX_COUNTS	4096

static_assert(HUGE_MAX_HSTATE * MAX_NUMNODES <= HUGETLB_LUO_MAX_COUNTS);

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
 * struct hugetlb_luo_owner - who is charged for some pages or reservations
 * @list:  In hugetlb_luo_file.owners.
 * @nr:    Its number in there, from 1 on.
 * @css:   By kind of charge, referenced, or NULL.
 * @ser:   Its record.
 * @stale: The record's checksum is not what it should be.
 */
struct hugetlb_luo_owner {
	struct list_head list;
	u32 nr;
	struct cgroup_subsys_state *css[HUGETLB_LUO_NR_CHARGES];
	struct hugetlb_luo_owner_ser *ser;
	bool stale;
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
static struct {
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
} hugetlb_luo_out = {
	.lock = __MUTEX_INITIALIZER(hugetlb_luo_out.lock),
	.files = LIST_HEAD_INIT(hugetlb_luo_out.files),
	.errors_lock = __SPIN_LOCK_UNLOCKED(hugetlb_luo_out.errors_lock),
};

/*
 * Those who add a page to a file look up its struct hugetlb_luo_file under this.
 * They may sleep there for as long as the file is frozen. That is fine: nobody
 * waits for a grace period while any file is frozen.
 */
DEFINE_STATIC_SRCU(hugetlb_luo_srcu);

/*
 * struct hugetlb_luo_payer - who is charged for what an owner was charged for
 * @css:     By kind of charge, referenced, or NULL.
 * @nr:      Number of pages.
 * @charged: These kinds of charges were made for the pages.
 */
struct hugetlb_luo_payer {
	struct cgroup_subsys_state *css[HUGETLB_LUO_NR_CHARGES];
	u64 nr;
	bool charged[HUGETLB_LUO_NR_CHARGES];
};

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
static struct {
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
} hugetlb_luo_in = {
	.lock = __MUTEX_INITIALIZER(hugetlb_luo_in.lock),
	.files = XARRAY_INIT(hugetlb_luo_in.files, 0),
};

/* Checksum of where this kernel's nodes lie. */
static u32 hugetlb_luo_nodes __initdata;

/*
 * Checksum of a record: all of it but the field that the checksum goes to. The
 * offset of that field and the length are multiples of four.
 */
static u32 hugetlb_luo_csum(const void *rec, size_t csum_offset, size_t len)
{
	size_t rest = csum_offset + sizeof(u32);
	u32 csum;

	csum = jhash2(rec, csum_offset / sizeof(u32), HUGETLB_LUO_VERSION);

	return jhash2(rec + rest, (len - rest) / sizeof(u32), csum);
}

static u32 hugetlb_luo_root_csum(const struct hugetlb_luo_root_ser *root)
{
	return hugetlb_luo_csum(root, offsetof(typeof(*root), csum),
				struct_size(root, counts, root->nr_counts));
}

static u32 hugetlb_luo_file_csum(const struct hugetlb_luo_file_ser *ser)
{
	return hugetlb_luo_csum(ser, offsetof(typeof(*ser), csum),
				struct_size(ser, counts, ser->nr_counts));
}

static u32 hugetlb_luo_block_csum(const struct hugetlb_luo_block_ser *block)
{
	return hugetlb_luo_csum(block, offsetof(typeof(*block), csum),
				struct_size(block, runs, block->nr_runs));
}

static u32 hugetlb_luo_error_csum(const struct hugetlb_luo_error_ser *error)
{
	return hugetlb_luo_csum(error, offsetof(typeof(*error), csum),
				sizeof(*error));
}

/* The list of memory errors stands behind the counts. */
static struct hugetlb_luo_error_ser *
hugetlb_luo_errors(struct hugetlb_luo_root_ser *root)
{
	return (void *)&root->counts[root->nr_counts];
}

static u32 hugetlb_luo_owner_csum(const struct hugetlb_luo_owner_ser *owner)
{
	return hugetlb_luo_csum(owner, offsetof(typeof(*owner), csum),
				sizeof(*owner));
}

static unsigned long hugetlb_luo_pfn(struct hstate *h, unsigned long frame)
{
	return frame << huge_page_order(h);
}

/* The first index beyond a file of @size, whose last page may be a part of one. */
static u64 hugetlb_luo_end_index(struct hstate *h, u64 size)
{
	/* A division would take no more than 32 bits: not enough for 16 GiB. */
	return (size + huge_page_size(h) - 1) >> huge_page_shift(h);
}

/* Where the counts of @h stand in the root, where sizes ascend. */
static unsigned int hugetlb_luo_rank(const struct hstate *h)
{
	const struct hstate *other;
	unsigned int rank = 0;

	for_each_hstate(other)
		if (other->order < h->order)
			rank++;

	return rank;
}

/*
 * Was all of this memory there at boot? If it was added later, the next kernel
 * is not told of it by the time that KHO needs its page structures.
 */
static bool hugetlb_luo_is_early(unsigned long pfn, unsigned long nr)
{
	unsigned long end = pfn + nr;

	for (; pfn < end; pfn += PAGES_PER_SECTION)
		if (!early_section(__pfn_to_section(pfn)))
			return false;

	return true;
}

/*
 * Memory for a record, zeroed and preserved. The next kernel has to have it, too.
 *
 * Return: the memory, or -ENOMEM, or -EOPNOTSUPP if it was added since boot.
 */
static void *hugetlb_luo_alloc(size_t size)
{
	void *rec = kho_alloc_preserve(size);

	if (IS_ERR(rec) ||
	    hugetlb_luo_is_early(PHYS_PFN(virt_to_phys(rec)), PFN_UP(size)))
		return rec;

	kho_unpreserve_free(rec);
	return ERR_PTR(-EOPNOTSUPP);
}

static struct hugetlb_luo_block_ser *
hugetlb_luo_next_block(const struct hugetlb_luo_block_ser *block)
{
	return block->next ? phys_to_virt(block->next) : NULL;
}

/*
 * struct hugetlb_luo_cursor - where a walk over lists of runs is
 * @block: The block of the next run, of each list.
 * @i:     The next run in it.
 */
struct hugetlb_luo_cursor {
	struct hugetlb_luo_block_ser *block[3];
	u32 i[3];
};

static struct hugetlb_luo_run_ser *
hugetlb_luo_peek_run(struct hugetlb_luo_cursor *cursor, unsigned int n)
{
	struct hugetlb_luo_block_ser *block = cursor->block[n];

	if (block && cursor->i[n] == block->nr_runs) {
		block = hugetlb_luo_next_block(block);
		cursor->block[n] = block;
		cursor->i[n] = 0;
	}

	return block ? &block->runs[cursor->i[n]] : NULL;
}

/* Return: the next run of all lists by index, or NULL if there is none. */
static struct hugetlb_luo_run_ser *
hugetlb_luo_next_run(struct hugetlb_luo_cursor *cursor)
{
	struct hugetlb_luo_run_ser *next = NULL;
	unsigned int n, from = 0;

	for (n = 0; n < ARRAY_SIZE(cursor->block); n++) {
		struct hugetlb_luo_run_ser *run = hugetlb_luo_peek_run(cursor, n);

		if (run && (!next || run->index < next->index)) {
			next = run;
			from = n;
		}
	}
	if (next)
		cursor->i[from]++;

	return next;
}

static void hugetlb_luo_walk_lists(struct hugetlb_luo_cursor *cursor, u64 a,
				   u64 b, u64 c)
{
	*cursor = (struct hugetlb_luo_cursor) {
		.block = {
			a ? phys_to_virt(a) : NULL,
			b ? phys_to_virt(b) : NULL,
			c ? phys_to_virt(c) : NULL,
		},
	};
}

/* Walk over the pages of a file. */
static void hugetlb_luo_walk(struct hugetlb_luo_cursor *cursor,
			     const struct hugetlb_luo_file_ser *ser)
{
	hugetlb_luo_walk_lists(cursor, ser->runs, ser->late, 0);
}

/* Return: how many indices are in both lists of runs. */
static u64 hugetlb_luo_common(u64 a, u64 b)
{
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *x, *y;
	u64 nr = 0;

	hugetlb_luo_walk_lists(&cursor, a, b, 0);
	while ((x = hugetlb_luo_peek_run(&cursor, 0)) &&
	       (y = hugetlb_luo_peek_run(&cursor, 1))) {
		u64 x_end = (u64)x->index + x->nr, y_end = (u64)y->index + y->nr;
		u64 from = max(x->index, y->index), to = min(x_end, y_end);

		if (from < to)
			nr += to - from;
		cursor.i[x_end > y_end]++;
		cond_resched();
	}

	return nr;
}

/*
 * Outgoing files: the table
 */

static int hugetlb_luo_table_add_block(struct hugetlb_luo_table *table)
{
	struct hugetlb_luo_block_ser *block = hugetlb_luo_alloc(PAGE_SIZE);

	if (IS_ERR(block))
		return PTR_ERR(block);

	block->magic = HUGETLB_LUO_BLOCK_MAGIC;
	if (table->last)
		table->last->next = virt_to_phys(block);
	else
		table->first = block;
	table->last = block;

	return 0;
}

/* Append a run of @nr pages. */
static int hugetlb_luo_table_add_run(struct hugetlb_luo_table *table,
				     u32 index, u32 nr, u32 frame, u32 owner)
{
	struct hugetlb_luo_block_ser *block = table->last;
	struct hugetlb_luo_run_ser *run;
	int err;

	if (block && block->nr_runs == HUGETLB_LUO_BLOCK_RUNS && block->next) {
		block = hugetlb_luo_next_block(block);
		table->last = block;
	}
	if (!block || block->nr_runs == HUGETLB_LUO_BLOCK_RUNS) {
		err = hugetlb_luo_table_add_block(table);
		if (err)
			return err;
		block = table->last;
	}

	run = &block->runs[block->nr_runs++];
	run->index = index;
	run->nr = nr;
	run->frame = frame;
	run->owner = owner;

	return 0;
}

/* Append a page. It goes into the last run if it continues that. */
static int hugetlb_luo_table_add(struct hugetlb_luo_table *table, u32 index,
				 u32 frame, u32 owner)
{
	struct hugetlb_luo_block_ser *block = table->last;
	struct hugetlb_luo_run_ser *run;

	if (block && block->nr_runs) {
		run = &block->runs[block->nr_runs - 1];
		if ((u64)run->index + run->nr == index &&
		    (u64)run->frame + run->nr == frame && run->owner == owner) {
			run->nr++;
			return 0;
		}
	}

	return hugetlb_luo_table_add_run(table, index, 1, frame, owner);
}

static void hugetlb_luo_table_seal(struct hugetlb_luo_table *table)
{
	struct hugetlb_luo_block_ser *block;

	for (block = table->first; block; block = hugetlb_luo_next_block(block))
		block->csum = hugetlb_luo_block_csum(block);
}

static u64 hugetlb_luo_table_phys(const struct hugetlb_luo_table *table)
{
	return table->first ? virt_to_phys(table->first) : 0;
}

static void hugetlb_luo_free_chain(struct hugetlb_luo_block_ser *block)
{
	while (block) {
		struct hugetlb_luo_block_ser *next = hugetlb_luo_next_block(block);

		kho_unpreserve_free(block);
		block = next;
	}
}

static void hugetlb_luo_table_free(struct hugetlb_luo_table *table)
{
	hugetlb_luo_free_chain(table->first);
	table->first = NULL;
	table->last = NULL;
}

/*
 * Get all the memory that a table of @nr pages may need. Adding these to it, and
 * hugetlb_luo_table_trim() when that is done, then cannot fail.
 */
static int hugetlb_luo_table_reserve(struct hugetlb_luo_table *table,
				     unsigned long nr)
{
	unsigned long n;
	int err = 0;

	for (n = 0; n < nr && !err; n += HUGETLB_LUO_BLOCK_RUNS)
		err = hugetlb_luo_table_add_block(table);
	table->last = table->first;

	return err;
}

/* Let go of the blocks that were not needed. There is one run at least. */
static void hugetlb_luo_table_trim(struct hugetlb_luo_table *table)
{
	hugetlb_luo_free_chain(hugetlb_luo_next_block(table->last));
	table->last->next = 0;
}

/*
 * Outgoing files: who is charged
 */

/* The charges of a page. They last for as long as the RCU read-side section. */
static void hugetlb_luo_folio_css(struct folio *folio,
				  struct cgroup_subsys_state **css)
{
#ifdef CONFIG_CGROUP_HUGETLB
	struct hugetlb_cgroup *h_cg = hugetlb_cgroup_from_folio(folio);
	struct hugetlb_cgroup *rsvd = hugetlb_cgroup_from_folio_rsvd(folio);

	css[HUGETLB_LUO_USAGE] = h_cg ? &h_cg->css : NULL;
	css[HUGETLB_LUO_RSVD] = rsvd ? &rsvd->css : NULL;
#endif
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg = folio_memcg(folio);

	css[HUGETLB_LUO_MEMCG] = memcg ? &memcg->css : NULL;
#endif
}

static struct cgroup_subsys_state *
hugetlb_luo_region_css(const struct file_region *region)
{
#ifdef CONFIG_CGROUP_HUGETLB
	return region->css;
#else
	return NULL;
#endif
}

static void hugetlb_luo_put_css(struct cgroup_subsys_state **css)
{
	unsigned int kind;

	for (kind = 0; kind < HUGETLB_LUO_NR_CHARGES; kind++)
		if (css[kind])
			css_put(css[kind]);
}

#ifdef CONFIG_CGROUPS
static bool hugetlb_luo_get_css(struct cgroup_subsys_state **css)
{
	unsigned int kind;

	for (kind = 0; kind < HUGETLB_LUO_NR_CHARGES; kind++) {
		if (css[kind] && !css_tryget(css[kind])) {
			while (kind--)
				if (css[kind])
					css_put(css[kind]);
			return false;
		}
	}

	return true;
}

/* Write down the paths of those who are charged now, mostly the same as before. */
static int hugetlb_luo_seal_owner(struct hugetlb_luo_owner *owner)
{
	char path[HUGETLB_LUO_PATH_SIZE];
	unsigned int kind;
	int len, err = 0;

	for (kind = 0; kind < HUGETLB_LUO_NR_CHARGES; kind++) {
		struct cgroup_subsys_state *css = owner->css[kind];

		if (!css)
			continue;
		/* One that was removed may be followed by another of its name. */
		while (css->parent && (css_is_dying(css) || !css_is_online(css)))
			css = css->parent;
		/* One that fills the buffer has been cut, for all that is known. */
		len = cgroup_path(css->cgroup, path, sizeof(path));
		if (len < 0 || len >= (int)sizeof(path) - 1) {
			err = -ENAMETOOLONG;
			break;
		}
		if (!strcmp(owner->ser->path[kind], path))
			continue;
		memset(owner->ser->path[kind], 0, sizeof(path));
		memcpy(owner->ser->path[kind], path, len + 1);
		owner->stale = true;
	}
	if (owner->stale)
		owner->ser->csum = hugetlb_luo_owner_csum(owner->ser);
	owner->stale = false;

	return err;
}
#else
static bool hugetlb_luo_get_css(struct cgroup_subsys_state **css)
{
	return true;
}

static int hugetlb_luo_seal_owner(struct hugetlb_luo_owner *owner)
{
	return 0;
}
#endif

static int hugetlb_luo_seal_owners(struct hugetlb_luo_file *f)
{
	struct hugetlb_luo_owner *owner;
	int err;

	list_for_each_entry(owner, &f->owners, list) {
		err = hugetlb_luo_seal_owner(owner);
		if (err)
			return err;
	}

	return 0;
}

static u32 hugetlb_luo_last_owner(struct hugetlb_luo_file *f)
{
	if (list_empty(&f->owners))
		return 0;

	return list_last_entry(&f->owners, struct hugetlb_luo_owner, list)->nr;
}

static u64 hugetlb_luo_owners_phys(struct hugetlb_luo_file *f)
{
	if (list_empty(&f->owners))
		return 0;

	return virt_to_phys(list_first_entry(&f->owners, struct hugetlb_luo_owner,
					     list)->ser);
}

/* Forget all owners but the first @nr ones. */
static void hugetlb_luo_trim_owners(struct hugetlb_luo_file *f, u32 nr)
{
	struct hugetlb_luo_owner *owner;

	while (!list_empty(&f->owners)) {
		owner = list_last_entry(&f->owners, struct hugetlb_luo_owner, list);
		if (owner->nr <= nr) {
			owner->stale |= !!owner->ser->next;
			owner->ser->next = 0;
			break;
		}
		list_del(&owner->list);
		hugetlb_luo_put_css(owner->css);
		kho_unpreserve_free(owner->ser);
		kfree(owner);
	}
}

/* Append one who has the references to @css from here on, also if that fails. */
static int hugetlb_luo_add_owner(struct hugetlb_luo_file *f,
				 struct cgroup_subsys_state **css, u32 *nr)
{
	struct hugetlb_luo_owner *owner, *last;
	int err = -ENOMEM;

	owner = kzalloc_obj(*owner);
	if (!owner)
		goto err_put;
	owner->ser = hugetlb_luo_alloc(sizeof(*owner->ser));
	if (IS_ERR(owner->ser)) {
		err = PTR_ERR(owner->ser);
		goto err_free;
	}

	memcpy(owner->css, css, sizeof(owner->css));
	owner->nr = hugetlb_luo_last_owner(f) + 1;
	owner->ser->magic = HUGETLB_LUO_OWNER_MAGIC;
	owner->ser->nr = owner->nr;
	if (!list_empty(&f->owners)) {
		last = list_last_entry(&f->owners, struct hugetlb_luo_owner, list);
		last->ser->next = virt_to_phys(owner->ser);
		last->stale = true;
	}
	list_add_tail(&owner->list, &f->owners);
	*nr = owner->nr;

	return 0;

err_free:
	kfree(owner);
err_put:
	hugetlb_luo_put_css(css);
	return err;
}

/* Is there an owner with these charges? What has none has number 0. */
static bool hugetlb_luo_find_owner(struct hugetlb_luo_file *f,
				   struct cgroup_subsys_state **css, u32 *nr)
{
	struct hugetlb_luo_owner *owner;

	*nr = 0;
	if (!memchr_inv(css, 0, HUGETLB_LUO_NR_CHARGES * sizeof(*css)))
		return true;

	/* The references that they have keep others from having the addresses. */
	list_for_each_entry(owner, &f->owners, list) {
		if (!memcmp(owner->css, css, sizeof(owner->css))) {
			*nr = owner->nr;
			return true;
		}
	}

	return false;
}

static int hugetlb_luo_folio_owner(struct hugetlb_luo_file *f,
				   struct folio *folio, u32 *nr)
{
	struct cgroup_subsys_state *css[HUGETLB_LUO_NR_CHARGES] = {};
	bool found, got;

	/* One that goes away leaves its charges to its parent first. */
	do {
		guard(rcu)();
		hugetlb_luo_folio_css(folio, css);
		found = hugetlb_luo_find_owner(f, css, nr);
		got = found || hugetlb_luo_get_css(css);
	} while (!got);

	return found ? 0 : hugetlb_luo_add_owner(f, css, nr);
}

/* The same for a reservation that is charged to @rsvd, or to nobody. */
static int hugetlb_luo_region_owner(struct hugetlb_luo_file *f,
				    struct cgroup_subsys_state *rsvd, u32 *nr)
{
	struct cgroup_subsys_state *css[HUGETLB_LUO_NR_CHARGES] = {
		[HUGETLB_LUO_RSVD] = rsvd,
	};

	if (hugetlb_luo_find_owner(f, css, nr))
		return 0;
	css_get(rsvd);

	return hugetlb_luo_add_owner(f, css, nr);
}

/*
 * Outgoing files: pages
 */

/* Refuse what the next kernel could not restore. */
static int hugetlb_luo_check_folio(struct folio *folio)
{
	/*
	 * Pinning has moved the page out of CMA areas, and scratch is one, but
	 * the next kernel will overwrite what is there: better to ask.
	 */
	if (kho_scratch_overlap(PFN_PHYS(folio_pfn(folio)), folio_size(folio)))
		return -EBUSY;

	if (!hugetlb_luo_is_early(folio_pfn(folio), folio_nr_pages(folio)))
		return -EOPNOTSUPP;

	if (folio_pfn(folio) >> folio_order(folio) > U32_MAX)
		return -EOVERFLOW;

	return 0;
}

static int hugetlb_luo_preserve_folio(struct folio *folio)
{
	int err = hugetlb_luo_check_folio(folio);

	return err ? err : kho_preserve_folio(folio);
}

/*
 * Is there one with a memory error among these pages, where it may not stay? It
 * cannot be moved either. Who asks for it to be pinned would wait for good.
 */
static bool hugetlb_luo_stuck(struct hugetlb_luo_file *f, pgoff_t index,
			      unsigned int nr)
{
	pgoff_t next = index << huge_page_order(f->h);
	pgoff_t last = ((index + nr) << huge_page_order(f->h)) - 1;
	struct folio_batch fbatch;
	bool stuck = false;
	unsigned int i;

	if (!READ_ONCE(hugetlb_luo_out.nr_errors))
		return false;

	folio_batch_init(&fbatch);
	filemap_get_folios(f->file->f_mapping, &next, last, &fbatch);
	for (i = 0; i < fbatch.nr; i++)
		if (folio_test_hwpoison(fbatch.folios[i]) &&
		    !folio_is_longterm_pinnable(fbatch.folios[i]))
			stuck = true;
	folio_batch_release(&fbatch);

	return stuck;
}

/*
 * Pin @nr pages from @index on, which are in the file and cannot leave it.
 * memfd_pin_folios() would fill holes, and so is only asked for pages that are
 * there.
 */
static int hugetlb_luo_pin(struct hugetlb_luo_file *f, pgoff_t index,
			   unsigned int nr, struct folio **folios)
{
	loff_t size = i_size_read(file_inode(f->file));
	loff_t start = (loff_t)index << huge_page_shift(f->h);
	loff_t end = start + ((loff_t)nr << huge_page_shift(f->h));
	pgoff_t offset;
	long ret;

	/* What the table has room for. */
	if (index + nr > U32_MAX)
		return -EFBIG;

	/* fallocate() can put pages beyond the end of the file. */
	if (round_up(size, huge_page_size(f->h)) < end)
		return -EOPNOTSUPP;

	if (hugetlb_luo_stuck(f, index, nr))
		return -EHWPOISON;

	ret = memfd_pin_folios(f->file, start, min(end, size) - 1, folios, nr,
			       &offset);
	if (ret < 0)
		return ret;
	if (WARN_ON_ONCE(ret != nr)) {
		unpin_folios(folios, ret);
		return -EIO;
	}

	return 0;
}

/*
 * Preserve @nr pages that are in the file, contiguous from @index on. If that
 * fails, those in @table are left to the caller.
 */
static int hugetlb_luo_preserve_range(struct hugetlb_luo_file *f,
				      struct hugetlb_luo_table *table,
				      pgoff_t index, unsigned int nr)
{
	struct folio *folios[FOLIO_BATCH_SIZE];
	unsigned int i;
	u32 owner;
	int err;

	err = hugetlb_luo_pin(f, index, nr, folios);
	if (err)
		return err;

	for (i = 0; i < nr; i++) {
		struct folio *folio = folios[i];

		err = hugetlb_luo_folio_owner(f, folio, &owner);
		if (err)
			goto err_unpin;

		err = hugetlb_luo_preserve_folio(folio);
		if (err)
			goto err_unpin;

		err = hugetlb_luo_table_add(table, index + i,
					    folio_pfn(folio) >>
					    huge_page_order(f->h), owner);
		if (err) {
			kho_unpreserve_folio(folio);
			goto err_unpin;
		}

		f->nr_pages++;
		f->node_pages[folio_nid(folio)]++;
	}

	return 0;

err_unpin:
	unpin_folios(folios + i, nr - i);
	return err;
}

/* Preserve all pages that are in the file. */
static int hugetlb_luo_preserve_pages(struct hugetlb_luo_file *f)
{
	struct address_space *mapping = f->file->f_mapping;
	unsigned int order = huge_page_order(f->h);
	pgoff_t index[FOLIO_BATCH_SIZE];
	struct folio_batch fbatch;
	unsigned int i, nr, run;
	pgoff_t next = 0;
	int err;

	folio_batch_init(&fbatch);
	for (;;) {
		/*
		 * Pages below @next_index are either seen here or were added
		 * after it was moved, which makes them late pages.
		 */
		mutex_lock(&f->lock);
		nr = filemap_get_folios(mapping, &next, ULONG_MAX, &fbatch);
		for (i = 0; i < nr; i++)
			index[i] = fbatch.folios[i]->index >> order;
		f->next_index = nr ? index[nr - 1] + 1 : ULONG_MAX;
		/* Not what it says, which is the end once it sees no more. */
		next = f->next_index << order;
		mutex_unlock(&f->lock);

		/* A reference would be in the way of migration. */
		folio_batch_release(&fbatch);
		if (!nr)
			return 0;

		for (i = 0; i < nr; i += run) {
			for (run = 1; i + run < nr; run++)
				if (index[i + run] != index[i] + run)
					break;

			err = hugetlb_luo_preserve_range(f, &f->table, index[i],
							 run);
			if (err)
				return err;
		}
		cond_resched();
	}
}

/* Let go of all pages in @table, and of the table. */
static void hugetlb_luo_unpreserve_table(struct hugetlb_luo_file *f,
					 struct hugetlb_luo_table *table)
{
	struct hugetlb_luo_cursor cursor = { { table->first } };
	struct hugetlb_luo_run_ser *run;
	struct folio *folio;
	u32 n;

	while ((run = hugetlb_luo_next_run(&cursor))) {
		for (n = 0; n < run->nr; n++) {
			folio = pfn_folio(hugetlb_luo_pfn(f->h, run->frame + n));
			f->nr_pages--;
			f->node_pages[folio_nid(folio)]--;
			kho_unpreserve_folio(folio);
			unpin_folio(folio);
		}
	}
	hugetlb_luo_table_free(table);
}

/*
 * Outgoing files: reservations
 */

/*
 * Some of a reservation map: from @from up to and without @to. The hugetlb cgroup
 * that is charged for it is referenced.
 */
struct hugetlb_luo_range {
	long from;
	long to;
	struct cgroup_subsys_state *css;
};

/*
 * Copy up to @nr regions of @resv_map to @ranges, without what is in front of
 * @from, or only count them if @ranges is NULL.
 *
 * Return: their number.
 */
static long hugetlb_luo_get_regions(struct resv_map *resv_map, long from,
				    struct hugetlb_luo_range *ranges, long nr)
{
	const struct file_region *region;
	long n = 0;

	guard(spinlock)(&resv_map->lock);
	list_for_each_entry(region, &resv_map->regions, link) {
		if (region->to <= from)
			continue;
		if (n == nr)
			break;
		if (ranges) {
			ranges[n].from = max(region->from, from);
			ranges[n].to = region->to;
			ranges[n].css = hugetlb_luo_region_css(region);
			if (ranges[n].css)
				css_get(ranges[n].css);
		}
		n++;
	}

	return n;
}

static int hugetlb_luo_reserve_run(struct hugetlb_luo_file *f, u64 from, u64 to,
				   u32 owner)
{
	u64 size = i_size_read(file_inode(f->file));
	int err;

	if (to > U32_MAX)
		return -EFBIG;

	/* A mapping that is only read can have it there. As with pages. */
	if (to > hugetlb_luo_end_index(f->h, size))
		return -EOPNOTSUPP;

	err = hugetlb_luo_table_add_run(&f->resv, from, to - from, 0, owner);
	if (!err)
		f->nr_resv += to - from;

	return err;
}

/*
 * Take down all of @range if somebody is charged for it, else what is not in the
 * table of pages. @cursor follows that.
 */
static int hugetlb_luo_reserve_range(struct hugetlb_luo_file *f,
				     struct hugetlb_luo_cursor *cursor,
				     const struct hugetlb_luo_range *range)
{
	u64 from = range->from, to = range->to, end;
	struct hugetlb_luo_run_ser *run;
	u32 owner;
	int err;

	if (range->css) {
		err = hugetlb_luo_region_owner(f, range->css, &owner);

		return err ? err : hugetlb_luo_reserve_run(f, from, to, owner);
	}

	while (from < to) {
		run = hugetlb_luo_peek_run(cursor, 0);
		if (!run || run->index >= to)
			return hugetlb_luo_reserve_run(f, from, to, 0);

		if (run->index > from) {
			err = hugetlb_luo_reserve_run(f, from, run->index, 0);
			if (err)
				return err;
		}

		end = (u64)run->index + run->nr;
		if (end > to)
			return 0;
		from = max(from, end);
		cursor->i[0]++;
	}

	return 0;
}

/*
 * Take down what is reserved and not in the table of pages, and who is charged
 * for reservations. Of those who change the reservation map only such are left
 * that are about to add a page. Should that one be taken down here, freeze()
 * finds it among the late pages.
 */
static int hugetlb_luo_preserve_regions(struct hugetlb_luo_file *f)
{
	struct resv_map *resv_map = HUGETLBFS_I(file_inode(f->file))->resv_map;
	struct hugetlb_luo_cursor cursor = { { f->table.first } };
	struct hugetlb_luo_range *ranges;
	long from = 0, nr, n;
	int err;

	for (;;) {
		/* Memory cannot be allocated under the lock of the map. */
		nr = hugetlb_luo_get_regions(resv_map, from, NULL, LONG_MAX);
		if (!nr)
			break;
		ranges = kvmalloc_objs(*ranges, nr);
		if (!ranges)
			return -ENOMEM;

		nr = hugetlb_luo_get_regions(resv_map, from, ranges, nr);
		for (n = 0, err = 0; n < nr; n++) {
			if (!err)
				err = hugetlb_luo_reserve_range(f, &cursor, &ranges[n]);
			if (ranges[n].css)
				css_put(ranges[n].css);
			from = ranges[n].to;
			cond_resched();
		}
		kvfree(ranges);
		if (err)
			return err;
	}

	f->nr_resv -= hugetlb_luo_common(hugetlb_luo_table_phys(&f->resv),
					 hugetlb_luo_table_phys(&f->table));

	return 0;
}

/*
 * Outgoing files: late pages
 */

/*
 * Move late pages that cannot stay where they are, those in CMA areas, while
 * nobody has to wait for us. A page is not unmapped, and so not moved, as long as
 * a fault elsewhere in the mapping waits. What cannot be moved now is left for
 * hugetlb_luo_preserve_late() to fail.
 */
static void hugetlb_luo_move_late(struct hugetlb_luo_file *f)
{
	struct folio_batch fbatch;
	struct folio *folio;
	unsigned long index;
	unsigned int nr;
	pgoff_t next;
	void *entry;

	folio_batch_init(&fbatch);
	xa_for_each(&f->late, index, entry) {
		/* The index may be there before its page; a page stays. */
		next = index << huge_page_order(f->h);
		nr = filemap_get_folios(f->file->f_mapping, &next, next, &fbatch);
		folio_batch_release(&fbatch);

		if (nr && !hugetlb_luo_pin(f, index, 1, &folio))
			unpin_folio(folio);
	}
}

/* Let go of the late pages, and of the owners that came with them. */
static void hugetlb_luo_drop_late(struct hugetlb_luo_file *f)
{
	hugetlb_luo_unpreserve_table(f, &f->late_table);
	hugetlb_luo_trim_owners(f, f->nr_owners);
}

/*
 * Preserve the late pages as well. This, and finding out which of them were
 * reserved, is the one part of freezing that is not done in constant time for a
 * file, but there are late pages only if holes were filled while the update was
 * under way.
 */
static int hugetlb_luo_preserve_late(struct hugetlb_luo_file *f)
{
	unsigned long index;
	void *entry;
	int err;

	xa_for_each(&f->late, index, entry) {
		err = hugetlb_luo_preserve_range(f, &f->late_table, index, 1);
		if (err) {
			hugetlb_luo_drop_late(f);
			return err;
		}
	}
	hugetlb_luo_table_seal(&f->late_table);

	return 0;
}

/* Add a page to a file that is being preserved, now or once it is thawed. */
static int hugetlb_luo_add_late(struct hugetlb_luo_file *f,
				struct address_space *mapping,
				struct folio *folio, pgoff_t idx)
{
	unsigned long index = idx >> huge_page_order(f->h);
	void *was = NULL;
	bool late;
	int err;

	for (;;) {
		/*
		 * The caller holds the fault mutex of the index, so others may
		 * have to wait along, with locks of their own. None of these is
		 * waited for by freezing other files or by an abort.
		 */
		if (wait_event_killable(f->thaw, !READ_ONCE(f->frozen)))
			return -EINTR;
		mutex_lock(&f->lock);
		if (!f->frozen)
			break;
		mutex_unlock(&f->lock);
	}

	late = index < f->next_index;
	if (late) {
		was = xa_store(&f->late, index, xa_mk_value(0), GFP_KERNEL);
		err = xa_err(was);
		if (err)
			goto out_unlock;
	}

	err = __filemap_add_folio(mapping, folio, idx, GFP_KERNEL, NULL);
	/* There may be a late page already, if somebody else was faster. */
	if (err && late && !was)
		xa_erase(&f->late, index);

out_unlock:
	mutex_unlock(&f->lock);
	return err;
}

/**
 * hugetlb_luo_add_folio - put a new page into the page cache of a file
 * @mapping: The file's mapping.
 * @folio:   The page.
 * @idx:     Its index in units of PAGE_SIZE.
 *
 * Stands in for __filemap_add_folio() on behalf of hugetlb_add_to_page_cache().
 * Waits if the file is frozen for a live update that may yet be aborted.
 *
 * Context: Process context, may sleep. The caller holds the fault mutex.
 * Return: 0 on success, -EINTR if the task was killed while it waited, or an
 * error of __filemap_add_folio().
 */
int hugetlb_luo_add_folio(struct address_space *mapping, struct folio *folio,
			  pgoff_t idx)
{
	struct hugetlb_luo_file *f;
	int srcu_idx, err;

	srcu_idx = srcu_read_lock(&hugetlb_luo_srcu);
	f = srcu_dereference(HUGETLBFS_I(mapping->host)->luo_file,
			     &hugetlb_luo_srcu);
	if (f)
		err = hugetlb_luo_add_late(f, mapping, folio, idx);
	else
		err = __filemap_add_folio(mapping, folio, idx, GFP_KERNEL, NULL);
	srcu_read_unlock(&hugetlb_luo_srcu, srcu_idx);

	return err;
}

/**
 * hugetlb_luo_may_resize - may the size change, or pages be taken out
 * @inode: The file's inode, locked.
 *
 * Return: 0, or -EPERM while the file is being preserved.
 */
int hugetlb_luo_may_resize(struct inode *inode)
{
	return rcu_access_pointer(HUGETLBFS_I(inode)->luo_file) ? -EPERM : 0;
}

/**
 * hugetlb_luo_may_reserve - may more indices of a file be reserved
 * @inode: The file's inode.
 * @chg:   How many, or a negative error.
 *
 * What is reserved was recorded when the file was preserved.
 *
 * Return: 0, or -EBUSY if @chg is above zero while the file is being preserved.
 */
int hugetlb_luo_may_reserve(struct inode *inode, long chg)
{
	if (chg <= 0)
		return 0;

	return rcu_access_pointer(HUGETLBFS_I(inode)->luo_file) ? -EBUSY : 0;
}

/**
 * hugetlb_luo_may_seal - may seals be added to a file
 * @file: The memfd, its inode locked.
 *
 * Return: 0, or -EBUSY after the file's seals were handed over.
 */
int hugetlb_luo_may_seal(struct file *file)
{
	struct hugetlb_luo_file *f;
	int srcu_idx, err = 0;

	if (!is_file_hugepages(file))
		return 0;

	srcu_idx = srcu_read_lock(&hugetlb_luo_srcu);
	f = srcu_dereference(HUGETLBFS_I(file_inode(file))->luo_file,
			     &hugetlb_luo_srcu);
	if (f && READ_ONCE(f->frozen))
		err = -EBUSY;
	srcu_read_unlock(&hugetlb_luo_srcu, srcu_idx);

	return err;
}

/*
 * Outgoing files: memory errors
 */

/**
 * hugetlb_luo_error - a huge page got a memory error
 * @page: The base page with the error.
 * @nr:   1, or the number of base pages of the huge page, whose first one @page
 *        is then, if it is not known which of them have errors.
 *
 * Context: Any, and under hugetlb_lock.
 */
void hugetlb_luo_error(struct page *page, unsigned long nr)
{
	struct hugetlb_luo_error_ser error = {
		.addr = PFN_PHYS(page_to_pfn(page)),
		.nr = nr,
	};
	struct hugetlb_luo_error_ser *errors;
	unsigned long flags;
	unsigned int n;

	spin_lock_irqsave(&hugetlb_luo_out.errors_lock, flags);
	errors = hugetlb_luo_out.errors ?: hugetlb_luo_out.early_errors;
	n = hugetlb_luo_out.nr_errors;
	if (n == HUGETLB_LUO_ERRORS)
		goto unlock;

	errors[n].nr = error.nr;
	errors[n].csum = hugetlb_luo_error_csum(&error);
	/* The CPU may be stopped anywhere: there is a whole entry, or none. */
	smp_wmb();
	WRITE_ONCE(errors[n].addr, error.addr);
	WRITE_ONCE(hugetlb_luo_out.nr_errors, n + 1);
unlock:
	spin_unlock_irqrestore(&hugetlb_luo_out.errors_lock, flags);
}

/* Give the list its place, with the errors that there have been before. */
static void __init hugetlb_luo_start_errors(struct hugetlb_luo_error_ser *errors)
{
	unsigned int i;

	spin_lock_irq(&hugetlb_luo_out.errors_lock);
	for (i = 0; i < HUGETLB_LUO_EARLY_ERRORS; i++)
		errors[i] = hugetlb_luo_out.early_errors[i];
	hugetlb_luo_out.errors = errors;
	spin_unlock_irq(&hugetlb_luo_out.errors_lock);
}

/* Is every error written down, and is there room for some that are to come? */
static bool hugetlb_luo_knows_errors(void)
{
	return READ_ONCE(hugetlb_luo_out.nr_errors) <= HUGETLB_LUO_ERRORS / 2;
}

/*
 * Outgoing files: what LUO calls
 */

static bool hugetlb_luo_can_preserve(struct liveupdate_file_handler *handler,
				     struct file *file)
{
	struct inode *inode = file_inode(file);

	/*
	 * memfds live in the kernel's own mounts. So do SysV shared memory
	 * segments, which are marked private, and have a name of their own.
	 */
	return hugetlb_luo_out.root && is_file_hugepages(file) &&
	       !inode->i_nlink &&
	       !(inode->i_flags & S_PRIVATE) &&
	       (inode->i_sb->s_flags & SB_KERNMOUNT);
}

static unsigned long hugetlb_luo_get_id(struct file *file)
{
	return (unsigned long)file_inode(file);
}

/* Without @file it is about the free pages of @h. */
static struct hugetlb_luo_file *hugetlb_luo_file_alloc(struct file *file,
						       struct hstate *h)
{
	struct hugetlb_luo_file_ser *ser;
	struct hugetlb_luo_file *f;

	f = kzalloc_flex(*f, node_pages, nr_node_ids);
	if (!f)
		return ERR_PTR(-ENOMEM);

	ser = hugetlb_luo_alloc(PAGE_SIZE);
	if (IS_ERR(ser)) {
		kfree(f);
		return ERR_CAST(ser);
	}

	f->file = file;
	f->h = h;
	f->ser = ser;
	INIT_LIST_HEAD(&f->owners);
	mutex_init(&f->lock);
	xa_init(&f->late);
	init_waitqueue_head(&f->thaw);

	ser->magic = HUGETLB_LUO_FILE_MAGIC;
	ser->version = HUGETLB_LUO_VERSION;
	ser->order = huge_page_order(f->h);

	return f;
}

/* Let go of the file and of all of its pages. The inode is locked. */
static void hugetlb_luo_file_release(struct hugetlb_luo_file *f)
{
	struct inode *inode = file_inode(f->file);

	lockdep_assert_held_write(&inode->i_rwsem);
	rcu_assign_pointer(HUGETLBFS_I(inode)->luo_file, NULL);
	synchronize_srcu(&hugetlb_luo_srcu);

	hugetlb_luo_unpreserve_table(f, &f->table);
	hugetlb_luo_table_free(&f->resv);
	hugetlb_luo_trim_owners(f, 0);
	xa_destroy(&f->late);
	kho_unpreserve_free(f->ser);
	mutex_destroy(&f->lock);
	kfree(f);
}

static int hugetlb_luo_preserve(struct liveupdate_file_op_args *args)
{
	struct file *file = args->file;
	struct inode *inode = file_inode(file);
	struct hugetlb_luo_file *f;
	int err;

	/* The file comes back writable. */
	if (!(file->f_mode & FMODE_WRITE))
		return -EACCES;

	if (!hugetlb_luo_knows_errors())
		return -EHWPOISON;

	inode_lock(inode);
	f = hugetlb_luo_file_alloc(file, hstate_file(file));
	if (IS_ERR(f)) {
		err = PTR_ERR(f);
		goto err_unlock;
	}

	rcu_assign_pointer(HUGETLBFS_I(inode)->luo_file, f);
	/* From here on whoever adds a page knows about it. */
	synchronize_srcu(&hugetlb_luo_srcu);

	err = hugetlb_luo_preserve_pages(f);
	if (err)
		goto err_release;

	err = hugetlb_luo_preserve_regions(f);
	if (err)
		goto err_release;

	/* This is to find out now whether the paths fit. */
	err = hugetlb_luo_seal_owners(f);
	if (err)
		goto err_release;

	f->nr_owners = hugetlb_luo_last_owner(f);
	hugetlb_luo_table_seal(&f->table);
	hugetlb_luo_table_seal(&f->resv);
	inode_unlock(inode);

	args->private_data = f;
	args->serialized_data = virt_to_phys(f->ser);

	return 0;

err_release:
	hugetlb_luo_file_release(f);
err_unlock:
	inode_unlock(inode);
	return err;
}

static void hugetlb_luo_unpreserve(struct liveupdate_file_op_args *args)
{
	struct inode *inode = file_inode(args->file);

	inode_lock(inode);
	hugetlb_luo_file_release(args->private_data);
	inode_unlock(inode);
}

/* Account for the pages of @f in what the next kernel reads first. */
static void hugetlb_luo_root_count(struct hugetlb_luo_file *f, bool add)
{
	struct hugetlb_luo_count_ser *count = hugetlb_luo_out.root->counts;
	unsigned int nid;

	lockdep_assert_held(&hugetlb_luo_out.lock);

	count += hugetlb_luo_rank(f->h) * nr_node_ids;
	for (nid = 0; nid < nr_node_ids; nid++, count++) {
		if (add)
			count->nr += f->node_pages[nid];
		else
			count->nr -= f->node_pages[nid];
	}
}

static void hugetlb_luo_publish(struct hugetlb_luo_file *f)
{
	struct hugetlb_luo_root_ser *root = hugetlb_luo_out.root;

	guard(mutex)(&hugetlb_luo_out.lock);

	f->ser->next = root->files;
	f->ser->csum = hugetlb_luo_file_csum(f->ser);
	root->files = virt_to_phys(f->ser);
	root->nr_files++;
	hugetlb_luo_root_count(f, true);
	root->csum = hugetlb_luo_root_csum(root);
	list_add(&f->list, &hugetlb_luo_out.files);
}

static void hugetlb_luo_withdraw(struct hugetlb_luo_file *f)
{
	struct hugetlb_luo_root_ser *root = hugetlb_luo_out.root;
	struct hugetlb_luo_file *prev;

	guard(mutex)(&hugetlb_luo_out.lock);

	if (list_is_first(&f->list, &hugetlb_luo_out.files)) {
		root->files = f->ser->next;
	} else {
		prev = list_prev_entry(f, list);
		prev->ser->next = f->ser->next;
		prev->ser->csum = hugetlb_luo_file_csum(prev->ser);
	}
	root->nr_files--;
	hugetlb_luo_root_count(f, false);
	root->csum = hugetlb_luo_root_csum(root);
	list_del(&f->list);
}

/* Write down how many pages there are, and on which nodes. */
static int hugetlb_luo_fill_counts(struct hugetlb_luo_file *f)
{
	struct hugetlb_luo_file_ser *ser = f->ser;
	unsigned int nid;

	ser->nr_pages = f->nr_pages;
	ser->nr_counts = 0;
	for (nid = 0; nid < nr_node_ids; nid++) {
		struct hugetlb_luo_count_ser *count;

		if (!f->node_pages[nid])
			continue;
		if (ser->nr_counts == HUGETLB_LUO_FILE_COUNTS)
			return -E2BIG;
		count = &ser->counts[ser->nr_counts++];
		count->order = huge_page_order(f->h);
		count->nid = nid;
		count->nr = f->node_pages[nid];
	}

	return 0;
}

static int hugetlb_luo_freeze(struct liveupdate_file_op_args *args)
{
	struct hugetlb_luo_file *f = args->private_data;
	struct inode *inode = file_inode(args->file);
	struct hugetlb_luo_file_ser *ser = f->ser;
	int err;

	if (!hugetlb_luo_knows_errors())
		return -EHWPOISON;

	/*
	 * Seals are added under the inode lock. But fallocate() may hold it and
	 * wait for a fault mutex, and that for a fault into another file, which
	 * is frozen already. Waiting for it here would be for good.
	 */
	if (!inode_trylock(inode))
		return -EBUSY;
	hugetlb_luo_move_late(f);
	mutex_lock(&f->lock);

	err = hugetlb_luo_preserve_late(f);
	if (err)
		goto out_unlock;

	err = hugetlb_luo_seal_owners(f);
	if (!err)
		err = hugetlb_luo_fill_counts(f);
	if (err) {
		hugetlb_luo_drop_late(f);
		goto out_unlock;
	}

	ser->runs = hugetlb_luo_table_phys(&f->table);
	ser->late = hugetlb_luo_table_phys(&f->late_table);
	ser->resv = hugetlb_luo_table_phys(&f->resv);
	ser->owners = hugetlb_luo_owners_phys(f);
	ser->nr_owners = hugetlb_luo_last_owner(f);
	/* Late pages have used up what was reserved for them. */
	ser->nr_resv = f->nr_resv - hugetlb_luo_common(ser->resv, ser->late);
	ser->size = i_size_read(inode);
	ser->pos = args->file->f_pos;
	ser->seals = memfd_get_seals(args->file);
	ser->mode = inode->i_mode & S_IALLUGO;
	hugetlb_luo_publish(f);
	WRITE_ONCE(f->frozen, true);

out_unlock:
	mutex_unlock(&f->lock);
	inode_unlock(inode);
	return err;
}

static void hugetlb_luo_unfreeze(struct liveupdate_file_op_args *args)
{
	struct hugetlb_luo_file *f = args->private_data;

	hugetlb_luo_withdraw(f);

	/* No inode lock: fallocate() may wait for us under it. */
	mutex_lock(&f->lock);
	hugetlb_luo_drop_late(f);
	WRITE_ONCE(f->frozen, false);
	mutex_unlock(&f->lock);
	wake_up_all(&f->thaw);
}

/*
 * Outgoing free pages
 */

/* The administrator's choice, by page size. Used with READ_ONCE() and such. */
static bool hugetlb_luo_preserve_free[HUGE_MAX_HSTATE];

/**
 * hugetlb_luo_preserves_free - are free pages to be handed over
 * @h: The page size.
 *
 * Return: what hugetlb_luo_set_preserve_free() has set, or false.
 */
bool hugetlb_luo_preserves_free(struct hstate *h)
{
	return READ_ONCE(hugetlb_luo_preserve_free[hstate_index(h)]);
}

/**
 * hugetlb_luo_set_preserve_free - hand over free pages, or do not
 * @h:  The page size.
 * @on: Whether live updates are to hand over the free pages of this size.
 *
 * Return: 0, or -EOPNOTSUPP if this kernel cannot hand over anything.
 */
int hugetlb_luo_set_preserve_free(struct hstate *h, bool on)
{
	if (on && !hugetlb_luo_out.root)
		return -EOPNOTSUPP;

	WRITE_ONCE(hugetlb_luo_preserve_free[hstate_index(h)], on);

	return 0;
}

/*
 * struct hugetlb_luo_free - the free pages of one size, while they are collected
 * @wanted:   They are to be handed over.
 * @left_out: Number of those that are not, after all.
 * @room:     What there is room for at @pfns.
 * @nr:       Number of entries at @pfns.
 * @pfns:     Where they are.
 * @f:        Their table and record.
 */
struct hugetlb_luo_free {
	bool wanted;
	unsigned long left_out;
	unsigned long room;
	unsigned long nr;
	unsigned long *pfns;
	struct hugetlb_luo_file *f;
};

static int hugetlb_luo_cmp_pfn(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;

	return x < y ? -1 : x > y;
}

/*
 * Copy where the free pages are, of all sizes at one time: a page that is split
 * into, or made from, those of another size must not be found among both.
 *
 * Return: false if there are more than there is room for.
 */
static bool hugetlb_luo_copy_free(struct hugetlb_luo_free *all)
{
	struct hugetlb_luo_free *free;
	struct folio *folio;
	struct hstate *h;
	bool fits = true;
	int nid;

	spin_lock_irq(&hugetlb_lock);
	for_each_hstate(h) {
		free = &all[hstate_index(h)];
		if (free->wanted && h->free_huge_pages > free->room)
			fits = false;
	}
	for_each_hstate(h) {
		free = &all[hstate_index(h)];
		if (!free->wanted || !fits)
			continue;
		for_each_online_node(nid)
			list_for_each_entry(folio, &h->hugepage_freelists[nid], lru)
				free->pfns[free->nr++] = folio_pfn(folio);
	}
	spin_unlock_irq(&hugetlb_lock);

	return fits;
}

static int hugetlb_luo_collect_free(struct hugetlb_luo_free *all)
{
	struct hugetlb_luo_free *free;
	struct hstate *h;

	do {
		for_each_hstate(h) {
			free = &all[hstate_index(h)];
			if (!free->wanted)
				continue;

			kvfree(free->pfns);
			/* One to spare: there may be none. */
			free->room = READ_ONCE(h->free_huge_pages) + 1;
			free->pfns = kvmalloc_objs(*free->pfns, free->room);
			if (!free->pfns)
				return -ENOMEM;
		}
	} while (!hugetlb_luo_copy_free(all));

	return 0;
}

/*
 * Tell KHO to preserve the page at @pfn, or not to. The page may have left the
 * pool and be anything by now, so nothing can be read from its folio. What KHO
 * takes down for an aligned range is the same as for a folio of that size, as
 * long as all of it is on one node.
 */
static int hugetlb_luo_preserve_pfn(struct hstate *h, unsigned long pfn)
{
	return kho_preserve_pages(pfn_to_page(pfn), pages_per_huge_page(h));
}

static void hugetlb_luo_unpreserve_pfn(struct hstate *h, unsigned long pfn)
{
	kho_unpreserve_pages(pfn_to_page(pfn), pages_per_huge_page(h));
}

/* Give up handing over the free pages of @h, all of which are at @free->pfns. */
static void hugetlb_luo_drop_free(struct hstate *h, struct hugetlb_luo_free *free)
{
	unsigned long n;

	for (n = 0; n < free->nr; n++)
		hugetlb_luo_unpreserve_pfn(h, free->pfns[n]);
	free->left_out += free->nr;
	free->nr = 0;
	hugetlb_luo_table_free(&free->f->table);
	kho_unpreserve_free(free->f->ser);
	kfree(free->f);
	free->f = NULL;
}

/*
 * Do all that allocates memory for the free pages of @h: the record, the table,
 * and KHO's tree.
 */
static int hugetlb_luo_prepare_free(struct hstate *h, struct hugetlb_luo_free *free)
{
	unsigned long n, nr = free->nr;
	struct hugetlb_luo_file *f;
	int err;

	if (!nr)
		return 0;

	free->nr = 0;
	f = hugetlb_luo_file_alloc(NULL, h);
	if (IS_ERR(f)) {
		free->left_out = nr;
		return PTR_ERR(f);
	}
	free->f = f;

	err = hugetlb_luo_table_reserve(&f->table, nr);
	sort_nonatomic(free->pfns, nr, sizeof(*free->pfns), hugetlb_luo_cmp_pfn, NULL);
	for (n = 0; n < nr && !err; n++) {
		unsigned long pfn = free->pfns[n];

		cond_resched();
		/*
		 * Memory that is offline need not have page structures, and what
		 * was added since boot may lose them at any time.
		 */
		if (!pfn_to_online_page(pfn) ||
		    !hugetlb_luo_is_early(pfn, pages_per_huge_page(h)) ||
		    kho_scratch_overlap(PFN_PHYS(pfn), huge_page_size(h)) ||
		    pfn >> huge_page_order(h) > U32_MAX) {
			free->left_out++;
			continue;
		}
		err = hugetlb_luo_preserve_pfn(h, pfn);
		if (!err)
			free->pfns[free->nr++] = pfn;
	}
	if (err) {
		free->left_out = nr - free->nr;
		hugetlb_luo_drop_free(h, free);
	}

	return err;
}

/* Is the page at @pfn still a free one of @h, and fit for the next kernel? */
static bool hugetlb_luo_still_free(struct hstate *h, unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	struct folio *folio;
	bool ret;

	if (!page)
		return false;

	spin_lock_irq(&hugetlb_lock);
	folio = page_folio(page);
	ret = folio_test_hugetlb(folio) && folio_pfn(folio) == pfn &&
	      folio_order(folio) == huge_page_order(h) &&
	      folio_test_hugetlb_freed(folio) &&
	      !folio_test_hwpoison(folio) && !folio_test_hugetlb_cma(folio) &&
	      folio_is_longterm_pinnable(folio);
	spin_unlock_irq(&hugetlb_lock);

	return ret;
}

/*
 * Hand over those that are free to the last. Nothing is allocated here: it could
 * come to lie in a page that was found to be free just before.
 */
static int hugetlb_luo_publish_free(struct hstate *h, struct hugetlb_luo_free *free)
{
	struct hugetlb_luo_file *f = free->f;
	unsigned long n, nr = free->nr;
	int err;

	free->nr = 0;
	for (n = 0; n < nr; n++) {
		unsigned long pfn = free->pfns[n];

		cond_resched();
		if (!hugetlb_luo_still_free(h, pfn)) {
			hugetlb_luo_unpreserve_pfn(h, pfn);
			free->left_out++;
			continue;
		}
		free->pfns[free->nr++] = pfn;
		WARN_ON_ONCE(hugetlb_luo_table_add(&f->table, f->nr_pages,
						   pfn >> huge_page_order(h), 0));
		f->nr_pages++;
		f->node_pages[page_to_nid(pfn_to_page(pfn))]++;
	}

	err = hugetlb_luo_fill_counts(f);
	if (err || !f->nr_pages) {
		hugetlb_luo_drop_free(h, free);
		return err;
	}

	hugetlb_luo_table_trim(&f->table);
	hugetlb_luo_table_seal(&f->table);
	f->ser->runs = hugetlb_luo_table_phys(&f->table);
	f->ser->flags = HUGETLB_LUO_FILE_FREE;
	hugetlb_luo_publish(f);

	return 0;
}

static void hugetlb_luo_free_failed(struct hstate *h, int err)
{
	pr_warn("order %u: free pages are not handed over: %pe\n",
		huge_page_order(h), ERR_PTR(err));
}

/**
 * hugetlb_luo_hand_over_free - hand over the free pages of the pools
 *
 * Called at the end of liveupdate_reboot(), when nothing that others do can make
 * the update fail any more, and nobody preserves anything after it. Does nothing
 * unless the administrator has asked for it. Failing is no reason to stop.
 */
void hugetlb_luo_hand_over_free(void)
{
	struct hugetlb_luo_free all[HUGE_MAX_HSTATE] = {};
	struct hugetlb_luo_free *free;
	int err, failed = -EHWPOISON;
	struct hstate *h;
	unsigned int nid;

	for_each_hstate(h)
		all[hstate_index(h)].wanted = hugetlb_luo_preserves_free(h);

	/* One that gets a memory error later on must not look healthy. */
	if (hugetlb_luo_knows_errors())
		failed = hugetlb_luo_collect_free(all);
	for_each_hstate(h) {
		free = &all[hstate_index(h)];
		if (!free->wanted)
			continue;
		err = failed;
		if (!err)
			err = hugetlb_luo_prepare_free(h, free);
		if (err)
			hugetlb_luo_free_failed(h, err);
	}

	for_each_hstate(h) {
		free = &all[hstate_index(h)];
		if (!free->f)
			continue;
		err = hugetlb_luo_publish_free(h, free);
		if (err)
			hugetlb_luo_free_failed(h, err);
		for (nid = 0; free->f && nid < nr_node_ids; nid++)
			if (free->f->node_pages[nid])
				pr_info("order %u, node %u: %llu free pages are handed over\n",
					huge_page_order(h), nid, free->f->node_pages[nid]);
		if (free->left_out)
			pr_info("order %u: %lu free pages are not handed over\n",
				huge_page_order(h), free->left_out);
	}

	for_each_hstate(h)
		kvfree(all[hstate_index(h)].pfns);
}

/*
 * Incoming files: finding and validating them
 */

/*
 * Of where memory begins to be another node's. Two kernels for which that is the
 * same have each page on the same node, whatever holes they see.
 */
static u32 __init hugetlb_luo_nodes_csum(void)
{
	int i, nid, last = NUMA_NO_NODE;
	unsigned long start_pfn;
	u32 csum = HUGETLB_LUO_VERSION;

	for_each_mem_pfn_range(i, MAX_NUMNODES, &start_pfn, NULL, &nid) {
		u32 words[] = { nid, start_pfn, (u64)start_pfn >> 32 };

		if (nid != last)
			csum = jhash2(words, ARRAY_SIZE(words), csum);
		last = nid;
	}

	return csum;
}

/* What is written last is there, and it was not written by chance. */
static bool hugetlb_luo_error_intact(const struct hugetlb_luo_error_ser *error)
{
	return error->addr && error->csum == hugetlb_luo_error_csum(error) &&
	       is_power_of_2(error->nr) &&
	       IS_ALIGNED(error->addr, (u64)error->nr << PAGE_SHIFT);
}

/*
 * Keep everybody away from the memory of one entry.
 *
 * Return: whether it was nobody's before. Else what is there has its owner, who
 * was here first, or the entry is wrong: nothing more is known of that memory.
 */
static bool __init
hugetlb_luo_reserve_error(const struct hugetlb_luo_error_ser *error)
{
	u64 size = (u64)error->nr << PAGE_SHIFT;
	bool first;

	if (!memblock_is_region_memory(error->addr, size))
		return false;

	first = !memblock_is_region_reserved(error->addr, size);
	memblock_reserve(error->addr, size);

	return first;
}

/*
 * A base page with an error may be in no page that comes: its huge page was free
 * and was dissolved, or its file is gone. Then nobody else keeps it from being
 * allocated. KHO has not reserved yet what it holds; it does so over this, and
 * what it holds looks to everybody as if this had not been here.
 */
static void __init hugetlb_luo_reserve_errors(struct hugetlb_luo_root_ser *root)
{
	const struct hugetlb_luo_error_ser *error = hugetlb_luo_errors(root);
	/* So that a list of wrong entries does not take the memory to boot with. */
	u64 left = PHYS_PFN(memblock_phys_mem_size()) / 4;
	unsigned int n;

	/* Whole huge pages first: their base pages may be on the list as well. */
	for (n = 0; n < HUGETLB_LUO_ERRORS; n++) {
		if (error[n].nr == 1 || !hugetlb_luo_error_intact(&error[n]))
			continue;
		if (error[n].nr > left) {
			pr_err("memory errors in %u pages at %#llx are not kept away from\n",
			       error[n].nr, error[n].addr);
			continue;
		}
		left -= error[n].nr;
		hugetlb_luo_in.kept_away[n] = hugetlb_luo_reserve_error(&error[n]);
	}
	for (n = 0; n < HUGETLB_LUO_ERRORS; n++)
		if (error[n].nr == 1 && hugetlb_luo_error_intact(&error[n]))
			hugetlb_luo_in.kept_away[n] = hugetlb_luo_reserve_error(&error[n]);
}

/**
 * hugetlb_luo_boot_init - find out what comes from the previous kernel
 *
 * Called when there is nothing but memblock, so that all that can be said about
 * the memory that the root lies in is that it exists. Whoever allocates from
 * memblock before that may get memory with errors: this has to be early.
 */
void __init hugetlb_luo_boot_init(void)
{
	struct hugetlb_luo_root_ser *root;
	const char *why;
	phys_addr_t phys;
	size_t size;
	int err;
	u64 sum = 0;
	u32 i;

	/* Later, memblock may be gone. */
	hugetlb_luo_nodes = hugetlb_luo_nodes_csum();

	err = kho_retrieve_subtree(HUGETLB_LUO_KHO_ENTRY, &phys, &size);
	if (err == -ENOENT)
		return;

	why = "its address or size";
	if (err || !phys || !IS_ALIGNED(phys, PAGE_SIZE) ||
	    size < sizeof(*root) || size > PAGE_SIZE << MAX_PAGE_ORDER ||
	    !memblock_is_region_memory(phys, size))
		goto refuse;

	root = phys_to_virt(phys);
	why = "magic";
	if (root->magic != HUGETLB_LUO_ROOT_MAGIC)
		goto refuse;

	why = "version";
	if (root->version != HUGETLB_LUO_VERSION) {
		/* There is one from every kernel, with files or without. */
		if (root->nr_files)
			goto refuse;
		hugetlb_luo_in.empty_root = root;
		hugetlb_luo_in.root_size = size;
		return;
	}

	why = "nr_counts";
	if (root->nr_counts > HUGETLB_LUO_MAX_COUNTS ||
	    size < struct_size(root, counts, root->nr_counts) +
		   HUGETLB_LUO_ERRORS * sizeof(struct hugetlb_luo_error_ser))
		goto refuse;

	why = "csum";
	if (root->csum != hugetlb_luo_root_csum(root))
		goto refuse;

	why = "counts";
	for (i = 0; i < root->nr_counts; i++) {
		const struct hugetlb_luo_count_ser *count = &root->counts[i];

		if (!i || count->order != count[-1].order)
			sum = 0;
		if (count->order >= BITS_PER_LONG - PAGE_SHIFT ||
		    count->nr > (memblock_end_of_DRAM() >> PAGE_SHIFT >> count->order) - sum)
			goto refuse;
		sum += count->nr;
		/* Each size and node once. */
		if (i && (count->order < count[-1].order ||
			  (count->order == count[-1].order &&
			   count->nid <= count[-1].nid)))
			goto refuse;
	}

	hugetlb_luo_reserve_errors(root);

	/* Without LUO nobody can ask for the files, nor let them go. */
	why = "live update is disabled";
	if (root->nr_files && (!kho_is_enabled() || !liveupdate_enabled()))
		goto refuse;

	hugetlb_luo_in.nodes = node_online_map;
	hugetlb_luo_in.root = root;
	hugetlb_luo_in.root_size = size;
	return;

refuse:
	pr_err("table of preserved pages refused: %s. All of them stay reserved\n",
	       why);
	hugetlb_luo_in.quarantine = true;
}

static bool hugetlb_luo_page_held(u64 phys)
{
	return IS_ALIGNED(phys, PAGE_SIZE) && kho_folio_preserved(phys, 0);
}

/* Pages of @ser on the previous kernel's node @nid, by its own account. */
static u64 hugetlb_luo_file_count(const struct hugetlb_luo_file_ser *ser,
				  unsigned int nid)
{
	unsigned int i;

	for (i = 0; i < ser->nr_counts; i++)
		if (ser->counts[i].nid == nid)
			return ser->counts[i].nr;

	return 0;
}

static int hugetlb_luo_wrong(struct hugetlb_luo_in_file *in, const char *why,
			     int err)
{
	in->why = why;

	return err;
}

/*
 * Check the pages of one run, and count them. KHO has to hold each of them as a
 * page of this size.
 */
static int hugetlb_luo_check_run(struct hugetlb_luo_in_file *in,
				 const struct hugetlb_luo_run_ser *run)
{
	u32 n;

	for (n = 0; n < run->nr; n++) {
		unsigned long frame = (unsigned long)run->frame + n;
		unsigned long pfn = hugetlb_luo_pfn(in->h, frame);

		if (frame > U32_MAX || pfn >= max_pfn ||
		    !kho_folio_preserved(PFN_PHYS(pfn), huge_page_order(in->h)))
			return hugetlb_luo_wrong(in, "frame of a run", -ENXIO);
		in->node_pages[page_to_nid(pfn_to_page(pfn))]++;
		cond_resched();
	}

	return 0;
}

/*
 * Files that are damaged may have lists, and pages, of each other, which would take
 * for ever. Intact ones have no more than there is memory, nor has any one by
 * itself: twice as much, and several are damaged, and it is not known which ones.
 */
static bool hugetlb_luo_too_much(void)
{
	return hugetlb_luo_in.nr_listed > 2 * (u64)max_pfn ||
	       hugetlb_luo_in.nr_checked > 2 * (u64)max_pfn;
}

#define HUGETLB_LUO_TOO_MUCH	"more than there is memory for"

/* Check that a list goes on at @phys. */
static int hugetlb_luo_check_address(struct hugetlb_luo_in_file *in, u64 phys,
				     const char *why)
{
	if (!hugetlb_luo_page_held(phys))
		return hugetlb_luo_wrong(in, why, -ENXIO);
	hugetlb_luo_in.nr_listed++;
	if (hugetlb_luo_too_much())
		return hugetlb_luo_wrong(in, HUGETLB_LUO_TOO_MUCH, -EINVAL);

	return 0;
}

/* Check those who are charged. Their numbers keep from going round in circles. */
static int hugetlb_luo_check_owners(struct hugetlb_luo_in_file *in)
{
	const struct hugetlb_luo_file_ser *ser = in->ser;
	u64 phys = ser->owners, n;
	unsigned int kind;
	int err;

	for (n = 0; n < ser->nr_owners; n++) {
		const struct hugetlb_luo_owner_ser *owner;

		err = hugetlb_luo_check_address(in, phys, "address of an owner");
		if (err)
			return err;

		owner = phys_to_virt(phys);
		if (owner->magic != HUGETLB_LUO_OWNER_MAGIC)
			return hugetlb_luo_wrong(in, "magic of an owner", -EINVAL);
		if (owner->nr != n + 1)
			return hugetlb_luo_wrong(in, "nr of an owner", -EINVAL);
		if (owner->csum != hugetlb_luo_owner_csum(owner))
			return hugetlb_luo_wrong(in, "csum of an owner", -EINVAL);
		for (kind = 0; kind < HUGETLB_LUO_NR_CHARGES; kind++)
			if (owner->path[kind][HUGETLB_LUO_PATH_SIZE - 1])
				return hugetlb_luo_wrong(in, "path of an owner", -EINVAL);
		phys = owner->next;
		cond_resched();
	}

	if (phys)
		return hugetlb_luo_wrong(in, "nr_owners", -EINVAL);

	return 0;
}

static bool hugetlb_luo_is_free(const struct hugetlb_luo_in_file *in)
{
	return in->ser->flags & HUGETLB_LUO_FILE_FREE;
}

/*
 * Check the blocks of one list, whose runs have to ascend and to end by the end
 * of the file, and add the number of indices in it to @nr.
 */
static int hugetlb_luo_check_blocks(struct hugetlb_luo_in_file *in, u64 phys,
				    u64 *nr)
{
	u64 end_index = hugetlb_luo_is_free(in) ? in->ser->nr_pages :
			hugetlb_luo_end_index(in->h, in->ser->size);
	u64 next_index = 0;
	int err;
	u32 i;

	while (phys) {
		const struct hugetlb_luo_block_ser *block;

		err = hugetlb_luo_check_address(in, phys, "address of a block");
		if (err)
			return err;

		block = phys_to_virt(phys);
		if (block->magic != HUGETLB_LUO_BLOCK_MAGIC)
			return hugetlb_luo_wrong(in, "magic of a block", -EINVAL);
		if (!block->nr_runs || block->nr_runs > HUGETLB_LUO_BLOCK_RUNS)
			return hugetlb_luo_wrong(in, "nr_runs of a block", -EINVAL);
		if (block->csum != hugetlb_luo_block_csum(block))
			return hugetlb_luo_wrong(in, "csum of a block", -EINVAL);

		/* No block and no run is empty: no going round in circles. */
		for (i = 0; i < block->nr_runs; i++) {
			const struct hugetlb_luo_run_ser *run = &block->runs[i];

			if (!run->nr)
				return hugetlb_luo_wrong(in, "nr of a run", -EINVAL);
			if (run->index < next_index)
				return hugetlb_luo_wrong(in, "index of a run", -EINVAL);
			if (run->owner > in->ser->nr_owners)
				return hugetlb_luo_wrong(in, "owner of a run", -EINVAL);
			next_index = (u64)run->index + run->nr;
			if (next_index > end_index)
				return hugetlb_luo_wrong(in, "end of a run", -EINVAL);
			*nr += run->nr;
		}
		phys = block->next;
		cond_resched();
	}

	return 0;
}

/* Check what is reserved. The lists of pages were checked for themselves. */
static int hugetlb_luo_check_resv(struct hugetlb_luo_in_file *in)
{
	const struct hugetlb_luo_file_ser *ser = in->ser;
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	u64 nr = 0;
	int err;

	err = hugetlb_luo_check_blocks(in, ser->resv, &nr);
	if (err)
		return err;

	hugetlb_luo_walk_lists(&cursor, ser->resv, 0, 0);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		if (run->frame)
			return hugetlb_luo_wrong(in, "frame of a reservation", -EINVAL);
		cond_resched();
	}

	nr -= hugetlb_luo_common(ser->resv, ser->runs);
	nr -= hugetlb_luo_common(ser->resv, ser->late);

	if (nr != ser->nr_resv)
		return hugetlb_luo_wrong(in, "nr_resv", -EINVAL);

	return 0;
}

static int hugetlb_luo_check_runs(struct hugetlb_luo_in_file *in)
{
	const struct hugetlb_luo_file_ser *ser = in->ser;
	struct hugetlb_luo_run_ser *run;
	struct hugetlb_luo_cursor cursor;
	u64 nr_pages = 0, next_index = 0;
	int err;

	err = hugetlb_luo_check_blocks(in, ser->runs, &nr_pages);
	if (err)
		return err;
	err = hugetlb_luo_check_blocks(in, ser->late, &nr_pages);
	if (err)
		return err;
	if (nr_pages != ser->nr_pages)
		return hugetlb_luo_wrong(in, "nr_pages", -EINVAL);
	err = hugetlb_luo_check_resv(in);
	if (err)
		return err;

	hugetlb_luo_in.nr_checked += nr_pages << ser->order;
	if (hugetlb_luo_too_much())
		return hugetlb_luo_wrong(in, HUGETLB_LUO_TOO_MUCH, -EINVAL);

	hugetlb_luo_walk(&cursor, ser);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		/* Each index is in one of the lists at most. */
		if (run->index < next_index)
			return hugetlb_luo_wrong(in, "index of a late page", -EINVAL);
		next_index = (u64)run->index + run->nr;

		err = hugetlb_luo_check_run(in, run);
		if (err)
			return err;
	}

	return 0;
}

/* Do the counts by node add up to all pages, each node's being there once? */
static bool hugetlb_luo_counts_add_up(const struct hugetlb_luo_file_ser *ser)
{
	u64 left = ser->nr_pages;
	unsigned int i;

	for (i = 0; i < ser->nr_counts; i++) {
		const struct hugetlb_luo_count_ser *count = &ser->counts[i];

		if (count->order != ser->order || !count->nr || count->nr > left ||
		    (i && count->nid <= count[-1].nid))
			return false;
		left -= count->nr;
	}

	return !left;
}

/*
 * Check one file by itself.
 *
 * Return: 0, -EOPNOTSUPP if this kernel does not have the page size, -ENXIO if
 * KHO does not hold some page, -EINVAL if the record makes no sense, or those of
 * all files together do not.
 */
static int hugetlb_luo_check_file(struct hugetlb_luo_in_file *in)
{
	const struct hugetlb_luo_file_ser *ser = in->ser;
	int err;

	if (ser->nr_counts > HUGETLB_LUO_FILE_COUNTS)
		return hugetlb_luo_wrong(in, "nr_counts", -EINVAL);
	if (ser->csum != hugetlb_luo_file_csum(ser))
		return hugetlb_luo_wrong(in, "csum", -EINVAL);

	if (ser->seals & ~HUGETLB_LUO_SEALS)
		return hugetlb_luo_wrong(in, "seals", -EINVAL);
	if (ser->mode & ~S_IALLUGO)
		return hugetlb_luo_wrong(in, "mode", -EINVAL);
	if (ser->size > MAX_LFS_FILESIZE)
		return hugetlb_luo_wrong(in, "size", -EINVAL);
	if (ser->pos > MAX_LFS_FILESIZE)
		return hugetlb_luo_wrong(in, "pos", -EINVAL);
	if (ser->flags & ~HUGETLB_LUO_FILE_FREE)
		return hugetlb_luo_wrong(in, "flags", -EINVAL);

	if (hugetlb_luo_is_free(in) &&
	    (ser->late || ser->resv || ser->nr_resv || ser->owners ||
	     ser->nr_owners || ser->size || ser->pos || ser->seals || ser->mode))
		return hugetlb_luo_wrong(in, "flags, or what only files have", -EINVAL);

	in->h = NULL;
	if (ser->order < BITS_PER_LONG - PAGE_SHIFT)
		in->h = size_to_hstate(PAGE_SIZE << ser->order);
	if (!in->h)
		return hugetlb_luo_wrong(in, "order", -EOPNOTSUPP);

	if (ser->nr_pages > max_pfn >> ser->order)
		return hugetlb_luo_wrong(in, "nr_pages", -EINVAL);

	if (!hugetlb_luo_counts_add_up(ser))
		return hugetlb_luo_wrong(in, "counts", -EINVAL);

	err = hugetlb_luo_check_owners(in);
	if (err)
		return err;

	return hugetlb_luo_check_runs(in);
}

/* A run as memory, to find out whether any memory is claimed twice. */
struct hugetlb_luo_span {
	u64 start;
	u64 end;
	struct hugetlb_luo_in_file *in;
};

static int hugetlb_luo_cmp_span(const void *a, const void *b)
{
	const struct hugetlb_luo_span *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return 0;
}

static struct hugetlb_luo_block_ser *
hugetlb_luo_resv_block(const struct hugetlb_luo_file_ser *ser)
{
	return ser->resv ? phys_to_virt(ser->resv) : NULL;
}

static void hugetlb_luo_refuse_all(const char *why)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;

	xa_for_each(&hugetlb_luo_in.files, index, in)
		if (!in->err)
			in->err = hugetlb_luo_wrong(in, why, -EINVAL);
}

/*
 * Refuse all files that have memory in common with another, or with itself. Of
 * their tables, too: two that have a block with pages in common have these.
 */
static int hugetlb_luo_check_overlap(void)
{
	struct hugetlb_luo_owner_ser *owner;
	struct hugetlb_luo_block_ser *block;
	struct hugetlb_luo_span *spans, *far;
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_in_file *in;
	struct hugetlb_luo_run_ser *run;
	unsigned long index, nr = 0, n = 0;
	unsigned int shift;
	u64 phys;

	xa_for_each(&hugetlb_luo_in.files, index, in) {
		if (in->err)
			continue;
		nr += in->ser->nr_owners;
		hugetlb_luo_walk(&cursor, in->ser);
		while (hugetlb_luo_next_run(&cursor))
			nr++;
		cond_resched();
		for (block = hugetlb_luo_resv_block(in->ser); block;
		     block = hugetlb_luo_next_block(block))
			nr++;
	}
	if (!nr)
		return 0;
	/* No lack of memory that would be over some time. */
	if (nr > INT_MAX / sizeof(*spans)) {
		hugetlb_luo_refuse_all(HUGETLB_LUO_TOO_MUCH);
		return 0;
	}

	spans = kvmalloc_objs(*spans, nr);
	if (!spans)
		return -ENOMEM;

	xa_for_each(&hugetlb_luo_in.files, index, in) {
		if (in->err)
			continue;
		shift = huge_page_shift(in->h);
		hugetlb_luo_walk(&cursor, in->ser);
		while ((run = hugetlb_luo_next_run(&cursor))) {
			spans[n].start = (u64)run->frame << shift;
			spans[n].end = spans[n].start + ((u64)run->nr << shift);
			spans[n].in = in;
			n++;
		}
		for (block = hugetlb_luo_resv_block(in->ser); block;
		     block = hugetlb_luo_next_block(block)) {
			spans[n].start = virt_to_phys(block);
			spans[n].end = spans[n].start + PAGE_SIZE;
			spans[n].in = in;
			n++;
		}
		for (phys = in->ser->owners; phys; phys = owner->next) {
			owner = phys_to_virt(phys);
			spans[n].start = phys;
			spans[n].end = phys + PAGE_SIZE;
			spans[n].in = in;
			n++;
		}
	}

	sort_nonatomic(spans, nr, sizeof(*spans), hugetlb_luo_cmp_span, NULL);
	/* @far is the one that reaches farthest of those seen. */
	for (far = spans, n = 1; n < nr; n++) {
		if (spans[n].start < far->end) {
			spans[n].in->err =
				hugetlb_luo_wrong(spans[n].in, "memory of two", -EINVAL);
			far->in->err = hugetlb_luo_wrong(far->in, "memory of two", -EINVAL);
		}
		if (spans[n].end > far->end)
			far = &spans[n];
	}

	kvfree(spans);
	return 0;
}

/* Mark what an error and a run have in common. */
static void hugetlb_luo_mark_run(struct hugetlb_luo_in_file *in,
				 const struct hugetlb_luo_run_ser *run,
				 const struct hugetlb_luo_error_ser *error)
{
	unsigned long start = hugetlb_luo_pfn(in->h, run->frame);
	unsigned long end = hugetlb_luo_pfn(in->h, (unsigned long)run->frame + run->nr);
	unsigned long pfn;

	start = max(start, PHYS_PFN(error->addr));
	end = min(end, PHYS_PFN(error->addr) + error->nr);
	for (pfn = start; pfn < end; pfn++) {
		if (!IS_ENABLED(CONFIG_MEMORY_FAILURE)) {
			in->err = hugetlb_luo_wrong(in, "memory errors", -EHWPOISON);
			return;
		}
		if (PageHWPoison(pfn_to_page(pfn)))
			continue;
		SetPageHWPoison(pfn_to_page(pfn));
		num_poisoned_pages_inc(pfn);
	}
}

/*
 * Mark the base pages that have memory errors. This is what memory_failure() does
 * as well with a page that KHO holds: it knows no better, and leaves it alone. The
 * marks last until hugetlb_luo_restore().
 *
 * Return: 0, or -EINVAL if it is not to be told which ones have.
 */
static int hugetlb_luo_mark_errors(void)
{
	struct hugetlb_luo_root_ser *root = hugetlb_luo_in.root;
	const struct hugetlb_luo_error_ser *error = hugetlb_luo_errors(root);
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	bool over = false;
	unsigned int n;

	for (n = 0; n < HUGETLB_LUO_ERRORS; n++, error++) {
		if (!error->addr) {
			over = true;
			continue;
		}
		if (over || !hugetlb_luo_error_intact(error))
			return -EINVAL;
		xa_for_each(&hugetlb_luo_in.files, index, in) {
			if (in->err)
				continue;
			hugetlb_luo_walk(&cursor, in->ser);
			while ((run = hugetlb_luo_next_run(&cursor)))
				hugetlb_luo_mark_run(in, run, error);
			cond_resched();
		}
	}

	return 0;
}

/*
 * Mark those base pages that nobody has since they were reserved at boot because
 * of their errors, and write them down for the kernel after this one. What KHO
 * holds is not PageReserved(): of that, pages of files are written down when they
 * are huge pages again, and what was refused is not handed over to anybody.
 */
static void hugetlb_luo_mark_reserved(void)
{
	const struct hugetlb_luo_error_ser *errors =
		hugetlb_luo_errors(hugetlb_luo_in.root);
	unsigned int n;

	for (n = 0; n < HUGETLB_LUO_ERRORS; n++) {
		unsigned long first = PHYS_PFN(errors[n].addr), pfn;
		bool held = false;

		if (!hugetlb_luo_in.kept_away[n])
			continue;

		for (pfn = first; pfn < first + errors[n].nr; pfn++) {
			/* Reserved memory of boot is online, and stays so. */
			struct page *page = pfn_to_page(pfn);

			if (!PageReserved(page)) {
				held = true;
				continue;
			}
			if (PageHWPoison(page))
				continue;
			SetPageHWPoison(page);
			num_poisoned_pages_inc(pfn);
			cond_resched();
		}
		if (!held)
			hugetlb_luo_error(pfn_to_page(first), errors[n].nr);
	}
}

/* Pages of @order that were announced on the previous kernel's node @nid. */
static u64 hugetlb_luo_announced(unsigned int order, unsigned int nid)
{
	const struct hugetlb_luo_root_ser *root = hugetlb_luo_in.root;
	u64 nr = 0;
	u32 i;

	for (i = 0; i < root->nr_counts; i++)
		if (root->counts[i].order == order && root->counts[i].nid == nid)
			nr += root->counts[i].nr;

	return nr;
}

/* Those of them that belong to files which can be claimed. */
static u64 hugetlb_luo_recorded(unsigned int order, unsigned int nid)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	u64 nr = 0;

	xa_for_each(&hugetlb_luo_in.files, index, in)
		if (!in->err && in->ser->order == order)
			nr += hugetlb_luo_file_count(in->ser, nid);

	return nr;
}

/* Pages of @order of these files that lie on @nid. */
static u64 hugetlb_luo_claimable(unsigned int order, unsigned int nid)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	u64 nr = 0;

	xa_for_each(&hugetlb_luo_in.files, index, in)
		if (!in->err && in->ser->order == order)
			nr += in->node_pages[nid];

	return nr;
}

/* Was there a node of this number when the pools were planned? */
static bool hugetlb_luo_has_node(u32 nid)
{
	return nid < MAX_NUMNODES && node_isset(nid, hugetlb_luo_in.nodes);
}

/*
 * Pages of @h that are to be expected on @nid before the files are checked. Where
 * they lie is known, or there is nothing to go by but the announcement. Then those
 * of a node that this kernel lacks are somewhere.
 */
static u64 hugetlb_luo_expected(struct hstate *h, unsigned int nid)
{
	const struct hugetlb_luo_root_ser *root = hugetlb_luo_in.root;
	unsigned int order = huge_page_order(h);
	u64 nr = 0;
	u32 i;

	if (!root || !hugetlb_luo_has_node(nid))
		return 0;

	if (hugetlb_luo_in.is_located[hstate_index(h)])
		return hugetlb_luo_in.located[hstate_index(h)][nid];

	nr = hugetlb_luo_announced(order, nid);
	if (nid != first_node(hugetlb_luo_in.nodes))
		return nr;

	for (i = 0; i < root->nr_counts; i++)
		if (root->counts[i].order == order &&
		    !hugetlb_luo_has_node(root->counts[i].nid))
			nr += root->counts[i].nr;

	return nr;
}

/* Were no more pages preserved than announced, on each node? */
static bool hugetlb_luo_counts_hold(void)
{
	const struct hugetlb_luo_root_ser *root = hugetlb_luo_in.root;
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	u32 i;

	/* Some may not have been announced at all. */
	xa_for_each(&hugetlb_luo_in.files, index, in)
		for (i = 0; !in->err && i < in->ser->nr_counts; i++)
			if (in->ser->counts[i].nr >
			    hugetlb_luo_announced(in->ser->order,
						  in->ser->counts[i].nid))
				return false;

	for (i = 0; i < root->nr_counts; i++)
		if (hugetlb_luo_recorded(root->counts[i].order, root->counts[i].nid) >
		    hugetlb_luo_announced(root->counts[i].order, root->counts[i].nid))
			return false;

	return true;
}

static void hugetlb_luo_report_lost(unsigned int order, unsigned int nid, u64 nr)
{
	hugetlb_luo_in.quarantine = true;
	pr_err("%llu preserved pages of order %u on node %u cannot be claimed and stay reserved\n",
	       nr, order, nid);
}

/*
 * Check the announcement against the files. There may be more announced than
 * found since a file that was refused is not to be trusted in what it says about
 * its pages. If there is less, then nothing in the root is.
 */
static void hugetlb_luo_check_counts(void)
{
	const struct hugetlb_luo_root_ser *root = hugetlb_luo_in.root;
	u32 i;

	if (!hugetlb_luo_counts_hold()) {
		pr_err("fewer pages announced than preserved\n");
		hugetlb_luo_refuse_all("counts of the root");
	}

	for (i = 0; i < root->nr_counts; i++) {
		unsigned int order = root->counts[i].order;
		unsigned int nid = root->counts[i].nid;
		u64 lost;

		lost = hugetlb_luo_announced(order, nid) -
			hugetlb_luo_recorded(order, nid);
		if (lost)
			hugetlb_luo_report_lost(order, nid, lost);
	}
}

static void hugetlb_luo_forget_all(void)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;

	xa_for_each(&hugetlb_luo_in.files, index, in)
		kfree(in);
	xa_destroy(&hugetlb_luo_in.files);
}

/*
 * Find all files. A record that is refused is trusted in one point, which is
 * where the next one is: other files shall not suffer from it.
 */
static int hugetlb_luo_find_files(void)
{
	u64 phys = hugetlb_luo_in.root->files;
	struct hugetlb_luo_in_file *in;
	const char *why = "nr_files, or next";
	u64 nr;
	int err;

	for (nr = 0; phys && nr < hugetlb_luo_in.root->nr_files; nr++) {
		struct hugetlb_luo_file_ser *ser;

		if (!hugetlb_luo_page_held(phys)) {
			why = "address of a record";
			break;
		}
		ser = phys_to_virt(phys);
		if (ser->magic != HUGETLB_LUO_FILE_MAGIC) {
			why = "magic of a record";
			break;
		}
		if (ser->version != HUGETLB_LUO_VERSION) {
			why = "version of a record";
			break;
		}

		in = kzalloc_flex(*in, node_pages, nr_node_ids);
		if (!in)
			return -ENOMEM;

		in->ser = ser;
		INIT_LIST_HEAD(&in->folios);
		err = xa_insert(&hugetlb_luo_in.files, PHYS_PFN(phys), in,
				GFP_KERNEL);
		if (err) {
			kfree(in);
			/* Going round in circles is damage. */
			if (err == -EBUSY)
				break;
			return err;
		}

		in->err = hugetlb_luo_check_file(in);
		phys = ser->next;
	}

	if (phys || nr != hugetlb_luo_in.root->nr_files) {
		pr_err("not all preserved files were found: %s\n", why);
		hugetlb_luo_in.quarantine = true;
	}

	return 0;
}

/*
 * Validate everything. For lack of memory no file is refused, and the next one
 * who needs to know tries again.
 */
static int hugetlb_luo_do_import(void)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	int err;

	/* What memblock could not tell. */
	if (hugetlb_luo_in.root &&
	    !kho_folio_preserved(virt_to_phys(hugetlb_luo_in.root),
				 get_order(hugetlb_luo_in.root_size))) {
		pr_err("table of preserved pages is not preserved itself\n");
		hugetlb_luo_in.quarantine = true;
		hugetlb_luo_in.root = NULL;
	}
	if (!hugetlb_luo_in.root) {
		hugetlb_luo_in.imported = true;
		return 0;
	}

	hugetlb_luo_in.nr_listed = 0;
	hugetlb_luo_in.nr_checked = 0;
	err = hugetlb_luo_find_files();
	if (hugetlb_luo_too_much())
		hugetlb_luo_refuse_all(HUGETLB_LUO_TOO_MUCH);
	if (!err)
		err = hugetlb_luo_check_overlap();
	if (err) {
		hugetlb_luo_forget_all();
		return err;
	}

	if (hugetlb_luo_mark_errors()) {
		pr_err("list of memory errors is damaged\n");
		hugetlb_luo_refuse_all("list of memory errors");
	}
	hugetlb_luo_mark_reserved();
	hugetlb_luo_check_counts();
	xa_for_each(&hugetlb_luo_in.files, index, in) {
		if (!in->err)
			continue;
		pr_err("preserved %s refused: %pe, %s\n",
		       hugetlb_luo_is_free(in) ? "free pages" : "file",
		       ERR_PTR(in->err), in->why);
		hugetlb_luo_in.quarantine = true;
	}
	hugetlb_luo_in.imported = true;

	return 0;
}

/*
 * Incoming files: the pools
 */

/*
 * struct hugetlb_luo_plan - how a pool is filled at boot
 * @begun:     The command line's request was noted down here.
 * @by_node:   It is for single nodes.
 * @reduced:   Less was allocated, because of what was to come.
 * @want:      Pages it asks for altogether.
 * @need:      Pages that have to be allocated for that.
 * @got:       Pages that were allocated where they belong, if some were not.
 * @coming:    Pages that lie on each node, once that is known, and are not in
 *             the pool yet.
 * @nr_free:   Pages that came and are free.
 * @want_node: Pages it asks for on each node.
 * @surplus:   Pages that come to each node although nobody asks for them.
 * @free:      Pages that came and are free, on each node.
 */
struct hugetlb_luo_plan {
	bool begun;
	bool by_node;
	bool reduced;
	unsigned long want;
	unsigned long need;
	unsigned long got;
	unsigned long nr_free;
	unsigned int coming[MAX_NUMNODES];
	unsigned int want_node[MAX_NUMNODES];
	unsigned int surplus[MAX_NUMNODES];
	unsigned int free[MAX_NUMNODES];
};

static struct hugetlb_luo_plan hugetlb_luo_plans[HUGE_MAX_HSTATE] __initdata;

/* Pages of @h on @nid that come, as far as is known. */
static unsigned long __init hugetlb_luo_coming(struct hstate *h, unsigned int nid)
{
	if (hugetlb_luo_in.imported)
		return hugetlb_luo_plans[hstate_index(h)].coming[nid];

	return hugetlb_luo_expected(h, nid);
}

/*
 * How far @nid is below @level with what comes to it, or above.
 */
static unsigned long __init hugetlb_luo_gap(struct hstate *h, unsigned int nid,
					    unsigned long level, bool below)
{
	unsigned long nr = hugetlb_luo_coming(h, nid);

	if (below)
		return nr < level ? level - nr : 0;
	return nr > level ? nr - level : 0;
}

/*
 * Spread @nr pages over the nodes so that they end up as even as can be: on top
 * of what comes if @below, else as a part of it. The share of each node goes to
 * @share, which is as if one page at a time went to (was taken from) the node
 * with the fewest (the most), the first of these.
 */
static void __init hugetlb_luo_spread(struct hstate *h, unsigned long nr,
				      bool below, unsigned int *share)
{
	unsigned long lo = 0, hi = 0, level, sum;
	int nid, last = 0;

	for_each_node_state(nid, N_MEMORY) {
		hi = max(hi, hugetlb_luo_coming(h, nid));
		last = nid;
	}
	if (below)
		hi += nr;

	/* The lowest (highest) level for which at least @nr pages are needed. */
	while (lo < hi) {
		level = below ? lo + (hi - lo) / 2 : hi - (hi - lo) / 2;
		sum = 0;
		for_each_node_state(nid, N_MEMORY)
			sum += hugetlb_luo_gap(h, nid, level, below);
		if (below && sum >= nr)
			hi = level;
		else if (below)
			lo = level + 1;
		else if (sum >= nr)
			lo = level;
		else
			hi = level - 1;
	}

	sum = 0;
	for_each_node_state(nid, N_MEMORY) {
		share[nid] = hugetlb_luo_gap(h, nid, lo, below);
		sum += share[nid];
	}
	/* The last ones did not get theirs. */
	for (nid = last; nid >= 0 && sum > nr; nid--) {
		if (share[nid]) {
			share[nid]--;
			sum--;
		}
	}
}

/* A page of the records, which nobody but memblock can be asked about yet. */
static void * __init hugetlb_luo_early_page(u64 phys)
{
	if (!IS_ALIGNED(phys, PAGE_SIZE) || !memblock_is_region_memory(phys, PAGE_SIZE))
		return NULL;

	return phys_to_virt(phys);
}

/* Count the pages of one list by node. There are not more than @left. */
static bool __init hugetlb_luo_locate_runs(struct hstate *h, u64 phys, u64 *left)
{
	unsigned int *located = hugetlb_luo_in.located[hstate_index(h)];
	u64 end = memblock_end_of_DRAM() >> huge_page_shift(h);
	unsigned long pfn, start_pfn, end_pfn;
	u32 i, n;

	while (phys) {
		const struct hugetlb_luo_block_ser *block = hugetlb_luo_early_page(phys);

		if (!block || block->magic != HUGETLB_LUO_BLOCK_MAGIC ||
		    !block->nr_runs || block->nr_runs > HUGETLB_LUO_BLOCK_RUNS ||
		    block->csum != hugetlb_luo_block_csum(block))
			return false;

		for (i = 0; i < block->nr_runs; i++) {
			const struct hugetlb_luo_run_ser *run = &block->runs[i];

			if (!run->nr || run->nr > *left || (u64)run->frame + run->nr > end)
				return false;
			*left -= run->nr;
			for (n = 0; n < run->nr; n++) {
				int nid;

				pfn = hugetlb_luo_pfn(h, (unsigned long)run->frame + n);
				nid = memblock_search_pfn_nid(pfn, &start_pfn, &end_pfn);
				if (!hugetlb_luo_has_node(nid))
					return false;
				located[nid]++;
			}
		}
		phys = block->next;
	}

	return true;
}

/*
 * Find out on which nodes of this kernel the pages of @h lie. What is wrong with
 * the records is for the import to say.
 *
 * Return: true if all pages that were announced were found, and nothing else.
 */
static bool __init hugetlb_luo_locate(struct hstate *h)
{
	const struct hugetlb_luo_root_ser *root = hugetlb_luo_in.root;
	unsigned int order = huge_page_order(h);
	u64 phys = root->files, left = 0, nr;
	u32 i;

	/* Each has a page of its own: no going round in circles for ever. */
	if (root->nr_files > PHYS_PFN(memblock_end_of_DRAM()))
		return false;
	for (i = 0; i < root->nr_counts; i++)
		if (root->counts[i].order == order)
			left += root->counts[i].nr;

	for (nr = 0; phys && nr < root->nr_files; nr++) {
		const struct hugetlb_luo_file_ser *ser = hugetlb_luo_early_page(phys);

		if (!ser || ser->magic != HUGETLB_LUO_FILE_MAGIC ||
		    ser->version != HUGETLB_LUO_VERSION)
			return false;
		phys = ser->next;
		if (ser->order != order)
			continue;
		if (ser->nr_counts > HUGETLB_LUO_FILE_COUNTS ||
		    ser->csum != hugetlb_luo_file_csum(ser) ||
		    !hugetlb_luo_locate_runs(h, ser->runs, &left) ||
		    !hugetlb_luo_locate_runs(h, ser->late, &left))
			return false;
	}

	return !left;
}

/* Count @nr pages more on @nid, @surplus of which are surplus. */
static void hugetlb_luo_count(struct hstate *h, int nid, unsigned long nr,
			      unsigned long surplus)
{
	spin_lock_irq(&hugetlb_lock);
	h->nr_huge_pages += nr;
	h->nr_huge_pages_node[nid] += nr;
	h->surplus_huge_pages += surplus;
	h->surplus_huge_pages_node[nid] += surplus;
	h->max_huge_pages += nr - surplus;
	spin_unlock_irq(&hugetlb_lock);
}

/**
 * hugetlb_luo_boot_begin - reduce what is to be allocated by what comes
 * @h: The page size.
 *
 * Called before the pages that the command line asks for are allocated. If pages
 * of this size come from the previous kernel, max_huge_pages is set to what is
 * missing, and max_huge_pages_node to the node that it is missing on. Gigantic
 * pages come first, when only memblock knows about memory.
 */
void __init hugetlb_luo_boot_begin(struct hstate *h)
{
	struct hugetlb_luo_plan *plan = &hugetlb_luo_plans[hstate_index(h)];
	const struct hugetlb_luo_root_ser *root = hugetlb_luo_in.root;
	unsigned long coming = 0;
	int nid;

	/* The other sizes are planned when the files have been checked. */
	if (hstate_is_gigantic(h) && root && root->nodes != hugetlb_luo_nodes)
		hugetlb_luo_in.is_located[hstate_index(h)] = hugetlb_luo_locate(h);

	plan->begun = true;
	plan->want = h->max_huge_pages;
	for_each_online_node(nid) {
		coming += hugetlb_luo_coming(h, nid);
		plan->want_node[nid] = h->max_huge_pages_node[nid];
		if (plan->want_node[nid])
			plan->by_node = true;
	}
	if (!coming)
		return;

	plan->reduced = true;
	if (plan->by_node) {
		for_each_online_node(nid) {
			unsigned int need = hugetlb_luo_gap(h, nid, plan->want_node[nid], true);

			h->max_huge_pages_node[nid] = need;
			plan->need += need;
		}
	} else if (plan->want > coming) {
		plan->need = plan->want - coming;
		hugetlb_luo_spread(h, plan->need, true, h->max_huge_pages_node);
	}
	h->max_huge_pages = plan->need;
}

/**
 * hugetlb_luo_boot_more - allocate on any node what was short on some
 * @h: The page size.
 *
 * Called after allocation by node. That is final if the command line asked for
 * it, but hugetlb_luo_boot_begin() also does it for the sake of balance.
 *
 * Return: true if max_huge_pages are to be allocated regardless of the node.
 */
bool __init hugetlb_luo_boot_more(struct hstate *h)
{
	struct hugetlb_luo_plan *plan = &hugetlb_luo_plans[hstate_index(h)];

	if (plan->by_node || h->max_huge_pages >= plan->need)
		return false;

	if (hstate_is_gigantic(h)) {
		/* The allocation counts from zero. */
		plan->got = h->max_huge_pages;
		h->max_huge_pages = plan->need - plan->got;
	} else {
		/* It takes off what is in the pool. */
		h->max_huge_pages = plan->need;
	}

	return true;
}

/*
 * Pages that come to @nid and make more of those there than @want. Gigantic ones
 * were allocated before it was known for certain which ones come.
 */
static unsigned long __init hugetlb_luo_excess(struct hstate *h, int nid,
					       unsigned long want)
{
	unsigned long nr = hugetlb_luo_coming(h, nid);
	unsigned long total = nr + h->nr_huge_pages_node[nid];

	return total > want ? min(nr, total - want) : 0;
}

/* What has become of the command line's request, node by node. */
static void __init hugetlb_luo_boot_report(struct hstate *h,
					   const struct hugetlb_luo_plan *plan)
{
	int nid;

	pr_info("order %u: %lu pages asked for%s\n", huge_page_order(h),
		plan->want, plan->by_node ? ", by node" : "");
	for_each_online_node(nid) {
		unsigned long nr = hugetlb_luo_coming(h, nid);

		pr_info("order %u, node %d: %lu preserved pages in use, %u free, %lu allocated, %u surplus\n",
			huge_page_order(h), nid, nr, plan->free[nid],
			h->nr_huge_pages_node[nid] - nr - plan->free[nid],
			plan->surplus[nid]);
	}
}

/* Count the @coming pages of @h, which are in use, into its pool. */
static void __init hugetlb_luo_boot_count(struct hstate *h, unsigned long coming)
{
	struct hugetlb_luo_plan *plan = &hugetlb_luo_plans[hstate_index(h)];
	unsigned long total = coming + h->nr_huge_pages;
	int nid;

	/* With hugetlb_cma= there may be none from the command line at boot. */
	if (!plan->begun) {
		plan->want = h->max_huge_pages;
		h->max_huge_pages = 0;
	}

	if (plan->by_node)
		for_each_online_node(nid)
			plan->surplus[nid] = hugetlb_luo_excess(h, nid, plan->want_node[nid]);
	else if (total > plan->want)
		hugetlb_luo_spread(h, min(coming, total - plan->want), false,
				   plan->surplus);

	for_each_online_node(nid)
		hugetlb_luo_count(h, nid, hugetlb_luo_coming(h, nid),
				  plan->surplus[nid]);
	/* These are in the pool already, and do not leave it by themselves. */
	h->max_huge_pages += plan->nr_free;
}

static void hugetlb_luo_free_blocks(u64 phys)
{
	while (phys) {
		struct hugetlb_luo_block_ser *block = phys_to_virt(phys);

		phys = block->next;
		kho_restore_free(block);
	}
}

static void hugetlb_luo_free_owners(u64 phys)
{
	while (phys) {
		struct hugetlb_luo_owner_ser *owner = phys_to_virt(phys);

		phys = owner->next;
		kho_restore_free(owner);
	}
}

/* Forget a file whose pages all belong to somebody else. */
static void hugetlb_luo_in_forget(struct hugetlb_luo_in_file *in)
{
	struct hugetlb_luo_file_ser *ser = in->ser;

	xa_erase(&hugetlb_luo_in.files, PHYS_PFN(virt_to_phys(ser)));
	hugetlb_luo_free_blocks(ser->runs);
	hugetlb_luo_free_blocks(ser->late);
	hugetlb_luo_free_blocks(ser->resv);
	hugetlb_luo_free_owners(ser->owners);
	kho_restore_free(ser);
	kfree(in);
}

/*
 * Let go of a page that nobody has asked for. One with a memory error is kept out
 * of the pool for good by the reference that it has.
 */
static void hugetlb_luo_let_go(struct hstate *h, struct folio *folio)
{
	if (folio_test_hwpoison(folio)) {
		spin_lock_irq(&hugetlb_lock);
		list_move_tail(&folio->lru, &h->hugepage_activelist);
		spin_unlock_irq(&hugetlb_lock);
	}
	folio_put(folio);
}

/*
 * Put the free pages of one record into the pool. This takes no memory that may
 * not be there: without it they would only keep all of their page structures.
 */
static void __init hugetlb_luo_boot_fill(struct hugetlb_luo_in_file *in,
					 struct hugetlb_luo_plan *plan)
{
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	struct folio *folio;
	LIST_HEAD(folios);
	int nid;
	u32 n;

	hugetlb_luo_walk(&cursor, in->ser);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		for (n = 0; n < run->nr; n++) {
			folio = kho_restore_folio(PFN_PHYS(hugetlb_luo_pfn(in->h, run->frame + n)));
			cond_resched();
			if (!folio)
				continue;
			init_new_hugetlb_folio(folio);
			folio_set_hugetlb_hwpoison(folio);
			in->node_pages[folio_nid(folio)]--;
			list_add_tail(&folio->lru, &folios);
			if (folio_test_hwpoison(folio)) {
				/* It comes, and is in use. */
				lruvec_stat_mod_folio(folio, NR_HUGETLB,
						      folio_nr_pages(folio));
				hugetlb_luo_let_go(in->h, folio);
				continue;
			}
			/* Pages of the pool have no reference. */
			WARN_ON_ONCE(!folio_ref_freeze(folio, 1));
			plan->coming[folio_nid(folio)]--;
			plan->free[folio_nid(folio)]++;
			plan->nr_free++;
		}
	}
	prep_and_add_allocated_folios(in->h, &folios);

	for_each_online_node(nid) {
		if (!in->node_pages[nid])
			continue;
		plan->coming[nid] -= in->node_pages[nid];
		hugetlb_luo_report_lost(huge_page_order(in->h), nid, in->node_pages[nid]);
	}
	hugetlb_luo_in_forget(in);
}

static void __init hugetlb_luo_boot_free(struct hstate *h,
					 struct hugetlb_luo_plan *plan)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;

	if (!hugetlb_luo_in.imported)
		return;

	xa_for_each(&hugetlb_luo_in.files, index, in)
		if (!in->err && in->h == h && hugetlb_luo_is_free(in))
			hugetlb_luo_boot_fill(in, plan);
}

/* Reserve in the pool what the file has reserved, unless that is done. */
static int hugetlb_luo_promise(struct hugetlb_luo_in_file *in)
{
	int err;

	if (in->promised)
		return 0;

	err = hugetlb_acct_memory(in->h, in->ser->nr_resv);
	in->promised = !err;

	return err;
}

/* Say how far the pool is from having @nr more pages to promise. */
static void hugetlb_luo_promise_fails(struct hstate *h, u64 nr)
{
	u64 available = 0;

	spin_lock_irq(&hugetlb_lock);
	if (h->free_huge_pages > h->resv_huge_pages)
		available = h->free_huge_pages - h->resv_huge_pages;
	spin_unlock_irq(&hugetlb_lock);
	pr_warn("%llu more pages of order %u are needed for what preserved files have reserved\n",
		nr - min(nr, available), huge_page_order(h));
}

/* The same for all files of a page size, as far as there are free pages. */
static void hugetlb_luo_promise_all(struct hstate *h)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	u64 missing = 0;

	xa_for_each(&hugetlb_luo_in.files, index, in)
		if (!in->err && in->h == h && hugetlb_luo_promise(in))
			missing += in->ser->nr_resv;
	if (missing)
		hugetlb_luo_promise_fails(h, missing);
}

/**
 * hugetlb_luo_boot_end - count the pages that come into their pool
 * @h: The page size.
 *
 * Free ones are put into it. The others are in use from now on, by files that
 * nobody has asked for yet. Those of them in excess of what the command line asks
 * for leave the pool when they get free. What that makes of the command line is
 * in the log. Of the pages that are free now, some are reserved by such files.
 */
void __init hugetlb_luo_boot_end(struct hstate *h)
{
	struct hugetlb_luo_plan *plan = &hugetlb_luo_plans[hstate_index(h)];
	unsigned long coming = 0;
	int nid;

	hugetlb_luo_boot_free(h, plan);
	for_each_online_node(nid)
		coming += hugetlb_luo_coming(h, nid);
	hugetlb_luo_in.counted = true;
	/*
	 * Also if none comes after all: those that it was planned with may have
	 * been refused since.
	 */
	h->max_huge_pages += plan->got;
	if (coming || plan->nr_free)
		hugetlb_luo_boot_count(h, coming);
	if (coming || plan->nr_free || plan->reduced)
		hugetlb_luo_boot_report(h, plan);
	if (hugetlb_luo_in.imported)
		hugetlb_luo_promise_all(h);
}

/*
 * Take @nr pages out of the count that were in it since boot and never came.
 *
 * Return: how many surplus pages were among them.
 */
static unsigned long hugetlb_luo_uncount(struct hstate *h, int nid,
					 unsigned long nr)
{
	unsigned long surplus;

	spin_lock_irq(&hugetlb_lock);
	surplus = min_t(unsigned long, nr, h->surplus_huge_pages_node[nid]);
	h->nr_huge_pages -= nr;
	h->nr_huge_pages_node[nid] -= nr;
	h->surplus_huge_pages -= surplus;
	h->surplus_huge_pages_node[nid] -= surplus;
	h->max_huge_pages -= nr - surplus;
	spin_unlock_irq(&hugetlb_lock);

	return surplus;
}

/*
 * The same for all that turned out not to be claimable. What was counted on
 * another node than it lies on goes there, surplus as it was.
 */
static void hugetlb_luo_discount(void)
{
	struct hstate *h;
	int nid;

	for_each_hstate(h) {
		unsigned int order = huge_page_order(h);
		unsigned long surplus = 0;

		for_each_online_node(nid) {
			unsigned long was = hugetlb_luo_expected(h, nid);
			unsigned long is = hugetlb_luo_claimable(order, nid);

			if (is < was)
				surplus += hugetlb_luo_uncount(h, nid, was - is);
		}
		for_each_online_node(nid) {
			unsigned long was = hugetlb_luo_expected(h, nid);
			unsigned long is = hugetlb_luo_claimable(order, nid);
			unsigned long share;

			if (is <= was)
				continue;
			share = min(surplus, is - was);
			hugetlb_luo_count(h, nid, is - was, share);
			surplus -= share;
		}
	}
}

/* The root has served its purpose once every file is known. */
static void hugetlb_luo_put_root(void)
{
	if (!hugetlb_luo_in.root)
		return;

	kho_restore_free(hugetlb_luo_in.root);
	hugetlb_luo_in.root = NULL;
}

/* So that filling the pools does not take longer the more files there are. */
static void __init hugetlb_luo_sum_up(void)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	int nid;

	xa_for_each(&hugetlb_luo_in.files, index, in) {
		if (in->err)
			continue;
		for_each_online_node(nid)
			hugetlb_luo_plans[hstate_index(in->h)].coming[nid] +=
				in->node_pages[nid];
	}
}

/**
 * hugetlb_luo_import - validate what the previous kernel has handed over
 *
 * Called when all page sizes are known and before the pools are filled. There may
 * be none, in which case all files are refused.
 */
void __init hugetlb_luo_import(void)
{
	struct hugetlb_luo_root_ser *empty = hugetlb_luo_in.empty_root;

	if (empty && kho_folio_preserved(virt_to_phys(empty),
					 get_order(hugetlb_luo_in.root_size)))
		kho_restore_free(empty);

	if (hugetlb_luo_do_import()) {
		pr_warn("no memory to check preserved files, trying again later\n");
	} else {
		hugetlb_luo_sum_up();
		hugetlb_luo_put_root();
	}
}

/*
 * Incoming files: what LUO calls
 */

/*
 * Get the page at @frame, the nth of the file, from KHO unless an attempt
 * before this one did. It is in the pool's count already.
 */
static struct folio *hugetlb_luo_restore(struct hugetlb_luo_in_file *in, u64 n,
					 u32 frame)
{
	unsigned long pfn = hugetlb_luo_pfn(in->h, frame);
	struct folio *folio;

	if (n < in->restored)
		return pfn_folio(pfn);

	folio = kho_restore_folio(PFN_PHYS(pfn));
	if (!folio)
		return NULL;

	init_new_hugetlb_folio(folio);
	/* Nobody has access to it before that. */
	folio_set_hugetlb_hwpoison(folio);
	list_add_tail(&folio->lru, &in->folios);
	in->restored = n + 1;

	return folio;
}

/* KHO does not let go of this page after all. */
static void hugetlb_luo_lose(struct hugetlb_luo_in_file *in, u32 frame)
{
	struct page *page = pfn_to_page(hugetlb_luo_pfn(in->h, frame));

	hugetlb_luo_uncount(in->h, page_to_nid(page), 1);
}

/*
 * Give the pages of a file that nobody has asked for to the pool, and what was
 * reserved for it. Pages that KHO does not let go of stay where they are.
 *
 * Return: the number of these.
 */
static u64 hugetlb_luo_release(struct hugetlb_luo_in_file *in)
{
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	struct folio *folio, *next;
	u64 lost = 0, n = 0;
	u32 i;

	hugetlb_luo_walk(&cursor, in->ser);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		for (i = 0; i < run->nr; i++) {
			u32 frame = run->frame + i;

			if (!hugetlb_luo_restore(in, n++, frame)) {
				hugetlb_luo_lose(in, frame);
				lost++;
			}
			cond_resched();
		}
	}

	list_for_each_entry_safe(folio, next, &in->folios, lru) {
		/* Freeing takes it off again. */
		lruvec_stat_mod_folio(folio, NR_HUGETLB, folio_nr_pages(folio));
		hugetlb_luo_let_go(in->h, folio);
		cond_resched();
	}
	if (in->promised)
		hugetlb_acct_memory(in->h, -(long)in->ser->nr_resv);
	if (lost)
		pr_err("%llu pages of a preserved file were not given back\n", lost);

	return lost;
}

/*
 * Make up for what there was no memory for at boot. Free pages were counted as
 * in use then, so this is where they get free.
 */
static int hugetlb_luo_import_late(void)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	struct hstate *h;
	int err;

	lockdep_assert_held(&hugetlb_luo_in.lock);
	if (hugetlb_luo_in.imported)
		return 0;

	err = hugetlb_luo_do_import();
	if (err) {
		pr_err("no memory to check preserved files\n");
		return err;
	}
	if (hugetlb_luo_in.counted)
		hugetlb_luo_discount();
	hugetlb_luo_put_root();

	xa_for_each(&hugetlb_luo_in.files, index, in) {
		if (in->err || !hugetlb_luo_is_free(in))
			continue;
		if (hugetlb_luo_release(in))
			hugetlb_luo_in.quarantine = true;
		hugetlb_luo_in_forget(in);
	}
	for_each_hstate(h)
		hugetlb_luo_promise_all(h);

	return 0;
}

/*
 * Get the file with this record, until hugetlb_luo_in_put() or _done(). LUO has
 * no two operations on a file at a time, but where its own records are damaged
 * two of its files may be the same one.
 *
 * Return: the file, or ERR_PTR: -EAGAIN if there was no memory to check what was
 * handed over, or if somebody else has the file; -ENOENT if there is no such file;
 * what it was refused with.
 */
static struct hugetlb_luo_in_file *hugetlb_luo_in_get(u64 phys)
{
	struct hugetlb_luo_in_file *in;

	guard(mutex)(&hugetlb_luo_in.lock);

	if (hugetlb_luo_import_late())
		return ERR_PTR(-EAGAIN);

	in = xa_load(&hugetlb_luo_in.files, PHYS_PFN(phys));
	if (!in || virt_to_phys(in->ser) != phys || hugetlb_luo_is_free(in)) {
		pr_err("no preserved file has its record at %#llx\n", phys);
		/* A file, and no table: nobody knows which memory is its. */
		if (!hugetlb_luo_in.root_size)
			hugetlb_luo_in.quarantine = true;
		return ERR_PTR(-ENOENT);
	}
	if (in->err)
		return ERR_PTR(in->err);
	if (in->busy) {
		pr_err("preserved file is being retrieved, or finished, by another session\n");
		return ERR_PTR(-EAGAIN);
	}
	in->busy = true;

	return in;
}

static void hugetlb_luo_in_put(struct hugetlb_luo_in_file *in)
{
	guard(mutex)(&hugetlb_luo_in.lock);
	in->busy = false;
}

static void hugetlb_luo_in_done(struct hugetlb_luo_in_file *in)
{
	mutex_lock(&hugetlb_luo_in.lock);
	hugetlb_luo_in_forget(in);
	mutex_unlock(&hugetlb_luo_in.lock);
}

/*
 * Incoming files: who is charged
 */

#ifdef CONFIG_CGROUPS
/* The controller of a kind of charge, NULL if there is none in this kernel. */
static struct cgroup_subsys *hugetlb_luo_subsys(unsigned int kind)
{
#ifdef CONFIG_CGROUP_HUGETLB
	if (kind != HUGETLB_LUO_MEMCG && !hugetlb_cgroup_disabled())
		return &hugetlb_cgrp_subsys;
#endif
#ifdef CONFIG_MEMCG
	if (kind == HUGETLB_LUO_MEMCG && !mem_cgroup_disabled())
		return &memory_cgrp_subsys;
#endif
	return NULL;
}

/*
 * The control group at @path, or else that of the task that retrieves the file.
 * The path is one in the hierarchy of the controller, whichever that is now.
 */
static struct cgroup_subsys_state *hugetlb_luo_find_css(unsigned int kind,
							const char *path)
{
	struct cgroup_subsys *ss = hugetlb_luo_subsys(kind);
	struct cgroup_subsys_state *css, *found;
	struct cgroup *cgrp;

	if (!ss || !*path)
		return NULL;

	css = task_get_css(current, ss->id);
	cgrp = cgroup_get_from_path_in(&css->cgroup->root->cgrp, path);
	if (IS_ERR(cgrp))
		return css;

	found = cgroup_get_e_css(cgrp, ss);
	cgroup_put(cgrp);
	css_put(css);

	return found;
}

static bool hugetlb_luo_css_online(struct cgroup_subsys_state *css)
{
	if (!css)
		return true;
	if (!css_tryget_online(css))
		return false;
	css_put(css);

	return true;
}

static void hugetlb_luo_report_limit(struct cgroup_subsys_state *css,
				     const char *limit)
{
	char *path = kmalloc(HUGETLB_LUO_PATH_SIZE, GFP_KERNEL);
	bool known = path &&
		     cgroup_path(css->cgroup, path, HUGETLB_LUO_PATH_SIZE) >= 0;

	pr_warn("no room for a preserved file, %s limit of control group %s\n",
		limit, known ? path : "(unknown)");
	kfree(path);
}
#else
static struct cgroup_subsys_state *hugetlb_luo_find_css(unsigned int kind,
							const char *path)
{
	return NULL;
}

static bool hugetlb_luo_css_online(struct cgroup_subsys_state *css)
{
	return true;
}

static void hugetlb_luo_report_limit(struct cgroup_subsys_state *css,
				     const char *limit)
{
}
#endif

/* Find out who is to be charged. */
static int hugetlb_luo_find_payers(struct hugetlb_luo_in_file *in)
{
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	u64 phys = in->ser->owners;
	unsigned int kind;

	in->payers = kvzalloc_objs(*in->payers, (size_t)in->ser->nr_owners + 1);
	if (!in->payers)
		return -ENOMEM;

	while (phys) {
		const struct hugetlb_luo_owner_ser *owner = phys_to_virt(phys);
		struct hugetlb_luo_payer *payer = &in->payers[owner->nr];

		for (kind = 0; kind < HUGETLB_LUO_NR_CHARGES; kind++)
			payer->css[kind] =
				hugetlb_luo_find_css(kind, owner->path[kind]);
		phys = owner->next;
		cond_resched();
	}

	hugetlb_luo_walk(&cursor, in->ser);
	while ((run = hugetlb_luo_next_run(&cursor)))
		in->payers[run->owner].nr += run->nr;

	return 0;
}

static void hugetlb_luo_put_payers(struct hugetlb_luo_in_file *in)
{
	u32 nr;

	if (!in->payers)
		return;

	for (nr = 0; nr <= in->ser->nr_owners; nr++)
		hugetlb_luo_put_css(in->payers[nr].css);
	kvfree(in->payers);
	in->payers = NULL;
}

static struct hugetlb_cgroup *hugetlb_luo_h_cg(struct cgroup_subsys_state *css)
{
#ifdef CONFIG_CGROUP_HUGETLB
	return css ? container_of(css, struct hugetlb_cgroup, css) : NULL;
#else
	return NULL;
#endif
}

/* Charge for @nr pages in use, or for as many reservations. */
static int hugetlb_luo_charge(struct hugetlb_luo_in_file *in,
			      struct cgroup_subsys_state *css, u64 nr, bool rsvd)
{
	int err;

	err = hugetlb_cgroup_try_charge(hstate_index(in->h),
					nr * pages_per_huge_page(in->h),
					hugetlb_luo_h_cg(css), rsvd);
	if (err)
		hugetlb_luo_report_limit(css, rsvd ? "hugetlb rsvd" : "hugetlb");

	return err;
}

/* Take back what hugetlb_luo_charge_pages() charged for. */
static void hugetlb_luo_uncharge_pages(struct hugetlb_luo_in_file *in)
{
	int idx = hstate_index(in->h);
	u32 n;

	for (n = 0; n <= in->ser->nr_owners; n++) {
		struct hugetlb_luo_payer *payer = &in->payers[n];
		unsigned long nr = payer->nr * pages_per_huge_page(in->h);
		struct hugetlb_cgroup *h_cg;

		h_cg = hugetlb_luo_h_cg(payer->css[HUGETLB_LUO_USAGE]);
		if (payer->charged[HUGETLB_LUO_USAGE])
			hugetlb_cgroup_uncharge_cgroup(idx, nr, h_cg);
		h_cg = hugetlb_luo_h_cg(payer->css[HUGETLB_LUO_RSVD]);
		if (payer->charged[HUGETLB_LUO_RSVD])
			hugetlb_cgroup_uncharge_cgroup_rsvd(idx, nr, h_cg);
	}
}

/*
 * Charge hugetlb cgroups for all pages at once, before any page knows of it. Only
 * pages on the active list leave a hugetlb cgroup that is removed, which waits
 * for them meanwhile: hugetlb_luo_commit() should come next.
 */
static int hugetlb_luo_charge_pages(struct hugetlb_luo_in_file *in)
{
	unsigned int kind;
	int err;
	u32 n;

	for (n = 0; n <= in->ser->nr_owners; n++) {
		struct hugetlb_luo_payer *payer = &in->payers[n];

		for (kind = HUGETLB_LUO_USAGE; kind <= HUGETLB_LUO_RSVD; kind++) {
			if (!payer->nr || !payer->css[kind])
				continue;
			err = hugetlb_luo_charge(in, payer->css[kind], payer->nr,
						 kind == HUGETLB_LUO_RSVD);
			if (err)
				goto err_uncharge;
			payer->charged[kind] = true;
		}

		/* If it is gone already, nobody would take its pages over. */
		err = -ENODEV;
		if (!hugetlb_luo_css_online(payer->css[HUGETLB_LUO_USAGE]))
			goto err_uncharge;
	}

	return 0;

err_uncharge:
	hugetlb_luo_uncharge_pages(in);
	return err;
}

/* Each page has a reference to who is charged for its reservation now. */
static void hugetlb_luo_put_charges(struct hugetlb_luo_in_file *in)
{
	u32 n;

	for (n = 0; n <= in->ser->nr_owners; n++)
		if (in->payers[n].charged[HUGETLB_LUO_RSVD])
			css_put(in->payers[n].css[HUGETLB_LUO_RSVD]);
}

/* A page that is in the file now belongs to its payer. hugetlb_lock is held. */
static void hugetlb_luo_commit_charge(struct hugetlb_luo_in_file *in,
				      const struct hugetlb_luo_payer *payer,
				      struct folio *folio)
{
	struct cgroup_subsys_state *rsvd = payer->css[HUGETLB_LUO_RSVD];
	unsigned int nr = pages_per_huge_page(in->h);
	int idx = hstate_index(in->h);

	hugetlb_cgroup_commit_charge(idx, nr,
				     hugetlb_luo_h_cg(payer->css[HUGETLB_LUO_USAGE]),
				     folio);
	if (rsvd) {
		css_get(rsvd);
		hugetlb_cgroup_commit_charge_rsvd(idx, nr, hugetlb_luo_h_cg(rsvd),
						  folio);
	}
}

/*
 * Charge a memory cgroup for a page that is on its way into the file. Its share
 * in NR_HUGETLB goes along.
 */
static int hugetlb_luo_charge_memcg(struct hugetlb_luo_in_file *in,
				    struct folio *folio, u32 owner)
{
	struct cgroup_subsys_state *css = in->payers[owner].css[HUGETLB_LUO_MEMCG];
	struct mem_cgroup *old;
	int err = 0;

	if (css) {
		old = set_active_memcg(mem_cgroup_from_css(css));
		err = mem_cgroup_charge_hugetlb(folio, NULL,
						htlb_alloc_mask(in->h) |
						__GFP_RETRY_MAYFAIL);
		set_active_memcg(old);
	}
	if (err)
		hugetlb_luo_report_limit(css, "memory");
	else
		lruvec_stat_mod_folio(folio, NR_HUGETLB, folio_nr_pages(folio));

	return err;
}

static void hugetlb_luo_uncharge_memcg(struct folio *folio)
{
	lruvec_stat_mod_folio(folio, NR_HUGETLB, -(long)folio_nr_pages(folio));
	mem_cgroup_uncharge(folio);
}

/*
 * Incoming files: retrieval
 */

static struct file *hugetlb_luo_make_file(struct hugetlb_luo_in_file *in)
{
	struct hugetlb_luo_file_ser *ser = in->ser;
	struct inode *inode;
	struct file *file;
	int err;

	file = memfd_alloc_file("", MFD_HUGETLB | MFD_ALLOW_SEALING |
				(huge_page_shift(in->h) << MFD_HUGE_SHIFT));
	if (IS_ERR(file))
		return file;

	/* F_SEAL_EXEC would add more seals to a file that can be executed. */
	inode = file_inode(file);
	inode->i_mode &= ~S_IALLUGO;
	err = memfd_add_seals(file, ser->seals);
	if (err) {
		fput(file);
		return ERR_PTR(err);
	}

	inode->i_mode |= ser->mode;
	i_size_write(inode, ser->size);
	vfs_setpos(file, ser->pos, MAX_LFS_FILESIZE);

	return file;
}

/* Add what is missing of a range, which @css is charged for if there is one. */
static int hugetlb_luo_add_region(struct hugetlb_luo_in_file *in,
				  struct file *file, u64 from, u64 to,
				  struct cgroup_subsys_state *css)
{
	struct resv_map *resv_map = HUGETLBFS_I(file_inode(file))->resv_map;
	struct hugetlb_cgroup *h_cg = hugetlb_luo_h_cg(css);
	long chg, needed, ret;

	if (from == to)
		return 0;

	chg = region_chg(resv_map, from, to, &needed);
	if (chg < 0)
		return chg;
	if (h_cg) {
		ret = hugetlb_luo_charge(in, css, chg, true);
		if (ret)
			goto err_abort;
	}

	ret = region_add(resv_map, from, to, needed, in->h, h_cg);
	if (ret < 0)
		goto err_uncharge;

	/* The regions have references of their own. */
	if (h_cg)
		hugetlb_cgroup_put_rsvd_cgroup(h_cg);

	return 0;

err_uncharge:
	hugetlb_cgroup_uncharge_cgroup_rsvd(hstate_index(in->h),
					    chg * pages_per_huge_page(in->h), h_cg);
err_abort:
	region_abort(resv_map, from, to, needed);
	return ret;
}

/*
 * Make the reservation map what it was. Everything that is reserved has its
 * region there. So has each page, which would be taken for reserved when it is
 * freed if it had none. If it was reserved before at somebody's charge, then that
 * is in the list of what is reserved.
 */
static int hugetlb_luo_fill_regions(struct hugetlb_luo_in_file *in,
				    struct file *file)
{
	struct hugetlb_luo_file_ser *ser = in->ser;
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	u64 from = 0, to = 0;
	int err;

	hugetlb_luo_walk_lists(&cursor, ser->resv, 0, 0);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		err = hugetlb_luo_add_region(in, file, run->index,
					     (u64)run->index + run->nr,
					     in->payers[run->owner].css[HUGETLB_LUO_RSVD]);
		if (err)
			return err;
		cond_resched();
	}

	hugetlb_luo_walk(&cursor, ser);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		if (run->index > to) {
			err = hugetlb_luo_add_region(in, file, from, to, NULL);
			if (err)
				return err;
			from = run->index;
		}
		to = (u64)run->index + run->nr;
		cond_resched();
	}

	return hugetlb_luo_add_region(in, file, from, to, NULL);
}

/* Add one run. @filled counts the pages of the file. */
static int hugetlb_luo_fill_run(struct hugetlb_luo_in_file *in,
				struct file *file,
				const struct hugetlb_luo_run_ser *run,
				u64 *filled)
{
	struct folio *folio;
	int err;
	u32 n;

	for (n = 0; n < run->nr; n++) {
		folio = hugetlb_luo_restore(in, *filled, run->frame + n);
		if (!folio)
			return -EIO;

		err = hugetlb_luo_charge_memcg(in, folio, run->owner);
		if (err)
			return err;

		__folio_mark_uptodate(folio);
		err = hugetlb_add_to_page_cache(folio, file->f_mapping,
						run->index + n);
		if (err) {
			hugetlb_luo_uncharge_memcg(folio);
			return err;
		}
		folio_unlock(folio);
		(*filled)++;
		cond_resched();
	}

	return 0;
}

/* Take the first @filled pages out again. They keep the reference from KHO. */
static void hugetlb_luo_drain(struct hugetlb_luo_in_file *in,
			      struct file *file, u64 filled)
{
	struct folio *folio;

	list_for_each_entry(folio, &in->folios, lru) {
		if (!filled--)
			break;
		folio_lock(folio);
		folio_clear_dirty(folio);
		folio_clear_uptodate(folio);
		filemap_remove_folio(folio);
		folio_unlock(folio);
		hugetlb_luo_uncharge_memcg(folio);
		cond_resched();
	}

	region_del(HUGETLBFS_I(file_inode(file))->resv_map, 0, LONG_MAX);
}

/* The pages belong to the file now. */
static void hugetlb_luo_commit(struct hugetlb_luo_in_file *in)
{
	struct hugetlb_luo_run_ser *run = NULL;
	struct hugetlb_luo_cursor cursor;
	struct folio *folio, *next;
	unsigned int n = 0;
	u32 left = 0;

	hugetlb_luo_walk(&cursor, in->ser);
	spin_lock_irq(&hugetlb_lock);
	list_for_each_entry_safe(folio, next, &in->folios, lru) {
		if (!left--) {
			run = hugetlb_luo_next_run(&cursor);
			left = run->nr - 1;
		}
		hugetlb_luo_commit_charge(in, &in->payers[run->owner], folio);
		list_move_tail(&folio->lru, &in->h->hugepage_activelist);
		/* May be migrated, and gone for good, from here on. */
		if (!folio_test_hwpoison(folio))
			folio_set_hugetlb_migratable(folio);
		folio_put(folio);
		if (++n % 512 == 0) {
			spin_unlock_irq(&hugetlb_lock);
			cond_resched();
			spin_lock_irq(&hugetlb_lock);
		}
	}
	spin_unlock_irq(&hugetlb_lock);
	hugetlb_luo_put_charges(in);
}

static int hugetlb_luo_retrieve(struct liveupdate_file_op_args *args)
{
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	struct hugetlb_luo_in_file *in;
	struct file *file;
	u64 filled = 0;
	int err;

	in = hugetlb_luo_in_get(args->serialized_data);
	if (IS_ERR(in))
		return PTR_ERR(in);

	/* From here on it is kept, also if something else fails. */
	err = hugetlb_luo_promise(in);
	if (err) {
		hugetlb_luo_promise_fails(in->h, in->ser->nr_resv);
		goto err_again;
	}

	err = hugetlb_luo_find_payers(in);
	if (err)
		goto err_again;

	file = hugetlb_luo_make_file(in);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto err_put_payers;
	}

	err = hugetlb_luo_fill_regions(in, file);
	if (err)
		goto err_drain;

	hugetlb_luo_walk(&cursor, in->ser);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		err = hugetlb_luo_fill_run(in, file, run, &filled);
		if (err)
			goto err_drain;
	}

	err = hugetlb_luo_charge_pages(in);
	if (err)
		goto err_drain;

	hugetlb_luo_commit(in);
	hugetlb_luo_put_payers(in);
	hugetlb_luo_in_done(in);
	args->file = file;

	return 0;

err_drain:
	hugetlb_luo_drain(in, file, filled);
	fput(file);
err_put_payers:
	hugetlb_luo_put_payers(in);
err_again:
	/* All is as it was, but for the promise: LUO may ask again. */
	hugetlb_luo_in_put(in);
	pr_warn("preserved file could not be restored: %pe\n", ERR_PTR(err));
	return -EAGAIN;
}

static bool hugetlb_luo_can_finish(struct liveupdate_file_op_args *args)
{
	if (args->retrieve_status)
		return true;

	guard(mutex)(&hugetlb_luo_in.lock);

	/* Who does not know what there is cannot let go of it. */
	return !hugetlb_luo_import_late();
}

static void hugetlb_luo_finish(struct liveupdate_file_op_args *args)
{
	struct hugetlb_luo_in_file *in;

	if (args->retrieve_status > 0)
		return;

	in = hugetlb_luo_in_get(args->serialized_data);
	if (IS_ERR(in))
		return;

	if (hugetlb_luo_release(in)) {
		mutex_lock(&hugetlb_luo_in.lock);
		hugetlb_luo_in.quarantine = true;
		mutex_unlock(&hugetlb_luo_in.lock);
	}
	hugetlb_luo_in_done(in);
}

/**
 * hugetlb_luo_reboot - may this kernel be replaced by a live update
 *
 * KHO hands over what this kernel has preserved by itself. Memory that it got
 * from its predecessor and that is not claimed yet, or cannot be, would be up for
 * grabs in the next kernel.
 *
 * Return: 0, or -EBUSY if there is such memory, or no memory to find out.
 */
int hugetlb_luo_reboot(void)
{
	guard(mutex)(&hugetlb_luo_in.lock);

	/* Nobody asks for free pages, which may be all there is. */
	if (hugetlb_luo_import_late())
		return -EBUSY;
	if (hugetlb_luo_in.quarantine) {
		pr_err("preserved memory is quarantined, a cold reboot is needed\n");
		return -EBUSY;
	}
	if (!xa_empty(&hugetlb_luo_in.files)) {
		pr_err("preserved files are neither retrieved nor finished\n");
		return -EBUSY;
	}

	return 0;
}

static const struct liveupdate_file_ops hugetlb_luo_file_ops = {
	.can_preserve = hugetlb_luo_can_preserve,
	.preserve = hugetlb_luo_preserve,
	.unpreserve = hugetlb_luo_unpreserve,
	.freeze = hugetlb_luo_freeze,
	.unfreeze = hugetlb_luo_unfreeze,
	.retrieve = hugetlb_luo_retrieve,
	.can_finish = hugetlb_luo_can_finish,
	.finish = hugetlb_luo_finish,
	.get_id = hugetlb_luo_get_id,
	.owner = THIS_MODULE,
};

static struct liveupdate_file_handler hugetlb_luo_handler = {
	.ops = &hugetlb_luo_file_ops,
	.compatible = HUGETLB_LUO_FH_COMPATIBLE,
};

/* One count for each page size and node, all zero. */
static struct hugetlb_luo_root_ser * __init hugetlb_luo_make_root(void)
{
	unsigned int nr_counts = hugetlb_max_hstate * nr_node_ids;
	struct hugetlb_luo_root_ser *root;
	size_t size = struct_size(root, counts, nr_counts) +
		      HUGETLB_LUO_ERRORS * sizeof(struct hugetlb_luo_error_ser);
	struct hstate *h;
	unsigned int nid;
	int err;

	root = hugetlb_luo_alloc(size);
	if (IS_ERR(root))
		return root;

	root->magic = HUGETLB_LUO_ROOT_MAGIC;
	root->version = HUGETLB_LUO_VERSION;
	root->nr_counts = nr_counts;
	root->nodes = hugetlb_luo_nodes;
	for_each_hstate(h) {
		struct hugetlb_luo_count_ser *count = root->counts;

		count += hugetlb_luo_rank(h) * nr_node_ids;
		for (nid = 0; nid < nr_node_ids; nid++, count++) {
			count->order = huge_page_order(h);
			count->nid = nid;
		}
	}
	root->csum = hugetlb_luo_root_csum(root);

	err = kho_add_subtree(HUGETLB_LUO_KHO_ENTRY, root, size);
	if (err) {
		kho_unpreserve_free(root);
		return ERR_PTR(err);
	}

	return root;
}

static int __init hugetlb_luo_init(void)
{
	struct hugetlb_luo_root_ser *root;
	int err;

	if (!liveupdate_enabled())
		return 0;

	/*
	 * Without a root nothing can be preserved. Files that come from the
	 * previous kernel need their handler all the same, or LUO gives up
	 * those of all others as well.
	 */
	root = hugetlb_luo_make_root();
	if (IS_ERR(root)) {
		pr_err("no memory can be handed over: %pe\n", root);
	} else {
		hugetlb_luo_start_errors(hugetlb_luo_errors(root));
		hugetlb_luo_out.root = root;
	}

	err = liveupdate_register_file_handler(&hugetlb_luo_handler);
	if (err)
		pr_err("could not register: %pe\n", ERR_PTR(err));

	return err;
}
late_initcall(hugetlb_luo_init);
