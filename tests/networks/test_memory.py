"""How much memory training needs, against counts made apart from this code (bf16, 512 x 512, an image)."""

import pytest

from pneumoseg.config.model import ModelParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.memory import checkpoint_activations, kept_bytes, largest_batch, training_bytes


@pytest.mark.slow
def test_resnet34_keeps_198_mb_an_image_and_about_half_with_checkpoints():
    model = build_network(ModelParams(encoder="resnet34"))
    assert kept_bytes(model, 512, 2) == pytest.approx(198e6, rel=0.05)
    # Measured on an H200 at batch 32 and 64: 7.9 and 15.7 GiB.
    assert training_bytes(model, 512, 2, 32) / 2**30 == pytest.approx(7.9, rel=0.2)
    assert training_bytes(model, 512, 2, 64) / 2**30 == pytest.approx(15.7, rel=0.2)
    memory = 24 * 2**30
    batch = largest_batch(model, 512, 2, memory)
    assert training_bytes(model, 512, 2, batch) <= memory < training_bytes(model, 512, 2, batch + 1)
    assert largest_batch(model, 512, 2, 2**30) == 0
    checkpoint_activations(model)
    assert kept_bytes(model, 512, 2) < 0.6 * 198e6
