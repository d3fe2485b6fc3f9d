/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_KEXEC_HANDOVER_H
#define _SIM_LINUX_KEXEC_HANDOVER_H

#include <linux/err.h>
#include <linux/errno.h>
#include <linux/types.h>
#include <linux/mm.h>

struct kho_vmalloc;

struct kho_scratch {
	phys_addr_t addr;
	phys_addr_t size;
};

__sim_extern_begin
bool kho_is_enabled(void);
bool is_kho_boot(void);
int kho_preserve_folio(struct folio *folio);
void kho_unpreserve_folio(struct folio *folio);
int kho_preserve_pages(struct page *page, unsigned long nr_pages);
void kho_unpreserve_pages(struct page *page, unsigned long nr_pages);
int kho_preserve_vmalloc(void *ptr, struct kho_vmalloc *preservation);
void kho_unpreserve_vmalloc(struct kho_vmalloc *preservation);
void *kho_alloc_preserve(size_t size);
void kho_unpreserve_free(void *mem);
void kho_restore_free(void *mem);
struct folio *kho_restore_folio(phys_addr_t phys);
struct page *kho_restore_pages(phys_addr_t phys, unsigned long nr_pages);
void *kho_restore_vmalloc(const struct kho_vmalloc *preservation);
int kho_add_subtree(const char *name, void *blob, size_t size);
void kho_remove_subtree(void *blob);
int kho_retrieve_subtree(const char *name, phys_addr_t *phys, size_t *size);
void kho_memory_init(void);
void kho_memory_init_early(void);
void kho_populate(phys_addr_t fdt_phys, u64 fdt_len, phys_addr_t scratch_phys,
		  u64 scratch_len);
bool kho_scratch_overlap(phys_addr_t phys, size_t size);
/* HOOK(include/linux/kexec_handover.h, kho_folio_preserved): kho_folio_preserved */
bool kho_folio_preserved(phys_addr_t phys, unsigned int order);
extern struct kho_scratch *kho_scratch;
extern unsigned int kho_scratch_cnt;
__sim_extern_end

#endif
