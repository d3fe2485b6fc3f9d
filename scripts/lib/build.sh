#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Building the simulator, for the scripts that need it. Source it after
# common.sh.

# What the simulator is built from: Debian 12 packages, each for a reason
# (docs/dependencies.md).
SIM_PACKAGES=(g++ cmake ninja-build ccache python3 libabsl-dev libgtest-dev
  librapidcheck-dev libbenchmark-dev libfdt-dev graphviz git)

# build_sim FOLDER [-DOPTION=VALUE...] [-- TARGET...]: configures FOLDER below
# the top (or an absolute one) and builds it. Shows what failed.
build_sim() {
  local folder=$1 options=() targets=() log
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  [ $# -gt 0 ] && shift
  targets=("$@")
  case $folder in /*) ;; *) folder=$REPO/$folder ;; esac
  need_folder "$folder"
  need_folder "$HANDOVER_CACHE/ccache"
  need_packages "${SIM_PACKAGES[@]}"
  log=$folder/build.log
  export CCACHE_DIR=$HANDOVER_CACHE/ccache
  # A compiler launcher that keys by content: a fresh clone is warm, too. And what
  # is not there yet is not preprocessed twice.
  export CCACHE_BASEDIR=$REPO CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1
  if [ ! -f "$folder/build.ninja" ]; then
    run_logged "configuring ${folder##*/}" "$log" cmake -G Ninja -S "$REPO" \
      -B "$folder" -DCMAKE_C_COMPILER_LAUNCHER=ccache \
      -DCMAKE_CXX_COMPILER_LAUNCHER=ccache "${options[@]}" || {
      tail -n 40 "$log" >&2
      die "cmake failed; its log: $log"
    }
  fi
  run_logged "building ${folder##*/}" "$log" ninja -C "$folder" \
    "${targets[@]}" || {
    show_build_errors "$log" >&2
    die "the build failed; its log: $log$(stale_command "$folder")"
  }
}

# show_build_errors LOG: the first errors of a build. A function that the
# simulator lacks is told in one line, not once for each program it was to be
# linked into.
show_build_errors() {
  local missing
  missing=$(sed -n '/kernel_new_collected\.o\|kernel\/new\/\|(knew_text/s/.*undefined reference to [`'"'"']\([^`'"'"']*\)'"'"'.*/\1/p' "$1" |
    sort -u)
  if [ -n "$missing" ]; then
    printf "kernel/new calls %s, which sim/ does not have: docs/adding.md, 'A hook', tells how to add it\n" $missing
    return
  fi
  grep -A 12 -E 'FAILED|error' "$1" | head -n 60
}

# stale_command FOLDER: a word of warning if the command of an earlier build is
# still there and does not have what is in the sources.
stale_command() {
  [ -e "$1/handover" ] || return 0
  ! ninja -C "$1" -n handover 2>/dev/null | grep -q 'no work to do' || return 0
  printf '%s' "; ${1##*/}/handover is older than the sources"
}
