"""What there is of one LLMServe, gathered once; nobody below asks the API server to just check."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vllama_operator import names

Json = Mapping[str, Any]
Ref = tuple[str, str]
"""Namespace and name of an LLMServe."""
CHILDREN = ("Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "PersistentVolumeClaim", "ConfigMap", "Job")
"""Kinds that the operator makes. Pods are the Deployment's and the Jobs'."""
# https://kubernetes.io/docs/reference/labels-annotations-taints/#batch-kubernetes-io-job-name
_JOB_NAME = "batch.kubernetes.io/job-name"
_UNREAD = frozenset({"managedFields"})
_UNREAD_OF_PODS = _UNREAD | {"annotations"}
"""Of the metadata; a Job's pods are read like others."""
Key = tuple[str, str, str]
"""Kind, namespace and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A moment's view.

    :ivar serve: the LLMServe.
    :ivar children: objects that it owns.
    :ivar pods: the agents', of all revisions, the terminating ones too.
    """

    serve: Json
    children: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()

    @property
    def deployment(self) -> Json | None:
        return next((each for each in self.children if each["kind"] == "Deployment"), None)


@dataclass(frozen=True, slots=True)
class Shared:
    """What LLMServes of a namespace have in common: the first that needs it makes it.

    :ivar objects: by kind and name.
    :ivar pods: of the Jobs among them, by the Job's name.
    """

    objects: Mapping[tuple[str, str], Json] = field(default_factory=dict)
    pods: Mapping[str, tuple[Json, ...]] = field(default_factory=dict)


class World:
    """The newest of every object that a watch or a listing has shown."""

    def __init__(self) -> None:
        self._objects: dict[Key, Json] = {}
        self._of: dict[Ref, set[Key]] = {}
        self._followed: dict[Ref, frozenset[Key]] = {}
        self._followers: dict[Key, set[Ref]] = {}

    def see(self, kind: str, body: Json, *, gone: bool) -> set[Ref]:
        """An object was shown.

        :return: the LLMServes whose state it changes; none: nothing changed, or it is nobody's.
        """
        ref = owner_of(kind, body)
        if ref is None:
            return set()
        if kind == names.KIND and gone:
            self.follow(ref, ())
        return {ref} | self._followers.get(_followed_by(kind, body), set()) if self._store(ref, kind, body, gone=gone) else set()

    def _store(self, ref: Ref, kind: str, body: Json, *, gone: bool) -> bool:
        """Whether anything has changed."""
        key = (kind, body["metadata"]["namespace"], body["metadata"]["name"])
        known = self._objects.get(key)
        if gone:
            if known is None or known["metadata"]["uid"] != body["metadata"]["uid"]:
                return False
            del self._objects[key]
            self._of[ref].discard(key)
            if not self._of[ref]:
                del self._of[ref]
            return True
        if known is not None and not _is_newer(body, known):
            return False
        self._objects[key] = slim(kind, body)
        self._of.setdefault(ref, set()).add(key)
        return True

    def replace(self, kind: str, bodies: list[Json]) -> set[Ref]:
        """A full listing of a kind: what a watch missed.

        :return: LLMServes whose state it changes.
        """
        listed = {(kind, body["metadata"]["namespace"], body["metadata"]["name"]) for body in bodies}
        missed = [body for key, body in self._objects.items() if key[0] == kind and key not in listed]
        changed = [self.see(kind, body, gone=True) for body in missed] + [self.see(kind, body, gone=False) for body in bodies]
        return set().union(*changed)

    def follow(self, ref: Ref, keys: Iterable[tuple[str, str]]) -> Shared:
        """What there is of shared objects. From now on their changes concern the LLMServe, and those of others do not.

        :param keys: kinds and names.
        """
        wanted = frozenset((kind, ref[0], name) for kind, name in keys)
        for key in self._followed.pop(ref, frozenset()) - wanted:
            self._followers[key].discard(ref)
            if not self._followers[key]:
                del self._followers[key]
        for key in wanted:
            self._followers.setdefault(key, set()).add(ref)
        if wanted:
            self._followed[ref] = wanted
        there = {(key[0], key[2]): self._objects[key] for key in sorted(wanted) if key in self._objects}
        return Shared(there, {name: self._pods_of(body) for (kind, name), body in there.items() if kind == "Job"})

    def _pods_of(self, job: Json) -> tuple[Json, ...]:
        maker = owner_of("Job", job)
        assert maker is not None, "what nobody made is not kept"
        pods = (self._objects[key] for key in sorted(self._of.get(maker, ())) if key[0] == "Pod")
        return tuple(each for each in pods if each["metadata"]["labels"].get(_JOB_NAME) == job["metadata"]["name"])

    def serves(self) -> list[Ref]:
        """All LLMServes."""
        return [(namespace, name) for kind, namespace, name in self._objects if kind == names.KIND]

    def observe(self, ref: Ref) -> Observed | None:
        """What there is of an LLMServe; None: it is gone, or going."""
        serve = self._objects.get((names.KIND, *ref))
        if serve is None or serve["metadata"].get("deletionTimestamp"):
            return None
        uid = serve["metadata"]["uid"]
        mine = [(key[0], self._objects[key]) for key in sorted(self._of.get(ref, ()))]
        children = tuple(body for kind, body in mine if kind in CHILDREN and is_owned(body, uid))
        return Observed(serve=serve, children=children, pods=tuple(body for kind, body in mine if kind == "Pod" and not _is_of_job(body)))


def _is_of_job(pod: Json) -> bool:
    return names.JOB_LABEL in pod["metadata"]["labels"]


def _followed_by(kind: str, body: Json) -> Key:
    """The key that followers of an object have: of a Job's pod, the Job's."""
    metadata = body["metadata"]
    job = (metadata.get("labels") or {}).get(_JOB_NAME) if kind == "Pod" else None
    return ("Job", metadata["namespace"], job) if job else (kind, metadata["namespace"], metadata["name"])


def _is_newer(body: Json, known: Json) -> bool:
    """What a watch shows can be older than an answer to a request.

    Numbers grow with time: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    """
    versions = body["metadata"]["resourceVersion"], known["metadata"]["resourceVersion"]
    if all(version.isdigit() for version in versions):
        return int(versions[0]) > int(versions[1])
    return bool(versions[0] != versions[1])


def owner_of(kind: str, body: Json) -> Ref | None:
    """The LLMServe that an object belongs to."""
    metadata = body["metadata"]
    name = metadata["name"] if kind == names.KIND else (metadata.get("labels") or {}).get(names.SERVE_LABEL)
    return None if name is None else (metadata["namespace"], name)


def is_owned(body: Json, uid: str) -> bool:
    """The LLMServe with this uid made it; its predecessor of the same name had another."""
    return any(owner.get("uid") == uid and owner.get("controller") for owner in body["metadata"].get("ownerReferences") or ())


def slim(kind: str, body: Json) -> Json:
    """Without what nobody here reads and what makes up most of its size; what is slim already stays so."""
    unread = _UNREAD_OF_PODS if kind in ("Pod", "Job") else _UNREAD
    metadata = {key: value for key, value in body["metadata"].items() if key not in unread}
    kept = {"status": body.get("status") or {}} if kind in ("Pod", "Job") else body
    found: Json = _shared({**kept, "kind": kind, "metadata": metadata})
    return found


def _shared(value: Any) -> Any:
    """The same, with equal texts held once: a thousand LLMServes say mostly the same words, and take half the memory."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {sys.intern(key): _shared(each) for key, each in value.items()}
    return [_shared(each) for each in value] if isinstance(value, list) else value
