"""The plan of a phantom set: counts, patients, ages, areas, identifiers, and parameters that cannot be."""

import json
import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom.uid import UID
from ruamel.yaml import YAML

from pneumoseg.config.phantom import PhantomParams
from pneumoseg.phantom.cohort import plan_cohort


@cache
def section(root):
    return YAML(typ="safe").load(root / "params.yaml")["phantom"]


def make_params(root, **changes):
    return PhantomParams.model_validate_json(json.dumps(section(root) | changes))


@pytest.fixture(scope="module")
def params(root):
    return make_params(root)


@settings(deadline=None, max_examples=40)
@given(
    images=st.integers(8, 200), prevalence=st.floats(0.1, 0.9), seed=st.integers(0, 2**31), unlabelled=st.integers(0, 9)
)
def test_prevalence_is_exact(root, images, prevalence, seed, unlabelled):
    params = make_params(root, images=images, prevalence=prevalence, seed=seed, unlabelled_images=unlabelled)
    cases = plan_cohort(params)
    annotated = [case for case in cases if case.role == "annotated"]
    assert len(annotated) == images
    assert sum(case.scene.area > 0 for case in annotated) == round(prevalence * images)
    assert Counter(case.role for case in cases)["unlabelled"] == unlabelled
    assert [case.index for case in cases] == list(range(len(cases)))


def test_siim_like_shares(root):
    cases = plan_cohort(make_params(root, images=240, unannotated_images=4, unlabelled_images=12))
    assert sum(case.scene.area > 0 for case in cases if case.role == "annotated") == 53  # 0.222 x 240
    assert sum(case.scene.view_position == "PA" for case in cases) == round(0.604 * 256)
    by_patient = {case.patient: case.sex for case in cases}
    assert sum(sex == "F" for sex in by_patient.values()) == round(0.45 * len(by_patient))
    assert all(0.139 <= case.pixel_spacing_mm <= 0.194 for case in cases)


def test_a_patient_has_one_to_six_images_one_sex_and_one_age(params):
    cases = [case for case in plan_cohort(params) if case.role != "unlabelled"]
    counts = Counter(case.patient for case in cases)
    assert set(counts.values()) <= set(range(1, 7))
    several = sum(count > 1 for count in counts.values()) / len(counts)
    assert 0.2 < several < 0.4
    assert len({(case.patient, case.sex) for case in cases}) == len(counts)
    plausible = {(case.patient, case.age_years) for case in cases if case.age_years != 152}
    assert max(Counter(patient for patient, _ in plausible).values()) == 1
    unlabelled = {case.patient for case in plan_cohort(params) if case.role == "unlabelled"}
    assert not unlabelled & set(counts)


def test_ages_have_the_outlier_and_the_peak_of_primary_pneumothorax(root):
    cases = plan_cohort(make_params(root, images=2000))
    ages = [case.age_years for case in cases]
    assert ages.count(152) == 1
    assert max(age for age in ages if age != 152) <= 94
    assert min(ages) >= 3
    young = [[20 <= case.age_years <= 30 for case in cases if (case.scene.area > 0) is ill] for ill in (True, False)]
    assert np.mean(young[0]) > 1.5 * np.mean(young[1])


def test_areas_follow_siim(root):
    # facts of the real 2,669 positives at 1024 x 1024: p5 1,363, median 8,630, p95 45,772 px
    cases = plan_cohort(make_params(root, images=2000))
    areas = np.array([case.scene.area for case in cases if case.scene.area > 0]) * 1024**2
    for level, real in ((5, 1363), (50, 8630), (95, 45772)):
        assert abs(math.log(np.percentile(areas, level) / real)) < math.log(1.35)


@pytest.mark.parametrize("images", [8, 24, 240])
def test_small_sets_have_small_and_large_lesions_and_overlapping_rows(root, images):
    cases = [case for case in plan_cohort(make_params(root, images=images)) if case.scene.area > 0]
    areas = [case.scene.area for case in cases if case.role == "annotated"]
    assert min(areas) < 0.00823 < max(areas)
    assert any(case.overlapping for case in cases)


def test_identifiers_are_valid_unique_and_change_with_the_seed(root, params):
    cases = plan_cohort(params)
    trained = [uid for case in cases if case.role != "unlabelled" for uid in case.uids]
    assert all(UID(uid).is_valid for uid in trained)
    assert len(set(trained)) == len(trained)
    tested = [case.uids for case in cases if case.role == "unlabelled"]
    assert all(
        sop.startswith("ID_") and len(sop) == 12 and (series, study) == ("", "") for sop, series, study in tested
    )
    assert len({uids[0] for uids in tested}) == 12
    other = plan_cohort(make_params(root, seed=params.seed + 1))
    assert not {case.uids[0] for case in cases} & {case.uids[0] for case in other}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 8, "prevalence": 0.01}, "prevalence = 0.01 of images = 8 makes 0 images"),
        ({"images": 8, "prevalence": 0.99}, "makes 8 images"),
        ({"images": 7}, "greater than or equal to 8"),
        ({"pa_share": 1.5}, "less than or equal to 1"),
        ({"size_px": 32}, "greater than or equal to 64"),
        ({"seed": "7"}, "valid integer"),
        ({"colour": 1}, "not permitted"),
    ],
)
def test_impossible_values_are_refused(root, changes, message):
    with pytest.raises(ValidationError, match=message):
        make_params(root, **changes)
