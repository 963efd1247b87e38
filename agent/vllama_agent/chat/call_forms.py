"""How each family of models writes calls, as forms to be filled in: what `chat.parsers` reads, for whoever has to hold a model to it. Pure.

A form is text with places in it: `$name` of the tool, `$args`, `$id` and `$number` of the call, `$nl` for a line feed that may be left out.
Forms are what the templates write of earlier turns, since that is what the models were shown.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way of writing calls.

    :ivar families: of `families.FAMILIES` that write so.
    :ivar marks: texts that the template holds, where a family has several ways; the first row that fits is taken.
    :ivar opening: before the first call; `between` two of them; `closing` after the last one.
    :ivar call: with `$name` and `$args`.
    :ivar single: only one call can be made at a time.
    :ivar text: one argument that is a text, with `$key` and `$value`; empty = `$args` is a JSON object.
    :ivar value: one argument of another kind, whose `$value` is JSON; empty = as `text`.
    :ivar comma: between two arguments.
    :ivar quoted: a text is a JSON string too.
    :ivar quote: what stands before and behind a text where `$args` is an object as Gemma writes it; see `gemma_objects`.
    """

    families: tuple[str, ...]
    call: str
    marks: tuple[str, ...] = ()
    opening: str = ""
    between: str = ""
    closing: str = ""
    single: bool = False
    text: str = ""
    value: str = ""
    comma: str = ""
    quoted: bool = False
    quote: str = ""

    @property
    def is_json(self) -> bool:
        """Whether the arguments of a call are one JSON object."""
        return not (self.text or self.quote)


OBJECT = '{"name": "$name", "arguments": $args}'
DSML_TEXT = '<｜DSML｜parameter name="$key" string="true">$value</｜DSML｜parameter>\n'
DSML_VALUE = '<｜DSML｜parameter name="$key" string="false">$value</｜DSML｜parameter>\n'
DSML_CALL = '<｜DSML｜invoke name="$name">\n$args</｜DSML｜invoke>\n'

