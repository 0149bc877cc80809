"""Training images of a fold, balanced by copies whose augmentation does not give the label away."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from pneumoseg.config.augment import NONE
from pneumoseg.config.split import SplitParams


def training_manifest(pool: pd.DataFrame, params: SplitParams, fold: int) -> pd.DataFrame:
    """Balance the training images of one fold.

    Every image is there once (copy 0). Positives get further copies (1, 2, …), spread evenly over images and, by
    their weights, over split.augmentations, until they are split.positive_share of the rows; an image meets each
    augmentation once before it meets one twice. With split.augment_negatives the negatives, one row each as before,
    are given the augmentations (``none`` among them) in the proportions that positives have.

    Args:
        pool: with columns image_id and pneumothorax (0 or 1): annotated images outside this fold and the test set.
        params: section split.
        fold: seeds the draw, so that folds differ.

    Returns:
        Columns image_id, pneumothorax, augmentation, copy; sorted by image_id and copy.
    """
    numbers = np.random.default_rng([params.seed, fold])
    images = sorted(pool.loc[pool["pneumothorax"] == 1, "image_id"])
    negatives = sorted(pool.loc[pool["pneumothorax"] == 0, "image_id"])
    rows = [(image, 1, NONE, 0) for image in images]
    missing = copies_needed(len(images), len(negatives), params.positive_share)
    names = _round_robin(params.augmentations, missing, numbers)
    done = 0
    for rank, index in enumerate(numbers.permutation(len(images))):
        for copy in range(1, missing // len(images) + (rank < missing % len(images)) + 1):
            rows.append((images[index], 1, names[done], copy))
            done += 1
    given = [NONE] * len(negatives)
    if params.augment_negatives:
        given = _same_distribution([name for _, _, name, _ in rows], len(negatives))
    for index, name in zip(numbers.permutation(len(negatives)), given, strict=True):
        rows.append((negatives[index], 0, name, 0))
    frame = pd.DataFrame(rows, columns=["image_id", "pneumothorax", "augmentation", "copy"])
    return frame.sort_values(["image_id", "copy"], ignore_index=True)


def copies_needed(positives: int, negatives: int, share: float | None) -> int:
    """Copies that make positives ``share`` of all rows: 0 where they are that or more already, or share is None."""
    if share is None:
        return 0
    return max(0, round(negatives * share / (1 - share)) - positives)


def _round_robin(weights: dict[str, float], count: int, numbers: np.random.Generator) -> list[str]:
    """Names in turn, each as often as its weight says (to within one) up to any point; with equal weights a cycle.

    Source: R. Tijdeman, The chairman assignment problem, Discrete Mathematics 32 (1980): of the names that are behind
    enough, the one that must come soonest.
    """
    names = [sorted(weights)[index] for index in numbers.permutation(len(weights))]
    total = math.fsum(weights.values())
    shares = np.array([weights[name] / total for name in names])
    slack = 1 / (2 * max(len(names) - 1, 1))
    behind = np.zeros(len(names))
    sequence = []
    for _ in range(count):
        behind += shares
        due = np.where(behind.round(9) >= round(slack, 9), (1 - slack - behind) / shares, np.inf)
        chosen = int(due.round(9).argmin())
        behind[chosen] -= 1
        sequence.append(names[chosen])
    return sequence


def _same_distribution(names: list[str], count: int) -> list[str]:
    """``count`` names in the proportions of ``names``, by largest remainder, sorted."""
    observed = pd.Series(names, dtype="str").value_counts().sort_index()
    quota = observed * count / len(names)
    whole = (quota + 1e-9).floordiv(1).astype("int64")
    rest = (quota - whole).round(9).sort_values(ascending=False, kind="stable").index[: count - int(whole.sum())]
    whole[rest] += 1
    return [str(name) for name in np.repeat(whole.index.to_numpy(), whole.to_numpy())]


def label_given_away(manifest: pd.DataFrame) -> tuple[float, float]:
    """What the augmentation alone tells about the label.

    Returns:
        Mutual information of augmentation and label in bits (0: nothing), and the area under the ROC curve of the
        best rule that sees only the augmentation (0.5: nothing).
    """
    table = pd.crosstab(manifest["augmentation"], manifest["pneumothorax"]).reindex(columns=[0, 1], fill_value=0)
    joint = table.to_numpy(np.float64) / len(manifest)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0
    information = float((joint[some] * np.log2(joint[some] / independent[some])).sum())
    negative, positive = joint.T
    if negative.sum() == 0 or positive.sum() == 0:
        return max(information, 0.0), 0.5
    order = np.argsort(-positive / (positive + negative), kind="stable")
    hits = np.concatenate([[0.0], np.cumsum(positive[order])]) / positive.sum()
    alarms = np.concatenate([[0.0], np.cumsum(negative[order])]) / negative.sum()
    return max(information, 0.0), float(np.trapezoid(hits, alarms))
