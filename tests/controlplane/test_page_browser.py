"""The page in a real browser, before the real API server."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.cluster import Cluster
from tests.support.browser import chromium, visitor
from tests.support.furnished import create_namespace
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


@pytest.fixture(scope="module")
def token(api: httpx.Client) -> str:
    """Of somebody who may see everything."""
    create_namespace(api, NAMESPACE)
    return viewer_token(api, NAMESPACE, "everything", {"view": "*", "cluster-admin": "gpu-relay"})


@pytest.fixture
def scene(api: httpx.Client, token: str) -> Iterator[Scene]:
    scene = Scene(api, NAMESPACE)
    yield scene
    scene.clear()


def test_everything_works_by_keyboard(browser: Browser, page: PageProcess, token: str, scene: Scene) -> None:
    scene.past()
    with visitor(browser, page) as tab:
        expect(tab.get_by_label("Token", exact=True)).to_be_focused()
        tab.keyboard.insert_text(token)
        tab.keyboard.press("Enter")
        expect(tab.locator("#rows tr")).to_have_count(5)
        tab.keyboard.press("/")
        tab.keyboard.type("forklifts")
        expect(tab.locator("#rows tr")).to_have_count(2)
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("Enter")
        expect(tab.get_by_role("heading", name="forklifts-v3")).to_be_visible()
        expect(tab.locator("#detail")).to_be_focused()
        tab.keyboard.press("Tab")
        expect(tab.get_by_role("link", name="Close the details")).to_be_focused()
        tab.keyboard.press("Escape")
        expect(tab.locator("#detail")).to_be_hidden()
        expect(tab.get_by_role("link", name="forklifts-v3")).to_be_focused()
        seen = _tab_stops(tab, 40)
        assert {"range", "search", "leave"} <= seen, "all controls are reached"


def _tab_stops(tab: Page, most: int) -> set[str]:
    seen = set()
    for _ in range(most):
        tab.keyboard.press("Tab")
        seen.add(str(tab.evaluate("document.activeElement.id")))
    return seen
