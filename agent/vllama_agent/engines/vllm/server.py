"""One process of vLLM's server: from its start to its first token, and to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from vllama_agent.engines.openai_events import Refused
from vllama_agent.engines.openai_upstream import Upstream
from vllama_agent.engines.program import Program
from vllama_agent.engines.vllm import arguments, body, explain, exposition
from vllama_agent.engines.vllm.arguments import Settings
from vllama_core.errors import EngineFailed

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""Between looks whether a starting server answers."""
WATCH_SECONDS = 5.0
"""Between looks at a running one, and until it has to answer one. Its exposition costs it ten milliseconds."""
MOST_MISSED = 12
"""Looks without an answer after which a server that lives counts as hung: a minute and more."""
STOP_GRACE = 10.0
"""Seconds that a server may take to end by itself, so that it removes its shared memory, before it is killed."""
DEATH_SECONDS = 3.0
"""How long a broken answer waits to learn why the server died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a server is started from.

    :ivar python: the interpreter that has vLLM.
    :ivar model: the model's folder.
    :ivar caches: where vLLM keeps what it compiles.
    :ivar needed: bytes that sizing reckoned with; 0 = nobody reckoned.
    """

    python: Path
    model: Path
    settings: Settings
    caches: Path
    needed: int = 0


class Server:
    """A started server. What it prints is told to `on_line`, and kept for the reason of its death."""

    def __init__(self, launch: Launch, program: Program, upstream: Upstream, place: Path) -> None:
        self._launch = launch
        self._program = program
        self._place = place
        self._stopped = False
        self.upstream = upstream

    @classmethod
    async def start(cls, launch: Launch, *, on_line: Callable[[str], None]) -> Server:
        """Start it; it answers nothing yet."""
        place = Path(tempfile.mkdtemp(prefix="vllama-"))  # only we may enter it; a short path, as sockets' are bounded
        key, socket = secrets.token_urlsafe(32), place / "s"
        command = arguments.command(launch.python, launch.model, socket, launch.settings)
        log.info("starting vLLM: %s", " ".join(command[3:]))
        environment = arguments.environment(os.environ, launch.settings, key=key, caches=launch.caches)
        try:
            program = await Program.start(command, environment=environment, on_line=on_line)
        except OSError as error:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
            raise EngineFailed(f"vLLM cannot be started: {error}") from error
        return cls(launch, program, Upstream(socket, key), place)

    async def answers(self) -> None:
        """Until it has made one token: its server answers before the kernels of the first request are compiled.

        Whoever calls sets a limit.

        :raises EngineFailed: it died, or refused.
        """
        loading = f"while loading {self._launch.model.name}"
        while not await self._is_up():
            if await self._ends_within(LOOK_SECONDS):
                raise EngineFailed(await self.death(loading))
        first = {**body.completion([1]), "max_tokens": 1, "temperature": 0}
        try:
            await self.upstream.post(body.COMPLETIONS, first, seconds=None)
        except Refused as error:
            raise await self.why(EngineFailed(f"vLLM refused its first request: {error}"), loading) from None
        except EngineFailed as error:
            raise await self.why(error, loading) from None

    async def identity(self) -> tuple[str, dict[str, Any]]:
        """Its version, and what it says of the model.

        :raises EngineFailed: it says neither.
        """
        try:
            told = orjson.loads(await self.upstream.get("/version"))["version"]
            [model] = orjson.loads(await self.upstream.get("/v1/models"))["data"]
        except (Refused, KeyError, ValueError) as error:
            raise EngineFailed(f"vLLM did not tell what it runs ({type(error).__name__})") from None
        return told, model

    async def watched(self, on_metrics: Callable[[dict[str, float]], None]) -> str:
        """Until it dies or hangs; a sentence on which.

        :param on_metrics: told its metrics at each look.
        """
        missed = 0
        while missed < MOST_MISSED:
            if await self._ends_within(WATCH_SECONDS):
                return await self.death("while serving")
            try:
                on_metrics(exposition.read(await self.upstream.get("/metrics", seconds=WATCH_SECONDS)))
                missed = 0
            except (EngineFailed, Refused) as error:
                missed += 1
                log.warning("vLLM did not tell its metrics: %s", error, extra={"missed": missed})
        return f"vLLM lives, but has not answered {missed} looks in a row"

    async def why(self, error: EngineFailed, when: str = "while serving") -> EngineFailed:
        """What a broken answer is told: why the server died, where it did."""
        if self._stopped:
            return EngineFailed("the model was unloaded")
        if await self._ends_within(DEATH_SECONDS):
            return EngineFailed(await self.death(when))
        return error

    async def death(self, when: str) -> str:
        """Why it died, from its last lines."""
        code = await self._program.ended()
        return f"vLLM died {when}: {explain.death(self._program.tail, code=code, needed=self._launch.needed or None)}"

    @property
    def last_lines(self) -> tuple[str, ...]:
        """What it said last."""
        return tuple(self._program.tail)

    async def stop(self) -> None:
        """End it and every process of it; answers break off."""
        self._stopped = True
        await self.upstream.close()
        await self._program.stop(grace=STOP_GRACE)
        await asyncio.to_thread(shutil.rmtree, self._place, ignore_errors=True)

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._program.ended()
                return True
        return False

    async def _is_up(self) -> bool:
        with contextlib.suppress(EngineFailed, Refused):
            await self.upstream.get("/health", seconds=WATCH_SECONDS)
            return True
        return False
