"""Where the lungs of a radiograph are: by its lung mask, or by a network of this project that learnt such masks."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumoseg.config.model import FROM_MASKS, LungParams
from pneumoseg.networks.family import Family
from pneumoseg.networks.network import Network
from pneumoseg.networks.preparation import normalise, resize_image
from pneumoseg.networks.spec import ModelSpec
from pneumoseg.networks.storage import SPEC_FILE, load_model
from pneumoseg.networks.weights import WEIGHTS_FILE
from pneumoseg.rule.crop import Box, box_of
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.registry import FAMILIES

#: The copy of the lung network beside a network that needs it.
FOLDER = "lungs"
Mask = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LungFinder:
    """Gives the box around the lungs of a radiograph.

    Attributes:
        params: section model.lungs, whose source is not null.
        network: that finds lungs, with its description; None: they are told by masks.
    """

    params: LungParams
    network: tuple[Network, ModelSpec] | None = None

    @property
    def by_masks(self) -> bool:
        """Whether each radiograph needs its lung mask."""
        return self.network is None

    def boxes(self, images: Sequence[NDArray[Any]], masks: Sequence[Mask | None] | None = None) -> list[Box]:
        """The box of each image.

        Args:
            images: each (H, W) uint8 or uint16.
            masks: of each, (H, W) uint8, not 0 in the lungs, None where there is none; without a network alone.
        """
        found = self._found(images) if self.network is not None else masks or [None] * len(images)
        return [box_of(mask, self.params.margin, self.params.least_area_share) for mask in found]

    @torch.inference_mode()
    def _found(self, images: Sequence[NDArray[Any]]) -> list[Mask]:
        """Lung masks at the size of the network's input; in float32, so that every stage sees the same."""
        model, spec = self.network or (None, None)
        if model is None or spec is None:
            raise RuntimeError("no lung network")
        family: Family = FAMILIES[spec.params.architecture]
        device = next(model.parameters()).device
        batch = torch.from_numpy(np.stack([resize_image(image, spec.size_px) for image in images])).to(device)
        maps = family.predict(model(normalise(batch, model))).map
        if maps is None:
            raise DataError("model.lungs.source: the network gives no map; take one that segments")
        return list((maps > 0.5).to(torch.uint8).cpu().numpy())

    def to(self, device: str) -> None:
        """Bring the network, if there is one, to a device."""
        if self.network is not None:
            self.network[0].to(device)

    def save(self, folder: Path) -> None:
        """Copy the lung network, if there is one, into the folder of a network that needs it."""
        if self.network is not None and self.params.source is not None:
            copy_network(Path(self.params.source), folder / FOLDER)


def lung_finder(params: LungParams, beside: Path | None = None) -> LungFinder | None:
    """What model.lungs asks for; None: networks see the whole image.

    Args:
        params: section model.lungs.
        beside: a model folder, which holds a copy of its lung network; None: the one that params name.

    Raises:
        ParameterError: there is no such model folder.
        DataError: the lung network is damaged.
    """
    if params.source is None:
        return None
    if params.source == FROM_MASKS:
        return LungFinder(params)
    folder = Path(params.source) if beside is None else beside / FOLDER
    if not (folder / SPEC_FILE).is_file():
        if beside is not None:
            raise DataError(f"{folder}: the lung network of {beside} is not there; copy the whole folder again")
        raise ParameterError(
            f"model.lungs.source = {params.source}: no model folder ({SPEC_FILE} and {WEIGHTS_FILE}) of this project; "
            f"give one that learnt lung masks, {FROM_MASKS}, or null"
        )
    return LungFinder(params, load_model(folder))


def copy_network(source: Path, target: Path) -> None:
    """Copy what a model folder needs to be used."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS_FILE, SPEC_FILE):
        shutil.copyfile(source / name, target / name)
