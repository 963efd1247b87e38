"""How mlx-lm's server is started. Pure.

https://github.com/ml-explore/mlx-lm/blob/v0.32.2/mlx_lm/server.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
"""It cannot listen on a Unix socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the agent decided.

    :ivar context: most tokens of an answer that names no limit; it holds prompts to none.
    :ivar sequences: most requests that decode at once.
    :ivar cache_bytes: of prompts that are kept for later requests.
    :ivar template: a chat template instead of the folder's.
    """

    context: int
    sequences: int
    cache_bytes: int
    template: str | None = None


def command(python: Path, model: Path, port: int, settings: Settings) -> list[str]:
    """The command. `-I` keeps our own packages and the user's out; no page of a browser may call it."""
    return [
        *(str(python), "-I", "-m", "mlx_lm", "server"),
        *("--model", str(model), "--host", HOST, "--port", str(port), "--allowed-origins", "null"),
        *("--max-tokens", str(settings.context), "--decode-concurrency", str(settings.sequences)),
        *("--prompt-cache-bytes", str(settings.cache_bytes), "--log-level", "INFO"),
        *(("--chat-template", settings.template) if settings.template else ()),
    ]
