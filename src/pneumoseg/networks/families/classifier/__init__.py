"""Classifier: the probability of pneumothorax in a radiograph, from an encoder and an image head; no mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pneumoseg.networks.family import Objective, Prediction
from pneumoseg.shared.registry import FAMILIES

if TYPE_CHECKING:
    from pneumoseg.config.loss import LossParams
    from pneumoseg.config.model import ModelParams
    from pneumoseg.networks.network import Network


class Classifier:
    """The family; see networks.family.Family."""

    gives_map = False
    chooses = "auc"

    def gives_image(self, params: ModelParams) -> bool:
        """Always: there is nothing else."""
        return True

    def build(self, params: ModelParams, published: str | None) -> Network:
        """Encoder and image head."""
        from pneumoseg.networks.encoders import build_encoder
        from pneumoseg.networks.families.classifier.classifying import ClassifierNetwork

        return ClassifierNetwork(params, build_encoder(params, published))

    def objective(self, params: LossParams) -> Objective:
        """The terms of train.loss.image; every image teaches by its label, whether its mask is known or not."""
        from pneumoseg.networks.families.classifier.classifying import objective

        return objective(params)

    def predict(self, output: Any) -> Prediction:
        """Sigmoids of the image's logit and of those of its places."""
        looked = None if output.places is None else output.places.float().sigmoid()
        return Prediction(None, output.image.float().sigmoid(), looked=looked)


FAMILIES.register("classifier", Classifier())
