"""A model's own template, system prompt, turns and options: below the request's, above the protocol's."""

from types import SimpleNamespace
from typing import Any

import pytest

from vllama_agent.apis import defaults, ollama, openai
from vllama_agent.engines.base import Sampling
from vllama_core.errors import InvalidRequest

MODEL = defaults.of(
    SimpleNamespace(
        template="{{ t }}",
        system="Be short.",
        parameters={"temperature": 0.3, "top_k": 5, "stop": ["END"], "num_predict": 7, "num_ctx": 512, "seed": 4, "num_thread": 2},
        messages=({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}),
    )
)
TURNS = [("user", "Hi"), ("assistant", "Ho")]


def chat(**body: Any):
    return ollama.chat({"model": "m", "messages": [{"role": "user", "content": "Q"}]} | body, MODEL)


def generate(**body: Any):
    return ollama.generate({"model": "m", "prompt": "Q"} | body, MODEL)


def said(call: ollama.Call) -> list[tuple[str, str]]:
    assert call.request is not None
    return [(message.role, message.content) for message in call.request.messages or ()]


def test_a_chat_begins_with_the_models_words() -> None:
    call = chat()
    assert said(call) == [("system", "Be short."), *TURNS, ("user", "Q")]
    assert call.request is not None
    assert call.request.template == "{{ t }}"


def test_a_chats_own_system_prompt_replaces_the_models() -> None:
    turns = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "Q"}]
    assert said(chat(messages=turns)) == [("system", "Be long."), *TURNS, ("user", "Q")]


def test_an_empty_chat_only_loads() -> None:
    assert chat(messages=[]).request is None


def test_generate_begins_with_the_models_words_unless_it_brings_its_own() -> None:
    assert said(generate()) == [("system", "Be short."), *TURNS, ("user", "Q")]
    assert said(generate(system="")) == [("system", "Be short."), *TURNS, ("user", "Q")]
    assert said(generate(system="Be long.")) == [("system", "Be long."), *TURNS, ("user", "Q")]
    own = generate(template="{{ own }}").request
    assert own is not None
    assert own.template == "{{ own }}"


def test_a_continued_generate_has_the_turns_in_its_context_already() -> None:
    assert said(generate(context=[1, 2])) == [("system", "Be short."), ("user", "Q")]


def test_a_raw_prompt_takes_the_options_only() -> None:
    request = generate(raw=True).request
    assert request is not None
    assert (request.prompt, request.messages, request.template) == ("Q", None, None)
    assert request.sampling.temperature == 0.3


def test_options_stand_between_the_protocols_and_the_requests() -> None:
    call = chat(options={"temperature": 0.9, "top_k": None, "stop": ["X"], "num_gpu": 1})
    assert call.request is not None
    assert call.request.sampling == Sampling(temperature=0.9, top_k=5, seed=4)
    assert call.request.stop == ("X",)
    assert (call.request.max_tokens, call.request.num_ctx) == (7, 512)
    assert call.ignored == ("num_thread", "num_gpu")


def test_openai_chats_get_the_same() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Q"}]}
    [request] = openai.chat(body, MODEL).requests
    assert [(m.role, m.content) for m in request.messages or ()] == [("system", "Be short."), *TURNS, ("user", "Q")]
    assert request.template == "{{ t }}"
    assert request.sampling == Sampling(temperature=0.3, top_p=1.0, top_k=5, seed=4)
    assert (request.stop, request.max_tokens, request.num_ctx) == (("END",), 7, 512)
    [own] = openai.chat(body | {"temperature": 1, "seed": 9, "stop": "X", "max_tokens": 3, "top_k": 2}, MODEL).requests
    assert own.sampling == Sampling(temperature=1.0, top_p=1.0, top_k=2, seed=9)
    assert (own.stop, own.max_tokens) == (("X",), 3)
    [empty] = openai.chat(body | {"stop": []}, MODEL).requests
    assert empty.stop == ()


def test_openai_completions_take_the_options_only() -> None:
    [request] = openai.completions({"model": "m", "prompt": "Q"}, MODEL).requests
    assert (request.prompt, request.messages, request.template) == ("Q", None, None)
    assert request.sampling.top_k == 5


def test_a_model_without_anything_changes_nothing() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Q"}]}
    assert ollama.chat(body, defaults.NONE) == ollama.chat(body)
    assert openai.chat(body, defaults.NONE).requests[0].sampling == Sampling(temperature=1.0, top_p=1.0)


def test_a_bad_option_of_the_model_is_named() -> None:
    bad = defaults.Defaults(parameters={"top_k": "many"})
    with pytest.raises(InvalidRequest, match=r"options\.top_k"):
        ollama.chat({"model": "m", "messages": [{"role": "user", "content": "Q"}]}, bad)
