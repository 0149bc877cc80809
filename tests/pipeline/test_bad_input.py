"""What a user gets wrong: each mistake ends in a message that names it or in a row of a table; nothing is lost."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline]

Fresh = Callable[[dict[str, Any]], Project]


def fails(project: Project, stage: str, *arguments: str) -> str:
    """Run a stage that must end with a message, not with a traceback."""
    code, told = project.stage(stage, *arguments)
    assert code == 1, told
    return told


def rejected(project: Project, table: str) -> list[dict[str, str]]:
    with (project.root / table).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def own_data(project: Project) -> Project:
    """The phantoms as a user's own folder, apart from the phantom stage's output."""
    shutil.copytree(project.root / "data/phantom", project.root / "own", copy_function=shutil.copy)
    for path in [project.root / "own", *(project.root / "own").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    project.set_params({"data.root": "own", "data.annotations": "own/train-rle.csv"})
    return project


def table(project: Project) -> Path:
    return project.root / "own/train-rle.csv"


def test_no_dicom(own_data: Project):
    (own_data.root / "empty").mkdir()
    (own_data.root / "empty/notes.txt").write_text("nothing here")
    own_data.set_params({"data.root": "empty"})
    output = fails(own_data, "extract")
    assert "data.root" in output
    assert "empty" in output


def test_truncated_dicom_is_a_row(own_data: Project):
    victim = sorted((own_data.root / "own").rglob("*.dcm"))[0]
    victim.write_bytes(victim.read_bytes()[:700])
    before = len(list((own_data.root / "data/images").glob("*.png")))
    assert own_data.stage("extract")[0] == 0
    rows = rejected(own_data, "data/rejected.csv")
    assert [row["source"] for row in rows] == [str(victim.relative_to(own_data.root / "own"))]
    assert rows[0]["reason"]
    assert len(list((own_data.root / "data/images").glob("*.png"))) == before - 1


def test_too_many_rejected_files_stop_the_stage(own_data: Project):
    for victim in sorted((own_data.root / "own").rglob("*.dcm"))[:10]:
        victim.write_bytes(victim.read_bytes()[:700])
    assert "extract.max_rejected_fraction" in fails(own_data, "extract")


def test_table_without_the_column(own_data: Project):
    lines = table(own_data).read_text().splitlines()
    table(own_data).write_text("\n".join(["ImageId,Label", *lines[1:]]) + "\n")
    output = fails(own_data, "masks")
    assert "EncodedPixels" in output
    assert "Label" in output


def test_rle_past_the_image_is_a_row_and_no_negative(own_data: Project):
    lines = table(own_data).read_text().splitlines()
    victim = next(index for index, line in enumerate(lines[1:], 1) if not line.strip().endswith("-1"))
    image_id = lines[victim].split(",")[0].strip()
    lines[victim] = f"{image_id}, 10 99999999"
    table(own_data).write_text("\n".join(lines) + "\n")
    own_data.set_params({"masks.max_rejected_fraction": 0.1})
    assert own_data.stage("masks")[0] == 0
    rows = rejected(own_data, "data/rejected_annotations.csv")
    assert [row["image_id"] for row in rows] == [image_id] or {row["image_id"] for row in rows} == {image_id}
    with (own_data.root / "data/annotations.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["image_id"] == image_id)
    assert (row["annotated"], row["pneumothorax"]) == ("0", "")
    assert not (own_data.root / f"data/masks/{image_id}.png").exists()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"report.no_such_key": 1}, ["report.no_such_key"]),
        ({"train.lr": "fast"}, ["train.lr", "fast"]),
        ({"train.batch_size": 0}, ["train.batch_size", "0"]),
        ({"split.train_folds": [7]}, ["train_folds", "7"]),
    ],
)
def test_wrong_parameters_stop_the_first_stage(fresh: Fresh, values: dict[str, Any], told: list[str]):
    """Even a mistake in the last stage's section is told by the first one, before any work."""
    project = fresh(values)
    output = fails(project, "phantom")
    assert all(part in output for part in told), output
    assert not (project.root / "data/phantom").exists()


def test_unknown_encoder_names_the_nearest(project: Project):
    project.set_params({"model.encoder": "efficientnet-b44"})
    output = fails(project, "train", "--fold", "0")
    assert "model.encoder" in output
    assert "efficientnet-b4" in output


def test_repro_of_wrong_parameters_ends_with_the_message_and_no_traceback(fresh: Fresh):
    result = fresh({"train.lr": "fast"}).dvc("repro", check=False)
    assert result.returncode != 0
    assert "train.lr" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
