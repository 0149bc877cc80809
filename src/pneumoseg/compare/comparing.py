"""A comparison as a whole: everything that is told of some experiments on their common test images."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.compare.cautions import Caution, write_cautions
from pneumoseg.compare.configuration_rows import Row, code_rows, data_rows, parameter_rows
from pneumoseg.compare.differences import Difference, Scores, mean_difference, paired_differences
from pneumoseg.compare.experiments import Experiment, read_experiment
from pneumoseg.compare.pairing import Leak, Pairing, find_leaks, pair
from pneumoseg.evaluate.subgroups import SIZES
from pneumoseg.shared.errors import DataError
from pneumoseg.stats.bootstrap import UNKNOWN, Interval, PatientBootstrap
from pneumoseg.stats.figures import Figures, dice_ratios
from pneumoseg.stats.margins import margin_of
from pneumoseg.stats.permutations import SAME
from pneumoseg.stats.ranking import area_under_roc

Bools = NDArray[np.bool_]

#: Images on which an experiment and the reference differ most: so many are listed.
LISTED_IMAGES = 20
#: Of fewer patients the interval of a lesion size is not told: a bootstrap of so few is far too narrow.
MIN_PATIENTS = 10


@dataclass(frozen=True)
class Tally:
    """On how many images an experiment's Dice is higher than the reference's, the same, or lower."""

    images: str
    higher: int
    same: int
    lower: int


@dataclass(frozen=True)
class Calls:
    """On how many images a pixel is marked by both experiments, by one of them, or by none."""

    images: str
    both: int
    reference_only: int
    other_only: int
    none: int


@dataclass(frozen=True)
class ImagePair:
    """One image under two experiments."""

    image_id: str
    truth_px: int
    reference_dice: float
    dice: float

    @property
    def difference(self) -> float:
        """Dice minus that of the reference."""
        return self.dice - self.reference_dice


@dataclass(frozen=True)
class Against:
    """One experiment against the reference."""

    experiment: Experiment
    differences: dict[str, Difference]
    tallies: tuple[Tally, ...]
    calls: tuple[Calls, ...]
    most_different: tuple[ImagePair, ...]


@dataclass(frozen=True)
class SizeRow:
    """Dice of the images of one lesion size: of every experiment, and how far from the reference's the others' are."""

    size: str
    images: int
    patients: int
    dice: tuple[float, ...]
    differences: tuple[tuple[float, Interval], ...]  # no interval for fewer than MIN_PATIENTS


@dataclass(frozen=True)
class Comparison:
    """Everything that is told; ``scores``, ``figures`` and ``over_empty`` in the order of the experiments."""

    experiments: tuple[Experiment, ...]
    pairing: Pairing
    leaks: tuple[Leak, ...]
    cautions: tuple[Caution, ...]
    scores: tuple[Scores, ...]
    figures: tuple[Figures, ...]
    over_empty: tuple[str, ...]  # whether Dice over all images is better than marking nothing: margin_of's verdict
    against: tuple[Against, ...]
    sizes: tuple[SizeRow, ...]
    parameters: tuple[Row, ...]
    data: tuple[Row, ...]
    code: tuple[Row, ...]
    replicates: int
    seed: int

    @property
    def reference(self) -> Experiment:
        """The experiment that the others are compared with."""
        return self.experiments[0]


def compare(root: Path, names: Sequence[str], replicates: int, seed: int) -> Comparison:
    """Compare experiments on the test images that all of them have.

    Args:
        root: the repository.
        names: of two or more revisions, the reference first; see experiments.read_experiment.
        replicates: resamples of the patients, and permutations.
        seed: of both.

    Raises:
        DataError: a revision is named twice, cannot be read, or shares no test image with the others.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if len(names) < 2 or twice:
        what = f"{twice[0]} is named twice" if twice else "only one revision is named"
        raise DataError(f"{what}: name two or more different ones, the reference first")
    with tempfile.TemporaryDirectory(prefix="pneumoseg-compare-") as folder:
        experiments = tuple(read_experiment(root, name, Path(folder) / str(index)) for index, name in enumerate(names))
    return compare_experiments(experiments, replicates, seed)


