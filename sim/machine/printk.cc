// SPDX-License-Identifier: BSD-3-Clause
#include <sim/kernel_api.h>

#include <cctype>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "sim/machine/machine.h"

namespace sim {
namespace {

// Names of the numbers in errno.h.
std::string ErrorName(long error) {
  switch (error) {
#define NAME(e) \
  case e:       \
    return #e
    NAME(EPERM);
    NAME(ENOENT);
    NAME(EINTR);
    NAME(EIO);
    NAME(ENXIO);
    NAME(E2BIG);
    NAME(EBADF);
    NAME(EAGAIN);
    NAME(ENOMEM);
    NAME(EACCES);
    NAME(EFAULT);
    NAME(EBUSY);
    NAME(EEXIST);
    NAME(EXDEV);
    NAME(ENODEV);
    NAME(EINVAL);
    NAME(ENFILE);
    NAME(EMFILE);
    NAME(ENOTTY);
    NAME(EFBIG);
    NAME(ENOSPC);
    NAME(ESPIPE);
    NAME(EROFS);
    NAME(EDOM);
    NAME(ERANGE);
    NAME(EDEADLK);
    NAME(ENAMETOOLONG);
    NAME(ENOSYS);
    NAME(ENODATA);
    NAME(EPROTO);
    NAME(EBADMSG);
    NAME(EOVERFLOW);
    NAME(EUCLEAN);
    NAME(EILSEQ);
    NAME(EMSGSIZE);
    NAME(EOPNOTSUPP);
    NAME(ETIMEDOUT);
    NAME(ESTALE);
    NAME(ECANCELED);
    NAME(EOWNERDEAD);
    NAME(EHWPOISON);
    NAME(EDQUOT);
#undef NAME
    case 512:
      return "ERESTARTSYS";
    case 517:
      return "EPROBE_DEFER";
    case 524:
      return "ENOTSUPP";
    default:
      return std::to_string(error);
  }
}

std::string Hex(uint64_t value, int digits) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%0*llx", digits,
                static_cast<unsigned long long>(value));
  return text;
}

// The letters behind %p. No address of the host may show: what the kernel
// prints as a hashed pointer is one fixed word here.
std::string Pointer(std::string_view letters, const void* p) {
  if (letters.starts_with('e') && IS_ERR(p)) {
    return std::string(1, '-').append(ErrorName(-PTR_ERR(p)));
  }
  if (letters.starts_with('a')) {
    return Hex(*static_cast<const phys_addr_t*>(p), 16);
  }
  if (letters.starts_with('S') || letters.starts_with('s')) return "(symbol)";
  return p == nullptr ? "(null)" : "(____ptrval____)";
}

// Lets the host's printf do what it does the same way as the kernel's.
template <typename... Args>
void Put(std::string* out, const std::string& spec, Args... args) {
  char text[256];
  const int n = std::snprintf(text, sizeof(text), spec.c_str(), args...);
  if (n < static_cast<int>(sizeof(text))) {
    *out += text;
    return;
  }
  std::string longer(static_cast<size_t>(n) + 1, '\0');
  std::snprintf(longer.data(), longer.size(), spec.c_str(), args...);
  longer.pop_back();
  *out += longer;
}

std::string Pad(std::string text, int width, bool left) {
  const size_t want = width < 0 ? 0 : static_cast<size_t>(width);
  if (text.size() < want) {
    text.insert(left ? text.size() : 0, want - text.size(), ' ');
  }
  return text;
}

// Follows vsnprintf() of lib/vsprintf.c: integers with flags, width and
// precision, %c, %s, %p with %pe, %pa and %pS. Left out: the other letters
// behind %p, which print a fixed word; %n and floating point, which no kernel
// has.
std::string Format(const char* fmt, va_list args) {
  std::string out;
  while (*fmt != '\0') {
    const char* percent = fmt;
    while (*percent != '\0' && *percent != '%') ++percent;
    out.append(fmt, percent);
    fmt = percent;
    if (*fmt == '\0') break;

    std::string spec = "%";
    bool left = false;
    for (++fmt; *fmt != '\0' && std::strchr("-+ #0", *fmt) != nullptr; ++fmt) {
      spec += *fmt;
      left |= *fmt == '-';
    }
    int width = -1;
    int precision = -1;
    auto number = [&] {
      if (*fmt == '*') {
        ++fmt;
        return va_arg(args, int);
      }
      int n = 0;
      while (std::isdigit(static_cast<unsigned char>(*fmt))) {
        n = n * 10 + (*fmt++ - '0');
      }
      return n;
    };
    if (*fmt == '*' || std::isdigit(static_cast<unsigned char>(*fmt))) {
      width = number();
      if (width < 0) {
        left = true;
        width = -width;
        spec += '-';
      }
      spec += std::to_string(width);
    }
    if (*fmt == '.') {
      ++fmt;
      precision = number();
      if (precision >= 0) spec.append(1, '.').append(std::to_string(precision));
    }
    std::string length;
    while (*fmt == 'l' || *fmt == 'h' || *fmt == 'z' || *fmt == 't') {
      length += *fmt++;
    }
    const char conv = *fmt;
    if (conv != '\0') ++fmt;
    switch (conv) {
      case '%':
        out += '%';
        break;
      case 'c':
        Put(&out, spec + conv, va_arg(args, int));
        break;
      case 's': {
        const char* s = va_arg(args, const char*);
        Put(&out, spec + conv, s == nullptr ? "(null)" : s);
        break;
      }
      case 'p': {
        const void* p = va_arg(args, const void*);
        const char* start = fmt;
        while (std::isalnum(static_cast<unsigned char>(*fmt))) ++fmt;
        out += Pad(Pointer({start, static_cast<size_t>(fmt - start)}, p), width,
                   left);
        break;
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        spec += length;
        spec += conv;
        // Signedness does not matter to the host's printf, size does.
        if (length == "l" || length == "z" || length == "t") {
          Put(&out, spec, va_arg(args, unsigned long));
        } else if (length == "ll") {
          Put(&out, spec, va_arg(args, unsigned long long));
        } else {
          Put(&out, spec, va_arg(args, unsigned int));
        }
        break;
      default:
        // As the kernel: the rest cannot be trusted.
        sim_warn("printk.cc", 0, "printk", "unknown format");
        return out;
    }
  }
  return out;
}

}  // namespace
}  // namespace sim

// Follows vprintk_emit(): one record per call, without its line feed. Left
// out: continued lines, rate limits, time stamps.
extern "C" int _printk(const char* fmt, ...) {
  va_list args;
  va_start(args, fmt);
  std::string line = sim::Format(fmt, args);
  va_end(args);
  const int length = static_cast<int>(line.size());
  if (line.ends_with('\n')) line.pop_back();
  if (!line.starts_with('<')) line.insert(0, "<4>");
  sim::M().Printk(line);
  return length;
}
