"""The states of an engine and the only ways between them; `/readyz`, `vllama ps` and the docs read the same table."""

from __future__ import annotations

from enum import StrEnum, auto

from vllama_agent.engines.base import EngineState


class Event(StrEnum):
    """What can happen to an engine."""

    LOAD = auto()
    LOADED = auto()
    LOAD_FAILED = auto()
    CRASHED = auto()
    UNLOAD = auto()


TRANSITIONS: dict[EngineState, dict[Event, EngineState]] = {
    EngineState.STOPPED: {Event.LOAD: EngineState.LOADING},
    EngineState.LOADING: {
        Event.LOADED: EngineState.READY,
        Event.LOAD_FAILED: EngineState.FAILED,
        Event.UNLOAD: EngineState.STOPPED,
    },
    EngineState.READY: {Event.CRASHED: EngineState.RESTARTING, Event.UNLOAD: EngineState.STOPPED},
    EngineState.RESTARTING: {
        Event.LOADED: EngineState.READY,
        Event.CRASHED: EngineState.RESTARTING,
        Event.LOAD_FAILED: EngineState.FAILED,
        Event.UNLOAD: EngineState.STOPPED,
    },
    EngineState.FAILED: {Event.LOAD: EngineState.LOADING, Event.UNLOAD: EngineState.STOPPED},
}


def after(state: EngineState, event: Event) -> EngineState:
    """The state that `event` leads to.

    :raises AssertionError: the event cannot happen in that state, which is a defect of ours.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise AssertionError(f"an engine that is {state} cannot have {event}") from None
