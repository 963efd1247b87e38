"""Programs of somebody else's under a keeper."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from vllama_agent.engines.process import ending
from vllama_agent.engines.program import Program

SLEEPS = "import time\nprint('here', flush=True)\ntime.sleep(60)"


async def test_a_program_that_is_asked_to_end_ends_by_that_signal_and_is_not_killed() -> None:
    here = asyncio.Event()
    program = await Program.start([sys.executable, "-c", SLEEPS], environment=os.environ, on_line=lambda _line: here.set())
    async with asyncio.timeout(30):
        await here.wait()
        await program.stop(grace=30)
        assert ending(await program.ended()) == f"signal {signal.SIGTERM:d}"
