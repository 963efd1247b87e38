"""Whatever dies, nothing is left behind and nobody waits for ever."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time

import httpx
import psutil
import pytest

WORKER, HELPER = "llama_cpp.worker", "llama_cpp.text"
ENDLESS = -1
"""Tokens of an answer that only its tenth window would end: more than the tiny model makes in any test's time."""


@pytest.fixture(scope="module")
def agent(start):
    return start("--parallel", "4")


def generate(agent, prompt="once upon a time", **options):
    body = {"model": agent.model, "prompt": prompt, "raw": True, "options": {"num_predict": 16, **options}}
    return agent.client.post("/api/generate", json={**body, "stream": False})


def test_a_killed_worker_fails_its_requests_with_a_sentence_and_comes_back(agent) -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(httpx.post(f"{agent.url}/api/generate", timeout=60, json=long_request(agent, stream=False)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    agent.until(lambda: agent.load()["running"] == 4, "four requests run")
    agent.working(WORKER).kill()
    told: list[httpx.Response] = []

    def unready() -> bool:
        told.append(agent.client.get("/readyz"))
        return told[-1].status_code == 503

    agent.until(unready, "readyz says that the engine is away")
    assert "restart" in told[-1].text
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a request waits for a worker that is gone"
    assert [answer.status_code for answer in answers] == [500] * 8
    assert all(answer.json()["error"].startswith("model runner has unexpectedly stopped") for answer in answers)
    agent.until(agent.is_ready, "the worker is back", 30)
    assert generate(agent).status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies are Linux's")
def test_the_agent_gives_way_to_its_engine(agent) -> None:
    assert os.sched_getscheduler(agent.process.pid) == os.SCHED_BATCH
    assert {os.sched_getscheduler(child.pid) for child in agent.children(WORKER)} == {os.SCHED_OTHER}


def test_a_killed_helper_costs_nobody_a_request(agent) -> None:
    for _ in range(3):
        agent.until(lambda: bool(agent.children(HELPER)), "a helper runs")
        agent.working(HELPER).kill()
        assert generate(agent).status_code == 200


@pytest.mark.parametrize("victim", ["agent", "keeper"])
def test_no_orphan_outlives_the_agent(start, victim: str) -> None:
    agent = start()
    family = psutil.Process(agent.process.pid).children(recursive=True)
    assert len(agent.children(WORKER)) >= 1
    if victim == "agent":
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait(10)
    else:
        keeper = next(p for p in agent.children("keeper.py") if WORKER in " ".join(p.cmdline()))
        family = keeper.children(recursive=True)
        keeper.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert generate(start()).status_code == 200


def long_request(agent, *, stream: bool = True, tokens: int = 3000) -> dict[str, object]:
    # EOS is never chosen, so the answer is as long as asked for
    options = {"num_predict": tokens, "temperature": 0, "logit_bias": {"2": -100}}
    return {"model": agent.model, "prompt": "tell me everything", "raw": True, "stream": stream, "options": options}


def test_clients_that_vanish_leave_nothing_running(start) -> None:
    """Forty clients: some decode, some are in prefill, the others wait for a sequence."""
    agent = start("--parallel", "4")
    body = long_request(agent)
    sockets = []
    for i in range(40):
        payload = json.dumps({**body, "prompt": f"{i} " + "word " * (1500 if i % 3 == 0 else 3)}).encode()
        connection = httpx.Client(base_url=agent.url, timeout=60)
        sent = connection.build_request("POST", "/api/generate", content=payload)
        thread = threading.Thread(target=_send_and_wait, args=(connection, sent), daemon=True)
        thread.start()
        sockets.append(connection)
    agent.until(lambda: agent.load()["running"] == 4 and agent.load()["waiting"] > 20, "four run, the others wait")
    for connection in sockets:
        _cut(connection)
    agent.until(agent.idle, "nothing runs and nothing waits")
    made = agent.metric("vllama_generated_tokens_total")
    answered = generate(agent).json()["eval_count"]
    agent.until(lambda: agent.metric("vllama_generated_tokens_total") == made + answered, "no token was made but for a new answer")
    assert agent.load()["kv_free"] == agent.load()["kv_total"]


def _send_and_wait(connection: httpx.Client, request: httpx.Request) -> None:
    with contextlib.suppress(httpx.TransportError, OSError, RuntimeError):
        connection.send(request, stream=True).read()


def _cut(connection: httpx.Client) -> None:
    """Close the socket under the client, as a killed process would."""
    for pooled in connection._transport._pool.connections:  # type: ignore[attr-defined]
        with contextlib.suppress(AttributeError, OSError):
            sock = pooled._connection._network_stream.get_extra_info("socket")
            sock.shutdown(2)


def test_slow_readers_slow_nobody_down(start) -> None:
    """Two hundred connections that never read: others are answered, and memory stays bounded."""
    agent = start("--parallel", "64")
    payload = json.dumps(long_request(agent)).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
    before = psutil.Process(agent.process.pid).memory_info().rss
    slow = []
    for _ in range(200):
        connection = socket.create_connection(("127.0.0.1", agent.port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head + payload)
        slow.append(connection)
    begin = time.monotonic()
    answer = agent.client.get("/api/version")
    assert answer.status_code == 200
    assert time.monotonic() - begin < 5
    agent.until(lambda: agent.metric("vllama_generated_tokens_total") > 10_000, "much was said that nobody reads", 60)
    assert psutil.Process(agent.process.pid).memory_info().rss - before < 200 << 20
    for connection in slow:
        connection.close()
    agent.until(agent.idle, "they are gone", 60)
    assert generate(agent).status_code == 200


def test_readers_that_stopped_reading_give_up_their_places(start, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold every sequence, and only a reader's end or its time limit would free one."""
    monkeypatch.setenv("VLLAMA_WRITE_TIMEOUT", "600")
    agent = start("--parallel", "2")
    # alternatives make each piece large, so that what the connection takes without a reader is soon full
    payload = json.dumps({**long_request(agent, tokens=ENDLESS), "logprobs": True, "top_logprobs": 20}).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # the sender's buffer is sized by it
            connection.connect(("127.0.0.1", agent.port))
            connection.sendall(head + payload)
        agent.until(lambda: agent.load()["running"] == 2, "both run")
        with httpx.Client(base_url=agent.url, timeout=200) as patient:
            answer = patient.post("/api/generate", json=long_request(agent, stream=False, tokens=4))
        assert answer.status_code == 200
    agent.until(agent.idle, "they are gone")


def test_a_full_queue_says_so_at_once(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MAX_QUEUE", "6")
    agent = start("--parallel", "2")
    clients = [httpx.Client(base_url=agent.url, timeout=60) for _ in range(6)]
    with contextlib.ExitStack() as stack:
        for client in clients:
            stack.enter_context(client.stream("POST", "/api/generate", json=long_request(agent))) if client is clients[0] else None
        threads = [
            threading.Thread(
                target=_send_and_wait, args=(c, c.build_request("POST", "/api/generate", json=long_request(agent))), daemon=True
            )
            for c in clients[1:]
        ]
        for thread in threads:
            thread.start()
        agent.until(lambda: agent.client.get("/load").json()["inflight"] >= 6, "six requests are in flight")
        native = generate(agent)
        openai = agent.client.post("/v1/completions", json={"model": agent.model, "prompt": "x", "max_tokens": 1})
    assert native.status_code == 503
    assert "maximum pending requests exceeded" in native.json()["error"]
    assert int(native.headers["Retry-After"]) >= 1
    assert openai.status_code == 429
    assert "Retry-After" in openai.headers
    for client in clients:
        _cut(client)
    agent.until(agent.idle, "the queue is empty")


@pytest.mark.parametrize("limit", [120, 1])
def test_a_drain_lets_streams_end_or_ends_them_in_their_own_shape(start, limit: int) -> None:
    agent = start("--drain-seconds", str(limit))
    body = long_request(agent, tokens=1500 if limit > 1 else ENDLESS)
    lines: list[bytes] = []
    with httpx.Client(base_url=agent.url, timeout=60) as client, client.stream("POST", "/api/generate", json=body) as answer:
        stream = answer.iter_lines()
        lines.append(next(stream).encode())
        for process in (*agent.children(WORKER), *agent.children(HELPER)):  # service managers may signal all processes at once
            process.send_signal(signal.SIGTERM)
        os.kill(agent.process.pid, signal.SIGTERM)
        agent.until(lambda: not agent.is_ready(), "readyz is false")
        lines += [line.encode() for line in stream]
    last = json.loads(lines[-1])
    if limit > 1:
        assert last["done_reason"] == "length"
        assert last["eval_count"] == 1500
    else:
        assert "shutting down" in last["error"], "a stream that is cut must say so"
    assert agent.process.wait(20) == 0
