"""What earlier experiments left is removed, and nothing else."""

from pathlib import Path

from ruamel.yaml import YAML

from pneumoseg.shared.layout import Layout
from pneumoseg.shared.leftovers import remove_stale_folds, remove_stale_sites


def test_folds_that_are_no_longer_trained(tmp_path: Path):
    layout = Layout(tmp_path)
    remove_stale_folds(layout, [1])
    for name in ("fold0", "fold1", "fold10", "foldx", "mine"):
        (layout.models / name).mkdir(parents=True)
    layout.training.mkdir(parents=True)
    for name in ("fold0.csv", "fold1.csv", "fold0.json", "notes.md"):
        (layout.training / name).touch()
    remove_stale_folds(layout, [1])
    assert sorted(path.name for path in layout.models.iterdir()) == ["fold1", "foldx", "mine"]
    assert sorted(path.name for path in layout.training.iterdir()) == ["fold1.csv", "notes.md"]


def test_sets_that_are_no_longer_named(tmp_path: Path):
    layout = Layout(tmp_path)
    remove_stale_sites(layout, {"b": None})
    for name in ("a", "b"):
        layout.external(name).metrics.mkdir(parents=True)
        layout.external(name).images.mkdir(parents=True)
        layout.external(name).predictions.mkdir(parents=True)
    (layout.metrics / "external/README.md").write_text("kept")
    remove_stale_sites(layout, {"b": None})
    assert sorted(path.name for path in (layout.metrics / "external").iterdir()) == ["README.md", "b"]
    for folder in ("external", "external_predictions"):
        assert [path.name for path in (layout.data / folder).iterdir()] == ["b"]


def test_the_run_cache_stands_in_for_no_stage_that_removes_them(root: Path):
    """Going back to an earlier train_folds, DVC would bring the outputs back and leave the leftovers."""
    stages = YAML(typ="safe").load(root / "dvc.yaml")["stages"]
    for stage in ("split", "evaluate", "masks"):
        outs = [out for out in stages[stage]["outs"] if isinstance(out, dict)]
        assert any(next(iter(out.values())).get("persist") for out in outs)
