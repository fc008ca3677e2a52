#!/bin/sh
# arm.sh SOURCE: the kernels for 64-bit ARM, cross compiled and run under emulation.
set -eu
source=$1
compiler=aarch64-linux-gnu-gcc

skip() {
    echo "skipped: $1"
    exit 77
}
[ "$(uname -m)" != aarch64 ] || skip "this machine is one, and its own tests do this"
command -v $compiler >/dev/null || skip "there is no $compiler (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross)"
command -v qemu-aarch64 >/dev/null || skip "there is no qemu-aarch64 (Debian: qemu-user)"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo 'int main(void) { return 0; }' >"$folder/empty.c"
$compiler -static "$folder/empty.c" -o "$folder/empty" 2>/dev/null || skip "$compiler has no C library (Debian: libc6-dev-arm64-cross)"

compile() { # NAME ARGUMENT...
    name=$1
    shift
    $compiler -O1 -std=gnu11 -D_GNU_SOURCE -ffp-contract=off -fno-math-errno -Wall -Wextra -Wshadow -Werror \
        -I"$source/tests/unit/cpu/arm" -I"$source/tests" -I"$source/include" -I"$source/src" -c "$@" -o "$folder/$name.o"
}
cpu=$source/src/cpu
compile neon "$cpu/kernels_neon.c" &
neon=$!
compile dotprod -march=armv8.2-a+dotprod "$cpu/kernels_neon.c" &
dotprod=$!
compile i8mm -march=armv8.2-a+dotprod+i8mm "$cpu/kernels_neon.c" &
i8mm=$!
compile portable "$cpu/kernels_portable.c"
for part in base/clock base/cores base/memory base/status base/str gguf/blocks cpu/kernels cpu/matmul cpu/pack cpu/pages cpu/pool cpu/quarters; do
    compile "$(basename $part)" "$source/src/$part.c"
done
wait $neon
wait $dotprod
wait $i8mm
$compiler -r -nostdlib "$folder"/*.o -o "$folder/all"
for test in kernels matmul pack pool; do
    compile test "$source/tests/unit/cpu/test_$test.c"
    $compiler -static "$folder/test.o" "$folder/all" -lm -lpthread -o "$folder/test_$test"
done

for processor in cortex-a72 neoverse-n1 max; do
    echo "-- $processor"
    qemu-aarch64 -cpu $processor "$folder/test_kernels"
done
UTTER_BRIEFLY=1 qemu-aarch64 -cpu max "$folder/test_matmul"
qemu-aarch64 -cpu max "$folder/test_pack"
qemu-aarch64 -cpu max "$folder/test_pool"
