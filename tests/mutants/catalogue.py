"""The list of breakages: *.txt beside this file, read, checked, applied.

    [wal-sync-skipped]
    file = src/wal/wal_sync.c
    what = a sync of the log is none
    test = wal.wal
    --- old
    exact text, once in the file
    --- new
    what stands there instead
    ---

test: who noticed it last, asked first. Optional: preset (dev, tsan; otherwise
release), blind = yes (chosen by somebody who had not looked at the tests),
written = yes (the test that notices it was written for it), cpu (a processor
without these instructions does not run what is broken). Lines between entries
that start with # are comments."""

import dataclasses
import hashlib
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CPUINFO = pathlib.Path("/proc/cpuinfo")
PRESETS = ("release", "dev", "tsan")
HEAD = re.compile(r"^\[([a-z0-9-]+)\]$")
FIELD = re.compile(r"^(\w+) = (.+)$")
FIELDS = {"file", "what", "test", "preset", "blind", "written", "cpu"}


@dataclasses.dataclass
class Mutant:
    id: str
    source: pathlib.Path  # the list it stands in
    file: str = ""
    what: str = ""
    test: str = ""
    preset: str = "release"
    blind: str = ""
    written: str = ""
    cpu: str = ""
    old: str = ""
    new: str = ""

    def digest(self):
        words = (self.file, self.preset, self.old, self.new)
        return hashlib.sha256("\0".join(words).encode()).hexdigest()

    def problem(self):
        """Why it cannot be applied; None: it can."""
        path = ROOT / self.file
        if not self.file.startswith("src/") or not path.is_file():
            return f"{self.file} is no file of src/"
        if not self.what or self.preset not in PRESETS:
            return "says not what it breaks, or names an unknown preset"
        if self.old == self.new:
            return "changes nothing"
        count = path.read_text().count(self.old) if self.old else 0
        if count != 1:
            return f"its text stands {count} times in {self.file}"
        return None

    def runs_here(self):
        return not self.cpu or self.cpu in CPUINFO.read_text().split()

    def broken(self, text):
        return text.replace(self.old, self.new, 1)


class Malformed(Exception):
    pass


def read_text(lines, end):
    """Lines up to the one that says `end`."""
    text = []
    for line in lines:
        if line == end:
            return "\n".join(text)
        text.append(line)
    raise Malformed(f"no line '{end}'")


def read_list(path):
    lines = iter(path.read_text().split("\n"))
    mutant = None
    for line in lines:
        head, field = HEAD.match(line), FIELD.match(line)
        if head:
            mutant = Mutant(head.group(1), path)
        elif mutant and field and field.group(1) in FIELDS:
            setattr(mutant, field.group(1), field.group(2))
        elif mutant and line == "--- old":
            mutant.old = read_text(lines, "--- new")
            mutant.new = read_text(lines, "---")
            yield mutant
            mutant = None
        elif line and not line.startswith("#"):
            raise Malformed(f"{path.name}: '{line}'")


def read_all():
    return [m for path in sorted(HERE.glob("*.txt")) for m in read_list(path)]


def check(mutants):
    problems = [f"{m.id}: {m.problem()}" for m in mutants if m.problem()]
    ids = [m.id for m in mutants]
    problems += [f"{i}: twice" for i in sorted(set(ids)) if ids.count(i) > 1]
    return problems


def record_test(mutant, test):
    """Writes down in the list who noticed it."""
    if test == mutant.test:
        return
    text = mutant.source.read_text()
    begin = text.index(f"[{mutant.id}]\n")
    end = text.index("--- old\n", begin)
    head = re.sub(r"^test = .*\n", "", text[begin:end], flags=re.M)
    mutant.source.write_text(text[:begin] + head + f"test = {test}\n" +
                             text[end:])
    mutant.test = test
