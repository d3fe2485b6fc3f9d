#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Random chains of kernels in QEMU, one seed after the other. Source it after
# kernel_qemu.sh.

# The first chain's. It says all that a chain does, and which test it is of.
SEED=1
# A chain is as long as many of the other tests.
STRESS_LIMIT=1200

# print_did CHAINS: the sum of what these did, from the lines that tell it.
print_did() {
  sed -n 's/^# seed [0-9]* did: //p' "$scratch"/out-* 2>/dev/null |
    awk -v chains="$1" -F ', ' '
      {
        for (i = 1; i <= NF; i++) {
          what = $i
          sub(/^[0-9]+ /, "", what)
          if (!(what in sum)) order[++kinds] = what
          sum[what] += $i
        }
      }
      END {
        printf "# %d chains did: ", chains
        for (i = 1; i <= kinds; i++)
          printf("%s%d %s", (i > 1 ? ", " : ""), sum[order[i]], order[i])
        print ""
      }'
}

# run_stress CONFIG: chains of the tests of the list on standard input, JOBS at a
# time, with one seed after the other until STRESS seconds have passed. The
# machines are started a second apart, so that one second is one chain.
run_stress() {
  local config=$1 lines number=0 printed=1 failures=0 begin=$SECONDS seed=$SEED
  local program name mib stages needs append
  mapfile -t lines
  printf 'KTAP version 1\n# %s kernel\n' "$config"
  rm -f "$scratch"/status-* "$scratch"/out-*
  while [ $number = 0 ] || [ $((SECONDS - begin)) -lt "$STRESS" ]; do
    read -r program name mib stages needs append \
      <<<"${lines[seed % ${#lines[@]}]}"
    number=$((number + 1))
    progress "$config kernel: $name, seed $seed" \
      "($((SECONDS - begin)) of $STRESS s)"
    start_test $number "$config" "$program" "$name" "$mib" "$stages" \
      "$needs" "$append" "$seed"
    seed=$((seed + 1))
    sleep 1
    while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do
      wait -n
      print_done
    done
  done
  wait
  print_done
  echo "1..$number"
  print_did "$number"
  echo "# Totals: pass:$((number - failures)) fail:$failures"
  [ $failures = 0 ]
}
