/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_LIBFDT_H
#define _SIM_LINUX_LIBFDT_H

/* Debian's libfdt itself is linked in; this room has no code of its own. */

#endif
