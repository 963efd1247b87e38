"""The operator's client where the API server, or what stands before it, behaves oddly; elsewhere it has the real one (tests/cluster)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from kmock import RawHandler, headers, params

from vllama_operator.cluster import Cluster
from vllama_operator.errors import ClusterBusy, NotLeader, NotThere, Rejected

pytestmark = pytest.mark.kmock(cls=RawHandler)  # not the one that keeps objects as it thinks an API server does
QWEN3 = {"namespace": "team", "name": "qwen3"}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": QWEN3}


def status(code: int, message: str) -> dict[str, object]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


@pytest.fixture
async def session(kmock: RawHandler) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=str(kmock.url)) as opened:
        yield opened


@pytest.fixture
def cluster(session: aiohttp.ClientSession) -> Cluster:
    return Cluster(session, lambda: {"Authorization": "Bearer of-the-pod"}, timeout=0.5, check=lambda: None)


async def test_listed_objects_are_told_apart_by_no_field_that_a_list_leaves_out(kmock: RawHandler, cluster: Cluster) -> None:
    """A list of a built-in kind says once what its items are; without that each would seem to differ from what is wanted."""

    def page(name: str, proceed: str) -> dict[str, object]:
        item = {"metadata": {"name": name, "namespace": "team"}, "spec": {}}
        return {"kind": "ServiceList", "apiVersion": "v1", "metadata": {"continue": proceed}, "items": [item]}

    kmock["get /api/v1/services", params({"continue": "next"})] << page("a", "")
    kmock["get /api/v1/services"] << page("b", "next")
    found = await cluster.list_all("Service")
    assert [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in found] == [
        ("v1", "Service", "b"),
        ("v1", "Service", "a"),
    ]


async def test_a_list_whose_second_page_has_expired_is_to_be_asked_for_anew(kmock: RawHandler, cluster: Cluster) -> None:
    first = {"kind": "ServiceList", "apiVersion": "v1", "metadata": {"continue": "next"}, "items": [{"metadata": QWEN3}]}
    kmock["get /api/v1/services", params({"continue": "next"})] << 410 << status(410, "The provided continue parameter is too old")
    kmock["get /api/v1/services"] << first
    with pytest.raises(ClusterBusy, match="continue parameter is too old"):
        await cluster.list_all("Service")


async def test_how_long_to_wait_is_what_the_server_says(kmock: RawHandler, cluster: Cluster) -> None:
    kmock << 429 << headers({"Retry-After": "7"}) << status(429, "too many requests")
    with pytest.raises(ClusterBusy, match="too many requests") as caught:
        await cluster.get("Service", **QWEN3)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("code", [409, 500, 502, 503, 504])
async def test_what_may_pass_is_told_from_what_does_not(kmock: RawHandler, cluster: Cluster, code: int) -> None:
    kmock << code << b"<html>upstream connect error</html>"
    with pytest.raises(ClusterBusy, match="<html>upstream connect error</html>") as caught:
        await cluster.get("Service", **QWEN3)
    assert caught.value.retry_after is None


@pytest.mark.parametrize("code", [400, 403, 405, 413, 415, 422])
async def test_a_refusal_says_why(kmock: RawHandler, cluster: Cluster, code: int) -> None:
    kmock["patch"] << code << status(code, "spec.ports: Required value")
    with pytest.raises(Rejected, match=r"spec\.ports: Required value"):
        await cluster.apply(SERVICE)


async def test_a_kind_that_is_not_defined_is_not_there(kmock: RawHandler, cluster: Cluster) -> None:
    kmock << 404 << b"404 page not found\n"
    with pytest.raises(NotThere, match=r"^404 page not found$"):
        await cluster.list_all("LLMServe")
    assert not await cluster.knows("LLMServe")


@pytest.mark.parametrize("plural", ["llmserves", "llmgateways"])
async def test_a_group_is_not_yet_a_kind(kmock: RawHandler, cluster: Cluster, plural: str) -> None:
    kmock["get /apis/vllama.dev/v1alpha1"] << {"kind": "APIResourceList", "resources": [{"name": plural}, {"name": f"{plural}/status"}]}
    assert await cluster.knows("LLMServe") is (plural == "llmserves")


@pytest.mark.parametrize("sent", [b"<html>Sign in to continue</html>", b'{"kind": "Service", "meta', b""])
async def test_what_is_no_json_is_no_answer(kmock: RawHandler, cluster: Cluster, sent: bytes) -> None:
    """A proxy's page, with status 200, must not end the operator."""
    kmock << sent
    with pytest.raises(ClusterBusy, match="answers what is no JSON"):
        await cluster.get("Service", **QWEN3)


async def test_silence_is_no_answer(kmock: RawHandler, cluster: Cluster) -> None:
    kmock["get"] << (lambda: asyncio.sleep(30))
    with pytest.raises(ClusterBusy, match=r"nothing within 0\.5 seconds"):
        await cluster.get("Service", **QWEN3)


async def test_who_does_not_lead_sends_no_write(kmock: RawHandler, session: aiohttp.ClientSession) -> None:
    def refuse() -> None:
        raise NotLeader

    follower = Cluster(session, dict, timeout=0.5, check=refuse)
    writes = (follower.apply(SERVICE), follower.delete(SERVICE | {"metadata": QWEN3 | {"uid": "1"}}), follower.apply_status(SERVICE, {}))
    for write in (*writes, follower.create(SERVICE)):
        with pytest.raises(NotLeader):
            await write
    assert len(kmock) == 0


async def test_the_key_is_sent_and_never_told(kmock: RawHandler, cluster: Cluster) -> None:
    kmock << 403 << status(403, "forbidden")
    with pytest.raises(Rejected) as caught:
        await cluster.get("Service", **QWEN3)
    assert kmock["get"][0].headers["Authorization"] == "Bearer of-the-pod"
    assert "of-the-pod" not in f"{caught.value!r} {cluster!r}"
