"""The static layer of every widget: what is written into a page."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from oneshot_lib.widgets import shell
from oneshot_lib.widgets.shell import TwoLayerWidget
from oneshot_lib.widgets.static_html import page, source, state_json

MODULE = "function render({ model, el }) {}\nexport default { render };\n"
PARTS = {"look": "oneshot-thing", "module": MODULE, "css": "", "state": {"frames": bytes(range(256))},
         "still": b"png", "description": "A thing that is shown to nobody."}


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def addresses(text):
    """Whatever in a page could make a browser ask for something."""
    found = [attributes.get(key) for _, attributes in Tags(text).found for key in ("src", "href", "srcset")]
    found += re.findall(r"url\([^)]*\)|@import|import\s*\(|^import\b.*|fetch\(", text, re.M)
    return [address for address in found if address and not address.startswith("data:")]


def test_state_survives_the_page():
    state = {"frames": bytes(range(256)), "label": "</script><b>&amp;", "kl": [0.5, None]}
    written = state_json(state)
    assert "<" not in written
    read = json.loads(written)
    assert base64.b64decode(read.pop("frames")["base64"]) == state.pop("frames")
    assert read == state


def test_state_refuses_what_json_cannot_hold():
    with pytest.raises(TypeError, match="set"):
        state_json({"a": {1}})


def test_a_page_asks_for_nothing():
    assert addresses(page(**PARTS)) == []
    faults = [page(**PARTS) + '<img src="https://example.org/a.png">',
              page(**{**PARTS, "css": "a { background: url(https://example.org/a.png) }"}),
              page(**{**PARTS, "module": 'import a from "https://example.org/a.js";\n' + MODULE})]
    assert all(map(addresses, faults))


def test_a_description_stays_text():
    wild = 'A "quoted" </script><script src="https://example.org/x.js"> picture'
    text = page(**{**PARTS, "description": wild, "state": {"description": wild}})
    assert addresses(text) == []
    assert [attributes["alt"] for tag, attributes in Tags(text).found if tag == "img"] == [wild]


def test_a_module_cannot_end_its_script_early():
    with pytest.raises(ValueError, match="module"):
        page(**{**PARTS, "module": "const a = '</script>';" + MODULE})


def test_the_same_widget_gives_the_same_page_and_another_another_key():
    key = re.compile(r'data-oneshot="(\w+)"')
    assert page(**PARTS) == page(**PARTS)
    assert key.search(page(**PARTS))[1] != key.search(page(**{**PARTS, "state": {"frames": b"\0"}}))[1]


def test_sources_lose_comments_and_indentation_only(tmp_path):
    folder = Path(shell.__file__).parent
    module = source(folder / "canvas_player.js")
    assert module.rstrip().endswith("export default { render };")
    assert not re.search(r"^\s|^//", module, re.M) and '"http://' not in module
    file = tmp_path / "thing.css"
    file.write_text("/* one */\n/* two\n   lines */\na { color: red; /* kept */ }\n", "utf-8")
    assert source(file) == "a { color: red; /* kept */ }\n"


def test_a_description_must_describe():
    class Thing(TwoLayerWidget):
        _esm = MODULE

    with pytest.raises(ValueError, match="description"):
        Thing(description="figure")
    assert Thing(description="A thing that is shown.").description
