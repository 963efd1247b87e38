"""Build an image of vllama with whatever builds images here: docker, podman or buildah. Standard library only.

    python tools/image.py TARGET TAG       # a target of the Dockerfile, such as agent-cpu

BASE_IMAGE names another Debian 12 to start from, IMAGE_FLAGS further flags of the builder, IMAGE_BUILDER one of the three.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import llama_wheel

BUILDERS = ("docker", "podman", "buildah")
WHEELS = llama_wheel.ROOT / "docker" / "wheels"


def command(builder: str, *, target: str, tag: str, environment: Mapping[str, str]) -> list[str]:
    """The builder's command line. Podman and buildah write Docker's format too: OCI's own drops `SHELL`."""
    words = [builder, "build"] if builder != "buildah" else [builder, "bud"]
    if builder != "docker":
        words += ["--format", "docker", "--layers"]
    words += ["--target", target, "--tag", tag]
    if base := environment.get("BASE_IMAGE"):
        words += ["--build-arg", f"BASE_IMAGE={base}"]
    return [*words, *shlex.split(environment.get("IMAGE_FLAGS", "")), str(llama_wheel.ROOT)]


def builder(environment: Mapping[str, str]) -> str:
    """The program that builds.

    :raises SystemExit: there is none.
    """
    names = [environment["IMAGE_BUILDER"]] if environment.get("IMAGE_BUILDER") else BUILDERS
    found = next((name for name in names if shutil.which(name)), None)
    if found is None:
        raise SystemExit(f"nothing here builds images: there is no {', '.join(names)} on the PATH")
    return found


def offer_wheel() -> None:
    """Save the build its longest step where this machine has compiled the same already. Another system's wheel would be of no use."""
    for old in WHEELS.glob("*.whl"):
        old.unlink()
    wheel = llama_wheel.cached_wheel("portable") if sys.platform == "linux" else None
    if wheel is not None:
        shutil.copyfile(wheel, WHEELS / wheel.name)


def build(target: str, tag: str, environment: Mapping[str, str] = os.environ) -> None:
    """Make the image; the builder's output is ours.

    :raises SystemExit: there is no builder, or it failed.
    """
    offer_wheel()
    status = subprocess.run(command(builder(environment), target=target, tag=tag, environment=environment), check=False).returncode
    if status != 0:
        raise SystemExit(f"building {tag} failed with status {status}; the lines above say why")


def main(arguments: Sequence[str]) -> None:
    match arguments:
        case [target, tag]:
            build(target, tag)
        case _:
            raise SystemExit(f"usage: {Path(sys.argv[0]).name} TARGET TAG")


if __name__ == "__main__":
    main(sys.argv[1:])
