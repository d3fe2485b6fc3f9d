#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Chains of kernels in QEMU, and what has to be in their initramfs. Source it
# after kernel_image.sh.

SELFTEST=tools/testing/selftests/liveupdate
PROGRAM_SOURCES=("$REPO/kernel/new/$SELFTEST"/luo_hugetlb*.c)
LOGS=$REPO/build/kernel-test
# Seconds that a test may take.
LIMIT=300
# Machines at a time. A machine has two processors and keeps one of ours busy.
JOBS=$(nproc)
# The accelerator is named: a KVM device may be there and hang.
ACCEL=(-accel tcg,thread=multi)
# Seconds for which random chains are begun; empty: the other tests run.
STRESS=''

make_scratch() {
  mkdir -p "$LOGS"
  scratch=$(mktemp -d) || die 'no temporary folder; does $TMPDIR exist?'
  trap 'rm -rf "$scratch"' EXIT
  trap 'stop_machines; exit 130' INT
  trap 'stop_machines; exit 143' TERM
}

# lock_logs: two runs would write the same ones.
lock_logs() {
  exec 8>"$LOGS/.lock"
  flock -n 8 || {
    progress 'another run is under way here; waiting for it'
    flock 8
  }
}

# stop_machines: a job is a shell that waits for the one that QEMU runs under.
stop_machines() {
  local job
  for job in $(jobs -p); do
    pkill -P "$job"
    kill "$job" 2>/dev/null
  done
}

# use_machine CONFIG: sets MACHINE, the command of its machine; RUN, the one that
# runs its programs here; CROSS, what its compiler's name begins with; STRANGER, how
# the configurations begin of next kernels that cannot take what comes. Installs
# what it takes.
use_machine() {
  CROSS=$(cross_of "$1")
  case $(arch_of "$1") in
    arm64)
      need_packages qemu-system-arm qemu-user
      MACHINE=(qemu-system-aarch64 -machine virt -cpu cortex-a72)
      RUN=(qemu-aarch64)
      STRANGER=arm64
      ;;
    *)
      need_packages qemu-system-x86
      MACHINE=(qemu-system-x86_64 -cpu max)
      RUN=()
      STRANGER=lean
      ;;
  esac
}

# build_program NAME ARGUMENT...: as the kernel's own vmtest.sh builds its tests.
build_program() {
  local name=$1
  shift
  "${CROSS}gcc" -s -static -O2 -Wall -Wno-unused-function -Werror \
    -nostdinc -nostdlib -fno-stack-protector -fno-asynchronous-unwind-tables -fno-ident \
    -I "$IMAGE/include" -I "$KERNEL_TREE/tools/include/nolibc" \
    -o "$scratch/$name" "$@"
}

