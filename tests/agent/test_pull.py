"""Any name becomes a local model: from the hub, from Ollama's registry, or not at all with a sentence."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import fake_hub
import fake_registry
import pytest
import small_gguf
from fake_hub import FakeHub
from fake_registry import FakeRegistry

from vllama_agent.store import Store, convert_plans, manifests
from vllama_agent.store.children import ConvertedFile
from vllama_agent.store.events import Event, Progress, Status
from vllama_agent.store.hub import Hub
from vllama_agent.store.layers import Layers
from vllama_agent.store.library import Library
from vllama_agent.store.manifest import Manifest, Source
from vllama_agent.store.origin import Origin
from vllama_agent.store.pull import pull
from vllama_agent.store.sources import Sources
from vllama_agent.store.wanted import Wanted
from vllama_core import quantization
from vllama_core.errors import AccessDenied, ConfigError, FetchFailed, ModelNotFound
from vllama_core.modelref import ModelName

MODEL = small_gguf.make(padding=5000)
OTHER = small_gguf.make(padding=7000)


@dataclass
class World:
    """A home, a hub with its cache, and a registry."""

    hub: FakeHub
    registry: FakeRegistry
    folder: Path
    token: str | None = None
    offline: bool = False

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def sources(self) -> Sources:
        def hub() -> Hub:
            return Hub(endpoint=self.hub.endpoint, cache=self.cache, token=self.token, offline=self.offline)

        return Sources(home=self.home, hub=hub, registry=self.registry.endpoint)

    async def pull(self, ref: str, **more: object) -> list[Event]:
        events: list[Event] = []
        await pull(self.sources(), ref, on_event=events.append, **more)  # type: ignore[arg-type]
        return events

    def manifest(self, name: str) -> Manifest:
        parsed = ModelName.parse(name)
        assert parsed is not None
        found = manifests.read(manifests.path_of(self.home, parsed))
        assert found is not None
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with fake_hub.running() as hub, fake_registry.running() as registry:
        yield World(hub, registry, tmp_path)


def statuses(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Status)]


# --- the hub ----------------------------------------------------------------------------------------------------------------------


async def test_a_gguf_of_the_hub_lies_in_its_cache_under_its_own_name(world: World) -> None:
    repo = world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL, "x-Q8_0.gguf": OTHER, "README.md": b"x"}, license="mit")
    events = await world.pull("me/x-GGUF")
    sha256 = hashlib.sha256(MODEL).hexdigest()
    assert statuses(events) == ["pulling manifest", "verifying sha256 digest", "writing manifest"]
    progress = [event for event in events if isinstance(event, Progress)]
    assert {(event.digest, event.total) for event in progress} == {(sha256, len(MODEL))}
    assert progress[-1].completed == len(MODEL)
    artifact = Store(world.home).find("me/x-GGUF")
    folder = world.cache / "models--me--x-GGUF"
    assert artifact.files == (folder / "snapshots" / repo.commit / "x-Q4_K_M.gguf",)
    assert artifact.files[0].read_bytes() == MODEL
    assert artifact.files[0].resolve() == folder / "blobs" / sha256
    assert (folder / "refs" / "main").read_text() == repo.commit
    assert (artifact.digest, artifact.size, artifact.license) == (sha256, len(MODEL), ("mit",))
    source = world.manifest("me/x-GGUF").source
    assert source == Source(kind="hub", ref="me/x-GGUF", repo="me/x-GGUF", revision=repo.commit, quantization="Q4_K_M")


@pytest.mark.parametrize("direction", ["ours first", "theirs first"])
async def test_no_tool_downloads_twice(world: World, direction: str) -> None:
    """The hub's own library finds what we fetched, and we find what it fetched."""
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL})
    script = "\n".join(
        [
            "from huggingface_hub import hf_hub_download, scan_cache_dir",
            "print(open(hf_hub_download('me/x-GGUF', 'x-Q4_K_M.gguf'), 'rb').read(4), scan_cache_dir().warnings)",
        ]
    )
    environment = {
        **os.environ, "HF_ENDPOINT": world.hub.endpoint, "HF_HUB_CACHE": str(world.cache), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0",
    }  # fmt: skip

    async def theirs() -> None:
        import asyncio

        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout == "b'GGUF' []\n", done.stderr

    if direction == "ours first":
        await world.pull("me/x-GGUF")
        await theirs()
    else:
        await theirs()
        await world.pull("me/x-GGUF")
    assert world.hub.sent["x-Q4_K_M.gguf"] == len(MODEL)


