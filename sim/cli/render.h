// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_CLI_RENDER_H_
#define SIM_CLI_RENDER_H_

#include <string>

#include "absl/status/statusor.h"

namespace sim::cli {

// What Graphviz makes of a picture: "svg" or "png".
absl::StatusOr<std::string> Render(const std::string& dot_text,
                                   const std::string& format);

}  // namespace sim::cli

#endif  // SIM_CLI_RENDER_H_
