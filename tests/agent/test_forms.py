"""A name stands for one model; it may be here in two forms, and each engine takes the one that it loads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import fake_hub
import fake_registry
import machines
import pytest
import small_gguf
import small_snapshot
from fake_hub import FakeHub

from vllama_agent.apis import show
from vllama_agent.engines import registry
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_agent.engines.suiting import Engines
from vllama_agent.store import Store, garbage, manifests, usage, verify
from vllama_agent.store.hub import Hub
from vllama_agent.store.layers import Layers
from vllama_agent.store.library import Library
from vllama_agent.store.pull import pull
from vllama_agent.store.sources import Sources
from vllama_core.config import AgentConfig, LoadConfig
from vllama_core.engine_build import EngineName
from vllama_core.errors import ConfigError, ModelNotFound
from vllama_core.model_form import Form
from vllama_core.modelref import ModelName
from vllama_core.sizing.budget import Budget

HF, GGUF = Form.HUGGING_FACE, Form.GGUF
NAME = ModelName("x", namespace="me", host="hf.co")


class World:
    """A home, and a hub with its cache."""

    def __init__(self, hub: FakeHub, registry_: str, folder: Path) -> None:
        self.hub, self.home, self.cache, self.registry = hub, folder / "home", folder / "cache", registry_

    async def pull(self, ref: str, *, prefers: Form = GGUF, file_format: str | None = None) -> None:
        def hub() -> Hub:
            return Hub(endpoint=self.hub.endpoint, cache=self.cache, token=None)

        sources = Sources(home=self.home, hub=hub, registry=self.registry, prefers=prefers)
        await pull(sources, ref, on_event=lambda event: None, file_format=file_format)

    def store(self, prefers: Form = GGUF) -> Store:
        return Store(self.home, prefers=prefers)

    @property
    def layers(self) -> Layers:
        return Layers(self.home)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with fake_hub.running() as hub, fake_registry.running() as names:
        yield World(hub, names.endpoint, tmp_path)


@pytest.fixture
async def both(world: World) -> World:
    """One name, here in both forms."""
    world.hub.add("me/x", small_snapshot.files() | {"x-Q4_K_M.gguf": small_gguf.make(), "run.py": b"evil"}, license="mit")
    await world.pull("me/x")
    await world.pull("me/x", file_format="hf")
    return world


# --- pulled ---------------------------------------------------------------------------------------------------------


async def test_the_original_files_are_a_model_whose_folder_engines_and_other_tools_find(world: World) -> None:
    repo = world.hub.add("me/x", small_snapshot.files() | {"x-Q4_K_M.gguf": small_gguf.make(), "run.py": b"evil"}, license="mit")
    await world.pull("me/x", file_format="hf")
    [found] = world.store().models()
    assert (found.name, found.form, found.license) == ("me/x:latest", HF, ("mit",))
    assert found.folder == world.cache / "models--me--x" / "snapshots" / repo.commit
    assert {path.name for path in found.folder.iterdir()} == set(small_snapshot.files())
    assert found.size == sum(map(len, small_snapshot.files().values()))


async def test_lists_and_show_describe_it_in_the_terms_of_gguf(world: World) -> None:
    world.hub.add("me/x", small_snapshot.files())
    await world.pull("me/x", file_format="hf")
    found = world.store().find("me/x")
    assert found.details() == {
        "parent_model": "", "format": "safetensors", "family": "llama", "families": ["llama"], "parameter_size": "168",
        "quantization_level": "BF16", "context_length": 64, "embedding_length": 8,
    }  # fmt: skip
    told = show.show_object(found, verbose=True, capabilities=["completion"])
    assert told["template"] == small_snapshot.TEMPLATE
    assert told["model_info"]["llama.block_count"] == 1
    assert f"FROM {found.folder}" in told["modelfile"]
    assert {"name": "model.norm.weight", "type": "BF16", "shape": [8]} in told["tensors"]
    assert found.shape.weights.total == 336


async def test_a_broken_model_gets_no_name(world: World) -> None:
    world.hub.add("me/x", small_snapshot.files() | {"model.safetensors": bytes(2000)})
    with pytest.raises(Exception, match="what was fetched cannot be used"):
        await world.pull("me/x", file_format="hf")
    assert world.store().models() == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"model.safetensors": small_snapshot.safetensors()}, r"no config\.json"),
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, "only as Python pickles"),
        ({"x-Q4_K_M.gguf": b"GGUF"}, "as GGUF only, which llama.cpp loads: choose that engine"),
    ],
)
async def test_what_is_no_snapshot_is_refused_before_anything_is_fetched(world: World, files: dict[str, bytes], words: str) -> None:
    world.hub.add("me/x", files)
    with pytest.raises(ConfigError, match=words):
        await world.pull("me/x", file_format="hf")
    assert sum(world.hub.sent.values()) == 0


@pytest.mark.parametrize(
    ("ref", "files", "form"),
    [
        ("me/x", small_snapshot.files() | {"x-Q4_K_M.gguf": small_gguf.make()}, HF),
        ("me/x:Q4_K_M", small_snapshot.files() | {"x-Q4_K_M.gguf": small_gguf.make()}, GGUF),
        ("me/x", {"x-Q4_K_M.gguf": small_gguf.make()}, GGUF),
    ],
)
async def test_without_a_format_the_engine_of_the_machine_decides(world: World, ref: str, files: dict[str, bytes], form: Form) -> None:
    """But a quantization is asked of GGUF files, and what is published as GGUF alone comes so."""
    world.hub.add("me/x", files)
    await world.pull(ref, prefers=HF)
    assert [model.form for model in world.store().models()] == [form]


# --- both -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefers", list(Form))
async def test_of_a_model_in_both_forms_the_engines_form_is_meant(both: World, prefers: Form) -> None:
    store = both.store(prefers)
    assert [(model.name, model.form) for model in store.models()] == [("me/x:latest", prefers)]
    assert store.find("me/x").form is prefers


@pytest.mark.parametrize("form", list(Form))
async def test_an_engine_that_was_asked_for_gets_its_own_form_whatever_is_preferred(both: World, form: Form) -> None:
    store = both.store(GGUF)
    assert store.resolve("me/x", form).form is form
    manifests.path_of(both.home, NAME, form).unlink()
    with pytest.raises(ModelNotFound, match=rf"it is not here as {form}; `vllama pull me/x --format {form}` fetches it"):
        store.resolve("me/x", form)


async def test_the_only_form_that_is_here_is_meant_whatever_is_preferred(both: World) -> None:
    manifests.path_of(both.home, NAME, GGUF).unlink()
    assert both.store(GGUF).find("me/x").form is HF


async def test_pulling_one_form_again_leaves_the_other(both: World) -> None:
    await both.pull("me/x", file_format="gguf")
    assert [path.is_file() for path in (manifests.path_of(both.home, NAME, form) for form in Form)] == [True, True]


async def test_removing_a_name_removes_both_forms(both: World) -> None:
    library = Library(both.layers)
    gone = library.delete(NAME)
    assert both.store(GGUF).models() == both.store(HF).models() == []
    assert {path.name for path in gone.elsewhere} == {*small_snapshot.files(), "x-Q4_K_M.gguf"}
    with pytest.raises(ModelNotFound):
        library.delete(NAME)


async def test_disk_usage_tells_the_forms_apart(both: World) -> None:
    found = usage.of(both.layers)
    assert {(model.name, model.form) for model in found.models} == {("me/x:latest", GGUF), ("me/x:latest", HF)}
    assert found.elsewhere == sum(model.size for model in found.models)


async def test_verify_reads_the_files_of_both_forms(both: World) -> None:
    weights = both.store(HF).find("me/x").folder / "model.safetensors"
    weights.write_bytes(b"x" * weights.stat().st_size)
    verdicts = list(verify.check(both.layers, (NAME,)))
    assert len(verdicts) == len(small_snapshot.files()) + 1
    assert [(Path(one.path).name, one.problem) for one in verdicts if one.problem] == [("model.safetensors", "its bytes are damaged")]


async def test_collecting_leaves_what_is_kept_of_both_forms(both: World) -> None:
    for form in Form:
        assert both.store(form).find("me/x").name
    assert garbage.collect(both.home, grace=0) == ([], [])
    assert len(list((both.home / "cache" / "headers").iterdir())) == 2


async def test_a_header_is_described_once(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = both.store(HF).find("me/x").brief
    monkeypatch.setattr("vllama_agent.store.hf_files.header", lambda files: pytest.fail("it was read again"))
    assert both.store(HF).find("me/x").brief == first


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_of_original_files_is_a_model(tmp_path: Path) -> None:
    folder = small_snapshot.write(tmp_path / "Tiny-Llama")
    found = Store(tmp_path / "home").resolve(str(folder))
    assert (found.name, found.form, found.folder) == ("Tiny-Llama:latest", HF, folder)
    assert found.shape.parameters == found.brief.parameter_count == 168


@pytest.mark.parametrize("form", list(Form))
def test_of_a_folder_with_both_an_engine_that_was_asked_for_gets_its_own(tmp_path: Path, form: Form) -> None:
    folder = small_snapshot.write(tmp_path / "m")
    (folder / "m.gguf").write_bytes(small_gguf.make())
    assert Store(tmp_path / "home").resolve(str(folder), form).form is form


@pytest.mark.parametrize(("prefers", "count"), [(HF, 4), (GGUF, 1)])
def test_of_a_folder_with_both_the_engines_form_is_taken(tmp_path: Path, prefers: Form, count: int) -> None:
    folder = small_snapshot.write(tmp_path / "m")
    (folder / "m.gguf").write_bytes(small_gguf.make())
    found = Store(tmp_path / "home", prefers=prefers).resolve(str(folder))
    assert (found.form, len(found.files)) == (prefers, count)


def test_weights_that_are_cut_off_are_told_at_the_start(tmp_path: Path) -> None:
    folder = small_snapshot.write(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(small_snapshot.safetensors()[:-10])
    with pytest.raises(ConfigError, match=r"model\.safetensors: the file is cut off"):
        Store(tmp_path / "home").resolve(str(folder))


# --- engines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [None, *(kind.name for kind in registry.KINDS if kind.form is GGUF)])
def test_llama_cpp_names_the_way_out_of_original_files_alone(tmp_path: Path, asked: object) -> None:
    asked_for = LoadConfig(engine=asked, ctx_size=64, kv_cells=64, parallel=1)  # type: ignore[arg-type]
    engines = Engines(AgentConfig(home=tmp_path), machines.machine(), (machines.llama_cpp(),))
    artifact = Store(tmp_path / "home").resolve(str(small_snapshot.write(tmp_path / "m")))
    with pytest.raises(ConfigError, match=r"`vllama pull NAME` without --format hf fetches one, or makes one of the same files"):
        engines.make(artifact, asked_for)


def test_models_of_one_agent_have_the_engines_that_each_was_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engines = Engines(AgentConfig(home=tmp_path), machines.machine(), (machines.llama_cpp(), machines.vllm()))
    store = Store(tmp_path / "home")
    (tmp_path / "g.gguf").write_bytes(small_gguf.make())
    decided = LoadConfig(ctx_size=64, kv_cells=64, parallel=1, engine_args=("--enforce-eager",))
    one = engines.make(store.resolve(str(tmp_path / "g.gguf")), replace(decided, engine=EngineName.LLAMA_CPP))
    assert isinstance(one, LlamaCppEngine)
    assert "llama.cpp runs it, so vLLM's arguments change nothing: --enforce-eager" in caplog.text
    original = store.resolve(str(small_snapshot.write(tmp_path / "m")))
    sized = engines.size(original.shape, replace(decided, engine=EngineName.VLLM), Budget(host=64 << 30), original.form)
    assert sized.config.engine is EngineName.VLLM
    assert "on the CPU" in sized.told


def test_every_engine_is_found_without_being_installed(tmp_path: Path) -> None:
    assert {build.engine for build in registry.builds(tmp_path)} == {kind.name for kind in registry.KINDS}
