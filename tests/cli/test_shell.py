#!/usr/bin/env python3
"""The shell as a program uses it: commands from a pipe."""

from tool import DAMAGED, NOT_FOUND, OK, USAGE, ToolTest, flip, main


class Shell(ToolTest):
    def shell(self, text, *options, code=OK):
        done = self.tool("shell", *options, input=text.encode(), code=code)
        return done.out.decode(), done.err

    def test_commands(self):
        out, err = self.shell("put a 1\nput b 2\nget a\nscan\ndelete a\n"
                              "scan --keys-only\ncount\n")
        self.assertEqual(out, "1\na\t1\nb\t2\nb\n1\n")
        self.assertEqual(err, "")
        self.assertEqual(self.pairs(), {b"b": b"2"})

    def test_words(self):
        out, _ = self.shell(
            'put "two words" \'and "more"\'\n'
            "  put \t tab\\tkey   \\x00\\\\\n"
            'put "quote\\"d" \'\'\n'
            'put con"cat "ted x\n'
            "put '' empty\n"
            'get "two words"\nget \'\'\nget "quote\\"d"\n')
        self.assertEqual(out, 'and "more"\nempty\n\n')
        self.assertEqual(self.pairs(), {
            b"two words": b'and "more"', b"tab\tkey": b"\0\\",
            b'quote"d': b"", b"concat ted": b"x", b"": b"empty"})

    def test_line_ends(self):
        out, err = self.shell("\n\r\n   \nput a 1\r\nget a\r\nget a")
        self.assertEqual((out, err), ("1\n1\n", ""))

    def test_options(self):
        self.shell("".join(f"put k{i} v{i}\n" for i in range(10)))
        out, _ = self.shell("scan --prefix k --limit 2 --reverse\n"
                            "scan --from k8 --json\n"
                            "get --hex 6b31\n"
                            "count --from k2 --to k5\n"
                            "count --prefix k1\ncount --prefix x\n")
        self.assertEqual(out, 'k9\tv9\nk8\tv8\n'
                         '{"key":"k8","value":"v8"}\n'
                         '{"key":"k9","value":"v9"}\n7631\n3\n1\n0\n')

    def test_options_do_not_stay(self):
        out, _ = self.shell("put k v\nscan --json\nscan\n")
        self.assertEqual(out, '{"key":"k","value":"v"}\nk\tv\n')

    def test_tree(self):
        out, err = self.shell("put a 1\nflush\nlevels\nstats\nverify\n"
                              "compact\ndel a\ncompact\nlevels --json\n")
        self.assertEqual(err, "")
        for text in ("memtable: 0 keys", "no damage", "sequence"):
            self.assertIn(text, out)
        # One deletion stays: it says which older files do not count any more.
        self.assertIn('"count":1,', out)
        self.assertIn('"entries":1,"tombstones":1,"runs":', out)

    def test_load_and_dump(self):
        file = self.write("in.csv", b"a,1\nb,2\n")
        to = self.place / "out.tsv"
        out, err = self.shell(f"load {file}\ndump {to}\nscan\ndump\n")
        self.assertIn("loaded 2 pairs", err)
        self.assertEqual(to.read_bytes(), b"a\t1\nb\t2\n")
        self.assertEqual(out, 'a\t1\nb\t2\n{"key":"a","value":"1"}\n'
                         '{"key":"b","value":"2"}\n')

    def test_standard_input_is_the_shells(self):
        for line in ("put k -", "load -"):
            _, err = self.shell(line + "\nput x y\n", code=USAGE)
            self.assertIn("standard input", err)
        self.assertEqual(self.pairs(), {b"x": b"y"})

    def test_help(self):
        out, err = self.shell("help\nhelp scan\nscan --help\nhelp count\n")
        self.assertEqual(err, "")
        self.assertIn("end the shell", out)
        self.assertEqual(out.count("usage: scan [options]\n"), 2)
        self.assertIn("example: count", out)
        self.assertNotIn("--db", out)
        self.assertNotIn("albertdb scan", out)
        self.assertNotIn("bench", out)

    def test_failures_go_on(self):
        """The exit code is that of the first failure; all is run."""
        out, err = self.shell("get none\nnonsense\nput a 1\nget a\n",
                              code=NOT_FOUND)
        self.assertEqual(out, "1\n")
        self.assertEqual(err.splitlines(), [
            "albertdb: get: there is no key 'none'",
            "albertdb: 'nonsense' is no command; see `help`"])
        self.shell("nonsense\nget none\n", code=USAGE)

    def test_usage(self):
        for line, words in (
                ("put a", "put takes KEY VALUE; see `help put`"),
                ("get --nothing", "--nothing"), ("get", "get takes KEY"),
                ("scan --limit x", "'x'"), ("put 'a", "not closed"),
                ('put a "b', "not closed"), ("bench", "no command"),
                ("shell", "no command"), ("help nothing", "nothing"),
                ("get k --db x", "chosen when the shell begins"),
                ("put k v --durability none", "chosen when the shell begins"),
                ("stats -o memory_budget=1M", "chosen when the shell begins"),
                ("put a\\q b", "escape")):
            _, err = self.shell(line + "\n", code=USAGE)
            self.assertIn(words, err)
            self.assertEqual(err.count("\n"), 1)

    def test_quit(self):
        for word in ("quit", "exit"):
            out, _ = self.shell(f"put a 1\n{word}\nget a\n")
            self.assertEqual(out, "")
        self.assertEqual(self.pairs(), {b"a": b"1"})
        self.shell("get none\nquit\n", code=NOT_FOUND)

    def test_zero_byte(self):
        _, err = self.shell("put a\0b c\nput d e\n", code=USAGE)
        self.assertIn("\\x00", err)
        self.assertEqual(self.pairs(), {b"d": b"e"})

    def test_damage(self):
        self.fill({b"k%04d" % i: b"v" * 50 for i in range(1000)})
        self.tool("compact")
        table = next(self.db.glob("*.sst"))
        flip(table, 100)
        out, err = self.shell("get k0000\nget k0999\n", code=DAMAGED)
        self.assertEqual(out, "v" * 50 + "\n")
        self.assertIn(table.name, err)


if __name__ == "__main__":
    main()