def compare_experiments(experiments: Sequence[Experiment], replicates: int, seed: int) -> Comparison:
    """Compare experiments that were read; see compare."""
    pairing = pair(experiments)
    scores = tuple(_scores(item, pairing.ids) for item in experiments)
    bootstrap = PatientBootstrap(pairing.patients, replicates, seed)
    differences = paired_differences(scores, pairing.positive, bootstrap)
    leaks, data = tuple(find_leaks(experiments, pairing)), data_rows(experiments)
    empty = (~pairing.positive).astype(np.float64)
    return Comparison(
        experiments=tuple(experiments),
        pairing=pairing,
        leaks=leaks,
        cautions=write_cautions(experiments, pairing, leaks, data),
        scores=scores,
        figures=tuple(_figures(item, pairing.positive, bootstrap) for item in scores),
        over_empty=tuple(margin_of(item.dice, empty, bootstrap).verdict for item in scores),
        against=tuple(
            _against(experiment, differences[index], scores[0], scores[index + 1], pairing)
            for index, experiment in enumerate(experiments[1:])
        ),
        sizes=_sizes(experiments[0], scores, pairing, bootstrap),
        parameters=parameter_rows(experiments),
        data=data,
        code=code_rows(experiments),
        replicates=replicates,
        seed=seed,
    )


def _scores(experiment: Experiment, ids: Sequence[str]) -> Scores:
    rows = experiment.cases.loc[list(ids)]
    probability = rows["probability"].to_numpy(np.float64) if "probability" in rows.columns else None
    if probability is not None and not np.isfinite(probability).all():
        probability = None
    return Scores(rows["dice"].to_numpy(np.float64), rows["predicted_px"].to_numpy(np.int64) > 0, probability)


def _figures(scores: Scores, positive: Bools, bootstrap: PatientBootstrap) -> Figures:
    ratios = dice_ratios(positive.astype(np.float64), scores.called.astype(np.float64), scores.dice)
    figures = Figures().with_ratios(ratios, bootstrap)
    if scores.probability is None:
        return figures
    ranking = area_under_roc(scores.probability, positive)
    return figures.with_one("auc", ranking.value, bootstrap.interval(ranking))


def _against(
    experiment: Experiment, differences: dict[str, Difference], first: Scores, second: Scores, pairing: Pairing
) -> Against:
    groups = {
        "all images": np.ones_like(pairing.positive),
        "with pneumothorax": pairing.positive,
        "without pneumothorax": ~pairing.positive,
    }
    gain = second.dice - first.dice
    order = sorted(np.flatnonzero(np.abs(gain) > SAME), key=lambda place: (-abs(gain[place]), pairing.ids[place]))
    return Against(
        experiment=experiment,
        differences=differences,
        tallies=tuple(_tally(name, gain[chosen]) for name, chosen in groups.items()),
        calls=tuple(
            _calls(name, first.called[chosen], second.called[chosen])
            for name, chosen in groups.items()
            if name != "all images"
        ),
        most_different=tuple(
            ImagePair(
                pairing.ids[place], int(pairing.truth_px[place]), float(first.dice[place]), float(second.dice[place])
            )
            for place in order[:LISTED_IMAGES]
        ),
    )


def _tally(name: str, gain: NDArray[np.float64]) -> Tally:
    higher, lower = int((gain > SAME).sum()), int((gain < -SAME).sum())
    return Tally(name, higher, len(gain) - higher - lower, lower)


def _calls(name: str, first: Bools, second: Bools) -> Calls:
    return Calls(
        name,
        both=int((first & second).sum()),
        reference_only=int((first & ~second).sum()),
        other_only=int((~first & second).sum()),
        none=int((~first & ~second).sum()),
    )


def _sizes(
    reference: Experiment, scores: Sequence[Scores], pairing: Pairing, bootstrap: PatientBootstrap
) -> tuple[SizeRow, ...]:
    """By lesion size as the reference's table has it; described, not tested."""
    sizes = reference.cases.loc[list(pairing.ids), "lesion_size"].to_numpy()
    rows = []
    for size in SIZES:
        chosen = sizes == size
        if not chosen.any():
            continue
        part = bootstrap.subset(chosen)
        everyone = np.ones(int(chosen.sum()), np.bool_)
        measured = [mean_difference((item.dice - scores[0].dice)[chosen], everyone, part) for item in scores[1:]]
        patients = pairing.patients_of(chosen)
        rows.append(
            SizeRow(
                size=size,
                images=int(chosen.sum()),
                patients=patients,
                dice=tuple(float(item.dice[chosen].mean()) for item in scores),
                differences=tuple(
                    (item.value, item.interval if patients >= MIN_PATIENTS else UNKNOWN) for item in measured
                ),
            )
        )
    return tuple(rows)
