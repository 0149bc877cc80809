"""Members of an ensemble: who may predict what, where they come from, and what is said of them."""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from pneumoseg.config.predict import MemberParams
from pneumoseg.predict import ensemble, members
from pneumoseg.predict.bringing import Repository, md5_of
from pneumoseg.predict.predicting import predict
from pneumoseg.predict.seen_images import Families, Judges, Pool, known_patients
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png
from pneumoseg.shared.lockfile import LockedStage
from pneumoseg.shared.tables import METADATA, PREDICTED, UNLABELLED, read_table, write_table
from tests.predict.network_stubs import PREDICT, read_stubs, write_data, write_folds, write_model

#: Two folds of two images, two test images; a1 and a2 are of one patient.
FOLDS = {"a1": "0", "a2": "0", "b1": "1", "b2": "1", "t1": "test", "t2": "test"}
PATIENTS = {"a1": "P", "a2": "P"}


@pytest.fixture(autouse=True)
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "load_networks", read_stubs)
    monkeypatch.setattr(members, "load_networks", read_stubs)


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """Arguments of predict for this run, whose fold 0 says 0.2 and whose fold 1 says 0.4."""
    write_model(tmp_path / "models/fold0", 0.2, data="d0")
    write_model(tmp_path / "models/fold1", 0.4, data="d1")
    return write_data(tmp_path, FOLDS, ("u1",), PATIENTS) | {
        "models": tmp_path / "models", "train_folds": [0, 1], "out": tmp_path / "out"
    }  # fmt: skip


def member(source: object, weight: float = 1.0, use: str = "both") -> MemberParams:
    return MemberParams(source=str(source), weight=weight, use=use)  # type: ignore[arg-type]


def params(*entries: MemberParams, **changes: Any):
    return PREDICT.model_copy(update={"members": entries, "batch_size": 2, **changes})


def values(out: Path) -> dict[str, int]:
    """Left upper grey level of every map."""
    return {path.stem: int(read_png(path)[0, 0]) for path in sorted(out.rglob("*.png"))}


def level(probability: float) -> int:
    return round(probability * 255)


def other(folder: Path, folds: dict[int, float], table: dict[str, str], patients: dict[str, str] | None = None) -> Path:
    """A folder of networks, constant by fold, with the folds.csv they were trained on."""
    for fold, value in folds.items():
        write_model(folder / f"fold{fold}", value)
    write_folds(folder / "folds.csv", table, patients)
    return folder


def test_validation_images_are_predicted_by_the_fold_that_left_them_out(data: dict[str, Any], tmp_path: Path):
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.8}, FOLDS, PATIENTS)
    predict(**data, params=params(member(theirs, 4.0)))
    mean = (0.2 + 0.4) / 2 * 0.2 + (0.6 + 0.8) / 2 * 0.8
    assert values(data["out"]) == {
        "a1": level((0.2 + 4 * 0.6) / 5), "a2": level((0.2 + 4 * 0.6) / 5),
        "b1": level((0.4 + 4 * 0.8) / 5), "b2": level((0.4 + 4 * 0.8) / 5),
        "t1": level(mean), "t2": level(mean), "u1": level(mean),
    }  # fmt: skip
    table = read_table(data["out"] / "images.csv", PREDICTED).set_index("image_id")
    assert table.at["a1", "probability"] == pytest.approx(0.52, abs=1e-6)
    assert table.at["t1", "probability"] == pytest.approx(mean, abs=1e-6)


def test_members_json_says_what_was_combined(data: dict[str, Any], tmp_path: Path):
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.8}, FOLDS)
    write_model(theirs / "fold1/checkpoint2", 0.9)
    predict(**data, params=params(member(theirs, 0.5, "map"), combine="vote", vote_threshold=0.25))
    content = json.loads((data["out"] / "members.json").read_text())
    assert str(tmp_path) not in json.dumps(content)
    (entry,) = content["members"]
    assert {key: entry[key] for key in ("source", "sha", "experiment", "weight", "use", "folds", "networks")} == {
        "source": "…/theirs", "sha": None, "experiment": None, "weight": 0.5, "use": "map", "folds": [0, 1],
        "networks": 3,
    }  # fmt: skip
    assert (content["combine"], content["vote_threshold"]) == ("vote", 0.25)
    assert (content["own"]["weight"], content["own"]["networks"]) == (1.0, 2)
    before = entry["weights_sha256"]
    write_model(theirs / "fold0", 0.61)
    predict(**data, params=params(member(theirs, 0.5, "map"), combine="vote", vote_threshold=0.25))
    (entry,) = json.loads((data["out"] / "members.json").read_text())["members"]
    assert entry["weights_sha256"] != before


