"""One widget, two layers, from one ES module.

Where a kernel runs, anywidget shows the module and keeps its traits in step with Python's. Where none runs
(a built page, a saved notebook, a file opened from a disk), the widget's `text/html` shows the same module
with its state written into the page: some kilobytes of script, and no request to anywhere. And where no
script runs, the still picture inside that HTML is what one sees.

What a widget's module has to keep to, so that both layers can run it:
- it imports nothing, and its last line is `export default { render };` with `render({ model, el })`;
- `render` appends one element to `el`; the static layer puts this element in the place of the still;
- it talks to `model` through `get`, `set`, `save_changes`, `on`, `off` and `send` only. In the static layer
  `get` answers from the state in the page, and nobody listens to the rest;
- binary state arrives as a DataView from a kernel and as a Uint8Array from the page: both have `buffer`,
  `byteOffset` and `byteLength`;
- `instrument.css` holds the colours, buttons and sliders that the widgets share, for light pages and dark
  ones.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path

import anywidget
import ipywidgets
import traitlets

HERE = Path(__file__).parent


def source(*names: str) -> str:
    """The files of this folder, one after the other, without their comment lines and indentation."""
    lines = [line.strip() for name in names for line in (HERE / name).read_text("utf-8").splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith(("//", "/*"))) + "\n"


def state_json(state: dict) -> str:
    """`state` as JSON that may stand in a page: bytes are `{"base64": ...}`, and no tag ends the script."""

    def encode(value):
        if isinstance(value, bytes):
            return {"base64": base64.b64encode(value).decode()}
        raise TypeError(f"state holds a {type(value).__name__}; expected JSON's types or bytes")

    return json.dumps(state, default=encode, separators=(",", ":")).replace("<", "\\u003c")


def page(root: str, module: str, css: str, state: dict, still: bytes, description: str) -> str:
    """The self-contained HTML of one widget: `root` is the class of its outermost element, `still` a PNG.

    The element is found by the hash of its content: the same widget gives the same HTML, and two widgets on
    one page never meet (two equal ones are brought to life together by whichever script comes first).
    """
    data = state_json(state)
    if "</script" in module:
        raise ValueError("module holds </script, which would end it early; expected it written otherwise")
    key = hashlib.sha256((root + data).encode()).hexdigest()[:16]
    picture = base64.b64encode(still).decode()
    return (
        f"<style>\n{css}</style>\n"
        f'<div class="oneshot {root}" data-oneshot="{key}">'
        f'<img class="oneshot-still" alt="{html.escape(description)}" src="data:image/png;base64,{picture}">'
        f'<script type="application/json">{data}</script></div>\n'
        f'<script type="module">\n{module}{source("static_html.js").replace("KEY", key)}</script>'
    )


class TwoLayerWidget(anywidget.AnyWidget):
    """The base of the book's widgets; a subclass names `root`, `_esm`, `_css` and its static copy's state."""

    root = "oneshot"
    description = traitlets.Unicode(help="what the figure shows, for those who cannot see it").tag(sync=True)

    @traitlets.validate("description")
    def _describes(self, proposal):
        if len(proposal.value.strip()) < 15:
            raise ValueError(f"description is {proposal.value!r}; expected 15 characters or more")
        return proposal.value

    def static_state(self) -> dict:
        """What `model.get` answers in the static copy."""
        raise NotImplementedError

    def still(self) -> bytes:
        """The PNG for viewers that run no script."""
        raise NotImplementedError

    def static_html(self) -> str:
        """The static copy: HTML that needs no kernel, no network and no other file."""
        state = {"description": self.description, **self.static_state()}
        return page(self.root, str(self._esm), str(self._css), state, self.still(), self.description)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.description}>"

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:  # a widget without a view
            return None
        data, metadata = bundle
        return {**data, "text/html": self.static_html()}, metadata


class Beside(ipywidgets.HBox):
    """Widgets side by side where the page is wide enough, else below each other; in both layers."""

    def __init__(self, *widgets: TwoLayerWidget):
        for widget in widgets:
            if not isinstance(widget, TwoLayerWidget):
                raise ValueError(f"widgets holds a {type(widget).__name__}; expected the book's widgets")
            widget.layout.flex = "1 1 300px"
        super().__init__(widgets, layout=ipywidgets.Layout(flex_flow="row wrap", grid_gap="0 16px"))

    def static_html(self) -> str:
        """The static copies, each in a column."""
        column = '<div style="flex: 1 1 300px; min-width: 0">'
        columns = "".join(f"{column}{widget.static_html()}</div>" for widget in self.children)
        return f'<div style="display: flex; flex-wrap: wrap; gap: 0 16px">{columns}</div>'

    def __repr__(self) -> str:
        return " ".join(map(repr, self.children))

    def _repr_mimebundle_(self, **kwargs):
        data = super()._repr_mimebundle_(**kwargs)
        return {**data, "text/plain": repr(self), "text/html": self.static_html()}
