"""Bytes from a hub that cuts, stalls, refuses and lies, into a file that is right or not there."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import fake_hub
import pytest
import small_gguf
from fake_hub import FakeHub

from vllama_agent.store import claim, download, remote, transfer
from vllama_agent.store import wanted as wanted_files
from vllama_agent.store.origin import Origin, retry_after
from vllama_agent.store.partial import Partial
from vllama_agent.store.wanted import Wanted
from vllama_agent.testing import until
from vllama_core.errors import AccessDenied, FetchFailed, NoSpace

MIB = 1 << 20
DATA = random.Random(7).randbytes(20 * MIB)
SHA256 = hashlib.sha256(DATA).hexdigest()
QUICK = 0.01
"""Pauses in hundredths."""


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with fake_hub.running() as running:
        running.add("me/model", {"m.gguf": DATA, "config.json": b"{}"})
        yield running


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short here; a gate that is closed for long is still no stall."""
    monkeypatch.setattr(transfer, "STALL_SECONDS", transfer.STALL_SECONDS / QUICK)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


def wanted(hub: FakeHub, folder: Path, *, sha256: str = SHA256, path: str = "m.gguf", size: int = len(DATA), token: str = "") -> Wanted:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    origin = Origin(f"{hub.endpoint}/me/model/resolve/main/{path}", headers, denied="accept its terms")
    return Wanted(target=folder / "target", partials=folder / "partials", origin=origin, checksum=sha256, size=size)


class Watched(list[int]):
    """Remembers what was told of a file's bytes."""

    def __call__(self, completed: int) -> None:
        self.append(completed)


async def fetch(session: aiohttp.ClientSession, file: Wanted, **more: object) -> Watched:
    watched = Watched()
    await download.fetch(session, file, on_bytes=watched, unit=QUICK, **more)  # type: ignore[arg-type]
    return watched


def left_over(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in (folder / "partials").rglob("*")]


