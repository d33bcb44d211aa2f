#!/bin/sh
# Runs the fuzz targets one after the other: fuzz.sh SECONDS [TARGET...]
# What is found stands in build/fuzz/found/<target>-*; the corpus that grows,
# in build/fuzz/corpus. See tests/fuzz/README.md.
set -eu
seconds=${1:-600}
[ $# -gt 0 ] && shift
kept=tests/fuzz/corpus
[ $# -gt 0 ] || set -- $(ls "$kept")

mkdir -p build/fuzz/found
cmake --preset fuzz -G Ninja >build/fuzz/configure.log 2>&1 || {
    cat build/fuzz/configure.log
    exit 1
}
ninja -C build/fuzz --quiet fuzzers

bad=0
for target; do
    [ -x build/fuzz/tests/fuzz/fuzz_"$target" ] || continue
    echo "== $target, $seconds s"
    mkdir -p build/fuzz/corpus/"$target"
    nice -n 10 build/fuzz/tests/fuzz/fuzz_"$target" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -malloc_limit_mb=128 -max_len=8192 \
        -print_final_stats=1 -artifact_prefix=build/fuzz/found/"$target"- \
        build/fuzz/corpus/"$target" "$kept"/"$target" \
        >build/fuzz/"$target".log 2>&1 || {
        bad=1
        tail -n 60 build/fuzz/"$target".log
    }
    grep -E 'DONE|average_exec' build/fuzz/"$target".log || true
done
exit $bad
