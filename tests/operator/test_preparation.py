from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vllama_operator import desired, jobs, names, plans, pods, preparation, spec
from vllama_operator.observed import Shared
from vllama_operator.preparation import Circumstances, Preparation, Rollout
from vllama_operator.profiles import Profile
from vllama_operator.settings import Settings
from vllama_operator.spec import ServeSpec

Make = Callable[..., dict[str, Any]]
Body = dict[str, Any]
SETTINGS = Settings(profiles={"default": Profile(), "gpu": Profile(accelerator="nvidia")})
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}


def plan_name(wanted: ServeSpec) -> str:
    return names.plan(plans.key(plans.question(wanted, pods.profile_of(wanted, SETTINGS))))


class Stage:
    """Shared objects of one LLMServe, and what is made of them."""

    def __init__(self, wanted: ServeSpec) -> None:
        self.wanted = wanted
        self.objects: dict[tuple[str, str], Body] = {}
        self.pods: dict[str, tuple[Body, ...]] = {}

    def planned(self, text: str) -> Stage:
        self.objects["ConfigMap", plan_name(self.wanted)] = {
            "kind": "ConfigMap", "metadata": {"name": plan_name(self.wanted)}, "data": {"plan.json": text},
        }  # fmt: skip
        return self

    def job(self, name: str, status: Body | None = None, *pods: Body) -> Stage:
        self.objects["Job", name] = {"kind": "Job", "metadata": {"name": name}, "status": status or {}}
        self.pods[name] = pods
        return self

    def prepare(self, **circumstances: Any) -> Preparation:
        return preparation.prepare(self.wanted, SETTINGS, Shared(self.objects, self.pods), Circumstances(**circumstances))


@pytest.fixture
def stage(serve: Make) -> Callable[..., Stage]:
    return lambda **fields: Stage(spec.parse(serve(**fields)))


def kinds(made: Preparation) -> list[tuple[str, str]]:
    return [(each["kind"], each["metadata"]["name"]) for each in made.objects]


def test_first_a_plan_is_asked_for_and_nothing_is_fetched(stage: Callable[..., Stage]) -> None:
    at = stage()
    made = at.prepare()
    assert kinds(made) == [("Job", plan_name(at.wanted))]
    assert (made.rollout, made.asked) == (Rollout.WAIT, plan_name(at.wanted))
    assert (made.fits.status, made.fits.reason) == ("Unknown", "Planning")


def test_an_answer_is_written_down_for_all_who_ask_the_same(stage: Callable[..., Stage], job_pod: Make, answer: Callable[..., str]) -> None:
    at = stage()
    name = plan_name(at.wanted)
    ended = {"terminated": {"exitCode": 0, "reason": "Completed", "message": answer()}}
    made = at.job(name, COMPLETE, job_pod(name, state=ended)).prepare()
    assert kinds(made) == [("Job", name), ("ConfigMap", name)]
    assert made.objects[1]["data"]["plan.json"] == answer()
    assert made.fits.status == "True"


def test_a_plan_that_fits_leads_to_the_download(stage: Callable[..., Stage], answer: Callable[..., str]) -> None:
    at = stage().planned(answer())
    made = at.prepare()
    assert kinds(made) == [("ConfigMap", plan_name(at.wanted)), ("Job", jobs.download_name(at.wanted))]
    assert (made.fits.status, made.cached.status, made.rollout) == ("True", "False", Rollout.WAIT)
    assert made.sizing is not None
    assert made.sizing["contextLength"] == 8192


def test_a_model_that_is_cached_may_be_served(stage: Callable[..., Stage], answer: Callable[..., str]) -> None:
    at = stage().planned(answer())
    made = at.job(jobs.download_name(at.wanted), COMPLETE).prepare()
    assert (made.cached.status, made.rollout) == ("True", Rollout.GO)


def test_without_a_shared_cache_pods_come_as_soon_as_the_plan_is_there(stage: Callable[..., Stage], answer: Callable[..., str]) -> None:
    made = stage(cache={"mode": "Ephemeral"}).planned(answer()).prepare()
    assert (made.cached.reason, made.rollout) == ("NotShared", Rollout.GO)


