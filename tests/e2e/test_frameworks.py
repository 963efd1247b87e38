"""Frameworks and JavaScript libraries, unmodified, in environments of their own, against the real process.

The weights are random: that everything is asked and answered in the shapes that these clients read is what is seen here, and that answers
with a schema keep to it. The clients' scripts lie in tests/e2e/clients.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vllms

import client_kits  # it lies in tools/

SCRIPTS = Path(__file__).parent / "clients"
COLOURS = ("red", "green")
QUIET = {"LANGCHAIN_TRACING_V2": "false", "ANONYMIZED_TELEMETRY": "false", "DO_NOT_TRACK": "1"}


@pytest.fixture(scope="module", params=["llama.cpp", "vllm"])
def agent(request: pytest.FixtureRequest, start: Any) -> Iterator[Any]:
    """Of each engine one that serves a tiny random Llama."""
    made = start() if request.param == "llama.cpp" else vllms.serve(start, seconds=vllms.START_SECONDS)
    yield made.with_thinker()
    made.end()


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return client_kits.python()
    except client_kits.CannotInstall as reason:
        pytest.skip(f"no frameworks in Python: {reason}")


@pytest.fixture(scope="module")
def node() -> Path:
    try:
        return client_kits.node()
    except client_kits.CannotInstall as reason:
        pytest.skip(f"no libraries in JavaScript: {reason}")


def told(command: list[str], agent, **more: Any) -> dict[str, Any]:
    """What a client's script printed."""
    words = [*command, agent.url, agent.model, "thinker:latest"]
    result = subprocess.run(words, capture_output=True, text=True, timeout=150, env={**os.environ, **QUIET}, check=False, **more)
    assert result.returncode == 0, result.stderr[-3000:]
    agent.until(lambda: agent.client.get("/load").json()["inflight"] == 0, "nothing of the client's requests goes on")
    return json.loads(result.stdout.splitlines()[-1])


def in_node(script: str, node: Path, agent) -> dict[str, Any]:
    """Node looks for libraries beside the script, so it is put beside them."""
    beside = node / script
    beside.write_text((SCRIPTS / script).read_text())
    return told(["node", str(beside)], agent, cwd=node)


def test_langchain(agent, python: Path) -> None:
    got = told([str(python), str(SCRIPTS / "langchain_client.py")], agent)
    assert got["chat"] == {"tokens": 5, "reason": "length"}
    assert got["pieces"] > 1
    assert (got["completed"], got["at_once"], got["tools"]) == (True, 4, 5)
    assert got["colour"]["colour"] in COLOURS
    assert "not found" in got["missing"]


def test_llamaindex(agent, python: Path) -> None:
    got = told([str(python), str(SCRIPTS / "llamaindex_client.py")], agent)
    assert got["chat"] == {"tokens": 5, "role": "assistant"}
    assert got["pieces"] > 1
    assert (got["completed"], got["tools"]) == (True, 5)
    assert got["colour"]["colour"] in COLOURS


def test_ollama_js(agent, node: Path) -> None:
    got = in_node("ollama_js.mjs", node, agent)
    assert got["chat"] == {"tokens": 5, "reason": "length"}
    assert got["stream"]["done"]
    assert (got["generated"], got["tools"], got["loaded"]) == ("string", 5, 1)
    assert got["colour"]["colour"] in COLOURS
    assert {agent.model, "thinker:latest"} <= set(got["listed"])
    assert got["architecture"] == "llama"
    assert got["missing"] == "ResponseError 404 model 'nobody' not found"
    assert got["aborted"].startswith("AbortError")


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_the_ai_sdk(provider: str, told_of_ai_sdk: dict[str, Any]) -> None:
    got = told_of_ai_sdk[provider]
    assert got["chat"] == {"tokens": 5, "reason": "length"}
    assert got["stream"]["tokens"] == 5
    assert got["tools"] == 5
    assert got["colour"]["colour"] in COLOURS
    assert got["missing"].startswith("404")


@pytest.fixture(scope="module")
def told_of_ai_sdk(agent, node: Path) -> dict[str, Any]:
    return in_node("ai_sdk.mjs", node, agent)
