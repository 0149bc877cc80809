"""How a comparison is said: numbers, names and verdicts as text, the same on the page and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pneumoseg.compare.comparing import Against, Comparison
from pneumoseg.compare.differences import WORDS, Difference
from pneumoseg.evaluate.metrics.core import ALL_EMPTY
from pneumoseg.report.headline import short
from pneumoseg.report.parts import count_of, listed, number, percent, spread, told
from pneumoseg.stats.bootstrap import Estimate, Interval

_KINDS = {"better": "good", "worse": "bad"}
_NAME_CHARACTERS = 15


def signed(value: float, interval: Interval = (float("nan"), float("nan"))) -> str:
    """Such as ``+0.012 (-0.003 to 0.027)``."""
    if not np.isfinite(value):
        return "no value"
    shown = f"{value:+.3f}" if round(value, 3) else "0.000"
    return f"{shown} ({within(interval)})" if np.isfinite(interval).all() else shown


def within(interval: Interval) -> str:
    """Such as ``-0.003 to 0.027``."""
    return spread(Estimate.of(0, interval))


def p_text(p: float) -> str:
    """Three decimals; never 0."""
    return "—" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def figure_text(figures: Mapping[str, Estimate], name: str) -> str:
    """A figure with its interval; a dash where there is none."""
    found = figures.get(name)
    return number(None) if found is None or found.value is None else told(found)


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


def all_empty(comparison: Comparison) -> float | None:
    """Dice of marking nothing over the common images that have a Dice; None where no experiment gives one."""
    found = (Estimate.of(ALL_EMPTY.of(rows).value).value for rows in comparison.rows)
    return next((value for value in found if value is not None), None)


def verdict_kind(difference: Difference | None) -> str:
    """The page's colour for it: good, bad or open."""
    return _KINDS.get(difference.verdict, "open") if difference else "open"


def main_verdict(comparison: Comparison, item: Against) -> str:
    """What the deciding figure shows, in a sentence."""
    reference, name = comparison.reference.name, item.experiment.name
    place = comparison.experiments.index(item.experiment)
    found = item.differences.get(comparison.deciding)
    if found is None or not np.isfinite(found.value):
        return f"{name} against {reference}: they have no figure in common to decide by."
    label = "Dice over all images" if comparison.masks else short(found.metric)
    first, second = (number(comparison.figures[index][found.metric.name].value) for index in (0, place))
    corrected = f", {p_text(found.p_holm)} after correction" if len(comparison.against) > 1 else ""
    p = f"p {'' if found.p < 0.001 else '= '}{p_text(found.p)}{corrected}"
    support = f"95 % interval {within(found.interval)}, {p}" if np.isfinite(found.interval).all() else p
    figures = f"{label} is {second}, that of {reference} {first}; difference {signed(found.value)} ({support})"
    if found.verdict in ("better", "worse"):
        return f"{name} is {found.verdict} than {reference}: {figures}."
    if found.verdict == "same":
        what = "Dice" if comparison.masks else "probability"
        return f"{name} and {reference} have the same {what} on every compared image ({second} over all)."
    if found.verdict == "unknown":
        return f"{name} against {reference}: {found.words}; {figures}."
    return f"No difference is shown between {name} and {reference} ({found.reason}): {figures}."


def other_verdicts(comparison: Comparison, item: Against) -> str:
    """What the other figures show, in a sentence."""
    others = [found for name, found in item.differences.items() if name != comparison.deciding]
    told_of = {
        words: [found.metric.label for found in others if found.verdict == verdict] for verdict, words in WORDS.items()
    }
    parts = [f"{words} in {listed(labels)}" for words, labels in told_of.items() if labels]
    return f"Other figures: {'; '.join(parts)}." if parts else ""


def against_empty(comparison: Comparison) -> str:
    """Which experiments are not shown to beat marking nothing; empty where all are, or where no pixel is marked."""
    weak = [
        item.name
        for item, verdict in zip(comparison.experiments, comparison.over_empty, strict=True)
        if verdict not in ("better", "unknown")
    ]
    if not weak:
        return ""
    are = "is" if len(weak) == 1 else "are"
    return (
        f"{listed(weak)} {are} not shown to beat an all-empty prediction on these images, whose Dice is "
        f"{number(all_empty(comparison))}: which of such models is better means little."
    )
