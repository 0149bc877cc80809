"""Every architecture, every kind of encoder, every option: built, run both ways, stored and read back alike."""

import itertools
import json

import numpy as np
import pytest
import torch

from pneumoseg.config import load_params
from pneumoseg.config.model import MOST_LEVELS, ModelParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.families.segmentation import ARCHITECTURES
from pneumoseg.networks.families.segmentation.decoder_levels import DECODINGS
from pneumoseg.networks.families.segmentation.mask_loss import Loss
from pneumoseg.networks.family import Truth
from pneumoseg.networks.network import check_size, freeze_unused, set_encoder_frozen, unwrap
from pneumoseg.networks.storage import load_model, save_model
from pneumoseg.shared.errors import ParameterError

pytestmark = pytest.mark.slow

BASE = {
    "architecture": "unet",
    "encoder": "resnet18",
    "encoder_depth": 5,
    "encoder_image_px": None,
    "weights": None,
    "in_channels": 3,
    "decoder_channels": None,
    "attention": None,
    "norm": "batch",
    "hypercolumn": False,
    "deep_supervision_levels": 0,
    "aspp": {"enabled": False, "channels": 16, "rates": [1, 2], "dropout": 0.5},
    "image_head": {"enabled": False, "pooling": "average", "dropout": 0.2},
}
#: timm's own test networks: real in kind, tiny in size.
TINY = {"encoder": "tu-test_resnet"}
VIT = {"encoder": "tu-test_vit", "encoder_depth": 4, "encoder_image_px": 64}


def make(**changes):
    sections = {key: {**BASE[key], **value} for key, value in changes.items() if isinstance(value, dict)}
    return ModelParams.model_validate_json(json.dumps({**BASE, **changes, **sections}))


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return build_network(make(**changes))


def outline(**changes):
    """The network without its weights: names and shapes alone."""
    with torch.device("meta"):
        return build_network(make(**changes))


def size_of(architecture):
    return 128 if architecture == "pan" else 64  # it halves the deepest level three times


@pytest.fixture(scope="module")
def loss(root):
    return Loss(load_params(root / "params.yaml").train.loss)


def check(model, params, loss, folder, size):
    """The contract of a network: shapes, gradients everywhere, determinism, batch of 1, storage."""
    check_size(model, size, 2, "train.size_px")
    unused = freeze_unused(model, size)
    assert all(name.startswith("encoder.") or "attention1" in name for name in unused), unused
    x = torch.randn(2, params.in_channels, size, size)
    target = (torch.rand(2, 1, size, size) > 0.8).float()
    output = model(x)
    assert output.mask.shape == (2, 1, size, size)
    assert len(output.auxiliary) == params.deep_supervision_levels
    assert (output.image is None) != params.image_head.enabled
    loss(output, Truth(target, torch.ones(2), torch.ones(2, dtype=torch.bool)))["loss"].backward()
    for name, value in model.named_parameters():
        assert (value.grad is not None) == value.requires_grad, name
        assert value.grad is None or torch.isfinite(value.grad).all(), name
    assert any(value.grad is not None for value in model.encoder.parameters())
    model.eval()
    with torch.no_grad():
        first, second, single = model(x), model(x), model(x[:1])
    assert torch.equal(first.mask, second.mask)
    assert first.auxiliary == ()
    assert torch.allclose(single.mask, first.mask[:1], atol=1e-4)
    if params.image_head.enabled:
        assert first.image.shape == (2,)
        assert single.image.shape == (1,)
    save_model(folder, model, params, size)
    with torch.no_grad():
        again = load_model(folder)[0](x)
    assert torch.equal(again.mask, first.mask)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(architecture, loss, tmp_path):
    changes = {"architecture": architecture, **(VIT if architecture == "dpt" else TINY)}
    changes["image_head"] = {"enabled": True}
    check(build(**changes), make(**changes), loss, tmp_path, size_of(architecture))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "dpt"])
def test_every_depth_gives_a_mask_of_the_input_size(architecture, depth):
    model = outline(architecture=architecture, encoder_depth=depth)
    check_size(model, size_of(architecture), 2, "train.size_px")


