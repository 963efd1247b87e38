"""How the families of models write thoughts and calls of tools, and how a template tells which of them a model belongs to.

Each row has the names of vLLM's parsers for the same markup (`--tool-call-parser`, `--reasoning-parser`).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

TOOLS = re.compile(r"\{[{%][^}]*\b(?:available_tools|functions|tools)\b")
"""A template that looks at `tools`, or at what older ones call them, shows them to the model."""
UNREADABLE = (("HYTK",), ("]<]minimax[>[",), ("atem:invoke",), (">>>", "<|start_header_id|>"))
"""Marks of templates whose calls nothing here reads (Hunyuan 3, MiniMax M3, Muse, Functionary 3.2): no tools, rather than lost ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Markers:
    """What stands around a thought.

    :ivar marks: texts that a template of this kind holds.
    :ivar anywhere: the opening marker counts in the middle of an answer too; else only before its first words.
    :ivar drops: further markers, which mean nothing to the reader.
    :ivar control: control tokens of which the markers are made, where they are not tokens themselves.
    """

    name: str
    open: str
    close: str
    marks: tuple[str, ...]
    vllm: str = ""
    anywhere: bool = False
    drops: tuple[str, ...] = ()
    control: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """How calls of tools are written.

    :ivar openers: each begins a call, or several.
    :ivar closers: the end that belongs to each opener; empty = the answer's end.
    :ivar decoder: what reads the text between them: a key of `bodies.DECODERS`.
    :ivar json: the text is JSON: a closer within a string of it is none.
    :ivar bare: a call may also stand without a marker at the start of an answer.
    :ivar control: control tokens inside.
    """

    openers: tuple[str, ...] = ()
    closers: tuple[str, ...] = ()
    decoder: str = "json"
    json: bool = True
    bare: bool = False
    control: tuple[str, ...] = ()

    def closer(self, opener: str) -> str:
        """What ends a call that began so."""
        return self.closers[self.openers.index(opener)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models that write calls alike.

    :ivar marks: texts of which a template of this family holds every one.
    :ivar calls: None: the family has a parser of its own.
    :ivar ids: how ids of calls look in a prompt; see `history.of`.
    """

    name: str
    marks: tuple[str, ...]
    calls: Calls | None
    vllm: str = ""
    ids: str = ""
    control: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Markup:
    """What is known of a template."""

    family: Family | None
    thought: Markers | None

    @property
    def capabilities(self) -> frozenset[str]:
        """`tools` and `thinking`, where the model was taught them."""
        thinks = self.thought is not None or (self.family is not None and self.family.calls is None)
        return frozenset({"tools"} if self.family else ()) | frozenset({"thinking"} if thinks else ())

    def without_calls(self) -> Markup:
        """For a chat that offers no tools: calls are not looked for. gpt-oss writes everything in the markup of its calls."""
        return Markup(self.family if self.family is not None and self.family.calls is None else None, self.thought)

    def control(self) -> tuple[str, ...]:
        """Every text that parsers of this markup need to see, also where it is a control token."""
        family, thought = self.family, self.thought
        found = (*family.control,) if family else ()
        if family and family.calls:
            found += (*family.calls.openers, *family.calls.closers, *family.calls.control)
        if thought:
            found += (thought.open, thought.close, *thought.drops, *thought.control)
        return tuple(dict.fromkeys(text for text in found if text))


def _tags(open_: str, close: str, decoder: str = "json", *, json: bool = True, control: tuple[str, ...] = ()) -> Calls:
    return Calls(openers=(open_,), closers=(close,), decoder=decoder, json=json, control=control)


TOOL_CALL = _tags("<tool_call>", "</tool_call>", "tool_call")
FUNCTIONS = Calls(openers=("<tool_call>", "<function="), closers=("</tool_call>", "</function>"), decoder="tool_call", json=False)
ARGUMENTS = _tags("<tool_call>", "</tool_call>", "tool_call", json=False)
DEEPSEEK = _tags(
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "deepseek",
    control=("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
)
KIMI = _tags(
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "kimi",
    control=("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
)
HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|call|>", "<|return|>")

# The first row whose marks a template holds is taken: what is peculiar stands above what others took over.
FAMILIES = (
    Family(name="harmony", marks=("<|channel|>", "<|message|>", "<|call|>"), calls=None, vllm="openai", control=HARMONY),
    Family(
        name="gemma4",
        marks=("<|tool_call>", "<tool_call|>"),
        calls=_tags("<|tool_call>", "<tool_call|>", "gemma", json=False, control=('<|"|>',)),
        vllm="gemma4",
    ),
    Family(
        name="functiongemma",
        marks=("<start_function_call>",),
        calls=_tags("<start_function_call>", "<end_function_call>", "gemma", json=False, control=("<escape>",)),
        vllm="functiongemma",
    ),
    Family(name="deepseek", marks=("<｜tool▁calls▁begin｜>",), calls=DEEPSEEK, vllm="deepseek_v3"),
    Family(
        name="deepseek-v4",
        marks=("｜DSML｜", "'tool_calls>"),
        calls=_tags("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", "invokes", json=False),
        vllm="deepseek_v4",
    ),
    Family(
        name="deepseek-v3.2",
        marks=("｜DSML｜",),
        calls=_tags("<｜DSML｜function_calls>", "</｜DSML｜function_calls>", "invokes", json=False),
        vllm="deepseek_v32",
    ),
    Family(name="kimi", marks=("<|tool_calls_section_begin|>",), calls=KIMI, vllm="kimi_k2", ids="kimi"),
    Family(
        name="minimax",
        marks=("<minimax:tool_call>", "<invoke"),
        calls=_tags("<minimax:tool_call>", "</minimax:tool_call>", "invokes", json=False),
        vllm="minimax_m2",
    ),
    Family(name="apriel", marks=("<tool_calls>[", "</tool_calls>"), calls=_tags("<tool_calls>", "</tool_calls>")),
    Family(name="minimax-m1", marks=("<tool_calls></tool_calls>",), calls=_tags("<tool_calls>", "</tool_calls>")),
    Family(
        name="seed",
        marks=("<seed:tool_call>", "<parameter="),
        calls=_tags("<seed:tool_call>", "</seed:tool_call>", "tool_call", json=False),
        vllm="seed_oss",
    ),
    Family(
        name="mistral",
        marks=("[TOOL_CALLS]",),
        calls=_tags("[TOOL_CALLS]", "", "mistral", control=("[ARGS]", "[CALL_ID]")),
        vllm="mistral",
        ids="mistral",
    ),
    Family(
        name="command",
        marks=("<|START_ACTION|>",),
        calls=_tags("<|START_ACTION|>", "<|END_ACTION|>"),
        vllm="cohere_command3",
    ),
    Family(
        name="command-r",
        marks=("Action:", "tool_name", "<|CHATBOT_TOKEN|>"),
        calls=Calls(openers=("Action:\n```json", "Action: ```json"), closers=("```", "```")),
    ),
    Family(
        name="solar",
        marks=("<|tool_call:begin|>", "<|tool_call:args|>"),
        calls=_tags(
            "<|tool_calls|>",
            "<|calls|>",
            "solar",
            control=("<|tool_call:begin|>", "<|tool_call:name|>", "<|tool_call:args|>", "<|tool_call:end|>"),
        ),
    ),
    Family(name="apertus", marks=("<|tools_prefix|>",), calls=_tags("<|tools_prefix|>", "<|tools_suffix|>", "by_name"), vllm="apertus"),
    Family(
        name="lfm2",
        marks=("<|tool_list_start|>",),
        calls=_tags("<|tool_call_start|>", "<|tool_call_end|>", "python"),
        vllm="lfm2",
    ),
    Family(
        name="lfm2.5",
        marks=("<|tool_call_start|>",),
        calls=_tags("<|tool_call_start|>", "<|tool_call_end|>", "python"),
        vllm="lfm2",
    ),
    Family(
        name="lfm2.5",
        marks=("List of tools: [", "<|im_start|>"),
        calls=_tags("<|tool_call_start|>", "<|tool_call_end|>", "python"),
        vllm="lfm2",
    ),
    Family(name="nemotron", marks=("<TOOLCALL>",), calls=_tags("<TOOLCALL>", "</TOOLCALL>")),
    Family(
        name="gigachat3.1",
        marks=("<|function_call|>",),
        calls=_tags("<|function_call|>", ""),
        vllm="gigachat3",
    ),
    Family(
        name="gigachat3",
        marks=("function call", "<|role_sep|>"),
        calls=_tags("function call<|role_sep|>\n", "", control=("<|role_sep|>",)),
        vllm="gigachat3",
    ),
    Family(
        name="functionary",
        marks=("<function=", "<|python_tag|>"),
        calls=Calls(openers=("<function=", "<|python_tag|>"), closers=("</function>", ""), decoder="functionary"),
    ),
    Family(name="firefunction", marks=("functools[",), calls=_tags("functools[", "", "functools")),
    Family(name="minicpm", marks=('<function name="', "<param name="), calls=_tags('<function name="', "</function>", "named", json=False)),
    Family(name="glm", marks=("<arg_key>", "<tool_call>"), calls=ARGUMENTS, vllm="glm45"),
    Family(name="qwen3-coder", marks=("<function=", "<parameter="), calls=FUNCTIONS, vllm="qwen3_coder"),
    Family(name="granite", marks=("<|tool_call|>", "<|start_of_role|>"), calls=_tags("<|tool_call|>", ""), vllm="granite"),
    Family(name="granite4", marks=("<tool_call>", "<|start_of_role|>"), calls=TOOL_CALL, vllm="granite4"),
    Family(name="phi", marks=("<|tool_call|>", "<|/tool_call|>"), calls=_tags("<|tool_call|>", "<|/tool_call|>"), vllm="phi4_mini_json"),
    Family(
        name="phi-4-mini",
        marks=("<|tool|>", "<|/tool|>"),
        calls=Calls(openers=("<|tool_call|>", "functools["), closers=("<|/tool_call|>", ""), decoder="functools"),
        vllm="phi4_mini_json",
    ),
    Family(name="qwen", marks=("<tool_call>",), calls=TOOL_CALL, vllm="hermes"),
    Family(
        name="llama4",
        marks=("<|header_start|>",),
        calls=Calls(openers=("<|python_start|>", "<|python_tag|>"), closers=("<|python_end|>", ""), decoder="llama", bare=True),
        vllm="llama4_pythonic",
    ),
    Family(
        name="llama3",
        marks=("<|start_header_id|>",),
        calls=Calls(openers=("<|python_tag|>",), closers=("",), decoder="llama", bare=True),
        vllm="llama3_json",
    ),
    Family(name="json", marks=('"name"', '"arguments"'), calls=Calls(decoder="llama", bare=True)),
    Family(name="json", marks=('"name"', '"parameters"'), calls=Calls(decoder="llama", bare=True)),
)

THOUGHTS = (
    Markers(
        name="command",
        open="<|START_THINKING|>",
        close="<|END_THINKING|>",
        marks=("<|START_THINKING|>",),
        anywhere=True,
        drops=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
        vllm="cohere_command3",
    ),
    Markers(
        name="gemma4",
        open="<|channel>thought",
        close="<channel|>",
        marks=("<|channel>thought",),
        anywhere=True,
        control=("<|channel>",),
        vllm="gemma4",
    ),
    Markers(name="mistral", open="[THINK]", close="[/THINK]", marks=("[THINK]",), anywhere=True, vllm="mistral"),
    Markers(
        name="apriel",
        open="Here are my reasoning steps:",
        close="[BEGIN FINAL RESPONSE]",
        marks=("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
        drops=("[END FINAL RESPONSE]",),
    ),
    Markers(name="seed", open="<seed:think>", close="</seed:think>", marks=("<seed:think>",), vllm="seed_oss"),
    Markers(name="minimax-m3", open="<mm:think>", close="</mm:think>", marks=("<mm:think>",), vllm="minimax_m3"),
    Markers(name="apertus", open="<|inner_prefix|>", close="<|inner_suffix|>", marks=("<|inner_prefix|>",), anywhere=True),
    Markers(
        name="solar",
        open="<|think|>",
        close="<|end|>",
        marks=("<|think|>", "<|begin|>assistant"),
        anywhere=True,
        drops=("<|begin|>assistant", "<|content|>"),
        control=("<|begin|>",),
    ),
    Markers(
        name="granite",
        open="<think>",
        close="</think>",
        marks=("<think>", "<response>", "<|start_of_role|>"),
        anywhere=True,
        drops=("<response>", "</response>"),
        vllm="granite",
    ),
    Markers(name="think", open="<think>", close="</think>", marks=("</think>",), vllm="qwen3"),
)


@functools.lru_cache(maxsize=256)
def of(template: str | None, chosen: str | None = None) -> Markup:
    """What is known of a template.

    :param chosen: the name of a family that goes before what the template looks like.
    """
    if template is None:
        return Markup(None, None)
    thought = next((markers for markers in THOUGHTS if _holds(template, markers.marks)), None)
    if chosen is not None:
        family = next((family for family in FAMILIES if family.name == chosen), None)
    else:
        shown = TOOLS.search(template) and not any(_holds(template, marks) for marks in UNREADABLE)
        family = next((family for family in FAMILIES if shown and _holds(template, family.marks)), None)
    return Markup(family, None if family and family.calls is None else thought)


def named(family: str | None, thought: str | None) -> Markup:
    """What `of` found, from the names of its parts."""
    return Markup(
        next((known for known in FAMILIES if known.name == family), None),
        next((known for known in THOUGHTS if known.name == thought), None),
    )


def _holds(template: str, marks: tuple[str, ...]) -> bool:
    plain = template.replace('\\"', '"')
    return all(mark in plain for mark in marks)
