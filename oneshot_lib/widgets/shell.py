r"""What the book's widgets share in Python: their script and style, their label, and their static copy.

One widget, two layers, from one ES module. Where a kernel runs, anywidget shows the module and keeps its traits in step
with Python's. Where none runs (a built page, a saved notebook, a file opened from a disk), the widget's `text/html`
shows the same module with its state written into the page, see `static_html`. And where no script runs, the still
picture inside that HTML is what one sees.

A widget is a Python file with its script beside it, `thing.py` and `thing.js`, and `thing.css` if it needs one:

    class Thing(TwoLayerWidget):
        look = "oneshot-thing"  # its class in the style sheet, as in the script
        step = traitlets.Int(0).tag(sync=True)

        def alternative_text(self): ...  # what the figure shows, for those who cannot see it
        def still(self): ...  # a PNG

    import { mount, slide } from "./shell.js";
    function render(context) {
      const { model, part, hear, tell, close } = mount(context, { look: "oneshot-thing", name: ..., parts: `...` });
      ...
      return close;
    }
    export default { render };

What the script has to keep to, so that both layers can run it: it imports from shell.js alone, and its last line is
`export default { render };`; it talks to `model` through `get`, `set`, `save_changes`, `on`, `off` and `send` only. In
the static layer `get` answers from the state in the page, and nobody listens to the rest. Binary state arrives as a
DataView from a kernel and as a Uint8Array from the page; `octets` reads both.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import anywidget
import ipywidgets
import traitlets

from .static_html import page, source

IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.]+)";\n', re.M)
EXPORT = re.compile(r"^export (?=(?:const|let|class|(?:async )?function\*?) (\w+))", re.M)


def module(script: Path) -> str:
    """A script and what it imports from the files beside it, as one ES module that imports nothing.

    Each imported file becomes a function of its own, of which only the names asked for come out: what else it calls
    its things concerns nobody. Raises ValueError on an import of another kind, or of a name that there is not.
    """

    def inlined(statement: re.Match) -> str:
        names = [name.split() for name in statement[1].split(",") if name.strip()]  # [name] or [name, "as", own name]
        text = source(script.with_name(statement[2]))
        missing = {name[0] for name in names} - set(EXPORT.findall(text))
        if missing:
            raise ValueError(f"{script.name} imports {sorted(missing)} of {statement[2]}; expected names it exports")
        given, taken = ", ".join(name[0] for name in names), ", ".join(": ".join(name[::2]) for name in names)
        return f"const {{ {taken} }} = (() => {{\n{EXPORT.sub('', text)}return {{ {given} }};\n}})();\n"

    text = IMPORT.sub(inlined, source(script))
    other = re.search(r"^import\b.*|\bimport\(.*", text, re.M)
    if other:
        raise ValueError(f'{script.name} has {other[0]!r}; expected import {{ ... }} from "./file.js"; alone')
    return text


class TwoLayerWidget(anywidget.AnyWidget):
    """The base of the book's widgets.

    Every widget takes `description`, the alternative text: 15 characters or more, `alternative_text()` unless told; and
    `label`, a short heading. Both, and whatever else a class tags with `sync=True`, are the state that its script
    reads: in a kernel as it is, in the static copy as it was when that was made, or the value of the tag `static`
    where there is one. Raises ValueError on a description that describes nothing, TypeError on names of no trait.
    """

    look = "oneshot-plain"  # a class of the style sheet, or a few
    borrows: tuple[str, ...] = ()  # the widgets whose style sheets stand before its own

    description = traitlets.Unicode(help="what the figure shows, for those who cannot see it").tag(sync=True)
    label = traitlets.Unicode("", help="a short heading").tag(sync=True)

    def __init_subclass__(cls, **kwargs):
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if "_esm" not in cls.__dict__ and cls.__module__ != __name__ and file:
            script = Path(file).with_suffix(".js")
            if script.exists():
                sheets = [script.with_name(f"{name}.css") for name in ("shell", *cls.borrows, script.stem)]
                cls._esm, cls._css = module(script), source(*(sheet for sheet in sheets if sheet.exists()))
        super().__init_subclass__(**kwargs)

    def __init__(self, description: str | None = None, label: str = "", **state):
        unknown = [name for name in state if not self.has_trait(name)]
        if unknown:
            raise TypeError(f"{type(self).__name__} got {', '.join(unknown)}; expected description, label, or one of "
                            f"{', '.join(self.state_names())}")
        said = {} if description is None else {"description": description}
        super().__init__(label=label, **said, **state)

    @traitlets.default("description")
    def _describes_itself(self) -> str:
        return self.alternative_text()

    @traitlets.validate("description")
    def _describes(self, proposal):
        if len(proposal.value.strip()) < 15:
            raise ValueError(f"description is {proposal.value!r}; expected 15 characters or more")
        return proposal.value

    def alternative_text(self) -> str:
        """What the figure shows, where the caller does not say."""
        return ""

    # --- the static copy ---

    def state_names(self) -> list[str]:
        """The traits that the script can ask for."""
        of_anywidget = anywidget.AnyWidget.class_trait_names(sync=True)
        return [name for name in self.trait_names(sync=True) if name not in of_anywidget and not name.startswith("_")]

    def static_state(self) -> dict:
        """What `model.get` answers in the static copy."""
        tags = {name: self.trait_metadata(name, "static", getattr(self, name)) for name in self.state_names()}
        return dict(sorted(tags.items()))

    def still(self) -> bytes:
        """The PNG for viewers that run no script."""
        raise NotImplementedError

    def static_html(self) -> str:
        """The static copy: HTML that needs no kernel, no network and no other file."""
        return page(self.look, str(self._esm), str(self._css), self.static_state(), self.still(), self.description)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.description}>"

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:  # a widget without a view
            return None
        data, metadata = bundle
        return {**data, "text/html": self.static_html()}, metadata


class KernelWidget(TwoLayerWidget):
    """A widget that can ask its kernel for more: `answer` does what a request wants. The static copy asks nobody."""

    live = traitlets.Bool(True, help="whether there is a kernel to ask").tag(sync=True, static=False)
    error = traitlets.Unicode("", help="what went wrong in the last request").tag(sync=True, static="")

    def __init__(self, **state):
        super().__init__(**state)
        self.on_msg(self._answer)

    def answer(self, request: dict) -> None:
        """`{"another": true}`: other drawings."""
        if request.get("another"):
            self.draw_another()

    def draw_another(self) -> None:
        """Drawings of noise not used before."""
        raise NotImplementedError

    def _answer(self, _, request: dict, buffers) -> None:
        try:
            self.answer(request)
            self.error = ""
        except Exception as problem:  # shown to the reader, who cannot see this process's log
            self.error = f"{type(problem).__name__}: {problem}"
        finally:
            self.send({"answered": request.get("request")})


def plotted(draw: Callable, size: tuple[float, float]) -> bytes:
    """The PNG of what `draw(figure)` makes of a Matplotlib figure of `size` inches, whatever style a page has set."""
    from matplotlib import style
    from matplotlib.figure import Figure

    picture = io.BytesIO()
    with style.context("default"):
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        draw(figure)
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


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
