"""Nested parameters and metrics as MLflow's flat names."""

import math

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from pneumoseg.track.metric_names import PARAM_LIMIT, flat_metrics, flat_params


def test_params_have_dotted_names_and_json_values() -> None:
    sections = {
        "model": {"encoder": "resnet18", "weights": None},
        "train": {"lr": 1e-4, "phases": [{"epochs": 3}], "amp": True},
    }
    assert flat_params(sections) == {
        "model.encoder": "resnet18",
        "model.weights": "null",
        "train.lr": "0.0001",
        "train.phases": '[{"epochs": 3}]',
        "train.amp": "true",
    }


def test_a_long_param_is_cut_and_says_so() -> None:
    text = flat_params({"split": {"list": list(range(3000))}})["split.list"]
    assert len(text) == PARAM_LIMIT
    assert text.startswith("[0, 1, 2,")
    assert text.endswith("whole in the artifact params.yaml)")


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
