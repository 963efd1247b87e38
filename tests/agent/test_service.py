"""`vllama service`: what is written for launchd and systemd, and what is asked of them."""

from __future__ import annotations

import argparse
import plistlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from vllama_agent import cli
from vllama_agent.commands import service, service_plan, settings
from vllama_agent.services import launchd, systemd
from vllama_agent.services.base import Answer, Service
from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError

HOME = Path("/Users/ada")
SERVICE = Service(
    command=("/opt/py/bin/python", "-m", "vllama_agent", "serve", "--model", "qwen3:0.6b", "--api-key-file", "/Users/ada/my keys"),
    environment={"VLLAMA_HOME": "/Volumes/big/vllama", "OLLAMA_KEEP_ALIVE": "1h"},
    folder=HOME,
    stop_seconds=615,
)
UNIT = """\
[Unit]
Description=vllama: open language models behind the Ollama and OpenAI APIs
StartLimitIntervalSec=0

[Service]
Type=exec
WorkingDirectory=/Users/ada
Environment="OLLAMA_KEEP_ALIVE=1h"
Environment="VLLAMA_HOME=/Volumes/big/vllama"
ExecStart=/opt/py/bin/python -m vllama_agent serve --model qwen3:0.6b --api-key-file "/Users/ada/my keys"
Restart=on-failure
RestartSec=2
RestartPreventExitStatus=2
# SIGTERM goes to the agent alone: it lets its engines finish what they answer
KillMode=mixed
# what `--drain-delay` and `--drain-seconds` may take, and a little more
TimeoutStopSec=615
LimitNOFILE=8192
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""
PLIST = {
    "Label": "dev.vllama.agent",
    "ProgramArguments": list(SERVICE.command),
    "EnvironmentVariables": SERVICE.environment,
    "WorkingDirectory": "/Users/ada",
    "RunAtLoad": True,
    "KeepAlive": {"SuccessfulExit": False},
    "ExitTimeOut": 615,
    "ProcessType": "Interactive",
    "SoftResourceLimits": {"NumberOfFiles": 8192},
    "HardResourceLimits": {"NumberOfFiles": 8192},
    "StandardOutPath": "/Users/ada/Library/Logs/vllama.log",
    "StandardErrorPath": "/Users/ada/Library/Logs/vllama.log",
}
# the first lines of what launchctl prints for a running agent on macOS 14, in its layout
LAUNCHCTL = """\
gui/501/dev.vllama.agent = {
\tactive count = 1
\tpath = /Users/ada/Library/LaunchAgents/dev.vllama.agent.plist
\ttype = LaunchAgent
\tstate = running

\tprogram = /opt/py/bin/python
\tinherited environment = {
\t\tSSH_AUTH_SOCK => /private/tmp/com.apple.launchd.x/Listeners
\t\tstate = nonsense
\t}

\tpid = 4242
\timmediate reason = speculative
\tlast exit code = (never exited)
}
"""


class Asked:
    """Stands for the manager's command line: notes what is asked, answers as told by the words that a command holds."""

    def __init__(self, **answers: Answer) -> None:
        self.commands: list[list[str]] = []
        self._answers = answers

    def __call__(self, command: Sequence[str]) -> Answer:
        self.commands.append(list(command))
        return next((answer for word, answer in self._answers.items() if word in command), Answer(0, "", ""))


def planned(*words: str, environment: dict[str, str] | None = None) -> Service:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    return service_plan.service(parser.parse_args(words), environment or {}, python="/py", folder=HOME)


# --- what is written -----------------------------------------------------------------------------------------------------------------


def test_the_unit_is_this() -> None:
    assert systemd.Systemd(HOME, {}).render(SERVICE).decode() == UNIT


