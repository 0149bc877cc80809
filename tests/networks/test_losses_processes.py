"""Two processes with half a batch each learn what one process with the whole batch learns."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pneumoseg.networks.losses import dice_loss, lovasz_loss, tversky_loss

LOSSES = {
    "dice per image": lambda x, t: dice_loss(x, t, smooth=1.0, squared=False, pooled=False, positives_only=False),
    "dice positives": lambda x, t: dice_loss(x, t, smooth=1.0, squared=False, pooled=False, positives_only=True),
    "dice pooled": lambda x, t: dice_loss(x, t, smooth=1.0, squared=True, pooled=True, positives_only=False),
    "tversky pooled": lambda x, t: tversky_loss(
        x, t, alpha=0.3, beta=0.7, smooth=1.0, pooled=True, positives_only=False
    ),
    "lovasz positives": lambda x, t: lovasz_loss(x, t, positives_only=True),
}


def whole_batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 1, 6, 6, generator=generator)
    t = (torch.rand(4, 1, 6, 6, generator=generator) > 0.6).float()
    t[2] = 0  # three positives: two in the first process, one in the second
    return x, t


def value_and_gradient(x, t, loss):
    weight = torch.tensor(0.7, requires_grad=True)
    value = loss(weight * x, t)
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
            LOSSES["dice pooled"](x[:1], t[:1])
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    mp.spawn(half, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        for name, got in torch.load(tmp_path / f"{rank}.pt").items():
            expected = value_and_gradient(*whole_batch(), LOSSES[name])
            assert torch.allclose(got, expected, atol=1e-6), name
