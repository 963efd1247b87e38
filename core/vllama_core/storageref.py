"""References to models in storage of one's own: an S3 bucket, an OCI registry, a Kubernetes volume claim. Pure: nothing is looked up.

Each prints as the text that parses to it. What such a model is called here, `name_parts` says: different places have different names,
or the model of one bucket would be served for that of another.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar

from vllama_core.errors import ConfigError

LONGEST_WORD = 128
"""Characters of one part of a name."""
DOCKER_HUB = "docker.io"
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# A claim's name is a DNS subdomain: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
_CLAIM = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,126}[a-z0-9])?")
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests; the registry's part is Docker's rule
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_OCI = re.compile(
    rf"(?P<registry>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{{1,5}})?)/(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>[a-z0-9]+:[A-Za-z0-9]+))?"
)
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
NAMED_OTHERWISE = {
    "hf.co": "OWNER/NAME",
    "huggingface.co": "OWNER/NAME",
    "www.huggingface.co": "OWNER/NAME",
    "ollama.com": "ollama.com/library/NAME:TAG",
    "www.ollama.com": "ollama.com/library/NAME:TAG",
    "registry.ollama.ai": "ollama.com/library/NAME:TAG",
}
"""Hosts with references of their own."""

NameParts = tuple[str, str, str, str]
"""Host, namespace, model and tag of a `ModelName`."""


@dataclass(frozen=True, slots=True)
class S3Ref:
    """An object, or all objects below a prefix.

    :ivar key: of an object that ends in ``.gguf``; else a prefix: empty, or with a slash at its end.
    """

    SCHEME: ClassVar[str] = "s3://"
    bucket: str
    key: str

    @property
    def is_folder(self) -> bool:
        return not self.key or self.key.endswith("/")

    @property
    def name_parts(self) -> NameParts:
        return "s3", self.bucket, _word(_stem(self.key)), "latest"

    def __str__(self) -> str:
        return f"{self.SCHEME}{self.bucket}/{self.key}"

    @classmethod
    def parse(cls, text: str) -> S3Ref:
        """:raises ConfigError: it names no object and no folder."""
        bucket, _, key = text.removeprefix(cls.SCHEME).partition("/")
        if not _BUCKET.fullmatch(bucket) or ".." in bucket:
            raise ConfigError(f"{text!r}: {bucket!r} is no name of a bucket; write s3://BUCKET/FOLDER/ or s3://BUCKET/KEY.gguf")
        return cls(bucket, _checked_path(key, text))


@dataclass(frozen=True, slots=True)
class PvcRef:
    """A file, or a folder, of a volume that a Kubernetes claim stands for.

    :ivar path: as `S3Ref.key`.
    """

    SCHEME: ClassVar[str] = "pvc://"
    claim: str
    path: str

    @property
    def is_folder(self) -> bool:
        return not self.path or self.path.endswith("/")

    @property
    def name_parts(self) -> NameParts:
        return "pvc", self.claim, _word(_stem(self.path)), "latest"

    def __str__(self) -> str:
        return f"{self.SCHEME}{self.claim}/{self.path}"

    @classmethod
    def parse(cls, text: str) -> PvcRef:
        """:raises ConfigError: it names no file and no folder."""
        claim, _, path = text.removeprefix(cls.SCHEME).partition("/")
        if not _CLAIM.fullmatch(claim):
            raise ConfigError(f"{text!r}: {claim!r} is no name of a volume claim; write pvc://CLAIM/FOLDER/ or pvc://CLAIM/FILE.gguf")
        return cls(claim, _checked_path(path, text))


@dataclass(frozen=True, slots=True)
class OciRef:
    """An artifact of a registry that speaks the OCI distribution protocol.

    :ivar registry: host, with a port where it has one.
    :ivar tag: None: not said; then `digest` is, or ``latest`` is meant.
    :ivar digest: ``sha256:`` and 64 hex digits of the manifest. It wins over the tag.
    """

    SCHEME: ClassVar[str] = "oci://"
    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def reference(self) -> str:
        """What the registry is asked for."""
        return self.digest or self.tag or "latest"

    @property
    def name_parts(self) -> NameParts:
        """A repository's name has any number of parts, ours two; two dots stand for a slash, which no part of the former has."""
        folder, _, model = self.repository.rpartition("/")
        pinned = self.digest.replace(":", "-") if self.digest else None
        tag = f"{self.tag}@{pinned}" if self.tag and pinned else pinned or self.tag or "latest"
        return self.registry.lower(), _word(folder), _word(model), tag

    def __str__(self) -> str:
        tag, digest = f":{self.tag}" if self.tag else "", f"@{self.digest}" if self.digest else ""
        return f"{self.SCHEME}{self.registry}/{self.repository}{tag}{digest}"

    @classmethod
    def parse(cls, text: str) -> OciRef:
        """:raises ConfigError: it names no artifact, or its registry has references of its own."""
        found = _OCI.fullmatch(text.removeprefix(cls.SCHEME))
        way_out = "write oci://REGISTRY/REPOSITORY:TAG, such as oci://docker.io/ai/smollm2:360M-Q4_K_M, or …@sha256:DIGEST"
        if found is None:
            raise ConfigError(f"{text!r} is no reference of a registry's artifact; {way_out}")
        registry, repository, digest = found["registry"], found["repository"], found["digest"]
        if registry.lower() in NAMED_OTHERWISE:
            raise ConfigError(f"{text!r}: models of {registry} are named without oci://; write {NAMED_OTHERWISE[registry.lower()]}")
        if not ("." in registry or ":" in registry or registry == "localhost"):
            raise ConfigError(f"{text!r}: {registry!r} is no registry: it has neither a dot nor a port; {way_out}")
        if digest is not None and not _SHA256.fullmatch(digest):
            raise ConfigError(f"{text!r}: {digest!r} is no sha256 digest; {way_out}")
        if registry.lower() in ("index.docker.io", DOCKER_HUB):
            registry = DOCKER_HUB
            repository = repository if "/" in repository else f"library/{repository}"
        return cls(registry, repository, found["tag"], digest)


