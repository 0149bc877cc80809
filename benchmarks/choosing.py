"""Which figure should choose the epoch, and which kind of rule: judged on trainings that the benchmark real has stored.

    python -m benchmarks choosing FILE.npz ...

Every way to choose looks at the validation images of a training alone, picks an epoch and tunes a rule there; what that
is worth is measured on the held-out patients. All ways are compared on the same trainings, paired by patient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.config import Params
from pneumoseg.config.tune import TuneParams
from pneumoseg.networks.family import Family
from pneumoseg.rule.cases import patient_codes
from pneumoseg.rule.decision import DecisionRule, Level, level_of
from pneumoseg.rule.dice import dice
from pneumoseg.rule.level_counts import LevelCounts
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.stats.bootstrap import PatientBootstrap, Ratio, Weighted, percentile_interval
from pneumoseg.stats.permutations import SAME, holm, permutation_p
from pneumoseg.stats.ranking import weighted_auc
from pneumoseg.train.figures import THRESHOLD, Validated, pick, summarise
from pneumoseg.tune.search import Search, families
from pneumoseg.tune.selection import Judged, choose, objective, patient_groups, search_family

Floats = NDArray[np.float64]
GRID = TuneParams()
REPLICATES = 4000


@dataclass(frozen=True)
class Stored:
    """One training: its validation and held-out images after every epoch, and under averaged weights if it has some."""

    path: Path

    @cached_property
    def arrays(self) -> dict[str, Any]:
        """What the file holds."""
        with np.load(self.path) as file:
            return dict(file)

    @property
    def epochs(self) -> int:
        """How many there are; averaged weights stand behind them."""
        return len(self.arrays["seconds"])

    @property
    def averaged(self) -> bool:
        """Whether there are averaged weights."""
        return len(self.arrays["above"]) > self.epochs

    def counts(self, epoch: int, held_out: bool) -> LevelCounts:
        """Of an epoch, from 0, on the validation images or on those held out."""
        of = self.arrays
        rows = of["validation"] != held_out
        nothing = np.zeros((int(rows.sum()), 0), np.int64)
        return LevelCounts(
            patients=patient_codes(of["patient"][rows].tolist()),
            probability=of["probability"][epoch][rows],
            image_px=of["image_px"][rows].astype(np.int64),
            truth_px=of["truth_px"][rows].astype(np.int64),
            above=of["above"][epoch][rows].astype(np.int64),
            inside=of["inside"][epoch][rows].astype(np.int64),
            thresholds=(),
            clean_px=nothing,
            clean_inside=nothing,
        )

    @cached_property
    def figures(self) -> list[dict[str, float]]:
        """The figures of each epoch on the validation images, as a training measures them."""
        found = []
        for epoch in range(len(self.arrays["above"])):
            counts = self.counts(epoch, held_out=False)
            loss = self.arrays["loss"][epoch][self.arrays["validation"]]
            marked = counts.above[:, level_of(THRESHOLD)] > 0
            found.append(summarise(Validated(loss, counts.probability, counts.truth_px > 0, marked, counts)))
        return found


def kept_epoch(run: Stored, params: Params) -> int:
    """The epoch, from 0, that a training with these parameters keeps."""
    if params.train.keep == "averaged":
        return run.epochs
    if params.train.keep == "last":
        return run.epochs - 1
    family: Family = FAMILIES[params.model.architecture]
    name = family.chooses if params.train.selection_metric == "auto" else params.train.selection_metric
    return int(np.argmax([pick(figures, name, "train.selection_metric") for figures in run.figures[: run.epochs]]))


def steady_rule(run: Stored, epoch: int) -> DecisionRule:
    """The rule that the stage tune takes on the validation images of an epoch."""
    return tuned(run.counts(epoch, held_out=False))["dice_all steady"]


def grid_best(counts: LevelCounts) -> dict[str, float]:
    """The best D_all and the best balanced score under the rules of tune's own grid, gates included."""
    search = Search(counts, np.zeros(len(counts.patients), np.int64), GRID)
    best = dict.fromkeys(("dice_all", "balanced"), -np.inf)
    for family in families(GRID):
        for block in search.blocks(family):
            for goal in best:
                best[goal] = max(
                    best[goal], float(objective(block.sums.sum(axis=1), search.images.sum(axis=0), goal).max())
                )
    return best


