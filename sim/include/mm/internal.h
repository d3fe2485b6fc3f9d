/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_MM_INTERNAL_H
#define _SIM_MM_INTERNAL_H

#include <linux/mm.h>
#include <linux/pagemap.h>

#endif
