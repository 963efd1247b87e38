"""Images without a registry: docker-archives, and loading them into a node's containerd."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write(archive: Path, *, name: str, files: Mapping[str, Path], entrypoint: list[str]) -> None:
    """Make a docker-archive.

    :param files: paths in the image, and what lies there.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for target, source in files.items():
            tar.add(source, target)
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": entrypoint},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    members = {"config.json": json.dumps(config).encode(), "layer.tar": layer.getvalue(), "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(archive, "w") as tar:
        for member, data in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def save(name: str, archive: Path) -> None:
    """Make a docker-archive of an image that buildah has.

    :raises subprocess.CalledProcessError: buildah failed.
    """
    subprocess.run(["buildah", "push", "--quiet", name, f"docker-archive:{archive}:{name}"], check=True, timeout=300)


def import_command(archive: Path) -> list[str]:
    """Gives an archive to the containerd of the namespaces in which it is run."""
    return ["ctr", "--namespace", "k8s.io", "images", "import", str(archive.resolve())]
