"""Boutin et al. 2022: the two critics, and the plane that they lay out (row B6)."""

from dataclasses import dataclass, replace

from oneshot_lib.experiments.definition import Experiment, Row, Settings, check

REFERENCE = "Boutin et al. 2022, Diversity vs. Recognizability"
CRITICS = ("contrastive", "prototypical")
DIVERSITY, RECOGNIZABILITY = "diversity", "recognizability"


@dataclass(frozen=True)
class CriticRow(Row):
    """One of the two `CRITICS`."""

    network: str

    def __post_init__(self):
        check(self.network, CRITICS, "critic")


@dataclass(frozen=True)
class CriticSettings(Settings):
    """How the critics are trained; the defaults are the published scale.

    A contrastive step sees two views of each of `batch_size` drawings. A prototypical step is one episode: an
    exemplar of each of `ways` characters, each read in one of 8 rotations and reflections, and `queries` other
    drawings of it.
    """

    contrastive_steps: int = 23_000
    prototypical_steps: int = 8_000
    batch_size: int = 128
    ways: int = 60
    queries: int = 5
    channels: int = 64

    def __post_init__(self):
        super().__post_init__()
        for name, least in (("batch_size", 2), ("ways", 2), ("queries", 1), ("channels", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")

    def steps(self, row: CriticRow) -> int:
        return getattr(self, f"{row.network}_steps")

    def images_a_step(self) -> int:
        return 2 * self.batch_size

    def faster_products(self):
        from oneshot_lib.experiments.sets import faster_convolutions

        return faster_convolutions(images=32, channels=self.channels, size=25)


CRITIC_ROWS = (
    CriticRow("contrastive", "SimCLR critic", "contrastive"),
    CriticRow("prototypical", "Prototypical critic", "prototypical"),
)
FULL = CriticSettings(rows=CRITICS)
EXPERIMENTS = (
    Experiment(
        "boutin-critics",
        "the critics of drawings",
        f"{REFERENCE}, section 3",
        "characters",
        "50-antialias",
        "weak",
        CRITIC_ROWS,
        presets={
            "full": FULL,
            "laptop": replace(FULL, contrastive_steps=2_400, prototypical_steps=1_800, learning_rate=2e-3, warmup=50,
                              checkpoint_every=100),
            "quick": replace(FULL, contrastive_steps=2, prototypical_steps=2, batch_size=4, ways=4, queries=1,
                             channels=8, warmup=1, checkpoint_every=2, threads=1, products="float32"),
        },
        minutes={"quick": 0.3, "laptop": 60, "full": 60},
    ),
)