def test_the_plist_is_this() -> None:
    assert plistlib.loads(launchd.Launchd(HOME, 501).render(SERVICE)) == PLIST


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on the PATH")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    command = ("/bin/true", "$HOME", "50%", 'a "b"', "c\\d", "")
    made = Service(command=command, environment={"A": '50% of "x" \\ $y'}, folder=tmp_path, stop_seconds=615)
    file = tmp_path / systemd.UNIT
    file.write_bytes(systemd.Systemd(tmp_path, {}).render(made))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(file)],
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_text_that_systemd_would_read_specially_is_escaped() -> None:
    assert systemd.argument("$HOME") == '"$$HOME"'
    assert systemd.argument("50%") == '"50%%"'
    assert systemd.argument('a "b" \\') == '"a \\"b\\" \\\\"'
    assert systemd.argument("") == '""'
    assert systemd.argument("hf.co/org/repo:Q4_K_M") == "hf.co/org/repo:Q4_K_M"


@pytest.mark.parametrize("manager", [systemd.Systemd(HOME, {}), launchd.Launchd(HOME, 501)])
def test_a_line_break_cannot_smuggle_a_line_into_the_file(manager) -> None:
    bad = Service(command=("/py", "x\nExecStartPre=/bin/evil"), environment={}, folder=HOME, stop_seconds=1)
    with pytest.raises(ConfigError, match="control character"):
        manager.render(bad)


# --- what it is made from ------------------------------------------------------------------------------------------------------------


def test_flags_and_variables_of_serve_are_kept_and_paths_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    made = planned(
        *("--model", "./m.gguf", "--model", "qwen3:0.6b", "--api-key-file", "keys", "--host", "0.0.0.0", "--mlock"),
        environment={"VLLAMA_HOME": "store", "OLLAMA_KEEP_ALIVE": "1h", "PATH": "/bin", "HF_HOME": "/hf"},
    )
    assert made.command[:4] == ("/py", "-m", "vllama_agent", "serve")
    assert set(zip(made.command[4:], made.command[5:], strict=False)) >= {
        ("--model", str(tmp_path / "m.gguf")),
        ("--model", "qwen3:0.6b"),
        ("--api-key-file", str(tmp_path / "keys")),
        ("--host", "0.0.0.0"),
    }
    assert "--mlock" in made.command
    assert made.environment == {"VLLAMA_HOME": str(tmp_path / "store"), "OLLAMA_KEEP_ALIVE": "1h", "HF_HOME": "/hf"}


def test_no_secret_is_written() -> None:
    made = planned(environment={"VLLAMA_API_KEY": "s3cret", "OLLAMA_API_KEY": "s3cret", "HF_TOKEN": "s3cret"})
    assert "s3cret" not in repr(made)


def test_the_manager_waits_for_the_drain() -> None:
    assert planned().stop_seconds == AgentConfig().drain_seconds + 15
    assert planned("--drain-delay", "2500ms", "--drain-seconds", "1m").stop_seconds == 3 + 60 + 15


def test_flags_that_serve_refuses_are_refused_before_anything_is_written() -> None:
    with pytest.raises(ConfigError, match="--port is '99999'"):
        planned("--port", "99999")


def test_each_system_has_its_manager() -> None:
    common = {"home": HOME, "uid": 501, "environment": {}}
    assert service_plan.manager(system="darwin", **common).file == HOME / "Library/LaunchAgents/dev.vllama.agent.plist"
    assert service_plan.manager(system="linux", **common).file == HOME / ".config/systemd/user/vllama.service"
    with pytest.raises(ConfigError, match="freebsd14"):
        service_plan.manager(system="freebsd14", **common)


# --- what is asked of the managers ---------------------------------------------------------------------------------------------------


def test_systemd_installs_and_uninstalls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manager, asked = systemd.Systemd(tmp_path, {}), Asked()
    assert service.install(manager, b"unit", asked) == 0
    assert manager.file.read_bytes() == b"unit"
    assert [command[2:] for command in asked.commands] == [
        ["daemon-reload"],
        ["enable", "vllama.service"],
        ["--no-block", "restart", "vllama.service"],
    ]
    assert "enable-linger" in capsys.readouterr().out
    assert service.uninstall(manager, asked) == 0
    assert not manager.file.exists()
    assert [command[2:] for command in asked.commands[3:]] == [["--no-block", "disable", "--now", "vllama.service"], ["daemon-reload"]]
    assert service.uninstall(manager, asked) == 0
    assert "not installed" in capsys.readouterr().out


