"""The rows of the comparison: what each one runs, on what, how much of it."""

from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    name: str
    workload: str
    # Operations as a multiple of the keys; None: until the time is up.
    factor: float = 1
    # The fill whose result it runs on; None: on nothing.
    base: str = None
    # It changes what it runs on, and so runs on a copy.
    changes: bool = False
    # Keys as a multiple of the number asked for.
    part: float = 1
    # More for the program.
    words: dict = field(default_factory=dict)
    # At most, unless asked otherwise.
    seconds: float = 3600
    # Its rate is that of readers: what writers leave to do does not count.
    readers: bool = False
    # In plots over a size: the curve it belongs to, and where on it.
    curve: str = None
    at: float = 0


def read(name, workload, factor, base="fillrandom", **more):
    return Row(name, workload, factor, base, **more)


def write(name, workload, factor, base="fillrandom", **more):
    return Row(name, workload, factor, base, changes=True, **more)


SYNC = {"sync": 1}
LARGE = {"value_size": 4096}
HUGE = {"value_size": 65536}
# With so small a memtable albertdb's one budget leaves no more for blocks.
SMALL_CACHE = {"cache": 64 * MIB, "memtable": MIB}


def ycsb(letter, threads):
    name = f"ycsb{letter}" + (f"-t{threads}" if threads > 1 else "")
    words = {"threads": threads, "steps": 100}
    factor = 0.1 if letter == "e" else 1
    kind = read if letter == "c" else write
    return kind(name, f"ycsb{letter}", factor, words=words)


# In the order they run: fills first, since they make what others read.
ROWS = [
    Row("fillseq", "fillseq"),
    Row("fillrandom", "fillrandom"),
    Row("fillbatch", "fillbatch", words={"batch": 100}),
    Row("fillsync", "fillrandom", factor=0.01, words=SYNC),
    Row("fillsync-t8", "fillrandom", factor=0.03,
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
    write("readwhilewriting", "readrandom", 2, readers=True,
          words={"write_rate": 20000}),
    write("overwrite", "overwrite", 1),
    write("overwritezipf", "overwritezipf", 1),
    write("deleterandom", "deleterandom", 1),
    *(ycsb(letter, threads) for letter in "abcdef" for threads in (1, 2)),
    Row("fill4k", "fillrandom", part=1 / 20, words=LARGE),
    read("read4k", "readrandom", 5, "fill4k", part=1 / 20, words=LARGE),
    Row("fill64k", "fillrandom", part=1 / 320, words=HUGE),
    read("read64k", "readrandom", 20, "fill64k", part=1 / 320, words=HUGE),
    read("coldopen", "open", 0, words={"drop_pages": 1}),
    Row("recovery", "recovery"),
]

# Sustained overwrites, with what happens from second to second.
STALL = [write("stall", "overwrite", None, seconds=600, words={"series": 0.5})]


def by_size(millions):
    """Rows on a database of so many times the number asked for; as many
    operations at each size."""
    def name(what):
        return f"{what}@{millions}x"

    base = name("fillrandom")
    more = {"part": millions, "at": millions}
    return [
        Row(base, "fillrandom", curve="fillrandom", **more),
        read(name("readrandom"), "readrandom", 1 / millions, base,
             curve="readrandom", **more),
        read(name("readmissing"), "readmissing", 1 / millions, base,
             curve="readmissing", **more),
        read(name("readseq"), "readseq", 5 / millions, base, curve="readseq",
             **more),
        read(name("seekrandom10"), "seekrandom", 0.2 / millions, base,
             curve="seekrandom10", words={"steps": 10}, **more),
        write(name("overwrite"), "overwrite", 1 / millions, base,
              curve="overwrite", **more),
    ]


def by_threads(threads):
    """Rows with so many threads, on the number of keys asked for."""
    def row(kind, what, workload, factor):
        return kind(f"{what}-{threads}t", workload, factor, base="fillrandom",
                    curve=f"{what} by threads", at=threads,
                    words={"threads": threads, "steps": 10})

    return [
        Row(f"fillrandom-{threads}t", "fillrandom",
            curve="fillrandom by threads", at=threads,
            words={"threads": threads}),
        row(read, "readrandom", "readrandom", 2),
        row(read, "seekrandom10", "seekrandom", 0.5),
        row(write, "overwrite", "overwrite", 1),
        row(write, "ycsba", "ycsba", 1),
    ]


SIZES = [row for millions in (1, 2, 5, 10, 20) for row in by_size(millions)]
THREADS = [row for threads in (1, 2, 4, 8) for row in by_threads(threads)]

EVERY = ROWS + STALL + SIZES + THREADS
BY_NAME = {row.name: row for row in EVERY}

GROUPS = {
    "main": ["fillseq", "fillrandom", "fillbatch", "readrandom",
             "readmissing", "readseq", "readreverse", "seekrandom10",
             "readwhilewriting", "overwrite"],
    "large": ["fillseq", "fillrandom", "readrandom", "readmissing", "readseq",
              "seekrandom10", "readwhilewriting", "overwrite", "ycsba",
              "ycsbb", "coldopen"],
    "reads": ["readrandom", "readrandom-small", "multireadrandom",
              "readmissing", "readhot", "readseq", "readreverse",
              "seekrandom10", "seekrandom100", "readwhilewriting", "ycsbb",
              "ycsbc", "ycsbd", "ycsbe", "ycsbe-t2", "read4k", "read64k",
              "coldopen"],
    "all": [row.name for row in ROWS],
    "sizes": [row.name for row in SIZES],
    "threads": [row.name for row in THREADS],
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
    return [row for row in EVERY if row.name in wanted]
