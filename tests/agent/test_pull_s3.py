"""Models of S3: a real botocore against a local storage that cuts, refuses, and lies."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import fake_s3
import pytest
import small_gguf
from fake_s3 import FakeS3

from vllama_agent.store import Store, convert_plans, manifests, s3, transfer
from vllama_agent.store.children import ConvertedFile
from vllama_agent.store.events import Event, Progress, Status
from vllama_agent.store.manifest import Manifest
from vllama_agent.store.pull import pull
from vllama_agent.store.sources import Sources
from vllama_core.errors import AccessDenied, ConfigError, FetchFailed, ModelNotFound
from vllama_core.modelref import ModelRef

MIB = 1 << 20
MODEL = small_gguf.make(padding=5000)
OTHER = small_gguf.make(padding=7000)
LARGE = small_gguf.make(padding=20 * MIB)
SECRET = "wJalrXUtnFEMI-secret"


@dataclass
class World:
    storage: FakeS3
    home: Path

    async def pull(self, ref: str, **more: object) -> list[Event]:
        events: list[Event] = []
        await pull(Sources(home=self.home, streams=2), ref, on_event=events.append, **more)  # type: ignore[arg-type]
        return events

    def manifest(self, ref: str) -> Manifest:
        name = ModelRef.parse(ref).name
        assert name is not None
        found = manifests.read(manifests.path_of(self.home, name))
        assert found is not None
        return found

    def bytes_of(self, ref: str) -> list[bytes]:
        return [path.read_bytes() for path in Store(self.home).resolve(ref).files]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with fake_s3.running() as storage:
        for name, value in {
            "AWS_ENDPOINT_URL_S3": storage.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.001)
        yield World(storage, tmp_path / "home")


def statuses(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Status)]


async def test_an_object_becomes_a_model(world: World) -> None:
    world.storage.put("models", "team/My Model.gguf", MODEL)
    ref = "s3://models/team/My Model.gguf"
    events = await world.pull(ref)
    assert world.bytes_of(ref) == [MODEL]
    assert [event for event in events if isinstance(event, Progress)][-1].completed == len(MODEL)
    assert world.manifest(ref).source.kind == "s3"
    assert world.manifest(ref).source.ref == ref
    assert list((world.home / "partials").iterdir()) == []


async def test_a_bucket_of_another_region_is_asked_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    world.storage.region = "ap-south-1"
    world.storage.put("models", "m.gguf", MODEL)
    await world.pull("s3://models/m.gguf")
    assert world.bytes_of("s3://models/m.gguf") == [MODEL]


async def test_who_interrupts_a_pull_goes_on_where_it_stopped(world: World) -> None:
    world.storage.put("models", "m.gguf", LARGE)
    reached = asyncio.Event()

    def tell(event: Event) -> None:
        if isinstance(event, Progress) and event.completed >= 10 * MIB:
            reached.set()

    pulling = asyncio.create_task(pull(Sources(home=world.home, streams=1), "s3://models/m.gguf", on_event=tell))
    await reached.wait()
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    before = world.storage.sent["m.gguf"]
    await world.pull("s3://models/m.gguf")
    assert world.bytes_of("s3://models/m.gguf") == [LARGE]
    assert world.storage.sent["m.gguf"] - before <= len(LARGE) - 9 * MIB


@pytest.mark.parametrize("knows_sha256", [True, False])
async def test_what_is_here_is_not_fetched_again_until_the_object_changes(world: World, knows_sha256: bool) -> None:
    world.storage.knows_sha256 = knows_sha256
    world.storage.put("models", "m.gguf", LARGE)
    await world.pull("s3://models/m.gguf")
    sent = world.storage.sent["m.gguf"]
    await world.pull("s3://models/m.gguf")
    assert world.storage.sent["m.gguf"] - sent <= MIB, "its header is looked at"
    world.storage.put("models", "m.gguf", OTHER)
    await world.pull("s3://models/m.gguf")
    assert world.bytes_of("s3://models/m.gguf") == [OTHER]


async def test_a_file_that_was_damaged_here_is_fetched_anew_when_asked_to_verify(world: World) -> None:
    """Also where the storage knew no checksum: the one of the first download counts."""
    world.storage.put("models", "m.gguf", MODEL)
    await world.pull("s3://models/m.gguf")
    manifests.blob(world.home, hashlib.sha256(MODEL).hexdigest()).write_bytes(MODEL[:-1] + b"?")
    assert any("damaged" in status for status in statuses(await world.pull("s3://models/m.gguf", verify=True)))
    assert world.bytes_of("s3://models/m.gguf") == [MODEL]


async def test_a_folder_gives_the_file_of_the_default_quantization(world: World) -> None:
    world.storage.page = 2
    for number, name in enumerate(["a-Q8_0.gguf", "a-Q4_K_M.gguf", "mmproj-F16.gguf", "imatrix.gguf", "README.md"]):
        world.storage.put("models", f"a/{name}", small_gguf.make(padding=1000 * number))
    world.storage.put("models", "a/", b"")
    await world.pull("s3://models/a")
    found = Store(world.home).resolve("s3://models/a/")
    assert [path.read_bytes() for path in found.files] == [small_gguf.make(padding=1000)]
    assert found.projector is not None
    assert world.manifest("s3://models/a").source.quantization == "Q4_K_M"


@pytest.mark.parametrize("ref", ["s3://models/big/", "s3://models/big/x-00002-of-00002.gguf"])
async def test_a_split_set_is_one_model(world: World, ref: str) -> None:
    for number, data in ((1, MODEL), (2, OTHER)):
        world.storage.put("models", f"big/x-0000{number}-of-00002.gguf", data)
    await world.pull(ref)
    assert world.bytes_of(ref) == [MODEL, OTHER]


async def test_two_pulls_of_one_object_share_one_download(world: World) -> None:
    """Nobody knows its checksum before; who waited finds by the first one's note what became of it."""
    world.storage.put("models", "m.gguf", LARGE)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(world.pull("s3://models/m.gguf"))
    assert world.bytes_of("s3://models/m.gguf") == [LARGE]
    assert world.storage.sent["m.gguf"] <= len(LARGE) + 3 * MIB, "each looks at the header"


