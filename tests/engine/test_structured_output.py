"""Constrained answers of the real engine on a real model: valid whatever the sampler, and nobody else's business."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from vllama_agent.engines.base import Constraint, ConstraintKind, Delta, FinishReason, GenerateRequest, Sampling
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine
from vllama_core.config import LoadConfig
from vllama_core.errors import InvalidRequest

NAME = {"type": "string", "maxLength": 12}


def record(**properties: Any) -> dict[str, Any]:
    """An object with all of these."""
    return {"type": "object", "properties": properties, "required": list(properties)}


SCHEMAS: dict[str, Any] = {
    "person": record(name=NAME, age={"type": "integer", "minimum": 0, "maximum": 120}),
    "long keys": record(**{f"a_rather_long_name_of_a_setting_{i}": {"type": "boolean"} for i in range(4)}),
    "enum": {"enum": ["red", "green", "blue", 3, None, {"a": [1, 2]}]},
    "array": {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}, "minItems": 2, "maxItems": 4},
    "tuple": {"type": "array", "prefixItems": [NAME, {"type": "boolean"}], "items": False, "minItems": 2},
    "nested": record(outer=record(inner={"type": "array", "items": NAME, "maxItems": 2})),
    "optional": {"type": "object", "properties": {"a": NAME, "b": {"type": ["boolean", "null"]}, "c": {"const": "x"}}},
    "choice": {"anyOf": [record(kind={"const": "circle"}, radius={"type": "integer", "minimum": 1, "maximum": 9}), {"type": "boolean"}]},
    "recursive": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": record(value={"enum": [1, 2]}, next={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf"}]}),
            "leaf": record(value={"const": "é世界"}, more={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf"}]}),
        },
    },
    "pattern": record(code={"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"}, day={"type": "string", "format": "date"}),
}
LIMIT = 220
PROMPT = "Here is the record as JSON, all of its fields filled in: "


def schema(value: Any) -> Constraint:
    return Constraint(kind=ConstraintKind.JSON_SCHEMA, text=json.dumps(value), field="format")


def request(constraint: Constraint | None, seed: int = 1, **more: Any) -> GenerateRequest:
    values = {"prompt": PROMPT, "sampling": Sampling(seed=seed), "max_tokens": LIMIT, **more}
    return GenerateRequest(constraint=constraint, **values)


@contextlib.asynccontextmanager
async def loaded(file: Path) -> AsyncIterator[LlamaCppEngine]:
    engine = LlamaCppEngine(files=(file,), config=LoadConfig(ctx_size=1024, kv_cells=16_384, parallel=16), load_timeout=120)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.unload()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(demo_model: Path) -> AsyncIterator[LlamaCppEngine]:
    async with loaded(demo_model) as engine:
        yield engine


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def deltas(engine: LlamaCppEngine, asked: GenerateRequest) -> list[Delta]:
    async with engine.generate(asked) as generation:
        return [delta async for delta in generation]


async def answer(engine: LlamaCppEngine, asked: GenerateRequest) -> tuple[str, FinishReason | None]:
    found = await deltas(engine, asked)
    return "".join(delta.text for delta in found), found[-1].finish


SAMPLERS = {
    "greedy": Sampling(temperature=0.0),
    "default": Sampling(seed=1),
    "hot": Sampling(temperature=3.0, top_k=200, top_p=1.0, seed=2),
    "chain": Sampling(temperature=2.0, top_k=0, top_p=1.0, seed=3),
    "typical": Sampling(typical_p=0.5, seed=4),
    "mirostat": Sampling(mirostat=2, seed=5),
    "penalised": Sampling(temperature=1.5, repeat_penalty=1.5, presence_penalty=1.5, seed=6),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
async def test_every_answer_is_valid_json_and_valid_by_its_schema(engine: LlamaCppEngine, sampler: str) -> None:
    asked = [request(schema(value), sampling=SAMPLERS[sampler]) for value in SCHEMAS.values()]
    answers = await asyncio.gather(*(answer(engine, one) for one in asked))
    for (name, wanted), (text, finish) in zip(SCHEMAS.items(), answers, strict=True):
        assert finish is FinishReason.STOP, (name, text)
        jsonschema.validate(json.loads(text), wanted)


async def test_any_json_object_a_regex_and_a_grammar(engine: LlamaCppEngine) -> None:
    kinds = {
        ConstraintKind.REGEX: r"(yes|no), because [a-z ]{5,30}\.",
        ConstraintKind.LARK: 'start: "SELECT " NAME (", " NAME)? " FROM " NAME\nNAME: /[a-z]{1,8}/',
        ConstraintKind.JSON_OBJECT: "",
    }
    constraints = [Constraint(kind=kind, text=text, field="format") for kind, text in kinds.items()]
    (one, _), (two, _), (three, finish) = await asyncio.gather(*(answer(engine, request(constraint)) for constraint in constraints))
    assert re.fullmatch(kinds[ConstraintKind.REGEX], one)
    assert re.fullmatch(r"SELECT [a-z]{1,8}(, [a-z]{1,8})? FROM [a-z]{1,8}", two)
    assert three.startswith("{")
    assert finish is not FinishReason.STOP or isinstance(json.loads(three), dict)


EPSILON = 0.05
"""As in `test_equivalence`: how far log-probabilities may be apart between batches of another width."""


async def likeliest(engine: LlamaCppEngine, prompt: str) -> list[tuple[int, float, float]]:
    """A greedy answer: (token, its log-probability, how far ahead of the second it is)."""
    found = await deltas(engine, request(None, prompt=prompt, sampling=SAMPLERS["greedy"], max_tokens=24, logprobs=True, top_logprobs=2))
    pairs = [pair for delta in found for pair in zip(delta.token_ids, delta.logprobs or (), strict=True)]
    return [(token, logprob.logprob, logprob.logprob - logprob.top[1].logprob) for token, logprob in pairs]


async def test_free_answers_beside_constrained_ones_are_what_they_are_alone(exact_demo_model: Path) -> None:
    """Sixteen streams, half of them held to a schema. As far as the tokens agree, so do their log-probabilities; and where they part
    both were about as likely."""
    prompts = [f"The number {i} is" for i in range(8)]
    constrained = [request(schema(value)) for value in list(SCHEMAS.values())[:8]]
    async with loaded(exact_demo_model) as engine:
        alone = [await likeliest(engine, prompt) for prompt in prompts]
        async with asyncio.TaskGroup() as group:
            held = [group.create_task(answer(engine, one)) for one in constrained]
            free = [group.create_task(likeliest(engine, prompt)) for prompt in prompts]
    for expected, got in zip(alone, (task.result() for task in free), strict=True):
        for (token, logprob, margin), (other, other_logprob, _) in zip(expected, got, strict=False):
            if token != other:
                assert margin <= EPSILON
                break
            assert abs(logprob - other_logprob) <= EPSILON
    for task, wanted in zip(held, SCHEMAS.values(), strict=False):
        text, finish = task.result()
        assert finish is FinishReason.STOP
        jsonschema.validate(json.loads(text), wanted)


async def test_forced_tokens_arrive_together_and_are_counted(engine: LlamaCppEngine) -> None:
    found = await deltas(engine, request(schema(SCHEMAS["long keys"])))
    tokens = sum(len(delta.token_ids) for delta in found)
    assert found[-1].usage is not None
    assert found[-1].usage.generated_tokens == tokens
    assert len(found) < tokens / 2


async def test_with_log_probabilities_every_token_has_one(engine: LlamaCppEngine) -> None:
    found = await deltas(engine, request(schema(SCHEMAS["person"]), logprobs=True, top_logprobs=2))
    for delta in found:
        assert len(delta.logprobs or ()) == len(delta.token_ids)
    jsonschema.validate(json.loads("".join(delta.text for delta in found)), SCHEMAS["person"])


async def test_limits_and_stop_texts_cut_a_constrained_answer_like_any_other(engine: LlamaCppEngine) -> None:
    wanted = schema(SCHEMAS["long keys"])
    whole, _ = await answer(engine, request(wanted))
    cut, finish = await answer(engine, request(wanted, max_tokens=9))
    assert finish is FinishReason.LENGTH
    assert whole.startswith(cut)
    stopped, finish = await answer(engine, request(wanted, stop=("setting_2",)))
    assert finish is FinishReason.STOP
    assert stopped == whole[: whole.index("setting_2")]


async def test_the_same_seed_gives_the_same_constrained_answer(engine: LlamaCppEngine) -> None:
    one, same = [await answer(engine, request(schema(SCHEMAS["nested"]), seed=7)) for _ in range(2)]
    assert one == same


async def test_a_window_that_shifts_leaves_the_grammar_where_it_was(engine: LlamaCppEngine) -> None:
    wanted = {"type": "array", "items": {"enum": ["one", "two", "three"]}, "minItems": 40, "maxItems": 40}
    found = await deltas(engine, request(schema(wanted), num_ctx=64, shift=True, max_tokens=400))
    assert found[-1].usage is not None
    assert found[-1].usage.context_shifts
    jsonschema.validate(json.loads("".join(delta.text for delta in found)), wanted)


@pytest.mark.parametrize(
    ("constraint", "named"),
    [
        (schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (schema({"$ref": "#"}), "no text can match it"),
        (Constraint(kind=ConstraintKind.REGEX, text="(a", field="format"), "unclosed group"),
    ],
    ids=["keyword", "nothing matches", "regex"],
)
async def test_what_is_not_supported_is_refused_before_a_token_is_made(engine: LlamaCppEngine, constraint: Constraint, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named) as caught:
        await deltas(engine, request(constraint))
    assert caught.value.field == "format"


HOSTILE = {
    "forced text": Constraint(kind=ConstraintKind.REGEX, text="a{3000000}", field="format"),
    "thousands of keys": schema({"type": "object", "properties": {f"key{i}": {"type": "string"} for i in range(6000)}}),
    "alternatives": schema({"allOf": [{"anyOf": [{"properties": {f"a{i}{j}": {}}} for j in range(6)]} for i in range(9)]}),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_schema_costs_its_own_request_only(engine: LlamaCppEngine, case: str) -> None:
    """Beside it a stream goes on; what it cannot be served with is told to whoever asked."""
    loop = asyncio.get_running_loop()

    async def watch() -> list[float]:
        async with engine.generate(request(None, max_tokens=120, prompt="Once upon a time")) as generation:
            return [loop.time() async for _ in generation]

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        async with asyncio.timeout(60):
            with contextlib.suppress(InvalidRequest):
                await answer(engine, request(HOSTILE[case], max_tokens=20))
    moments = watching.result()
    assert max(later - earlier for earlier, later in itertools.pairwise(moments)) < 1.5


async def test_requests_that_are_cancelled_or_done_leave_no_matcher_behind(engine: LlamaCppEngine) -> None:
    async def leave(index: int) -> None:
        async with engine.generate(request(schema(SCHEMAS["person"] | {"title": f"schema {index}"}), seed=index)) as generation:
            async for _ in generation:
                if index % 3:
                    return

    await asyncio.gather(*(leave(i) for i in range(48)))
    await answer(engine, request(None, max_tokens=1))
    async with asyncio.timeout(10):
        while (stats := engine.stats()).running or stats.waiting or stats.grammars:
            await answer(engine, request(None, max_tokens=1))


async def test_every_architecture_and_vocabulary_keeps_to_a_schema(model: tuple[str, Path]) -> None:
    """Forced tokens are several rows of one sequence beside single rows of others, which recurrent models take apart; and vocabularies
    differ in how they cut forced text. The weights are random, so the text is too."""
    wanted = record(
        first_name=NAME, länge={"type": "integer", "minimum": 0, "maximum": 99}, tags={"type": "array", "items": NAME, "maxItems": 2}
    )
    engine = LlamaCppEngine(files=(model[1],), config=LoadConfig(ctx_size=512, kv_cells=4096, parallel=8), load_timeout=60)
    await engine.load()
    try:
        asked = [request(schema(wanted), seed=seed, max_tokens=300, prompt_tokens=(5, 6, 7), prompt=None) for seed in range(6)]
        free = request(None, max_tokens=40, prompt_tokens=(5, 6, 7), prompt=None)
        *answers, _ = await asyncio.gather(*(answer(engine, one) for one in (*asked, free)))
    finally:
        await engine.unload()
    for text, finish in answers:
        assert finish is FinishReason.STOP, text
        jsonschema.validate(json.loads(text), wanted)
