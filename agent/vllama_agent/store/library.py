"""What changes the store: copies, deletions, uploads, and new models of old bytes. All of it blocks; servers call it in threads."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from vllama_agent.store import briefs, garbage, manifests
from vllama_agent.store.layers import Layers
from vllama_agent.store.manifests import Manifest
from vllama_agent.store.upload import Upload
from vllama_core.errors import Forbidden, ModelNotFound
from vllama_core.modelref import ModelName


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of a model's bytes.

    :ivar freed: bytes that are gone.
    :ivar in_use: files that go with the next `gc`, because somebody holds them now.
    :ivar elsewhere: files that stay, because they are not ours: those in the shared Hugging Face cache, or in another tool's store.
    """

    freed: int
    in_use: tuple[Path, ...]
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

    def manifest(self, name: ModelName) -> Manifest:
        """What a name stands for.

        :raises ModelNotFound: nothing.
        """
        found = self.layers.manifest(name)
        if found is None:
            raise ModelNotFound(name.display)
        return found

    def publish(self, manifest: Manifest) -> None:
        """Give a model its name, whatever had it before: an older spelling of the name stays, the older model's bytes go.

        :raises GgufError: its first file is no GGUF file.
        """
        older = self.layers.manifest(manifest.name)
        home, first = self.layers.home, manifest.files[0]
        briefs.read(home, first.digest, manifests.located(home, first))  # now, so that the next list need not
        manifests.write(home, replace(manifest, name=older.name) if older is not None else manifest)
        if older is not None:
            self._freed(older)

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
        _remove_empty(path.parent, root / "manifests")
        return self._freed(manifest) if manifest is not None else Deleted(0, (), ())

    def _freed(self, manifest: Manifest) -> Deleted:
        home = self.layers.home
        files = {manifests.located(home, file): file.size for file in manifest.all_files}
        ours = {path: size for path, size in files.items() if path.parent == home / "blobs"}
        needed = garbage.named(home)
        gone, stays = garbage.remove(garbage.Garbage(path, size) for path, size in ours.items() if path not in needed)
        return Deleted(
            freed=sum(item.size for item in gone),
            in_use=tuple(item.path for item in stays),
            elsewhere=tuple(path for path in files if path not in ours and path not in needed),
        )


def _remove_empty(folder: Path, top: Path) -> None:
    """Folders that a name left behind, up to `top`."""
    while folder != top:
        try:
            folder.rmdir()
        except OSError:
            return  # something else is in it
        folder = folder.parent
