"""A training followed live: one row, nested runs, curves, what a broken run and a broken store leave."""

import contextlib
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from pneumoseg.config import Params
from pneumoseg.shared.layout import Layout
from pneumoseg.track import fold_run, record_report, record_test
from pneumoseg.track.store import Store, open_store
from tests.track.tracking_files import edit_params, figures, make_project, make_repository, train_key_of

pytestmark = pytest.mark.slow


@pytest.fixture
def params(tmp_path: Path) -> Params:
    make_repository(tmp_path)
    return make_project(tmp_path)


def opened(root: Path, params: Params) -> Store:
    return open_store(root, params.tracking)


def top_rows(root: Path, params: Params) -> list[Run]:
    return opened(root, params).search("tags.config_key LIKE '%'")


def fold_runs(root: Path, params: Params) -> list[Run]:
    return opened(root, params).search("tags.fold LIKE '%'")


def curve(root: Path, params: Params, run: Run, name: str) -> list[tuple[int, float]]:
    return [
        (point.step, point.value) for point in opened(root, params).client.get_metric_history(run.info.run_id, name)
    ]


def train(root: Path, params: Params, epochs: range, *, fold: int = 0, finish: bool = True) -> None:
    with fold_run(Layout(root), params, fold, train_key_of(root)) as run:
        for epoch in epochs:
            run.log_epoch(
                epoch, {"epoch": epoch, "phase": "only", "val_dice_pos": epoch / 8, "gone": None}, {"seconds": 2.0}
            )
        if finish:
            run.finish(
                {"best_epoch": 3, "val_dice_pos": 0.375, "metric": "x"}, {"seconds": 8.0, "images_per_second": 4.0}
            )


def test_one_row_holds_every_parameter_and_its_fold_the_curves(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "able-cat")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc")
    monkeypatch.setenv("DVC_STAGE", "train@0")
    train(tmp_path, params, range(1, 4))
    (row,), (run,) = top_rows(tmp_path, params), fold_runs(tmp_path, params)
    assert row.info.run_name == "able-cat"
    assert (row.info.status, run.info.status) == ("FINISHED", "FINISHED")
    assert row.data.params["model.encoder"] == params.model.encoder
    assert row.data.params["split.train_folds"] == "[0]"
    assert not any(name.startswith(("tracking", "runtime")) for name in row.data.params)
    wanted = {"dvc.exp_name": "able-cat", "dvc.baseline_rev": "abc", "dvc.stage": "train@0", "phantom": "true"}
    assert wanted.items() <= row.data.tags.items()
    assert "Phantom data" in row.data.tags["mlflow.note.content"]
    assert row.data.tags["data_fingerprint"] == row.inputs.dataset_inputs[0].dataset.digest
    assert row.data.tags["train_key.fold0"] == train_key_of(tmp_path)
    assert row.data.tags["run_id.fold0"] == run.info.run_id
    assert row.data.metrics == {"best/best_epoch": 3, "best/val_dice_pos": 0.375, "seconds": 8, "images_per_second": 4}
    assert run.data.tags["mlflow.parentRunId"] == row.info.run_id
    assert curve(tmp_path, params, run, "val_dice_pos") == [(1, 0.125), (2, 0.25), (3, 0.375)]
    assert curve(tmp_path, params, run, "system/seconds") == [(1, 2), (2, 2), (3, 2)]
    assert run.data.metrics.keys() == {"val_dice_pos", "system/seconds"}  # curves alone


def test_a_killed_training_goes_on_in_its_run(tmp_path: Path, params: Params) -> None:
    with (
        contextlib.suppress(KeyboardInterrupt),
        fold_run(Layout(tmp_path), params, 0, train_key_of(tmp_path)) as run,
    ):
        run.log_epoch(1, {"val_dice_pos": 0.125})
        raise KeyboardInterrupt
    assert [run.info.status for run in (*top_rows(tmp_path, params), *fold_runs(tmp_path, params))] == ["KILLED"] * 2
    train(tmp_path, params, range(1, 4))
    (row,), (run,) = top_rows(tmp_path, params), fold_runs(tmp_path, params)
    assert (row.info.status, run.info.status) == ("FINISHED", "FINISHED")
    assert curve(tmp_path, params, run, "val_dice_pos") == [(1, 0.125), (2, 0.25), (3, 0.375)]


def test_a_run_whose_process_is_gone_goes_on_and_one_that_lives_is_left_alone(tmp_path: Path, params: Params) -> None:
    with fold_run(Layout(tmp_path), params, 0, train_key_of(tmp_path)) as run:
        run.log_epoch(1, {"val_dice_pos": 0.125})
    client = opened(tmp_path, params).client
    (broken,) = fold_runs(tmp_path, params)
    client.update_run(broken.info.run_id, status="RUNNING")
    client.set_tag(broken.info.run_id, "process", "elsewhere:1:1.00")
    train(tmp_path, params, range(1, 4))
    assert len(fold_runs(tmp_path, params)) == 2
    assert client.get_run(broken.info.run_id).info.status == "RUNNING"


