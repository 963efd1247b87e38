"""`python -m vllama_operator`: what the operator's container runs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from vllama_core.errors import ConfigError
from vllama_operator import settings

EPILOG = (
    "Settings: VLLAMA_OPERATOR_CONFIG names a YAML file, VLLAMA_OPERATOR_NAMESPACES whose LLMServes are served (none = all), "
    "VLLAMA_OPERATOR_HEALTH_PORT where probes ask (8080). The API server is that of the pod's service account, else the one of KUBECONFIG."
)


def main(arguments: Sequence[str]) -> int:
    """Until a signal; the exit status."""
    argparse.ArgumentParser(
        prog="vllama-operator", description="Turns LLMServe objects into pods that serve models.", epilog=EPILOG
    ).parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # it says of each object a watch shows that we were told
    try:
        chosen = settings.load()
        from vllama_operator import handlers  # kopf takes a second to import, which a wrong setting need not wait for

        handlers.run(chosen)
    except ConfigError as error:
        print(f"vllama-operator: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