def test_what_does_not_fit_is_neither_fetched_nor_scheduled(stage: Callable[..., Stage], answer: Callable[..., str]) -> None:
    at = stage().planned(answer(fits=False))
    made = at.prepare()
    assert kinds(made) == [("ConfigMap", plan_name(at.wanted))]
    assert (made.fits.status, made.rollout) == ("False", Rollout.STOP)
    assert "it would fit" in made.fits.message


@pytest.mark.parametrize(
    ("fits", "status", "stays"), [(None, {}, True), (None, COMPLETE, True), (False, {}, False), (False, COMPLETE, True)]
)
def test_what_is_fetched_stays_while_it_is_planned_anew(
    stage: Callable[..., Stage], answer: Callable[..., str], fits: bool | None, status: Body, stays: bool
) -> None:
    at = stage()
    at = at if fits is None else at.planned(answer(fits=fits))
    name = jobs.download_name(at.wanted)
    made = at.job(name, status).prepare()
    assert (("Job", name) in kinds(made)) is stays
    assert (made.cached.status == "True") is bool(status)


def test_a_plan_that_does_not_come_holds_up_nothing(stage: Callable[..., Stage]) -> None:
    at = stage()
    name = plan_name(at.wanted)
    assert at.job(name).prepare().rollout is Rollout.WAIT
    made = at.prepare(overdue=True)
    assert (made.fits.status, made.fits.reason) == ("Unknown", "NoAnswer")
    assert kinds(made) == [("Job", name), ("Job", jobs.download_name(at.wanted))]


def test_a_plan_that_fails_says_why_and_holds_up_nothing(stage: Callable[..., Stage], job_pod: Make) -> None:
    at = stage()
    name = plan_name(at.wanted)
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "vllama: org/model is gated"}}
    made = at.job(name, {}, job_pod(name, state=ended)).prepare()
    assert (made.fits.reason, made.fits.message) == ("PlanFailed", "the model could not be planned: vllama: org/model is gated")
    assert ("Job", jobs.download_name(at.wanted)) in kinds(made)


def test_a_plan_that_somebody_spoilt_is_not_believed(stage: Callable[..., Stage]) -> None:
    assert stage().planned("nonsense").prepare().fits.reason == "PlanUnreadable"


def test_gpus_wait_for_a_look_at_the_nodes_and_not_for_what_nobody_knows(stage: Callable[..., Stage]) -> None:
    at = stage(profile="gpu", cache={"mode": "Ephemeral"})
    first = at.prepare()
    assert (first.asks_nodes, first.rollout, first.objects) == (True, Rollout.WAIT, ())
    unknown = at.prepare(nodes_seen=True)
    assert (unknown.fits.reason, unknown.rollout) == ("GpuMemoryUnknown", Rollout.GO)
    assert kinds(at.prepare(nodes_seen=True, gpu_memory=24 << 30)) == [("Job", plan_name(at.wanted))]


def test_vllm_without_a_gpu_is_told_and_holds_up_nothing(stage: Callable[..., Stage]) -> None:
    at = stage(engine={"type": "vllm", "image": "registry/cuda:1"}, cache={"mode": "Ephemeral"})
    made = at.prepare()
    assert (made.fits.status, made.fits.reason, made.rollout, made.objects) == ("Unknown", "NoGpu", Rollout.GO, ())
    assert "spec.resources.accelerator" in made.fits.message


@pytest.mark.parametrize("fields", [{"suspend": True}, {"replicas": 0}])
def test_what_sleeps_begins_nothing_and_keeps_what_is_known(stage: Callable[..., Stage], answer: Callable[..., str], fields: Body) -> None:
    at = stage(**fields)
    assert at.prepare().objects == ()
    made = at.planned(answer()).job(jobs.download_name(at.wanted), COMPLETE).prepare()
    assert len(made.objects) == 2
    assert (made.fits.status, made.cached.status, made.rollout) == ("True", "True", Rollout.GO)


def test_two_llmserves_with_one_claim_share_a_download(serve: Make) -> None:
    one, other, alone = (
        spec.parse(serve("one", cache={"claimName": "models"})),
        spec.parse(serve("other", cache={"claimName": "models"})),
        spec.parse(serve("alone")),
    )
    assert jobs.download_name(one) == jobs.download_name(other) != jobs.download_name(alone)


# --- the Jobs themselves ----------------------------------------------------------------------------------------------------------


