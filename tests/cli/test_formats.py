#!/usr/bin/env python3
"""load, dump and scan: any bytes go out and come back as they were, in every
format; and the formats are what other programs mean by them."""

import base64
import csv
import io
import itertools
import json
import shutil

from tool import STRANGE, ToolTest, main, seeded

FORMATS = ("json", "csv", "tsv")
# As other programs write them: what load must take.
TAKEN = {
    "json": [
        (b'{"key":"a","value":"b"}', (b"a", b"b")),
        (b'{"value":"b","key":"a"}\r', (b"a", b"b")),
        (b' { "key" : "a" ,\t"value" : "b" } ', (b"a", b"b")),
        (b'{"key":"\\u0041\\/\\b\\f","value":"\\ud83d\\ude00\\n"}',
         (b"A/\b\f", "😀\n".encode())),
        (b'{"key":"\\u0000","value":"\\u00e4\\u20AC"}',
         (b"\0", "ä€".encode())),
        (b'{"key":{"base64":"AP8="},"value":{ "base64" : "" }}',
         (b"\0\xff", b"")),
        (b'{"\\u006bey":"a","value":""}', (b"a", b"")),
        ("{\"key\":\"ä\",\"value\":\"\x7f\"}".encode(),
         ("ä".encode(), b"\x7f")),
    ],
    "csv": [
        (b"a,b", (b"a", b"b")),
        (b"a,b\r", (b"a", b"b")),
        (b'"a","b"\r', (b"a", b"b")),
        (b'"a""b","c,d"', (b'a"b', b"c,d")),
        (b'"two\nlines","crlf\r\nx"', (b"two\nlines", b"crlf\r\nx")),
        (b'"\n\n","\n"', (b"\n\n", b"\n")),
        (b",", (b"", b"")),
        (b'"",""', (b"", b"")),
        (b"a,b,more,columns", (b"a", b"b")),
        (b'5" pipe,3', (b'5" pipe', b"3")),
        (b"\xff\0,\x80", (b"\xff\0", b"\x80")),
        (b" a , b ", (b" a ", b" b ")),
    ],
    "tsv": [
        (b"a\tb", (b"a", b"b")),
        (b"a\tb\r", (b"a", b"b")),
        (b"\t", (b"", b"")),
        (b"a\tb\tc", (b"a", b"b\tc")),
        (b"\\t\\n\\r\\\\\\x00\\xfF\\\"\t x ", (b"\t\n\r\\\0\xff\"", b" x ")),
        (b"\xff\0\t\x80", (b"\xff\0", b"\x80")),
    ],
}


class RoundTrip(ToolTest):
    def check(self, pairs):
        """Through each format, with and without --hex, by file, by pipe."""
        for path in self.place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        source = self.place / "source"
        self.fill(pairs, db=source)
        self.assertEqual(self.pairs(db=source), pairs)
        for format, hex in itertools.product(FORMATS, (False, True)):
            options = ["--hex"] * hex
            target = self.place / f"{format}{hex}"
            dumped = self.out("dump", "--format", format, *options, db=source)
            self.tool("load", "-", "--format", format, *options, db=target,
                      input=dumped)
            self.assertEqual(self.pairs(db=target), pairs, (format, hex))
            file = self.place / f"file{hex}.{format}"
            self.tool("dump", file, *options, db=source)
            self.assertEqual(file.read_bytes(), dumped)
            self.tool("load", file, *options, db=self.place / f"f{file.name}")
            self.assertEqual(self.pairs(db=self.place / f"f{file.name}"),
                             pairs)

    def test_strange_bytes(self):
        pairs = {key: STRANGE[-i] for i, key in enumerate(STRANGE)}
        self.check(pairs)
        self.check({b"key" + key: key for key in STRANGE})

    def test_random_bytes(self):
        random = seeded()
        alphabets = [bytes(range(256)), b'\t\n\r",\\{}:x\0', "aä€😀".encode()]

        def some():
            alphabet = random.choice(alphabets)
            size = random.choice([0, 1, 2, 3, 10, 100])
            return bytes(random.choice(alphabet) for _ in range(size))
        self.check({some(): some() for _ in range(300)})

    def test_large_values(self):
        pairs = {b"k%d" % i: bytes([i, 10, 0xff]) * 300000 for i in range(4)}
        self.check(pairs)

    def test_dump_into_load(self):
        """What dump writes without options, load reads without options."""
        pairs = {key: key for key in STRANGE}
        self.fill(pairs)
        target = self.place / "target"
        self.tool("load", "-", db=target, input=self.out("dump"))
        self.assertEqual(self.pairs(db=target), pairs)

    def test_other_delimiters(self):
        pairs = {key: key for key in STRANGE}
        self.fill(pairs)
        for i, delimiter in enumerate((";", "|", r"\t", r"\x01", "\\\\", "n")):
            options = ["--format", "csv", "--delimiter", delimiter]
            target = self.place / f"target{i}"
            self.tool("load", "-", *options, db=target,
                      input=self.out("dump", *options))
            self.assertEqual(self.pairs(db=target), pairs)
        options = ["--format", "csv", "--delimiter", "a", "--hex"]
        target = self.place / "hex"
        self.tool("load", "-", *options, db=target,
                  input=self.out("dump", *options))
        self.assertEqual(self.pairs(db=target), pairs)


