#!/bin/sh
# embed.sh FILE OUT: assembly that carries the list of models (registry.c).
set -eu
cat >"$2" <<EOF
    .section .rodata
    .globl registry_json, registry_json_end
    .hidden registry_json, registry_json_end
registry_json:
    .incbin "$1"
registry_json_end:
    .byte 0
    .section .note.GNU-stack,"",%progbits
EOF
