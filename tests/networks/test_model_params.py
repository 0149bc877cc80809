"""What section model refuses: options that an architecture cannot take are told before anything heavy is imported."""

import pytest
from ruamel.yaml import YAML

from pneumoseg.config import load_params, parse_params
from pneumoseg.networks.families.segmentation import ARCHITECTURES
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.registry import FAMILIES


@pytest.fixture
def content(root):
    return YAML(typ="safe").load(root / "params.yaml")


def merge(content, changes):
    for key, value in changes.items():
        if isinstance(value, dict):
            content[key].update(value)
        else:
            content[key] = value


def test_the_default_is_a_u_net_of_depth_5_with_random_weights(root):
    model = load_params(root / "params.yaml").model
    assert (model.architecture, model.encoder_depth, model.weights) == ("unet", 5, None)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architecture": "unett"}, "did you mean unet"),
        ({"architecture": "detector"}, "detector is not known; known: .*\\bunet, "),
        ({"architecture": "manet", "attention": "scse"}, "attention = scse .* architecture = manet"),
        ({"architecture": "fpn", "attention": "cbam"}, "attention = cbam .* architecture = fpn"),
        ({"architecture": "deeplabv3plus", "aspp": {"enabled": True}}, "aspp.enabled.*deeplabv3plus"),
        ({"architecture": "segformer", "deep_supervision_levels": 1}, "deep_supervision_levels = 1.*segformer.* 0 "),
        ({"architecture": "unet", "encoder_depth": 4, "deep_supervision_levels": 4}, "has 3 decoder levels"),
        ({"architecture": "pan", "deep_supervision_levels": 4}, "has 3 decoder levels"),
        ({"architecture": "pspnet", "hypercolumn": True}, "hypercolumn = true .*pspnet"),
        ({"architecture": "linknet", "decoder_channels": [64]}, "decoder_channels = .*linknet"),
        ({"decoder_channels": [64, 32, 16]}, "takes 5"),
        ({"architecture": "fpn", "decoder_channels": [64, 48]}, "multiples of 32"),
        ({"attention": "scse", "decoder_channels": [64, 32, 16, 16, 8]}, "at least 16"),
        ({"architecture": "dpt", "encoder": "tu-vit_tiny_patch16_224"}, "encoder_depth = 5.*dpt"),
        ({"architecture": "dpt", "encoder_depth": 4}, "tu-vit"),
        ({"encoder_image_px": 128}, "encoder_image_px = 128"),
        ({"encoder_depth": 6}, "model.encoder_depth"),
        ({"in_channels": 2}, "model.in_channels"),
        ({"norm": "layer"}, "model.norm"),
        ({"aspp": {"rates": []}}, "model.aspp.rates"),
        ({"image_head": {"dropout": 1.0}}, "model.image_head.dropout"),
        ({"weights": ""}, "model.weights"),
    ],
)
def test_what_does_not_go_together_is_named(content, changes, told):
    merge(content["model"], changes)
    with pytest.raises(ParameterError, match=told):
        parse_params(content)


def test_every_architecture_is_accepted_with_its_plain_options(content):
    assert set(ARCHITECTURES) <= set(FAMILIES.names())
    for architecture in ARCHITECTURES:
        content["model"]["architecture"] = architecture
        if architecture == "dpt":
            merge(content["model"], {"encoder": "tu-vit_tiny_patch16_224", "encoder_depth": 4})
        parse_params(content)
