#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Tells whether a kernel would link after each patch of the series.

Only the objects that the series touches are built after each patch. All others
are those of the kernel with the whole series in it, which did link: so it is
enough to compare symbols. A file of symbols has lines "OBJECT: NAME TYPE", as
nm -A -g -P has them; that of a patch also has "headers: NAME -" for each word
of the headers that the series touches. Exits 1 after the first patch with which
the kernel would not link.
"""

import argparse
import collections
import pathlib
import sys

HEADERS = 'headers'


class Symbols:
  """What objects define and need."""

  def __init__(self, lines):
    self.label = ''
    self.objects = set()
    self.words = set()
    self.needs = {}
    self.defines = {}
    self.strong = collections.defaultdict(list)
    for line in lines:
      name, symbol, kind = line.split()[:3]
      name = name[:-1]
      if name == HEADERS:
        self.words.add(symbol)
        continue
      self.objects.add(name)
      if kind == 'U':
        self.needs.setdefault(symbol, name)
      elif kind not in 'wv':  # these may stay undefined
        self.defines.setdefault(symbol, name)
        if kind not in 'WV':
          self.strong[symbol].append(name)


def without(lines, objects):
  """The lines that are not about these objects."""
  return [line for line in lines if line.split(':', 1)[0] not in objects]


class Series:
  """The symbols after each patch (first: before all), and of the kernel."""

  def __init__(self, steps, kernel, system_map):
    self.steps = steps
    touched = set().union(*(step.objects for step in steps))
    all_of_them = Symbols(kernel)
    self.others = Symbols(without(kernel, touched))
    mine = set(all_of_them.defines) - set(self.others.defines)
    # The linker script defines some as well.
    linked = {line.split()[2] for line in system_map
              if line.split()[1].isupper()}
    self.outside = linked - mine | set(self.others.defines)

  def first_with(self, symbol, after):
    """Where it is defined later, to be told."""
    for step in self.steps[after + 1:]:
      if symbol in step.defines:
        return (f'{step.defines[symbol]} defines only from {step.label} on: '
                'move that to this patch, or what needs it to that one')
    return 'no object defines: is a file missing in a Makefile?'

  def wrong_after(self, number):
    """What a linker would say after that patch."""
    step, pristine = self.steps[number], self.steps[0]
    wrong = []
    for symbol, user in sorted(step.needs.items()):
      if symbol not in step.defines and symbol not in self.outside:
        wrong.append(f'{user} needs {symbol}, which '
                     f'{self.first_with(symbol, number)}')
    # What nobody touches is not compiled anew, so that headers have to tell
    # whether it uses already what it uses in the end, or still what it used.
    known = set().union(*(each.defines for each in self.steps))
    for symbol in sorted(known - set(step.defines) - self.outside):
      user = self.others.needs.get(symbol)
      if symbol in pristine.defines:
        user = user or (symbol in step.words and
                        'a header that the series touches')
        if user:
          wrong.append(f'{pristine.defines[symbol]} no longer defines '
                       f'{symbol}, which {user} still has: remove that in '
                       'this patch or before')
      elif user and symbol in step.words:
        wrong.append(f'{user}, which the series does not touch, needs by way '
                     f'of a header {symbol}, which '
                     f'{self.first_with(symbol, number)}')
    for symbol, names in sorted(step.strong.items()):
      names = names + self.others.strong.get(symbol, [])
      if len(names) > 1:
        wrong.append(f'{symbol} is defined more than once, in '
                     f'{" and ".join(sorted(names))}: keep one')
    return wrong


def read(path):
  return pathlib.Path(path).read_text(encoding='utf-8').splitlines()


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kernel', type=pathlib.Path, required=True,
                      help='folder with symbols and System.map of the kernel '
                      'with the whole series in it')
  parser.add_argument('--touched', required=True,
                      help='file with the names of files the series touches')
  parser.add_argument('steps', nargs='+', metavar='PATCH=FILE',
                      help='symbols after that patch; first, before all')
  args = parser.parse_args()
  steps = []
  for word in args.steps:
    label, name = word.split('=', 1)
    steps.append(Symbols(read(name)))
    steps[-1].label = label
  kernel = read(args.kernel / 'symbols')
  # One that is taken for untouched would hide what is missing.
  touched = {name[:-2] + '.o' for name in read(args.touched)
             if name.endswith(('.c', '.S'))}
  missed = (touched & Symbols(kernel).objects) - steps[-1].objects
  for name in sorted(missed):
    print(f'{name} is linked, but was not built after each patch: '
          'objects_of in scripts/lib/kernel_build.sh does not see it')
  series = Series(steps, kernel, read(args.kernel / 'System.map'))
  for number, step in enumerate(steps):
    wrong = series.wrong_after(number)
    if wrong:
      for line in wrong:
        print(line)
      print(f'above: the kernel would not link after {step.label}')
      return 1
  return 1 if missed else 0


if __name__ == '__main__':
  sys.exit(main())
