"""The classifier: one line on pooled features, taught by labels; where it looked adds up to what it says."""

from __future__ import annotations

import pytest
import torch

from pneumoseg.config import parse_params
from pneumoseg.config.loss import LossParams
from pneumoseg.config.model import ModelParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.family import Truth
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.registry import FAMILIES

FAMILY = FAMILIES["classifier"]


def network(pooling: str = "average", **params: object) -> torch.nn.Module:
    torch.manual_seed(1)
    head = {"pooling": pooling}
    model = {"architecture": "classifier", "encoder": "tu-test_resnet", "encoder_depth": 4, "image_head": head}
    return build_network(ModelParams.read(model | params, "model")).eval()


@pytest.mark.parametrize("pooling", ["average", "maximum"])
def test_the_activation_map_is_what_the_head_says_of_every_place(pooling: str):
    model = network(pooling)
    x = torch.randn(3, 3, 64, 64)
    output = model(x)
    features = model.encoder(x)[-1]
    assert output.places.shape == (3, *features.shape[2:])
    place = features[:, :, 1:2, 2:3]  # an image that shows everywhere what this one shows there
    torch.testing.assert_close(model.image_head(place)[:, 0], output.places[:, 1, 2])
    if pooling == "average":
        torch.testing.assert_close(output.places.mean((1, 2)), output.image)
    said = FAMILY.predict(output)
    assert said.map is None
    torch.testing.assert_close(said.image, output.image.sigmoid())
    torch.testing.assert_close(said.looked, output.places.sigmoid())
    assert model.train()(x).places is None


def test_a_label_teaches_whether_its_mask_is_known_or_not():
    model = network().train()
    x, masks = torch.randn(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    labels = torch.tensor([1.0, 0.0])
    params = LossParams.read({"image": {"bce": 2.0, "focal": 0.5}}, "loss")
    torch.manual_seed(2)
    terms, output = FAMILY.objective(params)(model, x, Truth(masks, labels, torch.tensor([False, True])))
    bce = torch.nn.functional.binary_cross_entropy_with_logits(output.image, labels)
    torch.testing.assert_close(terms["image_bce"], bce.detach())
    torch.testing.assert_close(terms["loss"].detach(), 2 * bce.detach() + 0.5 * terms["image_focal"])
    terms["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.image_head.parameters())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("decoder_channels", [16, 8], "no decoder"),
        ("attention", "scse", "attention = scse"),
        ("aspp", {"enabled": True}, "it has no decoder"),
        ("hypercolumn", True, "hypercolumn = true"),
        ("deep_supervision_levels", 1, "deep_supervision_levels = 1"),
    ],
)
def test_what_needs_a_decoder_is_refused(key: str, value: object, said: str):
    with pytest.raises(ParameterError, match=said) as refused:
        parse_params({"model": {"architecture": "classifier", key: value}})
    assert "\n" not in str(refused.value)
    assert "classifier" in str(refused.value)


def test_loss_and_objective_must_fit_the_family():
    with pytest.raises(ParameterError, match="from which alone a classifier learns"):
        parse_params({"model": {"architecture": "classifier"}, "train": {"loss": {"image": {"bce": 0.0}}}})
    for objective in ("youden", "sensitivity_at_least"):
        with pytest.raises(ParameterError, match=f"tune.objective = {objective} .* unet is decided by its map"):
            parse_params({"tune": {"objective": objective}})
        parse_params({"model": {"architecture": "classifier"}, "tune": {"objective": objective}})
