"""Blobs, create, copy and delete over the wire, on a real store."""

import asyncio
import hashlib
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import fake_registry
import pytest

from vllama_agent.engines.base import EngineState
from vllama_agent.store import Store, manifests, upload
from vllama_agent.store.manifest import FileRef, Manifest
from vllama_agent.store.sources import Sources
from vllama_agent.testing import FakeEngine, serving, until
from vllama_core.modelref import ModelName


class Api:
    """The server's routes, each as a call that gives status and body."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session

    async def __call__(self, method: str, path: str, body: Any = None, data: Any = None) -> tuple[int, Any]:
        sent = data if body is None else json.dumps(body).encode()
        async with self.session.request(method, self.url + path, data=None if sent is None else io.BytesIO(sent)) as response:
            text = await response.text()
            if response.content_type == "application/x-ndjson":
                return response.status, [json.loads(line) for line in text.splitlines()]
            return response.status, json.loads(text) if text.startswith("{") else text

    async def upload(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        status, _ = await self("POST", f"/api/blobs/{digest}", data=content)
        assert status in (200, 201)
        return digest

    async def create(self, **body: Any) -> tuple[int, Any]:
        return await self("POST", "/api/create", {"stream": False, **body})

    async def names(self) -> list[str]:
        return sorted(model["name"] for model in (await self("GET", "/api/tags"))[1]["models"])


@pytest.fixture
async def bench(tmp_path: Path):
    home = tmp_path / "home"
    async with (
        serving(store=Store(home), home=home) as served,
        aiohttp.ClientSession() as session,
    ):
        yield SimpleNamespace(home=home, api=Api(served.url, session), served=served, pool=served.service.pool)


def manifest(home: Path, name: str) -> Manifest:
    parsed = ModelName.parse(name)
    assert parsed is not None
    found = manifests.read(manifests.path_of(home, parsed))
    assert found is not None
    return found


def left_in(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "blobs").iterdir()) if (home / "blobs").exists() else []


# --- blobs ------------------------------------------------------------------------------------------------------------


async def test_a_blob_is_stored_once(bench) -> None:
    content = bytes(range(256)) * 40_000  # several batches
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert (await bench.api("HEAD", f"/api/blobs/{digest}"))[0] == 404
    assert (await bench.api("POST", f"/api/blobs/{digest}", data=content))[0] == 201
    assert (await bench.api("HEAD", f"/api/blobs/{digest}"))[0] == 200
    assert (await bench.api("POST", f"/api/blobs/{digest}", data=content))[0] == 200
    assert left_in(bench.home) == [digest.replace(":", "-")]
    assert (bench.home / "blobs" / digest.replace(":", "-")).read_bytes() == content


async def test_other_bytes_than_promised_leave_nothing(bench) -> None:
    status, body = await bench.api("POST", f"/api/blobs/sha256:{'a' * 64}", data=b"x")
    assert status == 400
    assert body["error"].startswith(f'digest mismatch, expected "sha256:{"a" * 64}", got "sha256:2d711642b726')
    assert left_in(bench.home) == []


@pytest.mark.parametrize("digest", ["sha256:short", "md5:" + "a" * 64, "sha256:" + "g" * 64, "sha256-" + "a" * 64])
async def test_a_bad_digest_is_no_path(bench, digest: str) -> None:
    for method in ("HEAD", "POST"):
        assert (await bench.api(method, f"/api/blobs/{digest}"))[0] == 400


async def test_an_upload_that_is_broken_off_leaves_nothing(bench) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(bench.api.url.rsplit(":", 1)[1]))
    head = f"POST /api/blobs/sha256:{'a' * 64} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n"
    writer.write(head.encode() + bytes(5_000_000))
    await writer.drain()
    await until(lambda: len(left_in(bench.home)) == 1)
    writer.close()
    await until(lambda: left_in(bench.home) == [])
    assert bench.served.service.drain.running == 0
    del reader


async def test_an_upload_that_does_not_fit_is_refused_with_both_sizes(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=upload.RESERVE + 1_000_000))
    content = bytes(2_000_000)
    status, body = await bench.api("POST", f"/api/blobs/sha256:{hashlib.sha256(content).hexdigest()}", data=content)
    assert status == 507
    assert "2 MB" in body["error"]
    assert "1 MB are free" in body["error"]
    assert left_in(bench.home) == []


# --- create -----------------------------------------------------------------------------------------------------------


async def test_a_model_of_uploaded_files(bench, gguf) -> None:
    content = gguf(general__license="MIT")
    digest = await bench.api.upload(content)
    status, events = await bench.api("POST", "/api/create", {"model": "Mine", "files": {"x.gguf": digest}})
    assert status == 200
    assert [event["status"] for event in events] == ["parsing GGUF", f"using existing layer {digest}", "writing manifest", "success"]
    found = manifest(bench.home, "mine")
    assert found.files == (FileRef(digest=digest[7:], size=len(content), name="x.gguf"),)
    assert await bench.api.names() == ["Mine:latest"]


async def test_a_name_over_a_model_has_words_of_its_own(bench, gguf, put) -> None:
    digest = put(bench.home, gguf(), "base", parameters={"top_k": 3, "stop": ["A"]}, license=("MIT",))
    status, body = await bench.api.create(
        model="pirate",
        **{"from": "base"},
        system="Arr.",
        template="{{ messages[0].content }}",
        parameters={"temperature": 1, "stop": "B", "low_vram": True},
        messages=[{"role": "user", "content": "Ahoy"}],
    )
    assert (status, body) == (200, {"status": "success"})
    found = manifest(bench.home, "pirate")
    assert found.files[0].digest == digest
    assert found.parameters == {"top_k": 3, "stop": ["B"], "temperature": 1.0}
    assert (found.system, found.template, found.license) == ("Arr.", "{{ messages[0].content }}", ("MIT",))
    assert found.messages == ({"role": "user", "content": "Ahoy"},)
    assert (found.source.kind, found.source.ref) == ("created", "base:latest")
    assert await bench.api.names() == ["base:latest", "pirate:latest"]
    _, shown = await bench.api("POST", "/api/show", {"model": "pirate"})
    assert shown["details"]["parent_model"] == "base:latest"


async def test_a_created_model_answers_in_its_own_words(bench, gguf, put) -> None:
    put(bench.home, gguf(), "base")
    await bench.api.create(model="pirate", **{"from": "base"}, system="Arr.", parameters={"num_predict": 2})
    chat = {"model": "pirate", "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    _, body = await bench.api("POST", "/api/chat", chat)
    assert (body["eval_count"], body["done_reason"]) == (2, "length")
    [request] = bench.served.engine.requests[-1:]
    assert [(m.role, m.content) for m in request.messages] == [("system", "Arr."), ("user", "Hi")]


async def test_every_kind_of_option_reads_back(bench, gguf, put) -> None:
    put(bench.home, gguf(), "base")
    parameters = {"stop": ["x", "y"], "logit_bias": {"5": 1.5}, "top_k": 3, "temperature": 0.5, "use_mmap": True}
    assert (await bench.api.create(model="x", **{"from": "base"}, parameters=parameters))[0] == 200
    assert manifest(bench.home, "x").parameters == parameters
    status, _ = await bench.api("POST", "/api/generate", {"model": "x", "prompt": "hi", "stream": False})
    assert status == 200


async def test_show_previews_changes_and_makes_none(bench, gguf, put) -> None:
    put(bench.home, gguf(template="{{ own }}"), "m", parameters={"top_k": 3, "stop": ["A"]}, system="Old.")
    changes = {"system": "New.", "template": "Q: {{ .Prompt }} A: ", "options": {"top_k": 5, "temperature": 1, "unknown": 1}}
    _, shown = await bench.api("POST", "/api/show", {"model": "m", **changes})
    assert shown["system"] == "New."
    assert "'Q: '" in shown["template"]
    assert [line.split() for line in shown["parameters"].splitlines()] == [["top_k", "5"], ["stop", '"A"'], ["temperature", "1.0"]]
    assert "SYSTEM New." in shown["modelfile"]
    _, shown = await bench.api("POST", "/api/show", {"model": "m"})
    assert (shown["system"], shown["template"]) == ("Old.", "{{ own }}")
    for body, words in (
        ({"options": [1]}, "options must be an object"),
        ({"options": {"top_k": "x"}}, "options.top_k"),
        ({"system": 1}, "system"),
    ):
        status, answer = await bench.api("POST", "/api/show", {"model": "m", **body})
        assert status == 400
        assert words in answer["error"]


async def test_a_go_template_becomes_jinja_or_is_refused(bench, gguf, put) -> None:
    put(bench.home, gguf(), "base")
    assert (await bench.api.create(model="a", **{"from": "base"}, template="Q: {{ .Prompt }} A: "))[0] == 200
    assert "'Q: '" in (manifest(bench.home, "a").template or "")
    status, body = await bench.api.create(model="b", **{"from": "base"}, template="{{ range .Tools }}x{{ end }}")
    assert status == 400
    assert "Jinja" in body["error"]
    assert await bench.api.names() == ["a:latest", "base:latest"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "x"}, "neither 'from' or 'files'"),
        ({"model": "x", "from": "base", "files": {"a": f"sha256:{'a' * 64}"}}, "both specified"),
        ({"model": "a b", "from": "base"}, "invalid model name"),
        ({"from": "base"}, "invalid model name"),
        ({"model": "x", "files": {"/etc/passwd": f"sha256:{'a' * 64}"}}, "file path must be relative"),
        ({"model": "x", "files": {"../x": f"sha256:{'a' * 64}"}}, "file path must be relative"),
        ({"model": "x", "files": {"a.gguf": "sha256:zz"}}, "invalid digest format"),
        ({"model": "x", "files": {"a.gguf": f"sha256:{'a' * 64}"}}, "send it to /api/blobs first"),
        ({"model": "x", "files": ["a"]}, "files must be an object"),
        ({"model": "x", "from": "base", "parameters": {"temprature": 1}}, '"temprature" is unknown'),
        ({"model": "x", "from": "base", "parameters": {"top_k": "many"}}, "parameters.top_k must be"),
        ({"model": "x", "from": "base", "messages": [{"role": "nobody"}]}, "messages[0].role"),
        ({"model": "x", "from": "base", "template": "{% if %}"}, "does not parse: line 1"),
        ({"model": "x", "from": "base", "template": "x" * 1_048_570 + "1234567"}, "at most 1048576"),
        ({"model": "x", "from": "base", "license": [1]}, "license[0]"),
        ({"model": "x", "from": "base", "renderer": "qwen3"}, "renderer is not yet supported"),
        ({"model": "x", "from": "base", "quantize": "q9"}, "cannot be made here"),
    ],
)
async def test_a_bad_create_is_named_and_leaves_nothing(bench, gguf, put, body: dict, words: str) -> None:
    put(bench.home, gguf(general__file_type=1), "base")
    status, answer = await bench.api("POST", "/api/create", body)
    assert status == 400
    assert words in answer["error"]
    assert await bench.api.names() == ["base:latest"]
    assert len(left_in(bench.home)) == 1


@pytest.mark.parametrize("name", ["a.safetensors/b", "x" * 300, "b\0"])
async def test_a_name_that_no_file_can_have_is_the_clients_fault(bench, name: str) -> None:
    digest = await bench.api.upload(b"x")
    status, body = await bench.api.create(model="x", files={"a.safetensors": digest, name: digest})
    assert status == 400
    assert "names cannot be a file's" in body["error"]
    assert len(left_in(bench.home)) == 1


async def test_an_unknown_base_is_not_found(bench) -> None:
    status, body = await bench.api.create(model="x", **{"from": "nobody"})
    assert (status, body["error"]) == (404, "model 'nobody' not found")


async def test_files_are_told_apart_by_their_headers(bench, gguf) -> None:
    model, projector, adapter = gguf(), gguf("clip"), gguf(general__type="adapter")
    digests = [await bench.api.upload(content) for content in (model, projector, adapter)]
    files = dict(zip(("m.gguf", "p.gguf", "a.gguf"), digests, strict=True))
    assert (await bench.api.create(model="x", files=files))[0] == 200
    found = manifest(bench.home, "x")
    assert found.projector is not None
    assert [found.files[0].name, found.projector.name, found.adapters[0].name] == ["m.gguf", "p.gguf", "a.gguf"]
    status, body = await bench.api("POST", "/api/generate", {"model": "x", "prompt": "Hi"})
    assert status == 400
    assert "LoRA adapter" in body["error"]
    for given, words in (
        ({"p.gguf": digests[1]}, "no model"),
        ({"m.gguf": digests[0], "n.gguf": digests[0]}, "not all files of one split set"),
        ({"m.gguf": digests[0], "p.gguf": digests[1], "q.gguf": digests[1]}, "two projectors"),
        ({"m.gguf": await bench.api.upload(b"nonsense")}, "m.gguf cannot be used"),
    ):
        status, body = await bench.api.create(model="y", files=given)
        assert status == 400
        assert words in body["error"]


async def test_a_split_set_keeps_its_order(bench, gguf) -> None:
    first, second = [await bench.api.upload(gguf(split__no=number, split__count=2)) for number in range(2)]
    assert (await bench.api.create(model="x", files={"a.gguf": second, "b.gguf": first}))[0] == 200
    assert [file.digest for file in manifest(bench.home, "x").files] == [first[7:], second[7:]]
    third = await bench.api.upload(gguf(split__no=2, split__count=3))
    for files in ({"a.gguf": first, "b.gguf": second, "c.gguf": third}, {"a.gguf": first, "b.gguf": first}):
        status, body = await bench.api.create(model="y", files=files)
        assert status == 400
        assert "split set" in body["error"]


async def test_creating_anew_removes_what_nothing_needs(bench, gguf, put) -> None:
    old = put(bench.home, gguf(), "x")
    new = await bench.api.upload(gguf(general__file_type=1))
    assert (await bench.api.create(model="X", files={"x.gguf": new}))[0] == 200
    assert left_in(bench.home) == [new.replace(":", "-")]
    assert manifest(bench.home, "x").name.model == "x"
    assert old != new


# --- copy and delete --------------------------------------------------------------------------------------------------


async def test_a_copy_is_an_entry_of_its_own(bench, gguf, put) -> None:
    put(bench.home, gguf(), "base", system="S")
    assert await bench.api("POST", "/api/copy", {"source": "base", "destination": "me/mine:v1"}) == (200, "")
    assert await bench.api.names() == ["base:latest", "me/mine:v1"]
    _, tags = await bench.api("GET", "/api/tags")
    assert tags["models"][0]["digest"] == tags["models"][1]["digest"]
    assert manifest(bench.home, "me/mine:v1").system == "S"
    assert len(left_in(bench.home)) == 1


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"source": "nobody", "destination": "x"}, 404, "model 'nobody' not found"),
        ({"source": "a b", "destination": "x"}, 400, 'source "a b" is invalid'),
        ({"source": "base", "destination": ""}, 400, 'destination "" is invalid'),
        ({}, 400, 'source "" is invalid'),
    ],
)
async def test_a_bad_copy_is_named(bench, gguf, put, body: dict, status: int, words: str) -> None:
    put(bench.home, gguf(), "base")
    found, answer = await bench.api("POST", "/api/copy", body)
    assert found == status
    assert words in answer["error"]


async def test_bytes_go_with_their_last_name(bench, gguf, put) -> None:
    put(bench.home, gguf(), "one")
    put(bench.home, gguf(), "two")
    assert await bench.api("DELETE", "/api/delete", {"model": "ONE"}) == (200, "")
    assert len(left_in(bench.home)) == 1
    assert await bench.api("DELETE", "/api/delete", {"name": "two:latest"}) == (200, "")
    assert left_in(bench.home) == []
    status, body = await bench.api("DELETE", "/api/delete", {"model": "two"})
    assert (status, body["error"]) == (404, "model 'two' not found")
    assert (await bench.api("DELETE", "/api/delete", {"model": "a b"}))[1]["error"].startswith('name "a b" is invalid')


async def test_of_two_deletions_at_once_one_finds_nothing(bench, gguf, put) -> None:
    put(bench.home, gguf(), "m")
    both = await asyncio.gather(*(bench.api("DELETE", "/api/delete", {"model": "m"}) for _ in range(2)))
    assert sorted(status for status, _ in both) == [200, 404]


async def test_a_name_goes_though_another_manifest_cannot_be_read(bench, gguf, put) -> None:
    """Its bytes wait: nobody knows whether the other one needs them."""
    put(bench.home, gguf(), "m")
    manifests.path_of(bench.home, ModelName("m")).with_name("broken.json").write_text("{")
    assert (await bench.api("DELETE", "/api/delete", {"model": "m"}))[0] == 200
    assert await bench.api.names() == []
    assert len(left_in(bench.home)) == 1


async def test_a_loaded_model_is_unloaded_before_it_is_deleted(bench, gguf, put) -> None:
    put(bench.home, gguf(), "m")
    bench.pool.pin(("m",))
    await until(lambda: bench.pool.unready() is None)
    assert (await bench.api("DELETE", "/api/delete", {"model": "m"}))[0] == 200
    assert bench.served.engine.state is EngineState.STOPPED
    assert left_in(bench.home) == []
    assert bench.pool.unready() is None


async def test_a_model_that_is_just_being_unloaded_is_waited_for(bench, gguf, put) -> None:
    """`ollama rm` asks for the unloading first, by a request of its own."""
    put(bench.home, gguf(), "m")
    await bench.api("POST", "/api/generate", {"model": "m"})
    await bench.api("POST", "/api/generate", {"model": "m", "keep_alive": 0})
    assert (await bench.api("DELETE", "/api/delete", {"model": "m"}))[0] == 200
    assert left_in(bench.home) == []


async def test_deleting_one_of_two_names_leaves_the_engine_alone(bench, gguf, put) -> None:
    put(bench.home, gguf(), "one")
    put(bench.home, gguf(), "two")
    await bench.api("POST", "/api/generate", {"model": "one"})
    assert (await bench.api("DELETE", "/api/delete", {"model": "one"}))[0] == 200
    assert bench.served.engine.state is EngineState.READY


async def test_a_running_answer_survives_the_deletion_of_its_model(tmp_path: Path, gguf, put) -> None:
    gate, home = asyncio.Event(), tmp_path / "home"
    put(home, gguf(), "m")
    engine = FakeEngine(gate=gate)
    async with serving(engine, store=Store(home), home=home) as served, aiohttp.ClientSession() as session:
        api = Api(served.url, session)
        answer = asyncio.create_task(api("POST", "/api/generate", {"model": "m", "prompt": "Hi", "stream": False}))
        await until(lambda: engine.running == 1)
        assert (await api("DELETE", "/api/delete", {"model": "m"}))[0] == 200
        assert len(left_in(home)) == 1  # held until the answer is made
        gate.set()
        assert (await answer)[1]["done"] is True
        await until(lambda: engine.state is EngineState.STOPPED)


async def test_a_managed_agents_store_is_not_changed(tmp_path: Path, gguf, put) -> None:
    home = tmp_path / "home"
    digest = put(home, gguf(), "m")
    async with serving(store=Store(home), home=home, managed=True) as served, aiohttp.ClientSession() as session:
        api = Api(served.url, session)
        for method, path, body in (
            ("DELETE", "/api/delete", {"model": "m"}),
            ("POST", "/api/copy", {"source": "m", "destination": "n"}),
            ("POST", "/api/create", {"model": "n", "from": "m"}),
            ("POST", f"/api/blobs/sha256:{digest}", None),
        ):
            status, answer = await api(method, path, body)
            assert status == 403
            assert "VLLAMA_MANAGED" in answer["error"]
        assert await api.names() == ["m:latest"]


async def test_a_lower_store_is_read_and_never_written(tmp_path: Path, gguf, put) -> None:
    home, below = tmp_path / "home", tmp_path / "below"
    digest = put(below, gguf(), "shared", system="S")
    async with serving(store=Store(home, (below,)), home=home, stores=(below,)) as served, aiohttp.ClientSession() as session:
        api = Api(served.url, session)
        assert await api.names() == ["shared:latest"]
        await api("POST", "/api/generate", {"model": "shared"})
        status, answer = await api("DELETE", "/api/delete", {"model": "shared"})
        assert status == 403
        assert len(served.service.pool.residents()) == 1, "what stays here stays loaded"
        assert str(below) in answer["error"]
        assert (await api("POST", f"/api/blobs/sha256:{digest}", data=b""))[0] == 200
        assert (await api.create(model="mine", **{"from": "shared"}, system="T"))[0] == 200
        assert (await api("POST", "/api/copy", {"source": "shared", "destination": "shared"}))[0] == 200
        found = manifest(home, "mine")
        assert manifests.located(home, found.files[0]) == manifests.blob(below, digest)
        assert (await api("DELETE", "/api/delete", {"model": "mine"}))[0] == 200
        assert (await api("DELETE", "/api/delete", {"model": "shared"}))[0] == 200
        assert await api.names() == ["shared:latest"]
        assert left_in(home) == []
        assert left_in(below) == [f"sha256-{digest}"]


async def test_files_of_the_command_line_can_be_copied_and_are_never_deleted(tmp_path: Path, gguf) -> None:
    home, path = tmp_path / "home", tmp_path / "x.gguf"
    path.write_bytes(gguf())
    async with serving(store=Store(home), home=home, models=(str(path),)) as served, aiohttp.ClientSession() as session:
        api = Api(served.url, session)
        assert (await api("POST", "/api/copy", {"source": "x", "destination": "y"}))[0] == 200
        assert manifests.located(home, manifest(home, "y").files[0]) == path
        status, answer = await api("DELETE", "/api/delete", {"model": "x"})
        assert status == 400
        assert str(path) in answer["error"]
        status, answer = await api("POST", "/api/copy", {"source": "y", "destination": "x"})
        assert status == 400
        assert "choose another" in answer["error"]
        assert (await api("DELETE", "/api/delete", {"model": "y"}))[0] == 200
        assert path.exists()


async def test_a_pinned_model_that_is_made_anew_answers_anew(bench, gguf, put) -> None:
    put(bench.home, gguf(), "m")
    bench.pool.pin(("m",))
    await until(lambda: bench.pool.unready() is None)
    assert (await bench.api.create(model="m", **{"from": "m"}, system="New."))[0] == 200
    await bench.api("POST", "/api/chat", {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": False})
    assert bench.served.engine.requests[-1].messages[0].content == "New."


async def test_a_base_that_is_not_here_is_pulled_first(tmp_path: Path, gguf) -> None:
    home = tmp_path / "home"
    async with fake_registry.running() as registry:
        digests = registry.add("library/theirs:latest", model=gguf(), system="S")
        sources = Sources(home=home, registry=registry.endpoint)
        async with serving(store=Store(home), home=home, sources=sources) as served, aiohttp.ClientSession() as session:
            api = Api(served.url, session)
            status, events = await api("POST", "/api/create", {"model": "mine", "from": "theirs", "parameters": {"top_k": 3}})
            told = [event["status"] for event in events]
            assert status == 200
            assert told[0] == "pulling manifest"
            assert told[-2:] == ["writing manifest", "success"]
            assert told.count("success") == 1
            found = manifest(home, "mine")
            assert (found.files[0].digest, found.system, found.parameters) == (digests["model"], "S", {"top_k": 3})
            assert await api.names() == ["mine:latest", "theirs:latest"]
            status, events = await api("POST", "/api/create", {"model": "x", "from": "nobody"})
            assert "not found" in events[-1]["error"]


async def test_a_loaded_model_that_is_made_anew_gives_way(bench, gguf, put) -> None:
    put(bench.home, gguf(), "m")
    bench.pool.pin(("m",))
    await until(lambda: bench.pool.unready() is None)
    new = await bench.api.upload(gguf(general__file_type=1))
    assert (await bench.api.create(model="m", files={"x.gguf": new}))[0] == 200
    assert bench.pool.residents() == []
    assert left_in(bench.home) == [new.replace(":", "-")]
    await bench.api("POST", "/api/generate", {"model": "m"})
    assert [resident.artifact.digest for resident in bench.pool.residents()] == [new[7:]]


async def test_a_model_whose_file_is_gone_can_be_made_anew(bench, gguf, put) -> None:
    manifests.blob(bench.home, put(bench.home, gguf(), "m")).unlink()
    new = await bench.api.upload(gguf())
    assert (await bench.api.create(model="m", files={"x.gguf": new}))[0] == 200
    assert await bench.api.names() == ["m:latest"]


async def test_push_stays_refused(bench) -> None:
    assert (await bench.api("POST", "/api/push", {"model": "m"}))[0] == 501
