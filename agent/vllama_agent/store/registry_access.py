"""Access to a repository of an OCI registry: none, a password, or a token that ends after minutes and is then asked for anew.

https://distribution.github.io/distribution/spec/auth/token/, https://distribution.github.io/distribution/spec/auth/oauth/
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import orjson

from vllama_agent.store import registry_keys, remote
from vllama_agent.store.origin import CONNECT_SECONDS, Access
from vllama_agent.store.registry_keys import Key
from vllama_core.errors import AccessDenied, FetchFailed
from vllama_core.storageref import DOCKER_HUB, OciRef

ANSWER_SECONDS = 30.0
"""For one question to the registry or to its service for tokens."""
SHORTEST_TOKEN = 60.0
"""Seconds that a token lasts if nobody says how long, as the protocol has it."""
EARLY = 0.8
"""Of a token's life, after which it is not taken for another file."""
LARGEST_ANSWER = 1 << 20
"""Bytes. A token has some thousand."""
_CHALLENGE = re.compile(r"\s*(?P<scheme>Bearer|Basic)\b(?P<parameters>.*)", re.IGNORECASE | re.DOTALL)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry wants. RFC 9110, 11.6.1

    :ivar scheme: ``bearer`` or ``basic``.
    """

    scheme: str
    realm: str = ""
    service: str = ""


def challenge(header: str) -> Challenge | None:
    """Of a WWW-Authenticate header; None: it holds none that is known."""
    found = _CHALLENGE.match(header)
    if found is None:
        return None
    parameters = {key.lower(): value for key, value in _PARAMETER.findall(found["parameters"])}
    return Challenge(found["scheme"].lower(), parameters.get("realm", ""), parameters.get("service", ""))


def base_url(ref: OciRef, *, insecure: bool) -> str:
    """The address below which a reference's repository is."""
    host = "registry-1.docker.io" if ref.registry == DOCKER_HUB else ref.registry
    return f"{'http' if insecure else 'https'}://{host}/v2/{ref.repository}"


class RegistryAccess:
    """Access to one repository. What was had is used again while it lasts."""

    def __init__(self, session: aiohttp.ClientSession, ref: OciRef, *, insecure: bool = False) -> None:
        self._session = session
        self._ref = ref
        self._insecure = insecure
        self._base = base_url(ref, insecure=insecure)
        self._headers: dict[str, str] | None = None
        self._ends = float("inf")
        self._asking = asyncio.Lock()

    async def headers(self, refused: Access | None = None) -> dict[str, str]:
        """What requests are made with.

        :param refused: what the registry does not take any more.
        :raises AccessDenied: the registry gives no access.
        :raises FetchFailed: it cannot be asked.
        """
        async with self._asking:
            is_refused = refused is not None and self._headers is not None and self._headers.items() <= refused.headers.items()
            if self._headers is None or is_refused or asyncio.get_running_loop().time() > self._ends:
                self._headers = await self._had()
            return self._headers

    async def sign(self, url: str, headers: Mapping[str, str], refused: Access | None) -> Access:
        """As `Origin.sign` wants it, for one address.

        :param headers: what is sent beside the access.
        """
        return Access(url, {**headers, **await self.headers(refused)})

    @property
    def denied(self) -> str:
        """What to do where access is refused."""
        return f"access is refused; log in with `docker login {self._ref.registry}` as a user who may pull {self._ref.repository}"

    async def _had(self) -> dict[str, str]:
        wants, self._ends = await self._wants(), float("inf")
        if wants is None:
            return {}
        key = await asyncio.to_thread(registry_keys.find, self._ref.registry, os.environ)
        if wants.scheme == "bearer":
            return {"Authorization": f"Bearer {await self._token(wants, key)}"}
        if key is None:
            raise AccessDenied(f"{self._ref}: {self.denied}")
        return {"Authorization": _basic(key)}

    async def _wants(self) -> Challenge | None:
        """Asked by a request for the manifest itself: some registries let everybody see their entrance and nothing more."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            async with self._session.head(f"{self._base}/manifests/{self._ref.reference}", timeout=timeout) as answer:
                if answer.status != 401:
                    return None
                found = challenge(answer.headers.get("WWW-Authenticate", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise FetchFailed(f"{self._base} cannot be asked: {remote.why(error)}") from error
        if found is None:
            raise AccessDenied(f"{self._ref}: {self.denied}")
        return found

    async def _token(self, wants: Challenge, key: Key | None) -> str:
        """Of the service that the registry names. Credentials are sent to it over TLS only, unless plain HTTP was asked for."""
        if not wants.realm.startswith("https://") and not (self._insecure and wants.realm.startswith("http://")):
            raise FetchFailed(f"{self._ref}: the registry sends to {wants.realm!r} for a token, which is no https:// address")
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        fields = {"service": wants.service, "scope": f"repository:{self._ref.repository}:pull"}
        started = asyncio.get_running_loop().time()
        if key is not None and key.identity_token:
            more = {"grant_type": "refresh_token", "refresh_token": key.identity_token, "client_id": "vllama"}
            request = self._session.post(wants.realm, data=fields | more, timeout=timeout, allow_redirects=False)
        else:
            headers = {"Authorization": _basic(key)} if key is not None else {}
            request = self._session.get(wants.realm, params=fields, headers=headers, timeout=timeout, allow_redirects=False)
        try:
            async with request as answer:
                if answer.status in (400, 401, 403):
                    raise AccessDenied(f"{self._ref}: {self.denied} (HTTP {answer.status})")
                if answer.status != 200:
                    raise FetchFailed(f"{wants.realm.partition('?')[0]} gives no token for {self._ref}: HTTP {answer.status}")
                told = orjson.loads(await remote.up_to(answer.content, LARGEST_ANSWER))
            token = str(told.get("token") or told["access_token"])
            self._ends = started + EARLY * max(float(told.get("expires_in") or 0), SHORTEST_TOKEN)
            return token
        except (aiohttp.ClientError, TimeoutError) as error:
            raise FetchFailed(f"{wants.realm.partition('?')[0]} cannot be asked for a token: {remote.why(error)}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FetchFailed(f"{wants.realm.partition('?')[0]} gave no token for {self._ref}: {type(error).__name__}") from None


def _basic(key: Key) -> str:
    return "Basic " + base64.b64encode(f"{key.user}:{key.password}".encode()).decode()
