#!/bin/sh
# The main job on real input: the names of all Unicode characters go into
# ./data, some are read back, a range is scanned, and the tree is shown. At a
# terminal the shell follows. Running it again loads the same pairs again.
set -eu
tool=${ALBERTDB:-build/release/cli/albertdb}
input=
for path in /usr/share/unicode/UnicodeData.txt \
            /usr/share/unicode/ucd/UnicodeData.txt; do
    [ -r "$path" ] && input=$path && break
done
[ -n "$input" ] || {
    echo "the data set is missing: install the package unicode-data" >&2
    exit 1
}

show() {
    printf '\n$ albertdb %s\n' "$*"
    "$tool" "$@"
}

# What a get prints has no line end when it goes into a pipe or file.
show_value() {
    show get --db ./data "$1"
    [ -t 1 ] || echo
}

expect() {
    got=$("$tool" get --db ./data "$1")
    [ "$got" = "$2" ] || {
        echo "the pair $1 reads '$got', not '$2'" >&2
        exit 1
    }
}

show load --db ./data --format csv --delimiter ';' "$input"
for key in 0041 00DF 1F600; do
    show_value "$key"
done
expect 0041 'LATIN CAPITAL LETTER A'
expect 1F600 'GRINNING FACE'
show scan --db ./data --from 2600 --to 2608
show scan --db ./data --prefix 1F6 --limit 3 --json
show levels --db ./data
show compact --db ./data
show verify --db ./data
show stats --db ./data
if [ -t 0 ] && [ -t 1 ]; then
    printf '\n'
    exec "$tool" shell --db ./data
fi
