"""Who may be loaded, and who has to go for it. Pure: knows sizes and states, no engines.

The rule: what fits is loaded. Else idle models go, least recently used first, as many as are needed and only if that is enough. Else the
load waits for busy ones. Pinned models never go, so what does not fit beside them is refused at once, with the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from typing import Any

from vllama_core import human


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What loading a model takes.

    :ivar bytes: of the machine's memory; where a GPU's memory is the machine's own, all that it takes.
    :ivar gpu: bytes on GPUs, all of them together: llama.cpp spreads a model over all that it uses.
    """

    bytes: int
    gpu: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What all models may take together.

    :ivar bytes: of the machine's memory; None = no bound.
    :ivar gpu: bytes on GPUs; None = no bound, or no GPU. Nobody says it, so that it is always taken for a guess.
    :ivar models: most models at once; None = no bound.
    :ivar firm: somebody said the bytes. Else they are a guess, and a model that is larger is loaded all the same, alone.
    """

    bytes: int | None = None
    gpu: int | None = None
    models: int | None = None
    firm: bool = True


class Use(StrEnum):
    """What a loaded model is doing."""

    IDLE = auto()
    BUSY = auto()
    PINNED = auto()
    LEAVING = auto()
    """It takes no new requests and ends with the last one that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """A model that takes memory now.

    :ivar last_used: on any clock; larger = later.
    :ivar whose: what the decision gives back for it.
    """

    name: str
    need: Need
    use: Use
    last_used: float
    whose: Any


@dataclass(frozen=True, slots=True)
class Fits:
    """Load it now."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Unload these, then look again."""

    victims: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done yet.

    :ivar reason: a sentence.
    :ivar victims: busy models that would have to end for it.
    """

    reason: str
    victims: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """It will not fit, however long one waits."""

    reason: str


Decision = Fits | Evict | Wait | Refuse


def decide(name: str, need: Need, occupants: Iterable[Occupant], budget: Budget) -> Decision:
    """What has to happen before a model is loaded.

    :param occupants: all that are loaded, without it.
    """
    if budget.bytes is not None and not budget.firm:
        need = replace(need, bytes=min(need.bytes, budget.bytes))
    if budget.gpu is not None:
        need = replace(need, gpu=min(need.gpu, budget.gpu))
    here = list(occupants)
    if _fits(need, here, budget):
        return Fits()
    pinned = _in(here, Use.PINNED)
    if not _fits(need, pinned, budget):
        return Refuse(_never(name, need, pinned, budget))
    idle, busy = _in(here, Use.IDLE), _in(here, Use.BUSY)
    if _fits(need, [*pinned, *busy, *idle], budget):
        return Wait(f"{_names(_in(here, Use.LEAVING))} is being unloaded for it")
    victims = _fewest(need, [*pinned, *busy], idle, budget)
    if victims is not None:
        return Evict(victims)
    busy_victims = _fewest(need, pinned, busy, budget) or ()
    return Wait(f"{_asks(name, need)}, and {_names(busy)} answers requests in {_limit(budget)}", busy_victims)


def _fewest(need: Need, staying: Sequence[Occupant], going: Sequence[Occupant], budget: Budget) -> tuple[Any, ...] | None:
    """The least recently used that are enough; None: all of them are not."""
    for count in range(1, len(going) + 1):
        if _fits(need, [*staying, *going[count:]], budget):
            return tuple(occupant.whose for occupant in going[:count])
    return None


def _fits(need: Need, others: Sequence[Occupant], budget: Budget) -> bool:
    taken = total(others)
    enough = budget.bytes is None or need.bytes + taken.bytes <= budget.bytes
    enough_gpu = budget.gpu is None or need.gpu == 0 or need.gpu + taken.gpu <= budget.gpu
    return enough and enough_gpu and (budget.models is None or len(others) < budget.models)


def total(occupants: Iterable[Occupant]) -> Need:
    """What they take together."""
    needs = [occupant.need for occupant in occupants]
    return Need(bytes=sum(need.bytes for need in needs), gpu=sum(need.gpu for need in needs))


def _in(occupants: Iterable[Occupant], use: Use) -> list[Occupant]:
    return sorted((occupant for occupant in occupants if occupant.use is use), key=lambda occupant: occupant.last_used)


def _never(name: str, need: Need, pinned: Sequence[Occupant], budget: Budget) -> str:
    """The first words are Ollama's, which clients look for."""
    if budget.models is not None and len(pinned) >= budget.models:
        return f"{name} cannot be loaded: {_names(pinned)} stays loaded, and VLLAMA_MAX_LOADED_MODELS allows {budget.models}"
    taken = total(pinned)
    on_gpu = budget.bytes is None or need.bytes + taken.bytes <= budget.bytes
    kind, asked, held, most = ("GPU", need.gpu, taken.gpu, budget.gpu) if on_gpu else ("system", need.bytes, taken.bytes, budget.bytes)
    beside = f" beside {_names(pinned)}, which stays loaded with {human.size(held)}" if pinned else ""
    way_out = "--gpu-layers" if on_gpu else "--ctx-size or --kv-cells, or raise --memory"
    return (
        f"model requires more {kind} memory ({human.size(asked)}) than is available ({human.size(max(0, (most or 0) - held))}): "
        f"{name} does not fit{beside}; take a smaller quantization, a smaller {way_out}"
    )


def _asks(name: str, need: Need) -> str:
    on_gpu = f" and {human.size(need.gpu)} of GPU memory" if need.gpu else ""
    return f"{name} needs {human.size(need.bytes)}{on_gpu}"


def _limit(budget: Budget) -> str:
    parts = [] if budget.bytes is None else [f"{human.size(budget.bytes)} of memory"]
    parts += [] if budget.gpu is None else [f"{human.size(budget.gpu)} of GPU memory"]
    parts += [] if budget.models is None else [f"{budget.models} places"]
    return " and ".join(parts)


def _names(occupants: Sequence[Occupant]) -> str:
    return ", ".join(f"{occupant.name} ({human.size(occupant.need.bytes)})" for occupant in occupants)
