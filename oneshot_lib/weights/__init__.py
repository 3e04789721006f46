"""The trained weights that ship with the package: `names()`, `load(name)`, `manifest()`.

Each `NAME.safetensors` came out of an experiment that a reader can run; `manifest.json` says which, with the hash of
the file, the model's configuration and the preset. Nothing is unpickled, ever.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import typing
from pathlib import Path

FOLDER = Path(__file__).parent


def manifest() -> dict[str, dict]:
    """Name -> what it is: file's `sha256`, `model` (its class), `config`, `data` (`name`, `reduction`, `split`),
    `preset`, `settings` (the experiment and row that it came out of, and what was set otherwise than the preset has
    it), `steps_trained`, `record`, what it `does` (`abilities`), and its `task` where that is another than to draw
    alike.

    `started_from` is the model that it was trained on from (`model`, `data`, `steps_trained`), where there was one. Its
    own `steps_trained` are all updates since the weights were random, those of that model included.
    """
    path = FOLDER / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def names() -> list[str]:
    """The shipped models, each by its file's stem."""
    return sorted(manifest())


def that(ability: str) -> list[str]:
    """The shipped models with one of the `abilities`."""
    return [name for name in names() if ability in abilities(name)]


def abilities(name: str) -> tuple[str, ...]:
    """What a shipped model does: "sample" (from nothing), "draw_like" (what it is shown), "classify" (by it), "strokes"
    (it draws in steps that can be watched), "judge" (it draws nothing). One that is not shipped does nothing."""
    return tuple(manifest().get(name, {}).get("does", ()))


def data_of(name: str) -> str:
    """What a shipped model was trained on, in words: "omniglot 28-nearest, 30-20"."""
    return in_words(manifest()[name]["data"])


def in_words(about: dict) -> str:
    """A manifest's `data`: "omniglot 28-nearest, 30-20"."""
    return "{name} {reduction}, {split}".format(**about)


def mirrors(name: str) -> bool:
    """Whether a shipped model was trained to draw in the mirror what it is shown."""
    return manifest()[name].get("task") == "mirror"


def sha256(path: str | Path) -> str:
    """The hash by which a file of weights is known."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def load(name: str):
    """A shipped model in eval mode, of the class that the manifest names.

    Raises ValueError for an unknown name, an unknown class or a file that is not the manifest's.
    """
    entries = manifest()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, 1, 0)
        raise ValueError(f"name is {name!r}; expected a shipped model{f', perhaps {near[0]!r}' if near else ''}")
    from safetensors.torch import load as load_safetensors

    entry, path = entries[name], FOLDER / f"{name}.safetensors"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(f"{path.name} is not the file of the manifest; expected sha256 {entry['sha256'][:12]}...")
    model = build(entry.get("model", "SequentialModel"), entry["config"])
    model.load_state_dict(load_safetensors(content))
    return model.eval().requires_grad_(False)


def build(kind: str, config: dict):
    """An untrained model of one of the classes of `oneshot_lib.models`, by its configuration's values: those of the
    dataclass that it takes as `config`. Raises ValueError on another class."""
    from oneshot_lib import models

    if kind not in models.NAMES:
        raise ValueError(f"model is {kind!r}; expected one of {', '.join(models.NAMES)}")
    model = getattr(models, kind)
    (configuration, _) = typing.get_args(typing.get_type_hints(model.__init__)["config"])  # X | None
    return model(configuration(**config))
