"""The detector: what its library would do behind our back, what it learns from, and what becomes of its findings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights, maskrcnn_resnet50_fpn

from pneumoseg.config import Params, parse_params
from pneumoseg.config.loss import LossParams
from pneumoseg.config.model import ModelParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.families.mask_rcnn.targets import findings, least_area, targets_of
from pneumoseg.networks.family import Truth
from pneumoseg.networks.memory import kept_bytes
from pneumoseg.networks.network import check_size, freeze_unused, set_encoder_frozen
from pneumoseg.networks.preparation import normalise
from pneumoseg.networks.storage import load_model, save_model
from pneumoseg.rule.findings import Detection, Finding, map_of, read_findings, united, write_findings
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.registry import FAMILIES

pytestmark = [pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning"), pytest.mark.slow]

FAMILY = FAMILIES["mask_rcnn"]
MINIMISE = FAMILY.objective(LossParams())
SLIM = {"pyramid_channels": 16, "rois_per_image": 16, "proposals": 30, "detections": 5}


def params(encoder: str = "tu-test_resnet", **changes: Any) -> ModelParams:
    given = {"architecture": "mask_rcnn", "encoder": encoder, "detector": SLIM} | changes
    return ModelParams.model_validate_json(json.dumps(given))


def truth(masks: torch.Tensor, known: list[bool] | None = None) -> Truth:
    labels = masks.flatten(1).amax(1)
    return Truth(masks, labels, torch.tensor(known or [True] * len(masks)))


def disks(count: int, size_px: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with a bright disk in every second image, (N, S, S) uint8, and its masks, (N, 1, S, S) float32."""
    chooser = np.random.default_rng(seed)
    images, masks = chooser.normal(80, 10, (count, size_px, size_px)), np.zeros((count, size_px, size_px), np.uint8)
    for mask in masks[::2]:
        place = tuple(int(value) for value in chooser.integers(size_px // 4, 3 * size_px // 4, 2))
        cv2.circle(mask, place, size_px // 7, 1, -1)
    images += 100 * masks
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8)), torch.from_numpy(masks)[:, None].float()


@pytest.mark.parametrize(
    "encoder", ["tu-test_resnet", "tu-test_efficientnet", "resnet18", "mit_b0", "tu-convnext_femto"]
)
def test_it_stands_on_any_encoder_with_levels(encoder: str) -> None:
    network = build_network(params(encoder))
    check_size(network, 64, 2, "size_px")
    assert kept_bytes(network, 64, 4) > 0


def test_its_library_neither_resizes_nor_normalises_once_more() -> None:
    network = build_network(params()).eval()
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = normalise(disks(2, 64)[0], network)
    with torch.inference_mode():
        output = network(x)
    assert torch.equal(seen[0], x)
    assert output.size_px == 64
    assert not [name for name, _ in network.named_modules() if "transform" in name]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_other_channels_is_not_spread_silently(channels: int) -> None:
    network = build_network(params("resnet18", in_channels=channels))
    with pytest.raises(RuntimeError, match="channels"):
        network(torch.zeros(2, 4 - channels, 64, 64))


@pytest.mark.parametrize("positives", [0, 1, 2])
def test_negatives_teach_and_every_parameter_gets_a_gradient(positives: int) -> None:
    network = build_network(params())
    assert freeze_unused(network, 64) == ()
    masks = torch.zeros(2, 1, 64, 64)
    masks[:positives, :, 10:30, 20:40] = 1
    terms, _ = MINIMISE(network, torch.randn(2, 3, 64, 64), truth(masks))
    terms["loss"].backward()
    assert all(torch.isfinite(value) for value in terms.values())
    assert (terms["finding_mask"] > 0) == (positives > 0)
    gradients = {name: value.grad for name, value in network.named_parameters()}
    assert all(value is not None and torch.isfinite(value).all() for value in gradients.values())
    assert gradients["rpn.head.cls_logits.weight"].any()


def test_an_image_without_a_known_mask_counts_for_nothing() -> None:
    """Its findings are not known, which is not the same as none."""
    network = build_network(params(norm="group"))
    x, masks = torch.randn(3, 3, 64, 64), torch.zeros(3, 1, 64, 64)
    masks[:2, :, 10:30, 20:40] = 1
    torch.manual_seed(1)
    alone, _ = MINIMISE(network, x[:2], truth(masks[:2]))
    torch.manual_seed(1)
    among, _ = MINIMISE(network, x, truth(masks, [True, True, False]))
    assert torch.allclose(alone["loss"], among["loss"], rtol=1e-4)
    nothing, _ = MINIMISE(network, x, truth(masks, [False] * 3))
    nothing["loss"].backward()
    assert float(nothing["loss"].detach()) == 0
    assert all(value.grad is not None and not value.grad.any() for value in network.parameters())


def test_findings_are_components_of_a_least_area_with_boxes_that_hold_them() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[5, 7] = 1  # a crumb
    mask[10:20, 30] = 1  # one pixel wide: its inclusive box would be empty
    mask[40:44, 40:50] = mask[44:48, 50:60] = 1  # touch at a corner: one
    found = findings(mask, 10)
    assert found["boxes"].tolist() == [[30, 10, 31, 20], [40, 40, 60, 48]]
    assert found["masks"].shape == (2, 64, 64)
    assert np.array_equal(found["masks"].sum(0), mask * (np.arange(64)[:, None] > 5))
    assert found["labels"].tolist() == [1, 1]
    none = findings(np.zeros((64, 64), np.uint8), 1)
    assert {name: value.shape for name, value in none.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "masks": (0, 64, 64),
    }
    assert [least_area(50, size) for size in (1024, 512, 128, 64)] == [50, 12, 1, 1]
    faint = torch.full((1, 64, 64), 0.4)  # resizing has emptied it
    assert len(targets_of(faint, 1)[0]["boxes"]) == 0


def test_it_has_losses_in_training_and_detections_in_evaluation() -> None:
    network = build_network(params())
    x, masks = torch.randn(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    terms, output = MINIMISE(network, x, truth(masks))
    assert output.images == []
    assert set(terms) == {"loss", "objectness", "proposal_box", "finding_class", "finding_box", "finding_mask"}
    with torch.inference_mode():
        terms, output = MINIMISE(network.eval(), x, truth(masks))
    assert terms == {}
    said = FAMILY.predict(output)
    assert said.map.shape == (2, 64, 64)
    assert said.image.shape == (2,)
    assert all(len(found) <= SLIM["detections"] for found in said.detections)
    for number, found in enumerate(said.detections):
        best = max((one.score for one in found), default=0.0)
        assert float(said.image[number]) == pytest.approx(best)
        assert float(said.map[number].max()) <= best + 1e-6
        assert np.array_equal(said.map[number], map_of(found, 64, 64))
        assert all(one.mask.shape == (28, 28) and one.box.min() >= 0 and one.box.max() <= 1 for one in found)


def test_anchors_grow_with_the_image() -> None:
    network = build_network(params()).eval()
    makes = network.rpn.anchor_generator
    with torch.inference_mode():
        network(torch.zeros(1, 3, 128, 128))
        small = [anchors.clone() for anchors in makes.cell_anchors]
        network(torch.zeros(1, 3, 256, 256))
    sides = small[0][:, 2:] - small[0][:, :2]
    assert len(small) == 5
    assert sides.prod(1).tolist() == pytest.approx([64] * 5, abs=16)  # 8 x 8 px of 128, rounded
    assert (sides[:, 1] / sides[:, 0]).tolist() == pytest.approx([0.25, 0.5, 1, 2, 4], rel=0.35)
    assert torch.allclose(makes.cell_anchors[1], 2 * small[1], atol=1)


@pytest.mark.slow
def test_it_learns_disks_and_its_file_gives_the_same_answers(tmp_path: Any) -> None:
    """Dice above .8 of the positives, nothing certain in the negatives; then again from the folder."""
    torch.manual_seed(0)
    model = params()
    network = build_network(model)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    images, masks = disks(4, 64)
    for _ in range(80):
        terms, _ = MINIMISE(network, normalise(images, network), truth(masks))
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
    network.eval()
    with torch.inference_mode():
        said = FAMILY.predict(network(normalise(images, network)))
    marked = said.map > 0.5
    dice = 2 * (marked * masks[:, 0]).sum((1, 2)) / (marked.sum((1, 2)) + masks.sum((1, 2, 3)))
    assert dice[::2].min() > 0.8
    assert said.image[::2].min() > 0.5 > said.image[1::2].max()
    save_model(tmp_path, network, model, 64)
    again, _ = load_model(tmp_path)
    with torch.inference_mode():
        same = FAMILY.predict(again(normalise(images, again)))
    assert torch.equal(same.map, said.map)


def test_half_precision_around_it_gives_the_same_kind_of_answer() -> None:
    network = build_network(params())
    x, masks = torch.randn(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    masks[0, :, 10:30, 20:40] = 1
    with torch.autocast("cpu", torch.bfloat16):
        terms, _ = MINIMISE(network, x, truth(masks))
    assert {value.dtype for value in terms.values()} == {torch.float32}
    terms["loss"].backward()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert FAMILY.predict(network.eval()(x)).map.dtype == torch.float32


def test_a_frozen_encoder_stays_and_the_rest_learns() -> None:
    network = build_network(params(norm="frozen_batch"))
    set_encoder_frozen(network, True)
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    terms, _ = MINIMISE(network, torch.randn(2, 3, 64, 64), truth(torch.zeros(2, 1, 64, 64)))
    terms["loss"].backward()
    assert all(value.grad is None for value in network.encoder.parameters())
    assert network.pyramid.inner_blocks[0][0].weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in network.encoder.state_dict().items())


@pytest.mark.slow
def test_weights_of_coco_are_taken_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    asked: dict[str, Any] = {}

    def given(_: Any, **how: Any) -> dict[str, torch.Tensor]:
        asked.update(how)
        return theirs

    monkeypatch.setattr(MaskRCNN_ResNet50_FPN_Weights, "get_state_dict", given)
    wide = {"pyramid_channels": 256, "anchor_ratios": [0.5, 1.0, 2.0]}
    ours = build_network(params("resnet50", weights="coco", detector=wide)).state_dict()
    assert asked["weights_only"]
    assert asked["check_hash"]
    left = {name for name, value in ours.items() if not any(torch.equal(value, other) for other in theirs.values())}
    heads = {f"roi_heads.{head}.{kind}" for head in ("box_predictor.cls_score", "box_predictor.bbox_pred",
             "mask_predictor.mask_fcn_logits") for kind in ("weight", "bias")}  # fmt: skip
    assert {name for name in left if "num_batches" not in name} <= heads
    assert torch.equal(ours["encoder.layer1.0.conv1.weight"], theirs["backbone.body.layer1.0.conv1.weight"])
    with pytest.raises(ParameterError, match=r"coco: made for model\.detector\.pyramid_channels = 256, not 16"):
        build_network(params("resnet50", weights="coco"))
    with pytest.raises(ParameterError, match=r"model\.weights = coco: no such file"):
        build_network(params("resnet34", weights="coco"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"attention": "cbam"}}, r"attention = cbam cannot be built into architecture = mask_rcnn"),
        ({"model": {"decoder_channels": [8] * 5}}, r"decoder_channels = .* architecture = mask_rcnn"),
        ({"model": {"hypercolumn": True}}, r"hypercolumn = true does not go with architecture = mask_rcnn"),
        ({"model": {"deep_supervision_levels": 1}}, r"deep_supervision_levels = 1: architecture = mask_rcnn"),
        ({"model": {"aspp": {"enabled": True}}}, r"aspp\.enabled = true does not go with architecture = mask_rcnn"),
        ({"model": {"image_head": {"enabled": True}}}, r"image_head\.enabled = true .*its best detection says"),
        ({"model": {"encoder_depth": 4}}, r"encoder_depth = 4 .*set it to 5"),
        ({"train": {"mean_teacher": {"images_per_step": 2}}}, r"train\.mean_teacher\.images_per_step = 2"),
        ({"train": {"pseudo_labels": {"folder": "x"}}}, r"train\.pseudo_labels\.folder = x"),
        ({"train": {"label_only_share": 0.5}}, r"train\.label_only_share = 0\.5"),
        ({"train": {"compile": True}}, r"train\.compile = true"),
        ({"train": {"precision": "fp16"}}, r"train\.precision = fp16"),
        ({"runtime": {"precision": "fp16"}}, r"runtime\.precision = fp16"),
        ({"train": {"selection_metric": "loss"}}, r"train\.selection_metric = loss .*training only"),
    ],
)
def test_what_it_cannot_take_is_refused_by_its_key(changes: dict[str, Any], said: str) -> None:
    parse_params({"model": {"architecture": "mask_rcnn"}})
    changes = changes | {"model": {"architecture": "mask_rcnn"} | changes.get("model", {})}
    with pytest.raises(ParameterError, match=said):
        parse_params(changes)
    assert isinstance(parse_params({name: value for name, value in changes.items() if name == "runtime"}), Params)