async def test_what_is_damaged_or_removed_after_it_was_fetched_is_fetched_again(world: World) -> None:
    world.storage.put("models", "m.gguf", small_gguf.make(padding=5000)[:-100])
    for _ in range(2):
        with pytest.raises(FetchFailed, match="what was fetched is damaged: the file is cut off"):
            await world.pull("s3://models/m.gguf")
    assert list((world.home / "blobs").iterdir()) == []


async def test_models_of_two_folders_have_two_names(world: World) -> None:
    world.storage.put("models", "a/m.gguf", MODEL)
    world.storage.put("models", "b/m.gguf", OTHER)
    for folder in "ab":
        await world.pull(f"s3://models/{folder}/m.gguf")
    assert world.bytes_of("s3://models/a/m.gguf") == [MODEL]
    assert world.bytes_of("s3://models/b/m.gguf") == [OTHER]


async def test_a_cut_costs_no_byte_twice(world: World) -> None:
    world.storage.put("models", "m.gguf", LARGE)
    world.storage.cut_after.extend([1 << 30, 3 * MIB, 5 * MIB, MIB])  # the first one is for the header
    await world.pull("s3://models/m.gguf")
    assert world.bytes_of("s3://models/m.gguf") == [LARGE]
    assert world.storage.sent["m.gguf"] <= len(LARGE) + 2 * MIB


async def test_an_address_whose_signature_ends_is_signed_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.storage.put("models", "m.gguf", LARGE)
    world.storage.cut_after.extend([1 << 30, 2 * MIB, 2 * MIB])

    def end(event: Event) -> None:
        if isinstance(event, Progress) and event.completed > MIB and not world.storage.ended:
            world.storage.ended = set(world.storage.signatures)
            monkeypatch.setattr(s3, "SIGNED_SECONDS", 1800)  # a signature of the same second would be the same

    await pull(Sources(home=world.home, streams=2), "s3://models/m.gguf", on_event=end)
    assert world.storage.ended
    assert world.bytes_of("s3://models/m.gguf") == [LARGE]


async def test_an_object_that_is_replaced_meanwhile_is_not_mixed_in(world: World) -> None:
    world.storage.put("models", "m.gguf", LARGE)
    world.storage.cut_after.extend([1 << 30, 2 * MIB, 2 * MIB])

    def replace(event: Event) -> None:
        if isinstance(event, Progress) and event.completed > MIB:
            world.storage.put("models", "m.gguf", LARGE[:-1] + b"?")

    with pytest.raises(FetchFailed, match="was changed while it was fetched; pull again"):
        await pull(Sources(home=world.home, streams=2), "s3://models/m.gguf", on_event=replace)
    assert Store(world.home).models() == []


async def test_wrong_bytes_get_no_name(world: World) -> None:
    world.storage.knows_sha256 = True
    world.storage.put("models", "m.gguf", small_gguf.make(padding=3 * MIB))
    await world.pull("s3://models/m.gguf")
    world.storage.put("models", "n/a-00001-of-00002.gguf", MODEL)
    world.storage.put("models", "n/a-00002-of-00002.gguf", OTHER)
    world.storage.wrong.add("n/a-00002-of-00002.gguf")
    with pytest.raises(FetchFailed, match="sent wrong bytes"):
        await world.pull("s3://models/n/")
    assert [model.name for model in Store(world.home).models()] == ["s3/models/m:latest"]