def test_one_network_a_fold_leaves_no_members_json(data: dict[str, Any]):
    predict(**data, params=params())
    assert sorted(path.name for path in data["out"].iterdir()) == ["images.csv", "test", "unlabelled", "validation"]


def test_checkpoints_of_a_fold_are_averaged_and_said(data: dict[str, Any]):
    write_model(data["models"] / "fold0/checkpoint2", 0.5)
    write_model(data["models"] / "fold0/checkpoint3", 0.8)
    predict(**data, params=params())
    found = values(data["out"])
    assert found["a1"] == level((0.2 + 0.5 + 0.8) / 3)
    assert found["t1"] == level((0.2 + 0.5 + 0.8 + 0.4) / 4)
    content = json.loads((data["out"] / "members.json").read_text())
    assert content["own"]["networks"] == 4
    assert content["members"] == []


def test_without_own_weight_members_predict_alone(data: dict[str, Any], tmp_path: Path):
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.8}, FOLDS)
    shutil.rmtree(data["models"] / "fold0")
    predict(**data, params=params(member(theirs), own_weight=0.0))
    assert values(data["out"])["a1"] == level(0.6)
    assert json.loads((data["out"] / "members.json").read_text())["own"]["networks"] == 0


ONE_TRAINED = {1: 0.8}
TESTED = FOLDS | {"t2": "0"}


@pytest.mark.parametrize(
    ("trained", "table", "patients", "message"),
    [
        ({0: 0.6, 1: 0.8}, FOLDS | {"a1": "1", "a2": "0"}, {}, r"2 of 2 validation images of fold 0.*a1.*fold 0 and 1"),
        (ONE_TRAINED, FOLDS, PATIENTS, r"a1.*has no network that left fold 0 out \(it has 1\)"),
        ({0: 0.6, 1: 0.8}, TESTED, PATIENTS, r"1 of 2 test images.*t2.*chosen on it"),
        # a1 is unknown there, but another image of its patient is not.
        ({0: 0.6}, {"a2": "1", "b1": "0", "b2": "0"}, {}, r"2 of 2.*a1: it, or another.*patient, is in fold 1 of"),
        # Only the member's own table knows that t1 and b9 are one patient.
        ({0: 0.6, 1: 0.8}, FOLDS | {"b9": "1"}, PATIENTS | {"b9": "R", "t1": "R"}, r"t1.*fold 1 of that split"),
    ],
    ids=[
        "a patient on two sides",
        "a fold not trained",
        "a test image in a fold",
        "by our patients",
        "by their patients",
    ],
)
def test_members_that_have_seen_what_is_measured_are_refused(
    data: dict[str, Any], tmp_path: Path, trained, table, patients, message
):
    theirs = other(tmp_path / "theirs", trained, table, patients)
    with pytest.raises(DataError, match=message) as error:
        predict(**data, params=params(member(theirs, use="image")))
    assert "…/theirs" in str(error.value)
    assert "same split" in str(error.value)
    assert not data["out"].exists(), "nothing is written, nothing is lost"


def test_another_split_is_fine_where_whole_families_were_left_out(data: dict[str, Any], tmp_path: Path):
    # Their folds have other numbers, b2 is a test image there and x is unknown here.
    table = {"a1": "2", "a2": "2", "b1": "0", "b2": "test", "x": "1", "t1": "test"}
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.9, 2: 0.3}, table, PATIENTS)
    predict(**data, params=params(member(theirs), own_weight=0.0))
    found = values(data["out"])
    assert (found["a1"], found["b1"], found["b2"]) == (level(0.3), level(0.6), level(0.6))
    assert found["t2"] == level(0.6), "unknown there: all its networks"


def test_images_learnt_from_without_annotation_count_as_seen(data: dict[str, Any], tmp_path: Path):
    table = {name: fold for name, fold in FOLDS.items() if name != "b1"}
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.8}, table, PATIENTS)
    for fold in (0, 1):
        write_table(theirs / f"unlabelled_fold{fold}.csv", pd.DataFrame({"image_id": ["b1"]}), UNLABELLED)
    with pytest.raises(DataError, match=r"b1.*without annotation that it may learn from"):
        predict(**data, params=params(member(theirs)))
    (theirs / "unlabelled_fold1.csv").unlink()
    predict(**data, params=params(member(theirs), own_weight=0.0))
    assert values(data["out"])["b1"] == level(0.8)


