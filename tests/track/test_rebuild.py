"""Rows rebuilt from files, on a small pipeline that DVC really ran."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run

from pneumoseg import revisions
from pneumoseg.commands.cli import main
from pneumoseg.config import load_params
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.fingerprints import config_key
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.lockfile import LockedStage
from pneumoseg.track import fold_run, record_report, record_test
from pneumoseg.track.configuration import Configuration
from pneumoseg.track.model_packaging import logged_bundles
from pneumoseg.track.provenance import locked_params
from pneumoseg.track.rebuild import Outcome, read_curves, rebuild
from pneumoseg.track.rows import open_row
from pneumoseg.track.store import open_store
from tests.conftest import MakeOnce
from tests.track.repositories import shell
from tests.track.tracking_files import REPO, _database, edit_params, make_project, train_key_of


@pytest.fixture(scope="session")
def ran(make_once: MakeOnce) -> Path:
    """A repository after dvc repro, a commit, and one experiment with another learning rate; only to read."""

    def run(root: Path) -> None:
        make_project(root, outputs=False)
        (root / ".gitignore").write_text("/data/\n/mlflow.db*\n/mlartifacts/\n__pycache__/\n")
        shell(root, "git", "init", "-q", "-b", "main")
        shell(root, "dvc", "init", "-q")
        (root / ".dvcignore").write_text("__pycache__\nmlflow.db*\nmlartifacts\n")
        shell(root, "dvc", "repro", "-q")
        shell(root, "git", "add", "-A")
        shell(root, "git", "commit", "-qm", "first")
        shell(root, "dvc", "exp", "run", "-q", "--temp", "-n", "fast-owl", "-S", "train.lr=0.0625")

    return make_once("tracked", run)


@pytest.fixture
def repo(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that repository to work in."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "repo"
    shutil.copytree(ran, root, symlinks=True)
    (root / "mlflow.db").write_bytes(_database())
    monkeypatch.chdir(root)
    return root


def track(root: Path, *names: str) -> Outcome:
    sources = [revisions.resolve(root, name) for name in names] or [None]
    (outcome,) = rebuild(root, load_params(root / "params.yaml"), sources)
    return outcome


def top_rows(root: Path) -> list[Run]:
    return open_store(root, load_params(root / "params.yaml").tracking).search("tags.config_key LIKE '%'")


def fold_runs(root: Path) -> list[Run]:
    return open_store(root, load_params(root / "params.yaml").tracking).search("tags.fold LIKE '%'")


@pytest.mark.slow
def test_a_deleted_database_comes_back_from_files(repo: Path) -> None:
    params = load_params()
    with fold_run(Layout(repo), params, 0, train_key_of(repo)) as run:
        for row in read_curves(repo / "metrics/train/fold0.csv"):
            run.log_epoch(int(row["epoch"]), row)
        run.finish({"best_epoch": 2, "val_dice_pos": 0.25}, {"seconds": 3.0})
    record_test(Layout(repo), params)
    record_report(Layout(repo), params)
    assert track(repo).done == []
    (live,), (live_fold,) = top_rows(repo), fold_runs(repo)

    (repo / "mlflow.db").unlink()
    shutil.rmtree(repo / "mlartifacts")
    (repo / "other.db").write_bytes(_database())
    edit_params(repo, tracking={"uri": "sqlite:///other.db"})  # MLflow keeps its connection to the deleted file
    assert track(repo).done == ["fold 0", "test metrics", "report"]
    (row,), (fold,) = top_rows(repo), fold_runs(repo)
    assert row.data.params == live.data.params
    assert row.data.metrics == {name: value for name, value in live.data.metrics.items() if name != "seconds"}
    assert fold.data.metrics == live_fold.data.metrics
    assert "cost/seconds" in live_fold.data.tags
    own = {"config_key", "data_fingerprint", "train_key.fold0", "recorded.test", "recorded.report", "phantom"}
    assert {name: row.data.tags[name] for name in own} == {name: live.data.tags[name] for name in own}
    assert row.data.tags["rebuilt"] == "true"
    assert (row.info.status, fold.info.status) == ("FINISHED", "FINISHED")
    assert track(repo) == Outcome("workspace")
    assert len(top_rows(repo)) == len(fold_runs(repo)) == 1


@pytest.mark.slow
def test_the_model_comes_back_from_the_bundle_of_dvcs_cache(repo: Path) -> None:
    served = Path("src/pneumoseg/track/served_model.py")
    (repo / served).parent.mkdir()
    shutil.copy(REPO / served, repo / served)
    params = edit_params(repo, tracking={"log_model": True})
    shutil.rmtree(repo / "data/bundle")
    assert track(repo).done == ["fold 0", "test metrics", "report", "model"]
    (row,) = top_rows(repo)
    assert row.data.tags["recorded.model"] == "x"
    assert len(logged_bundles(open_store(repo, params.tracking), row)) == 1
    assert track(repo) == Outcome("workspace")


@pytest.mark.slow
def test_a_fold_and_a_set_that_are_gone_stay_in_dvc_lock_and_are_no_hindrance(repo: Path) -> None:
    lock = (repo / "dvc.lock").read_text()
    (repo / "dvc.lock").write_text(
        f"""{lock}
  train@3: {{cmd: x, params: {{params.yaml: {{train: other}}}}, outs: [{{path: metrics/train/fold3.json, md5: gone}}]}}
  external_evaluate@a: {{cmd: x, outs: [{{path: metrics/external/a/figures.json, md5: gone}}]}}
