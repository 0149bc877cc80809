"""Trained networks as they lie in folders, on the device when they are needed, and shown several views of an image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumoseg.networks.family import Family, Prediction
from pneumoseg.networks.lungs import LungFinder, lung_finder
from pneumoseg.networks.network import Network, check_size
from pneumoseg.networks.preparation import normalise, resize_image
from pneumoseg.networks.spec import ModelSpec
from pneumoseg.networks.storage import load_model
from pneumoseg.rule.crop import Box
from pneumoseg.rule.findings import Detection
from pneumoseg.shared.devices import Device, Precision, autocast
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.registry import FAMILIES

_CHECKPOINT = re.compile(r"checkpoint([1-9]\d*)")


#: A radiograph (H, W), or the two views of a study: frontal, lateral.
Shown = NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]


class View(NamedTuple):
    """What is said of one view of N images.

    Attributes:
        maps: (N, h, w) float32 in [0, 1]; None where the family gives none.
        said: image probabilities (N,) float32; None where the highest of the map stands for them.
        boxes: of each image, what of it was seen; None: the whole of all.
        detections: a list for each orientation that was looked at, of each image's findings; None where the family
            tells none apart.
        looked: as in networks.family.Prediction; so are ``outputs``.
    """

    maps: NDArray[np.float32] | None
    said: NDArray[np.float32] | None
    boxes: list[Box] | None = None
    detections: list[list[list[Detection]]] | None = None
    looked: NDArray[np.float32] | None = None
    outputs: Mapping[str, NDArray[np.float32]] | None = None


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """One trained network, in evaluation mode, and what was written beside its weights."""

    model: Network
    spec: ModelSpec
    lungs: LungFinder | None = None

    @property
    def family(self) -> Family:
        """Its kind."""
        family: Family = FAMILIES[self.spec.params.architecture]
        return family

    @property
    def gives_image(self) -> bool:
        """Whether it says itself how probable a pneumothorax is in the image."""
        return self.family.gives_image(self.spec.params)

    @cached_property
    def nbytes(self) -> int:
        """Memory of its weights."""
        return sum(value.nbytes for value in self.model.state_dict().values())


def model_folders(fold: Path) -> list[Path]:
    """The model folders of a fold: itself, then checkpoint2, checkpoint3 … in it, the further good epochs.

    Raises:
        DataError: there is a gap in the numbers.
    """
    inside = sorted(path for path in fold.iterdir() if path.is_dir()) if fold.is_dir() else []
    matches = [_CHECKPOINT.fullmatch(path.name) for path in inside]
    numbers = sorted(int(match.group(1)) for match in matches if match)
    if numbers != list(range(2, 2 + len(numbers))):
        raise DataError(f"{fold}: has checkpoints {numbers}, which should count up from 2; train again (dvc repro)")
    return [fold, *(fold / f"checkpoint{number}" for number in numbers)]


def load_networks(fold: Path) -> tuple[TrainedNetwork, ...]:
    """Read the networks of a fold, on the CPU.

    Raises:
        DataError: a file is missing or damaged.
    """
    loaded = [load_model(folder) for folder in model_folders(fold)]
    # The further checkpoints of a fold see the same part of an image.
    lungs = lung_finder(loaded[0][1].params.lungs, fold)
    return tuple(TrainedNetwork(model, spec, lungs) for model, spec in loaded)


@dataclass(frozen=True)
class Views:
    """Test-time augmentation: the sizes at which a network sees an image, and whether mirrored too."""

    horizontal_flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def sizes_px(self, network: TrainedNetwork) -> list[int]:
        """Side of the network's square input at each scale, a multiple of what its levels need.

        Raises:
            ParameterError: two scales come to the same size, or the network cannot take one of the sizes.
        """
        size_px, multiple = network.spec.size_px, network.model.size_multiple
        # Never rounded where it is the size trained at.
        sizes = [
            size_px if scale == 1 else max(1, round(size_px * scale / multiple)) * multiple for scale in self.scales
        ]
        named = f"predict.scales = {list(self.scales)}"
        if len(set(sizes)) < len(sizes):
            raise ParameterError(
                f"{named}: of {size_px} px, in steps of {multiple}, they make {sizes} px: one size twice would count "
                "twice; give scales further apart"
            )
        return sizes

    def check(self, network: TrainedNetwork) -> None:
        """Refuse sizes that the network cannot take; no arithmetic is done.

        Raises:
            ParameterError: as in sizes_px, or its encoder is made for one size.
        """
        params = network.spec.params
        for scale, size_px in zip(self.scales, self.sizes_px(network), strict=True):
            if size_px == network.spec.size_px:
                continue
            try:
                check_size(network.model, size_px, 2, "predict.scales")
            except ParameterError as error:
                raise ParameterError(
                    f"predict.scales = {list(self.scales)}: {scale} makes {size_px} px, and a {params.architecture} "
                    f"with encoder {params.encoder} that was trained at {network.spec.size_px} px cannot take it "
                    f"({error}); set predict.scales to [1.0]"
                ) from None


@dataclass(eq=False)
class Runner:
    """Runs networks on a device; their weights are there as long as memory allows.

    Networks stay on a GPU until their weights fill half of the memory that was free at the start; those beyond it wait
    in main memory and are moved there and back for each block of images, of as many batches that moving costs
    little beside computing. On a CPU nothing is ever moved.
    """

    device: Device = "cpu"
    precision: Precision = "fp32"
    views: Views = field(default_factory=Views)
    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        """Find the limit, unless it is given."""
        if self.limit_bytes is None and self.device == "cuda":
            self.limit_bytes = torch.cuda.mem_get_info()[0] // 2
        self._resident: set[TrainedNetwork] = set()

    def make_room(self, networks: Sequence[TrainedNetwork]) -> bool:
        """Take other networks from the device where these do not fit beside them; tells whether these fit now."""
        if not self._fits(networks):
            for network in self._resident - set(networks):
                network.model.to("cpu")
                self._resident.discard(network)
        return self._fits(networks)

    def _fits(self, networks: Sequence[TrainedNetwork]) -> bool:
        needed = sum(network.nbytes for network in self._resident | set(networks))
        return self.limit_bytes is None or needed <= self.limit_bytes

    @contextmanager
    def on_device(self, network: TrainedNetwork) -> Iterator[None]:
        """Bring a network to the device, and take it away again where it cannot stay."""
        stays = self._fits([network])
        if network not in self._resident:
            network.model.eval().to(self.device).to(memory_format=torch.channels_last)
            if network.lungs is not None:
                network.lungs.to(self.device)
        if stays:
            self._resident.add(network)
        try:
            yield
        finally:
            if not stays:
                network.model.to("cpu")

    @torch.inference_mode()
    def predict(
        self,
        network: TrainedNetwork,
        images: Sequence[Shown],
        lungs: Sequence[NDArray[np.uint8] | None] | None = None,
    ) -> list[View]:
        """What a network that is on the device says of radiographs, at each scale.

        Args:
            network: inside ``on_device``.
            images: each (H, W) uint8 or uint16, or (frontal, lateral) of such; networks of one view see the first.
            lungs: the lung mask of each, where there is one.
        """
        boxes = None if network.lungs is None else network.lungs.boxes([front_of(image) for image in images], lungs)
        if boxes is not None:
            images = [box.cut(front_of(image)) for box, image in zip(boxes, images, strict=True)]
        return [self._view(network, images, size_px, boxes) for size_px in self.views.sizes_px(network)]

    def _view(self, network: TrainedNetwork, images: Sequence[Shown], size_px: int, boxes: list[Box] | None) -> View:
        views = getattr(network.model, "views", 1)
        batch = torch.from_numpy(np.stack([_pixels(image, views, size_px) for image in images])).to(self.device)
        said = self._forward(network, batch)
        found = None if said.detections is None else [said.detections]
        if self.views.horizontal_flip:
            mirrored = self._forward(network, batch.flip(-1))
            said = _with_mirrored(said, mirrored)
            if found is not None and mirrored.detections is not None:
                found.append([[one.mirrored() for one in image] for image in mirrored.detections])
        outputs = {name: value.cpu().numpy() for name, value in (said.outputs or {}).items()}
        looked = _to_numpy(said.looked)
        return View(_to_numpy(said.map), _to_numpy(said.image), boxes, found, looked, outputs or None)

    def _forward(self, network: TrainedNetwork, batch: Tensor) -> Prediction:
        pixels = normalise(batch, network.model)
        with autocast(self.device, self.precision):
            output = network.model(pixels)
        return network.family.predict(output)


def front_of(shown: Shown) -> NDArray[Any]:
    """The frontal view."""
    return shown[0] if isinstance(shown, tuple) else shown


def _pixels(shown: Shown, views: int, size_px: int) -> NDArray[np.uint8]:
    """(size_px, size_px) of the frontal view, or (2, size_px, size_px) with the one from the side, zeros without it."""
    front = resize_image(front_of(shown), size_px)
    if views == 1:
        return front
    return np.stack([front, resize_image(shown[1], size_px) if isinstance(shown, tuple) else np.zeros_like(front)])


def _with_mirrored(said: Prediction, mirrored: Prediction) -> Prediction:
    """The mean of what is said of images and of the mirrored ones, but for findings."""
    back = [None if value is None else value.flip(-1) for value in (mirrored.map, mirrored.looked)]
    others = mirrored.outputs or {}
    outputs = {name: (value + others[name]) / 2 for name, value in (said.outputs or {}).items() if name in others}
    return Prediction(
        map=_mean(said.map, back[0]),
        image=_mean(said.image, mirrored.image),
        looked=_mean(said.looked, back[1]),
        outputs=outputs or None,
    )


def _mean(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return None if one is None or other is None else (one + other) / 2


def _to_numpy(values: Tensor | None) -> NDArray[np.float32] | None:
    return None if values is None else values.cpu().numpy()
