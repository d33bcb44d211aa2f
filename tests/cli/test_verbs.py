#!/usr/bin/env python3
"""Every verb from outside: what it prints, what it takes, its exit codes."""

import base64
import json
import subprocess

from tool import (FAILED, NOT_FOUND, OK, STRANGE, TOOL, USAGE, ToolTest,
                  main)

VERBS = ("shell get put delete scan load dump stats levels verify bench "
         "compact").split()

# What the argument of an option may be, by the name that help gives it.
VALUES = {"PATH": "p", "NAME=VALUE": "block_size=4K", "KEY": "k", "N": "100",
          "LEVEL": "sync", "FORMAT": "csv", "C": ";", "LIST": "fillseq"}


class Pairs(ToolTest):
    def test_put_get_delete(self):
        self.tool("put", "greeting", "hello world")
        self.assertEqual(self.out("get", "greeting"), b"hello world")
        self.tool("put", "greeting", "again")
        self.assertEqual(self.out("get", "greeting"), b"again")
        self.tool("delete", "greeting", "never there")
        done = self.fails(NOT_FOUND, ["greeting"], "get", "greeting")
        self.assertEqual(done.out, b"")

    def test_silence(self):
        for words in (("put", "a", "1"), ("delete", "a"), ("scan",)):
            done = self.tool(*words)
            self.assertEqual((done.out, done.err), (b"", ""))

    def test_empty(self):
        self.tool("put", "", "")
        self.assertEqual(self.out("get", ""), b"")
        self.assertEqual(self.out("get", "", "--json"),
                         b'{"key":"","value":""}\n')

    def test_escapes(self):
        self.tool("put", r"\x00\t\\", r"\xff\n\r\"")
        self.assertEqual(self.pairs(), {b"\0\t\\": b'\xff\n\r"'})
        self.assertEqual(self.out("get", r"\x00\x09\x5c"), b'\xff\n\r"')
        for bad in (r"\q", r"\x0", r"\xzz", "\\"):
            self.fails(USAGE, [bad, "escape"], "put", bad, "v")
            self.fails(USAGE, [bad, "escape"], "get", bad)
            self.fails(USAGE, [bad, "escape"], "scan", "--prefix", bad)

    def test_hex(self):
        self.tool("put", "--hex", "00fF", "C3a4")
        self.assertEqual(self.out("get", "--hex", "00ff"), b"c3a4\n")
        self.assertEqual(self.out("get", r"\x00\xff"), b"\xc3\xa4")
        self.assertEqual(self.out("get", "--hex", "--json", "00ff"),
                         b'{"key":"00ff","value":"c3a4"}\n')
        self.assertEqual(self.out("scan", "--hex", "--from", "00"),
                         b"00ff\tc3a4\n")
        self.tool("delete", "--hex", "00ff")
        self.tool("get", "--hex", "00ff", code=NOT_FOUND)
        for bad in ("0", "zz", "0x00"):
            self.fails(USAGE, [bad, "hexadecimal"], "get", "--hex", bad)

    def test_words_that_look_like_options(self):
        self.tool("put", "--", "--json", "-")
        self.assertEqual(self.pairs(), {b"--json": b""})
        self.tool("put", "k", r"\x2d")
        self.assertEqual(self.out("get", "k"), b"-")
        self.assertEqual(self.out("get", "--", "--json"), b"")

    def test_delete_many_at_once(self):
        self.fill({b"a": b"", b"b": b"", b"c": b"", b"d": b""})
        self.tool("delete", "a", "c", "x")
        self.assertEqual(list(self.pairs()), [b"b", b"d"])
        # One that cannot be: none is.
        self.fails(USAGE, [r"\q"], "delete", "b", r"\q")
        self.assertEqual(list(self.pairs()), [b"b", b"d"])

    def test_standard_input(self):
        value = bytes(range(256)) * 1000
        self.tool("put", "k", "-", input=value)
        self.assertEqual(self.out("get", "k"), value)
        self.tool("put", "--hex", "6b", "-", input=b"00ff\r\n")
        self.assertEqual(self.out("get", "k"), b"\x00\xff")
        self.fails(USAGE, ["hexadecimal"], "put", "--hex", "6b", "-",
                   input=b"0g")
        self.assertEqual(self.out("get", "k"), b"\x00\xff")

    def test_limits(self):
        self.tool("put", "k" * 65536, "v")
        self.fails(USAGE, ["65536"], "put", "k" * 65537, "v")

    def test_durability(self):
        for level in ("sync", "process", "none"):
            self.tool("put", level, "v", "--durability", level)
            self.assertEqual(self.out("get", level), b"v")
        self.fails(USAGE, ["sync", "often"], "put", "k", "v", "--durability",
                   "often")

    def test_values_as_json(self):
        for i, value in enumerate(STRANGE):
            self.tool("put", str(i), "-", input=value)
            pair = json.loads(self.out("get", str(i), "--json"))
            got = pair["value"]
            if isinstance(got, dict):
                got = base64.b64decode(got["base64"], validate=True)
            else:
                got = got.encode()
            self.assertEqual(got, value)


