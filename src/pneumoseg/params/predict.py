"""Section predict: probability maps."""

from typing import Literal

from pydantic import Field

from pneumoseg.params.section import Section


class PredictParams(Section):
    """How probability maps are made."""

    batch_size: int = Field(ge=1)
    horizontal_flip: bool
    precision: Literal["auto", "fp32", "bf16", "fp16"]
