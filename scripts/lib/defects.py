#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The deliberate defects of scripts/lib/mutants.txt.

usage: defects.py NAME FILE

Puts the defect NAME into FILE, a copy of kernel/new/mm/hugetlb_luo.c. Exit
status 2: there is no such defect; 1: its text is not there once.
"""
import os
import re
import sys

LIST = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'mutants.txt')


def read_mutants():
    """[(name, what is wrong, old text, new text)]"""
    with open(LIST, encoding='utf-8') as file:
        text = file.read()
    blocks = re.findall(r'^== ([\w-]+): ([^\n]*)\n<<<\n(.*?)^===\n(.*?)^>>>$',
                        text, re.M | re.S)
    if len(blocks) != len(re.findall(r'^== ', text, re.M)):
        sys.exit('a block of scripts/lib/mutants.txt is malformed')
    return blocks


def put_in(name, pristine, old, new):
    """The source with that defect in it."""
    if pristine.count(old) != 1:
        sys.exit(f'the text of {name} stands {pristine.count(old)} times in '
                 'hugetlb_luo.c, not once: mend scripts/lib/mutants.txt')
    return pristine.replace(old, new)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    name, path = sys.argv[1:]
    for other, what, old, new in read_mutants():
        if other == name:
            with open(path, encoding='utf-8') as file:
                pristine = file.read()
            with open(path, 'w', encoding='utf-8') as file:
                file.write(put_in(name, pristine, old, new))
            print(what)
            return 0
    print(f"there is no defect '{name}'; scripts/mutants --list has them",
          file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main())
