"""/tokenize and /detokenize, as vLLM's and as llama-server's clients ask."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from vllama_agent.apis import tokens
from vllama_agent.testing import BOS, serving
from vllama_core.errors import InvalidRequest

HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"prompt": "ab"}, [BOS, 97, 98]),
        ({"prompt": "ab", "add_special_tokens": False}, [97, 98]),
        ({"content": "ab"}, [97, 98]),
        ({"content": "ab", "add_special": True, "parse_special": False}, [BOS, 97, 98]),
        ({"messages": HI}, [BOS, *b"<user>hi<assistant>"]),
        ({"prompt": ""}, [BOS]),
    ],
    ids=str,
)
async def test_tokens_of_a_text_or_a_chat(http: aiohttp.ClientSession, body: dict[str, Any], expected: list[int]) -> None:
    async with serving() as served, http.post(served.url + "/tokenize", json={"model": "m", **body}) as response:
        assert await response.json() == {"tokens": expected, "count": len(expected), "max_model_len": 4096}


async def test_tokens_become_text_again(http: aiohttp.ClientSession) -> None:
    async with serving() as served:
        async with http.post(served.url + "/detokenize", json={"model": "m", "tokens": [BOS, 97, 98]}) as response:
            assert await response.json() == {"prompt": "ab", "content": "ab"}
        async with http.post(served.url + "/detokenize", json={"model": "m", "tokens": [999]}) as response:
            assert response.status == 400
            assert "999 is outside the vocabulary" in (await response.json())["error"]
        async with http.post(served.url + "/tokenize", json={"model": "none", "prompt": "a"}) as response:
            assert response.status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "prompt"),
        ({"prompt": "a", "content": "b"}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"prompt": "a", "with_pieces": True}, "with_pieces"),
        ({"prompt": "a", "add_special": 1}, "add_special"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tokens.tokenize(body)
    assert caught.value.field == field


def test_ids_are_wanted() -> None:
    with pytest.raises(InvalidRequest, match="array of token ids"):
        tokens.detokenize({"tokens": "a"})
