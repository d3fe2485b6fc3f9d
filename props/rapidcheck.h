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
#include <rapidcheck/detail/TestListenerAdapter.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <system_error>
#include <unordered_map>
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

// The histories that `make` gives for random seeds. They shrink by the edits of
// shrink.h.
inline rc::Gen<model::History> HistoriesBy(
    std::function<model::History(uint64_t seed)> make) {
  return [make = std::move(make)](const rc::Random& random, int /*size*/) {
    rc::Random source = random;
    return rc::shrinkable::shrinkRecur(
        make(source.next()), [](const model::History& history) {
          return rc::seq::map(
              rc::seq::fromContainer(Edits(history)),
              [history](const Edit& edit) { return Apply(history, edit); });
        });
  };
}

inline rc::Gen<model::History> Histories(const GeneratorOptions& options = {}) {
  return HistoriesBy(
      [options](uint64_t seed) { return Generate(seed, options); });
}

inline uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  return std::strtoull(text, nullptr, 10);
}

// The failure of the property that is being checked. RapidCheck runs nothing
// but simpler cases after the first one that failed, and goes on with the first
// of those that fails: the last one is the smallest.
struct Failure {
  std::string property;  // of docs/properties.md
  std::string what;
  model::History history;
  size_t commands_at_first = 0;
};

inline std::optional<Failure>& LastFailure() {
  static std::optional<Failure> failure;
  return failure;
}

// In a property: `history` broke it. Shrinking keeps to what broke first; a
// simpler history that breaks something else is none that fails.
inline void FailWith(const model::History& history, const std::string& property,
                     const std::string& what) {
  std::optional<Failure>& last = LastFailure();
  if (last && last->property != property) return;
  const size_t commands_at_first =
      last ? last->commands_at_first : history.commands.size();
  last = {property, what, history, commands_at_first};
  RC_FAIL(what);
}

// Where the smallest history goes; the next run of the property writes over it.
inline std::string FailureFile(std::string name) {
  std::replace_if(
      name.begin(), name.end(),
      [](unsigned char c) { return std::isalnum(c) == 0; }, '-');
  return HANDOVER_BINARY_DIR "/failures/" + name + ".min.history";
}

// As a user at the top of the source types it.
inline std::string FromTop(const std::string& path) {
  const std::string top = HANDOVER_SOURCE_DIR "/";
  return path.starts_with(top) ? path.substr(top.size()) : path;
}

inline std::string ReplayCommand(const std::string& file) {
  return FromTop(HANDOVER_BINARY_DIR "/handover") + " replay " + FromTop(file);
}

// "broke ...", with the history itself if that cannot be saved.
inline std::string Save(const std::string& name, const Failure& failure) {
  const std::string file = FailureFile(name);
  const std::string text = "# " + name + ": broke " + failure.property + "\n" +
                           model::Print(failure.history);
  std::error_code error;
  std::filesystem::create_directories(HANDOVER_BINARY_DIR "/failures", error);
  std::ofstream out(file);
  out << text;
  out.close();
  std::ostringstream message;
  message << "broke " << failure.property << "\n  " << failure.what
          << "\n  shrunk from " << failure.commands_at_first << " to "
          << failure.history.commands.size() << " commands";
  if (out.good()) {
    message << "\nreplay it: " << ReplayCommand(file);
  } else {
    message << "; cannot write " << file << ":\n" << text;
  }
  return message.str();
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
  LastFailure().reset();
  std::error_code error;
  std::filesystem::remove(FailureFile(name), error);
  // RapidCheck's own environment and advice have no part in this.
  rc::detail::TestListenerAdapter listener;
  const rc::detail::TestResult result = rc::detail::checkTestable(
      std::forward<Testable>(testable), metadata, params, listener,
      std::unordered_map<std::string, rc::detail::Reproduce>());
  if (result.template is<rc::detail::SuccessResult>()) return;
  if (LastFailure()) {
    ADD_FAILURE() << name << ": " << Save(name, *LastFailure());
    return;
  }
  std::ostringstream message;
  rc::detail::printResultMessage(result, message);
  ADD_FAILURE() << name << ": " << message.str();
}

}  // namespace handover::props

#endif  // HANDOVER_PROPS_RAPIDCHECK_H_
