"""Activation checkpointing changes what is kept, and nothing else."""

import copy
import json

import pytest
import torch

from pneumoseg.config import load_params
from pneumoseg.config.model import ModelParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.memory import checkpoint_activations

pytestmark = pytest.mark.slow


def build(root, **changes):
    torch.manual_seed(0)
    content = load_params(root / "params.yaml").model.model_dump(mode="json")
    return build_network(ModelParams.model_validate_json(json.dumps({**content, **changes})))


def step(model, x):
    """Loss, gradients, buffers, and bytes kept for the backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)  # dropout, drop-connect
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = model(x).mask.square().mean()
    value.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return value, gradients, dict(model.named_buffers()), sum(kept.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": "resnet18"},
        {"encoder": "efficientnet-b0", "hypercolumn": True},
        {"encoder": "tu-test_efficientnet", "architecture": "unetplusplus", "attention": "scse"},
        {"encoder": "densenet121", "norm": "frozen_batch"},
    ],
)
def test_loss_gradients_and_statistics_stay_and_memory_falls(root, changes):
    plain = build(root, **changes)
    checked = copy.deepcopy(plain)
    assert checkpoint_activations(checked) >= 8
    checked = copy.deepcopy(checked)  # as weight averaging does: its blocks must be its own
    assert list(checked.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    one, two = step(plain, x), step(checked, x)
    assert torch.equal(one[0], two[0])
    for left, right in ((one[1], two[1]), (one[2], two[2])):
        for name, value in left.items():
            assert (value is None and right[name] is None) or torch.allclose(value, right[name], atol=1e-6), name
    assert two[3] < 0.75 * one[3]
    with torch.no_grad():
        assert torch.equal(plain.eval()(x).mask, checked.eval()(x).mask)
