#!/usr/bin/env python3
"""The seams of the library: files, time, randomness, threads and heap memory
are reached only through env and base, so that every fault can be simulated."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What may be called only below the named files (paths under src/).
FORBIDDEN = {
    ("env/",): [
        "open", "openat", "creat", "read", "pread", "readv", "write",
        "pwrite", "writev", "fsync", "fdatasync", "sync_file_range", "mmap",
        "munmap", "msync", "madvise", "mincore", "ftruncate", "truncate",
        "fallocate", "posix_fallocate", "rename", "renameat", "unlink",
        "unlinkat", "mkdir", "rmdir", "stat", "fstat", "lstat", "opendir", "readdir",
        "flock", "fcntl", "fopen", "fread", "fwrite", "getrandom", "rand",
        "random", "srand", "time", "gettimeofday", "fork", "abort", "exit",
        "printf", "fprintf", "puts", "perror"],
    ("base/thread.c", "base/thread.h", "env/"): [
        "clock_gettime", "nanosleep", "usleep", "sleep", "sched_yield",
        r"pthread_\w+"],
    # The simulated disk is the tests': its memory is not the library's.
    ("base/alloc.c", "env/env_memory"): [
        "malloc", "calloc", "realloc", "free", "aligned_alloc", "strdup",
        "posix_memalign"],
}
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\])*\"", re.S)


def blank(match):
    """Keeps the line numbers of what it removes."""
    return re.sub(r"[^\n]", " ", match.group(0))


def check_file(path):
    name = str(path.relative_to(ROOT / "src"))
    text = COMMENT.sub(blank, path.read_text())
    problems = []
    for allowed, calls in FORBIDDEN.items():
        if name.startswith(allowed):
            continue
        # A call: the bare name before '(', not a member or a longer name.
        pattern = re.compile(r"(?<![\w.>])(" + "|".join(calls) + r")\s*\(")
        for match in pattern.finditer(text):
            line_start = text.rfind("\n", 0, match.start()) + 1
            before = text[line_start:match.start()]
            # Declarations of members and types: `(*free)(...)`, `void free(`.
            if re.search(r"(\*|\b(void|int|bool|static|inline|adb_status))\s*$",
                         before):
                continue
            line = text.count("\n", 0, match.start()) + 1
            problems.append(f"src/{name}:{line}: {match.group(1)}() passes by "
                            "the seams of env and base")
    return problems


def main():
    problems = []
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        problems += check_file(path)
    print("\n".join(problems) or "all calls pass the seams")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
