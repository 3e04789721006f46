"""The data set of figures 3 and 9: numbers of five families."""

import hashlib

import torch

from oneshot_lib.models.families_1d import FAMILIES


class FamilyClasses:
    """`train` and `test`, by name of the family: so many classes of so many numbers each.

    Both are draws from the same prior of classes, the same for every run. `hash` is that of all the numbers.
    """

    name, label = "families-1d", "five families of numbers"

    def __init__(self, classes: int, elements: int):
        halves = ({}, {})
        for k, family in enumerate(FAMILIES.values()):
            generator = torch.Generator().manual_seed(k)
            for half in halves:
                half[family.name] = family.sample(classes, elements, generator)
        self.train, self.test = halves
        numbers = b"".join(x.numpy().tobytes() for half in halves for x in half.values())
        self.hash = hashlib.sha256(numbers).hexdigest()
