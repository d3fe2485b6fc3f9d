/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
#ifndef _LINUX_KHO_ABI_HUGETLB_H
#define _LINUX_KHO_ABI_HUGETLB_H

#include <linux/build_bug.h>
#include <linux/types.h>

#include <asm/page.h>

/**
 * DOC: HugeTLB Live Update ABI
 *
 * The state of preserved hugetlb memfds, and the free pages of the pools if the
 * administrator wants it, are handed to the next kernel in four kinds of
 * records. All of them lie in memory preserved by KHO and refer to each other by
 * physical address::
 *
 *   KHO subtree "hugetlb"
 *     |
 *     v
 *   struct hugetlb_luo_root_ser      how many pages come, by size and node
 *     |  .files
 *     v
 *   struct hugetlb_luo_file_ser      one per file, and one per page size whose
 *     |                              free pages come along, linked by .next
 *     |  .runs, .late, .resv
 *     v
 *   struct hugetlb_luo_block_ser     which page backs which index, and which
 *     |  .runs[].owner               index is reserved, linked by .next
 *     v
 *   struct hugetlb_luo_owner_ser     who is charged, linked by .next from the
 *                                    file's .owners
 *
 * The root is a KHO subtree and not the data of a LUO file or of a FLB since
 * the next kernel allocates gigantic pages long before LUO has started: by
 * then it has to know how many are on their way.
 *
 * A file's page table is a list of runs. Pages of one run are contiguous both
 * in the file and in memory and have the same owner, so a file that was allocated
 * in one piece takes one entry, and never does a page take more than the 16 bytes
 * of a run of its own. Frames and indices count in units of the file's page size.
 * What is reserved is a list of runs, too, without frames: a region of the
 * reservation map takes one entry, or one for each part between two pages,
 * however large it is.
 *
 * An owner stands for the control groups that are charged, together, for some
 * pages or reservations. A file mostly has one for its pages and another one for
 * what is reserved in it.
 *
 * The free pages of one size have a record like that of a file, which no LUO file
 * refers to. They are its pages in the order of their addresses, from index 0 on
 * without a hole. The next kernel checks it as it does those of files, and puts
 * the pages into its pool when it fills that.
 *
 * Memory errors are not part of the files' records: they come at any time, after
 * those are final, too. Behind the counts of the root is a list of
 * %HUGETLB_LUO_ERRORS &struct hugetlb_luo_error_ser, which is written to until the
 * kernel stops. It has all huge pages with memory errors, whether or not they are
 * in a file that is handed over, and those that previous kernels have passed on,
 * without a gap between them. Memory on it that is not handed over is not used by
 * the next kernel. If the list is damaged, no file is accepted: nobody can tell
 * which pages have errors.
 *
 * The version is in the root and in the files' records, and not part of the LUO
 * compatible string: LUO gives up all of its sessions when it meets a string that
 * nobody handles, but only the files here have to be refused when a record is of
 * another version. Any change of a structure below needs a new version. The part
 * of the root in front of its counts never changes, so that a kernel of another
 * version can tell whether anything was handed over.
 *
 * The checksum of a record is jhash2() of the words in front of the field it goes
 * to, with %HUGETLB_LUO_VERSION as the initial value, and then, with the result
 * of that as the initial value, of the words behind it. It guards against a
 * predecessor that was killed by what it is being updated for.
 *
 * The checksum of where nodes lie is jhash2(), too: for each frame at which memory
 * of another node begins than what is below, of the number of that node and of the
 * frame's, whose lower half comes first. They ascend. The initial value is
 * %HUGETLB_LUO_VERSION, and then the result for the frame before. A kernel with
 * another checksum may not take the nodes of the counts for its own.
 *
 * Flags without a meaning are zero, and the receiving side insists on it.
 */

/* The name of the KHO subtree that holds the root. */
#define HUGETLB_LUO_KHO_ENTRY		"hugetlb"

/* The compatible string of the LUO file handler. It carries no version. */
#define HUGETLB_LUO_FH_COMPATIBLE	"hugetlb-memfd"

#define HUGETLB_LUO_VERSION		1