def square(score: float, left: int, side: int = 10) -> Finding:
    mask = np.zeros((40, 60), bool)
    mask[5 : 5 + side, left : left + side] = True
    return Finding(score, np.array([left, 5, left + side, 5 + side], np.float64), mask)


def test_a_detection_is_pasted_where_its_box_lies() -> None:
    full = Detection(0.8, np.array([0.25, 0.125, 0.5, 0.5], np.float32), np.ones((28, 28), np.float32))
    finding = Finding.of(full, 40, 60)
    assert finding.box.tolist() == [15, 5, 30, 20]
    expected = np.zeros((40, 60), bool)
    expected[5:20, 15:30] = True
    assert np.array_equal(finding.mask, expected)
    assert np.allclose(map_of([full], 40, 60), expected * 0.8)
    half = full._replace(mask=np.repeat([[1.0] * 14 + [0.0] * 14], 28, 0).astype(np.float32))
    assert Finding.of(half, 40, 60).mask.sum(0).nonzero()[0].tolist() == list(range(15, 22))
    assert np.array_equal(Finding.of(half.mirrored(), 40, 60).mask, Finding.of(half, 40, 60).mask[:, ::-1])
    outside = full._replace(box=np.array([0.999, -0.1, 1.0, 0.0], np.float32))
    assert not Finding.of(outside, 40, 60).mask.any()
    both = map_of([full, half._replace(score=0.9)], 40, 60)
    assert both.max() == pytest.approx(0.9)
    assert both[10, 28] == pytest.approx(0.8)


def test_findings_of_several_networks_are_united_by_hand() -> None:
    one, other = [square(0.9, 10), square(0.4, 40)], [square(0.5, 12), square(0.2, 25)]
    assert united([(1.0, one)]) == one
    both = united([(0.5, one), (0.5, other)])  # 8 of 12 columns shared: IoU 2 / 3
    assert [(round(item.score, 6), float(item.box[0])) for item in both] == [(0.7, 10.0), (0.2, 40.0), (0.1, 25.0)]
    # Two findings of one network are two, however they overlap.
    assert len(united([(0.5, [square(0.9, 10), square(0.8, 11)]), (0.5, [])])) == 2


def test_findings_are_read_as_they_were_written(tmp_path: Any) -> None:
    path = tmp_path / "a.json"
    write_findings(path, [square(0.123456789, 10), replace(square(0.1, 30), mask=np.zeros((40, 60), bool))])
    first, second = read_findings(path, (40, 60))
    assert first.score == pytest.approx(0.123456789, abs=1e-6)
    assert np.array_equal(first.mask, square(1, 10).mask)
    assert not second.mask.any()
    with pytest.raises(DataError, match=r"a\.json: not the findings of an image of \(4, 4\)"):
        read_findings(path, (4, 4))
