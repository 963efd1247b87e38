"""LlamaIndex's Ollama: `python llamaindex_client.py URL MODEL MODEL_WITH_TOOLS`; prints what it got as JSON."""

import json
import sys
from typing import Literal

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.ollama import Ollama
from pydantic import BaseModel

url, model, tooled = sys.argv[1:]
told = {}


class Colour(BaseModel):
    """A colour."""

    colour: Literal["red", "green"]
    shade: Literal[1, 2, 3]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def client(name, tokens=5):
    return Ollama(model=name, base_url=url, request_timeout=60, additional_kwargs={"num_predict": tokens})


llm = client(model)
answer = llm.chat([ChatMessage(role="user", content="hi")])
told["chat"] = {"tokens": answer.raw["eval_count"], "role": str(answer.message.role.value)}
told["pieces"] = len(list(llm.stream_chat([ChatMessage(role="user", content="hi")])))
told["completed"] = isinstance(llm.complete("hi").text, str)
told["tools"] = client(tooled).chat_with_tools([FunctionTool.from_defaults(add)], "1 + 1?").raw["eval_count"]
told["colour"] = client(model, 60).as_structured_llm(Colour).complete("A colour.").raw.model_dump()
print(json.dumps(told))
