#!/bin/sh
# embed.sh OUT PTX...: assembly that carries the modules as strings, gpu_ptx_<file name>.
set -eu
out=$1
shift
echo '    .section .rodata' >"$out"
for file; do
    name=gpu_ptx_$(basename "$file" .ptx)
    printf '    .globl %s\n    .hidden %s\n%s:\n    .incbin "%s"\n    .byte 0\n' "$name" "$name" "$name" "$file"
done >>"$out"
echo '    .section .note.GNU-stack,"",%progbits' >>"$out"
