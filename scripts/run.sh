#!/bin/sh
# The main job on real input: the names of all Unicode characters go into
# ./data, some are read back, a range is scanned, and the tree is shown.
set -eu
tool=build/release/cli/albertdb
input=/usr/share/unicode/UnicodeData.txt
[ -r "$input" ] || input=/usr/share/unicode/ucd/UnicodeData.txt
[ -r "$input" ] || {
    echo "the data set is missing: install the package unicode-data" >&2
    exit 1
}

show() {
    printf '\n$ albertdb %s\n' "$*"
    "$tool" "$@"
}

echo "albertdb: loading $(wc -l <"$input") pairs from $input into ./data"
show load --db ./data --format csv --delimiter ';' --key-column 1 \
    --value-column 2 "$input"
for key in 0041 00DF 1F600; do
    printf '\n$ albertdb get --db ./data %s\n' "$key"
    "$tool" get --db ./data "$key"
    echo
done
show scan --db ./data --from 2600 --to 2608
show scan --db ./data --prefix 1F6 --limit 3 --json
show compact --db ./data
show verify --db ./data
show stats --db ./data
if [ -t 0 ] && [ -t 1 ]; then
    exec "$tool" shell --db ./data
fi
