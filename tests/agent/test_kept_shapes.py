"""A model's shape is read from its header once, and kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vllama_agent.store import Store, briefs, garbage, header, kept_shapes, manifests
from vllama_agent.store.layers import Layers
from vllama_agent.store.library import Library
from vllama_core.errors import UnreadableModel
from vllama_core.modelref import ModelName
from vllama_core.sizing import gguf_shape


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def described(gguf):
    """A GGUF file that says all that a shape needs."""
    return gguf(llama__block_count=2, llama__embedding_length=4, llama__attention__head_count=2, llama__feed_forward_length=16)


def test_a_shape_is_read_from_the_header_once_and_comes_back_the_same(home: Path, described, put, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = put(home, described, "m")
    whole = gguf_shape.shape_of([header.read(manifests.blob(home, digest))])
    assert Store(home).find("m").shape == whole
    monkeypatch.setattr(header, "read", lambda path: pytest.fail(f"{path} was read again"))
    assert Store(home).find("m").shape == whole


def test_a_model_is_sized_without_its_header_from_the_moment_that_it_has_a_name(
    home: Path, described, put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop sizes it, between the tokens of other models."""
    put(home, described, "m")
    manifest = Layers(home).manifest(ModelName("m"))
    assert manifest is not None
    Library(Layers(home)).publish(manifest)
    monkeypatch.setattr(header, "read", lambda path: pytest.fail(f"{path} was read again"))
    assert Store(home).find("m").shape.embedding == 4


def test_a_model_that_cannot_be_sized_gets_a_name_all_the_same(home: Path, gguf, put) -> None:
    put(home, gguf(llama__block_count="many"), "m")
    manifest = Layers(home).manifest(ModelName("m"))
    assert manifest is not None
    Library(Layers(home)).publish(manifest)
    with pytest.raises(UnreadableModel):
        assert Store(home).find("m").shape


@pytest.mark.parametrize("broken", ["", "{", '{"version": 1}', '{"version": 1, "shape": {"layers": []}}', '{"version": 99}', "[]"])
def test_a_broken_shape_is_made_anew(home: Path, described, put, broken: str) -> None:
    put(home, described, "m")
    wanted = Store(home).find("m").shape
    [path] = (home / "cache" / "shapes").iterdir()
    path.write_text(broken)
    assert Store(home).find("m").shape == wanted


def test_a_kept_shape_goes_with_its_model(home: Path, described, put) -> None:
    digest = put(home, described, "m")
    assert Store(home).find("m").shape
    kept, other = kept_shapes.path_of(home, digest), kept_shapes.path_of(home, "a" * 64)
    other.write_text("{}")
    for path in (kept, other, briefs.path_of(home, digest)):
        os.utime(path, (0, 0))
    assert [item.path for item in garbage.unused(home)] == [other]
