"""Section bundle: what the folder of the model in use says of itself, and which radiographs it answers."""

from pydantic import Field

from pneumoseg.config.section import Section


class BundleParams(Section):
    """What nobody but its makers can know of a model."""

    view_positions: tuple[str, ...] = Field(("PA", "AP"), min_length=1)
    intended_use: str = Field("frontal chest radiographs of adults, for research and teaching", min_length=1)
    weights_license: str | None = None
