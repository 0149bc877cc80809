"""Members of an ensemble: who may predict what, where they come from, and what is said of them."""

import json
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pneumoseg.config.predict import MemberParams
from pneumoseg.predict import bringing, ensemble
from pneumoseg.predict.predicting import predict
from pneumoseg.predict.same_split import TrainedOn, check_same_split
from pneumoseg.revisions import folder_hash
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.lockfile import md5_of
from pneumoseg.shared.tables import PREDICTED, read_table
from tests.predict.network_stubs import (
    PREDICT,
    RUNTIME,
    read_stubs,
    write_data,
    write_folds,
    write_model,
    write_unlabelled,
)
from tests.track.repositories import ENVIRONMENT

pytestmark = pytest.mark.slow

#: Two folds of two images, two test images.
FOLDS = {"a1": "0", "a2": "0", "b1": "1", "b2": "1", "t1": "test", "t2": "test"}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Of this run, whose fold 0 says 0.2 and whose fold 1 says 0.4."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(ensemble, "load_networks", read_stubs)
    layout = write_data(Layout(tmp_path), FOLDS, ("u1",))
    write_model(layout.models / "fold0", 0.2)
    write_model(layout.models / "fold1", 0.4)
    return layout


def member(source: object, weight: float = 1.0, use: str = "both") -> MemberParams:
    return MemberParams(source=str(source), weight=weight, use=use)  # type: ignore[arg-type]


def run(layout: Layout, *entries: MemberParams, **changes: Any) -> dict[str, int]:
    """Left upper grey level of every map."""
    predict(layout, [0, 1], PREDICT.model_copy(update={"members": entries, "batch_size": 2, **changes}), RUNTIME)
    return {path.stem: int(read_png(path)[0, 0]) for path in sorted(layout.predictions.rglob("*.png"))}


def told(layout: Layout) -> dict[str, Any]:
    return json.loads((layout.predictions / "members.json").read_text())


def level(probability: float) -> int:
    return round(probability * 255)


def other(folder: Path, folds: dict[int, float], table: dict[str, str] | None = None) -> Path:
    """A folder of networks, constant by fold, with the folds.csv they were trained on."""
    for fold, value in folds.items():
        write_model(folder / f"fold{fold}", value)
    write_folds(folder / "folds.csv", table or FOLDS)
    return folder


def test_validation_images_are_predicted_by_the_fold_that_left_them_out(layout: Layout, tmp_path: Path):
    # Of its fold 2, which this run did not train, only test images and those without annotation hear.
    found = run(layout, member(other(tmp_path / "theirs", {0: 0.6, 1: 0.8, 2: 0.1}), 4.0))
    mean = (0.2 + 0.4) / 2 * 0.2 + (0.6 + 0.8 + 0.1) / 3 * 0.8
    assert found == {
        "a1": level((0.2 + 4 * 0.6) / 5), "a2": level((0.2 + 4 * 0.6) / 5),
        "b1": level((0.4 + 4 * 0.8) / 5), "b2": level((0.4 + 4 * 0.8) / 5),
        "t1": level(mean), "t2": level(mean), "u1": level(mean),
    }  # fmt: skip
    table = read_table(layout.predictions / "images.csv", PREDICTED).set_index("image_id")
    assert table.at["a1", "probability"] == pytest.approx(0.52, abs=1e-5)
    assert table.at["t1", "probability"] == pytest.approx(mean, abs=1e-5)


def test_members_json_says_what_was_combined(layout: Layout, tmp_path: Path):
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.8})
    write_model(theirs / "fold1/checkpoint2", 0.9)
    run(layout, member(theirs, 0.5, "map"), combine="vote", vote_threshold=0.25)
    content = told(layout)
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
    run(layout, member(theirs, 0.5, "map"), combine="vote", vote_threshold=0.25)
    assert told(layout)["members"][0]["weights_sha256"] != before


def test_one_network_a_fold_leaves_no_members_json(layout: Layout):
    run(layout)
    assert sorted(path.name for path in layout.predictions.iterdir()) == [
        "images.csv", "test", "unlabelled", "validation"
    ]  # fmt: skip


