#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes a later version of kernel/new out of this one, for a test.

A kernel of the one version has to refuse what a kernel of the other one leaves
it. So the other one has the next version number, and a field more in the record
of a file. Its functions are called other_...; a program is linked with both and
calls, for each kernel, those of that kernel's version.

usage: other_version.py header ABI.h OUT.h
       other_version.py switch HUGETLB_LUO.h OUT.c OUT.options

`header` writes the other version of the table. `switch` writes a function for
each of those that Linux calls, which calls the one of the version that runs, and
the linker's options that put it there.
"""
import re
import sys

FIELD = '\tu64 nr_pages;\n'


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def write(path, text):
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


def replaced_once(pattern, replacement, text):
    text, count = re.subn(pattern, replacement, text, flags=re.M | re.S)
    if count != 1:
        sys.exit(f'other_version: {pattern} is there {count} times, not once')
    return text


def other_header(text):
    text = replaced_once(r'(#define HUGETLB_LUO_VERSION\s+)(\d+)$',
                         lambda m: m[1] + str(int(m[2]) + 1), text)
    text = replaced_once(r'^struct hugetlb_luo_file_ser \{\n.*?^\}',
                         lambda m: m[0].replace(FIELD, FIELD +
                                                '\tu64 of_the_other;\n', 1),
                         text)
    return replaced_once(
        r'(sizeof\(struct hugetlb_luo_file_ser\) == )(\d+)\)',
        lambda m: f'{m[1]}{int(m[2]) + 8})', text)


def functions(text):
    """[(what it returns, name, parameters)] of what Linux may call."""
    text = text.split('#else')[0]
    found = re.findall(r'^(\w[\w ]*?[ *])(hugetlb_luo_\w+)\(([^;]*?)\);$', text,
                       re.M | re.S)
    if len(found) != len(re.findall(r'^[^*\n]*hugetlb_luo_\w+\(', text, re.M)):
        sys.exit('other_version: not every declaration was understood')
    return [(a.strip(), b, ' '.join(c.split())) for a, b, c in found]


def switch(found):
    lines = ['#include <linux/hugetlb_luo.h>', '',
             'int other_version_now;   /* whether the other version runs */',
             'int other_version_next;  /* whether it will, from the next boot */',
             '']
    for result, name, parameters in found:
        names = [] if parameters == 'void' else [
            re.search(r'(\w+)$', p)[1] for p in parameters.split(', ')]
        call = f'({", ".join(names)})'
        give = '' if result == 'void' else 'return '
        for prefix in ('__real_', 'other_', '__wrap_'):
            lines.append(f'{result} {prefix}{name}({parameters});')
        lines += [f'{result} __wrap_{name}({parameters})', '{']
        if name == 'hugetlb_luo_boot_init':  # what a boot calls first
            lines.append('\tother_version_now = other_version_next;')
        lines += ['\tif (other_version_now)', f'\t\t{give}other_{name}{call};',
                  '\telse', f'\t\t{give}__real_{name}{call};', '}', '']
    return '\n'.join(lines)


def main():
    words = sys.argv[1:]
    if len(words) == 3 and words[0] == 'header':
        write(words[2], other_header(read(words[1])))
    elif len(words) == 4 and words[0] == 'switch':
        found = functions(read(words[1]))
        write(words[2], switch(found))
        write(words[3], ''.join(f'-Wl,--wrap={name}\n' for _, name, _ in found))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
