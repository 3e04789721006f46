"""One-shot generative models: the library behind the book.

>>> import oneshot_lib as oneshot                                       # defines names, and waits for nothing
>>> model = oneshot.load("omniglot28-vhe-pixelcnn")                     # one of oneshot.names()
>>> model.sample(2).shape
torch.Size([2, 1, 28, 28])
"""

import importlib

__version__ = "0.1.0"
_HOME = {  # what is asked for most, and where it lives
    "classify": "asking",
    "draw_like": "asking",
    "load": "weights",
    "names": "weights",
    "train": "asking",
}
_PARTS = ("attention", "data", "distributions", "evaluation", "models", "objectives", "plotting", "weights", "widgets")


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    if name in _PARTS:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*_HOME, *_PARTS, *globals()]
