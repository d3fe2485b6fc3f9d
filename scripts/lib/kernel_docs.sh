#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The kernel's documentation as HTML, as far as the series has to do with it.
# Source it after kernel_build.sh.

# need_sphinx: fails, and says why, where Sphinx can neither be found nor
# installed.
need_sphinx() {
  sphinx-build --version && python3 -c 'import yaml' && return 0
  (need_packages python3-sphinx python3-yaml)
} 2>&1

# run_docs: prints what Sphinx says of the pages of the work tree and not of the
# pristine ones; without warnings, a last line that says what was done.
run_docs() {
  local known status
  # What the pages are compared with is the same for all work trees.
  known=$HANDOVER_CACHE/docs/$({
    sphinx-build --version
    cat "$KERNEL_WORK/stamp" "$LIB/kernel_docs.py" "$LIB/new_warnings.py"
  } | hash_of)
  mkdir -p "$known/passed"
  find "$known/passed" -type f -mtime +60 -delete
  exec 7>"$known/lock"
  flock 7
  python3 "$LIB/kernel_docs.py" --pristine "$KERNEL_TREE" \
    --tree "$KERNEL_WORK/src" --out "$KERNEL_WORK/docs" --known "$known" \
    "${TOUCHED[@]}"
  status=$?
  exec 7>&-
  return $status
}

# The names of the checks that could not be made.
SKIPPED=''

# check_docs: the check's line.
check_docs() {
  local log=$KERNEL_WORK/docs.log status=0 note
  need_sphinx >"$log" || {
    progress_end
    SKIPPED="$SKIPPED docs"
    printf 'SKIP %-10s  %s\n' docs \
      "no Sphinx ($(tail -n 1 "$log")); kernel-doc alone looked at comments"
    return 0
  }
  run_logged 'building the documentation' "$log" run_docs || status=1
  note=$(tail -n 1 "$log")
  [ $status = 0 ] || note='Sphinx and kernel-doc on the pages of the series'
  result docs $status "$log" "$note"
}
