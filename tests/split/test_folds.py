"""Folds: patients stay together, labels are spread evenly, the order of rows changes nothing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.model_selection import StratifiedGroupKFold

from pneumoseg.shared.errors import DataError
from pneumoseg.split.allocation import allocate
from pneumoseg.split.folds import EXCLUDED, _labels, make_folds, read_test_list
from pneumoseg.split.split_figures import leak
from tests.split.split_cases import augment_params, random_images, split_params


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    folds=st.integers(2, 5),
    extra=st.integers(0, 40),
    crowd=st.integers(0, 60),
    positives=st.integers(0, 8),
    fraction=st.sampled_from([0.05, 0.2, 0.5]),
    seed=st.integers(0, 2**32),
)
def test_no_patient_in_two_parts_and_every_image_in_one(folds, extra, crowd, positives, fraction, seed):
    patients = 2 * folds + 2 + extra
    images = random_images(patients + crowd, folds + 1 + min(positives, extra), patients, seed)
    params = split_params(folds=folds, test_fraction=fraction, train_folds=[0], seed=seed)
    fold = make_folds(images, params, None)
    assert set(fold) == {"test", *map(str, range(folds))}
    assert (images.groupby("patient")["image_id"].count() > 0).all()
    assert (fold.groupby(images["patient"]).nunique() == 1).all()
    assert (images.groupby(fold.to_numpy())["pneumothorax"].nunique() == 2).all()
    shuffled = images.sample(frac=1, random_state=seed % 1000)
    pd.testing.assert_series_equal(make_folds(shuffled, params, None).sort_index(), fold.sort_index())


def test_shares_and_strata_are_even():
    images = random_images(3000, 660, 1700, 1)
    fold = make_folds(images, split_params(folds=5, test_fraction=0.15, train_folds=[0]), None)
    positive, bins = images["pneumothorax"] == 1, pd.qcut(images.loc[images["pneumothorax"] == 1, "area_fraction"], 4)
    for name, inside in images.groupby(fold):
        share = 0.15 if name == "test" else 0.17
        assert len(inside) == pytest.approx(3000 * share, abs=2)
        assert inside["pneumothorax"].sum() == pytest.approx(660 * share, abs=2)
        assert inside["view_position"].eq("AP").sum() == pytest.approx(
            images["view_position"].eq("AP").sum() * share, abs=3
        )
        areas = bins[positive & (fold == name)].value_counts()
        assert areas.to_numpy() == pytest.approx(165 * share, abs=3)
        assert inside["patient"].nunique() == pytest.approx(1700 * share, rel=0.08)


def test_as_even_as_scikit_learn():
    """Five equal parts against StratifiedGroupKFold: the worst label, relative to its target, is no worse."""
    images = random_images(2000, 440, 1100, 3)
    labels = _labels(images, 4, 5)
    groups, names = pd.factorize(images["patient"])
    counts = np.zeros((len(names), labels.shape[1]), np.int64)
    np.add.at(counts, groups, labels)
    ours = allocate(counts, np.full(5, 0.2), 2, np.random.default_rng(0))[groups]
    theirs = np.zeros(len(images), int)
    strata = pd.factorize(pd.Series(map(tuple, labels.tolist())))[0]
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for number, (_, chosen) in enumerate(splitter.split(images, strata, groups)):
        theirs[chosen] = number

    def worst(parts: np.ndarray) -> float:
        table = np.array([labels[parts == part].sum(axis=0) for part in range(5)])
        return float(np.abs(table - labels.sum(axis=0) / 5).max())

    assert worst(ours) <= worst(theirs) + 1


def test_seeds_give_other_folds():
    """StratifiedGroupKFold's order by exact size leaves 90 % of positives where they were, whatever the seed."""
    images = random_images(3000, 660, 900, 1)
    first, second = (make_folds(images, split_params(seed=seed), None) == "test" for seed in (1, 2))
    positive = images["pneumothorax"] == 1
    assert (first & second & positive).sum() / (first & positive).sum() < 0.4


def test_allocation_by_hand():
    """Four groups of 4, 2, 1 and 1 images, all with one label, into halves: 4 | 2 + 1 + 1."""
    counts = np.array([[2], [4], [1], [1]])
    for seed in range(5):
        parts = allocate(counts, np.array([0.5, 0.5]), 0, np.random.default_rng(seed))
        assert parts[0] == parts[2] == parts[3] != parts[1]


@pytest.mark.parametrize("seed", range(20))
def test_tiny_sets_have_positives_everywhere(seed):
    """24 images, 5 patients with a pneumothorax, 4 folds and a test set: one for each."""
    images = random_images(24, 5, 18, seed)
    fold = make_folds(images, split_params(folds=4, seed=seed), None)
    assert images.groupby(fold)["pneumothorax"].sum().tolist() == [1] * 5


