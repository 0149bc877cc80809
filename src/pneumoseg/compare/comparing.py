"""A comparison as a whole: everything that is told of some experiments on their common test images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.compare.cautions import Caution, write_cautions
from pneumoseg.compare.configuration_rows import Row, code_rows, data_rows, parameter_rows
from pneumoseg.compare.costs import Cost, read_costs
from pneumoseg.compare.differences import Difference, measure, paired_differences
from pneumoseg.compare.experiments import Experiment, read_experiment
from pneumoseg.compare.overlay_pairs import Pairs, draw_pairs
from pneumoseg.compare.pairing import Leak, Pairing, find_leaks, pair
from pneumoseg.config import read_yaml
from pneumoseg.config.tracking import TrackingParams
from pneumoseg.evaluate.metric import Metric, column, estimate, of_masks
from pneumoseg.evaluate.metrics.core import DICE_ALL
from pneumoseg.evaluate.metrics.image_ranking import AUC
from pneumoseg.evaluate.subgroups import SIZES
from pneumoseg.report.headline import headline_metrics
from pneumoseg.shared.errors import DataError
from pneumoseg.stats.bootstrap import UNKNOWN, Estimate, Interval, PatientBootstrap
from pneumoseg.stats.margins import margin_of
from pneumoseg.stats.permutations import SAME

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
    """How many images are called positive by both experiments, by one of them, or by none."""

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
    """Everything that is told; ``rows``, ``figures`` and ``over_empty`` in the order of the experiments.

    ``metrics`` are the figures that any experiment gives on the common images; ``rows`` those images in their order.
    """

    experiments: tuple[Experiment, ...]
    pairing: Pairing
    leaks: tuple[Leak, ...]
    cautions: tuple[Caution, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[pd.DataFrame, ...]
    figures: tuple[dict[str, Estimate], ...]
    over_empty: tuple[str, ...]  # whether Dice over all images is better than marking nothing: margin_of's verdict
    against: tuple[Against, ...]
    sizes: tuple[SizeRow, ...]
    parameters: tuple[Row, ...]
    data: tuple[Row, ...]
    code: tuple[Row, ...]
    replicates: int
    seed: int
    costs: tuple[Cost, ...] = ()  # of each experiment, where MLflow was asked
    pictures: tuple[Pairs, ...] = ()  # of each of ``against``

    @property
    def reference(self) -> Experiment:
        """The experiment that the others are compared with."""
        return self.experiments[0]

    @property
    def deciding(self) -> str:
        """The figure to decide by: Dice over all images, or AUC where an experiment gives no map."""
        every = all(figures.get(DICE_ALL.name, Estimate()).value is not None for figures in self.figures)
        return DICE_ALL.name if every else AUC.name

    @property
    def masks(self) -> bool:
        """Whether every experiment marks pixels."""
        return self.deciding == DICE_ALL.name


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
        comparison = compare_experiments(experiments, replicates, seed)
        ids = [[image.image_id for image in item.most_different] for item in comparison.against]
        pictures = tuple(draw_pairs(root, Path(folder), experiments, comparison.rows, ids))
    tracking = TrackingParams.read(read_yaml(root / "params.yaml").get("tracking", {}), "params.yaml")
    costs = read_costs(root, tracking, [item.train_keys for item in experiments])
    return replace(comparison, costs=tuple(costs), pictures=pictures)


def compare_experiments(experiments: Sequence[Experiment], replicates: int, seed: int) -> Comparison:
    """Compare experiments that were read; see compare."""
    pairing = pair(experiments)
    rows = tuple(item.cases.loc[list(pairing.ids)] for item in experiments)
    bootstrap = PatientBootstrap(pairing.patients, replicates, seed)
    figures = tuple(_figures(item, bootstrap) for item in rows)
    metrics = tuple(
        metric
        for metric in headline_metrics()
        if any(metric.name in item and item[metric.name].value is not None for item in figures)
    )
    compared = [metric for metric in metrics if all(metric.name in item for item in figures)]
    differences = paired_differences(rows, compared, bootstrap)
    leaks, data = tuple(find_leaks(experiments, pairing)), data_rows(experiments)
    empty = (~pairing.positive).astype(np.float64)
    return Comparison(
        experiments=tuple(experiments),
        pairing=pairing,
        leaks=leaks,
        cautions=write_cautions(experiments, pairing, leaks, data),
        metrics=metrics,
        rows=rows,
        figures=figures,
        over_empty=tuple(margin_of(of_masks(item, "dice"), empty, bootstrap).verdict for item in rows),
        against=tuple(
            _against(experiment, differences[index], rows[0], rows[index + 1], pairing)
            for index, experiment in enumerate(experiments[1:])
        ),
        sizes=tuple(_sizes(rows, pairing, bootstrap)),
        parameters=parameter_rows(experiments),
        data=data,
        code=code_rows(experiments),
        replicates=replicates,
        seed=seed,
    )


def _figures(rows: pd.DataFrame, bootstrap: PatientBootstrap) -> dict[str, Estimate]:
    """The headline figures of an experiment; without those that its table has no columns for."""
    found: dict[str, Estimate] = {}
    for metric in headline_metrics():
        try:
            found |= estimate([metric], rows, bootstrap)
        except KeyError:
            continue
    return found


def _against(
    experiment: Experiment,
    differences: dict[str, Difference],
    first: pd.DataFrame,
    second: pd.DataFrame,
    pairing: Pairing,
) -> Against:
    groups = {
        "all images": np.ones_like(pairing.positive),
        "with pneumothorax": pairing.positive,
        "without pneumothorax": ~pairing.positive,
    }
    dice, other = of_masks(first, "dice"), of_masks(second, "dice")
    gain = other - dice
    order = sorted(np.flatnonzero(np.abs(gain) > SAME), key=lambda place: (-abs(gain[place]), pairing.ids[place]))
    called, other_called = (column(rows, "called") > 0 for rows in (first, second))
    return Against(
        experiment=experiment,
        differences=differences,
        tallies=tuple(_tally(name, gain[chosen & np.isfinite(gain)]) for name, chosen in groups.items()),
        calls=tuple(
            _calls(name, called[groups[name]], other_called[groups[name]])
            for name in ("with pneumothorax", "without pneumothorax")
        ),
        most_different=tuple(
            ImagePair(pairing.ids[place], int(pairing.truth_px[place]), float(dice[place]), float(other[place]))
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


def _sizes(rows: Sequence[pd.DataFrame], pairing: Pairing, bootstrap: PatientBootstrap) -> Iterator[SizeRow]:
    """By lesion size as the reference's table has it; described, not tested."""
    sizes = rows[0]["lesion_size"].to_numpy()
    for size in SIZES:
        chosen = sizes == size
        if not chosen.any() or not all(np.isfinite(column(item, "dice")[chosen]).all() for item in rows):
            continue
        part = bootstrap.subset(chosen)
        measured = [measure(DICE_ALL, rows[0][chosen], item[chosen], part) for item in rows[1:]]
        patients = pairing.patients_of(chosen)
        yield SizeRow(
            size=size,
            images=int(chosen.sum()),
            patients=patients,
            dice=tuple(float(column(item, "dice")[chosen].mean()) for item in rows),
            differences=tuple(
                (item.value, item.interval if patients >= MIN_PATIENTS else UNKNOWN) for item in measured
            ),
        )
