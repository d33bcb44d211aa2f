#!/usr/bin/env python3
"""load and malformed input: the line is named, the pairs before it stay."""

import json
import shutil

from tool import DAMAGED, FAILED, USAGE, ToolTest, main

GOOD = {"json": b'{"key":"g%d","value":"v"}\n', "csv": b"g%d,v\n",
        "tsv": b"g%d\tv\n"}
MALFORMED = {
    "json": [
        b"nonsense", b"[]", b'"key"', b"{}", b"{", b'{"key"}', b'{"key":}',
        b'{"key":"a"}', b'{"value":"b"}', b'{"key":"a","value":"b"',
        b'{"key":"a","value":"b"}}', b'{"key":"a","value":"b"} x',
        b'{"key":"a","value":"b",}', b'{"key":"a","value":"b","more":"c"}',
        b'{"key":"a","key":"a","value":"b"}', b'{"key":1,"value":"b"}',
        b'{"key":"a","value":null}', b'{"key":"a","value":["b"]}',
        b'{"key":"a","value":"\\q"}', b'{"key":"a","value":"\\u12"}',
        b'{"key":"a","value":"\\ud800"}', b'{"key":"a","value":"\\udc00"}',
        b'{"key":"a","value":"\\ud800\\u0041"}', b'{"key":"a","value":"\t"}',
        b'{"key":"a","value":"\xff"}', b'{"key":"\xed\xa0\x80","value":""}',
        b'{"key":"a","value":"\\', b"{'key':'a','value':'b'}",
        b'{"key":"a","value":{"base64":"A"}}',
        b'{"key":"a","value":{"base64":"AP9="}}',
        b'{"key":"a","value":{"base64":"=AAA"}}',
        b'{"key":"a","value":{"base64":"AA==","x":1}}',
        b'{"key":"a","value":{"base32":"AA=="}}',
        b'{"key":"a"\0,"value":"b"}', b'{"key\\u0000":"a","value":"b"}',
    ],
    "csv": [b"one column", b'"a"b,c', b'"a" ,c', b'"a",b,"c"d', b'"a"'],
    "tsv": [b"no tab", b"a\\q\tb", b"a\tb\\", b"a\t\\x0", b"a\t\\xgg"],
}


class Malformed(ToolTest):
    def check(self, format, lines, number, good, words=()):
        """Line number is malformed; the good ones before it are loaded."""
        db = self.place / "target"
        done = self.fails(USAGE, [f"standard input, line {number}: ",
                                  f"the {good:,} pairs before it are loaded",
                                  *words], "load", "-", "--format", format,
                          input=b"".join(lines), db=db)
        self.assertEqual(len(self.pairs(db=db)), good)
        self.assertEqual(done.err.count("\n"), 1)

    def test_every_fault(self):
        for format, faults in MALFORMED.items():
            for fault in faults:
                good = [GOOD[format] % i for i in range(4)]
                self.check(format, [*good[:3], b"\n", fault + b"\n", good[3]],
                           5, 3)
                done = self.run_tool("load", "-", "--format", format, "--db",
                                     self.place / "first", input=fault)
                self.assertEqual(done.code, USAGE)
                self.assertIn("line 1: ", done.err)
                self.assertIn("the 0 pairs before it are loaded", done.err)

    def test_quoted_field_does_not_end(self):
        lines = [b"g0,v\n", b'g1,"two\nlines"\n', b'"open,v\n', b"x,y\n"] + [
            b"more,lines\n"] * 1000
        self.check("csv", lines, 4, 2, ["does not end"])

    def test_quoted_fields_with_line_ends_count(self):
        lines = [b'a,"1\n2\n3"\n', b"b,2\n", b"bad\n"]
        self.check("csv", lines, 5, 2)

    def test_far_into_a_file(self):
        """Batches before are written too."""
        lines = [b"key%06d\t%s\n" % (i, b"v" * 100) for i in range(30000)]
        lines[29999] = b"bad\n"
        self.check("tsv", lines, 30000, 29999)

    def test_too_large_a_key(self):
        for format, line in (("tsv", b"%s\tv\n"), ("csv", b"%s,v\n"),
                             ("json", b'{"key":"%s","value":"v"}\n')):
            self.check(format, [GOOD[format] % 1, line % (b"x" * 65537)], 2, 1,
                       ["65536"])
            shutil.rmtree(self.place / "target")

    def test_not_hexadecimal(self):
        for format, line in (("tsv", b"%s\t00\n"), ("csv", b"%s,00\n"),
                             ("json", b'{"key":"%s","value":""}\n')):
            for bad in (b"0", b"xy", b"0x"):
                db = self.place / "target"
                self.fails(USAGE, ["line 2"], "load", "-", "--hex", "--format",
                           format, input=line % b"aa" + line % bad, db=db)
                self.assertEqual(list(self.pairs(db=db)), [b"\xaa"])
        self.fails(USAGE, ["line 1"], "load", "-", "--hex",
                   input=b'{"key":{"base64":"AA=="},"value":""}\n')

    def test_header_only(self):
        self.tool("load", "-", "--format", "csv", "--header", input=b"a,b\n")
        self.assertEqual(self.pairs(), {})
        self.fails(USAGE, ["line 2"], "load", "-", "--format", "csv",
                   "--header", input=b"a,b\nonly\n")

    def test_file_is_named(self):
        file = self.write("names.csv", b"a,b\nbad\n")
        self.fails(USAGE, [f"{file}, line 2: "], "load", file)


class Files(ToolTest):
    """An input that cannot be read: no database is made."""

    def check(self, file, *words):
        self.fails(FAILED, [str(file), *words], "load", file)
        self.assertFalse(self.db.exists())

    def test_missing(self):
        self.check(self.place / "none.csv", "No such file")

    def test_directory(self):
        self.check(self.place, "directory")

    def test_fails_while_read(self):
        # Reading a process's memory at 0 is an I/O error.
        done = self.fails(FAILED, ["/proc/self/mem"], "load",
                          "/proc/self/mem")
        self.assertIn("cannot read", done.err)

    def test_empty(self):
        done = self.tool("load", "-")
        self.assertIn("loaded 0 pairs", done.err)
        self.assertEqual(self.pairs(), {})


class Report(ToolTest):
    def test_words(self):
        done = self.tool("load", "-", "--format", "tsv",
                         input=b"".join(GOOD["tsv"] % i for i in range(1234)))
        self.assertRegex(done.err, r"^loaded 1,234 pairs, 8.6 KiB, in "
                         r"\d+\.\d\d s\n$")
        self.assertEqual(done.out, b"")

    def test_json(self):
        done = self.tool("load", "-", "--format", "tsv", "--json",
                         input=b"a\t1\nb\t2\n")
        got = json.loads(done.out)
        self.assertEqual((got["pairs"], got["bytes"]), (2, 8))
        self.assertEqual(done.err, "")

    def test_damaged_database(self):
        """A write that fails is no malformed line."""
        self.tool("put", "k", "v")
        manifest = next(self.db.glob("MANIFEST-*"))
        manifest.write_bytes(b"not a manifest")
        self.fails(DAMAGED, ["MANIFEST"], "load", "-", input=b"bad\n")


if __name__ == "__main__":
    main()
