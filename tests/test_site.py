"""The site of the stored outputs as files: nothing is fetched from elsewhere, and every link leads somewhere."""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import build
import pairs
import pytest

SITE = build.STORED / "html"
PAGES = sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}

pytestmark = pytest.mark.skipif(not PAGES, reason="no site of the stored outputs: python book/build.py --stored")
every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(SITE).as_posix())


class Page(HTMLParser):
    """What a page fetches, links to, shows and names."""

    def __init__(self, path: Path):
        super().__init__()
        self.fetched, self.links, self.pictures, self.anchors, self.headings = [], [], [], {""}, 0
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values.get("id"), values.get("name")} - {None}
        self.headings += tag == "h1"
        if tag in FETCHED and not (tag == "link" and values.get("rel") == "canonical"):
            self.fetched.append(values.get(FETCHED[tag]) or "")
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "img":
            self.pictures.append(values)


read = cache(Page)


def is_outside(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https", "ws", "wss")


def test_every_page_of_the_contents_is_built():
    assert [name for name in pairs.pages() if not (SITE / f"{name}.html").exists()] == []
    assert (SITE / "index.html").exists() and (SITE / "search.html").exists()


@every_page
def test_a_page_fetches_nothing_from_elsewhere(path):
    assert [address for address in read(path).fetched if is_outside(address)] == []


@every_page
def test_what_a_page_fetches_and_links_to_is_there(path):
    page = read(path)
    for address in [*page.fetched, *page.links]:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        assert target.exists(), f"{path.name}: {address}"
        if parts.fragment and target.suffix == ".html":
            assert unquote(parts.fragment) in read(target).anchors, f"{path.name}: {address}"


@every_page
def test_every_picture_is_described(path):
    bare = [p.get("src", "")[:60] for p in read(path).pictures if len(p.get("alt") or "") < 15]
    assert bare == []


@every_page
def test_a_page_has_a_heading_and_shows_no_machine_and_no_dead_widget(path):
    page = read(path)
    article = re.sub(r"<script.*?</script>", "", page.text, flags=re.DOTALL)
    assert page.headings >= 1
    assert not pairs.MACHINE_PATH.search(article)
    assert "application/vnd.jupyter.widget" not in page.text and "Loading widget" not in page.text


def test_style_sheets_fetch_nothing_from_elsewhere():
    for sheet in SITE.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8", errors="replace")
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", text), sheet.name


@pytest.mark.parametrize("name", ["book/free-energy-bound", "book/hidden-canvas"])
def test_chapters_number_their_equations_and_refer_to_them(name):
    text = (SITE / f"{name}.html").read_text(encoding="utf-8")
    assert 'class="eqno"' in text and re.search(r'href="[^"]*#equation-', text)


def test_the_papers_are_listed():
    text = (SITE / "book/references.html").read_text(encoding="utf-8")
    for title in ("One-Shot Generalization", "Variational Homoencoder", "Few-shot Autoregressive"):
        assert title.lower() in re.sub(r"\s+", " ", text).lower()
