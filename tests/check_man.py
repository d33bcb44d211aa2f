#!/usr/bin/env python3
"""docs/man/albertdb.1 against the program: the same verbs with the same
arguments and options, the same workloads and exit codes, examples of verbs that
there are; the README names the same verbs. The page renders without a warning
where there is something to render it."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/man/albertdb.1"


def section(text, title):
    found = re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", text,
                      re.M | re.S)
    return found.group(1) if found else ""


def ask(tool, *words):
    done = subprocess.run([tool, *words], text=True, check=True,
                          stdout=subprocess.PIPE)
    return done.stdout


def help_options(text):
    """--name and its argument, from the lines of a help text."""
    lines = text.partition("\noptions:\n")[2]
    return set(re.findall(r"^ +(?:-\w, )?--([\w-]+)(?: (\S+))?", lines, re.M))


def program_verbs(tool):
    """Of each verb what it takes: the words, and the options of its own."""
    text = ask(tool, "help").partition("\nverbs:\n")[2].partition("\n\n")[0]
    verbs = {}
    for verb in re.findall(r"^  (\w+)", text, re.M):
        if verb in ("help", "version"):
            continue
        shown = ask(tool, "help", verb)
        words = re.match(r"usage: albertdb \w+ \[options\] ?(.*)", shown)
        verbs[verb] = (words.group(1), help_options(shown))
    anywhere = set.intersection(*(options for _, options in verbs.values()))
    return verbs, anywhere


def page_verbs(text):
    verbs = {}
    for head in re.findall(r"^\.It Xo\n(.*?)^\.Xc", section(text, "VERBS"),
                           re.M | re.S):
        verb = re.search(r"^\.Cm (\w+)", head, re.M).group(1)
        options = re.findall(r"^\.Op Fl -([\w-]+)(?: Ar (\S+))?$", head, re.M)
        words = re.search(r"^\.(Op )?Ar (.*)$", head, re.M)
        shown = "" if not words else words.group(2)
        if words and words.group(1):
            shown = f"[{shown}]"
        verbs[verb] = (shown, set(options))
    return verbs


def page_options(text):
    found = set()
    for line in re.findall(r"^\.It (.*)$", section(text, "OPTIONS"), re.M):
        name = re.search(r"Fl -([\w-]+)", line).group(1)
        argument = re.search(r" Ar (.*)$", line)
        shown = argument.group(1) if argument else ""
        found.add((name, shown.replace(" Ns = Ns Ar ", "=")))
    return found


def check_verbs(text, tool):
    verbs, anywhere = program_verbs(tool)
    shown = page_verbs(text)
    for verb in sorted(set(verbs) ^ set(shown)):
        yield f"the verb {verb} is in one of page and program"
    for verb in sorted(set(verbs) & set(shown)):
        words, options = verbs[verb]
        if words != shown[verb][0]:
            yield f"{verb} takes '{words}', the page says '{shown[verb][0]}'"
        for option in sorted((options - anywhere) ^ shown[verb][1]):
            yield f"{verb}: --{' '.join(option)} is in one of them"
    everything = set().union(*(options for _, options in verbs.values()))
    for option in sorted(everything ^ page_options(text)):
        yield f"OPTIONS: --{' '.join(option).strip()} is in one of them"


def check_workloads(text, tool):
    listed = re.search(r"Workloads: ([^.]*)\.", ask(tool, "help", "bench"))
    shown = re.findall(r"^\.Cm (\w+)", section(text, "BENCHMARKS")
                       .partition("run one after")[0], re.M)
    for name in set(listed.group(1).split()) ^ set(shown):
        yield f"BENCHMARKS: {name} is in one of page and program"


def check_exit_codes(text, tool):
    program = re.findall(r"(\d) [\w/]+", re.search(
        r"Exit codes: (.*)", ask(tool, "help")).group(1))
    shown = re.findall(r"^\.It (\d)", section(text, "EXIT STATUS"), re.M)
    if program != shown:
        yield f"exit codes {shown} in the page, {program} in the program"


def check_examples(text, tool):
    verbs, _ = program_verbs(tool)
    used = re.findall(r"^albertdb (\w+)|\| albertdb (\w+)",
                      section(text, "EXAMPLES"), re.M)
    for verb in {a or b for a, b in used} - set(verbs):
        yield f"EXAMPLES: there is no verb {verb}"


def check_readme(_text, tool):
    listed = re.search(r"^Verbs are `([^`]*)`",
                       (ROOT / "README.md").read_text(), re.M)
    verbs, _ = program_verbs(tool)
    if not listed or set(listed.group(1).split()) != set(verbs):
        yield "README.md lists other verbs than the program"


def check_rendering(_text, _tool):
    groff = shutil.which("groff")
    if not groff:
        return
    done = subprocess.run([groff, "-ww", "-mdoc", "-Tutf8", PAGE], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    if done.returncode != 0 or done.stderr:
        yield f"it does not render cleanly: {done.stderr}"
    for line in done.stdout.splitlines():
        if len(re.sub(r"\x1b\[[\d;]*m|.\x08", "", line)) > 80:
            yield f"a rendered line has more than 80 columns: {line}"


def main():
    tool = os.environ.get("ALBERTDB")
    if not tool:
        print("skipped: the tool is not built")
        return 0
    text = PAGE.read_text()
    problems = []
    for check in (check_verbs, check_workloads, check_exit_codes,
                  check_examples, check_readme, check_rendering):
        problems += check(text, tool)
    print("\n".join(problems) or "the man page agrees with the program")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