#define HUGETLB_LUO_ROOT_MAGIC		0x48544c52U	/* "HTLR" */
#define HUGETLB_LUO_FILE_MAGIC		0x48544c46U	/* "HTLF" */
#define HUGETLB_LUO_BLOCK_MAGIC		0x48544c42U	/* "HTLB" */
#define HUGETLB_LUO_OWNER_MAGIC		0x48544c4fU	/* "HTLO" */

/**
 * struct hugetlb_luo_count_ser - number of pages of one size on one node
 * @order: Page size, as an order of base pages.
 * @nid:   NUMA node that the pages lie on.
 * @nr:    Number of pages.
 */
struct hugetlb_luo_count_ser {
	u32 order;
	u32 nid;
	u64 nr;
} __packed;

/**
 * struct hugetlb_luo_root_ser - what the next kernel reads early in boot
 * @magic:     %HUGETLB_LUO_ROOT_MAGIC
 * @version:   %HUGETLB_LUO_VERSION
 * @csum:      Checksum of the root up to its last count, without this field.
 * @nr_counts: Number of entries in @counts.
 * @files:     Physical address of the first &struct hugetlb_luo_file_ser, or 0.
 * @nr_files:  Number of these.
 * @nodes:     Checksum of where the nodes lie that @counts are by, see above.
 * @counts:    Pages of all of them together, ascending by size and then by node.
 *             Reading them is all it takes to size the pools of the next kernel
 *             if its nodes are the same.
 */
struct hugetlb_luo_root_ser {
	u32 magic;
	u32 version;
	u32 csum;
	u32 nr_counts;
	u64 files;
	u32 nr_files;
	u32 nodes;
	struct hugetlb_luo_count_ser counts[];
} __packed;

/**
 * struct hugetlb_luo_error_ser - base pages of one huge page with memory errors
 * @addr: Physical address of the first. Written last and in one go: an entry is
 *        there if this is not 0, and so are those in front of it.
 * @nr:   Number of base pages: 1, or all of the huge page if it is not known
 *        which of them have errors.
 * @csum: Checksum of the entry, without this field.
 */
struct hugetlb_luo_error_ser {
	u64 addr;
	u32 nr;
	u32 csum;
};

/* The list of errors has this many entries. */
#define HUGETLB_LUO_ERRORS		128

/**
 * struct hugetlb_luo_file_ser - one preserved hugetlb memfd, or free pages
 * @magic:     %HUGETLB_LUO_FILE_MAGIC
 * @version:   %HUGETLB_LUO_VERSION
 * @csum:      Checksum of the record up to its last count, without this field.
 * @order:     Page size, as an order of base pages.
 * @next:      Physical address of the next file's record, or 0.
 * @runs:      Physical address of the first &struct hugetlb_luo_block_ser, or 0
 *             if the file had no pages when it was preserved.
 * @late:      The same of pages that were added between preserving the file and
 *             freezing it.
 * @resv:      The same of what was reserved when the file was preserved, without
 *             frames. What nobody is charged for is there only if it had no page
 *             then; but an index of @late may be among it.
 * @owners:    Physical address of the first &struct hugetlb_luo_owner_ser, or 0.
 * @nr_owners: Number of these.
 * @size:      Size of the file in bytes.
 * @pos:       File position.
 * @nr_pages:  Number of pages.
 * @nr_resv:   Number of indices that are reserved and have no page when the file
 *             is frozen: those of @resv that are neither in @runs nor in @late.
 * @seals:     Seals, as of F_GET_SEALS.
 * @mode:      Permission bits of the inode.
 * @nr_counts: Number of entries in @counts.
 * @flags:     %HUGETLB_LUO_FILE_FREE or zero.
 * @counts:    Pages of this file on each node that has some, ascending by node.
 */
struct hugetlb_luo_file_ser {
	u32 magic;
	u32 version;
	u32 csum;
	u32 order;
	u64 next;
	u64 runs;
	u64 late;
	u64 resv;
	u64 owners;
	u64 nr_owners;
	u64 size;
	u64 pos;
	u64 nr_pages;
	u64 nr_resv;
	u32 seals;
	u32 mode;
	u32 nr_counts;
	u32 flags;
	struct hugetlb_luo_count_ser counts[];
} __packed;