def test_launchd_replaces_an_agent_that_runs(tmp_path: Path) -> None:
    manager = launchd.Launchd(tmp_path, 501, sleep=lambda _seconds: None)
    draining = iter([Answer(0, LAUNCHCTL, ""), Answer(113, "", "Could not find service")])
    asked: list[list[str]] = []

    def ask(command: Sequence[str]) -> Answer:
        asked.append(list(command))
        return next(draining) if command[1] == "print" else Answer(36 if command[1] == "bootout" else 0, "", "")

    assert service.install(manager, b"plist", ask) == 0
    target = "gui/501/dev.vllama.agent"
    assert asked == [
        ["launchctl", "bootout", target],
        ["launchctl", "print", target],
        ["launchctl", "print", target],
        ["launchctl", "bootstrap", "gui/501", str(manager.file)],
    ]


def test_launchd_is_not_started_beside_an_agent_that_does_not_end(tmp_path: Path) -> None:
    waited: list[float] = []
    manager = launchd.Launchd(tmp_path, 501, sleep=waited.append)
    with pytest.raises(ConfigError, match="still answers requests"):
        service.install(manager, b"plist", Asked(print=Answer(0, LAUNCHCTL, "")))
    assert sum(waited) == launchd.ENDING_SECONDS


@pytest.mark.parametrize("manager", [systemd.Systemd, lambda home, _: launchd.Launchd(home, 501)])
def test_a_manager_that_refuses_is_quoted(manager, tmp_path: Path) -> None:
    refused = Answer(1, "", "warning\nFailed to connect to bus: No medium found\n")
    with pytest.raises(ConfigError, match="status 1: Failed to connect to bus"):
        service.install(manager(tmp_path, {}), b"", Asked(**{"daemon-reload": refused, "bootout": refused}))


def test_systemds_status_is_read() -> None:
    shown = "MainPID=77\nLoadState=loaded\nActiveState=active\nSubState=running\n"
    assert systemd.parse_status(shown) == systemd.Status(True, 77, "active (running)")
    failed = "MainPID=0\nLoadState=loaded\nActiveState=failed\nSubState=failed\n"
    assert systemd.parse_status(failed) == systemd.Status(False, None, "failed (failed)")
    assert systemd.parse_status("MainPID=0\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n") is None


def test_launchds_status_is_read() -> None:
    assert launchd.parse_status(LAUNCHCTL) == launchd.Status(True, 4242, "running")
    assert launchd.parse_status("x = {\n\tstate = spawn scheduled\n}\n") == launchd.Status(False, None, "spawn scheduled")


def test_status_tells_people_and_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manager = launchd.Launchd(tmp_path, 501)
    assert service.tell(manager, Asked(), as_json=False) == service.NOT_RUNNING
    assert "not installed" in capsys.readouterr().out
    manager.file.parent.mkdir(parents=True)
    manager.file.touch()
    assert service.tell(manager, Asked(print=Answer(0, LAUNCHCTL, "")), as_json=False) == 0
    assert capsys.readouterr().out.startswith("running, process 4242 (")
    assert service.tell(manager, Asked(print=Answer(113, "", "")), as_json=True) == service.NOT_RUNNING
    assert '"status": null' in capsys.readouterr().out


def test_the_file_can_be_had_without_a_manager(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert cli.main(["service", "install", "--print", "--port", "8000"]) == 0
    written = plistlib.loads(capsys.readouterr().out.encode())
    assert written["ProgramArguments"][-2:] == ["--port", "8000"]


def test_a_machine_without_the_manager_hears_of_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"there is no systemctl here; .*--print"):
        service.ask(["systemctl", "--user", "daemon-reload"])
