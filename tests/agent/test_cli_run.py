"""`vllama run` against the real server over an engine that computes nothing."""

import asyncio
import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vllama_agent import cli, testing
from vllama_agent.commands import answer
from vllama_agent.commands.chat import Chat
from vllama_agent.commands.client import Client, from_environment
from vllama_agent.engines.base import Reading
from vllama_core.errors import VllamaError

SAID = "".join(testing.WORDS)


class Stdin(io.TextIOWrapper):
    """Standard input that is a terminal, or is not."""

    def __init__(self, data: bytes, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(data))
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def give(data: bytes = b"", *, terminal: bool = False) -> None:
        monkeypatch.setattr(sys, "stdin", Stdin(data, terminal=terminal))

    return give


async def vllama(monkeypatch: pytest.MonkeyPatch, url: str, *words: str) -> int:
    """Run the command beside the server."""
    monkeypatch.setenv("VLLAMA_HOST", url)
    return await asyncio.to_thread(cli.main, words)


async def test_one_prompt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stdin: Callable[..., None]) -> None:
    stdin(terminal=True)
    async with testing.serving() as served:
        assert await vllama(monkeypatch, served.url, "run", "m", "say", "it") == 0
        assert served.engine.requests[-1].messages is not None
        assert served.engine.requests[-1].messages[-1].content == "say it"
    assert capsys.readouterr().out == SAID + "\n"


@pytest.mark.parametrize(
    ("flags", "shown", "think"),
    [
        ([], "Thinking...\nHm.\n...done thinking.\n\nYes.\n", None),
        (["--hidethinking"], "Yes.\n", None),
        (["--think", "high", "--hidethinking"], "Yes.\n", "high"),
        (["--think=false"], "Thinking...\nHm.\n...done thinking.\n\nYes.\n", False),
    ],
)
async def test_thoughts_stand_before_the_answer_unless_they_are_hidden(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stdin: Callable[..., None],
    flags: list[str],
    shown: str,
    think: bool | str | None,
) -> None:
    stdin(terminal=True)
    store = testing.FakeStore()
    store.add(testing.FakeArtifact(name="m:latest", digest="d" * 64, template="</think>"))
    engine = testing.FakeEngine(pieces=("<think>", "Hm.", "</think>", "Yes."), reading=Reading(family=None, thought="think"))
    async with testing.serving(engine, store=store) as served:
        assert await vllama(monkeypatch, served.url, "run", "m", "Well?", *flags) == 0
        assert engine.requests[-1].think == think
    assert capsys.readouterr().out == shown


async def test_standard_input_goes_before_the_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stdin: Callable[..., None]
) -> None:
    stdin("čaj\n".encode())
    async with testing.serving() as served:
        assert await vllama(monkeypatch, served.url, "run", "m", "translate", "--verbose") == 0
        assert served.engine.requests[-1].messages is not None
        assert served.engine.requests[-1].messages[-1].content == "čaj translate"
    shown = capsys.readouterr()
    assert shown.out == SAID + "\n"
    assert "eval count:           10 token(s)" in shown.err


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("run", "nobody", "x"), 1, "'nobody' not found"),
        (("run", "m", "x", "--keepalive", "soon"), 2, "--keepalive is 'soon'"),
    ],
)
async def test_what_is_wrong_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stdin: Callable[..., None],
    words: tuple[str, ...],
    status: int,
    sentence: str,
) -> None:
    stdin(terminal=True)
    async with testing.serving() as served:
        assert await vllama(monkeypatch, served.url, *words) == status
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


async def test_no_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stdin: Callable[..., None]) -> None:
    stdin(terminal=True)
    assert await vllama(monkeypatch, "http://127.0.0.1:1", "run", "m", "x") == 1
    assert "vllama serve" in capsys.readouterr().err


async def test_an_engine_that_dies_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stdin: Callable[..., None]
) -> None:
    stdin(terminal=True)
    async with testing.serving(testing.FakeEngine(crash_after=3)) as served:
        assert await vllama(monkeypatch, served.url, "run", "m", "x") == 1
    assert capsys.readouterr().err.strip()


