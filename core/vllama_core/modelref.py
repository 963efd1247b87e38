"""What people type for a model, taken apart: a file, a name, a repository of the Hugging Face hub, a URL, a place in storage of one's own.

Pure: nothing is looked up.

A name is ``[host/][namespace/]model[:tag][@revision]``. Without a host, one part is a model of Ollama's library, and two parts are a
repository of the hub, as everywhere but in Ollama: ``ollama.com/namespace/model`` names Ollama's. The tag `latest` is implied.
https://github.com/ollama/ollama/blob/main/docs/api.md#model-names
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from vllama_core import quantization_names, storageref
from vllama_core.errors import ConfigError
from vllama_core.storageref import StorageRef

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
HUB_HOST = "hf.co"
DEMO_MODEL = "gemma3:270m-base"
"""The model that `make run` serves: a real Gemma 3 270M base model. Ollama's `gemma3:270m` is the instruct model, hence the tag."""
WHAT_CAN_BE_GIVEN = (
    "give a GGUF file, a folder with the GGUF file or files of one model, a name such as qwen3:0.6b, a repository of the Hugging Face "
    "hub such as Qwen/Qwen3-8B-GGUF:Q4_K_M, ollama.com/library/NAME:TAG, the https:// address of a GGUF file, s3://BUCKET/FOLDER/, "
    f"oci://REGISTRY/REPOSITORY:TAG, pvc://CLAIM/FOLDER/, or {DEMO_MODEL}"
)
STORAGE_HOSTS = ("s3", "pvc")
"""Hosts in names of models from storage; no registry is called so."""

_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
# Wider than Ollama's 80 characters, and dots in the namespace: names of the Hugging Face hub have both.
_NAME = re.compile(
    rf"(?:(?P<host>[A-Za-z0-9_][A-Za-z0-9_.:-]{{0,349}})/(?={_WORD}/))?(?:(?P<namespace>{_WORD})/)?(?P<model>{_WORD})"
    rf"(?::(?P<tag>{_WORD}|{_WORD}(?:/{_WORD}){{1,4}}\.gguf))?(?:@(?P<revision>{_WORD}(?:/{_WORD}){{0,3}}))?"
)
_HOSTS = {
    "hf.co": HUB_HOST,
    "huggingface.co": HUB_HOST,
    "www.huggingface.co": HUB_HOST,
    "ollama.com": DEFAULT_HOST,
    "www.ollama.com": DEFAULT_HOST,
    "registry.ollama.ai": DEFAULT_HOST,
}
_SITES = re.compile(r"https?://(?=(?:hf\.co|(?:www\.)?huggingface\.co|(?:www\.)?ollama\.com|registry\.ollama\.ai)/)", re.IGNORECASE)
_HUB_PAGE = re.compile(rf"(?P<repo>{_WORD}/{_WORD})/(?P<view>tree|blob|resolve)/(?P<revision>{_WORD})(?:/(?P<file>.+))?")


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name, each part as it was spelled; the hosts of the hub and of Ollama have one spelling.

    :ivar tag: with ``@revision`` behind it where one was given, and without slashes: it becomes a part of a path.
    """

    model: str
    tag: str = DEFAULT_TAG
    namespace: str = DEFAULT_NAMESPACE
    host: str = DEFAULT_HOST

    @classmethod
    def parse(cls, text: str) -> ModelName | None:
        """None: `text` cannot be a name. A reference to storage stands for the name of what comes from there."""
        try:
            storage = storageref.parse(text)
        except ConfigError:
            return None
        if storage is not None:
            return _stored_name(storage)
        found = _NAME.fullmatch(_SITES.sub("", text, count=1))
        return None if found is None else _name_of(found)

    @property
    def display(self) -> str:
        """The shortest form that lists show: model and tag always, the rest only where it is not implied."""
        short = f"{self.model}:{self.tag}"
        if self.host == HUB_HOST:
            return f"{self.namespace}/{short}"
        if self.host != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{short}"
        return short if self.namespace.casefold() == DEFAULT_NAMESPACE else f"ollama.com/{self.namespace}/{short}"

    @property
    def key(self) -> str:
        """Equal for names that mean the same model: case does not count."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}".casefold()


def _stored_name(storage: StorageRef) -> ModelName:
    host, namespace, model, tag = storage.name_parts
    return ModelName(model, tag, namespace, host)


def _name_of(found: re.Match[str]) -> ModelName:
    namespace, host, tag = found["namespace"] or DEFAULT_NAMESPACE, found["host"], found["tag"] or DEFAULT_TAG
    if host is None:
        host = DEFAULT_HOST if namespace.casefold() == DEFAULT_NAMESPACE else HUB_HOST
    host = _HOSTS.get(host.casefold(), host)
    if host == HUB_HOST:
        tag = quantization_names.parse(tag) or tag
    tag += f"@{found['revision']}" if found["revision"] else ""
    return ModelName(model=found["model"], tag=tag.replace("/", "-"), namespace=namespace, host=host)


