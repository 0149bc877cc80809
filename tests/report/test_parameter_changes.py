"""The configuration of the report: compared with the default that ships, without folders of a user's machine."""

import hashlib

import pytest

from pneumoseg.report.parameter_changes import flatten, read_configuration
from pneumoseg.shared.errors import PneumosegError


@pytest.fixture
def folder(tmp_path, root):
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    (tmp_path / "requirements.lock").write_text(
        "torch==2.9.1 \\\n    --hash=sha256:00\ntorchmetrics==1.8 ; python_version > '3'\nnumpy==2.4.0\n"
    )
    return tmp_path


def test_the_default_differs_in_nothing(folder):
    configuration = read_configuration(folder / "params.yaml", folder / "requirements.lock")
    assert configuration.changed == ()
    assert configuration.value("report.radiograph_format") == '"jpeg"'
    assert not any(setting.key.startswith(("runtime", "tracking")) for setting in configuration.settings)


def test_differences_name_both_values(folder):
    content = (folder / "params.yaml").read_text().replace("unlabelled_cases: 6", "unlabelled_cases: 9")
    (folder / "params.yaml").write_text(content.replace("  recipes:\n", "  recipes:\n    mine:\n    - gamma\n"))
    changed = read_configuration(folder / "params.yaml", folder / "requirements.lock").changed
    assert [(item.key, item.value, item.default) for item in changed] == [
        ("augment.recipes.mine", '["gamma"]', None),
        ("report.unlabelled_cases", "9", "6"),
    ]


def test_versions_come_from_the_lock(folder):
    configuration = read_configuration(folder / "params.yaml", folder / "requirements.lock")
    assert configuration.versions == (("torch", "2.9.1"), ("numpy", "2.4.0"))
    assert configuration.lock_sha256 == hashlib.sha256((folder / "requirements.lock").read_bytes()).hexdigest()


def test_the_real_lock_pins_every_package_the_report_names(root):
    from pneumoseg.report.parameter_changes import KEY_PACKAGES

    configuration = read_configuration(root / "params.yaml", root / "requirements.lock")
    assert [name for name, _ in configuration.versions] == list(KEY_PACKAGES)


def test_absolute_paths_lose_their_folders():
    content = {
        "data": {"root": "/home/anna/siim", "rest": ["C:\\Users\\anna\\b.csv", "data/x"]},
        "tracking": {"uri": "/x"},
    }
    assert flatten(content) == {"data.root": '"…/siim"', "data.rest": '["…/b.csv", "data/x"]'}


@pytest.mark.parametrize(
    ("name", "message"), [("params.yaml", "run from the folder"), ("requirements.lock", "git checkout")]
)
def test_a_missing_file_is_named(folder, name, message):
    (folder / name).unlink()
    with pytest.raises(PneumosegError, match=message):
        read_configuration(folder / "params.yaml", folder / "requirements.lock")


@pytest.mark.parametrize("content", ["a: [1", "- 1"])
def test_a_broken_params_file_is_named(folder, content):
    (folder / "params.yaml").write_text(content)
    with pytest.raises(PneumosegError, match=r"params\.yaml"):
        read_configuration(folder / "params.yaml", folder / "requirements.lock")
