"""Options of the command line: `--platform=darwin`, the tests as an Apple Silicon Mac would run them, as far as Linux can pretend;
`--soak-minutes`; and those of tests/cluster, as pytest reads options only from here. And a time limit for every test, and an image for two
groups of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import image_builds
import pytest
from hypothesis import settings
from time_limit import limited

# The default deadline of 200 ms an example fails on a machine that is busy with something else, which says nothing about the code.
settings.register_profile("patient", deadline=None)
settings.register_profile("long", deadline=None, max_examples=5000)
if settings.get_current_profile_name() != "long":  # which `--hypothesis-profile` asks for
    settings.load_profile("patient")

TEST_SECONDS = 300.0
"""For the body of a test; the longest takes half a minute here. What fixtures build and wait for has limits of its own."""
SLOW_SECONDS = 1800.0
DARWIN = Path(__file__).parent / "support" / "darwin"


@pytest.fixture(scope="session")
def cuda_build() -> Iterator[str]:
    """The name of the image `agent-cuda`, which tests of images and of nodes share."""
    if reason := image_builds.lacking("runc"):
        pytest.skip(reason)
    with image_builds.cuda() as name:
        yield name


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--platform", choices=["darwin"], help="pretend to be an Apple Silicon Mac: core and agent tests")
    parser.addoption("--soak-minutes", type=float, default=0.0, help="how long tests/e2e/test_mixed.py goes on; 0 = a thousand requests")
    group = parser.getgroup("cluster", "tests on a real Kubernetes (tests/cluster)")
    group.addoption("--kubeconfig", type=Path, help="a cluster made for tests (kind, k3d) instead of one of our own")
    group.addoption(
        "--cluster-build-minutes",
        type=float,
        default=0.0,
        help="how long to wait for a build of the cluster's programs that runs in the background",
    )
    group.addoption("--update-snapshots", action="store_true", help="write what the chart makes into tests/cluster/snapshots")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--platform") == "darwin":
        # what chooses its implementation when it is imported would look for parts that only a Mac has
        import aiohttp
        import httpx
        import psutil
        import uvloop

        assert all((aiohttp, httpx, psutil, uvloop))
        sys.path.insert(0, str(DARWIN))
        import fake_darwin

        os.environ.update(fake_darwin.environment())
        fake_darwin.apply()


def pytest_report_header(config: pytest.Config) -> str | None:
    return f"pretending to be {sys.platform}" if config.getoption("--platform") else None


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    soak = 60 * float(pyfuncitem.config.getoption("--soak-minutes"))
    with limited(soak + (SLOW_SECONDS if pyfuncitem.get_closest_marker("slow") else TEST_SECONDS)):
        return (yield)
