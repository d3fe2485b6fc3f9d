#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The deliberate defects of scripts/lib/mutants.txt.

usage: defects.py NAME FOLDER

Puts the defect NAME into FOLDER, a copy of kernel/new/mm. Exit status 2: there is
no such defect; 1: its text is not there once.
"""
import os
import re
import shutil
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


def read_sources(folder):
    """{file: text} of what is compiled there."""
    sources = {}
    for file in sorted(os.listdir(folder)):
        if file.endswith(('.c', '.h')):
            with open(os.path.join(folder, file), encoding='utf-8') as opened:
                sources[file] = opened.read()
    return sources


def copy_sources(source, folder):
    """What was compiled from a copy before is not taken for this one's."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, copy_function=shutil.copyfile)


def write_sources(folder, sources):
    """Makes them what is there. What is the same keeps its time."""
    there = read_sources(folder)
    for file, text in sources.items():
        if there.get(file) != text:
            with open(os.path.join(folder, file), 'w',
                      encoding='utf-8') as opened:
                opened.write(text)


def times(sources, text):
    """How often it stands in them."""
    return sum(source.count(text) for source in sources.values())


def put_in(name, sources, old, new):
    """The sources with that defect in them."""
    if times(sources, old) != 1:
        sys.exit(f'the text of {name} stands {times(sources, old)} times in '
                 'kernel/new/mm, not once: mend scripts/lib/mutants.txt')
    return {file: text.replace(old, new) for file, text in sources.items()}


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    name, folder = sys.argv[1:]
    for other, what, old, new in read_mutants():
        if other == name:
            write_sources(folder,
                          put_in(name, read_sources(folder), old, new))
            print(what)
            return 0
    print(f"there is no defect '{name}'; scripts/mutants --list has them",
          file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main())
