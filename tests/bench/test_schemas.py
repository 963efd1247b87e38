"""The schemas of the benchmark are schemas, are thirty, and spread so that each round measures something of each kind."""

from __future__ import annotations

import json

import jsonschema
import pytest

from bench.schemas import CASES
from bench.structured import PER_ROUND
from vllama_agent.engines.base import Constraint, ConstraintKind
from vllama_agent.engines.llama_cpp import grammar


def test_thirty_schemas_make_five_rounds_with_long_keys_in_each() -> None:
    assert len(CASES) == len({case.name for case in CASES}) == 30
    assert all(any(case.long_keys for case in CASES[begin : begin + PER_ROUND]) for begin in range(0, 30, PER_ROUND))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_schema_is_one_and_can_be_honoured(case) -> None:
    jsonschema.Draft202012Validator.check_schema(case.schema)
    assert grammar.prepare(Constraint(kind=ConstraintKind.JSON_SCHEMA, text=json.dumps(case.schema), field="format"))
