"""Prompts of an exact number of tokens, made of prose that does not repeat itself.

The text is the standard library's own language reference (it comes with every Python), cut at sentence starts that a seed chooses.
A prompt is sent as text where an API takes only text, so the text must tokenise to exactly the wanted ids: BOS counts as one.
"""

from __future__ import annotations

import ctypes
import functools
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

MARKUP = re.compile(r"[*`]+")
PLAIN = re.compile(r"[A-Z][A-Za-z0-9 ,;:()'-]{30,}\.")
"""Only such sentences: tables, code and rulers make a small base model repeat them without end."""
SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z][a-z]+ )")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The same prompt for an API of texts and for one of ids."""

    text: str
    ids: tuple[int, ...]


class Tokenizer(Protocol):
    """What prompt making needs of a vocabulary."""

    def tokenize(self, text: str) -> list[int]:
        """Ids of the text, BOS first where the model wants one."""
        ...

    def detokenize(self, ids: list[int]) -> str:
        """The text of ids, BOS left out."""
        ...


class Vocabulary:
    """A model's vocabulary, without its weights. Knows nothing about prompts."""

    def __init__(self, path: Path) -> None:
        import llama_cpp.llama_cpp as C

        self._c: Any = C
        self._silence = C.llama_log_callback(lambda *_: None)
        C.llama_log_set(self._silence, None)
        parameters = C.llama_model_default_params()
        parameters.vocab_only = True
        self._model = C.llama_model_load_from_file(str(path).encode(), parameters)
        if not self._model:
            raise SystemExit(f"{path}: its vocabulary cannot be loaded")
        self._vocab = C.llama_model_get_vocab(self._model)
        self.size = int(C.llama_vocab_n_tokens(self._vocab))

    def tokenize(self, text: str) -> list[int]:
        data = text.encode()
        room = len(data) + 8
        ids = (ctypes.c_int32 * room)()
        count = self._c.llama_tokenize(self._vocab, data, len(data), ids, room, True, True)
        return list(ids[:count])

    def detokenize(self, ids: list[int]) -> str:
        array = (ctypes.c_int32 * len(ids))(*ids)
        room = 64 * len(ids) + 64
        buffer = ctypes.create_string_buffer(room)
        count = self._c.llama_detokenize(self._vocab, array, len(ids), buffer, room, True, False)
        return buffer.raw[:count].decode(errors="replace")

    def end_tokens(self) -> list[int]:
        """Ids that end an answer."""
        return [token for token in range(self.size) if self._c.llama_vocab_is_eog(self._vocab, token)]


@functools.cache
def prose() -> tuple[str, ...]:
    """Sentences of the language reference, without markup, each once."""
    from pydoc_data.topics import topics

    sentences: dict[str, None] = {}
    for topic in sorted(topics):
        for paragraph in topics[topic].split("\n\n"):
            if any(line.startswith("    ") for line in paragraph.splitlines()):
                continue  # code and grammar
            text = " ".join(MARKUP.sub("", paragraph).split())
            sentences |= dict.fromkeys(sentence for sentence in SENTENCE.split(text) if PLAIN.fullmatch(sentence))
    return tuple(sentences)


def make(tokenizer: Tokenizer, tokens: int, *, seed: int, after: str = "") -> Prompt:
    """A prompt of exactly `tokens` tokens that starts with `after`; another seed gives other text.

    :raises ValueError: no cut of the text tokenises back to what was cut.
    """
    order = list(prose())
    random.Random(seed).shuffle(order)
    for start in range(64):
        prompt = _cut(tokenizer, order[start:] + order[:start], tokens, after)
        if prompt is not None:
            return prompt
    raise ValueError(f"no text of exactly {tokens} tokens found")


def _cut(tokenizer: Tokenizer, sentences: list[str], tokens: int, after: str) -> Prompt | None:
    ids: list[int] = []
    used = 0
    while len(ids) < tokens:
        if used == len(sentences):
            return None
        used += 1 + (tokens - len(ids)) // 40  # a sentence has some twenty tokens
        ids = tokenizer.tokenize(" ".join([after, *sentences[:used]]).strip())
    cut = tokenizer.detokenize(ids[:tokens])
    again = tokenizer.tokenize(cut)
    return Prompt(cut, tuple(again)) if len(again) == tokens and cut.startswith(after) else None


def shared_prefix(tokenizer: Tokenizer, *, shared: int, own: int, count: int, seed: int) -> list[Prompt]:
    """Prompts whose first `shared` tokens are the same and whose last `own` differ."""
    base = make(tokenizer, shared, seed=seed)
    found: list[Prompt] = []
    for offset in range(1, 40 * count):
        prompt = make(tokenizer, shared + own, seed=seed + offset, after=base.text)
        if prompt.ids[:shared] == base.ids:
            found.append(prompt)
        if len(found) == count:
            return found
    raise ValueError(f"fewer than {count} prompts share exactly {shared} tokens")
