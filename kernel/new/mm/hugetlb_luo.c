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

#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/hugetlb.h>
#include <linux/hugetlb_luo.h>
#include <linux/init.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/hugetlb.h>
#include <linux/liveupdate.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/xarray.h>

#include "hugetlb_luo_internal.h"

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
		hugetlb_luo_start_errors(hugetlb_luo_error_list(root));
		hugetlb_luo_out.root = root;
	}

	err = liveupdate_register_file_handler(&hugetlb_luo_handler);
	if (err)
		pr_err("could not register: %pe\n", ERR_PTR(err));

	return err;
}
late_initcall(hugetlb_luo_init);
