"""The picture files of one case: the radiograph and, as transparent layers, truth, prediction and agreement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.report import ReportParams
from pneumoseg.report.overlays import (
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    agreement,
    agreement_layer,
    display_image,
    display_mask,
    display_size,
    outline_layer,
)
from pneumoseg.rule.cases import read_map
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import atomic_path, read_png
from pneumoseg.shared.tables import IMAGE_ID


@dataclass(frozen=True)
class CasePictures:
    """Paths relative to the report's folder; empty where there is nothing to show. Counts are at the original size."""

    radiograph: str
    truth: str
    prediction: str
    agreement: str
    truth_px: int
    predicted_px: int


class PictureWriter:
    """Writes the pictures of cases into ``out``/cases, each image once however many galleries show it."""

    def __init__(self, data: Path, out: Path, rule: DecisionRule, params: ReportParams) -> None:
        """Keep where to read (``data``/images, masks, predictions) and where and how to write."""
        self._data = data
        self._out = out
        self._rule = rule
        self._params = params
        self._written: dict[str, CasePictures] = {}

    def write(self, image_id: str, which: str, probability: float) -> CasePictures:
        """Write the pictures of an image of a predicted set.

        Args:
            image_id: as in images.csv.
            which: test or unlabelled; an unlabelled image has neither truth nor agreement.
            probability: of pneumothorax in the image, for the rule's gate.

        Raises:
            DataError: a file is missing or damaged, sizes do not fit, or the id cannot be a file's name.
        """
        if not IMAGE_ID.fullmatch(image_id):
            raise DataError(f"image id {image_id!r} cannot name a file; ids are [A-Za-z0-9._-]{{1,64}}: run dvc repro")
        if image_id not in self._written:
            self._written[image_id] = self._write(image_id, which, probability)
        return self._written[image_id]

    def _write(self, image_id: str, which: str, probability: float) -> CasePictures:
        map_path = self._data / "predictions" / which / f"{image_id}.png"
        levels = read_map(map_path)
        predicted = self._rule.apply(levels, probability)
        size = display_size(levels.shape, self._params.overlay_size_px)
        shown = display_mask(predicted, size)
        image = display_image(read_png(self._data / "images" / f"{image_id}.png"), size)
        radiograph = self._save(f"{image_id}-radiograph", image)
        prediction = self._save_layer(f"{image_id}-prediction", outline_layer(shown, PREDICTION_COLOUR))
        if which == "unlabelled":
            return CasePictures(radiograph, "", prediction, "", 0, int(predicted.sum()))
        truth = self._truth(image_id, levels.shape, map_path)
        shown_truth = display_mask(truth, size)
        return CasePictures(
            radiograph,
            self._save_layer(f"{image_id}-truth", outline_layer(shown_truth, TRUTH_COLOUR)),
            prediction,
            self._save_layer(f"{image_id}-agreement", agreement_layer(agreement(shown_truth, shown))),
            int(truth.sum()),
            int(predicted.sum()),
        )

    def _truth(self, image_id: str, shape: tuple[int, ...], map_path: Path) -> NDArray[np.bool_]:
        path = self._data / "masks" / f"{image_id}.png"
        if not path.is_file():
            return np.zeros(shape, np.bool_)
        truth: NDArray[np.bool_] = read_png(path) > 0
        if truth.shape != shape:
            raise DataError(f"{path} is {truth.shape}, {map_path} {shape}: they differ in size; run dvc repro predict")
        return truth

    def _save(self, name: str, image: NDArray[np.uint8]) -> str:
        if self._params.radiograph_format == "jpeg":
            flags = [cv2.IMWRITE_JPEG_QUALITY, self._params.jpeg_quality_percent]
            return _write_image(self._out, f"cases/{name}.jpg", image, flags)
        return _write_image(self._out, f"cases/{name}.png", image, [cv2.IMWRITE_PNG_COMPRESSION, 6])

    def _save_layer(self, name: str, layer: NDArray[np.uint8]) -> str:
        if not layer[..., 3].any():
            return ""
        colours = cv2.cvtColor(layer, cv2.COLOR_RGBA2BGRA)
        return _write_image(self._out, f"cases/{name}.png", colours, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _write_image(out: Path, name: str, image: NDArray[Any], flags: list[int]) -> str:
    done, buffer = cv2.imencode(Path(name).suffix, image, flags)
    if not done:
        raise DataError(f"{name}: an image of shape {image.shape} cannot be written")
    with atomic_path(out / name) as temporary:
        temporary.write_bytes(buffer.tobytes())
    return name