async def test_a_file_arrives_whole_and_leaves_nothing_behind(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    watched = await fetch(session, wanted(hub, tmp_path))
    assert (tmp_path / "target").read_bytes() == DATA
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o644
    assert left_over(tmp_path) == []
    assert watched == sorted(watched)
    assert watched[-1] == len(DATA)
    assert hub.sent["m.gguf"] == len(DATA)
    assert len(hub.ranges) == 3, "segments of 8 MiB"


async def test_what_is_there_is_not_asked_for(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(DATA)
    await fetch(session, wanted(hub, tmp_path))
    assert hub.seen == []


async def test_small_files_have_gits_checksum(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    sha1, _ = hub.repos["me/model"].sums["config.json"]
    await fetch(session, wanted(hub, tmp_path, path="config.json", sha256=sha1, size=2))
    assert (tmp_path / "target").read_bytes() == b"{}"


async def test_an_empty_file_is_a_file(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    repo = hub.add("me/model", {"empty.txt": b""})
    await fetch(session, wanted(hub, tmp_path, path="empty.txt", sha256=repo.sums["empty.txt"][0], size=0))
    assert (tmp_path / "target").read_bytes() == b""


async def test_a_token_goes_to_the_hub_and_not_where_it_redirects(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.repos["me/model"].gated = True
    await fetch(session, wanted(hub, tmp_path, token="hf_right"))
    assert (tmp_path / "target").read_bytes() == DATA
    assert hub.tokens_at_content == []


async def test_cuts_cost_no_byte_twice(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.cut_after.extend([100_000, 3 * MIB + 17, 1, MIB])
    await fetch(session, wanted(hub, tmp_path), streams=1)
    assert (tmp_path / "target").read_bytes() == DATA
    assert hub.sent["m.gguf"] - len(DATA) <= 4 * 512 * 1024, "what was in the sockets' buffers when they were cut"
    assert len(hub.ranges) == 3 + 4


async def test_a_busy_hub_is_asked_again_when_it_says(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.answers.extend([(429, {"Retry-After": "20"}), (503, {}), (500, {})])
    started = asyncio.get_running_loop().time()
    await fetch(session, wanted(hub, tmp_path), streams=1)
    assert (tmp_path / "target").read_bytes() == DATA
    assert asyncio.get_running_loop().time() - started >= 20 * QUICK
    assert not hub.answers


async def test_a_hub_that_asks_for_an_hour_is_not_waited_for(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.answers.extend([(429, {"Retry-After": "3600"})] * 3)
    with pytest.raises(FetchFailed, match="asks to come back in About an hour"):
        await fetch(session, wanted(hub, tmp_path))


async def test_a_hub_that_stays_broken_is_given_up(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.answers.extend([(500, {})] * 100)
    with pytest.raises(FetchFailed, match=r"cannot be fetched: HTTP 500; try again later"):
        await fetch(session, wanted(hub, tmp_path), streams=1)
    assert len(hub.answers) == 100 - transfer.ATTEMPTS - 1


async def test_a_stall_is_noticed_and_costs_one_request(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "STALL_SECONDS", 20.0)  # 0.2 s by the unit
    hub.gate_at = MIB
    fetching = asyncio.create_task(fetch(session, wanted(hub, tmp_path), streams=1))
    await until(lambda: len(hub.ranges) == 2)
    hub.gate_at = 1 << 62
    await fetching
    assert (tmp_path / "target").read_bytes() == DATA


@pytest.mark.parametrize(("token", "status"), [("", 401), ("hf_wrong", 403)])
async def test_a_refusal_says_how_access_is_got(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path, token: str, status: int
) -> None:
    hub.repos["me/model"].gated = True
    with pytest.raises(AccessDenied, match=rf"accept its terms \(HTTP {status}\)") as told:
        await fetch(session, wanted(hub, tmp_path, token=token))
    assert "hf_wrong" not in str(told.value)
    assert left_over(tmp_path) == []


async def test_an_error_of_a_redirect_does_not_tell_its_signature(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.content_endpoint = "http://[nowhere"
    with pytest.raises(FetchFailed, match="cannot be fetched: it leads to what is no address") as told:
        await fetch(session, wanted(hub, tmp_path))
    assert "secret" not in str(told.value)
    with pytest.raises(FetchFailed, match="cannot be read: it leads to what is no address") as told:
        await remote.header(session, wanted(hub, tmp_path).origin)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("ranged", [True, False])
async def test_a_long_header_is_read_piece_by_piece(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path, ranged: bool) -> None:
    hub.ranged = ranged
    whole = small_gguf.make(template="x" * (5 * MIB), padding=20 * MIB)
    hub.add("me/model", {"m.gguf": whole})
    looked = await remote.header(session, wanted(hub, tmp_path).origin)
    assert len(looked.header.metadata["tokenizer.chat_template"]) == 5 * MIB
    assert looked.size == len(whole)
    if ranged:
        asked = [tuple(map(int, text.removeprefix("bytes=").split("-"))) for text in hub.ranges]
        assert asked[0] == (0, MIB - 1)
        assert all(start == end + 1 for (_, end), (start, _) in itertools.pairwise(asked)), "what is here is not asked for again"


async def test_a_file_that_is_replaced_between_two_pieces_of_its_header_is_told(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, etags = small_gguf.make(template="x" * (2 * MIB)), iter(["one", "two"])

    async def read(_session: object, _origin: Origin, *, limit: int, ranged: bool, start: int) -> remote.Answer:
        return remote.Answer(whole[start:limit], len(whole), next(etags))

    monkeypatch.setattr(remote, "read", read)
    with pytest.raises(FetchFailed, match="was changed while it was looked at; try again"):
        await remote.header(session, Origin("https://example.org/m.gguf"))


async def test_wrong_bytes_are_never_published_and_not_kept(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.wrong.add("m.gguf")
    with pytest.raises(FetchFailed, match="sent wrong bytes"):
        await fetch(session, wanted(hub, tmp_path))
    assert not (tmp_path / "target").exists()
    assert left_over(tmp_path) == []
    hub.wrong.clear()
    await fetch(session, wanted(hub, tmp_path))
    assert (tmp_path / "target").read_bytes() == DATA


async def test_a_source_without_ranges_is_read_in_one_stream(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.ranged = False
    await fetch(session, wanted(hub, tmp_path))
    assert (tmp_path / "target").read_bytes() == DATA


async def test_a_source_without_ranges_that_never_gets_to_the_end_is_given_up(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Each attempt brings bytes, and none of them is new after the first: what is cut behind so few of them has sent them all."""
    hub.ranged = False
    hub.cut_after.extend([fake_hub.PIECE] * 100)
    with pytest.raises(FetchFailed, match=r"cannot be fetched: .*try again later"):
        await fetch(session, wanted(hub, tmp_path), streams=1)
    assert len(hub.cut_after) in range(100 - 2 * transfer.ATTEMPTS, 100)


async def test_a_file_that_is_replaced_while_it_is_fetched_is_not_mixed(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    hub.ranged = False  # what a source answers whose file is not the one of If-Range any more
    file = wanted(hub, tmp_path)
    changed = replace(file, origin=replace(file.origin, etag='"older"'), is_known=False, record=tmp_path / "record")
    with pytest.raises(FetchFailed, match="was changed while it was fetched; pull again"):
        await fetch(session, changed)
    assert not (tmp_path / "record").exists()


async def test_a_source_with_another_size_is_refused(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=rf"of {len(DATA)}; bytes 0 of {len(DATA) + 1} were asked for"):
        await fetch(session, wanted(hub, tmp_path, size=len(DATA) + 1), streams=1)


async def test_a_signed_address_that_expired_is_asked_for_anew(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.gate_at = MIB
    fetching = asyncio.create_task(fetch(session, wanted(hub, tmp_path), streams=1))
    await until(lambda: hub.sent["m.gguf"] >= MIB)
    hub.answers.append((403, {}))
    hub.gate.set()
    await fetching
    assert (tmp_path / "target").read_bytes() == DATA
    assert len([seen for seen in hub.seen if "resolve" in seen]) == 2


async def test_cancelling_keeps_what_has_arrived(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.gate_at = 6 * MIB
    watched = Watched()
    file = wanted(hub, tmp_path)
    fetching = asyncio.create_task(download.fetch(session, file, on_bytes=watched))
    await until(lambda: bool(watched) and watched[-1] >= 5 * MIB)
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    await until(lambda: hub.sending == 0)
    needed = wanted_files.still_needed(file)
    assert needed <= len(DATA) - 5 * MIB
    hub.gate.set()
    before = hub.sent["m.gguf"]
    await fetch(session, file)
    assert (tmp_path / "target").read_bytes() == DATA
    assert hub.sent["m.gguf"] - before <= needed
    assert left_over(tmp_path) == []


async def test_cancelling_while_a_file_is_published_does_not_pull_it_from_under_the_thread(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, reached, go_on = download._publish, threading.Event(), threading.Event()

    def slow(partial: Partial, file: Wanted, checksum: str) -> None:
        reached.set()
        assert go_on.wait(10)
        publish(partial, file, checksum)

    monkeypatch.setattr(download, "_publish", slow)
    fetching = asyncio.create_task(fetch(session, wanted(hub, tmp_path)))
    await asyncio.to_thread(reached.wait, 30)
    fetching.cancel()
    await asyncio.sleep(0)
    fetching.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert (tmp_path / "target").read_bytes() == DATA
    assert left_over(tmp_path) == []


async def test_a_file_that_is_here_may_lie_in_a_folder_that_can_only_be_read(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(DATA)
    wanted_files.check_room([wanted(hub, tmp_path)])
    assert not (tmp_path / "partials").exists()


async def test_two_share_one_download_and_see_the_same_progress(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.gate_at = 6 * MIB
    first, second = Watched(), Watched()
    file = wanted(hub, tmp_path)
    async with asyncio.TaskGroup() as tasks:
        for watched in (first, second):
            tasks.create_task(download.fetch(session, file, on_bytes=watched, unit=QUICK))
        await until(lambda: all(watched and watched[-1] >= 5 * MIB for watched in (first, second)))
        hub.gate.set()
    assert first[-1] == second[-1] == len(DATA)
    assert hub.sent["m.gguf"] == len(DATA)


async def test_a_follower_goes_on_where_a_cancelled_leader_stopped(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    hub.gate_at = 6 * MIB
    file, watched = wanted(hub, tmp_path), Watched()
    leader = asyncio.create_task(download.fetch(session, file, on_bytes=Watched(), unit=QUICK))
    await until(lambda: wanted_files.still_needed(file) < len(DATA))
    follower = asyncio.create_task(download.fetch(session, file, on_bytes=watched, unit=QUICK))
    await until(lambda: bool(watched) and watched[-1] >= 5 * MIB)
    leader.cancel()
    hub.gate.set()
    await follower
    assert (tmp_path / "target").read_bytes() == DATA
    assert hub.sent["m.gguf"] - len(DATA) <= 4 * MIB


async def test_the_result_is_right_where_claims_exclude_nobody(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that lets two create the same file: both fetch, each into a file of its own, and one is published."""
    monkeypatch.setattr(claim.Claim, "try_acquire", lambda self, now: True)
    monkeypatch.setattr(claim.Claim, "is_held", lambda self: True)
    monkeypatch.setattr(claim.Claim, "release", lambda self: None)
    monkeypatch.setattr(download, "_adopted", lambda folder, token: folder / f"work.{token}")
    hub.gate_at = 6 * MIB
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(fetch(session, wanted(hub, tmp_path)))
        await until(lambda: len(list((tmp_path / "partials" / SHA256).glob("work.*"))) == 2)
        hub.gate.set()
    assert (tmp_path / "target").read_bytes() == DATA
    assert left_over(tmp_path) == []


async def test_who_loses_its_claim_stops_and_follows(
    hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "BEAT_SECONDS", 0.01)
    hub.gate_at = 6 * MIB
    file = wanted(hub, tmp_path)
    victim = asyncio.create_task(fetch(session, file))
    await until(lambda: hub.sent["m.gguf"] >= 6 * MIB)
    folder = tmp_path / "partials" / SHA256
    (folder / "owner").unlink()
    thief = claim.Claim(folder)
    await until(lambda: thief.try_acquire(0))
    await until(lambda: not any(task.get_name().startswith("stream") for task in asyncio.all_tasks()))
    assert not victim.done()
    thief.release()
    hub.gate.set()
    await victim
    assert (tmp_path / "target").read_bytes() == DATA


async def test_a_full_disk_is_told_before_anything_is_fetched(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=70 * MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoSpace, match="20 MB are needed and 73 MB are free"):
        wanted_files.check_room([wanted(hub, tmp_path)])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100 * MIB))
    wanted_files.check_room([wanted(hub, tmp_path)])
    with pytest.raises(NoSpace, match="50 MB are needed and 104 MB are free"):
        wanted_files.check_room([wanted(hub, tmp_path)], beside=(tmp_path, 30_000_000))


@asynccontextmanager
async def small_disk(folder: Path, size: int) -> AsyncIterator[Path]:
    folder.mkdir()
    made = await asyncio.create_subprocess_exec(
        "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder), stderr=asyncio.subprocess.DEVNULL
    )
    if await made.wait():
        pytest.skip("this user cannot mount a small file system")
    try:
        yield folder
    finally:
        await (await asyncio.create_subprocess_exec("umount", str(folder))).wait()


async def test_a_disk_that_fills_up_keeps_what_has_arrived(hub: FakeHub, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with small_disk(tmp_path / "disk", 12 * MIB) as disk:
        file = wanted(hub, disk)
        with pytest.raises(NoSpace, match=r"the disk is full at .*make room and pull again"):
            await fetch(session, file)
        assert wanted_files.still_needed(file) < len(DATA) - 8 * MIB
        assert not file.target.exists()


def test_stale_partial_files_are_collected_and_others_stay(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name / "work.x").mkdir(parents=True)
        (tmp_path / name / "work.x" / "data").write_bytes(b"x")
    for path in [*(tmp_path / "old").rglob("*"), tmp_path / "old"]:
        os.utime(path, (1, 1))
    (tmp_path / "going").mkdir()
    (tmp_path / "going" / "gone").symlink_to("nowhere")  # as a file looks that another pull has just published
    (tmp_path / "claimed").mkdir()
    claim.Claim(tmp_path / "claimed").try_acquire(0)
    for path in (tmp_path / "claimed" / "owner", tmp_path / "claimed"):
        os.utime(path, (1, 1))  # as everything looks after a clock has jumped
    assert wanted_files.collect(tmp_path) == [tmp_path / "old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claimed", "going", "new"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 0),
        ("soon", 0),
        ("", 0),
        ("-5", 0),
        ("²", 0),
    ],
)
def test_how_long_a_source_wants_to_be_left_alone(text: str, seconds: float) -> None:
    assert retry_after(text, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


def test_segments_cover_what_is_missing_in_order() -> None:
    missing = [(0, 3), (50 * MIB, 90 * MIB)]
    cut = transfer.segments(missing, 8)
    assert cut[0] == (0, 3)
    assert cut[1][0] == 50 * MIB
    assert cut[-1][1] == 90 * MIB
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(cut[1:]))
    assert all(end - start <= transfer.LARGEST_SEGMENT for start, end in transfer.segments([(0, 200 << 30)], 8))
