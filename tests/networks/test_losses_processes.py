"""Two processes with half a batch each learn what one process with the whole batch learns."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pneumoseg.config.loss import DiceParams, LovaszParams, TverskyParams
from pneumoseg.networks.losses.dice import dice_loss
from pneumoseg.networks.losses.lovasz import lovasz_loss
from pneumoseg.networks.losses.tversky import tversky_loss

POOLED = {"weight": 1.0, "pooled": True, "smooth": 1.0, "images": "all"}
EACH = {"weight": 1.0, "pooled": False, "smooth": 1.0}
LOSSES = {
    "dice per image": (dice_loss, DiceParams(**EACH, images="all", squared=False)),
    "dice positives": (dice_loss, DiceParams(**EACH, images="positives", squared=False)),
    "dice pooled": (dice_loss, DiceParams(**POOLED, squared=True)),
    "tversky pooled": (tversky_loss, TverskyParams(**POOLED, alpha=0.3, beta=0.7)),
    "lovasz positives": (lovasz_loss, LovaszParams(weight=1.0, images="positives")),
}


def whole_batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 1, 6, 6, generator=generator)
    t = (torch.rand(4, 1, 6, 6, generator=generator) > 0.6).float()
    t[2] = 0  # three positives: two in the first process, one in the second
    return x, t


def value_and_gradient(x, t, term):
    loss, params = term
    weight = torch.tensor(0.7, requires_grad=True)
    value = loss(weight * x, t, params)
    value.backward()
    return torch.stack([value.detach(), weight.grad])


def half(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    x, t = whole_batch()
    share = slice(2 * rank, 2 * rank + 2)
    results = {}
    for name, loss in LOSSES.items():
        mean = value_and_gradient(x[share], t[share], loss)
        dist.all_reduce(mean)
        results[name] = mean / 2  # what DistributedDataParallel does to gradients
    with torch.no_grad():
        if rank == 0:  # alone, as in validation: must not wait for the other
            dice_loss(x[:1], t[:1], LOSSES["dice pooled"][1])
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    mp.spawn(half, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        for name, got in torch.load(tmp_path / f"{rank}.pt").items():
            expected = value_and_gradient(*whole_batch(), LOSSES[name])
            assert torch.allclose(got, expected, atol=1e-6), name
