#!/bin/sh
# ptxas.sh PTXAS FILE...: assembles the modules for every generation of cards that they are used on; a kernel that spills
# registers fails.
set -u
ptxas=$1
shift
failed=0
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
        spilled=$(echo "$out" | grep -c -E '[1-9][0-9]* bytes spill')
        if [ "$spilled" -gt 0 ]; then
            echo "$(basename "$file") for sm_$sm: registers spill in $spilled kernels"
            failed=1
        fi
    done
done
exit $failed
