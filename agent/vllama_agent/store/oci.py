"""Artifacts of OCI registries: a manifest names layers by their sha256; each is a blob that can be read in ranges.

The same protocol as Ollama's registry speaks a part of, with access, image indexes and manifests that are asked for by their digest. The
library for such artifacts, oras, reads a blob in one request from its first byte: a cut would begin it anew.
https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import aiohttp
import orjson

from vllama_agent.store import oci_layers, registry_access, remote
from vllama_agent.store.oci_layers import Layer
from vllama_agent.store.origin import Origin
from vllama_agent.store.registry_access import RegistryAccess
from vllama_core.errors import ConfigError, FetchFailed, ModelNotFound
from vllama_core.gguf import GgufHeader
from vllama_core.storageref import OciRef

MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
ATTESTATION = "vnd.docker.reference.type"
"""Annotation of a manifest that says something about another one and holds no files of its own."""


class Artifact:
    """One artifact of a registry.

    :ivar digest: the sha256 of its manifest, in hexadecimal; empty until `layers` has read it.
    """

    def __init__(self, session: aiohttp.ClientSession, ref: OciRef, *, insecure: bool = False) -> None:
        self._session = session
        self._ref = ref
        self._base = registry_access.base_url(ref, insecure=insecure)
        self._access = RegistryAccess(session, ref, insecure=insecure)
        self.digest = ""

    async def layers(self) -> list[Layer]:
        """What it consists of.

        :raises ModelNotFound: the registry has no such artifact.
        :raises ConfigError: it is none of a model.
        :raises FetchFailed: it cannot be asked, or its answer cannot be used.
        """
        found = await self._manifest(self._ref.reference)
        if isinstance(found.get("manifests"), list):
            found = await self._manifest(self._only(found["manifests"]))
        return oci_layers.layers(found, shown=str(self._ref))

    async def _manifest(self, reference: str) -> dict[str, Any]:
        origin = self._origin(f"manifests/{reference}", accept=", ".join((*MANIFESTS, *INDEXES)))
        try:
            body = (await remote.read(self._session, origin, limit=remote.LARGEST_TEXT)).body
        except remote.Missing:
            raise ModelNotFound(str(self._ref), "its registry has no such artifact") from None
        self.digest = hashlib.sha256(body).hexdigest()
        if reference.startswith("sha256:") and reference != f"sha256:{self.digest}":
            raise FetchFailed(f"the registry sent a wrong manifest of {self._ref}: its sha256 is {self.digest}")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise FetchFailed(f"the registry's manifest of {self._ref} is no JSON: {error.msg}") from None
        if not isinstance(value, dict):
            raise FetchFailed(f"the registry's manifest of {self._ref} is no object")
        return value

    def _only(self, entries: list[Any]) -> str:
        """The digest of the one manifest of an index."""
        own = [entry for entry in entries if isinstance(entry, dict) and ATTESTATION not in (entry.get("annotations") or {})]
        digests = [str(entry.get("digest", "")) for entry in own]
        if len(digests) == 1:
            return digests[0]
        first = f"; name one: {OciRef.SCHEME}{self._ref.registry}/{self._ref.repository}@{digests[0]}" if digests else ""
        raise ConfigError(f"{self._ref} is an index of {len(digests)} artifacts{first}")

    def origin(self, layer: Layer) -> Origin:
        """Where a layer's bytes are."""
        return self._origin(f"blobs/sha256:{layer.digest}")

    def _origin(self, what: str, *, accept: str = "") -> Origin:
        url = f"{self._base}/{what}"
        headers = {"Accept": accept} if accept else {}
        return Origin(url, headers, denied=self._access.denied, sign=partial(self._access.sign, url, headers))

    async def text(self, layer: Layer) -> str:
        """A layer of text.

        :raises FetchFailed: it does not come, or not with its sha256.
        """
        what = f"{layer.kind} of {self._ref}"
        return await remote.text(self._session, self.origin(layer), sha256=layer.digest, size=layer.size, what=what)

    async def header(self, layer: Layer) -> GgufHeader:
        """The header of a GGUF layer, by requests for its beginning only.

        :raises FetchFailed: it does not come, or is none.
        """
        return (await remote.header(self._session, self.origin(layer), size=layer.size)).header
