"""The way to a cluster from a person's machine: by the kubeconfig, with whatever it says about getting a token.

kopf, which the operator itself logs in by, runs none of the programs that cloud clusters name there; the official client does.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from vllama_core.errors import ConfigError
from vllama_operator import cluster as clusters
from vllama_operator.cluster import Cluster, Endpoint

try:
    from kubernetes.aio import client, config
except ImportError as error:
    raise ConfigError(f"`vllama cluster` needs the extra [operator] of vllama-serve ({error})") from error

TIMEOUT = 15.0
"""Seconds for one request: somebody waits, and the cluster may be far away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """:ivar namespace: the one that was named, else the context's.
    :ivar configuration: of the official client.
    """

    cluster: Cluster
    namespace: str
    configuration: client.Configuration


@asynccontextmanager
async def connected(*, context: str | None, namespace: str | None) -> AsyncIterator[Access]:
    """A cluster while the block runs.

    :param context: a context of the kubeconfig; None: the current one.
    :raises ConfigError: there is no kubeconfig, it lacks the context, or what it says about a token fails.
    """
    configuration = client.Configuration()
    try:
        loader: Any = await config.load_kube_config(context=context, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, yaml.YAMLError, TypeError, ValueError, OSError) as error:  # a file with something else in it
        raise ConfigError(f"no way to a cluster: {error}; KUBECONFIG names the file, --kube-context a context in it") from error
    token = await configuration.get_api_key_with_prefix("BearerToken")
    headers: Mapping[str, str] = {"Authorization": token} if token else {}
    endpoint = Endpoint(server=configuration.host, tls=_tls(configuration), headers=lambda: headers)
    async with clusters.connected(endpoint, timeout=TIMEOUT, check=lambda: None) as cluster:
        chosen = loader.current_context["context"].get("namespace")
        yield Access(cluster=cluster, namespace=namespace or chosen or "default", configuration=configuration)


def _tls(configuration: client.Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
