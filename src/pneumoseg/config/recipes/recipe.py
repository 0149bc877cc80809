"""A file of recipes/: where a configuration was published, how it differs from that, and its values.

A recipe states all that the published work relies on, also where that is today's default. The rest of its sections, but
for what is the user's, goes back to the default: applied one after the other, recipes do not mix.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from pneumoseg.config import Params, read_yaml
from pneumoseg.config.flat import merge
from pneumoseg.config.section import Section
from pneumoseg.config.tune import TuneParams
from pneumoseg.shared.errors import DataError, ParameterError

#: Sections that a recipe may set, each with the keys that stay the user's where it says nothing of them. Data, where
#: things run and how a result is judged are the user's altogether.
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "split": ("seed", "test_fraction", "test_list", "patient_map", "area_bins", "materialize"),
    "augment": ("recipes",),
    "model": (),
    "train": ("precision", "channels_last", "compile", "checkpoint_activations", "synchronise_batch_norm"),
    "predict": ("batch_size", "precision"),
    "tune": tuple(set(TuneParams.keys()) - {"min_component_px_at_1024", "fill_holes"}),
}

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Source(Section):
    """Who published a configuration, and where; ``rank`` is the place in SIIM-ACR 2019, null outside of it."""

    authors: str = Field(min_length=1)
    work: str = Field(min_length=1)
    rank: int | None = Field(ge=1)


class Published(Section):
    """A figure that the authors report, digit for digit, and what it was measured on; null: they give none.

    It says nothing of a network trained here.
    """

    figure: str = Field(min_length=1)
    value: str | None = Field(pattern=r"^0\.[0-9]+$")
    measured_on: str = Field(min_length=1)


class Difference(Section):
    """A point in which the recipe is not what was published."""

    point: str = Field(min_length=1)
    theirs: str = Field(min_length=1)
    ours: str = Field(min_length=1)
    why: str = Field(min_length=1)


class Step(Section):
    """A further command of a solution that takes several runs."""

    run: str = Field(min_length=1)
    what: str = Field(min_length=1)


class Header(Section):
    """What a recipe says of itself. ``rule`` is their decision rule; ours is searched by the stage tune."""

    title: str = Field(min_length=1, max_length=60)
    source: Source
    published: tuple[Published, ...] = Field(min_length=1)
    rule: str = Field(min_length=1)
    differs: tuple[Difference, ...] = Field(min_length=1)
    then: tuple[Step, ...]


class RecipeFile(Section):
    """The content of recipes/<name>.yaml."""

    recipe: Header
    params: dict[str, Any] = Field(min_length=1)

    @field_validator("params")
    @classmethod
    def _sections_are_a_recipe_s(cls, value: dict[str, Any]) -> dict[str, Any]:
        wrong = [name for name in value if name not in SECTIONS]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: a recipe may set {', '.join(SECTIONS)}")
        plain = [name for name, content in value.items() if not isinstance(content, dict)]
        if plain:
            raise ValueError(f"{plain[0]}: a section is a mapping of parameters")
        return value


@dataclass(frozen=True)
class Recipe:
    """A recipe, read and checked.

    Attributes:
        name: of its file.
        header: what it says of itself.
        params: its values on the defaults of its sections, to be laid over a params.yaml.
        text: its own values as they stand in the file, with their comments.
    """

    name: str
    header: Header
    params: Mapping[str, Any]
    text: str


def load_recipes(folder: Path = Path("recipes")) -> list[Recipe]:
    """Every recipe of a folder, by name.

    Raises:
        DataError: there is no such folder.
        ParameterError: a file is no recipe; names the key.
    """
    return [_load(folder, name) for name in _names(folder)]


def load_recipe(name: str, folder: Path = Path("recipes")) -> Recipe:
    """One recipe.

    Raises:
        DataError: there is no such folder.
        ParameterError: there is no such recipe, or its file is none.
    """
    known = _names(folder)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {close[0]}? Known" if close else "known"
        raise ParameterError(f"{name}: no such recipe in {folder}/; {advice}: {', '.join(known) or 'none'}")
    return _load(folder, name)


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: not there; run from the folder that holds params.yaml and recipes/")
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    for name in names:
        if not _NAME.fullmatch(name):
            raise ParameterError(f"{folder / name}.yaml: name recipes with small letters, digits and underscores")
    return names


def _load(folder: Path, name: str) -> Recipe:
    path = folder / f"{name}.yaml"
    read = RecipeFile.read(read_yaml(path), str(path))
    defaults = Params().written()
    ground = {
        section: {key: value for key, value in defaults[section].items() if key not in kept}
        for section, kept in SECTIONS.items()
    }
    text = path.read_text("utf-8")
    return Recipe(name, read.recipe, merge(ground, read.params), text[text.index("\nparams:") + 1 :])
