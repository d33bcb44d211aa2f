#!/usr/bin/env python3
"""Counts the instructions that albertdb needs for an operation, row by row,
and fails when one needs over a tenth more than instructions.txt says.

Time on a shared machine says little; instructions of one thread come out the
same at each run. valgrind counts them: hardware counters are denied in many
virtual machines, and count what that processor's dispatch chose.

    guard.py LOOPS             compares (LOOPS: the program bench_guard_loops)
    guard.py LOOPS --record    writes instructions.txt anew
    guard.py LOOPS --profile ROW    where they go, function by function
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

RECORDED = pathlib.Path(__file__).resolve().parent / "instructions.txt"
# A row and how many operations of it are counted.
ROWS = {"fillseq": 10000, "fillrandom": 10000, "overwrite": 10000,
        "readrandom": 5000, "readmissing": 5000, "readseq": 50000,
        "readreverse": 50000,
        "seekrandom": 1000}
FILLS = ("fillseq", "fillrandom", "overwrite")
ALLOWED = 1.10
SKIPPED = 77
# The C library chooses among its functions by the processor; this leaves the
# choice that every x86-64 has.
PLAIN = ("glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-BMI2,"
         "-ERMS,-FSRM,-SSE4_2,-SSE4_1,-SSSE3,-RTM,-MOVBE,-LZCNT,-POPCNT")


def compiler_of(program):
    """The counts hold for the compiler that made the program only."""
    text = subprocess.run(["readelf", "-p", ".comment", str(program)],
                          text=True, check=True, stdout=subprocess.PIPE).stdout
    names = re.findall(r"\] +(GCC|.*clang version)[^\d]*.*? (\d+)\.\d+", text)
    return " ".join(names[-1]).lower() if names else "unknown"


def count(program, where, row, keep=None):
    """Instructions of the loop's thread inside counted()."""
    out = keep or where / f"{row}.out"
    command = ["valgrind", "--tool=callgrind", "--toggle-collect=counted",
               f"--callgrind-out-file={out}", str(program)]
    base = where / ("empty" if row in FILLS else "base")
    if row in FILLS:
        shutil.rmtree(base, ignore_errors=True)
    done = subprocess.run(command + [str(base), row, str(ROWS[row])],
                          text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT,
                          env=dict(os.environ, GLIBC_TUNABLES=PLAIN))
    if done.returncode != 0:
        sys.exit(f"{row}: {done.stdout}")
    total = re.search(r"^(?:totals|summary): (\d+)$", out.read_text(), re.M)
    return int(total.group(1)) / ROWS[row]


def recorded():
    """{(compiler, row): instructions}"""
    found = {}
    for line in RECORDED.read_text().splitlines():
        if line and not line.startswith("#"):
            compiler, row, value = line.rsplit(None, 2)
            found[compiler, row] = float(value)
    return found


def record(compiler, counts):
    known = recorded() if RECORDED.exists() else {}
    known.update({(compiler, row): n for row, n in counts.items()})
    text = ("# Instructions an operation: compiler, row, figure. Written by\n"
            "# guard.py --record; a figure that rises is argued for in the\n"
            "# commit that changes it.\n")
    for (name, row), value in sorted(known.items()):
        text += f"{name:8} {row:12} {value:9.1f}\n"
    RECORDED.write_text(text)


def compare(compiler, counts):
    known, worse = recorded(), 0
    print(f"{'row':12} {'now':>9} {'recorded':>9}  change")
    for row, now in counts.items():
        before = known[compiler, row]
        mark = ""
        if now > before * ALLOWED:
            mark, worse = "  TOO MUCH", worse + 1
        print(f"{row:12} {now:9.1f} {before:9.1f} {now / before - 1:+6.1%}"
              f"{mark}")
    if worse:
        print("Either find where they went (--profile ROW), or say in the "
              "commit why they are needed, and --record.")
    return 1 if worse else 0


def profile(program, where, row):
    out = where / "profile.out"
    count(program, where, row, out)
    subprocess.run(["callgrind_annotate", "--auto=no", "--inclusive=no",
                    str(out)], check=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("loops", type=pathlib.Path)
    p.add_argument("--record", action="store_true")
    p.add_argument("--profile", choices=ROWS)
    a = p.parse_args()
    if not shutil.which("valgrind"):
        print("valgrind is not installed: nothing was counted")
        return SKIPPED
    compiler = compiler_of(a.loops)
    if not a.record and not a.profile and not any(
            (compiler, row) in recorded() for row in ROWS):
        print(f"no figures are recorded for {compiler}: see --record")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="albertdb-guard-") as name:
        where = pathlib.Path(name)
        subprocess.run([str(a.loops), str(where / "base"), "base"], check=True)
        if a.profile:
            profile(a.loops, where, a.profile)
            return 0
        counts = {row: count(a.loops, where, row) for row in ROWS}
    if a.record:
        record(compiler, counts)
    return compare(compiler, counts)


if __name__ == "__main__":
    sys.exit(main())
