"""What changes the store: copies, deletions, uploads, and new models of old bytes. All of it blocks; servers call it in threads."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from vllama_agent.store import briefs, garbage, manifests
from vllama_agent.store.layers import Layers
from vllama_agent.store.manifests import Manifest
from vllama_agent.store.upload import Upload
from vllama_core.errors import ConfigError, Forbidden, ModelNotFound
from vllama_core.modelref import ModelName

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of a model's bytes.

    :ivar freed: bytes that are gone.
    :ivar kept: files that go with a later `gc`, because somebody holds them now.
    :ivar elsewhere: files that stay, because they are not ours: those in the shared Hugging Face cache, or in another tool's store.
    """

    freed: int
    kept: tuple[Path, ...]
    elsewhere: tuple[Path, ...]


class Library:
    """The home and the stores below it."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers

    def blob(self, digest: str) -> Path | None:
        """Where these bytes lie; None if they are not here. Asking for a blob of the home keeps it from being collected for a while."""
        found = self.layers.blob(digest)
        if found is not None and found == manifests.blob(self.layers.home, digest):
            with contextlib.suppress(PermissionError):  # another user's file in a shared home: its owner collects, not we
                os.utime(found)
        return found

    def upload(self, digest: str, *, size: int | None) -> Upload:
        """Begin to take bytes in.

        :raises NoSpace: they do not fit.
        """
        return Upload(self.layers.home, digest, size=size)

    def publish(self, manifest: Manifest) -> Manifest | None:
        """Give a model its name; what had it before in the home, whose bytes `free` removes. An older spelling of the name stays.

        :raises GgufError: its first file is no GGUF file.
        """
        older = self.layers.manifest(manifest.name)
        home, first = self.layers.home, manifest.files[0]
        briefs.read(home, first.digest, manifests.located(home, first))  # now, so that the next list need not
        manifests.write(home, replace(manifest, name=older.name) if older is not None else manifest)
        return older

    def delete(self, name: ModelName) -> Deleted:
        """Take a name away, and the bytes that no other name needs.

        :raises ModelNotFound: there is no such name.
        :raises Forbidden: it lies in a store that is only read.
        """
        path = self.layers.path_of(name)
        if path is None:
            raise ModelNotFound(name.display)
        root = manifests.home_of(path)
        if root != self.layers.home:
            raise Forbidden(f"{name.display} lies in {root}, a store that is only read here; remove it where that store is written")
        manifest = manifests.read(path)
        path.unlink()
        return self.free(manifest) if manifest is not None else Deleted(0, (), ())

    def free(self, manifest: Manifest) -> Deleted:
        """Remove the files of a model that has lost its name, as far as no other name needs them and nobody holds them."""
        home = self.layers.home
        files = {manifests.located(home, file): file.size for file in manifest.all_files}
        ours = {path: size for path, size in files.items() if path.parent == home / "blobs"}
        try:
            needed = garbage.named(home)
        except ConfigError as error:  # the name is gone already, and only its bytes have to wait
            log.warning("%s", error)
            needed = set(files)
        gone, stays = garbage.remove(garbage.Garbage(path, size) for path, size in ours.items() if path not in needed)
        return Deleted(
            freed=sum(item.size for item in gone),
            kept=tuple(item.path for item in stays),
            elsewhere=tuple(path for path in files if path not in ours and path not in needed),
        )
