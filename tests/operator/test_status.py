from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vllama_core.progress import Failure, Progress, Told
from vllama_operator import spec, status
from vllama_operator.conditions import Problem
from vllama_operator.observed import Observed
from vllama_operator.preparation import Preparation, Rollout, Verdict

Make = Callable[..., dict[str, Any]]
Body = dict[str, Any]
NOW = "2026-01-01T00:10:00Z"
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:05Z"}}
OOM = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-01-01T00:05:00Z"}}


def deployment(*, ready: int, updated: int, replicas: int | None = None, **conditions: Body) -> Body:
    shown = {
        "observedGeneration": 1,
        "readyReplicas": ready,
        "updatedReplicas": updated,
        "replicas": updated if replicas is None else replicas,
    }
    shown["conditions"] = [{"type": kind} | fields for kind, fields in conditions.items()]
    return {"kind": "Deployment", "metadata": {"name": "qwen3", "generation": 1}, "status": shown}


def told(
    body: Body, *, of: Body | None = None, pods: tuple[Body, ...] = (), problem: Problem | None = None, before: Body | None = None
) -> Body:
    observed = Observed(serve=body, children=() if of is None else (of,), pods=pods)
    return status.status_of(spec.parse(body), observed, problem=problem, before=before or {}, now=NOW)


def condition(said: Body, kind: str) -> Body:
    [found] = [each for each in said["conditions"] if each["type"] == kind]
    return dict(found)


def test_a_model_that_answers_is_ready_and_says_where_and_for_whom(serve: Make, pod: Make) -> None:
    said = told(serve(), of=deployment(ready=1, updated=1), pods=(pod(state=RUNNING, Ready="True"),))
    assert said["phase"] == "Ready"
    ready = condition(said, "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Serving")
    assert ready["message"] == (
        "it answers at http://qwen3.team.svc:11434; "
        "no key is asked for: whoever the NetworkPolicy lets in may use it (spec.api.keySecretRef changes that)"
    )
    assert said["url"] == "http://qwen3.team.svc:11434"
    assert said["selector"] == "app.kubernetes.io/name=vllama,vllama.dev/llmserve=qwen3"
    assert (said["replicas"], said["readyReplicas"], said["observedGeneration"]) == (1, 1, 3)
    assert said["model"] == {"name": "qwen3:0.6b"}
    assert said["coldStartSeconds"] == 42.0
    assert "lastFailure" not in said
    by_type = {each["type"]: each["status"] for each in said["conditions"]}
    assert by_type == {
        "Ready": "True",
        "Available": "True",
        "Progressing": "False",
        "Fits": "Unknown",
        "ModelCached": "Unknown",
        "Scheduled": "True",
        "EngineReady": "True",
        "Degraded": "False",
        "ScaledToZero": "False",
    }


def test_with_keys_the_sentence_names_their_secret(serve: Make, pod: Make) -> None:
    said = told(serve(api={"keySecretRef": {"name": "doors"}}), of=deployment(ready=1, updated=1), pods=(pod(Ready="True"),))
    assert condition(said, "Ready")["message"].endswith("keys are those of Secret doors")


@pytest.mark.parametrize(
    ("fields", "of", "pods", "phase", "reason"),
    [
        ({}, None, [], "Pending", "Pending"),
        ({}, deployment(ready=0, updated=1), [{"PodScheduled": "False"}], "Pending", "Pending"),
        ({}, deployment(ready=0, updated=1), [{}], "Starting", "Starting"),
        ({}, deployment(ready=0, updated=1), [{"state": {"waiting": {"reason": "ContainerCreating"}}}], "Starting", "Starting"),
        ({}, deployment(ready=0, updated=1), [{"state": RUNNING}], "Loading", "Loading"),
        ({"replicas": 2}, deployment(ready=1, updated=2), [{"state": RUNNING}], "RollingOut", "Loading"),
        ({}, deployment(ready=1, updated=1, replicas=2), [{"state": RUNNING, "Ready": "True"}], "RollingOut", "RollingOut"),
        ({"suspend": True}, deployment(ready=0, updated=0), [], "Suspended", "Suspended"),
        ({"replicas": 0}, deployment(ready=0, updated=0), [], "ScaledToZero", "NoReplicas"),
    ],
)
def test_the_phase_and_the_reason_follow_the_pods(
    serve: Make, pod: Make, fields: Body, of: Body | None, pods: list[Body], phase: str, reason: str
) -> None:
    said = told(serve(**fields), of=of, pods=tuple(pod(**each) for each in pods))
    assert (said["phase"], condition(said, "Ready")["reason"]) == (phase, reason)
    assert condition(said, "Degraded")["status"] == "False"


