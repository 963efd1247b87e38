"""What is asked of `vllama plan` for an LLMServe, and what its answer means. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vllama_core import quantities, storageref
from vllama_core.sizing import report
from vllama_core.sizing.choice import gib
from vllama_core.sizing.plan import WayOut
from vllama_core.storageref import PvcRef
from vllama_operator import pods
from vllama_operator.profiles import Profile
from vllama_operator.spec import ServeSpec

Json = Mapping[str, Any]
KEY_LENGTH = 12
GPU_MEMORY = "nvidia.com/gpu.memory"
"""Label of nodes, in MiB, written by NVIDIA's GPU feature discovery.
https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-operator-mig.html"""
ANSWER, QUESTION = "plan.json", "question.json"
"""Keys of the ConfigMap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that an answer depends on.

    :ivar ref: as `vllama pull` takes it.
    :ivar engine: llamacpp or vllm.
    :ivar memory: bytes of the machine that a replica may use; None: what the node has on which the question is asked.
    :ivar gpus: 0: the model lies in the machine's memory.
    :ivar nodes: labels of the nodes that count: those of a profile have GPUs of one size.
    """

    ref: str
    engine: str
    context: int | None
    parallel: int | None
    memory: int | None
    gpus: int
    nodes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """:ivar sizing: as `status.sizing` has it."""

    fits: bool
    sentence: str
    sizing: Json


def question(spec: ServeSpec, profile: Profile) -> Question:
    """What is to be asked."""
    return Question(
        ref=spec.ref,
        engine=spec.engine,
        context=spec.context,
        parallel=spec.parallel,
        memory=spec.memory or _limit(profile),
        gpus=spec.count if pods.gpu(spec, profile) is not None else 0,
        nodes=tuple(sorted(profile.node_selector.items())),
    )


def _limit(profile: Profile) -> int | None:
    """What the profile lets a pod have."""
    for part in ("limits", "requests"):
        given = profile.resources.get(part, {}).get("memory")
        if given is not None:
            return quantities.parse_bytes(str(given))
    return None


def key(asked: Question) -> str:
    """The same for the same question: the name of the object that holds its answer ends with it."""
    return hashlib.sha256(json.dumps(asdict(asked), sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


def words(asked: Question, *, gpu_memory: int | None) -> list[str]:
    """Arguments of `vllama`.

    :param gpu_memory: bytes of each GPU; not None where GPUs are asked for.
    """
    made = ["plan", _place(asked.ref), "--output", "/dev/termination-log"]
    made += ["--engine", "vllm"] if asked.engine == "vllm" else []
    made += [] if asked.context is None else ["--context", str(asked.context)]
    made += [] if asked.parallel is None else ["--parallel", str(asked.parallel)]
    if asked.gpus:
        assert gpu_memory is not None, "nothing can be compared with GPUs of unknown size"
        made += ["--gpus", str(asked.gpus), "--memory", str(gpu_memory)]
        return made + ([] if asked.memory is None else ["--host-memory", str(asked.memory)])
    return made + ([] if asked.memory is None else ["--memory", str(asked.memory)])


def _place(ref: str) -> str:
    """What lies on a volume is planned by its path: no store names it yet."""
    storage = storageref.parse(ref)
    return f"{pods.CLAIMS_FOLDER}/{storage.claim}/{storage.path}" if isinstance(storage, PvcRef) else ref


def gpu_memory(nodes: list[Json]) -> int | None:
    """Bytes of the largest GPU of some nodes; None: their labels do not say."""
    sizes = [str((each["metadata"].get("labels") or {}).get(GPU_MEMORY, "")) for each in nodes]
    return max((int(size) << 20 for size in sizes if size.isdecimal()), default=None)


def read(text: str) -> Answer | None:
    """What `vllama plan` has written; None: it is no answer."""
    try:
        found = json.loads(text)
        return Answer(fits=bool(found["fits"]), sentence=_sentence(found), sizing=_sizing(found))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _sentence(found: Json) -> str:
    needed, available = _sum(found["needed"]), _sum(found["available"])
    arithmetic = f"it takes {gib(needed)} ({_parts(found)}) of {gib(available)}: {found['reason']}"
    if found["fits"]:
        return arithmetic
    gpus = bool(found["available"]["gpus"])
    ways = [report.way_out_line(WayOut(**way), gpus=gpus) for way in found["ways_out"]]
    return f"{arithmetic}; it would fit {', or '.join(ways)}" if ways else f"{arithmetic}; take a smaller model"


def _parts(found: Json) -> str:
    largest = sorted(found["parts"], key=lambda part: part["host"] + part["gpus"], reverse=True)[:3]
    return ", ".join(f"{part['name']} {gib(part['host'] + part['gpus'])}" for part in largest)


def _sizing(found: Json) -> Json:
    return {
        "contextLength": found["settings"]["context"],
        "weightsBytes": found["shape"]["weights"],
        "cacheBytes": sum(part["host"] + part["gpus"] for part in found["parts"] if "cache" in part["name"].lower()),
        "requiredBytes": _sum(found["needed"]),
        "availableBytes": _sum(found["available"]),
    }


def _sum(sizes: Json) -> int:
    """Bytes in the machine and on its GPUs, of which `available` lists each."""
    gpus = sizes["gpus"]
    return int(sizes["host"] + (sum(gpus) if isinstance(gpus, list) else gpus))
