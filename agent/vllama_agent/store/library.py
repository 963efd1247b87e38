"""What changes the store: copies, deletions, uploads, and new models of old bytes. All of it blocks; servers call it in threads."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from vllama_agent.store import briefs, garbage, kept_shapes, manifests
from vllama_agent.store.holds import Hold
from vllama_agent.store.layers import Layers
from vllama_agent.store.manifest import Manifest
from vllama_agent.store.store import artifact_of
from vllama_agent.store.upload import Upload
from vllama_core.errors import ConfigError, Forbidden, InvalidRequest, ModelNotFound, UnreadableModel
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


class Vanished(InvalidRequest):
    """A model's bytes were removed before they had its name: another command took away the last name that they had."""


class Library:
    """The home and the stores below it. Its calls may come from several threads."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self._one_name = threading.Lock()

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
        """Give a model its name; what had it before in the same form, whose bytes `free` removes. An older spelling of the name stays.

        :raises UnreadableModel: its files are not what their form promises.
        :raises Vanished: a file is not there any more.
        """
        home = self.layers.home
        held = self._held(manifest)
        try:
            self._prepare(manifest)
            with self._one_name:  # of two that replace one model each frees another one
                older = self.layers.manifest(manifest.name, manifest.form)
                manifests.write(home, replace(manifest, name=older.name) if older is not None else manifest)
        finally:
            held.release()
        return older

    def _prepare(self, manifest: Manifest) -> None:
        """Read what lists and sizing want now, in a thread that nobody waits for: the header of a large vocabulary takes a tenth of a
        second to step over, and a server sizes models between the tokens of others.

        :raises UnreadableModel: its files are not what their form promises.
        """
        home = self.layers.home
        artifact = replace(artifact_of(home, manifest, modified=0.0), shape_file=kept_shapes.path_of(home, manifest.digest))
        briefs.of_manifest(home, manifest, artifact.files)
        with contextlib.suppress(UnreadableModel):  # what lacks a size is told when it is to be loaded
            _ = artifact.shape

    def _held(self, manifest: Manifest) -> Hold:
        """Its files, so that no removal misses the name that they are about to get."""
        try:
            return Hold(manifests.located(self.layers.home, file) for file in manifest.all_files)
        except OSError as error:
            raise Vanished(
                f"{manifest.name.display}: its file {error.filename} cannot be used any more ({error.strerror or error}); try again"
            ) from error

    def own(self, name: ModelName) -> tuple[Path, ...]:
        """The manifests of a name that may be changed here, one for each form.

        :raises ModelNotFound: there is no such name.
        :raises Forbidden: it lies in a store that is only read.
        """
        paths = self.layers.paths_of(name)
        if not paths:
            raise ModelNotFound(name.display)
        for root in map(manifests.home_of, paths):
            if root != self.layers.home:
                raise Forbidden(f"{name.display} lies in {root}, a store that is only read here; remove it where that store is written")
        return paths

    def delete(self, name: ModelName) -> Deleted:
        """Take a name away, and the bytes that no other name needs. Errors as `own`."""
        found = {path: manifests.read(path) for path in self.own(name)}
        lost = [manifest for path, manifest in found.items() if _took_away(path)]
        if not lost:
            raise ModelNotFound(name.display)
        return self.free(*(manifest for manifest in lost if manifest is not None))

    def free(self, *lost: Manifest) -> Deleted:
        """Remove the files of models that have lost their names, as far as no other name needs them and nobody holds them."""
        home = self.layers.home
        files = {manifests.located(home, file): file.size for manifest in lost for file in manifest.all_files}
        ours = {path: size for path, size in files.items() if path.parent == home / "blobs"}
        try:
            needed = garbage.named(home)
            gone, stays = garbage.remove(home, [garbage.Garbage(path, size) for path, size in ours.items() if path not in needed])
        except ConfigError as error:  # the name is gone already, and only its bytes have to wait
            log.warning("%s", error)
            needed, gone, stays = set(files), [], []
        return Deleted(
            freed=sum(item.size for item in gone),
            kept=tuple(item.path for item in stays),
            elsewhere=tuple(path for path in files if path not in ours and path not in needed),
        )


def _took_away(path: Path) -> bool:
    """Remove a manifest; False: another command was quicker."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
