#!/usr/bin/env python3
"""At a terminal: the shell with editing, history and completion; the progress
line; values that are shown and not sent."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from tool import OK, TOOL, ToolTest, main

PATIENCE = 60
CONTROL = re.compile(rb"\x1b\[[\d;?]*[A-Za-z]|\x1b[=>]")


class Terminal:
    """The tool with a terminal as its standard files (or some of them)."""

    def __init__(self, words, env, width=80, files=("stdin", "stdout",
                                                    "stderr")):
        self.master, slave = pty.openpty()
        size = struct.pack("HHHH", 24, width, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        more = {name: slave if name in files else subprocess.PIPE
                for name in ("stdin", "stdout", "stderr")}
        self.process = subprocess.Popen(
            [TOOL, *map(str, words)], env=dict(env, TERM="xterm"),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
            **more)
        os.close(slave)
        self.seen = b""

    def read(self):
        """False at the end."""
        if not select.select([self.master], [], [], PATIENCE)[0]:
            raise AssertionError(f"nothing more came after {self.seen!r}")
        try:
            data = os.read(self.master, 65536)
        except OSError:
            data = b""
        self.seen += data
        return bool(data)

    def wait_for(self, *texts, since=0):
        """Until these have come, one behind the other; other control
        characters than line ends do not count."""
        pattern = re.compile(b".*?".join(map(re.escape, texts)), re.S)
        while not pattern.search(CONTROL.sub(b"", self.seen[since:])):
            if not self.read():
                raise AssertionError(f"no {texts!r} in {self.seen!r}")

    def type(self, data):
        """Returns from where the answer will stand in what is seen. The line
        editor shows its prompt shortly before it takes the terminal over; what
        is typed between would be the terminal's own to interpret."""
        here = len(self.seen)
        until = time.monotonic() + PATIENCE
        while termios.tcgetattr(self.master)[3] & termios.ICANON:
            assert time.monotonic() < until, "no line is being edited"
            time.sleep(0.005)
        os.write(self.master, data)
        return here

    def interrupt(self):
        os.write(self.master, b"\x03")

    def stop(self):
        """Where a test has failed half-way."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self):
        while self.read():
            pass
        os.close(self.master)
        for pipe in (self.process.stdin, self.process.stdout,
                     self.process.stderr):
            if pipe:
                pipe.close()
        return self.process.wait(timeout=PATIENCE)


class TerminalTest(ToolTest):
    def terminal(self, *words, **more):
        t = Terminal([*words, "--db", self.db], self.environment, **more)
        self.addCleanup(t.stop)
        return t


class Shell(TerminalTest):
    def shell(self, **more):
        t = self.terminal("shell", **more)
        self.prompt = f"{self.db}> ".encode()
        t.wait_for(b"help lists the commands", self.prompt)
        return t

    def command(self, t, line, *expected):
        """What a command prints, and then the prompt. One that prints nothing
        is no good: the line may be drawn with the prompt more than once."""
        t.wait_for(*expected, self.prompt, since=t.type(line + b"\n"))

    def test_session(self):
        t = self.shell(width=200)
        self.command(t, b"put greeting 'hello world'; help", b"put takes")
        self.command(t, b"nonsense", b"'nonsense' is no command; see `help`")
        self.command(t, b"get none", b"there is no key 'none'")
        t.type(b"put greeting 'hello world'\nget greeting\n")
        t.wait_for(b"\r\nhello world\r\n", self.prompt)
        self.command(t, b"scan --json", b'\r\n{"key":"greeting"')
        self.command(t, b"help", b"count keys", b"end the shell")
        t.type(b"\nquit\n")
        self.assertEqual(t.end(), OK)
        self.assertEqual(self.out("get", "greeting"), b"hello world")

    def test_end_of_input(self):
        self.tool("put", "k", "v")
        t = self.shell()
        self.command(t, b"get k", b"\r\nv\r\n")
        t.type(b"\x04")
        self.assertEqual(t.end(), OK)

    def test_editing_history_completion(self):
        self.tool("put", "k", "first")
        self.tool("put", "k2", "second")
        t = self.shell(width=200)
        self.command(t, b"get kk\x7f", b"\r\nfirst\r\n")
        self.command(t, b"\x1b[A2", b"\r\nsecond\r\n")
        self.command(t, b"lev\t", b"memtable: 2 keys")
        t.type(b"exit\n")
        self.assertEqual(t.end(), OK)
        self.assertTrue((self.place / ".albertdb_history").exists())
        # The next shell knows it: exit, levels, get k2.
        t = self.shell(width=200)
        self.command(t, b"\x1b[A\x1b[A\x1b[A", b"\r\nsecond\r\n")
        t.type(b"quit\n")
        self.assertEqual(t.end(), OK)

    def test_history_elsewhere_or_nowhere(self):
        file = self.place / "kept"
        self.environment["ALBERTDB_HISTORY"] = str(file)
        t = self.shell()
        t.type(b"quit\n")
        t.end()
        self.assertIn("quit", file.read_text())
        self.environment["ALBERTDB_HISTORY"] = ""
        t = self.shell()
        t.type(b"quit\n")
        t.end()
        self.assertFalse((self.place / ".albertdb_history").exists())

    def test_interrupt(self):
        """Ctrl-C ends the command at work, then another can be typed."""
        self.fill({b"k%05d" % i: b"v" * 80 for i in range(20000)})
        t = self.shell()
        t.type(b"scan\n")
        t.wait_for(b"k00010")
        t.interrupt()
        t.wait_for(b"k00010", self.prompt)
        self.assertNotIn(b"k19999", t.seen)
        self.command(t, b"get k00001", b"\r\nvvv")
        t.type(b"quit\n")
        self.assertEqual(t.end(), OK)


class Values(TerminalTest):
    def test_escaped_at_a_terminal_only(self):
        self.tool("put", "k", "-", input=b"a\0\xff\x1b[31m\n")
        t = self.terminal("get", "k")
        self.assertEqual(t.end(), OK)
        self.assertEqual(t.seen, b"a\\x00\\xff\\x1b[31m\\x0a\r\n")
        self.assertEqual(self.out("get", "k"), b"a\0\xff\x1b[31m\n")


class Progress(TerminalTest):
    """What stands on standard error while a file is loaded slowly."""

    def load(self, width=80, pairs=200000):
        file = self.write("pairs.tsv", b"".join(
            b"key%07d\t%s\n" % (i, b"v" * 50) for i in range(pairs)))
        t = self.terminal("load", file, "--durability", "process",
                          width=width, files=("stderr",))
        t.process.stdin.close()
        self.assertEqual(t.end(), OK)
        return t.seen

    def test_bar(self):
        # A fast machine may be done before it is drawn.
        for pairs in (200000, 400000, 800000, 1600000, 3200000):
            seen = self.load(pairs=pairs)
            drawn = re.findall(
                rb"\rload \[(#*\.*)\] +(\d+) %  [\d.]+ [KMG]?i?B/s"
                rb"  \d+:\d\d left\x1b\[K", seen)
            if drawn:
                break
        self.assertTrue(drawn, seen)
        for bar, percent in drawn:
            self.assertLessEqual(abs(bar.count(b"#") / len(bar) -
                                     int(percent) / 100), 0.06)
        self.assertIn(b"\r\x1b[Kloaded %s pairs" % f"{pairs:,}".encode(), seen)

    def test_width(self):
        for width in (20, 40, 60, 250):
            for line in re.split(rb"[\r\n]", self.load(width)):
                if line.startswith(b"load "):
                    self.assertLess(len(CONTROL.sub(b"", line)),
                                    max(width, 45))

    def test_unknown_size(self):
        t = self.terminal("load", "-", "--format", "tsv", files=("stderr",))
        for i in range(30):
            t.process.stdin.write(b"key%d\t%s\n" % (i, b"v" * 5000))
            t.process.stdin.flush()
            time.sleep(0.02)
        t.process.stdin.close()
        self.assertEqual(t.end(), OK)
        self.assertRegex(t.seen, rb"\rload [\d.]+ [KM]iB  [\d.]+ [KM]iB/s"
                         rb"\x1b\[K")

    def test_bench(self):
        t = self.terminal("bench", "--num", "300000", "--workloads",
                          "fillrandom", files=("stderr",))
        t.process.stdin.close()
        line = t.process.stdout.read()
        self.assertEqual(t.end(), OK)
        self.assertIn(b"fillrandom", line)
        self.assertTrue(not t.seen or re.search(
            rb"\rfillrandom \[#*\.*\] +\d+ %  [\d,]+ operations/s", t.seen))

    def test_plain_where_there_is_no_terminal(self):
        """No bar and no control characters; a short run says only what it
        did, a long one a plain line now and then."""
        file = self.write("pairs.tsv", b"".join(
            b"key%07d\t%s\n" % (i, b"v" * 50) for i in range(100000)))
        done = self.tool("load", file, "--durability", "process")
        self.assertNotIn("\r", done.err)
        self.assertNotIn("\x1b", done.err)
        lines = done.err.splitlines()
        self.assertRegex(lines[-1], r"^loaded 100,000 pairs, ")
        for line in lines[:-1]:
            self.assertRegex(line, r"^load +\d+ %  [\d.]+ \w+/s  \d+:\d\d left"
                             r"$")


if __name__ == "__main__":
    main()
