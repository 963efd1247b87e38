"""What of a partial file can be trusted after a crash.

An append-only text beside the file. A line is written when a range's bytes have been written: they are safe when the process is
killed, because the kernel has them, but not when the machine stops. So each section names the boot that it was written under, and
`synced N` says that the first N ranges were on the disk before that line. Whoever reads it trusts synced ranges always and the
others only under the same boot. Reading stops at the first line that is not whole or makes no sense: a power cut leaves such ends.
"""

from __future__ import annotations

import errno
import functools
import os
import subprocess
from pathlib import Path

from vllama_agent.store.ranges import Range, Ranges

HEAD = "vllama journal 1"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MAC_BOOT_ID = ("sysctl", "-n", "kern.bootsessionuuid")
SYSCTL_SECONDS = 2.0
"""It asks the kernel and nobody else: milliseconds."""


@functools.cache
def boot_id() -> str:
    """Names this boot of this machine; empty where the system has no name for it, and then nothing unsynced is trusted."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return _mac_boot_id()


def _mac_boot_id() -> str:
    try:
        done = subprocess.run(MAC_BOOT_ID, capture_output=True, text=True, timeout=SYSCTL_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


class Reading:
    """A journal as it is read, in one piece or as it grows.

    :param size: bytes of the file that it is about; a journal about another size says nothing.
    :param boot: the boot that this is read under.
    :ivar ranges: those that can be trusted now.
    :ivar count: range lines, trusted or not.
    :ivar length: bytes of the journal that make sense.
    """

    def __init__(self, *, size: int, boot: str) -> None:
        self.ranges = Ranges()
        self.count = 0
        self.length = 0
        self._size = size
        self._boot = boot
        self._has_head = False
        self._has_ended = False
        self._section = ""
        self._unsynced: list[Range] = []

    def feed(self, text: bytes) -> None:
        """What stands behind `length` in the journal. A line that is not whole yet is left for the next time."""
        for line in text.split(b"\n")[:-1]:
            if self._has_ended or not self._take(line.decode("ascii", "replace").split(" ")):
                self._has_ended = True
                return
            self.length += len(line) + 1

    def _take(self, words: list[str]) -> bool:
        """One line; False: it makes no sense here."""
        match words:
            case ["vllama", "journal", "1", number] if number == str(self._size) and not self._has_head:
                self._has_head = True
            case ["boot", *name] if self._has_head:
                self._section = " ".join(name)
            case ["synced", number] if self._has_head and number.isdigit() and int(number) <= self.count:
                done = max(int(number) - (self.count - len(self._unsynced)), 0)
                for start, end in self._unsynced[:done]:
                    self.ranges.add(start, end)
                del self._unsynced[:done]
            case [first, behind] if self._has_head and first.isdigit() and behind.isdigit() and int(first) < int(behind) <= self._size:
                self._unsynced.append((int(first), int(behind)))
                self.count += 1
                if self._boot and self._section == self._boot:
                    self.ranges.add(int(first), int(behind))
            case _:
                return False
        return True


def parse(text: bytes, *, size: int, boot: str) -> Reading:
    """Read a whole journal; the parameters are those of `Reading`."""
    reading = Reading(size=size, boot=boot)
    reading.feed(text)
    return reading


class Follower:
    """Looks again and again at a journal that another process writes, and reads only what is new of it. It blocks.

    :param size: bytes of the file that it is about.
    """

    def __init__(self, path: Path, *, size: int) -> None:
        self._path = path
        self._reading = Reading(size=size, boot=boot_id())

    def completed(self) -> int:
        """Bytes that are there; 0: there is no journal."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._reading.length)
                self._reading.feed(file.read())
        except OSError:  # its file was published, or is not begun
            return 0
        return self._reading.ranges.total


class Journal:
    """A journal that is being written. Not for two threads at once."""

    def __init__(self, path: Path, *, size: int, boot: str | None = None) -> None:
        """Open, or begin, the journal of a file of `size` bytes; `ranges` has what can be trusted."""
        boot = boot_id() if boot is None else boot
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with open(self._file, "rb", closefd=False) as reader:
            found = parse(reader.read(), size=size, boot=boot)
        self.ranges = found.ranges
        self._count = found.count
        os.ftruncate(self._file, found.length)
        if not found.length:
            self._append(f"{HEAD} {size}")
        self._append(f"boot {boot}")

    @property
    def count(self) -> int:
        """Ranges that were written."""
        return self._count

    def wrote(self, start: int, end: int) -> None:
        """The bytes of this range have been written."""
        self._append(f"{start} {end}")
        self._count += 1

    def synced(self, count: int) -> None:
        """The first `count` ranges are on the disk."""
        self._append(f"synced {count}")
        os.fsync(self._file)

    def close(self) -> None:
        """Write nothing more."""
        os.close(self._file)

    def _append(self, line: str) -> None:
        """A line that does not fit on the disk must not be taken for a shorter one, nor be continued by the next."""
        data = line.encode() + b"\n"
        if os.write(self._file, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
