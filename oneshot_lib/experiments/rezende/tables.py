"""Rezende et al. 2016: table 1, table 3, and every variety of attention."""

from dataclasses import dataclass, replace

from oneshot_lib.runs.experiment import TWO_OR_MORE, Experiment, Range, Row, Settings

REFERENCE = "Rezende et al. 2016, One-Shot Generalization in Deep Generative Models"


@dataclass(frozen=True)
class SequentialRow(Row):
    """A sequential model, by its canvas, its steps and its attention; `printed` has the NLL of "test" and "train", in
    nats. `share` is how many times the training steps of the settings it takes."""

    canvas: str
    steps: int
    attention: str = "axis-aligned"
    share: float = 1.0

    def printed_value(self, metric: str, kind: str) -> float | None:
        half = "train" if metric.startswith("train") else "test"
        return self.printed.get(half) if kind.endswith("bound") and metric == f"{half} NLL" else None


@dataclass(frozen=True)
class SequentialSettings(Settings):
    """How one of Rezende's tables is made. The defaults are the paper's scale, with a batch and rate that suit a GPU.

    `train_images` and `test_images` take the first so many of a split (None: all); `test_draws` images are
    drawn with replacement for the test bound; the importance-weighted estimate is over `iw_images` images with
    `iw_samples` draws of z each; a gated canvas, which costs twice the time, takes `gated_share` of the
    training steps. Evaluation is in float32, whatever the `products` of training.
    """

    # the chapters show 24 test images; an error takes two draws; one importance sample would be the bound again
    ranges = {"test_images": Range(24), "test_draws": TWO_OR_MORE, "iw_images": TWO_OR_MORE, "iw_samples": TWO_OR_MORE}

    training_steps: int = 800_000
    batch_size: int = 24
    learning_rate: float = 5e-4
    train_images: int | None = None
    test_images: int | None = None
    test_draws: int = 24_000
    iw_images: int = 2_000
    iw_samples: int = 100
    gated_share: float = 1.0

    def steps(self, row: SequentialRow) -> int:
        return max(1, round(self.training_steps * (self.gated_share if row.canvas == "cgru" else 1) * row.share))

    def images_a_step(self) -> int:
        return self.batch_size

    def faster_products(self):
        from oneshot_lib.precision import faster_products

        return faster_products(self.batch_size)


TABLE3_ROWS = (
    SequentialRow("st-additive-t20", "ST + additive, 20 steps", "additive", 20, printed={"test": 96.5}),
    SequentialRow("st-additive-t80", "ST + additive, 80 steps", "additive", 80, printed={"test": 95.5}),
    SequentialRow("st-cgru-t20", "ST + CGRU, 20 steps", "cgru", 20),  # the book's own: the paper prints additive only
)
TABLE1_ROWS = (
    SequentialRow("st-additive-t30", "ST + additive, 30 steps", "additive", 30, printed={"test": 82.6}),
    SequentialRow("st-additive-t80", "ST + additive, 80 steps", "additive", 80, printed={"test": 81.6}),
    SequentialRow("st-cgru-t30", "ST + CGRU, 30 steps", "cgru", 30, printed={"test": 81.5}),
    SequentialRow("st-cgru-t80", "ST + CGRU, 80 steps", "cgru", 80, printed={"test": 80.5}),
    SequentialRow("fc-cgru-t30", "FC + CGRU, 30 steps", "cgru", 30, "fully-connected", share=0.5),  # the book's own
    SequentialRow("fc-cgru-t80", "FC + CGRU, 80 steps", "cgru", 80, "fully-connected", printed={"test": 98.7}),
)
# varieties of `oneshot_lib.attention` by their names, since the command line waits for no torch
VARIETIES = ("translation", "translation-scale", "axis-aligned", "similarity", "rotated", "affine", "multiple",
             "gaussian", "fully-connected", "random", "error-large", "error-printed")
DISTINCT = ("axis-aligned", "affine", "multiple", "gaussian", "fully-connected", "random", "error-large",
            "error-printed")  # without the restricted forms of a spatial transformer
ATTENTION_ROWS = (
    *(SequentialRow(name, name.capitalize().replace("-", " "), "additive", 20, name) for name in VARIETIES),
    SequentialRow("axis-aligned-longer", "Axis aligned, longer", "additive", 20, share=4.0),
)
TABLE3_FULL = SequentialSettings(rows=("st-additive-t20", "st-cgru-t20", "st-additive-t80"))
TABLE1_FULL = SequentialSettings(
    rows=("st-cgru-t30", "st-cgru-t80", "st-additive-t30", "st-additive-t80", "fc-cgru-t80"))
ATTENTION_FULL = SequentialSettings(rows=tuple(row.key for row in ATTENTION_ROWS), training_steps=100_000)
LAPTOP = dict(
    learning_rate=2e-3,
    warmup=100,
    checkpoint_every=1_000,
    gated_share=0.5,
    iw_images=1_000,
    iw_samples=50,
)
QUICK = dict(
    training_steps=24,
    batch_size=8,
    learning_rate=6e-3,
    warmup=4,
    checkpoint_every=8,
    train_images=1_000,
    test_images=500,
    test_draws=240,
    iw_images=8,
    iw_samples=5,
    threads=1,
    products="float32",
)

TABLE1 = Experiment(
    "rezende-table1",
    "NLL on 28x28 MNIST",
    f"{REFERENCE}, table 1",
    "digits",
    "28",
    "standard",
    TABLE1_ROWS,
    presets={
        "full": TABLE1_FULL,
        "laptop": replace(TABLE1_FULL, rows=("st-cgru-t30", "fc-cgru-t30"), training_steps=24_000, **LAPTOP),
        "quick": replace(TABLE1_FULL, rows=("st-cgru-t30",), **QUICK),
    },
    minutes={"quick": 0.2, "laptop": 70, "full": 3_000},
    also=("figure4",),
    headlines=(("st-cgru-t30", "test NLL", "bound"),),
)
TABLE3 = Experiment(
    "rezende-table3",
    "NLL on 28x28 Omniglot",
    f"{REFERENCE}, table 3",
    "characters",
    "28-area",
    "random-drawings",
    TABLE3_ROWS,
    presets={
        "full": TABLE3_FULL,
        "laptop": replace(TABLE3_FULL, rows=("st-additive-t20", "st-cgru-t20"), training_steps=30_000, **LAPTOP),
        "quick": replace(TABLE3_FULL, rows=("st-additive-t20", "st-cgru-t20"), **QUICK),
    },
    minutes={"quick": 0.2, "laptop": 55, "full": 1_500},
    also=("figure4",),
    headlines=(("st-additive-t20", "test NLL", "bound"),),
)
ATTENTION = Experiment(
    "rezende-attention",
    "every variety of attention, NLL on 28x28 Omniglot",
    f"{REFERENCE}, section 2 and appendix B",
    "characters",
    "28-area",
    "weak",
    ATTENTION_ROWS,
    presets={
        "full": ATTENTION_FULL,
        "laptop": replace(ATTENTION_FULL, rows=(*DISTINCT, "axis-aligned-longer"), training_steps=4_000, **LAPTOP),
        "quick": replace(ATTENTION_FULL, rows=("axis-aligned", "gaussian", "error-large"), **QUICK | {
            "training_steps": 6}),
    },
    minutes={"quick": 0.3, "laptop": 100, "full": 900},
    headlines=(("axis-aligned-longer", "test NLL", "bound"),),
)
TABLES = (TABLE1, TABLE3, ATTENTION)