"""
    )
    assert track(repo).done == ["fold 0", "test metrics", "report"]


@pytest.mark.slow
def test_parameters_edited_since_are_not_recorded_beside_old_metrics(repo: Path) -> None:
    before = load_params().train.lr
    edit_params(repo, train={"lr": 0.4321}, split={"train_folds": [1, 2]})
    assert track(repo).done == ["fold 0", "test metrics", "report"]
    (row,) = top_rows(repo)
    assert float(row.data.params["train.lr"]) == before
    assert row.data.params["split.train_folds"] == "[0]"


@pytest.mark.slow
def test_training_alone_does_not_carry_old_test_metrics_along(repo: Path) -> None:
    edit_params(repo, train={"lr": 0.4321})
    shell(repo, "dvc", "repro", "-q", "train@0")
    outcome = track(repo)
    assert outcome.done == ["fold 0"]
    assert outcome.skipped == [
        "test metrics: data/models, which stage predict read, is not what stage train@0 made last: dvc repro first"
    ]
    (row,) = top_rows(repo)
    assert row.data.params["train.lr"] == "0.4321"
    assert "dice_all" not in row.data.metrics


@pytest.mark.slow
def test_changed_code_metrics_and_an_empty_cache_are_told(repo: Path) -> None:
    code, metrics = repo / "src/pneumoseg/__init__.py", repo / "metrics/train/fold0.json"
    originals = code.read_text(), metrics.read_text()
    code.write_text("# edited\n")
    assert track(repo).skipped == ["code has changed since the stages ran (src/pneumoseg/__init__.py): dvc repro first"]
    code.write_text(originals[0])
    metrics.write_text("{}")
    assert track(repo).skipped == ["training: metrics/train/fold0.json: not as the stage wrote it; dvc repro first"]
    metrics.write_text(originals[1])
    pipeline = (repo / "dvc.yaml").read_text()
    (repo / "dvc.yaml").write_text(pipeline.replace("src/pneumoseg/__init__.py, ", ""))
    assert "dvc.yaml (stage evaluate)" in track(repo).skipped[0]
    (repo / "dvc.yaml").write_text(pipeline)
    shutil.rmtree(repo / ".dvc/cache")
    (reason,) = track(repo).skipped
    assert reason.endswith("data/splits: not in DVC's cache, so nobody can tell what belongs together: dvc pull first")
    assert top_rows(repo) == []


@pytest.mark.slow
def test_experiments_and_commits_by_name(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "src/pneumoseg/__init__.py").write_text("# the workspace has moved on\n")
    assert main(["track", "fast-owl", "HEAD"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "fast-owl: rebuilt fold 0, test metrics, report",
        "HEAD: rebuilt fold 0, test metrics, report",
    ]
    head, owl = top_rows(repo)
    assert owl.data.params["train.lr"] == "0.0625"
    assert owl.info.run_name == owl.data.tags["dvc.exp_name"] == "fast-owl"
    assert owl.data.tags["dvc.baseline_rev"] == head.data.tags["mlflow.source.git.commit"]
    assert "dvc.exp_name" not in head.data.tags
    assert main(["track", "--all-experiments"]) == 0
    assert capsys.readouterr().out.splitlines() == ["fast-owl: nothing is missing"]
    assert main(["track", "no-such"]) == 1
    assert "no-such: neither a git revision nor an experiment" in capsys.readouterr().err


@pytest.mark.slow
def test_a_fresh_clone_has_nothing_to_rebuild(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    make_project(tmp_path, outputs=False)
    shell(tmp_path, "git", "init", "-q", "-b", "main")
    shell(tmp_path, "dvc", "init", "-q")
    (tmp_path / "mlflow.db").write_bytes(_database())
    monkeypatch.chdir(tmp_path)
    assert main(["track"]) == 0
    assert capsys.readouterr().out == "workspace: not rebuilt: nothing has been trained yet\n"


@pytest.mark.slow
def test_revisions_export_what_the_lock_names(repo: Path, tmp_path: Path) -> None:
    (repo / "data/predictions/images.csv").unlink()
    (repo / "data/predictions/images.csv").write_text("not the recorded one")
    wanted = [
        "data/predictions",
        "data/splits/folds.csv",
        "metrics",
        "params.yaml",
        "data/none",
        "data/models/fold3",
    ]
    for sha in (None, revisions.resolve(repo, "HEAD").sha):
        target, snapshot = tmp_path / str(sha), revisions.Snapshot(repo, sha)
        code = {path: md5 for path, md5 in snapshot.stages["train@0"].deps.items() if path.startswith("src/")}
        assert snapshot.hashes([*code, "src/none"]) == code | {"src/none": None}
        assert snapshot.export(wanted, target) == ["data/none", "data/models/fold3"]
        assert len((target / "data/predictions/images.csv").read_text()) == 64
        assert (target / "data/splits/folds.csv").read_text().startswith("image_id,patient,fold")
        assert (target / "metrics/plots/roc.csv").read_text() == "x,y\n0,1\n"
    (experiment,) = revisions.experiments(repo)
    assert (experiment.name, experiment.baseline) == ("fast-owl", revisions.resolve(repo, "main").sha)
    assert revisions.resolve(repo, "fast") == replace(experiment, name="fast")
    assert revisions.resolve(repo, experiment.sha[:9]).experiment == "fast-owl"
    with pytest.raises(DataError, match="not a DVC repository under git"):
        revisions.resolve(tmp_path, "HEAD")
    with pytest.raises(DataError, match="not a DVC repository under git"):
        revisions.Snapshot(tmp_path).hashes(["src"])


@pytest.mark.slow
def test_the_row_of_a_revision_that_is_older_than_a_parameter_is_found(repo: Path) -> None:
    params = load_params()
    for name in ("params.yaml", "dvc.lock"):
        lines = (repo / name).read_text().splitlines()
        (repo / name).write_text("\n".join(line for line in lines if "vote_threshold: 0.5" not in line) + "\n")
    values = params.model_dump(mode="json")
    del values["predict"]["vote_threshold"]
    then = replace(Configuration.of(repo, params, {}), key=config_key(repo, values))
    open_row(open_store(repo, params.tracking), then)
    assert track(repo).done == ["fold 0", "test metrics", "report"]
    (row,) = top_rows(repo)
    assert row.data.tags["config_key"] == then.key
    assert row.data.params["predict.vote_threshold"] == "0.5"


def test_parameters_come_from_the_lock() -> None:
    stages = {
        "split": LockedStage({"split": {"seed": 1, "train_folds": [0]}}, {}, {}),
        "train@0": LockedStage({"train": {"lr": 1.0}}, {}, {}),
        "predict": LockedStage({"split.train_folds": [0], "data.root": "d"}, {}, {}),
    }
    split = {"seed": 2, "train_folds": [0, 1]}
    content = {"split": split, "train": {"lr": 3.0, "new": 1}, "data": {"root": "e", "x": 1}}
    assert locked_params(content, stages) == {
        "split": {"seed": 1, "train_folds": [0]}, "train": {"lr": 1.0}, "data": {"root": "d", "x": 1},
    }  # fmt: skip
    assert split["seed"] == 2
    with pytest.raises(DataError, match=r"stage predict ran with another split\.train_folds"):
        locked_params(content, stages | {"predict": LockedStage({"split.train_folds": [1]}, {}, {})})
    with pytest.raises(DataError, match=r"stage train@1 ran with another train"):
        locked_params(content, stages | {"train@1": LockedStage({"train": {"lr": 2.0}}, {}, {})})


def test_curves_are_numbers_where_they_can_be(tmp_path: Path) -> None:
    path = tmp_path / "fold0.csv"
    path.write_text("epoch,phase,loss\n1,first,\n2,2,0.5\n")
    assert read_curves(path) == [{"epoch": 1, "phase": "first"}, {"epoch": 2, "phase": "2", "loss": 0.5}]
    path.write_text("step,loss\n1,2\n")
    with pytest.raises(DataError, match="no column epoch"):
        read_curves(path)
    with pytest.raises(DataError, match="not there"):
        read_curves(tmp_path / "none.csv")
