"""Averages of weights against means made by hand, and against torch's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from pneumoseg.config import load_params, parse_params
from pneumoseg.config.train import AveragingParams, PhaseParams
from pneumoseg.shared.errors import ParameterError, TrainingError
from pneumoseg.train.averaging import Averaging, copy_weights, mean_weights, measure_statistics, move_towards
from pneumoseg.train.progress import duration, seconds_left
from pneumoseg.train.training import TrainedFold, write_fold
from tests.rule.disks import ROOT, make_params, train, weights, write_disks

training = [pytest.mark.slow, pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")]


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
    content = load_params(ROOT / "params.yaml").model_dump(mode="json")

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
    content = load_params(ROOT / "params.yaml").train.phases[0].model_dump(mode="json")
    return PhaseParams.model_validate(content | {"epochs": epochs, "size_px": size_px, "name": f"p{size_px}"})


def test_time_left_grows_with_pixels():
    """An epoch of 256 px took 8 + 2 seconds: one more like it, and two of four times the pixels."""
    phases = (phase(3, 256), phase(2, 512))
    assert seconds_left(phases, 0, 2, {"seconds": 8.0, "validation_seconds": 2.0}) == pytest.approx(10 + 2 * 40)
    assert seconds_left(phases, 1, 2, {"seconds": 8.0, "validation_seconds": 2.0}) == 0
    assert [duration(seconds) for seconds in (45, 720, 11100)] == ["45 s", "12 min", "3 h 05 min"]


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_disks(tmp_path_factory.mktemp("disks"))


@pytest.fixture(scope="module")
def plain(disks: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedFold:
    """The same training without an average."""
    return train(disks, tmp_path_factory.mktemp("plain"), make_params(phase={"epochs": 3}))


def named(name: str) -> dict:
    if name == "swa":
        return {"averaging": averaging(name, swa={"epochs": [2, 3]}).model_dump(mode="json"), "keep": "averaged"}
    return {"averaging": averaging(name).model_dump(mode="json"), "keep": "averaged"}


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")
@pytest.mark.parametrize("name", ["ema", "swa", "top_k"])
def test_averaged_weights_are_kept_measured_and_the_same_after_a_stop(
    name: str, plain: TrainedFold, disks: Path, tmp_path: Path
):
    params = make_params(phase={"epochs": 3}, **named(name))
    trained = train(disks, tmp_path / "whole", params)
    assert trained.summary["kept"] == "averaged"
    assert trained.summary["val_loss"] not in [row["val_loss"] for row in trained.history]
    assert trained.history == plain.history  # averaging watches, and changes nothing

    class StopError(Exception):
        pass

    def stop(number: int, *_) -> None:
        if number == 2:
            raise StopError

    with pytest.raises(StopError):
        train(disks, tmp_path / "broken", params, on_epoch=stop)
    resumed = train(disks, tmp_path / "broken", params)
    assert resumed.summary == trained.summary
    for key, value in weights(trained).items():
        assert torch.equal(value, weights(resumed)[key]), key


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")
def test_a_phase_starts_from_averaged_weights_and_checkpoints_are_written(disks: Path, tmp_path: Path):
    base = make_params().phases[0].model_dump(mode="json")
    phases = [base | {"name": "one", "epochs": 2}, base | {"name": "two", "epochs": 3, "lr": 1e-5, "start": "averaged"}]
    params = make_params(phases=phases, averaging=averaging("top_k").model_dump(mode="json"), checkpoints=3)
    trained = train(disks, tmp_path, params, norm="group")
    write_fold(trained, tmp_path / "fold1", tmp_path / "c.csv", tmp_path / "m.json", {"fold": 1})
    folders = sorted(path.name for path in (tmp_path / "fold1").iterdir() if path.is_dir())
    assert folders == ["checkpoint2", "checkpoint3"]
    contents = {(tmp_path / "fold1" / name / "weights.safetensors").read_bytes() for name in (".", *folders)}
    assert len(contents) == 3
    scores = [row["val_dice_tuned"] for row in trained.history[2:]]
    assert trained.summary["best_epoch"] == 3 + int(np.argmax(scores))


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")
def test_activation_checkpointing_learns_the_same(disks: Path, tmp_path: Path):
    short = {"phase": {"epochs": 2}}
    usual = train(disks, tmp_path / "a", make_params(**short))
    lean = train(disks, tmp_path / "b", make_params(checkpoint_activations=True, **short))
    assert lean.history[-1]["val_loss"] == pytest.approx(usual.history[-1]["val_loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning", "default::DeprecationWarning")
def test_a_compiled_network_learns_the_same(disks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the tracer and its graphs but without the code generator, which takes minutes."""
    compile_whole, calls = torch.compile, []

    def compile_graphs(model, **options):
        calls.append(options)
        return compile_whole(model, **{"backend": "aot_eager"} | options)

    usual = train(disks, tmp_path / "a", make_params(phase={"epochs": 1}))
    monkeypatch.setattr(torch, "compile", compile_graphs)
    compiled = train(disks, tmp_path / "b", make_params(phase={"epochs": 1}, compile=True))
    assert calls[0] == {"dynamic": False}
    assert compiled.history[-1]["val_loss"] == pytest.approx(usual.history[-1]["val_loss"], rel=1e-3)
    assert list(weights(compiled)) == list(weights(usual))
