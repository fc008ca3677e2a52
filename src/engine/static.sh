#!/bin/sh
# static.sh OUT.a ROOM.a...: with LD, OBJCOPY and AR, one archive of all rooms in which only utter_ symbols can be linked against.
set -eu
out=$1
shift
"$LD" -r -o "$out.o" --whole-archive "$@"
"$OBJCOPY" --wildcard --keep-global-symbol='utter_*' "$out.o"
rm -f "$out"
"$AR" rcs "$out" "$out.o"
rm -f "$out.o"