def tuned(counts: LevelCounts) -> dict[str, DecisionRule]:
    """The best rule of each kind by its name; which of them is taken by one standard error, and which scores best."""
    positive = counts.truth_px > 0
    groups = patient_groups(counts.patients, positive, GRID.cross_fit_groups, GRID.seed)
    search, goals = Search(counts, groups, GRID), ("dice_all", "balanced")
    results = [search_family(search, family, goals) for family in families(GRID)]

    def score(rule: DecisionRule) -> Floats:
        pixels, hits = counts.predicted(rule)
        return dice(hits, pixels, counts.truth_px)

    judged = Judged(counts.patients, groups, positive, score)
    found = {}
    for goal in goals:
        of_goal = [result[goal] for result in results]
        choice = choose(of_goal, search.images, goal, judged)
        best = max(of_goal, key=lambda result: choice.cross_fitted[result.family.name])
        found |= {f"{goal} steady": choice.rule, f"{goal} best": best.best[frozenset()].rule}
        found |= {f"{goal} {result.family.name}": result.best[frozenset()].rule for result in of_goal}
    return found


def candidates(run: Stored, epoch: int) -> dict[str, float]:
    """Figures by which the epoch could be chosen; higher is better."""
    measured, counts = run.figures[epoch], run.counts(epoch, held_out=False)
    grid = grid_best(counts)
    return {
        "dice_tuned of 100 rules": hundred_rules(counts),
        "(b) loss": -measured["loss"],
        "(c) dice_balanced": measured["dice_balanced"],
        "(d) D_all on tune's grid": grid["dice_all"],
        "(e) balanced on tune's grid": grid["balanced"],
        "(f) AUC and D_pos over thresholds": measured["auc_and_dice_pos"],
        "IoU of positives": measured["iou"],
        "AUC": measured["auc"],
    }


def hundred_rules(counts: LevelCounts) -> float:
    """The figure that chose until November 2026: the best D_all under 25 pairs of thresholds and four least areas."""
    scores = []
    for bottom, top, area in product((0.1, 0.2, 0.3, 0.4, 0.5), (0.2, 0.3, 0.5, 0.7, 0.8, 0.9), (1, 300, 1000, 2000)):
        if top >= bottom:
            kind = "triplet" if top > bottom else "min_area"
            pixels, hits = counts.predicted(DecisionRule(kind, bottom, (Level(top, area),)))
            scores.append(dice(hits, pixels, counts.truth_px).mean())
    return float(max(scores))


@dataclass(frozen=True)
class Outcome:
    """The held-out images of one training under one epoch and rule."""

    patient: NDArray[Any]
    positive: NDArray[np.bool_]
    called: NDArray[np.bool_]
    dice: Floats
    probability: Floats
    network: NDArray[np.int64]


def outcome(run: Stored, epoch: int, rule: DecisionRule | None) -> Outcome:
    """Decide the held-out images of a training; None marks nothing."""
    counts = run.counts(epoch, held_out=True)
    nothing = np.zeros(len(counts.truth_px), np.int64)
    pixels, hits = counts.predicted(rule) if rule else (nothing, nothing)
    patient = run.arrays["patient"][~run.arrays["validation"]]
    scores = dice(hits, pixels, counts.truth_px)
    network = np.zeros(len(scores), np.int64)
    return Outcome(patient, counts.truth_px > 0, pixels > 0, scores, counts.probability, network)


