"""Models made, copied, shown and removed by unmodified clients, against the real process on a tiny random model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ollama
import pytest

import llama_wheel
import tiny_gguf
from vllama_agent.environments import layout

ROOT = Path(__file__).resolve().parents[2]
MODELFILE = """FROM {file}
PARAMETER temperature 0
PARAMETER num_predict 4
PARAMETER stop "<|end|>"
SYSTEM You are a pirate.
TEMPLATE \"\"\"{{{{ if .System }}}}S: {{{{ .System }}}}
{{{{ end }}}}U: {{{{ .Prompt }}}}
A: \"\"\"
LICENSE Arr
MESSAGE user Ahoy
MESSAGE assistant Arr!
"""
PROMPT = "S: You are a pirate.\nU: Ahoy\nA: Arr!U: Hi\nA: "


@pytest.fixture(scope="module")
def agent(start):
    return start()


@pytest.fixture(scope="module")
def cli(agent):
    """Runs the real `ollama` command against the agent."""
    result = subprocess.run([sys.executable, ROOT / "tools/ollama_cli.py"], capture_output=True, text=True, timeout=600, check=False)
    if result.returncode != 0:
        pytest.skip(f"no ollama command: {result.stderr.strip().splitlines()[-1]}")
    environment = {**os.environ, "OLLAMA_HOST": agent.url, "HOME": str(agent.log.parent)}

    def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([result.stdout.strip(), *words], capture_output=True, text=True, timeout=60, env=environment, check=False)
        assert not check or done.returncode == 0, done.stderr + agent.log.read_text()[-3000:]
        return done

    return run


def names(agent) -> list[str]:
    return sorted(model["name"] for model in agent.client.get("/api/tags").json()["models"])


def rendered(agent, model: str) -> str:
    chat = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": False, "_debug_render_only": True}
    return agent.client.post("/api/chat", json=chat).json()["_debug_info"]["rendered_template"]


def test_the_ollama_command_makes_shows_copies_and_removes_a_model(agent, cli, tmp_path: Path) -> None:
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text(MODELFILE.format(file=tiny_gguf.ensure("llama")))
    made = cli("create", "pirate", "-f", str(modelfile))
    assert "success" in made.stderr
    assert rendered(agent, "pirate") == PROMPT
    answer = agent.client.post("/api/chat", json={"model": "pirate", "messages": [{"role": "user", "content": "Hi"}], "stream": False})
    assert (answer.json()["done_reason"], answer.json()["eval_count"]) == ("length", 4)

    shown = cli("show", "pirate").stdout
    for words in ("llama", "temperature", "<|end|>", "You are a pirate.", "Arr"):
        assert words in shown
    assert cli("show", "--license", "pirate").stdout.strip() == "Arr"
    assert cli("show", "--system", "pirate").stdout.strip() == "You are a pirate."

    cli("cp", "pirate", "me/pirate:2")
    assert rendered(agent, "me/pirate:2") == PROMPT
    listed = cli("list").stdout.splitlines()
    ids = {line.split()[0]: line.split()[1] for line in listed[1:]}
    assert ids["pirate:latest"] == ids["me/pirate:2"]

    again = tmp_path / "Again"
    again.write_text(cli("show", "--modelfile", "pirate").stdout)
    cli("create", "again", "-f", str(again))
    assert rendered(agent, "again") == PROMPT
    assert cli("show", "--parameters", "again").stdout.split() == cli("show", "--parameters", "pirate").stdout.split()

    other = tmp_path / "Other"
    other.write_text("FROM pirate\nSYSTEM You are a king.\n")
    cli("create", "king", "-f", str(other))
    assert rendered(agent, "king") == PROMPT.replace("pirate", "king")

    cli("rm", "pirate", "me/pirate:2", "again", "king")
    assert not {"pirate:latest", "me/pirate:2", "again:latest", "king:latest"} & set(names(agent))
    assert [
        path for path in (agent.log.parent / "blobs").iterdir() if tiny_gguf.ensure("llama").stat().st_size == path.stat().st_size
    ] == []
    gone = cli("rm", "pirate", check=False)
    assert gone.returncode != 0
    assert "not found" in gone.stderr


def test_the_ollama_command_passes_a_refusal_on(cli, tmp_path: Path) -> None:
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text(f"FROM {tiny_gguf.ensure('llama')}\nTEMPLATE {{{{ range .Tools }}}}x{{{{ end }}}}\n")
    refused = cli("create", "x", "-f", str(modelfile), check=False)
    assert refused.returncode != 0
    assert "Jinja" in refused.stderr


def test_the_ollama_python_client(agent) -> None:
    with ollama.Client(host=agent.url) as client:
        digest = client.create_blob(tiny_gguf.ensure("llama"))
        events = list(client.create("mine", files={"x.gguf": digest}, system="Be short.", parameters={"top_k": 3}, stream=True))
        assert events[-1].status == "success"
        assert client.create("over", from_="mine", template="T {{ messages[-1].content }}").status == "success"
        assert rendered(agent, "over") == "T Hi"
        assert client.copy("over", "copied").status == "success"
        shown = client.show("copied")
        assert shown.parameters == f"{'top_k':<30} 3"
        assert shown.template == "T {{ messages[-1].content }}"
        assert shown.details is not None
        assert shown.details.parent_model == "mine:latest"
        assert {model.model for model in client.list().models} >= {"mine:latest", "over:latest", "copied:latest"}
        for name in ("mine", "over", "copied"):
            assert client.delete(name).status == "success"
        with pytest.raises(ollama.ResponseError) as caught:
            client.delete("mine")
        assert caught.value.status_code == 404


def test_models_of_the_same_bytes_share_one_worker(agent) -> None:
    with ollama.Client(host=agent.url) as client:
        digest = client.create_blob(tiny_gguf.ensure("llama"))
        client.create("one", files={"x.gguf": digest})
        client.create("two", from_="one", system="Be short.")
        client.generate("one", "Hi", options={"num_predict": 1})
        worker = agent.working("llama_cpp.worker")
        client.generate("two", "Hi", options={"num_predict": 1})
        assert agent.working("llama_cpp.worker") == worker
        for name in ("one", "two"):
            client.delete(name)


def test_a_models_own_context_is_what_it_is_loaded_with(agent) -> None:
    with ollama.Client(host=agent.url) as client:
        digest = client.create_blob(tiny_gguf.ensure("llama"))
        client.create("narrow", files={"x.gguf": digest}, parameters={"num_ctx": 64})
        client.generate("narrow", "Hi", options={"num_predict": 1})
        assert {model.model: model.context_length for model in client.ps().models}["narrow:latest"] == 64
        client.delete("narrow")


def test_a_model_is_made_smaller_on_request(agent, cli, tmp_path: Path) -> None:
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text(f"FROM {tiny_gguf.ensure('llama')}\n")
    made = cli("create", "small", "-q", "q8_0", "-f", str(modelfile))
    assert "quantizing" in made.stderr
    shown = agent.client.post("/api/show", json={"model": "small"}).json()
    assert shown["details"]["quantization_level"] == "Q8_0"
    answer = agent.client.post("/api/generate", json={"model": "small", "prompt": "Hi", "stream": False, "options": {"num_predict": 2}})
    assert answer.json()["eval_count"] == 2
    again = tmp_path / "Again"
    again.write_text("FROM small\n")
    refused = cli("create", "smaller", "-q", "q4_K_M", "-f", str(again), check=False)
    assert refused.returncode != 0
    assert "quantized already" in refused.stderr
    cli("rm", "small")
    assert not [path for path in (agent.log.parent / "blobs").iterdir() if path.name.startswith(".")]


def test_hugging_face_files_need_the_converter(agent, tmp_path: Path) -> None:
    with ollama.Client(host=agent.url) as client:
        (tmp_path / "config.json").write_text("{}")
        digest = client.create_blob(tmp_path / "config.json")
        with pytest.raises(ollama.ResponseError, match="vllama engines install convert"):
            client.create("x", files={"config.json": digest, "model.safetensors": digest})


def test_a_split_set_is_served_from_blobs(agent, cli, tmp_path: Path) -> None:
    """Blobs do not bear the names by which llama.cpp finds the files of a set."""
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text(f"FROM {tiny_gguf.ensure_split('llama')}\nPARAMETER temperature 0\nPARAMETER num_predict 8\n")
    cli("create", "split", "-f", str(modelfile))
    whole = tmp_path / "Whole"
    whole.write_text(modelfile.read_text().replace(str(tiny_gguf.ensure_split("llama")), str(tiny_gguf.ensure("llama"))))
    cli("create", "whole", "-f", str(whole))
    prompt = {"prompt": "Hi", "stream": False, "raw": True, "options": {"seed": 1}}
    answers = [agent.client.post("/api/generate", json=prompt | {"model": name}).json() for name in ("split", "whole")]
    assert answers[0]["eval_count"] == 8
    assert answers[0]["response"] == answers[1]["response"]
    cli("rm", "split", "whole")


def test_hugging_face_files_become_a_model(agent, cli, tmp_path: Path) -> None:
    """With the environment and the model that tests/engine/test_convert.py makes."""
    folder = llama_wheel.CACHE / "models" / f"tiny-hf-v1-{layout.key()}"
    if layout.find(llama_wheel.CACHE) is None or not folder.is_dir():
        pytest.skip("the converter's environment or its tiny model is not there yet")
    (agent.log.parent / "envs").symlink_to(llama_wheel.CACHE / "envs")
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text(f"FROM {folder}\nSYSTEM Be short.\n")
    made = cli("create", "converted", "-q", "q8_0", "-f", str(modelfile))
    assert "converting converted" in made.stderr
    shown = agent.client.post("/api/show", json={"model": "converted"}).json()
    assert shown["details"]["quantization_level"] == "Q8_0"
    assert shown["system"] == "Be short."
    answer = agent.client.post("/api/generate", json={"model": "converted", "prompt": "Hi", "stream": False, "options": {"num_predict": 2}})
    assert answer.json()["eval_count"] == 2
    cli("rm", "converted")
    assert not [path for path in (agent.log.parent / "blobs").iterdir() if path.name.startswith(".")]
