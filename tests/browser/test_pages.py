"""Every page of the site in a browser without a network: it asks for nothing, and its players answer.

The site is that of the outputs which the notebooks hold (`python book/build.py --stored`). What a widget can do is
tried in its own test; here each must stand where its page shows it, and follow its slider.
"""

import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import build
import pairs
import player as players
import pytest

SITE = build.STORED / "html"
INDEX = SITE / "index.html"  # leads to the front page, and is none itself
PAGES = sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts and path != INDEX)
PLAYER = re.compile(r'class="[^"]*\boneshot-player\b[^"]*" data-oneshot=')

pytestmark = pytest.mark.skipif(not PAGES, reason="no site of the stored outputs: python book/build.py --stored")
both_modes = pytest.mark.parametrize("scheme", ["light", "dark"])


def name_of(path):
    return path.relative_to(SITE).as_posix()


def settle(page):
    """Wait until the page, its mathematics included, stands."""
    page.wait_for_load_state("load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.wait_for_timeout(200)


@pytest.fixture
def server():
    """The site over HTTP, for what browsers refuse to do with files."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def outputs_of(path):
    """The stored outputs of the notebook behind a page, and its code; nothing where it has none."""
    file = pairs.notebook_of(path.relative_to(SITE).with_suffix("").as_posix())
    cells = [cell for cell in pairs.read_notebook(file).cells if cell.cell_type == "code"] if file.exists() else []
    outputs = [output.get("data", {}).get("text/html", "") for cell in cells for output in cell.outputs]
    return outputs, "\n".join(cell.source for cell in cells)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_opened_as_a_file_asks_for_nothing_complains_of_nothing_and_its_players_answer(path, visit):
    tab = visit()
    tab.page.goto(path.as_uri())
    settle(tab.page)
    assert tab.page.locator("h1").count() >= 1
    assert tab.page.locator("mjx-merror, .MathJax_Error").count() == 0
    assert tab.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "the page is too wide"
    outputs, code = outputs_of(path)
    found = tab.page.locator(".oneshot-player[role=group]")
    assert found.count() == sum(len(PLAYER.findall(html)) for html in outputs)
    assert found.count() > 0 or "oneshot_lib.widgets" not in code, "a widget is imported and none is shown"
    for number in range(found.count()):
        players.turn(tab.page, found.nth(number))
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)
        for number in range(found.count()):
            contrast, text = found.nth(number).evaluate(players.CONTRAST)
            assert contrast >= 4.5, f"{text!r} has a contrast of {contrast:.1f} in {scheme} mode"
    assert (tab.attempts, tab.complaints) == ([], [])


def test_the_front_page_is_where_the_index_leads(visit):
    tab = visit()
    tab.page.goto(INDEX.as_uri())
    tab.page.wait_for_url(f"**/{pairs.pages()[0]}.html")


def test_an_attempt_to_leave_and_a_complaint_would_be_seen(visit, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<h1>x</h1><img src='https://example.org/a.png'><link rel=stylesheet href='//example.org/b.css'>"
        "<script>fetch('https://example.org/c').catch(() => 0); new WebSocket('wss://example.org/d');"
        "console.error('broken'); throw new Error('thrown')</script>"
    )
    tab = visit()
    tab.page.goto(page.as_uri())
    tab.page.wait_for_timeout(500)
    assert {url.rsplit("/", 1)[1] for url in tab.attempts} >= {"a.png", "c", "d"}
    assert any("broken" in text for text in tab.complaints) and any("thrown" in text for text in tab.complaints)


def test_mathematics_is_typeset_and_equations_are_numbered(visit):
    tab = visit()
    tab.page.goto((SITE / "book/free-energy-bound.html").as_uri())
    settle(tab.page)
    assert tab.page.locator("mjx-container").count() > 0
    assert tab.page.locator(".eqno").first.is_visible()


@both_modes
def test_the_page_follows_the_colour_scheme(scheme, visit):
    tab = visit(scheme)
    tab.page.goto((SITE / "book/notation.html").as_uri())
    settle(tab.page)
    background = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(background.split("(")[1].split(",")[0])
    assert (red < 80) if scheme == "dark" else (red > 200)


def test_search_finds_a_chapter(server, visit):
    tab = visit(origin=server)
    tab.page.goto(f"{server}/search.html?q=canvas")
    tab.page.locator("#search-results li a").first.wait_for(timeout=15_000)
    links = tab.page.locator("#search-results li a").evaluate_all("all => all.map(a => a.href)")
    assert any("book/hidden-canvas" in link for link in links)
    assert (tab.attempts, tab.complaints) == ([], [])
