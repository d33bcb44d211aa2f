#!/usr/bin/env python3
"""The installation: what `cmake --install` lays down is enough to build and
run programs, with pkg-config and with find_package, shared and static, in C
(C89 included) and C++; the libraries show no name but adb_*."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("ADB_BUILD_DIR", ROOT / "build/release"))
C89 = ["gcc", "-std=c89", "-pedantic", "-Wall", "-Wextra", "-Werror"]
CXX = ["g++", "-std=c++17", "-pedantic", "-Wall", "-Wextra", "-Werror"]


def run(command, **more):
    done = subprocess.run([str(word) for word in command], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          **more)
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def cached(name):
    text = (BUILD / "CMakeCache.txt").read_text()
    found = re.search(rf"^{name}:\w+=(.*)$", text, re.M)
    return found.group(1) if found else ""


class Installed:
    def __init__(self, place):
        self.place = place
        self.prefix = place / "prefix"
        run(["cmake", "--install", BUILD, "--prefix", self.prefix])
        self.libraries = self.only("libalbertdb.so").parent
        self.environment = dict(
            os.environ, LD_LIBRARY_PATH=str(self.libraries),
            PKG_CONFIG_PATH=str(self.only("albertdb.pc").parent))

    def only(self, name):
        found = list(self.prefix.rglob(name))
        if len(found) != 1:
            sys.exit(f"{name}: installed {len(found)} times")
        return found[0]

    def flags(self, *arguments):
        text = run(["pkg-config", *arguments, "albertdb"],
                   env=self.environment)
        return text.split()

    def expect(self, program, output):
        """Runs in a directory of its own: the examples write ./data."""
        with tempfile.TemporaryDirectory(dir=self.place) as directory:
            got = run([program], cwd=directory, env=self.environment)
        if got != output:
            sys.exit(f"{program}: printed {got!r}, not {output!r}")


USERS = "user/ada = ada\nuser/bob = bob\nuser/eve = eve\n"


def check_header(installed):
    header = installed.only("albertdb.h")
    run([*C89, "-fsyntax-only", "-x", "c", header])
    run([*CXX, "-fsyntax-only", "-x", "c++", header])


def check_pkg_config(installed):
    """The C program, pedantically as C89, against either library."""
    flags = installed.flags("--cflags", "--libs")
    program = installed.place / "hello"
    run([*C89, ROOT / "examples/hello.c", "-o", program, *flags])
    installed.expect(program, "world\n")

    flags = installed.flags("--static", "--cflags", "--libs")
    flags = ["-l:libalbertdb.a" if word == "-lalbertdb" else word
             for word in flags]
    program = installed.place / "hello_static"
    run([*C89, ROOT / "examples/hello.c", "-o", program, *flags])
    needed = run(["readelf", "-d", program])
    if "libalbertdb" in needed:
        sys.exit("the static program needs the shared library")
    installed.expect(program, "world\n")

    program = installed.place / "scan"
    run([*CXX, ROOT / "examples/scan.cpp", "-o", program,
         *installed.flags("--cflags", "--libs")])
    installed.expect(program, USERS)

    version = run(["pkg-config", "--modversion", "albertdb"],
                  env=installed.environment).strip()
    if version != cached("CMAKE_PROJECT_VERSION"):
        sys.exit(f"albertdb.pc says version {version}")


def check_find_package(installed):
    build = installed.place / "consumer"
    run(["cmake", "-S", ROOT / "examples", "-B", build,
         f"-DCMAKE_PREFIX_PATH={installed.prefix}"])
    run(["cmake", "--build", build])
    for name, output in (("hello", "world\n"), ("hello_static", "world\n"),
                         ("scan", USERS)):
        installed.expect(build / name, output)


def check_tool(installed):
    """The tool stands alone, and its page is where man looks."""
    tool = next(installed.prefix.glob("bin/albertdb"))
    db = installed.place / "db"
    run([tool, "put", "--db", db, "hello", "world"], env={})
    if run([tool, "get", "--db", db, "hello"], env={}) != "world":
        sys.exit("the installed tool does not read what it wrote")
    page = installed.only("albertdb.1")
    if page.parent.parts[-2:] != ("man", "man1"):
        sys.exit(f"the man page went to {page.parent}")


def check_symbols(installed):
    """Exactly the functions of the header, all under the version node."""
    library = installed.libraries / "libalbertdb.so"
    shown = set()
    for line in run(["nm", "-D", "--defined-only", library]).splitlines():
        _, kind, name = line.split()
        if kind != "A":
            shown.add(name)
    header = installed.only("albertdb.h").read_text()
    declared = set(re.findall(r"^ADB_EXPORT[^;]*?\b(adb_\w+)\s*\(", header,
                              re.M))
    expected = {f"{name}@@ALBERTDB_0" for name in declared}
    if shown != expected:
        sys.exit("exported and declared functions differ: "
                 f"{sorted(shown ^ expected)}")
    soname = run(["readelf", "-d", library])
    if "Library soname: [libalbertdb.so.0]" not in soname:
        sys.exit("the soname is not libalbertdb.so.0")


def check_no_paths(installed):
    """What is installed works elsewhere: no path of the build in the texts."""
    for path in installed.prefix.rglob("*"):
        if path.suffix in (".pc", ".cmake", ".h") and path.is_file():
            if str(ROOT) in path.read_text():
                sys.exit(f"{path.name} names the build's directory")


def main():
    if cached("ADB_SANITIZE"):
        print("skipped: a library with sanitizers is not installed")
        return
    with tempfile.TemporaryDirectory() as place:
        installed = Installed(pathlib.Path(place))
        check_header(installed)
        check_pkg_config(installed)
        check_find_package(installed)
        check_tool(installed)
        check_symbols(installed)
        check_no_paths(installed)
    print("the installation builds and runs programs")


if __name__ == "__main__":
    main()
