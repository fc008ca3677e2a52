#!/bin/sh
# compile.sh CLANG SM PTX SOURCE FORMAT INCLUDE OUT DEPFILE: one module of kernels to PTX for the compute capability SM and
# the PTX version PTX (FORMAT: -, or what the source is to be made for: a block format, a size of heads).
set -eu
clang=$1 sm=$2 ptx=$3 source=$4 format=$5 include=$6 out=$7 depfile=$8
[ "$format" = - ] && define= || define=-DFORMAT=$format
target="--target=nvptx64-nvidia-cuda -march=sm_$sm -Xclang -target-feature -Xclang +ptx$ptx"
# clang adds a newer PTX of its own liking; taking that feature away leaves the one asked for
newest=$("$clang" $target -S -x c /dev/null -o - | sed -n 's/^\.version //p' | tr -d .)
[ "$newest" = "$ptx" ] || target="$target -Xclang -target-feature -Xclang -ptx$newest"
"$clang" $target \
    -O3 -std=gnu11 -ffreestanding -nostdinc -Wall -Wextra -Wshadow -DUTTER_SM="$sm" $define -I"$include" -MD -MF "$depfile" -MT "$out" \
    -S "$source" -o "$out.bare"
version=$(sed -n 's/^\.version //p' "$out.bare")
[ "$(echo "$version" | tr -d .)" = "$ptx" ] || { echo "$source: PTX $version instead of $ptx" >&2; exit 1; }
# the number of threads, and of blocks that a multiprocessor is to have room for, which the kernel carries as a comment,
# into its header; for most one block is enough, else the driver's compiler would rather spill registers than run fewer
awk 'pass == 1 { if (/\.entry /) at = FNR; if (/\/\/ n_threads /) { threads[at] = $3; blocks[at] = $4 } next }
     { print } /\.entry / { open = FNR } /^\)/ && open { print ".maxntid " threads[open] ", 1, 1\n.minnctapersm " blocks[open]; open = 0 }' \
    pass=1 "$out.bare" pass=2 "$out.bare" >"$out"
rm "$out.bare"
