"""What the file that a drawing comes in costs: one-shot classification of the same drawings in every encoding.

This is the book's own question, no paper's: `oneshot vary` and `oneshot classify` take any picture, and a picture is
prepared (`oneshot_lib.data.prepare`) before a model sees it. What is left of the encoding afterwards is measured here.
"""

from dataclasses import dataclass, replace

from oneshot_lib.runs.experiment import Experiment, Range, Row, Settings

ALIKE = "accuracy, 1-shot 20-way, support and query in the encoding"
ON_PAGES = "accuracy, 1-shot 20-way, support on pages, query in the encoding"
MOVED = "pixels of 784 that differ from the prepared page's"
KEPT = "kept"  # the encoding that is none: Omniglot's page reduced as it is, nothing prepared
# the keys are the encodings of `oneshot_lib.data.encodings`, named here too since the command line waits for nothing
NAMES = {
    KEPT: "Omniglot's page, not prepared",
    "page": "Omniglot's page",
    "tight": "Cropped to the ink",
    "margin 8": "Cropped, 8 pixels of margin",
    "wide margin": "On a sheet five times as long",
    "4x": "Four times larger",
    "32 wide": "32 pixels wide",
    "28x28": "28x28, grey",
    "light on dark": "Light on dark",
    "thin pen": "A pen of one or two pixels",
    "shadow": "Photograph with a shadow's edge",
    "vignette": "Photograph, dark corners",
    "ruled": "Photograph of ruled paper",
}


@dataclass(frozen=True)
class EncodingRow(Row):
    """One way in which a drawing arrives: `encoding` is one of `oneshot_lib.data.encodings.ENCODINGS`, or `KEPT`."""

    encoding: str


@dataclass(frozen=True)
class EncodingSettings(Settings):
    """How the encodings are compared: the first `episodes` of the committed ones of training characters, `ways`
    characters and as many queries each, by `model` of `oneshot_lib.weights`; `outer`, `inner`, `keep` and `most` as in
    `oneshot_lib.evaluation.classification.log_scores`, the defaults are those of `oneshot classify`."""

    ranges = {"episodes": Range(1, 100), "ways": Range(2, 20)}

    episodes: int = 25
    ways: int = 20
    outer: int = 4
    inner: int = 2
    keep: float = 10.0
    most: int = 5
    model: str = "omniglot28-vhe-pixelcnn"

    def steps(self, row: Row) -> int:
        return 0  # nothing is trained

    def images_a_step(self) -> int:
        return 1

    def faster_products(self):
        import torch

        return torch.float32


ROWS = tuple(EncodingRow(name.replace(" ", "-"), title, encoding=name) for name, title in NAMES.items())
ENCODINGS_FULL = EncodingSettings(rows=tuple(row.key for row in ROWS), products="float32", episodes=100, outer=20,
                                  inner=10)
ENCODINGS = Experiment(
    "pictures-encodings",
    "one-shot accuracy of the same drawings in every encoding",
    "the book, Your own pictures",
    "characters",
    "28-nearest",
    "30-20",
    ROWS,
    presets={
        "full": ENCODINGS_FULL,
        "laptop": replace(ENCODINGS_FULL, episodes=25, outer=4, inner=2),
        "quick": replace(ENCODINGS_FULL, rows=("kept", "page", "tight", "4x", "light-on-dark", "vignette"), episodes=1,
                         ways=3, outer=1, inner=1, threads=1),
    },
    minutes={"quick": 0.3, "laptop": 45, "full": 240},
)
TABLES = (ENCODINGS,)