async def test_a_name_of_the_catalogue_is_found_on_the_hub(world: World) -> None:
    world.hub.add("bartowski/Llama-3.2-3B-Instruct-GGUF", {"Llama-Q4_K_M.gguf": MODEL, "Llama-Q8_0.gguf": OTHER})
    await world.pull("llama3.2")
    await world.pull("llama3.2:3b-instruct-q8_0")
    store = Store(world.home)
    assert store.find("llama3.2:latest").digest == hashlib.sha256(MODEL).hexdigest()
    assert store.find("llama3.2:3b-instruct-q8_0").digest == hashlib.sha256(OTHER).hexdigest()
    assert store.find("llama3.2").license == ("llama3.2",)


async def test_a_users_catalogue_is_read(world: World) -> None:
    world.home.mkdir()
    (world.home / "catalog.yaml").write_text("mine:\n  sizes:\n    1b: me/x-GGUF\n")
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL})
    await world.pull("mine")
    assert Store(world.home).find("mine").size == len(MODEL)


async def test_the_nearest_quantization_comes_with_a_note(world: World) -> None:
    world.hub.add("me/x-GGUF", {"x-Q5_K_M.gguf": MODEL, "x-Q8_0.gguf": OTHER})
    events = await world.pull("me/x-GGUF")
    note = "me/x-GGUF has no Q4_K_M; taking Q5_K_M, the nearest better one"
    assert note in statuses(events)
    assert world.manifest("me/x-GGUF").source.notes == (note,)


async def test_split_files_and_a_projector_are_one_model(world: World) -> None:
    parts = {f"q/x-Q4_K_M-0000{number}-of-00002.gguf": small_gguf.make(padding=3000 + number * 100) for number in (1, 2)}
    world.hub.add("me/x", parts | {"mmproj-F16.gguf": small_gguf.make("clip", padding=9000)})
    await world.pull("me/x")
    artifact = Store(world.home).find("me/x")
    assert [file.name for file in artifact.files] == ["x-Q4_K_M-00001-of-00002.gguf", "x-Q4_K_M-00002-of-00002.gguf"]
    assert len({file.parent for file in artifact.files}) == 1
    assert artifact.projector is not None
    assert artifact.projector.name == "mmproj-F16.gguf"


@pytest.mark.parametrize("twin", ["me/x-GGUF", "ggml-org/x-GGUF", "bartowski/me_x-GGUF", "TheBloke/x-GGUF"])
async def test_others_gguf_files_of_a_repository_are_found(world: World, twin: str) -> None:
    world.hub.add("me/x", {"config.json": b"{}", "model.safetensors": bytes(2000)})
    world.hub.add(twin, {"x-Q4_K_M.gguf": MODEL})
    await world.pull("me/x")
    assert world.manifest("me/x").source.repo == twin
    assert world.hub.sent["model.safetensors"] == 0


async def test_a_revision_and_a_file_mean_one_repository(world: World) -> None:
    repo = world.hub.add("me/x", {"x-Q4_K_M.gguf": MODEL, "x-Q2_K.gguf": OTHER})
    await world.pull(f"me/x:x-Q2_K.gguf@{repo.commit}")
    assert Store(world.home).find(f"me/x:x-Q2_K.gguf@{repo.commit}").digest == hashlib.sha256(OTHER).hexdigest()
    assert not (world.cache / "models--me--x" / "refs").exists()
    with pytest.raises(ModelNotFound, match="has no revision v9"):
        await world.pull("me/x@v9")


@pytest.mark.parametrize(("token", "words"), [(None, "no token is set"), ("hf_wrong", "the token that is used has no access")])
async def test_a_gated_repository_says_how_to_get_in(world: World, token: str | None, words: str) -> None:
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL}, gated=True)
    world.token = token
    with pytest.raises(AccessDenied, match=rf"me/x-GGUF is gated or private, and {words}: accept its terms at .*HF_TOKEN"):
        await world.pull("me/x-GGUF")
    world.token = "hf_right"
    await world.pull("me/x-GGUF")
    assert "hf_right" not in repr(world.sources().hub())


async def test_a_token_that_has_ended_is_told_and_not_shown(world: World) -> None:
    """The real hub refuses it for public repositories, too."""
    world.token = "hf_ended"
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL})
    world.hub.api_answers.append((401, {"X-Error-Message": "Invalid credentials in Authorization header"}))
    with pytest.raises(AccessDenied, match=r"does not know the token that is used.*with a new one") as told:
        await world.pull("me/x-GGUF")
    assert "hf_ended" not in str(told.value)


