"""The operator's client of the API server, over a server that lists as Kubernetes does."""

from __future__ import annotations

import aiohttp
import local_server
from aiohttp import web

from vllama_operator.cluster import Cluster


async def test_listed_objects_are_told_apart_by_no_field_that_a_list_leaves_out() -> None:
    """A list of a built-in kind says once what its items are; without that each would seem to differ from what is wanted."""
    pages = {"": ("b", "next"), "next": ("a", "")}

    async def listed(request: web.Request) -> web.Response:
        name, proceed = pages[request.query.get("continue", "")]
        item = {"metadata": {"name": name, "namespace": "team"}, "spec": {}}
        return web.json_response({"kind": "ServiceList", "apiVersion": "v1", "metadata": {"continue": proceed}, "items": [item]})

    app = web.Application()
    app.router.add_get("/api/v1/services", listed)
    async with local_server.running(app) as server, aiohttp.ClientSession(base_url=server) as session:
        found = await Cluster(session, dict, timeout=10, check=lambda: None).list_all("Service")
    assert [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in found] == [
        ("v1", "Service", "b"),
        ("v1", "Service", "a"),
    ]
