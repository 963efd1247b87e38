"""Darwin's ``sysctl``, asked once for all that is wanted."""

from __future__ import annotations

import subprocess

from vllama_agent.hardware.looking import Failed
from vllama_core.detect import sysctl
from vllama_core.detect.apple import WIRED_LIMIT

SECONDS = 2.0
NAMES = ("hw", "machdep.cpu.brand_string", "sysctl.proc_translated", WIRED_LIMIT)
"""``hw`` stands for all that begins with it."""


def read() -> dict[str, str]:
    """Value by name; names that this system does not have are left out, for which sysctl ends with status 1.

    :raises Failed: sysctl cannot be run, or prints nothing.
    """
    try:
        done = subprocess.run(["sysctl", *NAMES], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"sysctl cannot be run: {error}") from None
    values = sysctl.parse(done.stdout)
    if not values:
        raise Failed(f"sysctl printed nothing: {done.stderr.strip() or f'status {done.returncode}'}")
    return values
