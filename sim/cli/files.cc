// SPDX-License-Identifier: BSD-3-Clause
#include "sim/cli/files.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "model/command_line.h"

namespace sim::cli {
namespace {

namespace fs = std::filesystem;

absl::Status FileError(const std::string& path) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", std::strerror(errno)));
}

std::string FolderOf(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

absl::Status CanMakeFilesIn(const std::string& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error))
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " is not a folder: name another one"));
  if (access(folder.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("no file can be made in the folder ", folder, ": ",
                   std::strerror(errno), ": name another one"));
}

absl::Status WriteTo(const std::string& path, std::string_view content) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return FileError(path);
  const bool written =
      std::fwrite(content.data(), 1, content.size(), file) == content.size();
  // A full disk may show only now.
  if (std::fclose(file) != 0 || !written) return FileError(path);
  return absl::OkStatus();
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

void WarnOfIgnoredWords(const ::handover::model::History& history) {
  for (const std::string& word : ::handover::model::IgnoredWords(history))
    std::fprintf(stderr, "warning: command line of %s\n", word.c_str());
}

absl::Status MayWrite(const std::string& path, bool force) {
  std::error_code error;
  const fs::file_status there = fs::status(path, error);
  if (fs::is_directory(there))
    return absl::InvalidArgumentError(absl::StrCat(path, " is a folder"));
  if (fs::is_regular_file(there)) {
    if (!force)
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is there already: name another file, or give ",
                       "--force to write over it"));
    if (access(path.c_str(), W_OK) != 0) return FileError(path);
    return CanMakeFilesIn(FolderOf(fs::canonical(path, error).string()));
  }
  if (fs::exists(there)) {
    // A terminal, a pipe, /dev/null.
    return access(path.c_str(), W_OK) == 0 ? absl::OkStatus() : FileError(path);
  }
  const std::string folder = FolderOf(path);
  if (!fs::exists(folder, error))
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": there is no folder ", folder, ": make it first (mkdir -p ",
        ShellWord(folder), "), or name a file elsewhere"));
  return CanMakeFilesIn(folder);
}

absl::Status WriteFile(const std::string& path, std::string_view content,
                       bool force) {
  absl::Status status = MayWrite(path, force);
  if (!status.ok()) return status;
  std::error_code error;
  const bool there = fs::exists(path, error);
  if (there && !fs::is_regular_file(path, error)) return WriteTo(path, content);
  // Under another name first: a disk that is full costs nobody the old file.
  const std::string whole = there ? fs::canonical(path, error).string() : path;
  const std::string part = absl::StrCat(whole, ".part-", getpid());
  status = WriteTo(part, content);
  if (status.ok() && std::rename(part.c_str(), whole.c_str()) != 0)
    status = FileError(path);
  if (!status.ok()) std::remove(part.c_str());
  return status;
}

absl::StatusOr<bool> MakeFolder(const std::string& path) {
  std::error_code error;
  const bool made = fs::create_directories(path, error);
  if (error && !fs::exists(path))
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the folder cannot be made: ", error.message()));
  absl::Status status = CanMakeFilesIn(path);
  if (!status.ok()) return status;
  return made;
}

std::string ShellWord(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
      "_-+=:,./@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos)
    return word;
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

std::string FileWord(const std::string& path) {
  return ShellWord(absl::StrCat(path[0] == '-' ? "./" : "", path));
}

}  // namespace sim::cli
