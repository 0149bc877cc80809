"""External sets in MLflow: their figures on the configuration's row, and which stages of dvc.lock are today's."""

from pathlib import Path

import pytest

from pneumoseg.config import Params
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.lockfile import LockedStage
from pneumoseg.track.configuration import Configuration
from pneumoseg.track.evidence import record_external
from pneumoseg.track.provenance import current_stages
from pneumoseg.track.rows import open_row
from pneumoseg.track.store import Store, open_store
from tests.track.tracking_files import edit_params, figures, make_project, make_repository


@pytest.fixture
def params(tmp_path: Path) -> Params:
    make_project(tmp_path)
    make_repository(tmp_path)
    sites = {name: {"root": f"/x/{name}", "annotations": f"/x/{name}.csv"} for name in ("b", "a-1")}
    return edit_params(tmp_path, evaluate={"external": sites})


def write_figures(root: Path, name: str, dice: float) -> None:
    folder = root / "metrics/external" / name
    folder.mkdir(parents=True, exist_ok=True)
    overlap = {"images": 2, "by": {"id": 2}, "with": {"test": 2}}
    (folder / "figures.json").write_text(figures(dice, overlap=overlap))


def opened(root: Path, params: Params) -> tuple[Store, Configuration, str]:
    store = open_store(root, params.tracking)
    configuration = Configuration.of(root, params, {})
    return store, configuration, open_row(store, configuration)


@pytest.mark.slow
def test_figures_stand_on_the_row_once(tmp_path: Path, params: Params) -> None:
    store, configuration, row = opened(tmp_path, params)
    with pytest.raises(DataError, match=r"external/a-1/figures\.json: not there"):
        record_external(store, configuration, row)
    for name, dice in (("a-1", 0.5), ("b", 0.25), ("left-over", 0.75)):
        write_figures(tmp_path, name, dice)
    assert record_external(store, configuration, row)
    run = store.client.get_run(row)
    expected = {f"external/{name}/dice_pos": 0.5 for name in ("a-1", "b")}
    assert run.data.metrics == expected | {"external/a-1/dice_all": 0.5, "external/b/dice_all": 0.25}
    assert run.data.params["evaluate.external.b.root"] == "/x/b"
    kept = {item.path for item in store.client.list_artifacts(row, "metrics/external")}
    assert kept == {"metrics/external/a-1", "metrics/external/b"}
    assert not record_external(store, configuration, row)
    write_figures(tmp_path, "b", 0.125)
    assert record_external(store, configuration, row)
    assert store.client.get_run(row).data.metrics["external/b/dice_all"] == 0.125


def test_nothing_is_recorded_without_a_set(tmp_path: Path, params: Params) -> None:
    store, configuration, row = opened(tmp_path, edit_params(tmp_path, evaluate={"external": {}}))
    assert not record_external(store, configuration, row)
    assert "recorded.external" not in store.client.get_run(row).data.tags


def test_stages_of_folds_and_sets_that_are_gone_are_left_out() -> None:
    names = (
        "predict", "train@0", "train@1", "external_extract@a", "external_predict@a", "external_evaluate@a",
        "external_evaluate@b", "external_evaluate@0", "more_extract@a", "more_extract@c",
    )  # fmt: skip
    stages = {name: LockedStage({}, {}, {}) for name in names}
    kept = current_stages(stages, (1,), ("a",), ("c",))
    of_a = ["external_extract@a", "external_predict@a", "external_evaluate@a"]
    assert list(kept) == ["predict", "train@1", *of_a, "more_extract@c"]
