"""docs/reference_project.md: what it names exists, and every row has a state."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

STATE = re.compile(r"(done|differs)\b|open: [FGHIJK](, [FGHIJK])*( \(.+\))?( for .+)?$")


def resolve(content: Any, parts: list[str]) -> Any:
    for part in parts:
        content = content[int(part)] if isinstance(content, list) else content[part]
    return content


def test_the_parameters_and_recipes_that_it_names_exist(root: Path) -> None:
    text = (root / "docs/reference_project.md").read_text(encoding="utf-8")
    params = YAML(typ="safe").load(root / "params.yaml")
    names = [name.split(".") for name in re.findall(r"`([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*)`", text)]
    ours = [parts for parts in names if parts[0] in params]
    assert len(ours) > 60
    for parts in ours:
        resolve(params, parts)
    recipes = {path.stem for path in (root / "recipes").glob("*.yaml")} - {"base"}
    assert recipes <= {parts[0] for parts in names}


def test_every_row_has_a_state(root: Path) -> None:
    lines = (root / "docs/reference_project.md").read_text(encoding="utf-8").splitlines()
    states = [line.split("|")[-2].strip() for line in lines if line.startswith("| ") and "| state |" not in line]
    assert len(states) > 90
    assert [state for state in states if not STATE.match(state)] == []
