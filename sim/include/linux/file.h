/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_FILE_H
#define _SIM_LINUX_FILE_H

#include <linux/fs.h>

#endif
