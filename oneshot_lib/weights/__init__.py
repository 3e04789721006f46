"""The trained weights that ship with the package: `names()`, `load(name)`, `manifest()`.

Each `NAME.safetensors` came out of an experiment that a reader can run; `manifest.json` says which, with the hash of
the file, the model's configuration and the preset. Nothing is unpickled, ever.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path

FOLDER = Path(__file__).parent


def manifest() -> dict[str, dict]:
    """Name -> what it is: file's `sha256`, `model` (its class), `config`, `data`, `preset`, `steps_trained`,
    `record`.
    """
    path = FOLDER / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def names() -> list[str]:
    """The shipped models, each by its file's stem."""
    return sorted(manifest())


def sha256(path: str | Path) -> str:
    """The hash by which a file of weights is known."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def load(name: str):
    """A shipped model in eval mode. Raises ValueError for an unknown name or a file that is not the manifest's."""
    entries = manifest()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, 1, 0)
        raise ValueError(f"name is {name!r}; expected a shipped model{f', perhaps {near[0]!r}' if near else ''}")
    from safetensors.torch import load as load_safetensors

    from ..models.sequential import SequentialConfig, SequentialModel

    entry, path = entries[name], FOLDER / f"{name}.safetensors"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(f"{path.name} is not the file of the manifest; expected sha256 {entry['sha256'][:12]}...")
    model = SequentialModel(SequentialConfig(**entry["config"]))
    model.load_state_dict(load_safetensors(content))
    return model.eval().requires_grad_(False)
