"""Figures that a reader can touch: one file a widget, its JavaScript and style beside it.

The widgets are looked up when they are asked for, so that `oneshot_lib.widgets.frames`, which needs numpy
and Pillow alone, can be imported without Jupyter's widgets.
"""

import importlib

_HOME = {
    "Beside": "static_html",
    "BoundExplorer": "bound_explorer",
    "CanvasPlayer": "canvas_player",
    "EpisodeViewer": "episode_viewer",
    "InnerStepExplorer": "inner_step",
    "PixelPlayer": "pixel_player",
    "PlaneExplorer": "plane_explorer",
    "SetBoundExplorer": "set_bound",
    "SupportPicker": "support_picker",
    "WindowExplorer": "window_explorer",
}

__all__ = ["Beside", "BoundExplorer", "CanvasPlayer", "EpisodeViewer", "InnerStepExplorer", "PixelPlayer",
           "PlaneExplorer", "SetBoundExplorer", "SupportPicker", "WindowExplorer"]


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
