"""The status of an LLMServe, and the events that its changes deserve. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from vllama_core.progress import Told
from vllama_operator import conditions, desired, failures, names, preparation
from vllama_operator.conditions import Problem, Situation
from vllama_operator.observed import Observed
from vllama_operator.preparation import Preparation
from vllama_operator.spec import ServeSpec

Json = Mapping[str, Any]
LONGEST_NOTE = 1000
"""Characters of an event's note; the API server takes 1024."""


@dataclass(frozen=True, slots=True)
class Note:
    """An event for `kubectl describe`. `type` is Normal or Warning."""

    type: str
    reason: str
    message: str


def status_of(
    spec: ServeSpec,
    observed: Observed,
    *,
    preparing: Preparation = preparation.NOTHING,
    told: Told = Told(),  # noqa: B008 -- it cannot change
    problem: Problem | None,
    before: Json,
    now: str,
) -> dict[str, Any]:
    """What `status` should say.

    :param told: by the log of a pod that is not ready.

    :param problem: what keeps the operator from doing its part.
    :param before: the status so far.
    :param now: as Kubernetes writes times.
    """
    url = desired.url(spec)
    state = conditions.situation(spec, observed, url=url, problem=problem, preparation=preparing, told=told)
    deployment: Json = (observed.deployment or {}).get("status") or {}
    generation = observed.serve["metadata"].get("generation", 1)
    made: dict[str, Any] = {
        "observedGeneration": generation,
        "phase": _phase(state),
        "conditions": conditions.stamped(
            conditions.conditions(state), before=before.get("conditions") or (), generation=generation, now=now
        ),
        "replicas": deployment.get("replicas", 0),
        "readyReplicas": state.ready,
        "selector": names.selector_text(spec.name),
        "url": url,
        "engine": spec.engine,
        "model": {"name": spec.model_name},
    }
    if state.failure is not None:
        made["lastFailure"] = {"reason": state.failure.reason, "message": state.failure.message, "pod": state.failure.pod}
        made["lastFailure"] |= {"time": state.failure.time} if state.failure.time else {}
    if state.progress is not None:
        made["download"] = {"progress": f"{state.progress.percent} %", **state.progress.as_fields()}
    if preparing.sizing is not None:
        made["sizing"] = dict(preparing.sizing)
    cold = _cold_start(observed.pods)
    cold = before.get("coldStartSeconds") if cold is None else cold
    return made if cold is None else made | {"coldStartSeconds": cold}


def invalid(body: Json, *, problem: Problem, observed: Observed, before: Json, now: str) -> dict[str, Any]:
    """The status of an LLMServe that cannot be: what runs of its former spec goes on."""
    metadata = body["metadata"]
    nothing = ServeSpec(
        name=metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"], config="", source="", model_name="", replicas=0
    )
    made = status_of(nothing, observed, problem=problem, before=before, now=now)
    return {key: value for key, value in made.items() if key not in ("engine", "model")}


def notes(before: Json, after: Json) -> list[Note]:
    """Events for what has changed; none for what goes on."""
    made = []
    old, new = _condition(before, "Ready"), _condition(after, "Ready")
    if (old.get("status"), old.get("reason")) != (new.get("status"), new.get("reason")):
        bad = _condition(after, "Degraded").get("status") == "True"
        made.append(Note("Warning" if bad else "Normal", str(new["reason"]), str(new["message"])))
    return [replace(note, message=note.message[:LONGEST_NOTE]) for note in made]


def _condition(status: Json, kind: str) -> Json:
    return failures.condition_of({"status": status}, kind)


def _phase(now: Situation) -> str:
    if now.problem is not None:
        return "Failed"
    if now.wanted == 0:
        return "Suspended" if now.spec.suspend else "ScaledToZero"
    if now.serving:
        return "Ready"
    if now.fails:
        return "Degraded" if now.ready else "Failed"
    if now.progress is not None:
        return f"Downloading {now.progress.percent} %"
    if now.waits:
        return "Downloading" if _is_fetching(now) else "Pending"
    if now.ready:
        return "RollingOut"
    if now.running:
        return "Loading"
    return "Starting" if now.scheduled else "Pending"


def _is_fetching(now: Situation) -> bool:
    return now.preparation.cached.reason == "Downloading" and any(failures.runs(pod) for pod in now.preparation.pods)


def _cold_start(pods: tuple[Json, ...]) -> float | None:
    """Seconds from the scheduling of the newest pod that answers to its readiness; None: it was restarted meanwhile, or there is none."""
    ready = [pod for pod in pods if failures.is_ready(pod)]
    if not ready:
        return None
    newest = max(ready, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    if any(each.get("restartCount") for each in (newest.get("status") or {}).get("containerStatuses") or ()):
        return None
    times = [failures.condition_of(newest, kind).get("lastTransitionTime") for kind in ("PodScheduled", "Ready")]
    if None in times:
        return None
    scheduled, answered = (datetime.fromisoformat(str(time)) for time in times)
    return max(0.0, (answered - scheduled).total_seconds())
