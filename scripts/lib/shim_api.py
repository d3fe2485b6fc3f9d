#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Compares what kernel/new sees in the kernel with what it sees in sim/.

The sources of kernel/new are compiled in two worlds, against the headers of
the real kernel (with the very command that kbuild used) and against
sim/include (with the command that CMake has for it). All that is compared is
the compiler's output:

  bytes       the files of kernel/new that went into either compilation
  prototypes  the functions that kernel/new names (gcc -aux-info). Where one
              side has a macro of that name, it is called with the types of
              the other side's function, every mismatch an error.
  constants   the values of constants, the sizes and kinds of the types in
              use, the layout of the structures of the ABI (read off the
              assembly of a table of them)

A difference that has to be stands in shim-differences.txt with its reason.
"""

import argparse
import hashlib
import json
import pathlib
import re
import shlex
import subprocess
import sys

KEYWORDS = set('''auto break case char const continue default do double else
enum extern float for goto if inline int long register restrict return short
signed sizeof static struct switch typedef union unsigned void volatile while
_Bool __int128 typeof __typeof__ asm bool'''.split())
BASE_TYPES = set('''char int short long signed unsigned void float double _Bool
__int128'''.split())
# What an integer type is, past its typedefs; a structure's size may differ.
KINDS = ['_Bool', 'char', 'signed char', 'unsigned char', 'short',
         'unsigned short', 'int', 'unsigned int', 'long', 'unsigned long',
         'long long', 'unsigned long long']


class World:
  """One set of headers: runs the compiler on kernel/new with them."""

  def __init__(self, name, command, folder, root, scratch):
    self.name = name
    self.command = command  # without input and output
    self.folder = folder
    self.root = root  # where the files of kernel/new lie in this world
    self.scratch = scratch
    scratch.mkdir(parents=True, exist_ok=True)

  def gcc(self, *words, check=True):
    result = subprocess.run([*self.command, *map(str, words)],
                            cwd=self.folder, capture_output=True, text=True)
    if check and result.returncode != 0:
      first = re.search(r'.*error: .*', result.stderr)
      sys.exit(f'kernel/new does not compile against {self.name}:\n'
               + (first[0] if first else result.stderr[:4000]))
    return result

  def source(self, name):
    return self.root / name

  def prototypes(self, name):
    """name of function -> normal form of its type."""
    out = self.scratch / 'prototypes'
    self.gcc('-w', '-fsyntax-only', '-aux-info', out, self.source(name))
    return parse_prototypes(out.read_text(errors='replace'))

  def macros(self, name):
    """name of macro -> (parameters or None, body)."""
    text = self.gcc('-w', '-E', '-dM', self.source(name)).stdout
    found = {}
    for line in text.splitlines():
      macro = re.match(r'#define (\w+)(\([^)]*\))?\s?(.*)', line)
      if macro:
        found[macro[1]] = (macro[2], macro[3])
    return found

  def inputs(self, name):
    """Paths of all files that went into a compilation."""
    text = self.gcc('-w', '-M', self.source(name)).stdout
    words = text.replace('\\\n', ' ').split(':', 1)[1].split()
    return [(self.folder / w).resolve() for w in words]

  def probe(self, name, lines, *flags):
    """Compiles kernel/new/name with lines appended. Returns errors by line.

    And the assembly, if asked for with -S as a flag.
    """
    path = self.scratch / 'probe.c'
    path.write_text(f'#include "{self.source(name)}"\n#line 1 "kcheck"\n'
                    + '\n'.join(lines) + '\n')
    out = self.scratch / 'probe.s'
    result = self.gcc('-w', '-fmax-errors=0', '-o', out,
                      *(flags or ['-fsyntax-only']), path, check=False)
    errors = {}
    for found in re.finditer(r'^kcheck:(\d+):(?:\d+:)? (?:fatal )?error: (.*)',
                             result.stderr, re.M):
      errors.setdefault(int(found[1]), found[2])
    if result.returncode != 0 and not errors:
      sys.exit(f'{self.name}: a probe does not compile:\n'
               + result.stderr[:4000])
    done = '-S' in flags and not errors
    return errors, out.read_text() if done else ''


# --- functions ---------------------------------------------------------------


def split_top(text):
  """Splits at commas outside parentheses."""
  parts, depth, part = [], 0, ''
  for char in text:
    if char == ',' and depth == 0:
      parts.append(part)
      part = ''
      continue
    depth += char in '([{'
    depth -= char in ')]}'
    part += char
  return [p.strip() for p in parts + [part] if p.strip()]


def drop_name(parameter):
  """The type alone of a parameter that may have a name."""
  text = re.sub(r'\b(register|restrict|__restrict|__restrict__)\b', ' ',
                parameter)
  pointer = re.match(r'(.*?\(\s*\*\s*(?:const\s+)?)(\w+)?(\s*\)\s*\(.*)', text)
  if pointer:
    text = pointer[1] + pointer[3]
  else:
    tokens = re.findall(r'\w+|\*|\.\.\.|\[[^\]]*\]', text)
    words = [t for t in tokens if re.match(r'\w', t)
             and t not in ('const', 'volatile')]
    tagged = any(w in ('struct', 'union', 'enum') for w in words)
    based = any(w in BASE_TYPES for w in words)
    last = next((t for t in reversed(tokens) if not t.startswith('[')), '')
    named = (re.match(r'[A-Za-z_]', last) and last not in BASE_TYPES
             and last not in ('const', 'volatile')
             and len(words) > (2 if tagged else 1)
             and (tagged or based or len(words) > 1))
    if named:
      del tokens[len(tokens) - 1 - tokens[::-1].index(last)]
    text = ' '.join(tokens)
  return squeeze(text)


def squeeze(text):
  """One spelling: spaces only between words; canonical order of base types."""
  text = re.sub(r'__attribute__\s*\(\(.*?\)\)', ' ', text)
  text = re.sub(r'\b(_Bool)\b', 'bool', text)
  text = re.sub(r'\bint (?=unsigned|signed|long|short)', '', text)
  for many, one in (('long unsigned int', 'unsigned long'),
                    ('long int', 'long'), ('short int', 'short'),
                    ('short unsigned int', 'unsigned short'),
                    ('unsigned long int', 'unsigned long'),
                    ('long long unsigned int', 'unsigned long long'),
                    ('unsigned int', 'unsigned'),
                    ('long long int', 'long long')):
    text = re.sub(r'\b' + many + r'\b', one, text)
  text = re.sub(r'\s+', ' ', text).strip()
  return re.sub(r'\s*([*(),\[\]])\s*', r'\1', text)


def parse_prototypes(text):
  """Reads gcc's -aux-info: name -> (result, parameters, where)."""
  found = {}
  for line in text.splitlines():
    said = re.match(r'/\* (.*?):(\d+):([NOI])([CFI]) \*/ (.*)', line)
    if not said or said[3] == 'I':
      continue
    code = re.sub(r'/\*.*?\*/', ' ', said[5]).strip().rstrip(';')
    code = re.sub(r'\b(extern|static|inline|__inline|__inline__)\b', ' ', code)
    # The last parenthesis at depth 0 opens the parameters, unless the
    # function returns a pointer to a function; those do not occur here.
    name = re.search(r'([A-Za-z_]\w*)\s*\(', code)
    if not name or not code.endswith(')'):
      continue
    parameters = code[name.end():-1]
    types = [drop_name(p) for p in split_top(parameters)]
    where = found[name[1]][2] if name[1] in found else said[1]
    found[name[1]] = (squeeze(code[:name.start()]), types or ['void'], where)
  return found


