#!/bin/bash
# Servers at work: NeuTTS Air and NeuCodec of random weights behind `utter serve`, and behind the official package with
# HTTP in front (peers/server.py); 8 requests at once, then the next 8, each some 4 s of sound.
#   bench/server.sh BUILD [CONCURRENCY] [REQUESTS]     after make bench-peers and make bench, which make the models
set -eu
build=$(realpath "$1") concurrency=${2:-8} requests=${3:-8}
models=$build/bench-models here=$(realpath "$(dirname "$0")") threads=$(nproc)
text="Testing CUDA GPU acceleration for faster inference."
trap 'kill $(jobs -p) 2>/dev/null' EXIT

# Until the server on port $1 answers $2 to /ready: 200 is utter's, 501 that of one that knows only POST.
ready() {
    for ((i = 0; i < 300; i++)); do
        [ "$(curl -s -o /dev/null -w "%{http_code}" "http://127.0.0.1:$1/ready")" = "$2" ] && return
        sleep 0.2
    done
    echo "the server on port $1 did not start; see what it says without 2>/dev/null in $0" >&2
    exit 1
}

"$build/utter" serve --port 5601 --model "$models/air-q4_0.gguf" --codec "$models/neucodec-f16.gguf" \
    --voices "$models/voices" --places "$concurrency" --threads "$threads" --log off 2>/dev/null &
ready 5601 200
"$build/utter" bench --server http://127.0.0.1:5601 --concurrency "$concurrency" --requests "$requests" --text "$text"
kill %1
"$build/bench-peers/bin/python" "$here/peers/server.py" 5602 "$models/air-q4_0.gguf" "$models/neucodec.onnx" \
    "$(ls "$models"/voices/*.json | head -1)" 215 "$threads" 2>/dev/null &
ready 5602 501
"$build/utter" bench --server http://127.0.0.1:5602 --concurrency "$concurrency" --requests "$requests" --text "$text"