/*
 * The pages are free. All that has to do with a file is zero: its late pages,
 * what is reserved, owners, size, position, seals, and mode.
 */
#define HUGETLB_LUO_FILE_FREE		0x1U

/* A file's record takes one page, and so has room for this many nodes. */
#define HUGETLB_LUO_FILE_COUNTS						\
	((PAGE_SIZE - sizeof(struct hugetlb_luo_file_ser)) /		\
	 sizeof(struct hugetlb_luo_count_ser))

/**
 * struct hugetlb_luo_run_ser - pages contiguous in the file and in memory
 * @index: Index of the first page in the file, in units of its page size.
 * @nr:    Number of pages.
 * @frame: Physical address of the first page, in units of the page size. Zero
 *         in the list of what is reserved.
 * @owner: Number of the &struct hugetlb_luo_owner_ser that says who is charged
 *         for these pages, or for these reservations. Zero if nobody is.
 */
struct hugetlb_luo_run_ser {
	u32 index;
	u32 nr;
	u32 frame;
	u32 owner;
} __packed;

/**
 * struct hugetlb_luo_block_ser - one page full of runs
 * @next:    Physical address of the next block, or 0.
 * @magic:   %HUGETLB_LUO_BLOCK_MAGIC
 * @csum:    Checksum of the block up to its last run, without this field.
 * @nr_runs: Number of entries in @runs.
 * @runs:    Runs, ascending by index up to the end of the last block.
 */
struct hugetlb_luo_block_ser {
	u64 next;
	u32 magic;
	u32 csum;
	u32 nr_runs;
	struct hugetlb_luo_run_ser runs[];
} __packed;

#define HUGETLB_LUO_BLOCK_RUNS						\
	((PAGE_SIZE - sizeof(struct hugetlb_luo_block_ser)) /		\
	 sizeof(struct hugetlb_luo_run_ser))

/**
 * enum hugetlb_luo_charge - what a control group is charged for
 * @HUGETLB_LUO_USAGE:      Hugetlb controller: a page that is in use.
 * @HUGETLB_LUO_RSVD:       Hugetlb controller: a reservation.
 * @HUGETLB_LUO_MEMCG:      Memory controller: a page that is in use.
 * @HUGETLB_LUO_NR_CHARGES: How many there are.
 */
enum hugetlb_luo_charge {
	HUGETLB_LUO_USAGE,
	HUGETLB_LUO_RSVD,
	HUGETLB_LUO_MEMCG,
	HUGETLB_LUO_NR_CHARGES
};

/* For a path and the byte that ends it: all of them fit into a page. */
#define HUGETLB_LUO_PATH_SIZE		1356

/**
 * struct hugetlb_luo_owner_ser - who is charged for some pages or reservations
 * @next:  Physical address of the next owner, or 0.
 * @magic: %HUGETLB_LUO_OWNER_MAGIC
 * @csum:  Checksum of the record, without this field.
 * @nr:    Its number: 1 for the first owner of a file, 2 for the next.
 * @path:  By &enum hugetlb_luo_charge the path of the control group in its
 *         hierarchy, "/" for the root. Empty if nobody is charged.
 */
struct hugetlb_luo_owner_ser {
	u64 next;
	u32 magic;
	u32 csum;
	u32 nr;
	char path[HUGETLB_LUO_NR_CHARGES][HUGETLB_LUO_PATH_SIZE];
} __packed;

static_assert(sizeof(struct hugetlb_luo_count_ser) == 16);
static_assert(sizeof(struct hugetlb_luo_root_ser) == 32);
static_assert(sizeof(struct hugetlb_luo_error_ser) == 16);
static_assert(sizeof(struct hugetlb_luo_file_ser) == 112);
static_assert(sizeof(struct hugetlb_luo_run_ser) == 16);
static_assert(sizeof(struct hugetlb_luo_block_ser) == 20);
static_assert(sizeof(struct hugetlb_luo_owner_ser) == 4088);

#endif /* _LINUX_KHO_ABI_HUGETLB_H */
