from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vllama_operator.observed import World

Make = Callable[..., dict[str, Any]]
REF = ("team", "qwen3")


def child(kind: str = "Deployment", *, owner: str = "uid-qwen3", version: str = "5") -> dict[str, Any]:
    metadata = {
        "name": "qwen3",
        "namespace": "team",
        "uid": "c",
        "resourceVersion": version,
        "labels": {"vllama.dev/llmserve": "qwen3"},
        "ownerReferences": [{"uid": owner, "controller": True}],
        "managedFields": [{"manager": "somebody"}],
    }
    return {"kind": kind, "metadata": metadata, "spec": {"version": version}}


def test_what_belongs_to_an_llmserve_is_seen_together(serve: Make, pod: Make) -> None:
    world = World()
    for kind, body in (("LLMServe", serve()), ("Deployment", child()), ("Pod", pod())):
        assert world.see(kind, body, gone=False) == {REF}
    observed = world.observe(REF)
    assert observed is not None
    assert observed.deployment is not None
    assert "managedFields" not in observed.deployment["metadata"]
    assert [each["metadata"]["name"] for each in observed.pods] == ["qwen3-a"]


def test_what_a_predecessor_of_the_same_name_owned_is_not_ours(serve: Make) -> None:
    world = World()
    world.see("LLMServe", serve(), gone=False)
    world.see("Deployment", child(owner="uid-of-the-former"), gone=False)
    observed = world.observe(REF)
    assert observed is not None
    assert observed.children == ()


def test_a_watch_that_lags_does_not_undo_an_answer(serve: Make) -> None:
    world = World()
    world.see("LLMServe", serve(), gone=False)
    assert world.see("Deployment", child(version="10"), gone=False) == {REF}
    assert world.see("Deployment", child(version="9"), gone=False) == set()
    observed = world.observe(REF)
    assert observed is not None
    assert observed.deployment is not None
    assert observed.deployment["spec"] == {"version": "10"}


def test_a_listing_finds_what_a_watch_missed(serve: Make) -> None:
    world = World()
    world.see("LLMServe", serve(), gone=False)
    world.see("Deployment", child(), gone=False)
    assert world.replace("Deployment", [child()]) == set()
    assert world.replace("Deployment", []) == {REF}
    observed = world.observe(REF)
    assert observed is not None
    assert observed.children == ()


def test_an_llmserve_that_goes_is_nobodys_work(serve: Make) -> None:
    world = World()
    body = serve()
    world.see("LLMServe", body, gone=False)
    body = body | {"metadata": body["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "11"}}
    world.see("LLMServe", body, gone=False)
    assert world.observe(REF) is None
    assert world.see("LLMServe", body, gone=True) == {REF}
    assert world.serves() == []


def test_strangers_are_not_seen() -> None:
    assert World().see("Service", {"metadata": {"name": "x", "namespace": "team"}}, gone=False) == set()


def job(name: str = "vllama-plan-1", *, of: str = "qwen3", version: str = "5") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": version, "labels": {"vllama.dev/llmserve": of}}
    return {"kind": "Job", "metadata": metadata, "spec": {"template": {}}, "status": {"active": 1}}


def pod_of(made: dict[str, Any], job_name: str = "vllama-plan-1") -> dict[str, Any]:
    made["metadata"]["labels"] |= {"vllama.dev/job": "plan", "batch.kubernetes.io/job-name": job_name}
    return made


def test_a_shared_job_concerns_whoever_follows_it(pod: Make) -> None:
    world = World()
    other = ("team", "other")
    assert world.follow(other, [("Job", "vllama-plan-1")]).objects == {}
    assert world.see("Job", job(), gone=False) == {REF, other}
    assert world.see("Pod", pod_of(pod()), gone=False) == {REF, other}
    shared = world.follow(other, [("Job", "vllama-plan-1")])
    assert [body["status"] for body in shared.objects.values()] == [{"active": 1}]
    assert [each["metadata"]["name"] for each in shared.pods["vllama-plan-1"]] == ["qwen3-a"]
    world.follow(other, [("Job", "another")])
    assert world.see("Job", job(version="6"), gone=False) == {REF}


def test_who_is_gone_follows_nothing(serve: Make) -> None:
    world = World()
    body = serve("other")
    world.see("LLMServe", body, gone=False)
    world.follow(("team", "other"), [("Job", "vllama-plan-1")])
    world.see("LLMServe", body, gone=True)
    assert world.see("Job", job(), gone=False) == {REF}


def test_a_jobs_pod_is_no_replica(serve: Make, pod: Make) -> None:
    world = World()
    world.see("LLMServe", serve(), gone=False)
    world.see("Pod", pod_of(pod()), gone=False)
    observed = world.observe(REF)
    assert observed is not None
    assert observed.pods == ()
