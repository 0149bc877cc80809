"""The command: what it knows, how fast it answers, and its exit codes."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumoseg import __version__
from pneumoseg.commands import cli
from tests.track.tracking_files import REPO, edit_params, make_project


def test_every_command_is_there_and_answers() -> None:
    for name in cli.COMMANDS:
        assert callable(importlib.import_module(f"pneumoseg.commands.{name}").run)
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom pneumoseg.commands import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'mlflow', 'dvc', 'torch', 'timm', 'albumentations', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in cli.COMMANDS)


def test_wrong_usage_is_2_and_version_0(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (([], 2), (["nonsense"], 2), (["--version"], 0)):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == code
    assert capsys.readouterr().out == f"pneumoseg {__version__}\n"


def test_a_mistake_is_1_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["ui"]) == 1
    assert (
        capsys.readouterr().err
        == f"pneumoseg ui: {tmp_path}/params.yaml: not there; run from the folder that holds params.yaml\n"
    )


def test_ui_refuses_a_port_in_use_and_names_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    from pneumoseg.commands import ui

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Exception, match=r"port \d+ on 127\.0\.0\.1 cannot be used .* choose another with --port"):
            ui.check_free(taken.getsockname()[1])
    with pytest.raises(Exception, match="port 70000"):
        ui.check_free(70000)


def test_track_says_that_tracking_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path, outputs=False)
    edit_params(tmp_path, tracking={"enabled": False})
    monkeypatch.chdir(tmp_path)
    assert cli.main(["track"]) == 1
    assert "tracking.enabled is false" in capsys.readouterr().err