def show(name, prototype):
  return f'{prototype[0]} {name}({", ".join(prototype[1])})'


# --- the sources -------------------------------------------------------------


def strip(text):
  """C without comments, strings, characters and #include lines."""
  text = re.sub(r'/\*.*?\*/|//[^\n]*', ' ', text, flags=re.S)
  text = re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', '""', text)
  return re.sub(r'^\s*#\s*include.*$', ' ', text, flags=re.M)


def identifiers(text):
  """Identifiers in use, but for members of structures."""
  return set(re.findall(r'(?<![\w.>])[A-Za-z_]\w*', strip(text))) | set(
      re.findall(r'(?<=[^-]>)[A-Za-z_]\w*', strip(text)))


def called(text):
  return set(re.findall(r'(?<![\w.>])([A-Za-z_]\w*)\s*\(', strip(text)))


class Differences:
  """The list of differences that have to be, each with its reason."""

  def __init__(self, path, kind):
    self.allowed = {}
    self.used = set()
    self.path = path
    self.kind = kind
    if path.exists():
      for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith('#'):
          continue
        said = re.match(r'(\w+) (\w+): (\S.*)', line)
        if not said:
          sys.exit(f'{path.name}:{number}: not "CHECK NAME: reason"')
        if said[1] == kind:
          self.allowed[said[2]] = said[3]

  def allows(self, name):
    if name in self.allowed:
      self.used.add(name)
      return True
    return False

  def stale(self):
    return [f'{self.path.name}: {self.kind} {name}: no such difference any '
            'more; remove the line'
            for name in sorted(self.allowed.keys() - self.used)]


