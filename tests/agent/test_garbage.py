"""What is garbage, what is held, and what a removal never touches."""

import os
import time
from pathlib import Path

import pytest

from vllama_agent.store import Store, briefs, garbage, holds, manifests, wanted
from vllama_agent.store.claim import Claim
from vllama_agent.store.holds import Hold
from vllama_agent.store.layers import Layers
from vllama_agent.store.library import Library, Vanished
from vllama_agent.store.manifest import FileRef, Manifest, Source
from vllama_core.errors import ConfigError
from vllama_core.modelref import ModelName


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
    second, projector, adapter = (FileRef(digest=digest, size=1) for digest in digests)
    first = FileRef(digest=put(home, gguf()), size=1)
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
    with holds.alone([file, tmp_path / "gone"]) as free:
        assert free == {file}
        with pytest.raises(BlockingIOError):
            Hold([file])


def test_a_file_that_is_replaced_while_it_is_being_held_is_not_the_one_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other, lock = tmp_path / "x", tmp_path / "y", holds._lock
    file.write_bytes(b"")
    other.write_bytes(b"")

    def late(handle: int, kind: int) -> None:
        os.replace(other, file)
        lock(handle, kind)

    monkeypatch.setattr(holds, "_lock", late)
    with pytest.raises(FileNotFoundError, match="replaced"):
        Hold([file])


def test_what_gets_a_name_after_it_was_found_to_be_garbage_stays(home: Path, gguf, put) -> None:
    digest = put(home, gguf())
    path = aged(manifests.blob(home, digest))
    [found] = garbage.unused(home)
    put(home, gguf(), "m")
    assert garbage.remove(home, [found]) == ([], [found])
    assert path.exists()


def test_bytes_that_are_being_removed_get_no_name(home: Path, gguf, put) -> None:
    """A removal looks for names only after it has the lock, so one of the two always sees the other."""
    digest, content = put(home, gguf(), "m"), gguf()
    library, name = Library(Layers(home)), ModelName("n")
    made = Manifest(name=name, files=(FileRef(digest=digest, size=len(content)),), source=Source(kind="created", ref="m"))
    with holds.alone([manifests.blob(home, digest)]), pytest.raises(Vanished, match="try again"):
        library.publish(made)
    assert not manifests.path_of(home, name).exists()
    manifests.blob(home, digest).unlink()
    with pytest.raises(Vanished, match=digest):
        library.publish(made)


def test_where_locks_are_unknown_files_count_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_handle: int, _kind: int) -> None:
        raise OSError(holds.NO_LOCKS[0], "no locks here")

    monkeypatch.setattr(holds.fcntl, "flock", unknown)
    file = tmp_path / "x"
    file.write_bytes(b"")
    hold = Hold([file])
    with holds.alone([file]) as free:
        assert free == {file}
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


def test_what_a_killed_conversion_left_is_garbage_after_a_day(home: Path) -> None:
    folder = home / "partials" / ".partial-convert-x"
    folder.mkdir(parents=True)
    aged(folder, days=0.5)
    assert garbage.unused(home) == []
    aged(folder, days=1.5)
    assert [item.path for item in garbage.collect(home)[0]] == [folder]


def test_a_half_pulled_file_waits_for_whoever_goes_on_with_it(home: Path) -> None:
    assert garbage.HALF_PULLED == wanted.STALE_SECONDS
    folder = home / "partials" / ("a" * 64)
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(b"12345")
    ages = (2 * garbage.STALE, 2 * garbage.HALF_PULLED)
    going = home / "partials" / ("b" * 64)
    going.mkdir()
    Claim(going).try_acquire(0)
    for path in (going / "owner", going):
        aged(path)  # as it looks after a clock has jumped
    found = []
    for age in ages:
        for path in (folder / "data", folder):
            os.utime(path, (time.time() - age,) * 2)
        found.append([item.path for item in garbage.unused(home)])
    assert found == [[], [folder]]
    garbage.collect(home)
    assert list((home / "partials").iterdir()) == [going]


@pytest.mark.parametrize("name", ["a" * 64 + ".tar", "a" * 64 + ".123456.gguf"])
def test_a_finished_file_that_nobody_gave_its_digest_goes_after_two_weeks(home: Path, name: str) -> None:
    """As a kill leaves it between the download of an archive, or a conversion, and the blob's name."""
    file = home / "partials" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    assert garbage.collect(home) == ([], [])
    aged(file)
    assert garbage.collect(home)[0] == [garbage.Garbage(file, 1)]


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
    assert Store(home).find("m").brief
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
