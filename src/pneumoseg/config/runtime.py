"""Section runtime: where things run. It belongs to no stage: no output depends on it."""

from typing import Literal

from pydantic import Field

from pneumoseg.config.section import Section


class RuntimeParams(Section):
    """Device, workers and an override of the precision."""

    workers: int | None = Field(ge=0)
    device: Literal["auto", "cpu", "cuda"]
    devices: int = Field(ge=1)
    nodes: int = Field(ge=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None
    resume_interval_seconds: float = Field(ge=0)
