#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Configures the kernel and builds the few objects that matter, with W=1 and
# sparse, keeping what compiler and sparse said about each. Source it after
# kernel.sh.

# Compiler and sparse run through wrappers that leave their complaints beside
# the object: an object that make finds up to date says nothing, and yet its
# warnings count.
write_wrappers() {
  local bin=$KERNEL_WORK/bin machinery
  mkdir -p "$bin"
  cat >"$bin/cc" <<'END'
#!/bin/sh
# Runs gcc through ccache; keeps the warnings of -c in kcheck/OBJECT.cc.
out='' previous='' compile=''
for word; do
  [ "$previous" = -o ] && out=$word
  [ "$word" = -c ] && compile=1
  previous=$word
done
case $compile$out in
1/*) exec ccache gcc "$@" ;;
1*.o) ;;
*) exec ccache gcc "$@" ;;
esac
log=kcheck/$out.cc
mkdir -p "${log%/*}"
rm -f "kcheck/$out.objtool"
ccache gcc "$@" 2>"$log"
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
    cat "$bin/cc" "$bin/check"
  } | hash_of)
  if [ "$(cat "$KERNEL_WORK/machinery" 2>/dev/null)" != "$machinery" ]; then
    rm -rf "$KERNEL_WORK"/build-*
    printf '%s\n' "$machinery" >"$KERNEL_WORK/machinery"
  fi
}

# kernel_make VARIANT SOURCE ARGUMENT...: make in that variant's build folder.
# With KERNEL_PLAIN set it makes what is to be booted, and asks no checkers.
kernel_make() {
  local build=$KERNEL_WORK/build-$1 source=$2 flags
  shift 2
  flags=(W=1 CC="$KERNEL_WORK/bin/cc" CHECK="$KERNEL_WORK/bin/check")
  [ -z "${KERNEL_PLAIN:-}" ] || flags=(CC='ccache gcc')
  # Nothing of the caller's environment, such as ARCH or CFLAGS, gets in.
  env -u ARCH -u CROSS_COMPILE -u KCFLAGS -u MAKEFLAGS -u KBUILD_OUTPUT \
    -u KCONFIG_CONFIG CCACHE_DIR="${CCACHE_DIR:-$HANDOVER_CACHE/ccache}" \
    CCACHE_MAXSIZE=2G LC_ALL=C PYTHONDONTWRITEBYTECODE=1 \
    KBUILD_BUILD_TIMESTAMP='2026-01-01' KBUILD_BUILD_USER=handover \
    KBUILD_BUILD_HOST=handover KCHECK_SOURCE="$source" \
    make -s -j"$(nproc)" -C "$source" O="$build" ARCH=x86_64 "${flags[@]}" "$@"
}

# configure_kernel VARIANT SOURCE FRAGMENT...: .config from tinyconfig and the
# fragments, made again only when these or a Kconfig file changed.
configure_kernel() {
  local variant=$1 source=$2 build=$KERNEL_WORK/build-$1 want
  shift 2
  want=$({
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
