"""Averages of weights against means made by hand, and against torch's own."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from pneumoseg.config import Params, parse_params
from pneumoseg.config.train import AveragingParams, PhaseParams
from pneumoseg.shared.errors import ParameterError, TrainingError
from pneumoseg.train.averaging import Averaging, copy_weights, mean_weights, measure_statistics, move_towards
from pneumoseg.train.progress import duration, seconds_left


def averaging(name: str, **changes) -> AveragingParams:
    content = {"name": name, "ema": {"decay": 0.9}, "swa": {"epochs": [2, 4]}, "top_k": {"count": 2}} | changes
    return AveragingParams.model_validate(content, strict=False)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))


def test_moving_average_is_that_of_torch():
    model, mine = small(), small()
    theirs = AveragedModel(small(), multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    theirs.update_parameters(mine)  # its first call copies
    for step in range(5):
        torch.manual_seed(step)
        with torch.no_grad():
            for value in model.state_dict().values():
                value += torch.rand(value.shape) if value.is_floating_point() else 1
        move_towards(mine, model, 0.9)
        theirs.update_parameters(model)
    for name, value in theirs.module.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, mine.state_dict()[name], atol=1e-6), name
    assert mine.state_dict()["1.num_batches_tracked"] == 5  # counters are the model's


def test_mean_of_chosen_epochs_and_of_the_best():
    model = small()
    swa, seen = Averaging(averaging("swa")), []
    for epoch in range(1, 6):
        with torch.no_grad():
            model[0].bias.fill_(float(epoch))
        seen.append(copy_weights(model))
        swa.after_epoch(model, epoch)
    assert swa.weights(model, [])["0.bias"].tolist() == [3.0] * 3  # of epochs 2 and 4
    again = Averaging(averaging("swa"))
    again.load_state(swa.state())
    assert again.weights(model, [])["0.bias"].tolist() == [3.0] * 3
    top = Averaging(averaging("top_k"))
    assert top.best_needed == 2
    assert top.weights(model, [seen[4], seen[1], seen[0]])["0.bias"].tolist() == [3.5] * 3
    assert mean_weights(seen[:2])["1.num_batches_tracked"].dtype == torch.int64


def test_no_chosen_epoch_was_reached():
    with pytest.raises(TrainingError, match=r"swa\.epochs = \[2, 4\].*early stopping"):
        Averaging(averaging("swa")).weights(small(), [])


def test_statistics_are_those_of_torch_and_frozen_norms_keep_theirs():
    batches = [torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    mine, theirs, frozen = small(), small(), small()
    measure_statistics(mine.train(), batches)
    update_bn(batches, theirs)
    assert torch.allclose(mine[1].running_mean, theirs[1].running_mean)
    assert torch.allclose(mine[1].running_var, theirs[1].running_var)
    assert mine[1].momentum == 0.1
    frozen.train()[1].eval()
    measure_statistics(frozen, batches)
    assert torch.equal(frozen[1].running_mean, torch.zeros(3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"keep": "averaged"}}, "averaging.name = none"),
        ({"train": {"averaging": {"name": "ema"}}}, "no effect"),
        ({"train": {"averaging": {"name": "swa", "swa": {"epochs": [99]}}, "keep": "averaged"}}, "up to 10"),
        ({"train": {"averaging": {"name": "swa", "swa": {"epochs": [3, 99]}}, "keep": "averaged"}}, "10 epochs in all"),
        ({"train": {"checkpoints": 3, "keep": "last"}}, "keep must be best"),
        ({"train": {"checkpoints": 11}}, "the last phase has 10 epochs"),
        ({"train": {"mean_teacher": {"images_per_step": 2, "student_augmentation": "elastic"}}}, "moves pixels"),
        ({"train": {"mean_teacher": {"images_per_step": 2, "shared_augmentation": "nothing"}}}, "nothing is not among"),
        ({"train": {"mean_teacher": {"decay": [{"from_epoch": 2, "decay": 0.5}]}}}, "the first of them 1"),
        ({"train": {"pseudo_labels": {"negative_below": 0.9}}}, "negative_below = 0.9 is above"),
    ],
)
def test_impossible_wishes_are_refused(changes, message):
    content = Params().model_dump(mode="json")

    def merge(into, new):
        for key, value in new.items():
            if isinstance(value, dict):
                merge(into[key], value)
            else:
                into[key] = value

    merge(content, changes)
    with pytest.raises(ParameterError, match=message):
        parse_params(content)


def phase(epochs: int, size_px: int) -> PhaseParams:
    content = Params().train.phases[0].model_dump(mode="json")
    return PhaseParams.model_validate(content | {"epochs": epochs, "size_px": size_px, "name": f"p{size_px}"})


def test_time_left_grows_with_pixels():
    """An epoch of 256 px took 8 + 2 seconds: one more like it, and two of four times the pixels."""
    phases = (phase(3, 256), phase(2, 512))
    assert seconds_left(phases, 0, 2, {"seconds": 8.0, "validation_seconds": 2.0}) == pytest.approx(10 + 2 * 40)
    assert seconds_left(phases, 1, 2, {"seconds": 8.0, "validation_seconds": 2.0}) == 0
    assert [duration(seconds) for seconds in (45, 720, 11100)] == ["45 s", "12 min", "3 h 05 min"]
