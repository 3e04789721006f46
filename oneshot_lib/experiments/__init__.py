"""The tables of the papers, a folder a paper: what can be run, and how much of it at every preset.

`tables.py` of a folder says what its tables are, without torch; the other files train and measure. `quick` is seconds
anywhere, `laptop` real numbers on two cores, `full` the paper's scale on one GPU; how long each takes stands in
`Experiment.minutes` and nowhere else. `quick` and `laptop` are the full settings with less of everything but `MORE`.

>>> from oneshot_lib.experiments import experiment
>>> experiment("rezende-table3").settings("laptop").test_draws
24000
"""

from oneshot_lib.choices import check
from oneshot_lib.experiments.boutin import tables as boutin
from oneshot_lib.experiments.hewitt import tables as hewitt
from oneshot_lib.experiments.pictures import tables as pictures
from oneshot_lib.experiments.reed import tables as reed
from oneshot_lib.experiments.rezende import tables as rezende
from oneshot_lib.runs.experiment import Experiment

__all__ = ["EXPERIMENTS", "MORE", "experiment", "start"]

EXPERIMENTS: dict[str, Experiment] = {
    e.name: e for paper in (rezende, hewitt, reed, boutin, pictures) for e in paper.TABLES}
# what a smaller preset may have more of: a shorter training takes a higher rate; where an update is of fewer images a
# class, it is of more classes, and where it is of numbers, of more of them; attention goes twice through its few steps
MORE = {"learning_rate", "batch_groups", "batch_size", "attention_rounds"}


def experiment(name: str) -> Experiment:
    """The experiment of that name, PAPER-ITEM. Raises ValueError naming the nearest one."""
    return EXPERIMENTS[check(name, EXPERIMENTS, "experiment")]


def start(name: str, **parameters):
    """A run of the experiment `name`, for its notebook: see `oneshot_lib.runs.run.start`."""
    from oneshot_lib.runs import run

    return run.start(experiment(name), **parameters)
