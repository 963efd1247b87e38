"""What pods fail of, in a word and a sentence. Pure.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-states
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllama_core import progress
from vllama_operator import names

Json = Mapping[str, Any]
LONGEST = 2000
"""Characters of a message in a status."""
_CAMEL = re.compile(r"[A-Za-z](?:[A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_HARMLESS = frozenset({"ContainerCreating", "PodInitializing", "CrashLoopBackOff"})
"""Reasons of a waiting container that are no failure, or not the one that matters: what crashed says why."""
_SAME = {"ErrImagePull": "ImagePullBackOff", "ErrImageNeverPull": "ImagePullBackOff", "RegistryUnavailable": "ImagePullBackOff"}
"""Reasons that the kubelet gives in turn for one fault, which must not look like a new one each time."""
_SET_UP = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons of a waiting container whose volumes or network are not there yet, or whose image is being fetched."""
_STATUSES = ("initContainerStatuses", "containerStatuses")
_BEFORE_IT_HAS_A_NODE = frozenset({"Scheduled", "FailedScheduling"})
"""Reasons of the scheduler's events, which are over for a pod with a node."""
_BEFORE_IT_RUNS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox"})
"""Reasons of events of the kubelet and the attaching controller, of what keeps a pod from being set up.
https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/events/event.go"""
_OF_SCHEDULER = frozenset({"Scheduled", "FailedScheduling"})
"""Reasons of events about what is over when a pod has its node."""
_SUMMARY = "Unable to attach or mount volumes"
"""What the kubelet says of all volumes when it has waited long; what it says of each one tells more."""
_HINTS = {
    "OOMKilled": "it needed more memory than it may have; raise spec.resources.memory, or take a smaller model, quantization or context",
    "ImagePullBackOff": "the image cannot be fetched; check its name, and the registry's Secret",
    "InvalidImageName": "the image's name is not valid; check spec.engine.image and the profile",
    "CreateContainerConfigError": "the container refers to something that is not there, mostly a Secret or a key of it",
    "FailedMount": "a volume of the pod cannot be mounted; mostly a Secret (spec.api.keySecretRef), a key of it or a claim is not there: "
    "make it, and the pod goes on",
    "AccessDenied": "the model's source refuses; name a Secret with a token that may read it in spec.model.secretRef",
    "NoSpace": "the volume is full; give it a larger spec.cache.size, or remove models that nobody needs",
    "Evicted": "the node ran short of memory or disk",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a pod does not serve.

    :ivar reason: a CamelCase word.
    :ivar message: for people, with a way out where there is one.
    :ivar time: as Kubernetes writes it; empty: not known.
    """

    reason: str
    message: str
    pod: str
    time: str = ""


def of_pods(pods: Iterable[Json]) -> Failure | None:
    """The most recent failure that is not repaired; None: no pod fails."""
    found = [failure for pod in pods if (failure := _of_pod(pod)) is not None]
    return max(found, key=lambda each: (each.time, each.pod), default=None)


def of_newest_revision(pods: Iterable[Json]) -> list[Json]:
    """Those of a Deployment that stay: what pods of a former revision fail of was put right, or goes with them.
    https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#pod-template-hash-label
    """
    found = sorted(pods, key=_age)
    return [pod for pod in found if _revision(pod) == _revision(found[-1])]


def _age(pod: Json) -> str:
    return str(pod["metadata"].get("creationTimestamp", ""))


def _revision(pod: Json) -> Any:
    return (pod["metadata"].get("labels") or {}).get("pod-template-hash")


def unschedulable(pods: Iterable[Json]) -> str | None:
    """Why a pod finds no node; None: each has one. One that runs has a node, whatever the scheduler says late."""
    for pod in pods:
        condition = condition_of(pod, "PodScheduled")
        waits = (pod.get("status") or {}).get("phase", "Pending") == "Pending"
        if waits and condition.get("status") == "False" and condition.get("reason") == "Unschedulable":
            return str(condition.get("message") or "no node can take it")[:LONGEST]
    return None


def is_ready(pod: Json) -> bool:
    """It serves. A Job's pod never does: Kubernetes calls it ready as soon as it runs."""
    is_job = names.JOB_LABEL in (pod["metadata"].get("labels") or {})
    return not is_job and condition_of(pod, "Ready").get("status") == "True"


def runs(pod: Json) -> bool:
    """A container of it runs."""
    return any("running" in (each.get("state") or {}) for each in (pod.get("status") or {}).get("containerStatuses") or ())


def is_on_its_way(pod: Json) -> bool:
    """It runs and is not ready: its log says how far it is."""
    return runs(pod) and not is_ready(pod) and not pod["metadata"].get("deletionTimestamp")


def is_being_set_up(pod: Json) -> bool:
    """It has a node, on which no container of it has begun: of what keeps it from that, volumes above all, only events tell."""
    if pod["metadata"].get("deletionTimestamp") or condition_of(pod, "PodScheduled").get("status") != "True":
        return False
    status = pod.get("status") or {}
    states = [each.get("state") or {} for part in _STATUSES for each in status.get(part) or ()]
    reasons = {(state.get("waiting") or {}).get("reason", "") for state in states}
    return reasons <= _SET_UP if states else status.get("phase") == "Pending"


def speaker(pods: Iterable[Json]) -> Json | None:
    """The pod that is to be asked what it does: one that runs, before one that is being set up, and the newest: what was put right is
    seen there; None: none is."""
    candidates = sorted(pods, key=_age, reverse=True)
    found = (pod for asks in (is_on_its_way, is_being_set_up) for pod in candidates if asks(pod))
    return next(found, None)


def condition_of(body: Json, kind: str) -> Json:
    """A condition of an object's status; empty where there is none."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind), {})


def _of_pod(pod: Json) -> Failure | None:
    if pod["metadata"].get("deletionTimestamp") or is_ready(pod):
        return None
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        failure = _of_container(container, name, since=pod["metadata"].get("creationTimestamp") or "")
        if failure is not None:
            return failure
    if status.get("phase") == "Failed":
        return _failure(
            status.get("reason") or "PodFailed", status.get("message") or "", name, pod["metadata"].get("creationTimestamp") or ""
        )
    return None


def _of_container(container: Json, pod: str, *, since: str) -> Failure | None:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    if waiting and waiting.get("reason") not in (None, *_HARMLESS):
        return _failure(waiting["reason"], waiting.get("message") or "", pod, since)
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    if not ended or (ended.get("reason") == "Completed" and ended.get("exitCode") == 0):
        return None
    reason, said = ended.get("reason") or "Error", ended.get("message") or ""
    told = progress.read(said.splitlines()).failure
    if reason == "Error" and told is not None:
        return _failure(told.reason, told.message, pod, ended.get("finishedAt") or since)
    words = _words(said) or f"exit status {ended.get('exitCode')}"
    return _failure("AgentFailed" if reason == "Error" else reason, words, pod, ended.get("finishedAt") or since)


def of_events(events: Iterable[Json]) -> progress.Failure | None:
    """What keeps a pod from being set up; None: nothing that is known, or it got over that.

    :param events: of the pod, as events.k8s.io has them.
    """
    told = sorted((each for each in events if each.get("reason") not in _OF_SCHEDULER), key=_when)
    newest = told[-1] if told else {}
    if newest.get("reason") not in _BEFORE_IT_RUNS:
        return None
    same = [each for each in told if each["reason"] == newest["reason"]]
    best = next((each for each in reversed(same) if not _note(each).startswith(_SUMMARY)), newest)
    return progress.Failure(str(newest["reason"]), _note(best))


def _when(event: Json) -> tuple[str, bool]:
    """When it was last seen, in whole seconds; of two at once, the one that says that the pod gets on comes last."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("deprecatedLastTimestamp"), event.get("eventTime"))
    return max(str(time)[:19] if time else "" for time in times), event.get("type") == "Normal"


def _note(event: Json) -> str:
    return str(event.get("note") or "")


def of_told(told: progress.Failure, pod: Json) -> Failure:
    """What is told of a pod that still runs, or does not run yet."""
    return _failure(told.reason, told.message, pod["metadata"]["name"], "")


def _words(said: str) -> str:
    """Of lines that are JSON, what they say to people."""
    return "\n".join(word for line in said.splitlines() if (word := _word(line)))


def _word(line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError:  # most programs' last words are plain
        return line
    if not isinstance(found, dict):
        return line
    return str(found.get("message", "" if "progress" in found else line))


def _failure(reason: str, said: str, pod: str, time: str) -> Failure:
    reason = _SAME.get(reason, reason)
    hint = _HINTS.get(reason, "")
    message = ": ".join(part for part in (hint, _end(said.strip())) if part)
    return Failure(reason=reason if _CAMEL.fullmatch(reason) else "PodFailed", message=message or reason, pod=pod, time=time)


def _end(text: str) -> str:
    """Last words matter more than first ones."""
    return text if len(text) <= LONGEST else f"…{text[-LONGEST:]}"