def test_checkpoints_of_a_fold_are_averaged_and_said(layout: Layout):
    write_model(layout.models / "fold0/checkpoint2", 0.5)
    write_model(layout.models / "fold0/checkpoint3", 0.8)
    found = run(layout)
    assert found["a1"] == level((0.2 + 0.5 + 0.8) / 3)
    assert found["t1"] == level((0.2 + 0.5 + 0.8 + 0.4) / 4)
    assert (told(layout)["own"]["networks"], told(layout)["members"]) == (4, [])


def test_without_own_weight_members_predict_alone(layout: Layout, tmp_path: Path):
    shutil.rmtree(layout.models)
    assert run(layout, member(other(tmp_path / "theirs", {0: 0.6, 1: 0.8})), own_weight=0.0)["a1"] == level(0.6)
    assert told(layout)["own"]["networks"] == 0


@pytest.mark.parametrize(
    ("trained", "table", "message"),
    [
        ({0: 0.6, 1: 0.8}, FOLDS | {"a1": "1"}, r"fold 0 was trained on another folds\.csv than .*data/splits/folds"),
        ({1: 0.8}, FOLDS, r"has no network that left fold 0 out \(it has 1\)"),
    ],
    ids=["another split", "a fold not trained"],
)
def test_members_that_may_have_seen_what_is_measured_are_refused(
    layout: Layout, tmp_path: Path, trained, table, message
):
    theirs = other(tmp_path / "theirs", trained, table)
    with pytest.raises(DataError, match=message) as error:
        run(layout, member(theirs, use="image"))
    assert str(error.value).startswith("predict.members, …/theirs: it")
    assert not layout.predictions.exists(), "nothing is written, nothing is lost"


def test_images_learnt_from_without_annotation_count_as_seen(layout: Layout, tmp_path: Path):
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.8})
    for fold in (0, 1):
        write_unlabelled(layout.splits, fold, "u1")
    assert run(layout, member(theirs), own_weight=0.0)["b1"] == level(0.8), "it learnt from none"
    write_unlabelled(theirs, 0, "u1")
    write_unlabelled(theirs, 1, "u1", "b1")
    with pytest.raises(DataError, match=r"fold 1 was trained on another unlabelled_fold1\.csv than .*data/splits/unl"):
        run(layout, member(theirs))


def test_an_external_set_is_predicted_by_the_networks_of_the_main_one(layout: Layout, tmp_path: Path):
    """Its images are all test images; that one of them bears the name of one in data.root says nothing."""
    site = write_data(layout.external("site"), {"a1": "test", "s2": "test"}, ("s3",))
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.8})
    assert run(site, member(theirs)) == {"a1": level(0.5), "s2": level(0.5)}
    write_folds(theirs / "folds.csv", FOLDS | {"a1": "1"})
    with pytest.raises(DataError, match=r"another folds\.csv"):
        run(site, member(theirs))


def test_maps_and_no_maps_together(layout: Layout, tmp_path: Path, without_maps: None):
    theirs = other(tmp_path / "theirs", {0: 0.6, 1: 0.8})
    for fold, value in {0: 0.7, 1: 0.9}.items():
        (theirs / f"fold{fold}/weights.safetensors").write_text(f"{value}")
    for use in ("both", "map"):
        with pytest.raises(DataError, match=rf"…/theirs: use = {use}, but its networks give no map.*set use: image"):
            run(layout, member(theirs, use=use))
    assert run(layout, member(theirs, use="image"))["a1"] == level(0.2)
    table = read_table(layout.predictions / "images.csv", PREDICTED).set_index("image_id")
    assert table.at["a1", "probability"] == pytest.approx((0.2 + 0.7) / 2, abs=1e-5)
    shutil.rmtree(layout.models)
    shutil.copytree(theirs, layout.models)
    assert run(layout) == {}, "no PNG where there is no map"
    table = read_table(layout.predictions / "images.csv", PREDICTED).set_index("image_id")
    assert table.at["b1", "probability"] == pytest.approx(0.9, abs=1e-5)
    with pytest.raises(DataError, match=r"…/others: use = both, but this run's own networks give no map"):
        run(layout, member(other(tmp_path / "others", {0: 0.6, 1: 0.8})))


