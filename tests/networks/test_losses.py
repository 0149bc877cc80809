"""Losses against hand-worked values and independent numpy oracles."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumoseg.config.loss import TERMS, BceParams, DiceParams, LossParams, LovaszParams, TermParams, TverskyParams
from pneumoseg.networks.families.segmentation.assembly import Output
from pneumoseg.networks.families.segmentation.mask_loss import Loss
from pneumoseg.networks.family import Truth
from pneumoseg.networks.losses import bce, dice, lovasz, tversky
from pneumoseg.networks.losses.focal import focal_loss
from pneumoseg.networks.losses.image import image_terms
from pneumoseg.networks.losses.means import shows_lesion
from pneumoseg.shared.registry import LOSSES

DICE = {"smooth": 1.0, "squared": False, "pooled": False, "images": "all"}
TVERSKY = {"alpha": 0.3, "beta": 0.7, "smooth": 1.0, "pooled": False, "images": "all"}


def dice_loss(x, t, **options):
    return dice.dice_loss(x, t, DiceParams(weight=1.0, **options))


def tversky_loss(x, t, **options):
    return tversky.tversky_loss(x, t, TverskyParams(weight=1.0, **options))


def lovasz_loss(x, t, images="all"):
    return lovasz.lovasz_loss(x, t, LovaszParams(weight=1.0, images=images))


def bce_loss(x, t, positive_weight=1.0):
    return bce.bce_loss(x, t, BceParams(weight=1.0, positive_weight=positive_weight))


def truth(t, known=None):
    known = torch.ones(len(t), dtype=torch.bool) if known is None else torch.tensor(known)
    return Truth(t, torch.where(known, shows_lesion(t), 1.0), known)


def measured(params, output, t, known=None):
    return Loss(params)(output, truth(t, known))


def loss_params(**weights):
    content = {
        "dice": {"weight": 0.0, "pooled": False, "images": "all", "smooth": 1.0, "squared": False},
        "bce": {"weight": 0.0, "positive_weight": 1.0},
        "focal": {"weight": 0.0, "gamma": 2.0},
        "lovasz": {"weight": 0.0, "images": "all"},
        "tversky": {
            "weight": 0.0,
            "pooled": False,
            "images": "all",
            "smooth": 1.0,
            "alpha": 0.3,
            "beta": 0.7,
        },
        "auxiliary": {"weight": 0.4, "decay": 0.5},
        "image": {"bce": 0.0, "focal": 0.0, "gamma": 2.0},
    }
    for name, changes in weights.items():
        content[name] = {**content[name], **changes}
    return LossParams.model_validate(content)


def logit(p):
    p = np.asarray(p, np.float64)
    return torch.tensor(np.log(p / (1 - p)), dtype=torch.float32)


def images(*rows):
    """Each row is one image of 1 x 1 x len(row)."""
    return torch.tensor(rows, dtype=torch.float32)[:, None, None, :]


def batch(seed, n=4, size=6):
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(0, 2, (n, 1, size, size)), dtype=torch.float32)
    t = torch.tensor(rng.random((n, 1, size, size)) > 0.7, dtype=torch.float32)
    t[0] = 0
    return x, t


def sigmoid(x):
    return 1 / (1 + np.exp(-x.numpy().astype(np.float64)))


def test_dice_of_a_hand_worked_case():
    # p = .8 .6 .2 .4, t = 1 0 1 0: overlap 1.0, Σp 2.0, Σt 2 -> 1 - (2 + 1) / (4 + 1) = .4
    # squared: Σp² 1.2 -> 1 - 3 / 4.2
    x = logit([[0.8, 0.6, 0.2, 0.4]])[:, None, None, :]
    t = images([1, 0, 1, 0])
    assert dice_loss(x, t, **DICE).item() == pytest.approx(0.4, abs=1e-6)
    assert dice_loss(x, t, **{**DICE, "squared": True}).item() == pytest.approx(1 - 3 / 4.2, abs=1e-6)


def test_dice_of_empty_truth():
    empty = torch.zeros(1, 1, 64, 64)
    assert dice_loss(torch.full_like(empty, -30.0), empty, **DICE).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(torch.full_like(empty, 30.0), empty, **DICE).item() == pytest.approx(1 - 1 / 4097, abs=1e-6)


def test_dice_of_empty_prediction_and_of_perfect_one():
    truth = torch.zeros(1, 1, 64, 64)
    truth[..., :8, :8] = 1
    assert dice_loss(torch.full_like(truth, -30.0), truth, **DICE).item() == pytest.approx(1 - 1 / 65, abs=1e-6)
    assert dice_loss(60 * truth - 30, truth, **DICE).item() == pytest.approx(0, abs=1e-6)


def test_dice_per_image_and_pooled_differ_as_they_should():
    # image 1: empty, predicted empty; image 2: two lesion pixels, predicted empty.
    x, t = torch.full((2, 1, 1, 4), -40.0), images([0, 0, 0, 0], [1, 1, 0, 0])
    assert dice_loss(x, t, **DICE).item() == pytest.approx((0 + 2 / 3) / 2)
    assert dice_loss(x, t, **{**DICE, "pooled": True}).item() == pytest.approx(2 / 3)
    assert dice_loss(x, t, **{**DICE, "images": "positives"}).item() == pytest.approx(2 / 3)


def dice_oracle(x, t, smooth, squared, pooled, images):
    p, t = sigmoid(x)[:, 0], t.numpy()[:, 0].astype(np.float64)
    power = 2 if squared else 1
    if pooled:
        return 1 - (2 * (p * t).sum() + smooth) / ((p**power).sum() + (t**power).sum() + smooth)
    values = []
    for a, b in zip(p, t, strict=True):
        if images == "positives" and not b.any():
            continue
        values.append(1 - (2 * (a * b).sum() + smooth) / ((a**power).sum() + (b**power).sum() + smooth))
    return sum(values) / len(values)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(("pooled", "images"), [(False, "all"), (True, "all"), (False, "positives")])
def test_dice_against_numpy(squared, pooled, images):
    for seed in range(5):
        x, t = batch(seed)
        options = {"smooth": 0.01 + seed, "squared": squared, "pooled": pooled, "images": images}
        assert dice_loss(x, t, **options).item() == pytest.approx(dice_oracle(x, t, **options), abs=1e-5)


def test_positives_only_without_a_positive_is_zero_with_a_gradient():
    x = torch.zeros(2, 1, 4, 4, requires_grad=True)
    for loss in (
        dice_loss(x, torch.zeros(2, 1, 4, 4), **{**DICE, "images": "positives"}),
        tversky_loss(x, torch.zeros(2, 1, 4, 4), **{**TVERSKY, "images": "positives"}),
        lovasz_loss(x, torch.zeros(2, 1, 4, 4), images="positives"),
    ):
        loss.backward()
        assert loss.item() == 0
        assert not x.grad.any()


def test_tversky_of_a_hand_worked_case():
    # p = .8 .6 .2 .4, t = 1 0 1 0: TP 1.0, FP 1.0, FN 1.0 -> 1 - (1 + 1) / (1 + .3 + .7 + 1)
    x = logit([[0.8, 0.6, 0.2, 0.4]])[:, None, None, :]
    t = images([1, 0, 1, 0])
    assert tversky_loss(x, t, **TVERSKY).item() == pytest.approx(1 / 3, abs=1e-6)
    x = logit([[0.9, 0.1, 0.1, 0.1]])[:, None, None, :]  # TP 1.0, FP .2, FN 1.0
    assert tversky_loss(x, t, **TVERSKY).item() == pytest.approx(1 - 2 / (1 + 0.06 + 0.7 + 1), abs=1e-6)


def test_tversky_with_equal_halves_is_dice_with_twice_the_smoothing():
    x, t = batch(1)
    halves = {**TVERSKY, "alpha": 0.5, "beta": 0.5, "smooth": 0.5}
    assert tversky_loss(x, t, **halves).item() == pytest.approx(dice_loss(x, t, **DICE).item(), abs=1e-6)


def test_bce_of_a_hand_worked_case():
    x, t = logit([[0.8, 0.6, 0.2]])[:, None, None, :], images([1, 0, 0.5])
    expected = [-math.log(0.8), -math.log(0.4), -(math.log(0.2) + math.log(0.8)) / 2]
    assert bce_loss(x, t).item() == pytest.approx(sum(expected) / 3, abs=1e-6)
    weighted = [3 * -math.log(0.8), -math.log(0.4), -(3 * math.log(0.2) + math.log(0.8)) / 2]
    assert bce_loss(x, t, 3.0).item() == pytest.approx(sum(weighted) / 3, abs=1e-6)


def test_focal_of_a_hand_worked_case():
    # (1 - p_t)^2 · BCE: .2² · -ln .8, .6² · -ln .4
    x, t = logit([[0.8, 0.6]])[:, None, None, :], images([1, 0])
    expected = (0.04 * -math.log(0.8) + 0.36 * -math.log(0.4)) / 2
    assert focal_loss(x, t, 2.0).item() == pytest.approx(expected, abs=1e-6)


def test_focal_of_a_soft_target_is_least_at_the_target():
    grid = torch.linspace(-4, 4, 81)
    t = torch.sigmoid(torch.tensor(0.8))
    values = torch.stack([focal_loss(x.reshape(1, 1, 1, 1), t.reshape(1, 1, 1, 1), 2.0) for x in grid])
    assert grid[values.argmin()].item() == pytest.approx(0.8, abs=0.051)


def jaccard_loss_of_set(wrong, truth):
    """1 - IoU when exactly the pixels of `wrong` are misclassified."""
    predicted = truth ^ wrong
    union = predicted | truth
    return 1 - (len(predicted & truth) / len(union) if union else 1.0)


def lovasz_oracle(x, t):
    """The Lovász extension of the Jaccard loss at the hinge errors, by its definition over set functions."""
    truth = frozenset(np.flatnonzero(t))
    errors = np.maximum(0, 1 - x * (2 * t - 1))
    order = np.argsort(-errors, kind="stable")
    total = 0.0
    for place in range(len(order)):
        before, after = frozenset(order[:place]), frozenset(order[: place + 1])
        total += errors[order[place]] * (jaccard_loss_of_set(after, truth) - jaccard_loss_of_set(before, truth))
    return total


def test_lovasz_against_its_definition():
    rng = np.random.default_rng(3)
    for _ in range(20):
        x, t = rng.normal(0, 2, (3, 9)), (rng.random((3, 9)) > 0.6).astype(float)
        t[0] = 0
        got = lovasz_loss(torch.tensor(x, dtype=torch.float32)[:, None, None], images(*t.tolist()))
        assert got.item() == pytest.approx(np.mean([lovasz_oracle(a, b) for a, b in zip(x, t, strict=True)]), abs=1e-5)


def test_lovasz_is_the_jaccard_loss_at_the_corners():
    # At hinge errors of 0 or 1 the extension equals the set function: logits +1 / 0 of the right side.
    for truth in itertools.product([0, 1], repeat=4):
        for wrong in itertools.product([0, 1], repeat=4):
            t, w = np.array(truth), np.array(wrong)
            x = np.where(w == 1, 0.0, 1.0) * (2 * t - 1)
            got = lovasz_loss(images(x.tolist()), images(list(truth))).item()
            expected = jaccard_loss_of_set(frozenset(np.flatnonzero(w)), frozenset(np.flatnonzero(t)))
            assert got == pytest.approx(expected, abs=1e-6)


def test_an_image_shows_lesion_is_whether_any_pixel_has_lesion():
    t = torch.zeros(3, 1, 4, 4)
    t[1, 0, 2, 2], t[2] = 0.01, 1
    assert shows_lesion(t).tolist() == [0, 1, 1]


def test_the_sum_has_the_weights_of_the_parameters():
    x, t = batch(2)
    params = loss_params(
        dice={"weight": 1.0},
        bce={"weight": 0.5},
        focal={"weight": 4.0},
        lovasz={"weight": 0.1},
        tversky={"weight": 0.2},
    )
    got = measured(params, Output(x), t)
    parts = {
        "dice": dice_loss(x, t, **DICE),
        "bce": bce_loss(x, t),
        "focal": focal_loss(x, t, 2.0),
        "lovasz": lovasz_loss(x, t),
        "tversky": tversky_loss(x, t, **TVERSKY),
    }
    assert list(got) == ["loss", *parts]
    for name, value in parts.items():
        assert got[name].item() == pytest.approx(value.item())
    expected = sum(w * parts[n].item() for n, w in zip(parts, [1, 0.5, 4, 0.1, 0.2], strict=True))
    assert got["loss"].item() == pytest.approx(expected, rel=1e-6)


def test_auxiliary_heads_see_area_targets_and_their_weights_fall():
    t = torch.zeros(1, 1, 4, 4)
    t[..., :2, :1] = 1  # at 2 x 2: .5 0 0 0; at 1 x 1: .125
    x, half, one = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2), torch.full((1, 1, 1, 1), 1.0)
    params = loss_params(bce={"weight": 2.0}, auxiliary={"weight": 0.4, "decay": 0.5})
    got = measured(params, Output(x, (half, one)), t)
    first = 2 * math.log(2)
    second = 2 * (math.log(1 + math.e) - 0.125)
    assert got["auxiliary"].item() == pytest.approx(first + 0.5 * second, rel=1e-5)
    assert got["loss"].item() == pytest.approx(2 * math.log(2) + 0.4 * (first + 0.5 * second), rel=1e-5)


def test_image_head_terms():
    t = torch.zeros(2, 1, 4, 4)
    t[1, 0, 0, 0] = 0.2
    image = logit([0.3, 0.6])
    params = loss_params(bce={"weight": 1.0}, image={"bce": 0.1, "focal": 0.2})
    got = measured(params, Output(torch.zeros(2, 1, 4, 4), (), image), t)
    bce = (-math.log(0.7) - math.log(0.6)) / 2
    focal = (0.09 * -math.log(0.7) + 0.16 * -math.log(0.6)) / 2
    assert got["image_bce"].item() == pytest.approx(bce, rel=1e-5)
    assert got["image_focal"].item() == pytest.approx(focal, rel=1e-5)
    assert got["loss"].item() == pytest.approx(math.log(2) + 0.1 * bce + 0.2 * focal, rel=1e-5)


EVERYTHING = {
    "dice": {"weight": 1.0},
    "bce": {"weight": 0.5, "positive_weight": 3.0},
    "focal": {"weight": 1.0, "gamma": 1.5},
    "lovasz": {"weight": 1.0},
    "tversky": {"weight": 1.0},
    "image": {"bce": 0.1, "focal": 0.1},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("extreme", [1e-4, 30.0, 1e4])
def test_gradients_are_finite_at_extreme_logits(dtype, extreme):
    t = torch.zeros(4, 1, 8, 8)
    t[1], t[2, :, :3] = 1, 1
    sign = torch.tensor([1.0, -1.0]).repeat(128).reshape(4, 1, 8, 8)
    x = (extreme * sign).to(dtype).requires_grad_()
    auxiliary = (extreme * sign[..., :4, :4]).to(dtype).requires_grad_()
    image = torch.tensor([extreme, -extreme, extreme, 0.0], dtype=dtype).requires_grad_()
    got = measured(loss_params(**EVERYTHING), Output(x, (auxiliary,), image), t)
    got["loss"].backward()
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in got.values())
    for leaf in (x, auxiliary, image):
        assert torch.isfinite(leaf.grad).all()


def test_autocast_changes_nothing():
    x, t = batch(4)
    loss = Loss(loss_params(**EVERYTHING))
    output = Output(x, (x[..., :3, :3],), x[:, 0, 0, 0])
    plain = loss(output, truth(t))
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(output, truth(t))
    assert {name: value.item() for name, value in plain.items()} == {name: value.item() for name, value in cast.items()}


def test_terms_are_detached_and_the_sum_is_not():
    x, t = batch(5)
    got = measured(loss_params(dice={"weight": 1.0}, bce={"weight": 0.5}), Output(x.requires_grad_()), t)
    assert got["loss"].requires_grad
    assert not got["dice"].requires_grad


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([False, True]), st.sampled_from([False, True]))
def test_region_losses_lie_between_0_and_1(seed, pooled, squared):
    x, t = batch(seed, n=3, size=4)
    assert 0 <= dice_loss(x, t, **{**DICE, "pooled": pooled, "squared": squared}).item() <= 1
    assert 0 <= tversky_loss(x, t, **{**TVERSKY, "pooled": pooled}).item() <= 1


def test_losses_do_not_depend_on_the_order_of_images():
    x, t = batch(6)
    params = loss_params(**{key: content for key, content in EVERYTHING.items() if key != "image"})
    turned = measured(params, Output(x.flip(0)), t.flip(0))["loss"].item()
    assert turned == pytest.approx(measured(params, Output(x), t)["loss"].item(), rel=1e-6)


def test_an_image_without_a_known_mask_teaches_the_image_head_only():
    """Every term of the mask, and its gradient, is what the known images alone give; the other's mask gets none."""
    x, t = batch(7)
    t[3] = 0
    params = loss_params(**{**EVERYTHING, "dice": {"weight": 1.0, "images": "positives"}})
    logits, image = x.clone().requires_grad_(), torch.zeros(4, requires_grad=True)
    auxiliary = x[..., :3, :3].clone().requires_grad_()
    got = measured(params, Output(logits, (auxiliary,), image), t, [True, True, True, False])
    got["loss"].backward()
    assert not logits.grad[3].any()
    assert not auxiliary.grad[3].any()
    assert logits.grad[:3].any(3).any(2).all()
    alone, alone_auxiliary = x[:3].clone().requires_grad_(), x[:3, :, :3, :3].clone().requires_grad_()
    known = measured(params, Output(alone, (alone_auxiliary,)), t[:3])
    known["loss"].backward()
    assert torch.equal(logits.grad[:3], alone.grad)
    assert torch.equal(auxiliary.grad[:3], alone_auxiliary.grad)
    assert {name: got[name].item() for name in known if name != "loss"} == {
        name: value.item() for name, value in known.items() if name != "loss"
    }
    labels = torch.tensor([0.0, 1.0, 1.0, 1.0])  # the last one by its label
    assert image.grad.tolist() == pytest.approx(
        torch.autograd.functional.jacobian(
            lambda logit: sum(weight * term for _, weight, term in image_terms(logit, labels, params.image)),
            torch.zeros(4),
        ).tolist()
    )


