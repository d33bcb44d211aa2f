#!/usr/bin/env python3
"""The layering of src/: a file includes its own folder, lower ranks and the
public header, nothing else. Ranks stand in src/LAYERS; CMakeLists.txt must
name the same modules, in rank order."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def read_ranks():
    ranks = {}
    for line in (ROOT / "src/LAYERS").read_text().splitlines():
        line = line.split("#")[0].split()
        if line:
            ranks[line[0]] = int(line[1])
    return ranks


def check_file(path, ranks):
    module = path.relative_to(ROOT / "src").parts[0]
    problems = []
    for name in INCLUDE.findall(path.read_text()):
        target = name.split("/")[0]
        where = f"{path.relative_to(ROOT)} includes {name}"
        if target == "albertdb" or target == module:
            continue
        if target not in ranks:
            problems.append(f"{where}: not a module (name it as module/file.h)")
        elif ranks[target] >= ranks[module]:
            problems.append(f"{where}: rank {ranks[target]} is not below "
                            f"{module}'s {ranks[module]}")
    return problems


def check_modules(ranks):
    text = (ROOT / "CMakeLists.txt").read_text()
    named = re.findall(r"^adb_module\((\w+)", text, re.M)
    problems = [f"CMakeLists.txt and src/LAYERS differ about {m}"
                for m in set(named) ^ set(ranks)]
    order = [ranks[m] for m in named if m in ranks]
    if order != sorted(order):
        problems.append("CMakeLists.txt names the modules out of rank order")
    return problems


def check_apps():
    problems = []
    for folder in ("cli", "net", "server", "compat", "examples"):
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            for name in INCLUDE.findall(path.read_text()):
                if "/" in name and not name.startswith(("albertdb/", "net/")):
                    problems.append(f"{path.relative_to(ROOT)} includes "
                                    f"{name}: programs use the public header")
    return problems


def main():
    ranks = read_ranks()
    problems = check_modules(ranks) + check_apps()
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        problems += check_file(path, ranks)
    print("\n".join(problems) or f"{len(ranks)} modules, layering holds")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