# build_programs: the selftests and what they run, into scratch.
build_programs() {
  local lib=$KERNEL_TREE/$SELFTEST/lib new=$REPO/kernel/new source
  local pids=() pid status=0
  for source in "${PROGRAM_SOURCES[@]}"; do
    build_program "$(basename "$source" .c)" -I "$new/$SELFTEST/lib/include" \
      -I "$lib/include" -I "$KERNEL_TREE/${SELFTEST%/*}" \
      "$source" "$new/$SELFTEST"/lib/*.c "$lib/lu_utils.c" &
    pids+=($!)
  done
  build_program hugeverify "$new/tools/mm/hugeverify.c" &
  pids+=($!)
  for pid in "${pids[@]}"; do
    wait "$pid" || status=1
  done
  return $status
}

# list_tests CONFIG [NAME...]: the tests that such a kernel can run, or those
# named, a line each: the program, and what its --list says. A test needs "-"
# (nothing), "no-option" (a second kernel that lacks it), "other-version" (one whose
# table is of another version), a configuration, an architecture, or "stress" (to
# be asked for by --stress).
list_tests() {
  local config=$1 arch source program name mib stages needs append
  arch=$(arch_of "$config")
  shift
  for source in "${PROGRAM_SOURCES[@]}"; do
    program=$(basename "$source" .c)
    "${RUN[@]}" "$scratch/$program" --list >"$scratch/listed" || return 1
    while read -r name mib stages needs append; do
      [ $# = 0 ] || [[ " $* " = *" $name "* ]] || continue
      case $needs in
        - | no-option | other-version | "$config" | "$arch")
          [ -z "$STRESS" ] || continue ;;
        stress) [ -n "$STRESS" ] || continue ;;
        *) continue ;;
      esac
      printf '%s %s %s %s %s %s\n' "$program" "$name" "$mib" "$stages" \
        "$needs" "$append"
    done <"$scratch/listed"
  done >"$scratch/tests"
  # The longest ones first, or somebody waits for them alone at the end.
  awk '{ print $3 * $4, $0 }' "$scratch/tests" | sort -s -k1,1nr | cut -d' ' -f2-
}

# make_initramfs PROGRAM [NEEDS FOLDER]: the test as init, what it runs, and the
# kernels that it loads; FOLDER has the one that the test needs besides.
make_initramfs() {
  cat >"$scratch/cpio_list" <<END
dir /dev 0755 0 0
dir /proc 0755 0 0
dir /sys 0755 0 0
dir /debugfs 0755 0 0
nod /dev/console 0600 0 0 c 5 1
file /init $scratch/$1 0755 0 0
file /hugeverify $scratch/hugeverify 0755 0 0
file /kernel $IMAGE/kernel 0644 0 0
${2:+file /kernel-$2 $3/kernel 0644 0 0}
END
  "$IMAGE/gen_init_cpio" "$scratch/cpio_list"
}

# prepare_machines: an initramfs for each program and need of the list on
# standard input.
prepare_machines() {
  local program needs kernel=$IMAGE stranger
  sort -u -k1,1 -k5,5 | while read -r program _ _ _ needs _; do
    stranger=()
    case $needs in
      no-option) build_image "$STRANGER-off" ;;
      other-version) build_image "$STRANGER-other" ;;
    esac
    [ "$IMAGE" = "$kernel" ] || stranger=("$needs" "$IMAGE")
    IMAGE=$kernel
    make_initramfs "$program" "${stranger[@]}" \
      >"$scratch/initramfs-$program-$needs" ||
      die 'making an initramfs failed; see above'
  done || exit 1
}

# run_qemu LOG MIB INITRAMFS COMMAND_LINE: until the machine resets by anything
# but kexec.
run_qemu() {
  local log=$1 mib=$2 initramfs=$3 append=$4
  : >"$log"
  timeout --kill-after=10 "$LIMIT" "${MACHINE[@]}" \
    "${ACCEL[@]}" -m "$((2 * mib))" \
    -smp 2,sockets=2,cores=1,threads=1 \
    -object "memory-backend-ram,id=m0,size=${mib}M" \
    -object "memory-backend-ram,id=m1,size=${mib}M" \
    -numa node,nodeid=0,cpus=0,memdev=m0 \
    -numa node,nodeid=1,cpus=1,memdev=m1 \
    -nodefaults -display none -no-reboot -serial "file:$log" \
    -kernel "$IMAGE/kernel" -initrd "$initramfs" -append "$append"
}

# run_test NUMBER CONFIG PROGRAM NAME MIB STAGES NEEDS COMMAND_LINE [SEED]: prints
# what KTAP has for it. Fails if the test does. There are many with a SEED: only
# what went wrong with them is kept.
run_test() {
  local number=$1 config=$2 program=$3 name=$4 mib=$5 stages=$6 needs=$7
  local append=$8 seed=${9:-} label=$4 start=$SECONDS status verdict=0 log
  local brief=()
  if [ -n "$seed" ]; then
    label="$name seed $seed"
    append="$append luo_seed=$seed"
    brief=(--brief)
  fi
  log=$LOGS/$config-${label// /-}.log
  run_qemu "$log" "$mib" "$scratch/initramfs-$program-$needs" "$append" \
    >"$scratch/qemu-$number" 2>&1
  status=$?
  python3 "$LIB/serial_log.py" "${brief[@]}" --name "$name" \
    --stages "$stages" "$log" || verdict=1
  if [ $status != 0 ]; then
    verdict=1
    sed 's/^/# qemu: /' "$scratch/qemu-$number"
    case $status in
      124 | 137) echo "# FAILED: it hung; ended after $LIMIT s" ;;
      *) echo "# FAILED: QEMU ended with status $status" ;;
    esac
  fi
  if [ $verdict = 0 ]; then
    echo "ok $number $label # $config kernel, $((SECONDS - start)) s"
    [ -z "$seed" ] || rm "$log"
  else
    echo "# serial log: $log"
    [ -z "$seed" ] || echo "# to repeat it: scripts/kernel-test" \
      "--config=$config --stress=1 --seed=$seed $name"
    echo "not ok $number $label # $config kernel, $((SECONDS - start)) s"
  fi
  return $verdict
}

# start_test NUMBER ...: run_test in the background.
start_test() {
  {
    run_test "$@" >"$scratch/out-$1" 2>&1
    echo $? >"$scratch/status-$1.new"
    mv "$scratch/status-$1.new" "$scratch/status-$1"
  } &
}

# print_done: what the tests said, in their order, as far as they are through.
print_done() {
  while [ -e "$scratch/status-$printed" ]; do
    progress_end
    cat "$scratch/out-$printed"
    [ "$(cat "$scratch/status-$printed")" = 0 ] || failures=$((failures + 1))
    printed=$((printed + 1))
  done
}

# run_tests CONFIG: the tests of the list on standard input, JOBS at a time.
run_tests() {
  local config=$1 lines number=0 printed=1 failures=0 program name mib stages
  local needs append
  mapfile -t lines
  printf 'KTAP version 1\n# %s kernel\n1..%d\n' "$config" "${#lines[@]}"
  rm -f "$scratch"/status-* "$scratch"/out-*
  for line in "${lines[@]}"; do
    read -r program name mib stages needs append <<<"$line"
    number=$((number + 1))
    while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do
      wait -n
      print_done
    done
    progress "$config kernel: $name ($number of ${#lines[@]})"
    start_test $number "$config" "$program" "$name" "$mib" "$stages" \
      "$needs" "$append"
  done
  wait
  print_done
  echo "# Totals: pass:$((number - failures)) fail:$failures"
  [ $failures = 0 ]
}
