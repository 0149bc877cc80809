"""Nested metrics as MLflow's flat names."""

import math

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from pneumoseg.track.metric_names import flat_metrics


def test_metrics_keep_finite_numbers_of_every_depth() -> None:
    content = {
        "dice_all": 0.8125,
        "n": 16,
        "note": "text",
        "none": None,
        "nan": math.nan,
        "infinite": -math.inf,
        "interval": [0.5, 0.75],
        "subgroups": [{"by": "sex", "group": "F", "n": 7}, {"by": "sex", "group": "M", "n": 9, "interval": [0, 1]}],
        "bins": [{"low": 0.0, "n": 1}, {"low": 0.1, "n": 2}],
        "by size": {"small (<2%)": {"dice_pos": 0.25}, "": {"..": 1}},
    }
    assert flat_metrics(content) == {
        "dice_all": 0.8125,
        "n": 16.0,
        "interval/0": 0.5,
        "interval/1": 0.75,
        "subgroups/sex F/n": 7.0,
        "subgroups/sex M/n": 9.0,
        "subgroups/sex M/interval/0": 0.0,
        "subgroups/sex M/interval/1": 1.0,
        "by size/small __2__/dice_pos": 0.25,
        "by size/_/_": 1.0,
    }


@given(
    st.dictionaries(
        st.text(max_size=8), st.dictionaries(st.text(min_size=1, max_size=8), st.floats(), max_size=3), max_size=3
    )
)
def test_mlflow_takes_every_name(content: dict[str, dict[str, float]]) -> None:
    for name, value in flat_metrics(content).items():
        _validate_metric_name(name)
        assert math.isfinite(value)
