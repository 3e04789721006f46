"""What this machine is: its processor, memory and disk, in words and numbers. Imports nothing heavy."""

import os
import platform
import re
import shutil
from pathlib import Path


def processor() -> str:
    """The processor's name, without marketing: "AMD EPYC 7763"."""
    name = platform.processor() or platform.machine()
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = found[1] if found else name
    except OSError:
        pass
    return re.sub(r"\s+", " ", re.sub(r"\((R|TM)\)|\bCPU\b|@.*$|\d+-Core Processor", "", name)).strip() or "unknown"


def instructions() -> list[str]:
    """Those of the processor's instruction sets that matter here: avx2, avx512_bf16, amx_bf16, ..."""
    try:
        flags = set(
            re.search(r"^(?:flags|Features)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split()
        )
    except (OSError, TypeError):
        return []
    return [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve") if f in flags]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> tuple[float, float]:
    """(total, available) memory in GB."""
    import psutil

    state = psutil.virtual_memory()
    return state.total / 1e9, state.available / 1e9


def free_disk(folder: Path) -> float:
    """GB free where `folder` is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9


def load() -> float | None:
    """How many processes want a core at the moment, a mean over the last minute; None where nobody counts."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def share_cores() -> None:
    """Where others want the cores too, let this program's threads sleep while they wait for each other.

    Threads of OpenMP spin instead, which on a busy machine costs ten times as much (measured on two cores: a
    training step of 1.15 s spinning, 0.06 s sleeping) and on an idle one is a little faster. To be called by a
    program, before torch is imported; OMP_WAIT_POLICY in the environment overrules it. The numbers stay the same.
    """
    busy = load()
    if busy is not None and busy > 0.6 * cores():
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
