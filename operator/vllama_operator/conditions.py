"""Conditions of an LLMServe: what each says, and why. Pure.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllama_core.progress import Progress, Told
from vllama_operator import failures
from vllama_operator.failures import Failure
from vllama_operator.observed import Observed
from vllama_operator.preparation import Preparation, Rollout, Verdict
from vllama_operator.spec import ServeSpec

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why the operator cannot do what the LLMServe asks for.

    :ivar reason: a CamelCase word.
    """

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One statement. `status` is True, False or Unknown."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that conditions are made from.

    :ivar wanted: replicas.
    :ivar ready: replicas of any revision that answer.
    :ivar updated: replicas of the newest revision that answer.
    :ivar progress: of a download that goes on, in a Job or in a pod that serves when it is done.
    :ivar settled: the Deployment's controller has seen the newest revision, and no old pod is left.
    """

    spec: ServeSpec
    url: str
    problem: Problem | None
    preparation: Preparation
    progress: Progress | None
    failure: Failure | None
    unschedulable: str | None
    pods: int
    scheduled: int
    running: int
    ready: int
    wanted: int
    settled: bool
    stuck: bool
    refused: str | None

    @property
    def serving(self) -> bool:
        """All that is wanted is there and answers."""
        return self.problem is None and not self.waits and self.settled and self.ready >= self.wanted > 0

    @property
    def fails(self) -> bool:
        """Something is at fault that does not mend itself."""
        stuck = self.stuck and not self.waits
        return self.failure is not None or self.refused is not None or stuck or self.preparation.rollout is Rollout.STOP

    @property
    def waits(self) -> bool:
        """The newest revision may not have pods yet."""
        return self.preparation.rollout is not Rollout.GO


def situation(spec: ServeSpec, observed: Observed, *, url: str, problem: Problem | None, preparation: Preparation, told: Told) -> Situation:
    """Count and classify.

    :param told: by the log, or the events, of a pod that is not ready.
    """
    pods = [pod for pod in observed.pods if not pod["metadata"].get("deletionTimestamp")]
    newest = failures.of_newest_revision(pods)
    deployment = observed.deployment or {}
    status: Json = deployment.get("status") or {}
    current = status.get("observedGeneration", 0) >= deployment.get("metadata", {}).get("generation", 1)
    return Situation(
        spec=spec,
        url=url,
        problem=problem,
        preparation=preparation,
        progress=told.progress if told.progress is not None and told.progress.completed < told.progress.total else None,
        failure=_failure(newest, preparation, told),
        unschedulable=failures.unschedulable((*preparation.pods, *newest)),
        pods=len(pods),
        scheduled=sum(failures.condition_of(pod, "PodScheduled").get("status") == "True" for pod in pods),
        running=sum(failures.runs(pod) for pod in pods),
        ready=status.get("readyReplicas", 0),
        wanted=spec.replicas,
        settled=current
        and status.get("updatedReplicas", 0) >= spec.replicas
        and status.get("replicas", 0) == status.get("updatedReplicas", 0),
        stuck=failures.condition_of(deployment, "Progressing").get("reason") == "ProgressDeadlineExceeded",
        refused=failures.condition_of(deployment, "ReplicaFailure").get("message"),
    )


def _failure(pods: list[Json], preparation: Preparation, told: Told) -> Failure | None:
    """A Job's former attempt has failed until its next one gets on; what a pod fails of that runs or is being set up, is told apart."""
    fetching = () if told.progress is not None and told.failure is None else preparation.pods
    found = failures.of_pods((*fetching, *pods))
    speaker = failures.speaker((*preparation.pods, *pods))
    if found is None and told.failure is not None and speaker is not None:
        return failures.of_told(told.failure, speaker)
    return found


def conditions(now: Situation) -> list[Condition]:
    """All of them, in the order in which people read them."""
    ready = _ready(now)
    made = [ready, _available(now), _progressing(now)]
    made += [Condition("Fits", *_said(now.preparation.fits)), Condition("ModelCached", *_said(now.preparation.cached))]
    made += [_scheduled(now), _engine_ready(now, ready), _degraded(now), _scaled_to_zero(now)]
    if now.spec.scaling is not None:
        made.append(_scaling(now.spec))
    return made


def _said(verdict: Verdict) -> tuple[str, str, str]:
    return verdict.status, verdict.reason, verdict.message


def _ready(now: Situation) -> Condition:
    if now.serving:
        return Condition("Ready", "True", "Serving", f"{_of(now)} at {now.url}; {_doors(now.spec)}")
    reason, message = _why_not(now)
    return Condition("Ready", "False", reason, message)


