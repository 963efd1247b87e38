"""What every engine owes its callers: one suite, over llama.cpp and over a real vLLM (a community rebuild for CPUs)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import ollama
import openai
import psutil
import pytest
import vllms

START_SECONDS = 240.0
"""vLLM imports torch three times before it loads anything; on two busy cores that takes minutes."""
CROWD = 48
"""Answers at once where they have to be under way, more than run at a time: on two busy cores vLLM's server tells of them in bursts, late,
and those behind them cannot have begun before others end."""
LONG = 1900
"""Tokens of an answer that is left: nearly the window of vLLM's model. A crowd of them takes any machine far longer than to tell a first
piece of one."""
NEVER_END = {"2": -100}
"""The token that ends both models' answers, forbidden: of a model without a meaning any may be the next."""
SCHEMA = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}


@pytest.fixture(scope="module", params=["llama.cpp", "vllm"])
def agent(request: pytest.FixtureRequest, start: Any) -> Iterator[Any]:
    """An agent that serves a tiny random Llama by one of the engines."""
    is_llama = request.param == "llama.cpp"
    made = start("--ctx-size", "512", "--parallel", "32") if is_llama else vllms.serve(start, seconds=START_SECONDS)
    yield made
    made.process.terminate()
    made.process.wait(60)


def is_vllm(agent: Any) -> bool:
    return bool(agent.children(vllms.MODULE))


def post(agent: Any, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{agent.url}{path}", json={"model": agent.model, **body}, timeout=120)


def generate(agent: Any, prompt: str = "the weather", **body: Any) -> dict[str, Any]:
    options = {"num_predict": 8, "temperature": 0, **body.pop("options", {})}
    answer = post(agent, "/api/generate", prompt=prompt, stream=False, options=options, **body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def long_answer(agent: Any, tokens: int) -> dict[str, Any]:
    """A request whose answer has so many tokens."""
    options = {"num_predict": tokens, "temperature": 1.0, "seed": 1, "logit_bias": NEVER_END}
    return {"model": agent.model, "prompt": "the", "raw": True, "options": options}


def test_the_same_greedy_question_has_the_same_answer(agent) -> None:
    first, second = generate(agent, raw=True), generate(agent, raw=True)
    assert first["response"] == second["response"]
    assert (first["eval_count"], first["done_reason"]) == (8, "length")
    assert first["prompt_eval_count"] > 1
    assert first["eval_duration"] > 0
    assert first["prompt_eval_duration"] > 0


def test_a_stream_says_the_same_as_a_whole_answer(agent) -> None:
    messages = [{"role": "user", "content": "the weather in Paris"}]
    options = {"num_predict": 12, "temperature": 0}
    whole = post(agent, "/api/chat", messages=messages, stream=False, options=options).json()
    lines = [json.loads(line) for line in post(agent, "/api/chat", messages=messages, options=options).text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == whole["message"]["content"]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1]["eval_count"] == whole["eval_count"] == 12


def test_the_clients_of_both_families_are_served(agent) -> None:
    with ollama.Client(host=agent.url) as native:
        said = native.chat(agent.model, messages=[{"role": "user", "content": "the"}], options={"num_predict": 4})
    assert said.eval_count == 4
    with openai.OpenAI(base_url=f"{agent.url}/v1", api_key="-") as client:
        stream = client.chat.completions.create(
            model=agent.model,
            messages=[{"role": "user", "content": "the"}],
            max_tokens=4,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        bare = client.completions.create(model=agent.model, prompt="the", max_tokens=3, logprobs=2, temperature=0)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4
    assert next(chunk.choices[0].finish_reason for chunk in reversed(chunks) if chunk.choices) == "length"
    assert bare.choices[0].logprobs is not None
    assert len(bare.choices[0].logprobs.token_logprobs or ()) == 3


def test_log_probabilities_come_with_a_chats_tokens(agent) -> None:
    messages = [{"role": "user", "content": "the"}]
    answer = post(agent, "/v1/chat/completions", messages=messages, max_tokens=3, logprobs=True, top_logprobs=2, temperature=0).json()
    found = answer["choices"][0]["logprobs"]["content"]
    assert [len(token["top_logprobs"]) for token in found] == [2, 2, 2]
    assert all(token["logprob"] <= 0 for token in found)


def test_an_answer_goes_on_from_its_context(agent) -> None:
    first = generate(agent)
    assert len(first["context"]) == first["prompt_eval_count"] + first["eval_count"]
    second = generate(agent, context=first["context"])
    assert second["prompt_eval_count"] > len(first["context"])
    assert second["context"][: len(first["context"])] == first["context"]


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(agent) -> None:
    whole = generate(agent, raw=True, options={"num_predict": 24})["response"]
    stop = next(char for char in whole[3:] if char.isprintable() and char not in whole[:3])
    cut = generate(agent, raw=True, options={"num_predict": 24, "stop": [stop]})
    assert cut["response"] == whole[: whole.index(stop)]
    assert cut["done_reason"] == "stop"


def test_a_schema_holds(agent) -> None:
    found = generate(agent, format=SCHEMA, options={"num_predict": 60})
    assert json.loads(found["response"])["n"] in (1, 2)
    refused = post(agent, "/api/generate", prompt="x", format={"type": "nonsense"})
    assert refused.status_code == 400
    assert "format" in refused.json()["error"]


def test_a_prompt_that_is_too_long_is_cut_or_refused(agent) -> None:
    window = agent.client.get("/api/ps").json()["models"][0]["context_length"]
    long = "the weather in Paris " * window
    refused = post(agent, "/api/generate", prompt=long, truncate=False, raw=True)
    assert refused.status_code == 400
    assert "longer than the context length" in refused.json()["error"]
    assert str(window) in refused.json()["error"]
    cut = post(agent, "/api/generate", prompt=long, raw=True, stream=False, options={"num_predict": 1})
    assert cut.status_code == 200, cut.text
    dropped, asked = map(int, cut.headers["X-Vllama-Truncated"].split("/"))
    assert 0 < asked - dropped < window


def test_options_that_the_engine_lacks_are_named(agent) -> None:
    answer = post(agent, "/api/generate", prompt="x", stream=False, options={"num_predict": 1, "mirostat": 1, "typical_p": 0.5, "top_k": 5})
    named = set(answer.headers.get("X-Vllama-Ignored", "").replace(" ", "").split(","))
    assert named == ({"mirostat", "typical_p"} if is_vllm(agent) else {""})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/generate", {"prompt": "a", "suffix": "b"}),
        ("/v1/completions", {"prompt": [10**6]}),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function", "function": {"name": "f"}}]},
        ),
    ],
)
def test_what_the_model_cannot_do_is_a_400_with_a_reason(agent, path: str, body: dict[str, Any]) -> None:
    answer = post(agent, path, **body)
    assert answer.status_code == 400
    assert "error" in answer.json()


