#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Linux 7.3 and sparse, from Debian packages into the cache; and the work tree:
# the pristine source with kernel/new and kernel/hooks on top. Source it after
# common.sh. The host's apt configuration is read, never changed.

KERNEL_SERIES=7.3
# The package is in the backports of the release after bookworm.
KERNEL_SUITE=trixie-backports
# bookworm's sparse, 0.6.4, cannot read 7.3, and kbuild then skips it with
# nothing but a warning.
SPARSE_SUITE=unstable
SPARSE_MINIMUM='0.6.5~rc1'

# debian_mirror: the archive this host installs from, as its own configuration
# has it.
debian_mirror() {
  apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1
}

# private_apt ARGUMENT...: apt-get with a state folder and source list of our
# own under the cache.
private_apt() {
  local home=$HANDOVER_CACHE/apt
  apt-get -qq -o "Dir::Etc::SourceList=$home/sources.list" \
    -o Dir::Etc::SourceParts=/dev/null -o "Dir::State=$home/state" \
    -o "Dir::Cache=$home/cache" -o Dir::State::status=/var/lib/dpkg/status \
    -o APT::Update::Post-Invoke-Success::= -o APT::Sandbox::User= \
    -o Debug::NoLocking=1 "$@"
}

PRIVATE_APT_IS_FRESH=

# open_private_apt: makes private_apt usable, with fresh lists.
open_private_apt() {
  local home=$HANDOVER_CACHE/apt mirror keyring signed=
  [ -z "$PRIVATE_APT_IS_FRESH" ] || return 0
  command -v apt-get >/dev/null ||
    die 'no apt-get here; name an unpacked Linux 7.3 with KERNEL_SRC=DIR'
  mirror=$(debian_mirror)
  # Index targets are known only once the host's lists have been fetched.
  if [ -z "$mirror" ]; then
    refresh_apt_lists ||
      die 'the host has no apt lists; run apt-get update as root first'
    mirror=$(debian_mirror)
  fi
  [ -n "$mirror" ] || die "the host's apt configuration names no Debian" \
    'archive; name an unpacked Linux 7.3 with KERNEL_SRC=DIR'
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ ! -r "$keyring" ] || signed="[signed-by=$keyring] "
  mkdir -p "$home/state/lists/partial" "$home/cache/archives/partial"
  printf '%s %s%s %s main\n' deb "$signed" "$mirror" "$KERNEL_SUITE" \
    deb-src "$signed" "$mirror" "$SPARSE_SUITE" >"$home/sources.list"
  run_logged "apt lists of $KERNEL_SUITE and $SPARSE_SUITE" "$home/update.log" \
    private_apt update || {
    cat "$home/update.log" >&2
    die "cannot read $KERNEL_SUITE and $SPARSE_SUITE; is the network up?"
  }
  PRIVATE_APT_IS_FRESH=1
}

# check_kernel_tree DIR: DIR is a Linux of our series that nobody built in.
check_kernel_tree() {
  local dir=$1 have
  [ -f "$dir/Makefile" ] && [ -f "$dir/mm/hugetlb.c" ] ||
    die "$dir is no Linux source tree; set KERNEL_SRC to one or unset it"
  have=$(sed -n 's/^VERSION = //p;s/^PATCHLEVEL = //p' "$dir/Makefile" |
    paste -sd.)
  [ "$have" = "$KERNEL_SERIES" ] ||
    die "$dir is Linux $have; $KERNEL_SERIES.x is needed"
  [ ! -e "$dir/.config" ] && [ ! -d "$dir/include/config" ] &&
    [ ! -d "$dir/arch/x86/include/generated" ] ||
    die "$dir was built in; 'make mrproper' there, or name a pristine tree"
}