def typed(*lines: str | type[BaseException]) -> Callable[[str], str]:
    """A user who types these lines, then leaves; an exception stands for a key."""
    left: Iterator[str | type[BaseException]] = iter((*lines, EOFError))

    def read(_: str) -> str:
        line = next(left)
        if isinstance(line, str):
            return line
        raise line

    return read


async def chatting(url: str, *lines: str | type[BaseException]) -> Chat:
    chat = Chat(from_environment({"VLLAMA_HOST": url}), "m", chosen={}, verbose=False)
    await asyncio.to_thread(chat.load)
    assert await asyncio.to_thread(chat.run, typed(*lines)) == 0
    return chat


async def test_a_chat_remembers_until_it_is_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    async with testing.serving() as served:
        chat = await chatting(
            served.url, "/set system Be brief.", "/set parameter temperature 0", "one", '"""two', 'lines"""', KeyboardInterrupt
        )
        request = served.engine.requests[-1]
        assert request.messages is not None
        assert [(m.role, m.content) for m in request.messages] == [
            ("system", "Be brief."),
            ("user", "one"),
            ("assistant", SAID),
            ("user", "two\nlines"),
        ]
        assert request.sampling.temperature == 0
        assert await asyncio.to_thread(chat.run, typed("/clear", "three", "/bye", "never")) == 0
        assert served.engine.requests[-1].messages is not None
        assert [m.content for m in served.engine.requests[-1].messages] == ["Be brief.", "three"]
    assert "Use Ctrl + d or /bye to exit." in capsys.readouterr().out


async def test_commands_of_a_chat(capsys: pytest.CaptureFixture[str]) -> None:
    async with testing.serving() as served:
        chat = await chatting(
            served.url, "/?", "/set parameter stop a b", '/set parameter logit_bias {"5": 1}', "/set verbose",
            "hi", "/set quiet", "/show info", "/show parameters", "/show x",
            "/what", "/set", "",
        )  # fmt: skip
    shown = capsys.readouterr()
    assert chat.options == {"stop": ["a", "b"], "logit_bias": {"5": 1}}
    for words in ("Available commands", "gemma3", "Usage: /show", "Unknown command '/what'", "Usage: /set"):
        assert words in shown.out
    assert "eval count" in shown.err


async def test_a_failed_question_is_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    async with testing.serving() as served:
        chat = await chatting(served.url, "/set parameter temperature hot", "one")
        assert chat.messages == []
    assert "temperature" in capsys.readouterr().err


async def test_ctrl_c_stops_the_answer_and_not_the_program() -> None:
    class Interrupted(Client):
        """Ctrl-C comes after the second piece."""

        def stream(self, path: str, body: Any) -> Iterator[dict[str, Any]]:
            pieces = super().stream(path, body)
            try:
                yield next(pieces)
                yield next(pieces)
                raise KeyboardInterrupt
            finally:
                pieces.close()  # type: ignore[attr-defined]

    async with testing.serving(testing.FakeEngine(delay=0.05, pieces=("a", "b") * 100)) as served:
        real = from_environment({"VLLAMA_HOST": served.url})
        chat = Chat(Interrupted(real._where), "m", chosen={}, verbose=False)
        assert await asyncio.to_thread(chat.run, typed("one")) == 0
        await testing.until(lambda: served.engine.running == 0)
        assert served.engine.cancelled == 1
        assert chat.messages == [{"role": "user", "content": "one"}, {"role": "assistant", "content": "ab"}]


def test_a_model_does_not_steer_the_terminal() -> None:
    assert answer.safe("a\x1b]0;owned\x07b\n\tc\x9bd") == "a]0;ownedb\n\tcd"


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (12, "12ns"),
        (1_500, "1.5µs"),
        (130_500_000, "130.5ms"),
        (2_000_000_000, "2s"),
        (62_500_000_000, "1m2.5s"),
        (3_600_000_000_000, "1h0m0s"),
    ],
)
def test_durations_are_written_as_go_writes_them(nanoseconds: int, text: str) -> None:
    assert answer.duration(nanoseconds) == text


def test_an_answer_that_breaks_off_is_no_answer() -> None:
    printer = answer.Printer(verbose=False)
    printer.show("half", {"done": False})
    with pytest.raises(VllamaError, match="broke off"):
        printer.end()
