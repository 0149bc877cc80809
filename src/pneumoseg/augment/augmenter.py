"""Named augmentations of one radiograph and its mask, the same for the same seed in every process."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.augment import NONE, AugmentParams, StepParams
from pneumoseg.shared.errors import DataError, ParameterError

_NEEDS_SQUARE = ("rotate_90", "transpose")


class Augmenter:
    """Applies the recipes of section augment.

    It holds nothing but the parameters when it is pickled; the transforms are built where they are used, once for a
    process and image size. Each call is seeded anew, since albumentations in DataLoader workers would otherwise draw
    the same numbers in every worker and epoch (albumentations#2561).
    """

    def __init__(self, params: AugmentParams) -> None:
        """Take section augment; nothing is built yet."""
        self._params = params
        self._built: dict[tuple[str, int], Any] = {}

    def __getstate__(self) -> AugmentParams:
        """Pickle the parameters only."""
        return self._params

    def __setstate__(self, params: AugmentParams) -> None:
        """Start anew from the parameters."""
        self._params = params
        self._built = {}

    @staticmethod
    def load() -> None:
        """Load albumentations now (2 s), so that processes forked from this one need not, each for itself."""
        importlib.import_module("pneumoseg.augment.transforms")

    def __call__(
        self, recipe: str, image: NDArray[np.uint8], mask: NDArray[np.uint8], seed: int, *, online: bool = True
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Augment one image: its recipe, then the online one if section augment names one.

        Args:
            recipe: ``none``, or a name of augment.recipes.
            image: (H, W) uint8 grey.
            mask: (H, W) uint8, 0 to 255; a soft mask (share of a pixel's area) stays soft.
            seed: not negative; with the arguments above it settles the result, whatever came before.
            online: False leaves the online recipe out.

        Returns:
            Image and mask of the same shape and type, contiguous. Where nothing was applied they are the arrays given.

        Raises:
            ParameterError: the recipe is not defined.
            DataError: image or mask has another shape or type, or a recipe turns an image that is not square.
        """
        steps = self._steps(recipe, online)
        _check(image, mask)
        # One stream of numbers chooses steps and seeds the transforms: Compose.set_random_seed would hand the same
        # seed to each of them, so that "half of the time" would be the same half for every step.
        numbers = np.random.default_rng(seed)
        for step in steps:
            chance, choice, number = numbers.random(), numbers.integers(len(step.one_of)), numbers.integers(2**32)
            if chance < step.probability:
                image, mask = self._apply(step.one_of[choice], image, mask, int(number))
        return np.ascontiguousarray(image), np.ascontiguousarray(mask)

    def _steps(self, recipe: str, with_online: bool) -> tuple[StepParams, ...]:
        recipes = self._params.recipes
        if recipe != NONE and recipe not in recipes:
            raise ParameterError(
                f"augment.recipes has no {recipe}, known: {', '.join((NONE, *recipes))}; if a manifest names it, run "
                "dvc repro split"
            )
        named = () if recipe == NONE else recipes[recipe]
        online = recipes[self._params.online] if with_online and self._params.online is not None else ()
        return (*named, *online)

    def _apply(
        self, name: str, image: NDArray[np.uint8], mask: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        height, width = image.shape
        if name in _NEEDS_SQUARE and height != width:
            raise DataError(
                f"augment: {name} needs square images, this one is {height} x {width}; drop it from recipes"
            )
        key = (name, min(height, width))
        if key not in self._built:
            from pneumoseg.augment.transforms import build_transform  # loads albumentations, 2 s

            self._built[key] = build_transform(name, self._params, key[1])
        transform = self._built[key]
        transform.set_random_seed(seed)
        done = transform(image=image, mask=mask)
        return done["image"], done["mask"]


def _check(image: NDArray[Any], mask: NDArray[Any]) -> None:
    for what, array in (("image", image), ("mask", mask)):
        if array.ndim != 2 or array.dtype != np.uint8:
            raise DataError(f"augment: the {what} must be (H, W) uint8, this one is {array.shape} {array.dtype}")
    if image.shape != mask.shape:
        raise DataError(f"augment: image {image.shape} and mask {mask.shape} differ in shape; resize one of them")
