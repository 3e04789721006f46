"""Data: the published files of each data set, decoded once, and Glyphs where there are none.

>>> from oneshot_lib import data                     # importing reads nothing
>>> characters = data.characters()                   # Omniglot if its files are found, else Glyphs
>>> grey = characters.grey("28-area")                # (N, 28, 28) uint8, ink = 255, memory-mapped
>>> train = grey[characters.split("random-drawings").train]
"""

from oneshot_lib.data.augment import AugmentedBatch, AugmentedCharacters
from oneshot_lib.data.cache import DataError
from oneshot_lib.data.character_set import CharacterSet, characters
from oneshot_lib.data.digits import DigitSet, mnist
from oneshot_lib.data.episodes import (
    ClassRows,
    EvaluationEpisodes,
    Minibatch,
    evaluation_episodes,
    exemplars,
    twenty,
)
from oneshot_lib.data.folder import PictureFolder, folder
from oneshot_lib.data.pictures import Prepared, polarity, prepare, read_picture
from oneshot_lib.data.preprocessing import (
    PREPROCESSINGS,
    binarisation_floor,
    binarise,
    preprocess,
    static_binarise,
)
from oneshot_lib.data.published import describe, download, verify
from oneshot_lib.data.splits import Split

__all__ = [
    "PREPROCESSINGS",
    "AugmentedBatch",
    "AugmentedCharacters",
    "CharacterSet",
    "ClassRows",
    "DataError",
    "DigitSet",
    "EvaluationEpisodes",
    "Minibatch",
    "PictureFolder",
    "Prepared",
    "Split",
    "binarisation_floor",
    "binarise",
    "characters",
    "describe",
    "download",
    "evaluation_episodes",
    "exemplars",
    "folder",
    "mnist",
    "polarity",
    "prepare",
    "preprocess",
    "read_picture",
    "static_binarise",
    "twenty",
    "verify",
]
