#!/bin/sh
# Installs the programs that `make bench` compares with into a virtual environment of their own: 6 GB, and half an hour,
# since llama.cpp is compiled for this processor, as pip does it.
# usage: install.sh VENV
set -e
venv=$1 here=$(dirname "$0")
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
pip="$venv/bin/pip --disable-pip-version-check"
echo "bench-peers: PyTorch, onnxruntime, neutts, neucodec"
# PyTorch for processors alone is much smaller, where its own index can be reached.
cpu=https://download.pytorch.org/whl/cpu
if curl -sfI --max-time 10 $cpu/torch/ >/dev/null; then extra="--extra-index-url $cpu"; else extra=; fi
$pip install --quiet $extra -r "$here/requirements.txt"
echo "bench-peers: llama-cpp-python 0.3.16, compiled here"
CMAKE_ARGS=${CMAKE_ARGS:--DCMAKE_SUPPRESS_REGENERATION=ON} $pip install --progress-bar off llama-cpp-python==0.3.16
"$venv/bin/python" -c "import llama_cpp, onnxruntime, torch, neutts" >/dev/null
echo "bench-peers: ready; make bench compares with them"
