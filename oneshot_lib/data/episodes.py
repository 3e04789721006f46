"""Algorithm 1 of the Variational Homoencoder, and the committed episodes that every model is evaluated on.

Everything here is rows: of a minibatch, `grey[batch.x]` are the images. `Rows` are integer tensors.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from oneshot_lib.data.splits import read_file

if TYPE_CHECKING:
    import torch

SHOTS = 5  # drawings committed as support of each class of an evaluation episode; one more is its query


class Minibatch(NamedTuple):
    """Elements x, each with a support D of its class, as rows.

    x (B r,), support (B, N), class_index (B,), set_size (B,) = |X|, the size of the class that both come from.
    Support k serves the r elements x[k r : (k + 1) r]; in algorithm 1 r is 1.
    """

    x: "torch.Tensor"
    support: "torch.Tensor"
    class_index: "torch.Tensor"
    set_size: "torch.Tensor"


class ClassRows:
    """The rows of each class, for drawing minibatches from.

    `class_index` (N,) is the class of every row of a data set; `rows`, where given, are those to draw from
    (of a split). Classes without a row are left out. Raises ValueError where no row is left.
    """

    def __init__(self, class_index: np.ndarray, rows: np.ndarray | None = None):
        import torch

        class_index = np.asarray(class_index)
        rows = np.arange(len(class_index)) if rows is None else np.asarray(rows)
        if not len(rows):
            raise ValueError("rows: expected at least one row to draw from, found none")
        rows = rows[np.argsort(class_index[rows], kind="stable")]
        classes, first, sizes = np.unique(class_index[rows], return_index=True, return_counts=True)
        table = np.full((len(classes), sizes.max()), -1)
        for k, (start, size) in enumerate(zip(first, sizes, strict=True)):
            table[k, :size] = rows[start : start + size]
        self.classes = torch.from_numpy(classes)
        self.sizes = torch.from_numpy(sizes)
        self.table = torch.from_numpy(table)  # (C, max |X|), filled up with -1

    def minibatch(
        self,
        batch_size: int,
        support_size: int,
        generator: "torch.Generator",
        x_from: str = "class",
        elements: int = 1,
    ) -> Minibatch:
        """Draw (x_k, i_k) and D_k, a subset of X_{i_k} with N elements, for k = 1..M (Hewitt 2018,
        algorithm 1).

            x uniform over all elements, so that a class comes with probability proportional to |X|;
            D without replacement from X(x), independently of x given the class.

        x lies in D with probability |D| / |X|. `support_size` is |D|, from 1 to the smallest |X|. With
        `x_from="support"`, x is one of D instead, as objectives that reconstruct their own support need it;
        the paper's is "class". With `elements` = r above 1, each D serves r different elements, every one of them
        distributed as above: the same expectation, for one encoding of D. Raises ValueError for another `x_from`
        or a size that no subset has.
        """
        import torch

        if x_from not in ("class", "support"):
            raise ValueError(f"x_from: expected 'class' or 'support', found {x_from!r}")
        smallest = int(self.sizes.min())
        if not 1 <= support_size <= smallest:
            raise ValueError(
                f"support_size: expected 1 to {smallest} (the smallest class), found {support_size}"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size: expected 1 or more, found {batch_size}")
        most = smallest if x_from == "class" else support_size
        if not 1 <= elements <= most:
            raise ValueError(f"elements: expected 1 to {most} (different ones of one {x_from}), found {elements}")
        element = torch.randint(int(self.sizes.sum()), (batch_size,), generator=generator)
        last = self.sizes.cumsum(0)
        index = torch.searchsorted(last, element, right=True)
        sizes = self.sizes[index]
        table = self.table[index]  # (M, max |X|)
        support = table.gather(1, self._order(sizes, generator)[:, :support_size])  # (M, N)
        if x_from == "support":
            place = torch.rand(batch_size, support_size, generator=generator).argsort(1)[:, :elements]
            x = support.gather(1, place)
        elif elements == 1:
            x = table.gather(1, (element - (last[index] - sizes))[:, None])
        else:
            x = table.gather(1, self._order(sizes, generator)[:, :elements])
        return Minibatch(x.flatten(), support, self.classes[index], sizes)

    def _order(self, sizes: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        """Places of the table in an order drawn for each of M classes of these sizes, (M, max |X|), fillers last."""
        import torch

        order = torch.rand(len(sizes), self.table.shape[1], generator=generator, dtype=torch.float64)
        order[torch.arange(self.table.shape[1]) >= sizes[:, None]] = 2.0
        return order.argsort(1)


class EvaluationEpisodes(NamedTuple):
    """Committed episodes, as rows: class_index (E, 20), support (E, 20, shots), query (E, 20).

    `query[e, k]` is a drawing of the class `class_index[e, k]` that is not in `support[e, k]`.
    """

    class_index: np.ndarray
    support: np.ndarray
    query: np.ndarray


def evaluation_episodes(
    characters, shots: int = 1, within: bool = False, split: str = "30-20", half: str = "test"
) -> EvaluationEpisodes:
    """The 200 committed 20-way episodes of the test characters of a `CharacterSet`, split 30-20 or random-1200.

    The 20 characters come from all test characters or, with `within`, from one alphabet, which 30-20 alone has
    enough of. `shots` is 1 to 5; an episode's first support drawing is the same for each. With `half="train"` there
    are 100, of the training characters of 30-20: what choices between models and settings are made by, so that the
    test characters are asked once. Raises ValueError for another number of shots, another half, and for a split
    without such episodes.
    """
    if not 1 <= shots <= SHOTS:
        raise ValueError(f"shots: expected 1 to {SHOTS}, found {shots}")
    if half not in ("train", "test"):
        raise ValueError(f"half: expected 'train' or 'test', found {half!r}")
    known = ("30-20",) if within or half == "train" else ("30-20", "random-1200")
    if split not in known:
        raise ValueError(f"split: expected {' or '.join(known)}, found {split!r}")
    part = ("train-" * (half == "train") + ("within" if within else "across")) if split == "30-20" else split
    content = read_file(f"{characters.name}-episodes-{part}")
    classes = np.array(content["class_index"])
    drawings = np.array([[ord(c) - ord("a") for c in letters] for letters in content["drawings"]])
    rows = classes[:, :, None] * 20 + drawings.reshape(*classes.shape, SHOTS + 1)
    return EvaluationEpisodes(classes, rows[:, :, :shots], rows[:, :, SHOTS])


def twenty(characters) -> np.ndarray:
    """The rows (20,) of the drawings that every chapter returns to: of 20 characters of the evaluation
    alphabets.

    They are in the test part of "random-drawings" too.
    """
    content = read_file(f"{characters.name}-twenty")
    number = {c: i for i, c in enumerate(characters.classes)}
    return np.array([number[name] * 20 + drawing for name, drawing in content.items()])


def exemplars(characters) -> np.ndarray:
    """The rows (K,) of one typical drawing of each test character of the weak split, in the order of the classes: what
    a one-shot model is shown before its drawings are judged."""
    content = read_file(f"{characters.name}-exemplars")
    number = {c: i for i, c in enumerate(characters.classes)}
    return np.array(sorted(number[name] * 20 + drawing for name, drawing in content.items()))
