"""`vllama show`: what a model is."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from vllama_agent.commands import answer, client, output

PARTS = ("license", "modelfile", "parameters", "template", "system")
LICENSE_LINES = 2
INDENT = "  "


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `show`."""
    made = argparse.ArgumentParser(prog=prog, description="Tell what a model is.", allow_abbrev=False)
    made.add_argument("model")
    part = made.add_mutually_exclusive_group()
    for name in PARTS:
        part.add_argument(f"--{name}", dest="part", action="store_const", const=name, help=f"only the model's {name}")
    made.add_argument("-v", "--verbose", action="store_true", help="the metadata and tensors of its file, too")
    output.add_json(made)
    return made


def run(arguments: argparse.Namespace) -> int:
    """Ask and print."""
    reply = client.from_environment().post("/api/show", {"model": arguments.model, "verbose": arguments.verbose})
    if arguments.json:
        output.as_json(reply)
    elif arguments.part:
        _print(reply.get(arguments.part, "").rstrip("\n") + "\n")
    else:
        _print(text(reply, verbose=arguments.verbose))
    return 0


def _print(words: str) -> None:
    sys.stdout.write(answer.safe(words) if sys.stdout.isatty() else words)


def text(reply: dict[str, Any], *, verbose: bool = False) -> str:
    """The sections of a reply, as Ollama's command prints them."""
    sections = [("Model", _model(reply))]
    sections.append(("Capabilities", [(name, "") for name in reply.get("capabilities") or []]))
    sections.append(("Parameters", [_split(line) for line in (reply.get("parameters") or "").splitlines()]))
    sections.append(("System", _first_lines(reply.get("system"))))
    sections.append(("License", _first_lines(reply.get("license"))))
    sections.append(("Notes", [(note, "") for note in reply.get("notes") or []]))
    if verbose:
        sections.append(("Metadata", [(key, _short(value)) for key, value in reply.get("model_info", {}).items()]))
        tensors = reply.get("tensors") or []
        sections.append(("Tensors", [(tensor["name"], f"{tensor['type']} {tensor['shape']}") for tensor in tensors]))
    return "".join(_section(title, rows) for title, rows in sections if rows)


def _model(reply: dict[str, Any]) -> list[tuple[str, str]]:
    details, info = reply.get("details", {}), reply.get("model_info", {})
    family = info.get("general.architecture") or details.get("family", "")
    rows = {
        "architecture": family,
        "parameters": details.get("parameter_size"),
        "context length": info.get(f"{family}.context_length"),
        "embedding length": info.get(f"{family}.embedding_length"),
        "quantization": details.get("quantization_level"),
    }
    return [(name, str(value)) for name, value in rows.items() if value]


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows) + 4
    lines = "".join(f"{INDENT * 2}{name.ljust(width)}{value}".rstrip() + "\n" for name, value in rows)
    return f"{INDENT}{title}\n{lines}\n"


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(" ")
    return name, value.strip()


def _first_lines(value: str | None) -> list[tuple[str, str]]:
    lines = [line.strip() for line in (value or "").splitlines() if line.strip()]
    more = [("...", "")] if len(lines) > LICENSE_LINES else []
    return [(line, "") for line in lines[:LICENSE_LINES]] + more


def _short(value: Any) -> str:
    written = str(value)
    return written if len(written) <= 80 else written[:77] + "..."