def pooled(parts: Sequence[Outcome]) -> Outcome:
    """The held-out images of several trainings, each of which holds out other patients."""
    parts = [dataclasses.replace(part, network=part.network + number) for number, part in enumerate(parts)]
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in Outcome.__dataclass_fields__)
    return Outcome(*columns)


def mean_auc(whole: Outcome) -> Callable[[NDArray[np.int64]], Floats]:
    """The mean of the networks' AUC, each among its own images: their probabilities have no common scale."""
    networks = [whole.network == number for number in np.unique(whole.network)]

    def function(weights: NDArray[np.int64]) -> Floats:
        parts = [weighted_auc(whole.probability[own], whole.positive[own], weights[:, own]) for own in networks]
        return np.asarray(np.mean(parts, axis=0))

    return function


def _bootstrap(whole: Outcome) -> PatientBootstrap:
    return PatientBootstrap(patient_codes(whole.patient.tolist()), REPLICATES, 0)


def describe(whole: Outcome) -> dict[str, tuple[float, float, float]]:
    """Every figure with its interval over patients."""
    ones, positive = np.ones(len(whole.dice)), whole.positive
    figures: Mapping[str, Ratio | Weighted] = {
        "D_all": Ratio.of(whole.dice, ones),
        "above all-empty": Ratio.of(whole.dice - ~positive, ones, bounded=False),
        "D_pos": Ratio.of(whole.dice * positive, positive),
        "sensitivity": Ratio.of(whole.called & positive, positive),
        "specificity": Ratio.of(~whole.called & ~positive, ~positive),
        "AUC": Weighted(mean_auc(whole), len(positive)),
    }
    return {
        name: (float(found.value or 0), float(found.low or 0), float(found.high or 0))
        for name, found in _bootstrap(whole).estimates(figures).items()
    }


def difference(first: Outcome, second: Outcome) -> tuple[float, float, float, float]:
    """D_all of the first minus D_all of the second, its interval and its p, paired by patient."""
    gain, bootstrap = first.dice - second.dice, _bootstrap(first)
    found = bootstrap.estimates({"gain": Ratio.of(gain, np.ones(len(gain)), bounded=False)})["gain"]
    sums = np.bincount(bootstrap.patients, weights=gain)
    sums = sums[np.abs(sums) > SAME]

    def statistic(flips: NDArray[np.bool_]) -> Floats:
        return np.abs(np.where(flips, -sums, sums).sum(axis=1))

    p = permutation_p(statistic, len(sums), bootstrap)
    return float(found.value or 0), float(found.low or 0), float(found.high or 0), p


def auc_difference(first: Outcome, second: Outcome) -> tuple[float, float, float, float]:
    """AUC of the first minus that of the second on the same images, its interval and its p, all over patients."""
    of_first, of_second, bootstrap = mean_auc(first), mean_auc(second), _bootstrap(first)
    every = np.ones((1, len(first.dice)), np.int64)
    value = float((of_first(every) - of_second(every))[0])
    replicates = bootstrap.statistic(lambda weights: of_first(weights) - of_second(weights))
    low, high = percentile_interval(replicates)
    tail = 1 + min(int((replicates <= 0).sum()), int((replicates >= 0).sum()))
    return value, low, high, min(1.0, 2 * tail / (1 + len(replicates)))


def _row(name: str, told: Mapping[str, tuple[float, float, float]], more: str = "") -> str:
    cells = (f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in told.values())
    return f"| {name} | {' | '.join(cells)} | {more} |"


def _gain(found: tuple[float, float, float, float], corrected: float) -> str:
    return f"{found[0]:+.3f} ({found[1]:+.3f} to {found[2]:+.3f}), p {corrected:.2f}"


