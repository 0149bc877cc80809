"""Two views: what a view that is not there may not touch, which loss reaches which encoder, weights and freezing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pneumoseg.config import parse_params
from pneumoseg.config.loss import LossParams
from pneumoseg.config.model import ModelParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.encoders import build_encoder
from pneumoseg.networks.family import Truth
from pneumoseg.networks.network import Network, check_size, set_encoder_frozen
from pneumoseg.networks.norms import batch_norms
from pneumoseg.networks.preparation import normalise
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.registry import FAMILIES

pytestmark = pytest.mark.slow

FAMILY = FAMILIES["two_view"]
MODEL = {"architecture": "two_view", "encoder": "tu-test_resnet", "encoder_depth": 4}


def network(**params: object) -> Network:
    torch.manual_seed(1)
    return build_network(ModelParams.read(MODEL | params, "model"))


def studies(model: Network, count: int = 4, without: tuple[int, ...] = ()) -> torch.Tensor:
    images = torch.randint(0, 255, (count, 2, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    images[list(without), 1] = 0
    return normalise(images, model)


def test_a_study_without_lateral_is_answered_by_its_frontal_output() -> None:
    model = network().eval()
    output = model(studies(model, without=(1,)))
    assert output.present.tolist() == [1, 0, 1, 1]
    said = FAMILY.predict(output)
    assert said.map is None
    torch.testing.assert_close(said.image[1], output.frontal.sigmoid()[1])
    torch.testing.assert_close(said.image[0], output.fused.sigmoid()[0])
    assert torch.isnan(said.outputs["fused"]).tolist() == [False, True, False, False]
    assert torch.isnan(said.outputs["lateral"]).tolist() == [False, True, False, False]
    assert not torch.isnan(said.outputs["frontal"]).any()


def test_what_is_not_there_leaves_the_batch_statistics_alone() -> None:
    """A study that lacks a lateral view does as if one of the others' stood there, not as if it were black."""
    one, other = network().train(), network().train()
    x = studies(one, without=(2,))
    filled = x.clone()
    filled[2, 1] = x[0, 1]
    one(x), other(filled)
    for (name, value), (_, wanted) in zip(one.named_buffers(), other.named_buffers(), strict=True):
        torch.testing.assert_close(value, wanted, msg=name)


def gradients(weights: dict[str, float], without: tuple[int, ...] = ()) -> dict[str, float]:
    """The largest gradient in each part, of a loss."""
    model = network().train()
    x = studies(model, without=without)
    truth = Truth(torch.zeros(4, 1, 64, 64), torch.tensor([1.0, 0, 0, 1]), torch.zeros(4, dtype=torch.bool))
    params = LossParams.read({"views": weights, "image": {"bce": 1.0}}, "loss")
    terms, _ = FAMILY.objective(params)(model, x, truth)
    terms["loss"].backward()
    return {
        part: max(float(value.grad.abs().max()) for value in child.parameters() if value.grad is not None)
        for part, child in model.named_children()
    }


def test_the_frontal_loss_does_not_touch_the_lateral_encoder() -> None:
    found = gradients({"fused": 1e-30, "frontal": 1.0, "lateral": 0.0})
    assert found["encoder"] > 1e-6
    assert found["frontal_head"] > 1e-6
    assert max(found[part] for part in ("lateral_encoder", "lateral_head", "fusion", "fused_head")) < 1e-12
    found = gradients({"fused": 1e-30, "frontal": 1e-30, "lateral": 1.0})
    assert found["lateral_encoder"] > 1e-6
    assert max(found[part] for part in ("encoder", "fusion")) < 1e-12
    found = gradients({"fused": 1.0, "frontal": 1e-30, "lateral": 0.0})
    assert min(found[part] for part in ("encoder", "lateral_encoder", "fusion", "fused_head")) > 1e-9


def test_without_any_lateral_view_everything_still_has_a_gradient() -> None:
    found = gradients({"fused": 1.0, "frontal": 1.0, "lateral": 1.0}, without=(0, 1, 2, 3))
    assert found["frontal_head"] > 1e-6
    assert found["lateral_encoder"] == found["fusion"] == found["fused_head"] == 0.0


def test_terms_are_of_the_studies_that_have_the_view() -> None:
    model = network().eval()
    x, labels = studies(model, without=(0,)), torch.tensor([1.0, 0, 1, 1])
    params = LossParams.read({"views": {"fused": 2.0, "frontal": 0.5, "lateral": 0.25}, "image": {"bce": 1.0}}, "loss")
    truth = Truth(torch.zeros(4, 1, 64, 64), labels, torch.ones(4, dtype=torch.bool))
    terms, output = FAMILY.objective(params)(model, x, truth)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    wanted = 2 * bce(output.fused[1:], labels[1:]) + 0.5 * bce(output.frontal, labels)
    torch.testing.assert_close(terms["loss"], wanted + 0.25 * bce(output.lateral[1:], labels[1:]))
    torch.testing.assert_close(terms["fused_image_bce"], bce(output.fused[1:], labels[1:]).detach())


def test_swapped_views_change_the_answer_and_one_encoder_can_serve_both() -> None:
    model = network().eval()
    x = studies(model)
    assert not torch.allclose(model(x).fused, model(x.flip(1)).fused)
    assert "lateral_encoder" in model.encoders
    shared = network(two_view={"share_encoder": True}).eval()
    assert list(shared.encoders) == ["encoder"]
    torch.testing.assert_close(
        shared.encoder(x[:, 0])[-1].mean((2, 3)) @ shared.lateral_head[-1].weight[0] + shared.lateral_head[-1].bias,
        shared(x.flip(1)).lateral,
    )


def test_both_encoders_start_from_a_file_of_one_and_freeze_together(tmp_path: Path) -> None:
    torch.manual_seed(7)
    encoder = build_encoder(ModelParams.read(MODEL, "model"), None)
    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    model = network(weights=str(tmp_path / "encoder.safetensors"), norm="frozen_batch")
    for part in model.encoders.values():
        for name, value in encoder.state_dict().items():
            torch.testing.assert_close(part.state_dict()[name], value)
    norms = [norm for part in model.encoders.values() for norm in batch_norms(part)]
    assert len(norms) == 2 * len(batch_norms(encoder))
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    set_encoder_frozen(model, True)
    assert {name.split(".")[0] for name, value in model.named_parameters() if value.requires_grad} == {
        "fusion", "frontal_head", "lateral_head", "fused_head",
    }  # fmt: skip
    check_size(model, 64, 2, "size_px")
    with pytest.raises(ParameterError, match="multiple of 16"):
        check_size(model, 72, 2, "size_px")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("aspp", {"enabled": True}, "no decoder"),
        ("attention", "cbam", "attention"),
        ("decoder_channels", [8], "decoder"),
        ("lungs", {"source": "masks"}, "lungs.source = masks does not go with"),
    ],
)
def test_what_needs_a_decoder_is_refused(key: str, value: object, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        parse_params({"model": {"architecture": "two_view", key: value}})


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"mean_teacher": {"images_per_step": 2}}, r"train\.mean_teacher\.images_per_step = 2, .* set it to 0"),
        ({"pseudo_labels": {"folder": "maps"}}, r"train\.pseudo_labels\.folder = maps, .* set it to null"),
    ],
)
def test_learning_from_studies_without_a_label_is_refused(train: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        parse_params({"model": {"architecture": "two_view"}, "train": train})
