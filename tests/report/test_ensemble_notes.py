"""What the report says of an ensemble, from members.json as predict writes it."""

from pathlib import Path
from typing import Any

from pneumoseg.report.ensemble_notes import ensemble_fingerprints, ensemble_points, others_joined
from pneumoseg.shared.files import write_json
from pneumoseg.shared.layout import Layout

OWN = {
    "weight": 1.0, "folds": [0, 1], "networks": 2, "models": ["unet, resnet18"], "started_from": ["imagenet"],
    "weights_sha256": "a" * 32,
}  # fmt: skip
MEMBER = OWN | {
    "source": "b4", "sha": "0123456789abcdef", "experiment": "b4", "weight": 2.5, "use": "map", "networks": 4,
    "weights_sha256": "b" * 32,
}  # fmt: skip


def write(folder: Path, **changes: Any) -> Layout:
    content = {"combine": "mean", "vote_threshold": None, "own": OWN, "members": [MEMBER]} | changes
    write_json(folder / "data/predictions/members.json", content)
    return Layout(folder)


def test_members_and_weights_are_named(tmp_path: Path):
    first, own, member = ensemble_points(write(tmp_path))
    assert "weighted mean of probability maps" in first
    assert own == "This run: 2 networks (unet, resnet18) of folds 0 and 1, weight 1."
    assert member == "Member b4 (0123456789): 4 networks (unet, resnet18) of folds 0 and 1, weight 2.5, masks alone."
    assert others_joined(Layout(tmp_path)) == " and 1 other experiment"
    assert list(ensemble_fingerprints(Layout(tmp_path))) == [
        ("member b4, commit", "0123456789abcdef"), ("member b4, weights and descriptions", "b" * 32)
    ]  # fmt: skip


def test_votes_unknown_starts_and_a_run_left_out_are_said(tmp_path: Path):
    member = MEMBER | {"source": "…/other", "sha": None, "started_from": ["…/nih.safetensors", "imagenet"]}
    own = OWN | {"weight": 0.0, "folds": [], "networks": 0, "models": [], "weights_sha256": None}
    write(tmp_path, combine="vote", vote_threshold=0.4, own=own, members=[member])
    first, left_out, told = ensemble_points(Layout(tmp_path))
    assert "share of networks whose probability is above 0.4" in first
    assert "no part" in left_out
    assert told.startswith("Member …/other: ")
    assert told.endswith("It started from …/nih.safetensors; what those weights had seen is not known.")


def test_checkpoints_alone_are_no_other_experiments(tmp_path: Path):
    first, own = ensemble_points(write(tmp_path, own=OWN | {"networks": 6}, members=[]))
    assert "several checkpoints of each fold" in first
    assert "6 networks" in own
    assert others_joined(Layout(tmp_path)) == ""


def test_without_the_file_nothing_is_said(tmp_path: Path):
    assert list(ensemble_points(Layout(tmp_path))) == []
    assert list(ensemble_fingerprints(Layout(tmp_path))) == []
    assert others_joined(Layout(tmp_path)) == ""
