#!/usr/bin/env python3
"""Compares the speed of albertdb with that of other engines.

Each engine runs in a process of its own (bench_ENGINE). Engines take turns row
by row within a round, and who is first changes from round to round, so that
whatever else the machine does hits all alike. Results are appended to a state
file as they come: a run that was cut goes on where it was.

    compare.py --rows readrandom --engines albertdb,rocksdb --num 500000
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import report
import rows as table

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ENGINES = ["albertdb", "rocksdb", "leveldb", "lmdb", "wiredtiger"]
RECOVERY_LOG = 64 << 20


def size(text):
    """Bytes from 64M and the like."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    if text[-1:].upper() in units:
        return int(float(text[:-1]) * units[text[-1].upper()])
    return int(text)


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--rows", default="main", help="names or groups (main, "
                   "large, all), separated by commas")
    p.add_argument("--engines", default="albertdb,rocksdb,lmdb",
                   help="those not built are left out")
    p.add_argument("--num", type=int, default=500000, help="keys")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=3600,
                   help="a row ends after this time at the latest")
    p.add_argument("--cache", type=size, default=1 << 30)
    p.add_argument("--memtable", type=size, default=16 << 20)
    p.add_argument("--compression", default="none", choices=("none", "lz4"))
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                   help="an option of albertdb, for a trial")
    p.add_argument("--no-verify", action="store_true",
                   help="leave out the passes that look at everything")
    p.add_argument("--name", default="bench", help="of the run")
    p.add_argument("--build", type=pathlib.Path,
                   default=ROOT / "build/release/bench/compare")
    p.add_argument("--out", type=pathlib.Path, default=None,
                   help="default build/NAME")
    p.add_argument("--fresh", action="store_true",
                   help="do not go on with a run that was cut")
    a = p.parse_args()
    try:
        a.rows = table.choose(a.rows)
    except ValueError as error:
        p.error(str(error))
    a.engines = a.engines.split(",")
    for engine in a.engines:
        if engine not in ENGINES:
            p.error(f"no engine {engine}; there are: " + ", ".join(ENGINES))
    a.out = a.out or ROOT / "build" / a.name
    return a


def built(a):
    there = [e for e in a.engines if (a.build / f"bench_{e}").exists()]
    for engine in sorted(set(a.engines) - set(there)):
        print(f"{engine} is not built, and left out", file=sys.stderr)
    return there


class Failed(Exception):
    """A row of an engine came to no result."""


