"""What can be run: the tables and figures of the papers, and how much of each at every preset.

This is the one place where steps, batches and learning rates are set. `quick` is seconds on a laptop,
`laptop` at most an hour on two cores, `full` the paper's scale on one GPU. `quick` and `laptop` are the
full settings with less of some.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

PRESETS = ("quick", "laptop", "full")


@dataclass(frozen=True)
class Row:
    """One model of a table: `key` is its folder, `paper` what the paper prints for it, by metric, in nats."""

    key: str
    name: str
    canvas: str
    steps: int
    paper: Mapping[str, float]


@dataclass(frozen=True)
class Settings:
    """How one table is made. The defaults are the paper's scale, with a batch and rate that suit a GPU.

    `rows` names the models; `train_images` and `test_images` take the first so many of a split (None: all);
    `test_draws` images are drawn with replacement for the test bound; the importance-weighted estimate is
    over `iw_images` images with `iw_samples` draws of z each; `threads` is how many cores a CPU run takes
    (None: all); a gated canvas, which costs twice the time, takes `gated_share` of the training
    steps. `products` is what the large matrix products of training run in: "float32", "bfloat16", or
    whichever is "measured" to be faster when a run starts (evaluation is in float32). The others are those
    of `oneshot_lib.training`.
    """

    rows: tuple[str, ...]
    training_steps: int = 800_000
    batch_size: int = 24
    learning_rate: float = 5e-4
    schedule: str = "cosine"
    warmup: int = 500
    checkpoint_every: int = 2_000
    train_images: int | None = None
    test_images: int | None = None
    test_draws: int = 24_000
    iw_images: int = 2_000
    iw_samples: int = 100
    threads: int | None = None
    products: str = "measured"
    gated_share: float = 1.0

    def __post_init__(self):
        check(self.products, ("float32", "bfloat16", "measured"), "kind of products")


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper: which data, which models, which presets, and the minutes they take.

    `data` is "characters" or "digits". `minutes` are expected on two cores for quick and laptop, on one GPU
    for full.
    """

    name: str
    title: str
    reference: str
    data: str
    preprocessing: str
    split: str
    rows: tuple[Row, ...]
    presets: Mapping[str, Settings]
    minutes: Mapping[str, float]

    @property
    def paper(self) -> str:
        return self.name.split("-", 1)[0]

    @property
    def item(self) -> str:
        return self.name.split("-", 1)[1]

    def open_data(self):
        """The characters or digits of this experiment, real ones where their files are found."""
        from oneshot_lib import data

        return data.characters() if self.data == "characters" else data.mnist()

    def settings(self, preset: str, overrides: Mapping | None = None) -> Settings:
        """The settings of a preset with some replaced. Raises ValueError on an unknown preset, key, row or
        type.
        """
        settings = self.presets[check(preset, PRESETS, "preset")]
        known = {f.name for f in fields(Settings)}
        changes = {}
        for key, value in (overrides or {}).items():
            check(key, known, "setting")
            changes[key] = tuple(value) if isinstance(value, list) else cast(key, value, getattr(settings, key))
        settings = replace(settings, **changes)
        for key in settings.rows:
            check(key, [row.key for row in self.rows], "row")
        return settings

    def chosen(self, settings: Settings) -> list[Row]:
        """The rows that the settings name, in their order."""
        by_key = {row.key: row for row in self.rows}
        return [by_key[key] for key in settings.rows]


def cast(key: str, value, like):
    """A setting from a command line, `value` "24", in the type of the value that it replaces. Raises
    ValueError.
    """
    if not isinstance(value, str) or isinstance(like, str):
        return value
    if isinstance(like, tuple):
        return tuple(value.split(","))
    if value.lower() == "none" and key in ("train_images", "test_images", "threads"):
        return None
    kind = float if isinstance(like, float) else int
    try:
        return kind(value.replace("_", "").replace(",", ""))
    except ValueError:
        expected = "a number" if kind is float else "a whole number"
        raise ValueError(f"{key} is {value!r}; expected {expected}") from None


def check(name: str, known: Iterable[str], what: str) -> str:
    """`name` where it is known. Raises ValueError with the nearest known name where it is not.

    >>> check("rezende-tabel3", ["rezende-table1", "rezende-table3"], "experiment")
    Traceback (most recent call last):
    ValueError: unknown experiment 'rezende-tabel3'; did you mean 'rezende-table3'?
    """
    known = sorted(known)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    others = f"expected one of {', '.join(known)}" if known else "there are none"
    hint = f"did you mean {near[0]!r}?" if near else others
    raise ValueError(f"unknown {what} {name!r}; {hint}")


# --- Rezende et al. 2016 ------------------------------------------------------------------------------------

REZENDE = "Rezende et al. 2016, One-Shot Generalization in Deep Generative Models"
TABLE3_ROWS = (
    Row("st-additive-t20", "ST + additive, 20 steps", "additive", 20, {"test": 96.5}),
    Row("st-additive-t80", "ST + additive, 80 steps", "additive", 80, {"test": 95.5}),
    Row("st-cgru-t20", "ST + CGRU, 20 steps", "cgru", 20, {}),  # the book's own: the paper prints additive only
)
TABLE1_ROWS = (
    Row("st-additive-t30", "ST + additive, 30 steps", "additive", 30, {"test": 82.6}),
    Row("st-additive-t80", "ST + additive, 80 steps", "additive", 80, {"test": 81.6}),
    Row("st-cgru-t30", "ST + CGRU, 30 steps", "cgru", 30, {"test": 81.5}),
    Row("st-cgru-t80", "ST + CGRU, 80 steps", "cgru", 80, {"test": 80.5}),
)
TABLE3 = Settings(rows=("st-additive-t20", "st-cgru-t20", "st-additive-t80"))
TABLE1 = Settings(rows=("st-cgru-t30", "st-cgru-t80", "st-additive-t30", "st-additive-t80"))
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

EXPERIMENTS = {
    e.name: e
    for e in (
        Experiment(
            "rezende-table1",
            "NLL on 28x28 MNIST",
            f"{REZENDE}, table 1",
            "digits",
            "28",
            "standard",
            TABLE1_ROWS,
            presets={
                "full": TABLE1,
                "laptop": replace(TABLE1, rows=("st-cgru-t30",), training_steps=24_000, **LAPTOP),
                "quick": replace(TABLE1, rows=("st-cgru-t30",), **QUICK),
            },
            minutes={"quick": 0.2, "laptop": 40, "full": 2_400},
        ),
        Experiment(
            "rezende-table3",
            "NLL on 28x28 Omniglot",
            f"{REZENDE}, table 3",
            "characters",
            "28-area",
            "random-drawings",
            TABLE3_ROWS,
            presets={
                "full": TABLE3,
                "laptop": replace(TABLE3, rows=("st-additive-t20", "st-cgru-t20"), training_steps=30_000, **LAPTOP),
                "quick": replace(TABLE3, rows=("st-additive-t20", "st-cgru-t20"), **QUICK),
            },
            minutes={"quick": 0.2, "laptop": 55, "full": 1_500},
        ),
    )
}


def experiment(name: str) -> Experiment:
    """The experiment of that name, PAPER-ITEM. Raises ValueError naming the nearest one."""
    return EXPERIMENTS[check(name, EXPERIMENTS, "experiment")]
