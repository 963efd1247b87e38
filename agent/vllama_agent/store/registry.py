"""Ollama's registry: a manifest names layers by their sha256; each layer is a blob.

It speaks a part of the OCI distribution protocol. Public models need no account.
https://github.com/ollama/ollama/blob/main/server/internal/manifest/manifest.go
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import orjson

from vllama_agent.store import remote
from vllama_agent.store.manifests import is_digest
from vllama_agent.store.origin import Origin
from vllama_core.errors import FetchFailed, ModelNotFound
from vllama_core.gguf import GgufHeader
from vllama_core.modelref import DEFAULT_HOST, ModelName

ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"
KIND = "application/vnd.ollama.image."
CONFIG = "config"
"""Kind of the blob that says what Ollama itself has to know of a model, in JSON."""
LARGEST_TEXT = 4 << 20
"""Bytes of a manifest or of a layer of text; templates and licences have some thousand."""
DENIED = "this registry wants an account, which vllama has not"


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob.

    :ivar kind: ``model``, ``template``, ``params``, ``config`` …; the media type itself where it is a stranger's.
    :ivar digest: sha256 in hexadecimal.
    """

    kind: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registry.

    :ivar endpoint: of the registry that names without a host mean.
    :ivar insecure: other hosts are spoken to over plain HTTP.
    """

    session: aiohttp.ClientSession
    endpoint: str
    insecure: bool = False

    def _url(self, name: ModelName, what: str) -> str:
        """Names hold nothing that has a meaning in an address."""
        base = self.endpoint if name.host == DEFAULT_HOST else f"{'http' if self.insecure else 'https'}://{name.host}"
        return f"{base}/v2/{name.namespace}/{name.model}/{what}"

    def origin(self, name: ModelName, layer: Layer) -> Origin:
        """Where a layer's bytes are."""
        return Origin(self._url(name, f"blobs/sha256:{layer.digest}"), denied=DENIED)

    async def layers(self, name: ModelName) -> list[Layer]:
        """What a name consists of.

        :raises ModelNotFound: the registry has no such model.
        :raises FetchFailed: it cannot be asked, or its answer cannot be used.
        """
        try:
            body = await self._read(self._url(name, f"manifests/{name.tag}"), {"Accept": ACCEPT})
        except remote.Missing:
            raise ModelNotFound(name.display) from None
        try:
            manifest = orjson.loads(body)
            config = [replace(_layer(manifest["config"]), kind=CONFIG)] if manifest.get("config") else []
            return [*(_layer(fields) for fields in manifest["layers"]), *config]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise FetchFailed(f"the registry's manifest of {name.display} cannot be used: {error}") from None

    async def text(self, name: ModelName, layer: Layer) -> str:
        """A layer of text: a template, a licence, options as JSON.

        :raises FetchFailed: it does not come, or not with its sha256.
        """
        if layer.size > LARGEST_TEXT:
            raise FetchFailed(f"the {layer.kind} of {name.display} has {layer.size} bytes; at most {LARGEST_TEXT} are read")
        try:
            body = await self._read(self.origin(name, layer).url, {})
        except remote.Missing:
            raise FetchFailed(f"the registry has lost the {layer.kind} of {name.display}") from None
        if hashlib.sha256(body).hexdigest() != layer.digest:
            raise FetchFailed(f"the registry sent a wrong {layer.kind} of {name.display}: its sha256 is not {layer.digest}")
        return body.decode("utf-8", "replace")

    async def header(self, name: ModelName, layer: Layer) -> GgufHeader:
        """The header of a GGUF layer, by requests for its beginning only.

        :raises FetchFailed: it does not come, or is none.
        """
        return (await remote.header(self.session, self.origin(name, layer), size=layer.size)).header

    async def _read(self, url: str, headers: dict[str, str]) -> bytes:
        found = await remote.read(self.session, Origin(url, headers, denied=DENIED), limit=LARGEST_TEXT)
        return found.body


def _layer(fields: Any) -> Layer:
    algorithm, _, digest = str(fields["digest"]).partition(":")
    size = int(fields["size"])
    if algorithm != "sha256" or not is_digest(digest) or size < 0:
        raise ValueError(f"{fields['digest']!r} of {size} bytes is no layer")
    media = str(fields["mediaType"])
    return Layer(media.removeprefix(KIND).partition(";")[0] if media.startswith(KIND) else media, digest, size)
