"""From probabilities to pictures."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from oneshot_lib.widgets.frames import frames, ink, png, strip


def test_ink_keeps_the_ends_and_the_order():
    values = np.linspace(0, 1, 1001)
    shades = ink(values)
    assert shades.dtype == np.uint8 and shades[0] == 0 and shades[-1] == 255
    assert (np.diff(shades.astype(int)) >= 0).all()
    assert np.abs(shades / 255 - values).max() <= 0.5 / 255 + 1e-12
    assert (np.diff(ink(values[::-1]).astype(int)) < 0).any()  # the fault: order turned round


@pytest.mark.parametrize("bad", [[-0.1, 0.5], [0.5, 1.2], [0.5, float("nan")], []])
def test_ink_refuses_what_is_no_probability(bad):
    with pytest.raises(ValueError, match="pages holds"):
        ink(np.array(bad), "pages")


def test_frames_are_one_drawing_of_the_batch_in_its_order():
    probabilities = torch.rand(3, 6, 1, 5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    drawing = SimpleNamespace(probabilities=probabilities)
    shown = frames(drawing, 2)
    assert shown.shape == (6, 5, 7)
    assert all(np.array_equal(shown[t], ink(probabilities[2, t, 0])) for t in range(6))
    assert not np.array_equal(shown, frames(drawing, 1))
    assert np.array_equal(shown, frames(drawing, -1))


@pytest.mark.parametrize("shape", [(6, 1, 5, 7), (1, 6, 3, 5, 7), (1, 1, 1, 5, 7)])
def test_frames_refuse_another_shape(shape):
    with pytest.raises(ValueError, match=r"expected \(B, T\+1, 1, H, W\)"):
        frames(SimpleNamespace(probabilities=torch.zeros(shape)))


def test_frames_refuse_an_index_outside_the_batch():
    with pytest.raises(ValueError, match="index is 2"):
        frames(SimpleNamespace(probabilities=torch.zeros(2, 3, 1, 4, 4)), 2)


def test_a_strip_starts_blank_and_ends_with_the_drawing():
    shown = np.zeros((9, 4, 4), np.uint8)
    shown[-1] = 255
    picture = strip(shown, panels=3, magnify=2)
    assert picture.shape == (8, 3 * 8 + 2 * 4)
    assert (picture[:, :8] == 255).all() and (picture[:, -8:] == 0).all()


def test_png_holds_sixteen_shades_of_the_picture():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = np.asarray(Image.open(io.BytesIO(png(grey))).convert("L"))
    assert read.shape == grey.shape and np.abs(read.astype(int) - grey).max() <= 9
    assert len(np.unique(read)) == 16


def test_frames_come_without_jupyter():
    code = "import sys, oneshot_lib.widgets.frames; print([m in sys.modules for m in ('anywidget', 'torch')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[False, False]"
