"""What an experiment is: its data, its rows, its settings at every preset, and what a user may change of them."""

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, NamedTuple, get_args

from oneshot_lib.choices import check

PRESETS = ("quick", "laptop", "full")
SOURCES = {"characters": ("omniglot", "glyphs"), "digits": ("mnist", "glyph-digits")}  # published, rendered
DRAWINGS = 20  # of each character, in every data set of characters here


class Range(NamedTuple):
    """The numbers that a setting may have: `least` to `most`, both among them unless they are said to be `open`."""

    least: float = 1
    most: float = 10**9
    open: bool = False

    def __contains__(self, value) -> bool:
        return self.least < value < self.most if self.open else self.least <= value <= self.most

    def told(self, value) -> str:
        """What is expected, in words, where `value` came."""
        unlimited = self.most in (10**9, math.inf) and not value > self.most
        if self.open:
            return f"a number above {self.least:g}" + ("" if unlimited else f" and below {self.most:g}")
        return f"at least {self.least:g}" if unlimited else f"{self.least:g} to {self.most:,}"


WHOLE, POSITIVE = Range(), Range(0, math.inf, open=True)  # of whole numbers and others, where nothing else is said
FROM_ZERO, TWO_OR_MORE = Range(0), Range(2)


@dataclass(frozen=True)
class Row:
    """One model of a table: `key` is its folder, `printed` what the paper prints for it.

    `preprocessing` is the experiment's unless the row has its own.
    """

    key: str
    name: str
    printed: Mapping = field(default_factory=dict, kw_only=True)
    preprocessing: str | None = field(default=None, kw_only=True)

    def printed_value(self, metric: str, kind: str) -> float | None:
        """What the paper prints for this metric, or None: `printed` has it under (metric, kind)."""
        return self.printed.get((metric, kind))


