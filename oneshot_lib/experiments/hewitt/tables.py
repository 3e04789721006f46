"""Tables 1 and 2 of Hewitt et al. 2018: eight models by two switches and two networks, and the best of them at length.

Where the paper is silent: an epoch is every drawing under every symmetry once; a step sees `batch_groups`
supports, each serving `elements` images of its class; Adam's rate falls on half a cosine.
"""

from dataclasses import dataclass, replace

from oneshot_lib.choices import check
from oneshot_lib.experiments.hewitt.families import FIGURE3
from oneshot_lib.runs.experiment import DRAWINGS, FROM_ZERO, Experiment, Range, Row, Settings

REFERENCE = "Hewitt et al. 2018, The Variational Homoencoder"
SHOTS = "test accuracy, {}-shot {}-way"  # the metrics' names, as records and `printed` have them
TRAINED_ON = "train accuracy, {}-shot {}-way"  # of characters that were trained on: what a choice is made by
ACROSS, WITHIN = "from all alphabets", "within one alphabet"
KL = "train KL of c"
JOINT = "test NLL of whole classes"


@dataclass(frozen=True)
class SetRow(Row):
    """A model over sets: its `network`, "pixelcnn" or "deconvolutional", and one of `SET_OBJECTIVES`.

    `steps_from` names the setting that has its number of updates; a row that `continues` may start from weights
    trained before.
    """

    network: str
    objective: str
    steps_from: str
    continues: bool = False


@dataclass(frozen=True)
class SetSettings(Settings):
    """How a model over sets is trained and tested; the defaults are the paper's where it speaks.

    A step draws `batch_groups` classes, of each a support D whose size is uniform from `smallest_support` to
    `support_size`, and `elements` images that D serves. X is `sets`, "all" instances of a class or its 20
    "drawings", each under one of `affine` maps (`AugmentedCharacters.minibatch`). The encoder does
    without each element of D with probability `sample_dropout`; the price of the latents rises over `kl_annealing`
    steps to what it is. Of the committed `episodes` the first so many are classified, `ways` characters of each,
    with `outer` draws of c and `inner` of z, for all classes or for those within `keep` nats of the best, the `most`
    best of them where that is a number (4 on a laptop, to save time: see `oneshot_lib.evaluation.classification`); the
    divergence of c is a mean over `kl_supports` supports.
    """

    ranges = {"sample_dropout": Range(0, 1), "kl_annealing": FROM_ZERO, "ways": Range(2, 20),
              "batch_groups": Range(2)}  # batch norm takes two

    batch_groups: int = 20
    elements: int = 5
    support_size: int = 5
    smallest_support: int = 5
    sets: str = "all"
    affine: int = 20
    sample_dropout: float = 0.0
    kl_annealing: int = 0
    episodes: int = 200
    ways: int = 20
    outer: int = 20
    inner: int = 10
    keep: float | None = None
    most: int | None = None
    kl_supports: int = 2_000

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.smallest_support <= self.support_size:
            raise ValueError(f"smallest_support is {self.smallest_support}; expected 1 to support_size, "
                             f"{self.support_size}")
        if self.sample_dropout == 1:
            raise ValueError("sample_dropout is 1; expected a probability below 1")
        most = DRAWINGS * (self.affine if check(self.sets, ("all", "drawings"), "kind of sets") == "all" else 1)
        for name in ("support_size", "elements"):
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 to {most}, as many as a set has")
        for key in self.rows:  # these reconstruct their own support
            if key.endswith(("neural-statistician", "rescale")) and self.elements > self.smallest_support:
                raise ValueError(f"elements is {self.elements}; expected 1 to smallest_support, "
                                 f"{self.smallest_support}, for the row {key}")

    def steps(self, row: SetRow) -> int:
        return getattr(self, row.steps_from)

    def images_a_step(self) -> int:
        return self.batch_groups * self.elements

    def faster_products(self):
        from oneshot_lib.precision import faster_convolutions

        return faster_convolutions()


@dataclass(frozen=True)
class ObjectiveSettings(SetSettings):
    """Table 1: `runs` trainings of each model, of which the best training objective counts (supplement 6.4.1);
    `probes` times in a training the divergence and the accuracy on `probe_episodes` episodes, with one draw of c and z,
    are looked at.
    """

    ranges = {"probes": FROM_ZERO}

    pixelcnn_steps: int = 192_000
    deconvolutional_steps: int = 192_000
    runs: int = 5
    probes: int = 20
    probe_episodes: int = 10

    def check_run(self, dataset, split: str) -> None:
        if not self.probes:
            raise ValueError("probes is 0; expected at least 1, which the failure curves are drawn from")


@dataclass(frozen=True)
class FlagshipSettings(SetSettings):
    """Table 2: one network on two reductions, and on the first also with more updates, `longer_steps`. `start_from` is
    a row of this run or a shipped model whose weights the area row goes on from (None: from nothing).

    The bound is over `bound_classes` whole classes, the importance-weighted estimate over `joint_classes` of them
    with `joint_outer` draws of c and `joint_inner` of z (None: all classes).
    """

    nearest_steps: int = 200_000
    longer_steps: int = 200_000
    area_steps: int = 50_000
    start_from: str | None = "vhe-nearest"
    bound_classes: int | None = None
    joint_classes: int | None = None
    joint_outer: int = 500
    joint_inner: int = 10

    def __post_init__(self):
        super().__post_init__()
        if self.start_from is None or "vhe-area" not in self.rows:
            return
        from oneshot_lib import weights

        before = self.rows[: self.rows.index("vhe-area")]
        if self.start_from not in (*before, *weights.names()):
            raise ValueError(f"start_from is {self.start_from!r}; expected a row that is trained before vhe-area, "
                             "a shipped model or none")


