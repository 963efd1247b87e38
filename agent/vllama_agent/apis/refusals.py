"""Errors as a whole reply, or as the end of a stream, in the shape of the family that a path belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from vllama_agent.apis import anthropic_replies, errors, ollama_replies, openai_replies
from vllama_agent.apis.errors import Failure, Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A reply without its transport."""

    status: int
    headers: dict[str, str]
    body: bytes


def refusal(path: str, error: BaseException) -> Refusal:
    """What answers a request that came to nothing."""
    failure = errors.failure(error)
    status, body = _shaped(errors.family_of(path), failure)
    headers = {"Content-Type": openai_replies.JSON}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(failure.retry_after)
    if failure.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Refusal(status=status, headers=headers, body=body)


def _shaped(family: Family, failure: Failure) -> tuple[int, bytes]:
    match family:
        case Family.ANTHROPIC:
            return anthropic_replies.status(failure), anthropic_replies.error(failure)
        case Family.OPENAI:
            return openai_replies.status(failure), openai_replies.error(failure)
        case Family.OLLAMA:
            return failure.status, ollama_replies.error(failure.message)


def last_words(path: str, media_type: str, error: BaseException) -> bytes | None:
    """The end of a stream that somebody else began and did not end; None: this kind of reply has no place for an error.

    :param media_type: of the reply, without parameters.
    """
    failure = errors.failure(error)
    if media_type == ollama_replies.NDJSON:
        return b"\n" + ollama_replies.error(failure.message) + b"\n"
    if media_type != openai_replies.SSE:
        return None
    if errors.family_of(path) is Family.ANTHROPIC:
        return b"\n\nevent: error\ndata: " + anthropic_replies.error(failure) + b"\n\n"
    return b"\n\n" + openai_replies.error_frames(failure)
