"""A model in libllama: its weights, or just its vocabulary and metadata."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from vllama_agent.engines.llama_cpp.bindings import C
from vllama_core.config import LoadConfig
from vllama_core.errors import EngineFailed


@dataclass(frozen=True, slots=True)
class Kind:
    """How a model remembers: decides which reuse of earlier computation is right."""

    sliding_window: int
    """Tokens; 0 = none."""
    recurrent: bool
    """Recurrent or hybrid: its state cannot be rolled back or split."""


class Model:
    """Weights (or, with `vocab_only`, just the vocabulary and metadata)."""

    def __init__(self, files: tuple[Path, ...], config: LoadConfig, *, vocab_only: bool = False) -> None:
        params = C.llama_model_default_params()
        params.vocab_only = vocab_only
        params.n_gpu_layers = config.gpu_layers
        params.load_mode = _load_mode(config)
        if config.tensor_split:
            split = (ctypes.c_float * C.llama_max_devices())(*config.tensor_split)
            params.tensor_split = split
        # all files by their paths: blobs do not bear the names by which libllama would find the others
        paths = (ctypes.c_char_p * len(files))(*(str(file).encode() for file in files))
        self.handle = C.llama_model_load_from_splits(paths, len(files), params)
        if not self.handle:
            raise EngineFailed(f"llama.cpp cannot load {files[0].name}; the lines above say why")
        self.vocab = C.llama_model_get_vocab(self.handle)
        self.vocab_size = int(C.llama_vocab_n_tokens(self.vocab))
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}

    @property
    def kind(self) -> Kind:
        recurrent = C.llama_model_is_recurrent(self.handle) or C.llama_model_is_hybrid(self.handle)
        return Kind(sliding_window=int(C.llama_model_n_swa(self.handle)), recurrent=bool(recurrent))

    @property
    def trained_context(self) -> int:
        return int(C.llama_model_n_ctx_train(self.handle))

    @property
    def weight_bytes(self) -> int:
        return int(C.llama_model_size(self.handle))

    @property
    def can_decode(self) -> bool:
        return bool(C.llama_model_has_decoder(self.handle)) and not C.llama_model_has_encoder(self.handle)

    def meta(self, key: str) -> str | None:
        """A scalar of the GGUF metadata, as text."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            needed = C.llama_model_meta_val_str(self.handle, key.encode(), buffer, size)
            if needed < 0:
                return None
            if needed < size:
                return buffer.value.decode("utf-8", "replace")
            size = needed + 1

    @property
    def chat_template(self) -> str | None:
        text = C.llama_model_chat_template(self.handle, None)
        return text.decode("utf-8", "replace") if text else None

    def named_template(self, name: str) -> str | None:
        """A variant of the chat template."""
        return self.meta(f"tokenizer.chat_template.{name}")

    def is_end(self, token: int) -> bool:
        """Whether a token ends a generation (end of sequence, of turn, of message). Looked up once per token."""
        end = self._ends.get(token)
        if end is None:
            end = self._ends[token] = bool(C.llama_vocab_is_eog(self.vocab, token))
        return end

    def end_tokens(self) -> list[int]:
        """All of them, for which the whole vocabulary is gone through."""
        return [token for token in range(self.vocab_size) if C.llama_vocab_is_eog(self.vocab, token)]

    @property
    def longest_text(self) -> int:
        """No token stands for more bytes of a text. The vocabulary's own spelling is told, which has a character for each byte or more,
        and takes a third of the time that it takes to render every token."""
        text = C.llama_vocab_get_text
        return max(len(text(self.vocab, token)) for token in range(self.vocab_size))

    def piece(self, token: int) -> bytes:
        """The bytes of a token as they appear in an answer: control tokens have none. Looked up once per token."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self.render_token(token, special=False)
        return piece

    def render_token(self, token: int, *, special: bool) -> bytes:
        """The bytes of a token; with `special`, also those of control tokens."""
        size = 32
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = C.llama_token_to_piece(self.vocab, token, buffer, size, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def pieces(self) -> list[bytes]:
        """The bytes of every token as `piece` has them; of control tokens their names, after a byte that no text holds."""
        return [self.render_token(i, special=False) or b"\xff" + self.render_token(i, special=True) for i in range(self.vocab_size)]

    @property
    def addresses(self) -> tuple[int, int]:
        """Of the vocabulary and of the C function that tokenises with it, for a library that calls it itself."""
        return int(self.vocab), int(ctypes.cast(C._lib.llama_tokenize, ctypes.c_void_p).value or 0)

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of UTF-8 text."""
        capacity = len(text) + 8
        buffer = (C.llama_token * capacity)()
        count = C.llama_tokenize(self.vocab, text, len(text), buffer, capacity, add_special, parse_special)
        if count < 0:
            capacity = -count
            buffer = (C.llama_token * capacity)()
            count = C.llama_tokenize(self.vocab, text, len(text), buffer, capacity, add_special, parse_special)
        return list(buffer[:count])

    @property
    def bos(self) -> int:
        """Id of the token that starts a text; -1 = none."""
        return int(C.llama_vocab_bos(self.vocab)) if C.llama_vocab_get_add_bos(self.vocab) else -1

    @property
    def special_texts(self) -> tuple[str, str]:
        """The texts of BOS and EOS, for templates."""
        ids = (C.llama_vocab_bos(self.vocab), C.llama_vocab_eos(self.vocab))
        bos, eos = (self.render_token(i, special=True).decode("utf-8", "replace") if i >= 0 else "" for i in ids)
        return bos, eos

    @property
    def fill_in_middle(self) -> tuple[int, int, int]:
        """Ids of the tokens before the prefix, the suffix and the middle; -1 = the model has none."""
        return (int(C.llama_vocab_fim_pre(self.vocab)), int(C.llama_vocab_fim_suf(self.vocab)), int(C.llama_vocab_fim_mid(self.vocab)))

    @property
    def can_insert(self) -> bool:
        return all(token >= 0 for token in self.fill_in_middle)

    @property
    def heads(self) -> int:
        """Attention heads of a layer; 0 = the model has none."""
        return int(C.llama_model_n_head(self.handle))

    def close(self) -> None:
        C.llama_model_free(self.handle)


def _load_mode(config: LoadConfig) -> int:
    modes = {
        (True, False): C.LLAMA_LOAD_MODE_MMAP,
        (True, True): C.LLAMA_LOAD_MODE_MMAP_MLOCK,
        (False, False): C.LLAMA_LOAD_MODE_NONE,
        (False, True): C.LLAMA_LOAD_MODE_MLOCK,
    }
    return int(modes[config.mmap, config.mlock])
