"""What the tests of the command line tool share: running it, a scratch
directory, a picture of a directory to compare with later."""

import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = os.environ.get("ALBERTDB") or str(ROOT / "build/release/cli/albertdb")
OK, NOT_FOUND, USAGE, DAMAGED, FAILED = range(5)

# Bytes that some format could trip over.
STRANGE = [
    b"", b"\0", b"a\0b", b"\xff\xfe\x80", b"\xc3\x28", b"\xed\xa0\x80",
    b"\t", b"tab\tin", b"\n", b"\r\n", b"line\nline", b"cr\rcr", b"crlf\r\n",
    b'"', b'""', b'say "x"', b"'", b",", b";", b"a,b;c", b"\\", b"\\n",
    b"\\x00", b"\\\\x", b"-", b"--", b"-v", b" lead", b"trail ", b"{", b"[]",
    b'{"base64":"AA=="}', b"\xef\xbb\xbfmark", b"\xe2\x80\xae", b"\x1b[31m",
    b"\x7f", b"\xc2\x85", "äöü €".encode(), "😀".encode(), bytes(range(256)),
]


class Done:
    """A process that has ended."""

    def __init__(self, completed):
        self.code = completed.returncode
        self.out = completed.stdout or b""
        self.err = (completed.stderr or b"").decode("utf-8", "replace")


class ToolTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="albertdb-")
        self.addCleanup(directory.cleanup)
        self.place = pathlib.Path(directory.name)
        self.db = self.place / "db"
        self.environment = {k: v for k, v in os.environ.items()
                            if k not in ("ALBERTDB_DB", "ALBERTDB_HISTORY")}
        self.environment["HOME"] = str(self.place)

    def run_tool(self, *words, input=b"", **more):
        more.setdefault("cwd", self.place)
        more.setdefault("env", self.environment)
        more.setdefault("stdout", subprocess.PIPE)
        if "stdin" not in more:
            more["input"] = input
        command = [more.pop("tool", TOOL), *map(encoded, words)]
        return Done(subprocess.run(command, stderr=subprocess.PIPE,
                                   timeout=300, check=False, **more))

    def tool(self, verb, *words, code=OK, db=None, **more):
        """The verb on the test's database; fails unless it ends with code."""
        done = self.run_tool(verb, "--db", db or self.db, *words, **more)
        self.assertEqual(done.code, code, (verb, words, done.out, done.err))
        return done

    def out(self, verb, *words, **more):
        return self.tool(verb, *words, **more).out

    def fails(self, code, words_of_message, verb, *words, **more):
        """Ends with code, and the message names all these."""
        done = self.tool(verb, *words, code=code, **more)
        for word in words_of_message:
            self.assertIn(word, done.err)
        self.assertTrue(done.err.startswith("albertdb: "), done.err)
        return done

    def pairs(self, db=None):
        """All of a database, read as hexadecimal."""
        lines = self.out("scan", "--hex", db=db).decode().splitlines()
        return {bytes.fromhex(k): bytes.fromhex(v)
                for k, v in (line.split("\t") for line in lines)}

    def fill(self, pairs, *options, db=None):
        lines = "".join(f"{k.hex()}\t{v.hex()}\n" for k, v in pairs.items())
        self.tool("load", "-", "--hex", "--format", "tsv", "--durability",
                  "process", *options, db=db, input=lines.encode())

    def write(self, name, data):
        path = self.place / name
        path.write_bytes(data)
        return path


def encoded(word):
    return word if isinstance(word, bytes) else str(word).encode()


def picture(path):
    """Every name below path with what it is and a checksum of its bytes."""
    found = {}
    for place in sorted([path, *path.rglob("*")]):
        kind = "link" if place.is_symlink() else (
            "directory" if place.is_dir() else "file")
        data = place.read_bytes() if kind == "file" else b""
        found[str(place)] = (kind, hashlib.sha256(data).hexdigest())
    return found


def copy(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def seeded():
    seed = int(os.environ.get("ADB_TEST_SEED") or random.getrandbits(32))
    print(f"seed: ADB_TEST_SEED={seed}", flush=True)
    return random.Random(seed)


def main():
    if not pathlib.Path(TOOL).exists():
        sys.exit(f"{TOOL} is not built")
    unittest.main(verbosity=2)
