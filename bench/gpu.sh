#!/usr/bin/env bash
# One model on vLLM behind vllama, beside Ollama at its defaults and tuned, on a machine with an NVIDIA GPU: from nothing to a table.
#
#   bench/gpu.sh [MODEL [OLLAMA_MODEL]]          # Qwen/Qwen3-8B and qwen3:8b-fp16, unless said
#
# Wants Linux, NVIDIA's driver 580 or newer, Python 3.11 to 3.13, make, a C++ compiler, and `ollama` on the PATH. Writes bench/gpu-<host>.md with
# the table and the environment, ready for BENCHMARKS.md. It has never run: no machine of ours has a GPU.
#
# Hypothesis: 10x Ollama in aggregate tokens/s on Linux with NVIDIA, at 64 and more streams. The arithmetic: a decode step of an 8B model in
# 16 bits reads its 16 GB of weights once however many streams there are, so N streams make N tokens per step until arithmetic or KV traffic
# is the limit; Ollama runs OLLAMA_NUM_PARALLEL (1 unless said) requests at once. At one stream both read the same bytes: expect about 1x there.
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:-Qwen/Qwen3-8B}
ollama_model=${2:-qwen3:8b-fp16}
streams=(1 2 4 8 16 32 64 128 256)
port=11500
out=bench/gpu-$(hostname -s).md

command -v nvidia-smi >/dev/null || { echo "nvidia-smi is not here: this wants an NVIDIA GPU and its driver" >&2; exit 1; }
command -v ollama >/dev/null || { echo "ollama is not on the PATH; see https://ollama.com/download" >&2; exit 1; }
make .venv/.stamps/package .venv/.stamps/test
.venv/bin/vllama engines install vllm
.venv/bin/vllama pull --format hf "$model"

server=
finish() { [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true; server=; }
trap finish EXIT

measure() { # NAME MODEL: one line of the table for each number of streams
  for count in "${streams[@]}"; do
    .venv/bin/python -m bench.load "http://127.0.0.1:$port" "$2" --streams "$count" --name "$1" | tee -a "$out"
  done
}

{
  echo "## $model on $(nvidia-smi --query-gpu=name --format=csv,noheader | sort | uniq -c | xargs)"
  echo
  echo "$(date -u +%F), driver $(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1), $(uname -sr), vllama $(git rev-parse --short HEAD),"
  echo "$(.venv/bin/vllama engines | grep '^vllm' | xargs), $(ollama --version 2>&1 | tail -1)"
  echo
  echo "| server | streams | tokens/s | TTFT p50 | TTFT p99 |"
  echo "|---|---|---|---|---|"
} >"$out"

VLLAMA_MAX_QUEUE=4096 .venv/bin/vllama serve --engine vllm --model "$model" --ctx-size 4096 --parallel 256 --port $port &
server=$!
curl --silent --fail --retry 900 --retry-delay 1 --retry-all-errors --output /dev/null "http://127.0.0.1:$port/readyz"
measure "vllama on vLLM" "$model"
finish

for tuned in "" "OLLAMA_NUM_PARALLEL=32 OLLAMA_FLASH_ATTENTION=1 OLLAMA_CONTEXT_LENGTH=4096"; do
  # shellcheck disable=SC2086  # a list of assignments
  env $tuned OLLAMA_HOST=127.0.0.1:$port ollama serve &
  server=$!
  curl --silent --fail --retry 60 --retry-delay 1 --retry-all-errors --output /dev/null "http://127.0.0.1:$port/api/version"
  OLLAMA_HOST=127.0.0.1:$port ollama pull "$ollama_model"
  measure "Ollama${tuned:+, tuned}" "$ollama_model"
  finish
done
echo "wrote $out"
