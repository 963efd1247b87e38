"""Where things lie, which a tool other than Python depends on: source roots, the wheel's content, names and pinned versions."""

from __future__ import annotations

import ast
import operator
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [ROOT / "core" / "vllama_core", ROOT / "agent" / "vllama_agent", ROOT / "operator" / "vllama_operator"]
STRANGER = re.compile(r"pip3?\s+install\s+(?:-\S+\s+)*['\"]?vllama(?![-\w])")
"""The distribution's name is vllama-serve; the name without the suffix is somebody else's."""


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from package.rglob("*.py")


def tracked_files() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def imported(path: Path) -> set[str]:
    """Full names of everything that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_operator_is_the_standard_librarys() -> None:
    """A folder of that name at the root must never shadow it: half the world imports it."""
    assert operator.__file__ is not None
    assert not Path(operator.__file__).resolve().is_relative_to(ROOT / "operator")
    assert operator.itemgetter(1)([1, 2]) == 2


@pytest.mark.parametrize("folder", ["core", "agent", "operator", "tests"])
def test_source_roots_and_tests_are_no_packages(folder: str) -> None:
    roots = [ROOT / folder]
    if folder == "tests":
        roots += [path for path in (ROOT / "tests").rglob("*") if path.is_dir()]
    assert [str(root) for root in roots if (root / "__init__.py").exists()] == []


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    """A script started by path has its folder first in sys.path; a neighbour called `queue` would then break the standard library."""
    names = {path.stem if path.stem != "__init__" else path.parent.name for path in modules()} - {"__main__"}
    assert sorted(names & sys.stdlib_module_names) == []


def test_every_folder_with_modules_is_a_package() -> None:
    """import-linter and mypy see only packages."""
    assert [str(path.parent) for path in modules() if not (path.parent / "__init__.py").exists()] == []


def test_only_the_servers_import_aiohttps_web_part() -> None:
    """It takes a tenth of a second to import, which `vllama list` does not have."""
    servers = [ROOT / "agent" / "vllama_agent" / name for name in ("connect", "server")]
    others = [path for path in modules() if not any(path.is_relative_to(server) for server in servers)]
    assert [str(path.relative_to(ROOT)) for path in others if "aiohttp.web" in imported(path)] == []


def test_the_engine_checks_for_the_version_that_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [requirement] = [r for r in project["optional-dependencies"]["llama"] if r.startswith("llama-cpp-python")]
    library = ast.parse((ROOT / "agent/vllama_agent/engines/llama_cpp/version.py").read_text())
    [pinned] = [
        ast.literal_eval(node.value)
        for node in library.body
        if isinstance(node, ast.Assign) and [getattr(target, "id", None) for target in node.targets] == ["PINNED"]
    ]
    assert requirement == f"llama-cpp-python=={pinned}"


def test_nobody_is_told_to_install_a_strangers_package() -> None:
    """Commands below the checkout's own folder (`pip install .`) and our distribution's full name are fine."""
    told = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        told += [f"{path.relative_to(ROOT)}: {match[0]}" for match in STRANGER.finditer(text)]
    assert told == []


@pytest.mark.parametrize(
    ("text", "strange"),
    [
        ("pip install " + "vllama", True),
        ("pip install -U '" + "vllama[llama]'", True),
        ("pip install " + "vllama-serve", False),
        ("pip install -e .", False),
    ],
)
def test_the_pattern_for_it_tells_the_two_apart(text: str, strange: bool) -> None:
    assert bool(STRANGER.search(text)) is strange


def test_the_wheel_holds_our_packages_and_nothing_else(tmp_path: Path) -> None:
    """Built as anybody's pip builds it, in isolation."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check", "-w", str(tmp_path), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-2000:]
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {name.partition("/")[0] for name in names} == {
        "vllama_agent",
        "vllama_core",
        "vllama_operator",
        f"vllama_serve-{version}.dist-info",
    }
    ours = {str(path.relative_to(package.parent)) for package in PACKAGES for path in package.rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == ours


def test_every_setting_is_documented() -> None:
    """By its flag and by each of its variables."""
    from vllama_agent.commands.settings import SETTINGS

    page = (ROOT / "docs" / "configuration.md").read_text()
    names = {name for setting in SETTINGS for name in (*setting.variables, setting.flag) if name}
    assert sorted(name for name in names if f"`{name}" not in page) == []


def test_no_documented_variable_or_flag_is_made_up() -> None:
    from vllama_agent.commands.settings import SETTINGS

    page = (ROOT / "docs" / "configuration.md").read_text()
    sources = [*modules(), *(ROOT / "bench").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
    text = "\n".join(path.read_text() for path in sources)
    known = {name for setting in SETTINGS for name in (*setting.variables, setting.flag)}
    documented = set(re.findall(r"`((?:VLLAMA_|OLLAMA_|--)[-A-Za-z_]*[A-Za-z])", page))
    assert sorted(name for name in documented - known if name not in text) == []