@pytest.mark.parametrize("place", ["home", "cache"])
async def test_a_place_that_cannot_be_written_is_told_before_anything_is_fetched(world: World, place: str) -> None:
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL})
    (world.folder / place).write_text("a file, where a folder should be")
    with pytest.raises(FetchFailed, match=rf"{place}.* cannot be used \(.*\); VLLAMA_HOME and HF_HUB_CACHE name other places"):
        await world.pull("me/x-GGUF")
    assert world.hub.sent["x-Q4_K_M.gguf"] == 0


async def test_a_repository_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(ModelNotFound, match="nobody/nothing is not on the hub, or cannot be seen without a token"):
        await world.pull("nobody/nothing")


async def test_a_hub_that_is_busy_for_a_moment_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllama_agent.store.hub.PAUSE_SECONDS", 0.001)
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL})
    world.hub.api_answers.extend([(429, {}), (503, {})])
    await world.pull("me/x-GGUF")
    world.hub.api_answers.extend([(500, {})] * 3)
    with pytest.raises(FetchFailed, match="cannot be asked about me/x-GGUF: HTTP 500"):
        await world.pull("me/x-GGUF")


async def test_offline_the_cache_is_enough(world: World) -> None:
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL})
    await world.pull("me/x-GGUF")
    seen = len(world.hub.seen)
    world.offline = True
    manifests.path_of(world.home, ModelName.parse("me/x-GGUF") or ModelName("")).unlink()
    await world.pull("me/x-GGUF")
    assert Store(world.home).find("me/x-GGUF").size == len(MODEL)
    with pytest.raises(ModelNotFound, match="HF_HUB_OFFLINE is set"):
        await world.pull("me/y-GGUF")
    assert len(world.hub.seen) == seen


async def test_a_damaged_file_is_fetched_anew_when_asked_to_verify(world: World) -> None:
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL})
    await world.pull("me/x-GGUF")
    blob = world.cache / "models--me--x-GGUF" / "blobs" / hashlib.sha256(MODEL).hexdigest()
    blob.write_bytes(MODEL[:-1] + b"?")
    assert not any("damaged" in status for status in statuses(await world.pull("me/x-GGUF")))
    assert any("damaged" in status for status in statuses(await world.pull("me/x-GGUF", verify=True)))
    assert blob.read_bytes() == MODEL


async def test_two_pulls_that_end_together_leave_the_caches_layout_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL})
    await world.pull("me/x-GGUF")
    hub = world.sources().hub()
    repository = await hub.repository("me/x-GGUF")
    file = repository.files["x-Q4_K_M.gguf"]
    pointer = hub.pointer(repository, file)
    pointer.unlink()
    replace, between = os.replace, [lambda: hub.link(repository, file)]

    def late(source: Path, target: Path) -> None:
        if between:
            between.pop()()  # the other one does all of it while this one is about to
        replace(source, target)

    monkeypatch.setattr(os, "replace", late)
    assert hub.link(repository, file).read_bytes() == MODEL
    assert pointer.is_symlink()
    assert [path.name for path in pointer.parent.iterdir()] == ["x-Q4_K_M.gguf"]
    assert repo.commit in str(pointer)


async def test_a_file_system_without_symbolic_links_holds_files_under_their_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(link: Path, target: str) -> None:
        raise PermissionError(errno.EPERM, "no links here", str(link))

    monkeypatch.setattr(Path, "symlink_to", refused)
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL})
    for _ in range(2):
        await world.pull("me/x-GGUF")
        [file] = Store(world.home).find("me/x-GGUF").files
        assert file.read_bytes() == MODEL
        assert not file.is_symlink()
    assert world.hub.sent["x-Q4_K_M.gguf"] == len(MODEL)


async def test_two_pulls_of_one_address_end_well(world: World) -> None:
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": MODEL})
    world.hub.gate.set()
    address = f"{world.hub.endpoint}/me/x-GGUF/resolve/main/x-Q4_K_M.gguf"
    await asyncio.gather(*(world.pull(address, insecure=True) for _ in range(4)))
    assert Store(world.home).find("x-Q4_K_M").files[0].read_bytes() == MODEL
    assert list((world.home / "partials").iterdir()) == []


