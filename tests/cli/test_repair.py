#!/usr/bin/env python3
"""albertdb repair, from outside: what it prints and returns, what it leaves."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

TOOL = os.environ.get("ALBERTDB", "build/release/cli/albertdb")


def run(*arguments, code=0, text=None):
    done = subprocess.run([TOOL, *map(str, arguments)], input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != code:
        sys.exit(f"{arguments} returned {done.returncode}, not {code}:\n"
                 f"{done.stdout}{done.stderr}")
    return done.stdout


def make(path):
    pairs = "".join(f"key{i:05}\tvalue of {i} {'x' * 80}\n"
                    for i in range(4000))
    small = ("-o", "memory_budget=1M", "-o", "memtable_size=64K",
             "-o", "table_size=64K", "-o", "durability=process")
    run("load", "--db", path, "--format", "tsv", *small, "-", text=pairs)
    run("compact", "--db", path, *small)
    run("put", "--db", path, "tail", "of the log")


def flip(file, offset):
    data = bytearray(file.read_bytes())
    data[offset] ^= 1
    file.write_bytes(data)


def count(path):
    return len(run("scan", "--db", path, "--keys-only").splitlines())


def test_sound(path):
    before = {f.name: f.read_bytes() for f in path.iterdir()}
    assert "no damage" in run("repair", "--db", path)
    assert before == {f.name: f.read_bytes() for f in path.iterdir()}


def test_block(path):
    table = sorted(path.glob("*.sst"))[0]
    flip(table, 20000)
    looked = run("repair", "--db", path, "--dry-run", code=3)
    assert str(table) in looked and "keys 'key" in looked, looked
    assert not (path / "lost").exists()
    lines = [json.loads(line) for line in
             run("repair", "--db", path, "--json", code=3).splitlines()]
    damage, summary = lines[0], lines[-1]
    assert damage["file"] == str(table) and damage["from"] < damage["to"]
    assert summary["changed"] and 0 < summary["versions_lost"] < 200, summary
    assert (path / "lost").is_dir()
    assert list((path / "lost").rglob(table.name))
    run("verify", "--db", path)
    assert count(path) == 4001 - summary["versions_lost"]
    assert "no damage" in run("repair", "--db", path)


def test_no_manifest(path):
    next(path.glob("MANIFEST-*")).unlink()
    run("get", "--db", path, "tail", code=3)
    run("repair", "--db", path, code=3)
    assert count(path) == 4001
    assert run("get", "--db", path, "tail").strip() == "of the log"
    run("verify", "--db", path)


def test_no_current(path):
    (path / "CURRENT").unlink()
    run("repair", "--db", path, code=3)
    assert count(path) == 4001


def test_no_database(path):
    run("repair", "--db", path / "nowhere", code=2)


def main():
    with tempfile.TemporaryDirectory() as directory:
        sound = pathlib.Path(directory) / "sound"
        make(sound)
        for test in (test_sound, test_block, test_no_manifest,
                     test_no_current, test_no_database):
            path = pathlib.Path(directory) / test.__name__
            shutil.copytree(sound, path)
            test(path)
            print(test.__name__)


if __name__ == "__main__":
    main()
