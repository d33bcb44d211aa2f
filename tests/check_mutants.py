#!/usr/bin/env python3
"""Every breakage of `make mutants` still applies, in exactly one place."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "mutants"))

import catalogue  # noqa: E402


def main():
    mutants = catalogue.read_all()
    problems = catalogue.check(mutants)
    if sum(bool(m.blind) for m in mutants) < 10 or len(mutants) < 60:
        problems.append(f"{len(mutants)} mutants are too few")
    print("\n".join(problems) or f"{len(mutants)} mutants apply")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
