"""What a name stands for, on disk: schema 2, and what 0.1.0 wrote."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from vllama_agent.store import manifests
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_core.modelref import ModelName

A, B, C = "a" * 64, "b" * 64, "c" * 64
NAME = ModelName("Qwen3", "0.6b")
BARE = Manifest(name=NAME, files=(FileRef(digest=A, size=10),), source=Source(kind="url", ref="https://example.com/x.gguf"))
FULL = Manifest(
    name=NAME,
    files=(FileRef(digest=A, size=10, name="x-00001-of-00002.gguf"), FileRef(digest=B, size=20, name="x-00002-of-00002.gguf")),
    projector=FileRef(digest=C, size=5, name="mmproj.gguf", path="/cache/hub/mmproj.gguf"),
    adapters=(FileRef(digest=C, size=5),),
    source=Source(kind="hub", ref="qwen3:0.6b", repo="o/r", revision="f" * 40, quantization="Q4_K_M", notes=("A note, ü.",)),
    license=("MIT", "Other"),
    template="{{ messages[0].content }}",
    system="Be short.",
    parameters={"temperature": 0.5, "stop": ["</s>"], "num_ctx": 4096},
    messages=({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}),
)


@pytest.mark.parametrize("manifest", [BARE, FULL], ids=["bare", "full"])
def test_what_is_written_is_read(tmp_path: Path, manifest: Manifest) -> None:
    manifests.write(tmp_path, manifest)
    [path] = manifests.paths(tmp_path)
    assert path == manifests.path_of(tmp_path, ModelName("qwen3", "0.6B"))
    assert manifests.read(path) == manifest
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_bare_manifest_says_no_more_than_it_must(tmp_path: Path) -> None:
    manifests.write(tmp_path, BARE)
    fields = json.loads(manifests.path_of(tmp_path, NAME).read_text())
    assert fields == {
        "schema": 2,
        "name": {"host": "registry.ollama.ai", "namespace": "library", "model": "Qwen3", "tag": "0.6b"},
        "files": [{"digest": f"sha256:{A}", "size": 10}],
        "source": {"kind": "url", "ref": "https://example.com/x.gguf"},
    }


def test_schema_1_is_read(tmp_path: Path) -> None:
    path = manifests.path_of(tmp_path, NAME)
    path.parent.mkdir(parents=True)
    name = {"host": "registry.ollama.ai", "namespace": "library", "model": "Qwen3", "tag": "0.6b"}
    path.write_text(json.dumps({"schema": 1, "name": name, "files": [f"sha256:{A}"], "size": 10, "license": "Terms"}))
    read = manifests.read(path)
    assert read is not None
    assert read.files == (FileRef(digest=A, size=10),)
    assert read.license == ("Terms",)
    assert read.source.kind == "demo"
    assert read.size == 10


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": 3}, "its schema is 3"),
        ({"files": []}, "names no files"),
        ({"files": [{"digest": "sha256:../../../etc/passwd", "size": 1}]}, "no sha256 digest"),
        ({"files": [{"digest": f"md5:{A}", "size": 1}]}, "no sha256 digest"),
        ({"files": "x"}, "AttributeError"),
        ({"source": None}, "TypeError"),
        ({"name": {"model": "x", "evil": "y"}}, "TypeError"),
    ],
)
def test_a_broken_manifest_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict, why: str) -> None:
    manifests.write(tmp_path, FULL)
    path = manifests.path_of(tmp_path, NAME)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with caplog.at_level(logging.WARNING):
        assert manifests.read(path) is None
    assert why in caplog.text


def test_a_home_can_be_mounted_elsewhere(tmp_path: Path) -> None:
    """Paths below it are kept relative, others absolute."""
    home = tmp_path / "home"
    inside = str(home / "huggingface" / "x.gguf")
    refs = (FileRef(digest=A, size=1), FileRef(digest=A, size=1, path=inside), FileRef(digest=A, size=1, path="/elsewhere/x.gguf"))
    manifests.write(home, replace(BARE, files=refs))
    moved = tmp_path / "moved"
    home.rename(moved)
    read = manifests.read(manifests.path_of(moved, NAME))
    assert read is not None
    places = [manifests.located(moved, file) for file in read.files]
    assert places == [moved / "blobs" / f"sha256-{A}", moved / "huggingface" / "x.gguf", Path("/elsewhere/x.gguf")]


def test_a_digest_stands_for_what_answers_depend_on() -> None:
    assert BARE.digest == A
    assert replace(BARE, name=ModelName("copy"), license=("MIT",)).digest == A
    others = [
        replace(BARE, system="x"),
        replace(BARE, template="x"),
        replace(BARE, parameters={"top_k": 1}),
        replace(BARE, messages=({"role": "user", "content": "x"},)),
        replace(BARE, files=FULL.files),
        replace(BARE, adapters=FULL.adapters),
    ]
    assert len({other.digest for other in others} | {A}) == 7
    assert replace(FULL, name=ModelName("copy")).digest == FULL.digest


def test_a_size_counts_every_file() -> None:
    assert FULL.size == 40
