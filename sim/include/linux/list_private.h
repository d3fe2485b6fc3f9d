/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_LIST_PRIVATE_H
#define _SIM_LINUX_LIST_PRIVATE_H

#include <linux/list.h>

#endif
