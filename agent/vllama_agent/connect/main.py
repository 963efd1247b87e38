"""The proxy's life: bind to loopback, try the server once, serve until a signal."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvloop
from aiohttp import web

from vllama_agent.connect import proxy
from vllama_agent.cors import Origins
from vllama_agent.server.runner import Runner
from vllama_core.address import LOOPBACK
from vllama_core.errors import ConfigError

log = logging.getLogger(__name__)

IDLE_SECONDS = 75.0
"""As the server's own: a connection that sends nothing is closed."""
GOODBYE_SECONDS = 5.0
"""Seconds that answers may take after a signal: whoever ends it waits."""
TRIAL_SECONDS = 15.0


def run(upstream: proxy.Upstream, *, port: int, origins: Origins) -> int:
    """Serve until SIGINT or SIGTERM; the exit status.

    :raises ConfigError: the port is taken.
    """
    return uvloop.run(_serve(upstream, port=port, origins=origins))


async def _serve(upstream: proxy.Upstream, *, port: int, origins: Origins) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with running(upstream, port=port, origins=origins) as url:
        log.info("listening on %s for %s", url, upstream.url)
        await ended.wait()
    log.info("stopped")
    return 0


@asynccontextmanager
async def running(upstream: proxy.Upstream, *, port: int, origins: Origins) -> AsyncIterator[str]:
    """The proxy on a socket of this machine; its address.

    :raises ConfigError: the port is taken.
    """
    async with proxy.new_session() as session:
        app = proxy.Proxy(upstream, origins, session).app()
        runner = Runner(app, shutdown_timeout=GOODBYE_SECONDS, keepalive_timeout=IDLE_SECONDS)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, LOOPBACK, port).start()
            except OSError as error:
                raise ConfigError(f"cannot listen on {LOOPBACK}:{port}: {error.strerror or error}; choose another with --port") from error
            trial = asyncio.create_task(_tried(upstream, session), name="try the server")
            try:
                yield "http://{}:{}".format(*runner.addresses[0][:2])
            finally:
                trial.cancel()
        finally:
            await runner.cleanup()


async def _tried(upstream: proxy.Upstream, session: aiohttp.ClientSession) -> None:
    """Say once what stands in the way, instead of at the first request; whatever it is may pass."""
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            headers = {"Authorization": f"Bearer {upstream.key()}"}
            ssl = True if upstream.tls is None else upstream.tls
            async with session.get(f"{upstream.url}/api/version", headers=headers, allow_redirects=False, ssl=ssl) as reply:
                text = await reply.text(errors="replace")
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("%s; requests will be tried all the same", proxy.unreachable(upstream.url, error))
        return
    if reply.status != 200 or not _is_ours(text):
        told = "it refuses the key" if reply.status == 401 else f"it answers {reply.status} at /api/version"
        log.warning("%s: %s; is it a vllama or Ollama server, and the key one of its own?", upstream.url, told)


def _is_ours(text: str) -> bool:
    try:
        return "version" in json.loads(text)
    except (ValueError, TypeError):
        return False