@pytest.mark.parametrize(
    ("shown", "reason", "words"),
    [
        ({"last": OOM, "restarts": 1, "state": RUNNING}, "OOMKilled", "raise spec.resources.memory"),
        ({"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}, "ImagePullBackOff", "no such image"),
        ({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}, "ImagePullBackOff", "no such image"),
        (
            {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "hf" not found'}}},
            "CreateContainerConfigError",
            '"hf"',
        ),
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "last": {
                    "terminated": {
                        "reason": "Error",
                        "exitCode": 2,
                        "message": "the hub wants a token",
                        "finishedAt": "2026-01-01T00:05:00Z",
                    }
                },
            },
            "AgentFailed",
            "the hub wants a token",
        ),
    ],
)
def test_a_pods_failure_is_told_with_a_way_out(serve: Make, pod: Make, shown: Body, reason: str, words: str) -> None:
    said = told(serve(), of=deployment(ready=0, updated=1), pods=(pod(**shown),))
    assert said["phase"] == "Failed"
    assert said["lastFailure"]["reason"] == reason
    assert words in said["lastFailure"]["message"]
    assert said["lastFailure"]["pod"] == "qwen3-a"
    for kind, value in (("Ready", "False"), ("EngineReady", "False"), ("Degraded", "True")):
        assert (condition(said, kind)["status"], condition(said, kind)["reason"]) == (value, reason)


def test_a_failure_is_gone_after_its_repair(serve: Make, pod: Make) -> None:
    """The kubelet goes on showing the last end of a container that runs again."""
    failed = told(serve(), of=deployment(ready=0, updated=1), pods=(pod(last=OOM, state=RUNNING, restarts=1),))
    said = told(serve(), of=deployment(ready=1, updated=1), pods=(pod(last=OOM, state=RUNNING, restarts=1, Ready="True"),), before=failed)
    assert "lastFailure" not in said
    assert condition(said, "Degraded")["status"] == "False"


def test_what_a_former_revision_fails_of_is_put_right(serve: Make, pod: Make) -> None:
    old, new = pod("qwen3-a", last=OOM), pod("qwen3-b", state=RUNNING, Ready="True")
    for each, revision, second in ((old, "1", 1), (new, "2", 2)):
        each["metadata"]["labels"] |= {"pod-template-hash": revision}
        each["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{second:02}Z"
    said = told(serve(), of=deployment(ready=1, updated=1, replicas=2), pods=(old, new))
    assert (said["phase"], condition(said, "Ready")["reason"], "lastFailure" in said) == ("RollingOut", "RollingOut", False)
    new["metadata"]["labels"]["pod-template-hash"] = "1"
    assert "lastFailure" in told(serve(), of=deployment(ready=1, updated=2), pods=(old, new)), "of two replicas each counts"


def test_a_failure_beside_a_replica_that_answers_is_degraded(serve: Make, pod: Make) -> None:
    pods = (pod("a", state=RUNNING, Ready="True"), pod("b", last=OOM))
    said = told(serve(replicas=2), of=deployment(ready=1, updated=2), pods=pods)
    assert (said["phase"], condition(said, "Available")["status"]) == ("Degraded", "True")


def test_a_pod_without_a_node_says_why(serve: Make, pod: Make) -> None:
    waiting = pod(PodScheduled="False")
    waiting["status"]["conditions"][0] |= {"reason": "Unschedulable", "message": "0/3 nodes: insufficient nvidia.com/gpu"}
    said = told(serve(), of=deployment(ready=0, updated=1), pods=(waiting,))
    assert condition(said, "Scheduled") | {"lastTransitionTime": ""} == {
        "type": "Scheduled",
        "status": "False",
        "observedGeneration": 3,
        "lastTransitionTime": "",
        "reason": "Unschedulable",
        "message": "0/3 nodes: insufficient nvidia.com/gpu",
    }
    assert "change spec.resources or spec.profile" in condition(said, "Ready")["message"]
    waiting["status"]["phase"] = "Running"  # so it has one, and the scheduler's word is an old one
    assert condition(told(serve(), of=deployment(ready=0, updated=1), pods=(waiting,)), "Ready")["reason"] != "Unschedulable"


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ({"ReplicaFailure": {"status": "True", "message": "exceeded quota: pods"}}, "PodsRefused"),
        ({"Progressing": {"status": "False", "reason": "ProgressDeadlineExceeded"}}, "RolloutStuck"),
    ],
)
def test_what_the_deployment_complains_of_is_passed_on(serve: Make, shown: Body, reason: str) -> None:
    said = told(serve(), of=deployment(ready=0, updated=0, **shown))
    assert (said["phase"], condition(said, "Degraded")["reason"]) == ("Failed", reason)


