// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_FOLIO_H_
#define SIM_MM_FOLIO_H_

#include <sim/kernel_api.h>

namespace sim {

// The node's counter that lruvec_stat_mod_folio() keeps; never negative.
long NodeStat(int nid, enum node_stat_item idx);

}  // namespace sim

#endif  // SIM_MM_FOLIO_H_
