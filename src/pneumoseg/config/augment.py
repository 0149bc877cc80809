"""Section augment: the elementary transforms with their limits, and the named recipes made of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from pneumoseg.config.section import Section

#: The augmentation that changes nothing; no recipe may take its name.
NONE = "none"

#: Transforms that have no limits, and so no sub-section.
WITHOUT_LIMITS = ("horizontal_flip", "rotate_90", "transpose")

#: Transforms that move pixels, and so the mask with the image; the others change grey values only.
GEOMETRIC = (*WITHOUT_LIMITS, "optical_distortion", "shift_scale_rotate", "elastic", "grid_distortion")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class BrightnessContrastParams(Section):
    """Grey = grey · (1 ± contrast) ± 255 · brightness."""

    brightness: Share = 0.2
    contrast: Share = 0.2


class LimitParams(Section):
    """One change of grey values, within ± limit."""

    limit: Share


class GammaParams(Section):
    """Grey = 255 · (grey / 255)^(percent / 100); below 100 brightens."""

    min_percent: int = Field(80, ge=10, le=1000)
    max_percent: int = Field(120, ge=10, le=1000)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_percent > self.max_percent:
            raise ValueError(f"min_percent = {self.min_percent} is above max_percent = {self.max_percent}; swap them")
        return self


class ClaheParams(Section):
    """Contrast-limited adaptive histogram equalisation on tiles x tiles fields."""

    max_clip_limit: float = Field(4.0, ge=1, le=100)
    tiles: int = Field(8, ge=1, le=64)


class OpticalDistortionParams(Section):
    """Lens distortion: both radial coefficients of the camera model, drawn within ± limit."""

    limit: float = Field(0.3, ge=0, le=2)


class ShiftScaleRotateParams(Section):
    """Shift as a share of the side, scale as a share of 1, both ±; the scale is one for both axes."""

    shift: Share = 0.0625
    scale: float = Field(0.1, ge=0, lt=1)
    rotate_degrees: float = Field(15.0, ge=0, le=180)


class GaussianNoiseParams(Section):
    """Standard deviation of the noise, in grey levels of 255."""

    min_std_grey_levels: float = Field(3.0, ge=0, le=255)
    max_std_grey_levels: float = Field(10.0, ge=0, le=255)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.min_std_grey_levels, self.max_std_grey_levels
        if low > high:
            raise ValueError(f"min_std_grey_levels = {low} is above max_std_grey_levels = {high}; swap them")
        return self


class KernelParams(Section):
    """Odd kernel sizes from 3 to max_kernel_px, in pixels of the image that is augmented."""

    max_kernel_px: int = Field(ge=3, le=101)

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.max_kernel_px % 2 == 0:
            raise ValueError(f"max_kernel_px = {self.max_kernel_px} is even; give an odd size")
        return self


class ElasticParams(Section):
    """Elastic deformation: uniform noise of ± alpha pixels, smoothed with sigma (Simard et al. 2003).

    Both are given for 1024² images and adjusted to the image's side, so that the deformation is the same at any size.
    """

    alpha_px_at_1024: float = Field(120.0, ge=0, le=10000)
    sigma_px_at_1024: float = Field(6.0, gt=0, le=1024)


class GridDistortionParams(Section):
    """A grid of steps x steps cells whose lines move by up to ± limit of a cell."""

    steps: int = Field(5, ge=1, le=32)
    limit: float = Field(0.3, ge=0, lt=1)


class CoarseDropoutParams(Section):
    """Black rectangles; sides as shares of the image's side. The mask keeps its label under them."""

    max_holes: int = Field(4, ge=1, le=100)
    min_side: Share = 0.02
    max_side: Share = 0.08

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_side > self.max_side:
            raise ValueError(f"min_side = {self.min_side} is above max_side = {self.max_side}; swap them")
        return self


class TransformParams(Section):
    """The limits of the elementary transforms; horizontal_flip, rotate_90 and transpose have none."""

    brightness_contrast: BrightnessContrastParams = BrightnessContrastParams()
    brightness: LimitParams = LimitParams(limit=0.2)
    contrast: LimitParams = LimitParams(limit=0.2)
    gamma: GammaParams = GammaParams()
    clahe: ClaheParams = ClaheParams()
    optical_distortion: OpticalDistortionParams = OpticalDistortionParams()
    shift_scale_rotate: ShiftScaleRotateParams = ShiftScaleRotateParams()
    gaussian_noise: GaussianNoiseParams = GaussianNoiseParams()
    blur: KernelParams = KernelParams(max_kernel_px=3)
    median_blur: KernelParams = KernelParams(max_kernel_px=3)
    motion_blur: KernelParams = KernelParams(max_kernel_px=7)
    elastic: ElasticParams = ElasticParams()
    grid_distortion: GridDistortionParams = GridDistortionParams()
    coarse_dropout: CoarseDropoutParams = CoarseDropoutParams()


