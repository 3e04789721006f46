"""Boutin et al. 2022: the two critics, and the plane that they lay out."""

from dataclasses import dataclass, replace

from oneshot_lib.choices import check
from oneshot_lib.runs.experiment import DRAWINGS, TWO_OR_MORE, Experiment, Range, Row, Settings

REFERENCE = "Boutin et al. 2022, Diversity vs. Recognizability"
CRITIC_NAMES = ("contrastive", "prototypical")
DIVERSITY, RECOGNIZABILITY = "diversity", "recognizability"


@dataclass(frozen=True)
class CriticRow(Row):
    """One of the two `CRITIC_NAMES`."""

    network: str

    def __post_init__(self):
        check(self.network, CRITIC_NAMES, "critic")


@dataclass(frozen=True)
class CriticSettings(Settings):
    """How the critics, of `channels` channels a layer, are trained; the defaults are the published scale.

    A contrastive step sees two views of each of `batch_size` drawings. A prototypical step is one episode: an
    exemplar of each of `ways` characters, each read in one of 8 rotations and reflections, and `queries` other
    drawings of it. Where the published training differs: RMSprop, its two views through batch norm one after the
    other, the exemplar of a character always the same, no rotations.
    """

    ranges = {"batch_size": TWO_OR_MORE, "ways": TWO_OR_MORE, "queries": Range(1, DRAWINGS - 1)}

    contrastive_steps: int = 23_000
    prototypical_steps: int = 8_000
    batch_size: int = 128
    ways: int = 60
    queries: int = 5
    channels: int = 64

    def check_run(self, dataset, split: str) -> None:
        most = len(set(dataset.class_index[dataset.split(split).train].tolist()))
        if self.ways > most:
            raise ValueError(f"ways is {self.ways}; expected 2 to {most}, the number of characters to train on")

    def steps(self, row: CriticRow) -> int:
        return getattr(self, f"{row.network}_steps")

    def images_a_step(self) -> int:
        return 2 * self.batch_size

    def faster_products(self):
        from oneshot_lib.precision import faster_convolutions

        return faster_convolutions(images=32, channels=self.channels, size=25)


# --- what is published ------------------------------------------------------------------------------------------------

CONTROLS = {
    "people": "people",
    "copies": "exact copies",
    "shifted": "copies shifted by up to 4 pixels",
    "flipped": "copies with 5 % of the pixels flipped",
}
PUBLISHED = {"people": (1.311, 97.8), "copies": (0.0, 100.0), "shifted": (0.375, 100.0), "flipped": (2.283, 6.1)}
THROUGH = {"28-area": 97.4, "28-threshold": 94.1, "28-nearest": 90.1}  # of people, reduced and back: recognizability
ALL = "150 characters"  # the kind of a number over all test characters of the weak split, of Omniglot


def of(metric: str, drawn_by: str) -> str:
    """The metric of a critic's record, by the control or the reduction of people's drawings that it looks at."""
    return f"{metric} of {CONTROLS.get(drawn_by) or f'people through {drawn_by}'}"


CRITIC_ROWS = (
    CriticRow("contrastive", "SimCLR critic", "contrastive",
              printed={(of(DIVERSITY, key), ALL): values[0] for key, values in PUBLISHED.items()}),
    CriticRow("prototypical", "Prototypical critic", "prototypical",
              printed={(of(RECOGNIZABILITY, key), ALL): values[1] for key, values in PUBLISHED.items()}
              | {(of(RECOGNIZABILITY, name), ALL): value for name, value in THROUGH.items()}),
)

CRITICS_FULL = CriticSettings(rows=CRITIC_NAMES)
# --- the plane --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlaneRow(Row):
    """Somebody whose drawings are judged: `drawn_by` is one of the `CONTROLS`, or "model".

    A control is judged on the weak split's test characters that are test characters of each of `splits`; `binary` says
    that people's grey pixels are binarised, as a model's are. A model is `model` of `oneshot_lib.weights`, whose
    manifest says what it was trained on. A sequential one takes the first `share` of its steps from the exemplar, and
    its `output` is "sample", Bernoulli pixels, or "mean", their probabilities. What `mirrored` draws in the mirror is
    mirrored back. `beside` is the row of the people that it is compared with: those seen through the same pixels.
    """

    drawn_by: str = "model"
    splits: tuple[str, ...] = ()
    binary: bool = False
    model: str = ""
    share: float = 1.0
    output: str = "sample"
    mirrored: bool = False
    beside: str = "people"

    def __post_init__(self):
        check(self.drawn_by, (*CONTROLS, "model"), "hand")
        check(self.output, ("sample", "mean"), "output")


@dataclass(frozen=True)
class PlaneSettings(Settings):
    """How drawings are judged; the defaults are the published protocol.

    Everybody draws `drawings` times after each of `exemplars` drawings of a character; `characters` evenly spaced ones
    of each set are asked for (None: all). A drawing is shown in `tests` tests among `ways` characters. `critics` is
    "shipped" or the folder of a run of boutin-critics: an absolute path, or a folder's name beside this run's own.
    """

    ranges = {"drawings": TWO_OR_MORE, "ways": TWO_OR_MORE, "exemplars": Range(1, DRAWINGS)}

    critics: str = "shipped"
    characters: int | None = None
    drawings: int = 20
    tests: int = 500
    ways: int = 20
    exemplars: int = 1

    def check_run(self, dataset, split: str) -> None:
        from oneshot_lib import data

        most = len(data.exemplars(dataset))
        if self.ways > most:
            raise ValueError(f"ways is {self.ways}; expected 2 to {most}, the number of exemplars")