def type_line(name, prototype):
  """Fails to compile unless the function has that type."""
  return (f'_Static_assert(__builtin_types_compatible_p(__typeof__({name}), '
          f'{prototype[0]} ({", ".join(prototype[1])})), "type");')


def call_line(number, name, prototype):
  """Fails to compile unless name can be called as a function of that type."""
  result, parameters = prototype[:2]
  real = [p for p in parameters if p not in ('void', '...')]
  declared = ', '.join(f'__typeof__({p}) kc_a{i}' for i, p in enumerate(real))
  call = f'{name}({", ".join(f"kc_a{i}" for i in range(len(real)))})'
  if result == 'void':
    body = f'{{ {call}; }}'
  else:
    # A bool may be an int to a macro.
    kind = f'__builtin_types_compatible_p(__typeof__({call}), {result})'
    if result == 'bool':
      kind += f' || __builtin_types_compatible_p(__typeof__({call}), int)'
    body = f'{{ _Static_assert({kind}, "result type"); return {call}; }}'
  return (f'static __attribute__((unused)) __typeof__({result}) '
          f'kc_probe_{number}({declared or "void"}) {body}')


class Probes:
  """Lines to be compiled in one world, all at once."""

  def __init__(self, world):
    self.world = world
    self.lines = []
    self.errors = {}

  def add(self, line):
    """Returns the line's number."""
    self.lines.append(line)
    return len(self.lines)

  def run(self, source):
    if self.lines:
      self.errors, _ = self.world.probe(
          source, self.lines, '-fsyntax-only',
          '-Werror=incompatible-pointer-types', '-Werror=int-conversion',
          '-Werror=discarded-qualifiers')


def resolve(name, prototypes, macros):
  """The prototype of name, past macros that just give another name."""
  for _ in range(5):
    if name not in macros:
      return prototypes.get(name)
    parameters, body = macros[name]
    if parameters or not re.fullmatch(r'\w+', body):
      return None
    if body == name:
      return prototypes.get(name)
    name = body
  return None


def macro_signatures(args):
  path = args.repo / 'scripts/lib/shim-macros.txt'
  lines = [line for line in path.read_text().splitlines()
           if line.strip() and not line.startswith('#')]
  return parse_prototypes('\n'.join(f'/* x:1:NC */ {line};'
                                    for line in lines))


