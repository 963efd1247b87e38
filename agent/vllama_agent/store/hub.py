"""The Hugging Face hub: what a repository holds, and who may have it. Bytes are fetched elsewhere, into the shared cache (`hub_cache`).

`huggingface_hub` finds tokens (HF_TOKEN, `hf auth login`), the endpoint (HF_ENDPOINT), the cache (HF_HOME, HF_HUB_CACHE) and whether
the network may be used (HF_HUB_OFFLINE). It is imported on first use: listing models does not need it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vllama_agent.store import hub_cache
from vllama_agent.store.digests import is_digest
from vllama_agent.store.hub_cache import COMMIT, RemoteFile, Repository
from vllama_agent.store.origin import Origin
from vllama_agent.store.wanted import HubFile, Wanted
from vllama_core.errors import AccessDenied, ConfigError, FetchFailed

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

ANSWER_SECONDS = 20.0
"""For one question about a repository."""
ATTEMPTS = 3
PAUSE_SECONDS = 1.0
"""Before the second attempt; doubled each time. A hub that asks for more is not waited for: a person looks on."""
MAIN = "main"
_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class NotOnHub(FetchFailed):
    """There is no such repository, or none that may be seen; another one may exist."""


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A hub and its cache.

    :ivar cache: the folder that all tools of this user share.
    :ivar offline: only what is in the cache can be had.
    :ivar xet: large files are fetched by the hub's own downloader.
    """

    endpoint: str
    cache: Path
    token: str | None = field(default=None, repr=False)
    offline: bool = False
    xet: bool = False

    @classmethod
    def from_environment(cls, *, xet: bool = False) -> Hub:
        """As huggingface_hub reads it.

        :raises ConfigError: hf-xet is wanted, and is not installed.
        """
        from huggingface_hub import constants, get_token

        logging.getLogger("httpx").setLevel(logging.WARNING)  # below that it tells of each request
        if xet and importlib.util.find_spec("hf_xet") is None:
            raise ConfigError("VLLAMA_XET is set, and hf-xet is not installed; pip install hf-xet, or unset VLLAMA_XET")
        return cls(
            endpoint=constants.ENDPOINT,
            cache=Path(constants.HF_HUB_CACHE),
            token=get_token(),
            offline=constants.is_offline_mode(),
            xet=xet,
        )

    async def repository(self, name: str, revision: str | None = None) -> Repository:
        """What a repository holds.

        :raises NotOnHub: there is none, or it has no such revision.
        :raises AccessDenied: it is gated, or the token is not good.
        :raises FetchFailed: the hub cannot be asked.
        """
        if self.offline:
            return await asyncio.to_thread(self._cached, name, revision or MAIN)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout(ANSWER_SECONDS + 5):  # the library's own limit comes first
                    info = await asyncio.to_thread(self._ask, name, revision)
                return _repository(info, name, revision or MAIN)
            except (_Busy, TimeoutError) as error:
                if attempt == ATTEMPTS:
                    why = str(error) or f"no answer within {ANSWER_SECONDS:g} seconds"
                    raise FetchFailed(f"the hub at {self.endpoint} cannot be asked about {name}: {why}") from error
                await asyncio.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        raise AssertionError("the loop returns or raises")

    def _ask(self, name: str, revision: str | None) -> ModelInfo:
        """Blocks. Errors of the library become ours, which hold no header and no token."""
        from huggingface_hub import HfApi, errors

        try:
            api = HfApi(endpoint=self.endpoint, token=self.token or False, library_name="vllama")
            return api.model_info(name, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS)
        except errors.GatedRepoError:
            raise AccessDenied(self.denied(name)) from None
        except errors.RepositoryNotFoundError:
            seen = "with this token" if self.token else "without a token"
            raise NotOnHub(f"{name} is not on the hub, or cannot be seen {seen}") from None
        except errors.RevisionNotFoundError:
            raise NotOnHub(f"{name} has no revision {revision}") from None
        except errors.HFValidationError:
            raise NotOnHub(f"{name} is no name of a repository") from None
        except errors.HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status == 401 and self.token:  # the hub refuses a wrong token also where none is needed
                raise AccessDenied(
                    f"the hub at {self.endpoint} does not know the token that is used: it is wrong, or has ended; set HF_TOKEN, "
                    "or run `hf auth login`, with a new one"
                ) from None
            if status in (401, 403):
                raise AccessDenied(self.denied(name)) from None
            if status == 429 or status >= 500:
                raise _Busy(f"HTTP {status}") from None
            raise FetchFailed(f"the hub at {self.endpoint} answers HTTP {status} about {name}") from None
        except errors.OfflineModeIsEnabled:
            raise FetchFailed("HF_HUB_OFFLINE is set: the hub cannot be asked") from None
        except Exception as error:  # what its HTTP library raises is no part of its interface
            raise _Busy(type(error).__name__) from error

    def denied(self, name: str) -> str:
        """What to do where access is refused."""
        token = "the token that is used has no access" if self.token else "no token is set"
        return (
            f"{name} is gated or private, and {token}: accept its terms at {self.endpoint}/{name}, then set HF_TOKEN, "
            "or run `hf auth login`, with a token of that account"
        )

    def folder(self, name: str) -> Path:
        """A repository's folder in the cache."""
        return hub_cache.folder(self.cache, name)

    def pointer(self, repository: Repository, file: RemoteFile) -> Path:
        """Where a file has its name in the cache."""
        return hub_cache.pointer(self.cache, repository, file)

    def link(self, repository: Repository, file: RemoteFile) -> Path:
        """Give a downloaded file its name in the cache; the path."""
        return hub_cache.link(self.cache, repository, file)

    def wanted(self, repository: Repository, file: RemoteFile) -> Wanted:
        """A file as a download into the cache."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"{self.endpoint}/{repository.name}/resolve/{repository.commit}/{quote(file.path)}"
        return Wanted(
            target=hub_cache.blob(self.cache, repository, file),
            partials=self.folder(repository.name) / ".vllama",
            origin=Origin(url, headers, denied=self.denied(repository.name)),
            checksum=file.checksum,
            size=file.size,
            pointer=self.pointer(repository, file),
            hub_file=self._for_its_downloader(repository, file),
        )

    def _for_its_downloader(self, repository: Repository, file: RemoteFile) -> HubFile | None:
        """Large files only: git's own small ones are not in the storage that it knows."""
        if not self.xet or not is_digest(file.checksum):
            return None
        return HubFile(self.endpoint, repository.name, repository.commit, file.path, self.token or "")

    def _cached(self, name: str, revision: str) -> Repository:
        """What the cache holds of a repository."""
        found = hub_cache.held(self.cache, name, revision)
        if found is None:
            raise NotOnHub(f"HF_HUB_OFFLINE is set, and {self.cache} has no {name} at {revision}")
        return found


class _Busy(Exception):
    """Another attempt may succeed."""


def _repository(info: Any, name: str, revision: str) -> Repository:
    """From the library's object, whose fields are optional because other questions leave them out."""
    files = {}
    for sibling in info.siblings or ():
        checksum = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        inside = not sibling.rfilename.startswith("/") and ".." not in Path(sibling.rfilename).parts
        if sibling.size is None or not _CHECKSUM.fullmatch(checksum or "") or not inside:
            raise FetchFailed(f"the hub's answer about {name} cannot be used: {sibling.rfilename!r} has no checksum, no size or no place")
        files[sibling.rfilename] = RemoteFile(sibling.rfilename, sibling.size, checksum)
    if not COMMIT.fullmatch(info.sha or ""):
        raise FetchFailed(f"the hub's answer about {name} cannot be used: it names no commit")
    card = getattr(info, "card_data", None)
    license_word = card.get("license") if card is not None else None
    return Repository(
        name=info.id, revision=revision, commit=info.sha, files=files, license=license_word if isinstance(license_word, str) else ""
    )