async def test_without_the_converter_the_command_is_told_before_anything_is_fetched(world: World) -> None:
    world.hub.add("me/x", {"config.json": b"{}", "model.safetensors": bytes(2000)})
    with pytest.raises(ConfigError, match="vllama engines install convert"):
        await world.pull("me/x")
    assert world.hub.sent["model.safetensors"] == 0


def test_room_for_a_conversion_is_asked_for_before_the_download(tmp_path: Path) -> None:
    """So much at least: a hundred bytes of weights are 25 values or more."""
    origin = Origin("https://example.org")
    files = [Wanted(target=tmp_path / "m", partials=tmp_path, origin=origin, checksum="a" * 64, size=size) for size in (60, 40)]
    weights = convert_plans.Weights(place="me/x", revision="1", model="x", downloads=tuple(files), folder=nullcontext)  # type: ignore[arg-type]
    rooms = {name: convert_plans.least_room(weights, quantization.parse(name)) for name in ("Q4_K_M", "Q8_0", "F32")}
    assert rooms == {"Q4_K_M": 50, "Q8_0": 26, "F32": 100}


async def test_safetensors_are_converted_once_per_commit_and_quantization(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = world.hub.add("me/x", {"config.json": b"{}", "model.safetensors": bytes(2000), "run.py": b"evil"})
    calls: list[tuple[Path, str]] = []

    async def convert(snapshot: Path, *, out: Path, quantization: str, **_: object) -> ConvertedFile:
        calls.append((snapshot, quantization))
        assert sorted(path.name for path in snapshot.iterdir()) == ["config.json", "model.safetensors"]
        out.write_bytes(MODEL)
        return ConvertedFile(path=out, sha256=hashlib.sha256(MODEL).hexdigest(), size=len(MODEL), notes=("It sees nothing.",))

    monkeypatch.setattr(convert_plans.layout, "require", lambda home: None)
    monkeypatch.setattr(convert_plans, "convert", convert)
    await world.pull("me/x")
    await world.pull("me/x:Q4_K_M")
    assert calls == [(world.cache / "models--me--x" / "snapshots" / repo.commit, "Q4_K_M")]
    artifact = Store(world.home).find("me/x:Q4_K_M")
    assert artifact.files == (manifests.blob(world.home, artifact.digest),)
    note = "no GGUF file is published for me/x; converting its safetensors to Q4_K_M"
    for name in ("me/x", "me/x:Q4_K_M"):
        source = world.manifest(name).source
        assert (source.kind, source.ref, source.notes) == ("converted", name, (note, "It sees nothing."))
    assert artifact.notes == (note, "It sees nothing.")
    assert list((world.home / "partials").iterdir()) == []


# --- Ollama's registry ------------------------------------------------------------------------------------------------------------


async def test_a_name_that_the_catalogue_lacks_comes_from_the_registry(world: World) -> None:
    world.registry.add(
        "library/rare:1b",
        model=small_gguf.make(template="{{ messages }}", padding=3000),
        template="{{ .Prompt }}",
        params=json.dumps({"stop": ["<end>"], "temperature": 0.3}),
        system="Be brief.",
        messages=json.dumps([{"role": "user", "content": "Hi"}]),
        license="Do as you like.",
    )
    events = await world.pull("rare:1b")
    assert statuses(events)[-1] == "writing manifest"
    artifact = Store(world.home).find("rare:1b")
    assert artifact.files[0].parent == world.home / "blobs"
    assert artifact.template is None, "the file's own is the original"
    assert artifact.parameters == {"stop": ["<end>"], "temperature": 0.3}
    assert (artifact.system, artifact.license) == ("Be brief.", ("Do as you like.",))
    assert artifact.messages == ({"role": "user", "content": "Hi"},)
    assert list((world.home / "partials").iterdir()) == []


async def test_a_newer_model_of_a_name_takes_its_place_and_the_older_ones_bytes_go(world: World) -> None:
    older = world.registry.add("library/rare:1b", model=MODEL, license="Old.")
    await world.pull("rare:1b")
    newer = world.registry.add("library/rare:1b", model=OTHER, license="New.")
    await world.pull("rare:1b")
    assert [path.name for path in (world.home / "blobs").iterdir()] == [f"sha256-{newer['model']}"]
    assert older["model"] != newer["model"]
    assert world.manifest("rare:1b").license == ("New.",)


async def test_bytes_of_the_older_model_that_another_name_needs_stay(world: World) -> None:
    older = world.registry.add("library/rare:1b", model=MODEL)
    world.registry.add("library/other:1b", model=MODEL)
    await world.pull("rare:1b")
    await world.pull("other:1b")
    world.registry.add("library/rare:1b", model=OTHER)
    await world.pull("rare:1b")
    assert manifests.blob(world.home, older["model"]).read_bytes() == MODEL


async def test_a_file_that_loses_its_last_name_while_it_gets_another_is_fetched_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = world.registry.add("library/rare:1b", model=MODEL)["model"]
    await world.pull("rare:1b")
    world.registry.add("library/other:1b", model=MODEL)
    publish, names = Library.publish, []

    def late(self: Library, manifest: Manifest) -> Manifest | None:
        names.append(manifest.name.model)
        if len(names) == 1:
            Library(Layers(world.home)).delete(ModelName("rare", tag="1b"))
        return publish(self, manifest)

    monkeypatch.setattr(Library, "publish", late)
    await world.pull("other:1b")
    assert names == ["other", "other"]
    assert manifests.blob(world.home, digest).read_bytes() == MODEL
    assert Store(world.home).find("other:1b").digest == digest


async def test_a_file_of_the_hub_that_is_no_gguf_gets_no_name(world: World) -> None:
    world.hub.add("me/x-GGUF", {"x-Q4_K_M.gguf": b"<html>" * 1000})
    with pytest.raises(FetchFailed, match="me/x-GGUF: what was fetched cannot be used: "):
        await world.pull("me/x-GGUF")
    assert Store(world.home).models() == []


async def test_a_wrong_option_of_the_registrys_is_left_out_with_a_note(world: World) -> None:
    world.registry.add("library/rare:1b", model=MODEL, params=json.dumps({"temperature": "hot", "top_k": 3, "num_gqa": 8}))
    note = 'Its parameter temperature is left out: temperature must be a number, not "hot".'
    assert note in statuses(await world.pull("rare:1b"))
    assert world.manifest("rare:1b").parameters == {"top_k": 3}
    assert world.manifest("rare:1b").source.notes == (note,)


async def test_the_registry_is_asked_outright_by_its_host(world: World) -> None:
    world.registry.add("library/llama3.2:3b", model=MODEL)
    await world.pull("ollama.com/library/llama3.2:3b")
    assert world.manifest("llama3.2:3b").source.kind == "registry"


async def test_a_template_of_gos_is_translated_where_the_file_has_none(world: World) -> None:
    world.registry.add("library/rare:latest", model=MODEL, template="{{ .System }} {{ .Prompt }}")
    await world.pull("rare")
    assert "{%" in (Store(world.home).find("rare").template or "")


async def test_a_model_whose_prompts_ollamas_own_code_makes_is_refused(world: World) -> None:
    """Its template layer is not what Ollama runs it with, unless the file brings the model's own."""
    settings = json.dumps({"model_format": "gguf", "renderer": "qwen3-coder"})
    world.registry.add("library/rare:latest", config=settings, model=MODEL, template="{{ .Prompt }}")
    with pytest.raises(ConfigError, match=r"code inside Ollama \(qwen3-coder\)"):
        await world.pull("rare")
    world.registry.add("library/rare:own", config=settings, model=small_gguf.make(template="{{ messages }}"), template="{{ .Prompt }}")
    await world.pull("rare:own")
    assert Store(world.home).find("rare:own").template is None


async def test_a_template_that_cannot_be_translated_is_refused_before_the_download(world: World) -> None:
    world.registry.add("library/rare:latest", model=small_gguf.make(padding=3 << 20), template="{{ nonsense .X }}")
    with pytest.raises(ConfigError, match="rare:latest of the registry cannot be served"):
        await world.pull("rare")
    assert world.registry.sent < 2 << 20


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (small_gguf.make("gptoss", padding=3 << 20), "its architecture is 'gptoss', which llama.cpp does not know"),
        (small_gguf.make("gemma3", tensor="v.blk.0.attn_q.weight", padding=3 << 20), "an image or audio encoder in the model's own file"),
    ],
)
async def test_what_libllama_cannot_load_is_refused_by_its_header_alone(world: World, model: bytes, why: str) -> None:
    world.registry.add("library/gpt-oss:20b", model=model)
    with pytest.raises(ConfigError, match=why) as told:
        await world.pull("ollama.com/library/gpt-oss:20b")
    assert "its GGUF on the hub can be used instead: ggml-org/gpt-oss-20b-GGUF" in str(told.value)
    assert world.registry.sent <= 1 << 20


