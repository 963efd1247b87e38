"""A light HTTP client for the commands. `http.client` and nothing more: a large client library would take longer to import than
`vllama list` may take in all.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, BinaryIO

from vllama_core import address
from vllama_core.errors import ConfigError, VllamaError

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
"""For lists and versions, which need no model: a server that is silent for so long hangs."""


class ServerError(VllamaError):
    """The server refused, with its own sentence.

    :ivar status: HTTP's.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NoServer(VllamaError):
    """Nothing answers there."""


class Client:
    """A server's JSON routes.

    :param key: sent as a bearer token.
    """

    def __init__(self, where: address.Address, key: str | None = None) -> None:
        self._where = where
        self._key = key

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    @property
    def url(self) -> str:
        """As people write it."""
        return self._where.url

    def get(self, path: str) -> Any:
        """A route's answer."""
        return self.exchange("GET", path)[0]

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """A route's answer to a body."""
        return self.exchange("POST", path, body)[0]

    def delete(self, path: str, body: Mapping[str, Any]) -> Any:
        """A route's answer to a deletion."""
        return self.exchange("DELETE", path, body)[0]

    def has_blob(self, digest: str) -> bool:
        """Whether the server has these bytes.

        :param digest: with ``sha256:``.
        """
        with closing(self._connection()) as connection:
            try:
                self._send(connection, "HEAD", f"/api/blobs/{digest}", None)
            except ServerError as error:
                if error.status == 404:
                    return False
                raise
        return True

    def upload(self, digest: str, file: BinaryIO, size: int) -> None:
        """Send a file's bytes.

        :raises ServerError: they are not those of the digest, or there is no room for them.
        """
        with closing(self._connection()) as connection:
            self._send(connection, "POST", f"/api/blobs/{digest}", file, {"Content-Length": str(size)})

    def exchange(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[Any, Mapping[str, str]]:
        """An answer and its headers; None for an empty one.

        :raises NoServer: nothing answers there.
        :raises ServerError: it refused.
        """
        with closing(self._connection()) as connection:
            response = self._send(connection, method, path, _encoded(body))
            try:
                text = response.read()
                return json.loads(text) if text else None, dict(response.headers.items())
            except (ValueError, http.client.HTTPException, OSError) as error:
                raise NoServer(f"{self.url} answered with something that is no JSON; is it a vllama or Ollama server?") from error

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The objects of a streamed answer, as they come. Leaving early closes the connection, which ends the work at the server.

        :raises NoServer: nothing answers there, or it went away.
        :raises ServerError: it refused, before or in the middle.
        """
        with closing(self._connection()) as connection:
            response = self._send(connection, "POST", path, _encoded(body))
            try:
                for line in response:
                    if line.strip():
                        yield _checked(json.loads(line))
            except (http.client.HTTPException, OSError, ValueError) as error:
                raise NoServer(f"the connection to {self.url} broke: {error or type(error).__name__}") from error

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._where.scheme == "https" else http.client.HTTPConnection
        return kind(self._where.connectable, self._where.effective_port, timeout=CONNECT_SECONDS)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | BinaryIO | None,
        more: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json", "Content-Type": "application/json", **(more or {})}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.connect()
            # what is posted may load a model, and that is answered when it is loaded
            connection.sock.settimeout(ANSWER_SECONDS if method == "GET" else None)
            connection.request(method, self._where.path + path, body, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or error or type(error).__name__
            raise NoServer(f"no server answers at {self.url} ({why}); start one with `vllama serve`, or set OLLAMA_HOST") from error
        if response.status >= 400:
            raise _refusal(response)
        return response


def _encoded(body: Mapping[str, Any] | None) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


def _refusal(response: http.client.HTTPResponse) -> ServerError:
    text = response.read(1 << 16).decode("utf-8", "replace")
    try:
        message = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        message = text.strip() or f"the server answered {response.status} {response.reason}"
    if response.status == 401:
        message = f"{message}; set VLLAMA_API_KEY to a key of that server"
    return ServerError(str(message), response.status)


def _checked(event: Any) -> dict[str, Any]:
    if not isinstance(event, dict):
        raise ValueError("a line of the answer is no object")
    if "error" in event:
        raise ServerError(str(event["error"]), 200)
    return event


def from_environment(environment: Mapping[str, str] = os.environ) -> Client:
    """The server that VLLAMA_HOST or OLLAMA_HOST names, with the key of VLLAMA_API_KEY or OLLAMA_API_KEY.

    :raises ConfigError: the variable holds no address.
    """
    key = environment.get("VLLAMA_API_KEY") or environment.get("OLLAMA_API_KEY") or None
    for variable in ("VLLAMA_HOST", "OLLAMA_HOST"):
        text = environment.get(variable, "").strip().strip("\"'")
        if text:
            try:
                return Client(address.parse(text), key)
            except ValueError as error:
                raise ConfigError(f"{variable} is {text!r}: {error}") from None
    return Client(address.Address(), key)
