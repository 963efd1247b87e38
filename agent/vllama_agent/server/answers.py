"""From an admitted request to deltas, whichever family asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

from aiohttp import web

from vllama_agent.apis import errors, fields, show
from vllama_agent.engines.base import Delta, Engine, Generation, ModelFacts
from vllama_agent.pool import Artifact
from vllama_agent.server.gate import ACCOUNT, MODEL
from vllama_agent.server.metered import metered
from vllama_agent.server.service import Service
from vllama_core.errors import InvalidRequest, ModelNotFound
from vllama_core.modelref import runs_at_ollama

log = logging.getLogger(__name__)

BODY_TIMEOUT = 120.0
"""Seconds a client may take to send its body; slower ones hold a connection for nothing."""


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object that was sent.

    :raises InvalidRequest: it is none.
    :raises TooSlow: it did not come in time.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            body = await request.read()
    except TimeoutError:
        raise errors.TooSlow(f"the request body did not arrive within {BODY_TIMEOUT:g} seconds") from None
    except web.RequestPayloadError:  # its text may hold a piece of the body
        raise InvalidRequest("the request body is not what its Content-Encoding or Transfer-Encoding header says") from None
    return fields.parse_object(body)


CLOUD = "it runs in Ollama's cloud, and vllama runs models here; name one whose tag does not end in cloud"


async def model_of(service: Service, asked: str, *, fetch: bool = True) -> Artifact:
    """The model that a request names; where `serve --pull` was said, it is fetched at its first use.

    :param fetch: False: nothing is asked of the model, so nothing is fetched for it.
    :raises ModelNotFound: it is not here, or could never be.
    :raises Busy: it is being fetched, and that takes longer than a request waits.
    """
    try:
        return service.pool.find(asked)
    except ModelNotFound:
        if runs_at_ollama(asked):
            raise ModelNotFound(asked, CLOUD) from None
        if service.first_use is None or not (fetch and asked):
            raise
    await service.first_use.fetched(asked)
    return service.pool.find(asked)


def capabilities(service: Service, artifact: Artifact, facts: ModelFacts | None = None) -> frozenset[str]:
    """What a model can do.

    :param facts: of its engine, once it is loaded. Before, the file's word is taken, so that a wrong request loads nothing; whether
        the model can fill in only an engine knows.
    """
    family = service.pool.settings_of(artifact).chat_family
    if facts is None:
        return frozenset(show.capabilities(artifact.brief.metadata, artifact.template, family)) | {"insert"}
    return facts.capabilities | frozenset(show.chat_capabilities(artifact.brief.metadata, artifact.template, family))


class Watch:
    """Times one answer for the metrics. Two clock reads a piece would show in the CPU per token; it makes do with one."""

    __slots__ = ("_gaps", "_last", "_metrics", "_model", "started")

    def __init__(self, service: Service, model: str, started: float) -> None:
        self._metrics = service.metrics
        self._gaps = service.metrics.gaps(model)
        self._model = model
        self.started = started
        self._last = 0.0

    def saw(self, delta: Delta) -> None:
        """A delta came."""
        now = time.perf_counter()
        if self._last:
            self._gaps.saw(now - self._last)
        else:
            self._metrics.first_token(self._model, now - self.started)
        self._last = now
        if delta.usage is not None:
            self._metrics.answer(self._model, delta.usage)
            if delta.usage.context_shifts:
                log.info("older tokens were dropped at a full window", extra={"model": self._model, "shifts": delta.usage.context_shifts})


@asynccontextmanager
async def engine_for(
    service: Service,
    request: web.Request,
    artifact: Artifact,
    *,
    keep_alive: float | None = None,
    num_ctx: int | None = None,
    answers: int = 1,
) -> AsyncIterator[Engine]:
    """An engine that is ready, and a place in the house.

    :raises InvalidRequest: the model has an adapter, or the caller's key may never have so many answers at once.
    :raises LimitReached: the caller's key has used what it may.
    :raises Busy: there is no place, no memory came free for the model in time, or the server is leaving.
    :raises DoesNotFit: the model needs more memory than there is.
    :raises EngineFailed: the model cannot be loaded.
    """
    request[MODEL] = artifact.name
    if artifact.adapters:
        raise InvalidRequest(
            f"{artifact.name} has a LoRA adapter, which this version of vllama stores but cannot apply yet; use the model it was made from",
            field="model",
        )
    account = request.get(ACCOUNT)
    within: AbstractContextManager[None] = nullcontext() if account is None else account.entered(answers)
    with service.drain.working(), within, service.admission.admitted(artifact.name, answers):
        async with service.pool.use(artifact, keep_alive, num_ctx=num_ctx) as engine:
            yield engine if account is None else metered(engine, account)


def told_truncation(service: Service, model: str, generation: Generation, headers: dict[str, str]) -> None:
    """A cut prompt is told in the reply's headers, in the log and in the metrics, never kept quiet."""
    if generation.dropped_tokens:
        headers["X-Vllama-Truncated"] = f"{generation.dropped_tokens}/{generation.asked_tokens}"
        service.metrics.truncated(model)
        log.warning(
            "a prompt was cut to fit", extra={"model": model, "dropped": generation.dropped_tokens, "asked": generation.asked_tokens}
        )


def told_mid_stream(error: BaseException, path: str) -> errors.Failure:
    """An error after the status went out: only the stream can tell it, and the log."""
    found = errors.failure(error)
    log.warning(
        "an answer was ended: %s", found.message, extra={"path": path}, exc_info=None if found.code or found.status < 500 else error
    )
    return found
