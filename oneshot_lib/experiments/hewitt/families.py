"""Figures 3 and 9 of Hewitt 2018 (version submitted to ICLR): five families of numbers, four objectives, |D| swept.

The paper prints curves and no numbers. Where it is silent: an epoch is as many elements as there are, in batches of
`batch_size`; Adam's rate falls on half a cosine; the sizes |D| are ours.
"""

from dataclasses import dataclass, replace

from oneshot_lib.runs.experiment import FROM_ZERO, TWO_OR_MORE, Experiment, Range, Row, Settings

CLASSES = ELEMENTS = 100  # of each family, for training and once more for testing
KL = "KL of c, support of {}"  # the metrics' names, by |D|
NLL = "NLL, support of {}"
ERROR = "error between two classes, support of {}"
JOINT = "joint NLL, support of {}"
METRICS = (KL, NLL, ERROR, JOINT)  # from top to bottom, the rows of the figures
FAMILIES = (("gaussian", "Gaussian"), ("mixture", "Mixture"), ("von-mises", "von Mises"), ("gamma", "Gamma"),
            ("discrete", "Discrete"))  # fmt: skip
OBJECTIVES = (("neural-statistician", "NS"), ("resample", "resample"), ("rescale", "rescale"), ("vhe", "VHE"))


@dataclass(frozen=True)
class FamilyRow(Row):
    """One `family` of `oneshot_lib.models.families_1d.FAMILIES` under one of `SET_OBJECTIVES`, at every |D|."""

    family: str
    objective: str


@dataclass(frozen=True)
class FamilySettings(Settings):
    """How a line of the figures is made; the defaults are the paper's where it speaks.

    At each |D| of `support_sizes`, `runs` trainings of `annealing_epochs` and then `epochs`; the best training
    objective counts. In the first `annealed_runs` of them the price of c rises to what it is during the
    `annealing_epochs`, as in the paper; in the others it is that from the start, which is another way in. The scores
    are over new classes, `supports` draws of D from each, with `draws` of c. A record's value is that at the first |D|;
    its series has them all.
    """

    ranges = {"support_sizes": Range(1, ELEMENTS - 1), "annealing_epochs": FROM_ZERO, "annealed_runs": FROM_ZERO,
              "draws": TWO_OR_MORE}

    learning_rate: float = 0.01
    warmup: int = 20
    products: str = "float32"
    support_sizes: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 50)
    epochs: int = 200
    annealing_epochs: int = 50
    batch_size: int = 100
    runs: int = 3
    annealed_runs: int = 3
    supports: int = 5
    draws: int = 200

    def __post_init__(self):
        super().__post_init__()
        sizes = self.support_sizes if isinstance(self.support_sizes, tuple) else ()
        if not sizes or len({*sizes}) < len(sizes):
            raise ValueError(f"support_sizes is {self.support_sizes!r}; expected different sizes from 1 to "
                             f"{ELEMENTS - 1}, to leave an element to explain")

    def in_steps(self, epochs: int) -> int:
        """How many updates so many epochs are."""
        return max(1, round(epochs * CLASSES * ELEMENTS / self.batch_size)) if epochs else 0

    def steps(self, row: Row) -> int:
        return self.in_steps(self.epochs + self.annealing_epochs)

    def images_a_step(self) -> int:
        return self.batch_size

    def faster_products(self):
        import torch

        return torch.float32  # the largest product here is 2 by 8


ROWS = tuple(
    FamilyRow(f"{family}-{objective}", f"{name}, {label}", family, objective)
    for family, name in FAMILIES
    for objective, label in OBJECTIVES
)
FULL = FamilySettings(rows=tuple(row.key for row in ROWS))
def family_classes():
    """The numbers that the figures are of."""
    from oneshot_lib.experiments.hewitt.numbers import FamilyClasses

    return FamilyClasses(CLASSES, ELEMENTS)


FIGURE3 = Experiment(
    "hewitt-figure3",
    "four objectives on five families of numbers",
    "Hewitt et al. 2018, The Variational Homoencoder (version submitted to ICLR), figures 3 and 9",
    "families",
    "none",
    "new-classes",
    ROWS,
    presets={
        "full": FULL,
        # 1,250 steps, so that the training objective that chooses, a mean of the last 1,000, is past the annealing
        "laptop": replace(FULL, support_sizes=(1, 2, 5, 20), epochs=16, annealing_epochs=4, batch_size=160,
                          learning_rate=0.03, runs=2, annealed_runs=1, threads=1),
        "quick": replace(FULL, rows=("gaussian-neural-statistician", "gaussian-vhe", "discrete-neural-statistician",
                                     "discrete-vhe"), support_sizes=(1, 5), epochs=2, annealing_epochs=1,
                         batch_size=300, learning_rate=0.1, warmup=5, runs=1, supports=2, draws=50,
                         threads=1),
    },
    minutes={"quick": 0.2, "laptop": 15, "full": 300},
    numbers=family_classes,
)
