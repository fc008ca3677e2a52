#!/bin/sh
# static.sh OUT.a ROOM.a...: one archive of all rooms in which only utter_ symbols can be linked against.
set -eu
out=$1
shift
${LD:-ld} -r -o "$out.o" --whole-archive "$@"
${OBJCOPY:-objcopy} --wildcard --keep-global-symbol='utter_*' "$out.o"
rm -f "$out"
${AR:-ar} rcs "$out" "$out.o"
rm -f "$out.o"
