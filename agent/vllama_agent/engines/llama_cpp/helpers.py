"""The agent's side of the text helper: one at work, one loaded spare, jobs in order, a deadline for each."""

from __future__ import annotations

import array
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vllama_agent.engines.llama_cpp.link import LinkClosed
from vllama_agent.engines.llama_cpp.spares import HELPER, Spares, Started
from vllama_core.errors import EngineFailed, InvalidRequest

JOB_SECONDS = 10.0
"""An honest prompt takes milliseconds; what needs more is a hostile template, and others wait behind it."""
GRAMMAR_SECONDS = 2.0
"""An honest schema takes milliseconds too, and what passes here is compiled again in the worker, beside the running streams."""
START_SECONDS = 60.0
"""A vocabulary is read in about a second; a cold disk may need more."""
SPARE_SECONDS = 2.0
"""Until the first spare is started: the worker is still loading, and then the first request has the cores to itself."""
UNLOADING = "the model is being unloaded"
TRIES = 3
"""A helper may have been killed from outside between two jobs, and its spare too; a job that ends a third one is to blame itself."""


class _Helper:
    """One helper process."""

    def __init__(self, started: Started) -> None:
        self._child = started.child
        self._link = started.link

    @classmethod
    async def load(cls, started: Started, files: Sequence[Path], chat_family: str | None) -> _Helper:
        """Give a process the vocabulary.

        :raises EngineFailed: it did not take it.
        """
        helper = cls(started)
        try:
            async with asyncio.timeout(START_SECONDS):
                hello = await helper.ask({"files": [str(file) for file in files], "chat_family": chat_family})
        except (LinkClosed, TimeoutError):
            await helper.stop()
            raise EngineFailed("the text helper of llama.cpp did not start; the lines above say why") from None
        except asyncio.CancelledError:
            await helper.stop()
            raise
        if hello["t"] == "failed":
            await helper.stop()
            raise EngineFailed(hello["message"])
        return helper

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self._link.send(message)
        return await self._link.next()

    def kill(self) -> None:
        self._child.kill()

    async def stop(self) -> None:
        await self._child.stop()


class TextHelpers:
    """Jobs for a model's text helper.

    :param spares: the agent's processes that wait, for a helper that is wanted at once.
    :param chat_family: see `config.LoadConfig`.
    """

    def __init__(self, files: Sequence[Path], spares: Spares, *, chat_family: str | None = None) -> None:
        self._files = files
        self._spares = spares
        self._chat_family = chat_family
        self._active: _Helper | None = None
        self._killed: list[_Helper] = []
        """Those whose end nobody has waited for yet."""
        self._closed = False
        self._spare: asyncio.Task[_Helper] | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Load one helper, and a spare behind it.

        :raises EngineFailed: it cannot be loaded.
        """
        self._active = await self._start_new()
        self._load_spare(after=SPARE_SECONDS)

    async def stop(self) -> None:
        """End both. A job at work fails, and none is taken any more."""
        self._closed = True
        self._abandon()
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.cancel()
            await asyncio.wait({spare})  # it has limits of its own
            if not spare.cancelled() and spare.exception() is None:
                self._killed.append(spare.result())
        await self._reap()

    async def job(self, message: dict[str, Any]) -> dict[str, Any]:
        """Run one job.

        :raises InvalidRequest: it took too long or too much memory, or the vocabulary or template refused it.
        :raises EngineFailed: no helper can be had.
        """
        async with self._turn:
            for _ in range(TRIES):
                try:
                    reply = await self._ask(message)
                    break
                except LinkClosed:
                    await self._replace()
            else:
                raise InvalidRequest(f"{_doing(message)} failed: the text helper died of it {TRIES} times", field=_field(message))
        if "invalid" in reply:
            raise InvalidRequest(reply["invalid"], field=_field(message))
        return reply

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._active is None:
            await self._replace()
        active = self._active
        assert active is not None, "it was replaced"
        seconds = GRAMMAR_SECONDS if message["t"] == "grammar" else JOB_SECONDS
        try:
            async with asyncio.timeout(seconds):
                return await active.ask(message)
        except TimeoutError:
            await self._replace()
            sentence = f"{_doing(message)} took longer than {seconds:g} s and was stopped"
            raise InvalidRequest(sentence, field=_field(message)) from None
        except asyncio.CancelledError:
            self._abandon()  # its reply is still to come and would be taken for the next job's
            raise

    def _abandon(self) -> None:
        helper, self._active = self._active, None
        if helper is not None:
            helper.kill()
            self._killed.append(helper)

    async def _reap(self) -> None:
        killed, self._killed = self._killed, []
        for helper in killed:
            await helper.stop()

    async def _replace(self) -> None:
        self._abandon()
        await self._reap()
        spare, self._spare = self._spare, None
        try:
            helper = await spare if spare else await self._start_new()
        except EngineFailed:
            helper = await self._start_new()
        if self._closed:
            await helper.stop()
            raise EngineFailed(UNLOADING)
        self._active = helper
        self._load_spare()

    async def _start_new(self) -> _Helper:
        if self._closed:
            raise EngineFailed(UNLOADING)
        return await self._load(await self._spares.take(HELPER))

    def _load_spare(self, *, after: float = 0.0) -> None:
        self._spare = asyncio.create_task(self._start_later(after), name="text helper spare")

    async def _start_later(self, seconds: float) -> _Helper:
        await asyncio.sleep(seconds)
        if self._closed:
            raise EngineFailed(UNLOADING)
        return await self._load(await HELPER.start())

    async def _load(self, started: Started) -> _Helper:
        return await _Helper.load(started, self._files, self._chat_family)


def _doing(message: dict[str, Any]) -> str:
    return f"compiling {message['field']}" if message["t"] == "grammar" else "rendering and tokenising the prompt"


def _field(message: dict[str, Any]) -> str:
    if message["t"] == "grammar":
        return str(message["field"])
    return "messages" if message.get("messages") is not None else "prompt"


def ids(packed: bytes) -> array.array[int]:
    """Token ids of a frame."""
    tokens = array.array("i")
    tokens.frombytes(packed)
    return tokens
