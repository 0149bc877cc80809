"""pneumoseg score against pixels, hand-worked tables and the real annotations."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumoseg.commands import score as command
from pneumoseg.evaluate.scoring import covered_px, read_masks, score_masks
from pneumoseg.shared.errors import DataError

KEYS = {"dice_all", "dice_pos", "sensitivity", "specificity", "all_empty", "n", "prevalence"}


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["score", *arguments])
    return int(args.run(args))


def table(path: Path, rows: dict[str, str] | list[tuple[str, str]], header: str = "ImageId,EncodedPixels") -> str:
    pairs = rows.items() if isinstance(rows, dict) else rows
    path.write_text(header + "\n" + "".join(f"{image_id},{code}\n" for image_id, code in pairs))
    return str(path)


def test_hand_worked_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """10 x 10 px. a: halves overlap, Dice 2*2/(4+4). b: empty on both. c: false call. d: missed. e: two rows, OR."""
    truth = table(tmp_path / "t.csv", [("a", "0 4"), ("b", "-1"), ("c", "-1"), ("d", "50 10"), ("e", "0 5 10 5")])
    submission = table(
        tmp_path / "s.csv",
        [("e", " 0 5"), ("d", "-1"), ("c", "99 1"), ("b", "-1"), ("a", "2 4"), ("e", "3 2 10 5")],
        header="\ufeffImageId, EncodedPixels",
    )
    assert run(truth, submission, "--json", "--size-px", "10") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == KEYS
    assert found == {
        "dice_all": pytest.approx((0.5 + 1 + 0 + 0 + 1) / 5),
        "dice_pos": pytest.approx(0.5),
        "sensitivity": pytest.approx(2 / 3, abs=1e-6),
        "specificity": 0.5,
        "all_empty": 0.4,
        "n": 5,
        "prevalence": 0.6,
    }
    assert run(truth, submission, "--size-px", "10x10") == 0
    shown = capsys.readouterr().out
    assert "Dice, all images" in shown
    assert "0.5000" in shown


def test_no_positive_is_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = table(tmp_path / "t.csv", {"a": "-1", "b": "-1"})
    assert run(both, both, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["dice_all"], found["dice_pos"], found["sensitivity"]) == (1.0, None, None)
    assert run(both, both) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[-2:] == ["-", "dice_pos"]


RUN = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.lists(RUN, max_size=3), st.lists(RUN, max_size=3)), min_size=1, max_size=5))
def test_runs_give_what_pixels_give(images: list[tuple[list[list[tuple[int, int]]], ...]]) -> None:
    rows, columns = 12, 8

    def pixels(codes: list[list[tuple[int, int]]]) -> np.ndarray:
        mask = np.zeros((columns, rows), bool)  # columns first: the code runs down a column
        for code in codes:
            place = 0
            for offset, length in code:
                place += offset
                mask.ravel()[place : place + length] = True
                place += length
        return mask.T

    def fits(codes: list[list[tuple[int, int]]]) -> bool:
        return all(sum(map(sum, code)) <= rows * columns for code in codes)

    images = [image for image in images if fits(image[0]) and fits(image[1])]
    if not images:
        return
    masks = [[pixels(side) for side in image] for image in images]
    sides: list[dict[str, np.ndarray]] = [{}, {}]
    for number, image in enumerate(images):
        for side, codes in zip(sides, image, strict=True):
            runs = []
            for code in codes:
                ends = np.cumsum([offset + length for offset, length in code])
                runs.append(np.stack([ends - [length for _, length in code], ends], axis=1))
            side[str(number)] = np.concatenate(runs) if runs else np.empty((0, 2), np.int64)
    found = score_masks(sides[0], sides[1], rows * columns).figures
    scores = [
        1.0 if not (t | p).any() else 2 * (t & p).sum() / (t.sum() + p.sum()) for t, p in masks
    ]  # fmt: skip
    positive = np.array([t.any() for t, _ in masks])
    called = np.array([p.any() for _, p in masks])
    assert found["dice_all"] == pytest.approx(np.mean(scores))
    assert found["prevalence"] == pytest.approx(positive.mean())
    if positive.any():
        assert found["sensitivity"] == pytest.approx(called[positive].mean())
    if not positive.all():
        assert found["specificity"] == pytest.approx((~called[~positive]).mean())


def test_runs_of_neighbouring_images_do_not_touch() -> None:
    # The first image's run ends where the second's begins on the common axis.
    image, runs = np.array([0, 1, 1]), np.array([[90, 100], [0, 10], [5, 15]])
    assert covered_px(image, runs, 3, 100).tolist() == [10, 15, 0]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("a,1 2 3\n", "line 2: odd count"),
        ("a,-1\nb,x y\n", "line 3: .*not a whole number"),
        ("a,95 6\n", "line 2: .*past the image of 100 pixels"),
        ("a,5 0\n", "line 2: run 1 .* length 0"),
        ("a,-1\na,1 2\n", "line 3: a has both -1 and a mask, see line 2"),
        ("../x,-1\n", "line 2: ImageId"),
        ("a\n", "line 2: no EncodedPixels"),
        ("", "no row"),
    ],
)
def test_malformed_rows_are_named_by_line(tmp_path: Path, rows: str, says: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text("ImageId,EncodedPixels\n" + rows)
    with pytest.raises(DataError, match=says):
        read_masks(path, 100)


def test_a_table_that_cannot_be_used_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    truth = table(tmp_path / "t.csv", {"a": "0 4"})
    assert run(truth, str(tmp_path / "none.csv")) == 1
    assert run(truth, table(tmp_path / "s.csv", {"a": "0 4 1"})) == 1
    assert run(truth, table(tmp_path / "s.csv", {"a": "1048575 2"})) == 1
    assert capsys.readouterr().out == ""
    assert "no such file" in caplog.text
    assert "line 2" in caplog.text
    with pytest.raises(SystemExit):
        run(truth, truth, "--size-px", "0")


def test_other_ids_are_refused_unless_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    truth = table(tmp_path / "t.csv", {"a": "0 4", "b": "-1", "c": "0 8"})
    submission = table(tmp_path / "s.csv", {"a": "0 4", "z": "0 4"})
    assert run(truth, submission) == 1
    assert "2 images missing from the submission: b, c" in caplog.text
    assert "1 image unknown: not in the truth: z" in caplog.text
    assert run(truth, submission, "--json", "--allow-missing") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dice_all"] == pytest.approx(2 / 3, abs=1e-6)  # b is empty and right, c is empty and missed
    assert (found["n"], found["missing"], found["unknown"]) == (3, 2, 1)


@pytest.mark.real
@pytest.mark.slow
def test_all_real_annotations_against_themselves(
    real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = real / "siim-tables" / "stage_2_train.csv"
    assert run(str(truth), str(truth), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["dice_all"], found["sensitivity"]) == (12047, 1.0, 1.0)
    assert found["prevalence"] == pytest.approx(2669 / 12047, abs=1e-6)
    ids = sorted({line.split(",")[0] for line in truth.read_text().splitlines()[1:]})
    empty = table(tmp_path / "empty.csv", dict.fromkeys(ids, "-1"))
    assert run(str(truth), empty, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dice_all"] == found["all_empty"] == pytest.approx(9378 / 12047, abs=1e-6)
    assert found["dice_pos"] == 0


def test_empty_cells_are_negative_only_when_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    truth = table(tmp_path / "t.csv", {"a": "-1", "b": "0 4"})
    submission = table(tmp_path / "s.csv", {"a": "", "b": "0 4"})
    assert run(truth, submission) == 1
    assert "s.csv: line 2: no EncodedPixels" in caplog.text
    assert run(truth, submission, "--json", "--empty-cells", "negative") == 0
    assert json.loads(capsys.readouterr().out)["dice_all"] == 1.0
    (tmp_path / "s.csv").write_text("ImageId,EncodedPixels\na\nb,0 4\n")  # a line that was cut is no empty cell
    assert run(truth, submission, "--empty-cells", "negative") == 1
