"""Which status and words an error of ours has on the wire; each family's shape stands in its replies module."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vllama_core.errors import (
    ENGINE_STOPPED,
    AccessDenied,
    Busy,
    ConfigError,
    ConversionFailed,
    DoesNotFit,
    EngineFailed,
    FetchFailed,
    Forbidden,
    InvalidRequest,
    LimitReached,
    ModelNotFound,
    NoSpace,
    NotYet,
    PromptTooLong,
    RequestCancelled,
    VllamaError,
)


class Family(StrEnum):
    """Whose API a route belongs to: it decides the shape of errors."""

    OLLAMA = "Ollama"
    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"


def family_of(path: str) -> Family:
    """By the path alone, so that routes that do not exist have a family too."""
    if path.startswith("/v1/messages"):
        return Family.ANTHROPIC
    return Family.OPENAI if path.startswith("/v1/") else Family.OLLAMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error, ready for any family.

    :ivar status: as Ollama answers it; OpenAI's and Anthropic's families turn 503 of a full queue into 429.
    :ivar code: a word for programs.
    :ivar retry_after: seconds, where trying again helps.
    """

    status: int
    message: str
    code: str | None = None
    field: str | None = None
    retry_after: int | None = None


class NotHere(VllamaError):
    """A route of the protocol that this version does not have (501)."""


class NotFound(VllamaError):
    """There is no such thing here (404)."""


class Unauthorized(VllamaError):
    """The request carries no key, or one that is not known (401)."""


class TooLarge(VllamaError):
    """The body is over the limit (413)."""


class TooSlow(VllamaError):
    """The client took too long to send its request (408)."""


class Unreachable(VllamaError):
    """The server that the request is passed on to does not answer (502)."""


def failure(error: BaseException) -> Failure:
    """Translate. What is not ours is a 500 that tells nothing: its text may hold anything."""
    text = str(error)
    match error:
        case PromptTooLong():
            return Failure(status=400, message=text, code="context_length_exceeded", field=error.field)
        case NotYet():
            return Failure(status=400, message=text, code="unsupported_parameter", field=error.field)
        case InvalidRequest():
            return Failure(status=400, message=text, field=error.field)
        case ConfigError():
            return Failure(status=400, message=text)
        case ModelNotFound():
            return Failure(status=404, message=text, code="model_not_found", field="model")
        case NotFound():
            return Failure(status=404, message=text, code="not_found")
        case Forbidden():
            return Failure(status=403, message=text, code="forbidden")
        case NoSpace():
            return Failure(status=507, message=text, code="insufficient_storage")
        case Unauthorized():
            return Failure(status=401, message=text, code="invalid_api_key")
        case TooLarge():
            return Failure(status=413, message=text, code="request_too_large")
        case TooSlow():
            return Failure(status=408, message=text, code="request_timeout")
        case LimitReached():
            return Failure(status=429, message=text, code="rate_limit_exceeded", retry_after=error.retry_after)
        case Unreachable():
            return Failure(status=502, message=text, code="server_unreachable")
        case Busy():
            return Failure(status=503, message=text, code="rate_limit_exceeded", retry_after=error.retry_after)
        case NotHere():
            return Failure(status=501, message=text, code="not_yet_supported")
        case DoesNotFit():
            return Failure(status=500, message=text, code="insufficient_memory")
        case EngineFailed():
            message = text if text.startswith(ENGINE_STOPPED) else f"{ENGINE_STOPPED}: {text}"
            return Failure(status=500, message=message, code="engine_failed")
        case AccessDenied():
            return Failure(status=403, message=text, code="access_denied")
        case FetchFailed():
            return Failure(status=502, message=text, code="fetch_failed")
        case ConversionFailed():
            return Failure(status=500, message=text, code="conversion_failed")
        case RequestCancelled():
            return Failure(status=499, message=text)
        case _:
            return Failure(status=500, message="internal server error; the agent's log has the details")
