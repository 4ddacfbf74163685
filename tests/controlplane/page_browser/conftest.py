"""A browser, the page, and a scene of jobs and GPUs for it."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser

from devcluster import Cluster
from devcluster.scripted.furnished import create_namespace
from tests.support.ages import Etcd
from tests.support.browser import chromium
from tests.support.page import PageProcess, viewer_token
from tests.support.page_scenes import Scene

NAMESPACE = "warehouse"


@pytest.fixture(scope="module")
def page(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageProcess]:
    page = PageProcess(cluster, tmp_path_factory.mktemp("page") / "page.log")
    yield page
    page.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def token(api: httpx.Client) -> str:
    """Of somebody who may see everything."""
    create_namespace(api, NAMESPACE)
    return viewer_token(api, NAMESPACE, "everything", {"view": "*", "cluster-admin": "gpu-relay"})


@pytest.fixture
def scene(api: httpx.Client, cluster: Cluster, token: str) -> Iterator[Scene]:
    etcd = Etcd(cluster.run_dir)
    scene = Scene(api, etcd, NAMESPACE)
    yield scene
    scene.clear()
    etcd.close()
