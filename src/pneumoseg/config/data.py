"""Section data: where the radiographs and their annotations are."""

import posixpath
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from pneumoseg.config.section import Section
from pneumoseg.shared.registry import SOURCES

#: Folders that stages empty and write anew.
_OUTPUTS = (
    "data/comparison",
    "data/export",
    "data/external",
    "data/external_predictions",
    "data/failed",
    "data/images",
    "data/lungs",
    "data/masks",
    "data/members",
    "data/models",
    "data/more",
    "data/predictions",
    "data/report",
    "data/splits",
    "metrics",
)


def _holds_input_only(root: str) -> str:
    path = posixpath.normpath(root)
    if path in (".", "data") or any(path == output or path.startswith(f"{output}/") for output in _OUTPUTS):
        raise ValueError("this folder holds results of the pipeline; give the images their own, such as data/siim")
    return root


def _is_source(name: str) -> str:
    SOURCES.check(name)
    return name


class LabelParams(Section):
    """What a label that says neither yes nor no counts as; ``ignore``: the image is not annotated."""

    uncertain: Literal["ignore", "zeros", "ones"] = "ignore"
    blank: Literal["ignore", "negative"] = "ignore"


#: What a column of a table can hold, for data.columns.
Role = Literal["image", "label", "rle", "mask", "patient", "study", "view", "sex", "age", "lungs"]


class DataParams(Section):
    """Of the main set or an external one. Paths are absolute, or relative to the folder of params.yaml.

    Relative ones are to be tracked with DVC, else queued runs do not see them.
    """

    format: Annotated[str, AfterValidator(_is_source)] = "siim"
    root: Annotated[str, Field(min_length=1), AfterValidator(_holds_input_only)]
    annotations: str = Field(min_length=1)
    labels: LabelParams = LabelParams()
    lungs: str | None = Field(None, min_length=1)
    columns: dict[Role, Annotated[str, Field(min_length=1)]] = Field({})


#: Names of sets are names of folders, of DVC's stages and of MLflow's metrics.
SET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def check_sets(sets: Mapping[str, DataParams], outputs: str) -> None:
    """Refuse names that cannot be folders, and tables that lie in ``outputs``, where the stages of the sets write.

    Raises:
        ValueError: names the set.
    """
    for name, one in sets.items():
        if not SET_NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot be the name of a set; it needs 1 to 32 characters of a-z 0-9 _ -, the first a "
                "letter or a digit"
            )
        if f"{posixpath.normpath(one.annotations)}/".startswith(f"{outputs}/"):
            raise ValueError(
                f"{name}.annotations = {one.annotations}: {outputs} holds results of the pipeline; put the "
                f"table elsewhere, such as data/{name}.csv"
            )


class MoreParams(DataParams):
    """A set that is trained on beside the main one, never tested on; ``label``: by its labels alone."""

    use: Literal["train", "label"] = "train"


class MainParams(DataParams):
    """The main set, which folds and test set are made of, and what is trained on beside it."""

    more: dict[str, MoreParams] = Field({})

    @field_validator("more")
    @classmethod
    def _sets_can_be_told_apart(cls, sets: dict[str, MoreParams]) -> dict[str, MoreParams]:
        check_sets(sets, "data/more")
        return sets

    def check_external(self, external: Mapping[str, DataParams]) -> None:
        """Refuse to be judged on what is trained on.

        Raises:
            ValueError: names both sets.
        """
        trained = {posixpath.normpath(one.root): name for name, one in self.more.items()}
        for name, one in external.items():
            same = trained.get(posixpath.normpath(one.root))
            if same is not None:
                raise ValueError(
                    f"evaluate.external.{name}.root = {one.root} is data.more.{same}.root too: networks learn from it, "
                    "so it is not external; take it out of one of them"
                )
