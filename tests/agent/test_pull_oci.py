"""Models of OCI registries: what Docker, ModelPack, KitOps and ORAS publish, from a local registry that wants tokens, cuts and lies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fake_oci
import pytest
import small_gguf
from fake_oci import FakeOci

from vllama_agent.store import Store, archives, manifests, transfer
from vllama_agent.store.events import Event, Status
from vllama_agent.store.manifest import Manifest
from vllama_agent.store.pull import pull
from vllama_agent.store.sources import Sources
from vllama_core.errors import AccessDenied, ConfigError, FetchFailed, ModelNotFound, NoSpace
from vllama_core.modelref import ModelRef

MIB = 1 << 20
MODEL = small_gguf.make(padding=5000)
OTHER = small_gguf.make(padding=7000)
LARGE = small_gguf.make(padding=20 * MIB)
GGUF = "application/vnd.docker.ai.gguf.v3"
RAW = "application/vnd.cncf.model.weight.v1.raw"
TAR = "application/vnd.oci.image.layer.v1.tar"


@dataclass
class World:
    registry: FakeOci
    home: Path

    def ref(self, name: str) -> str:
        return f"oci://{self.registry.host}/{name}"

    async def pull(self, name: str, *, insecure: bool = True) -> list[Event]:
        events: list[Event] = []
        await pull(Sources(home=self.home, streams=2), self.ref(name), on_event=events.append, insecure=insecure)
        return events

    def bytes_of(self, name: str) -> list[bytes]:
        return [path.read_bytes() for path in Store(self.home).resolve(self.ref(name)).files]

    def manifest(self, name: str) -> Manifest:
        parsed = ModelRef.parse(self.ref(name)).name
        assert parsed is not None
        found = manifests.read(manifests.path_of(self.home, parsed))
        assert found is not None
        return found


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with fake_oci.running() as registry:
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
        monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.001)
        yield World(registry, tmp_path / "home")


def archive(compression: str = "", **files: bytes) -> bytes:
    """A tar archive; two underscores in a name stand for a dot."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(f"sub/{name.replace('__', '.')}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return written.getvalue()


PART = archive(**{"m-00001-of-00002__gguf": MODEL})


async def test_what_docker_model_runner_publishes_becomes_a_model(world: World) -> None:
    digest = world.registry.add(
        "ai/smollm2:360M",
        world.registry.layer(GGUF, MODEL),
        world.registry.layer("application/vnd.docker.ai.license", b"Apache"),
        world.registry.layer("application/vnd.docker.ai.mmproj", OTHER),
        world.registry.layer("application/vnd.docker.ai.chat.template.jinja", b"{{ messages }}"),
    )
    await world.pull("ai/smollm2:360M")
    found = Store(world.home).resolve(world.ref("ai/smollm2:360M"))
    assert found.name == f"{world.registry.host}/ai/smollm2:360M"
    assert [path.read_bytes() for path in found.files] == [MODEL]
    assert (found.license, found.template) == (("Apache",), "{{ messages }}")
    assert found.projector is not None
    source = world.manifest("ai/smollm2:360M").source
    assert (source.kind, source.revision) == ("oci", digest.removeprefix("sha256:"))
    assert list((world.home / "partials").iterdir()) == []


