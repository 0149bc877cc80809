"""The section on training: only trained folds, a collapse named, damaged files named."""

import json

import pytest

from pneumoseg.report.learning_curves import training_part
from pneumoseg.shared.errors import DataError

SUMMARY = {
    "best_epoch": 2, "epochs": 3, "selection_metric": "dice_all", "val_dice_all": 0.81234, "val_all_empty": 0.75,
    "val_dice_pos": None, "val_collapsed": 0.0, "val_marked_share": 0.4,
}  # fmt: skip
CURVES = """\
epoch,phase,train_loss,val_loss,val_dice_all,val_dice_pos
1,a,0.9,0.8,0.5,
2,a,0.7,0.6,0.8,0.4
3,a,0.6,0.7,0.7,0.5
"""


@pytest.fixture
def folder(tmp_path):
    for fold in (0, 3):
        (tmp_path / f"fold{fold}.json").write_text(json.dumps({"fold": fold, **SUMMARY}))
        (tmp_path / f"fold{fold}.csv").write_text(CURVES)
    return tmp_path


def test_a_fold_that_is_no_longer_trained_is_left_alone(folder):
    (folder / "fold3.csv").write_text("rubbish")
    section = training_part(folder, (0,))
    assert [row[0] for row in section.tables[0].rows] == ["fold 0"]
    assert len(section.drawings) == 2


def test_figures_of_the_kept_epoch(folder):
    section = training_part(folder, (0, 3))
    assert section.tables[0].columns == (
        "", "best epoch", "epochs", "Dice, all images", "all-empty Dice (share of negatives)"
    )  # fmt: skip
    assert section.tables[0].rows[1] == ("fold 3", "2", "3", "0.812", "0.750")
    scores = section.drawings[0][0]
    assert "all-empty Dice" in scores
    assert "best epoch 2" in scores


def test_a_family_without_maps_has_curves_of_what_it_gives(folder):
    summary = {name: value for name, value in SUMMARY.items() if "dice" not in name} | {"val_auc": 0.9}
    (folder / "fold0.json").write_text(json.dumps(summary))
    (folder / "fold0.csv").write_text(
        "epoch,train_loss,val_loss,val_dice_all,val_auc\n1,0.9,0.8,,0.8\n2,0.7,0.6,,0.9\n"
    )
    part = training_part(folder, (0,))
    assert "AUC" in part.drawings[0][0]
    assert "Dice" not in part.drawings[0][0]
    assert "Dice, all images" not in part.tables[0].columns
    assert not any("Dice" in caption for _, caption in part.drawings)


def test_a_collapse_and_a_figure_that_stands_still_are_told(folder):
    told = {"collapse": "every map is empty", "unmoved_since": 1}
    (folder / "fold0.json").write_text(json.dumps(SUMMARY | told))
    notes = " ".join(training_part(folder, (0, 3)).notes)
    assert "Fold 0 collapsed" in notes
    assert "every map is empty" in notes
    assert "dice_all, has not moved since epoch 1" in notes
    assert "Fold 3" not in notes


def test_what_was_kept_and_taught_is_said(folder):
    added = {"n_pseudo_positive": 3, "n_pseudo_negative": 9, "n_pseudo_unsure": 2}
    for kept, words in (("averaged", "Averaged weights were kept"), ("last", "weights of the last epoch")):
        summary = SUMMARY | {"selection_metric": "iou", "kept": kept, "n_mean_teacher": 7} | added
        (folder / "fold0.json").write_text(json.dumps(summary))
        notes = " ".join(training_part(folder, (0,)).notes)
        assert words in notes
        assert "7 images without annotation took part" in notes
        assert "added 3 positive and 9 negative images; 2 unsure" in notes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fold0.csv", None, "fold0.csv: not there"),
        ("fold0.csv", "", "fold0.csv: not readable as CSV"),
        ("fold0.csv", "step,loss\n1,2\n", "fold0.csv: no column epoch; it has step, loss"),
        ("fold0.json", None, "fold0.json: not there"),
        ("fold0.json", "[]", "fold0.json: must hold"),
    ],
)
def test_a_damaged_file_is_named(folder, name, content, message):
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    with pytest.raises(DataError, match=message):
        training_part(folder, (0,))