#: A kind of encoder, and what it needs; the tiny ones of timm are real in kind.
KINDS = {
    "tu-test_efficientnet": {},
    "mit_b0": {},
    "tu-test_convnext": {},
    "tu-test_maxvit": {"encoder_image_px": 64},
}
LARGE = {
    "efficientnet-b0": {},
    "tu-convnextv2_atto": {},
    "tu-swin_tiny_patch4_window7_224": {"encoder_image_px": 64},
}


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [*KINDS, *(pytest.param(name, marks=pytest.mark.long) for name in LARGE)])
def test_every_kind_of_encoder(encoder, loss, tmp_path):
    needs = (KINDS | LARGE)[encoder]
    changes = {"encoder": encoder, "image_head": {"enabled": True}, "deep_supervision_levels": 2, **needs}
    check(build(**changes), make(**changes), loss, tmp_path, 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoder",
    [
        *LARGE,
        "efficientnet-b4",
        "se_resnext101_32x4d",
        "densenet121",
        "dpn68",
        "mobileone_s0",
        "tu-resnet18",
        "tu-pvt_v2_b0",
    ],
)
def test_more_encoders_give_a_mask_of_the_input_size(encoder):
    check_size(outline(encoder=encoder, **LARGE.get(encoder, {})), 64, 2, "train.size_px")


OPTIONS = {
    "scse": {"attention": "scse"},
    "cbam": {"attention": "cbam"},
    "aspp": {"aspp": {"enabled": True}},
    "deep supervision": {"deep_supervision_levels": 4},
    "image head": {"image_head": {"enabled": True, "pooling": "maximum"}},
    "hypercolumn": {"hypercolumn": True},
    "group norm": {"norm": "group"},
    "frozen batch norm": {"norm": "frozen_batch"},
    "one channel": {"in_channels": 1},
    "narrow decoder": {"decoder_channels": [64, 32, 32, 16, 16]},
    "all": {
        "attention": "cbam",
        "aspp": {"enabled": True},
        "deep_supervision_levels": 3,
        "image_head": {"enabled": True},
        "hypercolumn": True,
        "norm": "group",
        "in_channels": 1,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_on_a_u_net(option, loss, tmp_path):
    changes = {**TINY, **OPTIONS[option]}
    check(build(**changes), make(**changes), loss, tmp_path, 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "attention"),
    [("unetplusplus", "scse"), ("unetplusplus", "cbam"), *((name, None) for name in MOST_LEVELS if name != "unet")],
)
def test_options_together_on_other_architectures(architecture, attention, loss, tmp_path):
    changes = {
        "architecture": architecture,
        **TINY,
        "attention": attention,
        "aspp": {"enabled": True},
        "deep_supervision_levels": MOST_LEVELS[architecture],
        "image_head": {"enabled": True},
        "hypercolumn": True,
        "norm": "group",
    }
    if architecture in ("unetplusplus", "manet"):
        changes["decoder_channels"] = [32, 32, 16, 16, 16]
    # Group norm has nothing to normalise where one channel has one pixel.
    check(build(**changes), make(**changes), loss, tmp_path, 256 if architecture == "pan" else 64)


WIDTHS = {"fpn": [64, 32], "pan": [16], "upernet": [16], "segformer": [24], "pspnet": [32], "deeplabv3plus": [16]}


@pytest.mark.parametrize(("architecture", "widths"), WIDTHS.items())
def test_narrower_decoders_have_fewer_parameters(architecture, widths):
    usual = sum(value.numel() for value in outline(architecture=architecture).decoder.parameters())
    narrow = outline(architecture=architecture, decoder_channels=widths)
    check_size(narrow, size_of(architecture), 2, "train.size_px")
    assert sum(value.numel() for value in narrow.decoder.parameters()) < usual


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["resnet18", "tu-test_convnext"])
@pytest.mark.parametrize("architecture", DECODINGS)
def test_levels_end_in_the_decoders_own_output(architecture, encoder):
    """The oracle of decoder_levels is segmentation-models-pytorch itself."""
    model = build(architecture=architecture, encoder=encoder).eval()
    size = size_of(architecture)
    with torch.no_grad():
        features = model.encoder(torch.randn(1, 3, size, size))
        levels = DECODINGS[architecture].run(model.decoder, list(features))
        theirs = model.decoder(list(features))
    assert torch.allclose(levels[-1], theirs, atol=1e-6)
    assert [level.shape[1] for level in levels] == DECODINGS[architecture].channels(model.decoder)
    assert all(a.shape[2] <= b.shape[2] for a, b in itertools.pairwise(levels))


