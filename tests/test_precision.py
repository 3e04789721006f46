"""Which of float32 and bfloat16 is measured to be the faster one."""

import pytest
import torch

from oneshot_lib import precision


@pytest.mark.parametrize("slow", precision.BOTH)
def test_the_faster_one_is_chosen_on_products_and_on_convolutions(monkeypatch, slow):
    lap = iter(range(1_000))
    dtypes = []

    def took(work) -> float:
        work()
        return 2.0 if dtypes[-1] == slow else 1.0 + next(lap) * 1e-6

    product, convolution = torch.mm, precision._convolved
    monkeypatch.setattr(torch, "mm", lambda a, b: dtypes.append(a.dtype) or product(a, b))
    monkeypatch.setattr(precision, "_convolved", lambda x, w, dtype: dtypes.append(dtype) or convolution(x, w, dtype))
    monkeypatch.setattr(precision, "_lap", took)
    (fast,) = set(precision.BOTH) - {slow}
    assert precision.faster_products(batch=2, hidden=3, laps=4) == fast
    assert precision.faster_convolutions(images=1, channels=4, size=8, laps=3) == fast


def test_a_measured_lap_is_a_time():
    assert all(seconds > 0 for seconds in precision.product_seconds(2, 3, 4, laps=4).values())
    assert precision.faster_convolutions(images=1, channels=4, size=8, laps=2) in precision.BOTH
