"""A limit of memory for a process, page cache included: a control group."""

import os
import pathlib
import time

ROOT = pathlib.Path("/sys/fs/cgroup")


class Limit:
    """A group of our own, removed at the end. Where the system refuses one,
    or none is asked for, group is None and commands run as they are: then the
    whole machine's memory caches the files."""

    def __init__(self, limit_bytes, root=ROOT):
        self.group = None
        if not limit_bytes:
            return
        for where, file in ((root, "memory.max"),
                            (root / "memory", "memory.limit_in_bytes")):
            if self.make(where / f"albertdb-bench-{os.getpid()}", file,
                         limit_bytes):
                return

    def make(self, group, file, limit_bytes):
        try:
            group.mkdir()
        except OSError:
            return False
        try:
            # "r+" makes no file: this may be no control group but a folder
            # that holds those of each controller.
            with open(group / file, "r+") as limit:
                limit.write(str(limit_bytes))
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

    def outside(self):
        """The file through which a process leaves the group."""
        return self.group.parent / "cgroup.procs"

    def remove(self):
        for _ in range(50):
            try:
                if self.group:
                    self.group.rmdir()
                self.group = None
                return
            except OSError:
                time.sleep(0.1)
