/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MMDEBUG_H
#define _SIM_LINUX_MMDEBUG_H

#include <linux/bug.h>

/* CONFIG_DEBUG_VM is on here. */
#define VM_BUG_ON(cond) BUG_ON(cond)
#define VM_BUG_ON_FOLIO(cond, folio) BUG_ON(cond)
#define VM_BUG_ON_PAGE(cond, page) BUG_ON(cond)
#define VM_WARN_ON(cond) WARN_ON(cond)
#define VM_WARN_ON_ONCE(cond) WARN_ON(cond)
#define VM_WARN_ON_ONCE_FOLIO(cond, folio) WARN_ON(cond)
#define VM_WARN_ON_FOLIO(cond, folio) WARN_ON(cond)

#endif
