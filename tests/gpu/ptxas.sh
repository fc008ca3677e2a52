#!/bin/sh
# ptxas.sh PTXAS FILE...: assembles the modules for every generation of cards that they are used on; a kernel that spills
# registers fails. Where a kernel calls functions, what these keep for their caller counts as spilled too: up to KEPT
# bytes of each are taken for that.
set -u
ptxas=$1
shift
failed=0 KEPT=160
for file; do
    base=$(basename "$file" | cut -d_ -f1)
    cards='80 86 89 90 100 120'
    [ "$base" = 75 ] && cards=75
    for sm in $cards; do
        out=$("$ptxas" -v -arch="sm_$sm" "$file" -o /dev/null 2>&1)
        if [ $? -ne 0 ]; then
            echo "$(basename "$file") for sm_$sm: $out"
            failed=1
        fi
        most=0
        grep -q '^\.func' "$file" && most=$KEPT
        spilled=$(echo "$out" | sed -n 's/.* \([0-9]*\) bytes spill stores, \([0-9]*\) bytes spill loads.*/\1 \2/p' |
            awk -v most=$most '$1 > most || $2 > most' | wc -l)
        if [ "$spilled" -gt 0 ]; then
            echo "$(basename "$file") for sm_$sm: registers spill in $spilled kernels or functions"
            failed=1
        fi
    done
done
exit $failed
