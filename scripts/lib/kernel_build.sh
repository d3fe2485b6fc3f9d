#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Configures the kernel and builds the few objects that matter, with W=1 and
# sparse, keeping what compiler and sparse said about each, and tells what they
# said from what they say about the pristine kernel. Source it after kernel.sh.

LIB=$REPO/scripts/lib

# What is built of a kernel goes by a name: the variant or configuration. That of
# one for another architecture than x86_64 begins with the architecture.

# arch_of VARIANT: its architecture, as the kernel's ARCH has it.
arch_of() {
  case $1 in
    arm64*) echo arm64 ;;
    *) echo x86_64 ;;
  esac
}

# cross_of VARIANT: what the names of its compiler and binutils begin with.
cross_of() {
  case $(arch_of "$1") in
    arm64) echo aarch64-linux-gnu- ;;
  esac
}

# cross_packages VARIANT...: the Debian packages of these compilers.
cross_packages() {
  local variant
  for variant; do
    case $(arch_of "$variant") in
      arm64) echo gcc-aarch64-linux-gnu ;;
    esac
  done
}

# build_packages VARIANT...: all Debian packages it takes to build these.
build_packages() {
  printf '%s\n' bc bison ccache flex gcc libc6-dev libelf-dev libssl-dev make \
    patch perl python3 xz-utils
  cross_packages "$@"
}

# Runs a compiler through ccache, but not for what takes in other files by
# .incbin. ccache's depend mode does not see those: a kernel whose compressed
# image has the size of an earlier one would get that one's.
CCACHED='#!/bin/sh
for source; do :; done
case $source in
*.S | */configs.c | */kheaders.c) exec "$@" ;;
esac
exec ccache "$@"'

# write_ccached: puts it into $KERNEL_WORK/bin.
write_ccached() {
  mkdir -p "$KERNEL_WORK/bin"
  [ "$(cat "$KERNEL_WORK/bin/ccached" 2>/dev/null)" = "$CCACHED" ] && return 0
  # Complete, or not there at all: another run may be at work.
  printf '%s\n' "$CCACHED" >"$KERNEL_WORK/bin/ccached.$$" &&
    chmod +x "$KERNEL_WORK/bin/ccached.$$" &&
    mv "$KERNEL_WORK/bin/ccached.$$" "$KERNEL_WORK/bin/ccached"
}

