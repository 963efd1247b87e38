"""Answers held to a JSON schema against free ones of the same lengths: sixteen streams of one schema at a time.

Each schema's answers are followed by free answers from the same prompts, each exactly as long as its constrained twin, so that both
have the same streams running at any moment. The ratio is that of the two wall times.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass

import jsonschema
import orjson

from bench import stats
from bench.client import NEVER
from bench.prompts import Prompt, Vocabulary, make
from bench.schemas import CASES, Case
from vllama_agent.engines.base import Constraint, ConstraintKind, FinishReason, GenerateRequest, Sampling
from vllama_agent.engines.llama_cpp import grammar
from vllama_agent.engines.llama_cpp.engine import LlamaCppEngine

STREAMS = 16
MOST_TOKENS = 96
"""A string without a bound may go on for ever; such an answer is cut, and counts as cut and not as valid or invalid."""
PER_ROUND = 6
PROMPT = 32


async def measure(engine: LlamaCppEngine, vocabulary: Vocabulary, number: int) -> dict[str, float]:
    """The round's share of the schemas; five rounds have them all."""
    begin = PER_ROUND * ((number - 1) % (len(CASES) // PER_ROUND))
    ends = vocabulary.end_tokens()
    prompts = [make(vocabulary, PROMPT, seed=10_000 * number + index) for index in range(STREAMS)]
    await _all(engine, [_request(prompt, 8, CASES[begin], ends) for prompt in prompts])  # the worker makes its tokenizer for grammars
    ratios: dict[str, float] = {}
    finished = valid = 0
    for case in CASES[begin : begin + PER_ROUND]:
        seconds, answers = await _all(engine, [_request(prompt, MOST_TOKENS, case, ends) for prompt in prompts])
        free_requests = [_request(prompt, answer.tokens, None, ends) for prompt, answer in zip(prompts, answers, strict=True)]
        free, _ = await _all(engine, free_requests)
        ratios[case.name] = free / seconds
        whole = [answer for answer in answers if answer.finish is FinishReason.STOP]
        finished += len(whole)
        valid += sum(1 for answer in whole if _is_valid(answer.text, case))
    long_keys = [ratios[case.name] for case in CASES[begin : begin + PER_ROUND] if case.long_keys]
    return {
        "ratio_p50": statistics.median(ratios.values()),
        "ratio_worst": min(ratios.values()),
        **({"ratio_long_keys": statistics.median(long_keys)} if long_keys else {}),
        "valid_percent": 100 * valid / max(1, finished),
        "cut_percent": 100 * (1 - finished / (PER_ROUND * STREAMS)),
        "compile_ms_p50": stats.percentile([_compile_ms(case) for case in CASES], 50),
        "compile_ms_max": max(_compile_ms(case) for case in CASES),
        **{f"ratio of {name}": ratio for name, ratio in ratios.items()},
    }


@dataclass(slots=True)
class _Answer:
    text: str = ""
    tokens: int = 0
    finish: FinishReason | None = None


def _request(prompt: Prompt, tokens: int, case: Case | None, ends: list[int]) -> GenerateRequest:
    """A free answer must not end early; a constrained one ends when its JSON does."""
    bias = () if case else tuple((token, NEVER) for token in ends)
    constraint = Constraint(kind=ConstraintKind.JSON_SCHEMA, text=_text(case), field="format") if case else None
    sampling = Sampling(seed=1, logit_bias=bias)
    return GenerateRequest(prompt_tokens=prompt.ids, max_tokens=tokens, sampling=sampling, constraint=constraint)


async def _all(engine: LlamaCppEngine, requests: list[GenerateRequest]) -> tuple[float, list[_Answer]]:
    """Seconds from the first request to the last token, and the answers."""
    begin = time.perf_counter()
    answers = await asyncio.gather(*(_answer(engine, request) for request in requests))
    return time.perf_counter() - begin, answers


async def _answer(engine: LlamaCppEngine, request: GenerateRequest) -> _Answer:
    answer = _Answer()
    async with engine.generate(request) as generation:
        async for delta in generation:
            answer.text += delta.text
            answer.tokens += len(delta.token_ids)
            answer.finish = delta.finish
    return answer


def _is_valid(text: str, case: Case) -> bool:
    try:
        jsonschema.validate(json.loads(text), case.schema)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def _text(case: Case) -> str:
    return orjson.dumps(case.schema).decode()


def _compile_ms(case: Case) -> float:
    begin = time.perf_counter()
    grammar.prepare(Constraint(kind=ConstraintKind.JSON_SCHEMA, text=_text(case), field="format"))
    return 1000 * (time.perf_counter() - begin)
