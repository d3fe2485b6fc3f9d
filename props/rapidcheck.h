// SPDX-License-Identifier: BSD-3-Clause
//
// Histories for RapidCheck, and RapidCheck for GoogleTest: properties run with
// a fixed seed, so that a test that passed passes again. The environment says
// otherwise: HANDOVER_HISTORIES=N histories for each property, from
// HANDOVER_SEED=S on.
#ifndef HANDOVER_PROPS_RAPIDCHECK_H_
#define HANDOVER_PROPS_RAPIDCHECK_H_

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdint>
#include <cstdlib>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>

#include "model/history.h"
#include "props/generator.h"
#include "props/shrink.h"

namespace handover::model {

inline void showValue(const History& history, std::ostream& out) {
  out << '\n' << Print(history);
}

}  // namespace handover::model

namespace handover::props {

// Random histories that shrink by the edits of shrink.h.
inline rc::Gen<model::History> Histories(const GeneratorOptions& options = {}) {
  return [options](const rc::Random& random, int /*size*/) {
    rc::Random source = random;
    return rc::shrinkable::shrinkRecur(
        Generate(source.next(), options), [](const model::History& history) {
          return rc::seq::map(
              rc::seq::fromContainer(Edits(history)),
              [history](const Edit& edit) { return Apply(history, edit); });
        });
  };
}

inline uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  return std::strtoull(text, nullptr, 10);
}

// Checks a property, `histories` times unless the environment says otherwise.
template <typename Testable>
void CheckProperty(const std::string& name, int histories,
                   Testable&& testable) {
  rc::detail::TestMetadata metadata;
  metadata.id = metadata.description = name;
  rc::detail::TestParams params;
  params.seed = FromEnvironment("HANDOVER_SEED", 1);
  params.maxSuccess = static_cast<int>(
      FromEnvironment("HANDOVER_HISTORIES", static_cast<uint64_t>(histories)));
  const rc::detail::TestResult result = rc::detail::checkTestable(
      std::forward<Testable>(testable), metadata, params);
  if (result.template is<rc::detail::SuccessResult>()) return;
  std::ostringstream message;
  rc::detail::printResultMessage(result, message);
  ADD_FAILURE() << name << ": " << message.str();
}

}  // namespace handover::props

#endif  // HANDOVER_PROPS_RAPIDCHECK_H_
