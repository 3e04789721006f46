r"""The set bound: |D| and |X| as sliders, and the gap between the VHE's bound and $\log p(X) / |X|$ as an area.

The model is `ConjugateGaussian`, in which every term is a formula; the figure shows them averaged over all classes that
the model makes, with $q(c; D) = p(c \mid D)$:

$$\frac1{|X|} \log p(X) = \mathcal{F}_{\mathrm{VHE}} + \frac1{|X|} \mathbb{E}_D \mathrm{KL}(q(c; D) \,\|\, p(c \mid
        X))$$

The formulas are evaluated where the figure is, so the static copy is as alive as the one with a kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import traitlets

from .shell import TwoLayerWidget, plotted

MOST = 100  # elements of the largest class that the sliders may offer


class SetLevels(NamedTuple):
    """The numbers of the figure, nats an element, except `price` and `lost`, which are whole: nats a class."""

    ceiling: float  # log p(X) / |X|
    bound: float  # of the VHE
    log_likelihood: float  # E_q log p(x | c), x from the class
    price: float  # KL(q(c; D) || p(c))
    lost: float  # KL(q(c; D) || p(c | X))
    gap: float  # lost / |X|
    four: dict[str, float]  # the four objectives by name


class SetBoundExplorer(TwoLayerWidget):
    """Hewitt's bound over a class of `set_size` numbers of which `support_size` are looked at.

    `slope` and `noise` > 0 are the model's; classes go up to `most` elements. Where the reader left the sliders can be
    read again. `about` is `description` and `label`, as for every widget. Raises ValueError on numbers that make
    no model or no subset.
    """

    look, borrows = "oneshot-bound oneshot-set", ("bound_explorer",)

    slope = traitlets.Float().tag(sync=True)
    noise = traitlets.Float().tag(sync=True)
    support_size = traitlets.Int().tag(sync=True)
    set_size = traitlets.Int().tag(sync=True)
    most = traitlets.Int().tag(sync=True)

    def __init__(self, slope: float = 1.0, noise: float = 0.5, support_size: int = 3, set_size: int = 20,
                 most: int = 50, **about):
        from oneshot_lib.models.conjugate import ConjugateGaussian

        ConjugateGaussian(float(slope), float(noise))
        if not 2 <= most <= MOST:
            raise ValueError(f"most is {most!r}; expected 2 to {MOST}")
        if not 1 <= set_size <= most:
            raise ValueError(f"set_size is {set_size!r}; expected 1 to {most}")
        if not 1 <= support_size <= set_size:
            raise ValueError(f"support_size is {support_size!r}; expected 1 to {set_size}, the size of the class")
        super().__init__(slope=float(slope), noise=float(noise), support_size=support_size, set_size=set_size,
                         most=most, **about)

    def alternative_text(self) -> str:
        """What the two panels show."""
        return ("Log p(X) over the size of X against that size, the VHE's bound below it, and the gap between the two "
                "as an area. Two sliders set the size of D and of X; beside them the four objectives.")

    def levels(self, support_size: int | None = None, set_size: int | None = None) -> SetLevels:
        """What the figure shows, from the library's closed forms; the sliders' sizes unless others are given."""
        from oneshot_lib.models.conjugate import ConjugateGaussian
        from oneshot_lib.objectives import SET_OBJECTIVES

        n, size = set_size or self.set_size, support_size or self.support_size
        model = ConjugateGaussian(self.slope, self.noise)
        moments = model.moments(n)
        terms, gap = model.terms(moments, size), model.gap(moments, size).item()
        four = {name: model.objective(moments, size, name).item() for name in SET_OBJECTIVES}
        return SetLevels(model.ceiling(moments, size).item(), terms.bound.item(), terms.log_likelihood.item(),
                         terms.kl_class.item(), gap * n, gap, four)

    def still(self) -> bytes:
        """The two panels, without what moves them."""
        return plotted(self._plot, (6, 2.6))

    def _plot(self, figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
        sizes = range(self.support_size, self.most + 1)
        rows, here = [self.levels(set_size=n) for n in sizes], self.levels()
        ceiling, bound = [row.ceiling for row in rows], [row.bound for row in rows]
        left.fill_between(sizes, bound, ceiling, color="#c2410c", alpha=0.2, label="gap")
        left.plot(sizes, ceiling, color="black", label="log p(X) / |X|")
        left.plot(sizes, bound, color="#1668a8", label="VHE bound")
        left.vlines(self.set_size, here.bound, here.ceiling, color="#c2410c", linewidth=3)
        left.set(xlabel="|X|", ylabel="nats an element", title=f"|D| = {self.support_size}")
        left.legend(frameon=False, fontsize=8, loc="lower right")
        floor = min(*bound, *here.four.values()) - 0.2
        names = ["VHE", "Neural\nSt.", "re-\nsample", "re-\nscale"]
        heights = [value - floor for value in here.four.values()]
        right.bar(names, heights, bottom=floor, color=["#1668a8"] + ["0.7"] * 3, width=0.6)
        right.axhline(here.ceiling, color="black")
        right.set(title=f"|X| = {self.set_size}, gap {here.gap:.2f}", ylim=(floor, None))
        right.tick_params(labelsize=8)