def _why_not(now: Situation) -> tuple[str, str]:
    """The most telling reason why not all that is wanted answers."""
    if now.problem is not None:
        return now.problem.reason, now.problem.message
    if now.wanted == 0:
        return _asleep(now.spec)
    if now.refused is not None:
        return "PodsRefused", f"the cluster does not let the pods be made: {now.refused}"
    if now.preparation.fits.status == "False":
        return now.preparation.fits.reason, now.preparation.fits.message
    if now.failure is not None:
        return now.failure.reason, f"pod {now.failure.pod}: {now.failure.message}"
    if now.unschedulable is not None:
        return "Unschedulable", f"no node can take the pod: {now.unschedulable}; change spec.resources or spec.profile, or add a node"
    if now.stuck and not now.waits:
        return "RolloutStuck", f"{_of(now)}, and nothing has changed for long; `kubectl describe` the pods"
    if now.progress is not None:
        return "Downloading", f"{_of(now)}; the model is being fetched"
    if now.waits:
        return _preparing(now)
    if now.ready >= now.wanted:
        return "RollingOut", f"{_of(now)}; pods of the former revision are being replaced"
    if now.running:
        return "Loading", f"{_of(now)}; the model is being fetched or loaded"
    if now.scheduled:
        return "Starting", f"{_of(now)}; the pod's image and volumes are being made ready"
    return "Pending", f"{_of(now)}; the pod is to be made or waits for a node"


def _preparing(now: Situation) -> tuple[str, str]:
    verdict = now.preparation.fits if now.preparation.fits.reason == "Planning" else now.preparation.cached
    return verdict.reason, f"{_of(now)}; {verdict.message}"


def _asleep(spec: ServeSpec) -> tuple[str, str]:
    if spec.suspend:
        return "Suspended", "spec.suspend is true, so nothing runs; the cache stays. Set it to false to serve again"
    return "NoReplicas", "spec.replicas is 0, so nothing runs; `kubectl scale` it to serve again"


def _of(now: Situation) -> str:
    return f"{now.ready} of {now.wanted} replicas answer" if now.wanted != 1 else ("it answers" if now.ready else "it does not answer yet")


def _doors(spec: ServeSpec) -> str:
    if spec.keys is not None:
        return f"keys are those of Secret {spec.keys.name}"
    return "no key is asked for: whoever the NetworkPolicy lets in may use it (spec.api.keySecretRef changes that)"


def _available(now: Situation) -> Condition:
    if now.ready:
        return Condition("Available", "True", "ReplicasReady", f"{_of(now)} at {now.url}")
    return Condition("Available", "False", "NoReplicaReady", "no replica answers; the condition Ready says why")


def _progressing(now: Situation) -> Condition:
    if now.preparation.rollout is Rollout.STOP:
        return Condition(
            "Progressing", "False", now.preparation.fits.reason, "the model does not fit; the condition Fits has the arithmetic"
        )
    if now.waits:
        return Condition("Progressing", "True", *_preparing(now))
    if now.stuck:
        return Condition("Progressing", "False", "DeadlineExceeded", "the rollout makes no progress; the condition Ready says why")
    if now.problem is not None:
        return Condition("Progressing", "False", now.problem.reason, now.problem.message)
    if now.serving or (now.wanted == 0 and now.pods == 0):
        return Condition("Progressing", "False", "Complete", "all is as wanted")
    return Condition("Progressing", "True", "RollingOut", f"{_of(now)}, {now.pods} pods are there")


def _scheduled(now: Situation) -> Condition:
    if now.pods == 0:
        return Condition("Scheduled", "Unknown", "NoPods", "there is no pod")
    if now.unschedulable is not None:
        return Condition("Scheduled", "False", "Unschedulable", now.unschedulable)
    if now.scheduled < now.pods:
        return Condition("Scheduled", "Unknown", "Waiting", f"{now.scheduled} of {now.pods} pods have a node")
    return Condition("Scheduled", "True", "NodesFound", "each pod has a node")


def _engine_ready(now: Situation, ready: Condition) -> Condition:
    if now.ready:
        return Condition("EngineReady", "True", "Answering", "the engine has the model and gave an answer")
    if now.pods == 0:
        return Condition("EngineReady", "Unknown", "NoPods", "there is no pod")
    return Condition("EngineReady", "False", ready.reason, ready.message)


def _degraded(now: Situation) -> Condition:
    if now.problem is not None or now.fails:
        return Condition("Degraded", "True", *_why_not(now))
    return Condition("Degraded", "False", "NothingFails", "nothing fails")


def _scaled_to_zero(now: Situation) -> Condition:
    if now.wanted == 0 and now.problem is None:
        return Condition("ScaledToZero", "True", *_asleep(now.spec))
    return Condition("ScaledToZero", "False", "ReplicasWanted", f"{now.wanted} are wanted")


def _scaling(spec: ServeSpec) -> Condition:
    return Condition(
        "ScalingActive",
        "False",
        "AutoscalingNotSupported",
        f"this version does not follow the load yet: it runs max(spec.scaling.min, 1), now {spec.replicas}; "
        "spec.replicas, which `kubectl scale` writes, counts only without spec.scaling",
    )


def stamped(made: Iterable[Condition], *, before: Iterable[Json], generation: int, now: str) -> list[dict[str, Any]]:
    """As the status holds them, each with the time since when it has its status.

    :param now: as Kubernetes writes times.
    """
    old = {each["type"]: each for each in before}
    return [
        {
            "type": each.type,
            "status": each.status,
            "observedGeneration": generation,
            "lastTransitionTime": _since(each, old.get(each.type), now),
            "reason": each.reason,
            "message": each.message,
        }
        for each in made
    ]


def _since(made: Condition, old: Json | None, now: str) -> str:
    return str(old["lastTransitionTime"]) if old is not None and old.get("status") == made.status else now