def test_patients_of_another_hospital_are_not_compared(data: dict[str, Any], tmp_path: Path):
    """An external set: all images are tested on, and patient P there is not the P of data.root."""
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.8}, FOLDS, PATIENTS)
    site = write_data(tmp_path / "site", {"s1": "test", "s2": "test"}, (), {"s1": "P", "s2": "P"})
    given = data | site | {"out": tmp_path / "site_out"}
    with pytest.raises(DataError, match="s1"):
        predict(**given, params=params(member(theirs)))
    predict(**given, params=params(member(theirs)), split=data["folds"])
    assert values(given["out"])["s1"] == level(0.5)


def test_without_a_table_the_data_of_training_must_be_ours(data: dict[str, Any], tmp_path: Path):
    theirs = tmp_path / "theirs"
    write_model(theirs / "fold0", 0.6, data="d0")
    write_model(theirs / "fold1", 0.8, data="d1")
    predict(**data, params=params(member(theirs)))
    assert values(data["out"])["a1"] == level(0.4)
    write_model(theirs / "fold1", 0.8, data="elsewhere")
    with pytest.raises(DataError, match=r"theirs: nobody can tell which images the network of fold 1 .*folds\.csv"):
        predict(**data, params=params(member(theirs)))


def test_the_split_of_another_checkout_must_be_the_one_trained_on(data: dict[str, Any], tmp_path: Path):
    project = tmp_path / "project"
    theirs = other(project / "data/models", {0: 0.6, 1: 0.8}, FOLDS)
    (project / "data/splits").mkdir()
    shutil.move(theirs / "folds.csv", project / "data/splits/folds.csv")
    md5 = md5_of(project / "data/splits/folds.csv")
    stage = "  train@{}:\n    cmd: x\n    deps:\n    - path: data/splits/folds.csv\n      md5: {}\n"
    (project / "dvc.lock").write_text("schema: '2.0'\nstages:\n" + stage.format(0, md5) + stage.format(1, md5))
    predict(**data, params=params(member(theirs)))
    (project / "dvc.lock").write_text("schema: '2.0'\nstages:\n" + stage.format(0, md5) + stage.format(1, "0" * 32))
    with pytest.raises(DataError, match=r"fold 1 was trained on another data/splits/folds\.csv"):
        predict(**data, params=params(member(theirs)))


def test_a_source_that_is_nothing_says_so(data: dict[str, Any], tmp_path: Path):
    with pytest.raises(DataError, match=r"predict\.members, …/nowhere: no such folder with fold0/"):
        predict(**data, params=params(member(tmp_path / "nowhere")))


@dataclass
class FakeRevisions:
    """pneumoseg.shared.revisions for one revision, whose cache is a folder."""

    cache: Path
    stages: dict[str, LockedStage]
    missing: tuple[str, ...] = ()
    exported: int = 0

    def resolve(self, root: Path, name: str):
        if name != "b4":
            raise DataError(f"{name}: neither a git revision nor an experiment; see git log and dvc exp list -A")
        return SimpleNamespace(sha="1234567890abcdef", experiment="b4")

    def lock(self, root: Path, sha: str | None):
        return self.stages

    def recorded(self, root: Path, sha: str | None, path: str):
        files = [file for file in sorted((self.cache / path).rglob("*")) if file.is_file()]
        return {str(file.relative_to(self.cache)): md5_of(file) for file in files}

    def export(self, root: Path, sha: str | None, paths: list[str], target: Path) -> list[str]:
        self.exported += 1
        for path in paths:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.cache / path, target / path)
        return list(self.missing)


@pytest.fixture
def revision(tmp_path: Path) -> FakeRevisions:
    cache = tmp_path / "cache"
    for fold, value in {0: 0.6, 1: 0.8, 2: 0.1}.items():
        write_model(cache / f"data/models/fold{fold}", value)
    write_folds(cache / "data/splits/folds.csv", FOLDS, PATIENTS)
    (cache / "data/splits/augmentations.png").write_text("not needed")
    deps = {"data/splits/folds.csv": md5_of(cache / "data/splits/folds.csv")}
    stages = {f"train@{fold}": LockedStage({}, deps, {}) for fold in (0, 1, 2)}
    # Fold 2 was trained once and dropped since: dvc.lock still names it.
    return FakeRevisions(cache, stages | {"predict": LockedStage({"split.train_folds": [0, 1]}, {}, {})})


