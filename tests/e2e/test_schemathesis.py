"""schemathesis asks the real process what its own description says, and what it does not: never a defect of ours in the answer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import client_kits  # it lies in tools/

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SLOW = r"/api/(pull|create|blobs)"
"""They fetch, convert and store; tests/agent/test_openapi_robustness.py asks them."""
ABSENT = r"/api/(embed|experimental|me$|push|signout|user|web)|/v1/(embeddings|rerank|audio)"
"""They answer 501, which the description says, and which this check takes for a defect of ours."""
LEFT_OUT = f"^({SLOW}|{ABSENT})"
EXAMPLES = 10
"""For each route, and no limit of time: a slow machine asks the same as a fast one."""
MOST_SECONDS = 300
CONFIG = """
[dictionaries]
models = {{ values = ["{model}"] }}
copies = {{ values = ["copy"] }}

[parameters]
"body.model" = {{ dictionary = "models", probability = 0.8 }}
"body.source" = {{ dictionary = "models", probability = 0.8 }}
"body.destination" = {{ dictionary = "copies" }}

[[operations]]
include-path = "/api/delete"
parameters = {{ "body.model" = {{ dictionary = "copies" }}, "body.name" = {{ dictionary = "copies" }} }}

# what an answer held is no part of a later request: identifiers differ from run to run
[phases.fuzzing]
extra-data-sources = {{ responses = false }}
error-feedback = {{ enabled = false }}
"""
"""Most names that it would make up are 404."""


@pytest.fixture(scope="module")
def schemathesis() -> Path:
    try:
        return client_kits.python().with_name("schemathesis")
    except client_kits.CannotInstall as reason:
        pytest.skip(f"no schemathesis: {reason}")


def test_every_route_answers_as_it_is_described(start, schemathesis: Path, tmp_path: Path) -> None:
    agent = start("--ctx-size", "64", "--keep-responses", "10")  # an answer without a limit of its own ends after ten windows
    (tmp_path / "schemathesis.toml").write_text(CONFIG.format(model=agent.model))
    what = [f"{agent.url}/openapi.json", "--url", agent.url, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"]
    bounds = ["--max-examples", str(EXAMPLES), "--generation-deterministic", "--request-timeout", "30"]
    command = [str(schemathesis), "run", *what, *bounds, "--exclude-path-regex", LEFT_OUT, "--no-color"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-1000:]
    agent.until(agent.idle, "nothing of it goes on")
    assert "Traceback" not in agent.log.read_text()
