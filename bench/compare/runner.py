"""Runs rows: one process to an engine and row, databases made as needed,
results kept in a file as they come."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import report
import rows as table

RECOVERY_LOG = 64 << 20
FOREVER = 1 << 62


class Failed(Exception):
    """A row of an engine came to no result."""


def program_of(a, engine):
    """`before` is albertdb as another build made it."""
    if engine == "before":
        return a.before / "bench_albertdb"
    return a.build / f"bench_{engine}"


def hash_of(program):
    return hashlib.sha256(program.read_bytes()).hexdigest()


def base_setup_of(a, engine):
    """What makes a filled database the one that a run would fill."""
    return {"num": a.num, "cache": a.cache, "memtable": a.memtable,
            "set": a.set, "compression": a.compression,
            "program": hash_of(program_of(a, engine))}


def setup_of(a, engines):
    """What makes two runs parts of one."""
    programs = {e: hash_of(program_of(a, e)) for e in engines}
    return {"rows": [r.name for r in a.rows], "engines": engines,
            "num": a.num, "rounds": a.rounds, "seconds": a.seconds,
            "cache": a.cache, "memtable": a.memtable, "set": a.set,
            "compression": a.compression, "verify": not a.no_verify,
            "memory_limit": a.memory_limit, "same_base": a.same_base,
            "programs": programs,
            "tasks": len(a.rows) * len(engines) * a.rounds}


class Bench:
    """One engine: its program, its databases."""

    def __init__(self, engine, a, limit):
        self.engine, self.a, self.limit = engine, a, limit
        self.dir = a.out / "db" / engine
        self.base_owner = engine
        if engine == "before" and a.same_base:
            self.base_owner = "albertdb"
        self.bases = (a.bases or a.out / "db") / self.base_owner
        self.setup = json.dumps(base_setup_of(a, self.base_owner))

    def words(self, row):
        a = self.a
        keys = max(1, int(a.num * row.part))
        operations = (FOREVER if row.factor is None
                      else max(1, int(keys * row.factor)))
        words = {"keys": keys, "operations": operations, "cache": a.cache,
                 "memtable": a.memtable, "compression": a.compression,
                 "seconds": a.seconds or row.seconds,
                 "verify": 0 if a.no_verify else 1}
        words.update(row.words)
        if self.limit.group:
            words["drop_pages"] = words["limited"] = 1
            # Looked at when it was made.
            if row.base and not row.changes:
                words["verify"] = 0
            if words["verify"]:
                words["outside"] = self.limit.outside()
        return words

    def call(self, workload, where, words, must_die=False, limited=True):
        command = [str(program_of(self.a, self.engine)),
                   f"workload={workload}", f"dir={where}"]
        command += [f"{name}={value}" for name, value in words.items()]
        if limited:
            command = self.limit.command(command)
        env = dict(os.environ, BENCH_ALBERTDB_OPTIONS=",".join(self.a.set))
        done = subprocess.run(command, env=env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if must_die and done.returncode in (-9, 137):
            return None
        if must_die or done.returncode != 0:
            raise Failed(done.stderr.strip() or f"exit {done.returncode}")
        return json.loads(done.stdout)

    def empty(self, name):
        where = self.dir / name
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        return where

    # A filled database that readers use, and beside it a file that says so
    # and under which settings: what a cut run left half made is not trusted.

    def marker(self, name):
        return self.bases / (name + ".filled")

    def has_base(self, name):
        marker = self.marker(name)
        return marker.exists() and marker.read_text() == self.setup

    def keep_base(self, where, name):
        self.drop_base(name)
        self.bases.mkdir(parents=True, exist_ok=True)
        where.rename(self.bases / name)
        self.marker(name).write_text(self.setup)

    def drop_base(self, name):
        self.marker(name).unlink(missing_ok=True)
        shutil.rmtree(self.bases / name, ignore_errors=True)

    def need_base(self, name):
        """Made here, without a limit of memory, when no row of this run made
        it."""
        if not self.has_base(name):
            row = table.BY_NAME[name]
            where = self.empty("filling")
            words = {**self.words(row), "seconds": 36000,
                     "operations": FOREVER}
            self.call(row.workload, where, words, limited=False)
            self.keep_base(where, name)
        return self.bases / name

    def copy(self, base):
        where = self.dir / "copy"
        shutil.rmtree(where, ignore_errors=True)
        self.dir.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", "--sparse=always", str(base), str(where)],
                       check=True)
        # What was copied is on the disk before the clock runs.
        subprocess.run(["sync", "-f", str(where)], check=True)
        return where

    def run_fill(self, row):
        """A whole one takes the place of the base, so that each round's
        readers have that round's. One cut by the clock does not."""
        where = self.empty("filling")
        result = self.call(row.workload, where, self.words(row))
        used = (self.base_owner == self.engine and
                any(r.base == row.name for r in self.a.rows))
        if used and result["operations"] == result["keys"]:
            self.keep_base(where, row.name)
        else:
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

    def run(self, row):
        if row.workload == "recovery":
            return self.run_recovery()
        if row.base is None:
            return self.run_fill(row)
        where = self.need_base(row.base)
        if row.changes:
            where = self.copy(where)
        result = self.call(row.workload, where, self.words(row))
        if row.changes:
            shutil.rmtree(where)
        return result

    def drop_unneeded(self, coming):
        """Bases that the next round makes anew, or no row to come uses."""
        if self.a.bases:
            return
        for base in {r.base for r in self.a.rows if r.base}:
            first = next((r for r in coming if base in (r.name, r.base)), None)
            if self.marker(base).exists() and (
                    first is None or (first.name == base
                                      and not self.a.seconds)):
                self.drop_base(base)


