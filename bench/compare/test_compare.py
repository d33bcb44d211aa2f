#!/usr/bin/env python3
"""The comparator as a whole, on a few keys: every row comes to a result, a run
that was cut goes on, a failing engine is reported as failing.

    test_compare.py DIRECTORY     where bench_albertdb was built
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import xml.dom.minidom

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import limit  # noqa: E402  (the path comes first)
import rows as table  # noqa: E402
import runner  # noqa: E402


def compare(build, out, *words):
    done = subprocess.run(
        [sys.executable, str(HERE / "compare.py"), "--build", build, "--out",
         str(out), "--engines", "albertdb", "--num", "3000", "--memtable",
         "1M", "--cache", "16M", *words],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def expect(condition, text):
    if not condition:
        sys.exit(text)


def test_no_limit_is_claimed_that_is_none(out):
    """A folder is not a control group because something can be written in
    it."""
    out.mkdir()
    held = limit.Limit(1 << 30, root=out)
    expect(not held.group, "a plain folder passes for a control group")
    expect(not list(out.iterdir()), "something is left behind")


def test_every_row(build, out):
    code, text = compare(build, out, "--rows", "all,stall,threads",
                         "--rounds", "1", "--seconds", "1")
    expect(code == 0, text)
    results = json.loads((out / "results.json").read_text())["results"]
    due = {r.name for r in table.ROWS + table.STALL + table.THREADS}
    expect({r["row"] for r in results} == due, "rows are missing")
    for result in results:
        expect(result["operations"] > 0, f"{result['row']} did nothing")
        expect("table_access=" in result["told"]
               and "idle_compaction=" in result["told"], "options untold")
        if "latency_ns" in result:
            points = list(result["latency_ns"].values())
            expect(points == sorted(points), f"{result['row']}: {points}")
    stall = next(r for r in results if r["row"] == "stall")["series"]
    expect(len(stall["at"]) >= 1 and len(set(map(len, stall.values()))) == 1,
           f"series {stall}")
    document = (out / "results.md").read_text()
    expect(all(f"| {name} " in document for name in due), document)
    for name in ("rates", "latency", "stall", "curves"):
        xml.dom.minidom.parse(str(out / f"{name}.svg"))
    expect(not (out / "db").exists(), "databases are left over")


def test_goes_on(build, out):
    words = ("--rows", "fillseq,readrandom,overwrite", "--rounds", "2")
    expect(compare(build, out, *words)[0] == 0, "the first run")
    state = out / "state.jsonl"
    lines = state.read_text().split("\n")
    state.write_text("\n".join(lines[:3]) + "\n" + lines[3][:40])
    code, text = compare(build, out, *words)
    expect(code == 0 and "going on after 2 results" in text, text)
    expect(text.count("\nround ") == 4, text)
    again = state.read_text().split("\n")
    expect(again[:3] == lines[:3] and len(again) == len(lines),
           "results were lost, or repeated")
    expect("going on" not in compare(build, out, *words)[1],
           "a whole run was taken for a cut one")


def test_within_a_limit(build, out):
    """Where the machine lets us make a control group; and what is no such
    file cannot be left through."""
    held = limit.Limit(256 << 20)
    may = held.group is not None
    held.remove()
    code, text = compare(build, out, "--rows",
                         "fillrandom,readrandom,overwrite,coldopen",
                         "--rounds", "1", "--memory-limit", "256M")
    expect(code == 0, text)
    results = json.loads((out / "results.json").read_text())["results"]
    expect(all(r["limited"] == may for r in results), "the limit")
    # Of the two that it cannot do, looking at all keys and leaving, the second
    # comes first: inside, LMDB would look for hours.
    for words in (("workload=fillseq", "keys=10"),
                  ("workload=overwrite", "keys=20", "operations=1")):
        done = subprocess.run(
            [build + "/bench_albertdb", *words, f"dir={out}/unreal",
             f"outside={out}/none/cgroup.procs"],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        expect(done.returncode == 1 and "none/cgroup.procs" in done.stderr,
               done.stderr)


def test_same_base(build, out):
    """Another build reads what this one filled, and fills nothing but what it
    is timed at."""
    code, text = compare(build, out, "--before", build, "--same-base", "--rows",
                         "fillrandom,readrandom,ycsba", "--rounds", "2")
    expect(code == 0, text)
    results = json.loads((out / "results.json").read_text())["results"]
    expect(len(results) == 12, text)
    code, text = compare(build, out / "copies", "--before", build,
                         "--same-base", "--rows", "ycsba", "--rounds", "1")
    expect(code == 0, text)
    for same in (False, True):
        a = argparse.Namespace(
            out=out, same_base=same, bases=None, num=1, cache=1, memtable=1,
            set=[], compression="none", build=pathlib.Path(build),
            before=pathlib.Path(build))
        markers = {runner.Bench(engine, a, None).marker("fillrandom")
                   for engine in ("albertdb", "before")}
        expect(len(markers) == (1 if same else 2), f"databases {markers}")


def test_kept_bases(build, out):
    """A second run reads what the first has filled, if it would fill the
    same."""
    bases = out / "bases"
    base = bases / "albertdb" / "fillrandom"
    filled = []
    for name, words in (("first", ()), ("second", ("--memory-limit", "256M")),
                        ("third", ("--compression", "lz4"))):
        code, text = compare(build, out / name, "--rows", "readrandom",
                             "--rounds", "1", "--bases", str(bases), *words)
        expect(code == 0, text)
        filled.append(base.stat().st_ino)
    expect(filled[0] == filled[1] != filled[2], f"databases {filled}")


def test_failure(build, out):
    code, text = compare(build, out, "--rows", "fillseq,readrandom",
                         "--rounds", "1", "--set", "block_size=7")
    expect(code == 1 and text.count("FAILED") == 4, text)
    expect("block_size" in text, text)


def main():
    with tempfile.TemporaryDirectory(prefix="albertdb-bench-") as name:
        where = pathlib.Path(name)
        test_no_limit_is_claimed_that_is_none(where / "plain")
        test_every_row(sys.argv[1], where / "every")
        test_goes_on(sys.argv[1], where / "cut")
        test_within_a_limit(sys.argv[1], where / "limited")
        test_same_base(sys.argv[1], where / "same")
        test_kept_bases(sys.argv[1], where / "kept")
        test_failure(sys.argv[1], where / "failing")
    print("every row runs, a cut run goes on, failures are reported")


if __name__ == "__main__":
    main()