async def test_an_unknown_name_is_told_with_near_ones(world: World) -> None:
    with pytest.raises(ModelNotFound, match=r"model 'lama3\.2' not found: did you mean .*llama3\.2"):
        await world.pull("lama3.2")
    with pytest.raises(ModelNotFound, match="neither the catalogue nor Ollama's registry has it"):
        await world.pull("xyzzyx")


async def test_near_names_are_told_too_where_the_registry_cannot_be_asked(world: World) -> None:
    world.registry.endpoint = "http://127.0.0.1:9"
    with pytest.raises(
        FetchFailed, match=r"the catalogue has no lama3\.2, and Ollama's registry cannot be asked: .*; did you mean .*llama3\.2"
    ):
        await world.pull("lama3.2")
    with pytest.raises(FetchFailed, match="the catalogue has no xyzzyx, and Ollama's registry cannot be asked: ") as told:
        await world.pull("xyzzyx")
    assert "did you mean" not in str(told.value)


async def test_wrong_bytes_of_the_registry_never_get_a_name(world: World) -> None:
    digests = world.registry.add("library/rare:latest", model=MODEL, system="Be brief.")
    world.registry.wrong.add(f"sha256:{digests['model']}")
    with pytest.raises(FetchFailed, match="sent wrong bytes"):
        await world.pull("rare")
    world.registry.wrong = {f"sha256:{digests['system']}"}
    with pytest.raises(FetchFailed, match="wrong system"):
        await world.pull("rare")
    assert Store(world.home).models() == []


