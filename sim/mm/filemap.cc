// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/filemap.h"

#include "sim/machine/actors.h"

namespace sim {

unsigned MappingOrder(const struct address_space* mapping) {
  const struct super_block* sb = mapping->host->i_sb;
  return sb->s_fs_info ? huge_page_order(hstate_inode(mapping->host)) : 0;
}

namespace {

// The end of filemap_get_entry() and find_get_entry(): takes a reference unless
// the folio goes, or has gone, from there; then the caller looks again.
bool Got(struct address_space* mapping, pgoff_t index, struct folio* folio) {
  if (!folio_try_get(folio)) return false;
  if (xa_load(&mapping->i_pages, index) == folio) return true;
  folio_put(folio);
  return false;
}

}  // namespace
}  // namespace sim

using sim::Got;

extern "C" {

// Follows filemap_get_folio(): takes a reference. The entry of a huge page
// stands at its first index only.
struct folio* filemap_get_folio(struct address_space* mapping, pgoff_t index) {
  index &= ~((1UL << sim::MappingOrder(mapping)) - 1);
  for (;;) {
    auto* folio = static_cast<struct folio*>(xa_load(&mapping->i_pages, index));
    if (!folio) return static_cast<struct folio*>(ERR_PTR(-ENOENT));
    if (Got(mapping, index, folio)) return folio;
  }
}

// Follows filemap_lock_folio(): looks again when the page went while it
// waited for the lock.
struct folio* filemap_lock_folio(struct address_space* mapping, pgoff_t index) {
  for (;;) {
    struct folio* folio = filemap_get_folio(mapping, index);
    if (IS_ERR(folio)) return folio;
    folio_lock(folio);
    if (folio->mapping == mapping) return folio;
    folio_unlock(folio);
    folio_put(folio);
  }
}

// Follows filemap_get_folios(): a batch of the folios that have pages in
// [*start, end], each with a reference; *start moves behind the last.
unsigned int filemap_get_folios(struct address_space* mapping, pgoff_t* start,
                                pgoff_t end, struct folio_batch* fbatch) {
  const unsigned order = sim::MappingOrder(mapping);
  unsigned long index = *start & ~((1UL << order) - 1);
  if (*start > end) return 0;
  void* entry = xa_find(&mapping->i_pages, &index, end, XA_PRESENT);
  while (entry) {
    auto* folio = static_cast<struct folio*>(entry);
    if (!Got(mapping, index, folio)) {
      entry = xa_find(&mapping->i_pages, &index, end, XA_PRESENT);
      continue;
    }
    fbatch->folios[fbatch->nr++] = folio;
    if (fbatch->nr == FOLIO_BATCH_SIZE) {
      *start = folio->index + folio_nr_pages(folio);
      return fbatch->nr;
    }
    entry = xa_find_after(&mapping->i_pages, &index, end, XA_PRESENT);
  }
  *start = end == ~0UL ? ~0UL : end + 1;
  return fbatch->nr;
}

// Follows __filemap_add_folio(): one reference for each page of the folio.
// Node statistics, shadow entries and swap are left out.
int __filemap_add_folio(struct address_space* mapping, struct folio* folio,
                        pgoff_t index, gfp_t gfp, void** shadowp) {
  const long nr = folio_nr_pages(folio);
  VM_BUG_ON_FOLIO(!folio_test_locked(folio), folio);
  VM_BUG_ON_FOLIO(folio_order(folio) != sim::MappingOrder(mapping), folio);
  VM_BUG_ON_FOLIO(index & (nr - 1), folio);
  // All who call it can sleep, and memory is to be waited for.
  VM_BUG_ON_FOLIO(!(gfp & __GFP_DIRECT_RECLAIM), folio);

  folio->_refcount.counter += nr;
  folio->mapping = mapping;
  folio->index = index;
  int err = xa_insert(&mapping->i_pages, index, folio, gfp);
  if (err) {
    // xa_insert() and the page cache differ in the name for "is there".
    if (err == -EBUSY) err = -EEXIST;
    folio->mapping = nullptr;
    folio_put_refs(folio, static_cast<int>(nr));
    return err;
  }
  mapping->nrpages += nr;
  if (shadowp) *shadowp = nullptr;
  return 0;
}

// Follows filemap_remove_folio(), __filemap_remove_folio() and
// filemap_free_folio().
void filemap_remove_folio(struct folio* folio) {
  struct address_space* mapping = folio->mapping;
  const long nr = folio_nr_pages(folio);
  BUG_ON(!folio_test_locked(folio));
  VM_BUG_ON_FOLIO(folio_mapped(folio), folio);
  spin_lock(&mapping->host->i_lock);
  WARN_ON(xa_erase(&mapping->i_pages, folio->index) != folio);
  folio->mapping = nullptr;
  mapping->nrpages -= nr;
  spin_unlock(&mapping->host->i_lock);
  folio_put_refs(folio, static_cast<int>(nr));
}

}  // extern "C"
