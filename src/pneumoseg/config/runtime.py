"""Section runtime: where things run. It belongs to no stage: no output depends on it."""

from typing import Literal

from pydantic import Field

from pneumoseg.config.section import Section


class RuntimeParams(Section):
    """Device, workers, threads and an override of the precision."""

    workers: int | None = Field(None, ge=0)
    threads: int | None = Field(None, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None
    resume_interval_seconds: float = Field(60.0, ge=0)
