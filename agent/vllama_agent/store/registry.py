"""Ollama's registry: a manifest names layers by their sha256; each layer is a blob.

It speaks a part of the OCI distribution protocol. Public models need no account.
https://github.com/ollama/ollama/blob/main/server/internal/manifest/manifest.go
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import orjson

from vllama_agent.store import descriptors, remote
from vllama_agent.store.origin import Origin
from vllama_core.errors import FetchFailed, ModelNotFound
from vllama_core.gguf import GgufHeader
from vllama_core.modelref import DEFAULT_HOST, ModelName

ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"
KIND = "application/vnd.ollama.image."
CONFIG = "config"
"""Kind of the blob that says what Ollama itself has to know of a model, in JSON."""
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
            origin = Origin(self._url(name, f"manifests/{name.tag}"), {"Accept": ACCEPT}, denied=DENIED)
            body = (await remote.read(self.session, origin, limit=remote.LARGEST_TEXT)).body
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
        what = f"{layer.kind} of {name.display}"
        return await remote.text(self.session, self.origin(name, layer), sha256=layer.digest, size=layer.size, what=what)

    async def header(self, name: ModelName, layer: Layer) -> GgufHeader:
        """The header of a GGUF layer, by requests for its beginning only.

        :raises FetchFailed: it does not come, or is none.
        """
        return (await remote.header(self.session, self.origin(name, layer), size=layer.size)).header


def _layer(fields: Any) -> Layer:
    found = descriptors.parse(fields)
    return Layer(found.media_type.removeprefix(KIND), found.digest, found.size)
