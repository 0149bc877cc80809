"""Editing params.yaml: the values are there, and nothing else has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pneumoseg.config.recipes import Recipe, changes, edit_yaml, load_recipe, load_recipes, merge
from pneumoseg.config.recipes.overlay import inline, leaves, same
from pneumoseg.shared.errors import DataError, ParameterError

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "params.yaml").read_text("utf-8")
CONTENT: dict[str, Any] = YAML(typ="safe").load(TEXT)
RECIPES = {recipe.name: recipe for recipe in load_recipes(ROOT / "recipes")}


def comments(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("#")]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_editing_changes_only_the_recipe_s_values(name: str):
    overlay = RECIPES[name].params
    edited = edit_yaml(TEXT, overlay)
    wanted = merge(CONTENT, overlay)
    assert same(YAML(typ="safe").load(edited), wanted)
    assert comments(edited) == comments(TEXT)
    assert edit_yaml(edited, overlay) == edited
    # Line by line: what is in none of the recipe's sections is untouched.
    for section in ("phantom", "data", "extract", "masks", "explore", "evaluate", "report", "runtime", "tracking"):
        start = TEXT.index(f"\n{section}:")
        end = TEXT.find("\n\n", start)
        assert TEXT[start:end] in edited
    assert all(len(line) <= 120 for line in set(edited.splitlines()) - set(TEXT.splitlines()))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False),
    st.from_regex(r"[a-zA-Z0-9_./: '#\[{,-]{1,20}", fullmatch=True),
)  # fmt: skip
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4), max_leaves=12
)
#: Two sections, with comments, lists in blocks and on one line: the whole file takes the parser long.
PART = "".join(
    TEXT[TEXT.index(f"\n{name}:") : TEXT.index(f"\n{after}:")]
    for name, after in (("split", "augment"), ("tune", "evaluate"))
)
PART_CONTENT: dict[str, Any] = YAML(typ="safe").load(PART)
PLACES = [key for key, _ in leaves(PART_CONTENT)]


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from(PLACES), VALUES, min_size=1, max_size=4), st.dictionaries(KEYS, VALUES, max_size=2)
)
def test_any_edit_keeps_comments_and_gives_the_values(wanted: dict[str, Any], new: dict[str, Any]):
    overlay: dict[str, Any] = {"tune": {f"new_{key}": value for key, value in new.items()}}
    for key, value in wanted.items():
        overlay = merge(overlay, nested(key, value))
    edited = edit_yaml(PART, overlay)
    assert same(YAML(typ="safe").load(edited), merge(PART_CONTENT, overlay))
    assert [line for line in comments(PART) if line not in comments(edited)] == []


@given(VALUES)
def test_inline_yaml_is_read_the_same_by_two_parsers(value: Any):
    text = f"key: {inline(value)}\n"
    assert same(YAML(typ="safe").load(text)["key"], value)
    assert same(yaml.safe_load(text)["key"], value)


def test_editing_by_hand():
    text = (
        "# top\r\na:\r\n  b: 1  # one\r\n  c: [1,  2]\r\n  # the list\r\n  items:\r\n    # first\r\n"
        "    - name: x\r\n      # size\r\n      size: 3\r\n    - name: y\r\n      size: 4\r\nz:   'q'   # last\r\n"
    )
    overlay = {"a": {"b": 2, "items": [{"name": "x", "size": 5}], "new": [0.5]}, "z": "r"}
    assert edit_yaml(text, overlay) == (
        "# top\r\na:\r\n  b: 2  # one\r\n  c: [1,  2]\r\n  # the list\r\n  items:\r\n    # first\r\n"
        "    - name: x\r\n      # size\r\n      size: 5\r\n  new: [0.5]\r\nz: r   # last\r\n"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a: &x 1\nb: *x\n", "anchors"), ("- 1\n", "sections"), ("{a: 1}\n", "sections"), ("a: [1\n", "not valid YAML")],
)
def test_files_that_cannot_be_edited_are_refused(text: str, reason: str):
    with pytest.raises(ParameterError, match=reason):
        edit_yaml(text, {"a": 2})


def test_changes_are_told_key_by_key():
    before = {"a": 1, "b": {"c": None}, "d": [{"e": 1, "f": 2}], "g": 3}
    after = {"a": 1.0, "b": {"c": {"h": 0.1}}, "d": [{"e": 1, "f": 5}, {"e": 2}], "i": True}
    told = [(change.key, change.before, change.after) for change in changes(before, after)]
    assert told == [
        ("b.c", "null", "{h: 0.1}"),
        ("d.0.f", "2", "5"),
        ("d.1", None, "{e: 2}"),
        ("i", None, "true"),
        ("g", "3", None),
    ]


GOOD = (
    "recipe:\n  title: T\n  source: {authors: A, work: W, rank: null}\n"
    "  published: [{figure: F, value: '0.5', measured_on: M}]\n  rule: R\n"
    "  differs: [{point: P, theirs: T, ours: O, why: W}]\n  then: []\n\nparams:\n  train: {lr: 1.0e-3}\n"
)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (", why: W", "", r"own\.yaml: recipe\.differs\.0\.why: Field required"),
        ("value: '0.5'", "value: 0.5", r"recipe\.published\.0\.value"),
        ("  train: {lr: 1.0e-3}", "  data: {root: x}", r"params: data: a recipe may set split, augment, model"),
        ("  train: {lr: 1.0e-3}", "  train: 3", r"params: train: a section is a mapping"),
        ("  title: T", "  title: T\n  colour: red", r"recipe\.colour"),
        ("recipe:", "recipe: [", r"not valid YAML"),
    ],
)
def test_a_wrong_recipe_names_the_key(tmp_path: Path, old: str, new: str, reason: str):
    (tmp_path / "own.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(ParameterError, match=reason):
        load_recipe("own", tmp_path)


def test_own_recipes_need_no_ground(tmp_path: Path):
    (tmp_path / "own.yaml").write_text(GOOD)
    recipe: Recipe = load_recipe("own", tmp_path)
    assert recipe.params == {"train": {"lr": 1e-3}}
    assert recipe.text == "params:\n  train: {lr: 1.0e-3}\n"
    with pytest.raises(ParameterError, match="did you mean own"):
        load_recipe("owm", tmp_path)
    (tmp_path / "Own-2.yaml").write_text(GOOD)
    with pytest.raises(ParameterError, match="name recipes with small letters"):
        load_recipes(tmp_path)
    with pytest.raises(DataError, match="not there"):
        load_recipes(tmp_path / "none")
