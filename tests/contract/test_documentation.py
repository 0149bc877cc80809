"""Every command that README and docs show: what it is called with exists, and its settings are parameters of today."""

import contextlib
import io
import itertools
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.cli.parser import get_main_parser
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps
from ruamel.yaml import YAML

from pneumoseg.commands.cli import COMMANDS, build_parser, main
from pneumoseg.config import load_params

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`((?:dvc|pneumoseg|make) [^`]+)`")
#: Stands for a value that the reader fills in.
FILLED_IN = {
    "$k": "0",
    "$SLURM_ARRAY_TASK_ID": "0",
    "data.format=F": "data.format=nih",
    " [REV …]": "",
    "NAME": "first_place",
}


def commands(page: str) -> Iterator[str]:
    """Each command of a page as it is typed, without comments, pipes and what is around it in a loop."""
    text = (ROOT / page).read_text("utf-8")
    shown = [code.replace("\\\n", " ") for kind, code in FENCE.findall(text) if kind == "bash"]
    spans = [re.sub(r"\s+", " ", span) for span in SPAN.findall(FENCE.sub("", text))]
    for line in "\n".join([*shown, *spans]).splitlines():
        for told, value in FILLED_IN.items():
            line = line.replace(told, value)
        line = re.sub(r"\$\(pneumoseg (recipe overrides \w+)\)", lambda found: told_by(found[1]), line)
        words = shlex.split(line, comments=True)
        command: list[str] = []
        for word in [*words, ";"]:
            ends = word in ("&&", ";", "&", "|", "do") or word.endswith(";")
            command += [] if word in ("&&", ";", "&", "|", "do") else [word.removesuffix(";")]
            if ends:
                yield shlex.join(command)
                command = []


def told_by(arguments: str) -> str:
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert main(arguments.split()) == 0
    return told.getvalue().strip()


def of_program(name: str) -> list[tuple[str, list[str]]]:
    """The arguments of its commands, by the page; not of the mere mention of a command."""
    typed = [(page, shlex.split(command)) for page in PAGES for command in commands(page)]
    bare = [(page, [*itertools.dropwhile(lambda word: re.match(r"[A-Z_]+=", word), words)]) for page, words in typed]
    return [(page, words[1:]) for page, words in bare if words[:1] == [name] and words[-1] != "-S"]


@pytest.fixture(scope="module")
def dvc_commands() -> list[tuple[str, list[str]]]:
    return of_program("dvc")


def test_dvc_takes_every_command(dvc_commands: list[tuple[str, list[str]]]):
    parser = get_main_parser()
    assert len(dvc_commands) > 30
    for _, words in dvc_commands:
        parser.parse_args(words)  # raises for a command or an option that DVC has not


@pytest.mark.slow
def test_every_setting_is_one_of_params_yaml(dvc_commands: list[tuple[str, list[str]]], tmp_path: Path):
    seen = 0
    for _, words in dvc_commands:
        settings = [value for flag, value in itertools.pairwise(words) if flag == "-S"]
        for overrides in get_hydra_sweeps({"params.yaml": settings}) if settings else ():
            shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
            apply_overrides(tmp_path / "params.yaml", overrides["params.yaml"])
            load_params(tmp_path / "params.yaml")
            seen += 1
    assert seen > 10


def test_every_stage_that_is_named_is_there(dvc_commands: list[tuple[str, list[str]]]):
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    for _, words in dvc_commands:
        command, *named = (word for word in words if word[0] != "-")
        if command in ("repro", "commit"):
            assert {word.split("@")[0] for word in named} <= {*stages, "STAGE"}, words


@pytest.mark.parametrize("page", PAGES)
def test_python_that_is_shown_can_be_compiled(page: str):
    for kind, code in FENCE.findall((ROOT / page).read_text("utf-8")):
        if kind == "python":
            compile(code, page, "exec")


def test_pneumoseg_and_make_take_every_command():
    own, made = of_program("pneumoseg"), of_program("make")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for _, words in made for word in words} <= set(targets)
    parser = build_parser()
    assert len(own) > 15
    for _, words in own:
        if len(words) > 1:
            parser.parse_args(words)
        assert words[0] in COMMANDS