def compare_prototypes(args, worlds):
  differences = Differences(args.allow, 'prototypes')
  problems, agree, called_as = [], set(), set()
  signatures = macro_signatures(args)

  def problem(name, text):
    if not differences.allows(name):
      problems.append(f'{name}: {text}')

  for path in args.sources:
    source = str(path.relative_to(args.new))
    text = path.read_text() + '\n'.join(
        h.read_text() for h in args.headers)
    protos = [w.prototypes(source) for w in worlds]
    macros = [w.macros(source) for w in worlds]
    ours = {n for n, p in protos[0].items()
            if any(p[2].endswith(str(f.relative_to(args.new)))
                   for f in args.sources + args.headers)}
    ours |= set(re.findall(r'^#define (\w+)', text, re.M))
    probes = [Probes(w) for w in worlds]
    pending = []  # (name, [(side, line)...], all or one, complaint)
    calls = called(text)
    for name in sorted((identifiers(text) | calls) - ours - KEYWORDS):
      protos_of = [resolve(name, p, m) for p, m in zip(protos, macros)]
      if all(protos_of):
        if protos_of[0][:2] == protos_of[1][:2]:
          agree.add(name)
          continue
        # The same type under other names (pgoff_t, unsigned long)?
        lines = [(i, probes[i].add(type_line(name, protos_of[1 - i])))
                 for i in (0, 1)]
        pending.append((name, lines, any,
                        f'the kernel has\n    {show(name, protos_of[0])}\n'
                        f'  and sim/include\n    '
                        f'{show(name, protos_of[1])}'))
      elif name not in calls:
        continue  # A variable or type that is a function's name elsewhere.
      elif any(protos_of):
        side = 0 if protos_of[0] else 1
        other = 1 - side
        if name not in macros[other]:
          problem(name, f'a function in {worlds[side].name}, unknown in '
                  f'{worlds[other].name}')
          continue
        line = probes[other].add(
            call_line(len(pending), name, protos_of[side]))
        pending.append((name, [(other, line)], all,
                        f'a macro in {worlds[other].name} that cannot be '
                        f'called as\n    {show(name, protos_of[side])}\n'
                        f'  of {worlds[side].name}'))
      elif name in signatures:
        lines = [(i, probes[i].add(
            call_line(len(pending), name, signatures[name])))
                 for i in (0, 1)]
        pending.append((name, lines, all, 'cannot be called as\n    '
                        f'{show(name, signatures[name])}\n'
                        '  of shim-macros.txt in both worlds'))
      elif all(name in m and m[name][0] for m in macros):
        counts = [len(split_top(m[name][0][1:-1])) for m in macros]
        if counts[0] != counts[1] and not any(
            '...' in m[name][0] for m in macros):
          problem(name, f'a macro of {counts[0]} parameters in the kernel, '
                  f'of {counts[1]} in sim/include')
    for probe in probes:
      probe.run(source)
    for name, lines, how, complaint in pending:
      errors = [probes[side].errors.get(line) for side, line in lines]
      if how(error is None for error in errors):
        (agree if how is any else called_as).add(name)
      else:
        problem(name, f'{complaint}: {next(e for e in errors if e)}')
  problems += differences.stale()
  if len(agree) < 5:
    problems.append('too few functions were found; the check itself is broken')
  note = (f'{len(agree)} functions agree, {len(called_as)} more called '
          'through a macro')
  if differences.used:
    note += f', {len(differences.used)} differences allowed'
  return problems, note


# --- constants ---------------------------------------------------------------


def abi_structures(headers):
  """(structure, member or None) of the structures in the ABI headers."""
  found = []
  for path in headers:
    if '/abi/' not in str(path):
      continue
    for body in re.finditer(r'struct (\w+) \{(.*?)\n\}', strip(
        path.read_text()), re.S):
      found.append((body[1], None))
      for member in re.finditer(r'(\w+)\s*(?:\[[^\]]*\])*\s*;', body[2]):
        found.append((body[1], member[1]))
  return found


