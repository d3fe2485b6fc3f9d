#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Prints the warnings that a tree has and the pristine tree has not.

Line numbers shift under a patch, so that warnings are compared by file and
text, and counted. Exits 1 when there is a new one.
"""

import argparse
import collections
import pathlib
import re
import sys


def normal(line, tree):
  """(file and text without positions), or None for lines of context."""
  line = line.replace(tree + '/', '')
  found = re.match(
      r'(\S+?):(?:\d+:)*\s*(?:\w+: )?((?:fatal )?(?:warning|error)): (.*)',
      line, re.I)
  if not found:
    return None
  return found[1], re.sub(r':\d+:\d+|\bline \d+|\+0x[0-9a-f]+', '', found[3])


def warnings(logs, tree):
  """Lists (normal form, line as said) of all logs."""
  found = []
  for log in logs:
    if not log.exists():
      continue
    for line in log.read_text(errors='replace').splitlines():
      key = normal(line, tree)
      if key:
        found.append((key, line.replace(tree + '/', '')))
  return found


def counted(logs, tree):
  """How often each warning is in the logs of that tree."""
  return collections.Counter(key for key, _ in warnings(logs, str(tree)))


def beyond(known, logs, tree):
  """The lines of the logs with warnings that are not in known, each once."""
  known, new = known.copy(), []
  for key, line in warnings(logs, str(tree)):
    if known[key] > 0:
      known[key] -= 1
    elif line not in new:
      new.append(line)
  return new


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--base', required=True, help='folder of pristine logs')
  parser.add_argument('--base-tree', required=True)
  parser.add_argument('--logs', required=True, help='folder of new logs')
  parser.add_argument('--tree', required=True)
  parser.add_argument('names', nargs='+', help='logs, relative to a folder')
  args = parser.parse_args()
  known = counted([pathlib.Path(args.base, n) for n in args.names],
                  args.base_tree)
  new = beyond(known, [pathlib.Path(args.logs, n) for n in args.names],
               args.tree)
  for line in new:
    print(line)
  return 1 if new else 0


if __name__ == '__main__':
  sys.exit(main())
