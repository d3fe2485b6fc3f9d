// SPDX-License-Identifier: BSD-3-Clause
//
// What a kernel command line asks of HugeTLB, KHO and LUO.
#ifndef HANDOVER_MODEL_COMMAND_LINE_H_
#define HANDOVER_MODEL_COMMAND_LINE_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/history.h"

namespace handover::model {

// The pages of one size that a command line asks for.
struct PageRequest {
  uint64_t page_size = 0;
  int64_t total = 0;
  bool named = false;  // by hugepagesz= or default_hugepagesz=
  // hugepages=0:A,1:B was given: `node` says how many on each, and `total` is
  // their sum. Otherwise they are spread evenly.
  bool per_node = false;
  std::array<int64_t, kMaxNodes> node{};
};

// The areas that hugetlb_cma= asks for, as far as they can be: in bytes.
struct CmaRequest {
  // hugetlb_cma=0:A,1:B: `node`. Otherwise `total`, as much on each node as all
  // of them but the last get, of which no more than is left.
  bool by_node = false;
  uint64_t total = 0;
  std::array<uint64_t, kMaxNodes> node{};
  uint64_t page_size = 0;  // the largest of all, which each is a multiple of
  bool only = false;       // hugetlb_cma_only=
  bool percent = false;    // how much that is is not known here
  // Without any gigantic size there are no areas, but the kernel goes on as if.
  bool in_vain = false;
};

struct BootRequest {
  std::vector<PageRequest> pages;  // one for each page size of the kernel
  bool kho = true;
  bool liveupdate = true;
  bool numa = true;  // else all memory is on node 0
  CmaRequest cma;
};

// Follows hugepages_setup(), hugepagesz_setup() and default_hugepagesz_setup()
// of mm/hugetlb.c, their quirks with wrong and repeated parameters included.
// `missing` are page sizes that this kernel or its CPU does not have. In a
// history kho=on and liveupdate=on hold unless the command line says otherwise.
// A kernel that lacks the default size has no huge pages at all
// (hugepages_supported()). `nodes` are the machine's. hugetlb_cma= is read as
// hugetlb_cma_reserve() does. What the kernel ignores,
// or does not know, is added to `ignored` with the reason, for people.
BootRequest ReadCommandLine(std::string_view command_line, Geometry geometry,
                            int nodes, const std::vector<uint64_t>& missing,
                            std::vector<std::string>* ignored = nullptr);

// The same of all kernels of a history, each with where it stands.
std::vector<std::string> IgnoredWords(const History& history);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_COMMAND_LINE_H_