def test_our_u_net_is_the_librarys_u_net():
    import segmentation_models_pytorch as smp

    model = build(attention="scse").eval()
    theirs = smp.Unet("resnet18", encoder_weights=None, decoder_attention_type="scse").eval()
    theirs.load_state_dict(model.state_dict())  # the same names
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(theirs(x), model(x).mask)


def test_auxiliary_masks_come_finest_first_and_only_in_training():
    model = build(deep_supervision_levels=3)
    x = torch.randn(2, 3, 64, 64)
    assert [mask.shape[-1] for mask in model(x).auxiliary] == [32, 16, 8]
    assert model.eval()(x).auxiliary == ()


def test_frozen_batch_norm_keeps_statistics_and_scales_through_train():
    model = build(norm="frozen_batch").train()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items() if "bn" in name}
    assert before
    optimiser = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.1)
    model(torch.randn(2, 3, 64, 64)).mask.mean().backward()
    optimiser.step()
    after = model.encoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(part.training for part in model.encoder.modules() if isinstance(part, torch.nn.BatchNorm2d))
    assert all(part.training for part in model.decoder.modules() if isinstance(part, torch.nn.BatchNorm2d))


@pytest.mark.parametrize("norm", ["batch", "frozen_batch"])
def test_a_frozen_encoder_does_not_move_and_can_be_freed(norm):
    model = build(norm=norm, image_head={"enabled": True})
    set_encoder_frozen(model, True)
    model.train()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    output = model(torch.randn(2, 3, 64, 64))
    (output.mask.mean() + output.image.mean()).backward()
    assert all(value.grad is None for value in model.encoder.parameters())
    assert any(value.grad is not None for value in model.decoder.parameters())
    assert all(torch.equal(value, model.encoder.state_dict()[name]) for name, value in before.items())
    assert not model.encoder.training
    set_encoder_frozen(model, False)
    norms = [part for part in model.encoder.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert all(part.training == (norm == "batch") for part in norms)
    assert all(part.weight.requires_grad == (norm == "batch") for part in norms)
    assert model.encoder.conv1.weight.requires_grad
    model.eval()
    set_encoder_frozen(model, True)
    assert not any(part.training for part in model.modules())


def test_group_norm_leaves_no_batch_norm_and_takes_a_batch_of_one():
    for architecture in ("deeplabv3plus", "upernet", "pan"):
        model = outline(architecture=architecture, norm="group")
        assert not any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in model.modules())
        groups = [part for part in model.modules() if isinstance(part, torch.nn.GroupNorm)]
        assert all(part.num_channels // part.num_groups >= 8 or part.num_groups == 1 for part in groups)
        check_size(model, 256, 1, "train.size_px")


def test_timms_batch_norm_with_activation_keeps_its_activation():
    model = build(encoder="tu-mobilenetv3_small_050", norm="group").eval()
    kinds = [type(part).__name__ for part in model.encoder.modules()]
    assert "BatchNormAct2d" not in kinds
    assert "Hardswish" in kinds
    with torch.no_grad():
        assert torch.isfinite(model(torch.randn(1, 3, 64, 64)).mask).all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"encoder": "efficientnet-b9"}, "model.encoder = efficientnet-b9: no such encoder; closest: efficientnet-b7"),
        ({"encoder": "convnextv2_tiny"}, "closest: tu-convnextv2_tiny"),
        ({"encoder": "tu-convnext2_tiny"}, "closest: tu-convnextv2_tiny.*list all: python -c"),
        ({"encoder": "tu-resnet18.bogus"}, "timm has no weights bogus for it; it has a1_in1k"),
        ({"encoder": "mit_b0", "architecture": "unetplusplus"}, "architecture = unetplusplus cannot take .*mit_b0"),
        ({"encoder": "tu-swin_tiny_patch4_window7_224", "architecture": "deeplabv3plus"}, "cannot take .*swin"),
        ({"encoder": "tu-convnextv2_atto", "encoder_image_px": 64}, "encoder_image_px = 64.*img_size"),
        ({"encoder": "tu-convnextv2_atto", "norm": "frozen_batch"}, "model.norm = frozen_batch.*no batch norm"),
        (
            {"encoder": "tu-convnextv2_atto", "norm": "group", "architecture": "fpn"},
            "model.norm = group.*no batch norm",
        ),
    ],
)
def test_what_cannot_be_built_is_named(changes, told):
    with pytest.raises(ParameterError, match=told):
        build(**changes)


