"""A plan as JSON, and as sentences and rows for people. docs/sizing.md documents the JSON."""

from __future__ import annotations

import json
from typing import Any

from vllama_core import human
from vllama_core.sizing import vllm
from vllama_core.sizing.choice import LlamaCppChoice, VllmChoice, gib
from vllama_core.sizing.plan import Plan, WayOut

VERSION = 1
"""Of the JSON. It grows by fields; a change of meaning makes another version."""
TERMINATION_BYTES = 4096
"""What Kubernetes keeps of a container's termination message: the JSON in one line must fit.
https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/"""
LONGEST_NAME = 128
"""Characters of a name that are kept; each may take several bytes."""


def as_json(plan: Plan) -> dict[str, Any]:
    """The documented object."""
    question, estimate = plan.question, plan.estimate
    shape, budget = question.shape, question.budget
    return {
        "version": VERSION,
        "model": question.model[:LONGEST_NAME],
        "engine": str(question.engine),
        "fits": plan.fits,
        "reason": plan.chosen.reason,
        "needed": {"host": estimate.host, "gpus": estimate.device},
        "available": {"host": budget.host, "gpus": list(budget.devices)},
        "settings": _settings(plan),
        "largest_context": plan.largest_context,
        "parts": [{"name": part.name, "host": part.host, "gpus": part.device} for part in estimate.parts],
        "shape": {
            "architecture": shape.architecture[:LONGEST_NAME],
            "parameters": shape.parameters,
            "quantization": shape.quantization,
            "layers": len(shape.layers),
            "trained_context": shape.context,
            "weights": shape.weights.total,
        },
        "ways_out": [{"change": way.change, "value": way.value, "needed": way.needed} for way in plan.ways_out],
    }


def line(found: dict[str, Any]) -> str:
    """The object in one line, of `TERMINATION_BYTES` at most."""
    return json.dumps(found, separators=(",", ":"))


def _settings(plan: Plan) -> dict[str, Any]:
    """What the engine is to be started with, by the names of its flags."""
    match plan.chosen:
        case LlamaCppChoice(settings=chosen):
            return {
                "context": chosen.context,
                "kv_cells": chosen.cells,
                "parallel": chosen.parallel,
                "gpu_layers": chosen.gpu_layers,
            }
        case VllmChoice(settings=settings):
            gpu = min(plan.question.budget.devices)
            return {
                "context": settings.context,
                "kv_cells": vllm.tokens(plan.question.shape, settings, gpu=gpu),
                "parallel": settings.sequences,
                "tensor_parallel": settings.tensor_parallel,
                "gpu_memory_utilization": settings.utilization,
            }


def headline(plan: Plan) -> str:
    """One line: the verdict."""
    question = plan.question
    verdict = "fits" if plan.fits else "does not fit"
    kind = f"{human.count(question.shape.parameters)} parameters, {question.shape.quantization}"
    return f"{question.model} ({kind}) {verdict} with {question.engine}: {plan.chosen.reason}"


def rows(plan: Plan) -> list[tuple[str, str, str]]:
    """(part, in the machine's memory, on GPUs), the sum and what there is last."""
    estimate, budget = plan.estimate, plan.question.budget
    found = [(part.name, _size(part.host), _size(part.device)) for part in estimate.parts]
    found.append(("needed", _size(estimate.host), _size(estimate.device)))
    found.append(("available", _size(budget.host), _size(sum(budget.devices))))
    return found


def settings_line(plan: Plan) -> str:
    """What the engine would be started with."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in _settings(plan).items())


def way_out_line(way: WayOut, *, gpus: bool) -> str:
    """One change, as a person would say it."""
    what = {
        "quantization": f"as {way.value}",
        "context": f"with a context of {way.value}",
        "parallel": f"with {way.value} sequences at once",
        "gpus": f"on {way.value} such GPUs",
        "memory": f"with {way.value} GiB on each GPU" if gpus else f"with {way.value} GiB of memory",
    }[way.change]
    return f"{what}: {gib(way.needed)}"


def _size(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB" if size else "-"