def test_thirty_two_answers_at_once(agent) -> None:
    done: list[int] = []

    def ask(number: int) -> None:
        done.append(generate(agent, f"the weather in {number}", options={"num_predict": 40})["eval_count"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(done) == 32
    assert all(0 < count <= 40 for count in done)
    assert agent.idle()


def made(agent: Any) -> float:
    """Tokens that the engine has made, by its own count."""
    return vllms.metric(agent, "generation_tokens_total") if is_vllm(agent) else agent.metric("vllama_generated_tokens_total")


def test_clients_that_leave_stop_the_work(agent) -> None:
    payload = json.dumps(long_answer(agent, LONG)).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
    before = made(agent)
    clients = [socket.create_connection(("127.0.0.1", agent.port), timeout=60) for _ in range(CROWD)]
    for client in clients:
        client.sendall(head + payload)
    ready, _, _ = select.select(clients, [], [], 60)
    assert ready[0].recv(1 << 12).startswith(b"HTTP/1.1 200")
    for client in clients:
        client.close()
    agent.until(agent.idle, "the agent counts nothing")
    if is_vllm(agent):
        agent.until(lambda: vllms.running(agent) == vllms.waiting(agent) == 0, "vLLM itself computes nothing more, and nothing waits in it")
    assert made(agent) - before < CROWD * LONG / 2


def test_metrics_have_the_same_names(agent) -> None:
    before = agent.metric("vllama_answer_tokens_total")
    generate(agent)
    assert agent.metric("vllama_answer_tokens_total") == before + 8
    assert agent.metric("vllama_kv_cells") > 0


def test_show_tells_what_it_can_do(agent) -> None:
    shown = post(agent, "/api/show").json()
    assert shown["capabilities"] == ["completion"]
    assert shown["model_info"]["general.architecture"] == "llama"


def test_a_drain_lets_an_answer_end_and_no_process_outlives_the_agent(agent) -> None:
    """The last test of each agent."""
    processes = psutil.Process(agent.process.pid).children(recursive=True)
    body = long_answer(agent, 600)
    with httpx.stream("POST", f"{agent.url}/api/generate", json=body, timeout=120) as answer:
        lines = answer.iter_lines()
        next(lines)
        os.kill(agent.process.pid, signal.SIGTERM)
        last = [json.loads(line) for line in lines][-1]
    assert last["eval_count"] == 600
    assert agent.process.wait(60) == 0
    assert not any(process.is_running() for process in processes)


# --- what only a server of somebody else's needs --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(start: Any) -> Any:
    return vllms.serve(start, seconds=START_SECONDS)


def parts(agent: Any) -> dict[str, psutil.Process]:
    """vLLM's processes by what they are called."""
    found = {}
    for process in psutil.Process(agent.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            words = " ".join(process.cmdline())
            if re.search(r"VLLM::(\w+)", words):
                found[re.search(r"VLLM::(\w+)", words)[1]] = process  # type: ignore[index]
            elif vllms.MODULE in words and "keeper" not in words:
                found["APIServer"] = process
    return found


def test_scheduler_and_model_share_a_process(served: Any) -> None:
    """In two they would poll for each other, and a machine without GPUs has no cores for that."""
    assert set(parts(served)) == {"APIServer", "EngineCore"}


def test_none_of_its_processes_is_given_a_secret(served: Any) -> None:
    started = psutil.Process(served.process.pid).children(recursive=True)
    assert {"APIServer", "EngineCore"} <= set(parts(served))
    assert [process.name() for process in started if vllms.CANARY in Path(f"/proc/{process.pid}/environ").read_text(errors="replace")] == []


@pytest.mark.parametrize("victim", ["APIServer", "EngineCore"])
def test_it_comes_back_from_the_death_of_any_of_its_processes(served: Any, victim: str) -> None:
    body, before = long_answer(served, LONG), parts(served)
    assert {"APIServer", "EngineCore"} <= set(before)
    begun = threading.Event()

    def last_line(_number: int) -> dict[str, Any]:
        with httpx.stream("POST", f"{served.url}/api/generate", json=body, timeout=120) as answer:
            lines = answer.iter_lines()
            last = next(lines)
            begun.set()
            for later in lines:
                last = later
        found: dict[str, Any] = json.loads(last)
        return found

    with ThreadPoolExecutor(CROWD) as pool:
        lasts = pool.map(last_line, range(CROWD))
        assert begun.wait(120)
        before[victim].send_signal(signal.SIGKILL)
        broken = [last["error"] for last in lasts if not last.get("done")]
    assert broken, "no answer was under way any more"
    assert all(error.startswith("model runner has unexpectedly stopped") for error in broken), broken
    served.until(lambda: not served.is_ready(), "the agent has seen the server's end, which follows its engine's")
    served.until(lambda: not any(process.is_running() for process in before.values()), "none of the old processes is left")
    served.until(served.is_ready, "another one serves", START_SECONDS)
    assert generate(served)["eval_count"] == 8


def test_a_killed_agent_leaves_no_orphan(served: Any) -> None:
    served.until(served.is_ready, "all its processes are there", START_SECONDS)
    processes = [*parts(served).values(), *served.children("keeper.py")]
    assert len(processes) >= 3
    os.kill(served.process.pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
        assert time.monotonic() < until, [process.cmdline() for process in processes if process.is_running()]
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("started", "told"),
    [
        ({"arguments": "--enforce-eager --frobnicate"}, "vLLM does not know these arguments: --frobnicate"),
        ({"cache_gib": 4096}, "The model does not fit"),
    ],
    ids=["a wrong argument", "a model that does not fit"],
)
def test_what_vllm_cannot_start_with_is_explained(start: Any, started: dict[str, Any], told: str) -> None:
    agent = vllms.serve(start, **started, seconds=None)
    agent.until(lambda: told in agent.client.get("/readyz").text, told, START_SECONDS)
    agent.process.terminate()
    assert agent.process.wait(60) == 0
