"""Makes a Python on Linux look like one on an Apple Silicon Mac, as far as a program can tell by what Linux alone has.

`sys.platform` and `platform` say Darwin; what CPython has on Linux only is gone; nothing can be read below ``/proc`` and ``/sys``; the
command ``sysctl`` in ``bin/`` answers as an M3 Pro does. What it cannot do is be a Mac: the kernel, the C library and the loader
stay Linux's, so it finds calls that are not guarded, and not behaviour that differs.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import platform
import select
import signal
import socket
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LINUX_ONLY = {
    # the "Availability: Linux" lines of CPython 3.11's library reference, those that a server may be tempted by
    os: (
        *(
            "sched_getaffinity",
            "sched_setaffinity",
            "sched_getscheduler",
            "sched_setscheduler",
            "fdatasync",
            "posix_fadvise",
            "posix_fallocate",
        ),
        *("memfd_create", "pidfd_open", "pipe2", "splice", "eventfd", "copy_file_range", "getxattr", "setxattr", "getrandom"),
        *("O_DIRECT", "O_TMPFILE", "O_PATH", "O_NOATIME", "RWF_NOWAIT", "setresuid", "setns", "unshare"),
    ),
    select: ("epoll",),
    signal: ("sigtimedwait", "sigwaitinfo", "pidfd_send_signal", "SIGRTMIN", "SIGRTMAX", "SIGSTKFLT", "SIGPWR", "SIGPOLL"),
    socket: ("SO_PEERCRED", "SO_BINDTODEVICE", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_QUICKACK"),
}
HIDDEN = ("/proc", "/sys")


def apply() -> None:
    """From now on; there is no way back in this process. What decides by the platform at import must be imported before."""
    with contextlib.suppress(ImportError):
        import truststore  # noqa: F401 - the hub's client has it; on a Mac it would load Apple's own library
    sys.platform = "darwin"
    platform.system = lambda: "Darwin"
    platform.machine = lambda: "arm64"
    platform.processor = lambda: "arm"
    platform.libc_ver = lambda *_args, **_names: ("", "")
    platform.mac_ver = lambda *_args, **_names: ("14.5", ("", "", ""), "arm64")
    for module, names in LINUX_ONLY.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    tempfile._O_TMPFILE_WORKS = False  # it found one when it was imported
    # urllib.request asks macOS for its proxies by this module
    proxies: Any = types.ModuleType("_scproxy")
    proxies._get_proxies = proxies._get_proxy_settings = dict
    sys.modules["_scproxy"] = proxies
    owners = ((builtins, "open"), (io, "open"), (os, "open"), (os, "readlink"))
    for owner, name in owners:
        setattr(owner, name, _hiding(getattr(owner, name)))


def environment() -> dict[str, str]:
    """Variables that make child processes look the same: Python imports `sitecustomize` from here."""
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH")))),
        "PATH": os.pathsep.join((str(HERE / "bin"), os.environ["PATH"])),
    }


def _is_eye(caller: types.FrameType) -> bool:
    """psutil is how tests look at processes, and no part of what is tested."""
    return str(caller.f_globals.get("__name__")).startswith("psutil")


def _hiding(call: Any) -> Any:
    def hiding(path: Any, *positional: Any, **named: Any) -> Any:
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(HIDDEN) and not _is_eye(sys._getframe(1)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        return call(path, *positional, **named)

    return hiding
