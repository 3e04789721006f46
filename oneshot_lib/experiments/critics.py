"""The critics of `oneshot_lib.judging`, trained.

A `run` is that of `oneshot_lib.experiments.start`, a `row` a `boutin.CriticRow`.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from oneshot_lib.data.augment import symmetry
from oneshot_lib.data.views import views
from oneshot_lib.experiments import boutin
from oneshot_lib.judging import as_seen
from oneshot_lib.models.critics import ContrastiveCritic, Critic, CriticConfig, PrototypicalCritic

NETWORKS = {"contrastive": ContrastiveCritic, "prototypical": PrototypicalCritic}


def seen_drawings(images, preprocessing: str, rows: np.ndarray) -> Tensor:
    """Drawings of a `CharacterSet` as the critics see them: (N, 50, 50), uint8 of zeros and ones."""
    grey = images.grey(preprocessing)
    parts = [as_seen(torch.from_numpy(grey[part]).float() / 255).byte() for part in np.array_split(rows, 20)]
    return torch.cat(parts)


class Drawings:
    """The training drawings of a split, in batches for either critic."""

    def __init__(self, images, preprocessing: str, rows: np.ndarray):
        order = np.argsort(images.class_index[rows], kind="stable")
        self.seen = seen_drawings(images, preprocessing, rows[order])
        _, first, count = np.unique(images.class_index[rows[order]], return_index=True, return_counts=True)
        self.first, self.count = torch.from_numpy(first), torch.from_numpy(count)

    def pairs(self, n: int, generator: torch.Generator) -> Tensor:
        """Two views of each of n different drawings: (2n, 1, 50, 50), the first views of all, then the second."""
        chosen = self.seen[torch.randperm(len(self.seen), generator=generator)[:n], None].float()
        return views(torch.cat([chosen, chosen]), generator)

    def episode(self, ways: int, queries: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`ways` different characters, each read in one of 8 symmetries: an exemplar of each (K, 1, 50, 50) and
        `queries` other drawings of each (K r, 1, 50, 50). Raises ValueError where there are too few of either."""
        if ways > len(self.count) or queries >= int(self.count.min()):
            raise ValueError(f"ways is {ways} and queries {queries}; expected at most {len(self.count)} and "
                             f"{int(self.count.min()) - 1}")
        chosen = torch.randperm(len(self.count), generator=generator)[:ways]
        order = torch.rand(ways, int(self.count.max()), generator=generator)
        order[torch.arange(order.shape[1]) >= self.count[chosen, None]] = 2.0
        rows = self.first[chosen, None] + order.argsort(1)[:, : 1 + queries]
        pictures = self.seen[rows].numpy()  # (K, 1 + r, 50, 50)
        turns = torch.randint(8, (ways,), generator=generator).tolist()
        pictures = torch.from_numpy(np.stack([symmetry(g, part) for g, part in zip(turns, pictures, strict=True)]))
        return pictures[:, :1].float(), pictures[:, 1:].flatten(0, 1)[:, None].float()


def objective(drawings: Drawings, network: str, settings: boutin.CriticSettings, device: str = "cpu") -> Callable:
    """What `oneshot_lib.training.train` maximises: (model, step, generator) -> (B,), nats."""

    def maximised(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        draw = torch.Generator().manual_seed(generator.initial_seed())  # on the CPU, as the drawings are
        if network == "contrastive":
            return model.log_prob(drawings.pairs(settings.batch_size, draw).to(device))
        return model.log_prob(*(part.to(device) for part in drawings.episode(settings.ways, settings.queries, draw)))

    return maximised


def trained(run, row) -> Critic:
    """The row's critic, trained, and the record of its objective, nats. Raises `TimeSpent` and `Diverged` as
    `run.train` does."""
    drawings = Drawings(run.images, run.experiment.reduction(row), run.split.train)
    torch.manual_seed(run.seed)
    model = NETWORKS[row.network](CriticConfig(channels=run.settings.channels))
    model = model.to(memory_format=torch.channels_last)
    report = run.train(row, model, objective(drawings, row.network, run.settings, run.device),
                       metric=("training loss", "running mean"))
    run.record_value(row, "training loss", "running mean", -report.train_bound,
                     report.train_bound_error, n=min(1000, report.steps))
    return model
