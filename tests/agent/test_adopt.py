"""Ollama's store, taken over where it lies."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vllama_agent import cli
from vllama_agent.commands import import_
from vllama_agent.store import Store, adopt
from vllama_agent.store.manifest import Manifest
from vllama_core.errors import ConfigError
from vllama_core.modelref import ModelName

JINJA = "{% for m in messages %}{{ m.content }}{% endfor %}"
Add = Callable[..., None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "ollama"


@pytest.fixture
def add(root: Path) -> Add:
    """Puts a model into a store as Ollama lays it out."""

    def stored(media: str, content: bytes | str) -> dict[str, Any]:
        data = content.encode() if isinstance(content, str) else content
        digest = hashlib.sha256(data).hexdigest()
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        (root / "blobs" / f"sha256-{digest}").write_bytes(data)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}

    def write(path: str, *, config: str = '{"model_format": "gguf"}', **layers: bytes | str) -> None:
        listed = [stored(f"application/vnd.ollama.image.{kind}", content) for kind, content in layers.items()]
        described = stored("application/vnd.docker.container.image.v1+json", config)
        target = root / "manifests" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({"schemaVersion": 2, "config": described, "layers": listed}))

    return write


def adopted(root: Path) -> Manifest:
    [model] = adopt.found_in(root)
    return adopt.manifest_of(model)


def test_a_whole_model(root: Path, add: Add, gguf) -> None:
    content = gguf(general__file_type=15)
    turns = [{"role": "user", "content": "Hi"}]
    add(
        "registry.ollama.ai/library/llama2/7b",
        model=content,
        template="[INST] {{ .Prompt }} [/INST]",
        system="Be short.",
        params=json.dumps({"stop": ["[INST]"], "temperature": 0.5, "num_ctx": 4096}),
        license="Terms",
        messages=json.dumps(turns),
        projector=gguf("clip"),
    )
    made = adopted(root)
    assert made.name == ModelName("llama2", "7b")
    assert made.files[0].digest == hashlib.sha256(content).hexdigest()
    assert made.files[0].path == str(root / "blobs" / f"sha256-{made.files[0].digest}")
    assert made.projector is not None
    assert made.template is not None
    assert "'[INST] '" in made.template
    assert (made.system, made.license, made.messages) == ("Be short.", ("Terms",), tuple(turns))
    assert made.parameters == {"stop": ["[INST]"], "temperature": 0.5, "num_ctx": 4096}
    assert (made.source.kind, made.source.ref, made.source.quantization) == ("imported", "ollama:llama2:7b", "Q4_K_M")
    assert made.source.notes == ("Its Go template was translated into Jinja.",)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("registry.ollama.ai/me/mine/latest", "ollama.com/me/mine:latest"),
        ("hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF/Q4_K_M", "bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M"),
    ],
)
def test_names_are_kept(root: Path, add: Add, gguf, path: str, name: str) -> None:
    add(path, model=gguf())
    assert adopted(root).name.display == name


def test_the_files_own_template_goes_before_a_go_template(root: Path, add: Add, gguf) -> None:
    add("registry.ollama.ai/library/m/latest", model=gguf(tokenizer__chat_template=JINJA), template="{{ range .Tools }}{{ end }}")
    made = adopted(root)
    assert made.template is None
    assert "replaced by the file's own" in made.source.notes[0]


def test_a_model_without_any_template_has_none(root: Path, add: Add, gguf) -> None:
    add("registry.ollama.ai/library/m/latest", model=gguf())
    assert adopted(root).template is None


def test_an_embedding_model_needs_no_template(root: Path, add: Add, gguf) -> None:
    add("registry.ollama.ai/library/m/latest", model=gguf("bert", bert__pooling_type=1), template="{{ range .Messages }}{{ end }}")
    assert adopted(root).template is None


def test_an_unknown_go_template_is_refused_with_the_model_and_the_way_out(root: Path, add: Add, gguf) -> None:
    add("registry.ollama.ai/library/m/latest", model=gguf(), template="{{ range .Messages }}{{ .Content }}{{ end }}")
    with pytest.raises(ConfigError) as caught:
        adopted(root)
    sentence = str(caught.value)
    for words in ("m:latest: ", "{{ range .Messages }}", "Jinja", f"FROM {root}/blobs/sha256-", "Modelfile"):
        assert words in sentence


@pytest.mark.parametrize("layers", [{}, {"template": "{{ .Prompt }}"}])
def test_a_model_whose_prompts_are_made_by_code_inside_ollama_needs_a_template_of_its_own(
    root: Path, add: Add, gguf, layers: dict[str, str]
) -> None:
    add("registry.ollama.ai/library/m/latest", config='{"renderer": "qwen3-coder"}', model=gguf(), **layers)
    with pytest.raises(ConfigError, match="code inside Ollama") as caught:
        adopted(root)
    assert "qwen3-coder" in str(caught.value)
    add("registry.ollama.ai/library/m/latest", config='{"renderer": "qwen3-coder"}', model=gguf(tokenizer__chat_template=JINJA), **layers)
    assert adopted(root).template is None


def test_a_wrong_parameter_is_left_out_with_a_note(root: Path, add: Add, gguf) -> None:
    params = {"temperature": "hot", "top_k": 3, "some_future_one": 1}
    add("registry.ollama.ai/library/m/latest", model=gguf(), params=json.dumps(params))
    made = adopted(root)
    assert made.parameters == {"top_k": 3}
    assert made.source.notes == ('Its parameter temperature is left out: temperature must be a number, not "hot".',)


def test_what_only_ollamas_engine_reads_is_refused(root: Path, add: Add, gguf) -> None:
    add("registry.ollama.ai/library/m/latest", model=gguf(tensor="v.blk.0.attn_k.weight"))
    with pytest.raises(ConfigError, match="image or audio encoder"):
        adopted(root)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{", "cannot be used"),
        ('{"layers": []}', "no GGUF file"),
        ('{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../x", "size": 1}]}', "no sha256 digest"),
        (
            '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:' + "a" * 64 + '", "size": 1}]}',
            "cannot be used",
        ),
    ],
)
def test_a_broken_model_is_refused_by_name(root: Path, manifest: str, words: str) -> None:
    path = root / "manifests/registry.ollama.ai/library/m/latest"
    path.parent.mkdir(parents=True)
    path.write_text(manifest)
    with pytest.raises(ConfigError, match="m:latest") as caught:
        adopted(root)
    assert words in str(caught.value)


def test_a_cut_off_file_is_refused(root: Path, add: Add, gguf) -> None:
    add("registry.ollama.ai/library/m/latest", model=gguf())
    (root / "blobs" / f"sha256-{hashlib.sha256(gguf()).hexdigest()}").write_bytes(gguf()[:-1])
    with pytest.raises(ConfigError, match="should have"):
        adopted(root)


def vllama(monkeypatch: pytest.MonkeyPatch, home: Path, *words: str) -> int:
    monkeypatch.setenv("VLLAMA_HOME", str(home))
    return cli.main(words)


def test_the_command_imports_what_it_can(
    root: Path, add: Add, gguf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    add("registry.ollama.ai/library/good/latest", model=gguf())
    add("registry.ollama.ai/library/bad/latest", model=gguf(), template="{{ range .Tools }}{{ end }}")
    command = ("import", "--from", "ollama", "--path", str(root))
    assert vllama(monkeypatch, home, *command) == 1
    told = capsys.readouterr().out
    assert "imported: good:latest" in told
    assert "refused: bad:latest" in told
    assert "1 of 2 models imported" in told
    assert [model.name for model in Store(home).models()] == ["good:latest"]
    assert not (home / "blobs").exists()  # nothing is copied

    assert vllama(monkeypatch, home, *command, "good", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"model": "good:latest", "outcome": "unchanged", "notes": []}]

    add("registry.ollama.ai/library/good/latest", model=gguf(general__file_type=1))
    assert vllama(monkeypatch, home, *command, "good") == 0
    assert "kept: good:latest has another model here" in capsys.readouterr().out
    assert vllama(monkeypatch, home, *command, "good", "--force") == 0
    assert "imported: good:latest" in capsys.readouterr().out

    assert vllama(monkeypatch, home, *command, "nobody") == 2
    assert "there are: bad:latest, good:latest" in capsys.readouterr().err
    assert vllama(monkeypatch, home, "import", "--from", "ollama", "--path", str(tmp_path)) == 2
    assert "--path" in capsys.readouterr().err


def test_ollamas_own_variable_names_its_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    environment: dict[str, Any] = {"OLLAMA_MODELS": "/elsewhere"}
    assert import_.store_of(environment) == Path("/elsewhere")
    (tmp_path / ".ollama/models").mkdir(parents=True)
    assert import_.store_of({}) == tmp_path / ".ollama/models"
