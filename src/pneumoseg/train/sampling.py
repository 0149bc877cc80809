"""Which images an epoch shows, and in which order: a pure function of seed, phase and epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pneumoseg.config.train import PhaseParams, PositiveShare, TrainParams
from pneumoseg.shared.errors import TrainingError
from pneumoseg.shared.seeds import derive_seed


@dataclass(frozen=True)
class Sample:
    """One training example: an image, its named augmentation and the seed that fixes what that does."""

    image_id: str
    augmentation: str
    seed: int


def share_at(share: float | PositiveShare, epoch: int, epochs: int) -> float:
    """The positive share of an epoch (counted from 0) of a phase."""
    if isinstance(share, float):
        return share
    progress = epoch / (epochs - 1) if epochs > 1 else 0.0
    return share.start + progress * (share.end - share.start)


def epoch_samples(manifest: pd.DataFrame, phase: PhaseParams, epoch: int, seed: int) -> list[Sample]:
    """The samples of an epoch in their order.

    With ``positive_share: null`` the manifest as it is, shuffled. With a share, all original positives and as many
    original negatives as give it, drawn anew each epoch (without replacement while they suffice; after the first
    place's sampler, which draws with replacement).

    Args:
        manifest: data/splits/train_fold<k>.csv.
        phase: the phase of training.
        epoch: from 0 within the phase.
        seed: train.seed.
    """
    chooser = np.random.default_rng(derive_seed(seed, phase.name, epoch, "order"))
    if phase.positive_share is None:
        ids = manifest["image_id"].tolist()
        augmentations = manifest["augmentation"].tolist()
    else:
        share = share_at(phase.positive_share, epoch, phase.epochs)
        originals = manifest[manifest["copy"] == 0]
        positives = originals.loc[originals["pneumothorax"] == 1, "image_id"].tolist()
        negatives = originals.loc[originals["pneumothorax"] == 0, "image_id"].tolist()
        ids = positives + _draw(negatives, round(len(positives) * (1 - share) / share), chooser)
        augmentations = ["none"] * len(ids)
    order = chooser.permutation(len(ids))
    return [
        Sample(ids[row], augmentations[row], derive_seed(seed, phase.name, epoch, position))
        for position, row in enumerate(order)
    ]


def with_label_only(
    samples: Sequence[Sample], label_only: pd.DataFrame, params: TrainParams, phase: PhaseParams, epoch: int
) -> list[Sample]:
    """Fill each batch up with images that have a label alone: passes over them, one after the other.

    Args:
        samples: of the epoch, whose masks are known.
        label_only: rows of the manifest, at least one; each pass takes them as epoch_samples does.
        params: section train; ``label_only_images`` of ``batch_size`` images are such.
        phase: the phase of training.
        epoch: from 0 within the phase.

    Raises:
        TrainingError: the phase draws by positives, of which the rows have none.
    """
    extra = params.label_only_images
    own = params.batch_size - extra
    chunks = [samples[start : start + own] for start in range(0, len(samples), own)]
    drawn: list[Sample] = []
    while len(drawn) < extra * len(chunks):
        more = epoch_samples(label_only, phase, epoch, derive_seed(params.seed, "label only", len(drawn)))
        if not more:
            raise TrainingError(
                f"phase {phase.name}: positive_share draws from positives, but every image with a label alone is "
                "negative; set it, or train.label_only_share, to null"
            )
        drawn += more
    return [
        sample
        for number, chunk in enumerate(chunks)
        for sample in (*chunk, *drawn[number * extra : (number + 1) * extra])
    ]


def steps(
    samples: Sequence[Sample], batch_size: int, accumulate: int, rank: int, world_size: int
) -> Iterator[list[list[Sample]]]:
    """This process's share of each optimiser step: the batches whose gradients are added.

    What does not fill a last step is left out (batch norm needs full batches, and each step the same weight), unless
    the epoch is too small for one.

    Args:
        samples: of the epoch, the same list in every process.
        batch_size: of all processes together, a multiple of world_size.
        accumulate: batches a step.
        rank: of this process.
        world_size: the number of processes.
    """
    size = max(world_size, min(batch_size, len(samples) - len(samples) % world_size))
    starts = range(0, len(samples) - size + 1, size)
    full = max(len(starts) - len(starts) % accumulate, min(len(starts), accumulate))
    for group in range(0, full, accumulate):
        yield [list(samples[start + rank : start + size : world_size]) for start in starts[group : group + accumulate]]


def _draw(items: list[str], count: int, chooser: np.random.Generator) -> list[str]:
    if count == 0 or not items:
        return []
    return [items[row] for row in chooser.choice(len(items), count, replace=count > len(items))]
