"""The balanced manifest: its counts, and that augmentation does not give the label away."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score, roc_auc_score

from pneumoseg.split.manifest import copies_needed, label_given_away, training_manifest
from tests.split.split_cases import split_params


def pool(positives: int, negatives: int) -> pd.DataFrame:
    label = [1] * positives + [0] * negatives
    return pd.DataFrame({"image_id": [f"i{number:04}" for number in range(len(label))], "pneumothorax": label})


def test_by_hand():
    """3 positives and 9 negatives at 1:1: 6 copies, two for each positive; 2 recipes, three times each."""
    manifest = training_manifest(pool(3, 9), split_params(augmentations=["gamma", "clahe"]), 0)
    positives = manifest[manifest["pneumothorax"] == 1]
    assert Counter(positives["image_id"]) == {"i0000": 3, "i0001": 3, "i0002": 3}
    assert positives["copy"].tolist() == [0, 1, 2] * 3
    assert (positives["augmentation"][positives["copy"] == 0] == "none").all()
    for _, copies in positives[positives["copy"] > 0].groupby("image_id"):
        assert set(copies["augmentation"]) == {"gamma", "clahe"}
    negatives = manifest[manifest["pneumothorax"] == 0]
    assert len(negatives) == 9
    assert (negatives["copy"] == 0).all()
    assert Counter(negatives["augmentation"]) == {"none": 3, "gamma": 3, "clahe": 3}
    assert manifest["image_id"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("positives", "negatives", "share", "copies"),
    [
        (10, 90, 0.5, 80),
        (10, 90, 0.25, 20),
        (10, 90, 0.8, 350),
        (10, 90, 0.1, 0),
        (50, 50, 0.2, 0),  # more than the share already
        (10, 90, None, 0),
        (7, 10, 0.6, 8),
    ],
)
def test_copies_reach_the_share(positives, negatives, share, copies):
    assert copies_needed(positives, negatives, share) == copies
    manifest = training_manifest(pool(positives, negatives), split_params(positive_share=share), 0)
    assert len(manifest) == positives + negatives + copies
    if copies:
        assert manifest["pneumothorax"].mean() == pytest.approx(share, abs=1e-9)
    else:
        assert set(manifest["augmentation"]) == {"none"}


def test_reference_project_leaves_negatives_alone():
    manifest = training_manifest(pool(20, 70), split_params(augment_negatives=False), 0)
    assert set(manifest["augmentation"][manifest["pneumothorax"] == 0]) == {"none"}
    assert (manifest["pneumothorax"] == 1).sum() == 70


def test_a_model_that_sees_only_the_augmentation_cannot_tell_the_label():
    """At SIIM-ACR's size: 2,669 of 12,047 positive."""
    images = pool(2669, 9378)
    fair = training_manifest(images, split_params(), 0)
    told = training_manifest(images, split_params(augment_negatives=False), 0)

    def score(manifest: pd.DataFrame) -> float:
        """Area under the curve, on one half, of label frequencies learned on the other half of the rows."""
        mixed = manifest.sample(frac=1, random_state=0)
        learn, check = mixed.iloc[::2], mixed.iloc[1::2]
        rate = learn.groupby("augmentation")["pneumothorax"].mean()
        return roc_auc_score(check["pneumothorax"], check["augmentation"].map(rate))

    assert abs(score(fair) - 0.5) < 0.02
    assert score(told) > 0.8
    assert label_given_away(fair) == pytest.approx((0.0, 0.5), abs=1e-12)
    assert label_given_away(told)[0] > 0.4
    table = pd.crosstab(fair["augmentation"], fair["pneumothorax"])
    assert (table[0] == table[1]).all()


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(
    positives=st.integers(1, 60),
    negatives=st.integers(1, 200),
    share=st.floats(0.05, 0.9),
    weights=st.dictionaries(
        st.sampled_from(["none", "gamma", "clahe", "elastic", "affine_noise"]), st.floats(0.1, 9), min_size=1
    ),
    seed=st.integers(0, 2**32),
)
def test_any_pool(positives, negatives, share, weights, seed):
    params = split_params(positive_share=share, augmentations=weights, seed=seed)
    images = pool(positives, negatives)
    manifest = training_manifest(images, params, 1)
    assert not manifest.duplicated(["image_id", "copy"]).any()
    assert set(manifest["image_id"]) == set(images["image_id"])
    rows = manifest["pneumothorax"].value_counts()
    assert rows[0] == negatives
    # Copies differ by at most one between positives, recipes by at most one from their weight.
    per_image = manifest[manifest["pneumothorax"] == 1]["image_id"].value_counts()
    assert per_image.max() - per_image.min() <= 1
    copies = manifest[manifest["copy"] > 0]["augmentation"]
    for name, weight in weights.items():
        assert abs((copies == name).sum() - len(copies) * weight / sum(weights.values())) <= 1.0001
    # Each negative's augmentation is within one row of the positives' distribution.
    shares = pd.crosstab(manifest["augmentation"], manifest["pneumothorax"], normalize="columns")
    assert np.abs(shares[0] - shares[1]).max() <= 1 / negatives + 1e-9
    shuffled = training_manifest(images.sample(frac=1, random_state=1), params, 1)
    pd.testing.assert_frame_equal(shuffled, manifest)


def test_copies_of_an_image_differ_until_recipes_run_out():
    manifest = training_manifest(pool(10, 130), split_params(), 0)
    for _, copies in manifest[manifest["copy"] > 0].groupby("image_id"):
        assert copies["augmentation"].nunique() == len(copies) == 12


def test_seed_and_fold_change_the_draw():
    images = pool(20, 90)
    tables = [training_manifest(images, split_params(seed=seed), fold) for seed, fold in ((1, 0), (2, 0), (1, 1))]
    assert len({tuple(table["augmentation"]) for table in tables}) == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 1)), min_size=2, max_size=80))
def test_what_augmentation_tells_against_scikit_learn(pairs):
    table = pd.DataFrame(pairs, columns=["augmentation", "pneumothorax"])
    information, area = label_given_away(table)
    expected = mutual_info_score(table["augmentation"], table["pneumothorax"]) / np.log(2)
    assert information == pytest.approx(expected, abs=1e-9)
    if table["pneumothorax"].nunique() == 2:
        rate = table.groupby("augmentation")["pneumothorax"].mean()
        assert area == pytest.approx(roc_auc_score(table["pneumothorax"], table["augmentation"].map(rate)))
    else:
        assert area == 0.5
