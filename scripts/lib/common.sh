#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What every script here shares: messages, progress on a terminal (silence in
# a pipe), Debian packages, the cache folder. Source it, do not run it:
#
#   . "$(dirname "$(readlink -f "$0")")/lib/common.sh"

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# The cache lies outside the checkout: it survives a fresh clone and is far
# too big for one.
HANDOVER_CACHE=${XDG_CACHE_HOME:-${HOME-~}/.cache}/handover

# die MESSAGE...: one line that names the mend, then exit 1.
die() {
  progress_end
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# bad_usage MESSAGE...: the same for words of the command line, then exit 2.
bad_usage() {
  printf '%s: %s; see --help\n' "${0##*/}" "$*" >&2
  exit 2
}

# need_folder FOLDER: makes it, or says that it cannot be written.
need_folder() {
  { mkdir -p "$1" && [ -d "$1" ] && [ -w "$1" ]; } 2>/dev/null ||
    die "cannot write the folder $1; builds go into the checkout, what they" \
      "share to \$XDG_CACHE_HOME/handover: XDG_CACHE_HOME=DIR moves that"
}

# progress TEXT...: what is being done now, on one line of a terminal that the
# next call overwrites. Says nothing in a pipe or a file.
progress() {
  [ -t 2 ] || return 0
  printf '\r\033[K  ... %s' "$*" >&2
}

progress_end() {
  [ -t 2 ] || return 0
  printf '\r\033[K' >&2
}

# run_logged TEXT LOG COMMAND...: runs COMMAND with its output in LOG, shows
# TEXT and the seconds gone by on a terminal. Returns COMMAND's status.
run_logged() {
  local text=$1 log=$2 ticker='' status=0
  shift 2
  if [ -t 2 ]; then
    (
      start=$SECONDS
      while :; do
        progress "$text ($((SECONDS - start)) s)"
        sleep 1
      done
    ) &
    ticker=$!
  fi
  "$@" >"$log" 2>&1 || status=$?
  if [ -n "$ticker" ]; then
    kill "$ticker" 2>/dev/null
    wait "$ticker" 2>/dev/null
    progress_end
  fi
  return "$status"
}

APT_LISTS_ARE_FRESH=

# refresh_apt_lists: apt-get update, once in a run of a script.
refresh_apt_lists() {
  [ -z "$APT_LISTS_ARE_FRESH" ] || return 0
  [ "$(id -u)" = 0 ] || return 1
  progress 'apt-get update'
  apt-get -qq -o DPkg::Lock::Timeout=300 update >/dev/null || return 1
  progress_end
  APT_LISTS_ARE_FRESH=1
}

# need_packages PACKAGE...: installs those that are missing. Touches neither
# apt nor the network when there are none.
need_packages() {
  local package missing=()
  for package; do
    case $(dpkg-query -W -f='${db:Status-Abbrev} ' "$package" 2>/dev/null) in
      *ii*) ;;
      *) missing+=("$package") ;;
    esac
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] ||
    die "Debian packages are missing and only root can install them:" \
      "apt-get install ${missing[*]}"
  refresh_apt_lists || die 'apt-get update failed; see its message above'
  need_folder "$HANDOVER_CACHE"
  run_logged "installing ${missing[*]}" "$HANDOVER_CACHE/apt-install.log" \
    env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
    -o DPkg::Lock::Timeout=300 install --no-install-recommends \
    "${missing[@]}" || {
    tail -n 20 "$HANDOVER_CACHE/apt-install.log" >&2
    die "apt-get install ${missing[*]} failed; its log stands above"
  }
}

# hash_of: the first 16 hex digits of standard input's SHA-256.
hash_of() {
  sha256sum | cut -c1-16
}
