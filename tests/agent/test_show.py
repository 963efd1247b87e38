"""/api/show: what is read for it."""

from dataclasses import dataclass

import pytest

from vllama_agent.apis import show
from vllama_core.gguf import GgufHeader


@dataclass
class Vocabulary:
    """An array that lies in a file: its length is free, its values are not."""

    count: int
    reads: int = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        self.reads += 1
        return iter(range(self.count))


@pytest.mark.parametrize(
    ("count", "verbose", "reads"),
    [(show.LONG_ARRAY, False, 1), (show.LONG_ARRAY + 1, False, 0), (show.LONG_ARRAY + 1, True, 1), (0, False, 1)],
)
def test_long_arrays_are_read_only_when_they_are_shown(count, verbose, reads):
    array = Vocabulary(count)
    info = show.model_info(GgufHeader(3, {"tokenizer.ggml.tokens": array}, (), 0), verbose=verbose)
    assert array.reads == reads
    assert info["tokenizer.ggml.tokens"] == (list(range(count)) if reads else [])


def test_a_model_that_only_embeds_can_do_nothing_here_yet():
    assert show.capabilities({"general.architecture": "bert", "bert.pooling_type": 1}) == []
