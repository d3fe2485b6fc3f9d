// SPDX-License-Identifier: BSD-3-Clause
#include "sim/cli/files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace sim::cli {
namespace {

absl::Status FileError(const std::string& path) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const bool standard = path == "-";
  std::FILE* file = standard ? stdin : std::fopen(path.c_str(), "rb");
  if (file == nullptr) return FileError(path);
  std::string content;
  char buffer[65536];
  while (size_t got = std::fread(buffer, 1, sizeof(buffer), file))
    content.append(buffer, got);
  const bool failed = std::ferror(file) != 0;
  absl::Status status = failed ? FileError(path) : absl::OkStatus();
  if (!standard) std::fclose(file);
  if (!status.ok()) return status;
  return content;
}

absl::StatusOr<::handover::model::History> ReadHistory(
    const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<::handover::model::History> history =
      ::handover::model::ParseHistory(*text);
  if (!history.ok())
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", history.status().message()));
  return history;
}

absl::Status MayWrite(const std::string& path, bool force) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return absl::InvalidArgumentError(absl::StrCat(path, " is a folder"));
  if (!force && std::filesystem::exists(path, error))
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is there already: name another file, or give ",
                     "--force to write over it"));
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, std::string_view content,
                       bool force) {
  absl::Status status = MayWrite(path, force);
  if (!status.ok()) return status;
  std::error_code error;
  const std::filesystem::path folder =
      std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return FileError(path);
  const bool written =
      std::fwrite(content.data(), 1, content.size(), file) == content.size();
  // A full disk may show only now.
  if (std::fclose(file) != 0 || !written) return FileError(path);
  return absl::OkStatus();
}

}  // namespace sim::cli