@dataclass(frozen=True, slots=True)
class HubRef:
    """A repository of the Hugging Face hub, and what of it is wanted. None = not said.

    :ivar repo: ``owner/name``.
    :ivar quantization: in its usual spelling.
    :ivar revision: branch, tag or commit.
    :ivar file: path of one GGUF file in the repository.
    """

    repo: str
    quantization: str | None = None
    revision: str | None = None
    file: str | None = None

    @property
    def names_no_gguf(self) -> bool:
        """Whether it leaves open in which form the model is wanted: no quantization is said and no file."""
        return self.quantization is None and self.file is None

    def __str__(self) -> str:
        wanted = self.file or self.quantization
        # without a host, this one owner's names are the registry's
        host = f"{HUB_HOST}/" if self.repo.partition("/")[0].casefold() == DEFAULT_NAMESPACE else ""
        return host + self.repo + (f":{wanted}" if wanted else "") + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Either a path or a name; where the name says it, also the one place that the model comes from.

    :ivar path: of a file or a folder, as typed.
    :ivar name: what the model is called here.
    :ivar hub: it is asked for from the hub.
    :ivar registry: it is asked for from the registry at the name's host, and from nowhere else.
    :ivar url: of a GGUF file.
    :ivar storage: a bucket's, a registry's artifact or a volume claim's; it comes from there and from nowhere else.
    """

    path: str | None = None
    name: ModelName | None = None
    hub: HubRef | None = None
    registry: bool = False
    url: str | None = None
    storage: StorageRef | None = None

    def __str__(self) -> str:
        """A reference that parses to this one."""
        if self.path is not None:
            return self.path
        if self.hub is not None:
            return str(self.hub)
        if self.storage is not None:
            return str(self.storage)
        assert self.name is not None, "what has no path has a name"
        shown = self.url or self.name.display
        return f"ollama.com/library/{shown}" if self.registry and "/" not in shown else shown

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read a reference. What begins with ``/``, ``./``, ``../`` or ``~`` or ends with ``.gguf`` is a path, the rest are names.

        :raises ConfigError: it is neither.
        """
        storage = storageref.parse(text)
        if storage is not None:
            return cls(name=_stored_name(storage), storage=storage)
        bare = _SITES.sub("", text, count=1)
        found = _NAME.fullmatch(bare.rstrip("/") if bare != text else text)
        if text.startswith(("http://", "https://")) and (bare == text or found is None or found["host"] is None):
            return _of_url(text, bare if bare != text else None)
        names_a_hub_file = found is not None and found["tag"] is not None and _name_of(found).host == HUB_HOST
        if is_path(text) and not names_a_hub_file:
            return cls(path=text)
        if found is None:
            raise ConfigError(f"{text!r} is no model; {WHAT_CAN_BE_GIVEN}")
        name = _name_of(found)
        if name.host == HUB_HOST:
            return cls(name=name, hub=_hub_ref(found, text))
        if found["revision"]:
            raise ConfigError(f"{text!r}: only models of the Hugging Face hub have revisions; leave out @{found['revision']}")
        return cls(name=name, registry=found["host"] is not None)


def _hub_ref(found: re.Match[str], text: str) -> HubRef:
    repo, tag, revision = f"{found['namespace']}/{found['model']}", found["tag"], found["revision"]
    if tag is None or tag == DEFAULT_TAG:
        return HubRef(repo, revision=revision)
    if tag.lower().endswith(".gguf"):
        return HubRef(repo, revision=revision, file=tag)
    quantization = quantization_names.parse(tag)
    if quantization is None:
        raise ConfigError(f"{text!r}: {tag!r} is neither a quantization, such as {quantization_names.DEFAULT}, nor the name of a GGUF file")
    return HubRef(repo, quantization=quantization, revision=revision)


def _of_url(text: str, page: str | None) -> ModelRef:
    """The address of a GGUF file.

    :param page: host and path, where the host is one that names have too.
    """
    if page is not None:
        return _of_page(text, page)
    try:
        parts = urlsplit(text)
        host, secret = parts.hostname, parts.username is not None or parts.password is not None
    except ValueError:
        raise ConfigError(f"{text!r} is no address; {WHAT_CAN_BE_GIVEN}") from None
    if secret:
        raise ConfigError("the address of a model must not hold a user name or a password: lists and logs show addresses")
    if not host or not parts.path.lower().endswith(".gguf"):
        shown = text.partition("?")[0]  # a query may hold a signature
        raise ConfigError(f"{shown!r} is no address of a GGUF file: its path must end in .gguf; {WHAT_CAN_BE_GIVEN}")
    return ModelRef(name=name_from_stem(unquote(parts.path.rpartition("/")[2])[: -len(".gguf")]), url=text)


def _of_page(text: str, page: str) -> ModelRef:
    """A page of the hub, copied out of a browser: of a repository at a revision, or of a file."""
    host, _, path = page.partition("/")
    found = _HUB_PAGE.fullmatch(path.partition("?")[0]) if _HOSTS.get(host.lower()) == HUB_HOST else None
    if found is None or not (found["file"] or ".gguf").lower().endswith(".gguf"):
        raise ConfigError(f"{text!r} is no page of a model or of a GGUF file; {WHAT_CAN_BE_GIVEN}")
    file = f":{unquote(found['file'])}" if found["file"] else ""
    return ModelRef.parse(f"{found['repo']}{file}@{found['revision']}")


def is_path(text: str) -> bool:
    """Whether a reference means a place in the file system."""
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..") or text.lower().endswith(".gguf")


def runs_at_ollama(text: str) -> bool:
    """Whether a name is that of a model in Ollama's cloud: its tag is `cloud`, or ends so (https://docs.ollama.com/cloud)."""
    tag = text.rpartition(":")[2] if ":" in text else ""
    return tag == "cloud" or tag.endswith("-cloud")


def name_from_stem(stem: str) -> ModelName:
    """A name for a file that has none: its stem, with what names cannot hold replaced."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).lstrip(".-")[:128]
    return ModelName(cleaned or "model")
