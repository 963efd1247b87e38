"""What is sent to vLLM and read of it, without one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.apis import show
from vllama_agent.chat.families import Markup
from vllama_agent.chat.grammar_rules import SPACING
from vllama_agent.engines.base import Constraint, ConstraintKind, FinishReason, GenerateRequest, Message, Sampling
from vllama_agent.engines.openai_events import Answer, Refused
from vllama_agent.engines.sse import DONE, EventDecoder
from vllama_agent.engines.vllm import arguments, body, explain, exposition, fitting, folder, holding
from vllama_agent.engines.vllm.arguments import OnCpu, Settings
from vllama_agent.engines.vllm.prompts import Prompts
from vllama_agent.store import hf_files
from vllama_core import hf_header
from vllama_core.errors import EngineFailed

if TYPE_CHECKING:
    from vllama_agent.engines.openai_upstream import Upstream

CHAT_HEAD = b'{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1,"model":"model","choices":[{"index":0,'
PLAIN = CHAT_HEAD + b'"delta":{"content":"%b"},"logprobs":null,"finish_reason":null,"token_ids":null}]}'
ROLE = (
    CHAT_HEAD
    + b'"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
    + b'"prompt_token_ids":[1,2],"prompt_text":"hi<think>"}'
)
FINISH = CHAT_HEAD + b'"delta":{"content":"!"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":[7]}]}'
USAGE = (
    b'{"id":"chatcmpl-9","choices":[],"usage":{"prompt_tokens":17,"total_tokens":20,"completion_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":16}},"metrics":{"time_to_first_token_ms":30.0,"generation_time_ms":9.0,"queue_time_ms":10.0}}'
)
EVENTS = [ROLE, PLAIN % b"a", PLAIN % rb"\"b\" \u00e9", FINISH, USAGE, DONE]
WIRE = b": a comment\n\n" + b"".join(b"data: " + event + b"\n\n" for event in EVENTS)


@given(st.lists(st.integers(0, len(WIRE)), max_size=12))
def test_events_are_the_same_however_the_bytes_were_cut(cuts: list[int]) -> None:
    decoder, found = EventDecoder(), []
    edges = [0, *sorted(cuts), len(WIRE)]
    for begin, end in itertools.pairwise(edges):
        found += decoder.feed(WIRE[begin:end])
    assert found == EVENTS


@pytest.mark.parametrize("ending", [b"\r\n\r\n", b"\n\n"])
def test_both_line_ends_are_read(ending: bytes) -> None:
    assert EventDecoder().feed(b"data: x" + ending + b"data:y" + ending) == [b"x", b"y"]


def test_everything_that_came_becomes_one_delta() -> None:
    answer = Answer(chat=True)
    answer.take(EVENTS)
    delta = answer.delta()
    assert delta is not None
    assert (delta.text, delta.token_ids, delta.finish) == ('a"b" é!', [7], FinishReason.LENGTH)
    assert delta.usage is not None
    assert (delta.usage.prompt_tokens, delta.usage.cached_tokens, delta.usage.generated_tokens) == (17, 16, 3)
    assert (delta.usage.queue_seconds, delta.usage.prefill_seconds, delta.usage.decode_seconds) == (0.01, 0.02, 0.009)
    assert (answer.prompt_ids, answer.prompt_text) == ((1, 2), "hi<think>")


def test_the_finish_waits_for_what_the_answer_cost() -> None:
    answer = Answer(chat=True)
    answer.take([FINISH])
    delta = answer.delta()
    assert delta is not None
    assert (delta.text, delta.finish, answer.finished) == ("!", None, False)
    assert answer.delta() is None
    answer.take([USAGE])
    last = answer.delta()
    assert last is not None
    assert (last.text, last.finish) == ("", FinishReason.LENGTH)


@given(st.text())
def test_a_plain_event_says_the_same_as_a_parsed_one(text: str) -> None:
    encoded = orjson.dumps(text.encode("utf-8", "replace").decode())[1:-1]
    plain, parsed = Answer(chat=True), Answer(chat=True)
    event = PLAIN.replace(b"%b", encoded)
    plain.take([event])
    parsed.take([event.replace(b'"token_ids":null', b'"token_ids":null,"more":1')])
    plain_delta, parsed_delta = plain.delta(), parsed.delta()
    assert (plain_delta.text if plain_delta else "") == (parsed_delta.text if parsed_delta else "")


def test_logprobs_of_both_forms() -> None:
    chat, bare = Answer(chat=True), Answer(chat=False, top=1)
    content = [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -0.5, "bytes": [98]}]}]
    chat.take([orjson.dumps({"choices": [{"delta": {"content": "a"}, "logprobs": {"content": content}}]})])
    old = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0, "b": -0.5}], "text_offset": [0]}
    bare.take([orjson.dumps({"choices": [{"text": "a", "logprobs": old}]})])
    first, second = chat.delta(), bare.delta()
    assert first is not None
    assert second is not None
    assert first.logprobs == second.logprobs
    assert first.logprobs is not None
    assert [other.token for other in first.logprobs[0].top] == ["b"]


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (b'{"error":{"message":"EngineCore encountered an issue"}}', "ended the answer: EngineCore encountered an issue"),
        (b'{"choices":[{"delta":{},"finish_reason":"abort"}]}', "ended the answer: abort"),
        (b"<html>", "cannot be read"),
        (b'{"choices":[7]}', "cannot be read"),
    ],
)
def test_an_event_that_tells_an_error_ends_the_answer(event: bytes, sentence: str) -> None:
    with pytest.raises(EngineFailed, match=sentence):
        Answer(chat=True).take([event])


def test_a_wrong_request_is_told_apart_from_a_failing_engine() -> None:
    event = b'{"error":{"message":"Grammar error: unknown type","type":"BadRequestError","param":null,"code":400}}'
    with pytest.raises(Refused, match="Grammar error: unknown type"):
        Answer(chat=True).take([event])


# --- what is sent -------------------------------------------------------------------------------------------------------


def request(**fields: Any) -> GenerateRequest:
    messages = (Message(role="user", content="hello"),)
    return GenerateRequest(**{"messages": messages, **fields})


def test_sampling_says_everything_so_that_no_default_of_the_model_creeps_in() -> None:
    sent = body.sampling(request(max_tokens=9999, stop=("x",)), context=512, chat=True, running=1)
    assert sent == {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 512,
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop": ["x"],
    }


def test_values_that_vllm_refuses_are_said_its_way() -> None:
    sampling = Sampling(top_k=-1, top_p=0.0, seed=3, logit_bias=((5, -2.0),))
    sent = body.sampling(request(sampling=sampling, token_ids=True), context=512, chat=True, running=1)
    assert (sent["top_k"], sent["top_p"], sent["seed"], sent["logit_bias"]) == (0, body.LEAST_TOP_P, 3, {"5": -2.0})
    assert sent["return_token_ids"] is True


@pytest.mark.parametrize(("running", "interval"), [(1, None), (95, None), (96, 2), (192, 4), (500, 4)])
def test_many_streams_get_several_tokens_an_event(running: int, interval: int | None) -> None:
    assert body.sampling(request(), context=512, chat=True, running=running).get("stream_interval") == interval


def test_logprobs_are_asked_for_in_each_routes_form() -> None:
    asked = request(logprobs=True, top_logprobs=3)
    assert body.sampling(asked, context=9, chat=True, running=1)["top_logprobs"] == 3
    assert body.sampling(asked, context=9, chat=False, running=1)["logprobs"] == 3


@pytest.mark.parametrize(
    ("kind", "text", "sent"),
    [
        (ConstraintKind.JSON_OBJECT, "", {"json": {"type": "object", "x-guidance": SPACING}}),
        (ConstraintKind.JSON_SCHEMA, '{"type":"array"}', {"json": {"type": "array", "x-guidance": SPACING}}),
        (ConstraintKind.REGEX, "a+", {"regex": "a+"}),
        (ConstraintKind.LARK, 'start: "a"', {"grammar": 'start: "a"'}),
    ],
)
def test_constraints_have_their_fields(kind: ConstraintKind, text: str, sent: dict[str, Any]) -> None:
    assert holding.alone(Constraint(kind=kind, text=text, field="format")) == sent


def test_a_chat_is_sent_as_openai_writes_it() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    messages = (
        Message(role="user", content="hello"),
        Message(role="assistant", content="", extra={"tool_calls": [call], "thinking": "hm"}),
        Message(role="tool", content="2", extra={"tool_name": "f", "tool_call_id": "c1"}),
    )
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    sent = body.chat(
        request(messages=messages, tools=(tool,), think=False), template="{{ enable_thinking }}", markers=True, prompt_text=True
    )
    assert sent["messages"][1]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x": 1}'}
    assert sent["messages"][1]["reasoning"] == "hm"
    assert sent["messages"][2] == {"role": "tool", "content": "2", "name": "f", "tool_call_id": "c1"}
    assert (sent["tools"], sent["tool_choice"]) == ([tool], "none")
    assert sent["chat_template_kwargs"]["enable_thinking"] is False
    assert (sent["skip_special_tokens"], sent["return_prompt_text"], sent["add_generation_prompt"]) == (False, True, True)


def test_an_answer_that_was_begun_is_continued() -> None:
    messages = (Message(role="user", content="count"), Message(role="assistant", content="one, "))
    sent = body.chat(request(messages=messages), template=None, markers=False, prompt_text=False)
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
    assert "skip_special_tokens" not in sent


# --- how it is started --------------------------------------------------------------------------------------------------


def test_the_key_is_in_the_environment_and_nowhere_else() -> None:
    settings = Settings(context=4096, sequences=64, tensor_parallel=2, utilization=0.85, extra=("--enforce-eager",))
    words = arguments.command(Path("/p"), Path("/m"), Path("/s"), settings)
    ours = {"PYTHONPATH": "/x", "VLLAMA_API_KEY": "clients", "HF_TOKEN": "hf_x", "VLLM_CACHE_ROOT": "/own", "PATH": "/bin"}
    found = arguments.environment(ours, settings, key="geheim", caches=Path("/c"))
    assert words[:4] == ["/p", "-I", "-m", arguments.MODULE]
    assert words[-1] == "--enforce-eager"
    assert "geheim" not in " ".join(words)
    assert found["VLLM_API_KEY"] == "geheim"
    assert (found["VLLM_CACHE_ROOT"], found["TRITON_CACHE_DIR"], found["PATH"]) == ("/own", "/c/triton", "/bin")
    assert found["HF_HUB_OFFLINE"] == "1"
    assert {"PYTHONPATH", "VLLAMA_API_KEY", "HF_TOKEN"}.isdisjoint(found)
    assert {"VLLM_CPU_KVCACHE_SPACE", "OMP_NUM_THREADS", "VLLM_ENABLE_V1_MULTIPROCESSING"}.isdisjoint(found)


def test_without_gpus_scheduler_and_model_share_a_process() -> None:
    settings = Settings(context=4096, sequences=64, cpu=OnCpu(cache_gib=3, threads=7))
    found = arguments.environment({"OMP_NUM_THREADS": "2"}, settings, key="k", caches=Path("/c"))
    assert (found["VLLM_CPU_KVCACHE_SPACE"], found["VLLM_ENABLE_V1_MULTIPROCESSING"]) == ("3", "0")
    assert found["OMP_NUM_THREADS"] == "2", "a person's own words win"
    assert arguments.environment({}, settings, key="k", caches=Path("/c"))["OMP_NUM_THREADS"] == "7"


# --- what it says -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:01<00:01]", "loading weights, 2 of 4 files"),
        (
            "(EngineCore pid=1064) INFO 11-25 20:34:24 [kv_cache_utils.py:2327] GPU KV cache size: 1,048,576 tokens, Max",
            "its KV cache holds 1,048,576 tokens",
        ),
        ("Capturing CUDA graphs (decode, FULL):  40%|####", "capturing CUDA graphs, 40%"),
        ("(Worker pid=1) INFO 11-25 20:34:23 [x.py:1] world_size=1", None),
    ],
)
def test_progress_is_read_from_the_log(line: str, words: str | None) -> None:
    assert explain.progress(line) == words


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("api_server.py: error: unrecognized arguments: --frobnicate", 2, "vLLM does not know these arguments: --frobnicate."),
        (
            "ValueError: To serve at least one request with the model's max seq len (8192), (6.0 GiB KV cache is needed, which is larger "
            "than the available KV cache memory (3.81 GiB). Based on",
            1,
            "The model does not fit: its weights leave 3.81 GiB for the KV cache, less than one full context takes (reckoned: 20 GB).",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", 1, "It ran out of memory (reckoned: 20 GB)."),
        (
            "ValueError: Model architectures ['FooForCausalLM'] are not supported for now.",
            1,
            "vLLM cannot run models of the architecture 'FooForCausalLM'",
        ),
        ("ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.", 1, "--dtype=half"),
        ("OSError: You are trying to access a gated repo.", 1, "need a token"),
        (
            "(EngineCore pid=1) ERROR 11-25 20:34:41 [core.py:1] KeyError: 'surprise'",
            1,
            "it ended with code 1; it said: KeyError: 'surprise'",
        ),
        (
            "ValueError: Available memory on node 0 (21/23 GiB) on kv cache allocation is less than requested memory for kv (4096.0 GiB)",
            1,
            "The model does not fit: 21 of 23 GiB of memory are free, and its KV cache was to take 4096.0 GiB",
        ),
        (
            "(EngineCore pid=1) ERROR 11-25 20:34:41 [x.py:1] Worker proc VllmWorker-0 died unexpectedly (exit code: None)\n"
            "(EngineCore pid=1) ERROR 11-25 20:34:41 [core.py:1] RuntimeError: cancelled",
            1,
            "The system ended its process VllmWorker-0, which said no reason: memory ran out (reckoned: 20 GB), or a kernel",
        ),
        ("KeyError: 'surprise'\nRuntimeError: cancelled", 1, "it said: KeyError: 'surprise'"),
        (
            "pydantic_core.ValidationError: 1 error for ModelConfig\n  Value error, no such thing",
            1,
            "ModelConfig / Value error, no such thing",
        ),
        ("", 137, "a signal ended it (9), which the system does when memory runs out and said nothing"),
    ],
)
def test_a_death_is_explained_from_the_last_lines(line: str, code: int, told: str) -> None:
    lines = [
        "INFO 11-25 20:34:24 [x.py:1] all is well",
        *line.splitlines(),
        "RuntimeError: Engine core initialization failed. See root cause above.",
    ]
    assert told in explain.death([text for text in (lines if line else []) if text], code=code, needed=20_000_000_000)


def test_metrics_are_summed_over_their_labels() -> None:
    text = b'# HELP\nvllm:num_requests_running{engine="0",model_name="m"} 2.0\nvllm:num_requests_running{engine="1"} 3.0\nother 5\n'
    assert exposition.read(text) == {"num_requests_running": 5.0}


# --- what is cut --------------------------------------------------------------------------------------------------------


async def test_as_few_of_the_oldest_messages_go_as_make_it_fit() -> None:
    messages = (Message(role="system", content="s"), *(Message(role="user", content=str(n)) for n in range(8)))

    async def tokens_of(some: GenerateRequest) -> list[int]:
        return [0] * 10 * len(some.messages or ())

    shorter, tokens, asked = await fitting.shortened(request(messages=messages), 45, tokens_of)
    assert [message.content for message in shorter.messages or ()] == ["s", "5", "6", "7"]
    assert (len(tokens), asked) == (40, 90)


@pytest.mark.parametrize(("keep", "left"), [(2, [0, 1, 6, 7, 8, 9]), (-1, [0, 1, 2, 7, 8, 9]), (0, [4, 5, 6, 7, 8, 9])])
def test_a_bare_prompt_loses_its_middle(keep: int, left: list[int]) -> None:
    assert fitting.cut(range(10), 6, keep) == left


# --- the model's folder -------------------------------------------------------------------------------------------------


def write(place: Path, **files: Any) -> Path:
    place.mkdir()
    for name, content in files.items():
        (place / f"{name}.json").write_bytes(orjson.dumps(content))
    return place


def test_a_folder_tells_its_window_its_tokens_and_its_template(tmp_path: Path) -> None:
    fim = [
        {"id": n, "content": text, "special": True} for n, text in enumerate(("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<s>"))
    ]
    place = write(
        tmp_path / "m",
        config={"text_config": {"max_position_embeddings": 4096, "vocab_size": 9}},
        tokenizer={"added_tokens": [*fim, {"id": 7, "content": "<tool>", "special": False}]},
        tokenizer_config={"bos_token": {"content": "<s>"}, "chat_template": [{"name": "default", "template": "{{ x }}"}]},
    )
    found = folder.read(place)
    assert (found.context, found.vocabulary, found.bos, found.template) == (4096, 9, "<s>", "{{ x }}")
    assert sorted(found.control.values()) == [0, 1, 2, 3]
    assert (found.fill_in_middle or "").format(prefix="a", suffix="b") == "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"


QWEN = "{% for tool in tools %}{{ tool }}{% endfor %}<tool_call>"


@pytest.mark.parametrize("listed", [True, False], ids=["in the settings", "in files"])
def test_chats_with_tools_have_a_template_of_their_own_where_there_is_one(tmp_path: Path, listed: bool) -> None:
    named = [{"name": "default", "template": "{{ x }}"}, {"name": "tool_use", "template": QWEN}]
    place = write(tmp_path / "m", config={"vocab_size": 9}, tokenizer_config={"chat_template": named} if listed else {})
    if not listed:
        (place / "chat_template.jinja").write_text("{{ x }}")
        (place / "additional_chat_templates").mkdir()
        (place / "additional_chat_templates" / "tool_use.jinja").write_text(QWEN)
    found = folder.read(place)
    assert (found.template, found.tool_template) == ("{{ x }}", QWEN)
    made = Prompts(cast("Upstream", None), found, context=512, family=None)
    tool = {"type": "function", "function": {"name": "f"}}
    markup = made.markup(GenerateRequest(messages=(Message(role="user", content="hi"),), tools=(tool,)))
    assert markup.family is not None
    assert markup.family.name == "qwen"
    assert made.markup(GenerateRequest(messages=(Message(role="user", content="hi"),))) == Markup(None, None)
    header = hf_header.described({"model_type": "llama"}, [], templates=hf_files.templates(place))
    assert show.chat_capabilities(header.metadata, None, None) == ["tools"]


def test_a_folder_that_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="is no model in Hugging Face's format"):
        folder.read(tmp_path)


@pytest.mark.parametrize(("told", "stop"), [('"END"', "END"), ("151645", None), ("null", None)])
def test_the_stop_text_that_ended_an_answer_is_told(told: str, stop: str | None) -> None:
    answer = Answer(chat=True)
    answer.take([ROLE, FINISH.replace(b'"length","stop_reason":null', b'"stop","stop_reason":' + told.encode()), USAGE, DONE])
    delta = answer.delta()
    assert delta is not None
    assert delta.stop == stop
