"""`oneshot doctor`: what this machine has, measured where it can be, and which presets it can run."""

import platform
import shutil

from oneshot_lib import machine
from oneshot_lib.files import cache_directory, shorten
from oneshot_lib.text import columns

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def examine() -> dict:
    """Everything that `oneshot doctor` reports."""
    import torch

    from oneshot_lib import __version__, data

    total, available = machine.memory()
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    found = {
        "oneshot": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "processor": machine.processor(),
        "cores": machine.cores(),
        "threads": torch.get_num_threads(),
        "load": machine.load(),
        "instructions": machine.instructions(),
        "bfloat16": measure_bfloat16(),
        "gpus": gpus,
        "mps": torch.backends.mps.is_available(),
        "memory_gb": round(total, 1),
        "memory_available_gb": round(available, 1),
        "cache": shorten(cache_directory()),
        "cache_free_gb": round(machine.free_disk(cache_directory()), 1),
        "data": {d["name"]: bool(d["found"]) for d in data.describe()},
        "chromium": next((b for b in BROWSERS if shutil.which(b)), None),
    }
    return {**found, "presets": presets(found), "advice": advice(found)}


def measure_bfloat16(size: int = 512, repeats: int = 20) -> dict:
    """Time of one matrix product in float32 and in bfloat16, the best of many, and which is faster."""
    from oneshot_lib.precision import product_seconds

    found = product_seconds(size, size, size, repeats)
    seconds = {str(dtype).removeprefix("torch."): taken for dtype, taken in found.items()}
    ratio = seconds["float32"] / seconds["bfloat16"]
    return {
        "float32_ms": round(1e3 * seconds["float32"], 3),
        "bfloat16_ms": round(1e3 * seconds["bfloat16"], 3),
        "speedup": round(ratio, 2),
        "faster": ratio > 1.1,
    }


def presets(found: dict) -> dict[str, str]:
    """What each preset would be like here."""
    small = found["memory_available_gb"] < 2 or found["cache_free_gb"] < 1
    return {
        "quick": "too little memory or disk" if small else "yes, in seconds",
        "laptop": "too little memory or disk"
        if small
        else f"yes, in up to {longest()} an experiment"
        if found["cores"] >= 2
        else "yes, slowly: it is meant for two cores",
        "full": f"yes, on {found['gpus'][0]}"
        if found["gpus"]
        else "no: it wants a CUDA GPU (--device cpu takes weeks)",
    }


def longest() -> str:
    """What the experiment takes that takes longest on a laptop."""
    from oneshot_lib.cli.tables import duration
    from oneshot_lib.experiments import EXPERIMENTS

    return duration(max(e.minutes["laptop"] for e in EXPERIMENTS.values()))


def advice(found: dict) -> list[str]:
    """What to do next, most useful first; empty where all is well."""
    lines = [
        f"{name} is not here: `oneshot data` says how to get it"
        for name in ("omniglot", "mnist")
        if not found["data"].get(name)
    ]
    if not found["chromium"]:
        lines.append("no Chromium: the browser tests need one, the book does not")
    if found["load"] is not None and found["load"] > found["cores"]:
        lines.append(f"the machine is busy (load {found['load']:.1f} on {found['cores']} cores): times will be longer")
    return lines


def examination_text(found: dict) -> str:
    bf = found["bfloat16"]
    there = ", ".join(n for n, here in found["data"].items() if here) or "none"
    lines = {
        "python": f"{found['python']}, torch {found['torch']}, oneshot {found['oneshot']}, {found['system']}",
        "processor": f"{found['processor']}, {found['cores']} cores, {found['threads']} threads",
        "instructions": ", ".join(found["instructions"]) or "none that matter here",
        "bfloat16": f"{bf['speedup']} times float32's speed here ({bf['bfloat16_ms']} against "
        f"{bf['float32_ms']} ms for a 512 x 512 product)",
        "gpu": ", ".join(found["gpus"]) or ("Apple (mps)" if found["mps"] else "none"),
        "memory": f"{found['memory_available_gb']} of {found['memory_gb']} GB free",
        "cache": f"{found['cache']}, {found['cache_free_gb']} GB free",
        "data": there,
        "chromium": found["chromium"] or "none",
        **{f"preset {name}": text for name, text in found["presets"].items()},
    }
    return columns(list(lines.items())) + "".join(f"\n- {line}" for line in found["advice"])
