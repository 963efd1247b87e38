"""Where models come from, and the catalogue of their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vllama_agent.store.hub import Hub
from vllama_agent.store.transfer import STREAMS
from vllama_core import catalog
from vllama_core.catalog import Catalog
from vllama_core.config import GGUF_PUBLISHERS, OLLAMA_REGISTRY, PVC_ROOT, AgentConfig
from vllama_core.errors import ConfigError
from vllama_core.model_form import Form


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where models come from.

    :ivar hub: made when it is first needed: its library takes a fifth of a second to import.
    :ivar registry: the address of Ollama's registry, or of a mirror.
    :ivar publishers: whose GGUF files are taken where the owner has none.
    :ivar streams: requests at once for one file.
    :ivar prefers: the form that the engine of this machine loads best; taken where nobody asked for one and it can be had.
    :ivar pvc_root: the folder that mounted volume claims lie in, each by its name.
    """

    home: Path
    hub: Callable[[], Hub] = Hub.from_environment
    registry: str = OLLAMA_REGISTRY
    publishers: Sequence[str] = GGUF_PUBLISHERS
    streams: int = STREAMS
    prefers: Form = Form.GGUF
    pvc_root: Path = PVC_ROOT

    def catalog(self) -> Catalog:
        """The built-in one, and the user's on top.

        :raises ConfigError: the user's cannot be read.
        """
        mine = self.home / "catalog.yaml"
        try:
            text = mine.read_text()
        except FileNotFoundError:
            return catalog.builtin()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{mine} cannot be read: {error}") from error
        return catalog.parse(text, where=str(mine)).over(catalog.builtin())


def sources_of(config: AgentConfig, *, prefers: Form = Form.GGUF) -> Sources:
    """Where an agent's models come from."""
    return Sources(
        home=config.home,
        registry=config.ollama_registry,
        publishers=config.gguf_publishers,
        streams=config.download_streams,
        prefers=prefers,
        pvc_root=config.pvc_root,
        hub=partial(Hub.from_environment, xet=config.xet),
    )
