"""One widget alone on a page: its static copy, or its live layer with the page as the kernel."""

import json

from oneshot_lib.widgets.static_html import state_json

# JupyterLab takes the keys of whatever has the focus, unless that element itself asks it not to.
NOTEBOOK = """<script>document.addEventListener("keydown", (event) => {
  if (!event.target.hasAttribute("data-lm-suppress-shortcuts")) event.preventDefault();
}, true);</script>"""
# As in a kernel, a change is heard by whoever made it, and binary state is a DataView.
KERNEL = """<style>%s</style><div id="here"></div><script type="module">%s
{ // its names are not the widget's
window.view = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const state = JSON.parse(%s, (_, v) => (v && v.base64 !== undefined ? view(v.base64) : v)), heard = {};
const call = (name, ...what) => (heard[name] || []).forEach((act) => act(...what));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
Object.assign(window, { state, sent: [], saved: 0 });
window.tell = (name, value) => { state[name] = value; call("change:" + name); };
window.answer = () => call("msg:custom", { answered: sent.length });
window.close = render({ el: document.getElementById("here"), model: {
  get: (name) => state[name],
  set: (name, value) => same(state[name], value) || tell(name, value),
  save_changes: () => window.saved++,
  on: (name, act) => (heard[name] ||= []).push(act),
  off: (name, act) => heard[name].splice(heard[name].indexOf(act), 1),
  send: (message) => sent.push(message),
} });
window.listeners = () => Object.values(heard).flat().length;
}
</script>"""


def opened(visit, folder, body: str, **tab):
    """A tab with a page of `body`, a file without a network: `visit`'s arguments are `tab`."""
    file = folder / f"page{len(list(folder.iterdir()))}.html"
    head = '<!doctype html><html data-theme="auto"><meta charset="utf-8">'
    file.write_text(f"{head}<body>{body}</body></html>", "utf-8")
    opened_tab = visit(**tab)
    opened_tab.page.goto(file.as_uri())
    return opened_tab


def static(visit, folder, widget, scheme="light", width=720, height=900, before=""):
    """A tab with the static copy of a widget, once its script has run."""
    tab = opened(visit, folder, before + widget.static_html(), scheme=scheme, size=(width, height))
    tab.page.locator(".oneshot-player[role=group]").wait_for()
    return tab


def live_body(widget) -> str:
    """The live layer of a widget, for a page in which `state`, `tell(name, value)`, `sent`, `answer()`, `saved`,
    `listeners()` and `close()` are the kernel's side."""
    state = {name: getattr(widget, name) for name in widget.state_names()}
    return KERNEL % (widget._css, widget._esm, json.dumps(state_json(state)))


def live(visit, folder, widget):
    """A tab with the live layer of a widget."""
    return opened(visit, folder, live_body(widget))
