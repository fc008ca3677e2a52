#!/bin/sh
# Makes models of true shapes, measures utter and, where they are installed, its peers, and keeps the results under
# bench/results, by date and processor.
# usage: run.sh BUILD   with THREADS=1,2, RUNS=5, ONLY=air,nano,codec,encoder,speech,load, PAUSE=1 and
# OUT=bench/results/NAME as they are wanted. What is in the results already and is not measured this time stays there.
set -e
build=$1 models=$1/bench-models python=$1/bench-peers/bin/python here=$(dirname "$0")
"$build/bench/make_models" "$models"
set -- --models "$models" --worker "$build/bench/bench_worker" --runs "${RUNS:-5}" ${ONLY:+--only "$ONLY"} ${PAUSE:+--pause "$PAUSE"}
if [ -x "$python" ]; then
    if [ ! -f "$models/neucodec.onnx" ]; then
        echo "bench: exporting the codec to ONNX" >&2
        (cd "$models" && "$OLDPWD/$python" "$OLDPWD/$here/peers/decoder.py" neucodec.safetensors neucodec.onnx >&2)
    fi
    set -- "$@" --peers "$python" --script "$here/peers/worker.py"
else
    echo "bench: utter alone; make bench-peers installs programs to compare with" >&2
fi
cores=$(nproc)
[ "$cores" = 1 ] && all=1 || all=1,$cores
processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | tr -cs 'A-Za-z0-9\n' '-' | tr 'A-Z' 'a-z')
mkdir -p "$here/results"
"$build/bench/compare" "$@" --threads "${THREADS:-$all}" \
    --out "${OUT:-$here/results/$(date -u +%F)-${processor:-unknown}}"
