#!/bin/sh
# Builds every way and runs the tests: with both compilers, under the address
# and undefined behaviour sanitizers, under the thread sanitizer; fuzzes every
# decoder, FUZZ_SECONDS (60) each; and last, all tests, as released. Ends with
# ctest's own closing line.
set -eu
jobs=${1:-2}

configure() { # preset, more options
    preset=$1
    shift
    cmake --preset "$preset" -G Ninja "$@" >build/"$preset".log 2>&1 || {
        cat build/"$preset".log
        exit 1
    }
}

mkdir -p build
echo "== clang, warnings are errors"
configure clang -DADB_BUILD_BENCH=OFF
ninja -C build/clang -j "$jobs" --quiet

echo "== address and undefined behaviour sanitizers"
configure dev -DADB_BUILD_BENCH=OFF
ninja -C build/dev -j "$jobs" --quiet
ADB_TEST_SCALE=small ctest --test-dir build/dev -j "$jobs" \
    --output-on-failure -LE release-only --quiet \
    --output-log build/dev-tests.log || {
    tail -n 100 build/dev-tests.log
    exit 1
}

echo "== thread sanitizer"
configure tsan -DADB_BUILD_BENCH=OFF
ninja -C build/tsan -j "$jobs" --quiet
ADB_TEST_SCALE=small TSAN_OPTIONS=halt_on_error=1 \
    ctest --test-dir build/tsan -j "$jobs" --output-on-failure \
    -L concurrency --quiet --output-log build/tsan-tests.log || {
    tail -n 100 build/tsan-tests.log
    exit 1
}

echo "== fuzzing"
FUZZ_JOBS=$jobs sh scripts/fuzz.sh "${FUZZ_SECONDS:-60}"

echo "== gcc, as released"
configure release -DADB_BUILD_TESTS=ON
ninja -C build/release -j "$jobs" --quiet
exec ctest --test-dir build/release -j "$jobs" --output-on-failure