# Compiler and sparse run through wrappers that leave their complaints beside
# the object: an object that make finds up to date says nothing, and yet its
# warnings count.
write_wrappers() {
  local bin=$KERNEL_WORK/bin machinery
  write_ccached
  cat >"$bin/cc" <<'END'
#!/bin/sh
# Runs $KCHECK_CC through ccache; keeps the warnings of -c in kcheck/OBJECT.cc.
ccached=${0%/*}/ccached
out='' previous='' compile=''
for word; do
  [ "$previous" = -o ] && out=$word
  [ "$word" = -c ] && compile=1
  previous=$word
done
case $compile$out in
1/*) exec "$ccached" "$KCHECK_CC" "$@" ;;
1*.o) ;;
*) exec "$ccached" "$KCHECK_CC" "$@" ;;
esac
log=kcheck/$out.cc
mkdir -p "${log%/*}"
rm -f "kcheck/$out.objtool"
"$ccached" "$KCHECK_CC" "$@" 2>"$log"
status=$?
cat "$log" >&2
[ $status = 0 ] || rm -f "$log"
exit $status
END
  cat >"$bin/check" <<END
#!/bin/sh
# Runs sparse; keeps what it says in kcheck/SOURCE.sparse.
for source; do :; done
case \$source in
"\$KCHECK_SOURCE"/*) ;;
*) exec "$SPARSE" "\$@" ;;
esac
log=kcheck/\${source#"\$KCHECK_SOURCE"/}.sparse
mkdir -p "\${log%/*}"
"$SPARSE" "\$@" >"\$log" 2>&1
status=\$?
cat "\$log" >&2
[ \$status = 0 ] || rm -f "\$log"
exit \$status
END
  chmod +x "$bin/cc" "$bin/check"
  # A build folder made with other tools is of no use.
  machinery=$({
    gcc --version
    cat "$bin/ccached" "$bin/cc" "$bin/check"
  } | hash_of)
  if [ "$(cat "$KERNEL_WORK/machinery" 2>/dev/null)" != "$machinery" ]; then
    rm -rf "$KERNEL_WORK"/build-*
    printf '%s\n' "$machinery" >"$KERNEL_WORK/machinery"
  fi
}

# kernel_make VARIANT SOURCE ARGUMENT...: make in that variant's build folder.
# With KERNEL_PLAIN set it makes what is to be booted, and asks no checkers.
kernel_make() {
  local build=$KERNEL_WORK/build-$1 source=$2 arch cross flags
  arch=$(arch_of "$1")
  cross=$(cross_of "$1")
  shift 2
  flags=(W=1 CC="$KERNEL_WORK/bin/cc" CHECK="$KERNEL_WORK/bin/check")
  [ -z "${KERNEL_PLAIN:-}" ] || flags=(CC="$KERNEL_WORK/bin/ccached ${cross}gcc")
  # CCACHE_DEPEND: what is not in the cache yet is compiled as fast as without.
  # Nothing of the caller's environment, such as ARCH or CFLAGS, gets in.
  env -u ARCH -u CROSS_COMPILE -u KCFLAGS -u MAKEFLAGS -u KBUILD_OUTPUT \
    -u KCONFIG_CONFIG CCACHE_DIR="${CCACHE_DIR:-$HANDOVER_CACHE/ccache}" \
    CCACHE_DEPEND=1 CCACHE_MAXSIZE=2G LC_ALL=C PYTHONDONTWRITEBYTECODE=1 \
    KBUILD_BUILD_TIMESTAMP='2026-01-01' KBUILD_BUILD_USER=handover \
    KBUILD_BUILD_HOST=handover KCHECK_SOURCE="$source" \
    KCHECK_CC="${cross}gcc" \
    make -s -j"$(nproc)" -C "$source" O="$build" ARCH="$arch" \
    CROSS_COMPILE="$cross" "${flags[@]}" "$@"
}

# configure_kernel VARIANT SOURCE FRAGMENT...: .config from tinyconfig and the
# fragments, made again only when these or a Kconfig file changed.
configure_kernel() {
  local variant=$1 source=$2 build=$KERNEL_WORK/build-$1 want
  shift 2
  want=$({
    "$(cross_of "$variant")gcc" --version
    cat "$@"
    grep Kconfig "$KERNEL_WORK/touched" | while read -r name; do
      cat "$source/$name"
    done
  } | hash_of)
  [ "$(cat "$build/kcheck/config" 2>/dev/null)" != "$want" ] || return 0
  mkdir -p "$build/kcheck"
  {
    kernel_make "$variant" "$source" tinyconfig &&
      cat "$@" >>"$build/.config" &&
      kernel_make "$variant" "$source" olddefconfig &&
      kernel_make "$variant" "$source" prepare
  } >"$build/kcheck/config.log" 2>&1 || {
    grep -v 'override: reassigning' "$build/kcheck/config.log"
    return 1
  }
  # What kconfig warns of is a mistake in a Kconfig file.
  ! grep 'unmet direct dependencies' "$build/kcheck/config.log" || return 1
  config_holds "$build/.config" "$@" || return 1
  printf '%s\n' "$want" >"$build/kcheck/config"
}

# config_holds CONFIG FRAGMENT...: each option is as the last fragment that
# names it has it. One that olddefconfig dropped would go unnoticed.
config_holds() {
  local config=$1
  shift
  python3 - "$config" "$@" <<'END'
import re
import sys


def read(names):
  values = {}
  for name in names:
    for line in open(name):
      off = re.match(r'# (CONFIG_\w+) is not set', line)
      on = re.match(r'(CONFIG_\w+)=(.*)', line)
      if off:
        values[off[1]] = 'n'
      elif on:
        values[on[1]] = on[2]
  return values


have = read(sys.argv[1:2])
bad = [f'{key} is {have.get(key, "n")}, not {value}'
       for key, value in read(sys.argv[2:]).items()
       if have.get(key, 'n') != value]
for line in bad:
  print('kconfig refuses a line of kernel/config:', line)
sys.exit(bool(bad))
END
}

# objects_of VARIANT SOURCE FILE...: the objects of these C files that the
# variant's configuration builds.
objects_of() {
  local config=$KERNEL_WORK/build-$1/.config source=$2
  shift 2
  python3 - "$config" "$source" "$@" <<'END'
import os
import re
import sys

config = open(sys.argv[1]).read()
for name in sys.argv[3:]:
  folder, base = os.path.split(name[:-2])
  try:
    rules = open(os.path.join(sys.argv[2], folder, 'Makefile')).read()
  except OSError:
    continue
  rules = rules.replace('\\\n', ' ')
  found = re.search(r'^([\w-]+?)-\S+\s*[:+]?=(?:.*\s)?' + re.escape(base) +
                    r'\.o(?:\s|$)', rules, re.M)
  # A composite object (luo-y := ...) is ruled by the line that names it.
  if found and found[1] != 'obj':
    base = found[1]
  line = re.search(r'^obj-(\S+)\s*[:+]?=(?:.*\s)?' + re.escape(base) +
                   r'\.o(?:\s|$)', rules, re.M)
  if not line:
    continue
  option = re.match(r'\$\((CONFIG_\w+)\)', line[1])
  if not option or f'\n{option[1]}=y\n' in config:
    print(name[:-2] + '.o')
END
}

# build_objects VARIANT SOURCE OBJECT...: builds them, and leaves for each a
# compiler log and a sparse log under the build folder's kcheck/.
build_objects() {
  local variant=$1 source=$2 build=$KERNEL_WORK/build-$1 object log
  shift 2
  log=$build/kcheck/make.log
  mkdir -p "$build/kcheck"
  for object; do
    [ -e "$build/kcheck/$object.cc" ] &&
      [ -e "$build/kcheck/${object%.o}.c.sparse" ] || rm -f "$build/$object"
  done
  # Not inside a pipe: its status is make's.
  kernel_make "$variant" "$source" C=1 "$@" >"$log" 2>&1 || {
    cat "$log"
    return 1
  }
  sed -n 's/^\(\S*\.o\): warning: objtool: .*/\1/p' "$log" | sort -u |
    while read -r object; do
      grep -F "$object: warning: objtool" "$log" \
        >"$build/kcheck/$object.objtool"
    done
  for object; do
    [ -e "$build/kcheck/$object.cc" ] ||
      { echo "$object: the compiler's log is missing" && return 1; }
    [ -e "$build/kcheck/${object%.o}.c.sparse" ] ||
      { echo "$object: sparse did not run" && return 1; }
  done
}

# symbols_of VARIANT: what the objects named on standard input, with respect to
# the current folder, define and need: lines "OBJECT: SYMBOL TYPE".
symbols_of() (
  set -o pipefail
  xargs -d '\n' "$(cross_of "$1")nm" -A -g -P | cut -d' ' -f1-3
)

# step_symbols VARIANT: of the objects that run_build built, and the words of the
# headers in TOUCHED, for series_links.py.
step_symbols() {
  local name headers=()
  (cd "$KERNEL_WORK/build-$1" && symbols_of "$1") \
    <"$KERNEL_WORK/objects-$1" || return 1
  for name in "${TOUCHED[@]}"; do
    [[ $name != *.h || ! -e $KERNEL_WORK/src/$name ]] ||
      headers+=("$KERNEL_WORK/src/$name")
  done
  cat /dev/null "${headers[@]}" | grep -oE '[A-Za-z_][A-Za-z0-9_]*' | sort -u |
    sed 's/.*/headers: & -/'
}

# candidates SOURCE: C files there: what the series touches (TOUCHED), and what
# includes its headers most.
candidates() {
  {
    printf '%s\n' "${TOUCHED[@]}" | grep '\.c$'
    cd "$1" && ls kernel/liveupdate/*.c mm/hugetlb*.c mm/memfd*.c \
      fs/hugetlbfs/*.c
  } | sort -u | while read -r name; do
    [ ! -e "$1/$name" ] || printf '%s\n' "$name"
  done
}

# build_pristine BASE FRAGMENT...: the same objects of the pristine tree. That does
# not change: once is enough.
build_pristine() {
  local base=$1 objects done_file=$KERNEL_WORK/build-$1/kcheck/done want
  shift
  configure_kernel "$base" "$KERNEL_TREE" "$@" || return 1
  mapfile -t objects < <(objects_of "$base" "$KERNEL_TREE" \
    $(candidates "$KERNEL_TREE"))
  want=$(cat "$KERNEL_WORK/build-$base/kcheck/config" && echo "${objects[*]}")
  [ "$(cat "$done_file" 2>/dev/null)" != "$want" ] || return 0
  build_objects "$base" "$KERNEL_TREE" "${objects[@]}" || {
    echo 'the pristine tree does not build; run with --clean'
    return 1
  }
  printf '%s\n' "$want" >"$done_file"
}

# run_build BASE VARIANT FRAGMENT...: builds the objects as VARIANT and prints the
# warnings that those of the pristine tree (as BASE, with the last fragment left
# out) do not have. The variant "off" is the one that may do without the C files of
# NEW.
run_build() {
  local base=$1 variant=$2 objects names=() object status=0
  local src=$KERNEL_WORK/src logs=$KERNEL_WORK/build-$2/kcheck
  shift 2
  configure_kernel "$variant" "$src" "$@" || return 1
  mapfile -t objects < <(objects_of "$variant" "$src" $(candidates "$src"))
  printf '%s\n' "${objects[@]}" >"$KERNEL_WORK/objects-$variant"
  build_objects "$variant" "$src" "${objects[@]}" || return 1
  for object in "${objects[@]}"; do
    names+=("$object.cc" "${object%.o}.c.sparse" "$object.objtool")
  done
  # Mostly there is not a word, and then the pristine tree need not be built.
  if (cd "$logs" && cat "${names[@]}" 2>/dev/null) | grep -q .; then
    build_pristine "$base" "${@:1:$#-1}" || return 1
    python3 "$LIB/new_warnings.py" --base "$KERNEL_WORK/build-$base/kcheck" \
      --base-tree "$KERNEL_TREE" --tree "$src" --logs "$logs" "${names[@]}" ||
      status=1
  fi
  if [ "$variant" != off ]; then
    # The option is on: then every C file of kernel/new was compiled.
    for object in "${NEW[@]}"; do
      case $object in
        # Programs for userspace: scripts/kernel-test builds and runs them.
        tools/*) ;;
        *.c)
          grep -qx "${object%.c}.o" "$KERNEL_WORK/objects-$variant" || {
            echo "$object is not built: no hook names it in a Makefile"
            status=1
          }
          ;;
      esac
    done
  fi
  return $status
}

# tools_make FOLDER ARGUMENT...: make in that folder of the work tree. Nothing of
# the caller's environment gets in.
tools_make() {
  local folder=$1
  shift
  env -i PATH="$PATH" LC_ALL=C CFLAGS="${TOOLS_CFLAGS:-}" \
    make -s -B -j"$(nproc)" -C "$KERNEL_WORK/src/$folder" "$@"
}

# build_tools: builds the selftests of live update, and the programs of NEW in
# tools/mm, by the tree's own Makefiles; warnings are errors. What they leave in
# the tree is removed.
build_tools() {
  local selftests=tools/testing/selftests/liveupdate out=$KERNEL_WORK/tools
  local name base made status=0 arguments
  kernel_make off "$KERNEL_WORK/src" headers || return 1
  rm -rf "$out"
  mkdir -p "$out"
  arguments=(OUTPUT="$out" USERCFLAGS=-Werror
    KHDR_INCLUDES="-isystem $KERNEL_WORK/build-off/usr/include")
  tools_make $selftests "${arguments[@]}" || status=1
  for name in "${NEW[@]}"; do
    base=$(basename "$name" .c)
    case $name in
      $selftests/lib/*.c) made=$out/libliveupdate/$base.o ;;
      $selftests/*.c) made=$out/$base ;;
      tools/mm/*.c)
        made=$out/$base
        # Without tools/lib/api, which takes longer and is for another program.
        TOOLS_CFLAGS='-O2 -Werror' tools_make tools/mm LIBS= "$base" ||
          status=1
        # A rule for all C files builds it, but 'make all' only what is named.
        ! tools_make tools/mm -n LIBS= all | grep -q -- "-o $base " ||
          mv "$KERNEL_WORK/src/tools/mm/$base" "$made"
        rm -f "$KERNEL_WORK/src/tools/mm/$base"
        ;;
      *) continue ;;
    esac
    # With a failure above, it says why.
    [ $status != 0 ] || [ -e "$made" ] || {
      echo "$name is not built: does a Makefile name it?"
      status=1
    }
  done
  # 'make clean' looks for the objects in OUTPUT, where they are not.
  rm -f "$KERNEL_WORK/src/$selftests"/*.[do]
  return $status
}

# run_kernel_doc: prints what kernel-doc says of the files of TOUCHED as they are
# in the work tree and not of the pristine ones.
run_kernel_doc() {
  local name side logs=$KERNEL_WORK/kernel-doc status=0 names=()
  rm -rf "$logs"
  for name in "${TOUCHED[@]}"; do
    case $name in *.c | *.h) ;; *) continue ;; esac
    names+=("$name.log")
    for side in pristine:"$KERNEL_TREE" patched:"$KERNEL_WORK/src"; do
      mkdir -p "$logs/${side%%:*}/${name%/*}"
      [ -e "${side#*:}/$name" ] || continue
      PYTHONDONTWRITEBYTECODE=1 python3 \
        "$KERNEL_TREE/tools/docs/kernel-doc" -none -Wall "${side#*:}/$name" \
        2>&1 | sed 's/^\(Warning\|Error\): \(\S*:[0-9]*\) /\2: \1: /' \
        >"$logs/${side%%:*}/$name.log"
    done
    # Python prints a traceback when the tool itself breaks.
    if grep -q '^Traceback' "$logs/patched/$name.log"; then
      cat "$logs/patched/$name.log"
      status=1
    fi
  done
  python3 "$LIB/new_warnings.py" --base "$logs/pristine" \
    --base-tree "$KERNEL_TREE" --logs "$logs/patched" \
    --tree "$KERNEL_WORK/src" "${names[@]}" || status=1
  return $status
}

# The names of the checks that failed.
FAILED=''

# result CHECK STATUS LOG NOTE: the line of one check; on a failure with what
# was found.
result() {
  progress_end
  if [ "$2" = 0 ]; then
    printf 'PASS %-10s  %s\n' "$1" "$4"
  else
    FAILED="$FAILED $1"
    printf 'FAIL %-10s  %s\n' "$1" "$4"
    sed "s,$KERNEL_WORK/src/,,g; s,$KERNEL_WORK/,,g
         /^make\[*[0-9]*\]*: /d; s/^/     /" "$3" | head -n 60
    [ "$(wc -l <"$3")" -le 60 ] ||
      printf '     ... the whole list: %s\n' "$3"
  fi
}
