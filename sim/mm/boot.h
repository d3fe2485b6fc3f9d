// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_BOOT_H_
#define SIM_MM_BOOT_H_

// The steps of a simulated boot, each implemented where its subject lives and
// called in the order of Linux 7.3 by sim/liveupdate/boot.cc.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sim {

// What distinguishes one kernel image and its boot from another.
struct KernelConfig {
  std::string cmdline = "kho=on liveupdate=on";
  bool has_luo_hugetlb = true;          // CONFIG_LIVEUPDATE_HUGETLB
  std::vector<uint64_t> missing_sizes;  // huge page sizes this CPU/kernel lacks
};

// The running kernel's configuration; valid from the start of its boot.
const KernelConfig& Config();
// Value of the nth "key=" on the command line; false if there are fewer.
bool CmdlineParam(std::string_view key, int nth, std::string* value);

// --- sim/mm (page allocators)
void MmReset();         // static data of a fresh kernel: nothing known
void MemblockAddRam();  // setup_arch(): RAM from the firmware's map
void FreeAreaInit();    // free_area_init(): nodes, zones, zonelists
void MemmapInit();      // sparse_init(), memmap_init(): struct pages;
                        // scratch pageblocks are CMA (memmap_init_range)
void MmCoreInit();      // memblock_free_all(), slab, vmalloc are up
void DeferredInit();    // deferred_init_memmap(): all other struct pages

// --- sim/mm (hugetlb)
void HugetlbReset();
void HugetlbCmaReserve();    // hugetlb_cma_reserve(): the areas of hugetlb_cma=
void HugetlbBootmemAlloc();  // hugetlb_bootmem_alloc(): params, gigantic pages
void HugetlbStructPageInit();  // hugetlb_bootmem_struct_page_init()
void CmaInitReservedAreas();   // core_initcall: areas can be allocated from
void HugetlbArchInit();        // arch_initcall: gigantic hstate of x86
void HugetlbInit();            // subsys_initcall hugetlb_init()
void HugetlbfsInit();          // fs_initcall init_hugetlbfs_fs(), shmem_init()

// --- sim/liveupdate
void KhoReset();
void LuoReset();
void KhoInit();       // fs_initcall kho_init()
void LuoEarlyInit();  // early_initcall liveupdate_early_init()
void LuoLateInit();   // late_initcalls of LUO; shmem's file handler

}  // namespace sim

#endif  // SIM_MM_BOOT_H_
