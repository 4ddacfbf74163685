"""The page in a real browser, before the real API server."""

import re

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from tests.controlplane.page_browser.conftest import NAMESPACE
from tests.support.browser import enter, visitor
from tests.support.page import PageProcess, condition, put_job, viewer_token
from tests.support.page_scenes import Scene

HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


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


def test_a_script_that_does_not_arrive_leaves_no_empty_page(browser: Browser, page: PageProcess) -> None:
    with visitor(browser, page) as tab:
        expect(tab.get_by_text("The page is loading")).to_have_count(0)
        tab.route("**/static/resident.js", lambda route: route.abort())
        tab.reload()
        expect(tab.get_by_text("a part of the page did not arrive: reload it")).to_be_visible()
        tab.unroute("**/static/resident.js")
        tab.reload()
        expect(tab.get_by_label("Token", exact=True)).to_be_visible()


def test_a_token_of_one_namespace_is_kept_while_the_viewer_names_it(
    browser: Browser, page: PageProcess, scene: Scene, api: httpx.Client
) -> None:
    """The viewer of docs/page.md: what the account may not see is named in sentences, never in the API's errors."""
    viewing = viewer_token(api, NAMESPACE, "viewing", {"view": NAMESPACE})
    scene.training("forklifts-v5")
    with visitor(browser, page) as tab:
        tab.get_by_label("Token", exact=True).fill(viewing)
        tab.get_by_role("button", name="Connect").click()
        expect(tab.get_by_role("alert")).to_contain_text("may not list yolotrainingjobs in all namespaces. Name a name")
        expect(tab.get_by_role("textbox", name="Namespace")).to_be_focused()
        tab.keyboard.insert_text(NAMESPACE)
        tab.keyboard.press("Enter")
        expect(tab.locator("#rows tr")).to_contain_text(["Training"])
        tab.get_by_role("link", name="forklifts-v5", exact=True).last.click()
        tab.get_by_role("button", name="Sample predictions").click()
        for fold in tab.locator("#detail summary").all():
            fold.click()
        expect(tab.locator("#detail")).to_contain_text(f"may not get pods/proxy in namespace {NAMESPACE}")
        expect(tab.locator("#detail")).to_contain_text("There is no log: pod forklifts-v5-1 (attempt 1) no longer")
        expect(tab.locator(".notices")).to_contain_text("Your rights do not show: the Leases")
        expect(tab.locator(".resident").first).to_contain_text("unloaded for 38 min, back about")
        shown = tab.locator("body").inner_text()
        assert not re.search(r"is forbidden|cannot (list|get|watch)|\bnull\b|undefined|NaN|\{\"|rror:", shown), shown


def test_the_arguments_and_the_log_of_a_job(browser: Browser, page: PageProcess, token: str, scene: Scene) -> None:
    """No kubelet serves logs here: the route of the log is answered in its place, for how the page shows one."""
    log = "\x1b[32mready\x1b[0m\n 10%\r 50%\r100%\nepoch 1 <b>done</b>\n"
    scene.training("forklifts-v5")
    with visitor(browser, page) as tab:
        tab.route("**/log", lambda route: route.fulfill(json={"source": "pod x", "lines": 200, "text": log}))
        enter(tab, token, NAMESPACE)
        tab.get_by_role("link", name="forklifts-v5", exact=True).last.click()
        tab.get_by_text("Spec", exact=True).click()
        expect(tab.get_by_text("Ultralytics' defaults")).to_be_visible()
        tab.get_by_text("Log", exact=True).click()
        expect(tab.get_by_label("Log", exact=True)).to_have_text("ready\n100%\nepoch 1 <b>done</b>\n")


def test_the_residents_reported_memory_stays_over_a_reload(
    browser: Browser, page: PageProcess, token: str, scene: Scene, api: httpx.Client, reachable: ScriptedResident
) -> None:
    """Through the real API server's pod proxy; the history of the tab is forgotten with the token."""
    system = World(api, "gpu-relay")
    try:
        system.add_resident(reachable)
        with visitor(browser, page) as tab:
            enter(tab, token, NAMESPACE)
            measured = tab.get_by_role("img", name="GPU memory in use: 14,000 MiB of 15,360 MiB")
            expect(measured).to_be_visible()
            expect(tab.locator(".resident").nth(0)).to_have_text("loaded")
            reachable.loaded, reachable.trainer_mib, reachable.refused = False, 10_240, 12
            reachable.residual_mib = 1_200
            tab.reload()
            expect(tab.get_by_role("img", name="GPU memory in use: 10,240 MiB of 15,360 MiB")).to_be_visible()
            expect(tab.locator(".resident").nth(0)).to_contain_text("12 requests refused, keeps 1,200 MiB while")
            expect(tab.locator(".strip rect")).to_have_count(2)
            tab.get_by_role("button", name="Sign out").click()
            assert tab.evaluate("sessionStorage.getItem('gpu-relay-memory')") is None
    finally:
        system.empty_pods()


def test_the_last_fifteen_minutes_fill_the_timeline(
    browser: Browser, page: PageProcess, token: str, scene: Scene
) -> None:
    scene.succeeded("quick", 9, 4)
    scene.lease(1)
    with visitor(browser, page) as tab:
        enter(tab, token)
        lane = tab.locator(".lane")
        turn = lane.locator(".seg .body")
        narrow = turn.bounding_box()
        tab.locator("#range").select_option("15 minutes")
        expect(tab.locator(".axis .tick")).not_to_have_count(0)
        wide, whole = turn.bounding_box(), lane.bounding_box()
        assert narrow and wide and whole
        assert wide["width"] / whole["width"] == pytest.approx(5 / 15, abs=0.03)
        assert wide["width"] > 10 * narrow["width"]
        expect(lane.locator("text")).to_have_text("quick")


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