@pytest.mark.parametrize(
    ("ref", "error", "what"),
    [
        ("s3://models/nothing.gguf", ModelNotFound, "there is no such object"),
        ("s3://models/nothing/", ModelNotFound, "there is no object below it"),
        ("s3://nobucket/folder/", ModelNotFound, "there is no bucket nobucket"),
        ("s3://models/empty/", ConfigError, "neither GGUF files nor safetensors"),
        ("s3://models/two/", ConfigError, r"name a file: s3://models/two/a\.gguf"),
        ("s3://models/text.gguf", FetchFailed, "it is no GGUF file"),
        ("s3://models/odd.gguf", ConfigError, "'gptoss', which llama.cpp does not know"),
    ],
)
async def test_what_cannot_be_pulled_is_told(world: World, ref: str, error: type[Exception], what: str) -> None:
    world.storage.put("models", "empty/README.md", b"x")
    world.storage.put("models", "two/a.gguf", MODEL)
    world.storage.put("models", "two/b.gguf", OTHER)
    world.storage.put("models", "text.gguf", b"<html>" * 100)
    world.storage.put("models", "odd.gguf", small_gguf.make("gptoss"))
    with pytest.raises(error, match=what):
        await world.pull(ref)
    assert Store(world.home).models() == []


async def test_a_folder_of_too_many_objects_is_no_model(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllama_agent.store.s3.MOST_OBJECTS", 3)
    for number in range(5):
        world.storage.put("models", f"{number}.gguf", MODEL)
    with pytest.raises(ConfigError, match="more than 3 objects below it"):
        await world.pull("s3://models/")


async def test_access_that_is_refused_is_told_without_the_secret(world: World) -> None:
    world.storage.denied = True
    with pytest.raises(AccessDenied, match="these credentials may not read it") as told:
        await world.pull("s3://models/m.gguf")
    assert SECRET not in str(told.value)


async def test_no_log_has_a_secret_or_a_token(world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token")
    caplog.set_level(logging.DEBUG)
    world.storage.put("models", "m.gguf", MODEL)
    await world.pull("s3://models/m.gguf")
    assert not any(word in caplog.text for word in (SECRET, "session-token", "X-Amz-Signature"))


async def test_an_answer_that_makes_no_sense_is_told_without_the_signature(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client library's own sentence about it repeats the address."""
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    world.storage.put("models", "m.gguf", LARGE)
    world.storage.nonsense_after = MIB
    with pytest.raises(FetchFailed, match=r"s3://models/m\.gguf cannot be (?:read|fetched): HTTP 400") as told:
        await world.pull("s3://models/m.gguf")
    assert "Signature" not in str(told.value)


async def test_without_credentials_public_buckets_can_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    world.storage.put("models", "m.gguf", MODEL)
    with pytest.raises(AccessDenied, match=r"no credentials were found.*set AWS_ACCESS_KEY_ID"):
        await world.pull("s3://models/m.gguf")
    world.storage.public = True
    await world.pull("s3://models/m.gguf")
    assert world.bytes_of("s3://models/m.gguf") == [MODEL]


async def test_a_profile_that_is_not_there_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match=r"the settings for S3 cannot be used: .*nobody"):
        await world.pull("s3://models/m.gguf")


async def test_without_the_library_the_command_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'vllama-serve\[s3\]'"):
        await world.pull("s3://models/m.gguf")


async def test_original_weights_are_fetched_converted_and_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in {"config.json": b"{}", "model.safetensors": random.Random(1).randbytes(2000), "run.py": b"evil"}.items():
        world.storage.put("models", f"mine/{name}", data)
    calls: list[tuple[list[str], str, object]] = []

    async def convert(snapshot: Path, *, out: Path, quantization: str, name: str, **_: object) -> ConvertedFile:
        calls.append((sorted(path.name for path in snapshot.iterdir()), quantization, name))
        out.write_bytes(MODEL)
        return ConvertedFile(path=out, sha256=hashlib.sha256(MODEL).hexdigest(), size=len(MODEL), notes=())

    monkeypatch.setattr(convert_plans.layout, "require", lambda home: None)
    monkeypatch.setattr(convert_plans, "convert", convert)
    await world.pull("s3://models/mine/")
    await world.pull("s3://models/mine/")
    assert calls == [(["config.json", "model.safetensors"], "Q4_K_M", "mine")], "once"
    assert world.bytes_of("s3://models/mine") == [MODEL]
    assert list((world.home / "partials").iterdir()) == []


async def test_format_hf_is_for_repositories_and_claims(world: World) -> None:
    with pytest.raises(ConfigError, match=r"in Hugging Face's form .*repositories of the hub and from folders of volume claims"):
        await world.pull("s3://models/mine/", file_format="hf")


async def test_the_name_of_a_model_from_storage_says_how_to_fetch_it(world: World) -> None:
    with pytest.raises(ConfigError, match="to fetch it write s3://models/ and its path"):
        await world.pull("s3/models/m")
