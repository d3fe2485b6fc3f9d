#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Prints what Sphinx says of the kernel's pages and not of the pristine ones.

Builds, as HTML, the pages that the series changes, those that show kernel-doc
of a file it changes, and what is around them, so that references are found. A
page that has passed is not looked at again until it or such a file changes.
The last line of a run without warnings says what was done.
"""

import argparse
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

import new_warnings

DOC = 'Documentation/'
LEVEL = '(WARNING|ERROR|CRITICAL|SEVERE)'
# How Sphinx and the kernel's extensions say it, and how compilers do, which is
# what new_warnings.py reads: "FILE:LINE: warning: TEXT".
SHAPES = (
    # What a page shows of a source file: "PAGE:LINE: SOURCE:LINE: WARNING: ".
    (re.compile(rf'^\S+:\d+: (\S+:\d+): {LEVEL}: '), r'\1: \2: '),
    # kernel-doc's own: "WARNING: SOURCE:LINE TEXT".
    (re.compile(rf'^{LEVEL}: (\S+:\d+):? '), r'\2: \1: '),
    # Without a place.
    (re.compile(rf'^{LEVEL}: '), r'Sphinx: \1: '),
    (re.compile(r': (CRITICAL|SEVERE): '), ': ERROR: '),
)


def shaped(text):
  lines = []
  for line in text.splitlines():
    for pattern, replacement in SHAPES:
      line = pattern.sub(replacement, line)
    lines.append(line)
  return '\n'.join(lines) + '\n'


def pages_of(tree, touched):
  """{page: files of the series that it is made from} of the pages to look at."""
  pages = {name: {name} for name in touched
           if name.startswith(DOC) and name.endswith('.rst')}
  found = subprocess.run(
      ['grep', '-rHoE', r'^\.\. kernel-doc:: +\S+', DOC, '--include=*.rst'],
      cwd=tree, capture_output=True, text=True, check=False)
  if found.returncode > 1:
    sys.exit(f'cannot look for kernel-doc in {tree / DOC}: {found.stderr}')
  for line in found.stdout.splitlines():
    page, shown = line.split(':', 1)[0], line.split()[-1]
    if shown in touched:
      pages.setdefault(page, {page}).add(shown)
  return pages


def around(tree, pristine, pages):
  """Pages that new ones stand beside or refer to; Sphinx must know them."""
  names = {f'{DOC}index.rst'}
  for page in pages:
    if (pristine / page).exists():
      continue
    names |= {str(path.relative_to(tree))
              for path in (tree / page).parent.glob('*.rst')}
    names |= {f'{DOC}{name}.rst' for name in re.findall(
        r':doc:`(?:[^`<]*<)?/([\w/-]+)>?`', (tree / page).read_text())}
  return names - pages.keys()


def key_of(tree, files):
  total = hashlib.sha256()
  for name in sorted(files):
    data = (tree / name).read_bytes()
    total.update(f'{name} {len(data)}\n'.encode())
    total.update(data)
  return total.hexdigest()[:16]


def build(tree, out, names):
  """Sphinx's output; its environment in out makes the next build a short one."""
  environment = {key: value for key, value in os.environ.items()
                 if not key.startswith(('SPHINX', 'DOCS_', 'LC_', 'LANG'))}
  environment.update(srctree=str(tree), LC_ALL='C.UTF-8',
                     PYTHONDONTWRITEBYTECODE='1')
  patterns = ','.join(name[len(DOC):] for name in sorted(names))
  done = subprocess.run(
      ['sphinx-build', '-q', '-b', 'html', '-j', 'auto', '-c', '.',
       '-d', str(out / 'doctrees'), '-D', f'include_patterns={patterns}',
       # conf.py includes them in any case.
       '-D', 'exclude_patterns=netlink/**',
       '-D', f'kerneldoc_srctree={tree}',
       '-D', 'version=7.3', '-D', 'release=7.3', '.', str(out / 'html')],
      cwd=tree / DOC, env=environment, stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT, text=True, check=False)
  if done.returncode != 0:
    print(done.stdout)
    sys.exit(f'Sphinx failed in {tree / DOC}; its output stands above')
  return shaped(done.stdout)


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--pristine', type=pathlib.Path, required=True)
  parser.add_argument('--tree', type=pathlib.Path, required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True,
                      help='folder for the HTML of --tree')
  parser.add_argument('--known', type=pathlib.Path, required=True,
                      help='folder for what is known of --pristine')
  parser.add_argument('touched', nargs='+', help='files of the series')
  args = parser.parse_args()
  pages = pages_of(args.tree, set(args.touched))
  names = sorted(pages.keys() | around(args.tree, args.pristine, pages))
  listed = '\n'.join(names) + '\n'
  passed = args.known / 'passed'
  passed.mkdir(parents=True, exist_ok=True)
  keys = {page: key_of(args.tree, files | {page})
          for page, files in pages.items()}
  unknown = [page for page in sorted(pages)
             if not (passed / keys[page]).exists()]
  if not unknown:
    print(f'{len(pages)} pages, none of them changed')
    return 0

  base = args.known / hashlib.sha256(listed.encode()).hexdigest()[:16]
  if not (base / 'log').exists():
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    text = build(args.pristine, base, names)
    for folder in ('doctrees', 'html'):
      shutil.rmtree(base / folder)
    (base / 'log.new').write_text(text)
    (base / 'log.new').rename(base / 'log')

  pages_file = args.out / 'pages'
  if not pages_file.exists() or pages_file.read_text() != listed:
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    pages_file.write_text(listed)
  for page in unknown:
    # Sphinx reads again what it has no doctree of, and only then warns.
    doctree = args.out / 'doctrees' / page[len(DOC):]
    doctree.with_suffix('.doctree').unlink(missing_ok=True)
  (args.out / 'log').write_text(build(args.tree, args.out, names))
  known = new_warnings.counted([base / 'log'], args.pristine)
  lines = new_warnings.beyond(known, [args.out / 'log'], args.tree)
  for line in lines:
    print(line)
  if lines:
    return 1
  for page in unknown:
    (passed / keys[page]).touch()
  print(f'{len(pages)} pages, {len(unknown)} of them read, in '
        f'{args.out / "html"}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
