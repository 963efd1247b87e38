"""The agent's side of the text helper: one at work, one loaded spare, jobs in order, a deadline for each."""

from __future__ import annotations

import array
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vllama_agent.engines.llama_cpp.link import Link, LinkClosed
from vllama_agent.engines.process import Child
from vllama_core.errors import EngineFailed, InvalidRequest

JOB_SECONDS = 10.0
"""An honest prompt takes milliseconds; what needs more is a hostile template, and others wait behind it."""
START_SECONDS = 60.0
"""A vocabulary is read in about a second; a cold disk may need more."""
TRIES = 3
"""A helper may have been killed from outside between two jobs, and its spare too; a job that ends a third one is to blame itself."""


class _Helper:
    """One helper process."""

    def __init__(self, child: Child, link: Link) -> None:
        self._child = child
        self._link = link

    @classmethod
    async def start(cls, files: Sequence[Path]) -> _Helper:
        link = Link()
        helper = cls(await Child.start(link, sys.executable, "-m", "vllama_agent.engines.llama_cpp.text"), link)
        try:
            async with asyncio.timeout(START_SECONDS):
                hello = await helper.ask({"files": [str(file) for file in files]})
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

    async def stop(self) -> None:
        await self._child.stop()


class TextHelpers:
    """Jobs for a model's text helper."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._active: _Helper | None = None
        self._spare: asyncio.Task[_Helper] | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Load one helper, and a spare behind it.

        :raises EngineFailed: it cannot be loaded.
        """
        self._active = await _Helper.start(self._files)
        self._load_spare()

    async def stop(self) -> None:
        """End both."""
        active, self._active = self._active, None
        if active:
            await active.stop()
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.cancel()
            try:
                await (await spare).stop()
            except (asyncio.CancelledError, EngineFailed):
                return

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
                raise InvalidRequest(f"the prompt could not be rendered: the text helper died of it {TRIES} times")
        if "invalid" in reply:
            raise InvalidRequest(reply["invalid"], field="messages" if message.get("messages") is not None else "prompt")
        return reply

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._active is None:
            raise EngineFailed("the model is being unloaded")
        try:
            async with asyncio.timeout(JOB_SECONDS):
                return await self._active.ask(message)
        except TimeoutError:
            await self._replace()
            raise InvalidRequest(f"rendering and tokenising the prompt took longer than {JOB_SECONDS:g} s and was stopped") from None
        except asyncio.CancelledError:
            # the reply is still to come and would be taken for the next job's
            await asyncio.shield(self._replace())
            raise

    async def _replace(self) -> None:
        dead, self._active = self._active, None
        if dead:
            await dead.stop()
        spare, self._spare = self._spare, None
        try:
            self._active = await spare if spare else await _Helper.start(self._files)
        except EngineFailed:
            self._active = await _Helper.start(self._files)
        self._load_spare()

    def _load_spare(self) -> None:
        self._spare = asyncio.create_task(_Helper.start(self._files), name="text helper spare")


def ids(packed: bytes) -> array.array[int]:
    """Token ids of a frame."""
    tokens = array.array("i")
    tokens.frombytes(packed)
    return tokens