class Scan(ToolTest):
    def setUp(self):
        super().setUp()
        self.all = {f"k{i:03}".encode(): f"v{i}".encode() for i in range(100)}
        self.all[b"a"] = b"first"
        self.all[b"z\xff"] = b"last"
        self.fill(self.all)

    def keys(self, *options):
        lines = self.out("scan", "--keys-only", *options).decode()
        return lines.splitlines()

    def test_all(self):
        lines = self.out("scan").decode().splitlines()
        self.assertEqual(len(lines), 102)
        self.assertEqual(lines[0], "a\tfirst")
        self.assertEqual(lines[1], "k000\tv0")
        self.assertEqual(lines[-1], "z\\xff\tlast")

    def test_bounds(self):
        self.assertEqual(self.keys("--from", "k097"),
                         ["k097", "k098", "k099", "z\\xff"])
        self.assertEqual(self.keys("--from", "k0975", "--to", "k099"),
                         ["k098"])
        self.assertEqual(self.keys("--to", "k001"), ["a", "k000"])
        self.assertEqual(self.keys("--from", "k5", "--to", "k3"), [])
        self.assertEqual(self.keys("--prefix", "k05", "--limit", "2"),
                         ["k050", "k051"])
        self.assertEqual(self.keys("--prefix", "k05", "--from", "k058"),
                         ["k058", "k059"])
        self.assertEqual(self.keys("--prefix", r"z\xff"), ["z\\xff"])
        self.assertEqual(self.keys("--prefix", "nothing"), [])
        self.assertEqual(self.keys("--limit", "0"), [])

    def test_reverse(self):
        self.assertEqual(self.keys("--reverse", "--limit", "2"),
                         ["z\\xff", "k099"])
        self.assertEqual(self.keys("--reverse", "--to", "k002"),
                         ["k001", "k000", "a"])
        self.assertEqual(self.keys("--reverse", "--prefix", "k01",
                                   "--limit", "1"), ["k019"])

    def test_json(self):
        lines = self.out("scan", "--json", "--limit", "2").splitlines()
        self.assertEqual([json.loads(line) for line in lines],
                         [{"key": "a", "value": "first"},
                          {"key": "k000", "value": "v0"}])
        self.assertEqual(self.out("scan", "--json", "--keys-only", "--limit",
                                  "1"), b'{"key":"a"}\n')

    def test_after_compaction(self):
        before = self.out("scan")
        self.tool("compact")
        self.assertEqual(self.out("scan"), before)
        backward = self.out("scan", "--reverse").splitlines()
        self.assertEqual(backward[::-1], before.splitlines())


