"""dvc.lock is read exactly as DVC writes it, by PyYAML's C parser, though PyYAML is of YAML 1.1."""

import math
from pathlib import Path

import pytest
from dvc.utils.serialize import dumps_yaml
from hypothesis import given
from hypothesis import strategies as st

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.lockfile import LockedStage, parse_lock, parse_yaml, read_lock

#: Words that YAML 1.1 and 1.2 read differently, or that look like something else.
WORDS = [
    "off", "on", "yes", "no", "y", "n", "Off", "YES", "1e-3", "1e3", "12e03", "1:30", "12:30:45", "190:20:30",
    "2020-01-01", "2001-12-14t21:59:43.10-05:00", "010", "0o17", "0x1F", "0b101", "1_000", "0_1", "=", "<<", "~",
    "null", "NULL", "true", "True", ".5", "5.", "0.", "+1", "+.5", "-0", ".inf", "-.inf", ".nan", "nan", "inf",
    "e5", "1e", "!x", "&a", "*a", "@a", "%", "`",
]  # fmt: skip


def read_back(value: object) -> object:
    return parse_yaml(dumps_yaml({"value": value}))["value"]


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.sampled_from(WORDS)),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
        max_leaves=8,
    )
)
def test_every_value_comes_back_as_what_it_was(value):
    assert repr(read_back(value)) == repr(value)


def test_words_and_numbers_by_name():
    assert read_back(WORDS) == WORDS
    assert [parse_yaml(text) for text in ("1e-07", "1e+22", "off", "1:30", ".inf", "-5", "0.30000000000000004")] == [
        1e-07, 1e22, "off", "1:30", math.inf, -5, 0.30000000000000004
    ]  # fmt: skip
    assert math.isnan(parse_yaml(".nan"))
    assert read_back(" x\ny: #é ") == " x\ny: #é "


def test_stages_by_name(tmp_path: Path):
    assert read_lock(tmp_path) == {}
    (tmp_path / "dvc.lock").write_text("""
schema: '2.0'
stages:
  train@0:
    cmd: x
    deps:
    - {path: data/splits, hash: md5, md5: 0a.dir}
    - {path: s3://elsewhere/a, etag: b}
    params: {params.yaml: {train: {lr: 1e-05}, split.train_folds: [0]}}
    outs: [{path: data/models/fold0, md5: 1b.dir}]
  phantom: {cmd: x}
""")
    assert read_lock(tmp_path) == {
        "train@0": LockedStage(
            {"train": {"lr": 1e-05}, "split.train_folds": [0]},
            {"data/splits": "0a.dir"},
            {"data/models/fold0": "1b.dir"},
        ),
        "phantom": LockedStage({}, {}, {}),
    }


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\nstages:\n", "[]", "", "stages: {a: 1}", "schema: '2.0'"])
def test_what_is_no_lock_is_named(text: str):
    with pytest.raises(DataError, match=r"here/dvc\.lock: not readable as dvc\.lock"):
        parse_lock(text, "here/dvc.lock")
