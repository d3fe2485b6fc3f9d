#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes kernel/ as the patches that would be mailed, with git format-patch.

The repository they are made in is a throw-away one with only those files of
the kernel that the series changes. Nothing of the user's git configuration, and
no time of day, gets into them: the same kernel/ gives the same bytes.
"""

import argparse
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# The cover letter's; each patch is a minute younger: mailers sort by time.
DATE = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.timezone.utc)


def fail(message):
  print(message, file=sys.stderr)
  sys.exit(1)


def read_series(kernel):
  """[(hook, [new files])] in order; every file of kernel/ exactly once."""
  series, seen = [], set()
  for number, line in enumerate(
      (kernel / 'series').read_text().splitlines(), 1):
    words = line.split('#')[0].split()
    if not words:
      continue
    paths = [f'hooks/{words[0]}'] + [f'new/{name}' for name in words[1:]]
    for path in paths:
      where = f'kernel/series:{number}: kernel/{path}'
      if path in seen:
        fail(f'{where} stands there twice; a file belongs to one patch')
      if not (kernel / path).is_file():
        fail(f'{where} does not exist')
      seen.add(path)
    series.append((words[0], words[1:]))
  if not series:
    fail('kernel/series names no patch')
  there = {str(path.relative_to(kernel))
           for folder, pattern in (('hooks', '*.patch'), ('new', '*'))
           for path in (kernel / folder).rglob(pattern) if path.is_file()}
  for path in sorted(there - seen):
    fail(f'kernel/{path} is not in kernel/series; add it to the patch that '
         'it is to be mailed with')
  return series


def split_message(text, name):
  """(subject, body) of a hook or of the cover letter."""
  text = text.split('\n---\n')[0]
  found = re.match(r'Subject: (?:\[PATCH\] )?(.+)\n\n', text)
  if not found:
    fail(f"{name} does not begin with 'Subject: ' and an empty line")
  body = text[found.end():].strip()
  if not body:
    fail(f'{name} has a subject and no message; say why the change is made')
  return found[1].strip(), body


class Git:
  def __init__(self, folder, name, mail):
    self.folder = folder
    # What the caller's git is told by the environment or by its configuration,
    # such as a signature, a hook, or a repository, is not for this one.
    self.environment = {key: value for key, value in os.environ.items()
                        if not key.startswith('GIT_')}
    self.environment.update(
        GIT_CONFIG_NOSYSTEM='1', GIT_CONFIG_GLOBAL='/dev/null', LC_ALL='C',
        TZ='UTC', GIT_CEILING_DIRECTORIES=str(folder.parent),
        GIT_AUTHOR_NAME=name, GIT_AUTHOR_EMAIL=mail,
        GIT_COMMITTER_NAME=name, GIT_COMMITTER_EMAIL=mail)
    self.set_date(DATE)

  def set_date(self, date):
    text = date.strftime('%Y-%m-%dT%H:%M:%S+0000')
    self.environment.update(GIT_AUTHOR_DATE=text, GIT_COMMITTER_DATE=text)

  def __call__(self, *words, text=None, what=None):
    done = subprocess.run(
        ['git', '-c', 'core.abbrev=12', '-c', 'core.autocrlf=false', *words],
        cwd=self.folder, env=self.environment, input=text, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
      fail(f'{what or "git " + " ".join(words)}:\n{done.stdout}')


def files_of(patch):
  return {line[6:].split('\t')[0].strip()
          for line in patch.read_text().splitlines()
          if line.startswith(('--- a/', '+++ b/'))}


def copy(source, target):
  target.parent.mkdir(parents=True, exist_ok=True)
  shutil.copyfile(source, target)
  # git knows no more of a mode than this.
  target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def commit_all(args, git, series):
  # Their names for what surrounds a hunk are upstream's only with this file.
  names = {'.gitattributes'}
  for hook, _ in series:
    names |= files_of(args.kernel / 'hooks' / hook)
  for name in sorted(names):
    if (args.pristine / name).is_file():
      copy(args.pristine / name, git.folder / name)
    elif name != '.gitattributes':
      fail(f'the series changes {name}, which this kernel does not have')
  git('init', '-q', '-b', 'series')
  git('add', '-f', '.')
  git('commit', '-q', '-m', 'pristine')
  git('tag', 'pristine')
  for number, (hook, new) in enumerate(series, 1):
    subject, body = split_message(
        (args.kernel / 'hooks' / hook).read_text(), f'kernel/hooks/{hook}')
    git('apply', '--index', '--whitespace=error',
        str((args.kernel / 'hooks' / hook).resolve()),
        what=f'kernel/hooks/{hook} does not apply after those before it')
    for name in new:
      copy(args.kernel / 'new' / name, git.folder / name)
      git('add', '-f', name)
    git.set_date(DATE + datetime.timedelta(minutes=number))
    git('commit', '-q', '-s', '-F', '-', text=f'{subject}\n\n{body}\n')


def write_cover(args, path):
  """Puts kernel/cover-letter.txt into what format-patch left to be filled."""
  subject, body = split_message(
      (args.kernel / 'cover-letter.txt').read_text(),
      'kernel/cover-letter.txt')
  text = path.read_text()
  for blank, filling in (('*** SUBJECT HERE ***', subject),
                         ('*** BLURB HERE ***', body)):
    if text.count(blank) != 1:
      fail(f"this git's cover letter has no {blank}")
    text = text.replace(blank, filling)
  path.write_text(text)


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--pristine', type=pathlib.Path, required=True)
  parser.add_argument('--kernel', type=pathlib.Path, required=True,
                      help='the folder with series, hooks/ and new/')
  parser.add_argument('--author', required=True, help='NAME <ADDRESS>')
  parser.add_argument('--out', type=pathlib.Path, required=True)
  args = parser.parse_args()
  name, mail = re.fullmatch(r'(.+?) *<(.+)>', args.author).groups()
  series = read_series(args.kernel)
  with tempfile.TemporaryDirectory() as folder:
    git = Git(pathlib.Path(folder), name, mail)
    commit_all(args, git, series)
    git.set_date(DATE)  # the cover letter's
    # No hash: these commits are nobody's. No signature: it is git's version.
    git('format-patch', '-q', '--zero-commit', '--no-signature',
        '--cover-letter', '--stat=72', '-n', '-o', str(args.out.resolve()),
        'pristine')
  write_cover(args, args.out / '0000-cover-letter.patch')
  return 0


if __name__ == '__main__':
  sys.exit(main())
