"""Ollama's `options` object: one table of names, types and legal values.

https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx#valid-parameters-and-values
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from vllama_agent.apis import fields
from vllama_agent.apis.defaults import NONE, Defaults
from vllama_agent.engines.base import Sampling
from vllama_core.errors import InvalidRequest

INT_MAX = 2**31 - 1
MAX_PENALTY = 100.0
"""As with logit_bias, this forbids or forces a token; far more would overflow the 32 bits of a logit and leave no order among tokens."""


@dataclass(frozen=True, slots=True)
class Option:
    """One row: its JSON type, its legal range, and whether a running model can honour it."""

    kind: str
    """int, float, bool, strings or biases."""
    low: float = -math.inf
    high: float = math.inf
    honoured: bool = True
    """False: it is a matter of loading, which one request cannot change; the reply names it in X-Vllama-Ignored."""


TABLE: dict[str, Option] = {
    "num_predict": Option("int", -2, INT_MAX),  # -1 no limit, -2 the old "fill the window"
    "temperature": Option("float", 0),
    "top_k": Option("int", -1, INT_MAX),  # 0 and -1 are off
    "top_p": Option("float", 0, 1),
    "min_p": Option("float", 0, 1),
    "typical_p": Option("float", 0, 1),
    "repeat_last_n": Option("int", -1, INT_MAX),  # 0 off, -1 the whole context
    "repeat_penalty": Option("float", 1e-3, 1e3),  # it divides
    "presence_penalty": Option("float", -MAX_PENALTY, MAX_PENALTY),
    "frequency_penalty": Option("float", -MAX_PENALTY, MAX_PENALTY),
    "mirostat": Option("int", 0, 2),
    "mirostat_tau": Option("float", 0),
    "mirostat_eta": Option("float", 0),
    "seed": Option("int", -(2**63), 2**64),
    "stop": Option("strings"),
    "num_keep": Option("int", -1, INT_MAX),  # -1 keeps the whole prompt
    "num_ctx": Option("int", 0, INT_MAX),
    "logit_bias": Option("biases"),
    "num_batch": Option("int", honoured=False),
    "num_gpu": Option("int", honoured=False),
    "main_gpu": Option("int", honoured=False),
    "use_mmap": Option("bool", honoured=False),
    "num_thread": Option("int", honoured=False),
    "draft_num_predict": Option("int", honoured=False),
}
"""Everything else, names of old versions among it, is ignored whatever its value."""

SAMPLING = frozenset(Sampling.__dataclass_fields__) - {"seed", "logit_bias"}
MIN_CONTEXT = 4
"""Ollama raises a smaller num_ctx to this."""
MAX_NAMED = 16
"""Most ignored names in one header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a request's options mean to an engine."""

    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    num_ctx: int | None = None
    num_keep: int = 4
    ignored: tuple[str, ...] = ()
    """Names for X-Vllama-Ignored."""


def parse(value: Any, defaults: Defaults = NONE) -> Options:
    """Check and translate a request's options, over those of the model.

    :raises InvalidRequest: a known option has a wrong type or a forbidden value.
    """
    if value is not None and not isinstance(value, dict):
        raise fields.wrong_type("options", "an object", value)
    merged = defaults.options(value or {})
    ignored = [name for name in merged if name not in TABLE or not TABLE[name].honoured]
    return _translate(checked(merged), header_names(ignored))


def checked(options: dict[str, Any], path: str = "options.") -> dict[str, Any]:
    """The known options, with the types that they have for us.

    :param path: what errors put before a name.
    :raises InvalidRequest: one has a wrong type or a forbidden value.
    """
    return {name: _check(name, option, options, path) for name, option in TABLE.items() if options.get(name) is not None}


def legal(given: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Options of a model that another program made: those that are known and right, as JSON, and a sentence on each that is wrong."""
    kept: dict[str, Any] = {}
    notes: list[str] = []
    for name in given:
        try:
            found = checked({name: given[name]}, path="")
        except InvalidRequest as error:
            found = {}
            notes.append(f"Its parameter {name} is left out: {error}.")
        kept |= as_json(found)
    return kept, tuple(notes)


def as_json(known: dict[str, Any]) -> dict[str, Any]:
    """What `checked` made, to be stored with a model: `checked` reads it back."""
    return {name: _plain(TABLE[name], value) for name, value in known.items()}


def _plain(option: Option, value: Any) -> Any:
    if option.kind == "biases":
        return {str(token): bias for token, bias in value}
    return list(value) if option.kind == "strings" else value


def _check(name: str, option: Option, options: dict[str, Any], prefix: str) -> Any:
    path = prefix + name
    match option.kind:
        case "int":
            return int(fields.number(options, name, low=option.low, high=option.high, path=prefix, kind="an integer") or 0)
        case "float":
            return float(fields.number(options, name, low=option.low, high=option.high, path=prefix) or 0)
        case "strings":
            return tuple(s for s in fields.strings(options[name], path) if s)
        case "biases":
            return fields.logit_bias(options[name], path)
        case _:
            if not isinstance(options[name], bool):
                raise InvalidRequest(f"{path} must be a boolean, not {fields.shown(options[name])}", field=path)
            return options[name]


def _translate(known: dict[str, Any], ignored: tuple[str, ...]) -> Options:
    sampling = {name: value for name, value in known.items() if name in SAMPLING}
    limit = known.get("num_predict", -1)
    window = known.get("num_ctx", 0)
    return Options(
        sampling=Sampling(**sampling, seed=fields.seed(known.get("seed")), logit_bias=known.get("logit_bias", ())),
        stop=known.get("stop", ()),
        max_tokens=limit if limit > 0 else None,
        num_ctx=max(window, MIN_CONTEXT) if window else None,
        num_keep=known.get("num_keep", 4),
        ignored=ignored,
    )


def header_names(names: list[str]) -> tuple[str, ...]:
    """The names that may stand in a header: few, short, and plain identifiers, since a client chose them."""
    fit = [name for name in names if name.isascii() and name.isidentifier() and len(name) <= fields.MAX_SHOWN]
    return tuple(fit[:MAX_NAMED])