FORMS = (
    Form(families=("qwen", "granite4"), call=f"<tool_call>\n{OBJECT}\n</tool_call>", between="$nl"),
    Form(families=("llama3", "llama4"), call='{"name": "$name", "parameters": $args}', single=True),
    Form(families=("json",), marks=('"arguments"',), call=OBJECT, single=True),
    Form(families=("json",), call='{"name": "$name", "parameters": $args}', single=True),
    Form(families=("mistral",), marks=("[CALL_ID]",), call="[TOOL_CALLS]$name[CALL_ID]$id[ARGS]$args"),
    Form(families=("mistral",), marks=("[ARGS]",), call="[TOOL_CALLS]$name[ARGS]$args"),
    Form(
        families=("mistral",),
        opening="[TOOL_CALLS][",
        call='{"name": "$name", "arguments": $args, "id": "$id"}',
        between=", ",
        closing="]",
    ),
    Form(
        families=("deepseek",),
        marks=("```json",),
        opening="<｜tool▁calls▁begin｜>",
        call="<｜tool▁call▁begin｜>function<｜tool▁sep｜>$name\n```json\n$args\n```<｜tool▁call▁end｜>",
        between="\n",
        closing="<｜tool▁calls▁end｜>",
    ),
    Form(
        families=("deepseek",),
        opening="<｜tool▁calls▁begin｜>",
        call="<｜tool▁call▁begin｜>$name<｜tool▁sep｜>$args<｜tool▁call▁end｜>",
        closing="<｜tool▁calls▁end｜>",
    ),
    Form(
        families=("deepseek-v4",),
        opening="<｜DSML｜tool_calls>\n",
        call=DSML_CALL,
        closing="</｜DSML｜tool_calls>",
        text=DSML_TEXT,
        value=DSML_VALUE,
    ),
    Form(
        families=("deepseek-v3.2",),
        opening="<｜DSML｜function_calls>\n",
        call=DSML_CALL,
        closing="</｜DSML｜function_calls>",
        text=DSML_TEXT,
        value=DSML_VALUE,
    ),
    Form(
        families=("kimi",),
        opening="<|tool_calls_section_begin|>",
        call="<|tool_call_begin|>functions.$name:$number<|tool_call_argument_begin|>$args<|tool_call_end|>",
        closing="<|tool_calls_section_end|>",
    ),
    Form(
        families=("minimax",),
        opening="<minimax:tool_call>\n",
        call='<invoke name="$name">\n$args</invoke>\n',
        closing="</minimax:tool_call>",
        text='<parameter name="$key">$value</parameter>\n',
    ),
    Form(families=("apriel",), opening="<tool_calls>[", call=OBJECT, between=", ", closing="]</tool_calls>"),
    Form(families=("minimax-m1",), opening="<tool_calls>\n", call=f"{OBJECT}\n", closing="</tool_calls>"),
    Form(
        families=("seed",),
        call="<seed:tool_call>\n<function=$name>\n$args</function>\n</seed:tool_call>",
        between="\n",
        text="<parameter=$key>$value</parameter>\n",
    ),
    Form(
        families=("command",),
        opening="<|START_ACTION|>[\n    ",
        call='{"tool_call_id": "$number", "tool_name": "$name", "parameters": $args}',
        between=",\n    ",
        closing="\n]<|END_ACTION|>",
    ),
    Form(
        families=("command-r",),
        opening="Action:\n```json\n[\n    ",
        call='{\n        "tool_name": "$name",\n        "parameters": $args\n    }',
        between=",\n    ",
        closing="\n]```",
    ),
    Form(
        families=("solar",),
        opening="<|tool_calls|>",
        call="<|tool_call:begin|>call_$number<|tool_call:name|>$name<|tool_call:args|>$args<|tool_call:end|>",
        closing="<|calls|>",
    ),
    Form(families=("apertus",), opening="<|tools_prefix|>[", call='{"$name": $args}', between=", ", closing="]<|tools_suffix|>"),
    Form(
        families=("lfm2", "lfm2.5"),
        opening="<|tool_call_start|>[",
        call="$name($args)",
        between=", ",
        closing="]<|tool_call_end|>",
        text="$key=$value",
        comma=", ",
        quoted=True,
    ),
    Form(families=("nemotron",), opening="<TOOLCALL>[", call=OBJECT, between=", ", closing="]</TOOLCALL>"),
    Form(families=("gigachat3.1",), call=f"<|function_call|>{OBJECT}", single=True),
    Form(families=("gigachat3",), call=f"function call<|role_sep|>\n{OBJECT}", single=True),
    Form(families=("functionary",), call="<function=$name>$args</function>"),
    Form(families=("firefunction",), opening="functools[", call=OBJECT, between=", ", closing="]"),
    Form(
        families=("minicpm",),
        call='<function name="$name">$args</function>',
        between="\n",
        text='<param name="$key">$value</param>',
    ),
    Form(
        families=("glm",),
        call="<tool_call>$name$nl$args</tool_call>",
        between="$nl",
        text="<arg_key>$key</arg_key>$nl<arg_value>$value</arg_value>$nl",
    ),
    Form(
        families=("qwen3-coder",),
        call="<tool_call>\n<function=$name>\n$args</function>\n</tool_call>",
        between="$nl",
        text="<parameter=$key>\n$value\n</parameter>\n",
    ),
    Form(families=("granite",), opening="<|tool_call|>[", call=OBJECT, between=", ", closing="]"),
    Form(families=("phi", "phi-4-mini"), opening="<|tool_call|>[", call=OBJECT, between=", ", closing="]<|/tool_call|>"),
    Form(
        families=("harmony",),
        call="<|channel|>commentary to=functions.$name <|constrain|>json<|message|>$args",
        single=True,
    ),
    Form(families=("gemma4",), call="<|tool_call>call:$name$args<tool_call|>", quote='<|"|>'),
    Form(families=("functiongemma",), call="<start_function_call>call:$name$args<end_function_call>", quote="<escape>"),
)


def of(family: str, template: str) -> Form | None:
    """The form of a family's calls; None: there is no row."""
    rows = (form for form in FORMS if family in form.families)
    return next((form for form in rows if all(mark in template for mark in form.marks)), None)
