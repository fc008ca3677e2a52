#!/bin/sh
# embed.sh FILE OUT: assembly that carries the page (page.h).
set -eu
cat >"$2" <<EOF
    .section .rodata
    .globl page_html, page_html_end
    .hidden page_html, page_html_end
page_html:
    .incbin "$1"
page_html_end:
    .byte 0
    .section .note.GNU-stack,"",%progbits
EOF
