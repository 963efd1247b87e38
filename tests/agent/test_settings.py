"""Settings: which source wins, what each accepts, and that a refusal names source, value and what is allowed."""

import argparse
from pathlib import Path

import pytest

from vllama_agent.commands import settings
from vllama_core.config import AgentConfig
from vllama_core.engine_build import EngineName
from vllama_core.errors import ConfigError


def read(*words: str, **environment: str) -> AgentConfig:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    return settings.read(parser.parse_args(words), environment)


def test_nothing_given_is_the_default() -> None:
    assert read() == AgentConfig()


def test_flags_win_over_vllama_and_that_over_ollama() -> None:
    environment = {"OLLAMA_NUM_PARALLEL": "2", "OLLAMA_CONTEXT_LENGTH": "1024"}
    assert read(**environment).load.parallel == 2
    environment["VLLAMA_PARALLEL"] = environment["VLLAMA_NUM_PARALLEL"] = "3"
    assert read(**environment).load.parallel == 3
    assert read("--parallel", "4", **environment).load.parallel == 4
    assert read(**environment).load.ctx_size == 1024


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0", "0.0.0.0", 11434),
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("[::1]:99", "::1", 99),
        ("::1", "::1", 11434),
        ("http://example.com", "example.com", 80),
        ("https://example.com", "example.com", 443),
        ("http://example.com:5/", "example.com", 5),
        (" 'localhost:7' ", "localhost", 7),
    ],
)
def test_ollama_host(text: str, host: str, port: int) -> None:
    config = read(OLLAMA_HOST=text)
    assert (config.host, config.port) == (host, port)


def test_a_port_of_its_own_wins() -> None:
    config = read("--port", "1", VLLAMA_HOST="127.0.0.1:8080")
    assert (config.host, config.port) == ("127.0.0.1", 1)


def test_an_idle_connection_is_kept_for_some_time() -> None:
    assert read(VLLAMA_IDLE_TIMEOUT="10m20s").idle_timeout == 620
    with pytest.raises(ConfigError, match="VLLAMA_IDLE_TIMEOUT is '0': it must be more than 0"):
        read(VLLAMA_IDLE_TIMEOUT="0")


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("auto", None),
        ("llama.cpp", EngineName.LLAMA_CPP),
        ("llamacpp", EngineName.LLAMA_CPP),
        ("vLLM", EngineName.VLLM),
        ("mlx", EngineName.MLX),
    ],
)
def test_engines_have_the_names_of_the_flag_and_of_llmserve(text: str, engine: EngineName | None) -> None:
    assert read("--engine", text).load.engine is engine
    assert read(VLLAMA_ENGINE=text).load.engine is engine


def test_both_cache_types_by_one_variable() -> None:
    engine = read("--cache-type-k", "q4_0", OLLAMA_KV_CACHE_TYPE="q8_0").load
    assert (engine.cache_type_k, engine.cache_type_v) == ("q4_0", "q8_0")


def test_memory_and_models() -> None:
    config = read("--memory", "24GiB", "--preload", "a", "--preload", "b", "--config", "x.yaml", OLLAMA_MAX_LOADED_MODELS="3")
    assert (config.memory, config.max_loaded, config.preload, config.config_file) == (24 << 30, 3, ("a", "b"), Path("x.yaml"))
    assert read(OLLAMA_MAX_LOADED_MODELS="0").max_loaded is None
    assert read(VLLAMA_MEMORY_WAIT="30").memory_wait == 30.0


@pytest.mark.parametrize("text", ["0", "much", "-1GB"])
def test_a_wrong_amount_of_memory_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"--memory is '{text}': "):
        read(f"--memory={text}")


def test_switches_and_lists() -> None:
    config = read(
        "--no-auth", "--no-mmap", "--mlock", "--tensor-split", "3,1", "--model", "a", "--model", "b",
        OLLAMA_ORIGINS="x, y", VLLAMA_STORES="/mnt/shared:~/more:", VLLAMA_PVC_ROOT="/claims", VLLAMA_XET="1",
        VLLAMA_MANAGED="1",
    )  # fmt: skip
    assert (config.pvc_root, config.xet, config.managed) == (Path("/claims"), True, True)
    assert config.stores == (Path("/mnt/shared"), Path("~/more").expanduser())
    assert config.no_auth
    assert not config.load.mmap
    assert config.load.mlock
    assert config.load.tensor_split == (3.0, 1.0)
    assert config.models == ("a", "b")
    assert config.origins == ("x", "y")


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600.0), ("300", 300.0), ("0", 0.0)])
def test_keep_alive(text: str, seconds: float) -> None:
    assert read(OLLAMA_KEEP_ALIVE=text).keep_alive == seconds


def test_a_negative_keep_alive_is_for_ever() -> None:
    kept = read(OLLAMA_KEEP_ALIVE="-1").keep_alive
    assert kept is not None
    assert kept < 0


@pytest.mark.parametrize(
    ("words", "environment", "parts"),
    [
        (("--port", "70000"), {}, ("--port", "'70000'", "65535")),
        (("--parallel", "many"), {}, ("--parallel", "'many'", "whole number")),
        (("--flash-attn", "perhaps"), {}, ("--flash-attn", "'perhaps'", "auto")),
        (("--cache-type-v", "q9"), {}, ("--cache-type-v", "'q9'", "q8_0")),
        (("--rope-freq-base", "nan"), {}, ("--rope-freq-base", "'nan'", "number")),
        (("--tensor-split", "a"), {}, ("--tensor-split", "'a'", "3,1")),
        ((), {"OLLAMA_KEEP_ALIVE": "soon"}, ("OLLAMA_KEEP_ALIVE", "'soon'", "5m")),
        ((), {"OLLAMA_HOST": "a b"}, ("OLLAMA_HOST", "'a b'", "127.0.0.1")),
        ((), {"OLLAMA_MAX_QUEUE": "0"}, ("OLLAMA_MAX_QUEUE", "'0'", "1")),
        (("--ctx-size", "99999999999"), {}, ("--ctx-size", "16 to 16777216")),
        (("--kv-cells", "4294967312"), {}, ("--kv-cells", "16 to 2147483647")),
        (("--gpu-layers", "4294967295"), {}, ("--gpu-layers", "-1 to 65536")),
        ((), {"VLLAMA_KV_CELLS": "x"}, ("VLLAMA_KV_CELLS", "'x'", "whole number")),
        (("--engine", "tgi"), {}, ("--engine", "'tgi'", "auto, llama.cpp, vllm, mlx")),
    ],
)
def test_a_refusal_names_everything(words: tuple[str, ...], environment: dict[str, str], parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(*words, **environment)
    assert all(part in str(caught.value) for part in parts)


def test_people_of_llama_cpp_find_their_flags() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    settings.add_flags(parser)
    assert set(parser._option_string_actions) >= {
        "--model", "--host", "--port", "--api-key-file", "--no-auth", "--ctx-size", "--kv-cells", "--parallel", "--threads", "--gpu-layers",
        "--flash-attn", "--cache-type-k", "--cache-type-v", "--batch-size", "--ubatch-size", "--no-mmap", "--mlock", "--rope-scaling",
        "--rope-freq-base", "--rope-freq-scale", "--tensor-split", "--keep-alive", "--keep-responses",
        "--drain-delay", "--drain-seconds", "--log-format",
    }  # fmt: skip
