#!/bin/sh
# Runs the fuzz targets: fuzz.sh SECONDS [TARGET...], as many side by side as
# FUZZ_JOBS says (default 1; equal times, so they start and end together).
# What is found stands in build/fuzz/found/<target>-*; the corpus that grows,
# in build/fuzz/corpus. See tests/fuzz/README.md.
set -eu
seconds=${1:-600}
[ $# -gt 0 ] && shift
kept=tests/fuzz/corpus
[ $# -gt 0 ] || set -- $(ls "$kept")
jobs=${FUZZ_JOBS:-1}

mkdir -p build/fuzz/found
cmake --preset fuzz -G Ninja >build/fuzz/configure.log 2>&1 || {
    cat build/fuzz/configure.log
    exit 1
}
ninja -C build/fuzz -j "$(nproc)" --quiet fuzzers

fuzz() { # target
    mkdir -p build/fuzz/corpus/"$1"
    nice -n 10 build/fuzz/tests/fuzz/fuzz_"$1" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -malloc_limit_mb=128 -max_len=8192 \
        -print_final_stats=1 -artifact_prefix=build/fuzz/found/"$1"- \
        build/fuzz/corpus/"$1" "$kept"/"$1" >build/fuzz/"$1".log 2>&1
}

told() { # target, process: how it ended
    if wait "$2"; then
        runs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' build/fuzz/"$1".log)
        echo "== $1, $seconds s: $runs inputs"
    else
        echo "== $1: FOUND something"
        tail -n 60 build/fuzz/"$1".log
        return 1
    fi
}

bad=0
running=
end_group() {
    for pair in $running; do
        told "${pair%:*}" "${pair#*:}" || bad=1
    done
    running=
}

count=0
for target; do
    if [ ! -x build/fuzz/tests/fuzz/fuzz_"$target" ]; then
        echo "fuzz.sh: no target '$target'; there are:" "$(ls "$kept" |
            tr '\n' ' ')" >&2
        exit 2
    fi
    fuzz "$target" &
    running="$running $target:$!"
    count=$((count + 1))
    [ $((count % jobs)) -ne 0 ] || end_group
done
end_group
exit $bad
