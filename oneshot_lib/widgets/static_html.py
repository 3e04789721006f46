"""The static copy of a widget: a page's HTML with the widget's module and state in it.

It needs no kernel and makes no request to anywhere, so that it works in a built page, in a saved notebook and in a file
opened from a disk. The still picture inside it, with the alternative text, is for viewers that run no script; the
script puts the widget in its place.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path

COMMENT = re.compile(r"^[ \t]*(?://.*$|/\*(?s:.*?)\*/)", re.M)


def source(*files: Path) -> str:
    """The files, one after the other, without indentation and without comments that begin a line."""
    text = "\n".join(file.read_text("utf-8") for file in files)
    lines = [line.strip() for line in COMMENT.sub("", text).splitlines()]
    return "\n".join(filter(None, lines)) + "\n"


def state_json(state: dict) -> str:
    """`state` as JSON that may stand in a page: bytes are `{"base64": ...}`, and no tag ends the script."""

    def encode(value):
        if isinstance(value, bytes):
            return {"base64": base64.b64encode(value).decode()}
        raise TypeError(f"state holds a {type(value).__name__}; expected JSON's types or bytes")

    return json.dumps(state, default=encode, separators=(",", ":")).replace("<", "\\u003c")


def page(look: str, module: str, css: str, state: dict, still: bytes, description: str) -> str:
    """The self-contained HTML of one widget: `look` is its class in the style sheet, `still` a PNG.

    The element is found by the hash of its content: the same widget gives the same HTML, and two widgets on
    one page never meet (two equal ones are brought to life together by whichever script comes first).
    """
    data = state_json(state)
    if "</script" in module:
        raise ValueError("module holds </script, which would end it early; expected it written otherwise")
    key = hashlib.sha256((look + data).encode()).hexdigest()[:16]
    picture = base64.b64encode(still).decode()
    end = source(Path(__file__).with_suffix(".js")).replace("KEY", key)
    return (
        f"<style>\n{css}</style>\n"
        f'<div class="oneshot oneshot-player {look}" data-oneshot="{key}">'
        f'<img class="oneshot-still" alt="{html.escape(description)}" src="data:image/png;base64,{picture}">'
        f'<script type="application/json">{data}</script></div>\n'
        f'<script type="module">\n{module}{end}</script>'
    )
