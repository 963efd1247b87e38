"""Go templates in Jinja. The expected prompts in go_templates.json were made by Ollama's own code (0.17.4) from the same chats."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllama_agent.chat import go_families, go_templates, templates

FIXTURES = json.loads(Path(__file__).with_name("go_templates.json").read_text())
CHATS: list[list[dict[str, Any]]] = FIXTURES["chats"]


def rendered(jinja: str, chat: list[dict[str, Any]]) -> str:
    return templates.render(jinja, templates.Chat(messages=chat), bos="", eos="")


@pytest.mark.parametrize("turn", FIXTURES["turns"], ids=lambda turn: turn["go"][:20])
def test_a_turn_template_makes_ollamas_prompts(turn: dict[str, Any]) -> None:
    jinja = go_templates.to_jinja(turn["go"])
    for chat, prompt in zip(CHATS, turn["prompts"], strict=True):
        continued = chat[-1]["role"] == "assistant"
        assert rendered(jinja, chat) == (prompt[: prompt.rindex(chat[-1]["content"]) + len(chat[-1]["content"])] if continued else prompt)


@pytest.mark.parametrize("family", sorted(go_families.FAMILIES))
def test_a_family_makes_ollamas_prompts(family: str) -> None:
    prompts = FIXTURES["families"][family]
    assert [rendered(go_families.FAMILIES[family], chat) for chat in CHATS[: len(prompts)]] == prompts


def test_every_family_is_known_by_a_digest() -> None:
    assert sorted(go_families.DIGESTS.values()) == sorted(go_families.FAMILIES)


def test_a_family_is_known_by_its_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}<assistant>"
    monkeypatch.setitem(go_families.DIGESTS, go_families.digest(text), "chatml")
    assert go_templates.to_jinja(text) == go_families.FAMILIES["chatml"]
    assert go_templates.to_jinja(text.replace("{{ ", "{{").replace(" }}", "  }}")) == go_families.FAMILIES["chatml"]
    for changed in (text + "\n", text.replace("<assistant>", "<model>"), text.replace("{{ range", "{{- range")):
        with pytest.raises(go_templates.UnknownTemplate):
            go_templates.to_jinja(changed)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ range .Messages }}{{ .Content }}{{ end }}", "range .Messages"),
        ("{{ if .Tools }}x{{ end }}{{ .Prompt }}", "if .Tools"),
        ("{{ .Prompt }}{{ if .Response }}x{{ end }}", "if .Response"),
        ("{{ if .First }}x{{ end }}{{ .Prompt }}", "if .First"),
        ("{{ if .System }}{{ .Prompt }}", "never ends"),
        ("{{ .Prompt }}{{ end }}", "too many"),
        ("{{ if .System }}a{{ else }}b{{ else }}c{{ end }}", "never ends"),
        ("{{ .Prompt }}{{ .Suffix", "never closed"),
        ("{{ $x := .Prompt }}{{ $x }}", "uses"),
        ("{{ printf .Prompt }}{{ .Prompt }}", "printf"),
    ],
)
def test_what_is_not_certain_is_refused_with_the_way_out(text: str, words: str) -> None:
    assert go_templates.is_go(text)
    with pytest.raises(go_templates.UnknownTemplate, match="Jinja") as caught:
        go_templates.to_jinja(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}",
        "{{- (messages[0]['content'] if x else y) -}}",
        "{%- if messages[0].role == 'system' %}{{ 0.5 }}{% endif %}",
        "{# such as {{ .Prompt }} or {{/* a note */}} in Go #}{% for m in messages %}{{ m.content }}{% endfor %}",
        "plain text",
        "",
    ],
)
def test_jinja_is_not_taken_for_go(text: str) -> None:
    assert not go_templates.is_go(text)
