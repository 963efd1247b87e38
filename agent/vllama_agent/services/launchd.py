"""A launchd agent. Keys as in launchd.plist(5), commands as in launchctl(1)."""

from __future__ import annotations

import plistlib
import time
from collections.abc import Callable
from pathlib import Path

from vllama_agent.services.base import OPEN_FILES, Ask, Service, Status, must
from vllama_core.errors import ConfigError

LABEL = "dev.vllama.agent"
ENDING_SECONDS = 30.0
"""How long `start` waits for an older agent to end: longer than an idle one takes."""
LOOK_SECONDS = 0.5
NOT_LOADED = (3, 113)
"""`launchctl bootout` and `print` of a service that is not loaded."""


class Launchd:
    """See `base.Manager`.

    :param uid: of the person whose graphical session it belongs to.
    :param sleep: seconds to wait between two looks.
    """

    def __init__(self, home: Path, uid: int, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.file = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        self._log = home / "Library" / "Logs" / "vllama.log"
        self._domain = f"gui/{uid}"
        self._sleep = sleep

    def render(self, service: Service) -> bytes:
        service.check()
        return plistlib.dumps(
            {
                "Label": LABEL,
                "ProgramArguments": list(service.command),
                "EnvironmentVariables": service.environment,
                "WorkingDirectory": str(service.folder),
                "RunAtLoad": True,
                # again after a crash, not after an end in order
                "KeepAlive": {"SuccessfulExit": False},
                # SIGKILL so many seconds after SIGTERM; launchd's own default is 20
                "ExitTimeOut": service.stop_seconds,
                # else launchd holds back a background program's CPU and disk
                "ProcessType": "Interactive",
                "SoftResourceLimits": {"NumberOfFiles": OPEN_FILES},
                "HardResourceLimits": {"NumberOfFiles": OPEN_FILES},
                "StandardOutPath": str(self._log),
                "StandardErrorPath": str(self._log),
            }
        )

    def start(self, ask: Ask) -> str:
        self.stop(ask)
        self._wait_for_end(ask)
        must(ask(["launchctl", "bootstrap", self._domain, str(self.file)]), f"starting {LABEL}")
        return f"it runs while you are logged in; its log is {self._log}"

    def stop(self, ask: Ask) -> None:
        answer = ask(["launchctl", "bootout", f"{self._domain}/{LABEL}"])
        # 36, EINPROGRESS: it was told to end, and drains
        if answer.status not in (0, 36, *NOT_LOADED):
            must(answer, f"stopping {LABEL}")

    def status(self, ask: Ask) -> Status | None:
        answer = ask(["launchctl", "print", f"{self._domain}/{LABEL}"])
        return None if answer.status in NOT_LOADED else parse_status(must(answer, f"asking for {LABEL}").output)

    def forget(self, ask: Ask) -> None:
        """launchd keeps no copy of a file that it has unloaded."""

    def _wait_for_end(self, ask: Ask) -> None:
        for _ in range(int(ENDING_SECONDS / LOOK_SECONDS)):
            if self.status(ask) is None:
                return
            self._sleep(LOOK_SECONDS)
        raise ConfigError(f"the agent that runs as {LABEL} still answers requests and was told to end; try again when it has")


def parse_status(text: str) -> Status:
    """What ``launchctl print`` says. Its format is for people, so nothing but two lines at the first level is read."""
    values = {}
    for line in text.splitlines():
        if line.startswith("\t") and not line.startswith("\t\t"):
            name, found, value = line.strip().partition(" = ")
            if found:
                values[name] = value
    state = values.get("state", "unknown")
    pid = values.get("pid", "")
    return Status(state == "running", int(pid) if pid.isdigit() else None, state)
