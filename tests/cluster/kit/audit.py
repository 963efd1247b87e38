"""Who asked what of an API server, from its audit log: for tests of least privilege and of how much a program asks. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

CREATED = 201


@dataclass(frozen=True, slots=True, order=True)
class Request:
    """One request, as a rule of RBAC would grant it.

    :ivar resource: with subresource and API group: ``llmserves/status.vllama.dev``; a path for what is no resource.
    :ivar name: of the object, where the request's path says it.
    :ivar at: seconds since the epoch, when it was answered.
    """

    user: str
    namespace: str
    resource: str
    verb: str
    allowed: bool
    name: str = field(default="", compare=False)
    at: float = field(default=0.0, compare=False)


def requests(lines: Iterable[str]) -> list[Request]:
    """All of them in order, a watch once although it is written down when it begins and when it ends.

    A patch that made its object, as server-side apply does, needs the right to create too and counts as both.
    """
    events = {}
    for line in lines:
        event = json.loads(line)
        events[event["auditID"]] = event
    found = []
    for event in events.values():
        request = _request(event)
        found.append(request)
        status = event.get("responseStatus", {})
        if request.verb == "patch" and status.get("code") == CREATED:
            found.append(replace(request, verb="create"))
    return found


def _request(event: dict[str, object]) -> Request:
    user = event.get("impersonatedUser", event["user"])
    about = event.get("objectRef", {})
    notes = event.get("annotations", {})
    assert isinstance(user, dict)
    assert isinstance(about, dict)
    assert isinstance(notes, dict)
    path = str(event["requestURI"]).partition("?")[0]
    resource = about.get("resource", path) + "".join(
        f"{mark}{about[key]}" for mark, key in (("/", "subresource"), (".", "apiGroup")) if key in about
    )
    return Request(
        user=user["username"],
        namespace=about.get("namespace", ""),
        resource=resource,
        verb=str(event["verb"]),
        allowed=notes.get("authorization.k8s.io/decision") != "forbid",
        name=about.get("name", ""),
        at=datetime.fromisoformat(str(event["stageTimestamp"])).timestamp() if "stageTimestamp" in event else 0.0,
    )
