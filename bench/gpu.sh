#!/bin/sh
# Everything that only a machine with a card can tell, in under eight minutes: the parity tests on the card itself,
# compute-sanitizer where it is installed, doctor, what a first and a later start take, speeds of the language model and
# the codec, a sentence. Each part has a limit of its own; one that fails or takes too long loses none of the others.
#   bench/gpu.sh BUILD RESULTS
# BUILD: a built tree. RESULTS: a folder, made when it is not there; summary.txt in it tells how each part ended.
# Fails when a part failed, and at once where there is no card.
set -u
[ $# = 2 ] || { echo "usage: $0 BUILD RESULTS" >&2; exit 2; }
build=$(realpath "$1") results=$2 here=$(dirname "$(realpath "$0")")
utter=$build/utter tests=$build/tests/gpu
[ -x "$utter" ] || { echo "$0: $utter is not there; build it first (make)" >&2; exit 1; }
mkdir -p "$results" || exit 1
results=$(realpath "$results")
export UTTER_FIXTURES="$here/../tests/fixtures"
unset UTTER_STANDIN # the tests run on the card

if ! timeout 60 "$utter" bench --device gpu --ready >"$results/ready.txt" 2>&1; then
    echo "$0: no card to measure: $(tail -n 1 "$results/ready.txt")" >&2
    exit 1
fi

failed=0
: >"$results/summary.txt"
# part NAME SECONDS COMMAND...: what it prints goes to RESULTS/NAME.txt
part() {
    name=$1 limit=$2
    shift 2
    since=$(date +%s)
    if [ -x "$(command -v "$1")" ]; then
        timeout -k 5 "$limit" "$@" >"$results/$name.txt" 2>&1
        code=$?
    else
        echo "$1 is not there; build it (ninja -C $build all)" >"$results/$name.txt"
        code=127
    fi
    case $code in
        0) how=ok ;;
        77) how=skipped ;;
        124 | 137) how="not done within $limit s" ;;
        *) how="failed ($code)" ;;
    esac
    case $code in 0 | 77) ;; *) failed=1 ;; esac
    printf '%-14s %s, %d s\n' "$name" "$how" $(($(date +%s) - since)) | tee -a "$results/summary.txt"
}

{ date -u; "$utter" --version; uname -sr; nvidia-smi; } >"$results/machine.txt" 2>&1

part doctor 40 "$utter" doctor
part backbone 45 "$tests/test_gpu_backbone"
part sampling 40 "$tests/test_gpu_sampling"
part codec 45 "$tests/test_gpu_codec"
part first-start 30 env CUDA_CACHE_DISABLE=1 "$tests/test_gpu_speed" ready
part later-start 15 "$tests/test_gpu_speed" ready
part speed 60 "$tests/test_gpu_speed"
part speed-codec 40 "$tests/test_gpu_speed_codec" F16
part bench 50 "$utter" bench --device gpu --quick --json
part say 15 "$utter" say --device gpu --json -o "$results/say.wav" "A sentence that is spoken on the card."
if command -v compute-sanitizer >/dev/null; then
    part memcheck 45 compute-sanitizer --tool memcheck --error-exitcode 1 "$tests/test_gpu_backbone"
    part racecheck 45 compute-sanitizer --tool racecheck --error-exitcode 1 "$tests/test_gpu_backbone"
else
    echo "sanitizers     not run: compute-sanitizer is not installed" | tee -a "$results/summary.txt"
fi
exit $failed