# fetch_kernel [update]: sets KERNEL_TREE (pristine, never written to) and
# KERNEL_KEY (a name for what is derived from it). Without "update", a tree
# that is in the cache is taken as it is, and the network stays untouched.
fetch_kernel() {
  local home=$HANDOVER_CACHE/linux version deb tree package
  package=linux-source-$KERNEL_SERIES
  if [ -n "${KERNEL_SRC:-}" ]; then
    KERNEL_TREE=$(readlink -e "$KERNEL_SRC") ||
      die "KERNEL_SRC=$KERNEL_SRC does not exist"
    check_kernel_tree "$KERNEL_TREE"
    KERNEL_KEY=src-$(printf %s "$KERNEL_TREE" | hash_of)
    return 0
  fi
  need_folder "$home"
  exec 8>"$home/lock"
  flock 8
  tree=$(ls -d "$home"/*/.complete 2>/dev/null | sort -V | tail -n 1)
  tree=${tree%/.complete}
  if [ -z "$tree" ] || [ "${1:-}" = update ]; then
    need_packages xz-utils
    open_private_apt
    version=$(private_apt --print-uris download "$package" |
      sed -n "s/^'[^']*' ${package}_\\([^ ]*\\)_all\\.deb .*/\\1/p" |
      sed 's/%3a/:/')
    [ -n "$version" ] || die "$KERNEL_SUITE offers no $package;" \
      'name an unpacked Linux 7.3 with KERNEL_SRC=DIR'
    tree=$home/$version
    if [ ! -e "$tree/.complete" ]; then
      rm -rf "$home/partial"
      mkdir -p "$home/partial/tree"
      run_logged "downloading $package $version" "$home/download.log" \
        download_package "$home/partial" "$package" || {
        tail -n 5 "$home/download.log" >&2
        die "downloading $package failed; try again"
      }
      deb=$(ls "$home"/partial/*.deb)
      run_logged "unpacking $package $version" "$home/unpack.log" \
        unpack_kernel "$deb" "$home/partial/tree" || {
        tail -n 5 "$home/unpack.log" >&2
        die "unpacking $package failed; is the disk full (2 GB are needed)?"
      }
      check_kernel_tree "$home/partial/tree"
      rm -rf "$tree"
      mv "$home/partial/tree" "$tree"
      rm -rf "$home/partial"
      touch "$tree/.complete"
    fi
  fi
  exec 8>&-
  KERNEL_TREE=$tree
  KERNEL_KEY=${tree##*/}
}

download_package() (
  cd "$1" && private_apt download "$2"
)

unpack_kernel() (
  set -o pipefail
  dpkg-deb --fsys-tarfile "$1" |
    tar -xO "./usr/src/linux-source-$KERNEL_SERIES.tar.xz" |
    xz -dc -T0 | tar -x -C "$2" --strip-components=1
)

