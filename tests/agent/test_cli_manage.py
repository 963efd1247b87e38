"""The commands that change the store or look into it."""

import asyncio
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from vllama_agent import cli
from vllama_agent.store import Store, garbage, manifests
from vllama_agent.store.manifest import Source
from vllama_agent.testing import serving
from vllama_core.errors import ModelNotFound
from vllama_core.modelref import ModelName


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    home = tmp_path / "home"
    async with serving(store=Store(home), home=home) as served:
        monkeypatch.setenv("VLLAMA_HOST", served.url)
        monkeypatch.setenv("VLLAMA_HOME", str(home))
        monkeypatch.delenv("VLLAMA_STORES", raising=False)

        async def run(*words: str) -> tuple[int, str, str]:
            status = await asyncio.to_thread(cli.main, words)
            return status, *capsys.readouterr()

        yield SimpleNamespace(home=home, run=run, served=served, names=lambda: sorted(model.name for model in Store(home).models()))


async def test_rm_and_cp(bench, gguf, put) -> None:
    put(bench.home, gguf(), "one")
    assert await bench.run("cp", "one", "two:v2") == (0, "copied 'one' to 'two:v2'\n", "")
    assert bench.names() == ["one:latest", "two:v2"]
    assert (await bench.run("rm", "one", "two:v2"))[1] == "deleted 'one'\ndeleted 'two:v2'\n"
    assert bench.names() == []
    status, _, told = await bench.run("rm", "one")
    assert (status, told) == (1, "vllama: model 'one' not found\n")


