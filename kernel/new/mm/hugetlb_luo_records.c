// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Records of preserved pages: their checksums, and lists of runs.
 */

#include <linux/err.h>
#include <linux/hugetlb.h>
#include <linux/io.h>
#include <linux/jhash.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/hugetlb.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/overflow.h>
#include <linux/sched.h>

#include "hugetlb_luo_internal.h"

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

u32 hugetlb_luo_root_csum(const struct hugetlb_luo_root_ser *root)
{
	return hugetlb_luo_csum(root, offsetof(typeof(*root), csum),
				struct_size(root, counts, root->nr_counts));
}

u32 hugetlb_luo_file_csum(const struct hugetlb_luo_file_ser *ser)
{
	return hugetlb_luo_csum(ser, offsetof(typeof(*ser), csum),
				struct_size(ser, counts, ser->nr_counts));
}

u32 hugetlb_luo_block_csum(const struct hugetlb_luo_block_ser *block)
{
	return hugetlb_luo_csum(block, offsetof(typeof(*block), csum),
				struct_size(block, runs, block->nr_runs));
}

u32 hugetlb_luo_error_csum(const struct hugetlb_luo_error_ser *error)
{
	return hugetlb_luo_csum(error, offsetof(typeof(*error), csum),
				sizeof(*error));
}

/* The list of memory errors stands behind the counts. */
struct hugetlb_luo_error_ser *
hugetlb_luo_error_list(struct hugetlb_luo_root_ser *root)
{
	return (void *)&root->counts[root->nr_counts];
}

u32 hugetlb_luo_owner_csum(const struct hugetlb_luo_owner_ser *owner)
{
	return hugetlb_luo_csum(owner, offsetof(typeof(*owner), csum),
				sizeof(*owner));
}

unsigned long hugetlb_luo_pfn(struct hstate *h, unsigned long frame)
{
	return frame << huge_page_order(h);
}

/* The first index beyond a file of @size, whose last page may be a part of one. */
u64 hugetlb_luo_end_index(struct hstate *h, u64 size)
{
	/* A division would take no more than 32 bits: not enough for 16 GiB. */
	return (size + huge_page_size(h) - 1) >> huge_page_shift(h);
}

/* Where the counts of @h stand in the root, where sizes ascend. */
unsigned int hugetlb_luo_rank(const struct hstate *h)
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
bool hugetlb_luo_is_early(unsigned long pfn, unsigned long nr)
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
void *hugetlb_luo_alloc(size_t size)
{
	void *rec = kho_alloc_preserve(size);

	if (IS_ERR(rec) ||
	    hugetlb_luo_is_early(PHYS_PFN(virt_to_phys(rec)), PFN_UP(size)))
		return rec;

	kho_unpreserve_free(rec);
	return ERR_PTR(-EOPNOTSUPP);
}

struct hugetlb_luo_block_ser *
hugetlb_luo_next_block(const struct hugetlb_luo_block_ser *block)
{
	return block->next ? phys_to_virt(block->next) : NULL;
}

struct hugetlb_luo_run_ser *
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

/* Return: the next run of both lists by index, or NULL if there is none. */
struct hugetlb_luo_run_ser *
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

/* Walk over two lists together. What there is none of is 0. */
void hugetlb_luo_walk_lists(struct hugetlb_luo_cursor *cursor, u64 a, u64 b)
{
	*cursor = (struct hugetlb_luo_cursor) {
		.block = {
			a ? phys_to_virt(a) : NULL,
			b ? phys_to_virt(b) : NULL,
		},
	};
}

/* Walk over the pages of a file. */
void hugetlb_luo_walk(struct hugetlb_luo_cursor *cursor,
		      const struct hugetlb_luo_file_ser *ser)
{
	hugetlb_luo_walk_lists(cursor, ser->runs, ser->late);
}

/* Return: how many indices are in both lists of runs. */
u64 hugetlb_luo_common(u64 a, u64 b)
{
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *x, *y;
	u64 nr = 0;

	hugetlb_luo_walk_lists(&cursor, a, b);
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
int hugetlb_luo_table_add_run(struct hugetlb_luo_table *table,
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
int hugetlb_luo_table_add(struct hugetlb_luo_table *table, u32 index,
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

void hugetlb_luo_table_seal(struct hugetlb_luo_table *table)
{
	struct hugetlb_luo_block_ser *block;

	for (block = table->first; block; block = hugetlb_luo_next_block(block))
		block->csum = hugetlb_luo_block_csum(block);
}

u64 hugetlb_luo_table_phys(const struct hugetlb_luo_table *table)
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

void hugetlb_luo_table_free(struct hugetlb_luo_table *table)
{
	hugetlb_luo_free_chain(table->first);
	table->first = NULL;
	table->last = NULL;
}

/*
 * Get all the memory that a table of @nr pages may need. Adding these to it, and
 * hugetlb_luo_table_trim() when that is done, then cannot fail.
 */
int hugetlb_luo_table_reserve(struct hugetlb_luo_table *table,
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
void hugetlb_luo_table_trim(struct hugetlb_luo_table *table)
{
	hugetlb_luo_free_chain(hugetlb_luo_next_block(table->last));
	table->last->next = 0;
}
