"""The command ``pneumoseg recipe``: what it shows and writes, and what DVC makes of its arguments."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pneumoseg.commands import cli
from pneumoseg.config import age, parse_params, read_yaml
from pneumoseg.config.flat import merge
from pneumoseg.config.recipes import Recipe, load_recipe, load_recipes, override_arguments
from pneumoseg.shared.errors import DataError, ParameterError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONTENT: dict[str, Any] = read_yaml(ROOT / "params.yaml")
RECIPES = {recipe.name: recipe for recipe in load_recipes(ROOT / "recipes")}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_yaml(project / "params.yaml")
    return found


def test_list_has_a_line_for_each(project: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["recipe", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line][:-1] == sorted(RECIPES)
    assert re.search(r"^first_place +1st place, .+ private leaderboard 0\.8679$", "\n".join(lines), re.MULTILINE)
    assert "Scores are their authors'" in lines[-1]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_show_tells_everything(name: str, project: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["recipe", "show", name]) == 0
    out = capsys.readouterr().out
    words = " ".join(out.split())
    header = RECIPES[name].header
    for text in (header.source.authors, header.source.work, header.rule, header.published[0].measured_on):
        assert " ".join(text.split()) in words
    for item in header.differs:
        assert all(" ".join(text.split()) in words for text in (item.point, item.theirs, item.ours, item.why))
    assert all(f"     {step.run}\n" in out for step in header.then)
    assert RECIPES[name].text.rstrip() in out


def applied(found: dict[str, Any], name: str) -> bool:
    """Whether this means the recipe on top of params.yaml, and lacks no key: no stage shall speak of an older file."""
    wanted = parse_params(merge(CONTENT, RECIPES[name].params))
    return parse_params(found) == wanted and age(found, wanted) == []


def test_apply_writes_tells_and_can_be_repeated(project: Path, capsys: pytest.CaptureFixture[str]):
    before = (project / "params.yaml").read_text("utf-8")
    assert cli.main(["recipe", "apply", "fourth_place", "--check"]) == 0
    told = capsys.readouterr().out
    assert "train.lr: 0.002 -> 7.5e-05\n" in told
    assert 'train.phases.0.positive_share: null -> {"start": 0.8, "end": 0.22}\n' in told
    assert told.endswith("values differ; nothing was written\n")
    assert (project / "params.yaml").read_text("utf-8") == before
    assert cli.main(["recipe", "apply", "fourth_place"]) == 0
    assert capsys.readouterr().out.endswith("values changed in params.yaml\n")
    assert applied(content(project), "fourth_place")
    assert before.count("#") == (project / "params.yaml").read_text("utf-8").count("#")
    assert cli.main(["recipe", "apply", "fourth_place"]) == 0
    assert capsys.readouterr().out == "0 values changed in params.yaml\n"
    assert sorted(path.name for path in project.iterdir()) == ["params.yaml", "recipes"]


def test_apply_follows_a_link(project: Path, capsys: pytest.CaptureFixture[str]):
    (project / "params.yaml").rename(project / "mine.yaml")
    (project / "params.yaml").symlink_to("mine.yaml")
    assert cli.main(["recipe", "apply", "two_stage_unet"]) == 0
    assert (project / "params.yaml").is_symlink()
    assert content(project)["train"]["keep"] == "averaged"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("batch_size: 8", "batch_size: none", r"params\.yaml: train\.batch_size"),
        ("augment_negatives: true", "augment_negatives: true\n  augmentation: 1", r"did you mean augmentations"),
    ],
)
@pytest.mark.parametrize("action", ["apply", "overrides"])
def test_what_would_be_invalid_is_refused(
    old: str, new: str, reason: str, action: str, project: Path, capsys: pytest.CaptureFixture[str]
):
    text = (project / "params.yaml").read_text("utf-8").replace(old, new)
    (project / "params.yaml").write_text(text, "utf-8")
    assert cli.main(["recipe", action, "two_stage_unet"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert re.search(reason, said.err)
    assert (project / "params.yaml").read_text("utf-8") == text


def test_an_unknown_recipe_and_another_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["recipe", "apply", "first"]) == 1
    assert "no such recipe in recipes/; did you mean" in capsys.readouterr().err
    monkeypatch.chdir(project / "recipes")
    assert cli.main(["recipe", "list"]) == 1
    assert "run from the folder that holds params.yaml and recipes/" in capsys.readouterr().err


def test_text_that_a_shell_would_split_is_refused():
    for value in ("two words", "star*", "it's"):
        with pytest.raises(ParameterError, match="recipe apply"):
            override_arguments({"model": {"weights": value}}, CONTENT)


def test_values_in_hydras_grammar():
    overlay = {
        "a": {"b": [1, {"c": None, "d": 1e-7}], "e": True, "f": [], "g": "null", "h": "mit_b2", "i": "data/{fold}"}
    }
    known = {"a": {"b": 0, "e": 0, "f": 0, "g": 0, "h": 0}}
    assert override_arguments(overlay, known)[1::2] == [
        "a.b=[1,{c:null,d:1e-07}]", "a.e=true", "a.f=[]", "a.g='null'", "a.h=mit_b2", "++a.i='data/{fold}'",
    ]  # fmt: skip


def through_dvc(words: list[str], path: Path) -> dict[str, Any]:
    """params.yaml as dvc exp run would leave it, by DVC's own functions."""
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

    assert words[::2] == ["-S"] * (len(words) // 2)
    (sweep,) = get_hydra_sweeps(to_path_overrides(words[1::2]))
    shutil.copy(ROOT / "params.yaml", path)
    (overrides,) = sweep.values()
    apply_overrides(path, overrides)
    found: dict[str, Any] = read_yaml(path)
    return found


def by_shell(command: str, project: Path) -> list[str]:
    """The arguments that dvc gets when a person types this in bash."""
    stubs = 'dvc() { printf "%s\\n" "$@"; }; pneumoseg() { cat "words/$3"; }; '
    done = subprocess.run(
        ["bash", "-c", stubs + command], cwd=project, capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    return done.stdout.splitlines()


#: One whose commands have lists of mappings and one with a plain grid; the others are long together.
TYPICAL = ("ens4b_unet", "fourth_place")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in TYPICAL else pytest.mark.long) for name in sorted(RECIPES)]
)
def test_overrides_give_what_apply_gives(name: str, project: Path, capsys: pytest.CaptureFixture[str]):
    """And every further command, split by a real shell and read by DVC, gives valid parameters."""
    (project / "words").mkdir()
    then = RECIPES[name].header.then
    for other in {name, *(other for other in RECIPES for step in then if f"overrides {other}" in step.run)}:
        assert cli.main(["recipe", "overrides", other]) == 0
        (project / "words" / other).write_text(capsys.readouterr().out)
    words = by_shell(f"dvc exp run $(pneumoseg recipe overrides {name})", project)
    assert words[:2] == ["exp", "run"]
    assert applied(through_dvc(words[2:], project / "other.yaml"), name)
    for step in then:
        arguments = by_shell(step.run, project)
        assert arguments[:2] == ["exp", "run"]
        start = 4 if arguments[2] == "-n" else 2
        parse_params(through_dvc(arguments[start:], project / "other.yaml"))


