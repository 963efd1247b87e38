"""What of a partial file can be trusted after a crash.

An append-only text beside the file. A line is written when a range's bytes have been written: they are safe when the process is
killed, because the kernel has them, but not when the machine stops. So each section names the boot that it was written under, and
`synced N` says that the first N ranges were on the disk before that line. Whoever reads it trusts synced ranges always and the
others only under the same boot. Reading stops at the first line that is not whole or makes no sense: a power cut leaves such ends.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from vllama_agent.store.ranges import Range, Ranges

HEAD = "vllama journal 1"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Names this boot of this machine; empty where the system has no name for it, and then nothing unsynced is trusted."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass(slots=True)
class Contents:
    """What a journal says.

    :ivar ranges: those that can be trusted now.
    :ivar count: range lines, trusted or not.
    :ivar length: bytes of the file that make sense.
    """

    ranges: Ranges = field(default_factory=Ranges)
    count: int = 0
    length: int = 0


def parse(text: bytes, *, size: int, boot: str) -> Contents:
    """Read a journal.

    :param size: bytes of the file that it is about; a journal about another size says nothing.
    :param boot: the boot that this is read under.
    """
    contents, pending, section = Contents(), list[tuple[str, Range]](), ""
    seen = False
    for line in text.split(b"\n")[:-1]:
        match line.decode("ascii", "replace").split(" "):
            case ["vllama", "journal", "1", number] if number == str(size) and not seen:
                seen = True
            case ["boot", *name] if seen:
                section = " ".join(name)
            case ["synced", number] if seen and number.isdigit() and int(number) <= contents.count:
                done = int(number) - (contents.count - len(pending))
                for _, (start, end) in pending[: max(done, 0)]:
                    contents.ranges.add(start, end)
                pending = pending[max(done, 0) :]
            case [start, end] if seen and start.isdigit() and end.isdigit() and int(start) < int(end) <= size:
                pending.append((section, (int(start), int(end))))
                contents.count += 1
            case _:
                break
        contents.length += len(line) + 1
    for written_under, (start, end) in pending:
        if boot and written_under == boot:
            contents.ranges.add(start, end)
    return contents


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
