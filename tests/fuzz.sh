#!/bin/sh
# Builds the fuzz targets of a build folder and runs each for SECONDS. What breaks one is kept, and said.
# usage: fuzz.sh BUILD SECONDS
set -eu
build=$1 seconds=$2
corpus=$PWD/tests/fuzz/corpus
log=$(mktemp)
trap 'rm -f "$log"' EXIT
targets=$(ninja -C "$build" -t targets all | sed -n 's/^\(tests\/fuzz\/fuzz_[a-z0-9]*\):.*/\1/p')
[ "$targets" ] || { echo "$build has no fuzz targets" >&2; exit 1; }
ninja -C "$build" --quiet $targets

for target in $targets; do
    name=${target##*/fuzz_}
    found=$build/found/$name
    mkdir -p "$found"
    echo "$name: $seconds s"
    "$build/$target" -max_total_time="$seconds" -artifact_prefix="$found/" "$found" "$corpus/$name" >"$log" 2>&1 && continue
    tail -n 60 "$log" >&2
    echo "$name: broken by a file in $found" >&2
    exit 1
done
