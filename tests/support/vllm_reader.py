"""What vLLM's own parsers make of texts: cases as JSON on standard input, what was read as JSON on standard output.

Run by the interpreter that has vLLM; nothing else of the tests is imported. A case has `calls` and `thoughts`, names of vLLM's parsers or
null, `text`, `tools`, and `control`, the texts that are tokens of their own in the model's vocabulary.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser.parser_manager import ParserManager


def tokenizer_of(control: Sequence[str]) -> PreTrainedTokenizerFast:
    """A token for each byte, and one for each control token: parsers look for those in the vocabulary."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bare = Tokenizer(models.BPE(vocab=letters, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bare.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=bare, clean_up_tokenization_spaces=False)
    made.add_special_tokens({"additional_special_tokens": list(control)})
    return made


def read(case: dict[str, Any]) -> dict[str, Any]:
    """`thought`, `text` and `calls`, or the `error` that the parser ended with."""
    tokenizer = tokenizer_of(case["control"])
    request = ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "?"}], tools=case["tools"])
    try:
        kind = ParserManager.get_parser(tool_parser_name=case["calls"], reasoning_parser_name=case["thoughts"], enable_auto_tools=True)
        assert kind is not None, "one of the two is named"
        tokens = tokenizer.encode(case["text"], add_special_tokens=False)
        thinks = {"enable_thinking": True, "thinking": True} if case["thoughts"] else {}
        thought, text, calls = kind(tokenizer, request.tools, chat_template_kwargs=thinks).parse(
            case["text"], request, enable_auto_tools=True, model_output_token_ids=tokens
        )
        return {
            "thought": (thought or "").strip(),
            "text": (text or "").strip(),
            "calls": [[call.name, json.loads(call.arguments)] for call in calls or ()],
        }
    except Exception as error:  # whatever a parser of somebody else's raises is what is told of it
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    cases = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        found = [read(case) for case in cases]
    json.dump(found, sys.stdout)