def test_scaling_that_is_not_there_yet_is_told(serve: Make) -> None:
    said = told(serve(replicas=5, scaling={"min": 0, "max": 4}))
    scaling = condition(said, "ScalingActive")
    assert (scaling["status"], scaling["reason"]) == ("False", "AutoscalingNotSupported")
    assert "now 1" in scaling["message"]


def test_a_problem_of_the_operator_wins_over_all_else(serve: Make) -> None:
    said = told(serve(), of=deployment(ready=1, updated=1), problem=Problem(reason="NameTaken", message="there is one already"))
    assert said["phase"] == "Failed"
    assert condition(said, "Ready")["reason"] == condition(said, "Degraded")["reason"] == "NameTaken"


def test_an_llmserve_that_cannot_be_says_so_while_its_former_pods_go_on(serve: Make) -> None:
    body = serve(engine={"type": "vllm"})
    observed = Observed(serve=body, children=(deployment(ready=1, updated=1),))
    said = status.invalid(body, problem=Problem(reason="InvalidSpec", message="no"), observed=observed, before={}, now=NOW)
    assert condition(said, "Ready")["reason"] == "InvalidSpec"
    assert condition(said, "Available")["status"] == "True"
    assert "engine" not in said


def test_times_change_with_the_status_and_not_with_the_words(serve: Make, pod: Make) -> None:
    early = {"lastTransitionTime": "2025-01-01T00:00:00Z", "reason": "Old", "message": "old"}
    before = {"conditions": [{"type": "Ready", "status": "False"} | early, {"type": "Available", "status": "True"} | early]}
    said = told(serve(), of=deployment(ready=0, updated=1), pods=(pod(state=RUNNING),), before=before)
    assert condition(said, "Ready")["lastTransitionTime"] == "2025-01-01T00:00:00Z"
    assert condition(said, "Available")["lastTransitionTime"] == NOW


def test_a_status_made_again_is_the_same(serve: Make, pod: Make) -> None:
    """Else each look would write, each write wake a watch, and each watch cause a look."""
    seen = {"of": deployment(ready=1, updated=1), "pods": (pod(Ready="True"),)}
    first = told(serve(), **seen)
    assert told(serve(), **seen, before=first) == first


def test_events_are_for_transitions_alone(serve: Make, pod: Make) -> None:
    loading = told(serve(), of=deployment(ready=0, updated=1), pods=(pod(state=RUNNING),))
    failed = told(serve(), of=deployment(ready=0, updated=1), pods=(pod(last=OOM),))
    ready = told(serve(), of=deployment(ready=1, updated=1), pods=(pod(Ready="True"),))
    steps = [({}, loading), (loading, loading), (loading, failed), (failed, failed), (failed, ready), (ready, ready)]
    noted = [(note.type, note.reason) for before, after in steps for note in status.notes(before, after)]
    assert noted == [("Normal", "Loading"), ("Warning", "OOMKilled"), ("Normal", "Serving")]


def test_an_event_is_cut_to_what_the_api_server_takes(serve: Make) -> None:
    said = told(serve(), problem=Problem(reason="Rejected", message="x" * 5000))
    assert [len(note.message) for note in status.notes({}, said)] == [status.LONGEST_NOTE]


# --- before pods serve ------------------------------------------------------------------------------------------------------------

DOWNLOADING = Verdict("False", "Downloading", "Job vllama-download-1 fetches the model into the claim qwen3-cache")
FITS = Verdict("True", "Fits", "it takes 5 of 8 GiB")
REFUSED = '{"failure": {"reason": "AccessDenied", "message": "org/m is gated"}}\nvllama: org/m is gated'
GATED = {"terminated": {"reason": "Error", "exitCode": 1, "message": REFUSED}}


def preparing(body: Body, *pods: Body, told: Told = Told(), of: Body | None = None, **fields: Any) -> Body:  # noqa: B008
    made = Preparation(**{"fits": FITS, "cached": DOWNLOADING, "rollout": Rollout.WAIT, "pods": pods} | fields)
    observed = Observed(serve=body, children=() if of is None else (of,), pods=())
    return status.status_of(spec.parse(body), observed, preparing=made, told=told, problem=None, before={}, now=NOW)


