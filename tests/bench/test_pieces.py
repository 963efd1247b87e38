"""Prompts, streams' lines, metrics and recipes."""

from pathlib import Path

import pytest

from bench import client, metrics, prompts, servers


class Words:
    """A vocabulary of whole words, with a BOS."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._words: list[str] = ["<bos>"]

    def tokenize(self, text: str) -> list[int]:
        found = [0]
        for word in text.split():
            if word not in self._ids:
                self._ids[word] = len(self._words)
                self._words.append(word)
            found.append(self._ids[word])
        return found

    def detokenize(self, ids: list[int]) -> str:
        return " ".join(self._words[token] for token in ids[1:])


@pytest.mark.parametrize("tokens", [8, 32, 1000, 7500])
def test_a_prompt_has_exactly_as_many_tokens_as_asked(tokens: int) -> None:
    words = Words()
    prompt = prompts.make(words, tokens, seed=1)
    assert len(prompt.ids) == tokens
    assert tuple(words.tokenize(prompt.text)) == prompt.ids
    assert prompt == prompts.make(words, tokens, seed=1) != prompts.make(words, tokens, seed=2)


def test_sentences_are_prose_and_each_comes_once() -> None:
    sentences = prompts.prose()
    assert len(set(sentences)) == len(sentences) > 300
    assert not any(character in sentence for sentence in sentences for character in "`*|{}=")


def test_shared_prompts_share_exactly_that_much() -> None:
    first, *others = prompts.shared_prefix(Words(), shared=200, own=16, count=4, seed=1)
    assert all(prompt.ids[:200] == first.ids[:200] for prompt in others)
    assert len({prompt.ids for prompt in (first, *others)}) == 4


def test_lines_of_both_formats_give_pieces() -> None:
    ollama, llama = client.ollama_api("m"), client.llama_server_api()
    assert ollama.parse(b'{"response": " a", "done": false}') == client.Piece(1, " a")
    assert ollama.parse(b'{"response": "", "done": true, "prompt_eval_count": 3, "eval_count": 2}') == client.Piece(0, "", True, 3, 2)
    assert llama.parse(b'data: {"content": " ab", "tokens": [1, 2], "stop": false}') == client.Piece(2, " ab")
    final = b'data: {"content": "", "stop": true, "tokens_evaluated": 3, "tokens_predicted": 2}'
    assert llama.parse(final) == client.Piece(0, "", True, 3, 2)
    assert llama.parse(b"") is None
    with pytest.raises(client.AnswerFailed, match="no such model"):
        ollama.parse(b'{"error": "no such model"}')


def test_the_rate_leaves_out_the_prompt_and_what_came_with_the_first_piece() -> None:
    answer = client.Answer(sent=0.0, arrivals=[(5.0, 2), (6.0, 1), (7.0, 1)], done=7.0, generated=4)
    assert answer.ttft == 5.0
    assert answer.rate == 1.0
    assert answer.gaps() == [1.0, 1.0]


def test_metrics_are_read_back_and_a_renamed_one_is_an_error() -> None:
    text = '# HELP a b\nsteps_total{model="m:x",part="decode"} 2.5\nsteps_total{model="m:x",part="emit"} 1\nup 1\n'
    scrape = metrics.parse(text)
    assert scrape.value("steps_total") == 3.5
    assert scrape.value("steps_total", part="emit") == 1
    with pytest.raises(KeyError):
        scrape.value("steps")


def test_the_modelfile_puts_nothing_around_the_prompt() -> None:
    assert servers.modelfile(Path("/m.gguf")) == 'FROM /m.gguf\nTEMPLATE """{{ .Prompt }}"""\n'


def test_peers_get_the_context_that_their_slots_need() -> None:
    assert servers.LLAMA_SPLIT.command_line(512) == ("-np", "16", "-no-kvu", "-c", "8192")
    assert servers.LLAMA_DEFAULT.command_line(512) == ()
    assert servers.llama_batch(64).command_line(2048)[-2:] == ("-b", "64")
