"""`vllama plan`: does a model fit, and what would. Reads headers, fetches nothing."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from vllama_agent.commands import output, settings, values
from vllama_core import quantization_names
from vllama_core.engine_build import EngineName
from vllama_core.errors import ConfigError
from vllama_core.sizing import budget as budgets
from vllama_core.sizing import report
from vllama_core.sizing.budget import Budget
from vllama_core.sizing.choice import Wanted
from vllama_core.sizing.plan import Plan, Question, make
from vllama_core.sizing.shape import ModelShape

COLUMNS = ("PART", "MEMORY", "GPU")
ENGINES = (EngineName.LLAMA_CPP, EngineName.VLLM)
MOST_GPUS = 64


def parser(prog: str) -> argparse.ArgumentParser:
    """Flags of `plan`."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Tell whether a model fits into memory, by what arithmetic, and what would fit. Only headers are read: nothing is "
        "downloaded. Without --memory and --gpus, for this machine as it is now.",
        allow_abbrev=False,
    )
    made.add_argument("model", help="as `pull` and `serve --model` take it")
    made.add_argument("--memory", metavar="SIZE", help="such as 24GiB: of each GPU with --gpus, else of the machine")
    made.add_argument("--gpus", metavar="N", help="how many GPUs (those of this machine)")
    made.add_argument("--host-memory", metavar="SIZE", help="of the machine that the GPUs are in (as much as they have)")
    made.add_argument("--context", metavar="TOKENS", help="such as 32k: most tokens of one request (chosen)")
    made.add_argument("--parallel", metavar="N", help="requests at once (chosen)")
    made.add_argument("--quantization", metavar="NAME", help="such as Q8_0: of the GGUF file, or to convert to")
    made.add_argument("--engine", metavar="NAME", help=f"{' or '.join(ENGINES)} ({ENGINES[0]})")
    made.add_argument("--json", action="store_true", help="print the answer as JSON, in one line of at most 4096 bytes")
    made.add_argument("--output", metavar="FILE", type=Path, help="write that line into a file; a Job's /dev/termination-log, for one")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Look, compute, print. The exit status tells that there is an answer, whatever it is."""
    engine = _engine(arguments.engine)
    quantization = _quantization(arguments.quantization, engine)
    wanted = Wanted(
        context=budgets.parse_tokens(arguments.context) if arguments.context else None,
        parallel=_whole("--parallel", arguments.parallel, most=4096),
    )
    budget = budget_of(arguments)
    shape = _shape(arguments.model, os.environ, original=engine is EngineName.VLLM, quantization=quantization)
    plan = make(Question(model=arguments.model, engine=engine, shape=shape, wanted=wanted, budget=budget))
    if arguments.output:
        _write(arguments.output, report.line(report.as_json(plan)))
    elif arguments.json:
        print(report.line(report.as_json(plan)))
    else:
        _print(plan)
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise ConfigError(f"--output is {str(path)!r}, which cannot be written: {error.strerror}") from error


def _engine(name: str | None) -> EngineName:
    known = {str(engine): engine for engine in ENGINES} | {"llamacpp": EngineName.LLAMA_CPP}
    if name is not None and name.lower() not in known:
        raise ConfigError(f"--engine is {name!r}: it must be one of {', '.join(ENGINES)}")
    return known[name.lower()] if name else ENGINES[0]


def _quantization(name: str | None, engine: EngineName) -> str | None:
    if name is None:
        return None
    if engine is EngineName.VLLM:
        raise ConfigError("--quantization names a GGUF file's; vLLM loads a model as it was published: name a repository in FP8 or AWQ")
    found = quantization_names.parse(name)
    if found is None:
        raise ConfigError(f"--quantization is {name!r}: it must be one such as {', '.join(('Q4_K_M', 'Q6_K', 'Q8_0', 'F16'))}")
    return found


def _whole(flag: str, text: str | None, *, most: int) -> int | None:
    try:
        return values.whole(least=1, most=most)(text) if text is not None else None
    except ValueError as error:
        raise ConfigError(f"{flag} is {text!r}: {error}") from None


def budget_of(arguments: argparse.Namespace) -> Budget:
    """The memory that was named, else this machine's.

    :raises ConfigError: a size or a number is none, or GPUs are named that nothing says the size of.
    """
    count = _whole("--gpus", arguments.gpus, most=MOST_GPUS)
    memory = budgets.parse_size(arguments.memory) if arguments.memory else None
    host = budgets.parse_size(arguments.host_memory) if arguments.host_memory else None
    if memory is not None:
        return Budget(host=host or memory * (count or 1), devices=(memory,) * (count or 0))
    from vllama_agent.hardware.machine import detect

    here = budgets.of_machine(detect())
    if count and not here.devices:
        raise ConfigError(f"--gpus is {count}, but this machine has none; say how much memory each has: --memory 24GiB")
    devices = (here.devices[0],) * count if count else here.devices
    return Budget(host=host or here.host, devices=devices, unified=here.unified)


def _shape(ref: str, environment: Mapping[str, str], *, original: bool, quantization: str | None) -> ModelShape:
    """By the same sources as `serve`; a server need not run."""
    from vllama_agent.store import Store, shapes
    from vllama_agent.store.sources import sources_of

    config = settings.read(argparse.Namespace(model=[]), environment)
    store = Store(config.home, config.stores)
    return asyncio.run(shapes.of(ref, store=store, sources=sources_of(config), original=original, quantization=quantization))


def _print(plan: Plan) -> None:
    print(report.headline(plan))
    print()
    output.table(COLUMNS, report.rows(plan))
    print()
    print(f"settings: {report.settings_line(plan)}")
    if plan.largest_context:
        print(f"the longest context that fits: {plan.largest_context}")
    if plan.ways_out:
        print("it would fit")
        for way in plan.ways_out:
            print(f"  {report.way_out_line(way, gpus=bool(plan.question.budget.devices))}")
