from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vllama_core import serve_spec
from vllama_operator import spec
from vllama_operator.errors import SpecError
from vllama_operator.profiles import Profile
from vllama_operator.spec import SecretKey

Make = Callable[..., dict[str, Any]]


def test_the_agents_file_has_what_concerns_the_agent(serve: Make) -> None:
    body = serve(
        model={"source": "qwen3:0.6b", "quantization": "Q8_0", "aliases": ["small"], "secretRef": {"name": "hf", "key": "token"}},
        engine={"type": "auto", "options": {"kvCacheType": "q8_0"}, "args": [], "image": "mine", "env": [{"name": "A", "value": "b"}]},
        resources={"accelerator": "cpu", "count": 1, "cpu": "1500m", "memory": "2GiB", "contextLength": 4096},
    )
    assert json.loads(spec.parse(body).config) == {
        "models": [
            {
                "model": {"source": "qwen3:0.6b", "quantization": "Q8_0", "aliases": ["small"]},
                "engine": {"type": "auto", "options": {"kvCacheType": "q8_0"}},
                "resources": {"accelerator": "cpu", "cpu": "1500m", "contextLength": 4096},
            }
        ]
    }


def test_vllm_and_its_arguments_reach_the_agent_with_how_the_model_is_spread(serve: Make) -> None:
    read = spec.parse(
        serve(
            model={"source": "org/repo"},
            engine={"type": "vllm", "args": ["--dtype", "half"], "options": {"parallel": 8}},
            parallelism={"tensor": 2, "pipeline": 1, "nodes": 1},
        )
    )
    [entry] = json.loads(read.config)["models"]
    assert entry["engine"] == {"type": "vllm", "args": ["--dtype", "half", "--tensor-parallel-size=2"], "options": {"parallel": 8}}
    assert (read.engine, read.form, read.parallel) == ("vllm", "hf", 8)
    assert serve_spec.parse(read.config, file="vllama.yaml").models[0].settings["engine"] == "vllm"


@pytest.mark.parametrize(
    ("fields", "engine", "form"),
    [
        ({}, "llamacpp", None),
        ({"engine": {"type": "llamacpp"}}, "llamacpp", "gguf"),
        ({"model": {"source": "org/repo", "format": "hf"}}, "vllm", "hf"),
    ],
)
def test_the_engine_is_the_one_that_loads_the_models_form(serve: Make, fields: dict[str, Any], engine: str, form: str | None) -> None:
    read = spec.parse(serve(**fields))
    assert (read.engine, read.form) == (engine, form)


L40 = Profile(accelerator="nvidia", image="registry/agent-cuda:1")


@pytest.mark.parametrize(
    ("fields", "profile", "engine"),
    [
        ({}, L40, "vllm"),
        ({"model": {"source": "org/repo"}}, L40, "vllm"),
        ({"model": {"source": "pvc://weights/qwen/"}}, L40, "vllm"),
        ({"engine": {"image": "registry/mine:1"}}, replace(L40, image=None), "vllm"),
        ({"engine": {"options": {"parallel": 8}}}, L40, "vllm"),
        ({"engine": {"image": "registry/mine:1"}, "resources": {"accelerator": "nvidia"}}, Profile(), "vllm"),
        ({}, replace(L40, image=None), "llamacpp"),
        ({}, replace(L40, accelerator="amd"), "llamacpp"),
        ({"resources": {"accelerator": "cpu"}}, L40, "llamacpp"),
        ({"engine": {"type": "llamacpp"}}, L40, "llamacpp"),
        ({"engine": {"options": {"gpuLayers": 20}}}, L40, "llamacpp"),
        ({"model": {"source": "qwen3:0.6b", "format": "gguf"}}, L40, "llamacpp"),
        ({"model": {"source": "qwen3:0.6b", "quantization": "Q8_0"}}, L40, "llamacpp"),
        *[
            ({"model": {"source": source}}, L40, "llamacpp")
            for source in (
                "qwen3:0.6b-q8_0",
                "org/repo-GGUF",
                "org/repo:Q4_K_M",
                "pvc://weights/qwen.gguf",
                "s3://bucket/folder/",
                "oci://ghcr.io/org/m:1",
                "https://example.org/m.gguf",
                "ollama.com/library/qwen3:0.6b",
                "what-only-ollama-has:7b",
            )
        ],
    ],
)
def test_nvidia_gpus_have_vllm_where_the_image_and_the_model_may_be_for_it(
    serve: Make, fields: dict[str, Any], profile: Profile, engine: str
) -> None:
    read = spec.parse(serve(**fields), {"default": profile})
    assert read.engine == engine
    assert (read.form == "hf") == (engine == "vllm")
    assert (json.loads(read.config)["models"][0]["engine"].get("type") == "vllm") == (engine == "vllm")


def test_the_rest_is_for_its_pods(serve: Make) -> None:
    read = spec.parse(
        serve(
            model={"source": "pvc://weights/qwen/", "secretRef": {"name": "hf"}},
            api={"keySecretRef": {"name": "doors", "key": "all"}},
            resources={"memory": "2GiB"},
            rollout={"maxSurge": 0, "maxUnavailable": 1, "drainSeconds": 30},
        )
    )
    assert read.memory == 2 << 30
    assert read.source_claim == "weights"
    assert read.token == SecretKey(name="hf", key="token")
    assert read.keys == SecretKey(name="doors", key="all")
    assert (read.max_surge, read.max_unavailable, read.drain_seconds) == (0, 1, 30)


@pytest.mark.parametrize(
    ("fields", "replicas"),
    [
        ({"replicas": 3}, 3),
        ({"replicas": 0}, 0),
        ({"replicas": 3, "suspend": True}, 0),
        ({"replicas": 3, "scaling": {"min": 2, "max": 4}}, 2),
        ({"replicas": 3, "scaling": {"min": 0, "max": 4}}, 1),
        ({"suspend": True, "scaling": {"min": 2, "max": 4}}, 0),
    ],
)
def test_replicas_are_what_scaling_and_suspend_leave_of_them(serve: Make, fields: dict[str, Any], replicas: int) -> None:
    assert spec.parse(serve(**fields)).replicas == replicas


@pytest.mark.parametrize(
    ("fields", "reason", "said"),
    [
        ({"parallelism": {"nodes": 2}, "engine": {"type": "vllm"}}, "MultiNodeNotSupported", "spec.parallelism.nodes"),
        (
            {"engine": {"type": "vllm", "args": ["--port=1"]}},
            "InvalidSpec",
            r"spec.engine.args\[0\] is '--port=1', which is not",
        ),
        ({"model": {"source": "s3://b"}}, "InvalidSpec", "spec.model.source"),
        ({"model": {"source": "qwen3:0.6b", "quantization": "Q9"}}, "InvalidSpec", "spec.model.quantization is 'Q9'"),
        ({"cache": {"mode": "Shared", "size": "lots"}}, "InvalidSpec", "spec.cache.size is 'lots'"),
    ],
)
def test_what_cannot_be_is_told_by_field_and_value(serve: Make, fields: dict[str, Any], reason: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        spec.parse(serve(**fields))
    assert caught.value.reason == reason
