#!/usr/bin/env python3
"""Standard input and output: pipes that close early, outputs that fail."""

import os
import subprocess

from tool import FAILED, OK, TOOL, ToolTest, main


class Closed(ToolTest):
    def setUp(self):
        super().setUp()
        self.fill({b"k%06d" % i: b"v" * 100 for i in range(20000)})

    def read_first_line(self, *words):
        command = [TOOL, *words, "--db", str(self.db)]
        with subprocess.Popen(command, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE,
                              env=self.environment) as process:
            line = process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            code = process.wait(timeout=60)
        self.assertEqual((code, errors), (OK, b""), words)
        return line

    def test_reader_that_has_seen_enough(self):
        self.assertTrue(self.read_first_line("scan").startswith(b"k000000\t"))
        self.assertTrue(self.read_first_line("scan", "--reverse", "--hex"))
        self.assertTrue(self.read_first_line("dump").startswith(b'{"key":'))
        self.assertTrue(self.read_first_line("dump", "-", "--format", "csv"))
        # The database was closed as it should be.
        self.assertEqual(self.out("get", "k019999"), b"v" * 100)

    def test_head(self):
        done = subprocess.run(
            f"'{TOOL}' scan --db '{self.db}' | head -n 1; "
            f"'{TOOL}' dump --db '{self.db}' | "
            f"'{TOOL}' load --db '{self.place}/copy' - 2>/dev/null",
            shell=True, executable="/bin/bash", stdout=subprocess.PIPE,
            check=True, env=self.environment)
        self.assertEqual(done.stdout, b"k000000\t" + b"v" * 100 + b"\n")
        self.assertEqual(self.out("get", "k000007", db=self.place / "copy"),
                         b"v" * 100)

    def test_shell_into_a_closed_pipe(self):
        command = [TOOL, "shell", "--db", str(self.db)]
        with subprocess.Popen(command, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=self.environment) as process:
            process.stdin.write(b"scan\n" * 10)
            process.stdin.close()
            process.stdout.readline()
            process.stdout.close()
            self.assertEqual(process.stderr.read(), b"")
            self.assertEqual(process.wait(timeout=60), OK)


class Failing(ToolTest):
    def setUp(self):
        super().setUp()
        self.fill({b"k%04d" % i: b"v" * 100 for i in range(1000)})

    def check(self, *words, **more):
        done = self.run_tool(*words, **more)
        self.assertEqual(done.code, FAILED, (words, done.err))
        return done.err

    def test_full_disk(self):
        for verb in (["get", "k0000"], ["scan"], ["dump"], ["stats"],
                     ["levels"], ["verify"]):
            with open("/dev/full", "wb") as full:
                self.assertIn("No space left", self.check(
                    *verb, "--db", self.db, stdout=full))
        for words in (["--help"], ["help", "get"], ["version"]):
            with open("/dev/full", "wb") as full:
                self.assertIn("No space left", self.check(*words,
                                                          stdout=full))
        self.fails(FAILED, ["No space left"], "dump", "/dev/full")

    def test_closed_output(self):
        """No file of the database gets the number of standard output."""
        def close_output():
            os.close(1)
        for words in (["scan"], ["put", "k", "v"], ["verify"]):
            done = self.run_tool(*words, "--db", self.db,
                                 preexec_fn=close_output)
            if words[0] != "put":
                self.assertEqual(done.code, FAILED)
                self.assertIn("Bad file descriptor", done.err)
        self.assertEqual(len(self.pairs()), 1001)
        self.tool("verify")

    def test_closed_input(self):
        def close_input():
            os.close(0)
        for words in (["put", "k", "-"], ["load", "-"]):
            self.assertIn("Bad file descriptor", self.check(
                *words, "--db", self.db, stdin=None, preexec_fn=close_input))
        self.tool("get", "k", code=1)

    def test_closed_errors(self):
        def close_errors():
            os.close(2)
        done = self.run_tool("get", "none", "--db", self.db,
                             preexec_fn=close_errors)
        self.assertEqual((done.code, done.out), (1, b""))


class Input(ToolTest):
    def test_slow_writer(self):
        """A pipe is read to its end, however it arrives."""
        command = [TOOL, "load", "-", "--format", "tsv", "--db", str(self.db)]
        with subprocess.Popen(command, stdin=subprocess.PIPE,
                              stderr=subprocess.PIPE,
                              env=self.environment) as process:
            for part in (b"a\t", b"1\nb", b"\t2", b"\n", b"c\t3"):
                process.stdin.write(part)
                process.stdin.flush()
            process.stdin.close()
            self.assertIn(b"loaded 3 pairs", process.stderr.read())
            self.assertEqual(process.wait(timeout=60), OK)
        self.assertEqual(self.pairs(), {b"a": b"1", b"b": b"2", b"c": b"3"})


if __name__ == "__main__":
    main()
