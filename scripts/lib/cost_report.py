#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Prints what luo_hugetlb_cost measured as the tables of docs/cost.md.

Reads the serial logs of its tests, which ran twice: with a clock that shows the
time, and with one that counts instructions.
"""

import argparse
import pathlib
import re
import sys

TESTS = {'cost_2m': '2 MiB', 'cost_1g': '1 GiB'}
HVO = '_hvo'
# Chains of kernels that hand over one thing at a time.
BOOT = 'cost_boot'
# As many files are frozen at a time.
FROZEN = 4

# Functions that another one calls. Those were profiled in a run of their own.
WITHIN = {
    'filemap_get_folios_contig': 'memfd_pin_folios',
    'try_grab_folio': 'memfd_pin_folios',
    'kho_radix_add_key': 'kho_preserve_folio',
    'prep_compound_page': 'kho_restore_folio',
    'adjust_managed_page_count': 'kho_restore_folio',
    '__filemap_add_folio': 'hugetlb_add_to_page_cache',
    'free_huge_folio': '__folio_put',
}


def fail(message):
  print(message, file=sys.stderr)
  sys.exit(1)


class Log:
  """What one test measured, in units of its clock: pairs of (least, median)."""

  def __init__(self, path):
    self.path = path
    self.costs = {}
    self.shares = {}
    profiler = 0
    try:
      lines = path.read_text(errors='replace').splitlines()
    except OSError:
      fail(f'{path} is missing; run scripts/kernel-cost')
    for line in lines:
      found = re.search(r'# (cost|share) (\S+) (\w+=.*)', line)
      if not found:
        continue
      fields = dict(word.split('=', 1) for word in found[3].split())
      key = found[2], int(fields['files']), int(fields['pages'])
      if found[1] == 'cost':
        self.costs[key] = int(fields['min']), int(fields['median'])
        continue
      calls, units = int(fields['calls']), int(fields['ns'])
      if found[2] == 'calibration':
        profiler = units / calls
      # Of an empty function nothing would be left.
      self.shares.setdefault(key, {})[fields['function']] = (
          calls, units - calls * profiler)

  def cost(self, what, files, pages):
    if (what, files, pages) not in self.costs:
      fail(f"{self.path} lacks '{what}' of {files} files and {pages} pages; "
           'run scripts/kernel-cost')
    return self.costs[what, files, pages]

  def most_pages(self, what):
    """Of one file."""
    return max((key[2] for key in self.costs if key[:2] == (what, 1)),
               default=0)

  def page(self, what, few=0):
    """A page's part, from a file with few pages and one with many."""
    many = self.most_pages(what)
    return tuple((b - a) / max(many - few, 1)
                 for a, b in zip(self.cost(what, 1, few),
                                 self.cost(what, 1, many)))

  def file(self, what):
    """A file without pages."""
    return tuple(a - b for a, b in zip(self.cost(what, 1, 0),
                                       self.cost('nothing', 0, 0)))

  def frozen_file(self, pages):
    """One of several files that are frozen, and thawed again."""
    return tuple((b - a) / (FROZEN - 1)
                 for a, b in zip(self.cost('freeze', 1, pages),
                                 self.cost('freeze', FROZEN, FROZEN * pages)))

  def late_page(self):
    """One that freezing finds, frozen and thawed again; None without any."""
    pages = self.most_pages('freeze_late')
    if not pages:
      return None
    return tuple((b - a) / pages
                 for a, b in zip(self.cost('freeze', 1, 0),
                                 self.cost('freeze_late', 1, pages)))

  def share(self, less, more, among):
    """{function: (calls, units)} for each that more has AMONG more of."""
    less, more = self.shares.get(less, {}), self.shares.get(more, {})
    return {function: tuple((b - a) / among
                            for a, b in zip(less.get(function, (0, 0)), much))
            for function, much in more.items()}


