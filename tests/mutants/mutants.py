#!/usr/bin/env python3
"""The test of the tests: breaks the engine in one place after the other and
asks whether the tests notice. See docs/mutants.md.

    mutants.py                all of them; goes on where it was cut
    mutants.py NAME...        these
    mutants.py --check        does each still apply? (runs in ctest)
    mutants.py --fresh        forgets earlier results
    mutants.py --record       writes who noticed into the list
    mutants.py --table        writes docs/mutants.md from the last run
    mutants.py --under SECONDS  asks no other module's test that takes longer

Exit code: 0 when all were noticed."""

import argparse
import hashlib
import json
import signal
import sys
import time

import bench
import catalogue
from catalogue import ROOT

STATE = bench.PLACE / "results.json"
PAGE = ROOT / "docs/mutants.md"
BEGIN, END = "<!-- table -->\n", "<!-- end -->\n"


def say(text):
    print(text, flush=True)


def minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


# ---- what is known from before ----------------------------------------------


def digest_of(*places):
    """Of all files in these folders."""
    digest = hashlib.sha256()
    for path in sorted(p for place in places for p in place.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


class State:
    """Results hold as long as the sources are the same: tests that are added
    only make more be noticed. What survived is asked again each time."""

    def __init__(self, fresh):
        self.data = {"sources": digest_of(ROOT / "src", ROOT / "cmake"),
                     "control": {}, "results": {}, "seconds": 0}
        if STATE.exists() and not fresh:
            known = json.loads(STATE.read_text())
            if known["sources"] == self.data["sources"]:
                self.data = known

    def save(self):
        STATE.parent.mkdir(parents=True, exist_ok=True)
        STATE.write_text(json.dumps(self.data, indent=1))

    def result(self, mutant):
        """Of this very breakage, or None."""
        result = self.data["results"].get(mutant.id)
        return result if result and result["digest"] == mutant.digest() \
            else None

    def store(self, mutant, result):
        result["digest"] = mutant.digest()
        self.data["results"][mutant.id] = result
        self.save()


# ---- the control: nothing broken, everything passes -------------------------


def control_tests(build, mutants):
    """All tests of the release build; of a sanitizer's those that its mutants
    are noticed by."""
    if build.preset == "release":
        return list(build.tests.values())
    named = {m.test for m in mutants if m.preset == build.preset}
    return [t for t in build.tests.values() if t.name in named]


def folder_digest(test):
    return digest_of(ROOT / "tests" / test.name.partition(".")[0])


def run_control(build, mutants, state):
    known = state.data["control"].setdefault(build.preset, {})
    left = [t for t in control_tests(build, mutants)
            if known.get(t.name, {}).get("digest") != folder_digest(t)]
    if left:
        say(f"control ({build.preset}): {len(left)} tests, nothing broken")
    problem = build.make([t.target for t in left]) if left else None
    if problem:
        say(problem)
        return False
    for test in left:
        outcome = build.run(test)
        if outcome.how != "passed":
            say(f"{outcome.output}\ncontrol: {test.name}: {outcome.how}")
            return False
        known[test.name] = {"seconds": round(outcome.seconds, 2),
                            "digest": folder_digest(test)}
        state.save()
    build.seconds = {name: k["seconds"] for name, k in known.items()}
    return True


# ---- one mutant --------------------------------------------------------------


def ask_tests(build, mutant, under):
    """The first test that notices."""
    for test in build.order(mutant):
        near = test.name == mutant.test or \
            test.name.startswith(mutant.file.split("/")[1] + ".")
        if under and not near and build.seconds.get(test.name, 0) > under:
            continue
        problem = build.make([test.target])
        if problem:
            return {"how": "does not compile", "output": problem}
        outcome = build.run(test)
        # Twice in a row: a test that fails now and then has noticed nothing.
        if outcome.how in ("failed", "crash") and test.name != mutant.test:
            outcome = build.run(test)
        if outcome.how != "passed":
            return {"how": outcome.how, "test": test.name,
                    "source": test.source(),
                    "function": outcome.function()}
    return {"how": "survived"}


def try_mutant(build, mutant, under):
    path = bench.TREE / mutant.file
    sound = path.read_text()
    path.write_text(mutant.broken(sound))
    began = time.monotonic()
    try:
        result = ask_tests(build, mutant, under)
    finally:
        path.write_text(sound)
    result["seconds"] = round(time.monotonic() - began, 1)
    return result


def noticed(result):
    return result["how"] in ("failed", "crash", "hang")


def describe(mutant, result):
    if not noticed(result):
        return f"{mutant.id}: {result['how'].upper()}" + \
            ("\n" + result["output"] if "output" in result else "")
    return f"{mutant.id}: {result['how']} in {result['test']} " \
        f"{result['function']}"


def run_all(mutants, state, options):
    builds = {p: bench.Build(p, options.jobs)
              for p in sorted({m.preset for m in mutants})}
    bench.copy_tree()
    for build in builds.values():
        build.configure()
        if not run_control(build, mutants, state):
            return False
    todo = [m for m in mutants if options.names or not state.result(m) or
            not noticed(state.result(m))]
    began = time.monotonic()
    for done, mutant in enumerate(todo, 1):
        result = try_mutant(builds[mutant.preset], mutant, options.under)
        state.data["seconds"] += result["seconds"]
        state.store(mutant, result)
        if options.record and noticed(result):
            catalogue.record_test(mutant, result["test"])
        took = time.monotonic() - began
        left = took / done * (len(todo) - done)
        say(f"[{done}/{len(todo)} {minutes(took)}, {minutes(left)} to go] "
            f"{describe(mutant, result)}")
    bad = [m for m in mutants if not noticed(state.result(m))]
    for mutant in bad:
        say(f"not noticed: {describe(mutant, state.result(mutant))}")
    say(f"{len(mutants) - len(bad)} of {len(mutants)} noticed")
    return not bad


# ---- the table ---------------------------------------------------------------


def row(mutant, result):
    who = result["source"]
    if result["function"]:
        who += ":" + result["function"]
    marks = (" (hang)" if result["how"] == "hang" else "") + \
        (f" ({mutant.preset})" if mutant.preset != "release" else "") + \
        (" +" if mutant.written else "")
    blind = " *" if mutant.blind else ""
    return f"| `{mutant.id}`{blind} | {mutant.what} | `{mutant.file}` | " \
        f"`{who}`{marks} |\n"


def write_table(mutants, state):
    results = {m.id: state.result(m) for m in mutants}
    if not all(r and noticed(r) for r in results.values()):
        say("no table: not all of the list has run and was noticed")
        return False
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    table = "| name | what is broken | file | noticed by |\n" \
        "|---|---|---|---|\n" + \
        "".join(row(m, results[m.id]) for m in mutants)
    PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1])
    say(f"{PAGE.relative_to(ROOT)}: {len(mutants)} rows, "
        f"{minutes(state.data['seconds'])} minutes")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.
                                     RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    for flag in ("check", "fresh", "record", "table"):
        parser.add_argument("--" + flag, action="store_true")
    parser.add_argument("--under", type=float)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    # So that what is broken is restored, and the test that runs is ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    mutants = catalogue.read_all()
    problems = catalogue.check(mutants)
    unknown = set(options.names) - {m.id for m in mutants}
    problems += [f"{name}: not in the list" for name in sorted(unknown)]
    if problems or options.check:
        say("\n".join(problems) or f"{len(mutants)} mutants apply")
        return 1 if problems else 0
    state = State(options.fresh)
    if options.table:
        return 0 if write_table(mutants, state) else 1
    elsewhere = [m for m in mutants if not m.runs_here()]
    for mutant in elsewhere:
        say(f"{mutant.id}: left out, this processor has no {mutant.cpu}")
    here = [m for m in mutants if m not in elsewhere]
    if options.names:
        here = [m for m in here if m.id in options.names]
        return 0 if run_all(here, state, options) else 1
    return 0 if run_all(here, state, options) and \
        write_table(mutants, state) else 1


if __name__ == "__main__":
    sys.exit(main())
