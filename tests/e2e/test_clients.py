"""Unmodified clients against the real process with the real demo model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import ollama
import openai
import pytest

MODEL = "gemma3:270m-base"
PROMPT = "Paris is the capital of"


@pytest.fixture(scope="module")
def agent(start):
    return start(model=MODEL)


def run(command: list[str], agent, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OLLAMA_HOST": agent.url, "HOME": str(agent.log.parent)}
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, env=environment, check=True)


def assert_answers(command: list[str], agent) -> None:
    """It prints an answer; a base model's has no end, so the command is killed, and then nothing of it goes on."""
    environment = {**os.environ, "OLLAMA_HOST": agent.url, "HOME": str(agent.log.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.read(12).strip()
        process.kill()
    agent.until(agent.idle, "the killed command's request is gone")


def test_the_ollama_command(agent, ollama_cli: str) -> None:
    assert MODEL in run([ollama_cli, "list"], agent).stdout
    assert "100% CPU" in run([ollama_cli, "ps"], agent).stdout or agent.client.get("/api/ps").json()["models"][0]["size_vram"] > 0
    shown = run([ollama_cli, "show", MODEL], agent).stdout
    assert "gemma3" in shown
    assert "Q4_K_M" in shown
    assert_answers([ollama_cli, "run", MODEL, PROMPT], agent)


def test_the_ollama_python_client(agent) -> None:
    greedy = {"temperature": 0, "num_predict": 8}
    with ollama.Client(host=agent.url) as client:
        answer = client.generate(MODEL, PROMPT, options=greedy)
        assert answer.response.startswith(" France")
        assert answer.eval_count == 8
        pieces = list(client.generate(MODEL, PROMPT, options=greedy, stream=True))
        assert "".join(piece.response for piece in pieces) == answer.response
        chat = client.chat(MODEL, [{"role": "user", "content": PROMPT}], options=greedy)
        assert chat.message.content == answer.response
        assert MODEL in [model.model for model in client.list().models]
        assert client.ps().models[0].model == MODEL
        assert client.show(MODEL).modelinfo["general.architecture"] == "gemma3"
        again = client.generate(MODEL, " Its", context=answer.context, options=greedy)
        assert again.prompt_eval_count > answer.prompt_eval_count


def test_the_openai_python_client(agent) -> None:
    with openai.OpenAI(base_url=f"{agent.url}/v1", api_key="unused") as client:
        done = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=8, temperature=0, logprobs=2)
        assert done.choices[0].text.startswith(" France")
        assert len(done.choices[0].logprobs.tokens) == 8
        both = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": PROMPT}], max_tokens=5, n=2, seed=7, logprobs=True, top_logprobs=3
        )
        assert [choice.index for choice in both.choices] == [0, 1]
        assert len(both.choices[0].logprobs.content[0].top_logprobs) == 3
        stream = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": PROMPT}],
            max_tokens=5,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        assert chunks[-1].usage.completion_tokens == 5
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices).startswith(" France")
        with pytest.raises(openai.NotFoundError):
            client.completions.create(model="nobody", prompt="x")


def test_our_own_command(agent) -> None:
    vllama = [sys.executable, "-m", "vllama_agent"]
    assert MODEL in run([*vllama, "list"], agent).stdout
    assert_answers([*vllama, "run", MODEL, PROMPT], agent)
    assert "gemma3" in run([*vllama, "show", MODEL], agent).stdout


def test_same_seed_same_text(agent) -> None:
    with ollama.Client(host=agent.url) as client:
        texts = {client.generate(MODEL, PROMPT, options={"seed": 5, "num_predict": 12}).response for _ in range(3)}
    assert len(texts) == 1


def test_a_prompt_beyond_the_context(agent) -> None:
    """Ollama's routes drop and say so, unless told not to; OpenAI's refuse with both numbers."""
    long = "word " * 9000
    answer = agent.client.post(
        "/api/generate", json={"model": MODEL, "prompt": long, "stream": False, "options": {"num_predict": 1, "num_ctx": 64}}
    )
    assert answer.status_code == 200
    dropped, asked = map(int, answer.headers["X-Vllama-Truncated"].split("/"))
    assert asked > 9000
    assert asked - dropped == 63
    strict = agent.client.post("/api/generate", json={"model": MODEL, "prompt": long, "truncate": False})
    assert strict.status_code == 400
    assert re.findall(r"\d+", strict.json()["error"]) == [str(asked), "8192"]
    refused = agent.client.post("/v1/completions", json={"model": MODEL, "prompt": long})
    assert refused.status_code == 400
    assert re.findall(r"\d+", refused.json()["error"]["message"]) == [str(asked), "8192"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not valid JSON"),
        (b'{"model": "gemma3:270m-base", "prompt": "\xff"}', "not valid JSON"),
        (b'{"model": "gemma3:270m-base", "prompt": 5}', "prompt"),
        (b'{"model": "gemma3:270m-base", "prompt": "x", "options": {"top_p": 3}}', "top_p"),
        (b'{"model": "gemma3:270m-base", "prompt": "x", "format": "xml"}', "format"),
        (b'{"model": "gemma3:270m-base", "prompt": "' + b"y" * 10_000_000 + b'"}', "prompt"),
        (b'{"model": "gemma3:270m-base", "prompt": "x", "template": "{% for i in range(99999999) %}{% endfor %}"}', "template"),
    ],
    ids=["malformed", "no UTF-8", "wrong type", "out of range", "unknown format", "10 MB", "hostile template"],
)
def test_bad_input_is_named(agent, body: bytes, words: str) -> None:
    answer = agent.client.post("/api/generate", content=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}, "shade": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["colour", "shade"],
    "additionalProperties": False,
}


def is_colour(text: str | None) -> bool:
    found = json.loads(text or "")
    return found.keys() == {"colour", "shade"} and found["colour"] in ("red", "green") and 1 <= found["shade"] <= 9


def test_the_python_clients_get_json_of_their_schema(agent) -> None:
    """Streamed and whole, over each route that takes a schema."""
    turn = {"role": "user", "content": "A colour as JSON:"}
    with ollama.Client(host=agent.url) as client:
        assert is_colour(client.generate(MODEL, "A colour as JSON:", format=COLOUR).response)
        assert is_colour(client.chat(MODEL, [turn], format=COLOUR).message.content)
        assert is_colour("".join(part.message.content or "" for part in client.chat(MODEL, [turn], format=COLOUR, stream=True)))
        assert (client.generate(MODEL, "A colour as JSON:", format="json", options={"num_predict": 4}).response or "").startswith("{")
    with openai.OpenAI(base_url=f"{agent.url}/v1", api_key="none") as client:
        wanted = {"type": "json_schema", "json_schema": {"name": "colour", "strict": True, "schema": COLOUR}}
        answer = client.chat.completions.create(model=MODEL, messages=[turn], response_format=wanted, n=2)
        assert all(is_colour(choice.message.content) and choice.finish_reason == "stop" for choice in answer.choices)
        cut = client.chat.completions.create(model=MODEL, messages=[turn], response_format=wanted, max_tokens=3)
        assert cut.choices[0].finish_reason == "length"
        wanted["json_schema"]["schema"] = {"type": "array", "uniqueItems": True}
        with pytest.raises(openai.BadRequestError, match="uniqueItems") as caught:
            client.chat.completions.create(model=MODEL, messages=[turn], response_format=wanted)
        assert caught.value.param == "response_format.json_schema.schema"
