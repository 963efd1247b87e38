"""No probe holds up or ends the agent: not one that hangs, nor one that crashes."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest

from vllama_agent.hardware import looking
from vllama_agent.hardware.looking import Absent, Failed, Look, ask, look
from vllama_core.hardware import Outcome

PRINTS = "import json; print(json.dumps({'cards': 2}))"
SAYS_WHY = "import json; print(json.dumps({'failed': 'Driver Not Loaded'}))"
CRASHES = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
RAISES = "raise OSError('libcuda is broken')"
HANGS = "import threading; threading.Event().wait()"


def module(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that a child can run."""
    (folder / "reads_a_driver.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return "reads_a_driver"


def raises(error: Exception) -> NoReturn:
    raise error


def test_each_look_has_its_own_outcome() -> None:
    seen = look(
        [
            Look(name="cpu", read=lambda: (8, "eight cores"), seconds=5),
            Look(name="amd", read=lambda: raises(Absent("no card")), seconds=5),
            Look(name="nvidia", read=lambda: raises(Failed("GPU is lost")), seconds=5),
        ]
    )
    assert (seen["cpu"].reading, seen["cpu"].probe.outcome, seen["cpu"].probe.detail) == (8, Outcome.FOUND, "eight cores")
    assert (seen["amd"].reading, seen["amd"].probe.outcome, seen["amd"].probe.detail) == (None, Outcome.ABSENT, "no card")
    assert (seen["nvidia"].reading, seen["nvidia"].probe.outcome, seen["nvidia"].probe.detail) == (None, Outcome.FAILED, "GPU is lost")


def test_a_defect_of_ours_fails_that_look_only(caplog: pytest.LogCaptureFixture) -> None:
    seen = look(
        [
            Look(name="intel", read=lambda: raises(ZeroDivisionError("division by zero")), seconds=5),
            Look(name="cpu", read=lambda: (1, ""), seconds=5),
        ]
    )
    assert seen["intel"].probe.detail == "looking at intel failed: ZeroDivisionError: division by zero"
    assert seen["cpu"].reading == 1
    assert "looking at intel failed" in caplog.text


def test_a_driver_that_hangs_costs_its_time_limit_and_no_more() -> None:
    end = threading.Event()

    def hangs() -> tuple[Any, str]:
        end.wait()
        return None, ""

    seen = look([Look(name="amd", read=hangs, seconds=0.05), Look(name="cpu", read=lambda: (1, ""), seconds=5)])
    end.set()
    assert seen["amd"].probe.outcome is Outcome.FAILED
    assert "took longer than 0.05 s; its driver may hang" in seen["amd"].probe.detail
    assert seen["cpu"].reading == 1


def test_a_childs_answer_is_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(module(tmp_path, PRINTS, monkeypatch), seconds=30) == {"cards": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SAYS_WHY, "Driver Not Loaded"),
        (CRASHES, "reads_a_driver ended with signal 11: it printed nothing"),
        (RAISES, "reads_a_driver ended with code 1: OSError: libcuda is broken"),
    ],
)
def test_a_child_that_fails_leaves_a_sentence(text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failed) as caught:
        ask(module(tmp_path, text, monkeypatch), seconds=30)
    assert str(caught.value) == words


def test_a_child_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(tmp_path, HANGS, monkeypatch)
    started: list[Any] = []
    popen = looking.subprocess.Popen
    monkeypatch.setattr(looking.subprocess, "Popen", lambda *words, **options: started.append(popen(*words, **options)) or started[0])
    with pytest.raises(Failed, match=r"took longer than 0\.2 s and was stopped; the driver may hang"):
        ask(name, seconds=0.2)
    assert started[0].returncode == -9
    assert started[0].args[0] == sys.executable
