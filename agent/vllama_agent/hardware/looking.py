"""Look at several kinds of hardware at once; none of them may hold up or end the agent.

What only reads files runs in a thread: a driver that hangs keeps the thread, not us. What calls a driver's library runs in a child
process (`ask`): such libraries have been seen to crash, and a thread within one cannot be stopped.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vllama_agent import child_environment
from vllama_core.hardware import Outcome, Probe

log = logging.getLogger(__name__)

LAST_WORDS = 1.0
"""Seconds that a killed child may take to be gone; one that sits in a driver's call takes for ever."""


class Absent(Exception):
    """There is nothing to look at; the sentence says why."""


class Failed(Exception):
    """There ought to have been an answer; the sentence says what went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One kind of hardware.

    :ivar read: the reading and a sentence on it; raises `Absent` or `Failed`.
    :ivar seconds: until it counts as failed.
    """

    name: str
    read: Callable[[], tuple[Any, str]]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A reading (None: there is none), and how it went."""

    reading: Any
    probe: Probe


def look(looks: Sequence[Look]) -> dict[str, Seen]:
    """What each one found, by its name."""
    started = [(each, _start(each)) for each in looks]
    begin = time.monotonic()
    return {each.name: _wait(each, answer, begin) for each, answer in started}


def _start(each: Look) -> queue.SimpleQueue[Seen]:
    answer: queue.SimpleQueue[Seen] = queue.SimpleQueue()

    def run() -> None:
        answer.put(_read(each))

    # a daemon: the interpreter does not wait for it at the end
    threading.Thread(target=run, name=f"look at {each.name}", daemon=True).start()
    return answer


def _read(each: Look) -> Seen:
    try:
        reading, detail = each.read()
    except Absent as absent:
        return _none(each, Outcome.ABSENT, str(absent))
    except Failed as failed:
        return _none(each, Outcome.FAILED, str(failed))
    except Exception as error:
        log.exception("looking at %s failed", each.name)
        return _none(each, Outcome.FAILED, f"looking at {each.name} failed: {type(error).__name__}: {error}")
    return Seen(reading=reading, probe=Probe(name=each.name, outcome=Outcome.FOUND, detail=detail))


def _wait(each: Look, answer: queue.SimpleQueue[Seen], begin: float) -> Seen:
    try:
        return answer.get(timeout=max(0.0, begin + each.seconds - time.monotonic()))
    except queue.Empty:
        return _none(each, Outcome.FAILED, f"looking at {each.name} took longer than {each.seconds:g} s; its driver may hang")


def _none(each: Look, outcome: Outcome, detail: str) -> Seen:
    return Seen(reading=None, probe=Probe(name=each.name, outcome=outcome, detail=detail))


def ask(module: str, *, seconds: float) -> dict[str, Any]:
    """The JSON object that a module of ours prints when it is run.

    :raises Failed: it crashed, hung, or says itself why there is none (by the key ``failed``).
    """
    command, environment = [sys.executable, "-m", module], child_environment.without_secrets(os.environ)
    child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        printed, complaint = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        _let_go(child)
        raise Failed(f"{module} took longer than {seconds:g} s and was stopped; the driver may hang") from None
    if child.returncode != 0:
        last = (complaint.strip().splitlines() or ["it printed nothing"])[-1]
        raise Failed(f"{module} ended with {_describe(child.returncode)}: {last}")
    answer: dict[str, Any] = json.loads(printed)
    if "failed" in answer:
        raise Failed(answer["failed"])
    return answer


def _let_go(child: subprocess.Popen[str]) -> None:
    try:
        child.communicate(timeout=LAST_WORDS)
    except subprocess.TimeoutExpired:
        log.warning("process %d does not end: a driver holds it; it is left behind", child.pid)


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"