GOOD = (
    "recipe:\n  title: T\n  source: {authors: A, work: W, rank: null}\n"
    "  published: [{figure: F, value: '0.5', measured_on: M}]\n  rule: R\n"
    "  differs: [{point: P, theirs: T, ours: O, why: W}]\n  then: []\n\nparams:\n  train: {lr: 1.0e-3}\n"
)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (", why: W", "", r"own\.yaml: recipe\.differs\.0\.why is missing"),
        ("value: '0.5'", "value: 0.5", r"recipe\.published\.0\.value"),
        ("  train: {lr: 1.0e-3}", "  data: {root: x}", r"params = .*: data: a recipe may set split, augment, model"),
        ("  train: {lr: 1.0e-3}", "  train: 3", r"params = .*: train: a section is a mapping"),
        ("  title: T", "  title: T\n  colour: red", r"recipe\.colour"),
        ("recipe:", "recipe: [", r"not valid YAML"),
    ],
)
def test_a_wrong_recipe_names_the_key(tmp_path: Path, old: str, new: str, reason: str):
    (tmp_path / "own.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(ParameterError, match=reason):
        load_recipe("own", tmp_path)


def test_own_recipes_stand_on_the_defaults(tmp_path: Path):
    (tmp_path / "own.yaml").write_text(GOOD)
    recipe: Recipe = load_recipe("own", tmp_path)
    assert recipe.params["train"]["lr"] == 1e-3
    assert recipe.params["model"] == CONTENT["model"]
    assert recipe.text == "params:\n  train: {lr: 1.0e-3}\n"
    with pytest.raises(ParameterError, match="did you mean own"):
        load_recipe("owm", tmp_path)
    (tmp_path / "Own-2.yaml").write_text(GOOD)
    with pytest.raises(ParameterError, match="name recipes with small letters"):
        load_recipes(tmp_path)
    with pytest.raises(DataError, match="not there"):
        load_recipes(tmp_path / "none")
