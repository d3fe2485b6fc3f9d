#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Checks that each hook in kernel/hooks has its twin in sim/, and back.

A hook is an added line of a patch that mentions one of our symbols inside a
function or a structure, or that declares a function in a header. Its twin is a
comment in sim/ on the line before the same thing there:

    // HOOK(mm/hugetlb.c, hugetlb_init): hugetlb_luo_import
    /* HOOK(include/linux/x.h, struct inode_info): hugetlb_luo_file */
    /* HOOK(include/linux/x.h, kho_folio_preserved): kho_folio_preserved */
"""

import argparse
import pathlib
import re
import sys

SYMBOL = re.compile(r'\bhugetlb_luo_\w+|\bkho_folio_preserved\b')
# Hooks by an error code or a flag alone: a retrieve that may be tried again,
# CMA areas on a KHO boot.
BY_VALUE = {
    'kernel/liveupdate/luo_file.c': ('luo_retrieve_file', '-EAGAIN'),
    'mm/cma.c': ('cma_declare_contiguous_multi', 'MEMBLOCK_KHO_SCRATCH'),
}
TWIN = re.compile(
    r'HOOK\(\s*([^,()\s]+)\s*,\s*((?:struct )?\w+)\s*\)\s*:?\s*([\w-]*)')
COMMENT = re.compile(r'\s*(//|/\*|\*)')


def blank_comments(text):
  """text with comments and strings blanked, lines kept."""
  def blank(match):
    return re.sub(r'[^\n]', ' ', match[0])
  return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text,
                flags=re.S)


def functions_by_line(text):
  """For each line, the function or structure it is part of, or None.

  Kernel style makes that easy: a body opens and closes in column 0.
  """
  lines = blank_comments(text).split('\n')
  names = [None] * len(lines)
  for i, line in enumerate(lines):
    short = re.match(r'static .*?(\w+)\s*\([^{}]*\)\s*\{.*\}\s*$', line)
    if short:
      names[i] = short[1]
    structure = re.match(r'(?:typedef )?((?:struct|union) \w+) \{', line)
    if not structure and not line.startswith('{'):
      continue
    first = i
    while first > 0 and lines[first - 1].strip() and not re.match(
        r'#|[}{]|.*[;}]\s*$', lines[first - 1]):
      first -= 1
    name = structure or re.search(r'(\w+)\s*\(', ' '.join(lines[first:i]))
    if not name:
      continue
    last = i
    while last + 1 < len(lines) and not lines[last].startswith('}'):
      last += 1
    names[first:last + 1] = [name[1]] * (last + 1 - first)
  return names


def added_lines(patch):
  """Yields (file, text) of the lines a patch adds."""
  name = None
  for line in patch.read_text().splitlines():
    if line.startswith('+++ b/'):
      name = line[6:].split('\t')[0].strip()
    elif line.startswith('diff ') or line.startswith('-- '):
      name = None
    elif name and line.startswith('+') and not line.startswith('+++'):
      yield name, line[1:]


def hooks(args):
  """Maps (file, function, symbol) to the patch that adds it."""
  found = {}
  for patch in sorted(args.hooks.glob('*.patch')):
    cache = {}
    position = {}
    for name, line in added_lines(patch):
      if not name.endswith(('.c', '.h')) or COMMENT.match(line):
        continue
      code = blank_comments(line)
      symbols = set(SYMBOL.findall(code))
      function, value = BY_VALUE.get(name, (None, None))
      if value and value in code:
        symbols.add(value)
      declared = re.match(r'(?!static |#)[a-z_][\w\s*]*?\b(\w+)\(', code)
      declared = declared and name.endswith('.h') and declared[1]
      if not symbols and not declared:
        continue
      if name not in cache:
        text = (args.tree / name).read_text(errors='replace')
        cache[name] = (text.split('\n'), functions_by_line(text))
      lines, owners = cache[name]
      # The same text may be added twice: take them one after the other.
      start = position.get((name, line), 0)
      try:
        at = lines.index(line, start)
      except ValueError:
        # A later patch changed the line again; that patch's line counts.
        continue
      position[name, line] = at + 1
      owner = owners[at]
      if owner is None:
        if declared:
          found.setdefault((name, declared, declared), patch.name)
        continue  # An export, a forward declaration.
      for symbol in symbols:
        if symbol == value and owner != function:
          continue
        if symbol == owner and name.endswith('.h'):
          continue  # The stub for a kernel without the option.
        found.setdefault((name, owner, symbol), patch.name)
  return found


def twins(args):
  """Maps (file, function, symbol) to where sim/ says it has that twin."""
  found = {}
  problems = []
  for path in sorted(args.sim.rglob('*')):
    if path.suffix not in ('.cc', '.c', '.h', '.cpp') or not path.is_file():
      continue
    lines = path.read_text(errors='replace').split('\n')
    for i, line in enumerate(lines):
      if 'HOOK(' not in line:
        continue
      where = f'{path.relative_to(args.sim.parent)}:{i + 1}'
      said = TWIN.search(line)
      # A comment that does not fit on its line goes on in the next.
      joined = line.rstrip()
      last = i
      while (not said or not said[3]) and last < i + 2:
        last += 1
        if last >= len(lines) or not COMMENT.match(lines[last]):
          break
        joined += ' ' + lines[last].strip().lstrip('/* ')
        said = TWIN.search(joined)
      if not said or not said[3]:
        problems.append(f'{where}: this HOOK comment cannot be read; write '
                        '// HOOK(<kernel file>, <function>): <symbol>')
        continue
      symbol = said[3]
      found.setdefault((said[1], said[2], symbol), where)
      below = '\n'.join(lines[last + 1:last + 5])
      word = symbol.lstrip('-')
      if not re.search(r'\b' + re.escape(word) + r'\b',
                       re.sub(r'//[^\n]*', '', below)):
        problems.append(f'{where}: no {symbol} in the lines below this HOOK '
                        'comment; put it on the line before the call')
  return found, problems


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--hooks', type=pathlib.Path, required=True)
  parser.add_argument('--sim', type=pathlib.Path, required=True)
  parser.add_argument('--tree', type=pathlib.Path, required=True,
                      help='the kernel tree with the patches applied')
  args = parser.parse_args()
  real = hooks(args)
  simulated, problems = twins(args)
  if not real:
    problems.append('kernel/hooks has no hook at all')
  for key in sorted(real.keys() - simulated.keys()):
    problems.append(
        f'kernel/hooks/{real[key]}: {key[2]} in {key[1]} of {key[0]} has no '
        f'twin; add // HOOK({key[0]}, {key[1]}): {key[2]} in sim/')
  for key in sorted(simulated.keys() - real.keys()):
    problems.append(
        f'{simulated[key]}: no patch in kernel/hooks adds {key[2]} to '
        f'{key[1]} of {key[0]}; remove the twin or write the hook')
  for line in problems:
    print(line)
  if not problems:
    print(f'{len(real)} hooks')
  return 1 if problems else 0


if __name__ == '__main__':
  sys.exit(main())
