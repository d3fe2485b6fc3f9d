#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Lays kernel/new and kernel/hooks over a copy of a pristine kernel tree.

The copy may consist of hard links into the pristine tree, so nothing is ever
written through an existing name: a file that differs is replaced by a new one.
Files that are as they should be keep their times, so that make rebuilds no
more than it must.
"""

import argparse
import filecmp
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile


def fail(message):
  print(message, file=sys.stderr)
  sys.exit(1)


def files_of(patch):
  """The files a patch changes, from its '--- a/' and '+++ b/' lines."""
  names = set()
  for line in patch.read_text().splitlines():
    if line.startswith('--- a/'):
      names.add(line[6:].split('\t')[0].strip())
    elif line.startswith('+++ b/'):
      names.add(line[6:].split('\t')[0].strip())
  return names


def replace(source, target):
  """Puts a copy of source at target, whatever else links to target's inode."""
  target.parent.mkdir(parents=True, exist_ok=True)
  if target.exists() or target.is_symlink():
    target.unlink()
  shutil.copyfile(source, target)
  shutil.copymode(source, target)


def stage(args, pristine, where):
  """Builds the changed files, and only those, under where. Returns names."""
  names = set()
  for path in sorted(args.new.rglob('*')):
    if path.is_dir():
      continue
    name = str(path.relative_to(args.new))
    if (pristine / name).exists():
      fail(f'kernel/new/{name} exists in the kernel already: '
           'changes to it belong into a patch in kernel/hooks')
    replace(path, where / name)
    names.add(name)
  new = set(names)
  for patch in sorted(args.hooks.glob('*.patch')):
    touched = files_of(patch)
    if not touched:
      fail(f'kernel/hooks/{patch.name} changes no file')
    if touched & new:
      fail(f'kernel/hooks/{patch.name} changes {sorted(touched & new)[0]}, '
           'which is in kernel/new: change it there')
    for name in sorted(touched - names):
      if not (pristine / name).is_file():
        fail(f'kernel/hooks/{patch.name} changes {name}, which this kernel '
             'does not have; new files belong into kernel/new')
      replace(pristine / name, where / name)
    names |= touched
    result = subprocess.run(
        ['patch', '-p1', '--fuzz=0', '--forward', '--batch',
         '--no-backup-if-mismatch', '--reject-file=-', '-i',
         str(patch.resolve())],
        cwd=where, capture_output=True, text=True)
    if result.returncode != 0 or 'with fuzz' in result.stdout:
      fail(f'kernel/hooks/{patch.name} does not apply; make it again against '
           f'this kernel:\n{result.stdout}{result.stderr}')
    for line in result.stdout.splitlines():
      if 'offset' in line:
        print(f'{patch.name}: {line}')
  return names


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--pristine', type=pathlib.Path, required=True)
  parser.add_argument('--tree', type=pathlib.Path, required=True)
  parser.add_argument('--manifest', type=pathlib.Path, required=True,
                      help='where the names of changed files are kept')
  parser.add_argument('--new', type=pathlib.Path, required=True)
  parser.add_argument('--hooks', type=pathlib.Path, required=True)
  args = parser.parse_args()
  pristine, tree = args.pristine, args.tree

  before = set()
  if args.manifest.exists():
    before = set(args.manifest.read_text().split())
  with tempfile.TemporaryDirectory() as folder:
    staged = pathlib.Path(folder)
    names = stage(args, pristine, staged)
    # Written first, so that an interrupted run forgets no file.
    args.manifest.write_text('\n'.join(sorted(names | before)) + '\n')
    for name in sorted(before - names):
      if (pristine / name).exists():
        # A copy, not a link: make must see a new time.
        replace(pristine / name, tree / name)
        os.utime(tree / name)
      elif (tree / name).exists():
        (tree / name).unlink()
    for name in sorted(names):
      target = tree / name
      if (not target.exists() or target.stat().st_nlink > 1 or
          not filecmp.cmp(staged / name, target, shallow=False)):
        replace(staged / name, target)
  args.manifest.write_text('\n'.join(sorted(names)) + '\n')
  return 0


if __name__ == '__main__':
  sys.exit(main())
