"""Numbers by names that MLflow takes."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from pneumoseg.track.metric_names import finite


def test_finite_numbers_are_kept_and_nothing_else() -> None:
    content = {"dice_all": 0.8125, "n": 16, "note": "text", "none": None, "nan": math.nan, "infinite": -math.inf}
    assert finite(content | {"small (<2%)": 0.25}, "external/a/") == {
        "external/a/dice_all": 0.8125, "external/a/n": 16.0, "external/a/small __2__": 0.25,
    }  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=8), st.floats(), max_size=3))
def test_mlflow_takes_every_name(content: dict[str, float]) -> None:
    for name, value in finite(content).items():
        _validate_metric_name(name)
        assert math.isfinite(value)
