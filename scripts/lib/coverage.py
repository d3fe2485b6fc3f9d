#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Branch coverage of kernel/new from gcov's counters.

usage: coverage.py BUILD_FOLDER EXPLAINED.md

Prints the share of branches taken and each line with a branch that was not.
Exit status 1 if the share is below 90 %, or if a line is neither covered nor
named in EXPLAINED.md (a line of the source, in backquotes; if there are several
like it, its function() in the same item of the list).
"""
import glob
import gzip
import json
import os
import subprocess
import sys
import tempfile

GOAL = 90.0


def gcov(folder):
    """Yields (file, line number, [taken...]) of kernel/new's sources."""
    notes = glob.glob(os.path.join(folder, 'CMakeFiles/kernel_new.dir',
                                   '**', '*.gcda'), recursive=True)
    if not notes:
        sys.exit('coverage: no counters; run scripts/test --coverage')
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(['gcov', '--json-format', '--branch-probabilities']
                       + [os.path.abspath(n) for n in notes], cwd=tmp,
                       check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        for path in glob.glob(os.path.join(tmp, '*.gcov.json.gz')):
            with gzip.open(path, 'rt') as file:
                data = json.load(file)
            for source in data['files']:
                if '/kernel/new/' not in source['file']:
                    continue
                for line in source['lines']:
                    taken = [b['count'] for b in line['branches']
                             if not b.get('throw')]
                    if taken or line['count'] == 0:
                        yield (source['file'], line['line_number'],
                               line.get('function_name', ''), line['count'],
                               taken)


def explained_in(items, text, function, lines):
    """Does one of the items name this line, and not just one like it?"""
    once = sum(line.strip() == text for line in lines) == 1
    return any(f'`{text}`' in item and (once or f'`{function}()`' in item)
               for item in items)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    total = hit = 0
    missed = []
    for name, number, function, count, taken in gcov(sys.argv[1]):
        total += len(taken)
        hit += sum(1 for t in taken if t)
        if count == 0 or any(t == 0 for t in taken):
            missed.append((name, number, function))
    if not total:
        sys.exit('coverage: no branches found')
    share = 100.0 * hit / total
    explained = ''
    items = []
    if os.path.exists(sys.argv[2]):
        with open(sys.argv[2], encoding='utf-8') as file:
            explained = file.read()
    items = explained.split('\n* ')
    unexplained = 0
    for name, number, function in sorted(set(missed)):
        with open(name, encoding='utf-8') as file:
            lines = file.read().splitlines()
        text = lines[number - 1].strip()
        known = explained_in(items, text, function, lines)
        unexplained += not known
        print(f'{os.path.basename(name)}:{number}: '
              f'{"explained" if known else "NOT TAKEN"}: {text}')
    print(f'branches of kernel/new taken: {hit} of {total}, {share:.1f} %; '
          f'lines with others: {len(set(missed))}, '
          f'{unexplained} of them not explained in docs/coverage.md')
    return 0 if share >= GOAL and not unexplained else 1


if __name__ == '__main__':
    sys.exit(main())