def _row(network: str, name: str, objective: str, label: str, accuracy: float, kl: float) -> SetRow:
    printed = {(SHOTS.format(5, 20), ACROSS): accuracy, (KL, "mean"): kl}
    return SetRow(f"{network}-{objective}", f"{name}, {label}", network, objective, f"{network}_steps", printed=printed)


TABLE1_ROWS = tuple(
    _row(network, name, objective, label, *values)
    for network, name, printed in (
        ("deconvolutional", "Deconvolutional", ((95.6, 31.34), (94.0, 25.74), (95.3, 477.65), (95.6, 452.47))),
        ("pixelcnn", "PixelCNN", ((66.0, 14.90), (4.9, 0.22), (62.8, 506.48), (98.8, 268.37))),
    )
    for (objective, label), values in zip(
        (("neural-statistician", "NS"), ("resample", "resample"), ("rescale", "rescale"), ("vhe", "VHE")),
        printed,
        strict=True,
    )
)
PRINTED = {  # tables 2 and 3
    (SHOTS.format(1, 20), ACROSS): 95.2,
    (SHOTS.format(5, 20), ACROSS): 98.8,
    (SHOTS.format(1, 20), WITHIN): 81.3,
    (SHOTS.format(5, 20), WITHIN): 90.3,
    (JOINT, "bound"): 61.22,
    (JOINT, "iw"): 61.22,
}
TABLE2_ROWS = (
    SetRow("vhe-nearest", "PixelCNN VHE, nearest pixels", "pixelcnn", "vhe", "nearest_steps", printed=PRINTED),
    SetRow("vhe-area", "PixelCNN VHE, averaged areas", "pixelcnn", "vhe", "area_steps", continues=True, printed=PRINTED,
           preprocessing="28-area"),
    SetRow("vhe-nearest-longer", "PixelCNN VHE, nearest pixels, longer", "pixelcnn", "vhe", "longer_steps",
           printed=PRINTED),  # asked for by -p rows=vhe-nearest-longer
)
TABLE1_FULL = ObjectiveSettings(rows=tuple(row.key for row in TABLE1_ROWS))
TABLE2_FULL = FlagshipSettings(rows=("vhe-nearest", "vhe-area"), smallest_support=1, sets="drawings")
QUICK = dict(batch_groups=2, warmup=1, checkpoint_every=2, threads=1, products="float32", episodes=1, ways=3, outer=1,
             inner=1, kl_supports=4)
TABLE1 = Experiment(
    "hewitt-table1",
    "5-shot accuracy and the class latent's KL",
    f"{REFERENCE}, table 1",
    "characters",
    "28-nearest",
    "random-1200",
    TABLE1_ROWS,
    presets={
        "full": TABLE1_FULL,
        "laptop": replace(TABLE1_FULL, pixelcnn_steps=600, deconvolutional_steps=720, batch_groups=8,
                          learning_rate=2e-3, warmup=50, checkpoint_every=150, runs=1, probes=6, probe_episodes=5,
                          episodes=25, outer=4, inner=2, keep=8.0, most=4, kl_supports=400),
        "quick": replace(TABLE1_FULL, rows=("pixelcnn-neural-statistician", "pixelcnn-vhe"), pixelcnn_steps=3,
                         deconvolutional_steps=3, runs=1, probes=3, probe_episodes=1, **QUICK),
    },
    minutes={"quick": 0.3, "laptop": 90, "full": 2_400},
    also=("failure-curves",),
    headlines=(("pixelcnn-vhe", SHOTS.format(5, 20), ACROSS),),
)
TABLE2 = Experiment(
    "hewitt-table2",
    "one-shot classification of Omniglot",
    f"{REFERENCE}, tables 2 and 3",
    "characters",
    "28-nearest",
    "30-20",
    TABLE2_ROWS,
    presets={
        "full": TABLE2_FULL,
        "laptop": replace(TABLE2_FULL, nearest_steps=14_000, longer_steps=50_000, area_steps=800, batch_groups=32,
                          elements=1, learning_rate=2e-3, warmup=100, checkpoint_every=500, episodes=40, outer=5,
                          inner=2, keep=10.0, most=4, kl_supports=400,
                          joint_classes=20, joint_outer=20, joint_inner=1),
        "quick": replace(TABLE2_FULL, nearest_steps=2, longer_steps=2, area_steps=2, bound_classes=2, joint_classes=2,
                         joint_outer=2, joint_inner=1, **QUICK),
    },
    minutes={"quick": 0.3, "laptop": 120, "full": 900},
    also=("table3",),
    headlines=(("vhe-nearest-longer", SHOTS.format(1, 20), ACROSS), ("vhe-nearest-longer", SHOTS.format(1, 20), WITHIN),
               ("vhe-nearest-longer", JOINT, "bound")),
)
TABLES = (TABLE1, TABLE2, FIGURE3)
