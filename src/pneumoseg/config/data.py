"""Section data: where the radiographs and their annotations are."""

import posixpath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pneumoseg.config.section import Section
from pneumoseg.shared.registry import SOURCES

#: Folders that stages empty and write anew.
_OUTPUTS = (
    "data/comparison",
    "data/export",
    "data/external",
    "data/images",
    "data/masks",
    "data/members",
    "data/models",
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
Role = Literal["image", "label", "rle", "mask", "patient", "study", "view", "sex", "age"]


class DataParams(Section):
    """Of the main set or an external one. Paths are absolute, or relative to the folder of params.yaml.

    Relative ones are to be tracked with DVC, else queued runs do not see them.
    """

    format: Annotated[str, AfterValidator(_is_source)] = "siim"
    root: Annotated[str, Field(min_length=1), AfterValidator(_holds_input_only)]
    annotations: str = Field(min_length=1)
    labels: LabelParams = LabelParams()
    columns: dict[Role, Annotated[str, Field(min_length=1)]] = Field({})
