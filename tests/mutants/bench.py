"""A copy of the tree in build/mutants: built, broken in one place, tested."""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from catalogue import ROOT

PLACE = pathlib.Path(os.environ.get("ADB_MUTANTS_DIR") or
                     ROOT / "build/mutants")
TREE = PLACE / "tree"
LEFT_OUT = {"build", ".git", "data", "__pycache__"}
# Asserts are on, as in the builds of `make test` that look for faults; no
# debug information, which takes most of the time of linking.
PRESET_FLAGS = {"release": ["-DCMAKE_C_FLAGS_RELWITHDEBINFO=-O1"],
                "dev": ["-DCMAKE_C_FLAGS_DEBUG=-O1 -g1"],
                "tsan": ["-DCMAKE_C_FLAGS_DEBUG=-O1 -g1"]}
# One seed for all: what noticed a breakage once will do so again.
ENVIRONMENT = {"ADB_TEST_SCALE": "small", "ADB_TEST_SEED": "20260101",
               "ADB_TEST_SEEDS": "150"}
# They look at the tree, at time, or need more memory than there may be.
NOT_ASKED = re.compile(r"^check_|^api\.stall$|_large$|^cli\.bench$")
ADD_TEST = re.compile(r"^add_test\((?:\[=\[)?([\w.]+)(?:\]=\])? (.*)\)$", re.M)
FAILED = re.compile(r"^\[  FAILED  \] (?:\S+: )?(\w+)$", re.M)
STARTED = re.compile(r"^\[ RUN      \] (\w+)$", re.M)


def copy_tree():
    """Copies what differs, so that a build goes on where it was."""
    for path in sorted(ROOT.rglob("*")):
        name = path.relative_to(ROOT)
        if not LEFT_OUT.isdisjoint(name.parts) or not path.is_file():
            continue
        to = TREE / name
        if to.exists() and to.read_bytes() == path.read_bytes():
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
        shutil.copymode(path, to)
    for path in [p for p in TREE.rglob("*") if p.is_file()]:
        name = path.relative_to(TREE)
        if LEFT_OUT.isdisjoint(name.parts) and not (ROOT / name).exists():
            path.unlink()


def commands(directory):
    """What each test runs; ctest itself tells it of built programs only."""
    found = {}
    for path in directory.rglob("CTestTestfile.cmake"):
        for name, command in ADD_TEST.findall(path.read_text()):
            found[name] = shlex.split(command)
    return found


def scratch():
    """Where tests leave their files: in memory where there is some, for a sync
    of a real disk takes its time."""
    memory = pathlib.Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else None
    made = tempfile.TemporaryDirectory(prefix="albertdb-mutants-", dir=base)
    os.chmod(made.name, 0o755)  # some tests go on as another user
    return made


class Test:
    def __init__(self, entry, command):
        self.name = entry["name"]
        self.command = command
        self.target = pathlib.Path(self.command[0]).name
        if "python" in self.target:
            self.target = "albertdb"
        properties = {p["name"]: p["value"] for p in entry["properties"]}
        self.from_root = properties.get("WORKING_DIRECTORY") == str(TREE)
        self.environment = dict(
            pair.split("=", 1) for pair in properties.get("ENVIRONMENT", []))
        self.labels = properties.get("LABELS", [])

    def source(self):
        folder, _, short = self.name.partition(".")
        for ending in (".c", ".py"):
            path = f"tests/{folder}/test_{short}{ending}"
            if (ROOT / path).exists():
                return path
        return self.name


class Outcome:
    """How a test ended: passed, failed, crash, hang."""

    def __init__(self, how, output):
        self.how, self.output = how, output

    def function(self):
        failed = FAILED.findall(self.output)
        started = STARTED.findall(self.output)
        if self.how == "failed" and failed:
            return failed[0]
        return started[-1] if started else ""


def run_command(command, limit, directory, environment):
    """Through a terminal, so that a program that dies has said how far it
    was."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        command, cwd=directory, stdin=subprocess.DEVNULL, stdout=theirs,
        stderr=theirs, env=os.environ | ENVIRONMENT | environment,
        start_new_session=True)
    os.close(theirs)
    pieces = []

    def read():
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                return
            if not piece:
                return
            pieces.append(piece)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    hang = False
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        hang = True
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()
    reader.join(5)
    os.close(ours)
    output = b"".join(pieces).decode(errors="replace").replace("\r", "")
    if hang:
        return Outcome("hang", output)
    if process.returncode == 0:
        return Outcome("passed", output)
    return Outcome("crash" if process.returncode < 0 else "failed", output)


class Build:
    """One preset of the copy."""

    def __init__(self, preset, jobs):
        self.preset, self.jobs = preset, jobs
        self.directory = TREE / "build" / preset
        self.seconds = {}  # of tests, as the control run took

    def configure(self):
        subprocess.run(
            ["cmake", "--preset", self.preset, "-G", "Ninja",
             "-DADB_BUILD_TESTS=ON", "-DADB_BUILD_BENCH=OFF"] +
            PRESET_FLAGS[self.preset], cwd=TREE, check=True,
            stdout=subprocess.DEVNULL)
        listed = subprocess.run(
            ["ctest", "--show-only=json-v1"], cwd=self.directory, check=True,
            stdout=subprocess.PIPE).stdout
        known = commands(self.directory)
        tests = [Test(e, known[e["name"]])
                 for e in json.loads(listed)["tests"]
                 if not NOT_ASKED.search(e["name"])]
        if self.preset == "tsan":
            tests = [t for t in tests if "concurrency" in t.labels]
        self.tests = {t.name: t for t in tests
                      if "release-only" not in t.labels}

    def make(self, targets):
        """None, or what the compiler said."""
        ninja = subprocess.run(
            ["ninja", f"-j{self.jobs}"] + sorted(set(targets)),
            cwd=self.directory, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.STDOUT)
        return ninja.stdout if ninja.returncode else None

    def run(self, test):
        usual = self.seconds.get(test.name, 60)
        began = time.monotonic()
        with scratch() as place:
            outcome = run_command(test.command, 60 + 10 * usual,
                                  TREE if test.from_root else place,
                                  test.environment | {"TMPDIR": place})
        outcome.seconds = time.monotonic() - began
        return outcome

    def order(self, mutant):
        """Who noticed it last, then the tests of its module, then the rest,
        cheap ones first."""
        module = mutant.file.split("/")[1]

        def key(test):
            return (test.name != mutant.test,
                    not test.name.startswith(module + "."),
                    self.seconds.get(test.name, 60))

        return sorted(self.tests.values(), key=key)
