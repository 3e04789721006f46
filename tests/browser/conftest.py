"""A real Chromium with the network cut, and a record of what a page tried and complained about."""

import contextlib
import os
import shutil
from dataclasses import dataclass, field

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
INSIDE = ("file:", "data:", "blob:", "about:", "chrome:", "devtools:")


def pytest_collection_modifyitems(items):
    """JupyterLab first: one worker has it for itself meanwhile, and nobody waits for it in the end."""
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)
    items.sort(key=lambda item: item.path.name != "test_lab.py")


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt install chromium, or set CHROMIUM to its path")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """One tab: `page` to act on; `attempts` to leave, `complaints` on the console, both to be empty."""

    page: object
    attempts: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextlib.contextmanager
def visits(chromium):
    """Makes tabs; whatever one asks for outside the files at hand and `origin` is refused and recorded."""
    contexts = []

    def open_tab(scheme: str = "light", origin: str = "file:", size=(1280, 1000)) -> Visit:
        context = chromium.new_context(
            color_scheme=scheme,
            viewport={"width": size[0], "height": size[1]},
            service_workers="block",
            offline=origin == "file:",
        )
        contexts.append(context)
        tab = Visit(context.new_page())

        def is_inside(url: str) -> bool:
            return url.startswith((*INSIDE, origin, origin.replace("http", "ws", 1)))

        def decide(route):
            if is_inside(route.request.url):
                route.continue_()
            else:
                tab.attempts.append(route.request.url)
                route.abort()

        context.route("**/*", decide)
        tab.page.on("websocket", lambda ws: None if is_inside(ws.url) else tab.attempts.append(ws.url))
        tab.page.on("console", lambda m: tab.complaints.append(m.text) if m.type == "error" else None)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        return tab

    yield open_tab
    for context in contexts:
        context.close()


@pytest.fixture
def visit(chromium):
    """Makes tabs for one test: `visit(scheme, origin, size)`."""
    with visits(chromium) as open_tab:
        yield open_tab


@pytest.fixture(scope="module")
def visit_for_all(chromium):
    """Makes tabs that the tests of a module share."""
    with visits(chromium) as open_tab:
        yield open_tab
