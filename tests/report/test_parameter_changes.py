"""The configuration of the report: compared with the default that ships, without folders of a user's machine."""

import hashlib
import subprocess

import pytest
from ruamel.yaml import YAML

from pneumoseg.report.parameter_changes import flatten, read_configuration
from pneumoseg.shared.errors import DataError

DEFAULTS = "src/pneumoseg/report/defaults.yaml"


@pytest.fixture
def folder(tmp_path, root):
    (tmp_path / "params.yaml").write_text((root / DEFAULTS).read_text())
    (tmp_path / "requirements.lock").write_text(
        "torch==2.9.1 \\\n    --hash=sha256:00\ntorchmetrics==1.8 ; python_version > '3'\nnumpy==2.4.0\n"
    )
    return tmp_path


def load(path):
    return YAML(typ="safe").load(path)


def keys(content, prefix=""):
    found = set()
    for key, value in content.items():
        found |= keys(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}"}
    return found


def test_the_shipped_default_knows_every_parameter(root):
    advice = f"cp params.yaml {DEFAULTS}"
    assert keys(load(root / "params.yaml")) == keys(load(root / DEFAULTS)), advice


def test_the_shipped_default_is_the_committed_params_file(root):
    committed = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=root, capture_output=True, check=False)
    if committed.returncode or committed.stdout != (root / "params.yaml").read_bytes():
        pytest.skip("params.yaml has changes of its own, or there is no git")
    assert (root / DEFAULTS).read_bytes() == committed.stdout, f"cp params.yaml {DEFAULTS}"


def test_the_default_differs_in_nothing(folder):
    configuration = read_configuration(folder / "params.yaml", folder / "requirements.lock")
    assert configuration.changed == ()
    assert configuration.value("report.radiograph_format") == '"jpeg"'
    assert not any(setting.key.startswith(("runtime", "tracking")) for setting in configuration.settings)


def test_differences_name_both_values(folder):
    content = (folder / "params.yaml").read_text().replace("unlabelled_cases: 6", "unlabelled_cases: 9\n  mine: [1, 2]")
    (folder / "params.yaml").write_text(content)
    changed = read_configuration(folder / "params.yaml", folder / "requirements.lock").changed
    assert [(item.key, item.value, item.default) for item in changed] == [
        ("report.unlabelled_cases", "9", "6"),
        ("report.mine", "[1, 2]", None),
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
    with pytest.raises(DataError, match=message):
        read_configuration(folder / "params.yaml", folder / "requirements.lock")


@pytest.mark.parametrize("content", ["a: [1", "- 1"])
def test_a_broken_params_file_is_named(folder, content):
    (folder / "params.yaml").write_text(content)
    with pytest.raises(DataError, match=r"params\.yaml"):
        read_configuration(folder / "params.yaml", folder / "requirements.lock")