#: Every name that a step of a recipe may use.
TRANSFORMS = tuple(sorted((*WITHOUT_LIMITS, *TransformParams.model_fields)))


class StepParams(Section):
    """With this probability, one of these transforms; each is as likely as the others.

    In params.yaml a step is a name, ``{one_of: [names]}`` or ``{transform: name}``, the last two with ``probability``
    or without it (then: always).
    """

    one_of: tuple[str, ...] = Field(min_length=1)
    probability: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        if isinstance(value, str):
            return {"one_of": (value,)}
        if not isinstance(value, dict):
            raise ValueError("a step is a transform, {one_of: [transforms]} or {transform: name}")  # noqa: TRY004
        step = dict(value)
        if "transform" in step:
            if "one_of" in step:
                raise ValueError("a step has transform or one_of, not both")
            step["one_of"] = [step.pop("transform")]
        if isinstance(step.get("one_of"), list):
            step["one_of"] = tuple(step["one_of"])
        return step

    @model_serializer(mode="wrap")
    def _short_form(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        step = dump(self)
        if not (info.context or {}).get("written"):
            return step
        if len(self.one_of) == 1:
            step = {"transform": self.one_of[0], "probability": self.probability}
        if self.probability == 1:
            step.pop("probability")
        return step["transform"] if step.keys() == {"transform"} else step

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = [name for name in self.one_of if name not in TRANSFORMS]
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is not a transform; known: {', '.join(TRANSFORMS)}")
        return self


def _steps(*steps: object) -> tuple[StepParams, ...]:
    return tuple(map(StepParams.model_validate, steps))


#: The named augmentations of the reference project: pure ones, and mixed families.
REFERENCE = {
    **{name: _steps(name) for name in ("horizontal_flip", "brightness_contrast", "gamma", "clahe")},
    **{name: _steps(name) for name in ("optical_distortion", "shift_scale_rotate", "gaussian_noise")},
    "flip_brightness_one_of": _steps(
        "horizontal_flip",
        "brightness_contrast",
        {"one_of": ["gamma", "clahe", "optical_distortion", "gaussian_noise"]},
    ),
    "affine_noise": _steps("shift_scale_rotate", "gaussian_noise"),
    "clahe_one_of": _steps("clahe", {"one_of": ["gaussian_noise", "gamma", "optical_distortion"]}),
    "gamma_optical": _steps("gamma", "optical_distortion"),
    "brightness_noise": _steps("brightness_contrast", "gaussian_noise"),
    "affine_one_of": _steps(
        "shift_scale_rotate", {"one_of": ["gamma", "horizontal_flip", "gaussian_noise", "optical_distortion"]}
    ),
}
#: With destructive ones, and one for every image.
RECIPES = {
    **REFERENCE,
    **{name: _steps(name) for name in ("motion_blur", "elastic", "grid_distortion", "coarse_dropout")},
    "flip_affine_half": _steps(
        {"transform": "horizontal_flip", "probability": 0.5}, {"transform": "shift_scale_rotate", "probability": 0.5}
    ),
}


class AugmentParams(Section):
    """Section augment of params.yaml."""

    border: Literal["black", "reflect"] = "black"
    transforms: TransformParams = TransformParams()
    recipes: dict[Name, tuple[StepParams, ...]] = RECIPES
    online: str | None = "flip_affine_half"

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        if NONE in self.recipes:
            raise ValueError(f"recipes.{NONE}: this name means no augmentation; take another one")
        empty = [name for name, steps in self.recipes.items() if not steps]
        if empty:
            raise ValueError(f"recipes.{empty[0]} has no step; give it one, or use {NONE}")
        if self.online is not None and self.online not in self.recipes:
            raise ValueError(f"online = {self.online}: not among recipes; null or one of {', '.join(self.recipes)}")
        return self

    def moves_pixels(self, recipe: str) -> bool:
        """Whether a recipe has a geometric step."""
        return any(name in GEOMETRIC for step in self.recipes[recipe] for name in step.one_of)
