"""Modelfiles: read the text into one value, and write one back.

The grammar is Ollama's: an instruction, blanks, and a value that may be quoted, by one quotation mark or by three; quoted values may
span lines. Instructions count in any case. https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vllama_core.errors import ConfigError

INSTRUCTIONS = ("FROM", "ADAPTER", "TEMPLATE", "SYSTEM", "PARAMETER", "MESSAGE", "LICENSE")
WITH_WORD = ("PARAMETER", "MESSAGE")
ELSEWHERE = {"RENDERER": "a TEMPLATE", "PARSER": "a TEMPLATE", "REQUIRES": "nothing"}
"""Instructions that name code inside Ollama, and what stands for them here."""
ROLES = ("system", "user", "assistant")
TRIPLE = '"""'


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelfile:
    """What a Modelfile says.

    :ivar base: the values of FROM: a model's name, or files and folders.
    :ivar adapters: paths.
    :ivar parameters: each name with all its values, as text.
    :ivar messages: (role, content).
    """

    base: tuple[str, ...]
    adapters: tuple[str, ...] = ()
    template: str | None = None
    system: str | None = None
    license: tuple[str, ...] = ()
    parameters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] = ()


class _Line(NamedTuple):
    """An instruction of one or more lines. `word` stands between it and its value: the role of MESSAGE, the name of PARAMETER."""

    number: int
    instruction: str
    word: str
    value: str


def parse(text: str) -> Modelfile:
    """Read a Modelfile.

    :raises ConfigError: names the line, and what may stand there.
    """
    found: dict[str, list[_Line]] = {name: [] for name in INSTRUCTIONS}
    for line in _lines(text.removeprefix("\ufeff")):
        _check(line)
        found[line.instruction].append(line)
    if not found["FROM"]:
        raise ConfigError("the Modelfile has no FROM line; it names the model, file or folder to start from")
    values = {name: tuple(line.value for line in lines) for name, lines in found.items()}
    return Modelfile(
        base=values["FROM"],
        adapters=values["ADAPTER"],
        template=values["TEMPLATE"][-1] if values["TEMPLATE"] else None,
        system=values["SYSTEM"][-1] if values["SYSTEM"] else None,
        license=values["LICENSE"],
        parameters=_grouped(found["PARAMETER"]),
        messages=tuple((line.word, line.value) for line in found["MESSAGE"]),
    )


def _lines(text: str) -> Iterator[_Line]:
    lines = iter(enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, value = _first_word(line)
        word, value = _first_word(value) if name.upper() in WITH_WORD else ("", value)
        while not _closed(value):
            try:
                value += "\n" + next(lines)[1]
            except StopIteration:
                raise _wrong(number, f"the quotation mark after {name.upper()} is never closed") from None
        yield _Line(number, name.upper(), word, _unquoted(value))


def _first_word(text: str) -> tuple[str, str]:
    words = text.strip().split(maxsplit=1)
    return words[0] if words else "", words[1] if len(words) > 1 else ""


def _closed(value: str) -> bool:
    value = value.strip()
    if value.startswith(TRIPLE):
        return len(value) >= 6 and value.endswith(TRIPLE)
    return not value.startswith('"') or (len(value) >= 2 and value.endswith('"'))


def _unquoted(value: str) -> str:
    value = value.strip()
    if value.startswith(TRIPLE):
        return value[3:-3]
    return value[1:-1] if value.startswith('"') else value


def _check(line: _Line) -> None:
    name = line.instruction
    if name in ELSEWHERE:
        raise _wrong(line.number, f"{name} is not supported by vllama; use {ELSEWHERE[name]} in its place")
    if name not in INSTRUCTIONS:
        raise _wrong(line.number, f"{name} is no instruction; it must be one of {', '.join(INSTRUCTIONS)}")
    if name == "MESSAGE" and line.word not in ROLES:
        raise _wrong(line.number, f"MESSAGE needs a role, which must be one of {', '.join(ROLES)}, and a text")
    if name == "PARAMETER" and not line.value:
        raise _wrong(line.number, "PARAMETER needs a name and a value, such as: PARAMETER temperature 0.7")
    if name in ("FROM", "ADAPTER") and not line.value:
        raise _wrong(line.number, f"{name} needs a value")


def _grouped(parameters: list[_Line]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in parameters:
        found[line.word] = (*found.get(line.word, ()), line.value)
    return found


def _wrong(number: int, sentence: str) -> ConfigError:
    return ConfigError(f"line {number} of the Modelfile: {sentence}")


def write(modelfile: Modelfile) -> str:
    """The text of a Modelfile, which `parse` reads back."""
    lines = [f"FROM {_quoted(base)}" for base in modelfile.base]
    lines += [f"ADAPTER {_quoted(adapter)}" for adapter in modelfile.adapters]
    lines += [f"TEMPLATE {_quoted(modelfile.template)}"] if modelfile.template is not None else []
    lines += [f"SYSTEM {_quoted(modelfile.system)}"] if modelfile.system is not None else []
    lines += [f"PARAMETER {name} {_quoted(value)}" for name, values in modelfile.parameters.items() for value in values]
    lines += [f"LICENSE {_quoted(text)}" for text in modelfile.license]
    lines += [f"MESSAGE {role} {_quoted(content)}" for role, content in modelfile.messages]
    return "".join(line + "\n" for line in lines)


def _quoted(value: str) -> str:
    if value == value.strip() and "\n" not in value and value and not value.startswith('"'):
        return value
    return f"{TRIPLE}{value}{TRIPLE}" if '"' in value else f'"{value}"'
