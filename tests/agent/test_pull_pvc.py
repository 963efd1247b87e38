"""Models of a volume claim that is mounted: named where they lie."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import small_gguf
import small_snapshot

from vllama_agent.store import Store, convert_plans, manifests, pvc_plans
from vllama_agent.store.children import ConvertedFile
from vllama_agent.store.events import Event, Progress
from vllama_agent.store.layers import Layers
from vllama_agent.store.library import Library
from vllama_agent.store.manifest import Manifest
from vllama_agent.store.pull import pull
from vllama_agent.store.sources import Sources
from vllama_core.errors import ConfigError, FetchFailed, ModelNotFound
from vllama_core.model_form import Form
from vllama_core.modelref import ModelRef

MODEL = small_gguf.make(padding=5000)
OTHER = small_gguf.make(padding=7000)


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    folder = tmp_path / "mounted" / "models"
    folder.mkdir(parents=True)
    return folder


async def pulled(claim: Path, ref: str, *, prefers: Form = Form.GGUF, **more: object) -> list[Event]:
    events: list[Event] = []
    sources = Sources(home=claim.parent.parent / "home", pvc_root=claim.parent, prefers=prefers)
    await pull(sources, ref, on_event=events.append, **more)  # type: ignore[arg-type]
    return events


def store_of(claim: Path) -> Store:
    return Store(claim.parent.parent / "home")


def manifest_of(claim: Path) -> Manifest:
    """The only one."""
    [path] = manifests.paths(store_of(claim).home)
    return manifests.load(path)


async def test_a_file_is_named_where_it_lies(claim: Path) -> None:
    (claim / "qwen").mkdir()
    (claim / "qwen" / "m.gguf").write_bytes(MODEL)
    events = await pulled(claim, "pvc://models/qwen/m.gguf")
    found = store_of(claim).resolve("pvc://models/qwen/m.gguf")
    assert found.name == "pvc/models/qwen..m:latest"
    assert found.files == (claim / "qwen" / "m.gguf",)
    assert found.digest == hashlib.sha256(MODEL).hexdigest()
    assert [event.completed for event in events if isinstance(event, Progress)] == [len(MODEL)]
    assert not (store_of(claim).home / "blobs").exists()


async def test_a_file_is_read_again_only_when_it_has_changed(claim: Path) -> None:
    (claim / "m.gguf").write_bytes(MODEL)
    await pulled(claim, "pvc://models/m.gguf")
    assert not any(isinstance(event, Progress) for event in await pulled(claim, "pvc://models/m.gguf"))
    (claim / "m.gguf").write_bytes(OTHER)
    await pulled(claim, "pvc://models/m.gguf")
    assert store_of(claim).resolve("pvc://models/m.gguf").digest == hashlib.sha256(OTHER).hexdigest()


async def test_who_removes_the_model_leaves_the_claims_file(claim: Path) -> None:
    (claim / "m.gguf").write_bytes(MODEL)
    await pulled(claim, "pvc://models/m.gguf")
    name = ModelRef.parse("pvc://models/m.gguf").name
    assert name is not None
    Library(Layers(store_of(claim).home)).delete(name)
    assert store_of(claim).models() == []
    assert (claim / "m.gguf").read_bytes() == MODEL


async def test_the_claim_itself_can_be_a_models_folder(claim: Path) -> None:
    for number, data in ((1, MODEL), (2, OTHER)):
        (claim / f"x-0000{number}-of-00002.gguf").write_bytes(data)
    await pulled(claim, "pvc://models")
    assert [path.name[2:7] for path in store_of(claim).resolve("pvc://models/").files] == ["00001", "00002"]


async def test_original_weights_are_converted_and_stay(claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (claim / "mine").mkdir()
    (claim / "mine" / "config.json").write_text("{}")
    (claim / "mine" / "model.safetensors").write_bytes(bytes(100))

    async def convert(snapshot: Path, *, out: Path, name: str, **_: object) -> ConvertedFile:
        assert (snapshot, name) == (claim / "mine", "mine")
        out.write_bytes(MODEL)
        return ConvertedFile(path=out, sha256=hashlib.sha256(MODEL).hexdigest(), size=len(MODEL), notes=())

    monkeypatch.setattr(convert_plans.layout, "require", lambda home: None)
    monkeypatch.setattr(convert_plans, "convert", convert)
    await pulled(claim, "pvc://models/mine/")
    assert store_of(claim).resolve("pvc://models/mine/").files[0].read_bytes() == MODEL
    assert (claim / "mine" / "model.safetensors").exists()


@pytest.fixture
def folder(claim: Path) -> Path:
    """A model in Hugging Face's form."""
    made = claim / "mine"
    made.mkdir()
    for name, data in small_snapshot.files().items():
        (made / name).write_bytes(data)
    (made / "added_tokens.txt").touch()
    return made


