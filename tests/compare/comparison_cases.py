"""Made-up experiments for tests of the comparison: rows as metrics/test_cases.csv has them, without a repository."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pneumoseg.compare.experiments import Experiment
from pneumoseg.evaluate.metrics.core import DICE_ALL
from pneumoseg.evaluate.result import Group, TestResult
from pneumoseg.rule.dice import dice
from pneumoseg.shared.lockfile import LockedStage
from pneumoseg.stats.bootstrap import Estimate
from pneumoseg.stats.margins import Margin

HOSTILE = "<script>alert('x')</script>\"&"
DATA = {
    "data/images": "1" * 32 + ".dir",
    "data/masks": "2" * 32 + ".dir",
    "data/metadata.csv": "3" * 32,
    "data/annotations.csv": "4" * 32,
}


def case_table(
    ids: Sequence[str],
    patients: Sequence[str],
    truth_px: Sequence[int],
    predicted_px: Sequence[int],
    intersection_px: Sequence[int],
    probability: Sequence[float] | None = None,
    phantom: int = 0,
) -> pd.DataFrame:
    """A table of test images, indexed by image_id, 100 x 100 px each."""
    frame = pd.DataFrame(
        {
            "patient": list(patients),
            "pneumothorax": [int(area > 0) for area in truth_px],
            "called": [int(area > 0) for area in predicted_px],
            "image_px": 10_000,
            "truth_px": list(truth_px),
            "predicted_px": list(predicted_px),
            "intersection_px": list(intersection_px),
            "dice": dice(intersection_px, predicted_px, truth_px),
            "lesion_size": ["" if not area else "small" if area < 200 else "large" for area in truth_px],
            "phantom": phantom,
        },
        index=pd.Index(list(ids), name="image_id"),
    )
    if probability is not None:
        frame["probability"] = list(probability)
    return frame.sort_index()


def result_of(cases: pd.DataFrame) -> TestResult:
    """test.json of these images, as far as a comparison needs it."""
    unknown = Margin(difference=None, interval=(None, None), verdict="unknown")
    mean = Estimate.of(round(float(cases["dice"].mean()), 6))
    return TestResult(
        figures={DICE_ALL.name: mean}, n=len(cases), beats_all_empty=unknown, beats_plain_05=unknown, plain_05=Group()
    )


def experiment(
    name: str,
    cases: pd.DataFrame,
    folds: dict[str, tuple[str, str]] | None = None,
    settings: dict[str, str] | None = None,
    folds_md5: str = "5" * 32,
    sha: str | None = None,
) -> Experiment:
    """An experiment with these test images; ``folds`` is image_id → (patient, fold)."""
    table = None
    if folds is not None:
        table = pd.DataFrame(
            [(image, *entry) for image, entry in folds.items()], columns=["image_id", "patient", "fold"]
        )
    curve = pd.DataFrame({"epoch": [1.0, 2.0], "val_dice_pos": [0.1, 0.4], "val_loss": [1.0, np.nan]})
    return Experiment(
        name=name,
        sha=sha or f"{len(name):02d}".ljust(40, "c"),
        test=result_of(cases),
        rule="mask: p > 0.5",
        cases=cases,
        settings=settings or {"model.encoder": '"resnet18"'},
        stages={
            "masks": LockedStage({}, {}, DATA),
            "train@0": LockedStage({}, {"data/splits/folds.csv": folds_md5, "src/pneumoseg/models": "6" * 32}, {}),
        },
        curves={0: curve},
        folds=table,
        doubts=(),
        unknowns=(),
    )


def random_cases(seed: int, images: int = 60, skill: float = 0.7, truth_seed: int = 0) -> pd.DataFrame:
    """Images of about half as many patients; the truth depends on ``truth_seed`` alone."""
    rng = np.random.default_rng(truth_seed)
    patients = [f"patient{number:03d}" for number in rng.integers(0, max(1, images // 2), images)]
    truth = np.where(rng.random(images) < 0.4, rng.integers(50, 900, images), 0)
    rng = np.random.default_rng([seed, 7])
    hit = np.clip(rng.normal(skill, 0.15, images), 0, 1)
    predicted = np.where(truth > 0, truth, np.where(rng.random(images) < 0.1, 40, 0))
    probability = np.clip((truth > 0) * skill * 0.6 + rng.random(images) * 0.5, 0, 1)
    return case_table(
        [f"image{number:03d}" for number in range(images)],
        patients,
        truth.tolist(),
        predicted.tolist(),
        (hit * truth).astype(int).tolist(),
        probability.round(9).tolist(),
    )
