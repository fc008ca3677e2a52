#!/bin/sh
# builtin.sh BACKBONE CODEC OUT: assembly that carries both files (see builtin.h).
set -eu
cat >"$3" <<EOF
    .section .rodata
    .balign 64
    .globl utter_builtin_backbone, utter_builtin_backbone_end, utter_builtin_codec, utter_builtin_codec_end
    .hidden utter_builtin_backbone, utter_builtin_backbone_end, utter_builtin_codec, utter_builtin_codec_end
utter_builtin_backbone:
    .incbin "$1"
utter_builtin_backbone_end:
    .balign 64
utter_builtin_codec:
    .incbin "$2"
utter_builtin_codec_end:
    .byte 0
    .section .note.GNU-stack,"",%progbits
EOF
