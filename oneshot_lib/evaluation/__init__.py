"""The protocols by which a model is judged. What a number means is decided here, once, for every model.

`bounds` of log p(x), the `joint` likelihood of a class, `classification` by generation, and `judging` of drawings by
critics. A model is known by what it can be asked (`oneshot_lib.models`), none by its class.
"""

from .bounds import Estimate, bound_estimate, importance_weighted_estimate, with_replacement
from .classification import KEEP, Accuracy, Scores, episode_accuracy, log_scores
from .joint import joint_likelihood

__all__ = ["KEEP", "Accuracy", "Estimate", "Scores", "bound_estimate", "episode_accuracy",
           "importance_weighted_estimate", "joint_likelihood", "log_scores", "with_replacement"]
