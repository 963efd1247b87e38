"""`vllama doctor`: what this machine has for running models, which engines are here, and what stands in the way."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from vllama_agent.commands import output, surroundings
from vllama_agent.engines import registry
from vllama_agent.environments import report
from vllama_agent.environments.report import Report
from vllama_agent.hardware import machine as hardware
from vllama_core import engine_choice, human
from vllama_core.diagnosis import Level, LlamaCpp, Problem, Surroundings, diagnose
from vllama_core.engine_build import Build, EngineName
from vllama_core.engine_choice import Choice, Formats
from vllama_core.errors import ConfigError
from vllama_core.hardware import Accelerator, Machine

INDENT = 12
SOUND, UNSOUND = 0, 1


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `doctor`."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Tell what this machine has for running models, which engines are here, and what to do about each problem. "
        "Ends with status 1 when one of them is an error.",
        allow_abbrev=False,
    )
    made.add_argument("--json", action="store_true", help="print all of it as JSON, with the reason for each figure")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Look, decide, print; no server is needed."""
    machine = hardware.detect()
    around = surroundings.look(machine)
    home = Path(around.home)
    reports, here = report.reports(home), registry.builds(home)
    problems = diagnose(machine, _llama_cpp(reports, here), around)
    choice = _chosen(machine, here, around)
    if arguments.json:
        output.as_json(_fields(machine, reports, here, choice, around, problems))
    else:
        for line in (*_machine(machine), "", *_engines(reports, choice), "", *_problems(problems)):
            print(line)
    return UNSOUND if any(problem.level is Level.ERROR for problem in problems) else SOUND


def _llama_cpp(reports: list[Report], here: tuple[Build, ...]) -> LlamaCpp:
    found = next(one for one in reports if one.name == EngineName.LLAMA_CPP)
    build = next(build for build in here if build.engine is EngineName.LLAMA_CPP)
    return LlamaCpp(build=build, problem=found.problem, devices=found.devices)


def _chosen(machine: Machine, here: tuple[Build, ...], around: Surroundings) -> Choice | None:
    """What would run a GGUF model; None: nothing can."""
    asked, layers = around.engine, around.gpu_layers
    try:
        return engine_choice.choose(Formats(gguf=True), machine, here, asked=asked, gpu_layers=layers, python=sys.executable)
    except ConfigError:
        return None


def _fields(
    machine: Machine,
    reports: list[Report],
    here: tuple[Build, ...],
    choice: Choice | None,
    around: Surroundings,
    problems: tuple[Problem, ...],
) -> dict[str, Any]:
    return {
        "machine": dataclasses.asdict(machine),
        "engines": [dataclasses.asdict(one) for one in reports],
        "backends": [backend for build in here for backend in build.backends],
        "choice": None if choice is None else {"engine": choice.engine, "backend": choice.backend, "reason": choice.reason},
        "surroundings": dataclasses.asdict(around),
        "problems": [dataclasses.asdict(problem) for problem in problems],
    }


# -- for people -------------------------------------------------------------------------------------------------------------------------


def _row(title: str, text: str) -> str:
    return f"{title:<{INDENT}}{text}".rstrip()


def _machine(machine: Machine) -> list[str]:
    cpu, memory = machine.cpu, machine.memory
    place = " in a container" if machine.container else ""
    units = f"{human.plural(cpu.cores, 'core')}, {human.plural(cpu.threads, 'thread')}"
    limit = f", {human.size(memory.limit)} by the control group's limit" if memory.limit else ""
    lines = [
        _row("system", f"{machine.system} on {cpu.architecture}{place}"),
        _row("processor", f"{cpu.name or 'not named'}: {units} worth starting ({cpu.why['threads']})"),
        _row("", " ".join(cpu.features) or "no vector instructions that llama.cpp has kernels for"),
        _row("memory", f"{human.size(memory.total)}{limit}, {human.size(memory.available)} available ({memory.why['available']})"),
    ]
    return [
        *lines,
        *(_row(f"GPU {gpu.index}", _gpu(gpu)) for gpu in machine.accelerators),
        *([] if machine.accelerators else [_row("GPU", "none")]),
    ]


def _gpu(gpu: Accelerator) -> str:
    free = f", {human.size(gpu.free)} free" if gpu.free is not None else ""
    shared = " of the machine's memory" if gpu.unified else ""
    facts = [
        f"{human.size(gpu.usable)}{shared} usable{free} ({gpu.why['usable']})" if gpu.total else f"memory not known ({gpu.why['total']})"
    ]
    facts += [gpu.architecture] if gpu.architecture else []
    facts += [f"driver {gpu.driver}"] if gpu.driver else []
    facts += [f"CUDA {gpu.cuda[0]}.{gpu.cuda[1]}"] if gpu.cuda else []
    return f"{gpu.name}: {', '.join(facts)}"


def _engines(reports: list[Report], choice: Choice | None) -> list[str]:
    chosen = f"{choice.engine}, {choice.backend}: {choice.reason}" if choice else "no engine can run a model"
    return [*(_row(one.name, _engine(one)) for one in reports), _row("chosen", chosen)]


def _engine(one: Report) -> str:
    if one.problem is not None:
        return f"{one.version}: {one.problem}" if one.version else one.problem
    return f"{one.version}{', on ' if one.devices else ''}{', '.join(f'{device.name} ({device.description})' for device in one.devices)}"


def _problems(problems: tuple[Problem, ...]) -> list[str]:
    if not problems:
        return ["No problem was found."]
    return [line for problem in problems for line in (f"{problem.level}: {problem.what}", f"  {problem.remedy}")]