class BootLog:
  """What chains of kernels needed at boot, and to reboot, by what was handed over.

  Keys are (files, pages, runs, holes), of free pages without files. Of what was measured
  more than once it is the least.
  """

  def __init__(self, path):
    self.path = path
    self.boots = {}
    self.reboots = {}
    self.tracer = 0
    begun = None
    try:
      lines = path.read_text(errors='replace').splitlines()
    except OSError:
      fail(f'{path} is missing; run scripts/kernel-cost')
    for line in lines:
      if found := re.search(r'# (boot|calibration) (files=.*)', line):
        fields = dict(word.split('=', 1) for word in found[2].split())
        calls, units = int(fields['calls']), int(fields['ns'])
        if not calls and found[1] == 'calibration':
          continue  # one of several names that it may have
        if not calls:
          fail(f"{path}: {fields['function']} was never seen to be called")
        if found[1] == 'boot':
          where = self.boots.setdefault(self.key(fields), {})
          where[fields['function']] = min(
              (units, calls), where.get(fields['function'], (units, calls)))
        else:
          self.tracer = units / calls
      elif found := re.search(
          r'\[ *(\d+)\.(\d{6})\] luo_hugetlb_cost: reboot (.*)', line):
        fields = dict(word.split('=', 1) for word in found[3].split())
        begun = self.key(fields), int(found[1] + found[2])
      elif begun and (found := re.search(
          r'\[ *(\d+)\.(\d{6})\] .*Starting new kernel', line)):
        # The log has microseconds.
        self.least(self.reboots, begun[0],
                   1000 * (int(found[1] + found[2]) - begun[1]))
        begun = None

  @staticmethod
  def key(fields):
    return tuple(int(fields.get(name, 0))
                 for name in ('files', 'pages', 'runs', 'holes'))

  @staticmethod
  def least(where, key, value):
    where[key] = min(value, where.get(key, value))

  def check(self):
    """Ends with a message if something was not measured."""
    boots = [(0, 0, 0, 0)]
    for files in (0, 1):
      boots += [(files, 1, 1, 0)] + (self.keys(files) or [None])
    boots += self.holes() if len(self.holes()) > 1 else [None]
    for key in boots:
      if (len(self.boots.get(key, ())) < (5 if key and key[3] else 3) or
          key[0] == 0 and key not in self.reboots):
        fail(f'{self.path} is not complete; run scripts/kernel-cost')

  def keys(self, files):
    """Of what had many pages, in ascending order of its runs."""
    return sorted(key for key in self.boots if key[0] == files and key[1] > 1)

  def holes(self):
    """Of what had reserved holes, in ascending order of these."""
    return sorted((key for key in self.boots if key[3]), key=lambda key: key[3])

  def boot(self, key, *functions):
    """Of these functions, without what the tracer takes."""
    return sum(units - calls * self.tracer for units, calls in
               (self.boots[key][function] for function in functions))

  def accounting(self, key):
    return self.boot(key, 'hugetlb_luo_boot_begin', 'hugetlb_luo_boot_end')

  def imported(self, key):
    return self.boot(key, 'hugetlb_luo_import')

  def rebooted(self, key):
    return self.reboots[key]

  def run(self):
    """A run's part of the import."""
    few, *_, many = self.keys(1)
    return (self.imported(many) - self.imported(few)) / (many[2] - few[2])

  def page(self, cost, files, run=0):
    """A page's part, from one page to many in the fewest runs."""
    key = self.keys(files)[0]
    return ((cost(key) - cost((files, 1, 1, 0)) - run * (key[2] - 1)) /
            (key[1] - 1))

  def hole(self, function):
    """A reserved hole's part."""
    few, *_, many = self.holes()
    return ((self.boot(many, function) - self.boot(few, function)) /
            (many[3] - few[3]))


def boot_table(logs):
  for log in logs:
    log.check()
  rows = [
      ('boot accounting, nothing comes', lambda log: log.accounting((0, 0, 0, 0))),
      ('boot accounting, a file comes, the messages included',
       lambda log: log.accounting((1, 1, 1, 0)) - log.accounting((0, 0, 0, 0))),
      ('boot accounting, a page of a file',
       lambda log: log.page(log.accounting, 1)),
      ('boot accounting, a free page', lambda log: log.page(log.accounting, 0)),
      ('import, nothing comes', lambda log: log.imported((0, 0, 0, 0))),
      ('import, a file with a page',
       lambda log: log.imported((1, 1, 1, 0)) - log.imported((0, 0, 0, 0))),
      ('import, a run', lambda log: log.run()),
      ('import, a page of a file',
       lambda log: log.page(log.imported, 1, log.run())),
      ('import, a free page', lambda log: log.page(log.imported, 0, log.run())),
      ('import, a reserved hole', lambda log: log.hole('hugetlb_luo_import')),
      ('preserve, a reserved hole', lambda log: log.hole('preserve')),
      ('retrieve, a reserved hole', lambda log: log.hole('retrieve')),
      ('reboot up to the jump, nothing is handed over',
       lambda log: log.rebooted((0, 0, 0, 0))),
      ('the same, a free page', lambda log: log.page(log.rebooted, 0)),
  ]
  yield 'Early boot, and free pages of 2 MiB:'
  yield ''
  yield from table(['', 'ns', 'instructions'],
                   [[what] + [number(value(log)) for log in logs]
                    for what, value in rows])