async def test_a_registry_that_wants_an_account_is_told(world: World) -> None:
    world.registry.locked = True
    with pytest.raises(AccessDenied, match="wants an account"):
        await world.pull("rare")


async def test_another_registry_over_plain_http_is_spoken_to_only_when_that_is_said(world: World) -> None:
    world.registry.add("me/rare:1", model=MODEL)
    host = world.registry.endpoint.removeprefix("http://")
    with pytest.raises(FetchFailed, match=f"https://{host}"):
        await world.pull(f"{host}/me/rare:1")
    await world.pull(f"{host}/me/rare:1", insecure=True)
    assert Store(world.home).find(f"{host}/me/rare:1").size == len(MODEL)


# --- addresses --------------------------------------------------------------------------------------------------------------------


async def test_a_gguf_at_an_address_is_looked_at_then_fetched(world: World) -> None:
    world.hub.add("me/x", {"My-Model.Q8_0.gguf": MODEL})
    address = f"{world.hub.content_endpoint}/me/x/My-Model.Q8_0.gguf"
    with pytest.raises(ConfigError, match="over plain HTTP anybody on the way can change a model"):
        await world.pull(address + "?signature=secret")
    await world.pull(address + "?signature=secret", insecure=True)
    artifact = Store(world.home).find("My-Model.Q8_0")
    assert artifact.files[0].read_bytes() == MODEL
    assert artifact.digest == hashlib.sha256(MODEL).hexdigest()
    assert world.manifest("My-Model.Q8_0").source.ref == address, "without the signature"
    assert list((world.home / "partials").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "error", "what"),
    [
        (small_gguf.make("gptoss"), ConfigError, "'gptoss', which llama.cpp does not know"),
        (b"<html>" * 300, FetchFailed, "it is no GGUF file"),
        (MODEL[:-1000], FetchFailed, "what was fetched is damaged: the file is cut off"),
    ],
)
async def test_what_is_no_model_at_an_address_gets_no_name(world: World, content: bytes, error: type[Exception], what: str) -> None:
    world.hub.add("me/x", {"m.gguf": content})
    with pytest.raises(error, match=what):
        await world.pull(f"{world.hub.content_endpoint}/me/x/m.gguf", insecure=True)
    assert Store(world.home).models() == []


async def test_an_address_that_leads_nowhere_is_told(world: World) -> None:
    with pytest.raises(FetchFailed, match=r"nothing\.gguf is not there"):
        await world.pull(f"{world.registry.endpoint}/v2/nothing.gguf", insecure=True)


# --- what is no model -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ref", "what"),
    [("./file.gguf", "is a file here"), ("a b", "is no model"), ("oci://nowhere", "is no reference of a registry's artifact")],
)
async def test_what_cannot_be_pulled_is_told(world: World, ref: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        await world.pull(ref)