def test_a_batch_without_a_known_mask_tells_no_term_of_masks():
    x, t = batch(7)
    logits, image = x.clone().requires_grad_(), torch.zeros(4, requires_grad=True)
    got = measured(loss_params(**EVERYTHING), Output(logits, (), image), t, [False] * 4)
    got["loss"].backward()
    assert not logits.grad.any()  # yet there is one, as DistributedDataParallel needs
    assert image.grad.any()
    told = {name for name, value in got.items() if not value.isnan()}
    assert told == {"loss", "image_bce", "image_focal"}


class Hinge(TermParams):
    margin: float = 1.0


def test_a_further_term_is_registered_and_summed():
    """As a new module of networks.losses does it, with its parameters as a further key of train.loss."""

    def hinge(logits, target, params):
        return (params.margin - logits * (2 * target - 1)).relu().mean()

    x, t = batch(8)
    content = {**loss_params(bce={"weight": 0.5}).model_dump(mode="json"), "hinge": {"weight": 2.0, "margin": 0.5}}
    with TERMS.temporarily("hinge", Hinge), LOSSES.temporarily("hinge", hinge):
        got = measured(LossParams.read(content, "params.yaml"), Output(x), t)
    expected = hinge(x, t, Hinge(margin=0.5)).item()
    assert got["hinge"].item() == pytest.approx(expected)
    assert got["loss"].item() == pytest.approx(0.5 * got["bce"].item() + 2 * expected)
