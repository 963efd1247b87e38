"""Write docs/llmserve.md, every field of an LLMServe, from its definition: `python tools/llmserve_reference.py`. Needs PyYAML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DEFINITION = ROOT / "crds" / "llmserve.yaml"
PAGE = ROOT / "docs" / "llmserve.md"
HEAD = """# LLMServe

Every field of `vllama.dev/v1alpha1`, made by `python tools/llmserve_reference.py` from [crds/llmserve.yaml](../crds/llmserve.yaml).
In a cluster, `kubectl explain llm.spec` says the same.
"""
RULES = """
## What goes together

The API server refuses what cannot be, and says the way out:

"""


def page(definition: dict[str, Any]) -> str:
    """The whole page. Pure."""
    parts = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    text = HEAD
    for part in ("spec", "status"):
        text += f"\n## {part}\n\n{parts[part]['description']}\n\n| field | type | default | meaning |\n|---|---|---|---|\n"
        text += "".join(
            f"| `{path}` | {kind(field)} | {default(field)} | {meaning(field)} |\n" for path, field in fields(parts[part], part)
        )
    sentences = dict.fromkeys(rules(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
    return text + RULES + "".join(f"- {sentence}\n" for sentence in sentences)


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All below a schema, with their paths."""
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here, field
        yield from fields(field, here)
        yield from fields(field.get("items", {}), f"{here}[]")


def rules(schema: dict[str, Any]) -> Iterator[str]:
    """Messages of the rules, from the outside in."""
    for rule in schema.get("x-kubernetes-validations", []):
        yield rule["message"]
    for inner in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        yield from rules(inner)


def kind(field: dict[str, Any]) -> str:
    """A type as people say it."""
    if "enum" in field:
        return " \\| ".join(f"`{word}`" for word in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    return f"list of {kind(field['items'])}" if field["type"] == "array" else str(field["type"])


def default(field: dict[str, Any]) -> str:
    """Empty for what has none, and for what is made of fields with their own."""
    value = field.get("default")
    if value is None or isinstance(value, dict | list):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def meaning(field: dict[str, Any]) -> str:
    """The description, and the bounds of a number."""
    least, most = field.get("minimum"), field.get("maximum")
    bounds = [f"at least {least}"] if least is not None and not field.get("exclusiveMinimum") and least > 0 else []
    bounds += [f"at most {most}"] if most is not None else []
    return " ".join(field["description"].split()) + (f" ({', '.join(bounds)})" if bounds else "")


if __name__ == "__main__":
    PAGE.write_text(page(yaml.safe_load(DEFINITION.read_text())))
