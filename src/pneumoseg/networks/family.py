"""What a family of networks is: the one door between training, prediction and a kind of network.

A family is a package in ``families`` that registers itself under the names of its architectures (model.architecture).
Behind its answers nothing knows the family. This module imports nothing heavy, since parameters are checked through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from pneumoseg.config.loss import LossParams
    from pneumoseg.config.model import ModelParams
    from pneumoseg.networks.network import Network
    from pneumoseg.rule.crop import Box
    from pneumoseg.rule.findings import Detection, Finding


class Batch(NamedTuple):
    """Samples of a training or a validation; the batch of one sample that a data set gives lacks the first axis.

    Attributes:
        images: (N, H, W) uint8; (N, V, H, W) where a sample has V images.
        masks: (N, H, W) uint8, 255 x the share of a pixel that is lesion; empty where the mask is not known.
        labels: (N,) uint8, 1 for pneumothorax; of a crop whose mask is known: whether the crop shows any.
        mask_known: (N,) bool; False: labelled, without a mask.
        ids: of the samples.
    """

    images: Tensor
    masks: Tensor
    labels: Tensor
    mask_known: Tensor
    ids: list[str]

    def truth(self, device: Any) -> Truth:
        """What is known of the samples, on a device."""
        masks = self.masks.to(device, non_blocking=True).unsqueeze(1).float() / 255
        return Truth(masks, self.labels.to(device, non_blocking=True).float(), self.mask_known)


class Truth(NamedTuple):
    """What is known of a batch.

    Attributes:
        masks: (N, 1, H, W) float32 in [0, 1].
        labels: (N,) float32, 0 or 1.
        mask_known: (N,) bool, in main memory whatever the device, so that asking it waits for nothing.
    """

    masks: Tensor
    labels: Tensor
    mask_known: Tensor


class Prediction(NamedTuple):
    """What a network says of a batch, as probabilities.

    Attributes:
        map: (N, H, W) float32, of lesion in each pixel; None: the family gives no map.
        image: (N,) float32, of pneumothorax in the image; None: the highest of the map stands for it.
        detections: of each image its findings; None: the family tells none apart.
        looked: (N, h, w) float32 in [0, 1], where in the image a network without a map found what it says, on a grid of
            its own: for pictures alone, never a mask. None: it cannot tell.
        outputs: by name (N,) float32 probabilities of single outputs that are judged beside ``image``, NaN where one
            has nothing to say; None: there is one output.
    """

    map: Tensor | None
    image: Tensor | None
    detections: list[list[Detection]] | None = None
    looked: Tensor | None = None
    outputs: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Answer:
    """What is said of one sample in the end, by one network or many.

    Attributes:
        probability: of pneumothorax.
        map: (rows, columns) float32 in [0, 1]; None: the family gives no map.
        findings: told apart, best first; None: the family tells none apart.
        looked: (h, w) float32 in [0, 1], and ``outputs`` by name, as in Prediction; None: there is none.
        seen: what networks saw of the image, where they see the lungs alone; None: all of it.
    """

    probability: float
    map: NDArray[np.float32] | None = None
    findings: list[Finding] | None = None
    looked: NDArray[np.float32] | None = None
    outputs: Mapping[str, float] | None = None
    seen: Box | None = None


#: (network, input as preparation.normalise makes it, truth) → (terms of the loss by name, output of the network).
#: ``loss`` is what is minimised, with gradient; the other terms are detached. In evaluation mode a family whose loss
#: exists in training only leaves ``loss`` out.
Objective = Callable[["nn.Module", "Tensor", Truth], tuple[Mapping[str, "Tensor"], Any]]


class Family(Protocol):
    """One kind of network.

    A family may have more. ``needs_masks = True``: an image without a known mask teaches it nothing, though it says
    itself how probable a pneumothorax is. ``tells_apart = True``: its predictions hold detections.
    ``takes_lateral = True``: a sample is a frontal image with its study's view from the side, zeros without one.
    ``published(params)``: names of weights of whole networks of its kind, beside those of their encoder.

    Attributes:
        gives_map: whether its answers hold a map.
        chooses: the validation figure (train/figures.py) that train.selection_metric = auto stands for.
    """

    gives_map: bool
    chooses: str

    def gives_image(self, params: ModelParams) -> bool:
        """Whether such a network says itself how probable a pneumothorax is; else the highest of its map counts."""

    def build(self, params: ModelParams, published: str | None) -> Network:
        """The network of section model, in training mode, on the CPU.

        Args:
            params: section model, whose encoder exists.
            published: name of the published weights that the encoder starts from; None: every parameter is random.

        Raises:
            ParameterError: architecture and encoder do not go together, or the weights cannot be had.
        """

    def objective(self, params: LossParams) -> Objective:
        """What training minimises."""

    def predict(self, output: Any) -> Prediction:
        """Probabilities from the output of a network of this family; differentiable."""


def learns_labels(family: Family, params: ModelParams) -> bool:
    """Whether an image that has a label and no mask can teach such a network anything."""
    return family.gives_image(params) and not getattr(family, "needs_masks", False)
