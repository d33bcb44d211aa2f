#!/usr/bin/env python3
"""Paths that hold no database, something else, or a damaged one: each verb
says what is wrong with which file, and where there is one at which offset, and
what to do; its exit code says of which kind; and nothing on disk has changed.
"""

import ctypes
import os
import re
import shutil
import subprocess

from tool import (DAMAGED, FAILED, NOT_FOUND, OK, TOOL, USAGE, ToolTest, copy,
                  flip, main, picture)

READERS = [["get", "k"], ["delete", "k"], ["scan"], ["dump"], ["stats"],
           ["levels"], ["verify"], ["compact"]]
WRITERS = [["put", "k", "v"], ["load", "-"], ["shell"],
           ["bench", "--use-existing", "--num", "10"]]
NOBODY = 65534


class BadInput(ToolTest):
    def unchanged(self, code, words, verb, *arguments, place=None, **more):
        """Fails so, and everything at the place is as it was."""
        place = place or self.place
        before = picture(place)
        done = self.fails(code, words, verb, *arguments, **more)
        self.assertEqual(picture(place), before, (verb, arguments))
        self.assertEqual(done.out.replace(b'{"damaged":[', b""), b"")
        return done

    def all_verbs(self, code, words, verbs=None, **more):
        for verb, *arguments in verbs or READERS + WRITERS:
            self.unchanged(code, words, verb, *arguments, **more)


class NoDatabase(BadInput):
    def test_nothing_there(self):
        self.all_verbs(USAGE, [str(self.db), "no database"], READERS)
        self.assertFalse(self.db.exists())

    def test_empty_directory(self):
        self.db.mkdir()
        self.all_verbs(USAGE, [str(self.db), "no database"], READERS)

    def test_other_files(self):
        self.db.mkdir()
        (self.db / "holiday.jpg").write_bytes(b"not ours")
        (self.db / "000017.txt").write_bytes(b"nor this")
        self.all_verbs(USAGE, [str(self.db), "no database", "directory"])

    def test_file_in_its_place(self):
        self.db.write_bytes(b"a file\n")
        self.all_verbs(USAGE, [str(self.db), "not a directory"])
        # One further up.
        self.all_verbs(FAILED, ["db/below"], WRITERS, db=self.db / "below")

    def test_no_parent(self):
        deep = self.place / "none" / "deeper"
        self.all_verbs(USAGE, [str(deep)], READERS, db=deep)
        self.all_verbs(FAILED, [str(deep), "No such file"], WRITERS, db=deep)

    def test_link_into_nothing(self):
        self.db.symlink_to(self.place / "gone")
        self.all_verbs(USAGE, [str(self.db)], READERS)

    def test_arguments_first(self):
        """What is wrong with the words is told before anything is made."""
        for words in (["put", r"\q", "v"], ["put", "k", r"\x0"],
                      ["put", "--hex", "0", "00"], ["load", "none.csv"],
                      ["put", "k", "v", "-o", "memory_budget=1"],
                      ["bench", "--workloads", "fillseq,nonsense"],
                      ["bench", "--key-size", "4", "--num", "16777217"]):
            before = picture(self.place)
            done = self.run_tool(*words, "--db", self.db)
            self.assertIn(done.code, (USAGE, FAILED))
            self.assertEqual(picture(self.place), before)


