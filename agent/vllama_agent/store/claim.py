"""One download of a file at a time on everything that shares a folder: processes, containers, machines on a network file system.

No file locks: they lie on network file systems. A claim is a file that only one can create (`O_EXCL`) and that its owner touches every
few seconds. On the same machine a dead owner is known at once, by its process id or by a reboot; elsewhere by a claim that nobody touched
for a minute *of the observer's own clock*, so clocks may differ and jump. Even when two believe that they own, the result is right: each
writes a file of its own, and what is published was hashed before.
"""

from __future__ import annotations

import json
import os
import platform
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vllama_agent.store.journal import boot_id

BEAT_SECONDS = 5.0
"""Between two touches of a claim."""
MACHINE_ID = Path("/etc/machine-id")
SILENCE_SECONDS = 60.0
"""Without a touch until an owner counts as gone whose process cannot be seen: long enough for a machine that swaps."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a claim.

    :ivar token: tells this claim from all others.
    :ivar host: tells machines apart, across their reboots; empty where nothing does.
    :ivar boot: of that machine.
    :ivar namespace: in which `process` is a process id.
    :ivar started: when the process began, in the kernel's units: process ids are used again.
    """

    token: str
    host: str
    boot: str
    namespace: str
    process: int
    started: str


_KINDS = {"token": str, "host": str, "boot": str, "namespace": str, "process": int, "started": str}


def host() -> str:
    """Identity and name of this machine: images of containers and copies of virtual ones share an identity, but not the name too."""
    try:
        identity = MACHINE_ID.read_text().strip()
    except OSError:
        return ""
    return f"{identity} {platform.node()}" if identity else ""


def namespace() -> str:
    """What process ids are unique in; the machine's name where the system has no such thing."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return platform.node()


def started(process: int) -> str:
    """When a process began; empty where the system does not say or there is none."""
    try:
        # The command's name is in parentheses and may hold anything, so fields are counted behind its end. proc_pid_stat(5)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def me() -> Owner:
    """A claim of this process."""
    return Owner(uuid.uuid4().hex, host(), boot_id(), namespace(), os.getpid(), started(os.getpid()))


def is_alive(owner: Owner, silent_seconds: float) -> bool:
    """Whether an owner still works.

    :param silent_seconds: how long the observer has seen no touch.
    """
    if silent_seconds >= SILENCE_SECONDS:
        return False
    if owner.boot != boot_id():
        return not owner.host or owner.host != host()
    return owner.namespace != namespace() or _is_running(owner)


def is_at_work(folder: Path) -> bool:
    """Whether a process of this machine holds the claim on a folder. No clock is asked: one that jumps makes files old at once."""
    found = Claim(folder).holder()
    return found is not None and (found.boot, found.namespace) == (boot_id(), namespace()) and _is_running(found)


def is_left(folder: Path) -> bool:
    """Whether the claim on a folder is that of a process of this machine that is gone."""
    found = Claim(folder).holder()
    return found is not None and not is_alive(found, 0.0)


def _is_running(owner: Owner) -> bool:
    """Of an owner of this boot and in this namespace."""
    try:
        os.kill(owner.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not owner.started or started(owner.process) == owner.started


class Claim:
    """The claim on one folder.

    :param folder: exists.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "owner"
        self.owner = me()
        self._seen: tuple[str, int] = ("", 0)
        self._seen_at = 0.0

    def try_acquire(self, now: float) -> bool:
        """Claim the folder if nobody alive holds it.

        :param now: seconds of a clock that never jumps.
        """
        if self._create():
            return True
        found = self.holder()
        if found is None or is_alive(found, self._silence(found, now)):
            return False
        return self._evict(found) and self._create()

    def is_held(self) -> bool:
        """Touch the claim; False: somebody took it over."""
        try:
            found = self.holder()
            if found != self.owner:
                return False
            os.utime(self._path)
        except FileNotFoundError:
            return False
        return True

    def release(self) -> None:
        """Let others have it."""
        if self.holder() == self.owner:
            self._path.unlink(missing_ok=True)

    def _create(self) -> bool:
        """Whole or not at all: linking fails where the name is taken, and nobody reads half a record."""
        scratch = self._path.with_name(f"owner.{self.owner.token}")
        try:
            scratch.write_text(json.dumps(asdict(self.owner)))
            os.link(scratch, self._path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return self._create_exclusively()
        finally:
            scratch.unlink(missing_ok=True)
        return True

    def _create_exclusively(self) -> bool:
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(self.owner), file)
        return True

    def holder(self) -> Owner | None:
        """Who holds it, alive or not; None: nobody does."""
        try:
            return _owner(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError):
            return Owner("unreadable", "", "unreadable", "", 0, "")

    def _silence(self, owner: Owner, now: float) -> float:
        """Seconds without a touch, as seen from here."""
        try:
            seen = (owner.token, self._path.stat().st_mtime_ns)
        except OSError:
            return 0.0
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        return now - self._seen_at

    def _evict(self, owner: Owner) -> bool:
        """Take a dead owner's claim away. Renaming has one winner; who finds that it moved another claim than it judged puts it back."""
        taken = self._path.with_name(f"owner.{self.owner.token}")
        try:
            os.rename(self._path, taken)
            moved = _owner(json.loads(taken.read_text()))
        except (OSError, ValueError, TypeError, KeyError):
            moved = None
        if moved is not None and moved != owner:
            with suppress(OSError):  # then its owner will find the claim gone, and ask for it again
                os.link(taken, self._path)
        taken.unlink(missing_ok=True)
        return moved is None or moved == owner


def _owner(fields: Any) -> Owner:
    return Owner(**{name: kind(fields[name]) for name, kind in _KINDS.items()})
