"""Seconds and memory of trainings, from a real MLflow store; nothing is guessed where it does not know."""

import logging
from pathlib import Path

import pytest

from pneumoseg.compare.costs import Cost, read_costs
from pneumoseg.config.tracking import TrackingParams
from pneumoseg.track.store import Store, open_store
from tests.track.tracking_files import make_repository

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> Store:
    make_repository(tmp_path)
    return open_store(tmp_path, TrackingParams())


def trained(store: Store, key: str, **cost: float) -> None:
    tags = {"train_key": key} | {f"cost/{name}": str(value) for name, value in cost.items()}
    store.client.create_run(store.experiment_id, tags=tags)


def costs(root: Path, *keys: list[str]) -> list[Cost]:
    return read_costs(root, TrackingParams(), keys)


def test_seconds_of_all_folds_and_the_highest_memory(store: Store, tmp_path: Path):
    trained(store, "a0", seconds=60.5, memory_gib=2.0)
    trained(store, "a1", seconds=30.0, memory_gib=3.5)
    trained(store, "b0", seconds=7.0)
    assert costs(tmp_path, ["a0", "a1"], ["b0"]) == [Cost(90.5, 3.5), Cost(7.0, None)]


def test_a_fold_that_mlflow_does_not_know_leaves_the_whole_unknown(store: Store, tmp_path: Path):
    """A sum over some folds would make the experiment look cheap."""
    trained(store, "a0", seconds=60.0, memory_gib=2.0)
    trained(store, "rebuilt")
    assert costs(tmp_path, ["a0", "gone"], ["a0", "rebuilt"], []) == [Cost(), Cost(), Cost()]


def test_a_training_that_was_broken_off_does_not_hide_the_one_that_ended(store: Store, tmp_path: Path):
    trained(store, "a0", seconds=60.0, memory_gib=2.0)
    trained(store, "a0")
    assert costs(tmp_path, ["a0"]) == [Cost(60.0, 2.0)]


def test_no_store_is_made_for_the_question(tmp_path: Path):
    (tmp_path / ".dvc").mkdir()
    assert costs(tmp_path, ["a0"], ["b0"]) == [Cost(), Cost()]
    assert [path.name for path in tmp_path.iterdir()] == [".dvc"]
    assert read_costs(tmp_path, TrackingParams(enabled=False), [["a0"]]) == [Cost()]


def test_a_store_that_fails_is_told_and_is_no_hindrance(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "mlflow.db").write_text("no database")
    with caplog.at_level(logging.WARNING):
        assert costs(tmp_path, ["a0"]) == [Cost()]
    assert caplog.messages[-1].startswith("seconds and memory are not told: MLflow at ")