@pytest.mark.parametrize(
    ("changes", "size", "count", "told"),
    [
        ({}, 100, 2, "train.size_px = 100: must be a multiple of 32; take 96 or 128"),
        ({}, 16, 2, "take 32$"),
        ({"encoder": "tu-swin_tiny_patch4_window7_224"}, 64, 2, "model.encoder_image_px = 64"),
        ({"architecture": "deeplabv3plus"}, 64, 1, "for batches of 1 model.norm = group"),
        ({"architecture": "pan"}, 64, 2, "train.size_px = 64"),
    ],
)
def test_a_size_that_cannot_be_trained_is_named(changes, size, count, told):
    model = outline(**changes)
    with pytest.raises(ParameterError, match=told):
        check_size(model, size, count, "train.size_px")


def test_check_size_touches_nothing():
    model = build(aspp={"enabled": True}, image_head={"enabled": True}).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seed = torch.get_rng_state()
    check_size(model, 64, 2, "train.size_px")
    assert torch.equal(seed, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_the_seed_decides_the_random_parts():
    one, same, other = build(1).state_dict(), build(1).state_dict(), build(2).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["encoder.conv1.weight"], other["encoder.conv1.weight"])


@pytest.mark.parametrize(
    ("changes", "mean"),
    [
        ({}, (0.485, 0.456, 0.406)),
        ({"in_channels": 1}, (0.449,)),
        ({"encoder": "xception"}, (0.5, 0.5, 0.5)),
        ({"encoder": "tu-tf_efficientnet_lite0"}, (0.5, 0.5, 0.5)),
        ({"encoder": "tu-resnet18"}, (0.485, 0.456, 0.406)),
    ],
)
def test_normalisation_is_the_encoders(changes, mean):
    assert outline(**changes).mean == mean


def test_channels_last_gives_the_same_masks():
    model = build(attention="cbam", hypercolumn=True, aspp={"enabled": True}).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        plain = model(x).mask
        last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last)).mask
    assert np.allclose(plain, last, atol=1e-4)


@pytest.mark.slow
def test_torch_compile_takes_the_whole_graph():
    model = build(**{**OPTIONS["all"], **TINY, "norm": "batch", "encoder_depth": 3, "deep_supervision_levels": 1})
    x = torch.randn(2, 1, 64, 64)
    step = torch.compile(model, backend="eager", fullgraph=True)
    torch.stack([part.sum() for part in step(x)[:1]]).sum().backward()
    model.eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert unwrap(compiled) is model
    with torch.no_grad():
        assert torch.allclose(compiled(x).mask, model(x).mask, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "unused"),
    [({}, ""), ({"encoder_depth": 3}, "encoder.layer4"), ({"attention": "scse"}, "decoder.blocks.4.attention1")],
)
def test_parameters_without_a_part_are_frozen_for_good(changes, unused):
    model = build(**changes)
    names = freeze_unused(model, 64)
    assert bool(names) == bool(unused)
    assert any(name.startswith(unused) for name in names) or not unused
    set_encoder_frozen(model, True)
    set_encoder_frozen(model, False)
    assert not any(model.get_parameter(name).requires_grad for name in names)
    model(torch.randn(2, 3, 64, 64)).mask.mean().backward()
    assert all((value.grad is None) == (name in names) for name, value in model.named_parameters())
