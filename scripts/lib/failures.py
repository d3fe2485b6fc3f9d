#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Says in a few lines what failed in a run of ctest.

usage: failures.py LastTest.log

One defect of kernel/new breaks many tests. What tells most are the properties,
which leave a history that was shrunk, and the saved histories; of the others
only the names are told, unless there is nothing else.
"""
import re
import sys

TELLING = ('props_properties_test', 'props_replay_test')
MOST_NAMES = 6
WIDTH = 240


def failed_tests(log):
    """Yields (test, output) of each test program that did not pass."""
    for block in re.split(r'^\d+/\d+ Testing: ', log, flags=re.M)[1:]:
        name = block.split('\n', 1)[0].strip()
        if re.search(r'^Test Passed\.', block, re.M):
            continue
        body = block.split('Output:\n', 1)[-1]
        yield name, re.split(r'^<end of output>', body, flags=re.M)[0]


def failed_cases(output):
    """(case, message) of each case that failed, or in which it all ended."""
    cases = []
    parts = re.split(r'^\[ RUN      \] (\S+)\n', output, flags=re.M)
    for case, text in zip(parts[1::2], parts[2::2]):
        if re.search(r'^\[ +(OK|SKIPPED) +\] ' + re.escape(case), text, re.M):
            continue
        message, ended, _ = text.partition('[  FAILED  ]')
        cases.append((case, message if ended else
                      message.rstrip() + '\nthe test program ended here'))
    return cases or [('', output.strip() or 'no output')]


def tell(test, case, message):
    lines = [line.rstrip() for line in message.splitlines()
             if line.strip() and line.strip() != 'Failed']
    replay = [line for line in lines if line.startswith('replay it: ')]
    if replay:
        lines = [line for line in lines
                 if re.search(r': broke [\w-]+$|^ *(step \d|boot:|teardown:)',
                              line)][:2] + replay[:1]
    elif len(lines) > 4:
        lines = lines[:3] + lines[-1:]
    print(f'FAILED {test} {case}'.rstrip())
    for line in lines:
        print('  ' + line.strip()[:WIDTH])


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding='utf-8', errors='replace') as file:
        tests = [(name, failed_cases(output))
                 for name, output in failed_tests(file.read())]
    tests.sort(key=lambda t: TELLING.index(t[0]) if t[0] in TELLING else 9)
    told = [t for t in tests if t[0] in TELLING] or tests[:1]
    others = []
    for name, cases in tests:
        rest = len(cases)
        if (name, cases) in told:
            tell(name, *cases[0])
            rest -= 1
        if rest:
            others.append(f'{name} ({rest})')
    if others:
        more = len(others) - MOST_NAMES
        print('also failed: ' + ', '.join(others[:MOST_NAMES]) +
              (f' and {more} more' if more > 0 else ''))
    return 0


if __name__ == '__main__':
    sys.exit(main())
