"""Which images are compared, which are left out and why, and what is said against a comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pneumoseg.compare.cautions import write_cautions
from pneumoseg.compare.comparing import compare_experiments
from pneumoseg.compare.configuration_rows import code_rows, data_rows, parameter_rows
from pneumoseg.compare.experiments import Experiment
from pneumoseg.compare.pairing import LeftOut, find_leaks, merge_groups, pair
from pneumoseg.shared.errors import DataError
from tests.compare.comparison_cases import case_table, experiment, random_cases


def small(name: str, ids: str, truth: dict[str, int] | None = None, **more: object) -> Experiment:
    """One image a letter, each its own patient unless ``patients`` says otherwise."""
    patients = more.pop("patients", {})
    area = [(truth or {}).get(letter, 100) for letter in ids]
    table = case_table(ids, [patients.get(letter, f"p{letter}") for letter in ids], area, area, area)  # type: ignore[attr-defined]
    return experiment(name, table, **more)  # type: ignore[arg-type]


def texts(*experiments: Experiment) -> list[tuple[str, bool]]:
    pairing = pair(experiments)
    found = write_cautions(experiments, pairing, find_leaks(experiments, pairing), data_rows(experiments))
    return [(caution.text, caution.grave) for caution in found]


def folds(test: str, trained: str, patients: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    named = patients or {}
    entries = {letter: (named.get(letter, f"p{letter}"), "test") for letter in test}
    return entries | {letter: (named.get(letter, f"p{letter}"), "0") for letter in trained}


def test_only_shared_images_with_the_same_truth_are_compared() -> None:
    first = small("main", "dcbae", {"b": 0, "e": 50})
    second = small("b4", "abcdfg", {"b": 0, "d": 7}, folds=folds("abcdfg", "e"))
    pairing = pair([first, second])
    assert pairing.ids == ("a", "b", "c")
    assert pairing.truth_px.tolist() == [100, 0, 100]
    assert pairing.positive.tolist() == [True, False, True]
    assert pairing.left_out == (
        LeftOut("main", "a training or validation image of b4", 1, 1),
        LeftOut("main", "its true mask or its size is another one elsewhere", 1, 1),
        LeftOut("b4", "its true mask or its size is another one elsewhere", 1, 1),
        LeftOut("b4", "not a test image of main", 2, 2),
    )
    said = [text for text, grave in texts(first, second) if grave]
    assert said[0] == (
        "The test sets are not the same: of 5 test images of main, 1 image of 1 patient (a training or validation "
        "image of b4) and 1 image of 1 patient (its true mask or its size is another one elsewhere) are left out."
    )


def test_nothing_in_common_is_refused_with_the_reason() -> None:
    with pytest.raises(
        DataError, match=r"^main and b4 have no test image in common \(of 2 and 3 test images\): compare"
    ):
        pair([small("main", "ab"), small("b4", "xyz")])
    with pytest.raises(DataError, match=r"^main and b4 share 2 test images, none with the same true mask: their annot"):
        pair([small("main", "ab", {"a": 1, "b": 2}), small("b4", "ab", {"a": 3, "b": 4})])


def test_groups_that_overlap_become_one() -> None:
    assert merge_groups([["p", "p", "q", "r", "r"]]).tolist() == [0, 0, 1, 2, 2]
    # b and c are of one patient in the second grouping alone, so a, b and c are drawn together.
    assert merge_groups([["p", "p", "q", "r"], ["1", "2", "2", "3"]]).tolist() == [0, 0, 0, 1]
    first = small("main", "abcd", patients={"a": "p", "b": "p"})
    second = small("b4", "abcd", patients={"b": "x", "c": "x"})
    pairing = pair([first, second])
    assert pairing.regrouped
    assert pairing.patients.tolist() == [0, 0, 0, 1]
    assert pairing.patients_of(np.array([True, False, True, True])) == 2
    assert any("resampled together" in text for text, _ in texts(first, second))
    assert not pair([first, small("b4", "abcd", patients={"a": "other", "b": "other"})]).regrouped


def test_a_leak_is_found_by_image_and_by_patient() -> None:
    clean = small("main", "abc", folds=folds("abc", "xy", {"a": "P", "x": "Q"}))
    # b4's table contradicts its own test images.
    contradictory = small("b4", "abc", folds=folds("bc", "axy"))
    leaks = find_leaks([clean, contradictory], pair([clean, contradictory]))
    assert [(leak.known, leak.images, leak.patients) for leak in leaks] == [(True, 0, 0), (True, 1, 1)]
    # Only main knows that a and x are of one patient; b4 was split by image and trained on x.
    knowing = small("main", "abc", patients={"a": "P", "b": "P"}, folds=folds("abcx", "y", dict.fromkeys("abx", "P")))
    leaky = small("b4", "abc", folds=folds("abc", "xy"))
    leaks = find_leaks([knowing, leaky], pair([knowing, leaky]))
    assert [(leak.images, leak.patients) for leak in leaks] == [(0, 0), (2, 1)]
    (text, grave), *_ = texts(knowing, leaky)
    assert grave
    assert text.startswith("Leak: b4 trained, or chose its epoch or decision rule, on 2 compared images or on other")
    # Images without a patient id are not of one patient.
    nameless = small("b4", "abc", folds=folds("abc", "xy", dict.fromkeys("abcxy", "")))
    assert find_leaks([nameless, nameless], pair([nameless, nameless]))[0].images == 0


def test_what_cannot_be_checked_is_said_not_passed_over() -> None:
    said = texts(small("main", "ab", folds=folds("ab", "x")), small("b4", "ab"))
    assert ("Whether b4 trained on a compared image or patient is unknown: data/splits/folds.csv is not in DVC's cache "
            "(dvc pull, or dvc repro split there).", False) in said  # fmt: skip
    lockless = replace(small("b4", "ab", sha="b" * 40), stages={})
    said = texts(small("main", "ab"), lockless)
    assert ("Which data b4 used is not known: dvc.lock does not say.", False) in said


def test_data_that_differ_are_a_grave_caution() -> None:
    said = texts(small("main", "ab"), small("b4", "ab", folds_md5="9" * 32))
    assert said[0] == (
        "The data differ (folds and test set): a difference of the figures may come from them, not from the method.",
        True,
    )
    doubtful = replace(small("b4", "ab"), doubts=("metrics/test.json: not as written",))
    assert ("In b4: metrics/test.json: not as written.", True) in texts(small("main", "ab"), doubtful)


def test_phantoms_few_patients_and_unknown_patients() -> None:
    nameless = small("main", "ab", patients={"a": "image:a"})
    said = [text for text, _ in texts(nameless, small("b4", "ab", patients={"a": "image:a"}))]
    assert "1 image of 2 have no known patient" in " ".join(said)
    mapped = replace(nameless, settings={"split.patient_map": '"patients.csv"'})
    assert not any(
        "no known patient" in text for text, _ in texts(mapped, small("b4", "ab", patients={"a": "image:a"}))
    )
    assert "Only 2 patients with pneumothorax: intervals are rough" in " ".join(said)
    empty = [small(name, "ab", {"a": 0, "b": 0}) for name in ("main", "b4")]
    assert any("no compared image has a pneumothorax" in text.lower() for text, _ in texts(*empty))
    real, phantom = small("main", "abc"), small("b4", "ab")
    phantom.cases["phantom"] = 1
    assert ("The test set of b4 holds phantoms, that of the others none.", True) in texts(real, phantom)
    assert pair([real, phantom]).phantom
    assert not pair([real, real]).phantom
    same = [small(name, "ab", sha="a" * 40) for name in ("main", "HEAD")]
    assert any(text.startswith("The same commit: main and HEAD") for text, _ in texts(*same))


def test_parameters_data_and_code_that_differ() -> None:
    first = small("main", "ab", settings={"model.encoder": '"a"', "train.lr": "0.1", "tune.new": "1"})
    second = small("b4", "ab", settings={"model.encoder": '"b"', "train.lr": "0.1"}, folds_md5="8" * 32)
    assert [(row.key, row.values) for row in parameter_rows([first, second])] == [
        ("model.encoder", ('"a"', '"b"')), ("tune.new", ("1", "not there")),
    ]  # fmt: skip
    assert [row.key for row in data_rows([first, second]) if row.differs] == ["data/splits/folds.csv"]
    assert code_rows([first, second]) == ()
    second.stages["train@0"].deps["src/pneumoseg/models"] = "0" * 32  # type: ignore[index]
    assert [row.key for row in code_rows([first, second])] == ["src/pneumoseg/models"]
    unknown = replace(second, stages={})
    assert code_rows([first, unknown]) == ()
    assert not data_rows([first, unknown])[0].known


def test_counts_of_images_by_hand() -> None:
    reference = case_table("abcdef", "abcdef", [100, 100, 100, 0, 0, 0], [100, 100, 0, 0, 9, 9], [50, 80, 0, 0, 0, 0])
    other = case_table("abcdef", "abcdef", [100, 100, 100, 0, 0, 0], [100, 100, 100, 9, 0, 9], [80, 80, 20, 0, 0, 0])
    (item,) = compare_experiments([experiment("main", reference), experiment("b4", other)], 200, 0).against
    counted = [(tally.images, tally.higher, tally.same, tally.lower) for tally in item.tallies]
    assert counted == [
        ("all images", 3, 2, 1), ("with pneumothorax", 2, 1, 0), ("without pneumothorax", 1, 1, 1),
    ]  # fmt: skip
    called = [(row.images, row.both, row.reference_only, row.other_only, row.none) for row in item.calls]
    assert called == [("with pneumothorax", 2, 0, 1, 0), ("without pneumothorax", 1, 1, 1, 0)]
    assert [(pair.image_id, pair.reference_dice, pair.dice) for pair in item.most_different] == [
        ("d", 1.0, 0.0), ("e", 0.0, 1.0), ("a", 0.5, 0.8), ("c", 0.0, 0.2),
    ]  # fmt: skip


def test_figures_are_those_of_the_common_images_alone() -> None:
    cases, part = random_cases(1), random_cases(2).iloc[10:]
    comparison = compare_experiments([experiment("main", cases), experiment("b4", part)], 300, 0)
    common = cases.loc[part.index]
    figures = {name: figure.value for name, figure in comparison.figures[0].items()}
    positive = common["truth_px"] > 0
    assert figures["dice_all"] == pytest.approx(common["dice"].mean())
    assert figures["dice_pos"] == pytest.approx(common.loc[positive, "dice"].mean())
    difference = comparison.against[0].differences["dice_pos"].value
    assert difference == pytest.approx((part["dice"] - common["dice"])[positive].mean())
    large = next(row for row in comparison.sizes if row.size == "large")
    chosen = common["truth_px"] >= 200
    assert large.dice == pytest.approx((common.loc[chosen, "dice"].mean(), part.loc[chosen, "dice"].mean()))
    assert large.images == chosen.sum()


def test_an_experiment_without_probabilities_has_no_auc() -> None:
    without = random_cases(2).drop(columns="probability")
    comparison = compare_experiments([experiment("main", random_cases(1)), experiment("b4", without)], 200, 0)
    assert "auc" in comparison.figures[0]
    assert "auc" not in comparison.figures[1]
    assert "auc" not in comparison.against[0].differences


def test_without_any_mask_of_a_positive_the_comparison_goes_by_auc() -> None:
    """Dice of negatives alone would be their specificity."""
    tables = [random_cases(seed, skill=skill) for seed, skill in ((1, 0.5), (2, 0.9))]
    for table in tables:
        positive = table["pneumothorax"] == 1
        table.loc[positive, ["truth_px", "intersection_px", "dice"]] = np.nan
    comparison = compare_experiments(
        [experiment(name, table) for name, table in zip("ab", tables, strict=True)], 100, 0
    )
    assert comparison.deciding == "auc"
    assert comparison.over_empty == ("unknown", "unknown")
    found = [{metric: figure.value for metric, figure in figures.items()} for figures in comparison.figures]
    assert all(figures["dice_all"] is figures["dice_pos"] is None for figures in found)
    assert found[1]["auc"] > found[0]["auc"]
    tallies = comparison.against[0].tallies
    assert [(tally.higher, tally.lower) for tally in tallies] == [(0, 0)] * 3
    assert comparison.against[0].most_different == ()
