#!/bin/bash
# What a queue costs and what it survives: a book of 500 sentences spoken by one worker of one thread, by two, and by
# workers of which one is killed every five seconds while Redis is started anew in the middle. What the machine allows is
# measured without a queue: one reading of one thread, and two at once, on a core each.
#   bench/queue.sh build/utter [SENTENCES]
set -eu
utter=$(realpath "$1") n=${2:-500}
work=$(mktemp -d)
cd "$work"
url=unix://$work/redis.sock
cli="redis-cli -s $work/redis.sock"

redis() {
    redis-server --port 0 --unixsocket "$work/redis.sock" --dir "$work" --appendonly yes --daemonize yes \
        --pidfile "$work/redis.pid" --logfile "$work/redis.log" >/dev/null
    until $cli ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
}
workers=()
worker() { # NAME
    taskset -c "$2" "$utter" worker --redis "$url" --name "$1" --threads 1 --streams 4 -q 2>>workers.log &
    workers+=($!)
}
stop_workers() {
    for pid in "${workers[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    wait "${workers[@]}" 2>/dev/null || true
    workers=()
}
finish() {
    for pid in "${workers[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    $cli shutdown nosave 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

for ((i = 0; i < n; i++)); do
    ((i % 50)) || printf 'Chapter %d\n\n' $((i / 50 + 1))
    printf 'This is sentence number %d, and it is about the weather of the day.\n\n' "$i"
done >book.txt
field() { sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p" "$2"; }

redis
for k in one two; do
    worker "$k-a" 0
    [ $k = one ] || worker "$k-b" 1
    sleep 2
    before=$(awk '{print $14+$15}' "/proc/$(cat redis.pid)/stat")
    "$utter" submit book.txt -o $k.wav --redis "$url" --json >$k.json 2>$k.log
    after=$(awk '{print $14+$15}' "/proc/$(cat redis.pid)/stat")
    echo "$k: $(field sentences $k.json) sentences, $(field audio_s $k.json) s of sound in $(field spoken_s $k.json) s, written in all after $(field work_s $k.json) s;" \
        "Redis took $(((after - before) * 10)) ms of the processor; $(sed -n 's/.*speak: //; s/.*spoke; //p' $k.log)"
    stop_workers
done
ratio() { awk -v a="$1" -v b="$2" -v n="$3" 'BEGIN {printf "%.2f\n", n * a / b}'; }
echo "two workers over one: $(ratio "$(field spoken_s one.json)" "$(field spoken_s two.json)" 1)"

alone() { # NAME CORE
    taskset -c "$2" "$utter" read book.txt -o "$1.wav" --threads 1 --streams 4 --json >"$1.json" 2>/dev/null
}
alone alone 0
alone left 0 &
alone right 1
wait $!
slower=$(printf '%s\n' "$(field spoken_s left.json)" "$(field spoken_s right.json)" | sort -n | tail -1)
echo "two readings side by side over one, without a queue: $(ratio "$(field spoken_s alone.json)" "$slower" 2)"

"$utter" submit book.txt -o chaos.wav --redis "$url" --json >chaos.json 2>chaos.log &
submitter=$!
worker c0 0
worker c1 1
for ((i = 2; ; i++)); do
    sleep 5
    kill -0 $submitter 2>/dev/null || break
    worker "c$i" $((i % 2))
    kill -KILL "${workers[$((i - 2))]}" 2>/dev/null || true
    if ((i == 4)); then
        $cli shutdown save >/dev/null 2>&1 || true
        sleep 1
        redis
    fi
done
wait $submitter
echo "killed: $((i - 2)) workers; Redis was started anew$(((i > 4)) && echo '' || echo ' not once: the book is too short')"
cmp one.wav two.wav && cmp one.wav chaos.wav && cmp one.wav alone.wav &&
    echo "the same sound, to the last sample, from one, from two, from those that were killed, and without a queue"
stop_workers
