/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_FCNTL_H
#define _SIM_LINUX_FCNTL_H

#include <uapi/linux/fcntl.h>

#endif
