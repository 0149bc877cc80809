"""Networks on a GPU: the same maps as on the CPU, whether their weights stay there or wait in main memory."""

import numpy as np
import pytest
import torch

from pneumoseg.predict.predictor import Group, Predictor
from pneumoseg.predict.runner import Runner
from tests.predict.network_stubs import network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU"),
]


def test_weights_beyond_the_limit_leave_the_gpu_again():
    values = (0.1, 0.3, 0.8)
    members = [network(value, 1 - value) for value in values]
    runner = Runner("cuda", limit_bytes=2 * members[0].nbytes)
    images = [np.zeros((40, 48), np.uint8)] * 5
    results = Predictor([Group(tuple(members))], runner)(images, batch_size=2)
    assert [next(member.model.parameters()).device.type for member in members] == ["cuda", "cuda", "cpu"]
    plain = Predictor([Group(tuple(network(value, 1 - value) for value in values))])
    for answer, expected in zip(results, plain(images), strict=True):
        np.testing.assert_allclose(answer.map, expected.map, atol=1e-5)
        assert answer.probability == pytest.approx(expected.probability, abs=1e-5)
    assert Runner("cuda").limit_bytes > 0
