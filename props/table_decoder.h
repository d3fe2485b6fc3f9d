// SPDX-License-Identifier: BSD-3-Clause
//
// The next kernel's decoder of the handover table by itself, more than ten
// thousand times a second in the fuzzer: kernel/new's own, in a booted kernel,
// on a table that is changed and put back. It runs what a boot runs: what looks
// at the root, what plans gigantic pages and looks for where they lie if nodes
// are others, and the import.
//
// A program that uses this is linked with --wrap for the functions that
// CMakeLists.txt names.
#ifndef HANDOVER_PROPS_TABLE_DECODER_H_
#define HANDOVER_PROPS_TABLE_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace handover::props {

// Changes the table as `data` says, lets the kernel decode it, and holds what
// the kernel says against what the table's rules ask for (model/
// handover_table.h). Returns what is wrong, or nothing.
//
// `data` is a byte of flags (1: checksums are made right in the end; 2, 4: what
// KHO says of the root is changed, too; 8: the kernel before knew only one
// node; 16: the command line asks for gigantic pages by node; the other three
// bits are for how many) and then edits of 12 bytes: kind, page, offset (16
// bits, little endian), value (64 bits). Every input is one.
std::string DecodeTable(const uint8_t* data, size_t size);

}  // namespace handover::props

#endif  // HANDOVER_PROPS_TABLE_DECODER_H_
