"""Ollama's requests that change the store: create, copy, delete, and the digest of a blob.

https://github.com/ollama/ollama/blob/main/docs/api.md#create-a-model
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any

from vllama_agent.apis import fields, messages, options
from vllama_agent.chat import go_templates
from vllama_core.errors import InvalidRequest
from vllama_core.modelref import ModelName

LONGEST_TEMPLATE = 1 << 20
"""Characters. The longest real ones have some ten thousand; what is longer would cost every request."""
FORMER = {
    "numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "embedding_only", "tfs_z", "penalize_newline", "num_gqa",
    "rope_frequency_base", "rope_frequency_scale",
}  # fmt: skip
"""Parameters of older versions of Ollama, which old Modelfiles still have; they do nothing, there and here."""
UNSUPPORTED = ("renderer", "parser", "draft_files", "draft_quantize", "remote_host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """A checked request of /api/create.

    :ivar base: the name of an existing model; None: `files` has the model.
    :ivar files: sha256 in hexadecimal by file name.
    :ivar template: Jinja, whatever was sent.
    :ivar quantize: such as ``Q4_K_M``.
    """

    model: ModelName
    base: str | None
    files: dict[str, str]
    adapters: dict[str, str]
    template: str | None
    system: str | None
    parameters: dict[str, Any] | None
    messages: tuple[dict[str, Any], ...] | None
    license: tuple[str, ...] | None
    quantize: str | None
    stream: bool


def create(body: dict[str, Any]) -> Create:
    """POST /api/create.

    :raises InvalidRequest: names the field.
    """
    fields.refuse_non_empty(body, *UNSUPPORTED)
    base = fields.text(body, "from") or None
    files = _files(body, "files")
    if base is None and not files:
        raise InvalidRequest("neither 'from' or 'files' was specified", field="from")
    if base is not None and files:
        raise InvalidRequest("'from' and 'files' were both specified; a model starts from one of them", field="files")
    return Create(
        model=name(body, "model", "name"),
        base=base,
        files=files,
        adapters=_files(body, "adapters"),
        template=_template(fields.text(body, "template")),
        system=fields.text(body, "system") or None,
        parameters=_parameters(body.get("parameters")),
        messages=_messages(body.get("messages")),
        license=_license(body.get("license")),
        quantize=_first_text(body, "quantize", "quantization").upper() or None,
        stream=fields.flag(body, "stream", True),
    )


def copy(body: dict[str, Any]) -> tuple[str, ModelName]:
    """POST /api/copy: the source as it was spelled, and the destination.

    :raises InvalidRequest: one of them cannot be a name.
    """
    source, destination = fields.text(body, "source") or "", fields.text(body, "destination") or ""
    if ModelName.parse(source) is None:
        raise InvalidRequest(f"source {fields.shown(source)} is invalid", field="source")
    parsed = ModelName.parse(destination)
    if parsed is None:
        raise InvalidRequest(f"destination {fields.shown(destination)} is invalid", field="destination")
    return source, parsed


def delete(body: dict[str, Any]) -> str:
    """DELETE /api/delete: the model as it was spelled.

    :raises InvalidRequest: it cannot be a name.
    """
    asked = _first_text(body, "model", "name")
    if ModelName.parse(asked) is None:
        raise InvalidRequest(f"name {fields.shown(asked)} is invalid", field="model")
    return asked


def preview(body: dict[str, Any]) -> dict[str, Any]:
    """What /api/show is asked to show as if the model had it: `template`, `system` and `parameters`, where they are given.

    :raises InvalidRequest: names the field.
    """
    given = body.get("options")
    if given is not None and not isinstance(given, dict):
        raise fields.wrong_type("options", "an object", given)
    asked = {
        "template": _template(fields.text(body, "template")),
        "system": fields.text(body, "system"),
        "parameters": options.as_json(options.checked(given or {})),
    }
    return {key: value for key, value in asked.items() if value}


def name(body: dict[str, Any], *keys: str) -> ModelName:
    """The first of these fields that is there, as a name.

    :raises InvalidRequest: it cannot be one.
    """
    asked = _first_text(body, *keys)
    parsed = ModelName.parse(asked)
    if parsed is None:
        raise InvalidRequest("invalid model name", field=keys[0])
    return parsed


def _first_text(body: dict[str, Any], *keys: str) -> str:
    """The first of these fields that says something; all must be texts."""
    return next(filter(None, [fields.text(body, key) for key in keys]), "")


def digest(text: Any, field: str = "digest") -> str:
    """The hexadecimal digits of ``sha256:…``.

    :raises InvalidRequest: it is no such digest.
    """
    kind, _, digits = str(text).partition(":")
    if kind != "sha256" or len(digits) != 64 or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise InvalidRequest("invalid digest format: it must be sha256: and 64 hexadecimal digits", field=field)
    return digits.lower()


def _files(body: dict[str, Any], key: str) -> dict[str, str]:
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise fields.wrong_type(key, "an object of file names and digests", value)
    for path in value:
        if not path or path.startswith("/") or posixpath.normpath(path) != path or path.split("/")[0] == "..":
            raise InvalidRequest(f"{key}: file path must be relative", field=key)
    return {path: digest(found, key) for path, found in value.items()}


def _template(text: str | None) -> str | None:
    """As Jinja, the language that this server's templates are in; Ollama's are in Go's, and known ones have an equal."""
    if not text:
        return None
    if len(text) > LONGEST_TEMPLATE:
        raise InvalidRequest(f"template has {len(text)} characters; at most {LONGEST_TEMPLATE} are allowed", field="template")
    from vllama_agent.chat import templates  # Jinja's import would be a fifteenth of the agent's start

    try:
        jinja = go_templates.to_jinja(text) if go_templates.is_go(text) else text
        templates.check(jinja)
    except (go_templates.UnknownTemplate, templates.TemplateError) as error:
        raise InvalidRequest(f"template: {error}", field="template") from None
    return jinja


def _parameters(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise fields.wrong_type("parameters", "an object", value)
    given = {key: [item] if key == "stop" and isinstance(item, str) else item for key, item in value.items() if key not in FORMER}
    unknown = sorted(key for key in given if key not in options.TABLE)
    if unknown:
        raise InvalidRequest(f"parameters: {fields.shown(unknown[0])} is unknown; known are {', '.join(options.TABLE)}", field="parameters")
    return options.as_json(options.checked(given, path="parameters."))


def _messages(value: Any) -> tuple[dict[str, Any], ...] | None:
    return tuple({**turn.extra, "role": turn.role, "content": turn.content} for turn in messages.ollama(value)) or None


def _license(value: Any) -> tuple[str, ...] | None:
    if value is None or value == "":
        return None
    return (value,) if isinstance(value, str) else fields.strings(value, "license") or None
