"""Samples of two views: each augmented by itself, and the one from the side left out as often as is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumoseg.augment import Augmenter
from pneumoseg.config import parse_params
from pneumoseg.config.augment import AugmentParams
from pneumoseg.networks.family import Batch
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.train.dataset import TrainingSet
from pneumoseg.train.resume import Checkpoint
from pneumoseg.train.sampling import Sample
from pneumoseg.train.training import train_fold
from tests.train.disks import initial_weights, load, make_params, weights

FLIPPED = {"recipes": {"flip": [{"transform": "horizontal_flip", "probability": 0.5}]}, "online": "flip"}


@pytest.fixture(scope="module")
def images(disks: Layout, tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    """Twelve studies, each with the image of the next one as its view from the side; flips, each for itself."""
    names = [f"image{number:02d}" for number in range(12)]
    data = replace(load(disks, make_params()), laterals=dict(zip(names, names[1:] + names[:1], strict=True)))
    augmenter = Augmenter(AugmentParams.read(FLIPPED, "augment"))
    return TrainingSet(data, augmenter, tmp_path_factory.mktemp("arrays"), 0, False)


@pytest.fixture(scope="module")
def arrays(images: TrainingSet):
    return images.arrays(64)


def samples(epoch: int = 0, count: int = 12) -> list[Sample]:
    return [Sample(f"image{place % 12:02d}", "none", derive_seed(42, "main", epoch, place)) for place in range(count)]


def shown(images: TrainingSet, arrays, drawn: list[Sample]) -> list[Batch]:
    return list(images.labelled(arrays, 32).epoch([drawn[start : start + 4] for start in range(0, len(drawn), 4)]))


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.ids == other.ids
        assert all(torch.equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))


def without_view(batches: list[Batch]) -> list[bool]:
    return [not bool(study[1].any()) for batch in batches for study in batch.images]


def test_each_view_is_flipped_by_itself(images: TrainingSet, arrays) -> None:
    """The same image stands for both views: about a quarter each of neither, either and both are mirrored."""
    twice = replace(images, data=replace(images.data, laterals={name: name for name in images.data.laterals or {}}))
    mirrored = np.zeros((2, 2))
    for batch in twice.labelled(arrays, None).epoch([[sample] for sample in samples(count=400)]):
        image = arrays.image(batch.ids[0])
        front, beside = (np.array_equal(view, image[:, ::-1]) for view in batch.images[0].numpy())
        mirrored[int(front), int(beside)] += 1
    assert mirrored.sum() == 400
    assert np.abs(mirrored / 400 - 0.25).max() < 0.1


def test_a_sample_whose_view_is_left_out_is_one_of_a_study_that_has_none(images: TrainingSet, arrays) -> None:
    dropped = shown(replace(images, drop_view_share=1.0), arrays, samples())
    assert all(without_view(dropped))
    assert_same(dropped, shown(replace(images, data=replace(images.data, laterals={})), arrays, samples()))


def test_the_others_and_every_frontal_image_stay_as_they_are(images: TrainingSet, arrays) -> None:
    """Nothing else is drawn anew: a kept view has the same flip and the same crop as without the option."""
    whole, some = shown(images, arrays, samples()), shown(replace(images, drop_view_share=0.5), arrays, samples())
    gone = without_view(some)
    assert not any(without_view(whole))
    assert 0 < sum(gone) < 12
    before, after = (torch.cat([batch.images for batch in batches]) for batches in (whole, some))
    assert torch.equal(before[:, 0], after[:, 0])
    kept = ~torch.tensor(gone)
    assert torch.equal(before[kept, 1], after[kept, 1])


def test_about_the_share_is_left_out_anew_each_epoch_by_the_seed_alone(images: TrainingSet, arrays) -> None:
    quarter = replace(images, drop_view_share=0.25)
    first = without_view(shown(quarter, arrays, samples(count=1200)))
    assert abs(np.mean(first) - 0.25) < 4 * (0.25 * 0.75 / 1200) ** 0.5
    second = without_view(shown(quarter, arrays, samples(epoch=1, count=1200)))
    assert abs(np.mean(np.logical_and(first, second)) - 0.25**2) < 0.03  # who is left out twice: by chance alone
    torch.manual_seed(1)
    assert_same(shown(quarter, arrays, samples()), shown(quarter, arrays, samples()))


@pytest.mark.slow
def test_processes_that_load_change_nothing(images: TrainingSet, arrays) -> None:
    half = replace(images, drop_view_share=0.5)
    assert_same(shown(half, arrays, samples()), shown(replace(half, workers=2), arrays, samples()))


@pytest.mark.slow
@pytest.mark.parametrize(("share", "taught"), [(0.0, True), (0.999, False)])
def test_a_training_heeds_it(images: TrainingSet, share: float, taught: bool, tmp_path: Path) -> None:
    """Where every view is left out, nothing teaches the fused output, yet it is judged on studies that have both."""
    model = {"architecture": "two_view", "decoder_channels": None}
    params = make_params(phase={"epochs": 1}, model=model, drop_view_share=share, selection_metric="auc")
    resume = Checkpoint(tmp_path / "resume", 0.0)
    trained = train_fold(images.data, params, tmp_path / "arrays", resume, lambda *_: None)
    (row,) = trained.history
    assert np.isfinite(row["train_frontal_image_bce"])
    assert np.isfinite(row.get("train_fused_image_bce", np.nan)) == taught
    before = initial_weights(params)["fused_head.3.weight"]
    assert torch.equal(before, weights(trained)["fused_head.3.weight"]) != taught


@pytest.mark.parametrize("architecture", ["unet", "classifier", "mask_rcnn"])
def test_a_family_of_one_image_refuses_it(architecture: str, tmp_path: Path) -> None:
    content = {
        "model": {"architecture": architecture},
        "train": {"drop_view_share": 0.5, "loss": {"image": {"bce": 1}}},
    }
    with pytest.raises(ParameterError, match=rf"^params.yaml: train\.drop_view_share = 0\.5, but .* = {architecture}"):
        parse_params(content)
    with pytest.raises(ParameterError, match=r"train\.drop_view_share = 1\.0"):  # nothing would teach the fused output
        parse_params({"model": {"architecture": "two_view"}, "train": {"drop_view_share": 1.0}})
    assert parse_params({"model": {"architecture": "two_view"}, "train": {"drop_view_share": 0.5}})
