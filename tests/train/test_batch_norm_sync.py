"""Two processes with half a batch each have the batch norm of the whole batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from pneumoseg.train.batch_norm_sync import synchronise_batch_norms


def network() -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), BatchNormAct2d(2, act_layer=nn.SiLU)]
    return nn.Sequential(*parts).double()


def images() -> torch.Tensor:
    return torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def results(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Three training steps' worth of statistics, the last output, and gradients of a loss that is a mean."""
    for _ in range(3):
        model.zero_grad()
        output = model(x)
        output.square().mean().backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return found | {name: value.detach() for name, value in model.named_buffers()} | {"output": output.detach()}


def half(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = synchronise_batch_norms(network(), "cpu")
    found = results(model, images()[3 * rank : 3 * rank + 3])
    for name, _ in model.named_parameters():
        dist.all_reduce(found[name])
        found[name] = found[name] / 2
    model.eval()
    with torch.no_grad():  # alone, as in validation: must not wait for the other
        if rank == 0:
            model(images())
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_halves_equal_the_whole(tmp_path):
    mp.spawn(half, (str(tmp_path),), nprocs=2)
    whole = results(network(), images())
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == whole.keys()
        for name, value in whole.items():
            expected = value[3 * rank : 3 * rank + 3] if name == "output" else value
            assert torch.allclose(found[name], expected, atol=1e-10), name
