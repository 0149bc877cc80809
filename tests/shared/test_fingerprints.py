"""Keys of trainings and configurations: what changes them, and what must not."""

import hashlib
from pathlib import Path

import pytest

from pneumoseg.config import Params
from pneumoseg.shared import fingerprints
from pneumoseg.shared.errors import DataError
from tests.track.tracking_files import edit_params, make_project


@pytest.fixture
def params(tmp_path: Path) -> Params:
    return make_project(tmp_path)


def train_key(root: Path, params: Params, fold: int, data: str) -> str:
    return fingerprints.train_key(root, params.model_dump(mode="json"), fold, data)


def config_key(root: Path, params: Params) -> str:
    return fingerprints.config_key(root, params.model_dump(mode="json"))


def digest(*parts: bytes) -> str:
    """SHA-256 over the parts, each after its length, written anew here."""
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()[:32]


@pytest.mark.usefixtures("params")
def test_stage_code_covers_names_and_contents_of_python_files(tmp_path: Path) -> None:
    (tmp_path / "src/pneumoseg/networks/notes.txt").write_text("no code")
    expected = [
        b"src/pneumoseg/networks/__init__.py", b"# networks/__init__.py\n",
        b"src/pneumoseg/networks/unet.py", b"# networks/unet.py\n",
        b"stages/make.py", (tmp_path / "stages/make.py").read_bytes(),
    ]  # fmt: skip
    assert fingerprints.stage_code(tmp_path, "train") == digest(*expected)


@pytest.mark.usefixtures("params")
def test_stage_code_knows_only_its_own_stage(tmp_path: Path) -> None:
    before = {name: fingerprints.stage_code(tmp_path, name) for name in ("train", "evaluate")}
    (tmp_path / "src/pneumoseg/__init__.py").write_text("# edited\n")
    assert fingerprints.stage_code(tmp_path, "train") == before["train"]
    assert fingerprints.stage_code(tmp_path, "evaluate") != before["evaluate"]


@pytest.mark.usefixtures("params")
def test_missing_stage_and_missing_code_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no stage training; it has extract, masks"):
        fingerprints.stage_code(tmp_path, "training")
    (tmp_path / "src/pneumoseg/__init__.py").unlink()
    with pytest.raises(DataError, match=r"__init__\.py: not there"):
        fingerprints.pipeline_code(tmp_path)


def test_train_key_rests_on_training_alone(tmp_path: Path, params: Params) -> None:
    def key(params: Params, fold: int = 0, data: str = "d") -> str:
        return train_key(tmp_path, params, fold, data)

    first = key(params)
    assert len({first, key(params, fold=1), key(params, data="e")}) == 3
    assert key(edit_params(tmp_path, predict={"batch_size": 3}, tracking={"experiment": "other"})) == first
    assert key(edit_params(tmp_path, train={"lr": 0.123})) != first
    (tmp_path / "src/pneumoseg/__init__.py").write_text("# edited\n")
    assert key(params) == first
    (tmp_path / "src/pneumoseg/networks/unet.py").write_text("# edited\n")
    assert key(params) != first


def test_config_key_covers_stage_sections_data_and_code(tmp_path: Path, params: Params) -> None:
    keys = [config_key(tmp_path, params)]
    assert config_key(tmp_path, edit_params(tmp_path, tracking={"experiment": "other"})) == keys[0]
    assert config_key(tmp_path, edit_params(tmp_path, runtime={"workers": 1})) == keys[0]
    keys.append(config_key(tmp_path, edit_params(tmp_path, predict={"batch_size": 3})))
    (tmp_path / "src/pneumoseg/__init__.py").write_text("# edited\n")
    keys.append(config_key(tmp_path, params))
    (tmp_path / "data/metadata.csv").write_text("image_id,phantom\na,0\n")
    keys.append(config_key(tmp_path, params))
    assert len(set(keys)) == 4


@pytest.mark.usefixtures("params")
def test_data_fingerprint_from_dvc_lock_where_there_are_no_files(tmp_path: Path) -> None:
    tables = {name: tmp_path / name for name in fingerprints.DATA_TABLES}
    md5 = {name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for name, path in tables.items()}
    expected = digest(*(part.encode() for pair in md5.items() for part in pair))
    assert fingerprints.data_fingerprint(tmp_path) == expected
    (tmp_path / "dvc.lock").write_text(
        f"""
schema: '2.0'
stages:
  explore: {{cmd: x, deps: [{{path: data/metadata.csv, md5: stale}}, {{path: data/splits/folds.csv, md5: stale}}]}}
  extract: {{cmd: x, outs: [{{path: data/metadata.csv, md5: {md5["data/metadata.csv"]}}}]}}
  masks: {{cmd: x, outs: [{{path: data/annotations.csv, md5: {md5["data/annotations.csv"]}}}]}}
  train@0: {{cmd: x, deps: [{{path: data/splits/folds.csv, md5: {md5["data/splits/folds.csv"]}}}]}}
  tune: {{cmd: x, deps: [{{path: data/splits/folds.csv, md5: stale}}]}}
"""
    )
    for path in tables.values():
        path.unlink()
    assert fingerprints.data_fingerprint(tmp_path) == expected
    (tmp_path / "dvc.lock").unlink()
    with pytest.raises(DataError, match=r"metadata\.csv: not there; run the stage"):
        fingerprints.data_fingerprint(tmp_path)


def test_unreadable_lock_and_pipeline_are_named(tmp_path: Path, params: Params) -> None:
    (tmp_path / "data/metadata.csv").unlink()
    (tmp_path / "dvc.lock").write_text("<<<<<<< HEAD\nstages:\n")
    with pytest.raises(DataError, match=r"dvc\.lock: not readable"):
        fingerprints.data_fingerprint(tmp_path)
    (tmp_path / "dvc.yaml").write_text("nothing")
    with pytest.raises(DataError, match=r"dvc\.yaml: not readable"):
        train_key(tmp_path, params, 0, "d")


def test_project_root_is_the_parent_of_temporary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / ".dvc/tmp/exps/tmpabc"
    (temporary / ".dvc").mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert fingerprints.project_root(temporary) == tmp_path
    monkeypatch.delenv("DVC_ROOT")
    (tmp_path / "below/deep").mkdir(parents=True)
    assert fingerprints.project_root(tmp_path / "below/deep") == tmp_path


def test_the_repositorys_own_pipeline_has_code_for_every_stage() -> None:
    root = Path(__file__).resolve().parents[2]
    deps = fingerprints.code_deps(root)
    assert all(any(name.startswith("stages/") for name in names) for names in deps.values())
    assert not any("tracking" in name for name in deps["train"])