def test_an_error_is_a_failed_run(tmp_path: Path, params: Params) -> None:
    with pytest.raises(ValueError, match="loss"), fold_run(Layout(tmp_path), params, 0, train_key_of(tmp_path)):
        raise ValueError("loss")
    assert [run.info.status for run in (*top_rows(tmp_path, params), *fold_runs(tmp_path, params))] == ["FAILED"] * 2


def test_a_forced_run_makes_a_new_run_and_the_newest_wins(tmp_path: Path, params: Params) -> None:
    train(tmp_path, params, range(1, 4))
    train(tmp_path, params, range(1, 3))
    (row,), runs = top_rows(tmp_path, params), fold_runs(tmp_path, params)
    assert len(runs) == 2
    assert row.data.tags["run_id.fold0"] == runs[0].info.run_id
    assert runs[0].info.start_time >= runs[1].info.start_time


def test_history_fills_in_what_a_run_lacks(tmp_path: Path, params: Params) -> None:
    with fold_run(Layout(tmp_path), params, 0, train_key_of(tmp_path)) as run:
        run.log_epoch(3, {"epoch": 3, "val_dice_pos": 0.375})
        history = [{"epoch": epoch, "phase": "only", "val_dice_pos": epoch / 8} for epoch in (1, 2, 3)]
        run.finish({}, {}, history)
    (run_info,) = fold_runs(tmp_path, params)
    points = curve(tmp_path, params, run_info, "val_dice_pos")
    assert sorted(points) == [(1, 0.125), (2, 0.25), (3, 0.375)]


def test_costs_over_folds_are_sums_maxima_and_means(tmp_path: Path, params: Params) -> None:
    for fold, scale in ((0, 1.0), (1, 3.0)):
        with fold_run(Layout(tmp_path), params, fold, f"key{fold}") as run:
            timing = {"seconds": 8 * scale, "wait_seconds": scale, "images_per_second": 4 * scale, "memory_gib": scale}
            run.finish({"val_dice_pos": scale / 4}, timing)
    (row,) = top_rows(tmp_path, params)
    assert row.data.metrics == {
        "seconds": 32, "wait_seconds": 4, "images_per_second": 8, "memory_gib": 3, "best/val_dice_pos": 0.5,
    }  # fmt: skip