class Permission(BadInput):
    """As somebody who may not: the superuser may everything."""

    def setUp(self):
        super().setUp()
        self.tool("put", "k", "v")
        self.place.chmod(0o755)
        self.more = {}
        if os.geteuid() == 0:
            reach = self.place / "bin"
            reach.mkdir()
            reach.chmod(0o755)
            shutil.copy(TOOL, reach / "albertdb")
            self.more = {"user": NOBODY, "group": NOBODY, "extra_groups": [],
                         "tool": str(reach / "albertdb")}
            done = subprocess.run([self.more["tool"], "version"], check=False,
                                  user=NOBODY, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
            if done.returncode != 0:
                self.skipTest("nobody may run programs here")

    def give_away(self, path, mode):
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(mode)

    def denied(self, words, verbs=None, **more):
        before = picture(self.place) if os.geteuid() == 0 else None
        for verb, *arguments in verbs or READERS + WRITERS:
            self.fails(FAILED, ["denied", *words], verb, *arguments,
                       **self.more, **more)
        if before:
            self.assertEqual(picture(self.place), before)

    def test_directory_may_not_be_written(self):
        for path in self.db.iterdir():
            self.give_away(path, 0o644)
        self.give_away(self.db, 0o555)
        self.denied([str(self.db)])

    def test_directory_may_not_be_read(self):
        self.give_away(self.db, 0o000)
        self.denied([str(self.db)])

    def test_parent_may_not_be_written(self):
        closed = self.place / "closed"
        closed.mkdir()
        self.give_away(closed, 0o555)
        self.denied([str(closed)], WRITERS, db=closed / "new")

    def test_file_may_not_be_read(self):
        self.tool("compact")
        for path in self.db.iterdir():
            self.give_away(path, 0o644)
        self.give_away(self.db, 0o755)
        for path in (self.db / "CURRENT", next(self.db.glob("MANIFEST-*"))):
            path.chmod(0)
            self.denied([path.name], [["get", "k"], ["put", "k", "v"]])
            path.chmod(0o644)
        self.assertEqual(self.out("get", "k", **self.more), b"v")

    def test_input_and_output(self):
        secret = self.write("secret.csv", b"a,b\n")
        secret.chmod(0o200)
        for path in self.db.iterdir():
            self.give_away(path, 0o644)
        self.give_away(self.db, 0o755)
        self.fails(FAILED, ["secret.csv", "denied"], "load", secret,
                   **self.more)
        self.fails(FAILED, ["secret.tsv", "denied"], "dump",
                   self.place / "secret.tsv", **self.more)
        self.assertFalse((self.place / "secret.tsv").exists())


class Damaged(BadInput):
    """A database with a manifest, a table and a live log."""

    def setUp(self):
        super().setUp()
        self.good = self.place / "good"
        self.fill({b"k%04d" % i: b"in a table" * 5 for i in range(1000)},
                  db=self.good)
        self.tool("compact", "-o", "compression=none", db=self.good)
        self.tool("put", "in the log", "v", db=self.good)

    def file(self, pattern):
        """The one in a fresh copy of the good database."""
        copy(self.good, self.db)
        found = sorted(self.db.glob(pattern))
        self.assertTrue(found, pattern)
        return found[-1]

    def refused(self, path, code=DAMAGED, words=(), verbs=None):
        self.all_verbs(code, [path.name, *words], place=self.db, verbs=verbs)

    def some(self, path, words):
        """Few verbs, where many pieces of damage are tried."""
        self.refused(path, words=words, verbs=[["get", "k0000"],
                                               ["put", "k", "v"]])

    def test_good(self):
        copy(self.good, self.db)
        self.assertEqual(self.out("get", "in the log"), b"v")
        self.assertEqual(self.out("get", "k0999"), b"in a table" * 5)
        self.tool("verify")

    def test_missing(self):
        for pattern in ("CURRENT", "MANIFEST-*", "*.log", "*.sst"):
            path = self.file(pattern)
            path.unlink()
            self.refused(path, words=["missing", "backup"])

    def test_cut_short(self):
        for pattern in ("CURRENT", "MANIFEST-*", "*.log", "*.sst"):
            for part in (0, 2, 10):
                path = self.file(pattern)
                size = path.stat().st_size
                # A log is preallocated: only its beginning is in use.
                size = min(size, 120) if pattern == "*.log" else size
                os.truncate(path, size // part if part else 0)
                self.some(path, ["backup"])

    def test_flipped(self):
        for pattern, most in (("CURRENT", 10**6), ("MANIFEST-*", 10**6),
                              ("*.log", 120)):
            size = min(self.file(pattern).stat().st_size, most)
            for offset in range(0, size, 31):
                path = self.file(pattern)
                flip(path, offset)
                self.some(path, ["offset", "backup"])

    def test_directory_in_place_of_a_file(self):
        for pattern in ("CURRENT", "MANIFEST-*", "*.log", "*.sst"):
            path = self.file(pattern)
            path.unlink()
            path.mkdir()
            before = picture(self.db)
            done = self.run_tool("get", "k0000", "--db", self.db)
            self.assertIn(done.code, (DAMAGED, FAILED), pattern)
            self.assertIn(path.name, done.err)
            self.assertEqual(picture(self.db), before)

    def test_newer_format(self):
        path = self.file("CURRENT")
        text = path.read_bytes()
        line = re.sub(rb"^albertdb \d+", b"albertdb 99", text)
        line = line[:line.index(b" sum ") + 5]
        path.write_bytes(line + b"%016x\n" % checksum(line))
        self.refused(path.parent / "", code=FAILED,
                     words=["newer", "99"])

    def test_damaged_table(self):
        """Opening succeeds; what lies in the damaged block is refused, the
        rest goes on, and the table is left as it is."""
        path = self.file("*.sst")
        flip(path, 100)
        damaged = path.read_bytes()
        done = self.fails(DAMAGED, [path.name, "offset", "verify", "backup"],
                          "get", "k0000")
        self.assertEqual(done.out, b"")
        self.assertEqual(self.out("get", "k0999"), b"in a table" * 5)
        self.assertEqual(self.out("get", "in the log"), b"v")
        self.tool("get", "in the lot", code=NOT_FOUND)
        self.tool("put", "k0000", "new")
        self.assertEqual(self.out("get", "k0000"), b"new")
        for verb in (["scan"], ["dump"], ["scan", "--reverse"]):
            self.fails(DAMAGED, [path.name, "offset"], *verb)
        done = self.fails(DAMAGED, ["backup"], "verify")
        self.assertIn(path.name.encode(), done.out)
        self.assertTrue(done.out.startswith(b"damaged: "))
        self.assertEqual(path.read_bytes(), damaged)

    def test_verify_names_every_piece(self):
        path = self.file("*.sst")
        for offset in (100, 20000, 40000):
            flip(path, offset)
        done = self.tool("verify", "--json", code=DAMAGED)
        self.assertIn(b'"status":"corruption"', done.out)
        self.assertEqual(done.out.count(path.name.encode()), 3)


def checksum(data):
    """As the sums of CURRENT: XXH3, 64 bits."""
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library.XXH3_64bits(data, len(data))


if __name__ == "__main__":
    main()
