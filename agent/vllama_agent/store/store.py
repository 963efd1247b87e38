"""Look models up by name, and bring references of the command line to names.

Names come from clients, paths never do: only `resolve`, which `serve --model` calls, opens a path, and a file gets a name by it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from vllama_agent.store import briefs, demo, files, kept_shapes, manifests
from vllama_agent.store.artifact import Artifact
from vllama_agent.store.layers import Layers
from vllama_agent.store.manifest import Manifest
from vllama_core import modelref
from vllama_core.errors import ConfigError, InvalidRequest, ModelNotFound, UnreadableModel
from vllama_core.model_form import Form
from vllama_core.modelref import ModelName, ModelRef

log = logging.getLogger(__name__)


class Store:
    """The models under `home` and in the stores below it, and the files that `resolve` was given.

    :param home: `$VLLAMA_HOME`; need not exist.
    :param below: read-only stores, see `layers.Layers`.
    :param prefers: of a model that is here in both forms this one is meant: its engine loads it.
    """

    def __init__(self, home: Path, below: tuple[Path, ...] = (), *, prefers: Form = Form.GGUF) -> None:
        self.home = home
        self.prefers = prefers
        self.layers = Layers(home, below)
        self._files: dict[str, Artifact] = {}
        self._told: dict[Path, str] = {}
        self._read: dict[Path, tuple[tuple[int, int], Artifact]] = {}

    def models(self) -> list[Artifact]:
        """All of them, newest first. What cannot be read is left out, with a line in the log."""
        found = [artifact for artifact in map(self._stored, self.layers.paths()) if artifact]
        found.sort(key=lambda artifact: artifact.form is self.prefers)  # so that the preferred one of two is the last
        stored = {_key(artifact.name): artifact for artifact in found}
        return sorted((stored | self._files).values(), key=lambda artifact: artifact.modified_at, reverse=True)

    def find(self, name: str) -> Artifact:
        """The model of this name; case does not count, the tag `latest` is implied.

        :raises InvalidRequest: no model can be called so.
        :raises ModelNotFound: none is.
        """
        parsed = ModelName.parse(name)
        if parsed is None:
            raise InvalidRequest("invalid model name", field="model")
        found = self._files.get(parsed.key) or self._preferred(parsed)
        if found is None:
            raise ModelNotFound(name)
        return found

    def _preferred(self, name: ModelName) -> Artifact | None:
        return max(self._forms(name), key=lambda artifact: artifact.form is self.prefers, default=None)

    def _forms(self, name: ModelName) -> list[Artifact]:
        return [artifact for artifact in map(self._stored, self.layers.paths_of(name)) if artifact]

    def resolve(self, ref: str, form: Form | None = None) -> Artifact:
        """The model that a reference of the command line means. Files get a name by this, and are found by it from then on.

        :param form: in which alone it can be used; None: the preferred one is meant, and the other one does.
        :raises ConfigError: a path leads to no model, or the demo model cannot be had.
        :raises ModelNotFound: no model has this name.
        """
        parsed = ModelRef.parse(ref)
        if parsed.path is not None:
            return self._register(Path(parsed.path), form or self.prefers)
        assert parsed.name is not None
        if parsed.name.key == demo.NAME.key:
            demo.ensure(self.home)
        if form is not None:
            return self._in_form(parsed.name, ref, form)
        try:
            return self.find(parsed.name.display)
        except ModelNotFound:
            hint = f"it is not here; `vllama pull {ref}` fetches it"
            if Path(ref).exists():
                hint = f"there is a file or folder of that name; to mean it, write ./{ref}"
            raise ModelNotFound(ref, hint) from None

    def _in_form(self, name: ModelName, ref: str, form: Form) -> Artifact:
        found = next((artifact for artifact in self._forms(name) if artifact.form is form), None)
        if found is None:
            raise ModelNotFound(ref, f"it is not here as {form}; `vllama pull {ref} --format {form}` fetches it")
        return found

    def _register(self, path: Path, prefers: Form) -> Artifact:
        found = files.files_at(path, prefers=prefers)
        name = modelref.name_from_stem(found.stem)
        artifact = files.artifact_of(found, name=name.display)
        known = self._files.get(name.key)
        if known is not None and known.files != artifact.files:
            raise ConfigError(f"{artifact.place} and {known.place} would both be called {name.display}; rename one of them")
        self._files[name.key] = artifact
        return artifact

    def _stored(self, path: Path) -> Artifact | None:
        """A manifest's model; None if there is none, or its bytes are gone. Read again only when the manifest changes."""
        try:
            stat = path.stat()
        except OSError:
            return None
        stamp = (stat.st_mtime_ns, stat.st_ino)
        known = self._read.get(path)
        if known is not None and known[0] == stamp and all(file.is_file() for file in known[1].weights):
            return known[1]
        artifact = self._load(path, stat.st_mtime)
        if artifact is not None:
            self._read[path] = (stamp, artifact)
        return artifact

    def _load(self, path: Path, modified: float) -> Artifact | None:
        try:
            manifest = manifests.load(path)
            artifact = artifact_of(manifests.home_of(path), manifest, modified)
            _check_sizes(artifact, manifest)
            brief = briefs.of_manifest(self.home, manifest, artifact.files)
        except (OSError, UnreadableModel, ValueError) as error:
            self._tell(path, f"{error}")
            return None
        self._told.pop(path, None)
        return replace(artifact, kept_brief=brief, shape_file=kept_shapes.path_of(self.home, artifact.digest))

    def _tell(self, path: Path, problem: str) -> None:
        """Once: clients ask for the list every few seconds."""
        if self._told.get(path) != problem:
            self._told[path] = problem
            log.warning("a stored model cannot be used and is left out: %s", problem, extra={"manifest": str(path)})


def artifact_of(home: Path, manifest: Manifest, modified: float) -> Artifact:
    """A manifest's model.

    :param modified: seconds since the epoch.
    """
    return Artifact(
        name=manifest.name.display,
        files=tuple(manifests.located(home, file) for file in manifest.files),
        digest=manifest.digest,
        size=manifest.size,
        modified_at=datetime.fromtimestamp(modified, UTC),
        form=manifest.form,
        projector=manifests.located(home, manifest.projector) if manifest.projector else None,
        adapters=tuple(manifests.located(home, file) for file in manifest.adapters),
        license=manifest.license,
        template=manifest.template,
        system=manifest.system,
        parameters=manifest.parameters,
        messages=manifest.messages,
        notes=manifest.source.notes,
        parent=manifest.source.ref if manifest.source.kind == "created" else "",
    )


def _check_sizes(artifact: Artifact, manifest: Manifest) -> None:
    """Files that were cut off or replaced are told when they are listed, not by a request.

    :raises UnreadableModel: a file has another size than its manifest says.
    :raises OSError: a file is not there.
    """
    for path, file in zip(artifact.weights, manifest.all_files, strict=True):
        size = path.stat().st_size
        if size != file.size:
            raise UnreadableModel(f"{path} has {size} bytes and should have {file.size}; `vllama verify` tells more")


def _key(name: str) -> str:
    parsed = ModelName.parse(name)
    assert parsed is not None, "names of stored models are names"
    return parsed.key
