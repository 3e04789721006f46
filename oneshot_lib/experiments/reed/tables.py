"""The tasks of Reed et al. 2018 on characters: new drawings of a character given a few, and one drawing in the mirror.

The slides' figures of the inversion are of ImageNet at 48x48 with 256 levels, and stand beside ours of characters: what
can be compared is the ratio of two rows. Where the slides are silent: one training serves all numbers of shots, drawn
anew for every step; targets are never among their own support; an update sees `batch_groups` support sets, each
serving `elements` targets.
"""

from dataclasses import dataclass, replace

from oneshot_lib.experiments.hewitt.tables import ACROSS, SHOTS
from oneshot_lib.runs.experiment import DRAWINGS, TWO_OR_MORE, Experiment, Range, Row, Settings

REFERENCE = "Reed et al. 2018, Few-shot Autoregressive Density Estimation"
NLL = "test NLL, {}-shot"
COLUMNS = "column correlation"
NETWORKS = ("unconditional", "conditional", "attention", "meta")


@dataclass(frozen=True)
class FewShotRow(Row):
    """One of the `NETWORKS`; `steps_from` names the setting that has its number of updates."""

    network: str
    steps_from: str
    code_map: int = 0


@dataclass(frozen=True)
class FewShotSettings(Settings):
    """How a few-shot model is trained and tested; the defaults are for one GPU.

    The network has `layers` gated layers of `channels`; attention reads the support after half of them, and goes
    `attention_rounds` times through its steps, the learning rate rising and falling in each: what to look for is
    learned late, once the strokes are known. A step draws |s| from `shots` with the weights `shares`, and
    `batch_groups` sets with `elements` targets each; meta, where a set costs most, takes as many targets of fewer sets,
    `meta_elements` each. With `mirror` the target is the one support drawing, left and right exchanged. The test is
    over `supports` random support sets of each test character (of `test_classes` of them, None: all), `targets` others
    each (or as many as there are).
    `columns` drawings tell how the attention moves.
    """

    ranges = {"shares": Range(0, 1), "layers": TWO_OR_MORE}  # attention reads between two

    channels: int = 64
    layers: int = 12
    unconditional_steps: int = 60_000
    conditional_steps: int = 60_000
    attention_steps: int = 60_000
    meta_steps: int = 30_000
    attention_rounds: int = 1
    batch_groups: int = 16
    elements: int = 4
    meta_elements: int = 8
    shots: tuple[int, ...] = (1, 2, 4, 10)
    shares: tuple[float, ...] = (0.35, 0.3, 0.25, 0.1)
    mirror: bool = False
    supports: int = 2
    targets: int = 10
    test_classes: int | None = None
    columns: int = 200
    learning_rate: float = 1e-3

    def __post_init__(self):
        super().__post_init__()
        if len(self.shots) != len(self.shares) or not sum(self.shares):
            raise ValueError(f"shots is {self.shots} and shares {self.shares}; expected as many weights as "
                             "numbers of at least 1")
        if self.mirror and (self.shots != (1,) or self.elements != 1):
            raise ValueError(f"shots is {self.shots} and elements {self.elements}; expected 1 and 1 with mirror")
        if not self.mirror and self.images_a_step() % self.meta_elements:
            raise ValueError(f"meta_elements is {self.meta_elements}; expected a divisor of the {self.images_a_step()} "
                             "targets of a step")
        served = max(self.elements, self.meta_elements if "meta" in self.rows else 0)
        if not self.mirror and max(self.shots) + served > DRAWINGS:
            raise ValueError(f"shots is {self.shots}; expected numbers of at most {DRAWINGS - served}, which leave "
                             f"{served} of a character's {DRAWINGS} drawings as targets")

    def check_run(self, dataset, split: str) -> None:
        if self.batch_groups < 2:
            raise ValueError(f"batch_groups is {self.batch_groups}; expected at least 2, batch norm takes two sets")

    def steps(self, row: FewShotRow) -> int:
        return getattr(self, row.steps_from)

    def rounds(self, row: FewShotRow) -> int:
        """How many times a row goes through its steps."""
        return self.attention_rounds if row.network == "attention" else 1

    def targets_of(self, row: FewShotRow) -> int:
        """How many targets a support set serves in an update of this row."""
        return self.meta_elements if row.network == "meta" and not self.mirror else self.elements

    def images_a_step(self) -> int:
        return self.batch_groups * self.elements

    def faster_products(self):
        from oneshot_lib.precision import faster_convolutions

        return faster_convolutions(channels=self.channels)


