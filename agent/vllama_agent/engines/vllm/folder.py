"""What the agent itself reads of a model's folder in Hugging Face's format: its window, its special tokens, its template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from vllama_agent.store import hf_files
from vllama_core import hf_header
from vllama_core.errors import EngineFailed

FILL_IN_MIDDLE = (
    "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>",
    "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>",
    "<｜fim▁begin｜>{prefix}<｜fim▁hole｜>{suffix}<｜fim▁end｜>",
    "<|code_prefix|>{prefix}<|code_suffix|>{suffix}<|code_middle|>",
    "[SUFFIX]{suffix}[PREFIX]{prefix}",
)
"""Prompts of Qwen, StarCoder, DeepSeek, CodeGeeX and Codestral: a model knows the one of which it has every token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A model, as far as its small files tell.

    :ivar context: tokens that it was trained for; 0 = it does not say.
    :ivar control: ids of control tokens, which are no part of a text, by what they are called.
    :ivar bos: the text of the token that begins a prompt; empty = none.
    :ivar template: of its chats; None = it is a base model.
    :ivar tool_template: of chats with tools, where there is another for them.
    :ivar fill_in_middle: a prompt with places for prefix and suffix; None = it was not trained for that.
    """

    context: int
    vocabulary: int
    control: Mapping[str, int]
    bos: str
    template: str | None
    tool_template: str | None
    fill_in_middle: str | None


def read(folder: Path) -> Folder:
    """Read it. Takes tenths of a second for a large vocabulary.

    :raises EngineFailed: a file is not there, or no JSON object.
    """
    config = _object(folder / "config.json")
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    settings = _object(folder / "tokenizer_config.json", needed=False)
    added = _added(_object(folder / "tokenizer.json", needed=False), settings)
    names = {token["content"] for token in added.values()}
    templates = hf_files.templates(folder)
    return Folder(
        context=int(text.get("max_position_embeddings") or 0),
        vocabulary=int(text.get("vocab_size") or 0),
        control={token["content"]: number for number, token in added.items() if token.get("special")},
        bos=_text(settings.get("bos_token")),
        template=templates.get(hf_header.DEFAULT),
        tool_template=templates.get(hf_header.TOOL_USE),
        fill_in_middle=next((prompt for prompt in FILL_IN_MIDDLE if _tokens_of(prompt) <= names), None),
    )


def _tokens_of(prompt: str) -> set[str]:
    return {part for part in prompt.replace("{prefix}", "\0").replace("{suffix}", "\0").split("\0") if part}


def _added(tokenizer: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Tokens beside the vocabulary proper, by id: of fast tokenizers, else as the settings list them."""
    if tokenizer.get("added_tokens"):
        return {token["id"]: token for token in tokenizer["added_tokens"]}
    return {int(number): token for number, token in (settings.get("added_tokens_decoder") or {}).items()}


def _text(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _object(path: Path, *, needed: bool = True) -> dict[str, Any]:
    try:
        found = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        if needed:
            raise EngineFailed(f"{path} is not there: the folder is no model in Hugging Face's format") from None
        return {}
    except (OSError, orjson.JSONDecodeError) as error:
        raise EngineFailed(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise EngineFailed(f"{path} holds no JSON object")
    return found
