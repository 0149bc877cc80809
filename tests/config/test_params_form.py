"""params.yaml stands in the form in which DVC writes it: -S changes one line, and no comment is lost."""

from __future__ import annotations

import difflib
from pathlib import Path

from dvc.utils.hydra import apply_overrides

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[0] in "+-" and not line.startswith(("+++", "---"))]


def test_one_value_set_three_times_is_one_changed_line(tmp_path: Path):
    text = before = PARAMS.read_text("utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text, "utf-8")
    old = "2.0e-3"
    for value in ("0.001", "0.0002", "5e-05"):
        apply_overrides(path, [f"train.lr={value}"])
        after = path.read_text("utf-8")
        assert changed_lines(before, after) == [f"-  lr: {old}", f"+  lr: {value}"]
        before, old = after, value
    assert [line for line in text.splitlines() if "#" in line] == [line for line in after.splitlines() if "#" in line]


def test_lists_and_empty_values_can_be_set_and_taken_back(tmp_path: Path):
    text = PARAMS.read_text("utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text, "utf-8")
    apply_overrides(path, [
        "split.train_folds=[0,1]", "model.decoder_channels=[16,8]", "train.phases.0.crop_px=64", "tune.kinds=[single]",
        "predict.members=[{source:a,weight:1.0,use:both}]", "+evaluate.external.b={root:/b,annotations:b.csv}",
    ])  # fmt: skip
    set_text = path.read_text("utf-8")
    assert sum("#" in line for line in set_text.splitlines()) == sum("#" in line for line in text.splitlines())
    apply_overrides(path, [
        "split.train_folds=[0]", "model.decoder_channels=null", "train.phases.0.crop_px=null", "predict.members=[]",
        "tune.kinds=[single,min_area,triplet]", "~evaluate.external.b",
    ])  # fmt: skip
    assert path.read_text("utf-8") == text
