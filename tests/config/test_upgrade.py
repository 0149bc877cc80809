"""pneumoseg params upgrade, and the editing of a YAML file in place that it and pneumoseg recipe apply rest on."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pneumoseg.commands import cli
from pneumoseg.config import Params, load_params, read_yaml
from pneumoseg.config.edit import edit_yaml
from pneumoseg.config.flat import changes, complete, known, lacking, leaves, merge, same
from pneumoseg.config.tune import TuneParams
from pneumoseg.shared.errors import ParameterError

FILES = Path(__file__).parent / "files" / "450e244"
TEXT = (FILES / "shipped_params.yaml").read_text("utf-8")
CONTENT: dict[str, Any] = read_yaml(FILES / "shipped_params.yaml")


def comments(text: str) -> list[str]:
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line]


@pytest.mark.parametrize("name", ["shipped_params.yaml", "params.yaml"])
def test_a_file_of_450e244_gets_the_keys_that_came_later(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / name
    shutil.copy(FILES / name, path)
    before = load_params(path)
    assert cli.main(["params", "upgrade", str(path)]) == 0
    assert load_params(path) == before
    later = {key for key, _ in leaves(before.written())} - {key for key, _ in leaves(read_yaml(FILES / name))}
    # A section that came later is one change.
    later = {re.sub(r"^(bundle|.*\.labels|.*\.detector|.*\.lungs|.*\.views)\..*", r"\1", key) for key in later}
    assert capsys.readouterr().out.endswith(f"{len(later)} keys changed in {path}\n")
    lines = iter(path.read_text().splitlines())
    assert all(line in lines for line in (FILES / name).read_text().splitlines())
    assert cli.main(["params", "upgrade", "--check", str(path)]) == 0
    assert capsys.readouterr().out == "0 keys differ; nothing was written\n"


def test_sections_and_keys_that_are_missing_are_added_in_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Out of the middle and the end, of blocks and of a line, lists, and with another value that must stay."""
    text = TEXT.replace("lr: 2.0e-3", "lr: 3.0e-3  # mine")
    for piece in (
        "  confidence: 0.95\n", "  modalities: [CR, DX, RG]\n", "    clahe: {max_clip_limit: 4.0, tiles: 8}\n",
        "    ema:\n      decay: 0.999\n", ", max_percent: 120",
        TEXT[TEXT.index("report:\n") : TEXT.index("# Where things")],
        TEXT[TEXT.index("  recipes:\n") : TEXT.index("  # A recipe that every")], TEXT[TEXT.index("tracking:\n") :],
    ):  # fmt: skip
        assert text.count(piece) == 1
        text = text.replace(piece, "")
    path = tmp_path / "params.yaml"
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["params", "upgrade", "--check"]) == 1
    assert path.read_text() == text
    assert cli.main(["params", "upgrade"]) == 0
    assert "explore.confidence: (not there) -> 0.95\n" in capsys.readouterr().out
    upgraded = path.read_text()
    assert load_params(path).model_copy(update={"train": Params().train}) == Params()
    assert load_params(path).train.lr == 3e-3
    # What stood there stands there, in its order; keys are where the shipped file has them.
    rest = iter(upgraded.splitlines())
    assert all(line in rest for line in text.splitlines() if "gamma: {" not in line)
    for name, section in read_yaml(path).items():
        was = CONTENT.get(name, {})
        assert [key for key in section if key in was] == list(was)
    assert "    gamma: {min_percent: 80, max_percent: 120}\n    clahe:\n      max_clip_limit: 4.0\n" in upgraded
    assert cli.main(["params", "upgrade", "--check"]) == 0


def test_old_names_go_and_values_of_before_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(TuneParams, "RENAMED", {"rounds": "cross_fit_groups"})
    monkeypatch.setattr(TuneParams, "REMOVED", {"fast": False})
    monkeypatch.setattr(TuneParams, "BEFORE", {"fill_holes": True})
    (tmp_path / "params.yaml").write_text("tune:\n  fast: false  # gone\n  # groups\n  rounds: 7\n  seed: 1\n")
    assert cli.main(["params", "upgrade", str(tmp_path / "params.yaml")]) == 0
    assert "fast" not in (text := (tmp_path / "params.yaml").read_text())
    assert "rounds" not in text
    tune = read_yaml(tmp_path / "params.yaml")["tune"]
    assert (tune["cross_fit_groups"], tune["fill_holes"], tune["seed"]) == (7, True, 1)