SETS = ("weak", "30-20", "45-5", "random-1200")
PEOPLE_THROUGH = (  # reduction, binarised, sets on which a model has the same pixels
    ("28-area", False, ("weak",)),
    ("28-area", True, ("weak", "30-20")),
    ("28-threshold", False, ("weak",)),
    ("28-nearest", False, ("weak", "30-20", "random-1200")),
    ("26-nearest", False, ("weak", "45-5")),
)


def people_through(reduction: str, binary: bool = False) -> str:
    """The key of the row of people's drawings, reduced and back."""
    return f"people-{reduction}" + ("-binary" if binary else "")


def _control(key: str) -> PlaneRow:
    printed = {(metric, ALL): value for metric, value in zip((DIVERSITY, RECOGNIZABILITY), PUBLISHED[key], strict=True)}
    return PlaneRow(key, CONTROLS[key].capitalize(), drawn_by=key, splits=SETS, printed=printed)


def _people(reduction: str, binary: bool, splits: tuple[str, ...]) -> PlaneRow:
    printed = {} if binary or reduction not in THROUGH else {(RECOGNIZABILITY, ALL): THROUGH[reduction]}
    return PlaneRow(people_through(reduction, binary), f"People through {reduction}{', binarised' if binary else ''}",
                    drawn_by="people", splits=splits, binary=binary, preprocessing=reduction, printed=printed)


def _model(name: str, title: str, reduction: str, key: str = "", **more) -> PlaneRow:
    beside = people_through(reduction, reduction == "28-area" and more.get("output") != "mean")
    return PlaneRow(key or name, title, model=name, preprocessing=reduction, beside=beside, **more)


def _sequential(name: str, title: str) -> tuple[PlaneRow, ...]:
    """A sequential model four times: all its steps or half from the exemplar, its samples or its means."""
    return tuple(
        _model(name, f"{title}, {'all' if share == 1 else 'half the'} steps from the exemplar"
               f"{', means' if output == 'mean' else ''}", "28-area", f"{name}-{kind}{'-mean' * (output == 'mean')}",
               share=share, output=output)
        for share, kind in ((1.0, "all"), (0.5, "half")) for output in ("sample", "mean"))


BY_OBJECTIVE = {"vhe": "VHE", "ns": "NS", "resample": "Resample", "rescale": "Rescale"}
FEW_SHOT_TITLES = {"pixelcnn": "Unconditional PixelCNN", "conditional": "Conditional PixelCNN",
            "attention": "Attention PixelCNN", "meta": "Meta PixelCNN"}
PLANE_ROWS = (
    *map(_control, CONTROLS),
    *(_people(*through) for through in PEOPLE_THROUGH),
    _model("omniglot28-vhe-pixelcnn", "VHE", "28-nearest"),
    _model("omniglot28-vhe-pixelcnn-longer", "VHE, longer", "28-nearest"),
    _model("omniglot28-vhe-pixelcnn-area", "VHE, averaged areas", "28-area"),
    *(_model(f"omniglot28-table1-{key}", f"{title} (table 1)", "28-nearest") for key, title in BY_OBJECTIVE.items()),
    *(_model(f"omniglot26-{key}", title, "26-nearest") for key, title in FEW_SHOT_TITLES.items()),
    *(_model(f"omniglot26-mirror-{key}", f"{FEW_SHOT_TITLES[key]} of the mirror, mirrored back", "26-nearest",
             mirrored=True) for key in ("conditional", "attention")),
    *_sequential("mnist-st-cgru-t30", "Sequential model of digits"),
    *_sequential("omniglot28-weak-axis-aligned", "Sequential model"),
)
PLANE_FULL = PlaneSettings(rows=tuple(row.key for row in PLANE_ROWS), products="float32", exemplars=5)
QUICK_ROWS = (*CONTROLS, "people-28-area", "people-28-area-binary", "people-28-nearest", "omniglot28-vhe-pixelcnn",
              "mnist-st-cgru-t30-all", "mnist-st-cgru-t30-half", "mnist-st-cgru-t30-half-mean")
CRITICS = Experiment(
    "boutin-critics",
    "the critics of drawings",
    f"{REFERENCE}, section 3",
    "characters",
    "50-antialias",
    "weak",
    CRITIC_ROWS,
    presets={
        "full": CRITICS_FULL,
        "laptop": replace(CRITICS_FULL, contrastive_steps=2_400, prototypical_steps=1_800, learning_rate=2e-3,
                          warmup=50, checkpoint_every=100),
        "quick": replace(CRITICS_FULL, contrastive_steps=2, prototypical_steps=2, batch_size=4, ways=4, queries=1,
                         channels=8, warmup=1, checkpoint_every=2, threads=1, products="float32"),
    },
    minutes={"quick": 0.3, "laptop": 60, "full": 60},
    headlines=(("prototypical", of(RECOGNIZABILITY, "people"), ALL),),
)
PLANE = Experiment(
    "boutin-plane",
    "diversity and recognizability of one-shot drawings",
    f"{REFERENCE}, section 4",
    "characters",
    "50-antialias",
    "weak",
    PLANE_ROWS,
    presets={
        "full": PLANE_FULL,
        "laptop": replace(PLANE_FULL, exemplars=1),
        "quick": replace(PLANE_FULL, rows=QUICK_ROWS, characters=2, drawings=4, tests=20, exemplars=1, threads=1),
    },
    minutes={"quick": 0.3, "laptop": 20, "full": 60},
    headlines=(("omniglot28-vhe-pixelcnn-longer", RECOGNIZABILITY, "60 characters of 30-20"),),
)
TABLES = (CRITICS, PLANE)
