#!/bin/bash
# What `utter serve` costs beside the devices' work: processor time of its own threads (HTTP, texts, encoding) for a
# request, in each format, of a sentence of 1.6 s by the built-in model, one after the other on one connection.
#   bench/server_cost.sh BUILD [REQUESTS]
set -eu
build=$(realpath "$1") requests=${2:-200}
"$build/utter" serve --port 5603 --places 1 --log json --model built-in 2>/dev/null &
server=$!
trap 'kill $server' EXIT
for ((i = 0; i < 300; i++)); do
    curl -s -o /dev/null --fail http://127.0.0.1:5603/ready && break
    sleep 0.1
done

# Nanoseconds that its own threads have run: those that speak HTTP are named by libmicrohttpd, the devices' as the program.
own_ns() {
    for task in /proc/$server/task/*; do
        case $(cat "$task/comm") in
            speech | watch | wyoming | MHD*) cut -d' ' -f1 "$task/schedstat" ;;
        esac
    done | paste -sd+ | bc
}

ask() { # format, how often
    curl -s -o /dev/null "http://127.0.0.1:5603/v1/audio/speech?[1-$2]" \
        -d "{\"input\": \"The old man walked slowly.\", \"response_format\": \"$1\"}"
}

for format in pcm wav flac mp3 opus aac; do
    ask $format 5
    before=$(own_ns)
    ask $format "$requests"
    echo "$format: $(echo "scale=3; ($(own_ns) - $before) / 1000000 / $requests" | bc) ms"
done
