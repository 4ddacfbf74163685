"""A real headless Chromium, Debian's, for tests of the page."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from devcluster import ClusterError, packages
from tests.support.page import PageProcess

_PROGRAM = {"chromium": "chromium"}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium, installing Debian's package where that is possible; skips the test where there is none.

    Chromium drops all requests when a network interface of the machine changes (ERR_NETWORK_CHANGED): no pods may start
    on a kubelet of this machine meanwhile.
    """
    try:
        packages.ensure(_PROGRAM)
    except ClusterError as error:
        pytest.skip(f"the page's tests in a browser need Chromium: {error}")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own rule for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=packages.find_tool("chromium"), args=sandbox)
        yield browser
        browser.close()


@contextmanager
def visitor(browser: Browser, page: PageProcess, **context: Any) -> Iterator[Page]:
    """Open the page; fail if its console has had an error: Chromium also reports blocked content there.

    `context` is what Playwright's `new_context` takes, such as `color_scheme`.
    """
    shown = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **context})
    tab = shown.new_page()
    errors: list[str] = []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(page.url)
    yield tab
    shown.close()
    # Chromium itself reports each answer that refuses; that is not the page's doing.
    unexpected = [each for each in errors if "Failed to load resource" not in each]
    assert not unexpected, unexpected


def enter(tab: Page, token: str, namespace: str = "") -> None:
    """Give the token, and wait for the cluster."""
    tab.get_by_label("Token", exact=True).fill(token)
    tab.get_by_role("textbox", name="Namespace").fill(namespace)
    tab.get_by_role("button", name="Connect").click()
    tab.get_by_text("live", exact=True).wait_for()