# fetch_sparse: sets SPARSE to a sparse that can read this kernel.
fetch_sparse() {
  local home=$HANDOVER_CACHE/sparse dir version
  mkdir -p "$home"
  exec 8>"$home/lock"
  flock 8
  SPARSE=$(ls "$home"/*/sparse 2>/dev/null | sort -V | tail -n 1)
  if [ -z "$SPARSE" ]; then
    need_packages dpkg-dev gcc make libc6-dev
    open_private_apt
    rm -rf "$home/partial"
    mkdir -p "$home/partial"
    run_logged 'downloading sparse' "$home/download.log" \
      download_source "$home/partial" sparse || {
      tail -n 5 "$home/download.log" >&2
      die "downloading the source of sparse from $SPARSE_SUITE failed"
    }
    version=$(sed -n 's/^Version: //p' "$home"/partial/*.dsc | head -n 1)
    dpkg --compare-versions "$version" ge "$SPARSE_MINIMUM" ||
      die "$SPARSE_SUITE offers sparse $version, older than $SPARSE_MINIMUM"
    dir=$home/$version
    run_logged "building sparse $version" "$home/build.log" \
      build_sparse "$home/partial" || {
      tail -n 20 "$home/build.log" >&2
      die "building sparse failed; whole log: $home/build.log"
    }
    rm -rf "$dir"
    mkdir "$dir"
    mv "$home/partial/src/sparse" "$dir/sparse"
    rm -rf "$home/partial"
    SPARSE=$dir/sparse
  fi
  exec 8>&-
  sparse_works
}

download_source() (
  cd "$1" && private_apt --download-only source "$2"
)

# Only the checker: what else is in the package wants GTK, LLVM and SQLite.
build_sparse() (
  cd "$1" && dpkg-source --no-check -x ./*.dsc src &&
    make -C src -j"$(nproc)" CC=gcc HAVE_LLVM=no HAVE_GTK=no HAVE_SQLITE=no \
      HAVE_LIBXML=no sparse
)

# sparse_works: it complains about what only sparse complains about. kbuild
# drops a sparse that fails, with a warning that looks like a pass.
sparse_works() {
  local canary
  canary=$(mktemp -d)
  cat >"$canary/canary.c" <<'END'
typedef unsigned int __attribute__((bitwise)) flags_t;
static flags_t f(unsigned int x) { return x; }
int g(int x);
int g(int x) { return f(x) == 0; }
END
  "$SPARSE" -Wno-decl "$canary/canary.c" >"$canary/out" 2>&1
  if ! grep -q 'different base types\|incorrect type' "$canary/out"; then
    cat "$canary/out" >&2
    rm -rf "$canary"
    die "$SPARSE finds nothing in a file that is wrong;" \
      "delete $HANDOVER_CACHE/sparse and run again"
  fi
  rm -rf "$canary"
}

# make_work_tree [ROOM]: sets KERNEL_WORK, a folder below the cache's ROOM with
# src/, a copy of KERNEL_TREE that is ours to change. Over our own pristine tree
# its files are hard links; whoever changes one puts a new file in its place
# (lay_tree.py does).
make_work_tree() {
  local stamp
  KERNEL_WORK=$HANDOVER_CACHE/${1:-work}/$KERNEL_KEY
  mkdir -p "$KERNEL_WORK"
  if [ -n "${KERNEL_SRC:-}" ]; then
    # Somebody's own tree may change: sizes and times tell.
    progress "looking at $KERNEL_TREE"
    stamp=$(cd "$KERNEL_TREE" && find . -name .git -prune -o -type f \
      -printf '%P %s %T@\n' | sort | hash_of)
  else
    stamp=$KERNEL_KEY
  fi
  if [ "$(cat "$KERNEL_WORK/stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "${KERNEL_WORK:?}"/*
    mkdir -p "$KERNEL_WORK/src"
    run_logged 'making a work tree' "$KERNEL_WORK/copy.log" copy_tree ||
      die "copying $KERNEL_TREE failed; see $KERNEL_WORK/copy.log"
    printf '%s\n' "$stamp" >"$KERNEL_WORK/stamp"
  fi
  progress_end
}

copy_tree() (
  # Somebody's own tree is copied in full: a link into it would be changed by
  # an editor there, and even its number of links is not ours to change.
  local how=-al
  [ -z "${KERNEL_SRC:-}" ] || how='-a --reflink=auto'
  cd "$KERNEL_TREE" || exit 1
  find . -mindepth 1 -maxdepth 1 ! -name .git ! -name .complete -print0 |
    xargs -0 cp $how -t "$KERNEL_WORK/src"
)

# lay_kernel [DIR]: new/ and hooks/ of DIR (default: kernel/ of this checkout)
# into the work tree, nothing else changed; files that are as they should be
# keep their times. Writes the names of what differs from the pristine tree to
# $KERNEL_WORK/touched.
lay_kernel() {
  local from=${1:-$REPO/kernel}
  python3 "$REPO/scripts/lib/lay_tree.py" --pristine "$KERNEL_TREE" \
    --tree "$KERNEL_WORK/src" --manifest "$KERNEL_WORK/touched" \
    --new "$from/new" --hooks "$from/hooks"
}
