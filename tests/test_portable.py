"""`make test-portable`: what computes is tested as other processors round."""

import ast
import os
import platform
import re
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
LEFT_OUT = re.search(r"^NOT_NUMERIC := (.+)$", MAKEFILE, re.MULTILINE)[1].split()
COMPUTE = {"torch", "numpy", "scipy", "skimage", "oneshot_lib"}


def imported(source):
    """The packages that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def test_nothing_that_computes_is_left_out():
    """A new file is in by itself; what is left out must compute nothing, or be a page in a browser."""
    assert all((ROOT / name).exists() for name in LEFT_OUT)
    files = [name for name in LEFT_OUT if name != "tests/browser"]
    assert {name: found for name in files if (found := imported((ROOT / name).read_text()) & COMPUTE)} == {}
    assert imported("def f():\n    import torch.nn as nn\n    from numpy import exp") == {"torch", "numpy"}


@pytest.mark.skipif("ATEN_CPU_CAPABILITY" not in os.environ, reason="make test-portable says what may be used")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="SSE and AVX2 are of x86 processors")
def test_the_libraries_use_no_more_of_the_processor_than_they_may():
    allowed = os.environ["ATEN_CPU_CAPABILITY"]
    assert torch.backends.cpu.get_cpu_capability() == allowed.upper()
    features = np._core._multiarray_umath.__cpu_features__
    assert not features.get("X86_V4") and not (features.get("X86_V3") and allowed == "default")
