"""Models of small files in a home."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from vllama_agent.store import manifests
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_core.modelref import ModelName


def put(home: Path, content: bytes, name: str | None = None, **told: Any) -> str:
    """Put bytes into a home as a blob and, with a name, as a model; their sha256.

    :param told: further parts of the manifest.
    """
    digest = hashlib.sha256(content).hexdigest()
    path = manifests.blob(home, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if name is not None:
        parsed = ModelName.parse(name)
        assert parsed is not None
        source = Source(kind="url", ref=f"https://example.com/{name}.gguf")
        file = FileRef(digest=digest, size=len(content))
        manifests.write(home, Manifest(**{"name": parsed, "files": (file,), "source": source} | told))
    return digest
