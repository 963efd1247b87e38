"""What can go wrong in the operator.

VllamaError
 ├─ SpecError          an LLMServe asks for what cannot be; waiting does not help, its owner has to change it
 ├─ ClusterError       the API server refused
 │   ├─ NotThere       no such object (404)
 │   ├─ Rejected       what was sent is wrong or forbidden (400, 403, 405, 415, 422); says why
 │   ├─ Taken          an object of that name is somebody else's
 │   └─ ClusterBusy    it is overloaded, away or too slow (409, 429, 5xx, timeouts): try again
 └─ NotLeader          the lease is not ours, or not for long enough
"""

from __future__ import annotations

from vllama_core.errors import VllamaError


class SpecError(VllamaError):
    """Names the field, its value and the way out.

    :param reason: a CamelCase word for conditions.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ClusterError(VllamaError):
    """The API server refused a request."""


class NotThere(ClusterError):
    """No such object."""


class Rejected(ClusterError):
    """The request itself is at fault, or not allowed; the same one again fails again."""


class Taken(ClusterError):
    """A child's name belongs to an object that is not ours."""


class ClusterBusy(ClusterError):
    """Worth another attempt.

    :param retry_after: seconds that the API server asks for; None = it does not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotLeader(VllamaError):
    """Another operator acts, or may do so before an answer could come."""

    def __init__(self) -> None:
        super().__init__("this operator does not hold the lease, so it changes nothing")