class Tree(ToolTest):
    def setUp(self):
        super().setUp()
        self.fill({f"k{i:04}".encode(): b"value" * 4 for i in range(2000)})

    def test_stats(self):
        stats = json.loads(self.out("stats", "--json"))
        self.assertEqual(stats["version"],
                         self.out("version").decode().split()[1])
        self.assertEqual(stats["memtable"]["keys"], 2000)
        text = self.out("stats").decode()
        for section in stats:
            self.assertIn(f"\n{section}", "\n" + text)
        self.assertRegex(text, r"(?m)^  keys +2,000$")

    def test_stats_of_any_path(self):
        """What is no UTF-8 in a path makes for no broken JSON."""
        for name in (b"d\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf0\x9f\x98",
                     b"\xc0\xaf", "äö€😀".encode(), b'"\\\n\x01'):
            path = bytes(self.place) + b"/" + name
            self.tool("put", "k", "v", db=path)
            got = json.loads(self.out("stats", "--json", db=path))["path"]
            try:
                self.assertEqual(got, path.decode())
            except UnicodeDecodeError:
                self.assertIn("\ufffd", got)
            self.assertIn(b"\npath ", self.out("stats", db=path))

    def test_levels(self):
        self.assertIn(b"memtable: 2,000 keys", self.out("levels"))
        self.assertIn(b"no tables yet", self.out("levels"))
        self.tool("compact")
        text = self.out("levels").decode()
        self.assertRegex(text, r"(?m)^ +\d+ +1 +2,000 +0 +[\d.]+ KiB  #+$")
        levels = json.loads(self.out("levels", "--json"))
        self.assertEqual(levels["memtable"]["keys"], 0)
        self.assertEqual([run["entries"] for run in levels["tables"]["runs"]],
                         [2000])

    def test_compact(self):
        levels = json.loads(self.out("compact", "--json"))
        self.assertEqual(len(levels["tables"]["runs"]), 1)
        self.tool("put", "k0000", "new")
        self.tool("delete", "k0001")
        levels = json.loads(self.out("compact", "--from", "k0000", "--to",
                                     "k0001", "--json"))
        self.assertEqual(self.out("get", "k0000"), b"new")
        self.tool("get", "k0001", code=NOT_FOUND)
        self.assertEqual(len(self.pairs()), 1999)

    def test_verify(self):
        self.tool("compact")
        self.assertIn(b"no damage", self.out("verify"))
        found = json.loads(self.out("verify", "--json"))
        self.assertEqual((found["damaged"], found["status"]), ([], "ok"))
        self.assertGreater(found["bytes"], 1000)

    def test_dump(self):
        lines = self.out("dump", "--limit", "2").splitlines()
        self.assertEqual(json.loads(lines[1]),
                         {"key": "k0001", "value": "value" * 4})
        self.assertEqual(self.out("dump", "-", "--prefix", "k1999", "--format",
                                  "csv", "--delimiter", ";"),
                         b'"k1999";"valuevaluevaluevalue"\n')
        self.tool("dump", self.place / "x.tsv", "--from", "k1998",
                  "--reverse")
        self.assertEqual((self.place / "x.tsv").read_bytes(),
                         b"k1999\tvaluevaluevaluevalue\n"
                         b"k1998\tvaluevaluevaluevalue\n")
        self.fails(FAILED, ["no/such", "No such file"], "dump", "no/such")


class Help(ToolTest):
    def test_overview(self):
        texts = [self.run_tool(*words) for words in
                 (["--help"], ["-h"], ["help"])]
        for done in texts:
            self.assertEqual((done.code, done.err), (OK, ""))
            self.assertEqual(done.out, texts[0].out)
        text = texts[0].out.decode()
        for verb in VERBS:
            self.assertRegex(text, rf"(?m)^  {verb} ")
        self.assertIn("example: albertdb", text)

    def test_verbs(self):
        for verb in VERBS:
            done = self.run_tool(verb, "--help")
            self.assertEqual((done.code, done.err), (OK, ""))
            text = done.out.decode()
            self.assertTrue(text.startswith(f"usage: albertdb {verb} "))
            self.assertRegex(text, rf"(?m)^example: .*albertdb {verb}\b")
            self.assertEqual(self.run_tool("help", verb).out, done.out)
            self.assertFalse((self.place / "data").exists())

    def test_options_are_those_in_the_help(self):
        """With a value where the help shows one, refused without or with."""
        for verb in VERBS:
            text = self.run_tool(verb, "--help").out.decode()
            for line in text.partition("\noptions:\n")[2].splitlines():
                name, *value = line.partition("--")[2].split("  ")[0].split()
                given = VALUES[value[0]] if value else None
                words = ["--" + name] + ([given] if value else [])
                done = self.run_tool(verb, *words, "--help")
                self.assertEqual(done.code, OK, (verb, words, done.err))
                wrong = ["--" + name] if value else [f"--{name}=1"]
                done = self.run_tool(verb, *wrong)
                self.assertEqual(done.code, USAGE, (verb, wrong, done.err))

    def test_columns(self):
        for topic in [[], *[[verb] for verb in VERBS]]:
            for line in self.run_tool("help", *topic).out.decode().split("\n"):
                self.assertLessEqual(len(line), 80, line)

    def test_options(self):
        done = self.run_tool("--help", "options")
        self.assertEqual(done.code, OK)
        self.assertIn("memory_budget (size, default 256M; 1M..1T)",
                      done.out.decode())
        self.assertEqual(self.run_tool("help", "options").out, done.out)

    def test_version(self):
        for words in (["version"], ["--version"], ["-V"], ["get", "-V"]):
            done = self.run_tool(*words)
            self.assertEqual(done.code, OK)
            self.assertRegex(done.out.decode(), r"^albertdb \d+\.\d+\.\d+\n$")

    def test_unknown_topic(self):
        done = self.run_tool("help", "nothing")
        self.assertEqual(done.code, USAGE)
        self.assertIn("nothing", done.err)