StorageRef = S3Ref | OciRef | PvcRef
KINDS: dict[str, type[S3Ref] | type[OciRef] | type[PvcRef]] = {kind.SCHEME: kind for kind in (S3Ref, OciRef, PvcRef)}


def parse(text: str) -> StorageRef | None:
    """None: it has none of these schemes.

    :raises ConfigError: it has one, and names nothing.
    """
    scheme = text[: text.find("://") + 3].lower()
    kind = KINDS.get(scheme)
    return None if kind is None else kind.parse(scheme + text[len(scheme) :])


def _checked_path(path: str, text: str) -> str:
    """A GGUF file's path, or a folder's with a slash at its end."""
    folders = path.rstrip("/").split("/") if path.rstrip("/") else []
    if any(part in ("", ".", "..") for part in folders) or (path and not folders) or path.endswith("//"):
        raise ConfigError(f"{text!r}: the path has an empty part, or one of dots; write it without")
    if not path.isprintable():
        raise ConfigError(f"{text!r}: the path has a character that cannot be printed")
    return path if not path or path.endswith("/") or path.lower().endswith(".gguf") else f"{path}/"


def _stem(path: str) -> str:
    return path[: -len(".gguf")] if path.lower().endswith(".gguf") else path.rstrip("/")


def _word(path: str) -> str:
    """A path as one part of a name, and another one for each path: where signs must be left out, a checksum tells them apart."""
    if not path:
        return "_"
    joined = path.replace("/", "..")
    if _WORD.fullmatch(joined) and ".." not in path and path != "_":
        return joined
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", "-", joined).lstrip(".-")
    return f"{cleaned[: LONGEST_WORD - 13] or 'model'}-{hashlib.sha256(path.encode()).hexdigest()[:12]}"
