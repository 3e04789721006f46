"""Pictures show what they are given: dark ink, the right windows, the right bars."""

from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from oneshot_lib import attention, plotting


@pytest.fixture(autouse=True)
def no_window():
    matplotlib.use("agg")
    yield
    plt.close("all")


def test_ink_is_dark_and_paper_is_white():
    assert plotting.INK(0.0)[:3] == (1.0, 1.0, 1.0)
    levels = np.array([sum(plotting.INK(v)[:3]) for v in np.linspace(0, 1, 9)])
    assert (np.diff(levels) < 0).all()


def test_a_mosaic_holds_every_image_in_its_place():
    images = torch.rand(5, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    sheet = plotting.mosaic(images, columns=2, gap=1)
    assert sheet.shape == (3 * 4 + 1, 2 * 5 + 1)
    for i, image in enumerate(images[:, 0].numpy()):
        top, left = 1 + 4 * (i // 2), 1 + 5 * (i % 2)
        assert (sheet[top : top + 3, left : left + 4] == image).all()
    assert (sheet[9:, 6:] == 0).all()  # where a sixth would be there is paper


def test_bytes_and_floats_are_the_same_picture():
    grey = np.array([[[0, 255], [51, 102]]], np.uint8)
    assert np.allclose(plotting.as_images(grey), grey / 255)
    with pytest.raises(ValueError, match="images has shape"):
        plotting.as_images(np.zeros((2, 3, 4, 4)))


def test_a_window_is_outlined_where_it_lies():
    _, axes = plt.subplots()
    window = attention.axis_aligned(torch.tensor([0.5, 0.0]), torch.tensor([0.5, 0.25]))
    plotting.draw_window(axes, window, (28, 28))
    x, y = axes.lines[0].get_data()
    assert np.allclose([x.min(), x.max(), y.min(), y.max()], [13.5, 27.5, 10.0, 17.0])  # the right half's middle


def test_a_filmstrip_has_its_first_and_its_last_frame():
    frames = torch.rand(21, 1, 6, 6)
    windows = attention.axis_aligned(torch.zeros(20, 2), torch.ones(20, 2))
    figure = plotting.filmstrip(frames, windows, columns=5)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "0" and titles[-1] == "20" and len(titles) == 5
    figure.canvas.draw()


def test_every_step_has_its_bar():
    axes = plotting.kl_bars({"a": [3.0, 2.0, 1.0], "b": [1.0, 1.0, 1.0]}, title="x")
    assert [round(bar.get_height(), 6) for bar in axes.patches] == [3, 2, 1, 1, 1, 1]


def test_values_stand_beside_the_papers():
    records = [
        SimpleNamespace(row="r", quantity="q", preset="laptop", value=98.0, error=0.2, paper_value=96.5),
        SimpleNamespace(row="s", quantity="q", preset="laptop", value=None, error=None, paper_value=1.0),
        SimpleNamespace(row="t", quantity="q", preset="quick", value=300.0, error=None, paper_value=None),
    ]
    axes = plotting.against_paper(records)
    assert {"98.0", "300.0", "96.5"} == {text.get_text() for text in axes.texts}
    axes.figure.canvas.draw()


def test_the_style_is_asked_for():
    with matplotlib.rc_context():
        plotting.set_style()
        assert plt.rcParams["figure.facecolor"] == "white"
