"""Whatever a test hangs in, its limit ends it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from time_limit import limited


def wait_for_an_event() -> None:
    threading.Event().wait(60)


def wait_for_a_loop() -> None:
    asyncio.run(asyncio.sleep(60))


def wait_for_a_process() -> None:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=60, check=True)


def wait_for_bytes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)


@pytest.mark.parametrize("hang", [wait_for_an_event, wait_for_a_loop, wait_for_a_process, wait_for_bytes])
def test_what_hangs_fails(hang: Callable[[], None]) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"it was not over after 0\.2 s"), limited(0.2):
        hang()


def test_what_is_over_in_time_is_left_alone() -> None:
    with limited(30), limited(60):
        assert sum(range(10)) == 45
