"""What makes a stage run again, and what must not."""

from pathlib import Path

from ruamel.yaml import YAML

from pneumoseg.shared.files import digest_files
from tests.pipeline.project import Project

#: An edit of these rooms is no reason to train or to predict again; those that exist.
LATER_ROOMS = ("commands", "compare", "evaluate", "report", "stats", "track", "tune", "use")
#: Stages behind which no network is asked any more.
LATER_STAGES = {"tune", "evaluate", "report"}


def test_an_edit_of_any_later_room_leaves_training_and_prediction_as_they_are(project: Project):
    for room in LATER_ROOMS:
        for file in (project.root / "src/pneumoseg" / room).rglob("*.py"):
            file.write_text(f"{file.read_text()}\n# edited\n")
    assert project.changed() == LATER_STAGES | {"bundle"}


def test_a_new_parameter_of_a_later_section_retrains_nothing(project: Project):
    file = project.root / "src/pneumoseg/config/report.py"
    file.write_text(f"{file.read_text()}\n    another: int = 1\n")
    project.set_params({f"{section}.another": 1 for section in ("tune", "evaluate", "report")})
    assert project.changed() == LATER_STAGES


def test_runtime_and_tracking_change_no_stage(project: Project):
    project.set_params({"runtime.workers": 1, "runtime.device": "cpu", "tracking.enabled": False})
    assert project.changed() == set()


def test_an_edit_of_a_file_that_a_parameter_names_runs_the_stage_that_reads_it(project: Project):
    for stage in ("split", "train", "evaluate"):
        (project.root / f"data/inputs/{stage}/mine.csv").write_text("a,b\n")
    assert project.changed() == {"split", "train@0", "evaluate"}
    mask = project.root / "data/phantom/masks/a.png"
    mask.parent.mkdir()
    mask.write_bytes(b"mask")
    assert {"extract", "masks"} <= project.changed()


def test_no_stage_changes_what_it_depends_on(project: Project):
    """Each is run once more, beside a fold and an external set that are no longer asked for; no figure changes."""
    project.set_params({"tracking.enabled": False})
    project.commit()
    stale = ("data/models/fold2/model.json", "metrics/train/fold2.json", "metrics/external/gone/figures.json")
    for name, stage in YAML(typ="safe").load(project.root / "dvc.lock")["stages"].items():
        for file in stale:
            (project.root / file).parent.mkdir(parents=True, exist_ok=True)
            (project.root / file).write_text("{}")
        deps = [dep["path"] for dep in stage["deps"]]
        before = digests(project.root, deps)
        project.run_command(stage["cmd"])
        assert digests(project.root, deps) == before, name
    assert project.git("status", "--porcelain", "--untracked-files=no", "--", "*.json", "*.csv") == ""


def digests(root: Path, names: list[str]) -> dict[str, str]:
    """Of each file or folder, of all that is in it."""
    files = {name: [root / name, *(root / name).rglob("*")] for name in names}
    return {name: digest_files(sorted(filter(Path.is_file, found)), root) for name, found in files.items()}