@pytest.mark.parametrize(
    ("media_type", "annotations"),
    [
        (RAW, {"org__cncf__model__filepath": "folder/m.gguf"}),
        ("application/vnd.cncf.model.weight.v1.raw", {}),
        (TAR, {"org__opencontainers__image__title": "m.gguf"}),
        ("application/octet-stream", {"org__opencontainers__image__title": "M.GGUF"}),
        ("application/vnd.ollama.image.model", {}),
        ("application/x-gguf", {}),
    ],
)
async def test_a_layer_with_a_gguf_file_is_known_by_its_type_or_its_name(
    world: World, media_type: str, annotations: dict[str, str]
) -> None:
    readme = world.registry.layer(TAR, b"read me", org__opencontainers__image__title="README.md")
    world.registry.add("a/m:1", readme, world.registry.layer(media_type, MODEL, **annotations))
    await world.pull("a/m:1")
    assert world.bytes_of("a/m:1") == [MODEL]


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        ("application/vnd.kitops.modelkit.model.v1.tar", ""),
        ("application/vnd.kitops.modelkit.model.v1.tar+gzip", "gz"),
        ("application/vnd.cncf.model.weight.v1.tar", ""),
        ("application/vnd.cncf.model.weight.v1.tar+gzip", "gz"),
    ],
)
async def test_a_model_in_an_archive_is_unpacked_once(world: World, media_type: str, compression: str) -> None:
    world.registry.add("a/kit:1", world.registry.layer(media_type, archive(compression, readme__md=b"x", m__gguf=MODEL)))
    assert Status("unpacking") in await world.pull("a/kit:1")
    assert world.bytes_of("a/kit:1") == [MODEL]
    assert list((world.home / "partials").iterdir()) == []
    assert [path.name for path in (world.home / "blobs").iterdir()] == [f"sha256-{hashlib.sha256(MODEL).hexdigest()}"]
    sent = world.registry.sent
    assert Status("unpacking") not in await world.pull("a/kit:1")
    assert world.registry.sent == sent


async def test_an_archive_needs_room_for_what_is_in_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.registry.add("a/kit:1", world.registry.layer("application/vnd.kitops.modelkit.model.v1.tar", archive(m__gguf=MODEL)))
    usage = shutil.disk_usage("/")._replace(free=archives.SPARE_BYTES + 3 * len(MODEL))
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(archives, "SPARE_BYTES", archives.SPARE_BYTES + 3 * len(MODEL))
    with pytest.raises(NoSpace, match=r"unpacking m\.gguf needs .* are free at"):
        await world.pull("a/kit:1")
    assert Store(world.home).models() == []


