"""A systemd user unit. https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vllama_agent.services.base import OPEN_FILES, Ask, Service, Status, must

UNIT = "vllama.service"
SYSTEMCTL = ("systemctl", "--user")
WRONG_USE = 2
"""The command's exit status for settings that cannot work: starting again would not help."""
TEMPLATE = """\
[Unit]
Description=vllama: open language models behind the Ollama and OpenAI APIs
StartLimitIntervalSec=0

[Service]
Type=exec
WorkingDirectory={folder}
{environment}ExecStart={command}
Restart=on-failure
RestartSec=2
RestartPreventExitStatus={wrong_use}
# SIGTERM goes to the agent alone: it lets its engines finish what they answer
KillMode=mixed
# what `--drain-delay` and `--drain-seconds` may take, and a little more
TimeoutStopSec={stop_seconds}
LimitNOFILE={open_files}
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""
LINGER = "it runs while you are logged in; `loginctl enable-linger` lets it run from the machine's start"


class Systemd:
    """See `base.Manager`."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
        self.file = config / "systemd" / "user" / UNIT

    def render(self, service: Service) -> bytes:
        service.check()
        pairs = (f"Environment={quoted(f'{name}={value}')}\n" for name, value in sorted(service.environment.items()))
        return TEMPLATE.format(
            folder=str(service.folder).replace("%", "%%"),
            environment="".join(pairs),
            command=" ".join(argument(word) for word in service.command),
            wrong_use=WRONG_USE,
            stop_seconds=service.stop_seconds,
            open_files=OPEN_FILES,
        ).encode()

    def start(self, ask: Ask) -> str:
        self.forget(ask)
        must(ask([*SYSTEMCTL, "enable", UNIT]), f"enabling {UNIT}")
        # an agent of an older file ends its answers first, which may take its drain: nobody waits for that here
        must(ask([*SYSTEMCTL, "--no-block", "restart", UNIT]), f"starting {UNIT}")
        return LINGER

    def stop(self, ask: Ask) -> None:
        must(ask([*SYSTEMCTL, "--no-block", "disable", "--now", UNIT]), f"stopping {UNIT}")

    def status(self, ask: Ask) -> Status | None:
        properties = ["--property=LoadState,ActiveState,SubState,MainPID"]
        return parse_status(must(ask([*SYSTEMCTL, "show", *properties, UNIT]), f"asking for {UNIT}").output)

    def forget(self, ask: Ask) -> None:
        must(ask([*SYSTEMCTL, "daemon-reload"]), "reading systemd's units again")


def parse_status(text: str) -> Status | None:
    """What ``systemctl show`` prints: a ``Name=value`` a line."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if values.get("LoadState") == "not-found":
        return None
    pid = int(values.get("MainPID", "0"))
    return Status(values["ActiveState"] == "active", pid or None, f"{values['ActiveState']} ({values['SubState']})")


def quoted(text: str) -> str:
    """In double quotes, with what systemd would read specially escaped.

    https://www.freedesktop.org/software/systemd/man/latest/systemd.syntax.html#Quoting
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def argument(text: str) -> str:
    """A word of a command line, where ``$`` begins a variable too. Plain ones stay as they are, for whoever reads the file."""
    if text and all(letter.isalnum() or letter in "-_./:=@+," for letter in text):
        return text
    return quoted(text).replace("$", "$$")
