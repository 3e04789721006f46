"""One thread a process: tiny models gain nothing from a second one, and tests that run side by side lose much."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    import torch

    torch.set_num_threads(1)
