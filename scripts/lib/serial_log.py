#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Judges the serial log of a chain of kernels that luo_hugetlb ran in.

Prints the reasons why the test is to be taken for failed, one a line, and for
people what the test said. Exit status 0: it passed; 1: it did not.
"""

import argparse
import re
import sys

# What the kernel says when something is wrong that need not fail any test.
TROUBLE = re.compile(
    r'WARNING:|BUG:|\bBUG\b.*at|Oops|KASAN|KFENCE|UBSAN|Kernel panic|'
    r'general protection fault|unable to handle|possible recursive locking|'
    r'circular locking|inconsistent lock state|suspicious RCU|'
    r'held lock freed|lock held when returning|bad unlock balance|'
    r'blocked for more than|self-detected stall|detected stalls|soft lockup|'
    r'hard LOCKUP|Call [Tt]race:|Bad page|bad: scheduling|list_(add|del) corrupt|'
    r'suspected memory leak|segfault at|Out of memory')


def unmixed(lines):
  """A line of the kernel's may come while a program's is half written."""
  out = []
  begun = ''
  for line in lines:
    found = re.match(r'([^[].*?)(\[ *\d+\.\d{6}\] .*)', line)
    if found:
      begun += found[1]
      out.append(found[2])
    elif begun and re.match(r'\[ *\d+\.\d{6}\] ', line):
      out.append(line)
    else:
      out.append(begun + line)
      begun = ''
  return out


def read_log(path):
  with open(path, errors='replace') as log:
    lines = [re.sub(r'\x1b\[[0-9;]*[A-Za-z]', '', line.rstrip('\r\n'))
             for line in log]
  lines = unmixed(lines)
  lines = [re.sub(r'^\[\s*\d+\.\d+\]\s?', '', line) for line in lines]
  # The kernel's log once more, after a failure: for people only.
  if '--- the kernel\'s log:' in lines:
    start = lines.index('--- the kernel\'s log:')
    end = lines.index('--- its end') if '--- its end' in lines else len(lines)
    del lines[start:end + 1]
  return lines


def judge(lines, name, stages):
  """Yields what is wrong."""
  for line in lines:
    if TROUBLE.search(line):
      yield 'the kernel says: ' + line
    elif line.startswith('not ok') or line.startswith('# FAILURE') or \
        line.startswith('Bail out!'):
      yield line.lstrip('# ')
  # Only a kernel that kexec has loaded has a stage above 1 on its command
  # line, and the machine ends when it is reset in any other way.
  boots = [re.search(r'luo_stage=(\d+)', line)
           for line in lines if line.startswith('Kernel command line:')]
  boots = [int(boot[1]) for boot in boots if boot]
  wanted = list(range(1, stages + 1))
  if boots != wanted:
    yield f'these stages were booted: {boots}, not {wanted}'
  if sum(line.startswith('Linux version ') for line in lines) != stages:
    yield f'it is not {stages} kernels that booted'
  for stage in wanted[1:]:
    if f'# stage {stage - 1} of {name} done, rebooting' not in lines:
      yield f'stage {stage - 1} did not get to its end'
  for stage in wanted:
    if f'# stage {stage} of {name} begins' not in lines:
      yield f'stage {stage} did not begin'
  if f'ok 1 {name}' not in lines:
    yield 'the last stage did not pass'


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--name', required=True)
  parser.add_argument('--stages', type=int, required=True)
  parser.add_argument('--brief', action='store_true',
                      help='of a test that passed, only what it did in all')
  parser.add_argument('log')
  args = parser.parse_args()
  lines = read_log(args.log)
  reasons = list(judge(lines, args.name, args.stages))
  for line in lines:
    if args.brief and not reasons and ' did: ' not in line:
      continue
    if line.startswith('# ') and not line.startswith('# Totals') and \
        not line.startswith('# FAILURE'):
      print(line)
  for reason in reasons:
    print('# FAILED:', reason)
  return bool(reasons)


if __name__ == '__main__':
  sys.exit(main())
