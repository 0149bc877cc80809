"""The picture files of one case: the radiograph and, as transparent layers, truth, prediction and agreement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pneumoseg.config.report import ReportParams
from pneumoseg.drawing.overlays import (
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    activation_layer,
    agreement,
    agreement_layer,
    display_image,
    display_mask,
    display_size,
    outline_layer,
)
from pneumoseg.report.parts import Drawing
from pneumoseg.rule.cases import read_map
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import atomic_path, read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import IMAGE_ID


@dataclass(frozen=True)
class CasePictures:
    """Paths relative to the report's folder, empty where there is nothing to show, and counts at the original size.

    ``predicted_px`` is None where the networks give no map, ``truth_px`` where it is not known where the pneumothorax
    lies, or whether there is one. ``activation`` shows where networks without a map looked, and is no mask. ``lateral``
    is the study's view from the side, where networks look at both.
    """

    radiograph: str
    truth: str
    prediction: str
    agreement: str
    truth_px: int | None
    predicted_px: int | None
    activation: str = ""
    lateral: str = ""


class PictureWriter:
    """Writes the pictures of cases into ``out``/cases, each image once however many galleries show it."""

    def __init__(
        self,
        layout: Layout,
        out: Path,
        rule: DecisionRule,
        params: ReportParams,
        laterals: Mapping[str, str] | None = None,
    ) -> None:
        """Keep where to read (images, masks, predictions), where and how to write, and who is shown from the side."""
        self._layout = layout
        self._out = out
        self._rule = rule
        self._params = params
        self._laterals = laterals or {}
        self._written: dict[str, CasePictures] = {}

    def write(self, image_id: str, which: str, probability: float, mask_known: bool) -> CasePictures:
        """Write the pictures of an image of a predicted set.

        Args:
            image_id: as in images.csv.
            which: test or unlabelled.
            probability: of pneumothorax in the image, for the rule's gate.
            mask_known: whether its truth is known to the pixel.

        Raises:
            DataError: a file is missing or damaged, sizes do not fit, or the id cannot be a file's name.
        """
        if not IMAGE_ID.fullmatch(image_id):
            raise DataError(f"image id {image_id!r} cannot name a file; ids are [A-Za-z0-9._-]{{1,64}}: run dvc repro")
        if image_id not in self._written:
            self._written[image_id] = self._write(image_id, which, probability, mask_known)
        return self._written[image_id]

    def _write(self, image_id: str, which: str, probability: float, mask_known: bool) -> CasePictures:
        picture = read_png(self._layout.images / f"{image_id}.png")
        predicted = truth = None
        shape, source = picture.shape, self._layout.images / f"{image_id}.png"
        if self._rule.mask_threshold is not None:
            source = self._layout.predictions / which / f"{image_id}.png"
            levels = read_map(source)
            shape, predicted = levels.shape, self._rule.apply(levels, probability)
        if mask_known:
            truth = self._truth(image_id, shape, source)
        size = display_size(shape, self._params.overlay_size_px)
        layers = {}
        if truth is not None:
            layers["truth"] = outline_layer(display_mask(truth, size), TRUTH_COLOUR)
        if predicted is not None:
            layers["prediction"] = outline_layer(display_mask(predicted, size), PREDICTION_COLOUR)
        if truth is not None and predicted is not None:
            layers["agreement"] = agreement_layer(agreement(display_mask(truth, size), display_mask(predicted, size)))
        looked = self._layout.activation / f"{image_id}.png"
        if looked.is_file():
            layers["activation"] = activation_layer(read_map(looked), size)
        paths = {name: self._layer(image_id, name, layer) for name, layer in layers.items()}
        return CasePictures(
            radiograph=self._save(f"{image_id}-radiograph", display_image(picture, size)),
            truth=paths.get("truth", ""),
            prediction=paths.get("prediction", ""),
            agreement=paths.get("agreement", ""),
            activation=paths.get("activation", ""),
            lateral=self._lateral(image_id),
            truth_px=None if truth is None else int(truth.sum()),
            predicted_px=None if predicted is None else int(predicted.sum()),
        )

    def _lateral(self, image_id: str) -> str:
        if image_id not in self._laterals:
            return ""
        picture = read_png(self._layout.images / f"{self._laterals[image_id]}.png")
        size = display_size(picture.shape, self._params.overlay_size_px)
        return self._save(f"{image_id}-lateral", display_image(picture, size))

    def _truth(self, image_id: str, shape: tuple[int, ...], source: Path) -> NDArray[np.bool_]:
        path = self._layout.masks / f"{image_id}.png"
        if not path.is_file():
            return np.zeros(shape, np.bool_)
        truth: NDArray[np.bool_] = read_png(path) > 0
        if truth.shape != shape:
            raise DataError(f"{path} is {truth.shape}, {source} {shape}: they differ in size; run dvc repro predict")
        return truth

    def _save(self, name: str, image: NDArray[np.uint8]) -> str:
        if self._params.radiograph_format == "jpeg":
            flags = [cv2.IMWRITE_JPEG_QUALITY, self._params.jpeg_quality_percent]
            return _write_image(self._out, f"cases/{name}.jpg", image, flags)
        return _write_image(self._out, f"cases/{name}.png", image, [cv2.IMWRITE_PNG_COMPRESSION, 6])

    def _layer(self, image_id: str, name: str, layer: NDArray[np.uint8]) -> str:
        if not layer[..., 3].any():
            return ""
        colours = cv2.cvtColor(layer, cv2.COLOR_RGBA2BGRA)
        return _write_image(self._out, f"cases/{image_id}-{name}.png", colours, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def copy_sheet(layout: Layout, out: Path) -> Drawing:
    """The contact sheet of the stage split, smaller, as ``out``/plots/augmentations.jpg.

    Raises:
        DataError: it is missing or damaged.
    """
    path = layout.splits / "augmentations.png"
    sheet = cv2.imread(str(path)) if path.is_file() else None
    if sheet is None:
        raise DataError(f"{path}: not there or not readable; run dvc repro split")
    name = _write_image(out, "plots/augmentations.jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])
    caption = "One radiograph under each of augment.recipes, with the outline of its mask."
    size = Markup('width="{}" height="{}"').format(sheet.shape[1], sheet.shape[0])
    return Markup('<img src="{}" alt="{}" {} loading="lazy">').format(name, caption, size), caption


def _write_image(out: Path, name: str, image: NDArray[Any], flags: list[int]) -> str:
    done, buffer = cv2.imencode(Path(name).suffix, image, flags)
    if not done:
        raise DataError(f"{name}: an image of shape {image.shape} cannot be written")
    with atomic_path(out / name) as temporary:
        temporary.write_bytes(buffer.tobytes())
    return name
