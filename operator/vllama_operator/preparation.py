"""What comes before pods serve: does the model fit, and is it in the shared cache. Pure.

A plan is asked for first, so that nothing is fetched that cannot run, then a download. What serves already goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from vllama_operator import desired, failures, jobs, names, plans, pods
from vllama_operator.observed import Shared
from vllama_operator.plans import Answer, Question
from vllama_operator.settings import Settings
from vllama_operator.spec import ServeSpec

Json = Mapping[str, Any]


SHARED = frozenset({"Job", "ConfigMap"})
"""Kinds of what LLMServes of a namespace have in common."""


class Rollout(Enum):
    """What may become of the Deployment."""

    GO = "it is brought up to date"
    WAIT = "it stays as it is, or is made without pods"
    STOP = "it has no pods, except where some serve"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a condition says. `status` is True, False or Unknown."""

    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """:ivar objects: Jobs and ConfigMaps that should be there.
    :ivar there: those of them that are.
    :ivar pods: of the download.
    :ivar asked: the Job whose answer is awaited; None: none is.
    :ivar asks_nodes: the plan cannot be asked for before the memory of the nodes' GPUs is known.
    """

    fits: Verdict
    cached: Verdict
    rollout: Rollout = Rollout.GO
    objects: tuple[Json, ...] = ()
    there: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()
    sizing: Json | None = None
    asked: str | None = None
    asks_nodes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the LLMServe does not say.

    :ivar gpu_memory: bytes of each GPU of the profile's nodes; None: not known.
    :ivar nodes_seen: whether it was looked for.
    :ivar overdue: the plan has had its time.
    """

    gpu_memory: int | None = None
    nodes_seen: bool = False
    overdue: bool = False


NOTHING = Preparation(
    fits=Verdict("Unknown", "NotPlanned", "nothing was planned"), cached=Verdict("Unknown", "NotFetched", "nothing was fetched")
)


def keys(spec: ServeSpec, settings: Settings) -> list[tuple[str, str]]:
    """Kinds and names of the objects that `prepare` is to be shown."""
    plan = names.plan(plans.key(_question(spec, settings)))
    found = [("ConfigMap", plan), ("Job", plan)]
    return found if spec.ephemeral else [*found, ("Job", jobs.download_name(spec))]


def prepare(spec: ServeSpec, settings: Settings, shared: Shared, now: Circumstances) -> Preparation:
    """What is known, what is to be done, and whether pods may come.

    :raises SpecError: the profile is not known.
    """
    if spec.replicas == 0:
        return _asleep(spec, settings, shared)
    planned = _plan(spec, settings, shared, now)
    if spec.ephemeral:
        return planned
    if planned.rollout is not Rollout.GO:
        return _with_earlier_download(spec, shared, planned)
    return _download(spec, settings, shared, planned)


def _question(spec: ServeSpec, settings: Settings) -> Question:
    return plans.question(spec, pods.profile_of(spec, settings))


def _asleep(spec: ServeSpec, settings: Settings, shared: Shared) -> Preparation:
    """Nothing is begun; what was found out stays."""
    there = tuple(shared.objects[key] for key in keys(spec, settings) if key in shared.objects)
    fits, sizing = NOTHING.fits, None
    if (answer := _kept(spec, settings, shared)) is not None:
        fits, sizing = _verdict(answer), answer.sizing
    return replace(NOTHING, fits=fits, cached=_cached_while_asleep(spec, shared), sizing=sizing, objects=there, there=there)


def _cached_while_asleep(spec: ServeSpec, shared: Shared) -> Verdict:
    if spec.ephemeral:
        return _EPHEMERAL
    job = shared.objects.get(("Job", jobs.download_name(spec)))
    return _CACHED if job is not None and _is_true(job, "Complete") else NOTHING.cached


def _kept(spec: ServeSpec, settings: Settings, shared: Shared) -> Answer | None:
    kept = shared.objects.get(("ConfigMap", names.plan(plans.key(_question(spec, settings)))))
    return None if kept is None else plans.read((kept.get("data") or {}).get(plans.ANSWER, ""))


def _plan(spec: ServeSpec, settings: Settings, shared: Shared, now: Circumstances) -> Preparation:
    asked = _question(spec, settings)
    name = names.plan(plans.key(asked))
    kept, job = shared.objects.get(("ConfigMap", name)), shared.objects.get(("Job", name))
    cached = _EPHEMERAL if spec.ephemeral else Verdict("Unknown", "Planning", "whether the model fits is asked first")
    made = replace(NOTHING, cached=cached)
    if kept is not None:
        answer = plans.read((kept.get("data") or {}).get(plans.ANSWER, ""))
        if answer is None:
            fits = Verdict("Unknown", "PlanUnreadable", f"ConfigMap {name} holds no plan; delete it, and the model is planned anew")
            return replace(made, fits=fits, objects=(kept,), there=(kept,))
        rollout = Rollout.GO if answer.fits else Rollout.STOP
        return replace(made, fits=_verdict(answer), sizing=answer.sizing, rollout=rollout, objects=(kept,), there=(kept,))
    if job is not None:
        return _asked(spec, asked, job, shared.pods.get(name, ()), made, overdue=now.overdue)
    if asked.engine == "vllm" and not asked.gpus:
        return replace(made, fits=_NO_GPU)
    if asked.gpus and not now.nodes_seen:
        return replace(made, fits=_PLANNING, rollout=Rollout.WAIT, asks_nodes=True)
    if asked.gpus and now.gpu_memory is None:
        sentence = f"no node that the operator may look at says by the label {plans.GPU_MEMORY} how much memory its GPUs have"
        return replace(made, fits=Verdict("Unknown", "GpuMemoryUnknown", sentence))
    job = jobs.plan(spec, settings, asked, gpu_memory=now.gpu_memory)
    return replace(made, fits=_PLANNING, rollout=Rollout.WAIT, objects=(job,), asked=name)


def _asked(spec: ServeSpec, asked: Question, job: Json, of_job: tuple[Json, ...], made: Preparation, *, overdue: bool) -> Preparation:
    """A plan was asked for, and nobody has written down the answer yet."""
    made, name = replace(made, objects=(job,), there=(job,)), job["metadata"]["name"]
    said = _last_words(of_job)
    if said is not None and (answer := plans.read(said)) is not None:
        kept = desired.plan(spec, name=name, asked=asked, answer=said)
        rollout = Rollout.WAIT if answer.fits else Rollout.STOP
        return replace(made, objects=(job, kept), fits=_verdict(answer), sizing=answer.sizing, rollout=rollout)
    failure = failures.of_pods(of_job)
    if failure is not None or _is_true(job, "Failed"):
        why = failure.message if failure is not None else str(failures.condition_of(job, "Failed").get("message"))
        return replace(made, fits=Verdict("Unknown", "PlanFailed", f"the model could not be planned: {why}"))
    if overdue:
        return replace(made, fits=Verdict("Unknown", "NoAnswer", f"Job {name} has not told in time whether the model fits"))
    return replace(made, fits=_PLANNING, rollout=Rollout.WAIT, asked=name)


def _with_earlier_download(spec: ServeSpec, shared: Shared, planned: Preparation) -> Preparation:
    """A model does not leave the cache because another question is asked of it; what does not fit is fetched no further."""
    job = shared.objects.get(("Job", jobs.download_name(spec)))
    if job is None or (planned.rollout is Rollout.STOP and not _is_true(job, "Complete")):
        return planned
    kept = replace(planned, objects=(*planned.objects, job), there=(*planned.there, job))
    return replace(kept, cached=_CACHED) if _is_true(job, "Complete") else kept


def _download(spec: ServeSpec, settings: Settings, shared: Shared, planned: Preparation) -> Preparation:
    name, claim = jobs.download_name(spec), jobs.claim(spec)
    job = shared.objects.get(("Job", name))
    if job is None:
        job = jobs.download(spec, settings)
        cached = Verdict("False", "DownloadPending", f"Job {name} is to fetch the model into the claim {claim}")
        return replace(planned, cached=cached, rollout=Rollout.WAIT, objects=(*planned.objects, job))
    made = replace(planned, objects=(*planned.objects, job), there=(*planned.there, job), pods=shared.pods.get(name, ()))
    if _is_true(job, "Complete"):
        return replace(made, cached=_CACHED)
    if _is_true(job, "Failed"):
        why = failures.condition_of(job, "Failed").get("message") or "it gave up"
        cached = Verdict("False", "DownloadFailed", f"Job {name}: {why}; delete it, and it is tried again")
    else:
        cached = Verdict("False", "Downloading", f"Job {name} fetches the model into the claim {claim}")
    return replace(made, cached=cached, rollout=Rollout.WAIT)


def _verdict(answer: Answer) -> Verdict:
    return Verdict("True", "Fits", answer.sentence) if answer.fits else Verdict("False", "DoesNotFit", answer.sentence)


def _last_words(of_job: tuple[Json, ...]) -> str | None:
    """The termination message of the container that has done its work; None: none has."""
    for pod in of_job:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = (container.get("state") or {}).get("terminated") or {}
            if container["name"] == pods.AGENT and ended.get("exitCode") == 0:
                return str(ended.get("message") or "")
    return None


def _is_true(body: Json, condition: str) -> bool:
    return failures.condition_of(body, condition).get("status") == "True"


_PLANNING = Verdict("Unknown", "Planning", "whether the model fits is being reckoned from its headers")
_NO_GPU = Verdict(
    "Unknown",
    "NoGpu",
    "vLLM is planned for GPUs, and none is asked for: name a spec.profile or spec.resources.accelerator that has one, or take llamacpp",
)
_EPHEMERAL = Verdict("Unknown", "NotShared", "spec.cache.mode is Ephemeral: each pod fetches the model for itself")
_CACHED = Verdict("True", "Cached", "the model is in the shared cache")
