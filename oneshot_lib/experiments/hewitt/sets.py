"""Models over sets, trained and measured as Hewitt 2018, section 4.1, has it: what tables 1 and 2 are made of."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from oneshot_lib import data
from oneshot_lib.choices import check
from oneshot_lib.data import AugmentedCharacters, EvaluationEpisodes
from oneshot_lib.evaluation import Estimate, joint_likelihood
from oneshot_lib.evaluation.classification import episode_accuracy
from oneshot_lib.experiments.hewitt import tables
from oneshot_lib.models.homoencoder import DeconvolutionalHomoencoder, PixelCNNHomoencoder
from oneshot_lib.objectives import SET_OBJECTIVES
from oneshot_lib.runs.records import Record
from oneshot_lib.runs.run import Run
from oneshot_lib.streams import stream
from oneshot_lib.training import Diverged, load_tensors

CLASSES = {"pixelcnn": PixelCNNHomoencoder, "deconvolutional": DeconvolutionalHomoencoder}


def extended(run: Run, row: tables.SetRow) -> AugmentedCharacters:
    """The training drawings of a row, extended by 8 symmetries and the settings' affine maps (section 4.1)."""
    return AugmentedCharacters(run.dataset, run.experiment.reduction(row), run.split.train, affine=run.settings.affine)


# --- training ---------------------------------------------------------------------------------------------------------