async def test_a_folder_of_weights_is_loaded_as_it_is_where_that_form_is_wanted(claim: Path, folder: Path) -> None:
    """vLLM's: nothing is copied, and its files are read once."""
    events = await pulled(claim, "pvc://models/mine", file_format="hf")
    found = store_of(claim).resolve("pvc://models/mine", Form.HUGGING_FACE)
    assert (found.form, found.folder, found.header.architecture) == (Form.HUGGING_FACE, folder, "llama")
    assert {path.name for path in found.files} == {path.name for path in folder.iterdir()}
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert {file.digest for file in manifest_of(claim).files} == digests
    assert sum(event.completed for event in events if isinstance(event, Progress)) == found.size
    assert not any(isinstance(event, Progress) for event in await pulled(claim, "pvc://models/mine", file_format="hf"))
    (folder / "model.safetensors").write_bytes(small_snapshot.safetensors()[:-8])
    with pytest.raises(ConfigError, match=r"pvc://models/mine/ cannot be used: .*model\.safetensors"):
        await pulled(claim, "pvc://models/mine", file_format="hf")


@pytest.mark.parametrize(("prefers", "form"), [(Form.HUGGING_FACE, Form.HUGGING_FACE), (Form.GGUF, Form.GGUF)])
async def test_of_a_folder_with_both_forms_the_preferred_one_is_taken(claim: Path, folder: Path, prefers: Form, form: Form) -> None:
    (folder / "m.gguf").write_bytes(MODEL)
    await pulled(claim, "pvc://models/mine", prefers=prefers)
    assert store_of(claim).resolve("pvc://models/mine").form is form


@pytest.mark.parametrize(
    ("ref", "what"),
    [
        ("pvc://models/mine/m.gguf", "m.gguf is one file, and Hugging Face's form, which vLLM loads, is a folder"),
        ("pvc://models/", "neither GGUF files nor safetensors"),
        ("pvc://models/bare/", "has no config.json"),
        ("pvc://models/llama/", "as GGUF only, which llama.cpp loads: choose that engine"),
    ],
)
async def test_what_is_no_folder_of_weights_is_told_where_that_form_is_wanted(claim: Path, folder: Path, ref: str, what: str) -> None:
    (folder / "m.gguf").write_bytes(MODEL)
    (claim / "llama").mkdir()
    (claim / "llama" / "m.gguf").write_bytes(MODEL)
    (claim / "bare").mkdir()
    (claim / "bare" / "model.safetensors").write_bytes(small_snapshot.safetensors())
    with pytest.raises(ConfigError, match=what):
        await pulled(claim, ref, file_format="hf")


@pytest.mark.parametrize(
    ("ref", "error", "what"),
    [
        ("pvc://other/m.gguf", ConfigError, "no volume claim other is mounted here, at .*VLLAMA_PVC_ROOT.*vllama serve --model"),
        ("pvc://models/nothing.gguf", ModelNotFound, "has no such file or folder"),
        ("pvc://models/nothing/", ModelNotFound, "has no such file or folder"),
        ("pvc://models/", ConfigError, "neither GGUF files nor safetensors"),
        ("pvc://models/text.gguf", ConfigError, "it is no GGUF file"),
        ("pvc://models/odd.gguf", ConfigError, "'gptoss', which llama.cpp does not know"),
    ],
)
async def test_what_cannot_be_used_is_told(claim: Path, ref: str, error: type[Exception], what: str) -> None:
    (claim / "README.md").write_text("x")
    if ref.endswith(("text.gguf", "odd.gguf")):
        (claim / "text.gguf").write_bytes(b"<html>" * 99)
        (claim / "odd.gguf").write_bytes(small_gguf.make("gptoss"))
    with pytest.raises(error, match=what):
        await pulled(claim, ref)


async def test_a_link_out_of_the_claim_is_not_followed(claim: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.gguf").write_bytes(MODEL)
    (claim / "m.gguf").symlink_to(tmp_path / "outside.gguf")
    with pytest.raises(ConfigError, match="leads out of the claim"):
        await pulled(claim, "pvc://models/m.gguf")


async def test_a_file_that_is_written_to_while_it_is_read_gets_no_name(claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (claim / "m.gguf").write_bytes(MODEL)
    monkeypatch.setattr(pvc_plans, "HASH_BYTES", 1000)

    def shorten(event: Event) -> None:
        if isinstance(event, Progress):
            os.truncate(claim / "m.gguf", 1500)

    with pytest.raises(FetchFailed, match="was changed while it was read"):
        await pull(Sources(home=claim.parent.parent / "home", pvc_root=claim.parent), "pvc://models/m.gguf", on_event=shorten)