class Usage(ToolTest):
    def check(self, words, *expected):
        done = self.run_tool(*words)
        self.assertEqual(done.code, USAGE, (words, done.err))
        self.assertEqual(done.out, b"")
        self.assertEqual(done.err.count("\n"), 1, done.err)
        for word in expected:
            self.assertIn(word, done.err)
        # Nothing was made.
        self.assertEqual(list(self.place.iterdir()), [])

    def test_no_verb(self):
        done = self.run_tool()
        self.assertEqual(done.code, USAGE)
        self.assertIn(b"usage:", done.out)

    def test_verbs(self):
        self.check(["gte", "k"], "'gte'", "albertdb help")
        self.check([""], "''")

    def test_arguments(self):
        self.check(["get"], "get takes KEY", "albertdb help get")
        self.check(["get", "a", "b"], "get takes KEY")
        self.check(["put", "a"], "put takes KEY VALUE")
        self.check(["scan", "a"], "scan takes no arguments")
        self.check(["load"], "load takes FILE")
        self.check(["delete"], "delete takes KEY...")

    def test_options(self):
        self.check(["get", "k", "--nothing"], "--nothing")
        self.check(["get", "k", "-x"], "-x")
        self.check(["get", "k", "-Vx"], "-x")
        self.check(["get", "k", "--db"], "--db needs a value")
        self.check(["get", "k", "-o"], "-o needs a value")
        self.check(["get", "k", "--json=1"], "--json=1", "no value")
        self.check(["get", "k", "--limit", "1"], "get does not take --limit")
        self.check(["put", "k", "v", "--json"], "put does not take --json")
        self.check(["compact", "--prefix", "k"], "--prefix")
        self.check(["bench", "--hex"], "--hex")

    def test_numbers(self):
        for bad in ("x", "", "-1", "1.5", "+1", " 1", "1 ", "1k",
                    "18446744073709551616"):
            self.check(["scan", "--limit", bad], "--limit needs a number",
                       f"'{bad}'")
        self.check(["load", "-", "--key-column", "0"], "from 1 to")
        self.check(["bench", "--threads", "257"], "from 1 to 256")

    def test_words(self):
        self.check(["load", "-", "--format", "xml"], "json, csv or tsv", "xml")
        for bad in ("", "ab", '"', r"\n", "€"):
            self.check(["load", "-", "--delimiter", bad], "--delimiter")
        self.check(["load", "-", "--format", "csv", "--key-column", "2"],
                   "the same")
        self.check(["load", "-", "--header"], "csv and tsv")

    def test_database_options(self):
        self.check(["put", "k", "v", "-o", "memory_budget"], "NAME=VALUE")
        self.check(["put", "k", "v", "-o", "no_such=1"], "no_such",
                   "--help options")
        self.check(["put", "k", "v", "-o", "memory_budget=1"],
                   "memory_budget", "1M..1T")
        self.check(["put", "k", "v", "-o", "compression=zip"], "zip",
                   "none|lz4|zstd")

    def test_database_options_work(self):
        self.tool("put", "k", "v", "-o", "memory_budget=8M", "--option",
                  "compression=none")
        stats = json.loads(self.out("stats", "--json", "-o",
                                    "memory_budget=9M"))
        self.assertEqual(stats["memory"]["budget"], 9 << 20)
        self.fails(USAGE, [str(self.db)], "put", "k", "v", "-o",
                   "error_if_exists=true")
        self.fails(USAGE, [], "put", "k", "v", "-o", "create_if_missing=false",
                   db=self.place / "other")
        self.assertFalse((self.place / "other").exists())


class Where(ToolTest):
    def test_default_path(self):
        self.assertEqual(self.run_tool("put", "k", "v").code, OK)
        self.assertTrue((self.place / "data" / "CURRENT").exists())

    def test_environment(self):
        self.environment["ALBERTDB_DB"] = str(self.place / "elsewhere")
        self.assertEqual(self.run_tool("put", "k", "v").code, OK)
        self.assertEqual(self.run_tool("get", "k").out, b"v")
        self.assertTrue((self.place / "elsewhere" / "CURRENT").exists())
        self.tool("get", "k", code=USAGE)

    def test_options_before_the_verb(self):
        done = self.run_tool("--db", self.db, "put", "k", "v")
        self.assertEqual(done.code, OK)
        self.assertEqual(self.out("get", "k"), b"v")

    def test_busy(self):
        self.tool("put", "k", "v")
        with subprocess.Popen([TOOL, "shell", "--db", self.db],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=self.environment) as other:
            other.stdin.write(b"get k\n")
            other.stdin.flush()
            self.assertEqual(other.stdout.readline(), b"v\n")
            self.fails(FAILED, [str(self.db)], "get", "k")
            other.stdin.close()
            self.assertEqual(other.wait(), OK)
        self.assertEqual(self.out("get", "k"), b"v")


if __name__ == "__main__":
    main()