def objective(source, name: str, settings, device: str = "cpu") -> Callable:
    """One of the four objectives as `oneshot_lib.training.train` maximises it: (model, step, generator) -> (B,), nats.

    `source.minibatch` draws the batches (an `AugmentedCharacters`), `settings` are `tables.SetSettings`. |D| is the
    same for all classes of a step, and so are the places of D that the encoder does without under sample dropout; |D|
    stays what divides the price of c. Raises ValueError for an unknown objective.
    """
    switches = SET_OBJECTIVES[check(name, SET_OBJECTIVES, "objective")]

    def maximised(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        # a batch is drawn on the CPU, by a generator of its own: elsewhere the noise has another device
        draw = stream(generator.initial_seed(), "batch")
        size = int(torch.randint(settings.smallest_support, settings.support_size + 1, (), generator=draw))
        batch = source.minibatch(settings.batch_groups, size, draw, switches.x_from, settings.sets, settings.elements)
        support = batch.support[:, kept(size, settings.sample_dropout, draw)]
        x, support, set_size = (part.to(device) for part in (batch.x, support, batch.set_size))
        terms = model.terms(x, support, set_size, generator, rescale=switches.rescale)
        shared_by = terms.shared_by if switches.rescale else torch.full_like(terms.shared_by, size)
        charged = min(1.0, (step + 1) / settings.kl_annealing) if settings.kl_annealing else 1.0
        return terms.log_likelihood - charged * (terms.kl_element + terms.kl_class / shared_by)

    return maximised


def kept(size: int, dropout: float, generator: torch.Generator) -> Tensor:
    """The places of D, of `size`, that the encoder sees: each is left out with probability `dropout`, not all of them.

    >>> kept(3, 0.0, torch.Generator().manual_seed(0))
    tensor([0, 1, 2])
    """
    order = torch.rand(size, generator=generator)
    seen = order >= dropout
    seen[order.argmax()] = True
    return seen.nonzero()[:, 0]


def trained(run: Run, row: tables.SetRow) -> nn.Module:
    """The row's network, trained; of several trainings the one with the best training objective (supplement 6.4.1).

    Writes the record of that objective; with probes, those of the failure curves. Raises `TimeSpent` where the budget
    is spent first and `Diverged` where every training diverges.
    """
    settings, source = run.settings, extended(run, row)
    maximised = objective(source, row.objective, settings, run.device)
    runs, probes = getattr(settings, "runs", 1), getattr(settings, "probes", 0)
    kind = "running bound" if SET_OBJECTIVES[row.objective].bounds else "running mean"
    options = {"metric": ("train NLL", kind), "start_from": weights_before(run, row)}
    if probes:
        options |= {"probe": probe(run, row, source), "probe_every": max(1, settings.steps(row) // probes)}
    found, diverged = [], None
    for attempt in range(runs):
        torch.manual_seed(run.seed + 7_919 * attempt)
        model = CLASSES[row.network]()
        try:
            report = run.train(row, model, maximised, attempt=attempt if runs > 1 else None, **options)
            found.append((report, model))
        except Diverged as error:
            diverged = error
    if not found:
        raise diverged
    report, model = max(found, key=lambda pair: pair[0].train_bound)
    run.reports[row.key] = report
    if runs > 1:
        run.notes[row.key] = [f"the best of {runs} trainings by training objective; {runs - len(found)} diverged"]
    run.record_value(row, "train NLL", kind, -report.train_bound, report.train_bound_error, n=min(1000, report.steps),
                     series=[-r.train_bound for r, _ in found])
    for name, metric, unit in (("kl", "KL while training", "nats"), ("accuracy", "accuracy while training", "%")):
        if name in report.probes:
            points = zip(report.probes["seconds"], report.probes[name], strict=True)
            curve = [[round(s / 60, 3), round(y, 4)] for s, y in points if math.isfinite(s) and math.isfinite(y)]
            run.record_value(row, metric, "probe", report.probes[name][-1], unit=unit, series=curve,
                             item="failure-curves", title="what training does to the class latent")
    return model


def weights_before(run: Run, row: tables.SetRow) -> dict[str, Tensor] | None:
    """What a row that goes on from other weights starts with: another row's of this run, or a shipped model's."""
    name = getattr(run.settings, "start_from", None)
    if not row.continues or name is None:
        return None
    run.notes[row.key] = [f"trained on from {name}"]
    if name in [other.key for other in run.rows]:
        return load_tensors(run.out / name / "weights.safetensors")[0]
    from oneshot_lib import weights

    return weights.load(name).state_dict()


def probe(run: Run, row: tables.SetRow, source) -> Callable[[nn.Module, int], dict[str, float]]:
    """What is looked at while a model trains: the divergence of c on the training set, nats, and the 5-shot accuracy on
    the first few test episodes, %. Every look has the same random numbers."""
    settings = run.settings

    def look(model: nn.Module, step: int) -> dict[str, float]:
        found = accuracy(run, row, model, settings.support_size, limit=settings.probe_episodes, show=False, outer=1,
                         inner=1, keep=0.0)
        kl = class_kl(model, source, settings, min(200, settings.kl_supports), run.device, run.seed)
        return {"kl": kl.value, "accuracy": found.value}

    return look


# --- measuring --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def class_kl(model: nn.Module, source, settings, n: int, device: str = "cpu", seed: int = 0) -> Estimate:
    """KL(q(c | D) || p(c)) in nats, a mean over n supports D of `source` with |D| = `support_size` (table 1's KL)."""
    model.eval()
    draw, noise, found = stream(seed, "supports"), stream(seed, "noise", device=device), []
    for start in range(0, n, 100):
        support = source.minibatch(min(100, n - start), settings.support_size, draw, sets=settings.sets).support
        q = model.posterior(support.to(device))
        eps = torch.randn(q.mean.shape, generator=noise, device=device, dtype=q.mean.dtype)
        found.append(model.class_kl(q, q.sample(eps)).double())
    return _estimate(torch.cat(found))


def accuracy(run: Run, row: tables.SetRow, model: nn.Module, shots: int, within: bool = False, limit: int | None = None,
             half: str = "test", show: bool = True, **scoring) -> Estimate:
    """The share of queries given their class, %, over the first committed episodes of the run's split; its test
    characters, or its training ones by `half="train"`.

    `scoring` replaces what the settings say of `evaluation.log_scores`. Products are those of
    training.
    """
    settings = run.settings
    scoring = {name: getattr(settings, name) for name in ("outer", "inner", "keep", "most")} | scoring
    episodes = data.evaluation_episodes(run.dataset, shots, within, run.experiment.split, half)
    episodes = EvaluationEpisodes(*(part[:, : settings.ways] for part in episodes))
    before, model.product_dtype = model.product_dtype, run.products
    try:
        found = episode_accuracy(model, episodes, drawing(run, row), limit=limit or settings.episodes,
                                 generator=stream(run.seed, "noise", device=run.device),
                                 label=f"{row.name}, {shots}-shot", show=show, **scoring)
    finally:
        model.product_dtype = before
    return Estimate(100 * found.value, 100 * found.error, found.n)


def drawing(run: Run, row: tables.SetRow) -> Callable[[int], Tensor]:
    """row of the data set -> its drawing, (1, S, S) of zeros and ones; grey ones are binarised anew at each call."""
    grey, generator = run.dataset.grey(run.experiment.reduction(row)), stream(run.seed, "pixels")
    return lambda number: data.binarise(grey[number][None], generator)


def whole_classes(run: Run, row: tables.SetRow, limit: int | None = None) -> Iterator[Tensor]:
    """Whole test classes, (20, 1, S, S) each, binarised once; of all of them `limit`, evenly spaced."""
    image, test = drawing(run, row), run.split.test
    classes = np.unique(run.dataset.class_index[test])
    chosen = np.linspace(0, len(classes) - 1, min(limit or len(classes), len(classes))).round().astype(int)
    for index in classes[chosen]:
        rows = test[run.dataset.class_index[test] == index]
        yield torch.stack([image(int(number)) for number in rows]).to(run.device)


@torch.no_grad()
def joint_bound(run: Run, row: tables.SetRow, model: nn.Module, limit: int | None = None) -> Estimate:
    r"""The NLL of whole test classes, nats an image, bounded from above with D = X: an `Estimate` over classes.

    $$-\frac1{|X|} \left( \mathbb{E} \sum_{x \in X} \left[ \log p(x \mid c, z) -
            \mathrm{KL}(q(z \mid c, x) \,\|\, p(z \mid c)) \right] - \mathrm{KL}(q(c \mid X) \,\|\, p(c)) \right)$$
    """
    model.eval()
    generator, found = stream(run.seed, "noise", device=run.device), []
    for elements in whole_classes(run, row, limit):
        size = torch.tensor([len(elements)], device=run.device)
        found.append(-model.terms(elements, elements[None], size, generator).bound.double().mean())
    return _estimate(torch.stack(found))


def joint_nll(run: Run, row: tables.SetRow, model: nn.Module) -> Estimate:
    """The same by importance weighting (`oneshot_lib.evaluation.joint_likelihood`), on fewer classes."""
    settings, generator = run.settings, stream(run.seed, "noise", device=run.device)
    found = [-joint_likelihood(model, elements, settings.joint_outer, settings.joint_inner, generator=generator)
             for elements in whole_classes(run, row, settings.joint_classes)]
    return _estimate(torch.tensor(found, dtype=torch.float64))


def record_accuracy(run: Run, row: tables.SetRow, model: nn.Module, shots: int, within: bool = False,
                    half: str = "test") -> Record:
    """Measure the accuracy on test or training characters, or take what this folder has of it, and write its record."""
    s, metric = run.settings, tables.SHOTS if half == "test" else tables.TRAINED_ON
    return run.measured(row, metric.format(shots, s.ways), tables.WITHIN if within else tables.ACROSS,
                        lambda: accuracy(run, row, model, shots, within, half=half), unit="%",
                        notes=f"{s.outer} draws of c and {s.inner} of z"
                        + (f" for at most {s.most or s.ways} classes within {s.keep:g} nats of the best"
                           if s.keep is not None else "")
                        + ("" if run.products == torch.float32 else ", products as in training"))


def record_kl(run: Run, row: tables.SetRow, model: nn.Module) -> Record:
    """Measure the divergence of c on the training set, or take what this folder has of it, and write its record."""
    return run.measured(row, tables.KL, "mean",
                        lambda: class_kl(model, extended(run, row), run.settings, run.settings.kl_supports, run.device,
                                         run.seed))


def record_joint(run: Run, row: tables.SetRow, model: nn.Module) -> list[Record]:
    """Bound and importance-weighted estimate of the NLL of whole test classes, measured or taken from this folder."""
    s = run.settings
    bound = run.measured(row, tables.JOINT, "bound", lambda: joint_bound(run, row, model, s.bound_classes),
                         item="table3", title="joint NLL of Omniglot's test classes, nats an image")
    weighted = run.measured(row, tables.JOINT, "iw", lambda: joint_nll(run, row, model), k=s.joint_outer, item="table3",
                            title="joint NLL of Omniglot's test classes, nats an image",
                            notes=f"{s.joint_inner} draws of z for each of c")
    return [bound, weighted]


def cues(run: Run, row: tables.SetRow, count: int, shots: int = 1) -> Tensor:
    """Support drawings of the first committed episode's first classes: (count, shots, 1, S, S)."""
    episodes, image = data.evaluation_episodes(run.dataset, shots, split=run.experiment.split), drawing(run, row)
    rows = episodes.support[0][:count]
    return torch.stack([torch.stack([image(int(number)) for number in group]) for group in rows]).to(run.device)


def _estimate(values: Tensor) -> Estimate:
    return Estimate(values.mean().item(), (values.std() / len(values) ** 0.5).item(), len(values))