class State:
    """The results so far, a line each, behind a line that says of what."""

    def __init__(self, a, setup):
        a.out.mkdir(parents=True, exist_ok=True)
        self.path = a.out / "state.jsonl"
        self.results = []
        if not a.fresh and self.path.exists():
            self.load(setup)
        if self.results:
            print(f"going on after {len(self.results)} results of a run that "
                  "was cut", file=sys.stderr)
        else:
            shutil.rmtree(a.out / "db", ignore_errors=True)
            self.path.write_text(json.dumps({"setup": setup}) + "\n")

    def load(self, setup):
        lines = self.path.read_text().split("\n")
        if json.loads(lines[0] or "{}") != {"setup": setup}:
            return
        # The last piece is empty, or a line that was cut.
        self.results = [json.loads(line) for line in lines[1:-1]]
        if len(self.results) == setup["tasks"]:
            self.results = []
        elif lines[-1]:
            self.path.write_text("\n".join(lines[:-1]) + "\n")

    def add(self, result):
        self.results.append(result)
        with self.path.open("a") as file:
            file.write(json.dumps(result) + "\n")

    def has(self, row, engine, round_number):
        return any((r["row"], r["engine"], r["round"]) ==
                   (row.name, engine, round_number) for r in self.results)


def clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


class Progress:
    """Says what came out, how long it took, how long the rest will take: a
    row takes as long as it took that engine before, or else the mean."""

    def __init__(self, results):
        self.took, self.elapsed = {}, 0
        for r in results:
            self.note(r)

    def note(self, result):
        key = result["row"], result["engine"]
        self.took.setdefault(key, []).append(result["wall_seconds"])
        self.elapsed += result["wall_seconds"]

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
        what = ("FAILED: " + result["failed"] if "failed" in result
                else report.short(result))
        print(f"round {result['round']}  {result['row']:18} "
              f"{result['engine']:10} {what:12} elapsed "
              f"{clock(self.elapsed)} remaining {clock(self.remaining(todo))}",
              flush=True)


def schedule(a, engines):
    """Round by round, within it row by row, within it engine by engine; who
    is first changes from round to round."""
    for round_number in range(1, a.rounds + 1):
        turn = (round_number - 1) % len(engines)
        for row in a.rows:
            for engine in engines[turn:] + engines[:turn]:
                yield round_number, row, engine


def run_task(bench, row, round_number):
    start = time.monotonic()
    try:
        result = bench.run(row)
    except Failed as failure:
        result = {"failed": str(failure)}
    # What it left for the kernel to write shall not disturb the next.
    subprocess.run(["sync", "-f", str(bench.a.out)], check=True)
    result.update(row=row.name, engine=bench.engine, round=round_number,
                  limited=bench.limit.group is not None,
                  wall_seconds=round(time.monotonic() - start, 3))
    return result


def run_all(a, engines, setup, limit):
    state = State(a, setup)
    tasks = list(schedule(a, engines))
    benches = {engine: Bench(engine, a, limit) for engine in engines}
    progress = Progress(state.results)
    for number, (round_number, row, engine) in enumerate(tasks):
        if state.has(row, engine, round_number):
            continue
        result = run_task(benches[engine], row, round_number)
        state.add(result)
        todo = tasks[number + 1:]
        progress.show(result, [(r.name, e) for _, r, e in todo])
        benches[engine].drop_unneeded(
            [r for _, r, e in todo
             if benches[e].bases == benches[engine].bases])
    shutil.rmtree(a.out / "db", ignore_errors=True)
    return state.results