def test_a_store_that_fails_midway_costs_a_warning_and_nothing_else(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.tracking import MlflowClient

    works = MlflowClient.log_batch
    down = {"down": False}

    def log_batch(self: MlflowClient, *args: Any, **kwargs: Any) -> Any:
        if down["down"]:
            raise MlflowException("connection refused")
        return works(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    with caplog.at_level(logging.WARNING), fold_run(Layout(tmp_path), params, 0, train_key_of(tmp_path)) as run:
        run.log_epoch(1, {"val_dice_pos": 0.125})
        down["down"] = True
        run.log_epoch(2, {"val_dice_pos": 0.25})
        run.log_epoch(3, {"val_dice_pos": 0.375})
        down["down"] = False
        run.finish({"val_dice_pos": 0.375}, {})
    messages = [record.message for record in caplog.records if record.name.startswith("pneumoseg")]
    assert len(messages) == 1
    assert "connection refused" in messages[0]
    assert "pneumoseg track" in messages[0]
    (run_info,) = fold_runs(tmp_path, params)
    assert curve(tmp_path, params, run_info, "val_dice_pos") == [(1, 0.125), (2, 0.25), (3, 0.375)]


def test_a_store_that_stays_away_ends_the_training_well(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.tracking import MlflowClient

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    with caplog.at_level(logging.WARNING), fold_run(Layout(tmp_path), params, 0, train_key_of(tmp_path)) as run:
        for name in ("log_batch", "set_terminated", "set_tag", "get_run"):
            monkeypatch.setattr(MlflowClient, name, fail)
        run.log_epoch(1, {"val_dice_pos": 0.125})
        run.finish({"val_dice_pos": 0.125}, {})
    assert sum("pneumoseg track" in record.message for record in caplog.records) == 3
    monkeypatch.undo()
    (run_info,) = fold_runs(tmp_path, params)
    assert "complete" not in run_info.data.tags


def test_disabled_tracking_touches_nothing(tmp_path: Path) -> None:
    make_project(tmp_path)
    params = edit_params(tmp_path, tracking={"enabled": False})
    train(tmp_path, params, range(1, 3))
    record_test(Layout(tmp_path), params)
    record_report(Layout(tmp_path), params)
    assert not (tmp_path / "mlflow.db").exists()


def artifacts(root: Path, params: Params, run: Run) -> set[str]:
    client = opened(root, params).client

    def below(folder: str | None) -> set[str]:
        found = client.list_artifacts(run.info.run_id, folder)
        return set().union(*(below(item.path) if item.is_dir else {item.path} for item in found)) if found else set()

    return below(None)


def test_evaluation_and_report_join_the_row(tmp_path: Path, params: Params) -> None:
    train(tmp_path, params, range(1, 4))
    for _ in range(2):  # again: a forced evaluation with the same figures adds nothing
        record_test(Layout(tmp_path), params)
        record_report(Layout(tmp_path), params)
    (row,) = top_rows(tmp_path, params)
    expected = {
        "dice_all": 0.8125,
        "dice_pos": 0.5,
    }
    trained = {"best/best_epoch": 3, "best/val_dice_pos": 0.375, "seconds": 8, "images_per_second": 4}
    assert row.data.metrics == expected | trained  # what is judged and what it cost; the rest is in the files
    told = row.data.tags["mlflow.note.content"]
    assert told.startswith("**Phantom data.**")
    assert "Mean Dice of all 16 images with pneumothorax: 0.500" in told
    assert row.data.tags["notes"] == "phantom: phantom data\nno_map: no map: no Dice"
    assert row.info.status == "FINISHED"
    assert len(curve(tmp_path, params, row, "dice_all")) == 1
    assert artifacts(tmp_path, params, row) == {
        "metrics/test.json", "metrics/test_cases.csv", "metrics/thresholds.json", "metrics/plots/roc.csv",
        "metrics/train/fold0.csv", "metrics/train/fold0.json", "params.yaml", "submission.csv", "report.html",
    }  # fmt: skip
    # A figure that cannot be had is not on the row.
    (tmp_path / "metrics/test.json").write_text(figures(0.875, sensitivity=0.25, dice_pos=None, notes=[]))
    record_test(Layout(tmp_path), params)
    (row,) = top_rows(tmp_path, params)
    assert {"dice_all": 0.875, "sensitivity": 0.25}.items() <= row.data.metrics.items()
    assert curve(tmp_path, params, row, "dice_pos") == [(0, 0.5)]
    assert row.data.tags["notes"] == "none"


def test_a_moved_store_finds_its_artifacts_beside_it_and_lost_ones_are_recorded_again(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there's"
    here.mkdir()
    make_repository(here)
    params = make_project(here)
    record_test(Layout(here), params)
    shutil.copytree(here, there)
    _artifact_repos_cache.clear()  # of the process, by run; the copy is another process's
    (row,) = top_rows(there, params)
    assert row.info.artifact_uri.startswith(f"{there}/mlartifacts/")
    assert "metrics/test.json" in artifacts(there, params, row)
    before = sorted(path for path in here.rglob("*"))
    (there / "metrics/test.json").write_text(figures(0.875))
    record_test(Layout(there), params)
    shutil.rmtree(there / "mlartifacts")
    record_report(Layout(there), params)
    assert "metrics/test.json" in artifacts(there, params, row)
    assert sorted(path for path in here.rglob("*")) == before
    _artifact_repos_cache.clear()
    (row,) = top_rows(here, params)
    assert row.info.artifact_uri.startswith(f"{here}/mlartifacts/")
    assert row.data.metrics["dice_all"] == 0.8125


def test_a_reused_training_gives_another_configuration_a_row_of_its_own(tmp_path: Path, params: Params) -> None:
    train(tmp_path, params, range(1, 4))
    other = edit_params(tmp_path, evaluate=changed_value(params.evaluate.model_dump(mode="json")))
    record_test(Layout(tmp_path), other)
    newest, oldest = top_rows(tmp_path, params)
    assert newest.info.run_id != oldest.info.run_id
    assert newest.data.tags["train_key.fold0"] == train_key_of(tmp_path)
    assert newest.data.tags["run_id.fold0"] == fold_runs(tmp_path, params)[0].info.run_id
    assert newest.data.metrics["seconds"] == 8
    assert newest.data.metrics["dice_all"] == 0.8125
    assert newest.data.params["model.encoder"] == params.model.encoder
    assert "dice_all" not in oldest.data.metrics


def changed_value(section: dict[str, Any]) -> dict[str, Any]:
    """One whole number of a section, plus one."""
    name = next(name for name, value in section.items() if isinstance(value, int) and not isinstance(value, bool))
    return {name: section[name] + 1}


def test_a_store_that_fails_at_evaluation_costs_a_warning(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/no/such/place.db")
    with caplog.at_level(logging.WARNING):
        record_test(Layout(tmp_path), params)
    assert "pneumoseg track" in caplog.text


@pytest.mark.parametrize("rank", [{"RANK": "3"}, {"LOCAL_RANK": "1"}, {"RANK": "2", "LOCAL_RANK": "0"}])
def test_only_the_first_process_of_a_distributed_training_tracks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: dict[str, str]
) -> None:
    params = make_project(tmp_path)
    for name, value in rank.items():
        monkeypatch.setenv(name, value)
    train(tmp_path, params, range(1, 3))
    assert not (tmp_path / "mlflow.db").exists()
