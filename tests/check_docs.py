#!/usr/bin/env python3
"""The documentation against the tree: links lead somewhere, files that are
named exist, lists are complete, the option table is the program's own."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("src", "include", "cli", "tools", "tests", "bench", "examples",
           "docs", "cmake", "scripts", "man")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
CODE_BLOCK = re.compile(r"^```.*?^```", re.M | re.S)
HOME = re.compile(r"(?<![\w.`])/(?:home|root|work|Users)/")
# `path/file.c:name`: a function or type and where it stands.
PLACE = re.compile(r"^((?:%s)/[\w./-]+\.(?:c|h|py|cpp)):(\w+)$"
                   % "|".join(FOLDERS))
NAMED = re.compile(r"^(?:%s)/[\w./*{},\[\]-]*$" % "|".join(FOLDERS))


def pages():
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "src/README.md"]
    return found + sorted((ROOT / "docs").rglob("*.md"))


def name_of(path):
    return str(path.relative_to(ROOT))


def prose(path):
    return CODE_BLOCK.sub("", path.read_text())


def anchors(path):
    titles = re.findall(r"^#+ (.+)$", prose(path), re.M)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-")
            for t in titles}


def check_links(page):
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        where = (page.parent / file).resolve() if file else page
        if not where.exists():
            yield f"{name_of(page)}: {target} leads nowhere"
        elif anchor and anchor not in anchors(where):
            yield f"{name_of(page)}: {target}: no such heading"


def exists(pattern):
    """`a/b.[ch]` stands for both files, `a/*.c` for any."""
    both = [pattern]
    if ".[ch]" in pattern:
        both = [pattern.replace(".[ch]", ending) for ending in (".c", ".h")]
    return all(any(ROOT.glob(p.rstrip("/"))) for p in both)


def check_names(page):
    """Files that the text names in backticks, and names inside them."""
    for code in CODE.findall(prose(page)):
        place = PLACE.match(code)
        if place:
            file, name = ROOT / place.group(1), place.group(2)
            if not file.exists():
                yield f"{name_of(page)}: {code}: no such file"
            elif not re.search(rf"\b{name}\b", file.read_text()):
                yield f"{name_of(page)}: {code}: no such name there"
        elif NAMED.match(code) and not exists(code):
            yield f"{name_of(page)}: {code} does not exist"


def check_home(page):
    if HOME.search(page.read_text()):
        yield f"{name_of(page)} names a path of somebody's machine"


def check_index():
    """docs/README.md leads to every page."""
    index = ROOT / "docs/README.md"
    linked = {(index.parent / t.partition("#")[0]).resolve()
              for t in LINK.findall(index.read_text())}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if page != index and page not in linked:
            yield f"docs/README.md does not lead to {name_of(page)}"


def listed_sources():
    """src/README.md: rows | `folder/file` | what |."""
    text = (ROOT / "src/README.md").read_text()
    names = []
    for row in re.findall(r"^\| `([^`]+)` \|", text, re.M):
        both = ".[ch]" in row
        names += [row.replace("[ch]", e) for e in "ch"] if both else [row]
    return names


def check_sources():
    listed = listed_sources()
    there = {str(p.relative_to(ROOT / "src"))
             for p in (ROOT / "src").rglob("*.[ch]")}
    for name in sorted(there - set(listed)):
        yield f"src/README.md does not list {name}"
    for name in sorted(set(listed) - there):
        yield f"src/README.md lists {name}, which does not exist"
    for name in sorted({n for n in listed if listed.count(n) > 1}):
        yield f"src/README.md lists {name} twice"


def check_seed():
    """Every row says where the statement lives and which test shows it."""
    rows = [line for line in (ROOT / "docs/seed.md").read_text().splitlines()
            if re.match(r"\| \d+ \|", line)]
    if len(rows) < 25:
        yield f"docs/seed.md has {len(rows)} rows; statements are missing"
    for row in rows:
        number, _, where, test = row.strip("| ").split(" | ")[:4]
        if where != "-" and not any(PLACE.match(c)
                                    for c in CODE.findall(where)):
            yield f"docs/seed.md row {number} names no function"
        if test != "-" and not any(PLACE.match(c) and c.startswith("tests/")
                                   for c in CODE.findall(test)):
            yield f"docs/seed.md row {number} names no test"


def program_options(tool):
    text = subprocess.run([tool, "--help", "options"], text=True, check=True,
                          stdout=subprocess.PIPE).stdout
    entry = re.compile(r"^(\w+) \((\w+), default ([^;]*); (.*)\)\n {4}(.*)$",
                       re.M)
    return [tuple(e) for e in entry.findall(text)]


def page_options():
    text = (ROOT / "docs/options.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| `([^`]*)` \| (.*?) \| (.*) \|$",
                      text, re.M)
    return [tuple(cell.replace("\\|", "|") for cell in row) for row in rows]


def check_options():
    tool = os.environ.get("ALBERTDB")
    if not tool:
        return
    program, page = program_options(tool), page_options()
    if not program:
        yield "the program describes no options"
    for option in program:
        if option not in page:
            yield f"docs/options.md differs from the program: {option}"
    if [o[0] for o in program] != [o[0] for o in page]:
        yield "docs/options.md has other options, or another order"


def check_example():
    """The program in the README is the one that is built and run."""
    block = re.search(r"^```c\n(.*?)^```", (ROOT / "README.md").read_text(),
                      re.M | re.S)
    if not block or block.group(1) != (ROOT / "examples/hello.c").read_text():
        yield "README.md: the C program is not examples/hello.c"


def main():
    problems = []
    for page in pages():
        for check in (check_links, check_names, check_home):
            problems += check(page)
    for check in (check_index, check_sources, check_seed, check_options,
                  check_example):
        problems += check()
    print("\n".join(problems) or f"{len(pages())} pages agree with the tree")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
