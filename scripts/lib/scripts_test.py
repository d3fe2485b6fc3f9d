#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Tests of the scripts that build and install nothing.

usage: scripts_test.py --build=FOLDER [unittest's arguments]
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
from defects import read_mutants  # noqa: E402

LIB = os.path.dirname(os.path.realpath(__file__))
SCRIPTS = os.path.dirname(LIB)
BUILD = ''


def run(*command, **kwargs):
    """(status, output and errors)"""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                          timeout=120, check=False, **kwargs)
    return done.returncode, done.stdout


def block(name, output, verdict):
    return (f'1/9 Testing: {name}\n1/9 Test: {name}\nCommand: "x"\nOutput:\n'
            f'{"-" * 58}\n{output}<end of output>\n{verdict}\n')


class Failures(unittest.TestCase):
    def summary(self, *blocks):
        with tempfile.NamedTemporaryFile('w', suffix='.log') as log:
            log.write('Start testing: now\n' + ''.join(blocks))
            log.flush()
            status, output = run(sys.executable, f'{LIB}/failures.py',
                                 log.name)
        self.assertEqual(status, 0, output)
        self.assertLessEqual(len(output.splitlines()), 9, output)
        return output

    def test_properties_come_first(self):
        cli = ''.join(f'[ RUN      ] Cli.T{i}\na.cc:1: Failure\nFailed\nno\n'
                      f'[  FAILED  ] Cli.T{i} (1 ms)\n' for i in range(40))
        output = self.summary(
            block('cli_handover_test', cli, 'Test Failed.'),
            block('mm_slab_test', '[ RUN      ] A.B\n[       OK ] A.B (0 ms)\n',
                  'Test Passed.'),
            block('props_properties_test',
                  '[ RUN      ] P.A\n[       OK ] P.A (1 ms)\n'
                  '[ RUN      ] P.B\nr.h:1: Failure\nFailed\n'
                  'all: broke no-leak\n  step 12 (x): no-leak: 3\n'
                  '  shrunk from 9 to 1 commands\n'
                  'replay it: build/handover replay F\n'
                  '[  FAILED  ] P.B (1 ms)\n', 'Test Failed.'))
        self.assertEqual(output, (
            'FAILED props_properties_test P.B\n'
            '  all: broke no-leak\n  step 12 (x): no-leak: 3\n'
            '  replay it: build/handover replay F\n'
            'also failed: cli_handover_test (40)\n'))

    def test_a_crash_names_its_case(self):
        output = self.summary(block(
            'mm_slab_test', '[ RUN      ] A.B\n[       OK ] A.B (0 ms)\n'
            '[ RUN      ] A.C\nAborted\n', 'Test Failed.'))
        self.assertEqual(output, 'FAILED mm_slab_test A.C\n  Aborted\n'
                         '  the test program ended here\n')


class BuildErrors(unittest.TestCase):
    def show(self, log):
        with tempfile.NamedTemporaryFile('w', suffix='.log') as file:
            file.write(log)
            file.flush()
            return run('bash', '-c', f'. {LIB}/common.sh; . {LIB}/build.sh; '
                       f'show_build_errors {file.name}')[1]

    def test_a_function_that_sim_lacks_is_told_once(self):
        # What ld says, with and without -g, and by another compiler.
        output = self.show(
            'FAILED: a\n/usr/bin/ld: kernel_new_collected.o: in function '
            "`f':\nhugetlb_luo.c:(knew_text+0x1): undefined reference to "
            "`one'\nFAILED: b\n/usr/bin/ld: /x/b/../kernel/new/mm/y.c:602: "
            "undefined reference to `two'\n/usr/bin/ld: /x/kernel/new/mm/y.c:"
            "602: undefined reference to `two'\n")
        self.assertEqual(output, ''.join(
            f"kernel/new calls {name}, which sim/ does not have: "
            "docs/adding.md, 'A hook', tells how to add it\n"
            for name in ('one', 'two')))

    def test_a_command_of_an_earlier_build_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, text, seconds in (
                    ('build.ninja', 'rule cp\n  command = cp $in $out\n'
                     'build handover: cp source\n', 0),
                    ('source', '', 0), ('handover', '', 10)):
                path = os.path.join(folder, name)
                with open(path, 'w', encoding='utf-8') as file:
                    file.write(text)
                os.utime(path, (seconds, seconds))
            show = ('bash', '-c', f'. {LIB}/common.sh; . {LIB}/build.sh; '
                    f'stale_command {folder}')
            run('ninja', '-C', folder)  # now it knows the command
            self.assertEqual(run(*show), (0, ''))
            os.utime(os.path.join(folder, 'source'), (2e9, 2e9))
            self.assertIn('handover is older than the sources', run(*show)[1])
            os.remove(os.path.join(folder, 'handover'))
            self.assertEqual(run(*show), (0, ''))

    def test_other_errors_are_shown(self):
        self.assertEqual(self.show('[1/2] x\nFAILED: a\na.cc:1: error: b\n'),
                         'FAILED: a\na.cc:1: error: b\n')


