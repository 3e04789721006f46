"""The tables of the papers, at three presets: what `oneshot run` runs, and what its notebooks import.

>>> from oneshot_lib.experiments import experiment
>>> experiment("rezende-table3").settings("laptop").test_draws
24000
"""

from oneshot_lib.experiments.presets import EXPERIMENTS, PRESETS, Experiment, Row, Settings, check, experiment

__all__ = ["EXPERIMENTS", "PRESETS", "Experiment", "Row", "Settings", "check", "experiment", "start"]


def start(name: str, **parameters):
    """A run of the experiment `name`, for its notebook: see `oneshot_lib.experiments.run.start`."""
    from oneshot_lib.experiments import run

    return run.start(name, **parameters)
