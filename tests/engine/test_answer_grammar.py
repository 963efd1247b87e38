"""What the grammar of a whole answer lets through: byte by byte, for the real templates that llama.cpp's source holds."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import chats
import jsonschema
import llguidance
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llama_sdist  # it lies in tools/
from vllama_agent.chat import call_forms, families, parsers, templates
from vllama_agent.chat.answer_grammar import Wanted
from vllama_agent.chat.events import Begun, Call, Text, Thought
from vllama_agent.chat.families import Markup
from vllama_agent.engines.base import Constraint, ConstraintKind
from vllama_agent.engines.llama_cpp import grammar
from vllama_core.config import CHAT_FAMILIES

FILES = sorted((llama_sdist.llama_cpp() / "models" / "templates").glob("*.jinja"))
BYTES = llguidance.LLTokenizer("byte")
LIGHT = {
    "type": "function",
    "function": {
        "name": "set_light",
        "parameters": {
            "type": "object",
            "properties": {
                "room": {"type": "string"},
                "mode": {"enum": ["on", "off"]},
                "level": {"type": "integer", "minimum": 0, "maximum": 9},
                "colours": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 2},
                "dim": {"type": "boolean"},
            },
            "required": ["room", "mode"],
        },
    },
}
STOP = {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}}}}
TOOLS = (LIGHT, STOP)
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
FORMAT = Constraint(kind=ConstraintKind.JSON_SCHEMA, text=json.dumps(SCHEMA), field="format")


def known(file: Path) -> Markup:
    return families.of(file.read_text())


CALLING = [file for file in FILES if (family := known(file).family) and call_forms.of(family.name, file.read_text())]


def made(file: Path, constraint: Constraint | None = None, **wanted: Any) -> llguidance.LLMatcher:
    chosen = {"markup": known(file), "template": file.read_text(), "begun": Begun.NOT, "may_think": True, "tools": TOOLS, **wanted}
    return matcher(grammar.prepare_chat(Wanted(**chosen), constraint, {}))


def matcher(text: str) -> llguidance.LLMatcher:
    return llguidance.LLMatcher(BYTES, text, log_level=0, limits=grammar.LIMITS)


def takes(found: llguidance.LLMatcher, text: str) -> bool:
    tokens = BYTES.tokenize_str(text)
    return bool(found.try_consume_tokens(tokens) == len(tokens) and found.is_accepting())


def test_every_family_has_a_form() -> None:
    formed = {family for form in call_forms.FORMS for family in form.families}
    assert set(CHAT_FAMILIES) == formed


UNSEEN = {"LFM2-8B-A1B", "LFM2.5-Instruct", "ibm-granite-granite-3.3-2B-Instruct"}
"""They leave calls of earlier turns out of the prompt."""
OTHERWISE = {
    "Apriel-1.6-15b-Thinker-fixed": "gives each call an id",
    "unsloth-Apriel-1.5": "gives each call an id",
    "openai-gpt-oss-120b": "names the tool before the channel",
    "CohereForAI-c4ai-command-r-plus-tool_use": "writes arguments on several lines",
    "openbmb-MiniCPM5-1B": "writes a list as Python does",
    "ByteDance-Seed-OSS": "writes a list as Python does",
    "LFM2.5-8B-A1B": "writes texts as Python does",
    "Reka-Edge": "writes letters as their numbers",
}
"""Templates whose earlier turns look otherwise than what is demanded, though the parsers read both."""


@pytest.mark.parametrize("file", [file for file in CALLING if file.stem not in {*UNSEEN, *OTHERWISE}], ids=lambda file: file.stem)
def test_the_calls_of_earlier_turns_are_what_is_demanded(file: Path) -> None:
    family = known(file).family
    assert family is not None
    form = call_forms.of(family.name, file.read_text())
    assert form is not None
    turn = chats.ONE_CALL if form.single else chats.TWO_CALLS
    chat = templates.Chat(messages=[chats.USER, turn, *chats.RESULTS[: 1 if form.single else 2]], tools=chats.TOOLS, ids=family.ids)
    text = templates.render(file.read_text(), chat, bos="<BOS>", eos="<EOS>")
    start = form.opening or form.call.partition("$")[0]
    calls = text[text.rindex(start, 0, text.rindex("sunny")) if form.opening else text.index(start, text.index("Zürich?")) :]
    found = made(file, tools=tuple(chats.TOOLS), may_think=False)
    assert parsed(file, longest(found, calls)) == [
        Call(call["function"]["name"], call["function"]["arguments"]) for call in turn["tool_calls"]
    ]


def longest(found: llguidance.LLMatcher, text: str) -> str:
    """The longest beginning of a text that is a whole answer."""
    end = 0
    for at, token in enumerate(BYTES.tokenize_str(text), 1):
        if found.is_stopped() or not found.try_consume_tokens([token]):
            break
        end = at if found.is_accepting() else end
    return text.encode()[:end].decode()


def parsed(file: Path, text: str, *, tools: Any = chats.TOOLS, begun: Begun = Begun.NOT, verbatim: bool = False) -> list[Any]:
    parser = parsers.make(known(file), tools, begun, verbatim=verbatim)
    assert parser is not None
    return parsers.read(parser, text)


def ends(file: Path) -> list[str]:
    """Texts that end a free one."""
    markup = known(file)
    thought = [markup.thought.close] if markup.thought else []
    family = markup.family
    form = call_forms.of(family.name, file.read_text()) if family else None
    quote = [form.quote] if form and form.quote else []
    return [*thought, '"', *quote, *([form.text.partition("$value")[2].split("$")[0]] if form and form.text else [])]


def walk(found: llguidance.LLMatcher, closers: list[str], rng: random.Random) -> str:
    """A text that the grammar allows, at random; free ones are ended soon."""
    written = bytearray()
    while not found.is_stopped() and len(written) < 3000:
        if found.is_accepting() and rng.random() < 0.3:
            break
        closer = list(rng.choice(closers).encode())
        taken = found.try_consume_tokens(closer) if rng.random() < 0.3 else 0
        if taken == len(closer):
            written += bytes(closer)
            continue
        found.rollback(taken)
        bits = np.unpackbits(np.frombuffer(found.compute_bitmask(), np.uint8), bitorder="little")
        allowed = [byte for byte in np.flatnonzero(bits).tolist() if byte < 256]
        letters = [byte for byte in allowed if 32 < byte < 128]
        token = rng.choice(letters if len(letters) > 60 else allowed)
        assert found.consume_token(token)
        written.append(token)
    assert found.is_accepting()
    return written.decode()


@pytest.mark.parametrize("file", CALLING, ids=lambda file: file.stem)
@settings(max_examples=12)
@given(seed=st.integers(0, 2**32), parallel=st.booleans())
def test_whatever_is_let_through_reads_back_as_calls_of_the_tools(file: Path, seed: int, parallel: bool) -> None:
    # gpt-oss ends its thoughts by control tokens, which are texts here, and as such may stand in an argument too
    text = walk(made(file, parallel=parallel, may_think=file.stem != GPT_OSS.stem), ends(file), random.Random(seed))
    events = parsed(file, text, tools=TOOLS)
    calls = [event for event in events if isinstance(event, Call)]
    assert calls, text
    assert parallel or len(calls) == 1
    assert not [event for event in events if isinstance(event, Text)], text
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
    for call in calls:
        jsonschema.validate(call.arguments, schemas[call.name])


QWEN = next(file for file in FILES if file.stem == "Qwen-Qwen3-0.6B")
LLAMA = next(file for file in FILES if file.stem == "meta-llama-Llama-3.1-8B-Instruct")
GPT_OSS = next(file for file in FILES if file.stem == "openai-gpt-oss-120b")
CALL = '<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{"ok": true}', True),
        ('<think>\nWell, {"no": 1} <tool_call> </thin\n</think>\n\n{"ok": true}', True),
        (CALL, True),
        (f"<think>so</think>\n{CALL}\n{CALL}", True),
        ("<think>so</think> words", False),
        ("words", False),
        (CALL.replace("stop", "start"), False),
        (f"{CALL}{{}}", False),
    ],
)
def test_beside_tools_and_a_thought_a_format_holds_for_the_words(text: str, right: bool) -> None:
    assert takes(made(QWEN, FORMAT), text) is right


def test_a_demanded_tool_is_the_only_one_that_can_be_called() -> None:
    assert takes(made(QWEN, tools=(STOP,)), CALL)
    assert not takes(made(QWEN, tools=(LIGHT,)), CALL)


def test_a_single_call_is_one() -> None:
    assert takes(made(QWEN, parallel=False), CALL)
    assert not takes(made(QWEN, parallel=False), f"{CALL}\n{CALL}")


def test_a_thought_that_the_prompt_opened_comes_to_an_end_first() -> None:
    assert takes(made(QWEN, FORMAT, tools=(), begun=Begun.THOUGHT, may_think=False), 'so</think>{"ok": true}')
    assert not takes(made(QWEN, FORMAT, tools=(), begun=Begun.THOUGHT), '{"ok": true}')


def test_nobody_thinks_who_is_not_to() -> None:
    assert not takes(made(QWEN, FORMAT, tools=(), may_think=False), '<think>so</think>{"ok": true}')
    assert takes(made(QWEN, FORMAT, tools=(), may_think=False), '{"ok": true}')


def test_gpt_oss_answers_on_its_channels() -> None:
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    final = '<|channel|>final<|message|>{"ok": true}'
    call = '<|channel|>commentary to=functions.set_light <|constrain|>json<|message|>{"room": "a<|end|>b", "mode": "on"}'
    for text in (final, thought + final, call, thought + call):
        assert takes(made(GPT_OSS, FORMAT), text)
    assert parsed(GPT_OSS, thought + final, tools=TOOLS, verbatim=True) == [Thought("Hm."), Text('{"ok": true}')]
    assert not takes(made(GPT_OSS, FORMAT), '{"ok": true}')


def test_control_tokens_are_named_by_their_ids() -> None:
    wanted = Wanted(markup=known(QWEN), template=QWEN.read_text(), begun=Begun.NOT, may_think=True, tools=(STOP,))
    text = grammar.prepare_chat(wanted, None, {"<think>": 300, "</think>": 301, "<tool_call>": 302, "</tool_call>": 303})
    lark = json.loads(text)["grammars"][0]["lark_grammar"]
    assert all(f"<[{token}]>" in lark for token in range(300, 304))
    assert "suffix" not in lark


def test_parameters_that_cannot_be_kept_to_are_named() -> None:
    odd = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "array", "uniqueItems": True}}}}}
    with pytest.raises(grammar.GrammarRefused, match="uniqueItems"):
        made(LLAMA, tools=(odd,))