def test_nobody_can_tell_without_the_folds(layout: Layout, tmp_path: Path):
    (other(tmp_path / "theirs", {0: 0.6, 1: 0.8}) / "folds.csv").unlink()
    with pytest.raises(DataError, match=r"…/theirs: nobody can tell .* fold 0 .*put the folds\.csv \(and unlabelled"):
        run(layout, member(tmp_path / "theirs"))


def test_dvc_lock_of_another_checkout_says_what_its_networks_were_trained_on(layout: Layout, tmp_path: Path):
    theirs = other(tmp_path / "project/data/models", {0: 0.6, 1: 0.8})
    md5 = md5_of(theirs / "folds.csv")
    (theirs / "folds.csv").unlink()
    stage = "  train@{}:\n    cmd: x\n    deps:\n    - path: data/splits/folds.csv\n      md5: {}\n"
    lock = tmp_path / "project/dvc.lock"
    lock.write_text("schema: '2.0'\nstages:\n" + stage.format(0, md5) + stage.format(1, md5))
    assert run(layout, member(theirs))["a1"] == level(0.4)
    lock.write_text("schema: '2.0'\nstages:\n" + stage.format(0, md5) + stage.format(1, "0" * 32))
    with pytest.raises(DataError, match=r"fold 1 was trained on another folds\.csv"):
        run(layout, member(theirs))


def test_a_source_that_is_nothing_says_so(layout: Layout, tmp_path: Path):
    with pytest.raises(DataError, match=r"predict\.members, …/nowhere: no such folder with fold0/"):
        run(layout, member(tmp_path / "nowhere"))