async def test_a_servers_words_do_not_steer_the_terminal(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def steer(_name: str) -> None:
        raise ModelNotFound("\x1b[2J\x9bm")

    monkeypatch.setattr(bench.served.service.pool, "find", steer)
    assert (await bench.run("rm", "one"))[2] == "vllama: model '[2Jm' not found\n"


async def test_create_from_a_file(bench, gguf, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(gguf())
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text('FROM ./x.gguf\nPARAMETER temperature 0.5\nPARAMETER stop "A"\nPARAMETER stop " B"\nSYSTEM S\nMESSAGE user Hi\n')
    status, _, told = await bench.run("create", "mine", "-f", str(modelfile))
    assert status == 0
    assert told.splitlines()[:2] == ["reading x.gguf", "sending x.gguf"]
    assert told.splitlines()[-1] == "success"
    found = Store(bench.home).find("mine")
    assert found.parameters == {"temperature": 0.5, "stop": ["A", " B"]}
    assert (found.system, found.messages) == ("S", ({"role": "user", "content": "Hi"},))
    _, _, told = await bench.run("create", "again", "-f", str(modelfile))
    assert "sending" not in told


async def test_what_show_prints_of_every_kind_of_option_reads_back(bench, gguf, put, tmp_path: Path) -> None:
    parameters = {"stop": ["A", '"'], "logit_bias": {"5": 1.5, "7": -100.0}, "top_k": 3, "use_mmap": True}
    put(bench.home, gguf(), "base", parameters=parameters)
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text((await bench.run("show", "--modelfile", "base"))[1])
    assert "PARAMETER logit_bias {" in modelfile.read_text()
    assert (await bench.run("create", "again", "-f", str(modelfile)))[0] == 0
    assert Store(bench.home).find("again").parameters == parameters


async def test_show_tells_what_is_worth_knowing(bench, gguf, put) -> None:
    source = Source(kind="converted", ref="me/x", notes=("the model's vision part is not converted: the file takes text only",))
    put(bench.home, gguf(), "m", source=source)
    shown = (await bench.run("show", "m"))[1]
    assert "  Notes\n    the model's vision part is not converted" in shown
    assert json.loads((await bench.run("show", "m", "--json"))[1])["notes"] == list(source.notes)


async def test_create_from_a_model_and_from_standard_input(bench, gguf, put, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(bench.home, gguf(), "base")
    text = tmp_path / "text"
    text.write_text("FROM base\nSYSTEM Arr.\n")
    with open(text) as file:
        monkeypatch.setattr("sys.stdin", file)
        assert (await bench.run("create", "pirate", "-f", "-"))[0] == 0
    assert Store(bench.home).find("pirate").system == "Arr."


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        (None, 2, "name a Modelfile with -f"),
        ("SYSTEM x", 2, "no FROM"),
        ("FROM ./missing.gguf", 2, "FROM ./missing.gguf: there is no such file"),
        ("FROM base\nADAPTER ./missing", 2, "ADAPTER ./missing: there is no such file"),
        ("FROM base\nFROM ./x.gguf", 2, "files and models"),
        ("FROM ./empty", 2, "neither GGUF nor safetensors"),
        ("FROM nobody", 1, "model 'nobody' not found"),
        ("FROM base\nPARAMETER top_k many", 1, "parameters.top_k must be an integer"),
        ('FROM base\nPARAMETER logit_bias {"5"', 1, "parameters.logit_bias must be an object"),
        ('FROM base\nPARAMETER logit_bias {"five": 1}', 1, "must be token ids"),
    ],
)
async def test_a_create_that_cannot_be_says_why(bench, gguf, put, tmp_path: Path, text: str | None, status: int, words: str) -> None:
    put(bench.home, gguf(), "base")
    (tmp_path / "x.gguf").write_bytes(gguf())
    (tmp_path / "empty").mkdir()
    modelfile = tmp_path / "Modelfile"
    if text is not None:
        modelfile.write_text(text)
    found, _, told = await bench.run("create", "x", "-f", str(modelfile))
    assert found == status
    assert words in told
    assert bench.names() == ["base:latest"]


async def test_du_tells_what_a_removal_would_free(bench, gguf, put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, own = gguf(), gguf(general__file_type=1)
    put(bench.home, shared, "one")
    put(bench.home, shared, "two")
    put(bench.home, own, "three")
    put(bench.home, b"unused")
    below = tmp_path / "below"
    put(below, gguf(general__file_type=2), "four")
    monkeypatch.setenv("VLLAMA_STORES", str(below))
    usage = json.loads((await bench.run("du", "--json"))[1])
    assert {model["name"]: (model["size"], model["own"]) for model in usage["models"]} == {
        "one:latest": (len(shared), 0),
        "two:latest": (len(shared), 0),
        "three:latest": (len(own), len(own)),
        "four:latest": (len(own), 0),
    }
    assert (usage["blobs"], usage["unused"], usage["elsewhere"]) == (len(shared) + len(own) + 6, 6, len(own))
    told = (await bench.run("du"))[1]
    assert told.splitlines()[0].split() == ["NAME", "FORMAT", "SIZE", "OWN", "STORE"]
    assert "6 B of it unused" in told
    assert "elsewhere" in told


async def test_verify_finds_every_kind_of_damage(bench, gguf, put) -> None:
    good, damaged, cut, gone = (put(bench.home, gguf(general__file_type=n), f"m{n}") for n in range(4))
    assert (await bench.run("verify"))[0] == 0
    path = manifests.blob(bench.home, damaged)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    manifests.blob(bench.home, cut).write_bytes(b"x")
    manifests.blob(bench.home, gone).unlink()
    status, told, _ = await bench.run("verify")
    assert status == 1
    for words in ("ok: m0:latest", "its bytes are damaged: m1:latest", "should have", "it is not there: m3:latest", "vllama rm m1:latest"):
        assert words in told
    status, text, _ = await bench.run("verify", "m0", "--json")
    assert status == 0
    assert json.loads(text) == [
        {"path": str(manifests.blob(bench.home, good)), "size": len(gguf(general__file_type=0)), "models": ["m0:latest"], "problem": None}
    ]
    assert (await bench.run("verify", "nobody"))[0] == 1
    assert (await bench.run("verify", "a b"))[0] == 2


async def test_gc_removes_only_what_nobody_needs(bench, gguf, put) -> None:
    put(bench.home, gguf(), "m")
    path = manifests.blob(bench.home, put(bench.home, b"unused"))
    assert (await bench.run("gc"))[1] == "0 B freed\n"
    os.utime(path, (0, 0))
    assert "6 B would be freed" in (await bench.run("gc", "--dry-run"))[1]
    assert json.loads((await bench.run("gc", "-n", "--json"))[1]) == {"unused": [{"path": str(path), "size": 6}], "in_use": []}
    assert path.exists()
    found = json.loads((await bench.run("gc", "--json"))[1])
    assert found == {"removed": [{"path": str(path), "size": 6}], "in_use": []}
    assert not path.exists()
    assert bench.names() == ["m:latest"]


async def test_gc_leaves_a_loaded_models_file(bench, gguf, put) -> None:
    """Its name is taken away behind the server's back; the engine may have to be started again."""
    digest = put(bench.home, gguf(), "m")
    async with bench.served.service.pool.use(bench.served.service.pool.find("m")):
        manifests.path_of(bench.home, ModelName("m")).unlink()
        assert garbage.collect(bench.home, grace=0.0)[1] == [garbage.Garbage(manifests.blob(bench.home, digest), len(gguf()))]
