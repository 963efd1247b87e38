"""From a request to what is sent to vLLM, with its answer's reading. Asks vLLM for tokens only where a plain request does not do.

A chat goes to vLLM as it is, which renders and tokenises it. Only where ids have to be joined or cut (Ollama's `context`, a prompt that
is too long), where the prompt's end decides what the answer may be, or where vLLM would read the markup of the answer itself (gpt-oss), it
is tokenised first and sent as ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllama_agent.chat import beginnings, families
from vllama_agent.chat.events import Begun
from vllama_agent.chat.families import Markup
from vllama_agent.engines import openai_messages
from vllama_agent.engines.base import GenerateRequest, Reading, wider_window
from vllama_agent.engines.openai_upstream import Upstream
from vllama_agent.engines.vllm import arguments, body, fitting, holding
from vllama_agent.engines.vllm.folder import Folder
from vllama_core.errors import InvalidRequest, PromptTooLong


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is sent.

    :ivar body: the part of it that holds the prompt, and what the answer is held to.
    :ivar tokens: its ids, where they are known.
    :ivar asked: tokens of the prompt before it was cut; 0 = it was not.
    :ivar rendered: the end of the prompt's text, where it is known before the answer.
    """

    path: str
    body: dict[str, Any]
    tokens: tuple[int, ...] = ()
    asked: int = 0
    rendered: str | None = None

    @property
    def dropped(self) -> int:
        """Tokens that were cut."""
        return self.asked - len(self.tokens) if self.asked else 0