def test_a_download_shows_how_far_it_is(serve: Make, job_pod: Make) -> None:
    told = Told(progress=Progress(completed=43, total=100, speed=19))
    said = preparing(serve(), job_pod("vllama-download-1", state=RUNNING, Ready="True"), told=told)
    assert said["phase"] == "Downloading 43 %"
    assert said["download"] == {"progress": "43 %", "completedBytes": 43, "totalBytes": 100, "bytesPerSecond": 19, "secondsLeft": 3}
    assert condition(said, "Ready")["reason"] == "Downloading"
    assert condition(said, "ModelCached")["status"] == "False"
    assert condition(said, "Degraded")["status"] == "False"


def test_a_download_that_has_not_told_yet_has_no_percentage(serve: Make, job_pod: Make) -> None:
    said = preparing(serve(), job_pod("vllama-download-1", state=RUNNING, Ready="True"))
    assert (said["phase"], "download" in said) == ("Downloading", False)
    assert preparing(serve(), job_pod("vllama-download-1"))["phase"] == "Pending"


def test_a_gated_repository_is_told_while_the_download_is_tried_again(serve: Make, job_pod: Make) -> None:
    again = job_pod("vllama-download-1", state=RUNNING, last=GATED, restarts=1, Ready="True")
    for pod in (job_pod("vllama-download-1", state={"waiting": {"reason": "CrashLoopBackOff"}}, last=GATED, restarts=1), again):
        said = preparing(serve(), pod)
        assert (said["phase"], condition(said, "Ready")["reason"], said["lastFailure"]["reason"]) == (
            "Failed",
            "AccessDenied",
            "AccessDenied",
        )
        assert said["lastFailure"]["message"].endswith("org/m is gated")
        assert "spec.model.secretRef" in said["lastFailure"]["message"]
    repaired = preparing(serve(), again, told=Told(progress=Progress(completed=1, total=100)))
    assert (repaired["phase"], "lastFailure" in repaired) == ("Downloading 1 %", False)


def test_an_agent_that_fetches_for_itself_tells_the_same(serve: Make, pod: Make) -> None:
    body = serve(cache={"mode": "Ephemeral"})
    observed = Observed(serve=body, children=(deployment(ready=0, updated=1),), pods=(pod(state=RUNNING),))
    said = status.status_of(
        spec.parse(body), observed, told=Told(progress=Progress(completed=5, total=10)), problem=None, before={}, now=NOW
    )
    assert (said["phase"], said["download"]["progress"]) == ("Downloading 50 %", "50 %")
    failing = Told(failure=Failure("NoSpace", "the disk is full"))
    said = status.status_of(spec.parse(body), observed, told=failing, problem=None, before={}, now=NOW)
    assert (said["phase"], said["lastFailure"]["reason"], said["lastFailure"]["pod"]) == ("Failed", "NoSpace", "qwen3-a")


def test_what_does_not_fit_says_by_what_arithmetic(serve: Make) -> None:
    small = Verdict("False", "DoesNotFit", "it takes 5 GiB of 4 GiB; it would fit as Q3_K_M")
    said = preparing(serve(), fits=small, rollout=Rollout.STOP, sizing={"requiredBytes": 5})
    assert (said["phase"], said["sizing"]) == ("Failed", {"requiredBytes": 5})
    for kind in ("Ready", "Fits"):
        assert (condition(said, kind)["status"], condition(said, kind)["reason"]) == ("False", "DoesNotFit")
        assert "Q3_K_M" in condition(said, kind)["message"]


def test_what_serves_is_available_while_its_successor_is_prepared(serve: Make) -> None:
    said = preparing(serve(), of=deployment(ready=1, updated=1))
    assert (condition(said, "Available")["status"], condition(said, "Ready")["reason"]) == ("True", "Downloading")
    assert condition(said, "Progressing")["reason"] == "Downloading"


def test_a_download_whose_pod_finds_no_node_says_why(serve: Make, job_pod: Make) -> None:
    waiting = job_pod("vllama-download-1", PodScheduled="False")
    waiting["status"]["conditions"][0] |= {"reason": "Unschedulable", "message": "unbound PersistentVolumeClaims"}
    said = preparing(serve(), waiting)
    assert (condition(said, "Ready")["reason"], condition(said, "Scheduled")["status"]) == ("Unschedulable", "Unknown")


def test_json_lines_among_last_words_are_told_as_sentences(serve: Make, pod: Make) -> None:
    lines = '{"level": "info", "message": "loading"}\n{"progress": {"totalBytes": 1}}\nKilled'
    last = {"terminated": {"reason": "Error", "exitCode": 3, "message": lines}}
    said = told(serve(), of=deployment(ready=0, updated=1), pods=(pod(last=last),))
    assert said["lastFailure"]["message"] == "loading\nKilled"