def test_a_download_brings_what_the_engine_loads(serve: Make) -> None:
    image = {"image": "registry/agent-cuda:1"}
    vllm, llama = (spec.parse(serve(engine={"type": kind, **image})) for kind in ("vllm", "llamacpp"))
    [container] = jobs.download(vllm, SETTINGS)["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["pull", "qwen3:0.6b", "--if-missing", "--progress", "json", "--format", "hf"]
    assert jobs.download_name(vllm) != jobs.download_name(llama)
    assert plans.words(plans.question(vllm, Profile()), gpu_memory=None)[4:] == ["--engine", "vllm"]


def test_a_download_runs_where_the_agents_do_without_their_gpu(serve: Make) -> None:
    body = serve(
        model={"source": "org/model-GGUF", "quantization": "Q8_0", "secretRef": {"name": "hf"}},
        api={"keySecretRef": {"name": "doors"}},
        profile="gpu",
        podTemplate={"spec": {"containers": [{"name": "sidecar", "image": "s"}], "priorityClassName": "low"}},
    )
    gpu = Profile(accelerator="nvidia", node_selector={"gpu": "l40"}, tolerations=({"operator": "Exists"},), runtime_class="nvidia")
    job = jobs.download(spec.parse(body), Settings(agent_image="registry/agent:1", profiles={"gpu": gpu}))
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["args"] == ["pull", "org/model-GGUF:Q8_0", "--if-missing", "--progress", "json"]
    assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}} in container["env"]
    assert container["resources"] == {"requests": {"cpu": "100m", "memory": "256Mi"}}
    assert {"ports", "readinessProbe", "livenessProbe", "startupProbe", "lifecycle"}.isdisjoint(container)
    assert [each["name"] for each in pod["volumes"]] == ["tmp", "models"]
    assert (pod["nodeSelector"], pod["tolerations"], pod["restartPolicy"]) == ({"gpu": "l40"}, [{"operator": "Exists"}], "OnFailure")
    assert "runtimeClassName" not in pod
    assert pod["priorityClassName"] == "low"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_download_for_vllm_has_no_shared_memory_of_its_own(serve: Make) -> None:
    pod = jobs.download(spec.parse(serve(engine={"type": "vllm", "image": "registry/cuda:1"})), SETTINGS)["spec"]["template"]["spec"]
    assert [each["name"] for each in pod["volumes"]] == ["tmp", "models"]
    assert {each["name"] for each in pod["containers"][0]["volumeMounts"]} == {"tmp", "models"}


def test_a_jobs_pods_get_no_requests_and_count_as_no_replicas(serve: Make) -> None:
    wanted = spec.parse(serve())
    for job in (jobs.download(wanted, SETTINGS), jobs.plan(wanted, SETTINGS, plans.question(wanted, Profile()), gpu_memory=None)):
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert labels["vllama.dev/llmserve"] == "qwen3"
        assert names.selector("qwen3").items() - labels.items()


def test_a_source_in_a_claim_is_mounted_for_the_jobs(serve: Make) -> None:
    job = jobs.download(spec.parse(serve(model={"source": "pvc://weights/model"})), SETTINGS)
    assert {"name": "source", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}} in job["spec"]["template"]["spec"][
        "volumes"
    ]


# --- the Deployment meanwhile -----------------------------------------------------------------------------------------------------


def deployment(objects: list[Body]) -> Body:
    return next(each for each in objects if each["kind"] == "Deployment")


def test_while_it_is_prepared_a_new_deployment_has_no_pods(serve: Make) -> None:
    made = desired.objects(spec.parse(serve(replicas=2)), SETTINGS)
    held = deployment(desired.held(made, None, stop=False))
    assert held["spec"]["replicas"] == 0
    assert held["spec"]["template"] == deployment(made)["spec"]["template"]
    assert held["metadata"]["annotations"] != deployment(made)["metadata"]["annotations"]


@pytest.mark.parametrize(("ready", "stop", "stays"), [(0, False, True), (1, False, True), (1, True, True), (0, True, False)])
def test_what_serves_goes_on_serving(serve: Make, ready: int, stop: bool, stays: bool) -> None:
    there = {"kind": "Deployment", "metadata": {"name": "qwen3"}, "spec": {"replicas": 2}, "status": {"readyReplicas": ready}}
    held = deployment(desired.held(desired.objects(spec.parse(serve()), SETTINGS), there, stop=stop))
    assert (held == there) is stays