def main(arguments: Sequence[str]) -> str:
    """The tables of the trainings whose files are named, one a seed."""
    runs = [Stored(Path(name)) for name in arguments]
    averaged = all(run.averaged for run in runs)
    rules = [[tuned(run.counts(epoch, held_out=False)) for epoch in range(len(run.figures))] for run in runs]
    figures = [[candidates(run, epoch) for epoch in range(run.epochs)] for run in runs]

    def worth(epochs: Sequence[int], kind: str) -> Outcome:
        of_seeds = zip(runs, epochs, rules, strict=True)
        return pooled([outcome(run, epoch, of_run[epoch][kind]) for run, epoch, of_run in of_seeds])

    def best(run: Stored, of_run: list[dict[str, DecisionRule]], kind: str) -> int:
        return int(np.argmax([outcome(run, epoch, of_run[epoch][kind]).dice.mean() for epoch in range(run.epochs)]))

    picks = {
        name: [int(np.argmax([figure[name] for figure in of_run])) for of_run in figures] for name in figures[0][0]
    }
    picks["(a) last epoch"] = [run.epochs - 1 for run in runs]
    if averaged:
        picks["(g) moving average, no choice"] = [run.epochs for run in runs]
    first, kind = next(iter(picks)), "dice_all steady"
    ceiling = [best(run, of_run, kind) for run, of_run in zip(runs, rules, strict=True)]
    return "\n".join(
        [
            *_epoch_table(runs, figures, rules, kind),
            f"\nWhich epoch, under the rule that tune takes; p of the difference from {first}, after Holm:\n",
            *_table({name: worth(epochs, kind) for name, epochs in picks.items()}, first, picks),
            _row("best epoch on the held-out images", describe(worth(ceiling, kind)), str([e + 1 for e in ceiling])),
            "\nWhich kind of rule, at the last epoch; p of the difference from the best cross-fitted one (Holm):\n",
            *_table({name: worth(picks["(a) last epoch"], name) for name in _first_come(rules)}, "dice_all best"),
        ]
    )


def _first_come(rules: list[list[dict[str, DecisionRule]]]) -> list[str]:
    names = list(rules[0][0])
    return ["dice_all best", *(name for name in names if name != "dice_all best")]


def _epoch_table(
    runs: Sequence[Stored], figures: list[list[dict[str, float]]], rules: list[list[dict[str, DecisionRule]]], kind: str
) -> list[str]:
    names = list(figures[0][0])
    lines = [
        f"| seed, epoch | {' | '.join(names)} | held out: D_all | D_pos | AUC | rule |",
        "|---" * (len(names) + 5) + "|",
    ]
    for run, of_run, of_rules in zip(runs, figures, rules, strict=True):
        for epoch in range(len(run.figures)):
            own = of_run[epoch].values() if epoch < run.epochs else [float("nan")] * len(names)
            told = describe(outcome(run, epoch, of_rules[epoch][kind]))
            held_out = " | ".join(f"{told[name][0]:.3f}" for name in ("D_all", "D_pos", "AUC"))
            label = f"{run.path.stem}, {epoch + 1 if epoch < run.epochs else 'average'}"
            shown = " | ".join(f"{value:.4f}" for value in own)
            lines.append(f"| {label} | {shown} | {held_out} | {of_rules[epoch][kind].describe()} |")
    return lines


def _table(ways: Mapping[str, Outcome], first: str, picks: Mapping[str, Sequence[int]] | None = None) -> list[str]:
    """Each way with its figures, and its paired difference from the first."""
    gains = {name: difference(one, ways[first]) for name, one in ways.items() if name != first}
    corrected = dict(zip(gains, holm([gain[3] for gain in gains.values()]), strict=True))
    head = [*describe(ways[first]), f"minus {first}", *(["epochs kept"] if picks else [])]
    lines = [f"| | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name, one in ways.items():
        more = [_gain(gains[name], corrected[name]) if name in gains else ""]
        more += [str([epoch + 1 for epoch in picks[name]])] if picks else []
        lines.append(_row(name, describe(one), " | ".join(more)))
    return lines