class Usage(unittest.TestCase):
    def test_wrong_words_are_named(self):
        for command, says in (
                ('test --bogus', "unknown option '--bogus'"),
                ('demo --bogus', "unknown argument '--bogus'"),
                ('demo extra', "unknown argument 'extra'"),
                ('builds-agree --bogus', "unknown argument '--bogus'"),
                ('builds-agree --histories=1x', "not '1x'"),
                ('fetch-kernel --bogus', "unknown argument '--bogus'"),
                ('fetch-kernel --update extra', "unknown argument 'extra'"),
                ('kernel-check --bogus', "unknown argument '--bogus'"),
                ('kernel-check extra', "unknown argument 'extra'"),
                ('kernel-check --only=foo', "no check 'foo'"),
                ('kernel-check --only=build', "no check 'build'"),
                ('kernel-check --only=twins,', "no check ''"),
                ('kernel-check --only=', "no check ''"),
                ('kernel-cost --bogus', "unknown argument '--bogus'"),
                ('kernel-cost --limit=1s', 'no number of seconds'),
                ('kernel-history', 'no history to run'),
                ('kernel-history --bogus', "unknown argument --bogus"),
                ('kernel-history --random=0', '--random=0 is no number'),
                ('kernel-history --random=1 --seed=x', '--seed=x is no seed'),
                ('kernel-history --config=x', "no configuration 'x'"),
                ('kernel-history --limit=0 x', '--limit=0 is no number'),
                ('kernel-history nosuch', 'no history nosuch to be read'),
                ('series', 'no DIR'),
                ('series --bogus', "unknown argument '--bogus'"),
                ('series one two', "'two' is a second DIR"),
                ('series --clean one', '--clean is for --check'),
                ('series --author=me one', "'me' is no 'NAME <ADDRESS>'"),
                (f'series {__file__}', 'is no folder'),
                (f'series {LIB}', 'is not empty; --force'),
                ('kernel-test --bogus', "unknown argument '--bogus'"),
                ('kernel-test --config=bogus', "no configuration 'bogus'"),
                ('kernel-test --limit=0', 'no number of seconds'),
                ('kernel-test --jobs=x', 'no number of machines'),
                ('kernel-test --defect=bogus', "no defect 'bogus'"),
                ('kernel-test --stress=x', 'no number of seconds'),
                ('kernel-test --stress=9 --seed=-1', 'no seed'),
                ('kernel-test --seed=1', '--seed is for --stress'),
                ('kernel-test --stress=9 sparse', 'not for --stress'),
                ('kernel-test stress_2m', 'for --stress=SECONDS'),
                ('kernel-test cost_2m', 'for scripts/kernel-cost'),
                ('kernel-test no_such', "no test 'no_such'"),
                ('kernel-mutants --bogus', "'--bogus'"),
                ('kernel-mutants hole no-such', "'no-such'"),
                ('mutants --bogus', "'--bogus'"),
                ('mutants no-such', "'no-such'"),
                ('designs --bogus', "'--bogus'"),
                ('designs no-such', "'no-such'")):
            with self.subTest(command):
                name, *words = command.split()
                status, output = run(f'{SCRIPTS}/{name}', *words)
                self.assertEqual(status, 2, output)
                self.assertTrue(output.startswith(name + ': '), output)
                self.assertIn(says, output)
                self.assertIn('see --', output)

    def test_names_of_tests(self):
        # Asking ctest would begin its log anew, which is being written.
        with open(f'{BUILD}/CTestTestfile.cmake', encoding='utf-8') as file:
            tests = re.findall(r'^add_test\((?:\[=*\[)?(\w+)', file.read(), re.M)
        self.assertGreater(len(tests), 20)
        for name in ('nosuchtest', '', '[', '.*', 'mm_slab|'):
            with self.subTest(name):
                status, output = run(f'{SCRIPTS}/test', name)
                self.assertEqual(status, 2, output)
                self.assertIn(f"no test has '{name}'", output)
                listed = [line.strip() for line in output.splitlines()[1:-1]]
                self.assertEqual(sorted(listed), sorted(tests))

    def test_folders_that_cannot_be_written(self):
        with tempfile.NamedTemporaryFile() as file:
            environment = dict(os.environ, XDG_CACHE_HOME=file.name)
            for command in ('demo', 'kernel-check', 'fetch-kernel', 'mutants',
                            'series --check'):
                with self.subTest(command):
                    name, *words = command.split()
                    status, output = run(f'{SCRIPTS}/{name}', *words,
                                         env=environment)
                    self.assertEqual(status, 1, output)
                    self.assertEqual(len(output.splitlines()), 1, output)
                    self.assertIn(f'cannot write the folder {file.name}/',
                                  output)
                    self.assertIn('XDG_CACHE_HOME=DIR', output)

    def test_missing_packages_need_root(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (('dpkg-query', 'exit 1'), ('id', 'echo 1000')):
                path = os.path.join(folder, name)
                with open(path, 'w', encoding='utf-8') as file:
                    file.write(f'#!/bin/sh\n{text}\n')
                os.chmod(path, 0o755)
            environment = dict(os.environ,
                               PATH=f'{folder}:{os.environ["PATH"]}')
            status, output = run(f'{SCRIPTS}/test', env=environment)
            self.assertEqual(status, 1, output)
            self.assertIn('only root can install them: apt-get install g++ '
                          'cmake', output)

    def test_help(self):
        for name in ('test', 'demo', 'builds-agree', 'fetch-kernel',
                     'kernel-check', 'kernel-test', 'kernel-mutants',
                     'mutants', 'designs', 'series', 'faults', 'fuzz',
                     'kernel-cost', 'kernel-history'):
            status, output = run(f'{SCRIPTS}/{name}', '--help')
            self.assertEqual(status, 0, output)
            self.assertIn(f'usage: scripts/{name}', output)


class SerialLog(unittest.TestCase):
    """What serial_log.py makes of two kernels that did as they should."""

    LOG = ['Linux version 7.3.4', 'Kernel command line: luo_stage=1',
           '# stage 1 of t begins', '# stage 1 of t done, rebooting',
           'Linux version 7.3.4', 'Kernel command line: luo_stage=2',
           '# stage 2 of t begins', 'ok 1 t']

    def judge(self, lines, stages=2):
        with tempfile.NamedTemporaryFile('w', suffix='.log') as log:
            log.write('\r\n'.join(f'[    1.234567] {line}' if i % 2 else line
                                  for i, line in enumerate(lines)) + '\r\n')
            log.flush()
            status, output = run(sys.executable, f'{LIB}/serial_log.py',
                                 '--name', 't', '--stages', str(stages),
                                 log.name)
        failed = [line for line in output.splitlines() if 'FAILED' in line]
        self.assertEqual(status, bool(failed), output)
        return failed

    def test_a_chain_that_passed(self):
        self.assertEqual(self.judge(self.LOG), [])

    def test_each_line_is_needed(self):
        for line in range(len(self.LOG)):
            with self.subTest(self.LOG[line]):
                self.assertTrue(self.judge(self.LOG[:line] +
                                           self.LOG[line + 1:]))

    def test_a_cold_boot_in_between(self):
        # The first kernel's command line once more: nothing came by kexec.
        self.assertTrue(self.judge(self.LOG[:4] + self.LOG[:2] + self.LOG[6:]))
        self.assertTrue(self.judge(self.LOG, stages=3))

    def test_what_the_kernel_complains_of(self):
        for line in ('WARNING: mm/hugetlb.c:1 at f+0x1/0x2',
                     'BUG: KASAN: use-after-free in f', 'BUG: Bad page state',
                     'WARNING: possible circular locking dependency detected',
                     'INFO: task a:1 blocked for more than 122 seconds.',
                     'BUG: sleeping function called from invalid context',
                     'list_add corruption. prev->next should be next',
                     'Call trace:', 'Call Trace:',
                     'not ok 1 t', '# FAILURE [f:1] a is 1, should be 2',
                     'Kernel panic - not syncing: no'):
            with self.subTest(line):
                found = self.judge(self.LOG[:3] + [line] + self.LOG[3:])
                self.assertEqual(len(found), 1, found)
                self.assertIn(line.lstrip('# '), found[0])


def cost_log():
    """In ns: 10 to read the clock, 100 a file, 20 a page, 30 to freeze a file."""
    log = ['cost nothing files=0 pages=0 runs=0 rounds=9 min=10 median=10',
           'share calibration files=0 pages=0 runs=0 function=f calls=2 ns=6']
    for what in ('preserve', 'preserve_next', 'unpreserve', 'retrieve',
                 'finish'):
        for pages in (0, 256):
            ns = 110 + 20 * pages
            log.append(f'cost {what} files=1 pages={pages} runs=1 rounds=9 '
                       f'min={ns} median={ns + pages}')
            for function, ns in (('kho_restore_folio', 15),
                                 ('prep_compound_page', 12)):
                log.append(f'share {what} files=1 pages={pages} runs=1 '
                           f'function={function} calls={pages + 1} '
                           f'ns={(pages + 1) * (ns + 3)}')
    for files in (1, 4):
        for pages in (0, 1, 256):
            ns = 10 + 30 * files
            log.append(f'cost freeze files={files} pages={files * pages} runs=1 '
                       f'rounds=9 min={ns} median={ns}')
    log.append('cost freeze_late files=1 pages=16 runs=0 rounds=9 min=200 '
               'median=360')
    return log


def boot_log():
    """A log of luo_hugetlb_cost's boots, from what each thing in it costs."""
    yield '# calibration files=0 pages=0 runs=0 holes=0 function=x calls=10 ns=20'
    for files, pages, runs, holes in (
            (0, 0, 0, 0), (0, 1, 1, 0), (0, 9, 2, 0), (1, 1, 1, 0), (1, 9, 2, 0),
            (1, 9, 4, 0), (1, 0, 0, 1), (1, 0, 0, 5)):
        key = f'files={files} pages={pages} runs={runs} holes={holes}'
        for function, ns in (
                ('hugetlb_luo_boot_begin', 100 + 10 * pages),
                ('hugetlb_luo_boot_end', 0),
                ('hugetlb_luo_import',
                 1000 * files + 5 * pages + 7 * runs + 11 * holes),
                ('preserve', 2000 + 13 * holes), ('retrieve', 17 * holes)):
            if function in ('preserve', 'retrieve') and not holes:
                continue
            for more in (50, 0):  # the least counts, less what the tracer takes
                yield f'# boot {key} function={function} calls=1 ns={ns + more + 2}'
        yield f'[    1.000000] luo_hugetlb_cost: reboot {key}'
        yield f'[    1.{1000 + 3 * pages:06}] kexec_core: Starting new kernel'


class CostReport(unittest.TestCase):
    """What cost_report.py makes of logs of luo_hugetlb_cost."""

    LOG = cost_log()

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        for side in ('time', 'instructions'):
            os.mkdir(f'{self.folder.name}/{side}')
            for test in ('2m', '2m_hvo', '1g', '1g_hvo'):
                self.write(side, test, self.LOG)
            self.write_boot(side, boot_log())

    def write_boot(self, side, lines):
        with open(f'{self.folder.name}/{side}/cost-cost_boot.log', 'w',
                  encoding='utf-8') as file:
            file.writelines(f'{line}\r\n' for line in lines)

    def write(self, side, test, lines):
        with open(f'{self.folder.name}/{side}/cost-cost_{test}.log', 'w',
                  encoding='utf-8') as file:
            file.writelines(f'# {line}\r\n' for line in lines)

    def report(self, *words):
        return run(sys.executable, f'{LIB}/cost_report.py', *words,
                   '--time', f'{self.folder.name}/time',
                   '--instructions', f'{self.folder.name}/instructions')

    def test_what_a_page_and_a_file_cost(self):
        status, output = self.report()
        self.assertEqual(status, 0, output)
        rows = output.splitlines()
        cell = '20 / 21'
        self.assertIn(f'| preserve | {cell} | {cell} | {cell} | {cell} |', rows)
        cell = '0 / 0'
        self.assertIn('| freeze and unfreeze | '
                      f'{cell} | {cell} | {cell} | {cell} |', rows)
        cell = '10 / 20'
        self.assertIn('| the same, a late page | '
                      f'{cell} | {cell} | {cell} | {cell} |', rows)
        cell = '100 / 100'
        self.assertIn(f'| retrieve | {cell} | {cell} | {cell} | {cell} |', rows)
        cell = '30 / 30'
        self.assertIn('| freeze and unfreeze, one page | '
                      f'{cell} | {cell} | {cell} | {cell} |', rows)

    def test_the_time_of_the_profiler_is_left_out(self):
        rows = self.report()[1].splitlines()
        self.assertIn('| kho_restore_folio | 1 | 15 | 75.0 % |', rows)
        self.assertIn('| within it prep_compound_page | 1 | 12 | 60.0 % |', rows)
        self.assertIn('| the rest |  | 5 | 25.0 % |', rows)

    def test_boot(self):
        rows = self.report()[1].splitlines()
        for what, costs in (('boot accounting, nothing comes', '100'),
                            ('boot accounting, a page of a file', '10'),
                            ('boot accounting, a free page', '10'),
                            ('import, a file with a page', '1,012'),
                            ('import, a run', '7'),
                            ('import, a page of a file', '5'),
                            ('import, a free page', '5'),
                            ('import, a reserved hole', '11'),
                            ('preserve, a reserved hole', '13'),
                            ('retrieve, a reserved hole', '17'),
                            ('the same, a free page', '3,000')):
            self.assertIn(f'| {what} | {costs} | {costs} |', rows)
        status, only = self.report('--boot')
        self.assertEqual(status, 0, only)
        self.assertLess(set(only.splitlines()), set(rows))
        for missing in ('files=1 pages=1 ', 'holes=1 ', 'function=retrieve'):
            lines = [line for line in boot_log() if missing not in line]
            self.write_boot('time', lines)
            status, output = self.report('--boot')
            self.assertEqual(status, 1, output)
            self.assertIn('is not complete; run scripts/kernel-cost', output)

    def test_what_is_missing_is_named(self):
        for word in ('cost', 'nothing', 'finish', 'files=4 pages=4 '):
            self.write('time', '1g',
                       [line for line in self.LOG if word not in line])
            status, output = self.report()
            self.assertEqual(status, 1, output)
            self.assertEqual(len(output.splitlines()), 1, output)
            self.assertIn('cost-cost_1g.log', output)
        os.remove(f'{self.folder.name}/time/cost-cost_1g.log')
        self.assertIn('is missing; run scripts/kernel-cost', self.report()[1])


class Series(unittest.TestCase):
    """write_series.py on a kernel of one file."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.put('linux/mm/a.c', 'int a;\n')
        self.put('kernel/hooks/0001-a.patch',
                 'Subject: [PATCH] mm: make a long\n\nIt was short.\n\n---\n'
                 'diff --git a/mm/a.c b/mm/a.c\n--- a/mm/a.c\n+++ b/mm/a.c\n'
                 '@@ -1 +1 @@\n-int a;\n+long a;\n')
        self.put('kernel/new/mm/b.c', 'int b;\n')
        self.put('kernel/series', '# order\n0001-a.patch mm/b.c\n')
        self.put('kernel/cover-letter.txt', 'Subject: mm: a\n\nWhy.\n')

    def put(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)

    def write(self, out):
        # What the caller's git is told to do does not show.
        environment = dict(os.environ, GIT_DIR='/nowhere', TZ='Asia/Tokyo',
                           GIT_AUTHOR_DATE='2001-01-01T00:00:00Z')
        return run(sys.executable, f'{LIB}/write_series.py',
                   f'--pristine={self.folder}/linux',
                   f'--kernel={self.folder}/kernel',
                   '--author=A B <a@b.example>',
                   f'--out={self.folder}/{out}', env=environment)

    def read(self, name):
        with open(os.path.join(self.folder, name), encoding='utf-8') as file:
            return file.read()

    def test_patches_are_what_would_be_mailed(self):
        self.assertEqual(self.write('one'), (0, ''))
        patch = self.read('one/0001-mm-make-a-long.patch')
        for text in ('From: A B <a@b.example>\n',
                     'Subject: [PATCH 1/1] mm: make a long\n',
                     '\n\nIt was short.\n\nSigned-off-by: A B <a@b.example>\n'
                     '---\n', '+long a;\n', '+++ b/mm/b.c\n'):
            self.assertIn(text, patch)
        cover = self.read('one/0000-cover-letter.patch')
        for text in ('Subject: [PATCH 0/1] mm: a\n', '\n\nWhy.\n\nA B (1):\n',
                     ' 2 files changed, 2 insertions(+), 1 deletion(-)'):
            self.assertIn(text, cover)
        self.assertEqual(self.write('two'), (0, ''))
        for name in sorted(os.listdir(f'{self.folder}/one')):
            self.assertEqual(self.read(f'one/{name}'),
                             self.read(f'two/{name}'))

    def test_modes_are_those_of_the_kernel(self):
        os.chmod(f'{self.folder}/linux/mm/a.c', 0o755)
        self.assertEqual(self.write('out'), (0, ''))
        patch = self.read('out/0001-mm-make-a-long.patch')
        self.assertRegex(patch, r'\nindex \w+\.\.\w+ 100755\n--- a/mm/a.c\n')
        self.assertIn('\nnew file mode 100644\n', patch)

    def test_mistakes_are_named(self):
        for name, text, says in (
                ('new/c.c', 'int c;\n',
                 'kernel/new/c.c is not in kernel/series'),
                ('series', '0001-a.patch mm/b.c mm/b.c\n',
                 'kernel/series:1: kernel/new/mm/b.c stands there twice'),
                ('series', '0002-b.patch\n',
                 'kernel/series:1: kernel/hooks/0002-b.patch does not exist'),
                ('cover-letter.txt', 'Why.\n', "begin with 'Subject: '")):
            with self.subTest(says):
                self.setUp()
                self.put(f'kernel/{name}', text)
                status, output = self.write('out')
                self.assertEqual(status, 1, output)
                self.assertIn(says, output)
                self.assertEqual(len(output.splitlines()), 1, output)


class SeriesLinks(unittest.TestCase):
    """series_links.py on a kernel of three objects, one of them untouched."""

    KERNEL = ('mm/a.o: a_new T\nmm/a.o: b_new U\nmm/a.o: linker U\n'
              'mm/b.o: b T\nmm/b.o: b_new T\nmm/b.o: maybe W\n'
              'mm/c.o: b U\nmm/c.o: c T\nmm/c.o: maybe T\n')
    PRISTINE = 'mm/b.o: b T\nmm/b.o: maybe W\nheaders: b -\n'
    LAST = ('mm/a.o: a_new T\nmm/a.o: b_new U\nmm/a.o: c U\n'
            'mm/a.o: linker U\nmm/a.o: a_lack w\nmm/b.o: b T\n'
            'mm/b.o: b_new T\nmm/b.o: maybe W\n')

    setUp = Series.setUp
    put = Series.put

    def check(self, *steps, kernel=KERNEL, touched=''):
        self.put('image/symbols', kernel)
        self.put('image/System.map', '01 T b\n02 D linker\n03 t c_lack\n'
                 '04 T a_new\n05 T b_new\n06 T c\n07 T maybe\n')
        self.put('touched', touched)
        words = []
        for number, step in enumerate((self.PRISTINE,) + steps):
            self.put(f'step-{number}', step)
            words.append(f'patch-{number}={self.folder}/step-{number}')
        return run(sys.executable, f'{LIB}/series_links.py',
                   f'--kernel={self.folder}/image',
                   f'--touched={self.folder}/touched', *words)

    def test_what_links(self):
        self.assertEqual(self.check(self.PRISTINE + 'mm/b.o: b_new T\n',
                                    self.LAST), (0, ''))
        self.assertEqual(self.check(self.LAST, touched='mm/a.c\nmm/c.h\n'),
                         (0, ''))

    def test_what_does_not(self):
        none = 'mm/b.o: maybe W\n'
        for step, kernel, says in (
                # a local symbol of the kernel is of no use
                (self.LAST + 'mm/a.o: c_lack U\n', self.KERNEL,
                 'mm/a.o needs c_lack, which no object defines'),
                (self.LAST.replace('mm/b.o: b_new T\n', ''), self.KERNEL,
                 'mm/a.o needs b_new, which mm/b.o defines only from patch-2 '
                 'on: '),
                (none, self.KERNEL,
                 'mm/b.o no longer defines b, which mm/c.o still has'),
                (none + 'headers: b -\n', self.KERNEL.replace(': b U', ': x U'),
                 'mm/b.o no longer defines b, which a header that the series '
                 'touches still has'),
                (self.PRISTINE + 'headers: b_new -\n',
                 self.KERNEL + 'mm/c.o: b_new U\n',
                 'mm/c.o, which the series does not touch, needs by way of a '
                 'header b_new, which mm/b.o defines only from patch-2 on'),
                (self.LAST + 'mm/a.o: b D\n', self.KERNEL,
                 'b is defined more than once, in mm/a.o and mm/b.o'),
                (self.LAST + 'mm/a.o: c T\n', self.KERNEL,
                 'c is defined more than once, in mm/a.o and mm/c.o')):
            with self.subTest(says):
                status, output = self.check(step, self.LAST, kernel=kernel)
                self.assertEqual(status, 1, output)
                self.assertTrue(output.startswith(says), output)
                self.assertTrue(output.endswith(
                    'above: the kernel would not link after patch-1\n'), output)
                self.assertEqual(len(output.splitlines()), 2, output)

    def test_what_is_gone_may_be_gone(self):
        kernel = self.KERNEL.replace('mm/c.o: b U\n', '')
        self.assertEqual(self.check('mm/b.o: maybe W\n', kernel=kernel),
                         (0, ''))

    def test_an_object_that_was_not_built(self):
        status, output = self.check(self.LAST, touched='mm/c.c\n')
        self.assertEqual(status, 1, output)
        self.assertIn('mm/c.o is linked, but was not built', output)


class Documentation(unittest.TestCase):
    """kernel_docs.py with a Sphinx that warns of what stands in its pages."""

    SPHINX = r'''
import os, re, sys
words = sys.argv[1:]
trees, html = words[words.index('-d') + 1], words[-1]
os.makedirs(html, exist_ok=True)
every = ''
pattern = [w for w in words if w.startswith('include_patterns=')][0]
for page in pattern.partition('=')[2].split(','):
    tree = f'{trees}/{page[:-4]}.doctree'
    if not os.path.exists(page) or os.path.exists(tree):
        continue
    os.makedirs(os.path.dirname(tree), exist_ok=True)
    open(tree, 'w').close()
    print('read', page, file=open(f'{os.environ["srctree"]}/read', 'a'))
    text = open(page).read()
    for shown in re.findall('kernel-doc:: (.*)', text):
        text += open(f'../{shown}').read()
    for warning in re.findall('SAYS (.*)', text):
        print(warning.replace('HERE', os.environ['srctree']))
    every += text
sys.exit('FAILS' in every)
'''

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.put('bin/sphinx-build', f'#!{sys.executable}\n{self.SPHINX}')
        os.chmod(f'{self.folder}/bin/sphinx-build', 0o755)
        for tree in ('pristine', 'tree'):
            self.put(f'{tree}/Documentation/index.rst', '')
            self.put(f'{tree}/Documentation/mm/old.rst',
                     '.. kernel-doc:: mm/a.c\n')
            self.put(f'{tree}/Documentation/mm/index.rst', '')
            self.put(f'{tree}/Documentation/net/other.rst', '')
            self.put(f'{tree}/Documentation/core/there.rst', '')
            self.put(f'{tree}/mm/a.c', 'SAYS HERE/Documentation/mm/old:1: '
                     'HERE/mm/a.c:7: WARNING: known\n')
        self.put('tree/Documentation/mm/new.rst', ':doc:`/core/there`\n')

    put = Series.put
    read = Series.read

    def check(self):
        environment = dict(os.environ,
                           PATH=f'{self.folder}/bin:{os.environ["PATH"]}')
        self.put('tree/read', '')
        return run(sys.executable, f'{LIB}/kernel_docs.py',
                   f'--pristine={self.folder}/pristine',
                   f'--tree={self.folder}/tree', f'--out={self.folder}/out',
                   f'--known={self.folder}/known', 'mm/a.c',
                   'Documentation/mm/new.rst', env=environment)

    def test_pages_are_read_once(self):
        status, output = self.check()
        self.assertEqual(status, 0, output)
        self.assertIn('2 pages, 2 of them read', output)
        self.assertEqual(sorted(self.read('tree/read').split()[1::2]),
                         ['core/there.rst', 'index.rst', 'mm/index.rst',
                          'mm/new.rst', 'mm/old.rst'])
        self.assertEqual(self.check(), (0, '2 pages, none of them changed\n'))
        self.assertEqual(self.read('tree/read'), '')
        self.put('tree/mm/a.c', 'int a;\n')
        self.assertIn('2 pages, 1 of them read', self.check()[1])
        self.assertEqual(self.read('tree/read'), 'read mm/old.rst\n')

    def test_what_is_new_is_said_until_it_is_mended(self):
        for says, printed in (
                ('HERE/Documentation/mm/new.rst:1: WARNING: no such page',
                 'Documentation/mm/new.rst:1: WARNING: no such page'),
                ('HERE/Documentation/mm/new:5: HERE/mm/b.c:9: WARNING: no end',
                 'mm/b.c:9: WARNING: no end'),
                ('WARNING: HERE/mm/b.c:95 struct member not described',
                 'mm/b.c:95: WARNING: struct member not described'),
                ('ERROR: Cannot find file x',
                 'Sphinx: ERROR: Cannot find file x'),
                ('HERE/Documentation/mm/new.rst:2: CRITICAL: title',
                 'Documentation/mm/new.rst:2: ERROR: title')):
            with self.subTest(printed):
                self.put('tree/Documentation/mm/new.rst', f'SAYS {says}\n')
                for _ in range(2):
                    self.assertEqual(self.check(), (1, printed + '\n'))
                self.put('tree/Documentation/mm/new.rst', f'{printed}\n')
                self.assertEqual(self.check()[0], 0)

    def test_a_sphinx_that_fails(self):
        self.put('tree/Documentation/mm/new.rst', 'FAILS\n')
        for _ in range(2):
            status, output = self.check()
            self.assertEqual(status, 1, output)
            self.assertIn('Sphinx failed in', output)


class Pages(unittest.TestCase):
    """What docs/ and the README point to is there."""

    REPO = os.path.dirname(SCRIPTS)
    LINK = re.compile(r'\]\(([^)\s]+)\)|^\[[^]]+\]: (\S+)$', re.M)

    def pages(self):
        docs = os.path.join(self.REPO, 'docs')
        names = [os.path.join(docs, name) for name in sorted(os.listdir(docs))]
        for name in names + [os.path.join(self.REPO, 'README.md')]:
            if name.endswith('.md'):
                with open(name, encoding='utf-8') as file:
                    yield name, file.read()

    def test_links(self):
        checked = 0
        for page, text in self.pages():
            for target in (a or b for a, b in self.LINK.findall(text)):
                if '://' in target:
                    continue
                name, _, anchor = target.partition('#')
                path = os.path.normpath(
                    os.path.join(os.path.dirname(page), name)) if name else page
                where = f'{os.path.relpath(page, self.REPO)}: {target}'
                self.assertTrue(os.path.exists(path), where)
                checked += 1
                if not anchor:
                    continue
                with open(path, encoding='utf-8') as file:
                    there = file.read()
                titles = {re.sub(r'[^\w -]', '', title).lower().replace(' ', '-')
                          for title in re.findall(r'^#+ (.*)$', there, re.M)}
                self.assertTrue(f'id="{anchor}"' in there or anchor in titles,
                                where)
        self.assertGreater(checked, 100)

    def test_references(self):
        for page, text in self.pages():
            text = re.sub(r'^( {4}|```).*', '', text, flags=re.M)
            named = set(re.findall(r'^\[([^]]+)\]: ', text, re.M))
            used = set(re.findall(r'\]\[([^]]+)\]', text))
            self.assertLessEqual(used, named, page)

    def test_cells_of_huge_pages(self):
        """Functions are defined where they say; tests exist."""
        sources = ''
        folder = os.path.join(self.REPO, 'kernel/new/tools/testing/selftests/'
                              'liveupdate')
        for name in sorted(os.listdir(folder)):
            if name.startswith('luo_hugetlb'):
                with open(os.path.join(folder, name), encoding='utf-8') as file:
                    sources += file.read()
        tests = set(re.findall(r'^\t\{ "(\w+)",', sources, re.M))
        self.assertIn('roundtrip_2m', tests)
        with open(os.path.join(self.REPO, 'docs/huge-pages.md'),
                  encoding='utf-8') as file:
            text = file.read()
        files = dict(re.findall(r'^\[([^]]+)\]: (\S+)$', text, re.M))
        for function, name in re.findall(r'\[`(\w+)\(\)`\]\[([^]]+)\]', text):
            if '://' in files[name]:
                continue
            with open(os.path.join(self.REPO, 'docs', files[name]),
                      encoding='utf-8') as file:
                self.assertRegex(file.read(), rf'(?m)^\+?\w[^;]*\b{function}\(',
                                 f'{function}() is not in {files[name]}')
        heads, rows = [], 0
        for line in text.splitlines():
            cells = [cell.strip() for cell in line.strip('|').split('|')]
            if cells[0] == 'what':
                heads = cells
            elif not line.startswith('|'):
                heads = []
            elif 'real kernels' in heads and cells[0] != '---':
                cell = cells[heads.index('real kernels')]
                named = re.findall(r'`([a-z0-9_]+)`', cell)
                self.assertTrue(named or 'all tests' in cell, cells[0])
                rows += 1
                for name in named:
                    self.assertIn(name, tests, cells[0])
        self.assertGreater(rows, 25)

    def test_defects_of_huge_pages(self):
        """Each line has a defect, and all that are named there are."""
        there = {name for name, *_ in read_mutants()}
        with open(os.path.join(self.REPO, 'docs/mutants.md'),
                  encoding='utf-8') as file:
            caught = set(re.findall(r'^\| ([\w-]+) \|', file.read(), re.M))
        with open(os.path.join(self.REPO, 'docs/huge-pages.md'),
                  encoding='utf-8') as file:
            text = file.read()
        heads, rows, made_for_it = [], 0, set()
        for line in text.splitlines():
            cells = [cell.strip() for cell in line.strip('|').split('|')]
            if cells[:2] == ['what', 'kernel']:
                heads = cells
                self.assertIn('defects', heads)
            elif not line.startswith('|'):
                heads = []
            elif heads and cells[0] != '---':
                self.assertEqual(len(cells), len(heads), cells[0])
                made, _, older = cells[heads.index('defects')].partition('older')
                named = re.findall(r'`([^`]*)`', made + older)
                self.assertTrue(named, cells[0])
                self.assertEqual(set(named) - (there & caught), set(), cells[0])
                made_for_it.update(re.findall(r'`([^`]*)`', made))
                rows += 1
        self.assertGreater(rows, 35)
        self.assertGreaterEqual(len(made_for_it), 20)


if __name__ == '__main__':
    if len(sys.argv) < 2 or not sys.argv[1].startswith('--build='):
        sys.exit(__doc__)
    BUILD = sys.argv.pop(1)[len('--build='):]
    unittest.main()
