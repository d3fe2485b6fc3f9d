#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Puts all static data of an object file into one section, knew_data.

The simulator makes the data of kernel/new pristine at each boot by copying
that section. Its code goes into knew_text, so that a signal handler can tell
whether it was interrupted. What instrumentation adds (gcov counters, sanitizer tables) has
to live on and is left alone.

usage: collect-data.py [--prefix=PREFIX] --output OUT.o IN.o...

With a prefix for the names that its files share, and for the section that has
its initcalls, it can be linked beside another version of itself.
"""
import argparse
import re
import subprocess
import sys
import tempfile
import os

TEXT = re.compile(r'^\.text(\.|$)')
DATA = re.compile(r'^\.(data|bss)(\.|$)')
# Counters of gcov, tables of the sanitizers, and what is constant anyway.
KEEP = re.compile(r'__gcov|asan|ubsan|^\.data\.rel\.ro')


def sections(path):
    out = subprocess.run(['objdump', '-h', path], check=True,
                         capture_output=True, text=True).stdout
    return [line.split()[1] for line in out.splitlines()
            if re.match(r'^\s*\d+\s', line)]


def names(path):
    """Functions and data that others can use."""
    out = subprocess.run(['nm', '--defined-only', '-g', path], check=True,
                         capture_output=True, text=True).stdout
    return [line.split()[2] for line in out.splitlines()
            if re.search(r' [TDBR] ', line)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', required=True)
    parser.add_argument('--prefix', default='')
    parser.add_argument('inputs', nargs='+')
    args = parser.parse_args()
    shared = sorted({name for path in args.inputs for name in names(path)})
    with tempfile.TemporaryDirectory() as tmp:
        parts = []
        for i, path in enumerate(args.inputs):
            part = os.path.join(tmp, f'{i}.o')
            command = ['objcopy']
            if args.prefix:
                for name in shared:
                    command += ['--redefine-sym', f'{name}={args.prefix}{name}']
                for name in sections(path):
                    if name.startswith('sim_initcall'):
                        command += ['--rename-section',
                                    f'{name}={args.prefix}{name}']
            for name in sorted(set(sections(path))):
                if TEXT.match(name):
                    command += ['--rename-section', f'{name}=knew_text']
                if not DATA.match(name) or KEEP.search(name):
                    continue
                flags = 'alloc,load,contents,data'
                command += ['--set-section-flags', f'{name}={flags}',
                            '--rename-section', f'{name}=knew_data,{flags}']
            subprocess.run(command + [path, part], check=True)
            parts.append(part)
        subprocess.run(['ld', '-r', '-o', args.output] + parts, check=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