class Bench:
    """One engine: its program, its databases."""

    def __init__(self, engine, a):
        self.engine, self.a = engine, a
        self.dir = a.out / "db" / engine
        self.filled = {}  # base: the round it was made in

    def words(self, row):
        a = self.a
        keys = max(1, int(a.num * row.part))
        words = {"keys": keys, "cache": a.cache, "memtable": a.memtable,
                 "compression": a.compression, "seconds": a.seconds,
                 "verify": 0 if a.no_verify else 1,
                 "operations": max(1, int(keys * row.factor))}
        words.update(row.words)
        return words

    def call(self, workload, where, words, must_die=False):
        command = [str(self.a.build / f"bench_{self.engine}"),
                   f"workload={workload}", f"dir={where}"]
        command += [f"{name}={value}" for name, value in words.items()]
        env = dict(os.environ, BENCH_ALBERTDB_OPTIONS=",".join(self.a.set))
        done = subprocess.run(command, env=env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if must_die:
            if done.returncode != -9:
                raise Failed(done.stderr.strip())
            return None
        if done.returncode != 0:
            raise Failed(done.stderr.strip() or f"exit {done.returncode}")
        return json.loads(done.stdout)

    def empty(self, name):
        where = self.dir / name
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        return where

    def need_base(self, name, round_number):
        """The filled database for readers, made anew each round if the fill
        is one of the rows, else once. What lies on the disk from a run that
        was cut is not trusted."""
        if name in self.filled:
            return self.dir / name
        row = table.BY_NAME[name]
        words = {**self.words(row), "seconds": 36000, "verify": 0}
        self.call(row.workload, self.empty(name), words)
        self.filled[name] = round_number
        return self.dir / name

    def copy(self, base):
        where = self.dir / "copy"
        shutil.rmtree(where, ignore_errors=True)
        subprocess.run(["cp", "-r", "--sparse=always", str(base), str(where)],
                       check=True)
        # What was copied is on the disk before the clock runs.
        subprocess.run(["sync", "-f", str(where)], check=True)
        return where

    def run_fill(self, row, round_number):
        where = self.empty(row.name)
        self.filled.pop(row.name, None)
        result = self.call(row.workload, where, self.words(row))
        if result["operations"] == result["keys"]:
            self.filled[row.name] = round_number
        if not any(r.base == row.name for r in self.a.rows):
            shutil.rmtree(where)
        return result

    def run_recovery(self):
        """A log of 64 MiB and nothing else: the memtable holds all of it."""
        where = self.empty("recovery")
        words = {"keys": RECOVERY_LOG // (16 + 100), "cache": self.a.cache,
                 "memtable": 4 * RECOVERY_LOG}
        self.call("die", where, words, must_die=True)
        result = self.call("open", where, words)
        shutil.rmtree(where)
        return result

    def run(self, row, round_number):
        if row.workload == "recovery":
            return self.run_recovery()
        if row.base is None:
            return self.run_fill(row, round_number)
        where = self.need_base(row.base, round_number)
        if row.changes:
            where = self.copy(where)
        result = self.call(row.workload, where, self.words(row))
        if row.changes:
            shutil.rmtree(where)
        return result


class State:
    """The results so far, a line each, behind a line that says of what."""

    def __init__(self, a, setup):
        a.out.mkdir(parents=True, exist_ok=True)
        self.path = a.out / "state.jsonl"
        self.results = []
        if not a.fresh and self.path.exists():
            self.load(setup)
        if not self.results:
            self.path.write_text(json.dumps({"setup": setup}) + "\n")
        elif len(self.results):
            print(f"going on after {len(self.results)} results of a run that "
                  "was cut", file=sys.stderr)

    def load(self, setup):
        lines = self.path.read_text().split("\n")[:-1]  # whole ones
        if not lines or json.loads(lines[0]) != {"setup": setup}:
            return
        self.results = [json.loads(line) for line in lines[1:]]
        if len(self.results) == setup["tasks"]:
            self.results = []

    def add(self, result):
        self.results.append(result)
        with self.path.open("a") as file:
            file.write(json.dumps(result) + "\n")

    def has(self, row, engine, round_number):
        return any((r["row"], r["engine"], r["round"]) ==
                   (row.name, engine, round_number) for r in self.results)


def setup_of(a, engines):
    """What makes two runs parts of one."""
    programs = {e: hashlib.sha256((a.build / f"bench_{e}").read_bytes())
                .hexdigest() for e in engines}
    return {"rows": [r.name for r in a.rows], "engines": engines,
            "num": a.num, "rounds": a.rounds, "seconds": a.seconds,
            "cache": a.cache, "memtable": a.memtable, "set": a.set,
            "compression": a.compression, "verify": not a.no_verify,
            "programs": programs,
            "tasks": len(a.rows) * len(engines) * a.rounds}


def clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


class Progress:
    """Says what came out, how long it took, how long the rest will take: a
    row takes as long as it took that engine before, or as others took."""

    def __init__(self, tasks, results):
        self.tasks, self.start = tasks, time.monotonic()
        self.took, self.before = {}, 0
        for r in results:
            self.note(r)

    def note(self, result):
        key = result["row"], result["engine"]
        self.took.setdefault(key, []).append(result["wall_seconds"])
        self.before += result["wall_seconds"]

    def remaining(self, todo):
        everything = [t for times in self.took.values() for t in times]
        mean = sum(everything) / len(everything)
        total = 0
        for row, engine in todo:
            times = self.took.get((row, engine))
            total += sum(times) / len(times) if times else mean
        return total

    def show(self, result, todo):
        self.note(result)
        what = result.get("failed") or report.short(result)
        print(f"round {result['round']}  {result['row']:18} "
              f"{result['engine']:10} {what:24} elapsed "
              f"{clock(self.before)}  remaining {clock(self.remaining(todo))}",
              flush=True)


def schedule(a, engines):
    for round_number in range(1, a.rounds + 1):
        turn = (round_number - 1) % len(engines)
        for row in a.rows:
            for engine in engines[turn:] + engines[:turn]:
                yield round_number, row, engine


def run_task(bench, row, round_number):
    start = time.monotonic()
    try:
        result = bench.run(row, round_number)
    except Failed as failure:
        result = {"failed": str(failure)}
    # What it left for the kernel to write shall not disturb the next.
    subprocess.run(["sync", "-f", str(bench.a.out)], check=True)
    result.update(row=row.name, engine=bench.engine, round=round_number,
                  wall_seconds=round(time.monotonic() - start, 3))
    return result


def main():
    a = arguments()
    engines = built(a)
    if not engines:
        sys.exit(f"no engine is built in {a.build}")
    setup = setup_of(a, engines)
    state = State(a, setup)
    tasks = list(schedule(a, engines))
    benches = {engine: Bench(engine, a) for engine in engines}
    progress = Progress(tasks, state.results)
    for number, (round_number, row, engine) in enumerate(tasks):
        if state.has(row, engine, round_number):
            continue
        result = run_task(benches[engine], row, round_number)
        state.add(result)
        progress.show(result, [(r.name, e) for _, r, e in tasks[number + 1:]])
    shutil.rmtree(a.out / "db", ignore_errors=True)
    failed = report.write(a.out, setup, state.results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