def number(value):
  if abs(value) >= 100 or abs(value - round(value)) < .005:
    return f'{value:,.0f}'
  return f'{value:.1f}' if abs(value) >= 10 else f'{value:.2f}'


def both(pair):
  return ' / '.join(map(number, pair)) if pair else ''


def table(heading, rows):
  lines = [heading, ['---'] * len(heading)] + rows
  return ['| ' + ' | '.join(line) + ' |' for line in lines] + ['']


def cost_tables(columns):
  heading = [''] + [name for name, _, _ in columns]
  yield 'A page, least / median:'
  yield ''
  rows = [[what] + [both(log.page(what)) for _, log, _ in columns]
          for what in ('preserve', 'unpreserve')]
  # The first page of a file is another number to hand over.
  rows.append(['freeze and unfreeze'] +
              [both(log.page('freeze', int(log.most_pages('freeze') > 1)))
               for _, log, _ in columns])
  rows.append(['the same, a late page'] +
              [both(log.late_page()) for _, log, _ in columns])
  for what in ('retrieve', 'finish'):
    rows.append([what] + [both(log.page(what)) for _, log, _ in columns])
    rows.append([f'{what}, HVO on'] +
                [both(hvo.page(what)) for _, _, hvo in columns])
  yield from table(heading, rows)

  yield 'A file, least / median:'
  yield ''
  rows = [[text] + [both(log.file(what)) for _, log, _ in columns]
          for what, text in (('preserve', 'preserve'),
                             ('preserve_next', 'preserve, right after another'),
                             ('unpreserve', 'unpreserve'),
                             ('retrieve', 'retrieve'), ('finish', 'finish'))]
  rows += [[f'freeze and unfreeze, {text}'] +
           [both(log.frozen_file(pages)) for _, log, _ in columns]
           for text, pages in (('no page', 0), ('one page', 1))]
  yield from table(heading, rows)


def share_table(title, total, shares):
  """Where the instructions go."""
  def row(function, calls, units):
    return [function, calls, number(units), f'{100 * units / total:.1f} %']

  rows = []
  rest = total
  for function, (calls, units) in shares.items():
    if function in WITHIN or not calls:
      continue
    rest -= units
    rows.append(row(function, number(calls), units))
    rows += [row(f'within it {inner}', number(calls), units)
             for inner, (calls, units) in shares.items()
             if WITHIN.get(inner) == function and calls]
  yield f'{title}: {number(total)} instructions'
  yield ''
  yield from table(['function', 'calls', 'instructions', 'share'],
                   rows + [row('the rest', '', rest)])


def share_tables(name, log):
  for what in ('preserve', 'retrieve', 'finish'):
    pages = log.most_pages(what)
    yield from share_table(f'{what}, a page of {name}', log.page(what)[0],
                           log.share((what, 1, 0), (what, 1, pages), pages))
  yield from share_table(
      f'freeze and unfreeze, a file with one page of {name}',
      log.frozen_file(1)[0],
      log.share(('freeze', 1, 1), ('freeze', FROZEN, FROZEN), FROZEN - 1))
  yield from share_table(
      f'preserve, a file without pages of {name}', log.file('preserve')[0],
      log.shares.get(('preserve', 1, 0), {}))


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--time', type=pathlib.Path, required=True)
  parser.add_argument('--instructions', type=pathlib.Path, required=True)
  parser.add_argument('--boot', action='store_true',
                      help='only the table of early boot and free pages')
  args = parser.parse_args()
  def boot():
    return boot_table([BootLog(folder / f'cost-{BOOT}.log')
                       for folder in (args.time, args.instructions)])

  if args.boot:
    print('\n'.join(boot()))
    return
  columns = [
      (f'{name}, {unit}', Log(folder / f'cost-{test}.log'),
       Log(folder / f'cost-{test}{HVO}.log'))
      for test, name in TESTS.items()
      for unit, folder in (('ns', args.time),
                           ('instructions', args.instructions))]
  lines = list(cost_tables(columns))
  lines += boot()
  for name, log, _ in columns[1::2]:
    lines += share_tables(name.split(',')[0], log)
  print('\n'.join(lines))


if __name__ == '__main__':
  main()
