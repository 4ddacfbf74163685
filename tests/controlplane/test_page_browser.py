"""The page in a real browser, before the real API server.

To write the images of docs/page.md, run `GPU_RELAY_PICTURES=docs/pictures pytest` with this file.
"""

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from devcluster import Cluster
from devcluster.scripted.furnished import create_namespace
from tests.support.browser import chromium, enter, visitor
from tests.support.page import PageProcess, condition, put_job, viewer_token
from tests.support.page_scenes import Scene

NAMESPACE = "warehouse"
HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
IN_THE_DOCS = {"training-light": "page-light", "many-dark": "page-dark"}
OPENED = {"acquiring": "forklifts-v5", "training": "forklifts-v5", "failed": "pallets-big-batch"}


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


def test_a_token_is_asked_for_and_kept_in_the_tab_alone(browser: Browser, page: PageProcess, token: str) -> None:
    with visitor(browser, page) as tab:
        tab.get_by_label("Token", exact=True).fill("not.a.token")
        tab.get_by_role("button", name="Connect").click()
        expect(tab.get_by_role("alert")).to_contain_text("does not accept this token")
        enter(tab, token)
        kept = tab.evaluate(
            "(token) => [Object.values(sessionStorage).includes(token), localStorage.length, document.cookie]", token
        )
        assert kept == [True, 0, ""]
        assert token not in tab.url
        tab.reload()
        tab.get_by_text("live", exact=True).wait_for()
        tab.get_by_role("button", name="Sign out").click()
        expect(tab.get_by_label("Token", exact=True)).to_be_focused()
        assert tab.evaluate("(token) => Object.values(sessionStorage).includes(token)", token) is False


def test_changes_appear_by_themselves(browser: Browser, page: PageProcess, token: str, scene: Scene) -> None:
    scene.queued("digits", 1)
    with visitor(browser, page) as tab:
        enter(tab, token, NAMESPACE)
        expect(tab.locator("#rows tr")).to_contain_text(["Queued"])
        tab.get_by_role("link", name="digits", exact=True).click()
        scene.lease(1, "digits")
        scene.training("digits", epoch=47)
        expect(tab.locator("#rows tr")).to_contain_text(["Training"])
        expect(tab.locator(".owner")).to_contain_text("epoch 47 of 120")
        expect(tab.get_by_role("img", name="Validation after 46 epochs")).to_be_visible()
        scene.clear()
        expect(tab.locator("#none")).to_have_text("No jobs.")


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


def test_what_a_job_says_is_never_more_than_text(
    browser: Browser, page: PageProcess, token: str, scene: Scene, api: httpx.Client
) -> None:
    gpu = {
        "node": HOSTILE,
        "uuid": HOSTILE,
        "name": HOSTILE,
        "resident": HOSTILE,
        "total": 15360,
        "needed": 10240,
        "freeBefore": 1,
    }
    attempt = {
        "number": 1,
        "pod": HOSTILE,
        "fence": 1,
        "reason": HOSTILE,
        "message": HOSTILE,
        "completionTime": "2026-01-01T00:00:00Z",
    }
    job = put_job(
        api, NAMESPACE, "hostile", phase="Failed", pod=HOSTILE, gpu=gpu, attempts=[attempt],
        conditions=[condition("Failed", HOSTILE, HOSTILE)], curve={"epochs": "1", "metrics": {HOSTILE: "0.5"}},
        results={"metrics": {HOSTILE: 0.5, "mAP50": 0.5}, "weights": {"best": HOSTILE}},
    )  # fmt: skip
    about = {"apiVersion": job["apiVersion"], "kind": job["kind"], "namespace": NAMESPACE, "name": "hostile"}
    event = {
        "metadata": {"name": "hostile.1"}, "involvedObject": {**about, "uid": job["metadata"]["uid"]},
        "reason": "Hostile", "message": HOSTILE, "type": "Warning",
    }  # fmt: skip
    api.post(f"/api/v1/namespaces/{NAMESPACE}/events", json=event).raise_for_status()
    with visitor(browser, page) as tab:
        enter(tab, token, NAMESPACE)
        tab.get_by_role("link", name="hostile", exact=True).click()
        for fold in tab.locator("#detail summary").all():
            fold.click()
        expect(tab.locator("#detail")).to_contain_text(HOSTILE)
        assert tab.locator("#detail").inner_text().count(HOSTILE) >= 6
        assert tab.evaluate("window.hacked") is None
        assert tab.locator("script:not([src]), main img").count() == 0


@pytest.mark.parametrize("name", ["idle", "acquiring", "training", "failed", "many"])
def test_scenes(browser: Browser, page: PageProcess, token: str, scene: Scene, name: str, tmp_path: Path) -> None:
    """Each in light and dark: nothing overflows, and the images are kept for review."""
    if name == "many":
        scene.crowd()
    else:
        scene.past()
        scene.lease(1, "" if name in {"idle", "failed"} else "forklifts-v5", since=38)
    if name in {"acquiring", "training"}:
        getattr(scene, name)("forklifts-v5")
        scene.queued("helmets-v2", 1)
    for scheme in ("light", "dark"):
        with visitor(browser, page, color_scheme=scheme, reduced_motion="reduce") as tab:
            enter(tab, token)
            expect(tab.locator(".gpu:not(.head)")).to_have_count(50 if name == "many" else 2)
            if name in OPENED:
                tab.get_by_role("link", name=OPENED[name], exact=True).last.click()
                expect(tab.locator("#detail dl").last).to_be_attached()
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert tab.evaluate("document.getAnimations().length") == 0
            _keep(tab.screenshot(), tmp_path, f"{name}-{scheme}")


def test_of_500_jobs_only_what_changes_is_drawn_again(
    browser: Browser, page: PageProcess, token: str, scene: Scene
) -> None:
    scene.crowd()
    with visitor(browser, page) as tab:
        enter(tab, token)
        expect(tab.locator("#filters button").first).to_have_text("All500")
        expect(tab.get_by_role("button", name="Show more of the other 440")).to_be_visible()
        tab.evaluate("""() => {
            window.drawn = 0;
            const isRow = ({ target }) => target.tagName !== "TD"; // cells that show an age change with time
            new MutationObserver((all) => { window.drawn += all.filter(isRow).length; })
                .observe(document.getElementById("rows"), { childList: true, subtree: true });
        }""")
        first = tab.locator("#rows a").first.inner_text()
        scene.training(first, int(first.split("-")[1]), epoch=119)
        expect(tab.locator("#rows")).to_contain_text("119 of 120")
        assert tab.evaluate("window.drawn") <= 2


def test_it_fits_a_telephone(browser: Browser, page: PageProcess, token: str, scene: Scene) -> None:
    scene.past()
    with visitor(browser, page, viewport={"width": 390, "height": 800}) as tab:
        enter(tab, token)
        tab.get_by_role("link", name="forklifts-v4", exact=True).last.click()
        expect(tab.get_by_role("heading", name="forklifts-v4")).to_be_in_viewport()
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def _keep(png: bytes, folder: Path, name: str) -> None:
    (folder / f"{name}.png").write_bytes(png)
    docs_folder = os.environ.get("GPU_RELAY_PICTURES")
    if docs_folder and name in IN_THE_DOCS:
        image = Image.open(BytesIO(png)).convert("RGB").quantize(64, dither=Image.Dither.NONE)
        image.save(Path(docs_folder) / f"{IN_THE_DOCS[name]}.png", optimize=True)
