r"""The networks, one file each, and the convention that they all keep. A model is a plain `nn.Module`.

| what | is | who has it |
| --- | --- | --- |
| `terms(x, ...)` | what a bound is made of, per example: a named tuple with `.bound` (B,), nats | latent variables |
| `log_prob(x, ...)` | log p(x), or log p(x given a support), exact: (B,), nats | whoever has no latent variable |
| `posterior(...)` | q of the latents, given an image or a support: a distribution | latent variables |
| `sample(n, generator=)` | n images from nothing: (n, 1, S, S), zeros and ones | whoever can invent |
| `draw_like(support, n, generator=)` | n new images for each of G supports: (G, n, 1, S, S) | whoever can be shown |
| `image_size` | S | all |
| `product_dtype` | what large products run in while it trains; parameters and terms are float32 | all |

A support is (G, N, 1, S, S), any N of at least 1, or a sequence of G sets (N, 1, S, S) of unlike sizes. Models over
sets say by `tractable` whether p(x given a support) is a likelihood that they compute (`log_prob(x, support)` and, for
every class at once, `class_log_scores`), or an expectation over a latent c, which `oneshot_lib.evaluation` estimates
from `posterior(support)`, `class_prior(c)`, `element_size` and what is made of c and z
(`oneshot_lib.models.homoencoder`).
"""

import importlib

_HOME = {  # the models, and in which file each is
    "AttentionPixelCNN": "attention_pixelcnn",
    "ConditionalPixelCNN": "few_shot",
    "ContrastiveCritic": "critics",
    "DeconvolutionalHomoencoder": "homoencoder",
    "FamilyHomoencoder": "families_1d",
    "MetaPixelCNN": "meta_pixelcnn",
    "PixelCNNHomoencoder": "homoencoder",
    "PrototypicalCritic": "critics",
    "SequentialModel": "sequential",
    "UnconditionalPixelCNN": "few_shot",
}
NAMES = tuple(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*_HOME, *globals()]