class Prompts:
    """Prompts for one loaded model.

    :param family: see `config.LoadConfig.chat_family`.
    """

    def __init__(self, upstream: Upstream, folder: Folder, *, context: int, family: str | None) -> None:
        self._upstream = upstream
        self._folder = folder
        self._context = context
        self._family = family

    def check(self, request: GenerateRequest) -> None:
        """Refuse what vLLM would stumble over.

        :raises InvalidRequest: an id is outside the vocabulary, or the model cannot fill in.
        """
        biased = tuple(token for token, _bias in request.sampling.logit_bias)
        for name, tokens in (("prompt", request.prompt_tokens or ()), ("context", request.context), ("logit_bias", biased)):
            for token in tokens:
                if not 0 <= token < self._folder.vocabulary:
                    raise InvalidRequest(
                        f"{name}: token id {token} is outside the vocabulary (0 to {self._folder.vocabulary - 1})", field=name
                    )
        if request.suffix is not None and self._folder.fill_in_middle is None:
            raise InvalidRequest("the model does not support insert: its vocabulary has no fill-in-the-middle tokens", field="suffix")

    def markup(self, request: GenerateRequest) -> Markup:
        """How the answer to a chat is written."""
        if request.messages is None:
            return Markup(None, None)
        found = families.of(self._template(request), self._family)
        return found if request.tools else found.without_calls()

    async def make(self, request: GenerateRequest) -> Prompt:
        """The prompt, uncut.

        :raises InvalidRequest: the answer cannot be held to what it has to be.
        :raises Refused, EngineFailed: see `Upstream.post`.
        """
        return self._held(request, await self._whole(request))

    async def _whole(self, request: GenerateRequest) -> Prompt:
        if request.messages is None:
            return await self._plain(request)
        markup = self.markup(request)
        if self._template(request) is None:
            text = "\n".join(message.content for message in request.messages)
            return await self._plain(replace(request, messages=None, prompt=text))
        reads_itself = markup.family is not None and markup.family.calls is None
        if request.context or reads_itself or holding.is_chats(request, markup):
            return await self._ids([*request.context, *await self._chat_tokens(request)], markup, asked=0)
        return Prompt(path=body.CHAT, body=self._chat_body(request, markup))

    async def cut(self, request: GenerateRequest) -> Prompt:
        """The prompt without what makes it too long.

        :raises PromptTooLong: the request does not want it cut, or counts on a window that is not there.
        """
        room, wider = self._context - 1, wider_window(request, self._context)
        if request.messages is not None and self._template(request) is not None:
            _shorter, tokens, asked = await fitting.shortened(request, room - len(request.context), self._chat_tokens)
            tokens, asked = [*request.context, *tokens], asked + len(request.context)
        else:
            whole = await self._whole(request)
            tokens = list(whole.tokens or await self.tokenize(str(whole.body["prompt"]), add_special=whole.body["add_special_tokens"]))
            asked = len(tokens)
        if not request.truncate or (wider and asked < wider):
            raise PromptTooLong(prompt_tokens=asked, context=self._context, asked=wider)
        prompt = await self._ids(fitting.cut(tokens, room, request.num_keep), self.markup(request), asked=asked)
        return self._held(request, prompt)

    def reading(self, request: GenerateRequest, rendered: str | None) -> Reading | None:
        """How the answer to a chat is to be read.

        :param rendered: the end of what the template made.
        """
        markup = self.markup(request)
        if markup == Markup(None, None):
            return None
        family, thought = markup.family, markup.thought
        return Reading(
            family=family.name if family else None,
            thought=thought.name if thought else None,
            begun=_begun(request, rendered, markup),
            verbatim=request.constraint is not None,
        )

    async def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        """Ids of a text; special tokens in it are parsed."""
        reply = await self._upstream.post("/tokenize", {"model": arguments.NAME, "prompt": text, "add_special_tokens": add_special})
        return list(reply["tokens"])

    async def detokenize(self, tokens: Sequence[int], *, special: bool = True) -> str:
        """The text of ids.

        :param special: with that of control tokens.
        """
        wanted = [token for token in tokens if special or token not in self._folder.control.values()]
        reply = await self._upstream.post("/detokenize", {"model": arguments.NAME, "tokens": wanted})
        return str(reply["prompt"])

    async def render(self, request: GenerateRequest) -> str:
        """What the template makes of a chat."""
        return await self.detokenize(await self._chat_tokens(request))

    async def _plain(self, request: GenerateRequest) -> Prompt:
        if request.prompt_tokens is not None:
            return await self._ids([*request.context, *request.prompt_tokens], Markup(None, None), asked=0)
        text, bos = request.prompt or "", self._folder.bos
        if request.suffix is not None:
            text = (self._folder.fill_in_middle or "").format(prefix=text, suffix=request.suffix)
        # a prompt that writes BOS itself must not get a second one
        add_special = not request.context and not (bos and text.startswith(bos))
        if not request.context:
            return Prompt(path=body.COMPLETIONS, body=body.completion(text, add_special=add_special))
        tokens = [*request.context, *await self.tokenize(text, add_special=False)]
        return await self._ids(tokens, Markup(None, None), asked=0)

    async def _ids(self, tokens: Sequence[int], markup: Markup, *, asked: int) -> Prompt:
        if not tokens:
            raise InvalidRequest("the prompt has no tokens; give it some text", field="prompt")
        rendered = await self.detokenize(tokens[-_END_TOKENS:]) if markup.thought else None
        made = body.completion(tokens, markers=bool(markup.control()))
        return Prompt(path=body.COMPLETIONS, body=made, tokens=tuple(tokens), asked=asked, rendered=rendered)

    async def _chat_tokens(self, request: GenerateRequest) -> list[int]:
        made = self._chat_body(request, Markup(None, None))
        reply = await self._upstream.post("/tokenize", {name: value for name, value in made.items() if name != "tool_choice"})
        return list(reply["tokens"])

    def _chat_body(self, request: GenerateRequest, markup: Markup) -> dict[str, Any]:
        template = self._template(request)
        return body.chat(request, template=template, markers=bool(markup.control()), prompt_text=markup.thought is not None)

    def _held(self, request: GenerateRequest, prompt: Prompt) -> Prompt:
        """With what its answer has to be."""
        markup, template = self.markup(request), self._template(request) or ""
        if holding.is_chats(request, markup):
            begun = _begun(request, prompt.rendered, markup)
            held = holding.chat(request, markup, template=template, begun=begun, control=self._folder.control)
        elif request.constraint is not None:
            held = holding.alone(request.constraint)
        else:
            return prompt
        return replace(prompt, body={**prompt.body, "structured_outputs": held})

    def _template(self, request: GenerateRequest) -> str | None:
        """The request's; else the one that vLLM takes, which has the same rule: chats with tools may have another."""
        return request.template or (self._folder.tool_template if request.tools else None) or self._folder.template


def _begun(request: GenerateRequest, rendered: str | None, markup: Markup) -> Begun:
    messages = [openai_messages.plain(message) for message in request.messages or ()]
    return beginnings.begun(messages, rendered or "", markup)


_END_TOKENS = 16
"""Enough for the marker that opens a thought and what stands behind it."""
