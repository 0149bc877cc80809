"""Schedules against torch's own, and which parameters weight decay touches."""

import math
import warnings

import pytest
import torch
from torch import nn

from pneumoseg.config.train import OptimiserParams, SchedulerParams
from pneumoseg.train.optimisation import Schedule, build_optimiser, set_lr

BASE, EPOCHS, STEPS = 0.1, 6, 10


def params(name: str, warmup_epochs: float = 0.0, **parts) -> SchedulerParams:
    defaults = {
        "plateau": {
            "metric": "iou", "patience_epochs": 2, "factor": 0.1, "threshold": 1e-3, "threshold_mode": "abs",
            "min_lr": 1e-4,
        },
        "cosine": {"min_lr": 1e-3},
        "cosine_restarts": {"period_epochs": 1, "period_factor": 2, "min_lr": 1e-3},
        "one_cycle": {"warmup_fraction": 0.25, "start_divisor": 25.0, "end_divisor": 1e4},
        "polynomial": {"power": 0.9},
    }  # fmt: skip
    for part, values in parts.items():
        defaults[part] = defaults[part] | values
    return SchedulerParams(name=name, warmup_epochs=warmup_epochs, **defaults)


def ours(schedule: Schedule, epochs: int = EPOCHS) -> list[float]:
    return [schedule.lr(epoch + step / STEPS) for epoch in range(epochs) for step in range(STEPS)]


def torchs(make) -> list[float]:
    """The learning rates a torch scheduler gives, stepped every iteration."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=BASE)
    scheduler = make(optimiser)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimiser never steps here
        for _ in range(EPOCHS * STEPS):
            rates.append(optimiser.param_groups[0]["lr"])
            scheduler.step()
    return rates


def test_cosine_is_torchs():
    expected = torchs(lambda it: torch.optim.lr_scheduler.CosineAnnealingLR(it, EPOCHS * STEPS, eta_min=1e-3))
    assert ours(Schedule(params("cosine"), BASE, EPOCHS)) == pytest.approx(expected)


def test_warm_restarts_are_torchs_stepped_every_iteration():
    expected = torchs(
        lambda it: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(it, STEPS, T_mult=2, eta_min=1e-3)
    )
    assert ours(Schedule(params("cosine_restarts"), BASE, EPOCHS)) == pytest.approx(expected)


def test_polynomial_is_torchs():
    expected = torchs(lambda it: torch.optim.lr_scheduler.PolynomialLR(it, EPOCHS * STEPS, power=0.9))
    assert ours(Schedule(params("polynomial"), BASE, EPOCHS)) == pytest.approx(expected)


def test_one_cycle_has_torchs_corners():
    rates = ours(Schedule(params("one_cycle"), BASE, EPOCHS))
    assert rates[0] == pytest.approx(BASE / 25)
    assert max(rates) == pytest.approx(BASE)
    assert rates.index(max(rates)) == EPOCHS * STEPS // 4
    assert BASE / 1e4 < rates[-1] < BASE / 100


def test_warm_up_rises_linearly_then_the_schedule_begins():
    schedule = Schedule(params("constant", warmup_epochs=2.0), BASE, EPOCHS)
    assert [schedule.lr(position) for position in (0.0, 0.5, 1.0, 1.5, 2.0, 5.9)] == pytest.approx(
        [0.0, 0.025, 0.05, 0.075, 0.1, 0.1]
    )


@pytest.mark.parametrize(("metric", "sign"), [("iou", 1.0), ("loss", -1.0)])
@pytest.mark.parametrize("mode", ["abs", "rel"])
def test_plateau_is_torchs(metric: str, sign: float, mode: str):
    values = [0.10, 0.20, 0.2005, 0.2, 0.19, 0.15, 0.30, 0.30, 0.30, 0.30, 0.30, 0.3, 0.3, 0.3]
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=BASE)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser,
        "max" if sign > 0 else "min",
        factor=0.1,
        patience=2,
        threshold=1e-3,
        threshold_mode=mode,
        min_lr=1e-4,
    )
    schedule = Schedule(params("plateau", plateau={"metric": metric, "threshold_mode": mode}), BASE, 20)
    for value in values:
        measured = value if sign > 0 else 1 - value
        oracle.step(measured)
        schedule.validated({metric: measured})
        assert schedule.lr(3.0) == pytest.approx(optimiser.param_groups[0]["lr"])


def test_plateau_goes_on_from_its_state():
    first = Schedule(params("plateau"), BASE, 20)
    for value in (0.5, 0.4, 0.4, 0.4):
        first.validated({"iou": value})
    second = Schedule(params("plateau"), BASE, 20)
    second.load_state(first.state())
    for schedule in (first, second):
        schedule.validated({"iou": 0.4})
    assert first.state() == second.state()
    assert math.isclose(second.lr(1.0), BASE * 0.1)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "radam"])
def test_weight_decay_spares_norm_and_bias(name: str):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    optimiser = build_optimiser(
        network, OptimiserParams(name=name, weight_decay=0.1, decay_norm_and_bias=False, momentum=0.9), 1e-3
    )
    decayed = {id(item) for group in optimiser.param_groups if group["weight_decay"] for item in group["params"]}
    assert decayed == {id(network[0].weight), id(network[2].weight)}
    everything = build_optimiser(
        network, OptimiserParams(name=name, weight_decay=0.1, decay_norm_and_bias=True, momentum=0.9), 1e-3
    )
    assert [group["weight_decay"] for group in everything.param_groups] == [0.1]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_the_encoder_learns_at_its_share_of_the_rate(name: str):
    network = nn.ModuleDict({"encoder": nn.Linear(2, 2, bias=False), "decoder": nn.Linear(2, 2, bias=False)})
    optimiser = build_optimiser(network, OptimiserParams(name=name, encoder_lr_factor=0.1), 1.0)
    before = {part: network[part].weight.detach().clone() for part in network}
    set_lr(optimiser, 0.5)
    sum(network[part].weight.sum() for part in network).backward()
    optimiser.step()
    moved = {part: (before[part] - network[part].weight.detach()) for part in network}
    torch.testing.assert_close(moved["encoder"], torch.full((2, 2), 0.05), rtol=1e-3, atol=0)
    torch.testing.assert_close(moved["decoder"], torch.full((2, 2), 0.5), rtol=1e-3, atol=0)