def test_a_revision_is_brought_once_and_again_when_damaged(
    data: dict[str, Any], tmp_path: Path, revision: FakeRevisions
):
    repository = Repository(tmp_path / "root", "code", revision)
    given = data | {"params": params(member("b4", 4.0)), "repository": repository}
    predict(**given)
    assert values(data["out"])["a1"] == level((0.2 + 4 * 0.6) / 5)
    folder = tmp_path / "root/data/members/b4-1234567890"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        f"data/models/fold{fold}/{name}" for fold in (0, 1) for name in ("model.json", "weights.safetensors")
    ] + ["data/splits/folds.csv"]
    (entry,) = json.loads((data["out"] / "members.json").read_text())["members"]
    assert (entry["source"], entry["sha"], entry["experiment"], entry["folds"]) == (
        "b4", "1234567890abcdef", "b4", [0, 1]
    )  # fmt: skip
    predict(**given)
    assert revision.exported == 1
    write_model(folder / "data/models/fold0", 0.99)
    predict(**given)
    assert revision.exported == 2
    assert values(data["out"])["a1"] == level((0.2 + 4 * 0.6) / 5)
    assert not list((tmp_path / "root").rglob(".bringing*"))


def test_what_a_revision_lacks_is_said(data: dict[str, Any], tmp_path: Path, revision: FakeRevisions):
    repository = Repository(tmp_path / "root", "code", revision)
    given = data | {"params": params(member("b4")), "repository": repository}
    revision.missing = ("data/models/fold1/weights.safetensors",)
    with pytest.raises(DataError, match=r"members, b4: data/models/fold1/weights.*dvc exp pull REMOTE b4"):
        predict(**given)
    assert not (tmp_path / "root/data/members/b4-1234567890").exists()
    with pytest.raises(DataError, match=r"members, b5: neither a git revision nor an experiment.*nor is it a folder"):
        predict(**data, params=params(member("b5")), repository=repository)
    revision.stages = {"split": LockedStage({}, {}, {})}
    with pytest.raises(DataError, match=r"records no trained network"):
        predict(**given)
    revision.stages = {"train@0": LockedStage({}, {"data/splits/folds.csv": "0" * 32}, {})}
    with pytest.raises(DataError, match=r"fold 0 was trained on another"):
        predict(**given)


def test_weights_started_from_a_file_are_told(data: dict[str, Any], tmp_path: Path, monkeypatch, caplog):
    def started(fold: Path):
        (found,) = read_stubs(fold)
        object.__setattr__(
            found.spec, "params", found.spec.params.model_copy(update={"weights": "/secret/nih/w.safetensors"})
        )
        return (found,)

    monkeypatch.setattr(members, "load_networks", started)
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.8}, FOLDS)
    with caplog.at_level(logging.WARNING):
        predict(**data, params=params(member(theirs)))
    assert "theirs: started from w.safetensors" in caplog.text
    (entry,) = json.loads((data["out"] / "members.json").read_text())["members"]
    assert entry["started_from"] == ["…/w.safetensors"]


def test_families_are_joined_through_any_table():
    families = Families({"a": "P", "b": "Q"}, {"b": "P2", "c": "P2", "d": "image:e"})
    assert families.of("b") == families.of("c")
    assert families.of("a") != families.of("b")
    assert families.of("d") == families.of("e")
    joined = Families({"a": "P", "b": "Q"}, {"a": "R", "b": "R"})
    assert joined.of("a") == joined.of("b")


def test_a_network_judges_what_it_left_out():
    pool = Pool({"a": "0", "b": "1", "t": "test"}, {}, {1: frozenset({"u"})})
    judges = Judges(pool, (0, 1), Families())
    assert [judges.of(name, tested=False) for name in "abtux"] == [(0,), (1,), (0, 1), (0,), (0, 1)]
    assert [judges.of(name, tested=True) for name in "abtux"] == [(), (), (0, 1), (), (0, 1)]


def test_patients_of_unannotated_images_count_where_the_split_goes_by_patient_id(tmp_path: Path):
    described = pd.DataFrame({"image_id": ["a", "b", "u"], "patient_id": ["P", "", "P"]})
    write_table(tmp_path / "metadata.csv", described, METADATA)
    write_folds(tmp_path / "folds.csv", {"a": "0", "b": "1"}, {"a": "P"})
    paths = tmp_path / "folds.csv", tmp_path / "metadata.csv"
    assert known_patients(*paths) == {"a": "P", "b": "image:b", "u": "P"}
    # By a table of the user's: PatientID there may be one word for everybody.
    write_folds(tmp_path / "folds.csv", {"a": "0", "b": "1"})
    assert known_patients(*paths) == {"a": "image:a", "b": "image:b"}
