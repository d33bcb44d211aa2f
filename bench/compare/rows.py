"""The rows of the comparison: what each one runs, on what, how much of it."""

from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    name: str
    workload: str
    # Operations as a multiple of the keys.
    factor: float = 1
    # The fill whose result it runs on; None: on nothing.
    base: str = None
    # It changes what it runs on, and so runs on a copy.
    changes: bool = False
    # Keys as a part of the number asked for.
    part: float = 1
    # More for the program.
    words: dict = field(default_factory=dict)
    # What its rate counts.
    unit: str = "ops"

    @property
    def writes(self):
        return self.base is None or self.changes


def fill(name, workload, **more):
    return Row(name, workload, **more)


def read(name, workload, factor, base="fillrandom", **more):
    return Row(name, workload, factor, base, **more)


def write(name, workload, factor, **more):
    return Row(name, workload, factor, "fillrandom", changes=True, **more)


SYNC = {"sync": 1}
LARGE = {"value_size": 4096}
HUGE = {"value_size": 65536}
SMALL_CACHE = {"cache": 64 * MIB, "memtable": MIB}


def ycsb(letter, factor, threads):
    name = f"ycsb{letter}" + (f"-t{threads}" if threads > 1 else "")
    words = {"threads": threads, "steps": 100}
    if letter == "c":
        return read(name, "ycsbc", factor, words=words)
    return write(name, f"ycsb{letter}", factor, words=words)


# In the order they run: fills first, since they make what others read.
ROWS = [
    fill("fillseq", "fillseq"),
    fill("fillrandom", "fillrandom"),
    fill("fillbatch", "fillbatch", words={"batch": 100}),
    fill("fillsync", "fillrandom", factor=0.01, words=SYNC),
    fill("fillsync-t8", "fillrandom", factor=0.03,
         words={**SYNC, "threads": 8}),
    read("readrandom", "readrandom", 2),
    read("readrandom-small", "readrandom", 2, words=SMALL_CACHE),
    read("multireadrandom", "multireadrandom", 2, words={"batch": 100}),
    read("readmissing", "readmissing", 2),
    read("readhot", "readhot", 2),
    read("readseq", "readseq", 10),
    read("readreverse", "readreverse", 10),
    read("seekrandom10", "seekrandom", 0.5, words={"steps": 10}),
    read("seekrandom100", "seekrandom", 0.1, words={"steps": 100}),
    write("readwhilewriting", "readrandom", 2, words={"write_rate": 20000}),
    write("overwrite", "overwrite", 1),
    write("overwritezipf", "overwritezipf", 1),
    write("deleterandom", "deleterandom", 1),
    *(ycsb(letter, 0.1 if letter == "e" else 1, threads)
      for letter in "abcdef" for threads in (1, 2)),
    fill("fill4k", "fillrandom", part=1 / 20, words=LARGE),
    read("read4k", "readrandom", 5, "fill4k", part=1 / 20, words=LARGE),
    fill("fill64k", "fillrandom", part=1 / 320, words=HUGE),
    read("read64k", "readrandom", 20, "fill64k", part=1 / 320, words=HUGE),
    read("coldopen", "open", 0, words={"drop_pages": 1}, unit="open"),
    Row("recovery", "recovery", unit="open"),
]

BY_NAME = {row.name: row for row in ROWS}

GROUPS = {
    "main": ["fillseq", "fillrandom", "fillbatch", "readrandom",
             "readmissing", "readseq", "readreverse", "seekrandom10",
             "readwhilewriting", "overwrite"],
    "large": ["fillseq", "fillrandom", "readrandom", "readmissing", "readseq",
              "seekrandom10", "readwhilewriting", "overwrite", "ycsba",
              "coldopen"],
    "all": [row.name for row in ROWS],
}


def choose(text):
    """Names and groups, separated by commas, in the order in which rows run;
    of a misspelt name a ValueError."""
    wanted = set()
    for word in text.split(","):
        if word in GROUPS:
            wanted.update(GROUPS[word])
        elif word in BY_NAME:
            wanted.add(word)
        else:
            raise ValueError(f"no row {word}; there are: "
                             + ", ".join([*GROUPS, *BY_NAME]))
    return [row for row in ROWS if row.name in wanted]
