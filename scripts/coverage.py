#!/usr/bin/env python3
"""Which branches of the library the tests take: builds it unoptimized and
counting, runs the tests, and sums what gcov reports by module and file.

    coverage.py [--jobs N] [--missing] [--no-run] [--tests REGEX] [FILE...]

--missing   lists every branch never taken, by file:line
--no-run    reports the counts that an earlier run left
--tests     runs only these (and adds to the counts that are there)
FILE        reports only files whose path contains it

docs/coverage.md says what is counted and what is left."""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/coverage"
GOAL = 90.0
# Tests of time, of memory, of the tree and of the installation; those of the
# tool, whose library does not count; and those that kill their children, which
# would die writing their counts.
LEFT_OUT = r"stall$|_large$|^check_|^cli\.|^model\.kill"
# What keeps two runs alike; the simulation takes one seed alone otherwise.
FIXED = {"ADB_TEST_SCALE": "small", "ADB_TEST_SEED": "1",
         "ADB_TEST_SEEDS": "150"}


def call(*command, **more):
    return subprocess.run([str(c) for c in command], cwd=ROOT, **more)


def build(jobs):
    for command in (["cmake", "--preset", "coverage", "-G", "Ninja"],
                    ["ninja", "-C", BUILD, "-j", jobs]):
        done = call(*command, stdout=subprocess.PIPE, text=True,
                    stderr=subprocess.STDOUT)
        if done.returncode:
            sys.exit(done.stdout)


def run_tests(jobs, tests):
    """The counts of an earlier run go, unless only some tests run."""
    if not tests:
        for file in BUILD.rglob("*.gcda"):
            file.unlink()
    log = BUILD / "tests.log"
    which = ["-R", tests] if tests else ["-E", LEFT_OUT]
    done = call("ctest", "--test-dir", BUILD, "-j", jobs, "--quiet",
                "--output-on-failure", "--output-log", log, *which,
                env=dict(os.environ, **FIXED))
    text = log.read_text(errors="replace")
    # A test that fails has run other branches than those it should.
    if done.returncode:
        sys.exit(text[-8000:])
    # What libgcov says when a file of counts does not fit or is torn.
    torn = [line for line in text.splitlines() if "profiling:" in line]
    if torn:
        sys.exit("\n".join(torn))


def gcov(notes):
    """What gcov knows of one object file; nothing was run: all counts 0."""
    done = call("gcov", "--json-format", "--stdout", "--branch-probabilities",
                notes, check=True, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True)
    wrong = [line for line in done.stderr.splitlines()
             if "mismatch" in line or "corrupt" in line]
    if wrong:
        sys.exit("\n".join(wrong))
    return [json.loads(line) for line in done.stdout.splitlines() if line]


class File:
    """The lines and branches of one source file, over all objects that
    contain it: a branch is taken if it is taken in one of them."""

    def __init__(self):
        self.lines = collections.Counter()
        self.branches = {}
        self.starts = {}

    def add(self, line):
        number = line["line_number"]
        self.lines[number] += line["count"]
        counts = [b["count"] for b in line["branches"]]
        if not counts:
            return
        before = self.branches.setdefault(number, counts)
        if before is counts:
            return
        if len(before) != len(counts):
            # A function inlined always has its branches once for each place:
            # what every copy of the line has in common is the source's.
            size = min(len(before), len(counts))
            if max(len(before), len(counts)) % size:
                raise ValueError(f"line {number}: {before} and {counts}")
            before, counts = fold(before, size), fold(counts, size)
        self.branches[number] = [a + b for a, b in zip(before, counts)]


def fold(counts, size):
    return [sum(counts[i::size]) for i in range(size)]


def collect(jobs):
    notes = [n for n in BUILD.rglob("*.gcno")]
    files = collections.defaultdict(File)
    source = str(ROOT / "src") + "/"
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for units in pool.map(gcov, notes):
            for unit in units:
                for file in unit["files"]:
                    if not file["file"].startswith(source):
                        continue
                    name = file["file"][len(source):]
                    for line in file["lines"]:
                        try:
                            files[name].add(line)
                        except ValueError as error:
                            sys.exit(f"src/{name}: {error}")
    return files


def percent(taken, of):
    return f"{100 * taken / of:6.1f}" if of else "     -"


def row(name, branches, lines):
    print(f"{name:34} {branches[0]:6} {branches[1]:6} {percent(*branches)}  "
          f"{lines[0]:6} {lines[1]:6} {percent(*lines)}")


def sums(files):
    counts = [c for f in files for b in f.branches.values() for c in b]
    lines = [c for f in files for c in f.lines.values()]
    return ((sum(c > 0 for c in counts), len(counts)),
            (sum(c > 0 for c in lines), len(lines)))


def report(files):
    print(f"{'':34} {'taken':>6} {'of':>6} {'%':>6}  "
          f"{'run':>6} {'of':>6} {'%':>6}")
    print(f"{'':34} {'branches':>20}  {'lines':>20}")
    modules = collections.defaultdict(list)
    for name in sorted(files):
        modules[name.split("/")[0]].append(name)
    for module, names in modules.items():
        for name in names:
            row("  " + name, *sums([files[name]]))
        row(module, *sums([files[n] for n in names]))
    branches, lines = sums(files.values())
    row("src", branches, lines)
    return 100 * branches[0] / branches[1]


def report_missing(files):
    for name in sorted(files):
        file = files[name]
        text = (ROOT / "src" / name).read_text().splitlines()
        for number, counts in sorted(file.branches.items()):
            never = [str(i) for i, c in enumerate(counts) if c == 0]
            if never:
                which = "never reached" if file.lines[number] == 0 else \
                    f"{','.join(never)} of {len(counts)}"
                print(f"src/{name}:{number}: {which}: "
                      f"{text[number - 1].strip()}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--no-run", action="store_true")
    parser.add_argument("--tests")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    if not options.no_run:
        build(options.jobs)
        run_tests(options.jobs, options.tests)
    files = collect(options.jobs)
    chosen = {n: f for n, f in files.items()
              if not options.files or any(p in "src/" + n
                                          for p in options.files)}
    if not chosen:
        sys.exit("no counts of such files")
    if options.missing:
        report_missing(chosen)
        return 0
    reached = report(chosen)
    if options.files or options.tests:
        return 0
    print(f"{reached:.2f} % of the branches; the goal is {GOAL:.0f} %")
    return 0 if reached >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
