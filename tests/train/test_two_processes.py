"""Two processes with half a batch each learn what one learns with the whole: losses, batch norm."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pneumoseg.config.loss import DiceParams, LossParams, LovaszParams, TverskyParams
from pneumoseg.config.model import ModelParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.family import Truth
from pneumoseg.networks.losses.dice import dice_loss
from pneumoseg.networks.losses.lovasz import lovasz_loss
from pneumoseg.networks.losses.tversky import tversky_loss
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.train.batch_norm_sync import synchronise_batch_norms

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


def losses_of_half(rank: int) -> dict[str, torch.Tensor]:
    x, t = whole_batch()
    share = slice(2 * rank, 2 * rank + 2)
    found = {}
    for name, term in LOSSES.items():
        mean = value_and_gradient(x[share], t[share], term)
        dist.all_reduce(mean)
        found[name] = mean / 2  # what DistributedDataParallel does to gradients
    with torch.no_grad():
        if rank == 0:  # alone, as in validation: must not wait for the other
            dice_loss(x[:1], t[:1], LOSSES["dice pooled"][1])
    return found


def norms_of_half(rank: int) -> dict[str, torch.Tensor]:
    model = synchronise_batch_norms(network(), "cpu")
    found = results(model, images()[3 * rank : 3 * rank + 3])
    for name, _ in model.named_parameters():
        dist.all_reduce(found[name])
        found[name] = found[name] / 2
    model.eval()
    with torch.no_grad():  # alone, as in validation: must not wait for the other
        if rank == 0:
            model(images())
    return found


def detector_of_half(rank: int) -> dict[str, torch.Tensor]:
    """Gradients of a detector whose second process has no image with a known mask, and so nothing to learn."""
    slim = {"pyramid_channels": 8, "rois_per_image": 8, "proposals": 20}
    params = ModelParams.model_validate(
        {"architecture": "mask_rcnn", "encoder": "tu-test_resnet", "norm": "group", "detector": slim}
    )
    torch.manual_seed(0)
    model = DistributedDataParallel(build_network(params))
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, 10:30, 20:40] = 1
    known = torch.tensor([rank == 0] * 2)
    terms, _ = FAMILIES["mask_rcnn"].objective(LossParams())(
        model, torch.ones(2, 3, 64, 64), Truth(masks, masks, known)
    )
    terms["loss"].backward()
    return {name: value.grad for name, value in model.module.named_parameters()}


def studies_of_half(rank: int) -> dict[str, torch.Tensor]:
    """Gradients of two views, of which the second process has none from the side."""
    torch.manual_seed(0)
    params = {"architecture": "two_view", "encoder": "tu-test_resnet", "norm": "group"}
    model = DistributedDataParallel(build_network(ModelParams.model_validate(params)))
    x = torch.randn(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(rank))
    x[:, 1] *= rank == 0
    truth = Truth(torch.zeros(2, 1, 64, 64), torch.tensor([1.0, 0.0]), torch.tensor([False] * 2))
    terms, _ = FAMILIES["two_view"].objective(LossParams())(model, x, truth)
    terms["loss"].backward()
    return {name: value.grad for name, value in model.module.named_parameters()}


def half(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(
        (losses_of_half(rank), norms_of_half(rank), detector_of_half(rank), studies_of_half(rank)),
        f"{folder}/{rank}.pt",
    )
    dist.destroy_process_group()


@pytest.mark.long
@pytest.mark.slow
def test_two_halves_equal_the_whole(tmp_path):
    mp.spawn(half, (str(tmp_path),), nprocs=2)
    whole = results(network(), images())
    first = torch.load(tmp_path / "0.pt")[2:]
    for rank in (0, 1):
        losses, norms, *families = torch.load(tmp_path / f"{rank}.pt")
        for found, wanted in zip(families, first, strict=True):
            assert all(value is not None and torch.equal(value, wanted[name]) for name, value in found.items())
        assert families[0]["roi_heads.mask_predictor.mask_fcn_logits.weight"].any()
        assert families[1]["lateral_encoder.model.conv1.0.weight"].any()
        for name, got in losses.items():
            assert torch.allclose(got, value_and_gradient(*whole_batch(), LOSSES[name]), atol=1e-6), name
        assert norms.keys() == whole.keys()
        for name, value in whole.items():
            expected = value[3 * rank : 3 * rank + 3] if name == "output" else value
            assert torch.allclose(norms[name], expected, atol=1e-10), name