@pytest.fixture
def repository(layout: Layout, tmp_path: Path) -> Path:
    """This run's folder, with git, and dvc.lock and cache as DVC leaves them after folds 0, 1 and 2; tagged b4.

    Fold 2 was trained once and dropped since: dvc.lock still names it.
    """
    for command in ("init -q -b main", "commit -q --allow-empty -m empty"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, env=ENVIRONMENT, check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").touch()
    stages = {}
    for fold, value in {0: 0.6, 1: 0.8, 2: 0.1}.items():
        folder = tmp_path / f"trained/fold{fold}"
        write_model(folder, value)
        files = {path.name: md5_of(path) for path in folder.iterdir()}
        for name, md5 in files.items():
            cache(tmp_path, md5, (folder / name).read_bytes())
        listed = json.dumps([{"md5": files[name], "relpath": name} for name in sorted(files)])
        cache(tmp_path, folder_hash(files), listed.encode())
        deps = [{"path": "data/splits/folds.csv", "md5": md5_of(layout.folds)}]
        outs = [{"path": f"data/models/fold{fold}", "md5": folder_hash(files)}]
        stages[f"train@{fold}"] = {"cmd": "x", "deps": deps, "outs": outs}
    shutil.rmtree(tmp_path / "trained")
    stages["predict"] = {"cmd": "x", "params": {"params.yaml": {"split.train_folds": [0, 1]}}}
    commit(tmp_path, stages, "b4")
    return tmp_path


def cache(root: Path, md5: str, content: bytes) -> None:
    path = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def commit(root: Path, stages: dict[str, Any], tag: str) -> None:
    (root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
    for command in ("add dvc.lock .dvc/config", f"commit -qm {tag}", f"tag -f {tag}"):
        subprocess.run(["git", *command.split()], cwd=root, env=ENVIRONMENT, check=True, capture_output=True)


def test_a_revision_is_brought_once_and_again_when_damaged(
    layout: Layout, repository: Path, monkeypatch: pytest.MonkeyPatch
):
    copied = []
    copy = bringing._copy
    monkeypatch.setattr(bringing, "_copy", lambda *arguments: (copied.append(1), copy(*arguments)))
    (repository / "dvc.lock").write_text("the workspace has moved on")
    assert run(layout, member("b4", 4.0))["a1"] == level((0.2 + 4 * 0.6) / 5)
    (folder,) = (repository / "data/members").iterdir()
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        f"data/models/fold{fold}/{name}" for fold in (0, 1) for name in ("model.json", "weights.safetensors")
    ]
    (entry,) = told(layout)["members"]
    assert (entry["source"], entry["experiment"], entry["folds"]) == ("b4", None, [0, 1])
    assert folder.name == f"b4-{entry['sha'][:10]}"
    run(layout, member("b4", 4.0))
    assert len(copied) == 1
    write_model(folder / "data/models/fold0", 0.99)
    assert run(layout, member("b4", 4.0))["a1"] == level((0.2 + 4 * 0.6) / 5)
    assert len(copied) == 2


def test_what_a_revision_lacks_is_said(layout: Layout, repository: Path):
    with pytest.raises(DataError, match=r"members, b5: neither a git revision nor an experiment.*nor is it a folder"):
        run(layout, member("b5"))
    stages = json.loads((repository / "dvc.lock").read_text())["stages"]
    kept = repository / ".dvc/cache/files/md5"
    shutil.move(kept, repository / "moved")
    with pytest.raises(DataError, match=r"members, b4: data/models/fold0 of .* not in DVC's cache; get it \(dvc fetch"):
        run(layout, member("b4"))
    shutil.move(repository / "moved", kept)
    weights = repository / "w"
    weights.write_text("0.6 0.6")
    (kept / md5_of(weights)[:2] / md5_of(weights)[2:]).write_text("damaged")
    with pytest.raises(DataError, match=r"members, b4: DVC's cache holds damaged files"):
        run(layout, member("b4"))
    stages["train@0"]["deps"][0]["md5"] = "0" * 32
    commit(repository, stages, "unlike")
    with pytest.raises(DataError, match=r"members, unlike: its network of fold 0 was trained on another folds\.csv"):
        run(layout, member("unlike"))
    commit(repository, {"split": {"cmd": "x"}}, "untrained")
    with pytest.raises(DataError, match=r"members, untrained: its dvc\.lock .* records no trained network"):
        run(layout, member("untrained"))
    assert not list((repository / "data/members").iterdir())


def test_weights_started_from_a_file_are_told(layout: Layout, tmp_path: Path, monkeypatch, caplog):
    def started(fold: Path):
        (found,) = read_stubs(fold)
        changed = {"weights": "/secret/nih/w.safetensors"}
        object.__setattr__(found.spec, "params", found.spec.params.model_copy(update=changed))
        return (found,)

    monkeypatch.setattr(ensemble, "load_networks", started)
    with caplog.at_level(logging.WARNING):
        run(layout, member(other(tmp_path / "theirs", {0: 0.6, 1: 0.8})))
    assert "theirs: started from w.safetensors" in caplog.text
    assert told(layout)["members"][0]["started_from"] == ["…/w.safetensors"]


def test_the_same_split_is_the_same_two_files(tmp_path: Path):
    write_folds(tmp_path / "folds.csv", FOLDS)
    write_unlabelled(tmp_path, 0, "u")
    folds, listed = md5_of(tmp_path / "folds.csv"), md5_of(tmp_path / "unlabelled_fold0.csv")
    for unlabelled in (None, listed):
        check_same_split({0: TrainedOn(folds, unlabelled)}, tmp_path, [0])
    for theirs in (TrainedOn(None, None), TrainedOn("0" * 32, listed), TrainedOn(folds, "0" * 32)):
        with pytest.raises(DataError, match="may have seen images, or patients, that it would judge"):
            check_same_split({0: theirs}, tmp_path, [0])
    with pytest.raises(DataError, match=r"fold 1 was trained on another unlabelled_fold1\.csv"):
        check_same_split({1: TrainedOn(folds, listed)}, tmp_path, [1])
