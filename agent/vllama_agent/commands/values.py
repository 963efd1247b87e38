"""From the text of a flag or a variable to a value. Those of settings raise ValueError with what is allowed, to be put
behind the setting's name."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllama_core import durations, quantities, vllm_arguments
from vllama_core.engine_build import EngineName

FALSE = ("0", "f", "false", "no", "off")
"""What Go's strconv.ParseBool takes for false, and two words that people write."""


def option(text: str) -> Any:
    """A model's option as JSON has it: an object, a number or a truth value where it looks like one. The server says what is wrong."""
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def whole(*, least: int, most: int | None = None, zero_is_default: bool = False) -> Callable[[str], int | None]:
    """A whole number. `zero_is_default`: 0 gives None, as Ollama's variables use it."""

    def parse(text: str) -> int | None:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value == 0 and zero_is_default:
            return None
        if value is None or value < least or (most is not None and value > most):
            raise ValueError(f"it must be a whole number, {f'at least {least}' if most is None else f'{least} to {most}'}")
        return value

    return parse


def number(*, above: float) -> Callable[[str], float]:
    """A finite number."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value <= above:
            raise ValueError(f"it must be a number greater than {above:g}")
        return value

    return parse


def engine_arguments(text: str) -> tuple[str, ...]:
    """Arguments of vLLM, split as a shell does it.

    :raises ValueError: a quotation mark is open, or one is the agent's own.
    """
    found = tuple(shlex.split(text))
    for argument in found:
        if why := vllm_arguments.refusal(argument):
            raise ValueError(f"{argument.partition('=')[0]} is not to be given: {why}")
    return found


def engine(text: str) -> EngineName | None:
    """An engine's name; None for ``auto``. LLMServe writes ``llamacpp``."""
    word = one_of("auto", *EngineName, aliases={"llamacpp": EngineName.LLAMA_CPP})(text)
    return None if word == "auto" else EngineName(word)


def memory(text: str) -> int:
    """Bytes; some must be left for a model."""
    found = quantities.parse_bytes(text)
    if not found:
        raise ValueError("no model fits into nothing")
    return found


def one_of(*words: str, aliases: dict[str, str] | None = None) -> Callable[[str], str]:
    """One of some words, in any case."""

    def parse(text: str) -> str:
        word = (aliases or {}).get(text.lower(), text.lower())
        if word not in words:
            raise ValueError(f"it must be one of {', '.join(words)}")
        return word

    return parse


def yes(text: str) -> bool:
    """A boolean; what does not parse counts as true, as with Ollama."""
    return text.lower() not in FALSE


def no(text: str) -> bool:
    """The opposite of `yes`, for flags that turn something off."""
    return not yes(text)


def seconds(text: str) -> float:
    """A duration that is not negative; bare numbers are seconds."""
    value = durations.parse_seconds(text)
    if value < 0:
        raise ValueError("it must not be negative")
    return value


def some_seconds(text: str) -> float:
    """A duration of more than nothing."""
    value = seconds(text)
    if value == 0:
        raise ValueError("it must be more than 0")
    return value


def seconds_or_never(text: str) -> float:
    """A limit; 0 or less means none, as with Ollama's OLLAMA_LOAD_TIMEOUT."""
    value = durations.parse_seconds(text)
    return value if value > 0 else math.inf


def words(text: str) -> tuple[str, ...]:
    """A list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def shares(text: str) -> tuple[float, ...]:
    """Numbers with commas, at least one of them above 0."""
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        values = ()
    if not values or any(not math.isfinite(value) or value < 0 for value in values) or not any(values):
        raise ValueError("it must be numbers with commas, such as 3,1")
    return values


def file(text: str) -> Path:
    """A path; `~` is the home directory."""
    return Path(text).expanduser()


def web_address(text: str) -> str:
    """The beginning of addresses, without a slash at its end."""
    if not text.startswith(("https://", "http://")):
        raise ValueError("it must begin with https:// or http://")
    return text.rstrip("/")


def log_level(text: str) -> str:
    """OLLAMA_DEBUG: a boolean, or 2 for more."""
    return "debug" if yes(text) else "info"


def paths(text: str) -> tuple[Path, ...]:
    """Folders with colons between them."""
    return tuple(Path(part).expanduser() for part in text.split(":") if part)
