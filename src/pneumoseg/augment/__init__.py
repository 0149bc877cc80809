"""The named augmentations, applied to a radiograph and its mask alike; the only room that imports albumentations."""

from pneumoseg.augment.augmenter import Augmenter

__all__ = ["Augmenter"]
