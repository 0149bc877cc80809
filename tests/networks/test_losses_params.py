"""What section train.loss refuses, and how it agrees with section model."""

import pytest
from ruamel.yaml import YAML

from pneumoseg.config import load_params, parse_params
from pneumoseg.shared.errors import ParameterError

YAML_FILE = "params.yaml"


@pytest.fixture
def content(root):
    return YAML(typ="safe").load(root / YAML_FILE)


def test_the_default_has_the_weights_of_the_reference_loss(root):
    loss = load_params(root / YAML_FILE).train.loss
    assert (loss.dice.weight, loss.bce.weight) == (1.0, 0.5)
    assert (loss.focal.weight, loss.lovasz.weight, loss.tversky.weight) == (0, 0, 0)
    # segmentation-models-pytorch's DiceLoss pools; how the reference project did is not known.
    assert (loss.dice.pooled, loss.dice.images) == (False, "positives")


@pytest.mark.parametrize(
    ("term", "changes", "told"),
    [
        ("dice", {"weight": -1.0}, "train.loss.dice.weight"),
        ("dice", {"smooth": 0.0}, "train.loss.dice.smooth"),
        ("dice", {"pooled": True, "images": "positives"}, "images must be all"),
        ("dice", {"images": "negatives"}, "'all' or 'positives'"),
        ("tversky", {"alpha": 0.0, "beta": 0.0}, "penalises nothing"),
        ("tversky", {"pooled": True, "images": "positives"}, "images must be all"),
        ("focal", {"gamma": 0.5}, "train.loss.focal.gamma"),
        ("bce", {"positive_weight": 0.0}, "train.loss.bce.positive_weight"),
        ("auxiliary", {"decay": 1.5}, "train.loss.auxiliary.decay"),
        ("dice", {"wieght": 1.0}, "did you mean weight"),
    ],
)
def test_impossible_values_are_named(content, term, changes, told):
    content["train"]["loss"][term].update(changes)
    with pytest.raises(ParameterError, match=told):
        parse_params(content)


def test_a_mask_without_a_term_is_refused(content):
    for term in ("dice", "bce", "focal", "lovasz", "tversky"):
        content["train"]["loss"][term]["weight"] = 0.0
    with pytest.raises(ParameterError, match=r"train\.loss.*every mask term has weight 0"):
        parse_params(content)


def test_heads_that_nothing_trains_are_refused(root):
    params = load_params(root / YAML_FILE)
    loss, model = params.train.loss, params.model
    loss.check_model(model)
    deep = model.model_copy(update={"deep_supervision_levels": 2})
    headed = model.model_copy(update={"image_head": model.image_head.model_copy(update={"enabled": True})})
    loss.check_model(deep)
    loss.check_model(headed)
    no_auxiliary = loss.model_copy(update={"auxiliary": loss.auxiliary.model_copy(update={"weight": 0.0})})
    with pytest.raises(ValueError, match=r"loss\.auxiliary\.weight = 0.*model\.deep_supervision_levels"):
        no_auxiliary.check_model(deep)
    no_image = loss.model_copy(update={"image": loss.image.model_copy(update={"bce": 0.0, "focal": 0.0})})
    with pytest.raises(ValueError, match=r"model\.image_head"):
        no_image.check_model(headed)
