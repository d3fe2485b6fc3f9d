// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * What comes from the previous kernel: finding and validating it.
 */

#define pr_fmt(fmt) "hugetlb_luo: " fmt

#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/hugetlb.h>
#include <linux/hugetlb_luo.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/jhash.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/hugetlb.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/log2.h>
#include <linux/memblock.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/xarray.h>

#include "hugetlb_luo_internal.h"

#define HUGETLB_LUO_SEALS	(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | \
				 F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | \
				 F_SEAL_EXEC)

/* More than any kernel announces: what is beyond is not worth the time. */
#define HUGETLB_LUO_MAX_COUNTS	4096

static_assert(HUGE_MAX_HSTATE * MAX_NUMNODES <= HUGETLB_LUO_MAX_COUNTS);

struct hugetlb_luo_in hugetlb_luo_in = {
	.lock = __MUTEX_INITIALIZER(hugetlb_luo_in.lock),
	.files = XARRAY_INIT(hugetlb_luo_in.files, 0),
};

/* Checksum of where this kernel's nodes lie. */
u32 hugetlb_luo_nodes __initdata;

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

/* Is there memory that an entry could be about? */
static bool __init
hugetlb_luo_error_in_memory(const struct hugetlb_luo_error_ser *error)
{
	return hugetlb_luo_error_intact(error) &&
	       memblock_is_region_memory(error->addr, (u64)error->nr << PAGE_SHIFT);
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
	bool first = !memblock_is_region_reserved(error->addr, size);

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
	const struct hugetlb_luo_error_ser *error = hugetlb_luo_error_list(root);
	/*
	 * A list of wrong entries must not take the memory to boot with: there may
	 * be no other by now than scratch.
	 */
	u64 left = PHYS_PFN(memblock_phys_mem_size()) / 4;
	unsigned int n;

	/* Whole huge pages first: their base pages may be on the list as well. */
	for (n = 0; n < HUGETLB_LUO_ERRORS; n++) {
		if (error[n].nr == 1 || !hugetlb_luo_error_in_memory(&error[n]))
			continue;
		if (error[n].nr > left ||
		    kho_scratch_overlap(error[n].addr, (u64)error[n].nr << PAGE_SHIFT)) {
			pr_err("memory errors in %u pages at %#llx are not kept away from\n",
			       error[n].nr, error[n].addr);
			continue;
		}
		left -= error[n].nr;
		hugetlb_luo_in.kept_away[n] = hugetlb_luo_reserve_error(&error[n]);
	}
	for (n = 0; n < HUGETLB_LUO_ERRORS; n++)
		if (error[n].nr == 1 && hugetlb_luo_error_in_memory(&error[n]))
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
		if (root->nr_files || root->files)
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

bool hugetlb_luo_is_free(const struct hugetlb_luo_in_file *in)
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

	hugetlb_luo_walk_lists(&cursor, ser->resv, 0);
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
		cond_resched();
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
	const struct hugetlb_luo_error_ser *error = hugetlb_luo_error_list(root);
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
		hugetlb_luo_error_list(hugetlb_luo_in.root);
	unsigned int n;

	for (n = 0; n < HUGETLB_LUO_ERRORS; n++) {
		unsigned long first = PHYS_PFN(errors[n].addr), pfn;
		bool held = false;

		if (!hugetlb_luo_in.kept_away[n])
			continue;

		for (pfn = first; pfn < first + errors[n].nr; pfn++) {
			/* Reserved memory of boot is online, and stays so. */
			struct page *page = pfn_to_page(pfn);

			cond_resched();
			if (!PageReserved(page)) {
				held = true;
				continue;
			}
			if (PageHWPoison(page))
				continue;
			SetPageHWPoison(page);
			num_poisoned_pages_inc(pfn);
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
u64 hugetlb_luo_claimable(unsigned int order, unsigned int nid)
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
bool hugetlb_luo_has_node(u32 nid)
{
	return nid < MAX_NUMNODES && node_isset(nid, hugetlb_luo_in.nodes);
}

/*
 * Pages of @h that are to be expected on @nid before the files are checked. Where
 * they lie is known, or there is nothing to go by but the announcement. Then those
 * of a node that this kernel lacks are somewhere.
 */
u64 hugetlb_luo_expected(struct hstate *h, unsigned int nid)
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

	for (i = 0; i < root->nr_counts; i++) {
		if (hugetlb_luo_recorded(root->counts[i].order, root->counts[i].nid) >
		    hugetlb_luo_announced(root->counts[i].order, root->counts[i].nid))
			return false;
		cond_resched();
	}

	return true;
}

void hugetlb_luo_report_lost(unsigned int order, unsigned int nid, u64 nr)
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
		cond_resched();
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
int hugetlb_luo_do_import(void)
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
void hugetlb_luo_in_forget(struct hugetlb_luo_in_file *in)
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

/* The root has served its purpose once every file is known. */
void hugetlb_luo_put_root(void)
{
	if (!hugetlb_luo_in.root)
		return;

	kho_restore_free(hugetlb_luo_in.root);
	hugetlb_luo_in.root = NULL;
}
