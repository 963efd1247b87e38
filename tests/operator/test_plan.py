from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from vllama_operator import desired, names, plan, spec
from vllama_operator.plan import Apply, Delete, Settled
from vllama_operator.settings import Settings

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def wanted(serve: Make) -> list[dict[str, Any]]:
    return desired.objects(spec.parse(serve(replicas=2)), Settings())


def there(wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the API server would show it: with fields of its own."""
    shown = copy.deepcopy(wanted)
    for each in shown:
        each["metadata"] |= {"uid": "u", "resourceVersion": "1"}
        each["spec"]["defaulted"] = True
        each["status"] = {}
    return shown


def test_nothing_is_done_when_all_is_there(wanted: list[dict[str, Any]]) -> None:
    assert plan.plan(wanted, there(wanted)) == []


def test_what_is_missing_is_made_in_order(wanted: list[dict[str, Any]]) -> None:
    assert plan.plan(wanted, []) == [Apply(each) for each in wanted]


def test_drift_is_put_back_and_named(wanted: list[dict[str, Any]]) -> None:
    shown = there(wanted)
    shown[1]["spec"]["template"]["spec"]["containers"][0]["image"] = "another"
    [action] = plan.plan(wanted, shown)
    assert action == Apply(wanted[1], "spec.template.spec.containers.agent.image")


def test_a_field_that_is_no_longer_wanted_is_noticed_by_the_digest(wanted: list[dict[str, Any]]) -> None:
    """Of what is there, nobody could tell it from somebody else's."""
    shown = there(wanted)
    shown[2]["metadata"]["annotations"][names.DIGEST] = "former"
    assert plan.plan(wanted, shown) == [Apply(wanted[2], f"metadata.annotations.{names.DIGEST}")]


def test_what_is_no_longer_wanted_is_deleted(wanted: list[dict[str, Any]]) -> None:
    shown = there(wanted)
    budget = next(each for each in shown if each["kind"] == "PodDisruptionBudget")
    fewer = [each for each in wanted if each["kind"] != "PodDisruptionBudget"]
    assert plan.plan(fewer, shown) == [Delete(budget)]


def test_a_volume_claim_is_left_as_it_was_made(wanted: list[dict[str, Any]]) -> None:
    """It holds what was fetched, and its fields cannot change."""
    shown = there(wanted)
    shown[0]["spec"]["storageClassName"] = "other"
    assert shown[0]["kind"] == "PersistentVolumeClaim"
    assert plan.plan(wanted, shown) == []
    assert plan.plan(wanted[1:], shown) == []


def test_a_value_that_the_api_server_writes_its_own_way_is_applied_once(wanted: list[dict[str, Any]]) -> None:
    deployment = wanted[1]
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1000m"}}
    shown = there(wanted)
    shown[1]["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    settled = Settled()
    assert plan.plan(wanted, shown, settled) == [Apply(deployment, "spec.template.spec.containers.agent.resources.requests.cpu")]
    settled.note(deployment, shown[1])
    assert plan.plan(wanted, shown, settled) == []
    shown[1]["spec"]["replicas"] = 7
    assert plan.plan(wanted, shown, settled) != [], "drift is still seen"


@pytest.mark.parametrize(
    ("mine", "theirs", "path"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, ""),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b.1"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "y"}, {"name": "x", "v": 1}]}, ""),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "x", "v": 2}]}, "a.x.v"),
        ({"a": [{"name": "x"}]}, {"a": []}, "a.x"),
        ({"a": {"b": 1}}, {}, "a"),
        ({"a": {}}, {"a": {"b": 1}}, ""),
        ({"a": []}, {"a": [1]}, "a"),
    ],
)
def test_the_first_difference_is_where_what_is_wanted_is_not(mine: Any, theirs: Any, path: str) -> None:
    assert plan.first_difference(mine, theirs) == path
