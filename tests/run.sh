#!/bin/sh
# Runs the tests of a build folder. Shows what failed and the figures of the parity tests, and ends with one line:
# N passed, N failed. A test program that crashes or hangs counts as one failed test at least.
# usage: run.sh BUILD [MESON-TEST-OPTION...]
set -u
build=${1:?usage: run.sh BUILD [MESON-TEST-OPTION...]}
shift
log=$build/meson-logs/testlog.txt
rm -f "$log"

# ThreadSanitizer's memory map does not bear the randomness of newer kernels' addresses.
fixed=
case $(cat "$build/meson-private/cmd_line.txt" 2>/dev/null) in
    *b_sanitize*thread*) setarch "$(uname -m)" -R true 2>/dev/null && fixed="setarch $(uname -m) -R" ;;
esac

said=$($fixed meson test -C "$build" --no-rebuild --quiet --timeout-multiplier 4 "$@" 2>&1 </dev/null)
status=$?
if ! [ -s "$log" ]; then
    printf '%s\n' "$said" >&2
    echo "0 passed, 1 failed"
    exit 1
fi

awk -v status=$status '
function finish() {
    if (name == "") return
    seen++
    bad = 0
    if (running) {
        if (!ended || (result != "exit status 0" && fails == 0)) fails++
        bad = fails
        passed += oks; failed += fails; skipped += skips
    } else if (result == "exit status 0") passed++
    else if (result == "exit status 77") skipped++
    else { failed++; bad = 1 }
    if (bad) printf "%s: %s\n%s\n", name, result, text
    else if (name ~ /parity/ && figures != "") printf "%s\n%s", name, figures
    name = ""
}
match($0, /^=+ [0-9]+\/[0-9]+ =+$/) {
    finish()
    split($2, of, "/"); total = of[2]
    text = figures = result = ""
    running = ended = oks = fails = skips = 0
    next
}
/^test: /   && result == "" { name = $0; sub(/^test: */, "", name); next }
/^result: / && result == "" { result = $0; sub(/^result: */, "", result); next }
name == "" { next }
/^=+$/ && length($0) > 70 { finish(); next }
{ text = text $0 "\n" }
/^\[=+\] Running / { running = 1 }
/^\[       OK \] / { oks++ }
/^\[  PASSED  \] [0-9]+ test/ { ended = 1 }
/^\[  FAILED  \] [0-9]+ test/ { fails += $4 }
/^\[  SKIPPED \] [0-9]+ test/ { skips += $4 }
/^[^[-]/ && !/^ [0-9]+ (FAILED|SKIPPED) TEST/ && !/^(start time|duration|command): / { figures = figures "    " $0 "\n" }
END {
    finish()
    if (seen < total) { printf "%d of %d test programs were not run\n", total - seen, total; failed += total - seen }
    if (status != 0 && failed == 0) { print "meson test ended with " status; failed++ }
    if (passed + failed == 0) { print "no test was run; are they built? (meson needs cmocka)"; failed++ }
    printf "%d passed, %d failed", passed, failed
    if (skipped) printf ", %d skipped", skipped
    print ""
    exit failed > 0
}' "$log"
