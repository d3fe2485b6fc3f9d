#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Whole kernels with the series in them, to be booted. Source it after kernel.sh
# and kernel_build.sh.

KERNEL_CONFIG=$REPO/kernel/config
# What goes on top of Linux; another folder holds a series with a defect.
KERNEL_DIR=$REPO/kernel

# fragments_of CONFIG: the fragments of that configuration, in order.
fragments_of() {
  case $1 in
    lean) printf '%s\n' lean.config hugetlb-on.config ;;
    checking) printf '%s\n' lean.config checking.config hugetlb-on.config ;;
    cost) printf '%s\n' lean.config cost.config hugetlb-on.config ;;
    arm64) printf '%s\n' lean.config arm64.config hugetlb-on.config ;;
    # The next kernel of a test, which lacks the option.
    lean-off) printf '%s\n' lean.config hugetlb-off.config ;;
    arm64-off) printf '%s\n' lean.config arm64.config hugetlb-off.config ;;
    # One that has it, with another version of the table.
    *-other) fragments_of "${1%-other}" ;;
    *) return 1 ;;
  esac
}

# image_key CONFIG: names all that goes into an image. The selftests and the
# documentation do not.
image_key() {
  local cross
  cross=$(cross_of "$1")
  {
    echo "$KERNEL_KEY" "$1" "$CCACHED"
    "${cross}gcc" --version
    "${cross}ld" --version
    fragments_of "$1" | (cd "$KERNEL_CONFIG" && xargs cat)
    cd "$KERNEL_DIR" && sources_of "$1" | xargs -0 sha256sum
  } | hash_of
}

# sources_of CONFIG: the files of kernel/ that such an image is made from, each
# ended by a zero byte. Without the option kernel/new/mm is not compiled.
sources_of() {
  local without=()
  [[ $1 != *-off ]] || without=(! -path 'new/mm/*')
  {
    find new -type f ! -path 'new/tools/*' ! -path 'new/Documentation/*' \
      "${without[@]}" -print0
    grep -lZP '^\+\+\+ b/(?!tools/|Documentation/)' hooks/*.patch
  } | sort -z
}

# built_image CONFIG: the image that can be booted, in the build folder.
built_image() {
  case $(arch_of "$1") in
    arm64) echo arch/arm64/boot/Image ;;
    *) echo arch/x86/boot/bzImage ;;
  esac
}

# make_other_version: sets KERNEL_DIR to a copy of it with another version of the
# table, in scratch.
make_other_version() {
  local header=new/include/linux/kho/abi/hugetlb.h other=$scratch/other
  rm -rf "$other"
  cp -a "$KERNEL_DIR" "$other" &&
    python3 "$REPO/scripts/lib/other_version.py" header \
      "$KERNEL_DIR/$header" "$other/$header" ||
    die 'there is no other version; see above'
  KERNEL_DIR=$other
}

# build_image CONFIG: sets IMAGE, a folder with the kernel, gen_init_cpio, the
# headers for userspace in include/, and in symbols what each object defines and
# needs (symbols_of), for scripts/series. What was built once stays in the cache.
# With somebody's own tree (KERNEL_SRC), make decides what is new.
build_image() {
  local config=$1 images=$HANDOVER_CACHE/images log KERNEL_DIR=$KERNEL_DIR
  [[ $config != *-other ]] || make_other_version
  need_packages $(cross_packages "$config")
  IMAGE=$images/$(image_key "$config")
  # One that an older version of this script made has no symbols.
  if [ -e "$IMAGE/symbols" ] && [ -z "${KERNEL_SRC:-}" ]; then
    touch "$IMAGE"
    return 0
  fi
  need_packages $(build_packages "$config")
  mkdir -p "$HANDOVER_CACHE/kernel-test" "$images"
  exec 9>"$HANDOVER_CACHE/kernel-test/$KERNEL_KEY.lock"
  flock -n 9 || {
    progress 'another kernel is being built; waiting for it'
    flock 9
  }
  # It may have been this one, which is in use then.
  if [ -e "$IMAGE/symbols" ] && [ -z "${KERNEL_SRC:-}" ]; then
    exec 9>&-
    return 0
  fi
  make_work_tree kernel-test
  log=$KERNEL_WORK/build-$config.log
  run_logged "building the $config kernel" "$log" make_image "$config" || {
    tail -n 40 "$log" >&2
    die "the $config kernel does not build; the whole log: $log"
  }
  exec 9>&-
}

make_image() (
  fragments=()
  for name in $(fragments_of "$1"); do
    fragments+=("$KERNEL_CONFIG/$name")
  done
  KERNEL_PLAIN=1
  write_ccached
  build=$KERNEL_WORK/build-$1
  base=${1%-off}
  base=$KERNEL_WORK/build-${base%-other}
  # All but what depends on one option is built there already.
  if [ ! -e "$build" ] && [ -e "$base/vmlinux" ]; then
    rm -rf "$build.partial"
    cp -a "$base" "$build.partial" && rm "$build.partial/kcheck/config" || exit 1
    # objtool's have the folder in them. It, and all that it looks at, would be
    # built again.
    find "$build.partial" -path '*/tools/*' -name '.*.cmd' -print0 |
      xargs -0r sed -i "s#$base/#$build/#g" &&
      mv "$build.partial" "$build" || exit 1
  fi
  lay_kernel "$KERNEL_DIR" &&
    configure_kernel "$1" "$KERNEL_WORK/src" "${fragments[@]}" &&
    kernel_make "$1" "$KERNEL_WORK/src" "$(basename "$(built_image "$1")")" &&
    kernel_make "$1" "$KERNEL_WORK/src" headers || exit 1
  # Complete, or not there at all.
  rm -rf "$IMAGE" "$IMAGE.partial"
  mkdir -p "$IMAGE.partial"
  cp "$build/$(built_image "$1")" "$IMAGE.partial/kernel" &&
    cp "$build/usr/gen_init_cpio" "$build/System.map" "$build/.config" \
      "$IMAGE.partial" &&
    (
      set -o pipefail
      # The members of lib.a are linked where something needs them.
      cd "$build" && { "$(cross_of "$1")ar" t vmlinux.a &&
        find arch lib -name lib.a; } | symbols_of "$1" \
        >"$IMAGE.partial/symbols"
    ) &&
    cp -a "$build/usr/include" "$IMAGE.partial/include" &&
    mv "$IMAGE.partial" "$IMAGE" || exit 1
  # Each takes 20 MB; a bisection wants a few.
  find "$(dirname "$IMAGE")" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' |
    sort -rn | tail -n +17 | cut -d' ' -f2- | xargs -r rm -rf
)