def test_items_of_lists_get_their_keys_too_and_keep_their_comments(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "params.yaml"
    path.write_text(
        "train:\n  lr: 0.01  # mine\n  phases:\n  # the first\n  - name: a\n    size_px: 64  # small\n    epochs: 2\n"
        "  - {name: b, size_px: 96, epochs: 1, start: last}\n"
    )
    before = load_params(path)
    assert "no train.phases.0.crop_px, which counts as null; " in caplog.text
    assert 'no train.phases.0.start, which counts as "best"' in caplog.text
    assert "phases.1.start" not in caplog.text
    assert cli.main(["params", "upgrade", str(path)]) == 0
    text = path.read_text()
    assert comments(text)[:3] == ["# mine", "# the first", "# small"]
    assert "  - name: a\n    size_px: 64  # small\n    crop_px:\n    epochs: 2\n    positive_share:\n" in text
    phases = read_yaml(path)["train"]["phases"]
    assert [(phase["name"], phase["start"]) for phase in phases] == [("a", "best"), ("b", "last")]
    assert load_params(path) == before
    assert cli.main(["params", "upgrade", "--check", str(path)]) == 0


def test_what_a_file_knows_and_lacks_item_by_item():
    whole = {"a": 1, "b": [{"c": 1, "d": {"e": 2}}, {"c": 3, "d": {"e": 4, "f": 5}}], "g": [1, 2]}
    content = {"b": [{"c": 9}, {"c": 9, "d": {"f": 9}}], "g": [3]}
    assert lacking(content, whole) == {"a": 1, "b": {0: {"d": {"e": 2}}, 1: {"d": {"e": 4}}}}
    assert known(whole, content, whole) == {"b": [{"c": 1}, {"c": 3, "d": {"f": 5}}], "g": [1, 2]}
    assert known(whole, {"b": [{"c": 9}]}, whole) == {"b": whole["b"]}  # another number of items: a value as it is
    filled = complete(content, whole)
    assert filled == {"a": 1, "b": [{"c": 9, "d": {"e": 2}}, {"c": 9, "d": {"e": 4, "f": 9}}], "g": [3]}
    assert lacking(filled, whole) == {}


def test_a_file_with_mistakes_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "params.yaml").write_text("tune:\n  sed: 1\n")
    assert cli.main(["params", "upgrade", str(tmp_path / "params.yaml")]) == 1
    assert "tune.sed is not a parameter; did you mean seed?" in capsys.readouterr().err
    assert (tmp_path / "params.yaml").read_text() == "tune:\n  sed: 1\n"


def test_editing_by_hand():
    text = (
        "# top\r\na:\r\n  b: 1  # one\r\n  c: [1,  2]\r\n  # the list\r\n  items:  # of mappings\r\n"
        "    - name: x\r\n      size: 3\r\n    - name: y\r\n  # empty\r\n  e:  # none\r\n  f: {g: 1, h: 2}  # flow\r\n"
        "  # end\r\nz:   'q'   # last"
    )
    overlay = {
        "a": {"b": None, "new": [0.5], "items": [{"name": "x"}], "e": {"i": [1]}, "f": {"h": [3], "k": "x: y"}},
        "z": 1.0,
    }  # fmt: skip
    assert edit_yaml(text, overlay) == (
        "# top\r\na:\r\n  b:  # one\r\n  new:\r\n  - 0.5\r\n  c: [1,  2]\r\n  # the list\r\n  items:  # of mappings\r\n"
        "  - name: x\r\n  # empty\r\n  e:  # none\r\n    i:\r\n    - 1\r\n"
        '  f: {g: 1, h: [3], k: "x: y"}  # flow\r\n  # end\r\nz: 1.0   # last\r\n'
    )
    assert edit_yaml("a:\n  b: 1\n  c: 2\n\nd: 3\n", {}, dropped={"a": {"b": 0}}) == "a:\n  c: 2\n\nd: 3\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x 1\nb: *x\n", "has anchors or aliases"),
        ("- 1\n", "sections"),
        ("{a: 1}\n", "sections"),
        ("a: [1\n", "not valid YAML"),
    ],
)
def test_files_that_cannot_be_edited_are_refused(text: str, reason: str):
    with pytest.raises(ParameterError, match=reason):
        edit_yaml(text, {"a": 2})


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
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


def test_changes_are_told_key_by_key():
    before = {"a": 1, "b": {"c": None}, "d": [{"e": 1, "f": 2}], "g": 3}
    after = {"a": 1.0, "b": {"c": {"h": 0.1}}, "d": [{"e": 1, "f": 5}, {"e": 2}], "i": True}
    assert list(map(str, changes(before, after))) == [
        'b.c: null -> {"h": 0.1}', "d.0.f: 2 -> 5", 'd.1: (not there) -> {"e": 2}', "i: (not there) -> true",
        "g: 3 -> (removed)",
    ]  # fmt: skip
