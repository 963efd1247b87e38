"""Which arguments of vLLM's server nobody but the agent may give. Pure.

https://docs.vllm.ai/en/v0.32.0/configuration/serve_args/
"""

from __future__ import annotations

_SOCKET = "the agent alone speaks to it, over a private socket"
_READS = "the agent reads thoughts and calls itself, by --chat-family (engine.options.chatFamily)"
RESERVED = {
    **dict.fromkeys(("--model", "--served-model-name"), "the agent names the model"),
    **dict.fromkeys(("--host", "--port", "--uds", "--root-path", "--ssl-keyfile", "--ssl-certfile", "--headless", "--grpc"), _SOCKET),
    **dict.fromkeys(("--tool-call-parser", "--enable-auto-tool-choice", "--reasoning-parser"), _READS),
    "--api-key": "the agent makes a key of its own, and has --api-key-file for clients",
    "--max-model-len": "say --ctx-size (resources.contextLength)",
    "--max-num-seqs": "say --parallel (engine.options.parallel)",
    "--config": "say each argument by itself",
}
"""Arguments that would take the server away from the agent, or contradict it, and why."""
LEAST = len("--po")
"""Characters of an abbreviation that could be told apart: vLLM's parser takes any beginning that only one argument has."""


def refusal(argument: str) -> str | None:
    """Why an argument is not to be given, and what to say instead; None: it may.

    :param argument: ``--name``, ``--name=value``, or a value. A beginning of a reserved name counts as that name.
    """
    flag = argument.partition("=")[0].replace("_", "-")
    if flag in RESERVED:
        return RESERVED[flag]
    if flag.startswith("--") and len(flag) >= LEAST:
        return next((why for name, why in RESERVED.items() if name.startswith(flag)), None)
    return None
