// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/machine.h"

#include <sim/kernel_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "sim/machine/actors.h"
#include "sim/machine/crash.h"

namespace sim {
namespace {

Machine* current = nullptr;

// More than one may be of interest, thousands are not.
constexpr size_t kMaxViolations = 16;

// One multiplication: this runs several times for each step.
uint64_t Mix(uint64_t hash, uint64_t word) {
  hash = ((hash + 0x9e3779b97f4a7c15ULL) ^ word) * 0xd6e8feb86659fd93ULL;
  return hash ^ (hash >> 32);
}

const char* BaseName(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash ? slash + 1 : path;
}

std::string Where(const char* file, int line, const char* func,
                  const char* cond) {
  std::string where = cond;
  where += " in ";
  where += func;
  where += "() at ";
  // Not the whole path: it depends on where the program was built.
  where += BaseName(file);
  if (line > 0) {
    where += ':';
    where += std::to_string(line);
  }
  return where;
}

}  // namespace

Machine& M() {
  if (current == nullptr) {
    std::fprintf(stderr, "no simulated machine is current\n");
    std::abort();
  }
  return *current;
}

bool HaveMachine() { return current != nullptr; }

Machine::Machine(const Geometry& geometry, uint64_t seed)
    : geometry_(geometry),
      one_node_(geometry),
      memory_(geometry_),
      digest_(Mix(0, seed)) {
  one_node_.nodes = 1;
  for (NodeSpan& span : one_node_.spans) span.nid = 0;
  CatchCrashes();
  current = this;
  sim_direct_map = memory_.base();
  sim_phys_end = memory_.end_pfn() << PAGE_SHIFT;
  ResetActors();
  DigestAddText(geometry_.name);
  DigestAdd(static_cast<uint64_t>(geometry_.nodes));
}

Machine::~Machine() {
  if (current != this) return;
  ResetActors();
  current = nullptr;
  sim_direct_map = nullptr;
  sim_phys_end = 0;
}

void Machine::SetNuma(bool on) {
  numa_ = on;
  memory_.HideNodes(!on);
}

void Machine::DigestAdd(uint64_t word) { digest_ = Mix(digest_, word); }

void Machine::DigestAddText(std::string_view text) {
  DigestAdd(text.size());
  while (text.size() >= sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, text.data(), sizeof(word));
    DigestAdd(word);
    text.remove_prefix(sizeof(word));
  }
  if (!text.empty()) {
    uint64_t word = 0;
    std::memcpy(&word, text.data(), text.size());
    DigestAdd(word);
  }
}

void Machine::AddStep(int actor, const char* what) {
  DigestAddText(what);
  DigestAdd(static_cast<uint64_t>(actor + 1));
}

void Machine::Trace(std::string_view line) {
  DigestAddText(line);
  if (tracing_) trace_.emplace_back(line);
}

void Machine::Printk(std::string_view line) {
  log_.emplace_back(line);
  DigestAddText(line);
  if (tracing_) trace_.push_back("log: " + std::string(line));
}

void Machine::Report(std::string_view property, std::string what,
                     std::string_view detail) {
  DigestAddText(property);
  DigestAddText(what);
  what += detail;
  if (tracing_) {
    trace_.push_back("broken: " + std::string(property) + ": " + what);
  }
  if (violations_.size() == kMaxViolations) return;
  violations_.push_back({std::string(property), std::move(what)});
}

void Machine::set_fault_plans(const std::vector<FaultPlan>& plans) {
  plans_ = plans;
  fault_fired_ = false;
  shortage_ = false;
  calls_.fill(0);
}

int Machine::faults_left() const {
  int left = 0;
  for (const FaultPlan& plan : plans_) left += plan.nth != 0;
  return left;
}

void Machine::NoteLinuxWarning(std::string_view what) {
  ++linux_warnings_;
  Printk("<4>WARNING: " + std::string(what));
}

void Machine::NoteLinuxHang(std::string what) {
  Trace("goes on without end: " + what);
  linux_hang_ = std::move(what);
}

// With the numbers that a fault plan would have to have to hit this call.
void Machine::NoteCall(FailKind kind, const char* what) {
  static constexpr const char* kNames[] = {"any", "alloc", "kho", "other",
                                           "charge"};
  const auto k = static_cast<size_t>(kind);
  const uint64_t number = ++calls_[0];
  std::string line = "call " + std::to_string(number);
  if (kind != FailKind::kAny)
    line +=
        " (" + std::string(kNames[k]) + " " + std::to_string(++calls_[k]) + ")";
  Note(line + ": " + what);
}

bool Machine::Fails(FailKind kind, const char* what) {
  if (kind != FailKind::kRace) {
    ++fallible_calls_;
    if (tracing_) NoteCall(kind, what);
  }
  bool fails = false;
  for (FaultPlan& plan : plans_) {
    const bool any = plan.kind == FailKind::kAny && kind != FailKind::kRace;
    if (plan.nth == 0 || (!any && plan.kind != kind)) continue;
    fails |= --plan.nth == 0;
  }
  if (!fails) return false;
  fault_fired_ = true;
  ++failed_calls_;
  DigestAddText(what);
  if (tracing_) trace_.push_back("fault: " + std::string(what) + " fails");
  return true;
}

}  // namespace sim

extern "C" void sim_warn(const char* file, int line, const char* func,
                         const char* cond) {
  sim::M().Report("discipline", "WARN " + sim::Where(file, line, func, cond));
}

extern "C" void sim_bug(const char* file, int line, const char* func,
                        const char* cond) {
  sim::M().Report("discipline", "BUG " + sim::Where(file, line, func, cond));
  sim::StopHistory();
}
