"""Two views of a study, frontal and lateral, whose features are fused (after Luo, Liu and Yu, IEEE Access 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pneumoseg.networks.family import Objective, Prediction
from pneumoseg.shared.registry import FAMILIES

if TYPE_CHECKING:
    from pneumoseg.config.loss import LossParams
    from pneumoseg.config.model import ModelParams
    from pneumoseg.networks.network import Network


class TwoView:
    """The family; see networks.family.Family."""

    gives_map = False
    chooses = "auc"
    takes_lateral = True

    def gives_image(self, params: ModelParams) -> bool:
        """Always: there is nothing else."""
        return True

    def build(self, params: ModelParams, published: str | None) -> Network:
        """An encoder for each view, or one for both, and three heads."""
        from pneumoseg.networks.encoders import build_encoder
        from pneumoseg.networks.families.two_view.fusing import TwoViewNetwork

        lateral = None if params.two_view.share_encoder else build_encoder(params, published)
        return TwoViewNetwork(params, build_encoder(params, published), lateral)

    def objective(self, params: LossParams) -> Objective:
        """The terms of train.loss.image on each output, weighed by train.loss.views."""
        from pneumoseg.networks.families.two_view.fusing import objective

        return objective(params)

    def predict(self, output: Any) -> Prediction:
        """Sigmoids: the fused output where there is a lateral view, else the frontal one; all three beside it."""
        from pneumoseg.networks.families.two_view.fusing import predict

        return predict(output)


FAMILIES.register("two_view", TwoView())
