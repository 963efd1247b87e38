from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import small_gguf

from vllama_agent import cli
from vllama_operator import plans, spec
from vllama_operator.plans import Question
from vllama_operator.profiles import Profile

Make = Callable[..., dict[str, Any]]
L40 = Profile(accelerator="nvidia", node_selector={"gpu": "l40"})


def asked(body: dict[str, Any], profile: Profile | None = None) -> Question:
    return plans.question(spec.parse(body), profile or Profile())


def test_the_question_is_what_the_answer_depends_on(serve: Make) -> None:
    resources = {"contextLength": 4096, "memory": "8GiB"}
    body = serve(model={"source": "qwen3:0.6b", "quantization": "Q8_0"}, engine={"options": {"parallel": 4}}, resources=resources)
    assert asked(body) == Question(ref="qwen3:0.6b-q8_0", engine="llamacpp", context=4096, parallel=4, memory=8 << 30, gpus=0, nodes=())
    assert plans.words(asked(body), gpu_memory=None) == [
        "plan", "qwen3:0.6b-q8_0", "--output", "/dev/termination-log",
        "--context", "4096", "--parallel", "4", "--memory", str(8 << 30),
    ]  # fmt: skip


def test_where_no_memory_is_said_the_node_is_what_counts(serve: Make) -> None:
    assert plans.words(asked(serve()), gpu_memory=None) == ["plan", "qwen3:0.6b", "--output", "/dev/termination-log"]


@pytest.mark.parametrize("path", ["folder/model.gguf", "folder/"])
def test_what_lies_on_a_volume_is_planned_where_the_job_has_it(serve: Make, path: str) -> None:
    assert plans.words(asked(serve(model={"source": f"pvc://weights/{path}"})), gpu_memory=None)[1] == f"/mnt/pvc/weights/{path}"


def test_the_profiles_limit_counts_where_the_llmserve_names_none(serve: Make) -> None:
    assert asked(serve(), Profile(resources={"limits": {"memory": "4Gi"}})).memory == 4 << 30


def test_gpus_are_compared_with_the_nodes_of_the_profile(serve: Make) -> None:
    question = asked(serve(resources={"count": 2, "memory": "32GiB"}), L40)
    assert (question.gpus, question.nodes) == (2, (("gpu", "l40"),))
    words = plans.words(question, gpu_memory=46068 << 20)
    assert words[4:] == ["--gpus", "2", "--memory", str(46068 << 20), "--host-memory", str(32 << 30)]


@pytest.mark.parametrize(
    "changed",
    [{"replicas": 5}, {"suspend": True}, {"rollout": {"drainSeconds": 5}}, {"model": {"source": "qwen3:0.6b", "name": "other"}}],
)
def test_what_the_answer_does_not_depend_on_makes_no_other_question(serve: Make, changed: dict[str, Any]) -> None:
    assert plans.key(asked(serve())) == plans.key(asked(serve(**changed)))


@pytest.mark.parametrize(
    "changed",
    [
        {"model": {"source": "qwen3:0.6b", "quantization": "Q8_0"}},
        {"resources": {"contextLength": 4096}},
        {"resources": {"memory": "1GiB"}},
        {"engine": {"options": {"parallel": 2}}},
    ],
)
def test_what_the_answer_depends_on_makes_another(serve: Make, changed: dict[str, Any]) -> None:
    assert plans.key(asked(serve())) != plans.key(asked(serve(**changed)))


def test_a_good_answer_says_by_what_arithmetic(answer: Callable[..., str]) -> None:
    read = plans.read(answer())
    assert read is not None
    assert read.fits
    assert read.sentence == "it takes 5.0 GiB (weights 4.0 GiB, KV cache 1.0 GiB) of 8.0 GiB: 8192 tokens fit"
    assert read.sizing == {
        "contextLength": 8192,
        "weightsBytes": 4 << 30,
        "cacheBytes": 1 << 30,
        "requiredBytes": 5 << 30,
        "availableBytes": 8 << 30,
    }


def test_a_bad_answer_says_what_would_fit(answer: Callable[..., str]) -> None:
    read = plans.read(answer(fits=False))
    assert read is not None
    assert not read.fits
    assert read.sentence.endswith("it would fit as Q3_K_M: 3.0 GiB, or with 6 GiB of memory: 5.0 GiB")


@pytest.mark.parametrize("text", ["", "no", "[]", "{}", '{"fits": true, "needed": 3}'])
def test_what_is_no_answer_is_none(text: str) -> None:
    assert plans.read(text) is None


def test_the_answer_of_the_real_command_is_read(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share no code but the core: this holds them together."""
    monkeypatch.setenv("VLLAMA_HOME", str(tmp_path / "home"))
    (tmp_path / "m.gguf").write_bytes(small_gguf.make())
    output = tmp_path / "answer"
    for memory, fits in (("8GiB", True), ("16MiB", False)):
        assert cli.main(["plan", str(tmp_path / "m.gguf"), "--memory", memory, "--output", str(output)]) == 0
        read = plans.read(output.read_text())
        assert read is not None
        assert read.fits is fits
        assert read.sizing["requiredBytes"] > 0


@pytest.mark.parametrize(
    ("labels", "memory"),
    [
        ([], None),
        ([{}], None),
        ([{"nvidia.com/gpu.memory": "46068"}, {"nvidia.com/gpu.memory": "24000"}], 46068 << 20),
        ([{"nvidia.com/gpu.memory": "unknown"}], None),
    ],
)
def test_the_largest_gpu_of_the_nodes_counts(labels: list[dict[str, str]], memory: int | None) -> None:
    assert plans.gpu_memory([{"metadata": {"labels": each}} for each in labels]) == memory
