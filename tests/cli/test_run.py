#!/usr/bin/env python3
"""scripts/run.sh, which is `make run` when all is built: the public data set
goes in, is read back, and the tree is shown; twice, and without a terminal."""

import os
import pathlib
import subprocess
import unittest

from tool import OK, ROOT, TOOL, ToolTest, main

DATA = [pathlib.Path("/usr/share/unicode") / name
        for name in ("UnicodeData.txt", "ucd/UnicodeData.txt")]


@unittest.skipUnless(any(path.exists() for path in DATA),
                     "the data set is not installed")
class Run(ToolTest):
    def run_script(self):
        done = subprocess.run(
            ["sh", ROOT / "scripts/run.sh"], cwd=self.place,
            env=dict(self.environment, ALBERTDB=os.path.abspath(TOOL)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, OK, done.stderr)
        return done

    def test_twice(self):
        for _ in range(2):
            done = self.run_script()
            self.assertRegex(done.stderr, r"loaded 3\d,\d\d\d pairs")
            for line in ("LATIN CAPITAL LETTER A\n", "GRINNING FACE\n",
                         "2603\tSNOWMAN\n", "no damage in", "sorted run",
                         '{"key":"1F600","value":"GRINNING FACE"}\n'):
                self.assertIn(line, done.stdout)
        pairs = self.pairs(db=self.place / "data")
        lines = next(p for p in DATA if p.exists()).read_bytes().splitlines()
        self.assertEqual(pairs, {line.split(b";")[0]: line.split(b";")[1]
                                 for line in lines})


if __name__ == "__main__":
    main()
