"""Counts, intervals, distributions and correlations against hand-worked cases and SciPy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from scipy.stats import binomtest, pearsonr

from pneumoseg.explore.statistics import (
    area_histogram,
    component_counts,
    correlate,
    count_images,
    coverage,
    incidence_by_age,
    wilson_interval,
)

NONE = "not recorded"
WORDS = {1: "pneumothorax", 0: "no pneumothorax", None: "not annotated"}


def make_cases(rows):
    """Cases from (sex, view, age, pneumothorax), where None is not annotated."""
    frame = pd.DataFrame(rows, columns=["sex", "view_position", "age_years", "pneumothorax"])
    frame["label"] = [WORDS[row[3]] for row in rows]
    frame["annotated"] = [int(row[3] is not None) for row in rows]
    frame["marked"] = [row[3] == 1 for row in rows]
    return frame.astype({"age_years": "float64", "pneumothorax": "Int64"})


def test_wilson_golden():
    # Newcombe, Stat Med 17:857 (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for (positives, images), (low, high) in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0000, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson_interval(positives, images, 0.95) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 300), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_against_scipy(images, share, confidence):
    positives = round(images * share)
    low, high = wilson_interval(positives, images, confidence)
    expected = binomtest(positives, images).proportion_ci(confidence, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= positives / images <= high <= 1


def test_counts_by_label_sex_and_view():
    cases = make_cases(
        [
            ("M", "PA", 30, 1),
            ("M", "PA", 40, 0),
            ("F", "AP", 50, 0),
            ("F", "PA", 60, 0),
            ("M", "LL", 20, None),
            (NONE, NONE, None, 1),
        ]
    )
    table = count_images(cases, 0.95).set_index(["variable", "value"])
    assert list(table.index) == [
        ("all", "all"),
        ("label", "pneumothorax"),
        ("label", "no pneumothorax"),
        ("label", "not annotated"),
        ("label", "annotation rejected"),
        ("sex", "M"),
        ("sex", "F"),
        ("sex", NONE),
        ("view_position", "PA"),
        ("view_position", "AP"),
        ("view_position", "LL"),
        ("view_position", NONE),
    ]
    columns = ["images", "pneumothorax", "no_pneumothorax", "not_annotated", "annotation_rejected"]
    assert table.loc[("all", "all"), columns].tolist() == [6, 2, 3, 1, 0]
    assert table.loc[("sex", "M"), columns].tolist() == [3, 1, 1, 1, 0]
    assert table.loc[("all", "all"), "incidence"] == pytest.approx(2 / 5)
    # The image without annotation is in no share.
    assert table.loc[("sex", "M"), "incidence"] == pytest.approx(1 / 2)
    assert np.isnan(table.loc[("view_position", "LL"), "incidence"])
    assert table["incidence"].loc["label"].isna().all()


def test_incidence_by_age_band_and_sex():
    cases = make_cases(
        [
            ("M", "PA", 20, 1),
            ("M", "PA", 29, 0),
            ("F", "PA", 29.5, 1),
            ("F", "PA", 40, 0),
            ("M", "PA", None, 1),
            (NONE, "PA", 41, 1),
            ("F", "PA", 25, None),
        ]
    )
    table = incidence_by_age(cases, 10, 0.95)
    counts = {
        (row.sex, row.age_from_years): (row.images, row.pneumothorax)
        for row in table[table["age_from_years"].notna()].itertuples()
    }
    assert counts == {
        ("all", 20): (3, 2),
        ("all", 30): (0, 0),
        ("all", 40): (2, 1),
        ("M", 20): (2, 1),
        ("M", 30): (0, 0),
        ("M", 40): (0, 0),
        ("F", 20): (1, 1),
        ("F", 30): (0, 0),
        ("F", 40): (1, 0),
    }
    whole = table[table["age_from_years"].isna()].set_index("sex")
    assert whole["images"].to_dict() == {"all": 6, "M": 3, "F": 2}
    assert whole.loc["M", "incidence"] == pytest.approx(2 / 3)
    assert table["incidence"][table["images"] == 0].isna().all()
    assert (table["age_below_years"] - table["age_from_years"]).dropna().unique().tolist() == [10]


def test_incidence_without_any_age():
    table = incidence_by_age(make_cases([(NONE, NONE, None, 1), (NONE, NONE, None, 0)]), 10, 0.95)
    assert table[["sex", "images", "pneumothorax"]].to_numpy().tolist() == [["all", 2, 1]]


def test_area_histogram_golden():
    cases = make_cases([("M", "PA", 1, 1)] * 4 + [("M", "PA", 1, 0)])
    cases["area_fraction"] = [0.0001, 0.0011, 0.09, 0.1, 0.0]
    table = area_histogram(cases, 3)
    assert table["area_percent_from"].to_numpy() == pytest.approx([0.01, 0.1, 1])
    assert table["area_percent_below"].to_numpy() == pytest.approx([0.1, 1, 10])
    assert table["images"].tolist() == [1, 1, 2]


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=30), st.integers(2, 40))
def test_no_area_is_lost(areas, bins):
    cases = make_cases([("M", "PA", 1, 1)] * len(areas))
    cases["area_fraction"] = areas
    table = area_histogram(cases, bins)
    assert int(table["images"].sum()) == len(areas)
    assert len(table) == bins


def test_component_counts_of_positives_only():
    cases = make_cases([("M", "PA", 1, 1)] * 3 + [("M", "PA", 1, 0)])
    cases["components"] = pd.array([1, 1, 3, 0], "Int64")
    cases["rle_count"] = pd.array([1, 2, 2, 0], "Int64")
    assert component_counts(cases).to_numpy().tolist() == [
        ["components", 1, 2],
        ["components", 3, 1],
        ["rle_count", 1, 1],
        ["rle_count", 2, 2],
    ]


def loop_coverage(mask, bins):
    """Cell by cell: the mean of its pixels, or the pixel it lies in where an image is smaller than the grid."""
    result = np.zeros((bins, bins))
    edges = [[index * size // bins for index in range(bins)] + [size] for size in mask.shape]
    for row in range(bins):
        for column in range(bins):
            top, left = edges[0][row], edges[1][column]
            bottom, right = edges[0][row + 1], edges[1][column + 1]
            if mask.shape[0] < bins:
                bottom = top + 1
            if mask.shape[1] < bins:
                right = left + 1
            result[row, column] = mask[top:bottom, left:right].mean()
    return result


@given(st_np.arrays(np.bool_, st.tuples(st.integers(1, 17), st.integers(1, 17))), st.integers(1, 9))
def test_coverage_against_the_loop(mask, bins):
    assert coverage(mask, bins) == pytest.approx(loop_coverage(mask, bins), abs=1e-12)


def test_coverage_keeps_top_left_at_the_top_left():
    mask = np.zeros((8, 4), bool)
    mask[:2, :1] = True
    assert coverage(mask, 2).tolist() == [[0.25, 0.0], [0.0, 0.0]]


def test_correlation_golden():
    # Sex and pneumothorax: 3 of 4 men, 1 of 4 women: phi = (3·3 - 1·1) / sqrt(4·4·4·4) = 0.5.
    rows = [("M", "PA", 20 + i, int(i < 3)) for i in range(4)] + [("F", "PA", 60 + i, int(i < 1)) for i in range(4)]
    result = correlate(make_cases([*rows, ("M", "AP", 90, None)]))
    assert result.kept == ("age", "sex", "pneumothorax")
    # The only AP image is not annotated: among the others the view does not vary.
    assert result.dropped == {"view": "always 0"}
    table = result.table.set_index(["first", "second"])
    assert len(table) == 9
    assert table.loc[("sex", "pneumothorax"), "correlation"] == pytest.approx(0.5)
    ages, truth = [row[2] for row in rows], [row[3] for row in rows]
    assert table.loc[("age", "pneumothorax"), "correlation"] == pytest.approx(pearsonr(ages, truth).statistic)
    assert table.loc[("age", "age"), "correlation"] == pytest.approx(1)
    assert table["images"].unique().tolist() == [8]


def test_correlation_leaves_other_codes_out_of_their_pairs():
    rows = [("M", "AP", 20, 1), ("F", "PA", 30, 0), ("O", "LL", 40, 1), (NONE, NONE, None, 0), ("M", "PA", 50, 0)]
    table = correlate(make_cases(rows)).table.set_index(["first", "second"])
    assert table["images"].loc[("age", "pneumothorax")] == 4
    assert table["images"].loc[("sex", "view")] == 3


def test_correlation_of_a_data_set_without_metadata():
    result = correlate(make_cases([(NONE, NONE, None, 1), (NONE, NONE, None, 0)]))
    assert result.kept == ("pneumothorax",)
    assert result.dropped == dict.fromkeys(("age", "sex", "view"), NONE)


def test_a_pair_that_never_varies_together_has_no_correlation():
    rows = [("M", "AP", None, 1), ("M", "PA", None, 0), ("F", NONE, None, 0)]
    table = correlate(make_cases(rows)).table.set_index(["first", "second"])
    assert np.isnan(table["correlation"].loc[("sex", "view")])
