"""Modelfiles, by Ollama's grammar."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_core import modelfile
from vllama_core.errors import ConfigError
from vllama_core.modelfile import Modelfile

WHOLE = '''# a comment
from ./x.gguf
FROM  ./mmproj.gguf
ADAPTER ./lora.gguf
TEMPLATE """{{ bos_token }}
{% for m in messages %}"{{ m.content }}"{% endfor %}
"""
SYSTEM You are "short".

PARAMETER temperature 0.7
parameter stop "<|im_end|>"
PARAMETER\tstop " User: "
LICENSE """
MIT
"""
LICENSE Other
MESSAGE user Hi there
MESSAGE assistant """Ho,
"there"."""
'''


def test_a_whole_file() -> None:
    assert modelfile.parse(WHOLE) == Modelfile(
        base=("./x.gguf", "./mmproj.gguf"),
        adapters=("./lora.gguf",),
        template='{{ bos_token }}\n{% for m in messages %}"{{ m.content }}"{% endfor %}\n',
        system='You are "short".',
        license=("\nMIT\n", "Other"),
        parameters={"temperature": ("0.7",), "stop": ("<|im_end|>", " User: ")},
        messages=(("user", "Hi there"), ("assistant", 'Ho,\n"there".')),
    )


@pytest.mark.parametrize("text", [WHOLE.replace("\n", "\r\n"), "\ufeff" + WHOLE, WHOLE.rstrip("\n"), WHOLE + "\n\n  \n"])
def test_line_ends_and_marks_do_not_count(text: str) -> None:
    assert modelfile.parse(text) == modelfile.parse(WHOLE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no FROM"),
        ("SYSTEM x", "no FROM"),
        ("FROM", "line 1 .* FROM needs"),
        ("FROM x\nFORM y", "line 2 .* FORM is no instruction; it must be one of FROM"),
        ("FROM x\n\nMESSAGE nobody hi", "line 3 .* system, user, assistant"),
        ("FROM x\nPARAMETER top_k", "line 2 .* PARAMETER needs"),
        ('FROM x\nSYSTEM """never\nclosed', "line 2 .* never closed"),
        ("FROM x\nRENDERER qwen3", "line 2 .* not supported .* TEMPLATE"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        modelfile.parse(text)


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"), min_size=1).filter(lambda text: '"' not in text)


@given(template=TEXT, system=TEXT, stops=st.lists(TEXT, max_size=3), messages=st.lists(st.tuples(st.sampled_from(modelfile.ROLES), TEXT)))
def test_what_is_written_is_read_back(template: str, system: str, stops: list[str], messages: list[tuple[str, str]]) -> None:
    made = Modelfile(
        base=("m:latest",),
        template=template,
        system=system,
        license=(system,),
        parameters={"stop": tuple(stops)} if stops else {},
        messages=tuple(messages),
    )
    assert modelfile.parse(modelfile.write(made)) == made


@pytest.mark.parametrize("value", ['say "hi"', '"quoted"', 'ends "', '{{ "a" }}\n', ' "', ""])
def test_quotation_marks_survive(value: str) -> None:
    made = Modelfile(base=("m",), system=value)
    assert modelfile.parse(modelfile.write(made)) == made


@given(st.text())
def test_whatever_the_text_is_it_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert modelfile.parse(text).base