async def test_who_cancels_while_an_archive_is_unpacked_leaves_nothing_half_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.registry.add("a/kit:1", world.registry.layer("application/vnd.kitops.modelkit.model.v1.tar", archive(m__gguf=MODEL)))
    monkeypatch.setattr(archives, "READ_BYTES", 64)
    copied, go_on = asyncio.Event(), threading.Event()
    loop, copy = asyncio.get_running_loop(), archives._copied

    def slowly(*arguments: Any) -> Any:
        loop.call_soon_threadsafe(copied.set)
        go_on.wait(10)
        return copy(*arguments)

    monkeypatch.setattr(archives, "_copied", slowly)
    pulling = asyncio.create_task(world.pull("a/kit:1"))
    await copied.wait()
    pulling.cancel()
    loop.call_later(0.01, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await pulling
    assert list((world.home / "blobs").iterdir()) == []
    assert len(list((world.home / "partials").glob("*.tar"))) == 1, "the next pull needs not fetch it again"


@pytest.mark.parametrize("titled", [True, False])
async def test_the_files_of_a_split_set_are_one_model(world: World, titled: bool) -> None:
    layers = []
    for number, data in ((1, MODEL), (2, OTHER)):
        more = {"org__opencontainers__image__title": f"x-0000{number}-of-00002.gguf"} if titled else {}
        layers.append(world.registry.layer(GGUF, data, **more))
    world.registry.add("a/b/c/m:1", *(reversed(layers) if titled else layers))
    await world.pull("a/b/c/m:1")
    assert world.bytes_of("a/b/c/m:1") == [MODEL, OTHER]


async def test_a_digest_means_one_manifest_for_ever(world: World) -> None:
    digest = world.registry.add("a/m:1", world.registry.layer(GGUF, MODEL))
    world.registry.add("a/m:1", world.registry.layer(GGUF, OTHER))
    await world.pull(f"a/m:1@{digest}")
    assert world.bytes_of(f"a/m:1@{digest}") == [MODEL]
    world.registry.manifests[f"a/m:{digest}"] = world.registry.manifests["a/m:1"]
    with pytest.raises(FetchFailed, match="sent a wrong manifest"):
        await world.pull(f"a/m@{digest}")


async def test_an_index_of_one_artifact_leads_to_it(world: World) -> None:
    first = world.registry.add("a/m:1", world.registry.layer(GGUF, MODEL))
    second = world.registry.add("a/m:2", world.registry.layer(GGUF, OTHER))
    world.registry.add_index("a/m:one", first, attestations=(second,))
    world.registry.add_index("a/m:two", first, second)
    await world.pull("a/m:one")
    assert world.bytes_of("a/m:one") == [MODEL]
    with pytest.raises(ConfigError, match=f"is an index of 2 artifacts; name one: oci://.*/a/m@{first}"):
        await world.pull("a/m:two")


async def test_a_cut_costs_no_byte_twice(world: World) -> None:
    world.registry.add("a/m:1", world.registry.layer(GGUF, LARGE))
    world.registry.cut_after.extend([1 << 30, 3 * MIB, 5 * MIB, MIB])  # the first one is for the header
    await world.pull("a/m:1")
    assert world.bytes_of("a/m:1") == [LARGE]
    assert world.registry.sent <= len(LARGE) + 2 * MIB


# --- who may --------------------------------------------------------------------------------------------------------------------------


async def test_everybodys_token_is_asked_for_with_the_scope_of_one_repository(world: World) -> None:
    world.registry.auth = "bearer"
    world.registry.add("a/m:1", world.registry.layer(GGUF, MODEL))
    await world.pull("a/m:1")
    assert world.registry.scopes == ["repository:a/m:pull"]


async def test_a_token_that_ends_is_asked_for_anew(world: World) -> None:
    world.registry.auth = "bearer"
    world.registry.uses = 4
    world.registry.add("a/m:1", world.registry.layer(GGUF, LARGE))
    world.registry.cut_after.extend([1 << 30, *[MIB] * 6])
    await world.pull("a/m:1")
    assert world.bytes_of("a/m:1") == [LARGE]
    assert len(world.registry.tokens) > 2


def log_in(world: World, **config: object) -> None:
    folder = world.home.parent / "docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize("kind", ["private", "basic"])
async def test_a_private_repository_takes_what_docker_login_left(world: World, kind: str) -> None:
    world.registry.auth = kind
    world.registry.add("a/m:1", world.registry.layer(GGUF, MODEL))
    with pytest.raises(AccessDenied, match=f"log in with `docker login {world.registry.host}`"):
        await world.pull("a/m:1")
    log_in(world, auths={world.registry.host: auth("me:wrong")})
    with pytest.raises(AccessDenied) as told:
        await world.pull("a/m:1")
    assert "wrong" not in str(told.value)
    log_in(world, auths={world.registry.host: auth("me:hunter2")})
    await world.pull("a/m:1")
    assert world.bytes_of("a/m:1") == [MODEL]


async def test_an_identity_token_is_changed_for_one_of_the_registry(world: World) -> None:
    world.registry.auth = "private"
    world.registry.add("a/m:1", world.registry.layer(GGUF, MODEL))
    log_in(world, auths={world.registry.host: {"identitytoken": "identity-secret"}})
    await world.pull("a/m:1")
    assert world.bytes_of("a/m:1") == [MODEL]


async def test_a_credential_helper_is_asked(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.registry.auth = "basic"
    world.registry.add("a/m:1", world.registry.layer(GGUF, MODEL))
    log_in(world, credHelpers={world.registry.host: "test"})
    with pytest.raises(ConfigError, match=r"docker-credential-test, which .* cannot be used: FileNotFoundError"):
        await world.pull("a/m:1")
    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(
        f'#!/bin/sh\nread -r server\n[ "$server" = {world.registry.host} ] && echo \'{{"Username": "me", "Secret": "hunter2"}}\'\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:/usr/bin:/bin")
    await world.pull("a/m:1")
    assert world.bytes_of("a/m:1") == [MODEL]


async def test_a_broken_file_of_credentials_is_told_and_not_shown(world: World) -> None:
    world.registry.auth = "basic"
    log_in(world)
    (world.home.parent / "docker" / "config.json").write_text("hunter2")
    with pytest.raises(ConfigError, match=r"config\.json cannot be read as a file of registry credentials") as told:
        await world.pull("a/m:1")
    assert "hunter2" not in str(told.value)


async def test_plain_http_is_spoken_only_when_that_is_said(world: World) -> None:
    world.registry.add("a/m:1", world.registry.layer(GGUF, MODEL))
    with pytest.raises(FetchFailed, match=f"https://{world.registry.host}"):
        await world.pull("a/m:1", insecure=False)


# --- what cannot be used -----------------------------------------------------------------------------------------------------------------


async def test_an_artifact_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(ModelNotFound, match="its registry has no such artifact"):
        await world.pull("a/m:1")


@pytest.mark.parametrize(
    ("media_type", "data", "error", "what"),
    [
        ("application/vnd.docker.ai.safetensors", b"x", ConfigError, "holds no GGUF file, only a layer of 1 bytes"),
        ("application/vnd.cncf.model.weight.v1.tar+zstd", b"x", ConfigError, r"its weights as tar\+zstd, which is not unpacked here"),
        (GGUF, b"<html>" * 99, FetchFailed, "it is no GGUF file"),
        (GGUF, small_gguf.make("gptoss"), ConfigError, "'gptoss', which llama.cpp does not know"),
        ("application/vnd.kitops.modelkit.model.v1.tar", archive(readme__md=b"x"), ConfigError, "its archives hold no GGUF file"),
        ("application/vnd.kitops.modelkit.model.v1.tar", archive(a__gguf=MODEL, b__gguf=OTHER), ConfigError, "hold a.gguf, b.gguf"),
        ("application/vnd.kitops.modelkit.model.v1.tar", PART, ConfigError, "lacks a part of its split set; it has m-00001-of-00002.gguf"),
        ("application/vnd.kitops.modelkit.model.v1.tar", archive(a__gguf=MODEL)[:3000], FetchFailed, "cannot be unpacked"),
        ("application/vnd.kitops.modelkit.model.v1.tar", archive(a__gguf=b"text"), ConfigError, "it is no GGUF file"),
    ],
)
async def test_what_holds_no_model_gets_no_name(world: World, media_type: str, data: bytes, error: type[Exception], what: str) -> None:
    world.registry.add("a/m:1", world.registry.layer(media_type, data))
    with pytest.raises(error, match=what):
        await world.pull("a/m:1")
    assert Store(world.home).models() == []
    assert not [path for path in (world.home / "blobs").glob("*") if path.name.startswith(manifests.SCRATCH)]


async def test_half_a_split_set_is_told_before_it_is_fetched(world: World) -> None:
    world.registry.add("a/m:1", world.registry.layer(RAW, LARGE, org__cncf__model__filepath="m-00001-of-00002.gguf"))
    with pytest.raises(ConfigError, match="lacks a part of its split set"):
        await world.pull("a/m:1")
    assert world.registry.sent == 0


async def test_two_models_in_one_artifact_are_told(world: World) -> None:
    layers = [world.registry.layer(RAW, data, org__cncf__model__filepath=name) for name, data in (("a.gguf", MODEL), ("b.gguf", OTHER))]
    world.registry.add("a/m:1", *layers)
    with pytest.raises(ConfigError, match=r"holds more than one model: a\.gguf, b\.gguf"):
        await world.pull("a/m:1")


async def test_an_adapter_is_not_left_out_silently(world: World) -> None:
    world.registry.add("a/m:1", world.registry.layer(GGUF, MODEL), world.registry.layer(f"{GGUF}.lora", OTHER))
    with pytest.raises(ConfigError, match="has a LoRA adapter"):
        await world.pull("a/m:1")


async def test_wrong_bytes_get_no_name(world: World) -> None:
    layer = world.registry.layer(GGUF, MODEL)
    world.registry.add("a/m:1", layer)
    world.registry.wrong.add(str(layer["digest"]))
    with pytest.raises(FetchFailed, match="sent wrong bytes"):
        await world.pull("a/m:1")
    assert Store(world.home).models() == []


@pytest.mark.parametrize("body", [b"[]", b"<html>", b'{"mediaType": "x"}', b'{"mediaType": "x", "layers": [{"digest": "md5:1"}]}'])
async def test_an_answer_that_is_no_manifest_is_told(world: World, body: bytes) -> None:
    world.registry.manifests["a/m:1"] = body
    with pytest.raises(FetchFailed, match="manifest of oci://"):
        await world.pull("a/m:1")
