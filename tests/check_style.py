#!/usr/bin/env python3
"""What every file of the sources keeps to: 80 columns, spaces, no trailing
blanks, a newline at the end, nothing left open."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("src", "include", "cli", "tools", "tests", "bench", "examples")
COLUMNS = 80
# Files with lines that do not keep to it yet, and how many. Files only leave
# this list, and the numbers only fall.
KNOWN = {
    "include/albertdb/albertdb.h": 1,
    "src/db/compact.c": 1,
    "src/db/open.c": 1,
    "src/sst/format.c": 2,
    "src/wal/wal.h": 1,
    "src/wal/wal_recovery.c": 1,
    "tests/sst/test_filter.c": 1,
    "tests/wal/wal_support.h": 1,
}
OPEN = re.compile(r"\b(TODO|FIXME|XXX)\b")


def is_source(path):
    return path.is_file() and path.suffix in (".c", ".h", ".cpp")


def check_line(line):
    if len(line) > COLUMNS:
        yield f"{len(line)} columns"
    if "\t" in line:
        yield "a tab"
    if line != line.rstrip():
        yield "blanks at the end"
    if OPEN.search(line):
        yield "something left open"


def check_file(path):
    name = path.relative_to(ROOT)
    text = path.read_text()
    problems = [f"{name}:{number}: {problem}"
                for number, line in enumerate(text.split("\n"), 1)
                for problem in check_line(line)]
    if not text.endswith("\n") or text.endswith("\n\n"):
        problems.append(f"{name}: does not end with one newline")
    return problems if len(problems) > KNOWN.get(str(name), 0) else []


def main():
    problems, count = [], 0
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if is_source(path):
                count += 1
                problems += check_file(path)
    print("\n".join(problems) or f"{count} files keep to the style")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
