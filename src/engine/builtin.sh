#!/bin/sh
# builtin.sh BACKBONE CODEC OUT: assembly that carries both files (see builtin.h).
set -eu
cat >"$3" <<EOF
    .section .rodata
    .balign 64
    .globl builtin_backbone, builtin_backbone_end, builtin_codec, builtin_codec_end
    .hidden builtin_backbone, builtin_backbone_end, builtin_codec, builtin_codec_end
builtin_backbone:
    .incbin "$1"
builtin_backbone_end:
    .balign 64
builtin_codec:
    .incbin "$2"
builtin_codec_end:
    .byte 0
    .section .note.GNU-stack,"",%progbits
EOF
