"""How the page looks: no label is cut or covered, at any width, in light and dark.

To write the images of docs/page.md, run `GPU_RELAY_PICTURES=docs/pictures pytest` with this file.
"""

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.support.browser import enter, visitor
from tests.support.labels import label_problems
from tests.support.page import PageProcess
from tests.support.page_scenes import Scene

IN_THE_DOCS = {"training-light": "page-light", "many-dark": "page-dark"}
OPENED = {"acquiring": "forklifts-v5", "training": "forklifts-v5", "failed": "pallets-big-batch"}


@pytest.mark.parametrize("width", [390, 1024, 1440, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_label_is_cut_or_covered(
    browser: Browser, page: PageProcess, token: str, scene: Scene, width: int, scheme: str, tmp_path: Path
) -> None:
    scene.past()
    scene.lease(1, "forklifts-v5", since=38.5)
    scene.training("forklifts-v5")
    scene.acquiring("a-long-name-that-somebody-has-given-in-a-hurry", 3)
    scene.lease(3, "a-long-name-that-somebody-has-given-in-a-hurry", since=0.3)
    scene.queued("helmets-v2", 1)
    with visitor(browser, page, color_scheme=scheme, viewport={"width": width, "height": 2600}) as tab:
        for part in ("token", "list", "detail"):
            if part == "list":
                enter(tab, token)
                expect(tab.locator(".gpu:not(.head)")).to_have_count(3)
                expect(tab.locator(".resident").first).to_contain_text("unloaded for 38 min, back after")
            if part == "detail":
                tab.get_by_role("link", name="forklifts-v5", exact=True).last.click()
                expect(tab.get_by_role("img", name="Validation after 46 epochs")).to_be_visible()
                for fold in tab.locator("#detail summary").all():
                    fold.click()
                expect(tab.locator("#detail")).to_contain_text("There is no log")
            _keep(tab.screenshot(full_page=True), tmp_path, f"{part}-{width}-{scheme}")
            for hours in ("0.25", "1", "6", "24") if part == "list" else ():
                tab.locator("#range").select_option(hours)
                assert label_problems(tab) == [], hours
            assert label_problems(tab) == [], part


def test_a_cut_or_covered_label_is_found(browser: Browser, page: PageProcess, token: str, scene: Scene) -> None:
    """The check of the labels fails where it must."""
    scene.past()
    with visitor(browser, page) as tab:
        enter(tab, token)
        expect(tab.locator("#rows tr")).to_have_count(5)
        for style in ("overflow: hidden; max-width: 40px; white-space: nowrap", "margin-left: -150px"):
            tab.evaluate("(style) => { document.getElementById('scope').style.cssText = style; }", style)
            assert any("all namespaces" in problem for problem in label_problems(tab))


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
        image = Image.open(BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        image.save(Path(docs_folder) / f"{IN_THE_DOCS[name]}.png", optimize=True)
