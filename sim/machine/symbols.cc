// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <execinfo.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace sim {
namespace {

struct Function {
  uint64_t start;
  uint64_t bytes;
  std::string name;
};

// The functions of this program, by address. It is linked without -pie, so
// they are where the file says. dladdr() knows no static functions, and
// Abseil's symbolizer no offsets.
std::vector<Function> ReadFunctions() {
  std::vector<Function> functions;
  std::ifstream file("/proc/self/exe", std::ios::binary);
  std::ostringstream stream;
  stream << file.rdbuf();
  const std::string image = stream.str();
  Elf64_Ehdr header;
  if (image.size() < sizeof(header)) return functions;
  std::memcpy(&header, image.data(), sizeof(header));
  auto section = [&](size_t index, Elf64_Shdr* out) {
    const size_t at = header.e_shoff + index * sizeof(*out);
    if (index >= header.e_shnum || at + sizeof(*out) > image.size()) {
      return false;
    }
    std::memcpy(out, image.data() + at, sizeof(*out));
    return out->sh_offset + out->sh_size <= image.size();
  };
  for (size_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr symbols, names;
    if (!section(i, &symbols) || symbols.sh_type != SHT_SYMTAB) continue;
    if (!section(symbols.sh_link, &names)) continue;
    for (size_t at = 0; at + sizeof(Elf64_Sym) <= symbols.sh_size;
         at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, image.data() + symbols.sh_offset + at,
                  sizeof(symbol));
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_size == 0 ||
          symbol.st_name >= names.sh_size) {
        continue;
      }
      functions.push_back({symbol.st_value, symbol.st_size,
                           image.data() + names.sh_offset + symbol.st_name});
    }
  }
  std::stable_sort(
      functions.begin(), functions.end(),
      [](const Function& a, const Function& b) { return a.start < b.start; });
  return functions;
}

const Function* Find(uint64_t code) {
  static const auto* functions = new std::vector<Function>(ReadFunctions());
  auto after = std::upper_bound(
      functions->begin(), functions->end(), code,
      [](uint64_t at, const Function& f) { return at < f.start; });
  if (after == functions->begin()) return nullptr;
  --after;
  return code - after->start < after->bytes ? &*after : nullptr;
}

// Without arguments and without what every name here has.
std::string Readable(const std::string& name) {
  int status = 0;
  char* demangled =
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  if (demangled == nullptr) return name;
  std::string text = demangled;
  std::free(demangled);
  for (std::string_view noise : {std::string_view("(anonymous namespace)::"),
                                 std::string_view("sim::")}) {
    for (size_t at; (at = text.find(noise)) != std::string::npos;) {
      text.erase(at, noise.size());
    }
  }
  return text.substr(0, text.find('('));
}

std::string Hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx",
                static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

std::string PlaceOf(const void* code) {
  const auto at = reinterpret_cast<uintptr_t>(code);
  const Function* function = Find(at);
  if (function == nullptr) return Hex(at);
  return Readable(function->name) + "+" + Hex(at - function->start) + "/" +
         Hex(function->bytes);
}

const void* InterruptedAt(const void* context) {
#ifdef __x86_64__
  return reinterpret_cast<const void*>(
      static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#else
  static_cast<void>(context);
  return nullptr;
#endif
}

std::string WhereInterrupted(const void* context) {
  constexpr int kMostFrames = 40;
  constexpr int kMostTold = 5;
  const void* at = InterruptedAt(context);
  if (at == nullptr) return "an unknown place";
  std::string text =
      PlaceOf(at) + " (" + Hex(reinterpret_cast<uintptr_t>(at)) + ")";
  void* frames[kMostFrames];
  const int depth = backtrace(frames, kMostFrames);
  int i = 0;
  while (i < depth && frames[i] != at) ++i;
  int told = 0;
  for (++i; i < depth && told < kMostTold; ++i) {
    // A return address is behind the call, and may be behind the function.
    const void* call = static_cast<const char*>(frames[i]) - 1;
    const Function* function = Find(reinterpret_cast<uintptr_t>(call));
    if (function == nullptr) break;
    const std::string name = Readable(function->name);
    // From here on it is the host's way to start something.
    if (name == "ActorMain" || name.starts_with("std::")) break;
    text += (told++ == 0 ? ", called by " : ", ") + PlaceOf(frames[i]);
  }
  return text;
}

}  // namespace sim