@dataclass(frozen=True)
class EpisodeSettings(FewShotSettings):
    """The same, tested on the first so many of the committed `episodes`, `ways` characters each, at `asked` shots."""

    ranges = {"ways": Range(2, 20), "asked": Range(1, 5)}  # of the committed episodes

    episodes: int = 200
    ways: int = 20
    asked: tuple[int, ...] = (1, 5)


def _rows(*names: str, printed: dict | None = None) -> tuple[FewShotRow, ...]:
    return tuple(FewShotRow(name, name.capitalize(), name, f"{name}_steps", printed=(printed or {}).get(name, {}))
                 for name in names)


MIRROR = dict(shots=(1,), shares=(1.0,), mirror=True, elements=1, batch_groups=64)
OMNIGLOT_FULL = FewShotSettings(rows=NETWORKS)
INVERSION_FULL = replace(OMNIGLOT_FULL, rows=("conditional", "attention", "meta"), **MIRROR)
CLASSIFICATION_FULL = EpisodeSettings(rows=("conditional", "attention", "meta"))
LAPTOP = dict(channels=32, layers=8, batch_groups=8, learning_rate=2e-3, warmup=100, checkpoint_every=250)
QUICK = dict(channels=8, layers=3, batch_groups=2, warmup=1, checkpoint_every=2, threads=1, products="float32",
             unconditional_steps=2, conditional_steps=2, attention_steps=2, meta_steps=2, test_classes=2, supports=1,
             columns=4)
OMNIGLOT = Experiment(
    "reed-omniglot",
    "few-shot density of 26x26 characters",
    f"{REFERENCE}, character generation",
    "characters",
    "26-nearest",
    "45-5",
    _rows(*NETWORKS),
    presets={
        "full": OMNIGLOT_FULL,
        "laptop": replace(OMNIGLOT_FULL, unconditional_steps=3_500, conditional_steps=3_500, attention_steps=3_500,
                          attention_rounds=2, meta_steps=1_600, **LAPTOP),
        "quick": replace(OMNIGLOT_FULL, shots=(1, 2), shares=(0.5, 0.5), **QUICK),
    },
    minutes={"quick": 0.3, "laptop": 140, "full": 600},
    headlines=(("attention", NLL.format(1), "exact"),),
)
INVERSION = Experiment(
    "reed-inversion",
    "a character in the mirror (paper: ImageNet at 48x48)",
    f"{REFERENCE}, image inversion",
    "characters",
    "26-nearest",
    "45-5",
    _rows("conditional", "attention", "meta", printed={"conditional": {(NLL.format(1), "exact"): 2.65},
                                                     "attention": {(NLL.format(1), "exact"): 0.90}}),
    presets={
        "full": INVERSION_FULL,
        "laptop": replace(INVERSION_FULL, rows=("conditional", "attention"), conditional_steps=2_500,
                          attention_steps=3_500, **LAPTOP | {"batch_groups": 32}),
        "quick": replace(INVERSION_FULL, **QUICK),
    },
    minutes={"quick": 0.3, "laptop": 60, "full": 300},
    headlines=(("attention", NLL.format(1), "exact"),),
)
CLASSIFICATION = Experiment(
    "reed-classification",
    "classification of Omniglot by few-shot PixelCNNs",
    "the episodes of Hewitt et al. 2018, table 2; models of Reed et al. 2018",
    "characters",
    "26-nearest",
    "30-20",
    _rows("conditional", "attention", "meta"),
    presets={
        "full": CLASSIFICATION_FULL,
        "laptop": replace(CLASSIFICATION_FULL, conditional_steps=2_500, attention_steps=2_000, meta_steps=800,
                          episodes=20, **LAPTOP),
        "quick": replace(CLASSIFICATION_FULL, shots=(1, 2), shares=(0.5, 0.5), episodes=1, ways=3, asked=(1,), **QUICK),
    },
    minutes={"quick": 0.3, "laptop": 90, "full": 500},
    headlines=(("conditional", SHOTS.format(1, 20), ACROSS),),
)
TABLES = (OMNIGLOT, INVERSION, CLASSIFICATION)