@pytest.mark.parametrize(
    ("positives", "folds", "message"),
    [
        (4, 4, "split.folds = 4 and a test set needs 5 patients with a pneumothorax, one for each, but there are 4"),
        (4, 4, "; lower split.folds to 3"),
        (1, 3, "but there is 1; annotate more patients"),
        (22, 3, "needs 4 patients with an image without pneumothorax, one for each, but there are 2"),
    ],
)
def test_too_few_patients_say_what_to_lower(positives, folds, message):
    with pytest.raises(DataError) as caught:
        make_folds(random_images(24, positives, 24, 0), split_params(folds=folds), None)
    assert message in str(caught.value)


def test_areas_that_are_all_the_same_and_unknown_views():
    images = random_images(60, 20, 50, 0).assign(
        area_fraction=lambda frame: frame["pneumothorax"] * 0.01, view_position=""
    )
    fold = make_folds(images, split_params(), None)
    assert images.groupby(fold)["pneumothorax"].sum().max() <= 6


def test_a_listed_test_set_is_kept_as_it_is():
    """Images that share a patient with a listed one belong to no part."""
    images = random_images(200, 60, 120, 2)
    listed = set(images["image_id"].iloc[::9])
    fold = make_folds(images, split_params(test_list="x"), listed)
    assert set(images["image_id"][fold == "test"]) == listed
    patients = set(images["patient"][fold == "test"])
    out = fold == EXCLUDED
    assert out.any()
    assert set(images.index[out]) == set(
        images.index[images["patient"].isin(patients) & ~images["image_id"].isin(listed)]
    )
    assert leak(images, fold) == {"images": 0.0, "positives": 0.0}
    folds = fold[~fold.isin(["test", EXCLUDED])]
    assert folds.value_counts().max() - folds.value_counts().min() <= 1


@pytest.mark.parametrize("text", ["a\nb\n", "image_id\na\nb\n", "\ufeffImageId,EncodedPixels\r\na,-1\r\n\r\nb,-1\r\n"])
def test_test_list_forms(tmp_path, text):
    (tmp_path / "list.txt").write_bytes(text.encode())
    assert read_test_list(tmp_path / "list.txt", {"a", "b", "c"}, {"a", "b", "c"}) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nq\n", "names q, which is not in metadata.csv; correct the id"),
        ("a\nu\n", "names u, which is not annotated; drop it from the list"),
        ("a\na\n", "names a twice; keep one line"),
        ("image_id\n", "names no image; write one image id a line"),
    ],
)
def test_test_lists_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_test_list(tmp_path / "list.txt", {"a"}, {"a", "u"})
    with pytest.raises(DataError, match="cannot be read"):
        read_test_list(tmp_path / "absent.txt", {"a"}, {"a"})


def test_leak_by_hand():
    """Patient p is in folds 0 and 1 (three images, one positive), q in one fold, r in the test set and in no part."""
    images = pd.DataFrame({"patient": list("pppqqrr"), "pneumothorax": [1, 0, 0, 1, 0, 1, 1]})
    fold = pd.Series(["0", "0", "1", "1", "1", "test", EXCLUDED])
    assert leak(images, fold) == {"images": 3 / 6, "positives": 1 / 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_fraction": None, "test_list": None}, "both are null; give exactly one of them"),
        ({"test_fraction": 0.2, "test_list": "x.txt"}, "both are given; give exactly one of them"),
        ({"test_fraction": 0.0}, "greater than 0"),
        ({"test_fraction": 1.0}, "less than 1"),
        ({"folds": 1}, "greater than or equal to 2"),
        ({"train_folds": [3]}, "give each fold once, from 0 to folds - 1 = 2"),
        ({"train_folds": [0, 0]}, "give each fold once"),
        ({"positive_share": 1.0}, "less than 1"),
        ({"augmentations": []}, "augmentations is empty, but positive_share = 0.5 needs copies"),
        ({"augmentations": ["gamma", "gamma"]}, "gamma stands there twice; give weights instead: {gamma: 2"),
        ({"augmentations": {"gamma": 0}}, "greater than 0"),
        ({"augmentations": "gamma"}, "give a list of recipes, or weights"),
        ({"augment_negatives": "yes"}, "valid boolean"),
        ({"patient_map": ""}, "at least 1 character"),
        ({"nope": 1}, "Extra inputs"),
    ],
)
def test_impossible_parameters_are_refused(changes, message):
    with pytest.raises(ValidationError) as caught:
        split_params(**changes)
    assert message in str(caught.value)


def test_augmentations_must_be_recipes():
    split_params(augmentations={"none": 1, "gamma": 2.5}).check_augmentations(augment_params())
    with pytest.raises(
        ValueError, match=r"split.augmentations: sharpen is not among augment.recipes; known: none, horiz"
    ):
        split_params(augmentations=["gamma", "sharpen"]).check_augmentations(augment_params())