def expressions(args, source, worlds):
  """name -> C expression to compare, for one source of kernel/new."""
  path = args.new / source
  text = path.read_text() + '\n'.join(h.read_text() for h in args.headers)
  wanted = {}
  for name in sorted(identifiers(text)):
    if re.match(r'_*[A-Z]\w*$', name):
      wanted[name] = f'({name})'
  # The types in use, by their own name or in a prototype.
  types = identifiers(text)
  for world in worlds:
    protos = world.prototypes(source)
    for name in called(text) & protos.keys():
      for part in [protos[name][0], *protos[name][1]]:
        types |= set(re.findall(r'(?<!struct )(?<!enum )(?<!union )\b\w+',
                                part))
  kinds = ', '.join(f'{k}: {i + 1}' for i, k in enumerate(KINDS))
  for name in sorted(types - KEYWORDS):
    if re.match(r'[a-z_][a-z0-9_]*(_t|\d)$|_?_?[su](8|16|32|64)$|bool$|'
                r'__[a-z]+\d+$|uint$|ulong$|dev_t$', name):
      wanted[f'type {name}'] = (
          f'(_Generic(*({name} *)16, {kinds}, default: 0) * sizeof({name}))')
  for structure, member in abi_structures(args.headers):
    if member:
      wanted[f'offset of {structure}.{member}'] = (
          f'__builtin_offsetof(struct {structure}, {member})')
    else:
      wanted[f'size of {structure}'] = f'sizeof(struct {structure})'
  return wanted


def values(world, source, wanted):
  """name -> value as the compiler has it; what is no constant is left out."""
  names = list(wanted)
  for _ in range(20):
    lines = [
        'static __attribute__((used, section(".kcheck"))) const unsigned long '
        f'long kcheck_{i} = (unsigned long long){wanted[n]};'
        for i, n in enumerate(names)
    ]
    errors, _ = world.probe(source, lines)
    if not errors:
      break
    names = [n for i, n in enumerate(names) if i + 1 not in errors]
  else:
    sys.exit(f'{world.name}: no table of constants compiles: {errors}')
  errors, assembly = world.probe(source, lines, '-S')
  if errors:
    sys.exit(f'{world.name}: no table of constants compiles: {errors}')
  found = {}
  strings = {label: text for label, text in re.findall(
      r'^(\.LC\d+):\n\s*\.string\s+(".*")', assembly, re.M)}
  for i, name in enumerate(names):
    said = re.search(rf'^kcheck_{i}:\n\s*\.(quad|zero)\s+(\S+)', assembly,
                     re.M)
    if not said:
      continue
    value = '0' if said[1] == 'zero' else strings.get(said[2], said[2])
    found[name] = value
  return found


def compare_constants(args, worlds):
  differences = Differences(args.allow, 'constants')
  problems, count = [], 0
  own = {}
  for path in args.sources:
    source = str(path.relative_to(args.new))
    wanted = expressions(args, source, worlds)
    one, other = (values(w, source, wanted) for w in worlds)
    own.update(one)
    for name in wanted:
      if name not in one and name not in other:
        if name.startswith(('size of', 'offset of')):
          problems.append(f'{name}: cannot be computed; is the header of '
                          'the ABI included?')
        continue
      # A type that one side does not have is in no source, only in a
      # prototype, and the prototypes are compared on their own.
      if one.get(name) == other.get(name) or (
          name.startswith('type ') and (name not in one or name not in other)):
        count += 1
      elif not differences.allows(name.split()[-1].split('.')[0]):
        problems.append(
            f'{name}: {one.get(name, "no constant")} in the kernel, '
            f'{other.get(name, "no constant")} in sim/include')
  problems += differences.stale()
  if count < 5:
    problems.append('too few constants were found; the check itself is broken')
  return sorted(set(problems)), f'{count} constants, types and offsets agree'


# --- bytes -------------------------------------------------------------------