@dataclass(frozen=True)
class Settings:
    """What every experiment sets; each has more in a class of its own.

    `rows` names the models; `threads` is how many cores a CPU run takes (None: all); `products` is what the
    large products of training run in: "float32", "bfloat16", or whichever is "measured" to be faster when
    a run starts; `data` is "published", "glyphs" (rendered from fonts) or None: the published data, for which
    Glyphs stand in where they are not found and the preset is quick. The others are those of
    `oneshot_lib.training`. The defaults are the paper's scale.

    Every number is checked against its range: `ranges` of a class has those that are not `WHOLE` or `POSITIVE`.
    Raises ValueError, which names the setting, its value and what is expected.
    """

    ranges: ClassVar[Mapping[str, Range]] = {"warmup": FROM_ZERO, "threads": Range(1, 1024)}

    rows: tuple[str, ...]
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: int = 500
    checkpoint_every: int = 2_000
    threads: int | None = None
    products: str = "measured"
    data: str | None = None

    def __post_init__(self):
        check(self.data or "published", ("published", "glyphs"), "kind of data")
        check(self.products, ("float32", "bfloat16", "measured"), "kind of products")
        check(self.schedule, ("cosine", "constant"), "schedule")
        for f in fields(self):
            check_numbers(f.name, getattr(self, f.name), f.type, self.range_of(f.name))

    @classmethod
    def range_of(cls, name: str) -> Range | None:
        """The range of a setting, or None where the class does not say one of its own."""
        return next((vars(c)["ranges"][name] for c in cls.__mro__ if name in vars(c).get("ranges", {})), None)

    def check_run(self, dataset, split: str) -> None:
        """Raises ValueError where a run would fail later: the settings ask for more than the data have, or do without
        what the notebook shows."""

    def steps(self, row: Row) -> int:
        """How many updates a row is trained for."""
        raise NotImplementedError

    def images_a_step(self) -> int:
        """How many images an update is made from."""
        raise NotImplementedError

    def faster_products(self):
        """float32 or bfloat16, by measuring the products that this experiment is made of: a torch.dtype."""
        raise NotImplementedError


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper: which data, which models, which presets, and the minutes they take.

    `data` is "characters" or "digits"; of other data, no pictures, its name, and `numbers()` opens them. `minutes` are
    expected on two cores for quick and laptop, on one GPU for full. `also` are the items, besides its own, that its
    records stand under; `headlines` its numbers that stand in the README, by (row's key, metric, kind).
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
    also: tuple[str, ...] = ()
    headlines: tuple[tuple[str, str, str], ...] = ()
    numbers: Callable | None = None

    @property
    def paper(self) -> str:
        return self.name.split("-", 1)[0]

    @property
    def item(self) -> str:
        return self.name.split("-", 1)[1]

    @property
    def pictures(self) -> bool:
        """Whether the data are pictures: they have splits, preprocessings and a floor, and numbers have none."""
        return self.numbers is None

    def dataset(self, preset: str, settings: Settings):
        """The data of a run. Only a quick one takes rendered ones where the published are not found; a laptop or full
        run raises DataError then, unless its `data` is "glyphs": its records are kept, and none is of Glyphs by
        mistake.
        """
        from oneshot_lib.data.layouts import AbsentData

        if not self.pictures or (preset == "quick" and settings.data is None):
            return self.open_data()
        published, rendered = SOURCES[self.data]
        try:
            return self.open_data(rendered if settings.data == "glyphs" else published)
        except AbsentData as error:
            raise AbsentData(f"{error}; `-p data=glyphs` makes a {preset} run of rendered ones") from None

    def open_data(self, source: str | None = None):
        """The data of this experiment, of `source`; unless given, real ones where their files are found."""
        if self.numbers is not None:
            return self.numbers()
        from oneshot_lib import data

        return data.characters(source) if self.data == "characters" else data.mnist(source)

    def settings(self, preset: str, overrides: Mapping | None = None) -> Settings:
        """The settings of a preset with some replaced. Raises ValueError on an unknown preset, key, row or
        type.
        """
        settings = self.presets[check(preset, PRESETS, "preset")]
        kinds = {f.name: f.type for f in fields(settings)}
        changes = {}
        for key, value in (overrides or {}).items():
            check(key, kinds, "setting")
            changes[key] = tuple(value) if isinstance(value, list) else cast(key, value, kinds[key])
        settings = replace(settings, **changes)
        if settings.data is not None and not self.pictures:
            raise ValueError(f"data is {settings.data!r}; expected none: {self.name} draws its own numbers")
        for key in settings.rows:
            check(key, [row.key for row in self.rows], "row")
        return settings

    def chosen(self, settings: Settings) -> list[Row]:
        """The rows that the settings name, in their order."""
        by_key = {row.key: row for row in self.rows}
        return [by_key[key] for key in settings.rows]

    def reduction(self, row: Row) -> str:
        """The preprocessing that a row is made on."""
        return row.preprocessing or self.preprocessing


def cast(key: str, value, kind):
    """A setting from a command line, `value` "24", in the type that it is declared to have. Raises ValueError.

    >>> cast("threads", "none", int | None), cast("rows", "a,b", tuple[str, ...]), cast("learning_rate", "1e-3", float)
    (None, ('a', 'b'), 0.001)
    """
    if not isinstance(value, str):
        return value
    if isinstance(kind, types.UnionType):
        if value.lower() == "none":
            return None
        kind = get_args(kind)[0]
    if kind is str:
        return value
    if kind is bool:
        return {"true": True, "false": False}[check(value.lower(), ("true", "false"), f"value of {key}")]
    if kind is not int and kind is not float:
        return tuple(cast(key, part, get_args(kind)[0]) for part in value.split(","))
    try:
        return kind(value.replace("_", "").replace(",", ""))
    except ValueError:
        expected = "a number" if kind is float else "a whole number"
        raise ValueError(f"{key} is {value!r}; expected {expected}") from None


def check_numbers(name: str, value, kind, within: Range | None = None) -> None:
    """Raises ValueError where a setting is declared as a number, or numbers, and is another kind of thing or not within
    its range. None is a number where the declaration has it.

    >>> check_numbers("learning_rate", float("nan"), float)
    Traceback (most recent call last):
    ValueError: learning_rate is nan; expected a number above 0
    """
    kinds = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and types.NoneType in kinds:
        return
    several = get_args(kinds[0])
    number = several[0] if several else kinds[0]
    if number not in (int, float):
        return
    for one in value if several and isinstance(value, tuple) else (value,):
        expected = within or (WHOLE if number is int else POSITIVE)
        if type(one) is not int and (number is int or type(one) is not float):
            raise ValueError(f"{name} is {value!r}; expected {'a whole number' if number is int else 'a number'}")
        if one not in expected:
            raise ValueError(f"{name} is {value!r}; expected {'numbers of ' if several else ''}{expected.told(one)}")
