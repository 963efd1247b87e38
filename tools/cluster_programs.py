"""Build what the cluster's tests run: etcd and Kubernetes in one binary, CoreDNS, a pause for pods, and helm.

From the Go modules of ``tests/cluster/programs``, once; then kept in ``~/.cache/vllama-dev/cluster-<key>``, keyed by the modules' files
and helm's version. Cold it takes 15 to 20 minutes on two busy cores, with Go's own build cache seconds. Standard library only.

    python tools/cluster_programs.py                # builds if need be, prints the folder
    python tools/cluster_programs.py --background   # starts building and returns at once: the beginning of `make test`
    python tools/cluster_programs.py --find         # prints the folder if it is there, waits for a build that runs, starts none

Exit status 3 and the reason if they cannot be had.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_wheel

SOURCES = llama_wheel.ROOT / "tests" / "cluster" / "programs"
HELM_VERSION = "v3.22.0"
CANNOT_BUILD_STATUS = 3


class CannotBuild(Exception):
    """The sentence says why there are no programs here."""


def folder() -> Path:
    """Where they lie, or will."""
    key = hashlib.sha256(HELM_VERSION.encode())
    for file in sorted(SOURCES.rglob("*")):
        if file.is_file():
            key.update(f"{file.relative_to(SOURCES)}\n".encode() + file.read_bytes())
    return llama_wheel.CACHE / f"cluster-{key.hexdigest()[:12]}"


def ensure(*, build: bool = True) -> Path:
    """The folder, with ``kube``, ``kubectl``, ``coredns``, ``pause`` and ``helm``; two callers at once build it once.

    :param build: False waits for a build that runs, but starts none.
    :raises CannotBuild: Go is missing, the build failed, or nobody has built them.
    """
    target = folder()
    if target.is_dir():
        return target
    if shutil.which("go") is None:
        raise CannotBuild("the cluster's programs cannot be built: there is no go on the PATH")
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(_beside(target, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            if not build:
                raise CannotBuild("the cluster's programs are not built; `python tools/cluster_programs.py` does it in up to 20 minutes")
            _build(target)
    return target


def _build(target: Path) -> None:
    print(f"building the programs of a cluster into {target}; this takes minutes, once", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, open(_beside(target, "log"), "w") as log:
        out = Path(scratch) / "out"
        environment = os.environ | {"CGO_ENABLED": "0", "GOBIN": str(out)}
        for command, where in _commands(out):
            result = subprocess.run(["nice", *command], cwd=where, env=environment, stdout=log, stderr=log, check=False)
            if result.returncode != 0:
                raise CannotBuild(f"{' '.join(command[:2])} failed; the log is in {log.name}")
        (out / "kubectl").symlink_to("kube")
        os.replace(out, target)


def _commands(out: Path) -> list[tuple[list[str], Path]]:
    """Commands and the folders they run in."""
    build = ["go", "build", "-trimpath"]
    return [
        ([*build, "-ldflags", f"-s -w {_version_flags()}", "-o", f"{out}/kube", "."], SOURCES),
        ([*build, "-ldflags", "-s -w", "-o", f"{out}/pause", "./pause"], SOURCES),
        # a module of its own: in one with Kubernetes it would change the versions that Kubernetes is built from
        ([*build, "-ldflags", "-s -w", "-o", f"{out}/coredns", "."], SOURCES / "coredns"),
        (["go", "install", "-trimpath", "-ldflags", "-s -w", f"helm.sh/helm/v3/cmd/helm@{HELM_VERSION}"], SOURCES),
    ]


def _version_flags() -> str:
    """Kubernetes' own build stamps its version so; without it clients take the server for v0.0.0."""
    listed = ["go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"]
    result = subprocess.run(listed, cwd=SOURCES, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise CannotBuild(f"{' '.join(listed)} failed: {result.stderr.strip()}")
    version = result.stdout.strip()
    major, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


def _start_in_background() -> None:
    if not folder().is_dir() and shutil.which("go") is not None:
        builder = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _give_way(builder.pid)


def _give_way(session: int) -> None:
    """Let others compute first: where Linux shares its time between sessions, `nice` counts within one only.

    https://man7.org/linux/man-pages/man7/sched.7.html, "The autogroup feature"
    """
    with contextlib.suppress(OSError):  # it does not, or takes no change just now: then the others are slower for a while
        Path(f"/proc/{session}/autogroup").write_text("19")


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f"{target.name}.{suffix}")


def main(arguments: list[str]) -> int:
    if arguments == ["--background"]:
        _start_in_background()
        return 0
    if arguments not in ([], ["--find"]):
        print(f"unknown arguments {arguments}: there are --background and --find", file=sys.stderr)
        return 2
    try:
        print(ensure(build=not arguments))
    except CannotBuild as reason:
        print(reason, file=sys.stderr)
        return CANNOT_BUILD_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
