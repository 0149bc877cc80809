"""The elementary transforms, built from section augment with albumentations.

Every transform always acts (p = 1): whether and which one acts is the recipe's business. Geometric ones interpolate
image and mask linearly and fill both alike, so that they still agree; grey-value ones leave the mask alone.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

# albumentations asks the network for a newer release when it is imported, unless this is set before.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import cv2

from pneumoseg.config.augment import AugmentParams, TransformParams
from pneumoseg.shared.errors import ParameterError

_BORDERS = {"black": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101}
_REFERENCE_SIDE_PX = 1024

#: Arguments that every geometric transform takes.
_Geometry = dict[str, Any]


def build_transform(name: str, params: AugmentParams, side_px: int) -> A.BasicTransform:
    """Build one transform, for images whose shorter side has side_px pixels.

    Returns:
        A transform that takes and gives ``image`` and ``mask``, both (H, W) uint8.

    Raises:
        ParameterError: albumentations refuses a limit, or (it only warns then) does not know one.
    """
    maker = _MAKERS.get(name)
    if maker is None:
        raise ParameterError(f"augment: {name} is not a transform; known: {', '.join(sorted(_MAKERS))}")
    geometry = {
        "interpolation": cv2.INTER_LINEAR,
        "mask_interpolation": cv2.INTER_LINEAR,
        "border_mode": _BORDERS[params.border],
        "fill": 0,
        "fill_mask": 0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return maker(params.transforms, geometry, side_px / _REFERENCE_SIDE_PX)
        except (Warning, ValueError, TypeError) as error:
            limits = getattr(params.transforms, name, None)
            raise ParameterError(
                f"augment.transforms.{name} = {limits!r}: refused by albumentations ({error})"
            ) from None


def _grey(brightness: float, contrast: float) -> A.BasicTransform:
    # The added amount is a share of 255, not of the image's mean: exposure differs between radiographs.
    return A.RandomBrightnessContrast(
        brightness_limit=(-brightness, brightness), contrast_limit=(-contrast, contrast), brightness_by_max=True, p=1
    )


def _brightness_contrast(limits: TransformParams, geometry: _Geometry, scale: float) -> A.BasicTransform:
    return _grey(limits.brightness_contrast.brightness, limits.brightness_contrast.contrast)


def _gamma(limits: TransformParams, geometry: _Geometry, scale: float) -> A.BasicTransform:
    return A.RandomGamma(gamma_limit=(limits.gamma.min_percent, limits.gamma.max_percent), p=1)


def _clahe(limits: TransformParams, geometry: _Geometry, scale: float) -> A.BasicTransform:
    tiles = limits.clahe.tiles
    return A.CLAHE(clip_limit=(1.0, limits.clahe.max_clip_limit), tile_grid_size=(tiles, tiles), p=1)


def _optical_distortion(limits: TransformParams, geometry: _Geometry, scale: float) -> A.BasicTransform:
    limit = limits.optical_distortion.limit
    return A.OpticalDistortion(distort_limit=(-limit, limit), mode="camera", p=1, **geometry)


def _shift_scale_rotate(limits: TransformParams, geometry: _Geometry, scale: float) -> A.BasicTransform:
    # Affine, since ShiftScaleRotate is its deprecated special case; keep_ratio: one scale for both axes.
    given = limits.shift_scale_rotate
    shift = (-given.shift, given.shift)
    return A.Affine(
        translate_percent={"x": shift, "y": shift},
        scale=(1 - given.scale, 1 + given.scale),
        rotate=(-given.rotate_degrees, given.rotate_degrees),
        keep_ratio=True,
        p=1,
        **geometry,
    )


def _gaussian_noise(limits: TransformParams, geometry: _Geometry, scale: float) -> A.BasicTransform:
    given = limits.gaussian_noise
    return A.GaussNoise(std_range=(given.min_std_grey_levels / 255, given.max_std_grey_levels / 255), p=1)


def _motion_blur(limits: TransformParams, geometry: _Geometry, scale: float) -> A.BasicTransform:
    # A kernel that is off centre or one-sided would move the image against its mask.
    largest = limits.motion_blur.max_kernel_px
    return A.MotionBlur(blur_limit=(3, largest), allow_shifted=False, direction_range=(0.0, 0.0), p=1)


def _elastic(limits: TransformParams, geometry: _Geometry, scale: float) -> A.BasicTransform:
    # Uniform noise as in albumentations 0.3, with which the published limits were chosen. Smoothing with sigma leaves
    # displacements of about alpha / sigma, which have to follow the side for the same deformation at any size; sigma
    # cannot be finer than a pixel.
    given = limits.elastic
    sigma = max(1.0, given.sigma_px_at_1024 * scale)
    alpha = given.alpha_px_at_1024 / given.sigma_px_at_1024 * scale * sigma
    return A.ElasticTransform(alpha=alpha, sigma=sigma, noise_distribution="uniform", p=1, **geometry)


def _grid_distortion(limits: TransformParams, geometry: _Geometry, scale: float) -> A.BasicTransform:
    limit = limits.grid_distortion.limit
    return A.GridDistortion(num_steps=limits.grid_distortion.steps, distort_limit=(-limit, limit), p=1, **geometry)


def _coarse_dropout(limits: TransformParams, geometry: _Geometry, scale: float) -> A.BasicTransform:
    # fill_mask=None: what is hidden is still there, and the network has to infer it from its surroundings.
    given = limits.coarse_dropout
    return A.CoarseDropout(
        num_holes_range=(1, given.max_holes),
        hole_height_range=(given.min_side, given.max_side),
        hole_width_range=(given.min_side, given.max_side),
        fill=0,
        fill_mask=None,
        p=1,
    )


_MAKERS: dict[str, Callable[[TransformParams, _Geometry, float], A.BasicTransform]] = {
    "horizontal_flip": lambda *_: A.HorizontalFlip(p=1),
    "rotate_90": lambda *_: A.RandomRotate90(p=1),
    "transpose": lambda *_: A.Transpose(p=1),
    "brightness_contrast": _brightness_contrast,
    "brightness": lambda limits, *_: _grey(limits.brightness.limit, 0.0),
    "contrast": lambda limits, *_: _grey(0.0, limits.contrast.limit),
    "gamma": _gamma,
    "clahe": _clahe,
    "optical_distortion": _optical_distortion,
    "shift_scale_rotate": _shift_scale_rotate,
    "gaussian_noise": _gaussian_noise,
    "blur": lambda limits, *_: A.Blur(blur_limit=(3, limits.blur.max_kernel_px), p=1),
    "median_blur": lambda limits, *_: A.MedianBlur(blur_limit=(3, limits.median_blur.max_kernel_px), p=1),
    "motion_blur": _motion_blur,
    "elastic": _elastic,
    "grid_distortion": _grid_distortion,
    "coarse_dropout": _coarse_dropout,
}
