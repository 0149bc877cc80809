"""How a comparison is said: numbers, names and verdicts as text, the same on the page and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pneumoseg.compare.comparing import Against, Comparison
from pneumoseg.compare.differences import FIGURES, Difference
from pneumoseg.report.parts import count_of, listed, number, percent
from pneumoseg.stats.bootstrap import Interval
from pneumoseg.stats.figures import Figures

_KINDS = {"better": "good", "worse": "bad"}
_NAME_CHARACTERS = 15


def signed(value: float, interval: Interval = (float("nan"), float("nan"))) -> str:
    """Such as ``+0.012 (-0.003 to 0.027)``."""
    if not np.isfinite(value):
        return "no value"
    shown = f"{value:+.3f}" if round(value, 3) else "0.000"
    return f"{shown} ({spread(interval)})" if np.isfinite(interval).all() else shown


def spread(interval: Interval) -> str:
    """Such as ``-0.003 to 0.027``."""
    return " to ".join(f"{round(bound, 3) + 0.0:.3f}" for bound in interval)  # + 0.0: no -0.000


def p_text(p: float) -> str:
    """Three decimals; never 0."""
    return "—" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def figure_text(figures: Figures, name: str) -> str:
    """A figure with its interval; a dash where there is none."""
    if name not in figures.values or not np.isfinite(figures.values[name]):
        return "—"
    shown, interval = number(float(figures.values[name])), figures.intervals[name]
    return f"{shown} ({spread(interval)})" if np.isfinite(interval).all() else shown


def short_names(names: Sequence[str]) -> list[str]:
    """Names that fit a chart and still differ: long ones lose their middle, alike ones get a number."""
    half = (_NAME_CHARACTERS - 1) // 2
    cut = [name if len(name) <= _NAME_CHARACTERS else f"{name[:half]}…{name[-half:]}" for name in names]
    return [f"{index + 1}: {name}" if cut.count(name) > 1 else name for index, name in enumerate(cut)]


def common_images(comparison: Comparison) -> str:
    """What is compared on."""
    pairing = comparison.pairing
    positive, patients = pairing.positive, len(np.unique(pairing.patients))
    return (
        f"{count_of(len(pairing.ids), 'common test image')} of {count_of(patients, 'patient')}, "
        f"{positive.sum():,} with pneumothorax ({percent(float(positive.mean()))}, of "
        f"{count_of(pairing.patients_of(positive), 'patient')})"
    )


def all_empty(comparison: Comparison) -> float:
    """Dice over all common images of marking nothing: the share without pneumothorax."""
    return float((~comparison.pairing.positive).mean())


def verdict_kind(difference: Difference) -> str:
    """The page's colour for it: good, bad or open."""
    return _KINDS.get(difference.verdict, "open")


def main_verdict(comparison: Comparison, item: Against) -> str:
    """What the Dice over all images shows, in a sentence."""
    reference, name = comparison.reference.name, item.experiment.name
    place = comparison.experiments.index(item.experiment)
    found = item.differences["dice_all"]
    first, second = (comparison.figures[index].values["dice_all"] for index in (0, place))
    corrected = f", {p_text(found.p_holm)} after correction" if len(comparison.against) > 1 else ""
    p = f"p {'' if found.p < 0.001 else '= '}{p_text(found.p)}{corrected}"
    support = f"95 % interval {spread(found.interval)}, {p}" if np.isfinite(found.interval).all() else p
    told = (
        f"Dice over all images is {second:.3f}, that of {reference} {first:.3f}; difference {signed(found.value)} "
        f"({support})"
    )
    if found.verdict in ("better", "worse"):
        return f"{name} is {found.verdict} than {reference}: {told}."
    if found.verdict == "same":
        return f"{name} and {reference} have the same Dice on every compared image ({second:.3f} over all)."
    if found.verdict == "unknown":
        return f"{name} against {reference}: {found.words}; {told}."
    reason = found.words.removeprefix("no difference shown: ")
    return f"No difference is shown between {name} and {reference} ({reason}): {told}."


def other_verdicts(item: Against) -> str:
    """What the other figures show, in a sentence."""
    groups: dict[str, list[str]] = {}
    for name, difference in item.differences.items():
        if name != "dice_all":
            groups.setdefault(difference.words.partition(":")[0], []).append(FIGURES[name])
    order = sorted(groups, key=lambda words: (words != "better", words != "worse"))
    return f"Other figures: {'; '.join(f'{words} in {listed(groups[words])}' for words in order)}."


def against_empty(comparison: Comparison) -> str:
    """Which experiments are not shown to beat marking nothing; empty where all are."""
    weak = [
        item.name
        for item, verdict in zip(comparison.experiments, comparison.over_empty, strict=True)
        if verdict != "better"
    ]
    if not weak:
        return ""
    are = "is" if len(weak) == 1 else "are"
    return (
        f"{listed(weak)} {are} not shown to beat an all-empty prediction on these images, whose Dice is "
        f"{all_empty(comparison):.3f}: which of such models is better means little."
    )
