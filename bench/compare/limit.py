"""A limit of memory for a process, page cache included: a control group."""

import os
import pathlib
import time

ROOT = pathlib.Path("/sys/fs/cgroup")


class Limit:
    """A group of our own, removed at the end. Where the system refuses one,
    or none is asked for, group is None and commands run as they are: then the
    whole machine's memory caches the files."""

    def __init__(self, limit_bytes):
        self.group = None
        if not limit_bytes:
            return
        for root, file in ((ROOT, "memory.max"),
                           (ROOT / "memory", "memory.limit_in_bytes")):
            if self.make(root / f"albertdb-bench-{os.getpid()}", file,
                         limit_bytes):
                return

    def make(self, group, file, limit_bytes):
        try:
            group.mkdir()
        except OSError:
            return False
        try:
            (group / file).write_text(str(limit_bytes))
        except OSError:
            group.rmdir()
            return False
        self.group = group
        return True

    def command(self, words):
        """The same command, inside the group."""
        if not self.group:
            return words
        enter = f"echo $$ >'{self.group}/cgroup.procs' && exec \"$@\""
        return ["sh", "-c", enter, "sh", *words]

    def remove(self):
        for _ in range(50):
            try:
                if self.group:
                    self.group.rmdir()
                self.group = None
                return
            except OSError:
                time.sleep(0.1)
