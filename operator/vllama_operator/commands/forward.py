"""A port of this machine that leads to a pod, through the API server.

One WebSocket per connection, in Kubernetes' v4.channel.k8s.io: each message begins with the number of its channel, 0 for bytes and 1 for
errors, and the first of each channel repeats the port.
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ (connect GET requests to portforward of Pod)
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from kubernetes.aio import client
from kubernetes.aio.stream import WsApiClient

from vllama_core.errors import ConfigError, VllamaError

DATA, ERROR = b"\0", b"\1"
CHUNK = 64 << 10
PING_SECONDS = 20.0
"""Between pings: who is between us and the API server closes what is silent."""
CONNECT_SECONDS = 30.0
"""For the WebSocket to a pod; the kubelet is asked meanwhile."""
_Socket = Any
"""aiohttp's, as the official client hands it out."""


@asynccontextmanager
async def listening(
    configuration: client.Configuration, *, choose: Callable[[], Awaitable[tuple[str, str]]], target: int, port: int
) -> AsyncIterator[int]:
    """Connections are passed on while the block runs.

    :param choose: the namespace and name of a pod, for each connection anew: one may be replaced meanwhile.
    :param target: the pod's port.
    :param port: 0: any.
    :return: the port on 127.0.0.1.
    :raises ConfigError: the port is taken.
    """
    async with WsApiClient(configuration, heartbeat=PING_SECONDS) as api:  # type: ignore[no-untyped-call]
        core = client.CoreV1Api(api)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await _pass_on(core, await choose(), target, reader, writer)
            except (VllamaError, client.ApiException, OSError, TimeoutError) as error:
                print(f"vllama: a connection has ended: {error}", file=sys.stderr)
            finally:
                writer.close()

        try:
            server = await asyncio.start_server(serve, "127.0.0.1", port)
        except OSError as error:
            raise ConfigError(f"port {port} cannot be had: {error.strerror}; --port names another") from error
        async with server:
            yield server.sockets[0].getsockname()[1]


async def _pass_on(
    core: client.CoreV1Api, pod: tuple[str, str], port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    namespace, name = pod
    connecting: Any = await core.connect_get_namespaced_pod_portforward_without_preload_content(name, namespace, ports=str(port))
    async with asyncio.timeout(CONNECT_SECONDS):
        socket: _Socket = await connecting
    try:
        sending = asyncio.create_task(_send(reader, socket), name="to the pod")
        try:
            await _receive(socket, writer)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
    finally:
        await socket.close()


async def _send(reader: asyncio.StreamReader, socket: _Socket) -> None:
    with suppress(ConnectionError):  # who reads knows the reason
        while chunk := await reader.read(CHUNK):
            await socket.send_bytes(DATA + chunk)
    await socket.close()


async def _receive(socket: _Socket, writer: asyncio.StreamWriter) -> None:
    """:raises OSError: the pod refuses, or nobody listens on its port."""
    greeted: set[bytes] = set()
    async for message in socket:
        channel, content = message.data[:1], message.data[1:]
        if channel not in greeted:
            greeted.add(channel)
        elif channel == ERROR:
            raise OSError(content.decode("utf-8", "replace").strip())
        else:
            writer.write(content)
            await writer.drain()
