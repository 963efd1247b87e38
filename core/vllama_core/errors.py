"""Every error that vllama raises on purpose, drawn once.

VllamaError
 ├─ ConfigError            a flag, variable or file is wrong: the command ends with its sentence
 ├─ InvalidRequest         the caller's fault (400); names the field
 │   ├─ NotYet             a field this version cannot honour yet (400)
 │   └─ PromptTooLong      the prompt does not fit the context (400)
 ├─ ModelNotFound          no such model here (404)
 ├─ Forbidden              an operator owns this agent, or the store is read-only (403)
 ├─ NoSpace                the disk has no room for it (507)
 ├─ Busy                   a bounded queue is full, or the server drains (503 / 429)
 │   └─ LimitReached       the caller's key has used what it may (429)
 ├─ DoesNotFit             a model needs more memory than there is for it (500)
 ├─ EngineFailed           the engine died or cannot start (500)
 ├─ FetchFailed            a model cannot be fetched: the network, the source, or its bytes (502)
 │   └─ AccessDenied       the source wants a token, or an agreement that was not given (403)
 ├─ UnreadableModel        a model's files are not what files of their form are; the store leaves it out (500)
 ├─ ConversionFailed       a model's files cannot be made into GGUF, or into that quantization (500)
 └─ RequestCancelled       the caller went away (499)

Messages are sentences for people and go to clients as they are, so they never hold a secret or a prompt. HTTP statuses and JSON
shapes belong to the API codecs, not here.
"""

from __future__ import annotations


class VllamaError(Exception):
    """Root of the tree."""


class ConfigError(VllamaError):
    """Names the setting, its value and the way out."""


class InvalidRequest(VllamaError):
    """The request cannot be honoured as it stands.

    :param field: where in the request, as a JSON path such as ``options.top_k`` or ``messages[2].role``; None for the whole body.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotYet(InvalidRequest):
    """A field of the protocol that this version does not do yet."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} is not yet supported by this version of vllama; leave it out", field=field)


class PromptTooLong(InvalidRequest):
    """The prompt has more tokens than the context can hold.

    The wording keeps the words that Ollama's clients look for.
    """

    def __init__(self, *, prompt_tokens: int, context: int, asked: int | None = None) -> None:
        loaded = f" (num_ctx {asked} was asked for, but the model is loaded with {context})" if asked else ""
        super().__init__(
            f"the prompt is longer than the context length currently available to the model: "
            f"{prompt_tokens} tokens, context {context}{loaded}; shorten it, or serve with a larger --ctx-size",
            field="prompt",
        )
        self.prompt_tokens = prompt_tokens
        self.context = context


class ModelNotFound(VllamaError):
    """No model of that name is stored or served here."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(f"model '{name}' not found" + (f": {hint}" if hint else ""))
        self.name = name


class Forbidden(VllamaError):
    """Nobody may do this here, whoever asks."""


class NoSpace(VllamaError):
    """The disk has no room for it; names both sizes."""


class Busy(VllamaError):
    """A bounded queue is full; try again after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LimitReached(Busy):
    """Whoever the caller's key names has as much as it may; try again after `retry_after` seconds."""


class DoesNotFit(VllamaError):
    """A model needs more memory than it can get here, however long one waits; names the figures and the way out."""


ENGINE_STOPPED = "model runner has unexpectedly stopped"
"""What Ollama's clients look for when an engine died: its `EngineFailed` begins so."""


class EngineFailed(VllamaError):
    """The engine died, or could not be started."""


class FetchFailed(VllamaError):
    """A model cannot be fetched from where it is. What has arrived is kept."""


class AccessDenied(FetchFailed):
    """The source refuses: the sentence says which token is read and how access is got."""


class UnreadableModel(VllamaError):
    """A model's files cannot be read as what they are to be; says what is wrong with which."""


class ConversionFailed(VllamaError):
    """Weights could not be converted or quantized; says why and what to try."""


class RequestCancelled(VllamaError):
    """The caller left before an answer was made."""

    def __init__(self) -> None:
        super().__init__("request canceled")
