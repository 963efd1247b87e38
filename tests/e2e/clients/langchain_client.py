"""LangChain's ChatOllama and OllamaLLM: `python langchain_client.py URL MODEL MODEL_WITH_TOOLS`; prints what it got as JSON."""

import asyncio
import json
import sys
from typing import Literal

from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaLLM
from pydantic import BaseModel

url, model, tooled = sys.argv[1:]
told = {}


class Colour(BaseModel):
    """A colour."""

    colour: Literal["red", "green"]
    shade: Literal[1, 2, 3]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


with_model = {"base_url": url, "num_predict": 5, "validate_model_on_init": True}
chat = ChatOllama(model=model, **with_model)
answer = chat.invoke([("system", "Be brief."), ("human", "hi")])
told["chat"] = {"tokens": answer.usage_metadata["output_tokens"], "reason": answer.response_metadata["done_reason"]}
told["pieces"] = len([piece for piece in chat.stream("hi") if piece.content is not None])
told["completed"] = isinstance(OllamaLLM(model=model, **with_model).invoke("hi"), str)


async def later():
    return await asyncio.gather(*(chat.ainvoke("hi") for _ in range(4)))


told["at_once"] = len(asyncio.run(later()))
told["tools"] = ChatOllama(model=tooled, **with_model).bind_tools([add]).invoke("1 + 1?").usage_metadata["output_tokens"]
shaped = ChatOllama(model=model, base_url=url, num_predict=60).with_structured_output(Colour, method="json_schema")
told["colour"] = shaped.invoke("A colour.").model_dump()
try:
    ChatOllama(model="nobody", base_url=url).invoke("hi")
except Exception as error:
    told["missing"] = str(error)
print(json.dumps(told))
