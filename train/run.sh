#!/bin/sh
# run.sh [--smoke] [STAGE...]: makes the built-in model, from Debian's packages to the GGUF files. README.md explains.
#
#   packages  installs what the stages need (as root)
#   text      the sentences and their phonemes        work/text.tsv
#   teacher   the teacher reads them                  work/sound, work/eval
#   codec     trains the codec                        work/codec.safetensors, work/codec
#   lm        trains the language model               work/lm.safetensors
#   export    as GGUF files, with their metadata      work/voice.gguf, work/codec.gguf
#   evaluate  word error rates of the result
#
# Without stages: all but packages. --smoke: a tiny run on the CPU in a few minutes, to see that the stages connect.
# PYTHON names a Python with requirements.txt installed, UTTER the built program, WORK the work folder.
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}
UTTER=${UTTER:-../build/utter}
WORK=${WORK:-work}

text_options= codec_options= lm_options= evaluate_text=eval.tsv
if [ "${1:-}" = --smoke ]; then
    shift
    WORK=$WORK/smoke
    text_options="--scale 0.002"
    codec_options="--steps 4 --judge-lead 1 --seconds 2 --judged-seconds 2 --every 2"
    lm_options="--steps 4 --tokens 2000 --validation 5 --every 2"
    evaluate_text=$WORK/few.tsv
    mkdir -p "$WORK"
    head -3 eval.tsv >"$evaluate_text"
fi
[ $# -gt 0 ] || set -- text teacher codec lm export evaluate

for stage; do
    echo "== $stage"
    case $stage in
    packages)
        apt-get install -y --no-install-recommends festival festvox-us-slt-hts libhtsengine1 \
            wordnet-base sword-text-web diatheke dict-devil dict-jargon wamerican
        ;;
    text)
        "$PYTHON" text.py "$WORK/text.tsv" --utter "$UTTER" $text_options
        ;;
    teacher)
        "$PYTHON" teacher.py "$evaluate_text" "$WORK/eval"
        "$PYTHON" teacher.py "$WORK/text.tsv" "$WORK/sound"
        ;;
    codec)
        "$PYTHON" train_codec.py "$WORK/sound" --eval "$WORK/eval" -o "$WORK/codec" $codec_options
        ;;
    lm)
        "$PYTHON" train_lm.py "$WORK/text.tsv" "$WORK/codec" -o "$WORK/lm.safetensors" $lm_options
        ;;
    export)
        "$PYTHON" export.py "$WORK/codec.safetensors" "$WORK/lm.safetensors" -o "$WORK/export"
        "$UTTER" models convert "$WORK/export/backbone.safetensors" "$WORK/voice.gguf" --type q8_0
        "$UTTER" models convert "$WORK/export/codec.safetensors" "$WORK/codec.gguf" --type q8_0
        ;;
    evaluate)
        "$PYTHON" evaluate.py teacher codec utter --text "$evaluate_text" --utter "$UTTER" \
            --say "--model $WORK/voice.gguf --codec $WORK/codec.gguf" --codec "$WORK/codec.gguf" \
            --sound "$WORK/eval" --encoder "$WORK/codec.safetensors"
        ;;
    *)
        echo "run.sh: there is no stage $stage; see the top of this file" >&2
        exit 2
        ;;
    esac
done