class OtherPrograms(ToolTest):
    """Python's own reader and writer of each format agree with the tool."""

    def setUp(self):
        super().setUp()
        self.all = {key: key for key in STRANGE}

    def test_json_out(self):
        self.fill(self.all)

        def plain(value):
            if isinstance(value, dict):
                return base64.b64decode(value["base64"], validate=True)
            return value.encode()
        lines = self.out("dump").decode().split("\n")[:-1]
        objects = [json.loads(line) for line in lines]
        self.assertEqual({plain(o["key"]): plain(o["value"])
                          for o in objects}, self.all)

    def test_json_in(self):
        texts = {}
        for key in STRANGE:
            try:
                texts[key.decode()] = key.decode() + "!"
            except UnicodeDecodeError:
                pass
        for i, ascii in enumerate((True, False)):
            lines = "".join(json.dumps({"key": k, "value": v},
                                       ensure_ascii=ascii) + "\n"
                            for k, v in texts.items())
            db = self.place / str(i)
            self.tool("load", "-", db=db, input=lines.encode())
            self.assertEqual(self.pairs(db=db), {
                k.encode(): v.encode() for k, v in texts.items()})

    def test_csv_out(self):
        self.fill(self.all)
        text = self.out("dump", "--format", "csv").decode("latin-1")
        if "\0" in text:
            text = text.replace("\0", "\u0100")  # not for Python's reader
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        self.assertEqual({k.replace("\u0100", "\0").encode("latin-1"):
                          v.replace("\u0100", "\0").encode("latin-1")
                          for k, v in rows}, self.all)

    def test_csv_in(self):
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        pairs = {k: v for k, v in self.all.items() if b"\0" not in k and k}
        writer.writerow(["the key", 'a "header"\nof two lines'])
        for key, value in pairs.items():
            writer.writerow([key.decode("latin-1"), value.decode("latin-1")])
        file = self.write("x.csv", out.getvalue().encode("latin-1"))
        self.tool("load", file, "--header")
        self.assertEqual(self.pairs(), pairs)


class Taken(ToolTest):
    def test_lines(self):
        for format, lines in TAKEN.items():
            for i, (line, pair) in enumerate(lines):
                for ending in (b"", b"\n"):
                    if line.endswith(b"\r") and not ending:
                        continue
                    db = self.place / f"{format}{i}{len(ending)}"
                    self.tool("load", "-", "--format", format, db=db,
                              input=line + ending, code=0)
                    self.assertEqual(self.pairs(db=db), dict([pair]), line)

    def test_mark_and_empty_lines(self):
        for format, lines in TAKEN.items():
            db = self.place / format
            self.tool("load", "-", "--format", format, db=db, input=(
                b"\xef\xbb\xbf\n\r\n" + lines[0][0] + b"\n\n\r\n"))
            self.assertEqual(self.pairs(db=db), dict([lines[0][1]]))
        self.tool("load", "-", "--format", "csv",
                  input=b'\xef\xbb\xbf"k",v\n')
        self.assertEqual(self.pairs(), {b"k": b"v"})

    def test_columns(self):
        rows = b'x;1;a;"p;q"\r\ny;2;b;r\r\n'
        self.tool("load", "-", "--format", "csv", "--delimiter", ";",
                  "--key-column", "4", "--value-column", "2", input=rows)
        self.assertEqual(self.pairs(), {b"p;q": b"1", b"r": b"2"})

    def test_header(self):
        for i, (format, header) in enumerate((
                ("csv", b"only one column\n"), ("csv", b'"two\nlines"\n'),
                ("csv", b'"odd" quote,x\n'), ("csv", b"\nkey,value\n"),
                ("tsv", b"no tab, \\q\n"))):
            db = self.place / str(i)
            line = b"k\tv\n" if format == "tsv" else b"k,v\n"
            self.tool("load", "-", "--format", format, "--header", db=db,
                      input=header + line)
            self.assertEqual(self.pairs(db=db), {b"k": b"v"}, header)

    def test_ending_of_the_name(self):
        for name, data in (("a.csv", b"k,v\n"), ("a.tsv", b"k\tv\n"),
                           ("a.txt", b"k\tv\n"), ("a.b/x", b""),
                           ("a.json", b'{"key":"k","value":"v"}\n'),
                           ("plain", b'{"key":"k","value":"v"}\n')):
            if not data:
                continue
            db = self.place / ("db-" + name)
            self.tool("load", self.write(name, data), db=db)
            self.assertEqual(self.pairs(db=db), {b"k": b"v"}, name)
        self.tool("load", self.write("b.csv", b"k\tv\n"), "--format", "tsv")
        self.assertEqual(self.pairs(), {b"k": b"v"})

    def test_the_last_of_a_key_stays(self):
        self.tool("load", "-", "--format", "csv", input=b"k,1\nk,2\nk,3\n")
        self.assertEqual(self.pairs(), {b"k": b"3"})

    def test_what_was_there_stays(self):
        self.tool("put", "old", "1")
        self.tool("load", "-", "--format", "csv", input=b"new,2\n")
        self.assertEqual(self.pairs(), {b"old": b"1", b"new": b"2"})


class Shown(ToolTest):
    def test_scan_is_safe_at_a_terminal(self):
        """Nothing that a terminal obeys, and no line ends inside a line."""
        self.fill({bytes([i]): key for i, key in enumerate(STRANGE)})
        for options in ([], ["--json"]):
            lines = self.out("scan", *options).split(b"\n")
            self.assertEqual(len(lines), len(STRANGE) + 1)
            for line in lines:
                text = line.decode()
                self.assertFalse([c for c in text if ord(c) < 32 and
                                  c != "\t"], line)
        for line in self.out("scan").decode().split("\n"):
            for mark in "\x7f\x85\u202e\ufeff":
                self.assertNotIn(mark, line)


if __name__ == "__main__":
    main()
