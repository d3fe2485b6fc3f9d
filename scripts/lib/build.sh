#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Building the simulator, for the scripts that need it. Source it after
# common.sh.

# What the simulator is built from: Debian 12 packages, each for a reason
# (docs/dependencies.md).
SIM_PACKAGES=(g++ cmake ninja-build ccache python3 libabsl-dev libgtest-dev
  librapidcheck-dev libbenchmark-dev libfdt-dev graphviz)

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
  # A compiler launcher that keys by content: a fresh clone is warm, too.
  export CCACHE_BASEDIR=$REPO CCACHE_NOHASHDIR=1
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
    grep -A 12 -E 'FAILED|error' "$log" | head -n 60 >&2
    die "the build failed; its log: $log"
  }
}
