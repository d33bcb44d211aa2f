#!/bin/sh
# Installs the Debian packages that the named groups need and that are missing:
#   build  compiler, cmake, the libraries albertdb links
#   run    the public data set that `make run` loads
#   test   what the test run needs beside that
#   bench  the engines that the benchmark compares with
set -eu

packages_of() {
    case $1 in
    build) echo gcc libc6-dev cmake ninja-build pkg-config libxxhash-dev \
                liblz4-dev libzstd-dev libedit-dev ;;
    run) echo unicode-data ;;
    test) echo g++ clang clang-format libclang-rt-14-dev libcmocka-dev \
               python3 valgrind binutils ;;
    bench) echo librocksdb-dev libleveldb-dev liblmdb-dev libwiredtiger-dev \
                python3 ;;
    *) echo "install-deps: unknown group '$1'" >&2; exit 2 ;;
    esac
}

missing=
for group in "$@"; do
    for package in $(packages_of "$group"); do
        state=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
        [ "$state" = "install ok installed" ] || missing="$missing $package"
    done
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "please install as root:$missing" >&2
        exit 1
    }
    as_root=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# A package list may be missing or stale: fetch it when the first try fails.
# shellcheck disable=SC2086
$as_root apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 || {
    $as_root apt-get update >/dev/null
    $as_root apt-get install -y --no-install-recommends $missing >/dev/null
}