def compare_bytes(args, worlds):
  problems, seen = [], set()
  new = args.new.resolve()
  for path in args.sources:
    source = str(path.relative_to(args.new))
    digests = []
    for world in worlds:
      ours = {}
      for used in world.inputs(source):
        for file in args.headers + args.sources:
          name = str(file.relative_to(args.new))
          # By the tail of its path: a copy elsewhere would show.
          tail = name[len('include/'):] if name.startswith('include/') else name
          if str(used).endswith('/' + tail):
            ours[name] = (used, hashlib.sha256(used.read_bytes()).hexdigest())
      digests.append(ours)
    real, sim = digests
    if source not in real or source not in sim:
      problems.append(f'{source}: not among what was compiled')
    for name in sorted(real.keys() | sim.keys()):
      want = hashlib.sha256((args.new / name).read_bytes()).hexdigest()
      for world, ours in zip(worlds, digests):
        if name not in ours:
          problems.append(f'{name}: not included in {world.name}')
        elif ours[name][1] != want:
          problems.append(f'{name}: {world.name} compiles {ours[name][0]}, '
                          f'which differs from kernel/new/{name}')
      if name in sim and new not in sim[name][0].parents:
        problems.append(f'{name}: sim/ compiles a copy, {sim[name][0]}')
      seen.add(name)
  return problems, (f'{len(seen)} files of kernel/new, the same in both '
                    'compilations')


# --- worlds ------------------------------------------------------------------


def flags_of(command):
  """A compiler's command without input, output, dependencies, warnings."""
  words, skip = [], False
  for word in shlex.split(command)[1:-1]:
    if skip:
      skip = False
    elif word in ('-o', '-MF', '-MT', '-MQ'):
      skip = True
    elif (word not in ('-c', '-MD', '-MMD', '--coverage') and
          not word.startswith(('-Wp,-MMD', '-fsanitize')) and
          (not word.startswith('-W') or word.startswith('-Wp,'))):
      words.append(word)
  return ['gcc', *words]


def real_world(args, source):
  """From the file that kbuild leaves beside the object."""
  folder, base = source.rsplit('/', 1)
  path = args.build / folder / f'.{base[:-2]}.o.cmd'
  if not path.exists():
    sys.exit(f'{source} was not built with the option on; see build-on')
  line = path.read_text().splitlines()[0]
  return World('the kernel', flags_of(line.split(':=', 1)[1].split(' ; ')[0]),
               args.build, args.tree, args.scratch / 'real')


def sim_world(args, source):
  """From CMake's list of commands."""
  for entry in json.loads((args.sim_build / 'compile_commands.json')
                          .read_text()):
    if entry['file'] == str(args.new / source):
      return World('sim/include', flags_of(entry['command']),
                   pathlib.Path(entry['directory']), args.new,
                   args.scratch / 'sim')
  sys.exit(f'CMakeLists.txt does not compile kernel/new/{source}')


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('check', choices=['bytes', 'prototypes', 'constants'])
  parser.add_argument('--repo', type=pathlib.Path, required=True)
  parser.add_argument('--tree', type=pathlib.Path, required=True)
  parser.add_argument('--build', type=pathlib.Path, required=True)
  parser.add_argument('--sim-build', type=pathlib.Path, required=True,
                      help="a folder with CMake's compile_commands.json")
  parser.add_argument('--scratch', type=pathlib.Path, required=True)
  args = parser.parse_args()
  args.new = args.repo / 'kernel/new'
  # tools/ has programs for userspace, which sim/ knows nothing of.
  args.sources, args.headers = (
      sorted(path for path in args.new.rglob(pattern)
             if path.relative_to(args.new).parts[0] != 'tools')
      for pattern in ('*.c', '*.h'))
  args.allow = args.repo / 'scripts/lib/shim-differences.txt'
  if not args.sources:
    sys.exit('kernel/new has no C file')
  problems = []
  first = str(args.sources[0].relative_to(args.new))
  worlds = [real_world(args, first), sim_world(args, first)]
  for path in args.sources:
    sim_world(args, str(path.relative_to(args.new)))
  compare = {'bytes': compare_bytes, 'prototypes': compare_prototypes,
             'constants': compare_constants}[args.check]
  problems, note = compare(args, worlds)
  for line in problems:
    print(line)
  if problems and args.check != 'bytes':
    print('mend sim/include, or give the reason in '
          'scripts/lib/shim-differences.txt')
  if not problems:
    print(note)
  return 1 if problems else 0


if __name__ == '__main__':
  sys.exit(main())
