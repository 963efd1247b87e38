"""What vLLM's output says while it loads, and when it dies. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vllama_core import human

PROGRESS = (
    (re.compile(r"Loading safetensors checkpoint shards:\s+(\d+)% Completed \| (\d+)/(\d+)"), "loading weights, {1} of {2} files"),
    (re.compile(r"Starting to load model"), "loading weights"),
    (re.compile(r"Loading weights took"), "weights are loaded"),
    (re.compile(r"Dynamo bytecode transform|Compiling a graph|torch\.compile"), "compiling kernels"),
    (re.compile(r"KV cache size: ([\d,]+) tokens"), "its KV cache holds {0} tokens"),
    (re.compile(r"Capturing CUDA graphs.*?(\d+)%"), "capturing CUDA graphs, {0}%"),
    (re.compile(r"Capturing CUDA graphs"), "capturing CUDA graphs"),
    (re.compile(r"init engine .* took"), "starting its server"),
    (re.compile(r"Initializing a V1 LLM engine"), "starting its engine"),
    (re.compile(r"Resolved architecture: (\S+)"), "it is a {0}"),
)
"""What a line means for whoever waits; the first that matches counts."""
CELLS = re.compile(r"KV cache size: ([\d,]+) tokens")
PREFIX = re.compile(r"^\([^)]*\)\s*")
"""Which of its processes said a line."""
STAMP = re.compile(r"^(?:INFO|WARNING|ERROR|DEBUG) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\]\s*")
RAISED = re.compile(r"^[\w.]*(?:Error|Exception|Refused|Interrupt|OutOfMemoryError): ")
GENERIC = re.compile(
    r"Engine core initialization failed|EngineDeadError|See (?:root cause|stack trace) (?:above|for root cause)|^RuntimeError: cancelled$"
)
"""What its other processes say of one that died: not why."""
SAID = 3
"""Lines that are told where nothing is recognised."""


def progress(line: str) -> str | None:
    """What a line of its output tells of its loading; None: nothing."""
    for pattern, words in PROGRESS:
        if found := pattern.search(line):
            return words.format(*found.groups())
    return None


def kv_cells(line: str) -> int | None:
    """Tokens that its cache holds, where a line tells them."""
    found = CELLS.search(line)
    return int(found[1].replace(",", "")) if found else None


def bare(line: str) -> str:
    """A line without the process's name and the time."""
    return STAMP.sub("", PREFIX.sub("", line)).strip()


def death(lines: Iterable[str], *, code: int, needed: int | None = None) -> str:
    """Why it died: what its last lines say, in a sentence with a way out where one is known.

    :param code: its exit code, or 128 + the number of the signal that ended it.
    :param needed: bytes that sizing reckoned with.
    """
    said = [bare(line) for line in lines]
    text = "\n".join(said)
    for pattern, sentence in CAUSES:
        if found := pattern.search(text):
            explained = sentence.format(*found.groups(), needed=f" (reckoned: {human.size(needed)})" if needed else "")
            return f"{explained} It said: {_line_of(said, found[0])}"
    raised = [at for at, line in enumerate(said) if RAISED.match(line) and not GENERIC.search(line)]
    # what an error says may go on behind its first line
    told = [line for line in (said[raised[-1] :][:SAID] if raised else said) if line and not GENERIC.search(line)]
    last = told if raised else told[-SAID:]
    how = f"a signal ended it ({code - 128})" if code > 128 else f"it ended with code {code}"
    if code == 128 + 9:
        how += ", which the system does when memory runs out"
    return f"{how}; it said: {' / '.join(last)}" if last else f"{how} and said nothing"


def _line_of(said: list[str], part: str) -> str:
    return next((line for line in said if part.splitlines()[0] in line), part)


CAUSES = (
    (
        re.compile(r"unrecognized arguments: (.*)"),
        "vLLM does not know these arguments: {0}. Correct --engine-args (engine.args).",
    ),
    (
        re.compile(r"error: argument (\S+): (.*)"),
        "vLLM refused the argument {0}: {1}. Correct --engine-args (engine.args).",
    ),
    (
        re.compile(r"KV cache is needed, which is larger than the available KV cache memory \((\S+ GiB)\)"),
        "The model does not fit: its weights leave {0} for the KV cache, less than one full context takes{needed}. "
        "Take a smaller --ctx-size, a smaller or quantized model, or more GPUs.",
    ),
    (
        re.compile(r"No available memory for the cache blocks"),
        "The model does not fit: its weights leave no memory for the KV cache{needed}. Take a smaller or quantized model, or more GPUs.",
    ),
    (
        re.compile(r"Available memory on node \S+ \((\S+)/(\S+) GiB\) on kv cache allocation is less than requested memory for kv \((\S+)"),
        "The model does not fit: {0} of {1} GiB of memory are free, and its KV cache was to take {2} GiB{needed}. "
        "Take a smaller --ctx-size, --kv-cells or model.",
    ),
    (
        re.compile(r"Free memory on device \S+ \((\S+)/(\S+) GiB\) on startup is less than desired GPU memory utilization"),
        "Other programs fill the GPU: {0} of {1} GiB are free. End them, or take a smaller --gpu-memory-utilization.",
    ),
    (
        re.compile(r"CUDA out of memory|torch\.OutOfMemoryError|HIP out of memory|Cannot allocate memory|DefaultCPUAllocator"),
        "It ran out of memory{needed}. Take a smaller --ctx-size or --parallel, a smaller or quantized model, or more GPUs.",
    ),
    (
        re.compile(r"Model architectures \[(.*?)\] are not supported"),
        "vLLM cannot run models of the architecture {0}; the GGUF form of the model may run on llama.cpp.",
    ),
    (
        re.compile(r"Bfloat16 is only supported on GPUs with compute capability"),
        "The GPU is too old for 16-bit brain floats. Say --engine-args='--dtype=half'.",
    ),
    (
        re.compile(r"(?:gated repo|401 Client Error|Access to model .* is restricted|GatedRepoError)"),
        "It wanted files of the hub that need a token, and is given none. Pull what it lacks with HF_TOKEN set: then it lies in the cache.",
    ),
    (
        re.compile(r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len \(.*?(\d+)"),
        "--ctx-size {0} is more than the model was trained for ({1}). Take that or less.",
    ),
    (
        re.compile(r"No space left on device"),
        "The disk is full. Free some space below VLLAMA_HOME, or in /dev/shm.",
    ),
    (
        re.compile(r"Worker proc (\S+) died unexpectedly"),
        "The system ended its process {0}, which said no reason: memory ran out{needed}, or a kernel of vLLM's does not run on this "
        "machine.",
    ),
)
"""Patterns over its last lines, and what they mean; the first that matches counts."""
