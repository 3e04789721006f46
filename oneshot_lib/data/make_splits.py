"""How the committed files of `splits/` were made: `python -m oneshot_lib.data.make_splits [omniglot]
[glyphs]`.

Running it again writes the same bytes. Draws come from NumPy's PCG64 with the seeds below.
"""

import json
import sys
from pathlib import Path

import numpy as np

from oneshot_lib.data.character_set import CharacterSet, characters
from oneshot_lib.data.episodes import SHOTS

SEED = 20180816


def by_alphabet(source: CharacterSet, test_alphabets: set[str]) -> dict:
    """The split that tests on whole alphabets."""
    test = [c for c in source.classes if c.split("/")[0] in test_alphabets]
    return by_class(source, test)


def by_class(source: CharacterSet, test: list[str]) -> dict:
    """The split that tests on whole characters: {"train": {alphabet: [numbers]}, "test": ...}."""
    held, content = set(test), {"train": {}, "test": {}}
    for name in source.classes:
        alphabet, character = name.split("/")
        numbers = content["test" if name in held else "train"].setdefault(alphabet, [])
        numbers.append(int(character.removeprefix("character")))
    return content


def generator(name: str) -> np.random.Generator:
    """A stream of its own for each file, so that adding one changes no other."""
    return np.random.Generator(np.random.PCG64([SEED, *name.encode()]))


def random_drawings(source: CharacterSet) -> dict:
    """Three quarters of the drawings and a quarter; of Omniglot, Burda et al.'s sizes leave out 45."""
    unused = 45 if source.name == "omniglot" else 0
    test = 8070 if source.name == "omniglot" else len(source) // 4
    order = generator(f"{source.name}-random-drawings").permutation(len(source))
    return {
        "test_rows": sorted(order[:test].tolist()),
        "unused_rows": sorted(order[test : test + unused].tolist()),
    }


def splits(source: CharacterSet) -> dict[str, dict]:
    """Every split of a source, by name."""
    evaluation = evaluation_alphabets(source)
    made = {"30-20": by_alphabet(source, set(evaluation))}
    for name, of_fifty in (("40-10", 10), ("45-5", 5)):
        count = round(len(source.alphabets) * of_fifty / 50) if source.name == "glyphs" else of_fifty
        chosen = generator(f"{source.name}-{name}").choice(source.alphabets, count, replace=False)
        made[name] = by_alphabet(source, set(chosen.tolist()))
    first = {"character01", "character02", "character03"}
    made["weak"] = by_class(source, [c for c in source.classes if c.split("/")[1] in first])
    trained = 1200 if source.name == "omniglot" else round(len(source.classes) * 1200 / 1623)
    order = generator(f"{source.name}-random-1200").permutation(source.classes)
    made["random-1200"] = by_class(source, order[trained:].tolist())
    made["random-drawings"] = random_drawings(source)
    return made


def evaluation_alphabets(source: CharacterSet) -> list[str]:
    """Omniglot's 20 published evaluation alphabets; of Glyphs the last two fifths, in its order."""
    if source.name == "omniglot":
        return source.alphabets[30:]
    return source.alphabets[len(source.alphabets) - round(len(source.alphabets) * 2 / 5) :]


def episodes(
    source: CharacterSet, within: bool, count: int = 200, way: int = 20, split: str = "30-20", half: str = "test"
) -> dict:
    """Episodes of 20 test (or training) characters; five drawings of each as support and one as query, by letter."""
    part = ("train-" * (half == "train") + ("within" if within else "across")) if split == "30-20" else split
    draw = generator(f"{source.name}-episodes-{part}")
    held = set(source.class_index[getattr(source.split(split), half)].tolist())
    groups = {}
    for index, name in enumerate(source.classes):
        if index in held:
            groups.setdefault(name.split("/")[0] if within else "", []).append(index)
    groups = [g for g in groups.values() if len(g) >= way]
    made = {"class_index": [], "drawings": []}
    for _ in range(count):
        group = groups[draw.integers(len(groups))]
        made["class_index"].append(draw.choice(group, way, replace=False).tolist())
        letters = [draw.permutation(20)[: SHOTS + 1] for _ in range(way)]
        made["drawings"].append("".join(chr(ord("a") + k) for k in np.concatenate(letters)))
    return made


def varied(source: CharacterSet, test_rows: list[int]) -> dict[str, int]:
    """Twenty unlike characters, from as many evaluation alphabets as there are; of each its most typical
    drawing.

    Farthest-point choice on coarse pictures (13x13), among drawings that are in the test part of
    random-drawings.
    """
    grey = (
        source.grey("26-area")
        .astype(float)
        .reshape(len(source), 13, 2, 13, 2)
        .mean((2, 4))
        .reshape(len(source), -1)
    )
    grey /= np.sqrt((grey**2).sum(1, keepdims=True))
    allowed = np.isin(np.arange(len(source)), test_rows)
    typical = {}
    for index, name in enumerate(source.classes):
        rows = np.flatnonzero((source.class_index == index) & allowed)
        if name.split("/")[0] in evaluation_alphabets(source) and len(rows):
            typical[index] = rows[np.argmax(grey[rows] @ grey[source.class_index == index].mean(0))]
    ink = {index: int(source.images[row].sum()) for index, row in typical.items()}
    low, high = np.quantile(list(ink.values()), [0.25, 0.85])
    left = [index for index in typical if low <= ink[index] <= high]
    chosen = []
    while len(chosen) < 20:
        used = [source.alphabet_index[typical[index]] for index in chosen]
        times = {index: used.count(source.alphabet_index[typical[index]]) for index in left}
        fresh = [index for index in left if times[index] == min(times.values())]
        nearest = [
            max((float(grey[typical[i]] @ grey[typical[j]]) for j in chosen), default=0) for i in fresh
        ]
        chosen.append(fresh[int(np.argmin(nearest))])
        left.remove(chosen[-1])
    return {source.classes[index]: int(typical[index] % 20) for index in sorted(chosen)}


def exemplars(source: CharacterSet) -> dict[str, int]:
    """Of each test character of the weak split its most typical drawing: the one that a model is shown when its own
    drawings are judged (Boutin et al. 2022).

    Typical is what has the largest cosine with the mean of its character's drawings, on coarse pictures (13x13).
    """
    grey = source.grey("26-area").astype(float).reshape(len(source), 13, 2, 13, 2).mean((2, 4)).reshape(len(source), -1)
    grey /= np.sqrt((grey**2).sum(1, keepdims=True))
    made = {}
    for index in np.unique(source.class_index[source.split("weak").test]):
        drawings = grey[source.class_index == index]
        made[source.classes[index]] = int(np.argmax(drawings @ drawings.mean(0)))
    return made


def main(names: list[str]) -> None:
    """Write the files of the sources named, or of both."""
    folder = Path(__file__).parent / "splits"
    for name in names or ["omniglot", "glyphs"]:
        source = characters(name)
        made = splits(source)
        write(folder, name, made)  # the episodes are of their test characters
        write(
            folder,
            name,
            {
                "episodes-across": episodes(source, within=False),
                "episodes-within": episodes(source, within=True),
                "episodes-train-across": episodes(source, within=False, count=100, half="train"),
                "episodes-train-within": episodes(source, within=True, count=100, half="train"),
                "episodes-random-1200": episodes(source, within=False, split="random-1200"),
                "twenty": varied(source, made["random-drawings"]["test_rows"]),
                "exemplars": exemplars(source),
            },
        )


def write(folder: Path, name: str, made: dict[str, dict]) -> None:
    """The files of one source, by their parts."""
    for part, content in made.items():
        (folder / f"{name}-{part}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
