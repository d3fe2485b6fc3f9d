#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Tests of the scripts that build and install nothing.

usage: scripts_test.py --build=FOLDER [unittest's arguments]
"""
import os
import subprocess
import sys
import tempfile
import unittest

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


if __name__ == '__main__':
    if len(sys.argv) < 2 or not sys.argv[1].startswith('--build='):
        sys.exit(__doc__)
    BUILD = sys.argv.pop(1)[len('--build='):]
    unittest.main()
