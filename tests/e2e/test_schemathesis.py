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
SLASHES = r"/v1/models/"
"""What `{id}` may hold there, and OpenAPI cannot say."""
LEFT_OUT = f"^({SLOW}|{ABSENT}|{SLASHES})"
EXAMPLES = 10
MOST_SECONDS = 60


@pytest.fixture(scope="module")
def schemathesis() -> Path:
    try:
        return client_kits.python().with_name("schemathesis")
    except client_kits.CannotInstall as reason:
        pytest.skip(f"no schemathesis: {reason}")


def test_every_route_answers_as_it_is_described(start, schemathesis: Path, tmp_path: Path) -> None:
    agent = start("--ctx-size", "64")  # an answer without a limit of its own ends after ten windows
    what = [f"{agent.url}/openapi.json", "--url", agent.url, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"]
    bounds = [
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        "1",
        "--generation-deterministic",
        "--request-timeout",
        "30",
        "--max-time",
        str(MOST_SECONDS),
    ]
    command = [str(schemathesis), "run", *what, *bounds, "--exclude-path-regex", LEFT_OUT, "--no-color"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=4 * MOST_SECONDS, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-1000:]
    agent.until(agent.idle, "nothing of it goes on")
    assert "Traceback" not in agent.log.read_text()
