#!/usr/bin/env python3
"""Compares the speed of albertdb with that of other engines.

Each engine runs in a process of its own (bench_ENGINE). Engines take turns row
by row within a round, and who is first changes from round to round, so that
whatever else the machine does hits all alike. Results are appended to a state
file as they come: a run that was cut goes on where it was.

    compare.py --rows readrandom --engines albertdb,rocksdb --num 500000
"""

import argparse
import pathlib
import sys

import limit
import report
import rows as table
import runner

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ENGINES = ["albertdb", "rocksdb", "leveldb", "lmdb", "wiredtiger"]


def size(text):
    """Bytes from 64M and the like."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    if text[-1:].upper() in units:
        return int(float(text[:-1]) * units[text[-1].upper()])
    return int(text)


def parser():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--rows", default="main", help="names or groups ("
                   + ", ".join(table.GROUPS) + "), separated by commas")
    p.add_argument("--engines", default="albertdb,rocksdb,lmdb",
                   help="or all; those not built are left out")
    p.add_argument("--num", type=int, default=500000, help="keys")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=None,
                   help="a row ends after this time at the latest")
    p.add_argument("--cache", type=size, default=1 << 30)
    p.add_argument("--memtable", type=size, default=16 << 20)
    p.add_argument("--memory-limit", type=size, default=0, help="of each "
                   "engine's process and the files it caches, by a control "
                   "group")
    p.add_argument("--compression", default="none", choices=("none", "lz4"))
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                   help="an option of albertdb, for a trial")
    p.add_argument("--no-verify", action="store_true",
                   help="leave out the passes that look at everything")
    p.add_argument("--name", default="bench", help="of the run")
    p.add_argument("--build", type=pathlib.Path,
                   default=ROOT / "build/release/bench/compare")
    p.add_argument("--before", type=pathlib.Path, default=None, metavar="DIR",
                   help="compare with the bench_albertdb of another build, "
                   "in this folder, too")
    p.add_argument("--same-base", action="store_true", help="with --before: "
                   "both read the databases that albertdb filled, since no two "
                   "fills leave the same tables")
    p.add_argument("--bases", type=pathlib.Path, default=None, metavar="DIR",
                   help="keep the filled databases there, for other runs of "
                   "the same settings; default: none is kept")
    p.add_argument("--out", type=pathlib.Path, default=None,
                   help="default build/NAME")
    p.add_argument("--fresh", action="store_true",
                   help="do not go on with a run that was cut")
    return p


def arguments():
    p = parser()
    a = p.parse_args()
    try:
        a.rows = table.choose(a.rows)
    except ValueError as error:
        p.error(str(error))
    a.engines = ENGINES if a.engines == "all" else a.engines.split(",")
    for engine in a.engines:
        if engine not in ENGINES:
            p.error(f"no engine {engine}; there are: " + ", ".join(ENGINES))
    if a.same_base and not a.before:
        p.error("--same-base is for two builds: name the other by --before DIR")
    if a.before:
        a.engines = a.engines + ["before"]
    a.out = a.out or ROOT / "build" / a.name
    return a


def built(a):
    there = [e for e in a.engines if runner.program_of(a, e).exists()]
    for engine in sorted(set(a.engines) - set(there)):
        print(f"{engine} is not built, and left out", file=sys.stderr)
    if not there:
        sys.exit(f"no engine is built in {a.build}")
    return there


def main():
    a = arguments()
    engines = built(a)
    setup = runner.setup_of(a, engines)
    held = limit.Limit(a.memory_limit)
    if a.memory_limit and not held.group:
        print("no control group can be made: page-cached", file=sys.stderr)
    try:
        results = runner.run_all(a, engines, setup, held)
    except KeyboardInterrupt:
        sys.exit("cut; the same command goes on from here")
    finally:
        held.remove()
    return 1 if report.write(a.out, setup, results) else 0


if __name__ == "__main__":
    sys.exit(main())
