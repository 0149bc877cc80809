"""What a row says of its configuration."""

from pathlib import Path

from pneumoseg.config import Params, load_params
from pneumoseg.track.configuration import PARAM_LIMIT, Configuration, git_tags


def of(params: Params) -> Configuration:
    return Configuration(Path(), params, "key", "data", {})


def test_parameters_have_dotted_names_and_json_values(root: Path) -> None:
    row = of(load_params(root / "params.yaml")).row_params()
    expected = {
        "model.encoder": "resnet18",
        "model.weights": "null",
        "train.lr": "0.002",
        "train.channels_last": "true",
        "split.train_folds": "[0]",
        "augment.transforms.clahe.tiles": "8",
    }
    assert expected.items() <= row.items()
    assert row["train.phases"].startswith('[{"name": "main", "size_px": 128, ')
    assert not any(name.startswith(("tracking", "runtime")) for name in row)


def test_a_long_parameter_is_cut_and_says_so(root: Path) -> None:
    params = load_params(root / "params.yaml")
    split = params.split.model_copy(update={"train_folds": tuple(range(3000))})
    text = of(params.model_copy(update={"split": split})).row_params()["split.train_folds"]
    assert len(text) == PARAM_LIMIT
    assert text.startswith("[0, 1, 2,")
    assert text.endswith("whole in the artifact params.yaml)")


def test_a_folder_without_git_has_no_commit(tmp_path: Path) -> None:
    assert git_tags(tmp_path) == {}
