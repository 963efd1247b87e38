"""Names of quantizations: how good each is, and where file names carry them. Pure.

A published GGUF says its quantization only in its name: ``Qwen3-8B-Q4_K_M.gguf``, ``llama-2-7b.q4_k_m-00001-of-00002.gguf``,
``Qwen3-8B-UD-Q4_K_XL.gguf``.
"""

from __future__ import annotations

import re

DEFAULT = "Q4_K_M"
BITS = {
    "TQ1_0": 1.69, "IQ1_S": 2.0042, "TQ2_0": 2.06, "IQ1_M": 2.1460, "Q2_0": 2.25, "IQ2_XXS": 2.3824, "IQ2_XS": 2.5882, "IQ2_S": 2.7403,
    "IQ2_M": 2.9294, "Q2_K_S": 2.9697, "Q2_K": 3.1593, "IQ3_XXS": 3.2548, "IQ3_XS": 3.4977, "Q3_K_S": 3.6429, "IQ3_S": 3.6606,
    "IQ3_M": 3.7628, "Q3_K_M": 3.9960, "MXFP4": 4.25, "Q3_K_L": 4.2979, "IQ4_XS": 4.4597, "Q4_0": 4.65, "Q4_K_S": 4.6672,
    "IQ4_NL": 4.6818, "Q4_K_M": 4.8944, "Q4_1": 5.1, "Q5_0": 5.56, "Q5_K_S": 5.5704, "Q5_K_M": 5.7036, "Q5_1": 6.0, "Q6_K": 6.5633,
    "Q8_0": 8.5008, "BF16": 16.0, "F16": 16.0005, "F32": 32.0,
}  # fmt: skip
"""Bits per weight of a whole 8B model, which is what quality follows.
https://github.com/ggml-org/llama.cpp/blob/master/tools/quantize/README.md; those it does not list are block sizes with the same
overhead for the tensors that stay larger."""
LARGER = {"_XL": 0.25, "_L": 0.1}
"""Publishers' own mixes (Q4_K_L, Q8_K_XL): the base with some tensors larger. Added to the base's bits only to order them."""
_ALIASES = {"FP16": "F16", "FP32": "F32", "Q2_K_M": "Q2_K", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4_MOE": "MXFP4"}
_NAME = r"(?:UD-)?(?:IQ[1-4]_(?:XXS|XS|NL|S|M|L)|TQ[12]_0|Q[2-8]_(?:K(?:_(?:XL|S|M|L))?|[01])|MXFP4(?:_MOE)?|BF16|FP?16|FP?32)"
_WHOLE = re.compile(_NAME, re.IGNORECASE)
_INSIDE = re.compile(rf"(?:^|[-._/])({_NAME})(?=$|[-._/])(?!_\d)", re.IGNORECASE)


def parse(text: str) -> str | None:
    """A quantization's usual spelling: ``q4_k_m`` is ``Q4_K_M``, ``fp16`` is ``F16``. None: it is no quantization."""
    found = text.strip().upper()
    return _ALIASES.get(found, found) if _WHOLE.fullmatch(found) else None


def of_file(path: str) -> str | None:
    """The quantization in a file's name, the last one where there are several; None where there is none."""
    found = _INSIDE.findall(path.rpartition("/")[2].removesuffix(".gguf"))
    return parse(found[-1]) if found else None


def bits(quantization: str) -> float:
    """Bits per weight, roughly; what two quantizations are compared by.

    :param quantization: in its usual spelling.
    """
    name = quantization.removeprefix("UD-")
    if name in BITS:
        return BITS[name]
    for ending, more in LARGER.items():
        if name.endswith(ending):
            base = name.removesuffix(ending)
            return _largest(base) + more
    return _largest(name)


def _largest(base: str) -> float:
    """``Q4_K`` alone is no quantization of libllama's, and there is no Q8_K at all, but mixes are named after both."""
    family = base.partition("_")[0] + "_"
    return BITS.get(base) or max((bits for known, bits in BITS.items() if known.startswith((base, family))), default=0.0)


def nearest(wanted: str, among: set[str]) -> str:
    """The one that is wanted, else the smallest better one, else the best that there is.

    :param among: not empty.
    """
    if wanted in among:
        return wanted
    plain = {name: name.removeprefix("UD-") == wanted.removeprefix("UD-") for name in among}
    better = [name for name in among if plain[name] or bits(name) >= bits(wanted)]
    if better:
        return min(better, key=lambda name: (not plain[name], bits(name), name))
    return max(among, key=lambda name: (bits(name), name))
