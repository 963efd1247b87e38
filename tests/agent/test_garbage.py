"""What is garbage, what is held, and what a removal never touches."""

import os
import time
from pathlib import Path

import pytest

from vllama_agent.store import briefs, garbage, holds, manifests, wanted
from vllama_agent.store.holds import Hold
from vllama_core.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def aged(path: Path, *, days: float = 30) -> Path:
    """The same file, long ago."""
    then = time.time() - days * 86400
    os.utime(path, (then, then))
    return path


def test_a_blob_that_no_name_needs_is_garbage_after_an_hour(home: Path, gguf, put) -> None:
    needed, unneeded = put(home, gguf(), "m"), put(home, b"unneeded")
    aged(manifests.blob(home, needed))
    assert garbage.unused(home) == []
    aged(manifests.blob(home, unneeded))
    assert garbage.unused(home) == [garbage.Garbage(manifests.blob(home, unneeded), 8)]
    gone, stays = garbage.collect(home)
    assert (len(gone), stays) == (1, [])
    assert [path.name for path in (home / "blobs").iterdir()] == [f"sha256-{needed}"]


def test_every_file_of_a_model_is_needed(home: Path, gguf, put) -> None:
    digests = [put(home, content) for content in (b"second", b"projector", b"adapter")]
    second, projector, adapter = (manifests.FileRef(digest=digest, size=1) for digest in digests)
    first = manifests.FileRef(digest=put(home, gguf()), size=1)
    put(home, gguf(), "m", files=(first, second), projector=projector, adapters=(adapter,))
    for path in (home / "blobs").iterdir():
        aged(path)
    assert garbage.unused(home) == []


def test_what_is_loaded_stays(home: Path, put) -> None:
    path = aged(manifests.blob(home, put(home, b"x")))
    first, second = Hold([path]), Hold([path])
    first.release()
    assert garbage.collect(home) == ([], [garbage.Garbage(path, 1)])
    second.release()
    assert garbage.collect(home) == ([garbage.Garbage(path, 1)], [])
    assert not path.exists()


def test_a_hold_on_files_that_are_gone_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"")
    with pytest.raises(FileNotFoundError):
        Hold([file, tmp_path / "gone"])
    assert holds.remove_unused(file)


def test_where_locks_are_unknown_files_count_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_handle: int, _kind: int) -> None:
        raise OSError(holds.NO_LOCKS[0], "no locks here")

    monkeypatch.setattr(holds.fcntl, "flock", unknown)
    file = tmp_path / "x"
    file.write_bytes(b"")
    hold = Hold([file])
    assert holds.remove_unused(file)
    hold.release()


def test_scratch_is_garbage_after_a_day(home: Path) -> None:
    (home / "blobs").mkdir(parents=True)
    file, folder = home / "blobs" / ".partial-abc", home / "blobs" / ".partial-create-x"
    file.write_bytes(b"123")
    folder.mkdir()
    (folder / "converted.gguf").write_bytes(b"1234")
    aged(file)
    aged(folder)
    assert [item.path for item in garbage.unused(home)] == [file]  # something in the folder is fresh
    aged(folder / "converted.gguf")
    aged(folder)
    gone, _ = garbage.collect(home)
    assert sorted(item.path for item in gone) == [file, folder]
    assert list((home / "blobs").iterdir()) == []


def test_a_half_pulled_file_waits_for_whoever_goes_on_with_it(home: Path) -> None:
    assert garbage.HALF_PULLED == wanted.STALE_SECONDS
    folder = home / "partials" / ("a" * 64)
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(b"12345")
    ages = (2 * garbage.STALE, 2 * garbage.HALF_PULLED)
    found = []
    for age in ages:
        for path in (folder / "data", folder):
            os.utime(path, (time.time() - age,) * 2)
        found.append([item.path for item in garbage.unused(home)])
    assert found == [[], [folder]]
    garbage.collect(home)
    assert list((home / "partials").iterdir()) == []


def test_finished_files_of_a_half_pulled_model_stay(home: Path, put) -> None:
    """They have no name before the last file is here, which may take days on a slow line."""
    first = aged(manifests.blob(home, put(home, b"first of two files")), days=3)
    partial = home / "partials" / ("a" * 64)
    partial.mkdir(parents=True)
    (partial / "data").write_bytes(b"half of the second")
    assert garbage.unused(home) == []
    (partial / "data").unlink()
    partial.rmdir()
    assert [item.path for item in garbage.unused(home)] == [first]


def test_a_kept_header_goes_with_its_file(home: Path, gguf, put) -> None:
    digest = put(home, gguf(), "m")
    briefs.read(home, digest, manifests.blob(home, digest))
    other = briefs.path_of(home, "a" * 64)
    other.write_text("{}")
    aged(other)
    aged(briefs.path_of(home, digest))
    assert [item.path for item in garbage.unused(home)] == [other]


def test_other_peoples_files_are_left_alone(home: Path) -> None:
    (home / "blobs").mkdir(parents=True)
    for name in ("README", "sha256-short", "sha256-" + "g" * 64, "notes.txt"):
        aged_path = home / "blobs" / name
        aged_path.write_bytes(b"x")
        aged(aged_path)
    assert garbage.unused(home) == []


def test_an_unreadable_manifest_stops_everything(home: Path, gguf, put) -> None:
    """Nobody knows what it needs: another version may have written it."""
    put(home, gguf(), "m")
    path = aged(manifests.blob(home, put(home, b"perhaps needed")))
    [manifest] = manifests.paths(home)
    manifest.write_text('{"schema": 99}')
    with pytest.raises(ConfigError, match="nothing is removed"):
        garbage.collect(home)
    assert path.exists()


def test_an_empty_home_has_no_garbage(home: Path) -> None:
    assert garbage.unused(home) == []
