"""The image `agent-cpu`, with a read-only root, as the user that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

OPEN = {"VLLAMA_NO_AUTH": "1"}
OLD_CPU = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU E5-2670\nflags\t\t: fpu sse2 ssse3 sse4_1 sse4_2 popcnt aes avx\n"


def test_answers_chats_in_both_families(start) -> None:
    run = start(environment=OPEN)
    run.until_ready()
    with run.client() as client:
        name = client.get("/api/tags").json()["models"][0]["name"]
        messages = [{"role": "user", "content": "Hello"}]
        ollama = client.post("/api/chat", json={"model": name, "messages": messages, "stream": False, "options": {"num_predict": 8}})
        openai = client.post("/v1/chat/completions", json={"model": name, "messages": messages, "max_tokens": 8})
    assert ollama.json()["message"]["role"] == "assistant"
    assert ollama.json()["eval_count"] == 8
    assert openai.json()["usage"]["completion_tokens"] == 8


def test_ends_in_order_on_sigterm_as_process_one(start) -> None:
    run = start(environment=OPEN)
    run.until_ready()
    assert run.stop() == 0
    assert "stopped" in run.log.read_text()


def test_does_not_start_open_to_the_network_unless_told(start) -> None:
    run = start()
    assert run.ended() == 2
    assert "--no-auth" in run.log.read_text()


def test_asks_for_the_key_of_a_mounted_file(start, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("open-sesame\n")
    keys.chmod(0o644)
    run = start(environment={"VLLAMA_API_KEY_FILE": "/run/key"}, mounts={keys: "/run/key"})
    run.until_ready()
    with run.client() as stranger, run.client(Authorization="Bearer open-sesame") as friend:
        assert stranger.get("/api/tags").status_code == 401
        assert friend.get("/api/tags").status_code == 200


def test_tells_an_old_cpu_what_it_lacks_and_ends(start, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(OLD_CPU)
    run = start("serve", environment=OPEN, mounts={cpuinfo: "/proc/cpuinfo"})
    assert run.ended() == 1
    assert "lacks avx2, fma, f16c, bmi2" in run.log.read_text()


def test_is_no_root_and_cannot_change_what_it_runs(start) -> None:
    program = "import os\nassert os.getuid() == 65532\nopen('/opt/vllama/new', 'w')"
    run = start(entry=("/opt/vllama/bin/python", "-c", program))
    assert run.ended() == 1
    assert "Read-only file system" in run.log.read_text()


def test_holds_nothing_that_builds(image) -> None:
    tools = {"gcc", "g++", "cc", "c++", "make", "cmake", "ninja", "ld", "pip", "pip3", "git"}
    found = {file.name for folder in ("usr/bin", "usr/local/bin", "opt/vllama/bin") for file in (image.files / folder).iterdir()}
    assert found & tools == set()


def test_says_nothing_of_keys_and_opens_nothing_by_itself(image) -> None:
    names = {entry.partition("=")[0] for entry in image.config["Env"]}
    assert names == {"PATH", "HF_HOME", "VLLAMA_HOME", "VLLAMA_HOST"}
    assert image.config["User"] == "65532:65532"
