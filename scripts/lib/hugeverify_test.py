#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Tests of kernel/new/tools/mm/hugeverify.c: compare on records made up here,
record on memfds of base pages, and of huge pages where the pool has some.

usage: hugeverify_test.py [unittest's arguments]
"""
import ctypes
import json
import mmap
import os
import platform
import re
import subprocess
import sys
import tempfile
import unittest

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
SOURCE = f'{REPO}/kernel/new/tools/mm/hugeverify.c'
FOLDER = tempfile.TemporaryDirectory()
PROGRAM = f'{FOLDER.name}/hugeverify'
BASE = os.sysconf('SC_PAGE_SIZE')
HUGE = 1 << 21
MFD_HUGETLB = 4
MAP_NORESERVE = 0x4000
LIBC = ctypes.CDLL(None, use_errno=True)

RECORD = '''hugeverify 1
counter pool/2048kB/all/nr_hugepages 8
counter pool/2048kB/node0/free_hugepages 5
counter cgroup/a%20b/hugetlb.2MB.current 4194304
file vm page_size=2097152 size=16777216 pages=3 name=/memfd:x
page 1 frame=1000 node=0 flags=28818 hash=aa
page 2 frame=1200 node=1 flags=28818 hash=ffffffffffffffff
page 7 frame=- node=- flags=- hash=-
file other page_size=2097152 size=0 pages=0 name=-
end
'''


def setUpModule():
    subprocess.run([os.environ.get('CC', 'cc'), '-O2', '-Wall', '-Wextra',
                    '-Werror', '-o', PROGRAM, SOURCE], check=True)


def run(*arguments, **kwargs):
    """(status, output, errors)"""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120, check=False,
                          **kwargs)
    return done.returncode, done.stdout, done.stderr


def xxh64(data):
    """With seed 0, of whole stripes, from its specification."""
    mask = (1 << 64) - 1
    p1, p2, p4 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x85EBCA77C2B2AE63
    p3 = 0x165667B19E3779F9

    def rotl(x, n):
        return (x << n | x >> (64 - n)) & mask

    def lane(acc, word):
        return rotl((acc + word * p2) & mask, 31) * p1 & mask
    accs = [(p1 + p2) & mask, p2, 0, -p1 & mask]
    for at in range(0, len(data), 32):
        for i in range(4):
            word = int.from_bytes(data[at + 8 * i:at + 8 * i + 8], 'little')
            accs[i] = lane(accs[i], word)
    h = sum(rotl(a, n) for a, n in zip(accs, (1, 7, 12, 18))) & mask
    for a in accs:
        h = ((h ^ lane(0, a)) * p1 + p4) & mask
    h = (h + len(data)) & mask
    h = (h ^ h >> 33) * p2 & mask
    h = (h ^ h >> 29) * p3 & mask
    return h ^ h >> 32


def no_userfaultfd():
    """In the child: userfaultfd() answers ENOSYS."""
    number = {'x86_64': 323, 'aarch64': 282}[platform.machine()]

    class Filter(ctypes.Structure):
        _fields_ = [('code', ctypes.c_uint16), ('jt', ctypes.c_uint8),
                    ('jf', ctypes.c_uint8), ('k', ctypes.c_uint32)]

    class Program(ctypes.Structure):
        _fields_ = [('len', ctypes.c_uint16), ('filter', ctypes.c_void_p)]
    filters = (Filter * 4)(Filter(0x20, 0, 0, 0), Filter(0x15, 0, 1, number),
                           Filter(0x06, 0, 0, 0x00050000 | 38),
                           Filter(0x06, 0, 0, 0x7fff0000))
    program = Program(4, ctypes.addressof(filters))
    if LIBC.prctl(38, 1, 0, 0, 0) or \
            LIBC.prctl(22, 2, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), 'prctl')


class Compare(unittest.TestCase):
    def compare(self, after, *options, before=RECORD):
        paths = [f'{FOLDER.name}/{name}' for name in ('before', 'after')]
        for path, text in zip(paths, (before, after)):
            with open(path, 'w', encoding='ascii') as file:
                file.write(text)
        return run('compare', *options, *paths)

    def differs(self, after, *lines, options=(), before=RECORD):
        status, output, errors = self.compare(after, *options, before=before)
        self.assertEqual(errors, '')
        found = [line for line in output.splitlines()[:-1]
                 if not line.startswith('note: ')]
        self.assertEqual(found, list(lines))
        self.assertEqual(status, 1 if lines else 0)
        self.assertRegex(output.splitlines()[-1],
                         f': {len(lines)} differences$')
        status, output, _ = self.compare(after, '--json', *options,
                                         before=before)
        report = json.loads(output)
        self.assertEqual(status, 1 if lines else 0)
        self.assertEqual(report['same'], not lines)
        self.assertEqual(report['differences'], len(lines))
        self.assertEqual(len(report['found']), len(lines))
        return report

    def test_same(self):
        report = self.differs(RECORD)
        self.assertEqual(report, {
            'version': 1, 'found': [], 'differences': 0, 'files': 2,
            'pages': 3, 'same': True,
            'not_compared': ['frame', 'node', 'flags', 'hash']})
        _, output, _ = self.compare(RECORD)
        self.assertIn('3 pages in 2 files compared: 0 differences\n', output)
        self.assertIn('it was not recorded: frame\n', output)

    def test_each_field(self):
        for what, old, new, line in (
                ('frame', 'frame=1000', 'frame=3000',
                 'vm page 1: frame was 0x1000, is 0x3000'),
                ('node', 'node=1', 'node=0', 'vm page 2: node was 1, is 0'),
                ('hash', 'hash=ffffffffffffffff', 'hash=fffffffffffffffe',
                 'vm page 2: hash was 0xffffffffffffffff, '
                 'is 0xfffffffffffffffe'),
                ('flags', '1000 node=0 flags=28818', '1000 node=0 flags=a8008',
                 'vm page 1: flags was uptodate|dirty|compound_head|huge, '
                 'is uptodate|compound_head|huge|hwpoison'),
                ('size', 'size=16777216', 'size=18874368',
                 'vm: size was 16777216, is 18874368'),
                ('pool', 'all/nr_hugepages 8', 'all/nr_hugepages 7',
                 'pool/2048kB/all/nr_hugepages: it was 8, is 7'),
                ('cgroup', 'counter cgroup/a%20b/hugetlb.2MB.current 4194304\n',
                 '', 'cgroup/a%20b/hugetlb.2MB.current: it was 4194304, is 0'),
                ('pool', 'counter pool/2048kB/node0/free_hugepages 5\n', '',
                 'pool/2048kB/node0/free_hugepages: it was 5, is missing')):
            with self.subTest(line):
                self.assertIn(old, RECORD)
                after = RECORD.replace(old, new)
                self.differs(after, line)
                self.differs(after, options=(f'--ignore={what}',))
                others = {'frame', 'node', 'hash', 'flags', 'size', 'pool',
                          'cgroup', 'pages', 'files'} - {what}
                self.differs(after, line,
                             options=('--ignore', ','.join(sorted(others))))

    def test_json_names_the_page(self):
        report = self.differs(RECORD.replace('hash=aa', 'hash=ab'),
                              'vm page 1: hash was 0xaa, is 0xab')
        self.assertEqual(report['found'], [
            {'kind': 'page', 'name': 'vm', 'page': 1, 'what': 'hash',
             'before': '0xaa', 'after': '0xab'}])

    def test_flags_that_pass_are_not_compared(self):
        self.differs(RECORD.replace('flags=28818', 'flags=10002807d'))

    def test_holes(self):
        page = 'page 2 frame=1200 node=1 flags=28818 hash=ffffffffffffffff\n'
        fewer = RECORD.replace(page, '').replace('pages=3', 'pages=2')
        self.differs(fewer, 'vm page 2: it was there, is a hole')
        self.differs(RECORD, 'vm page 2: it was a hole, is there',
                     before=fewer)
        self.differs(fewer, options=('--ignore=pages',))
        moved = RECORD.replace('page 7', 'page 9')
        self.differs(moved, 'vm page 7: it was there, is a hole',
                     'vm page 9: it was a hole, is there')

    def test_files(self):
        renamed = RECORD.replace('file other', 'file another')
        self.differs(renamed, 'other: it was recorded, is missing',
                     'another: it was missing, is recorded')
        self.differs(renamed, options=('--ignore=files',))
        # The order of files is of no account, nor are their names.
        head, vm, other = re.split(r'(?=^file )', RECORD[:-4], flags=re.M)
        self.differs(head + other + vm.replace('name=/memfd:x', 'name=y') +
                     'end\n')
        self.differs(RECORD.replace('other page_size=2097152',
                                    'other page_size=1073741824'),
                     'other: page size was 2097152, is 1073741824')

    def test_long_labels(self):
        label = 'x' * 100000
        self.differs(RECORD.replace('file other', f'file {label}'),
                     'other: it was recorded, is missing',
                     f'{label}: it was missing, is recorded')

    def test_no_records(self):
        for after, message in (
                ('', 'is no record'),
                ('hello\n', 'is no record'),
                (RECORD.replace('hugeverify 1', 'hugeverify 2'),
                 'another version of the format, 2'),
                (RECORD[:-4], 'is incomplete'),
                (RECORD + 'end\n', ':11: there is something after the end'),
                (RECORD.replace('pages=3', 'pages=2'), ':8: a page too many'),
                (RECORD.replace('pages=3', 'pages=4'),
                 ':9: pages are missing'),
                (RECORD.replace('page 2', 'page 1'), ':7: the pages are not'),
                (RECORD.replace('page 2', 'page -2'), ':7: not a page'),
                (RECORD.replace('hash=aa', 'hash='), ':6: not a page'),
                (RECORD.replace('hash=aa', 'hash=1ffffffffffffffff'),
                 ':6: not a page'),
                (RECORD.replace('hash=aa', 'hash=aa more'), ':6: not a page'),
                (RECORD.replace('page_size=2097152 size=0',
                                'page_size=0 size=0'), ':9: not a file'),
                (RECORD.replace('file other', 'file vm'), ':9: a file with'),
                (RECORD.replace('file other', 'file o"r'), ':9: not a file'),
                (RECORD.replace('hugepages 8', 'hugepages 8a'),
                 ':2: not a counter'),
                (RECORD.replace('all/nr_hugepages', 'node0/free_hugepages'),
                 ':3: this counter was there'),
                (RECORD.replace('counter cgroup', 'kounter cgroup'),
                 ':4: not known'),
                (RECORD.replace('end', '\nend'), ':10: an empty line')):
            with self.subTest(message):
                status, output, errors = self.compare(after)
                self.assertIn(message, errors)
                self.assertEqual((status, output), (2, ''))
        status, _, errors = run('compare', '/nonexistent', '/nonexistent')
        self.assertEqual(status, 2)
        self.assertIn('/nonexistent', errors)


class Usage(unittest.TestCase):
    def test_help(self):
        status, output, _ = run('--help')
        self.assertEqual(status, 0)
        for word in ('record', 'compare', 'hugeverify 1', 'page INDEX'):
            self.assertIn(word, output)

    def test_bad_usage(self):
        for arguments, message in (
                ((), 'what is to be done'),
                (('copy',), "no 'copy'"),
                (('compare',), 'two records'),
                (('compare', 'a', 'b', 'c'), 'two records'),
                (('compare', '--ignore=frames', 'a', 'b'), "no 'frames'"),
                (('compare', '--ignore=frame,', 'a', 'b'), "no ''"),
                (('compare', '--xml', 'a', 'b'), '--xml'),
                (('compare', 'a', '--ignore'), 'lacks its value'),
                (('record', '--fd', '1x'), 'no number'),
                (('record', '--pid=-1'), 'no number'),
                (('record', '--fds=1'), 'unknown option'),
                (('record', '--fd'), 'lacks its value'),
                (('record', '--label', 'x'), 'followed by nothing'),
                (('record', '--label=', '--fd=1'), 'a label must'),
                (('record', '--fd=1', '--fd=1'), 'two items'),
                (('record', '--shmem', '/proc/self/status'), 'not a file')):
            with self.subTest(arguments):
                status, output, errors = run(*arguments)
                self.assertIn(message, errors)
                self.assertEqual((status, output), (2, ''))


class Record(unittest.TestCase):
    def setUp(self):
        self.fds = []

    def tearDown(self):
        for fd in self.fds:
            os.close(fd)

    def memfd(self, page_size, nr, pages, flags=0):
        fd = os.memfd_create('a "b"', flags)
        self.fds.append(fd)
        os.ftruncate(fd, nr * page_size)
        # Huge pages cannot be written with write().
        with mmap.mmap(fd, nr * page_size,
                       flags=mmap.MAP_SHARED | MAP_NORESERVE) as memory:
            for index, content in pages.items():
                memory[index * page_size] = 0
                memory[index * page_size:index * page_size + len(content)] = \
                    content
        return fd

    def record(self, fd, *options, **kwargs):
        blocks = os.fstat(fd).st_blocks
        os.lseek(fd, 5, os.SEEK_SET)
        status, output, errors = run('record', *options, '--label=a b',
                                     f'--fd={fd}', pass_fds=[fd], **kwargs)
        self.assertEqual((status, errors), (0, ''))
        self.assertEqual(os.fstat(fd).st_blocks, blocks)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_CUR), 5)
        lines = output.splitlines()
        self.assertEqual((lines[0], lines[-1]), ('hugeverify 1', 'end'))
        first = [n for n, line in enumerate(lines)
                 if line.startswith('file ')][0]
        return lines[first], lines[first + 1:-1]

    def check(self, page_size, pages, *options, flags=0, **kwargs):
        fd = self.memfd(page_size, 20, pages, flags)
        line, found = self.record(fd, *options, **kwargs)
        self.assertEqual(line, f'file a%20b page_size={page_size} size='
                         f'{20 * page_size} pages={len(pages)} '
                         'name=/memfd:a%20%22b%22%20(deleted)')
        self.assertEqual(
            [(line.split()[1], line.split('hash=')[1]) for line in found],
            [(str(index), f'{xxh64(content.ljust(page_size, bytes(1))):x}')
             for index, content in pages.items()])
        return fd, found

    def test_base_pages(self):
        _, pages = self.check(BASE, {0: b'x', 3: b'', 4: os.urandom(BASE),
                                     19: b'y'}, '--shmem')
        if os.geteuid() == 0:
            for page in pages:
                self.assertRegex(page, r' frame=[0-9a-f]+ node=(\d+|-) ')

    def test_without_userfaultfd(self):
        if platform.machine() not in ('x86_64', 'aarch64'):
            self.skipTest('the number of userfaultfd() is not known')
        self.check(BASE, {2: b'x', 19: bytes(BASE - 1) + b'y'}, '--shmem',
                   preexec_fn=no_userfaultfd)
        self.check(BASE, {n: b'' for n in range(20)}, '--shmem',
                   preexec_fn=no_userfaultfd)
        self.check(BASE, {}, '--shmem', preexec_fn=no_userfaultfd)
        fd = self.memfd(BASE, 20, {2: b'x', 4: b''})
        status, output, errors = run('record', '--shmem', f'--fd={fd}',
                                     pass_fds=[fd], preexec_fn=no_userfaultfd)
        self.assertEqual((status, output), (1, ''))
        self.assertIn('found 1 of 2 pages; telling zeroes', errors)

    def test_a_partial_page(self):
        fd = self.memfd(BASE, 1, {0: b'x' * BASE})
        os.ftruncate(fd, 100)
        _, pages = self.record(fd, '--shmem')
        self.assertEqual(pages[0].split('hash=')[1],
                         f'{xxh64((b"x" * 100).ljust(BASE, bytes(1))):x}')

    def test_sealed(self):
        fd = self.memfd(BASE, 20, {2: b'x', 3: b''}, os.MFD_ALLOW_SEALING)
        # F_ADD_SEALS: no write, grow, shrink.
        self.assertEqual(LIBC.fcntl(fd, 1033, 14), 0)
        _, pages = self.record(fd, '--shmem')
        self.assertEqual([page.split()[1] for page in pages], ['2', '3'])

    def test_only_huge_pages_unless_told(self):
        fd = self.memfd(BASE, 1, {})
        status, output, errors = run('record', f'--fd={fd}', pass_fds=[fd])
        self.assertEqual((status, output), (2, ''))
        self.assertIn('hugetlbfs', errors)

    def test_output_is_a_new_file(self):
        path = f'{FOLDER.name}/out'
        self.assertEqual(run('record', '--out', path), (0, '', ''))
        with open(path, encoding='ascii') as file:
            text = file.read()
        self.assertRegex(text, r'(?s)\Ahugeverify 1\n.*end\n\Z')
        status, _, errors = run('record', f'--out={path}')
        self.assertEqual(status, 2)
        self.assertIn('exists', errors)
        with open(path, encoding='ascii') as file:
            self.assertEqual(file.read(), text)

    def test_huge_pages(self):
        try:
            with open('/sys/kernel/mm/hugepages/hugepages-2048kB/'
                      'free_hugepages', encoding='ascii') as file:
                free = int(file.read())
        except OSError:
            free = 0
        if free < 3:
            self.skipTest('the pool has no free huge pages of 2 MiB')
        fd, pages = self.check(HUGE, {1: b'x', 5: b'', 6: b'z' * HUGE},
                               flags=MFD_HUGETLB)
        self.assertEqual(self.record(fd)[1], pages)
        # A process sees what it has touched.
        with mmap.mmap(fd, 20 * HUGE,
                       flags=mmap.MAP_SHARED | MAP_NORESERVE) as memory:
            _ = memory[6 * HUGE]
            status, output, errors = run('record', '--label=me',
                                         f'--pid={os.getpid()}')
        self.assertEqual((status, errors), (0, ''))
        self.assertIn(f'file me/0 page_size={HUGE} size={20 * HUGE} pages=1 ',
                      output)
        self.assertEqual(output.splitlines()[-2].split('hash=')[1],
                         pages[2].split('hash=')[1])


if __name__ == '__main__':
    unittest.main(argv=sys.argv)
