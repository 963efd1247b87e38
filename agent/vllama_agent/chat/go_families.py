"""Ollama's own templates over `.Messages`, as Jinja. Each was held to the output of Ollama's code (tests/agent/test_go_templates.py).

A template is known by the sha256 of its text with blanks inside actions evened out, so that a changed one is never taken for another.
"""

from __future__ import annotations

import hashlib
import re


def jinja_of(text: str) -> str | None:
    """The equal of a known template; None: it is not known."""
    family = DIGESTS.get(digest(text))
    return FAMILIES[family] if family is not None else None


def digest(text: str) -> str:
    """What a template is known by."""
    even = re.sub(r"(?<=\{\{)[^{}]*(?=\}\})", lambda action: " ".join(action[0].split()), text.replace("\r\n", "\n"))
    return hashlib.sha256(even.encode()).hexdigest()


def _each(before: str, after: str, end: str) -> str:
    """The same around every turn; all three are Jinja expressions."""
    return f"{{% for m in messages %}}{{{{ {before} + m.content + {after} }}}}{{% endfor %}}{{{{ {end} }}}}"


def _by_role(*, system: str, user: str, assistant: str, end: str, start: str = "''") -> str:
    """Something else for each role; all are Jinja expressions."""
    return (
        f"{{{{ {start} }}}}{{% for m in messages %}}"
        f"{{% if m.role == 'system' %}}{{{{ {system} }}}}"
        f"{{% elif m.role == 'user' %}}{{{{ {user} }}}}"
        f"{{% elif m.role == 'assistant' %}}{{{{ {assistant} }}}}{{% endif %}}"
        f"{{% endfor %}}{{{{ {end} }}}}"
    )


def _system_in_user(*, before: str, user: str, assistant: str, end: str) -> str:
    """System prompts wait for the next turn of the user; `before` is what stands there when one waits, over `s.system`."""
    return (
        "{% set s = namespace(system='') %}{% for m in messages %}"
        "{% if m.role == 'system' %}{% set s.system = s.system + '\\n\\n' + m.content if s.system else m.content %}"
        f"{{% elif m.role == 'user' %}}{{% set waiting = {before} if s.system else '' %}}{{% set s.system = '' %}}{{{{ {user} }}}}"
        f"{{% elif m.role == 'assistant' %}}{{{{ {assistant} }}}}{{% endif %}}"
        f"{{% endfor %}}{{{{ {end} }}}}"
    )


FAMILIES = {
    "chatml": _each(r"'<|im_start|>' + m.role + '\n'", r"'<|im_end|>\n'", r"'<|im_start|>assistant\n'"),
    "llama3-instruct": _each(
        r"'<|start_header_id|>' + m.role + '<|end_header_id|>\n\n'", "'<|eot_id|>'", r"'<|start_header_id|>assistant<|end_header_id|>\n\n'"
    ),
    "phi-3": _each(r"'<|' + m.role + '|>\n'", r"'<|end|>\n'", r"'<|assistant|>\n'"),
    "zephyr": _each(r"'<|' + m.role + '|>\n'", r"'</s>\n'", r"'<|assistant|>\n'"),
    "granite-instruct": _by_role(
        system=r"'System:\n' + m.content + '\n\n'",
        user=r"'Question:\n' + m.content + '\n\n'",
        assistant=r"'Answer:\n' + m.content + '\n\n'",
        end=r"'Answer:\n'",
    ),
    "solar-instruct": _by_role(
        system=r"'### System:\n' + m.content + '\n\n'",
        user=r"'### User:\n' + m.content + '\n\n'",
        assistant=r"'### Assistant:\n' + m.content + '</s>\n\n'",
        end=r"'### Assistant:\n'",
    ),
    "openchat": _by_role(
        system="'GPT4 Correct System: ' + m.content + '<|end_of_turn|>'",
        user="'GPT4 Correct User: ' + m.content + '<|end_of_turn|>'",
        assistant="'GPT4 Correct Assistant: ' + m.content + '<|end_of_turn|>'",
        end="'GPT4 Correct Assistant:'",
    ),
    "mistral-instruct": _by_role(
        start="'[INST] '",
        system=r"m.content + '\n\n'",
        user="m.content + '[/INST]'",
        assistant="' ' + m.content + '</s>[INST] '",
        end="''",
    ),
    "gemma-instruct": _system_in_user(
        before=r"'\n' + s.system",
        user=r"'<start_of_turn>user' + waiting + '\n' + m.content + '<end_of_turn>\n'",
        assistant=r"'<start_of_turn>model\n' + m.content + '<end_of_turn>\n'",
        end=r"'<start_of_turn>model\n'",
    ),
    "vicuna": _system_in_user(
        before=r"s.system + '\n\n'",
        user=r"waiting + 'USER: ' + m.content + '\n'",
        assistant=r"'ASSISTANT: ' + m.content + '</s>\n'",
        end="'ASSISTANT:'",
    ),
    "alpaca": _system_in_user(
        before=r"s.system + '\n\n'",
        user=r"waiting + '### Instruction:\n' + m.content + '\n\n'",
        assistant=r"'### Response:\n' + m.content + '\n\n'",
        end=r"'### Response:\n'",
    ),
}
DIGESTS = {
    "208dc52f9c795704a8c30e18a8781cfd3f5dd3bf7de57ae97c20e22f564022e7": "chatml",
    "1053184e3ca5c5e93b45e89257ecd91a1e79c316709d25733510a9fa6e14e24b": "llama3-instruct",
    "ee2d8f7030f9d87aa9ca8b9dc5cfe9cc1a5c22acefd9f8a70cc4ea5287fd1103": "phi-3",
    "4f8f44aa350daf0fdcc5feb88e2a5f47bd4718203b2a848a8548cebbb16076d4": "zephyr",
    "adf5f6d8dd1ec314b8eaab3bc51393ffbeb345c96751a7eeda23863e328a1717": "granite-instruct",
    "a7c7df0fa6689aa4831a1cac9ceadfb7d2e3877a2b091a000224953b29b6ff79": "solar-instruct",
    "603ba027b55b54e40eb54f4767817ca407b0b8386d3ea8002e3cca03faf11d83": "openchat",
    "f9ff8659ceb21f97d241dc5949115c13041db5ebf6d154ecea659c02ff8eced1": "mistral-instruct",
    "cd0d0ade93d2837bea843e734affb4b822393e2f3d46495748e4338a4c15e62a": "gemma-instruct",
    "609895030f7ca9aa78d7deb85ce804aebec99404f7d22a11c8b177ab16b291be": "vicuna",
    "d06ef5061ae0d9ff8c255b4acd4dae50a3e1547eb22daa7a2c05f63c8fa77aae": "alpaca",
}
