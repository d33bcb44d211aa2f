#!/usr/bin/env python3
"""bench: every workload, what it reports, and that it leaves nothing."""

import json
import signal
import subprocess

from tool import FAILED, OK, TOOL, USAGE, ToolTest, main

WORKLOADS = ("fillseq fillbatch fillrandom overwrite readrandom readmissing "
             "readseq readreverse seekrandom deleterandom").split()
NUM = 20000


class Bench(ToolTest):
    def bench(self, *options, num=NUM):
        out = self.out("bench", "--num", num, "--json", *options)
        return [json.loads(line) for line in out.splitlines()]

    def setUp(self):
        super().setUp()
        self.addCleanup(self.assert_nothing_left)

    def assert_nothing_left(self):
        self.assertEqual([path.name for path in self.place.iterdir()
                          if "bench" in path.name], [])

    def test_all(self):
        results = self.bench()
        self.assertEqual([r["workload"] for r in results], WORKLOADS)
        for r in results:
            self.assertAlmostEqual(r["ops_per_second"] * r["seconds"],
                                   r["operations"], delta=r["operations"] / 50)
            times = r["us"]
            self.assertGreater(r["timed"], 0)
            self.assertTrue(0 < times["p50"] <= times["p95"] <= times["p99"]
                            <= times["p99.9"] <= times["max"], r)
        found = {r["workload"]: r["found"] for r in results}
        self.assertEqual(found["readmissing"], 0)
        # Twice NUM random writes leave 1 - 1/e^2 of the keys there.
        there = found["readseq"]
        self.assertTrue(0.84 < there / NUM < 0.89, there)
        self.assertEqual(found["readreverse"], there)
        self.assertTrue(0.84 < found["readrandom"] / NUM < 0.89, found)
        self.assertGreater(found["seekrandom"], 9.9 * NUM)
        self.assertFalse(self.db.exists())

    def test_text(self):
        lines = self.out("bench", "--num", NUM, "--workloads",
                         "fillseq,readrandom").decode().splitlines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertRegex(line, r"^\w+ +[\d,]+/s +[\d.]+ MB/s  p50 .*  p95 "
                             r".*  p99 .*  p99.9 .*  max [\d.]+ [num]?s")
        self.assertIn(f"{NUM} found", lines[1])

    def test_threads(self):
        for threads in (2, 4):
            results = self.bench("--threads", threads, "--workloads",
                                 "fillseq,readseq,readrandom,readmissing")
            fill, seq, random, missing = results
            self.assertEqual(fill["operations"], NUM)
            # Each thread walks over all.
            self.assertEqual(seq["found"], NUM * threads)
            self.assertEqual(random["operations"], NUM)
            self.assertEqual(random["found"], NUM)
            self.assertEqual(missing["found"], 0)

    def test_fills_begin_empty(self):
        for fill, least in (("fillbatch", 0.6), ("fillrandom", 0.6)):
            *_, seq = self.bench("--workloads", f"fillseq,{fill},readseq")
            self.assertTrue(least < seq["found"] / NUM < 0.66, seq)

    def test_overwrite_and_delete(self):
        *_, seq = self.bench("--workloads", "fillseq,overwrite,readseq")
        self.assertEqual(seq["found"], NUM)
        *_, seq = self.bench("--workloads", "fillseq,deleterandom,readseq")
        self.assertTrue(0.34 < seq["found"] / NUM < 0.4, seq)

    def test_batch(self):
        batch, = self.bench("--workloads", "fillbatch")
        self.assertEqual(batch["operations"], NUM)
        self.assertEqual(batch["timed"], NUM // 100)

    def test_sizes(self):
        for key, value in ((4, 0), (5, 3), (9, 8), (40, 5000)):
            results = self.bench("--key-size", key, "--value-size", value,
                                 "--workloads",
                                 "fillseq,readseq,readrandom,seekrandom",
                                 num=1000)
            self.assertEqual([r["found"] for r in results[:3]],
                             [0, 1000, 1000])
            self.assertGreater(results[3]["found"], 9900)

    def test_no_latency(self):
        for r in self.bench("--no-latency", "--workloads", "fillseq,readseq"):
            self.assertNotIn("us", r)

    def test_durability(self):
        fill, = self.bench("--durability", "sync", "--workloads", "fillseq",
                           num=50)
        self.assertEqual(fill["operations"], 50)

    def test_existing(self):
        """In the database itself, which stays; fills do not empty it."""
        self.tool("put", "zzz", "mine")
        self.bench("--use-existing", "--workloads", "fillseq", num=100)
        seq, = self.bench("--use-existing", "--workloads", "readseq", num=100)
        self.assertEqual(seq["found"], 101)
        self.assertEqual(self.out("get", "zzz"), b"mine")

    def test_database_beside_is_left_alone(self):
        self.tool("put", "k", "v")
        self.tool("put", "k", "v", db=self.place / "db.x")
        self.bench("--workloads", "fillseq", num=100)
        self.assertEqual(self.out("get", "k"), b"v")
        self.assertEqual(self.pairs(), {b"k": b"v"})

    def test_usage(self):
        for words in (["--workloads", "fillseq,nonsense"],
                      ["--workloads", "fillseq,,readseq"],
                      ["--key-size", "4", "--num", "16777217"],
                      ["--num", "0"]):
            self.fails(USAGE, [], "bench", *words)

    def test_interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            command = [TOOL, "bench", "--num", "100000000", "--db",
                       str(self.db)]
            with subprocess.Popen(command, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, cwd=self.place,
                                  env=self.environment) as process:
                while not [p for p in self.place.glob("db.bench-*/CURRENT")]:
                    self.assertIsNone(process.poll())
                process.send_signal(number)
                out, err = process.communicate(timeout=120)
            self.assertEqual((process.returncode, out), (FAILED, b""))
            self.assertIn(b"interrupted", err)
            self.assert_nothing_left()

    def test_reader_that_has_seen_enough(self):
        command = [TOOL, "bench", "--num", "1000", "--db", str(self.db)]
        with subprocess.Popen(command, stdout=subprocess.PIPE,
                              cwd=self.place, env=self.environment) as process:
            process.stdout.readline()
            process.stdout.close()
            self.assertEqual(process.wait(timeout=120), OK)


if __name__ == "__main__":
    main()
