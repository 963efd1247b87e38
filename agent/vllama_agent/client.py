"""A caller of the server for the command line: the standard library only, so that `list` and `ps` start at once."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from vllama_core import hosts
from vllama_core.errors import ConfigError, VllamaError

CONNECT_SECONDS = 10.0


class ServerError(VllamaError):
    """The server is not there, or refused; a sentence for people.

    :ivar status: of HTTP; 0 if there was no answer.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Calls one server; every call has its own connection, so that closing it cancels what runs there."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url
        self._parts = urlsplit(url)
        self._key = key

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Client:
        """VLLAMA_HOST, else OLLAMA_HOST, else this machine; the key from VLLAMA_API_KEY, else OLLAMA_API_KEY.

        :raises ConfigError: an address that is none.
        """
        url = hosts.Address("http", "127.0.0.1", hosts.PORT).url
        for name in ("VLLAMA_HOST", "OLLAMA_HOST"):
            value = environment.get(name, "").strip(" \t\"'")
            if value:
                try:
                    url = hosts.parse(value).url
                except ValueError as error:
                    raise ConfigError(f"{name} is {value!r}; it must be {error}") from None
                break
        key = environment.get("VLLAMA_API_KEY") or environment.get("OLLAMA_API_KEY")
        return cls(url, (key or "").strip() or None)

    def get(self, path: str) -> Any:
        """The JSON of a reply."""
        with self._call("GET", path) as response:
            return json.loads(response.read())

    def header(self, path: str, name: str) -> str | None:
        """One header of a reply."""
        with self._call("GET", path) as response:
            return response.getheader(name)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of a reply."""
        with self._call("POST", path, body) as response:
            return json.loads(response.read())

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The objects of an NDJSON reply, as they come. Closing the iterator cancels the request.

        :raises ServerError: also when an error comes in the middle, or the connection breaks off.
        """
        finished = False
        with self._call("POST", path, body) as response:
            for line in response:
                if line.strip():
                    piece = json.loads(line)
                    if "error" in piece:
                        raise ServerError(_sentence(piece, "the server reported an error"))
                    finished = bool(piece.get("done"))
                    yield piece
        if not finished:
            raise ServerError("the server broke off in the middle of its answer")

    @contextmanager
    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "127.0.0.1", self._parts.port, timeout=CONNECT_SECONDS)
        headers = {"Content-Type": "application/json", "User-Agent": "vllama"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            try:
                connection.connect()
            except OSError as error:
                raise ServerError(
                    f"no server answers at {self.url} ({error.strerror or error}); start one with `vllama serve`, or set VLLAMA_HOST"
                ) from None
            connection.sock.settimeout(None)  # a model may take minutes to load
            try:
                connection.request(method, self._parts.path + path, None if body is None else json.dumps(body).encode(), headers)
                response = connection.getresponse()
                if response.status >= 400:
                    raise _refusal(response)
                yield response
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise ServerError(f"the server at {self.url} did not answer as expected: {error or type(error).__name__}") from None
        finally:
            connection.close()


def _refusal(response: http.client.HTTPResponse) -> ServerError:
    try:
        body = json.loads(response.read(1 << 20))
    except ValueError:
        body = None
    message = _sentence(body, f"the server answered {response.status} {response.reason}")
    if response.status == 401:
        message += "; set VLLAMA_API_KEY to a key of the server"
    return ServerError(message, status=response.status)


def _sentence(body: Any, otherwise: str) -> str:
    """The error of a body, in Ollama's shape or OpenAI's."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) and error else otherwise
