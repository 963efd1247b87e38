"""The answer to `vllama plan`: does it fit, by what arithmetic, and what would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from vllama_core import quantization_names
from vllama_core.engine_build import EngineName
from vllama_core.errors import ConfigError
from vllama_core.sizing import choice, requantize
from vllama_core.sizing.budget import HOST_SHARE, Budget
from vllama_core.sizing.choice import LlamaCppChoice, VllmChoice, Wanted
from vllama_core.sizing.llama_cpp import Estimate
from vllama_core.sizing.shape import GIB, ModelShape

SMALLER = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K")
"""What llama.cpp's users choose among, best first."""
SMALLER_VLLM = {"FP8": 8.0, "INT4 (AWQ or GPTQ)": 4.5}
"""Bits per weight of what vLLM's users choose among."""
MOST_GPUS = 16
LEAST_CONTEXT = 256

Chosen = LlamaCppChoice | VllmChoice
Choose = Callable[[ModelShape, Wanted, Budget], Chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be planned.

    :ivar model: as it was typed.
    """

    model: str
    engine: EngineName
    shape: ModelShape
    wanted: Wanted
    budget: Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """One change with which it would fit.

    :ivar change: ``quantization``, ``context``, ``parallel``, ``gpus`` or ``memory``; the last in GiB, per GPU where there are any.
    """

    change: str
    value: str | int
    needed: int
    """Bytes that it would take then, machine and GPUs together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The verdict.

    :ivar largest_context: tokens with which it would still fit, all else as asked; None = it does not fit with any.
    """

    question: Question
    chosen: Chosen
    largest_context: int | None
    ways_out: tuple[WayOut, ...]

    @property
    def fits(self) -> bool:
        """Whether it can be loaded so."""
        return self.chosen.fits

    @property
    def estimate(self) -> Estimate:
        """The arithmetic."""
        return self.chosen.estimate


def make(question: Question) -> Plan:
    """Answer.

    :raises ConfigError: the engine cannot run what is asked about.
    """
    choose = _choose(question)
    shape, wanted, budget = question.shape, question.wanted, question.budget
    chosen = choose(shape, wanted, budget)
    return Plan(
        question=question,
        chosen=chosen,
        largest_context=_largest_context(question, choose),
        ways_out=() if chosen.fits else tuple(_ways_out(question, choose)),
    )


def _choose(question: Question) -> Choose:
    if question.engine is EngineName.LLAMA_CPP:
        return choice.llama_cpp_choice
    if question.engine is EngineName.VLLM:
        if not question.budget.devices:
            raise ConfigError("vllm is planned for GPUs, and there are none; say how many and how large: --gpus 1 --memory 24GiB")
        return choice.vllm_choice
    raise ConfigError(f"engine {question.engine} cannot be planned for; choose llama.cpp or vllm")


def _largest_context(question: Question, choose: Choose) -> int | None:
    """The model's own, or the first of its halves that fits."""
    context = question.shape.context or choice.UNKNOWN_CONTEXT
    while context >= LEAST_CONTEXT:
        if choose(question.shape, replace(question.wanted, context=context, cells=None), question.budget).fits:
            return context
        context //= 2
    return None


def _ways_out(question: Question, choose: Choose) -> Iterator[WayOut]:
    shape, wanted, budget = question.shape, question.wanted, question.budget
    for name, smaller in _quantizations(question):
        chosen = choose(replace(shape, weights=smaller.weights), wanted, budget)
        if chosen.fits:
            yield WayOut(change="quantization", value=name, needed=chosen.estimate.total)
            break
    for change, asked in (("context", wanted.context), ("parallel", wanted.parallel)):
        yield from _less(question, choose, change, asked)
    if budget.devices:
        yield from _more_gpus(question, choose)
    yield from _more_memory(question, choose)


def _quantizations(question: Question) -> Iterator[tuple[str, ModelShape]]:
    """The model in fewer bits, best first; its own bits are counted, whatever it is called."""
    shape = question.shape
    own = requantize.bits(shape)
    bits = SMALLER_VLLM if question.engine is EngineName.VLLM else {name: quantization_names.bits(name) for name in SMALLER}
    for name, fewer in bits.items():
        if fewer < own:
            yield name, replace(shape, weights=shape.weights.scaled(fewer / own))


def _less(question: Question, choose: Choose, change: str, asked: int | None) -> Iterator[WayOut]:
    """Half of what was asked for, half of that …"""
    least = LEAST_CONTEXT if change == "context" else 1
    while asked is not None and asked // 2 >= least:
        asked //= 2
        wanted = replace(question.wanted, context=asked, cells=None) if change == "context" else replace(question.wanted, parallel=asked)
        chosen = choose(question.shape, wanted, question.budget)
        if chosen.fits:
            yield WayOut(change=change, value=asked, needed=chosen.estimate.total)
            return


def _more_gpus(question: Question, choose: Choose) -> Iterator[WayOut]:
    """More GPUs like the smallest one."""
    budget = question.budget
    for count in range(len(budget.devices) + 1, MOST_GPUS + 1):
        chosen = choose(question.shape, question.wanted, replace(budget, devices=(min(budget.devices),) * count))
        if chosen.fits:
            yield WayOut(change="gpus", value=count, needed=chosen.estimate.total)
            return


def _more_memory(question: Question, choose: Choose) -> Iterator[WayOut]:
    """Whole GiB, of the GPUs where there are any. The chosen settings grow with the memory, so that it is found by trying."""
    budget = question.budget
    size = min(budget.devices or (budget.host,)) // GIB
    most = size + int(4 * question.shape.weights.total / HOST_SHARE) // GIB + 64
    while size < most:
        size += 1
        wider = replace(budget, devices=(size * GIB,) * len(budget.devices)) if budget.devices else replace(budget, host=size * GIB)
        chosen = choose(question.shape, question.wanted, wider)
        if chosen.fits:
            yield WayOut(change="memory", value=size, needed=chosen.estimate.total)
            return
