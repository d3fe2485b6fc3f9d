/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_KCONFIG_H
#define _SIM_LINUX_KCONFIG_H

/*
 * The configuration that kernel/new is compiled with here: the options that
 * the code under test looks at, as a real build's autoconf.h would set them.
 */
#define CONFIG_64BIT 1
#define CONFIG_SMP 1
#define CONFIG_NUMA 1
#define CONFIG_HUGETLB_PAGE 1
#define CONFIG_HUGETLBFS 1
#define CONFIG_CGROUPS 1
#define CONFIG_CGROUP_HUGETLB 1
#define CONFIG_MEMCG 1
#define CONFIG_MEMFD_CREATE 1
#define CONFIG_KEXEC_HANDOVER 1
#define CONFIG_KEXEC_HANDOVER_DEBUG 1
#define CONFIG_LIVEUPDATE 1
#define CONFIG_LIVEUPDATE_HUGETLB 1
#define CONFIG_MIGRATION 1
#define CONFIG_MEMORY_FAILURE 1
#define CONFIG_CMA 1

/* IS_ENABLED() of an option that is 1 or not defined. */
#define __SIM_ARG_1 0,
#define __sim_take_second(ignored, val, ...) val
#define ___sim_is_defined(arg1_or_junk) __sim_take_second(arg1_or_junk 1, 0, 0)
#define __sim_is_defined(x) ___sim_is_defined(__SIM_ARG_##x)
#define __sim_is_defined_x(x) __sim_is_defined(x)
#define IS_ENABLED(option) __sim_is_defined_x(option)
#define IS_BUILTIN(option) IS_ENABLED(option)

#endif
